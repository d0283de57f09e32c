/* openai: embeddings and chat completions. Source: shared facts, providers.md 3.12 (API as of
 * January 2025), inference.md 5.14 with the client credentials of 9.5. */
#include "oauth2.h"
#include "openai_shape.h"

#define TE    TASK_BIT(TASK_TEXT_EMBEDDING)
#define CHATS (TASK_BIT(TASK_COMPLETION) | TASK_BIT(TASK_CHAT_COMPLETION))
#define ALL   (TE | CHATS)

enum {
    S_API_KEY,
    S_CLIENT_SECRET,
    S_MODEL_ID,
    S_URL,
    S_ORGANIZATION_ID,
    S_SIMILARITY,
    S_DIMENSIONS,
    S_DIMENSIONS_SET_BY_USER,
    S_MAX_INPUT_TOKENS,
    S_CLIENT_ID,
    S_SCOPES,
    S_TOKEN_URL,
    S_RATE_LIMIT,
    S_USER,
    S_HEADERS,
    N_SETTINGS
};

static const char *const old_model_names[] = {"model", "model_id", NULL};

static const struct setting rows[N_SETTINGS] = {
    [S_API_KEY] = {.name = "api_key",
                   .place = IN_SECRET,
                   .type = SETTING_STR,
                   .tasks = ALL,
                   .flags = SETTING_REQUIRED | SETTING_UPDATABLE,
                   .unless = "client_secret",
                   .label = "API Key",
                   .description = "API Key for the provider you're connecting to."},
    [S_CLIENT_SECRET] = SETTING_ROW_CLIENT_SECRET(ALL),
    [S_MODEL_ID] = {.name = "model_id",
                    .place = IN_SERVICE,
                    .type = SETTING_STR,
                    .tasks = ALL,
                    .flags = SETTING_REQUIRED,
                    .legacy = old_model_names,
                    .label = "Model ID",
                    .description = "The name of the model to use for the inference task."},
    [S_URL] = {.name = "url",
               .place = IN_SERVICE,
               .type = SETTING_URL,
               .tasks = ALL,
               .label = "URL",
               .description = "The absolute URL of the external service to send requests to."},
    [S_ORGANIZATION_ID] = {.name = "organization_id",
                           .place = IN_SERVICE,
                           .type = SETTING_STR,
                           .tasks = ALL,
                           .label = "Organization ID",
                           .description = "The unique identifier of your organization."},
    [S_SIMILARITY] = SETTING_ROW_SIMILARITY(TE),
    [S_DIMENSIONS] = SETTING_ROW_DIMENSIONS(TE),
    [S_DIMENSIONS_SET_BY_USER] = SETTING_ROW_DIMENSIONS_SET_BY_USER(TE),
    [S_MAX_INPUT_TOKENS] = SETTING_ROW_MAX_INPUT_TOKENS(ALL),
    [S_CLIENT_ID] = SETTING_ROW_CLIENT_ID(ALL),
    [S_SCOPES] = SETTING_ROW_SCOPES(ALL),
    [S_TOKEN_URL] = {.name = "token_url",
                     .place = IN_SERVICE,
                     .type = SETTING_URL,
                     .tasks = ALL,
                     .flags = SETTING_UPDATABLE | SETTING_UNLISTED,
                     .label = "OAuth2 Token URL",
                     .description = "Where the authorization server hands out tokens."},
    [S_RATE_LIMIT] = SETTING_ROW_RATE_LIMIT(ALL),
    [S_USER] = SETTING_ROW_USER(ALL),
    [S_HEADERS] = SETTING_ROW_HEADERS(ALL),
};

static const struct settings_table table = {.service = "openai", .rows = rows, .n = N_SETTINGS};

static const struct openai_copy self = {
    .style = {.max_field = "max_completion_tokens", .stream_options = true},
    .embed_url = "https://api.openai.com/v1/embeddings",
    .chat_url = "https://api.openai.com/v1/chat/completions",
    .sends_dimensions = true,
};

/* The scope in the text is Elasticsearch's. */
static struct err *check(struct endpoint *ep)
{
    struct err_list problems = {0};
    if (ep->values.v[S_API_KEY].set && ep->values.v[S_CLIENT_SECRET].set)
        err_list_add(&problems, "[service_settings] must have exactly one of [api_key] or "
                                "[client_secret] field set, received: [api_key, client_secret]");
    TRY(err_list_end(&problems, ERR_VALIDATION));
    return oauth2_check(ep, "OpenAI", "token_url");
}

static const struct auth *auth(const struct endpoint *ep)
{
    return ep->values.v[S_CLIENT_SECRET].set ? &oauth2_auth : NULL;
}

static const struct provider_task tasks[] = {
    {.task = TASK_TEXT_EMBEDDING,
     .request_name = "OpenAI embeddings",
     .default_rpm = 3000,
     .batch = 2048,
     .batch_tokens = 300000,
     .build = openai_copy_embed_build,
     .parse = openai_copy_embed_parse},
    OPENAI_COPY_CHATS("OpenAI chat completions", "OpenAI chat completions", 500),
};

static const char *const group_by[] = {"url",           "organization_id", "api_key",
                                       "client_secret", "model_id",        NULL};

const struct provider provider_openai = {
    .name = "openai",
    .label = "OpenAI",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .similarity = "dot_product",
    .cuts_input = true,
    .openai = &self,
    .auth = auth,
    .check = check,
    .judge = openai_copy_judge,
};
