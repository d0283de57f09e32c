/* ai21: chats of AI21 Labs. Source: shared facts, providers.md 4 (API as of 2025), inference.md 6.
 */
#include "openai_shape.h"

#define CHATS (TASK_BIT(TASK_COMPLETION) | TASK_BIT(TASK_CHAT_COMPLETION))

enum { S_API_KEY, S_MODEL_ID, S_RATE_LIMIT, N_SETTINGS };

static const struct setting rows[N_SETTINGS] = {
    [S_API_KEY] = SETTING_API_KEY(CHATS),
    [S_MODEL_ID] = SETTING_ROW_MODEL_ID(CHATS),
    [S_RATE_LIMIT] = SETTING_ROW_RATE_LIMIT(CHATS),
};

static const struct settings_table table = {.service = "ai21", .rows = rows, .n = N_SETTINGS};

static const struct openai_copy self = {
    .style = {.max_field = "max_tokens", .stream_options = true},
    .chat_url = "https://api.ai21.com/studio/v1/chat/completions",
    .raw_errors = true,
    .error_type = "ai21_error",
};

static const struct provider_task tasks[] = {
    OPENAI_COPY_CHATS("AI21 chat completions", "AI21 completions", 200),
};

static const char *const group_by[] = {"model_id", "api_key", NULL};

const struct provider provider_ai21 = {
    .name = "ai21",
    .label = "AI21",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .openai = &self,
    .judge = openai_copy_judge,
};
