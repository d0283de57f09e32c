/* openshift_ai: models served by Red Hat OpenShift AI, by their url: embeddings and chats as
 * OpenAI, rerank as Cohere. Source: shared facts, providers.md 4 (API as of 2025), inference.md 6.
 */
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
    S_DIMENSIONS_SET_BY_USER,
    S_MAX_INPUT_TOKENS,
    S_RATE_LIMIT,
    S_RETURN_DOCUMENTS,
    S_TOP_N,
    N_SETTINGS
};

static const struct setting rows[N_SETTINGS] = {
    [S_API_KEY] = SETTING_API_KEY(ALL),
    [S_URL] = SETTING_ROW_URL(ALL, SETTING_REQUIRED),
    [S_MODEL_ID] = {.name = "model_id",
                    .place = IN_SERVICE,
                    .type = SETTING_STR,
                    .tasks = ALL,
                    .label = "Model ID",
                    .description = "The name of the model to use for the inference task."},
    [S_SIMILARITY] = SETTING_ROW_SIMILARITY(TE),
    [S_DIMENSIONS] = SETTING_ROW_DIMENSIONS(TE),
    [S_DIMENSIONS_SET_BY_USER] = SETTING_ROW_DIMENSIONS_SET_BY_USER(TE),
    [S_MAX_INPUT_TOKENS] = SETTING_ROW_MAX_INPUT_TOKENS(TE),
    [S_RATE_LIMIT] = SETTING_ROW_RATE_LIMIT(ALL),
    [S_RETURN_DOCUMENTS] = SETTING_ROW_RETURN_DOCUMENTS(RR),
    [S_TOP_N] = SETTING_ROW_TOP_N(RR),
};

static const struct settings_table table = {
    .service = "openshift_ai", .rows = rows, .n = N_SETTINGS};

static const struct openai_copy self = {
    .style = {.max_field = "max_tokens"},
    .sends_dimensions = true,
    .raw_errors = true,
    .error_type = "openshiftai_error",
};

static struct err *rerank_build(const struct endpoint *ep, const struct input *in,
                                struct http_out *out)
{
    const struct value *v = in->values.v;
    int64_t top_n;
    TRY(openai_copy_request(ep, in, out));
    struct body b;
    body_begin(&b);
    if (v[S_MODEL_ID].set)
        json_key_str(&b.w, "model", v[S_MODEL_ID].s);
    json_key_str(&b.w, "query", in->query);
    json_key_texts(&b.w, "documents", in->texts, in->n_texts);
    if (call_top_n(in, &top_n))
        json_key_i64(&b.w, "top_n", top_n);
    if (in->has_return_documents || v[S_RETURN_DOCUMENTS].set)
        json_key_bool(&b.w, "return_documents", call_return_documents(in));
    return body_finish(&b, out);
}

static struct err *rerank_parse(const struct endpoint *ep, const struct input *in,
                                const struct http_in *answer, struct result *out)
{
    return results_ranked(answer, in, "OpenShift AI rerank", out);
}

/* A rerank server answers as Cohere does, refusals included. */
static void judge(const struct endpoint *ep, const struct http_in *in, struct verdict *out)
{
    if (ep->task != TASK_RERANK) {
        openai_copy_judge(ep, in, out);
        return;
    }
    verdict_by_status(in->status, out);
    verdict_message(in, out, "message", NULL);
    if (in->status == 500 || in->status == 429)
        out->action = VERDICT_RETRY;
}

static const struct provider_task tasks[] = {
    {.task = TASK_TEXT_EMBEDDING,
     .request_name = "OpenShift AI embeddings",
     .default_rpm = 3000,
     .batch = 20,
     .build = openai_copy_embed_build,
     .parse = openai_copy_embed_parse},
    {.task = TASK_RERANK,
     .request_name = "OpenShift AI rerank",
     .default_rpm = 3000,
     .build = rerank_build,
     .parse = rerank_parse},
    OPENAI_COPY_CHATS("OpenShift AI chat completions", "OpenShift AI completions", 3000),
};

static const char *const group_by[] = {"url", "model_id", "api_key", NULL};

const struct provider provider_openshift_ai = {
    .name = "openshift_ai",
    .label = "OpenShift AI",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .similarity = "dot_product",
    .cuts_input = true,
    .openai = &self,
    .judge = judge,
};
