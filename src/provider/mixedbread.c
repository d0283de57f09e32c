/* mixedbread: embeddings and rerank. Source: shared facts, providers.md 4 (API v1), inference.md 6;
 * Elasticsearch 9.4. */
#include "shape.h"

#define TE  TASK_BIT(TASK_TEXT_EMBEDDING)
#define RR  TASK_BIT(TASK_RERANK)
#define ALL (TE | RR)

enum {
    S_API_KEY,
    S_MODEL_ID,
    S_EMBED_URL,
    S_RERANK_URL,
    S_RATE_LIMIT,
    S_DIMENSIONS,
    S_DIMENSIONS_SET_BY_USER,
    S_SIMILARITY,
    S_MAX_INPUT_TOKENS,
    S_PROMPT,
    S_NORMALIZED,
    S_TOP_N,
    S_RETURN_DOCUMENTS,
    N_SETTINGS
};

/* The default is shown, and differs between the tasks. */
#define ROW_URL(task_bits, default_url)                                                            \
    {                                                                                              \
        .name = "url", .place = IN_SERVICE, .type = SETTING_URL, .tasks = (task_bits),             \
        .flags = SETTING_UNLISTED, .preset = "\"" default_url "\"", .label = "URL",                \
        .description = "The URL endpoint to use for the requests.",                                \
    }

static const struct setting rows[N_SETTINGS] = {
    [S_API_KEY] = SETTING_API_KEY(ALL),
    [S_MODEL_ID] = SETTING_ROW_MODEL_ID(ALL),
    [S_EMBED_URL] = ROW_URL(TE, "https://api.mixedbread.com/v1/embeddings"),
    [S_RERANK_URL] = ROW_URL(RR, "https://api.mixedbread.com/v1/reranking"),
    [S_RATE_LIMIT] = SETTING_ROW_RATE_LIMIT(ALL),
    [S_DIMENSIONS] = SETTING_ROW_DIMENSIONS(TE),
    [S_DIMENSIONS_SET_BY_USER] = SETTING_ROW_DIMENSIONS_SET_BY_USER(TE),
    [S_SIMILARITY] = SETTING_ROW_SIMILARITY(TE),
    [S_MAX_INPUT_TOKENS] = SETTING_ROW_MAX_INPUT_TOKENS(TE),
    [S_PROMPT] = {.name = "prompt",
                  .place = IN_TASK,
                  .type = SETTING_STR,
                  .tasks = TE,
                  .flags = SETTING_UNLISTED,
                  .label = "Prompt",
                  .description = "Tells the model what the embeddings are for."},
    [S_NORMALIZED] = {.name = "normalized",
                      .place = IN_TASK,
                      .type = SETTING_BOOL,
                      .tasks = TE,
                      .flags = SETTING_UNLISTED,
                      .label = "Normalized",
                      .description = "Whether the embeddings have length one."},
    [S_TOP_N] = SETTING_ROW_TOP_N(RR),
    [S_RETURN_DOCUMENTS] = SETTING_ROW_RETURN_DOCUMENTS(RR),
};

static const struct settings_table table = {.service = "mixedbread", .rows = rows, .n = N_SETTINGS};

/* --- embeddings --- */

static struct err *embed_build(const struct endpoint *ep, const struct input *in,
                               struct http_out *out)
{
    const struct value *v = in->values.v;
    request_json(out, v[S_EMBED_URL].s, &v[S_API_KEY]);
    struct body b;
    body_begin(&b);
    json_key_texts(&b.w, "input", in->texts, in->n_texts);
    json_key_str(&b.w, "model", v[S_MODEL_ID].s);
    if (v[S_DIMENSIONS].by_user)
        json_key_i64(&b.w, "dimensions", v[S_DIMENSIONS].i);
    if (v[S_PROMPT].set)
        json_key_str(&b.w, "prompt", v[S_PROMPT].s);
    if (v[S_NORMALIZED].set)
        json_key_bool(&b.w, "normalized", v[S_NORMALIZED].b);
    return body_finish(&b, out);
}

static struct err *embed_parse(const struct endpoint *ep, const struct input *in,
                               const struct http_in *answer, struct result *out)
{
    static const char name[] = "Mixedbread embeddings";
    const struct json *root;
    TRY(answer_json(answer, &root));
    const struct json *data = json_get(root, "data");
    if (!json_is(data, JSON_ARRAY))
        return missing_field("data", name);
    TRY(floats_from(data, "embedding", in, name, answer->arena, out));
    out->usage.known =
        json_i64(json_path(root, "usage", "total_tokens", NULL), &out->usage.in_tokens);
    return NULL;
}

/* --- rerank --- */

static struct err *rerank_build(const struct endpoint *ep, const struct input *in,
                                struct http_out *out)
{
    const struct value *v = in->values.v;
    int64_t top_n;
    request_json(out, v[S_RERANK_URL].s, &v[S_API_KEY]);
    struct body b;
    body_begin(&b);
    json_key_str(&b.w, "model", v[S_MODEL_ID].s);
    json_key_str(&b.w, "query", in->query);
    json_key_texts(&b.w, "input", in->texts, in->n_texts);
    if (call_top_n(in, &top_n))
        json_key_i64(&b.w, "top_k", top_n);
    if (in->has_return_documents || v[S_RETURN_DOCUMENTS].set)
        json_key_bool(&b.w, "return_input", call_return_documents(in));
    return body_finish(&b, out);
}

static struct err *rerank_parse(const struct endpoint *ep, const struct input *in,
                                const struct http_in *answer, struct result *out)
{
    static const char name[] = "Mixedbread rerank";
    static const char *const scores[] = {"score", NULL};
    const struct json *root;
    TRY(answer_json(answer, &root));
    const struct json *data = json_get(root, "data");
    if (!json_is(data, JSON_ARRAY))
        return missing_field("data", name);
    TRY(ranked_from(data, scores, in, name, answer->arena, out));
    out->usage.known =
        json_i64(json_path(root, "usage", "total_tokens", NULL), &out->usage.in_tokens);
    return NULL;
}

/* --- refusals --- */

/* Elasticsearch also sends a 422 again; the same request cannot fare better. */
static void judge(const struct endpoint *ep, const struct http_in *in, struct verdict *out)
{
    const struct value *v = ep->values.v;
    struct str url = ep->task == TASK_RERANK ? v[S_RERANK_URL].s : v[S_EMBED_URL].s;
    verdict_set(out, VERDICT_FAIL, "Received an unsuccessful status code");
    verdict_raw_message(in, out);
    switch (in->status) {
    case 500:
        verdict_set(out, VERDICT_RETRY, "Received a server error status code");
        break;
    case 503:
        verdict_set(out, VERDICT_RETRY,
                    "Service temporarily down for maintenance or overloaded. Retry later.");
        break;
    case 429:
        verdict_set(out, VERDICT_RETRY, "Received a rate limit status code");
        break;
    case 422:
        verdict_set(out, VERDICT_FAIL, "Request format is correct but cannot be processed.");
        break;
    case 404:
        out->prefix = arena_printf(in->arena, "Resource not found at [%.*s]", STR_ARG(url));
        break;
    case 403:
        verdict_set(out, VERDICT_FAIL,
                    "Valid credentials but insufficient permissions for this resource.");
        break;
    case 402:
        verdict_set(out, VERDICT_FAIL, "Insufficient balance. Top up your account to continue.");
        break;
    case 401:
        verdict_set(out, VERDICT_FAIL, "Received an authentication error status code");
        break;
    case 400:
        verdict_set(out, VERDICT_FAIL, "Received a bad request status code");
        break;
    default:
        break;
    }
}

static const struct provider_task tasks[] = {
    {.task = TASK_TEXT_EMBEDDING,
     .request_name = "Mixedbread embeddings",
     .default_rpm = 100,
     .build = embed_build,
     .parse = embed_parse},
    {.task = TASK_RERANK,
     .request_name = "Mixedbread rerank",
     .default_rpm = 100,
     .build = rerank_build,
     .parse = rerank_parse},
};

static const char *const group_by[] = {"api_key", NULL};

const struct provider provider_mixedbread = {
    .name = "mixedbread",
    .label = "Mixedbread",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .similarity = "cosine",
    .judge = judge,
};
