/* contextualai: rerank that follows an instruction. Source: shared facts, providers.md 4 (API v1),
 * inference.md 6; Elasticsearch 9.2. It never sends texts back, and neither do we. */
#include "shape.h"

#define RR TASK_BIT(TASK_RERANK)

static const char name[] = "ContextualAI rerank";

enum {
    S_API_KEY,
    S_MODEL_ID,
    S_RATE_LIMIT,
    S_RETURN_DOCUMENTS,
    S_TOP_N,
    S_INSTRUCTION,
    N_SETTINGS
};

static const struct setting rows[N_SETTINGS] = {
    [S_API_KEY] = SETTING_API_KEY(RR),
    [S_MODEL_ID] = SETTING_ROW_MODEL_ID(RR),
    [S_RATE_LIMIT] = SETTING_ROW_RATE_LIMIT(RR),
    [S_RETURN_DOCUMENTS] = SETTING_ROW_RETURN_DOCUMENTS(RR),
    [S_TOP_N] = {.name = "top_n",
                 .alias = "top_k", /* the word of the documentation */
                 .place = IN_TASK,
                 .type = SETTING_INT,
                 .tasks = RR,
                 .flags = SETTING_UNLISTED,
                 .label = "Top N",
                 .description = "The number of most relevant documents to return."},
    [S_INSTRUCTION] = {.name = "instruction",
                       .place = IN_TASK,
                       .type = SETTING_STR,
                       .tasks = RR,
                       .flags = SETTING_UNLISTED,
                       .label = "Instruction",
                       .description = "What makes a document relevant, in words."},
};

static const struct settings_table table = {
    .service = "contextualai", .rows = rows, .n = N_SETTINGS};

static struct err *rerank_build(const struct endpoint *ep, const struct input *in,
                                struct http_out *out)
{
    const struct value *v = in->values.v;
    int64_t top_n;
    request_json(out, STR("https://api.contextual.ai/v1/rerank"), &v[S_API_KEY]);
    struct body b;
    body_begin(&b);
    json_key_str(&b.w, "query", in->query);
    json_key_texts(&b.w, "documents", in->texts, in->n_texts);
    json_key_str(&b.w, "model", v[S_MODEL_ID].s);
    if (call_top_n(in, &top_n))
        json_key_i64(&b.w, "top_n", top_n);
    if (v[S_INSTRUCTION].set)
        json_key_str(&b.w, "instruction", v[S_INSTRUCTION].s);
    return body_finish(&b, out);
}

static struct err *rerank_parse(const struct endpoint *ep, const struct input *in,
                                const struct http_in *answer, struct result *out)
{
    struct input without_texts = *in;
    without_texts.has_return_documents = true;
    without_texts.return_documents = false;
    return results_ranked(answer, &without_texts, name, out);
}

static void judge(const struct endpoint *ep, const struct http_in *in, struct verdict *out)
{
    verdict_by_status(in->status, out);
    verdict_raw_message(in, out);
    if (in->status == 500 || in->status == 503 || in->status == 429)
        out->action = VERDICT_RETRY;
}

static const struct provider_task tasks[] = {
    {.task = TASK_RERANK,
     .request_name = name,
     .default_rpm = 1000,
     .build = rerank_build,
     .parse = rerank_parse},
};

static const char *const group_by[] = {"api_key", NULL};

const struct provider provider_contextualai = {
    .name = "contextualai",
    .label = "Contextual AI",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .judge = judge,
};
