/* llama: Llama Stack by its url: embeddings of its own, chats as OpenAI. A key is optional. Source:
 * shared facts, providers.md 4 (Llama Stack as of 2025), inference.md 6. */
#include "openai_shape.h"

#define TE    TASK_BIT(TASK_TEXT_EMBEDDING)
#define CHATS (TASK_BIT(TASK_COMPLETION) | TASK_BIT(TASK_CHAT_COMPLETION))
#define ALL   (TE | CHATS)

enum {
    S_API_KEY,
    S_URL,
    S_MODEL_ID,
    S_SIMILARITY,
    S_DIMENSIONS,
    S_MAX_INPUT_TOKENS,
    S_RATE_LIMIT,
    N_SETTINGS
};

static const struct setting rows[N_SETTINGS] = {
    [S_API_KEY] = {.name = "api_key",
                   .place = IN_SECRET,
                   .type = SETTING_STR,
                   .tasks = ALL,
                   .flags = SETTING_UPDATABLE,
                   .label = "API Key",
                   .description = "API Key for the provider you're connecting to."},
    [S_URL] = SETTING_ROW_URL(ALL, SETTING_REQUIRED),
    [S_MODEL_ID] = SETTING_ROW_MODEL_ID(ALL),
    [S_SIMILARITY] = SETTING_ROW_SIMILARITY(TE),
    [S_DIMENSIONS] = SETTING_ROW_DIMENSIONS(TE),
    [S_MAX_INPUT_TOKENS] = SETTING_ROW_MAX_INPUT_TOKENS(TE),
    [S_RATE_LIMIT] = SETTING_ROW_RATE_LIMIT(ALL),
};

static const struct settings_table table = {.service = "llama", .rows = rows, .n = N_SETTINGS};

static const struct openai_copy self = {
    .style = {.max_field = "max_tokens"},
    .raw_errors = true,
    .error_type = "llama_error",
};

static struct err *embed_build(const struct endpoint *ep, const struct input *in,
                               struct http_out *out)
{
    TRY(openai_copy_request(ep, in, out));
    struct body b;
    body_begin(&b);
    json_key_str(&b.w, "model_id", in->values.v[S_MODEL_ID].s);
    json_key_texts(&b.w, "contents", in->texts, in->n_texts);
    return body_finish(&b, out);
}

static struct err *embed_parse(const struct endpoint *ep, const struct input *in,
                               const struct http_in *answer, struct result *out)
{
    static const char name[] = "Llama embeddings";
    const struct json *root;
    TRY(answer_json(answer, &root));
    const struct json *vectors = json_get(root, "embeddings");
    if (!json_is(vectors, JSON_ARRAY))
        return missing_field("embeddings", name);
    return floats_from(vectors, NULL, in, name, answer->arena, out);
}

static const struct provider_task tasks[] = {
    {.task = TASK_TEXT_EMBEDDING,
     .request_name = "Llama embeddings",
     .default_rpm = 3000,
     .batch = 20,
     .build = embed_build,
     .parse = embed_parse},
    OPENAI_COPY_CHATS("Llama chat completions", "Llama completions", 3000),
};

static const char *const group_by[] = {"url", "model_id", "api_key", NULL};

const struct provider provider_llama = {
    .name = "llama",
    .label = "Llama",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .similarity = "dot_product",
    .cuts_input = true,
    .openai = &self,
    .judge = openai_copy_judge,
};
