/* googlevertexai: embeddings, ranking and chats of Google Cloud, by a service account. Chats speak
 * to Gemini, or to another maker's model in the Model Garden in its own words. Source: shared
 * facts, providers.md 3.8 (API v1 as of January 2025), inference.md 5.10 with what 9.1 to 9.4 add.
 */
#include "googlevertexai.h"

#include "anthropic_shape.h"
#include "gemini_chat.h"
#include "google.h"
#include "openai_shape.h"

#define TE    TASK_BIT(TASK_TEXT_EMBEDDING)
#define RR    TASK_BIT(TASK_RERANK)
#define CHATS (TASK_BIT(TASK_COMPLETION) | TASK_BIT(TASK_CHAT_COMPLETION))
#define ALL   (TE | RR | CHATS)

#define CHAT   "Google Vertex AI chat completion"
#define GARDEN "Google Model Garden chat completion"

static const char *const makers[] = {"ai21", "anthropic", "google", "hugging_face",
                                     "meta", "mistral",   NULL};
static const char *const input_types[] = {"classification", "clustering", "ingest", "search", NULL};

static const struct setting rows[N_SETTINGS] = {
    [S_SERVICE_ACCOUNT] = {.name = "service_account_json",
                           .place = IN_SECRET,
                           .type = SETTING_STR,
                           .tasks = ALL,
                           .flags = SETTING_REQUIRED | SETTING_UPDATABLE,
                           .label = "Credentials JSON",
                           .description = "API Key for the provider you're connecting to."},
    [S_LOCATION] = {.name = "location",
                    .place = IN_SERVICE,
                    .type = SETTING_STR,
                    .tasks = ALL,
                    .ui_required = 1,
                    .label = "GCP Region",
                    .description = "The GCP region where the Vertex AI API(s) is enabled."},
    [S_PROJECT_ID] = {.name = "project_id",
                      .place = IN_SERVICE,
                      .type = SETTING_STR,
                      .tasks = ALL,
                      .required_for = ALL,
                      .unless = "provider",
                      .ui_required = 1,
                      .label = "GCP Project",
                      .description = "The GCP Project ID which has Vertex AI API(s) enabled."},
    [S_MODEL_ID] = {.name = "model_id",
                    .place = IN_SERVICE,
                    .type = SETTING_STR,
                    .tasks = ALL,
                    .required_for = TE | CHATS,
                    .unless = "provider",
                    .ui_required = 1,
                    .label = "Model ID",
                    .description = "ID of the LLM you're using."},
    [S_URL] = {.name = "url",
               .place = IN_SERVICE,
               .type = SETTING_URL,
               .tasks = CHATS,
               .flags = SETTING_UNLISTED,
               .label = "URL",
               .description = "The address of a model of the Model Garden."},
    [S_STREAMING_URL] = {.name = "streaming_url",
                         .place = IN_SERVICE,
                         .type = SETTING_URL,
                         .tasks = CHATS,
                         .flags = SETTING_UNLISTED,
                         .label = "Streaming URL",
                         .description = "The same for streams."},
    [S_PROVIDER] = {.name = "provider",
                    .place = IN_SERVICE,
                    .type = SETTING_ENUM,
                    .tasks = CHATS,
                    .flags = SETTING_UNLISTED,
                    .choices = makers,
                    .label = "Provider",
                    .description = "The maker of a model of the Model Garden."},
    [S_MAX_INPUT_TOKENS] = SETTING_ROW_MAX_INPUT_TOKENS(TE),
    [S_DIMENSIONS] = SETTING_ROW_DIMENSIONS(TE),
    [S_DIMENSIONS_SET_BY_USER] = SETTING_ROW_DIMENSIONS_SET_BY_USER(TE),
    [S_MAX_BATCH_SIZE] = {.name = "max_batch_size",
                          .place = IN_SERVICE,
                          .type = SETTING_INT,
                          .tasks = TE,
                          .flags = SETTING_UPDATABLE | SETTING_UNLISTED,
                          .has_range = true,
                          .min = 1,
                          .max = 250,
                          .label = "Maximum Batch Size",
                          .description = "The most inputs in one request to the service."},
    [S_SIMILARITY] = SETTING_ROW_SIMILARITY(TE),
    [S_RATE_LIMIT] = SETTING_ROW_RATE_LIMIT(ALL),
    [S_AUTO_TRUNCATE] = {.name = "auto_truncate",
                         .place = IN_TASK,
                         .type = SETTING_BOOL,
                         .tasks = TE,
                         .flags = SETTING_UNLISTED,
                         .label = "Auto Truncate",
                         .description = "Whether the service cuts inputs that are too long."},
    [S_INPUT_TYPE] = SETTING_ROW_INPUT_TYPE(TE, input_types),
    [S_TOP_N] = SETTING_ROW_TOP_N(RR),
    [S_THINKING_CONFIG] = {.name = "thinking_config",
                           .place = IN_TASK,
                           .type = SETTING_JSON,
                           .tasks = CHATS,
                           .flags = SETTING_UNLISTED,
                           .label = "Thinking Config",
                           .description = "How much a model may think: {\"thinking_budget\": N}."},
    [S_MAX_TOKENS] = {.name = "max_tokens",
                      .place = IN_TASK,
                      .type = SETTING_INT,
                      .tasks = CHATS,
                      .flags = SETTING_UNLISTED,
                      .label = "Max Tokens",
                      .description = "The maximum number of tokens to generate."},
};

static const struct settings_table table = {
    .service = "googlevertexai", .rows = rows, .n = N_SETTINGS};

/* --- addresses --- */

static bool is_set(const struct endpoint *ep, int row)
{
    return ep->values.v[row].set;
}

static struct str segment(struct arena *arena, struct str s)
{
    return http_escape(arena, s, false);
}

/* "https://us-east1-aiplatform.googleapis.com/v1/projects/<project>" */
static struct str project_url(struct arena *arena, const struct endpoint *ep)
{
    const struct value *v = ep->values.v;
    struct str at = v[S_LOCATION].set ? v[S_LOCATION].s : STR("global");
    bool global = str_eq(at, STR("global"));
    return arena_printf(arena, "https://%.*s%saiplatform.googleapis.com/v1/projects/%.*s",
                        global ? 0 : (int)at.n, at.p, global ? "" : "-",
                        STR_ARG(segment(arena, v[S_PROJECT_ID].s)));
}

static struct str model_url(struct arena *arena, const struct endpoint *ep, struct str location,
                            struct str model, const char *operation)
{
    return arena_printf(arena, "%.*s/locations/%.*s/publishers/google/models/%.*s:%s",
                        STR_ARG(project_url(arena, ep)), STR_ARG(location),
                        STR_ARG(segment(arena, model)), operation);
}

struct str vertex_embed_url(struct arena *arena, const struct endpoint *ep)
{
    const struct value *v = ep->values.v;
    return model_url(arena, ep, v[S_LOCATION].set ? v[S_LOCATION].s : STR("global"),
                     v[S_MODEL_ID].s, "predict");
}

struct str vertex_rerank_url(struct arena *arena, const struct endpoint *ep)
{
    return arena_printf(arena,
                        "https://discoveryengine.googleapis.com/v1/projects/%.*s/locations/global/"
                        "rankingConfigs/default_ranking_config:rank",
                        STR_ARG(segment(arena, ep->values.v[S_PROJECT_ID].s)));
}

/* Chats are answered by the global location, whatever the host. An address of the Garden that is
 * not given is the same as the other one. */
static struct str chat_url(struct arena *arena, const struct endpoint *ep, struct str model,
                           bool stream)
{
    const struct value *v = ep->values.v;
    const struct value *mine = &v[stream ? S_STREAMING_URL : S_URL];
    const struct value *other = &v[stream ? S_URL : S_STREAMING_URL];
    if (mine->set || other->set)
        return mine->set ? mine->s : other->s;
    return model_url(arena, ep, STR("global"), model,
                     stream ? "streamGenerateContent?alt=sse" : "generateContent");
}

/* --- settings --- */

/* It becomes a part of a host's name. */
static bool location_ok(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
            c != '-')
            return false;
    }
    return s.n <= 63;
}

static bool is_gemini(const struct endpoint *ep)
{
    const struct value *maker = &ep->values.v[S_PROVIDER];
    return !maker->set || str_eq(maker->s, STR("google"));
}

static void check_addresses(const struct endpoint *ep, struct err_list *problems)
{
    if (is_set(ep, S_LOCATION) && !location_ok(ep->values.v[S_LOCATION].s))
        err_list_add(problems,
                     "[service_settings] Invalid value [%.*s]. [location] must be the name of a "
                     "region",
                     STR_ARG(str_sub(ep->values.v[S_LOCATION].s, 0, 200)));
    if (!(TASK_BIT(ep->task) & CHATS) || is_set(ep, S_URL) || is_set(ep, S_STREAMING_URL))
        return;
    if (!is_gemini(ep) || !is_set(ep, S_PROJECT_ID) || !is_set(ep, S_MODEL_ID))
        err_list_add(problems, "For Google Model Garden, you must provide either provider with url "
                               "and/or streaming_url. For Google Vertex AI models, you must "
                               "provide location, project_id, and model_id.");
}

static struct err *check(struct endpoint *ep)
{
    struct err_list problems = {0};
    const struct value *thinking = &ep->values.v[S_THINKING_CONFIG];
    int64_t budget;
    check_addresses(ep, &problems);
    struct json_iter it = json_iter(thinking->set ? thinking->json : NULL);
    for (const struct json *m; (m = json_next(&it));) {
        if (!str_eq(m->key, STR("thinking_budget")))
            err_list_add(&problems, "[thinking_config] does not allow the setting [%.*s]",
                         STR_ARG(str_sub(m->key, 0, 200)));
        else if (!json_i64(m, &budget) || budget < INT32_MIN || budget > INT32_MAX)
            err_list_add(&problems,
                         "field [thinking_budget] is not of the expected type. The value [%.*s] "
                         "cannot be converted to a [Integer]",
                         STR_ARG(str_sub(json_raw(m), 0, 200)));
    }
    return err_list_end(&problems, ERR_VALIDATION);
}

static const struct auth *auth_of(const struct endpoint *ep)
{
    return &google_auth;
}

/* --- chats --- */

static bool made_by(const struct endpoint *ep, const char *maker)
{
    return !is_gemini(ep) && str_eq_c(ep->values.v[S_PROVIDER].s, maker);
}

static struct err *anthropic_build(const struct input *in, struct http_out *out)
{
    static const struct value usual = {.set = true, .i = 1024};
    const struct value *max = &in->values.v[S_MAX_TOKENS];
    struct anthropic_settings settings = {.version = "vertex-2023-10-16",
                                          .max_tokens = max->set ? max : &usual};
    return anthropic_body(in, &settings, out);
}

static struct err *openai_build(const struct endpoint *ep, const struct input *in, struct str model,
                                struct http_out *out)
{
    const struct openai_style style = {.max_field = "max_tokens",
                                       .stream_options = !made_by(ep, "mistral")};
    struct body b;
    body_begin(&b);
    openai_chat_body(&b.w, in, model, (struct str){0}, &style);
    return body_finish(&b, out);
}

static struct err *chat_build(const struct endpoint *ep, const struct input *in,
                              struct http_out *out)
{
    const struct value *v = in->values.v;
    struct str model = v[S_MODEL_ID].set ? v[S_MODEL_ID].s : (struct str){0};
    if (in->chat && in->chat->model.n)
        model = in->chat->model;
    request_json(out, chat_url(out->arena, ep, model, in->stream), NULL);
    if (made_by(ep, "anthropic"))
        return anthropic_build(in, out);
    if (!is_gemini(ep))
        return openai_build(ep, in, model, out);
    struct gemini_settings settings = {
        .model = model, .max_tokens = &v[S_MAX_TOKENS], .thinking_config = &v[S_THINKING_CONFIG]};
    return gemini_chat_body(in, &settings, out);
}

static struct err *chat_parse_answer(const struct endpoint *ep, const struct input *in,
                                     const struct http_in *answer, struct result *out)
{
    if (made_by(ep, "anthropic"))
        return anthropic_parse(answer, GARDEN, out);
    if (!is_gemini(ep))
        return openai_chat_parse(answer, GARDEN, out);
    return gemini_parse(answer, CHAT, out);
}

static struct err *chat_event(struct stream *s, const struct event *ev, struct sink *sink)
{
    if (made_by(s->endpoint, "anthropic"))
        return anthropic_event(s, ev, sink);
    if (!is_gemini(s->endpoint))
        return openai_chat_event(s, ev, sink);
    return gemini_chat_event(s, ev, sink);
}

/* --- refusals --- */

static struct str called_url(struct arena *arena, const struct endpoint *ep)
{
    if (ep->task == TASK_TEXT_EMBEDDING)
        return vertex_embed_url(arena, ep);
    if (ep->task == TASK_RERANK)
        return vertex_rerank_url(arena, ep);
    return chat_url(arena, ep, ep->values.v[S_MODEL_ID].s, ep->task == TASK_CHAT_COMPLETION);
}

extern const struct provider provider_anthropic;

/* Models of the Garden refuse in their makers' words; what Google refuses itself looks alike. */
static void judge(const struct endpoint *ep, const struct http_in *in, struct verdict *out)
{
    struct str url = called_url(in->arena, ep);
    if (made_by(ep, "anthropic"))
        provider_anthropic.judge(ep, in, out);
    else if (!is_gemini(ep))
        openai_judge(ep, url, in, out);
    else
        google_judge(in, "Google Vertex AI", url, out);
}

static const struct provider_task tasks[] = {
    {.task = TASK_TEXT_EMBEDDING,
     .request_name = VERTEX_EMBEDDINGS,
     .default_rpm = 30000,
     .batch_tokens = 20000,
     .batch_of = vertex_batch_of,
     .build = vertex_embed_build,
     .parse = vertex_embed_parse},
    {.task = TASK_RERANK,
     .request_name = VERTEX_RERANK,
     .default_rpm = 300,
     .build = vertex_rerank_build,
     .parse = vertex_rerank_parse},
    {.task = TASK_COMPLETION,
     .request_name = CHAT,
     .one_input = CHAT,
     .default_rpm = 1000,
     .framing = FRAMING_SSE,
     .build = chat_build,
     .parse = chat_parse_answer,
     .on_event = chat_event},
    {.task = TASK_CHAT_COMPLETION,
     .request_name = CHAT,
     .default_rpm = 1000,
     .framing = FRAMING_SSE,
     .build = chat_build,
     .parse = chat_parse_answer,
     .on_event = chat_event},
};

/* Google's quotas hold for a project and a model, whoever asks. */
static const char *const group_by[] = {"project_id", "location", "model_id", "url", NULL};

const struct provider provider_googlevertexai = {
    .name = "googlevertexai",
    .label = "Google Vertex AI",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .similarity = "dot_product",
    .cuts_input = true,
    .auth = auth_of,
    .check = check,
    .judge = judge,
};
