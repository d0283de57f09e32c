/* googleaistudio: Gemini and Google's embeddings by an API key. The key stands in the query, so no
 * address with its query may be shown. Source: shared facts, providers.md 3.7 (API v1 as of January
 * 2025), inference.md 5.9. */
#include "google_shape.h"

#define TE  TASK_BIT(TASK_TEXT_EMBEDDING)
#define CO  TASK_BIT(TASK_COMPLETION)
#define ALL (TE | CO)

#define EMBEDDINGS "Google AI Studio embeddings"
#define COMPLETION "Google AI Studio completion"

enum {
    S_API_KEY,
    S_MODEL_ID,
    S_MAX_INPUT_TOKENS,
    S_DIMENSIONS,
    S_SIMILARITY,
    S_RATE_LIMIT,
    N_SETTINGS
};

static const struct setting rows[N_SETTINGS] = {
    [S_API_KEY] = SETTING_API_KEY(ALL),
    [S_MODEL_ID] = {.name = "model_id",
                    .place = IN_SERVICE,
                    .type = SETTING_STR,
                    .tasks = ALL,
                    .flags = SETTING_REQUIRED,
                    .label = "Model ID",
                    .description = "ID of the LLM you're using."},
    [S_MAX_INPUT_TOKENS] = SETTING_ROW_MAX_INPUT_TOKENS(TE),
    [S_DIMENSIONS] = SETTING_ROW_DIMENSIONS(TE),
    [S_SIMILARITY] = SETTING_ROW_SIMILARITY(TE),
    [S_RATE_LIMIT] = SETTING_ROW_RATE_LIMIT(ALL),
};

static const struct settings_table table = {
    .service = "googleaistudio", .rows = rows, .n = N_SETTINGS};

static struct str url_of(struct arena *arena, const struct endpoint *ep, const char *operation)
{
    struct str model = http_escape(arena, ep->values.v[S_MODEL_ID].s, false);
    return arena_printf(arena, "https://generativelanguage.googleapis.com/v1/models/%.*s:%s",
                        STR_ARG(model), operation);
}

static void request(const struct endpoint *ep, const struct input *in, const char *operation,
                    struct http_out *out)
{
    struct str url = url_of(out->arena, ep, operation);
    struct str key = secret_reveal(in->values.v[S_API_KEY].secret);
    url = arena_printf(out->arena, "%.*s?key=%.*s%s", STR_ARG(url),
                       STR_ARG(http_escape(out->arena, key, false)), in->stream ? "&alt=sse" : "");
    request_json(out, url, NULL);
}

static void put_parts(struct json_out *w, struct str text)
{
    json_key(w, "parts");
    json_arr(w);
    json_obj(w);
    json_key_str(w, "text", text);
    json_end(w);
    json_end(w);
}

/* --- embeddings --- */

static void put_embedding(struct json_out *w, const struct input *in, struct str model,
                          struct str text)
{
    const struct value *dimensions = &in->values.v[S_DIMENSIONS];
    const char *type = google_task_type(in);
    json_obj(w);
    json_key_str(w, "model", model);
    json_key(w, "content");
    json_obj(w);
    put_parts(w, text);
    json_end(w);
    if (dimensions->set && dimensions->by_user)
        json_key_i64(w, "outputDimensionality", dimensions->i);
    if (type)
        json_key_cstr(w, "taskType", type);
    json_end(w);
}

static struct err *embed_build(const struct endpoint *ep, const struct input *in,
                               struct http_out *out)
{
    struct str model = arena_printf(out->arena, "models/%.*s", STR_ARG(in->values.v[S_MODEL_ID].s));
    request(ep, in, "batchEmbedContents", out);
    struct body b;
    body_begin(&b);
    json_key(&b.w, "requests");
    json_arr(&b.w);
    for (size_t i = 0; i < in->n_texts; i++)
        put_embedding(&b.w, in, model, in->texts[i]);
    json_end(&b.w);
    return body_finish(&b, out);
}

static struct err *embed_parse(const struct endpoint *ep, const struct input *in,
                               const struct http_in *answer, struct result *out)
{
    const struct json *root;
    TRY(answer_json(answer, &root));
    const struct json *embeddings = json_get(root, "embeddings");
    if (!json_is(embeddings, JSON_ARRAY))
        return missing_field("embeddings", EMBEDDINGS);
    return floats_from(embeddings, "values", in, EMBEDDINGS, answer->arena, out);
}

/* --- completion --- */

static struct err *chat_build(const struct endpoint *ep, const struct input *in,
                              struct http_out *out)
{
    request(ep, in, in->stream ? "streamGenerateContent" : "generateContent", out);
    struct body b;
    body_begin(&b);
    json_key(&b.w, "contents");
    json_arr(&b.w);
    json_obj(&b.w);
    put_parts(&b.w, in->texts[0]);
    json_key_cstr(&b.w, "role", "user");
    json_end(&b.w);
    json_end(&b.w);
    json_key(&b.w, "generationConfig");
    json_obj(&b.w);
    json_key_i64(&b.w, "candidateCount", 1);
    json_end(&b.w);
    return body_finish(&b, out);
}

static struct err *chat_parse_answer(const struct endpoint *ep, const struct input *in,
                                     const struct http_in *answer, struct result *out)
{
    return gemini_parse(answer, COMPLETION, out);
}

static void judge(const struct endpoint *ep, const struct http_in *in, struct verdict *out)
{
    const char *operation =
        ep->task == TASK_TEXT_EMBEDDING ? "batchEmbedContents" : "generateContent";
    google_judge(in, "Google AI Studio", url_of(in->arena, ep, operation), out);
}

static const struct provider_task tasks[] = {
    {.task = TASK_TEXT_EMBEDDING,
     .request_name = EMBEDDINGS,
     .default_rpm = 360,
     .batch = 100,
     .build = embed_build,
     .parse = embed_parse},
    {.task = TASK_COMPLETION,
     .request_name = COMPLETION,
     .one_input = COMPLETION,
     .default_rpm = 360,
     .framing = FRAMING_SSE,
     .build = chat_build,
     .parse = chat_parse_answer,
     .on_event = gemini_event},
};

static const char *const group_by[] = {"model_id", NULL};

const struct provider provider_googleaistudio = {
    .name = "googleaistudio",
    .label = "Google AI Studio",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .similarity = "dot_product",
    .cuts_input = true,
    .judge = judge,
};
