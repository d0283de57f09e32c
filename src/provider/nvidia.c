/* nvidia: NVIDIA NIM: embeddings with an input type, rerank of its own, chats as OpenAI. Source:
 * shared facts, providers.md 4 (API as of 2025), inference.md 6. */
#include "openai_shape.h"

#define TE    TASK_BIT(TASK_TEXT_EMBEDDING)
#define RR    TASK_BIT(TASK_RERANK)
#define CHATS (TASK_BIT(TASK_COMPLETION) | TASK_BIT(TASK_CHAT_COMPLETION))
#define ALL   (TE | RR | CHATS)

enum {
    S_API_KEY,
    S_URL,
    S_MODEL_ID,
    S_SIMILARITY,
    S_DIMENSIONS,
    S_MAX_INPUT_TOKENS,
    S_RATE_LIMIT,
    S_INPUT_TYPE,
    S_TRUNCATE,
    N_SETTINGS
};

static const char *const input_types[] = {"ingest", "search", NULL};
static const char *const truncations[] = {"END", "NONE", "START", NULL};

static const struct setting rows[N_SETTINGS] = {
    [S_API_KEY] = SETTING_API_KEY(ALL),
    [S_URL] = SETTING_ROW_URL(ALL, 0),
    [S_MODEL_ID] = SETTING_ROW_MODEL_ID(ALL),
    [S_SIMILARITY] = SETTING_ROW_SIMILARITY(TE),
    [S_DIMENSIONS] = SETTING_ROW_DIMENSIONS(TE),
    [S_MAX_INPUT_TOKENS] = SETTING_ROW_MAX_INPUT_TOKENS(TE),
    [S_RATE_LIMIT] = SETTING_ROW_RATE_LIMIT(ALL),
    [S_INPUT_TYPE] = SETTING_ROW_INPUT_TYPE(TE, input_types),
    [S_TRUNCATE] = SETTING_ROW_TRUNCATE(TE, truncations),
};

static const struct settings_table table = {.service = "nvidia", .rows = rows, .n = N_SETTINGS};

static const struct openai_copy self = {
    .style = {.max_field = "max_tokens"},
    .embed_url = "https://integrate.api.nvidia.com/v1/embeddings",
    .chat_url = "https://integrate.api.nvidia.com/v1/chat/completions",
    .raw_errors = true,
    .error_type = "nvidia_error",
};

static struct err *embed_build(const struct endpoint *ep, const struct input *in,
                               struct http_out *out)
{
    const struct value *v = in->values.v;
    enum input_type type = call_input_type(in);
    TRY(input_type_known(type, "Nvidia"));
    TRY(openai_copy_request(ep, in, out));
    struct body b;
    body_begin(&b);
    json_key_texts(&b.w, "input", in->texts, in->n_texts);
    json_key_str(&b.w, "model", v[S_MODEL_ID].s);
    json_key_cstr(&b.w, "input_type", type == INPUT_INGEST ? "passage" : "query");
    if (v[S_TRUNCATE].set)
        json_key_str(&b.w, "truncate", v[S_TRUNCATE].s);
    return body_finish(&b, out);
}

/* --- rerank --- */

static struct str url_of(const struct endpoint *ep)
{
    if (ep->task == TASK_RERANK && !ep->values.v[S_URL].set)
        return STR("https://ai.api.nvidia.com/v1/retrieval/nvidia/reranking");
    return openai_copy_url(ep);
}

static void put_text(struct json_out *w, struct str text)
{
    json_obj(w);
    json_key_str(w, "text", text);
    json_end(w);
}

static struct err *rerank_build(const struct endpoint *ep, const struct input *in,
                                struct http_out *out)
{
    const struct value *v = in->values.v;
    request_json(out, url_of(ep), &v[S_API_KEY]);
    struct body b;
    body_begin(&b);
    json_key_str(&b.w, "model", v[S_MODEL_ID].s);
    json_key(&b.w, "query");
    put_text(&b.w, in->query);
    json_key(&b.w, "passages");
    json_arr(&b.w);
    for (size_t i = 0; i < in->n_texts; i++)
        put_text(&b.w, in->texts[i]);
    json_end(&b.w);
    return body_finish(&b, out);
}

/* The service knows no top_n and sends the best first: what is asked for is cut here. */
static struct err *rerank_parse(const struct endpoint *ep, const struct input *in,
                                const struct http_in *answer, struct result *out)
{
    static const char name[] = "NVIDIA rerank";
    static const char *const scores[] = {"logit", NULL};
    const struct json *root;
    TRY(answer_json(answer, &root));
    const struct json *rankings = json_get(root, "rankings");
    if (!json_is(rankings, JSON_ARRAY))
        return missing_field("rankings", name);
    TRY(ranked_from(rankings, scores, in, name, answer->arena, out));
    int64_t top_n;
    if (call_top_n(in, &top_n) && top_n >= 0 && (uint64_t)top_n < out->n)
        out->n = (size_t)top_n;
    return NULL;
}

static void judge(const struct endpoint *ep, const struct http_in *in, struct verdict *out)
{
    openai_copy_judge(ep, in, out);
    if (in->status == 404) /* the URL of a rerank is not that of a chat */
        out->prefix = arena_printf(in->arena, "Resource not found at [%.*s]", STR_ARG(url_of(ep)));
}

static const struct provider_task tasks[] = {
    {.task = TASK_TEXT_EMBEDDING,
     .request_name = "NVIDIA embeddings",
     .default_rpm = 3000,
     .batch = 20,
     .build = embed_build,
     .parse = openai_copy_embed_parse},
    {.task = TASK_RERANK,
     .request_name = "NVIDIA rerank",
     .default_rpm = 3000,
     .build = rerank_build,
     .parse = rerank_parse},
    OPENAI_COPY_CHATS("NVIDIA chat completions", "NVIDIA completions", 3000),
};

static const char *const group_by[] = {"url", "model_id", "api_key", NULL};

const struct provider provider_nvidia = {
    .name = "nvidia",
    .label = "Nvidia",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .similarity = "dot_product",
    .cuts_input = true,
    .openai = &self,
    .judge = judge,
};
