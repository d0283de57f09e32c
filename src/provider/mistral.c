/* mistral: embeddings and chats. Its name for the model is `model`. Source: shared facts,
 * providers.md 3.11 (API as of January 2025), inference.md 5.13 with what 9.1 adds. */
#include "openai_shape.h"

#define TE    TASK_BIT(TASK_TEXT_EMBEDDING)
#define CHATS (TASK_BIT(TASK_COMPLETION) | TASK_BIT(TASK_CHAT_COMPLETION))
#define ALL   (TE | CHATS)

enum {
    S_API_KEY,
    S_MODEL,
    S_SIMILARITY,
    S_DIMENSIONS,
    S_MAX_INPUT_TOKENS,
    S_RATE_LIMIT,
    N_SETTINGS
};

static const struct setting rows[N_SETTINGS] = {
    [S_API_KEY] = SETTING_API_KEY(ALL),
    [S_MODEL] = {.name = "model",
                 .place = IN_SERVICE,
                 .type = SETTING_STR,
                 .tasks = ALL,
                 .flags = SETTING_REQUIRED,
                 .label = "Model",
                 .description = "Refer to the Mistral models documentation for the list of "
                                "available models."},
    [S_SIMILARITY] = SETTING_ROW_SIMILARITY(TE),
    [S_DIMENSIONS] = SETTING_ROW_DIMENSIONS(TE),
    [S_MAX_INPUT_TOKENS] = {.name = "max_input_tokens",
                            .place = IN_SERVICE,
                            .type = SETTING_INT,
                            .tasks = ALL,
                            .flags = SETTING_UPDATABLE | SETTING_UI_FIXED,
                            .label = "Maximum Input Tokens",
                            .description = "Allows you to specify the maximum number of tokens "
                                           "per input."},
    [S_RATE_LIMIT] = SETTING_ROW_RATE_LIMIT(ALL),
};

static const struct settings_table table = {.service = "mistral", .rows = rows, .n = N_SETTINGS};

static const struct openai_copy self = {
    .style = {.max_field = "max_tokens", .any_for_required = true},
    .embed_url = "https://api.mistral.ai/v1/embeddings",
    .chat_url = "https://api.mistral.ai/v1/chat/completions",
    .names_encoding = true,
    .raw_errors = true,
    .error_type = "mistral_error",
};

static const struct provider_task tasks[] = {
    {.task = TASK_TEXT_EMBEDDING,
     .request_name = "Mistral embeddings",
     .default_rpm = 240,
     .batch = 96,
     .build = openai_copy_embed_build,
     .parse = openai_copy_embed_parse},
    OPENAI_COPY_CHATS("Mistral chat completions", "Mistral completions", 240),
};

static const char *const group_by[] = {"api_key", NULL};

const struct provider provider_mistral = {
    .name = "mistral",
    .label = "Mistral",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .similarity = "dot_product",
    .cuts_input = true,
    .openai = &self,
    .judge = openai_copy_judge,
};
