/* amazonbedrock: chats over Converse, embeddings over InvokeModel, signed with AWS keys. Source:
 * shared facts, providers.md 3.2 (API 2023-09-30), inference.md 5.2; chat_completion and truncate
 * as Elasticsearch 9.4. */
#include "auth.h"
#include "aws.h"
#include "bedrock_converse.h"

#define TE    TASK_BIT(TASK_TEXT_EMBEDDING)
#define CHATS (TASK_BIT(TASK_COMPLETION) | TASK_BIT(TASK_CHAT_COMPLETION))
#define ALL   (TE | CHATS)

#define EMBEDDINGS "Amazon Bedrock embeddings"
#define COMPLETION "Amazon Bedrock completion"

enum {
    S_ACCESS_KEY,
    S_SECRET_KEY,
    S_REGION,
    S_MODEL,
    S_PROVIDER,
    S_RATE_LIMIT,
    S_DIMENSIONS,
    S_DIMENSIONS_SET_BY_USER,
    S_MAX_INPUT_TOKENS,
    S_SIMILARITY,
    S_TEMPERATURE,
    S_TOP_P,
    S_TOP_K,
    S_MAX_NEW_TOKENS,
    S_TRUNCATE,
    N_SETTINGS
};

static const char *const makers[] = {"ai21labs", "amazontitan", "anthropic", "cohere",
                                     "meta",     "mistral",     NULL};
static const char *const truncations[] = {"END", "NONE", "START", NULL};

#define ROW_SAMPLING(setting, ui_label, text)                                                      \
    {                                                                                              \
        .name = (setting), .place = IN_TASK, .type = SETTING_FLOAT, .tasks = CHATS,                \
        .flags = SETTING_UNLISTED, .has_range = true, .min = 0, .max = 1, .label = (ui_label),     \
        .description = (text),                                                                     \
    }

static const struct setting rows[N_SETTINGS] = {
    [S_ACCESS_KEY] = SETTING_AWS_ACCESS_KEY(ALL, "Amazon Bedrock"),
    [S_SECRET_KEY] = SETTING_AWS_SECRET_KEY(ALL),
    [S_REGION] = SETTING_AWS_REGION(ALL),
    [S_MODEL] = {.name = "model",
                 .place = IN_SERVICE,
                 .type = SETTING_STR,
                 .tasks = ALL,
                 .flags = SETTING_REQUIRED,
                 .label = "Model",
                 .description = "The base model ID or an ARN to a custom model based on a "
                                "foundational model."},
    [S_PROVIDER] = {.name = "provider",
                    .place = IN_SERVICE,
                    .type = SETTING_ENUM,
                    .tasks = ALL,
                    .flags = SETTING_REQUIRED,
                    .choices = makers,
                    .label = "Provider",
                    .description = "The model provider for your deployment."},
    [S_RATE_LIMIT] = SETTING_ROW_RATE_LIMIT(ALL),
    [S_DIMENSIONS] = {.name = "dimensions",
                      .place = IN_SERVICE,
                      .type = SETTING_INT,
                      .tasks = TE,
                      .flags = SETTING_INTERNAL | SETTING_UNLISTED, /* measured, never given */
                      .label = "Dimensions",
                      .description = "The number of dimensions of the embeddings."},
    [S_DIMENSIONS_SET_BY_USER] = SETTING_ROW_DIMENSIONS_SET_BY_USER(TE),
    [S_MAX_INPUT_TOKENS] = SETTING_ROW_MAX_INPUT_TOKENS(TE),
    [S_SIMILARITY] = SETTING_ROW_SIMILARITY(TE),
    [S_TEMPERATURE] = ROW_SAMPLING("temperature", "Temperature", "The randomness of the output."),
    [S_TOP_P] = ROW_SAMPLING("top_p", "Top P", "The probability mass that tokens are taken from."),
    [S_TOP_K] = ROW_SAMPLING("top_k", "Top K", "The number of tokens to choose from."),
    [S_MAX_NEW_TOKENS] = {.name = "max_new_tokens",
                          .place = IN_TASK,
                          .type = SETTING_INT,
                          .tasks = CHATS,
                          .flags = SETTING_UNLISTED,
                          .label = "Max New Tokens",
                          .description = "The maximum number of tokens to generate."},
    [S_TRUNCATE] = {.name = "truncate",
                    .place = IN_TASK,
                    .type = SETTING_ENUM,
                    .tasks = TE,
                    .flags = SETTING_UNLISTED,
                    .choices = truncations,
                    .label = "Truncate",
                    .description = "How the model handles inputs longer than the maximum."},
};

static const struct settings_table table = {
    .service = "amazonbedrock", .rows = rows, .n = N_SETTINGS};

static bool made_by(const struct values *values, const char *maker)
{
    return str_eq_c(values->v[S_PROVIDER].s, maker);
}

/* --- rules across settings --- */

/* Also of a call, whose task settings may bring in what the endpoint's do not have. */
static struct err *check_values(const struct values *values)
{
    const struct value *v = values->v;
    if (v[S_TOP_K].set && !made_by(values, "anthropic") && !made_by(values, "cohere") &&
        !made_by(values, "mistral"))
        return err_status(400, "The [top_k] task parameter is not available for provider [%.*s]",
                          STR_ARG(v[S_PROVIDER].s));
    if (v[S_TRUNCATE].set && !made_by(values, "cohere"))
        return err_status(400,
                          "The [text_embedding] task type for provider [%.*s] does not allow "
                          "[truncate] field",
                          STR_ARG(v[S_PROVIDER].s));
    return NULL;
}

static struct err *check(struct endpoint *ep)
{
    TRY(aws_region_check(ep));
    if (ep->task == TASK_TEXT_EMBEDDING && !made_by(&ep->values, "amazontitan") &&
        !made_by(&ep->values, "cohere"))
        return err_status(400,
                          "The [text_embedding] task type for provider [%.*s] is not available",
                          STR_ARG(ep->values.v[S_PROVIDER].s));
    return check_values(&ep->values);
}

/* --- requests --- */

/* The model is one segment of the path, whatever is in it: an ARN has slashes. */
static void request(const struct endpoint *ep, struct str model, const char *operation,
                    struct http_out *out)
{
    struct str origin = aws_origin(ep, "bedrock-runtime", out->arena);
    request_json(out,
                 arena_printf(out->arena, "%.*s/model/%.*s/%s", STR_ARG(origin),
                              STR_ARG(http_escape(out->arena, model, false)), operation),
                 NULL);
}

static struct err *sign(const struct endpoint *ep, const struct token *token, int64_t now_s,
                        struct http_out *out)
{
    return aws_sign(ep, "bedrock", now_s, out);
}

static const struct auth *auth(const struct endpoint *ep)
{
    static const struct auth signature = {.sign = sign};
    return &signature;
}

/* --- embeddings --- */

static const char *cohere_input_type(enum input_type type)
{
    switch (type) {
    case INPUT_SEARCH:
        return "search_query";
    case INPUT_CLASSIFICATION:
        return "classification";
    case INPUT_CLUSTERING:
        return "clustering";
    default:
        return "search_document";
    }
}

static struct err *embed_build(const struct endpoint *ep, const struct input *in,
                               struct http_out *out)
{
    const struct value *v = in->values.v;
    bool titan = made_by(&in->values, "amazontitan");
    TRY(check_values(&in->values));
    if (titan && in->n_texts > 1)
        return err_status(400, "[input] cannot contain more than one string");
    request(ep, v[S_MODEL].s, "invoke", out);
    http_header_add(&out->headers, STR("Accept"), STR("application/json"));
    struct body b;
    body_begin(&b);
    if (titan) {
        json_key_str(&b.w, "inputText", in->texts[0]);
    } else {
        json_key_texts(&b.w, "texts", in->texts, in->n_texts);
        json_key_cstr(&b.w, "input_type", cohere_input_type(in->input_type));
    }
    if (v[S_TRUNCATE].set)
        json_key_str(&b.w, "truncate", v[S_TRUNCATE].s);
    return body_finish(&b, out);
}

static struct err *titan_parse(const struct json *root, struct arena *arena, struct result *out)
{
    const struct json *numbers = json_get(root, "embedding");
    if (!numbers)
        numbers = json_path(root, "embeddingsByType", "float", NULL);
    *out = (struct result){.kind = RESULT_FLOATS, .n = 1};
    out->embeddings = arena_array(arena, 1, sizeof *out->embeddings);
    TRY(embedding_floats(numbers, "embedding", EMBEDDINGS, &out->embeddings[0]));
    out->usage.known = json_i64(json_get(root, "inputTextTokenCount"), &out->usage.in_tokens);
    return NULL;
}

/* Newer models sort the embeddings by type. */
static struct err *cohere_parse(const struct json *root, const struct input *in,
                                struct arena *arena, struct result *out)
{
    const struct json *rows_found = json_get(root, "embeddings");
    if (json_is(rows_found, JSON_OBJECT))
        rows_found = json_get(rows_found, "float");
    if (!json_is(rows_found, JSON_ARRAY))
        return missing_field("embeddings", EMBEDDINGS);
    return floats_from(rows_found, NULL, in, EMBEDDINGS, arena, out);
}

static struct err *embed_parse(const struct endpoint *ep, const struct input *in,
                               const struct http_in *answer, struct result *out)
{
    const struct json *root;
    struct str count;
    TRY(answer_json(answer, &root));
    if (made_by(&in->values, "amazontitan"))
        TRY(titan_parse(root, answer->arena, out));
    else
        TRY(cohere_parse(root, in, answer->arena, out));
    if (http_header_get(&answer->headers, STR("x-amzn-bedrock-input-token-count"), &count) &&
        str_to_i64(count, &out->usage.in_tokens))
        out->usage.known = true;
    return NULL;
}

/* Elasticsearch cuts chunks so, and refuses calls of its own with more. */
static size_t batch_of(const struct endpoint *ep)
{
    return made_by(&ep->values, "amazontitan") ? 1 : 96;
}

/* --- chats --- */

static struct err *chat_build(const struct endpoint *ep, const struct input *in,
                              struct http_out *out)
{
    const struct value *v = in->values.v;
    TRY(check_values(&in->values));
    request(ep, in->chat && in->chat->model.p ? in->chat->model : v[S_MODEL].s,
            in->stream ? "converse-stream" : "converse", out);
    struct converse_settings settings = {.max_tokens = &v[S_MAX_NEW_TOKENS],
                                         .temperature = &v[S_TEMPERATURE],
                                         .top_p = &v[S_TOP_P],
                                         .top_k = &v[S_TOP_K],
                                         .top_k_name =
                                             made_by(&in->values, "cohere") ? "k" : "top_k"};
    return converse_body(in, &settings, out);
}

static struct err *chat_parse_answer(const struct endpoint *ep, const struct input *in,
                                     const struct http_in *answer, struct result *out)
{
    return converse_parse(answer, COMPLETION, out);
}

/* --- refusals: never tried again, 500 for the client, in the words of Amazon's SDK --- */

static struct str sdk_message(const struct http_in *in, struct str type)
{
    struct str message = aws_message(in->arena, in->body), id;
    if (!message.n)
        message = type.n ? type : str_c(http_reason(in->status));
    bool has_id = http_header_get(&in->headers, STR("x-amzn-requestid"), &id);
    return arena_printf(in->arena, "%.*s (Service: BedrockRuntime, Status Code: %d%s%.*s)",
                        STR_ARG(message), in->status, has_id ? ", Request ID: " : "", STR_ARG(id));
}

static void judge(const struct endpoint *ep, const struct http_in *in, struct verdict *out)
{
    const char *what = ep->task == TASK_TEXT_EMBEDDING ? "invoke model" : "converse";
    struct str type = aws_error_type(in);
    out->action = VERDICT_FAIL;
    out->status = 500;
    out->whole = true;
    out->prefix = arena_printf(in->arena, "AmazonBedrock %s failure: [%.*s]", what,
                               STR_ARG(sdk_message(in, type)));
    if (type.n)
        out->chat_type = type;
}

static const struct provider_task tasks[] = {
    {.task = TASK_TEXT_EMBEDDING,
     .request_name = EMBEDDINGS,
     .default_rpm = 240,
     .batch_of = batch_of,
     .build = embed_build,
     .parse = embed_parse},
    {.task = TASK_COMPLETION,
     .request_name = COMPLETION,
     .one_input = COMPLETION,
     .default_rpm = 240,
     .framing = FRAMING_AWS,
     .build = chat_build,
     .parse = chat_parse_answer,
     .on_event = converse_event},
    {.task = TASK_CHAT_COMPLETION,
     .request_name = COMPLETION,
     .default_rpm = 240,
     .framing = FRAMING_AWS,
     .build = chat_build,
     .parse = chat_parse_answer,
     .on_event = converse_event},
};

static const char *const group_by[] = {"access_key", "secret_key", NULL};

const struct provider provider_amazonbedrock = {
    .name = "amazonbedrock",
    .label = "Amazon Bedrock",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .similarity = "cosine",
    .cuts_input = true,
    .auth = auth,
    .check = check,
    .judge = judge,
};
