/* fireworksai: embeddings and chats. Source: shared facts, providers.md 4 (API as of 2026),
 * inference.md 6. */
#include "openai_shape.h"

#define TE    TASK_BIT(TASK_TEXT_EMBEDDING)
#define CHATS (TASK_BIT(TASK_COMPLETION) | TASK_BIT(TASK_CHAT_COMPLETION))
#define ALL   (TE | CHATS)

enum {
    S_API_KEY,
    S_MODEL_ID,
    S_URL,
    S_SIMILARITY,
    S_DIMENSIONS,
    S_DIMENSIONS_SET_BY_USER,
    S_RATE_LIMIT,
    S_USER,
    S_HEADERS,
    N_SETTINGS
};

static const struct setting rows[N_SETTINGS] = {
    [S_API_KEY] = SETTING_API_KEY(ALL),
    [S_MODEL_ID] = SETTING_ROW_MODEL_ID(ALL),
    [S_URL] = SETTING_ROW_URL(ALL, SETTING_UNLISTED),
    [S_SIMILARITY] = SETTING_ROW_SIMILARITY(TE),
    [S_DIMENSIONS] = SETTING_ROW_DIMENSIONS(TE),
    [S_DIMENSIONS_SET_BY_USER] = SETTING_ROW_DIMENSIONS_SET_BY_USER(TE),
    [S_RATE_LIMIT] = SETTING_ROW_RATE_LIMIT(ALL),
    [S_USER] = SETTING_ROW_USER(CHATS),
    [S_HEADERS] = SETTING_ROW_HEADERS(CHATS),
};

static const struct settings_table table = {
    .service = "fireworksai", .rows = rows, .n = N_SETTINGS};

static const struct openai_copy self = {
    .style = {.max_field = "max_completion_tokens", .stream_options = true},
    .embed_url = "https://api.fireworks.ai/inference/v1/embeddings",
    .chat_url = "https://api.fireworks.ai/inference/v1/chat/completions",
    .sends_dimensions = true,
};

/* Embeddings are judged by the status alone: nothing is ever too long, and no quota is told. */
static void judge(const struct endpoint *ep, const struct http_in *in, struct verdict *out)
{
    if (ep->task != TASK_TEXT_EMBEDDING) {
        openai_copy_judge(ep, in, out);
        return;
    }
    verdict_by_status(in->status, out);
    openai_refusal(in, out);
    if (in->status == 500 || in->status == 429)
        out->action = VERDICT_RETRY;
}

static const struct provider_task tasks[] = {
    {.task = TASK_TEXT_EMBEDDING,
     .request_name = "FireworksAI embeddings",
     .default_rpm = 6000,
     .batch = 2048,
     .build = openai_copy_embed_build,
     .parse = openai_copy_embed_parse},
    OPENAI_COPY_CHATS("FireworksAI chat completions", "FireworksAI completions", 6000),
};

static const char *const group_by[] = {"api_key", NULL};

const struct provider provider_fireworksai = {
    .name = "fireworksai",
    .label = "FireworksAI",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .similarity = "cosine",
    .openai = &self,
    .judge = judge,
};
