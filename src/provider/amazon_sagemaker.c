/* amazon_sagemaker: models behind SageMaker endpoints, called through InvokeEndpoint and signed
 * with AWS keys; what they are told is in sagemaker_payload.c. Source: shared facts, inference.md
 * 6; SageMaker Runtime API 2017-05-13; Elasticsearch 9.1. */
#include <strings.h>

#include "auth.h"
#include "aws.h"
#include "sagemaker_payload.h"

#define TE    TASK_BIT(TASK_TEXT_EMBEDDING)
#define CHATS (TASK_BIT(TASK_COMPLETION) | TASK_BIT(TASK_CHAT_COMPLETION))
#define ALL   TASK_ALL_BITS

#define REQUEST_NAME "Amazon SageMaker"

static const char *const apis[] = {"elastic", "openai", NULL};
static const char *const element_types[] = {"bit", "byte", "float", NULL};

#define ROW_SERVICE(setting, flag_bits, ui_label, text)                                            \
    {                                                                                              \
        .name = (setting), .place = IN_SERVICE, .type = SETTING_STR, .tasks = ALL,                 \
        .flags = (flag_bits), .label = (ui_label), .description = (text),                          \
    }

#define ROW_TASK(setting, ui_label, text)                                                          \
    {                                                                                              \
        .name = (setting), .place = IN_TASK, .type = SETTING_STR, .tasks = ALL,                    \
        .label = (ui_label), .description = (text),                                                \
    }

static const struct setting rows[N_SETTINGS] = {
    [S_ACCESS_KEY] = SETTING_AWS_ACCESS_KEY(ALL, "Amazon SageMaker"),
    [S_SECRET_KEY] = SETTING_AWS_SECRET_KEY(ALL),
    [S_ENDPOINT_NAME] = ROW_SERVICE("endpoint_name", SETTING_REQUIRED, "Endpoint Name",
                                    "The name specified when creating the SageMaker Endpoint."),
    [S_REGION] = SETTING_AWS_REGION(ALL),
    [S_API] = {.name = "api",
               .place = IN_SERVICE,
               .type = SETTING_ENUM,
               .tasks = ALL,
               .flags = SETTING_REQUIRED,
               .choices = apis,
               .label = "API",
               .description = "The API format that your SageMaker Endpoint expects."},
    [S_TARGET_MODEL] =
        ROW_SERVICE("target_model", 0, "Target Model",
                    "The model to request when calling a SageMaker multi-model Endpoint."),
    [S_TARGET_CONTAINER_HOSTNAME] =
        ROW_SERVICE("target_container_hostname", 0, "Target Container Hostname",
                    "The hostname of the container when calling a multi-container Endpoint."),
    [S_INFERENCE_COMPONENT_NAME] =
        ROW_SERVICE("inference_component_name", 0, "Inference Component Name",
                    "The inference component of the Endpoint to call."),
    [S_BATCH_SIZE] = {.name = "batch_size",
                      .place = IN_SERVICE,
                      .type = SETTING_INT,
                      .tasks = ALL,
                      .label = "Batch Size",
                      .description = "The maximum number of inputs in one request when chunking."},
    [S_DIMENSIONS] = SETTING_ROW_DIMENSIONS(TE),
    [S_DIMENSIONS_SET_BY_USER] = SETTING_ROW_DIMENSIONS_SET_BY_USER(TE),
    [S_SIMILARITY] = SETTING_ROW_SIMILARITY(TE),
    [S_ELEMENT_TYPE] = {.name = "element_type",
                        .place = IN_SERVICE,
                        .type = SETTING_ENUM,
                        .tasks = TE,
                        .flags = SETTING_UNLISTED,
                        .choices = element_types,
                        .label = "Element Type",
                        .description = "The type of the numbers of an embedding."},
    [S_CUSTOM_ATTRIBUTES] =
        ROW_TASK("custom_attributes", "Custom Attributes",
                 "An opaque informational value forwarded as-is to the model within SageMaker."),
    [S_ENABLE_EXPLANATIONS] =
        ROW_TASK("enable_explanations", "Enable Explanations",
                 "JMESPath expression overriding the explainer configuration of the Endpoint."),
    [S_INFERENCE_ID] = ROW_TASK("inference_id", "Inference ID",
                                "Identifies requests for auditing within the SageMaker Endpoint."),
    [S_SESSION_ID] = ROW_TASK("session_id", "Session ID",
                              "Creates or reuses an existing Session for stateful models."),
    [S_TARGET_VARIANT] = ROW_TASK("target_variant", "Target Variant",
                                  "The production variant when calling the SageMaker Endpoint."),
    [S_USER] = {.name = "user",
                .place = IN_TASK,
                .type = SETTING_STR,
                .tasks = TE | CHATS,
                .flags = SETTING_UNLISTED,
                .label = "User",
                .description = "Specifies the user issuing the request."},
};

static const struct settings_table table = {.service = "amazon_sagemaker",
                                            .rows = rows,
                                            .n = N_SETTINGS,
                                            .calls_are_open = sagemaker_is_elastic};

/* --- rules across settings: each api has its own tasks and settings --- */

static struct err *check_elastic(const struct endpoint *ep)
{
    const struct value *v = ep->values.v;
    if (v[S_USER].set)
        return err_new(ERR_VALIDATION,
                       "Validation Failed: 1: task_settings is only supported during the inference "
                       "request and cannot be stored in the inference endpoint.;");
    if (ep->task == TASK_TEXT_EMBEDDING && !v[S_ELEMENT_TYPE].set)
        return err_new(ERR_VALIDATION, "Validation Failed: 1: [service_settings] does not contain "
                                       "the required setting [element_type];");
    return NULL;
}

static struct err *check_openai(const struct endpoint *ep)
{
    static const int foreign[] = {S_SIMILARITY, S_ELEMENT_TYPE};
    if (ep->task == TASK_SPARSE_EMBEDDING || ep->task == TASK_RERANK)
        return err_status(405,
                          "Task [%s] is not compatible for service [amazon_sagemaker] and api "
                          "[openai]. Supported tasks: [text_embedding, completion, "
                          "chat_completion]",
                          task_name(ep->task));
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
        const struct value *v = &ep->values.v[foreign[i]];
        if (v->set)
            return err_status(400,
                              "Configuration contains settings [{%s=%.*s}] unknown to the "
                              "[amazon_sagemaker] service",
                              rows[foreign[i]].name, STR_ARG(v->s));
    }
    return NULL;
}

static struct err *check(struct endpoint *ep)
{
    TRY(aws_region_check(ep));
    return sagemaker_is_elastic(&ep->values) ? check_elastic(ep) : check_openai(ep);
}

/* --- requests --- */

static void add_headers(const struct input *in, struct http_out *out)
{
    static const struct {
        int setting;
        const char *name;
        bool streams; /* known to InvokeEndpointWithResponseStream too */
    } headers[] = {
        {S_CUSTOM_ATTRIBUTES, "X-Amzn-SageMaker-Custom-Attributes", true},
        {S_ENABLE_EXPLANATIONS, "X-Amzn-SageMaker-Enable-Explanations", false},
        {S_INFERENCE_COMPONENT_NAME, "X-Amzn-SageMaker-Inference-Component", true},
        {S_INFERENCE_ID, "X-Amzn-SageMaker-Inference-Id", true},
        {S_SESSION_ID, "X-Amzn-SageMaker-Session-Id", true},
        {S_TARGET_CONTAINER_HOSTNAME, "X-Amzn-SageMaker-Target-Container-Hostname", true},
        {S_TARGET_MODEL, "X-Amzn-SageMaker-Target-Model", false},
        {S_TARGET_VARIANT, "X-Amzn-SageMaker-Target-Variant", true},
    };
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        const struct value *v = &in->values.v[headers[i].setting];
        if (v->set && (headers[i].streams || !in->stream))
            http_header_add(&out->headers, str_c(headers[i].name), str_trim(v->s));
    }
}

static struct err *build(const struct endpoint *ep, const struct input *in, struct http_out *out)
{
    struct str name = http_escape(out->arena, in->values.v[S_ENDPOINT_NAME].s, false);
    struct str origin = aws_origin(ep, "runtime.sagemaker", out->arena);
    request_json(out,
                 arena_printf(out->arena, "%.*s/endpoints/%.*s/invocations%s", STR_ARG(origin),
                              STR_ARG(name), in->stream ? "-response-stream" : ""),
                 NULL);
    http_header_add(&out->headers, in->stream ? STR("X-Amzn-SageMaker-Accept") : STR("Accept"),
                    STR("application/json"));
    add_headers(in, out);
    return sagemaker_body(in, out);
}

static struct err *sign(const struct endpoint *ep, const struct token *token, int64_t now_s,
                        struct http_out *out)
{
    return aws_sign(ep, "sagemaker", now_s, out);
}

static const struct auth *auth(const struct endpoint *ep)
{
    static const struct auth signature = {.sign = sign};
    return &signature;
}

/* What the caller says the model takes. */
static size_t batch_of(const struct endpoint *ep)
{
    const struct value *most = &ep->values.v[S_BATCH_SIZE];
    return most->set ? (size_t)most->i : 256;
}

/* --- streams --- */

static struct err *on_event(struct stream *s, const struct event *ev, struct sink *sink)
{
    if (!ev->exception)
        return str_eq(ev->name, STR("PayloadPart")) ? sagemaker_part(s, ev->data, sink) : NULL;
    struct str message = aws_message(s->scratch, ev->data);
    if (!message.n)
        message = ev->name;
    struct err *e =
        err_status(500, "Received an error from SageMaker for [%.*s]. Error message: [%.*s]",
                   STR_ARG(s->endpoint->id), STR_ARG(str_sub(message, 0, 2000)));
    e->chat_type = strdup("error");
    return e;
}

/* --- refusals: tried again where Amazon's SDK would --- */

struct refusal {
    int status;       /* of the answer */
    const char *type; /* where that does not say it all; NULL: any */
    const char *prefix;
    int client_status;
};

static const struct refusal refusals[] = {
    {400, "ValidationError", "Received a validation error from SageMaker", 400},
    {424, NULL, "Received a model error from SageMaker", 424},
    {429, "ModelNotReady", "Received a model not ready error from SageMaker", 429},
    {500, NULL, "Received an internal failure from SageMaker", 500},
    {503, NULL, "SageMaker is unavailable", 503},
    {530, NULL, "Received an internal dependency error from SageMaker", 500},
};

static void judge(const struct endpoint *ep, const struct http_in *in, struct verdict *out)
{
    struct str type = aws_error_type(in);
    int status = in->status;
    bool again = status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
    verdict_set(out, again ? VERDICT_RETRY : VERDICT_FAIL, "Received an error from SageMaker");
    out->status = 500;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const struct refusal *r = &refusals[i];
        if (r->status == status && (!r->type || str_starts(type, str_c(r->type)))) {
            out->prefix = str_c(r->prefix);
            out->status = r->client_status;
        }
    }
    out->message = aws_message(in->arena, in->body);
    if (!out->message.n && type.n)
        out->message = type;
    out->chat_type = STR("error");
}

static const struct provider_task tasks[] = {
    {.task = TASK_TEXT_EMBEDDING,
     .request_name = REQUEST_NAME,
     .batch_of = batch_of,
     .build = build,
     .parse = sagemaker_parse},
    {.task = TASK_SPARSE_EMBEDDING,
     .request_name = REQUEST_NAME,
     .batch_of = batch_of,
     .build = build,
     .parse = sagemaker_parse},
    {.task = TASK_RERANK, .request_name = REQUEST_NAME, .build = build, .parse = sagemaker_parse},
    {.task = TASK_COMPLETION,
     .request_name = REQUEST_NAME,
     .one_input = REQUEST_NAME,
     .framing = FRAMING_AWS,
     .build = build,
     .parse = sagemaker_parse,
     .on_event = on_event},
    {.task = TASK_CHAT_COMPLETION,
     .request_name = REQUEST_NAME,
     .framing = FRAMING_AWS,
     .build = build,
     .parse = sagemaker_parse,
     .on_event = on_event},
};

const struct provider provider_amazon_sagemaker = {
    .name = "amazon_sagemaker",
    .label = "Amazon SageMaker",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .auth = auth,
    .check = check,
    .judge = judge,
};
