/* groq: chats. Source: shared facts, providers.md 4 (API as of 2025), inference.md 6. */
#include "openai_shape.h"

#define CHATS (TASK_BIT(TASK_COMPLETION) | TASK_BIT(TASK_CHAT_COMPLETION))

enum { S_API_KEY, S_MODEL_ID, S_RATE_LIMIT, S_USER, S_HEADERS, N_SETTINGS };

static const struct setting rows[N_SETTINGS] = {
    [S_API_KEY] = SETTING_API_KEY(CHATS),           [S_MODEL_ID] = SETTING_ROW_MODEL_ID(CHATS),
    [S_RATE_LIMIT] = SETTING_ROW_RATE_LIMIT(CHATS), [S_USER] = SETTING_ROW_USER(CHATS),
    [S_HEADERS] = SETTING_ROW_HEADERS(CHATS),
};

static const struct settings_table table = {.service = "groq", .rows = rows, .n = N_SETTINGS};

static const struct openai_copy self = {
    .style = {.max_field = "max_completion_tokens", .stream_options = true},
    .chat_url = "https://api.groq.com/openai/v1/chat/completions",
};

static const struct provider_task tasks[] = {
    OPENAI_COPY_CHATS("Groq chat completions", "Groq completions", 1000),
};

static const char *const group_by[] = {"model_id", "api_key", NULL};

const struct provider provider_groq = {
    .name = "groq",
    .label = "Groq",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .openai = &self,
    .judge = openai_copy_judge,
};
