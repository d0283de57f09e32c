/* azureaistudio: models of six providers at Azure, paid by the token or on machines of one's own
 * (realtime). Which of these does what, where and in which shape, is a table. Source: shared facts,
 * providers.md 3.4 (API as of January 2025), inference.md 5.4 with what 9.2 (rerank) adds; Azure's
 * Model Inference API (2024-05-01-preview) for chat_completion, which Elasticsearch does not have
 * here. */
#include "azureaistudio.h"

#include "openai_shape.h"

#define TE    TASK_BIT(TASK_TEXT_EMBEDDING)
#define RR    TASK_BIT(TASK_RERANK)
#define CO    TASK_BIT(TASK_COMPLETION)
#define CC    TASK_BIT(TASK_CHAT_COMPLETION)
#define CHATS (CO | CC)
#define ALL   (TE | RR | CHATS)

static const char *const provider_names[] = {"cohere",  "databricks", "meta", "microsoft_phi",
                                             "mistral", "openai",     NULL};
static const char *const endpoint_types[] = {"realtime", "token", NULL};

static const struct setting rows[N_SETTINGS] = {
    [S_API_KEY] = SETTING_API_KEY(ALL),
    [S_TARGET] = {.name = "target",
                  .place = IN_SERVICE,
                  .type = SETTING_URL,
                  .tasks = ALL,
                  .flags = SETTING_REQUIRED,
                  .label = "Target",
                  .description = "The target URL of your Azure AI Studio model deployment."},
    [S_PROVIDER] = {.name = "provider",
                    .place = IN_SERVICE,
                    .type = SETTING_ENUM,
                    .tasks = ALL,
                    .flags = SETTING_REQUIRED,
                    .choices = provider_names,
                    .label = "Provider",
                    .description = "The model provider for your deployment."},
    [S_ENDPOINT_TYPE] = {.name = "endpoint_type",
                         .place = IN_SERVICE,
                         .type = SETTING_ENUM,
                         .tasks = ALL,
                         .flags = SETTING_REQUIRED,
                         .choices = endpoint_types,
                         .label = "Endpoint Type",
                         .description = "Specifies the type of endpoint that is used in your "
                                        "model deployment."},
    [S_SIMILARITY] = SETTING_ROW_SIMILARITY(TE),
    [S_DIMENSIONS] = SETTING_ROW_DIMENSIONS(TE),
    [S_DIMENSIONS_SET_BY_USER] = SETTING_ROW_DIMENSIONS_SET_BY_USER(TE),
    [S_MAX_INPUT_TOKENS] = SETTING_ROW_MAX_INPUT_TOKENS(TE),
    [S_RATE_LIMIT] = SETTING_ROW_RATE_LIMIT(ALL),
    [S_TEMPERATURE] = {.name = "temperature",
                       .place = IN_TASK,
                       .type = SETTING_FLOAT,
                       .tasks = CHATS,
                       .flags = SETTING_UNLISTED,
                       .has_range = true,
                       .max = 2,
                       .label = "Temperature",
                       .description = "How much chance there is in the choice of words."},
    [S_TOP_P] = {.name = "top_p",
                 .place = IN_TASK,
                 .type = SETTING_FLOAT,
                 .tasks = CHATS,
                 .flags = SETTING_UNLISTED,
                 .has_range = true,
                 .max = 2,
                 .label = "Top P",
                 .description = "The share of likely words to choose from."},
    [S_DO_SAMPLE] = {.name = "do_sample",
                     .place = IN_TASK,
                     .type = SETTING_BOOL,
                     .tasks = CHATS,
                     .flags = SETTING_UNLISTED,
                     .label = "Do Sample",
                     .description = "Whether words are chosen by chance at all."},
    [S_MAX_NEW_TOKENS] = {.name = "max_new_tokens",
                          .place = IN_TASK,
                          .type = SETTING_INT,
                          .tasks = CO,
                          .flags = SETTING_UNLISTED,
                          .preset = "64",
                          .label = "Max New Tokens",
                          .description = "The maximum number of tokens to generate."},
    [S_CHAT_MAX_NEW_TOKENS] = {.name = "max_new_tokens",
                               .place = IN_TASK,
                               .type = SETTING_INT,
                               .tasks = CC,
                               .flags = SETTING_UNLISTED,
                               .label = "Max New Tokens",
                               .description = "The maximum number of tokens to generate."},
    [S_USER] = SETTING_ROW_USER(TE),
    [S_RETURN_DOCUMENTS] = SETTING_ROW_RETURN_DOCUMENTS(RR),
    [S_TOP_N] = SETTING_ROW_TOP_N(RR),
};

static const struct settings_table table = {
    .service = "azureaistudio", .rows = rows, .n = N_SETTINGS};

/* --- what there is --- */

static const struct ability {
    struct str provider;
    unsigned token, realtime; /* tasks */
} abilities[] = {
    {STR_INIT("cohere"), TE | RR | CHATS, 0}, {STR_INIT("databricks"), 0, CHATS},
    {STR_INIT("meta"), CHATS, CHATS},         {STR_INIT("microsoft_phi"), 0, CHATS},
    {STR_INIT("mistral"), 0, CHATS},          {STR_INIT("openai"), TE | CHATS, 0},
};

bool azureaistudio_by_token(const struct endpoint *ep)
{
    return str_eq(ep->values.v[S_ENDPOINT_TYPE].s, STR("token"));
}

bool azureaistudio_is_openai(const struct endpoint *ep)
{
    return str_eq(ep->values.v[S_PROVIDER].s, STR("openai"));
}

static struct err *check(struct endpoint *ep)
{
    const struct value *v = ep->values.v;
    const struct ability *a = abilities;
    const struct ability *last = abilities + sizeof abilities / sizeof abilities[0] - 1;
    while (a < last && !str_eq(a->provider, v[S_PROVIDER].s))
        a++;
    unsigned task = TASK_BIT(ep->task);
    if (!((a->token | a->realtime) & task))
        return err_status(400, "The [%s] task type for provider [%.*s] is not available",
                          task_name(ep->task), STR_ARG(a->provider));
    if (!((azureaistudio_by_token(ep) ? a->token : a->realtime) & task))
        return err_status(400,
                          "The [%.*s] endpoint type with [%s] task type for provider [%.*s] is not "
                          "available",
                          STR_ARG(v[S_ENDPOINT_TYPE].s), task_name(ep->task), STR_ARG(a->provider));
    return NULL;
}

/* --- requests --- */

/* OpenAI's target and those of realtime endpoints are whole URLs. */
static struct str url_of(const struct endpoint *ep, struct arena *a)
{
    struct str target = ep->values.v[S_TARGET].s;
    if (azureaistudio_is_openai(ep) || !azureaistudio_by_token(ep))
        return target;
    const char *path = ep->task == TASK_TEXT_EMBEDDING ? "/v1/embeddings"
                       : ep->task == TASK_RERANK       ? "/v1/rerank"
                                                       : "/v1/chat/completions";
    if (str_ends(target, STR("/")))
        target.n--;
    return arena_printf(a, "%.*s%s", STR_ARG(target), path);
}

/* Three ways to show the same key. */
void azureaistudio_request(const struct endpoint *ep, const struct input *in, struct http_out *out)
{
    const struct value *key = &in->values.v[S_API_KEY];
    bool realtime = !azureaistudio_by_token(ep);
    request_json(out, url_of(ep, out->arena),
                 !azureaistudio_is_openai(ep) && realtime ? key : NULL);
    if (azureaistudio_is_openai(ep))
        http_header_add(&out->headers, STR("api-key"), secret_reveal(key->secret));
    else if (!realtime)
        http_header_add(&out->headers, STR("Authorization"), secret_reveal(key->secret));
}

static struct err *embed_build(const struct endpoint *ep, const struct input *in,
                               struct http_out *out)
{
    const struct value *v = in->values.v;
    azureaistudio_request(ep, in, out);
    struct body b;
    body_begin(&b);
    json_key_texts(&b.w, "input", in->texts, in->n_texts);
    if (v[S_USER].set)
        json_key_str(&b.w, "user", v[S_USER].s);
    if (v[S_DIMENSIONS].set && v[S_DIMENSIONS].by_user)
        json_key_i64(&b.w, "dimensions", v[S_DIMENSIONS].i);
    return body_finish(&b, out);
}

static struct err *rerank_build(const struct endpoint *ep, const struct input *in,
                                struct http_out *out)
{
    const struct value *v = in->values.v;
    int64_t top_n;
    azureaistudio_request(ep, in, out);
    struct body b;
    body_begin(&b);
    json_key_str(&b.w, "query", in->query);
    json_key_texts(&b.w, "documents", in->texts, in->n_texts);
    if (in->has_return_documents || v[S_RETURN_DOCUMENTS].set)
        json_key_bool(&b.w, "return_documents", call_return_documents(in));
    if (call_top_n(in, &top_n))
        json_key_i64(&b.w, "top_n", top_n);
    return body_finish(&b, out);
}

static void put_messages(struct json_out *w, const char *key, struct str text)
{
    json_key(w, key);
    json_arr(w);
    json_obj(w);
    json_key_str(w, "content", text);
    json_key_cstr(w, "role", "user");
    json_end(w);
    json_end(w);
}

static void put_parameters(struct json_out *w, const struct value *v)
{
    if (!v[S_TEMPERATURE].set && !v[S_TOP_P].set && !v[S_DO_SAMPLE].set && !v[S_MAX_NEW_TOKENS].set)
        return;
    json_key(w, "parameters");
    json_obj(w);
    if (v[S_TEMPERATURE].set)
        json_key_f64(w, "temperature", v[S_TEMPERATURE].d);
    if (v[S_TOP_P].set)
        json_key_f64(w, "top_p", v[S_TOP_P].d);
    if (v[S_DO_SAMPLE].set)
        json_key_bool(w, "do_sample", v[S_DO_SAMPLE].b);
    if (v[S_MAX_NEW_TOKENS].set)
        json_key_i64(w, "max_new_tokens", v[S_MAX_NEW_TOKENS].i);
    json_end(w);
}

static struct err *completion_build(const struct endpoint *ep, const struct input *in,
                                    struct http_out *out)
{
    azureaistudio_request(ep, in, out);
    struct body b;
    body_begin(&b);
    if (azureaistudio_by_token(ep)) {
        put_messages(&b.w, "messages", in->texts[0]);
        put_parameters(&b.w, in->values.v);
    } else {
        json_key(&b.w, "input_data");
        json_obj(&b.w);
        put_messages(&b.w, "input_string", in->texts[0]);
        put_parameters(&b.w, in->values.v);
        json_end(&b.w);
    }
    if (in->stream)
        json_key_bool(&b.w, "stream", true);
    return body_finish(&b, out);
}

/* --- answers --- */

static struct err *embed_parse(const struct endpoint *ep, const struct input *in,
                               const struct http_in *answer, struct result *out)
{
    return openai_embed_parse(answer, in, "Azure AI Studio embeddings", out);
}

static struct err *rerank_parse(const struct endpoint *ep, const struct input *in,
                                const struct http_in *answer, struct result *out)
{
    return results_ranked(answer, in, "Azure AI Studio rerank", out);
}

static struct err *chat_parse_answer(const struct endpoint *ep, const struct input *in,
                                     const struct http_in *answer, struct result *out)
{
    static const char name[] = "Azure AI Studio completion";
    if (azureaistudio_by_token(ep))
        return openai_chat_parse(answer, name, out);
    const struct json *root;
    TRY(answer_json(answer, &root));
    return completion_from(json_get(root, "output"), "output", name, answer->arena, out);
}

/* --- refusals --- */

static struct str quota(const struct http_in *in)
{
    struct str ignored;
    bool limits = http_header_get(&in->headers, STR("x-ratelimit-limit-tokens"), &ignored) ||
                  http_header_get(&in->headers, STR("x-ratelimit-limit-requests"), &ignored);
    return limits ? openai_quota(in) : azure_quota(in);
}

static void judge(const struct endpoint *ep, const struct http_in *in, struct verdict *out)
{
    verdict_by_status(in->status, out);
    openai_refusal(in, out);
    if (in->status == 500) {
        out->action = VERDICT_RETRY;
    } else if (in->status == 503) {
        verdict_set(out, VERDICT_RETRY, "Received a server busy error status code");
    } else if (in->status == 429) {
        out->action = VERDICT_RETRY;
        out->prefix = quota(in);
    } else if (in->status == 413 || (in->status == 400 && openai_prompt_too_long(out->message))) {
        verdict_set(out, VERDICT_SHORTEN, "Received a content too large status code");
    }
}

static const struct provider_task tasks[] = {
    {.task = TASK_TEXT_EMBEDDING,
     .request_name = "Azure AI Studio embeddings",
     .default_rpm = 240,
     .batch = 2048,
     .build = embed_build,
     .parse = embed_parse},
    {.task = TASK_RERANK,
     .request_name = "Azure AI Studio rerank",
     .default_rpm = 240,
     .build = rerank_build,
     .parse = rerank_parse},
    {.task = TASK_COMPLETION,
     .request_name = "Azure AI Studio completion",
     .one_input = "Azure AI Studio completion",
     .default_rpm = 240,
     .framing = FRAMING_SSE,
     .build = completion_build,
     .parse = chat_parse_answer,
     .on_event = openai_chat_event},
    {.task = TASK_CHAT_COMPLETION,
     .request_name = "Azure AI Studio chat completion",
     .default_rpm = 240,
     .framing = FRAMING_SSE,
     .build = azureaistudio_chat_build,
     .parse = chat_parse_answer,
     .on_event = openai_chat_event},
};

static const char *const group_by[] = {"target", NULL};

const struct provider provider_azureaistudio = {
    .name = "azureaistudio",
    .label = "Azure AI Studio",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .similarity = "dot_product",
    .cuts_input = true,
    .check = check,
    .judge = judge,
};
