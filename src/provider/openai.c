/* openai: embeddings and chat completions. Source: shared facts, providers.md 3.12 (API as of
 * January 2025), inference.md 5.14. */
#include "openai_shape.h"

#define TE    TASK_BIT(TASK_TEXT_EMBEDDING)
#define CHATS (TASK_BIT(TASK_COMPLETION) | TASK_BIT(TASK_CHAT_COMPLETION))
#define ALL   (TE | CHATS)

enum {
    S_API_KEY,
    S_MODEL_ID,
    S_URL,
    S_ORGANIZATION_ID,
    S_SIMILARITY,
    S_DIMENSIONS,
    S_DIMENSIONS_SET_BY_USER,
    S_MAX_INPUT_TOKENS,
    S_RATE_LIMIT,
    S_USER,
    S_HEADERS,
    N_SETTINGS
};

static const char *const old_model_names[] = {"model", "model_id", NULL};

static const struct setting rows[N_SETTINGS] = {
    [S_API_KEY] = SETTING_API_KEY(ALL),
    [S_MODEL_ID] = {.name = "model_id",
                    .place = IN_SERVICE,
                    .type = SETTING_STR,
                    .tasks = ALL,
                    .flags = SETTING_REQUIRED,
                    .legacy = old_model_names,
                    .label = "Model ID",
                    .description = "The name of the model to use for the inference task."},
    [S_URL] = {.name = "url",
               .place = IN_SERVICE,
               .type = SETTING_URL,
               .tasks = ALL,
               .label = "URL",
               .description = "The absolute URL of the external service to send requests to."},
    [S_ORGANIZATION_ID] = {.name = "organization_id",
                           .place = IN_SERVICE,
                           .type = SETTING_STR,
                           .tasks = ALL,
                           .label = "Organization ID",
                           .description = "The unique identifier of your organization."},
    [S_SIMILARITY] = SETTING_ROW_SIMILARITY(TE),
    [S_DIMENSIONS] = SETTING_ROW_DIMENSIONS(TE),
    [S_DIMENSIONS_SET_BY_USER] = SETTING_ROW_DIMENSIONS_SET_BY_USER(TE),
    [S_MAX_INPUT_TOKENS] = SETTING_ROW_MAX_INPUT_TOKENS(ALL),
    [S_RATE_LIMIT] = SETTING_ROW_RATE_LIMIT(ALL),
    [S_USER] = {.name = "user",
                .place = IN_TASK,
                .type = SETTING_STR,
                .tasks = ALL,
                .flags = SETTING_UNLISTED,
                .label = "User",
                .description = "Specifies the user issuing the request."},
    [S_HEADERS] = {.name = "headers",
                   .place = IN_TASK,
                   .type = SETTING_STR_MAP,
                   .tasks = ALL,
                   .flags = SETTING_UNLISTED,
                   .label = "Headers",
                   .description = "Headers added to the request to the service."},
};

static const struct settings_table table = {.service = "openai", .rows = rows, .n = N_SETTINGS};

static const struct openai_style style = {.max_field = "max_completion_tokens",
                                          .stream_options = true};

static struct str url_of(const struct endpoint *ep)
{
    const struct value *url = &ep->values.v[S_URL];
    if (url->set)
        return url->s;
    return ep->task == TASK_TEXT_EMBEDDING ? STR("https://api.openai.com/v1/embeddings")
                                           : STR("https://api.openai.com/v1/chat/completions");
}

/* A header name by RFC 9110 5.1, and not one of those that frame the message: a caller who may only
 * use an endpoint must not be able to smuggle a second request through it. */
static bool header_may_be_set(struct str name)
{
    static const struct str framing[] = {STR_INIT("host"), STR_INIT("content-length"),
                                         STR_INIT("transfer-encoding"), STR_INIT("connection"),
                                         STR_INIT("expect")};
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool alphanumeric =
            (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alphanumeric && !memchr(others, c, sizeof others - 1))
            return false;
    }
    for (size_t i = 0; i < sizeof framing / sizeof framing[0]; i++) {
        if (str_eq_nocase(name, framing[i]))
            return false;
    }
    return name.n > 0;
}

/* The caller's own headers come last and win over ours. */
static struct err *add_headers(const struct value *headers, struct http_out *out)
{
    if (!headers->set)
        return NULL;
    struct json_iter it = json_iter(headers->json);
    for (const struct json *v; (v = json_next(&it));) {
        struct str value;
        if (!json_str(v, &value))
            continue;
        if (!header_may_be_set(v->key))
            return err_new(ERR_ARGUMENT,
                           "[task_settings] the header [%.*s] of [headers] must not be set",
                           STR_ARG(str_sub(v->key, 0, 200)));
        size_t i = 0;
        while (i < out->headers.n && !str_eq_nocase(out->headers.h[i].name, v->key))
            i++;
        if (i < out->headers.n)
            out->headers.h[i].value = value;
        else if (out->headers.n < HTTP_MAX_HEADERS)
            http_header_add(&out->headers, v->key, value);
        else
            return err_new(ERR_ARGUMENT, "[task_settings] [headers] has too many members");
    }
    return NULL;
}

static struct err *request(const struct endpoint *ep, const struct input *in, struct http_out *out)
{
    const struct value *v = in->values.v;
    request_json(out, url_of(ep), &v[S_API_KEY]);
    if (v[S_ORGANIZATION_ID].set)
        http_header_add(&out->headers, STR("OpenAI-Organization"), v[S_ORGANIZATION_ID].s);
    return add_headers(&v[S_HEADERS], out);
}

static struct str user_of(const struct input *in)
{
    const struct value *user = &in->values.v[S_USER];
    return user->set ? user->s : (struct str){0};
}

static struct err *embed_build(const struct endpoint *ep, const struct input *in,
                               struct http_out *out)
{
    const struct value *v = in->values.v;
    TRY(request(ep, in, out));
    struct body b;
    body_begin(&b);
    json_key_texts(&b.w, "input", in->texts, in->n_texts);
    json_key_str(&b.w, "model", v[S_MODEL_ID].s);
    if (v[S_USER].set)
        json_key_str(&b.w, "user", v[S_USER].s);
    if (v[S_DIMENSIONS].set && v[S_DIMENSIONS].by_user)
        json_key_i64(&b.w, "dimensions", v[S_DIMENSIONS].i);
    return body_finish(&b, out);
}

static struct err *embed_parse(const struct endpoint *ep, const struct input *in,
                               const struct http_in *answer, struct result *out)
{
    static const char name[] = "OpenAI embeddings";
    const struct json *root;
    TRY(answer_json(answer, &root));
    const struct json *data = json_get(root, "data");
    if (!json_is(data, JSON_ARRAY))
        return missing_field("data", name);
    TRY(floats_from(data, "embedding", in, name, answer->arena, out));
    out->usage.known =
        json_i64(json_path(root, "usage", "prompt_tokens", NULL), &out->usage.in_tokens);
    return NULL;
}

static struct err *chat_build(const struct endpoint *ep, const struct input *in,
                              struct http_out *out)
{
    TRY(request(ep, in, out));
    struct body b;
    body_begin(&b);
    openai_chat_body(&b.w, in, in->values.v[S_MODEL_ID].s, user_of(in), &style);
    return body_finish(&b, out);
}

static struct err *chat_parse_answer(const struct endpoint *ep, const struct input *in,
                                     const struct http_in *answer, struct result *out)
{
    return openai_chat_parse(answer, "OpenAI chat completions", out);
}

static void judge(const struct endpoint *ep, const struct http_in *in, struct verdict *out)
{
    openai_judge(ep, url_of(ep), in, out);
}

static const struct provider_task tasks[] = {
    {.task = TASK_TEXT_EMBEDDING,
     .request_name = "OpenAI embeddings",
     .default_rpm = 3000,
     .batch = 2048,
     .batch_tokens = 300000,
     .build = embed_build,
     .parse = embed_parse},
    {.task = TASK_COMPLETION,
     .request_name = "OpenAI chat completions",
     .one_input = "OpenAI chat completions",
     .default_rpm = 500,
     .framing = FRAMING_SSE,
     .build = chat_build,
     .parse = chat_parse_answer,
     .on_event = openai_chat_event},
    {.task = TASK_CHAT_COMPLETION,
     .request_name = "OpenAI chat completions",
     .default_rpm = 500,
     .framing = FRAMING_SSE,
     .build = chat_build,
     .parse = chat_parse_answer,
     .on_event = openai_chat_event},
};

static const char *const group_by[] = {"url", "organization_id", "api_key", "model_id", NULL};

const struct provider provider_openai = {
    .name = "openai",
    .label = "OpenAI",
    .settings = &table,
    .tasks = tasks,
    .n_tasks = sizeof tasks / sizeof tasks[0],
    .group_by = group_by,
    .similarity = "dot_product",
    .cuts_input = true,
    .judge = judge,
};
