/* deepseek: chats. Its quota is not counted in requests: there is no rate limit to set. Source:
 * shared facts, providers.md 4 (API as of 2025), inference.md 6. */
#include "openai_shape.h"

#define CHATS (TASK_BIT(TASK_COMPLETION) | TASK_BIT(TASK_CHAT_COMPLETION))

enum { S_API_KEY, S_MODEL_ID, S_URL, N_SETTINGS };

static const struct setting rows[N_SETTINGS] = {
    [S_API_KEY] = SETTING_API_KEY(CHATS),
    [S_MODEL_ID] = SETTING_ROW_MODEL_ID(CHATS),
    [S_URL] = SETTING_ROW_URL(CHATS, 0),
};

static const struct settings_table table = {.service = "deepseek", .rows = rows, .n = N_SETTINGS};

static const struct openai_copy self = {
    .style = {.max_field = "max_tokens", .stream_options = true},
    .chat_url = "https://api.deepseek.com/chat/completions",
};

static const struct provider_task tasks[] = {
    OPENAI_COPY_CHATS("DeepSeek chat completions", "DeepSeek chat completions", 0),
};

const struct provider provider_deepseek = {
    .name = "deepseek",
    .label = "DeepSeek",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .openai = &self,
    .judge = openai_copy_judge,
};
