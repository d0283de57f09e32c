/* hugging_face: inference endpoints and text-embeddings-inference servers by their url: embeddings,
 * sparse embeddings (ELSER), rerank, and OpenAI-shaped chat. Source: shared facts, providers.md 3.9
 * (API as of January 2025), inference.md 5.11 with what 9.1 adds. */
#include <stdlib.h>

#include "openai_shape.h"

#define TE    TASK_BIT(TASK_TEXT_EMBEDDING)
#define SE    TASK_BIT(TASK_SPARSE_EMBEDDING)
#define RR    TASK_BIT(TASK_RERANK)
#define CHATS (TASK_BIT(TASK_COMPLETION) | TASK_BIT(TASK_CHAT_COMPLETION))
#define ALL   (TE | SE | RR | CHATS)

enum {
    S_API_KEY,
    S_URL,
    S_MODEL_ID,
    S_SIMILARITY,
    S_DIMENSIONS,
    S_MAX_INPUT_TOKENS,
    S_RATE_LIMIT,
    S_RETURN_DOCUMENTS,
    S_TOP_N,
    N_SETTINGS
};

static const struct setting rows[N_SETTINGS] = {
    [S_API_KEY] = SETTING_API_KEY(ALL),
    [S_URL] = {.name = "url",
               .place = IN_SERVICE,
               .type = SETTING_URL,
               .tasks = ALL,
               .flags = SETTING_REQUIRED,
               .label = "URL",
               .description = "The URL endpoint to use for the requests."},
    [S_MODEL_ID] = {.name = "model_id",
                    .place = IN_SERVICE,
                    .type = SETTING_STR,
                    .tasks = CHATS,
                    .flags = SETTING_UNLISTED,
                    .label = "Model ID",
                    .description = "The name of the model to use for the inference task."},
    [S_SIMILARITY] = SETTING_ROW_SIMILARITY(TE),
    [S_DIMENSIONS] = SETTING_ROW_DIMENSIONS(TE),
    [S_MAX_INPUT_TOKENS] = SETTING_ROW_MAX_INPUT_TOKENS(TE | SE),
    [S_RATE_LIMIT] = SETTING_ROW_RATE_LIMIT(ALL),
    [S_RETURN_DOCUMENTS] = {.name = "return_documents",
                            .place = IN_TASK,
                            .type = SETTING_BOOL,
                            .tasks = RR,
                            .flags = SETTING_UNLISTED,
                            .label = "Return Documents",
                            .description = "Whether to return the text of the documents."},
    [S_TOP_N] = {.name = "top_n",
                 .place = IN_TASK,
                 .type = SETTING_INT,
                 .tasks = RR,
                 .flags = SETTING_UNLISTED,
                 .label = "Top N",
                 .description = "The number of most relevant documents to return."},
};

static const struct settings_table table = {
    .service = "hugging_face", .rows = rows, .n = N_SETTINGS};

static const struct openai_style style = {.max_field = "max_tokens", .stream_options = true};

static void request(const struct input *in, struct http_out *out)
{
    request_json(out, in->values.v[S_URL].s, &in->values.v[S_API_KEY]);
}

/* --- embeddings, dense and sparse --- */

static struct err *embed_build(const struct endpoint *ep, const struct input *in,
                               struct http_out *out)
{
    request(in, out);
    struct body b;
    body_begin(&b);
    json_key_texts(&b.w, "inputs", in->texts, in->n_texts);
    return body_finish(&b, out);
}

static struct err *embed_parse(const struct endpoint *ep, const struct input *in,
                               const struct http_in *answer, struct result *out)
{
    static const char name[] = "Hugging Face text embeddings";
    const struct json *root;
    TRY(answer_json(answer, &root));
    if (json_is(root, JSON_OBJECT)) {
        root = json_get(root, "embeddings");
        if (!json_is(root, JSON_ARRAY))
            return missing_field("embeddings", name);
    }
    if (!json_is(root, JSON_ARRAY))
        return err_new(ERR_PARSE, "Failed to parse %s response: expected an array or an object",
                       name);
    return floats_from(root, NULL, in, name, answer->arena, out);
}

static struct err *sparse_row(const struct json *row, struct arena *arena, struct sparse *out)
{
    struct sparse_item *items = arena_array(arena, row->n, sizeof *items);
    size_t n = 0;
    struct json_iter it = json_iter(row);
    for (const struct json *v; (v = json_next(&it)); n++) {
        float weight;
        if (!json_f32(v, &weight))
            return err_new(ERR_PARSE, "The weight of a token in the Hugging Face sparse embeddings "
                                      "response is no number");
        items[n] =
            (struct sparse_item){.token = v->key, .weight_text = json_raw(v), .weight = weight};
    }
    out->items = items;
    out->n = n;
    return NULL;
}

static struct err *sparse_parse(const struct endpoint *ep, const struct input *in,
                                const struct http_in *answer, struct result *out)
{
    static const char name[] = "Hugging Face sparse embeddings";
    const struct json *root;
    TRY(answer_json(answer, &root));
    if (!json_is(root, JSON_ARRAY) || root->n != in->n_texts)
        return err_new(ERR_PARSE, "Failed to parse %s response: expected one object per input",
                       name);
    *out = (struct result){.kind = RESULT_SPARSE, .n = root->n};
    out->sparse = arena_array(answer->arena, root->n, sizeof *out->sparse);
    size_t i = 0;
    struct json_iter it = json_iter(root);
    for (const struct json *row; (row = json_next(&it)); i++) {
        if (!json_is(row, JSON_OBJECT))
            return err_new(ERR_PARSE, "Failed to parse %s response: expected an object", name);
        TRY(sparse_row(row, answer->arena, &out->sparse[i]));
        out->sparse[i].is_truncated = in->cut && in->cut[i];
    }
    return NULL;
}

/* --- rerank: sorted and cut here, for the servers do neither --- */

static struct err *rerank_build(const struct endpoint *ep, const struct input *in,
                                struct http_out *out)
{
    int64_t top_n;
    request(in, out);
    struct body b;
    body_begin(&b);
    json_key_texts(&b.w, "texts", in->texts, in->n_texts);
    json_key_str(&b.w, "query", in->query);
    if (in->has_return_documents || in->values.v[S_RETURN_DOCUMENTS].set)
        json_key_bool(&b.w, "return_text", call_return_documents(in));
    if (call_top_n(in, &top_n))
        json_key_i64(&b.w, "top_n", top_n);
    return body_finish(&b, out);
}

static int by_score(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static struct err *rerank_parse(const struct endpoint *ep, const struct input *in,
                                const struct http_in *answer, struct result *out)
{
    static const char *const scores[] = {"score", "relevance_score", NULL};
    const struct json *root;
    TRY(answer_json(answer, &root));
    if (!json_is(root, JSON_ARRAY))
        return err_new(ERR_PARSE,
                       "Failed to parse Hugging Face rerank response: expected an array");
    TRY(ranked_from(root, scores, in, "Hugging Face rerank", answer->arena, out));
    qsort(out->ranked, out->n, sizeof *out->ranked, by_score);
    int64_t top_n;
    if (call_top_n(in, &top_n) && top_n >= 0 && (uint64_t)top_n < out->n)
        out->n = (size_t)top_n;
    return NULL;
}

/* --- chat --- */

static struct err *chat_build(const struct endpoint *ep, const struct input *in,
                              struct http_out *out)
{
    const struct value *model = &in->values.v[S_MODEL_ID];
    request(in, out);
    struct body b;
    body_begin(&b);
    openai_chat_body(&b.w, in, model->set ? model->s : (struct str){0}, (struct str){0}, &style);
    return body_finish(&b, out);
}

static struct err *chat_parse_answer(const struct endpoint *ep, const struct input *in,
                                     const struct http_in *answer, struct result *out)
{
    return openai_chat_parse(answer, "Hugging Face chat completions", out);
}

/* --- refusals --- */

static void judge(const struct endpoint *ep, const struct http_in *in, struct verdict *out)
{
    if (TASK_BIT(ep->task) & CHATS) {
        openai_judge(ep, ep->values.v[S_URL].s, in, out);
        return;
    }
    verdict_by_status(in->status, out);
    verdict_message(in, out, "error", NULL);
    if (in->status == 502 || in->status == 503 || in->status == 429) /* cold starts */
        verdict_set(out, VERDICT_RETRY, "Received a rate limit status code");
    else if (in->status == 413)
        verdict_set(out, VERDICT_SHORTEN, "Received a content too large status code");
}

static const struct provider_task tasks[] = {
    {.task = TASK_TEXT_EMBEDDING,
     .request_name = "Hugging Face text embeddings",
     .default_rpm = 3000,
     .batch = 20,
     .build = embed_build,
     .parse = embed_parse},
    {.task = TASK_SPARSE_EMBEDDING,
     .request_name = "Hugging Face ELSER sparse embeddings",
     .default_rpm = 3000,
     .batch = 20,
     .build = embed_build,
     .parse = sparse_parse},
    {.task = TASK_RERANK,
     .request_name = "Hugging Face rerank",
     .default_rpm = 3000,
     .build = rerank_build,
     .parse = rerank_parse},
    {.task = TASK_COMPLETION,
     .request_name = "Hugging Face chat completions",
     .one_input = "Hugging Face completion",
     .default_rpm = 3000,
     .framing = FRAMING_SSE,
     .build = chat_build,
     .parse = chat_parse_answer,
     .on_event = openai_chat_event},
    {.task = TASK_CHAT_COMPLETION,
     .request_name = "Hugging Face chat completions",
     .default_rpm = 3000,
     .framing = FRAMING_SSE,
     .build = chat_build,
     .parse = chat_parse_answer,
     .on_event = openai_chat_event},
};

static const char *const group_by[] = {"url", "api_key", NULL};

const struct provider provider_hugging_face = {
    .name = "hugging_face",
    .label = "Hugging Face",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .similarity = "cosine",
    .cuts_input = true,
    .judge = judge,
};
