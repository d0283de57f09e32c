/* watsonxai: IBM's models; an API key is exchanged for a token first (auth/ibm_iam.h). Chats copy
 * OpenAI's. Source: shared facts, providers.md 3.13 (API as of January 2025), inference.md 5.15
 * with what 9.1 adds. */
#include "ibm_iam.h"
#include "openai_shape.h"

#define TE    TASK_BIT(TASK_TEXT_EMBEDDING)
#define RR    TASK_BIT(TASK_RERANK)
#define CHATS (TASK_BIT(TASK_COMPLETION) | TASK_BIT(TASK_CHAT_COMPLETION))
#define ALL   (TE | RR | CHATS)

#define EMBEDDINGS  "IBM Watsonx embeddings"
#define RERANK      "IBM Watsonx rerank"
#define COMPLETIONS "IBM Watsonx completions"
#define CHAT        "IBM Watsonx chat completions"

enum {
    S_API_KEY,
    S_URL,
    S_API_VERSION,
    S_MODEL_ID,
    S_PROJECT_ID,
    S_MAX_INPUT_TOKENS,
    S_DIMENSIONS,
    S_SIMILARITY,
    S_RATE_LIMIT,
    S_RETURN_DOCUMENTS,
    S_TOP_N,
    S_TRUNCATE_INPUT_TOKENS,
    N_SETTINGS
};

static const struct setting rows[N_SETTINGS] = {
    [S_API_KEY] = SETTING_API_KEY(ALL),
    [S_URL] = {.name = "url",
               .place = IN_SERVICE,
               .type = SETTING_URL,
               .tasks = ALL,
               .flags = SETTING_REQUIRED,
               .label = "URL",
               .description = "The host of the watsonx.ai service."},
    [S_API_VERSION] = {.name = "api_version",
                       .place = IN_SERVICE,
                       .type = SETTING_STR,
                       .tasks = ALL,
                       .flags = SETTING_REQUIRED,
                       .label = "API Version",
                       .description = "The IBM Watsonx API version ID to use."},
    [S_MODEL_ID] = SETTING_ROW_MODEL_ID(ALL),
    [S_PROJECT_ID] = {.name = "project_id",
                      .place = IN_SERVICE,
                      .type = SETTING_STR,
                      .tasks = ALL,
                      .flags = SETTING_REQUIRED,
                      .label = "Project ID",
                      .description = "The ID of the IBM Cloud project."},
    [S_MAX_INPUT_TOKENS] = {.name = "max_input_tokens",
                            .place = IN_SERVICE,
                            .type = SETTING_INT,
                            .tasks = TE,
                            .flags = SETTING_UPDATABLE | SETTING_UI_FIXED,
                            .label = "Maximum Input Tokens",
                            .description = "Allows you to specify the maximum number of tokens "
                                           "per input."},
    [S_DIMENSIONS] = SETTING_ROW_DIMENSIONS(TE),
    [S_SIMILARITY] = SETTING_ROW_SIMILARITY(TE),
    [S_RATE_LIMIT] = {.name = "rate_limit",
                      .place = IN_SERVICE,
                      .type = SETTING_RATE_LIMIT,
                      .tasks = ALL,
                      .flags = SETTING_UPDATABLE | SETTING_UNLISTED},
    [S_RETURN_DOCUMENTS] = SETTING_ROW_RETURN_DOCUMENTS(RR),
    [S_TOP_N] = SETTING_ROW_TOP_N(RR),
    [S_TRUNCATE_INPUT_TOKENS] = {.name = "truncate_input_tokens",
                                 .place = IN_TASK,
                                 .type = SETTING_INT,
                                 .tasks = RR,
                                 .flags = SETTING_UNLISTED,
                                 .label = "Truncate Input Tokens",
                                 .description = "How many tokens of a document count."},
};

static const struct settings_table table = {.service = "watsonxai", .rows = rows, .n = N_SETTINGS};

/* The setting is a host; some give it as an address. */
static struct str host_of(const struct endpoint *ep)
{
    struct str host = ep->values.v[S_URL].s;
    size_t scheme = str_find(host, STR("://"));
    if (scheme != SIZE_MAX)
        host = str_sub(host, scheme + 3, host.n);
    size_t n = 0;
    while (n < host.n && host.p[n] != '/' && host.p[n] != '?' && host.p[n] != '#')
        n++;
    return str_sub(host, 0, n);
}

static struct str url_of(struct arena *arena, const struct endpoint *ep, const char *operation)
{
    struct str version = http_escape(arena, ep->values.v[S_API_VERSION].s, false);
    return arena_printf(arena, "https://%.*s/ml/v1/text/%s?version=%.*s", STR_ARG(host_of(ep)),
                        operation, STR_ARG(version));
}

static void put_model(struct json_out *w, const struct input *in)
{
    json_key_str(w, "model_id", in->values.v[S_MODEL_ID].s);
    json_key_str(w, "project_id", in->values.v[S_PROJECT_ID].s);
}

static const struct auth *auth_of(const struct endpoint *ep)
{
    return &ibm_iam_auth;
}

/* --- embeddings --- */

static struct err *embed_build(const struct endpoint *ep, const struct input *in,
                               struct http_out *out)
{
    request_json(out, url_of(out->arena, ep, "embeddings"), NULL);
    struct body b;
    body_begin(&b);
    json_key_texts(&b.w, "inputs", in->texts, in->n_texts);
    put_model(&b.w, in);
    return body_finish(&b, out);
}

static struct err *results_of(const struct http_in *answer, const char *request_name,
                              struct usage *usage, const struct json **out)
{
    const struct json *root;
    TRY(answer_json(answer, &root));
    usage->known = json_i64(json_get(root, "input_token_count"), &usage->in_tokens);
    *out = json_get(root, "results");
    return json_is(*out, JSON_ARRAY) ? NULL : missing_field("results", request_name);
}

static struct err *embed_parse(const struct endpoint *ep, const struct input *in,
                               const struct http_in *answer, struct result *out)
{
    struct usage usage = {0};
    const struct json *results;
    TRY(results_of(answer, EMBEDDINGS, &usage, &results));
    TRY(floats_from(results, "embedding", in, EMBEDDINGS, answer->arena, out));
    out->usage = usage;
    return NULL;
}

/* --- rerank --- */

static void put_parameters(struct json_out *w, const struct input *in)
{
    const struct value *truncate = &in->values.v[S_TRUNCATE_INPUT_TOKENS];
    int64_t top_n;
    json_key(w, "parameters");
    json_obj(w);
    if (truncate->set)
        json_key_i64(w, "truncate_input_tokens", truncate->i);
    json_key(w, "return_options");
    json_obj(w);
    if (in->has_return_documents || in->values.v[S_RETURN_DOCUMENTS].set)
        json_key_bool(w, "inputs", call_return_documents(in));
    if (call_top_n(in, &top_n))
        json_key_i64(w, "top_n", top_n);
    json_end(w);
    json_end(w);
}

static struct err *rerank_build(const struct endpoint *ep, const struct input *in,
                                struct http_out *out)
{
    request_json(out, url_of(out->arena, ep, "rerank"), NULL);
    struct body b;
    body_begin(&b);
    json_key_str(&b.w, "model_id", in->values.v[S_MODEL_ID].s);
    json_key_str(&b.w, "query", in->query);
    json_key(&b.w, "inputs");
    json_arr(&b.w);
    for (size_t i = 0; i < in->n_texts; i++) {
        json_obj(&b.w);
        json_key_str(&b.w, "text", in->texts[i]);
        json_end(&b.w);
    }
    json_end(&b.w);
    json_key_str(&b.w, "project_id", in->values.v[S_PROJECT_ID].s);
    put_parameters(&b.w, in);
    return body_finish(&b, out);
}

static struct err *rerank_parse(const struct endpoint *ep, const struct input *in,
                                const struct http_in *answer, struct result *out)
{
    static const char *const scores[] = {"score", NULL};
    struct usage usage = {0};
    const struct json *results;
    TRY(results_of(answer, RERANK, &usage, &results));
    TRY(ranked_from(results, scores, in, RERANK, answer->arena, out));
    out->usage = usage;
    return NULL;
}

/* --- chats --- */

static struct err *chat_build(const struct endpoint *ep, const struct input *in,
                              struct http_out *out)
{
    static const struct openai_style style = {.max_field = "max_tokens"};
    struct str model = in->values.v[S_MODEL_ID].s;
    if (in->chat && in->chat->model.n)
        model = in->chat->model;
    request_json(out, url_of(out->arena, ep, in->stream ? "chat_stream" : "chat"), NULL);
    struct body b;
    body_begin(&b);
    openai_chat_body(&b.w, in, model, (struct str){0}, &style);
    json_key_str(&b.w, "model_id", model); /* IBM's name for it, beside the one of OpenAI's shape */
    json_key_str(&b.w, "project_id", in->values.v[S_PROJECT_ID].s);
    return body_finish(&b, out);
}

static struct err *chat_parse_answer(const struct endpoint *ep, const struct input *in,
                                     const struct http_in *answer, struct result *out)
{
    return openai_chat_parse(answer, COMPLETIONS, out);
}

/* IBM closes its streams without [DONE]; the last choice has a finish_reason, and one more event
 * with the usage may follow. */
static struct err *chat_event(struct stream *s, const struct event *ev, struct sink *sink)
{
    const struct json *root = NULL;
    TRY(openai_chat_event(s, ev, sink));
    err_free(s->finished ? NULL : json_parse(s->scratch, str_trim(ev->data), &root));
    struct json_iter it = json_iter(json_get(root, "choices"));
    for (const struct json *choice; (choice = json_next(&it));) {
        struct str reason;
        if (json_str(json_get(choice, "finish_reason"), &reason) && reason.n)
            s->may_end = true;
    }
    return NULL;
}

/* --- refusals: {"errors": [{"code", "message"}]}; a gateway may say error.message --- */

static const char *operation_of(enum task task)
{
    if (task == TASK_TEXT_EMBEDDING)
        return "embeddings";
    if (task == TASK_RERANK)
        return "rerank";
    return task == TASK_CHAT_COMPLETION ? "chat_stream" : "chat";
}

static void read_errors(const struct http_in *in, struct verdict *out)
{
    const struct json *root;
    struct err *bad = json_parse(in->arena, in->body, &root);
    err_free(bad);
    const struct json *errors = bad ? NULL : json_get(root, "errors");
    if (!json_is(errors, JSON_ARRAY) || errors->n == 0 || errors->flat)
        return;
    json_str(json_get(json_at(errors, 0), "message"), &out->message);
    json_str(json_get(json_at(errors, 0), "code"), &out->chat_code);
}

static void judge(const struct endpoint *ep, const struct http_in *in, struct verdict *out)
{
    verdict_by_status(in->status, out);
    verdict_message(in, out, "error", "message", NULL);
    if (!out->message.n)
        read_errors(in, out);
    if (in->status == 500)
        out->action = VERDICT_RETRY;
    else if (in->status == 400)
        verdict_set(out, VERDICT_FAIL, "Received a bad request status code");
    else if (in->status == 403)
        verdict_set(out, VERDICT_FAIL, "Received a permission denied error status code");
    else if (in->status == 404)
        out->prefix = arena_printf(in->arena, "Resource not found at [%.*s]",
                                   STR_ARG(url_of(in->arena, ep, operation_of(ep->task))));
    else if (in->status == 429 || in->status > 500)
        verdict_set(out, VERDICT_FAIL, "Received an unsuccessful status code");
}

static const struct provider_task tasks[] = {
    {.task = TASK_TEXT_EMBEDDING,
     .request_name = EMBEDDINGS,
     .default_rpm = 120,
     .batch = 1000,
     .build = embed_build,
     .parse = embed_parse},
    {.task = TASK_RERANK,
     .request_name = RERANK,
     .default_rpm = 120,
     .build = rerank_build,
     .parse = rerank_parse},
    {.task = TASK_COMPLETION,
     .request_name = COMPLETIONS,
     .one_input = COMPLETIONS,
     .default_rpm = 120,
     .framing = FRAMING_SSE,
     .build = chat_build,
     .parse = chat_parse_answer,
     .on_event = chat_event},
    {.task = TASK_CHAT_COMPLETION,
     .request_name = CHAT,
     .default_rpm = 120,
     .framing = FRAMING_SSE,
     .build = chat_build,
     .parse = chat_parse_answer,
     .on_event = chat_event},
};

static const char *const group_by[] = {"api_key", "project_id", NULL};

const struct provider provider_watsonxai = {
    .name = "watsonxai",
    .label = "IBM Watsonx",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .similarity = "dot_product",
    .cuts_input = true,
    .auth = auth_of,
    .judge = judge,
};
