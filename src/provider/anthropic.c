/* anthropic: the Messages API. Source: shared facts, providers.md 1.3 and 3.3 (API version
 * 2023-06-01), inference.md 5.3; chat_completion as Elasticsearch 9.5. */
#include "anthropic_shape.h"

#define ALL (TASK_BIT(TASK_COMPLETION) | TASK_BIT(TASK_CHAT_COMPLETION))

#define REQUEST_NAME "Anthropic chat completions"

enum {
    S_API_KEY,
    S_MODEL_ID,
    S_RATE_LIMIT,
    S_MAX_TOKENS,
    S_TEMPERATURE,
    S_TOP_P,
    S_TOP_K,
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
                    .description = "The name of the model to use for the inference task."},
    [S_RATE_LIMIT] = SETTING_ROW_RATE_LIMIT(ALL),
    [S_MAX_TOKENS] = {.name = "max_tokens",
                      .place = IN_TASK,
                      .type = SETTING_INT,
                      .tasks = ALL,
                      .flags = SETTING_REQUIRED | SETTING_UNLISTED,
                      .label = "Max Tokens",
                      .description = "The maximum number of tokens to generate before stopping."},
    [S_TEMPERATURE] = {.name = "temperature",
                       .place = IN_TASK,
                       .type = SETTING_FLOAT,
                       .tasks = ALL,
                       .flags = SETTING_UNLISTED,
                       .label = "Temperature",
                       .description = "The amount of randomness injected into the response."},
    [S_TOP_P] = {.name = "top_p",
                 .place = IN_TASK,
                 .type = SETTING_FLOAT,
                 .tasks = ALL,
                 .flags = SETTING_UNLISTED,
                 .label = "Top P",
                 .description = "Specifies to use Anthropic's nucleus sampling."},
    [S_TOP_K] = {.name = "top_k",
                 .place = IN_TASK,
                 .type = SETTING_INT,
                 .tasks = ALL,
                 .flags = SETTING_UNLISTED,
                 .has_range = true,
                 .min = INT32_MIN,
                 .max = INT32_MAX,
                 .label = "Top K",
                 .description = "Specifies to only sample from the top K options for each token."},
};

static const struct settings_table table = {.service = "anthropic", .rows = rows, .n = N_SETTINGS};

static struct err *build(const struct endpoint *ep, const struct input *in, struct http_out *out)
{
    const struct value *v = in->values.v;
    request_json(out, STR("https://api.anthropic.com/v1/messages"), NULL);
    http_header_add(&out->headers, STR("x-api-key"), secret_reveal(v[S_API_KEY].secret));
    http_header_add(&out->headers, STR("anthropic-version"), STR("2023-06-01"));
    struct anthropic_settings settings = {.model = v[S_MODEL_ID].s,
                                          .max_tokens = &v[S_MAX_TOKENS],
                                          .temperature = &v[S_TEMPERATURE],
                                          .top_p = &v[S_TOP_P],
                                          .top_k = &v[S_TOP_K]};
    return anthropic_body(in, &settings, out);
}

static struct err *parse(const struct endpoint *ep, const struct input *in,
                         const struct http_in *answer, struct result *out)
{
    return anthropic_parse(answer, REQUEST_NAME, out);
}

/* A digest of the quota headers; a missing one prints as "unknown". */
static struct str quota(const struct http_in *in)
{
    static const struct str names[] = {STR_INIT("anthropic-ratelimit-tokens-limit"),
                                       STR_INIT("anthropic-ratelimit-tokens-remaining"),
                                       STR_INIT("anthropic-ratelimit-tokens-reset"),
                                       STR_INIT("anthropic-ratelimit-requests-limit"),
                                       STR_INIT("anthropic-ratelimit-requests-remaining"),
                                       STR_INIT("anthropic-ratelimit-requests-reset"),
                                       STR_INIT("retry-after")};
    enum { N_NAMES = sizeof names / sizeof names[0] };
    struct str v[N_NAMES];
    for (size_t i = 0; i < N_NAMES; i++) {
        if (!http_header_get(&in->headers, names[i], &v[i]))
            v[i] = STR("unknown");
    }
    return arena_printf(in->arena,
                        "Received a rate limit status code. Token limit [%.*s], remaining tokens "
                        "[%.*s], tokens reset [%.*s]. Request limit [%.*s], remaining requests "
                        "[%.*s], request reset [%.*s]. Retry after [%.*s]",
                        STR_ARG(v[0]), STR_ARG(v[1]), STR_ARG(v[2]), STR_ARG(v[3]), STR_ARG(v[4]),
                        STR_ARG(v[5]), STR_ARG(v[6]));
}

static void judge(const struct endpoint *ep, const struct http_in *in, struct verdict *out)
{
    struct verdict type = {0};
    verdict_by_status(in->status, out);
    verdict_message(in, out, "error", "message", NULL);
    verdict_message(in, &type, "error", "type", NULL);
    out->chat_type = type.message;
    if (in->status == 500) {
        out->action = VERDICT_RETRY;
    } else if (in->status == 529) {
        verdict_set(out, VERDICT_RETRY,
                    "Received an Anthropic server is temporarily overloaded status code");
    } else if (in->status == 429) {
        out->action = VERDICT_RETRY;
        out->prefix = quota(in);
    } else if (in->status == 403) {
        verdict_set(out, VERDICT_FAIL, "Received a permission denied error status code");
    }
}

static const struct provider_task tasks[] = {
    {.task = TASK_COMPLETION,
     .request_name = REQUEST_NAME,
     .one_input = REQUEST_NAME,
     .default_rpm = 50,
     .framing = FRAMING_SSE,
     .build = build,
     .parse = parse,
     .on_event = anthropic_event},
    {.task = TASK_CHAT_COMPLETION,
     .request_name = REQUEST_NAME,
     .default_rpm = 50,
     .framing = FRAMING_SSE,
     .build = build,
     .parse = parse,
     .on_event = anthropic_event},
};

static const char *const group_by[] = {"api_key", "model_id", NULL};

const struct provider provider_anthropic = {
    .name = "anthropic",
    .label = "Anthropic",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .judge = judge,
};
