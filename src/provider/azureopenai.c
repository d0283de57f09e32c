/* azureopenai: OpenAI's models in a deployment of one's own at Azure: the URL names the model.
 * Source: shared facts, providers.md 3.5, inference.md 5.5 with what 9.3 (chats) and 9.4 (client
 * credentials) add. */
#include "entra.h"
#include "oauth2.h"
#include "openai_shape.h"

#define TE    TASK_BIT(TASK_TEXT_EMBEDDING)
#define CHATS (TASK_BIT(TASK_COMPLETION) | TASK_BIT(TASK_CHAT_COMPLETION))
#define ALL   (TE | CHATS)

enum {
    S_API_KEY,
    S_ENTRA_ID,
    S_CLIENT_SECRET,
    S_RESOURCE_NAME,
    S_API_VERSION,
    S_DEPLOYMENT_ID,
    S_SIMILARITY,
    S_DIMENSIONS,
    S_DIMENSIONS_SET_BY_USER,
    S_MAX_INPUT_TOKENS,
    S_CLIENT_ID,
    S_SCOPES,
    S_TENANT_ID,
    S_RATE_LIMIT,
    S_USER,
    S_HEADERS,
    N_SETTINGS
};

static const struct setting rows[N_SETTINGS] = {
    [S_API_KEY] = {.name = "api_key",
                   .place = IN_SECRET,
                   .type = SETTING_STR,
                   .tasks = ALL,
                   .flags = SETTING_UPDATABLE,
                   .label = "API Key",
                   .description = "You must provide either an API key or an Entra ID."},
    [S_ENTRA_ID] = {.name = "entra_id",
                    .place = IN_SECRET,
                    .type = SETTING_STR,
                    .tasks = ALL,
                    .flags = SETTING_UPDATABLE,
                    .label = "Entra ID",
                    .description = "You must provide either an API key or an Entra ID."},
    [S_CLIENT_SECRET] = SETTING_ROW_CLIENT_SECRET(ALL),
    [S_RESOURCE_NAME] = {.name = "resource_name",
                         .place = IN_SERVICE,
                         .type = SETTING_STR,
                         .tasks = ALL,
                         .flags = SETTING_REQUIRED,
                         .label = "Resource Name",
                         .description = "The name of your Azure OpenAI resource."},
    [S_API_VERSION] = {.name = "api_version",
                       .place = IN_SERVICE,
                       .type = SETTING_STR,
                       .tasks = ALL,
                       .flags = SETTING_REQUIRED,
                       .label = "API Version",
                       .description = "The Azure API version ID to use."},
    [S_DEPLOYMENT_ID] = {.name = "deployment_id",
                         .place = IN_SERVICE,
                         .type = SETTING_STR,
                         .tasks = ALL,
                         .flags = SETTING_REQUIRED,
                         .label = "Deployment ID",
                         .description = "The deployment name of your deployed models."},
    [S_SIMILARITY] = SETTING_ROW_SIMILARITY(TE),
    [S_DIMENSIONS] = SETTING_ROW_DIMENSIONS(TE),
    [S_DIMENSIONS_SET_BY_USER] = SETTING_ROW_DIMENSIONS_SET_BY_USER(TE),
    [S_MAX_INPUT_TOKENS] = SETTING_ROW_MAX_INPUT_TOKENS(TE),
    [S_CLIENT_ID] = SETTING_ROW_CLIENT_ID(ALL),
    [S_SCOPES] = SETTING_ROW_SCOPES(ALL),
    [S_TENANT_ID] = {.name = "tenant_id",
                     .place = IN_SERVICE,
                     .type = SETTING_STR,
                     .tasks = ALL,
                     .flags = SETTING_UPDATABLE | SETTING_UNLISTED,
                     .label = "OAuth2 Tenant ID",
                     .description = "The directory tenant that is asked for permission."},
    [S_RATE_LIMIT] = SETTING_ROW_RATE_LIMIT(ALL),
    [S_USER] = SETTING_ROW_USER(ALL),
    [S_HEADERS] = SETTING_ROW_HEADERS(ALL),
};

static const struct settings_table table = {
    .service = "azureopenai", .rows = rows, .n = N_SETTINGS};

/* --- who asks --- */

/* Exactly one secret. Elasticsearch's texts name the third kind since 9.4. */
static struct err *check_secrets(const struct value *v)
{
    struct err_list problems = {0};
    bool key = v[S_API_KEY].set, entra = v[S_ENTRA_ID].set, client = v[S_CLIENT_SECRET].set;
    if (!key && !entra && !client)
        err_list_add(&problems, "[secret_settings] must have either the [api_key] or the "
                                "[entra_id] key set");
    else if (key && entra && !client)
        err_list_add(&problems, "[secret_settings] must have only one of the [api_key] or the "
                                "[entra_id] key set");
    else if (key + entra + client > 1)
        err_list_add(&problems,
                     "[secret_settings] must have exactly one of [api_key], [entra_id], or "
                     "[client_secret] field set, received: [%s%sclient_secret]",
                     key ? "api_key, " : "", entra ? "entra_id, " : "");
    return err_list_end(&problems, ERR_VALIDATION);
}

static struct err *check(struct endpoint *ep)
{
    TRY(check_secrets(ep->values.v));
    return oauth2_check(ep, "Azure OpenAI", "tenant_id");
}

static const struct auth *auth(const struct endpoint *ep)
{
    return ep->values.v[S_CLIENT_SECRET].set ? &entra_auth : NULL;
}

static struct str url_of(const struct endpoint *ep, struct arena *a)
{
    const struct value *v = ep->values.v;
    return arena_printf(a,
                        "https://%.*s.openai.azure.com/openai/deployments/%.*s/%s?api-version=%.*s",
                        STR_ARG(http_escape(a, v[S_RESOURCE_NAME].s, false)),
                        STR_ARG(http_escape(a, v[S_DEPLOYMENT_ID].s, false)),
                        ep->task == TASK_TEXT_EMBEDDING ? "embeddings" : "chat/completions",
                        STR_ARG(http_escape(a, v[S_API_VERSION].s, false)));
}

static struct err *request(const struct endpoint *ep, const struct input *in, struct http_out *out)
{
    const struct value *v = in->values.v;
    request_json(out, url_of(ep, out->arena), &v[S_ENTRA_ID]);
    if (v[S_API_KEY].set)
        http_header_add(&out->headers, STR("api-key"), secret_reveal(v[S_API_KEY].secret));
    return request_headers(&v[S_HEADERS], out);
}

/* --- embeddings and chats --- */

static struct err *embed_build(const struct endpoint *ep, const struct input *in,
                               struct http_out *out)
{
    const struct value *v = in->values.v;
    TRY(request(ep, in, out));
    struct body b;
    body_begin(&b);
    json_key_texts(&b.w, "input", in->texts, in->n_texts);
    if (v[S_USER].set)
        json_key_str(&b.w, "user", v[S_USER].s);
    if (v[S_DIMENSIONS].set && v[S_DIMENSIONS].by_user)
        json_key_i64(&b.w, "dimensions", v[S_DIMENSIONS].i);
    return body_finish(&b, out);
}

static struct err *embed_parse(const struct endpoint *ep, const struct input *in,
                               const struct http_in *answer, struct result *out)
{
    return openai_embed_parse(answer, in, "Azure OpenAI embeddings", out);
}

/* Versions of the API that are old enough refuse stream_options; those that know all that a chat
 * may hold know them too. */
static struct err *chat_build(const struct endpoint *ep, const struct input *in,
                              struct http_out *out)
{
    const struct openai_style style = {.max_field = "max_completion_tokens",
                                       .stream_options = in->chat != NULL,
                                       .omits_model = true};
    const struct value *user = &in->values.v[S_USER];
    TRY(request(ep, in, out));
    struct body b;
    body_begin(&b);
    openai_chat_body(&b.w, in, (struct str){0}, user->set ? user->s : (struct str){0}, &style);
    return body_finish(&b, out);
}

static struct err *chat_parse_answer(const struct endpoint *ep, const struct input *in,
                                     const struct http_in *answer, struct result *out)
{
    return openai_chat_parse(answer, "Azure OpenAI completion", out);
}

static void judge(const struct endpoint *ep, const struct http_in *in, struct verdict *out)
{
    openai_judge(ep, url_of(ep, in->arena), in, out);
    if (in->status == 429 && ep->task == TASK_TEXT_EMBEDDING)
        out->prefix = azure_quota(in);
}

static const struct provider_task tasks[] = {
    {.task = TASK_TEXT_EMBEDDING,
     .request_name = "Azure OpenAI embeddings",
     .default_rpm = 1440,
     .batch = 2048,
     .build = embed_build,
     .parse = embed_parse},
    {.task = TASK_COMPLETION,
     .request_name = "Azure OpenAI completion",
     .one_input = "Azure OpenAI completion",
     .default_rpm = 120,
     .framing = FRAMING_SSE,
     .build = chat_build,
     .parse = chat_parse_answer,
     .on_event = openai_chat_event},
    {.task = TASK_CHAT_COMPLETION,
     .request_name = "Azure OpenAI chat completion",
     .default_rpm = 120,
     .framing = FRAMING_SSE,
     .build = chat_build,
     .parse = chat_parse_answer,
     .on_event = openai_chat_event},
};

static const char *const group_by[] = {"resource_name", "deployment_id", NULL};

const struct provider provider_azureopenai = {
    .name = "azureopenai",
    .label = "Azure OpenAI",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .similarity = "dot_product",
    .cuts_input = true,
    .auth = auth,
    .check = check,
    .judge = judge,
};
