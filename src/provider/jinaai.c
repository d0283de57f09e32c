/* jinaai: embeddings (floats or bits) and rerank. Source: shared facts, providers.md 3.10 (API v1
 * as of January 2025), inference.md 5.12 with what 9.1 and 9.4 add.
 *
 * Similarity, dimensions and max_input_tokens are stored and not shown, as in Elasticsearch. */
#include "shape.h"

#include "unicode.h"

#define TE  TASK_BIT(TASK_TEXT_EMBEDDING)
#define RR  TASK_BIT(TASK_RERANK)
#define ALL (TE | RR)

/* Late chunking embeds the inputs as one text; its models read 8000 tokens. */
#define MAX_LATE_CHUNKING_WORDS 5500

enum {
    S_API_KEY,
    S_MODEL_ID,
    S_RATE_LIMIT,
    S_SIMILARITY,
    S_DIMENSIONS,
    S_MAX_INPUT_TOKENS,
    S_EMBEDDING_TYPE,
    S_INPUT_TYPE,
    S_LATE_CHUNKING,
    S_RETURN_DOCUMENTS,
    S_TOP_N,
    N_SETTINGS
};

static const char *const embedding_types[] = {"bit", "float", NULL};
static const char *const embedding_synonyms[] = {"binary", "bit", NULL};
static const char *const input_types[] = {"classification", "clustering", "ingest", "search", NULL};

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
                      .flags = SETTING_NOT_PRINTED,
                      .label = "Dimensions",
                      .description =
                          "The number of dimensions the resulting embeddings should have."},
    [S_MAX_INPUT_TOKENS] = {.name = "max_input_tokens",
                            .place = IN_SERVICE,
                            .type = SETTING_INT,
                            .tasks = TE,
                            .flags = SETTING_UPDATABLE | SETTING_UNLISTED | SETTING_NOT_PRINTED},
    [S_EMBEDDING_TYPE] = {.name = "embedding_type",
                          .place = IN_SERVICE,
                          .type = SETTING_ENUM,
                          .tasks = TE,
                          .flags = SETTING_UNLISTED,
                          .choices = embedding_types,
                          .synonyms = embedding_synonyms,
                          .preset = "\"float\"",
                          .label = "Embedding Type",
                          .description = "The type of embedding to return."},
    [S_INPUT_TYPE] = SETTING_ROW_INPUT_TYPE(TE, input_types),
    [S_LATE_CHUNKING] = {.name = "late_chunking",
                         .place = IN_TASK,
                         .type = SETTING_BOOL,
                         .tasks = TE,
                         .flags = SETTING_UNLISTED,
                         .label = "Late Chunking",
                         .description =
                             "Whether the inputs are embedded as parts of one longer text."},
    [S_RETURN_DOCUMENTS] = SETTING_ROW_RETURN_DOCUMENTS(RR),
    [S_TOP_N] = SETTING_ROW_TOP_N(RR),
};

static const struct settings_table table = {.service = "jinaai", .rows = rows, .n = N_SETTINGS};

static void request(const struct input *in, struct str url, struct http_out *out)
{
    request_json(out, url, &in->values.v[S_API_KEY]);
    http_header_add(&out->headers, STR("Request-Source"), STR("unspecified:elasticsearch"));
}

/* --- embeddings --- */

static bool wants_bits(const struct input *in)
{
    return str_eq(in->values.v[S_EMBEDDING_TYPE].s, STR("bit"));
}

/* jina-clip-v2 knows one task only. */
static const char *jina_task(const struct input *in)
{
    bool clip = str_eq_nocase(in->values.v[S_MODEL_ID].s, STR("jina-clip-v2"));
    enum input_type type = call_input_type(in);
    if (clip && type != INPUT_SEARCH)
        return NULL;
    switch (type) {
    case INPUT_INGEST:
        return "retrieval.passage";
    case INPUT_SEARCH:
        return "retrieval.query";
    case INPUT_CLASSIFICATION:
        return "classification";
    case INPUT_CLUSTERING:
        return "separation";
    case INPUT_UNSPECIFIED:
        break;
    }
    return NULL;
}

/* An estimate: an ideograph counts as a word. */
static size_t count_words(struct str text)
{
    size_t n = 0;
    bool inside = false;
    for (size_t i = 0; i < text.n;) {
        uint32_t c = utf8_next(text, &i);
        bool cjk = unicode_is_cjk(c);
        bool word = !cjk && !unicode_is_whitespace(c);
        n += cjk || (word && !inside);
        inside = word;
    }
    return n;
}

static bool short_enough(const struct input *in)
{
    size_t n = 0;
    for (size_t i = 0; i < in->n_texts && n <= MAX_LATE_CHUNKING_WORDS; i++)
        n += count_words(in->texts[i]);
    return n <= MAX_LATE_CHUNKING_WORDS;
}

static struct err *embed_build(const struct endpoint *ep, const struct input *in,
                               struct http_out *out)
{
    const struct value *v = in->values.v;
    const char *task = jina_task(in);
    request(in, STR("https://api.jina.ai/v1/embeddings"), out);
    struct body b;
    body_begin(&b);
    json_key_texts(&b.w, "input", in->texts, in->n_texts);
    json_key_str(&b.w, "model", v[S_MODEL_ID].s);
    json_key_cstr(&b.w, "embedding_type", wants_bits(in) ? "binary" : "float");
    if (task)
        json_key_cstr(&b.w, "task", task);
    if (v[S_LATE_CHUNKING].set)
        json_key_bool(&b.w, "late_chunking", v[S_LATE_CHUNKING].b && short_enough(in));
    if (v[S_DIMENSIONS].by_user)
        json_key_i64(&b.w, "dimensions", v[S_DIMENSIONS].i);
    return body_finish(&b, out);
}

static void read_usage(const struct json *root, struct usage *out)
{
    out->known = json_i64(json_path(root, "usage", "total_tokens", NULL), &out->in_tokens);
}

static struct err *embed_parse(const struct endpoint *ep, const struct input *in,
                               const struct http_in *answer, struct result *out)
{
    static const char name[] = "JinaAI embeddings";
    const struct json *root;
    TRY(answer_json(answer, &root));
    const struct json *data = json_get(root, "data");
    if (!json_is(data, JSON_ARRAY))
        return missing_field("data", name);
    if (wants_bits(in))
        TRY(bytes_at(data, "embedding", RESULT_BITS, in, name, answer->arena, out));
    else
        TRY(floats_from(data, "embedding", in, name, answer->arena, out));
    read_usage(root, &out->usage);
    return NULL;
}

/* --- rerank --- */

static struct err *rerank_build(const struct endpoint *ep, const struct input *in,
                                struct http_out *out)
{
    const struct value *v = in->values.v;
    int64_t top_n;
    request(in, STR("https://api.jina.ai/v1/rerank"), out);
    struct body b;
    body_begin(&b);
    json_key_str(&b.w, "model", v[S_MODEL_ID].s);
    json_key_str(&b.w, "query", in->query);
    json_key_texts(&b.w, "documents", in->texts, in->n_texts);
    if (call_top_n(in, &top_n))
        json_key_i64(&b.w, "top_n", top_n);
    if (in->has_return_documents || v[S_RETURN_DOCUMENTS].set)
        json_key_bool(&b.w, "return_documents", call_return_documents(in));
    return body_finish(&b, out);
}

static struct err *rerank_parse(const struct endpoint *ep, const struct input *in,
                                const struct http_in *answer, struct result *out)
{
    return results_ranked(answer, in, "JinaAI rerank", out);
}

static const struct provider_task tasks[] = {
    {.task = TASK_TEXT_EMBEDDING,
     .request_name = "JinaAI embeddings",
     .default_rpm = 2000,
     .batch = 2048,
     .build = embed_build,
     .parse = embed_parse},
    {.task = TASK_RERANK,
     .request_name = "JinaAI rerank",
     .default_rpm = 2000,
     .build = rerank_build,
     .parse = rerank_parse},
};

static const char *const group_by[] = {"api_key", NULL};

const struct provider provider_jinaai = {
    .name = "jinaai",
    .label = "Jina AI",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .similarity = "dot_product",
    .judge = judge_by_detail,
};
