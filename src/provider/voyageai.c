/* voyageai: embeddings (floats, bytes or bits) and rerank. Source: shared facts, providers.md 4,
 * inference.md 6; docs.voyageai.com (API v1, June 2025) for the most that one request may hold.
 *
 * Of the service settings only model_id and rate_limit are shown, as in Elasticsearch. */
#include "shape.h"

#define TE  TASK_BIT(TASK_TEXT_EMBEDDING)
#define RR  TASK_BIT(TASK_RERANK)
#define ALL (TE | RR)

static const char label[] = "Voyage AI";

enum {
    S_API_KEY,
    S_MODEL_ID,
    S_RATE_LIMIT,
    S_SIMILARITY,
    S_DIMENSIONS,
    S_DIMENSIONS_SET_BY_USER,
    S_MAX_INPUT_TOKENS,
    S_EMBEDDING_TYPE,
    S_INPUT_TYPE,
    S_RETURN_DOCUMENTS,
    S_TOP_K,
    S_TRUNCATION,
    N_SETTINGS
};

static const char *const embedding_types[] = {"bit", "float", "int8", NULL};
static const char *const embedding_synonyms[] = {"binary", "bit", "byte", "int8", NULL};
static const char *const input_types[] = {"ingest", "search", NULL};

static const struct setting rows[N_SETTINGS] = {
    [S_API_KEY] = SETTING_API_KEY(ALL),
    [S_MODEL_ID] = SETTING_ROW_MODEL_ID(ALL),
    [S_RATE_LIMIT] = SETTING_ROW_RATE_LIMIT(ALL),
    [S_SIMILARITY] = {.name = "similarity",
                      .place = IN_SERVICE,
                      .type = SETTING_ENUM,
                      .tasks = TE,
                      .flags = SETTING_UNLISTED | SETTING_NOT_PRINTED,
                      .choices = similarity_choices},
    [S_DIMENSIONS] = {.name = "dimensions",
                      .place = IN_SERVICE,
                      .type = SETTING_INT,
                      .tasks = TE,
                      .flags = SETTING_UNLISTED | SETTING_NOT_PRINTED},
    [S_DIMENSIONS_SET_BY_USER] = SETTING_ROW_DIMENSIONS_SET_BY_USER(TE),
    [S_MAX_INPUT_TOKENS] = {.name = "max_input_tokens",
                            .place = IN_SERVICE,
                            .type = SETTING_INT,
                            .tasks = TE,
                            .flags = SETTING_UPDATABLE | SETTING_UNLISTED | SETTING_NOT_PRINTED},
    [S_EMBEDDING_TYPE] = {.name = "embedding_type",
                          .place = IN_SERVICE,
                          .type = SETTING_ENUM,
                          .tasks = TE,
                          .flags = SETTING_UNLISTED | SETTING_NOT_PRINTED,
                          .choices = embedding_types,
                          .synonyms = embedding_synonyms,
                          .preset = "\"float\""},
    [S_INPUT_TYPE] = SETTING_ROW_INPUT_TYPE(TE, input_types),
    [S_RETURN_DOCUMENTS] = SETTING_ROW_RETURN_DOCUMENTS(RR),
    [S_TOP_K] = {.name = "top_k",
                 .place = IN_TASK,
                 .type = SETTING_INT,
                 .tasks = RR,
                 .flags = SETTING_UNLISTED,
                 .label = "Top K",
                 .description = "The number of most relevant documents to return."},
    [S_TRUNCATION] = {.name = "truncation",
                      .place = IN_TASK,
                      .type = SETTING_BOOL,
                      .tasks = ALL,
                      .flags = SETTING_UNLISTED,
                      .label = "Truncation",
                      .description = "Whether the service cuts inputs that are too long."},
};

static const struct settings_table table = {.service = "voyageai", .rows = rows, .n = N_SETTINGS};

static void request(const struct input *in, struct str url, struct http_out *out)
{
    request_json(out, url, &in->values.v[S_API_KEY]);
    http_header_add(&out->headers, STR("Request-Source"), STR("unspecified:elasticsearch"));
}

/* --- embeddings --- */

static enum result_kind kind_of(const struct input *in)
{
    struct str type = in->values.v[S_EMBEDDING_TYPE].s;
    if (str_eq(type, STR("int8")))
        return RESULT_BYTES;
    return str_eq(type, STR("bit")) ? RESULT_BITS : RESULT_FLOATS;
}

static bool is_multimodal(const struct input *in)
{
    return str_starts(in->values.v[S_MODEL_ID].s, STR("voyage-multimodal"));
}

/* Multimodal models take lists of parts, of which ours have one. */
static void put_parts(struct json_out *w, const struct input *in)
{
    json_key(w, "inputs");
    json_arr(w);
    for (size_t i = 0; i < in->n_texts; i++) {
        json_obj(w);
        json_key(w, "content");
        json_arr(w);
        json_obj(w);
        json_key_cstr(w, "type", "text");
        json_key_str(w, "text", in->texts[i]);
        json_end(w);
        json_end(w);
        json_end(w);
    }
    json_end(w);
}

static struct err *embed_build(const struct endpoint *ep, const struct input *in,
                               struct http_out *out)
{
    static const char *const dtypes[] = {
        [RESULT_FLOATS] = "float", [RESULT_BYTES] = "int8", [RESULT_BITS] = "binary"};
    const struct value *v = in->values.v;
    enum input_type type = call_input_type(in);
    bool multimodal = is_multimodal(in);
    TRY(input_type_known(type, label));
    request(in,
            multimodal ? STR("https://api.voyageai.com/v1/multimodalembeddings")
                       : STR("https://api.voyageai.com/v1/embeddings"),
            out);
    struct body b;
    body_begin(&b);
    if (multimodal)
        put_parts(&b.w, in);
    else
        json_key_texts(&b.w, "input", in->texts, in->n_texts);
    json_key_str(&b.w, "model", v[S_MODEL_ID].s);
    if (type != INPUT_UNSPECIFIED)
        json_key_cstr(&b.w, "input_type", type == INPUT_INGEST ? "document" : "query");
    if (v[S_TRUNCATION].set)
        json_key_bool(&b.w, "truncation", v[S_TRUNCATION].b);
    if (v[S_DIMENSIONS].by_user)
        json_key_i64(&b.w, "output_dimension", v[S_DIMENSIONS].i);
    if (!multimodal || kind_of(in) != RESULT_FLOATS) /* which know floats only, so far */
        json_key_cstr(&b.w, "output_dtype", dtypes[kind_of(in)]);
    return body_finish(&b, out);
}

static void read_usage(const struct json *root, struct usage *out)
{
    out->known = json_i64(json_path(root, "usage", "total_tokens", NULL), &out->in_tokens);
}

static struct err *embed_parse(const struct endpoint *ep, const struct input *in,
                               const struct http_in *answer, struct result *out)
{
    static const char name[] = "VoyageAI embeddings";
    const struct json *root;
    TRY(answer_json(answer, &root));
    const struct json *data = json_get(root, "data");
    enum result_kind kind = kind_of(in);
    if (!json_is(data, JSON_ARRAY))
        return missing_field("data", name);
    if (kind == RESULT_FLOATS)
        TRY(floats_from(data, "embedding", in, name, answer->arena, out));
    else
        TRY(bytes_at(data, "embedding", kind, in, name, answer->arena, out));
    read_usage(root, &out->usage);
    return NULL;
}

/* --- rerank --- */

static struct err *rerank_build(const struct endpoint *ep, const struct input *in,
                                struct http_out *out)
{
    const struct value *v = in->values.v;
    request(in, STR("https://api.voyageai.com/v1/rerank"), out);
    struct body b;
    body_begin(&b);
    json_key_str(&b.w, "model", v[S_MODEL_ID].s);
    json_key_str(&b.w, "query", in->query);
    json_key_texts(&b.w, "documents", in->texts, in->n_texts);
    if (in->has_return_documents || v[S_RETURN_DOCUMENTS].set)
        json_key_bool(&b.w, "return_documents", call_return_documents(in));
    if (in->has_top_n || v[S_TOP_K].set)
        json_key_i64(&b.w, "top_k", in->has_top_n ? in->top_n : v[S_TOP_K].i);
    if (v[S_TRUNCATION].set)
        json_key_bool(&b.w, "truncation", v[S_TRUNCATION].b);
    return body_finish(&b, out);
}

static struct err *rerank_parse(const struct endpoint *ep, const struct input *in,
                                const struct http_in *answer, struct result *out)
{
    static const char name[] = "VoyageAI rerank";
    static const char *const scores[] = {"relevance_score", NULL};
    const struct json *root;
    TRY(answer_json(answer, &root));
    const struct json *data = json_get(root, "data");
    if (!json_is(data, JSON_ARRAY))
        return missing_field("data", name);
    TRY(ranked_from(data, scores, in, name, answer->arena, out));
    read_usage(root, &out->usage);
    return NULL;
}

static const struct provider_task tasks[] = {
    {.task = TASK_TEXT_EMBEDDING,
     .request_name = "VoyageAI embeddings",
     .default_rpm = 2000,
     .batch = 1000,
     .batch_tokens = 120000, /* of the models that take least */
     .build = embed_build,
     .parse = embed_parse},
    {.task = TASK_RERANK,
     .request_name = "VoyageAI rerank",
     .default_rpm = 2000,
     .build = rerank_build,
     .parse = rerank_parse},
};

static const char *const group_by[] = {"api_key", NULL};

const struct provider provider_voyageai = {
    .name = "voyageai",
    .label = label,
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .similarity = "dot_product",
    .judge = judge_by_detail,
};
