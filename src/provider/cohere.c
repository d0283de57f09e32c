/* cohere: embeddings and rerank, in both versions of its API; its chats are in cohere_chat.c.
 * Source: shared facts, providers.md 3.6 (API as of January 2025), inference.md 5.6 with what 9.1
 * adds.
 *
 * A new endpoint speaks v2 and remembers so (api_version is stored, not shown). One that an older
 * Elasticsearch made goes on speaking v1, where a model need not be named. */
#include "cohere.h"

#define TE  TASK_BIT(TASK_TEXT_EMBEDDING)
#define RR  TASK_BIT(TASK_RERANK)
#define CO  TASK_BIT(TASK_COMPLETION)
#define CC  TASK_BIT(TASK_CHAT_COMPLETION)
#define ALL (TE | RR | CO | CC)

static const char *const embedding_types[] = {"bit", "byte", "float", NULL};
static const char *const embedding_synonyms[] = {"binary", "bit", "int8", "byte", NULL};
static const char *const api_versions[] = {"V1", "V2", NULL};
static const char *const input_types[] = {"classification", "clustering", "ingest", "search", NULL};
static const char *const truncations[] = {"END", "NONE", "START", NULL};

static const struct setting rows[N_SETTINGS] = {
    [S_API_KEY] = SETTING_API_KEY(ALL),
    [S_URL] = {.name = "url",
               .place = IN_SERVICE,
               .type = SETTING_URL,
               .tasks = ALL,
               .flags = SETTING_UNLISTED,
               .label = "URL",
               .description = "The URL endpoint to use for the requests."},
    [S_SIMILARITY] = SETTING_ROW_SIMILARITY(TE),
    [S_DIMENSIONS] = SETTING_ROW_DIMENSIONS(TE),
    [S_MAX_INPUT_TOKENS] = SETTING_ROW_MAX_INPUT_TOKENS(TE),
    [S_MODEL_ID] = {.name = "model_id",
                    .alias = "model",
                    .place = IN_SERVICE,
                    .type = SETTING_STR,
                    .tasks = ALL,
                    .ui_required = 1, /* cohere_check says so */
                    .label = "Model ID",
                    .description = "The name of the model to use for the inference task."},
    [S_RATE_LIMIT] = SETTING_ROW_RATE_LIMIT(ALL),
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
    [S_API_VERSION] = {.name = "api_version",
                       .place = IN_SERVICE,
                       .type = SETTING_ENUM,
                       .tasks = ALL,
                       .flags = SETTING_INTERNAL | SETTING_UNLISTED | SETTING_NOT_PRINTED,
                       .choices = api_versions},
    [S_INPUT_TYPE] = SETTING_ROW_INPUT_TYPE(TE, input_types),
    [S_TRUNCATE] = SETTING_ROW_TRUNCATE(TE, truncations),
    [S_RETURN_DOCUMENTS] = {.name = "return_documents",
                            .place = IN_TASK,
                            .type = SETTING_BOOL,
                            .tasks = RR,
                            .flags = SETTING_UNLISTED,
                            .label = "Return Documents",
                            .description = "Whether to return the text of the documents."},
    [S_TOP_N] = {.name = "top_n",
                 .place = IN_TASK,
                 .type = SETTING_INT,
                 .tasks = RR,
                 .flags = SETTING_UNLISTED,
                 .label = "Top N",
                 .description = "The number of most relevant documents to return."},
    [S_MAX_CHUNKS_PER_DOC] = {.name = "max_chunks_per_doc",
                              .place = IN_TASK,
                              .type = SETTING_INT,
                              .tasks = RR,
                              .flags = SETTING_UNLISTED,
                              .label = "Maximum Chunks per Document",
                              .description = "How many chunks a long document may be cut into."},
};

static const struct settings_table table = {.service = "cohere", .rows = rows, .n = N_SETTINGS};

/* What was stored without a version and names a model is our own from before versions were kept. */
bool cohere_speaks_v1(const struct endpoint *ep)
{
    const struct value *version = &ep->values.v[S_API_VERSION];
    return version->set ? str_eq(version->s, STR("V1")) : !ep->values.v[S_MODEL_ID].set;
}

/* Stored endpoints (those with a revision) keep what they have. */
static struct err *cohere_check(struct endpoint *ep)
{
    struct value *version = &ep->values.v[S_API_VERSION];
    if (ep->rev)
        return NULL;
    if (!ep->values.v[S_MODEL_ID].set) {
        struct err_list list = {0};
        err_list_add(&list,
                     "The [service_settings.model_id] field is required for the Cohere V2 API.");
        return err_list_end(&list, ERR_VALIDATION);
    }
    version->set = true;
    version->s = STR("V2");
    return NULL;
}

void cohere_request(const struct endpoint *ep, const struct input *in, const char *path,
                    struct http_out *out)
{
    const struct value *url = &ep->values.v[S_URL];
    request_json(out,
                 url->set ? url->s
                          : arena_printf(out->arena, "https://api.cohere.ai/%s/%s",
                                         cohere_speaks_v1(ep) ? "v1" : "v2", path),
                 &in->values.v[S_API_KEY]);
    http_header_add(&out->headers, STR("Request-Source"), STR("unspecified:elasticsearch"));
}

static void put_model(struct json_out *w, const struct value *model)
{
    if (model->set) /* v1 has a default of its own */
        json_key_str(w, "model", model->s);
}

/* --- embeddings --- */

/* v2 wants one in any case, v1 (NULL) does not. */
static const char *cohere_input_type(const struct endpoint *ep, const struct input *in)
{
    switch (call_input_type(in)) {
    case INPUT_INGEST:
        return "search_document";
    case INPUT_CLASSIFICATION:
        return "classification";
    case INPUT_CLUSTERING:
        return "clustering";
    case INPUT_UNSPECIFIED:
        return cohere_speaks_v1(ep) ? NULL : "search_query";
    default:
        return "search_query";
    }
}

/* Our word for a type of embedding -> Cohere's. */
static const char *cohere_embedding_type(const struct value *v)
{
    if (v->set && str_eq(v->s, STR("byte")))
        return "int8";
    if (v->set && str_eq(v->s, STR("bit")))
        return "binary";
    return "float";
}

static struct err *embed_build(const struct endpoint *ep, const struct input *in,
                               struct http_out *out)
{
    const struct value *v = in->values.v;
    const char *input_type = cohere_input_type(ep, in);
    cohere_request(ep, in, "embed", out);
    struct body b;
    body_begin(&b);
    json_key_texts(&b.w, "texts", in->texts, in->n_texts);
    put_model(&b.w, &v[S_MODEL_ID]);
    if (input_type)
        json_key_cstr(&b.w, "input_type", input_type);
    json_key(&b.w, "embedding_types");
    json_arr(&b.w);
    json_put_cstr(&b.w, cohere_embedding_type(&v[S_EMBEDDING_TYPE]));
    json_end(&b.w);
    if (v[S_TRUNCATE].set)
        json_key_str(&b.w, "truncate", v[S_TRUNCATE].s);
    return body_finish(&b, out);
}

static struct err *embed_parse(const struct endpoint *ep, const struct input *in,
                               const struct http_in *answer, struct result *out)
{
    static const char name[] = "Cohere embeddings";
    const struct json *root;
    TRY(answer_json(answer, &root));
    const struct json *all = json_get(root, "embeddings");
    const struct json *rows_found;
    struct err *e;
    if (json_is(all, JSON_ARRAY)) /* v1's shape, also of proxies */
        e = floats_from(all, NULL, in, name, answer->arena, out);
    else if (json_is(rows_found = json_get(all, "float"), JSON_ARRAY))
        e = floats_from(rows_found, NULL, in, name, answer->arena, out);
    else if (json_is(rows_found = json_get(all, "int8"), JSON_ARRAY))
        e = bytes_from(rows_found, RESULT_BYTES, in, name, answer->arena, out);
    else if (json_is(rows_found = json_get(all, "binary"), JSON_ARRAY))
        e = bytes_from(rows_found, RESULT_BITS, in, name, answer->arena, out);
    else if (!all)
        e = missing_field("embeddings", name);
    else
        e = err_new(ERR_PARSE, "Failed to find a supported embedding type in the Cohere embeddings "
                               "response. Supported types are [binary, float, int8]");
    if (e)
        return e;
    out->usage.known = json_i64(json_path(root, "meta", "billed_units", "input_tokens", NULL),
                                &out->usage.in_tokens);
    return NULL;
}

/* --- rerank --- */

static struct err *rerank_build(const struct endpoint *ep, const struct input *in,
                                struct http_out *out)
{
    const struct value *v = in->values.v;
    int64_t top_n;
    cohere_request(ep, in, "rerank", out);
    struct body b;
    body_begin(&b);
    put_model(&b.w, &v[S_MODEL_ID]);
    json_key_str(&b.w, "query", in->query);
    json_key_texts(&b.w, "documents", in->texts, in->n_texts);
    if (in->has_return_documents || v[S_RETURN_DOCUMENTS].set)
        json_key_bool(&b.w, "return_documents", call_return_documents(in));
    if (call_top_n(in, &top_n))
        json_key_i64(&b.w, "top_n", top_n);
    if (v[S_MAX_CHUNKS_PER_DOC].set)
        json_key_i64(&b.w, "max_chunks_per_doc", v[S_MAX_CHUNKS_PER_DOC].i);
    return body_finish(&b, out);
}

static struct err *rerank_parse(const struct endpoint *ep, const struct input *in,
                                const struct http_in *answer, struct result *out)
{
    static const char *const scores[] = {"relevance_score", NULL};
    const struct json *root;
    TRY(answer_json(answer, &root));
    const struct json *results = json_get(root, "results");
    if (!json_is(results, JSON_ARRAY))
        return missing_field("results", "Cohere rerank");
    return ranked_from(results, scores, in, "Cohere rerank", answer->arena, out);
}

/* --- refusals --- */

static void judge(const struct endpoint *ep, const struct http_in *in, struct verdict *out)
{
    verdict_by_status(in->status, out);
    verdict_message(in, out, "message", NULL);
    if (in->status == 500 || in->status == 429)
        out->action = VERDICT_RETRY;
    else if (in->status == 400 &&
             str_find(out->message,
                      STR("invalid request: total number of texts must be at most")) != SIZE_MAX)
        verdict_set(out, VERDICT_FAIL, "Received a texts array too large response");
}

static const struct provider_task tasks[] = {
    {.task = TASK_TEXT_EMBEDDING,
     .request_name = "Cohere embeddings",
     .default_rpm = 10000,
     .batch = 96,
     .build = embed_build,
     .parse = embed_parse},
    {.task = TASK_RERANK,
     .request_name = "Cohere rerank",
     .default_rpm = 10000,
     .build = rerank_build,
     .parse = rerank_parse},
    {.task = TASK_COMPLETION,
     .request_name = "Cohere completion",
     .one_input = "Cohere completion",
     .default_rpm = 10000,
     .framing = FRAMING_SSE,
     .framing_of = cohere_framing,
     .build = cohere_completion_build,
     .parse = cohere_completion_parse,
     .on_event = cohere_completion_event},
    {.task = TASK_CHAT_COMPLETION,
     .request_name = "Cohere chat completions",
     .default_rpm = 10000,
     .framing = FRAMING_SSE,
     .build = cohere_chat_build,
     .parse = cohere_completion_parse,
     .on_event = cohere_chat_event},
};

static const char *const group_by[] = {"api_key", NULL};

const struct provider provider_cohere = {
    .name = "cohere",
    .label = "Cohere",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .similarity = "dot_product",
    .check = cohere_check,
    .judge = judge,
};
