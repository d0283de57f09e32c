#include "openai_shape.h"

#include <strings.h>

/* --- request --- */

void openai_put_tool_calls(struct json_out *w, const struct chat_message *m)
{
    json_key(w, "tool_calls");
    json_arr(w);
    for (size_t i = 0; i < m->n_tool_calls; i++) {
        const struct chat_tool_call *c = &m->tool_calls[i];
        json_obj(w);
        json_key_str(w, "id", c->id);
        json_key_str(w, "type", c->type);
        json_key(w, "function");
        json_obj(w);
        json_key_str(w, "name", c->name);
        json_key_str(w, "arguments", c->arguments);
        json_end(w);
        json_end(w);
    }
    json_end(w);
}

void openai_put_content(struct json_out *w, const struct chat_message *m)
{
    json_key(w, "content");
    if (!m->content_is_parts) {
        json_put_str(w, m->content);
        return;
    }
    json_arr(w);
    for (size_t i = 0; i < m->n_parts; i++) {
        json_obj(w);
        json_key_str(w, "type", m->parts[i].type);
        json_key_str(w, "text", m->parts[i].text);
        json_end(w);
    }
    json_end(w);
}

static void put_message(struct json_out *w, const struct chat_message *m)
{
    json_obj(w);
    if (m->has_content)
        openai_put_content(w, m);
    json_key_str(w, "role", m->role);
    if (m->tool_call_id.p)
        json_key_str(w, "tool_call_id", m->tool_call_id);
    if (m->n_tool_calls)
        openai_put_tool_calls(w, m);
    json_end(w);
}

void openai_put_messages(struct json_out *w, const char *key, const struct chat *c)
{
    json_key(w, key);
    json_arr(w);
    for (size_t i = 0; i < c->n_messages; i++)
        put_message(w, &c->messages[i]);
    json_end(w);
}

static void put_messages(struct json_out *w, const struct input *in)
{
    struct chat_message one = {.role = STR("user"), .has_content = true};
    struct chat alone = {.messages = &one, .n_messages = 1};
    if (!in->chat && in->n_texts)
        one.content = in->texts[0];
    openai_put_messages(w, "messages", in->chat ? in->chat : &alone);
}

static void put_tool(struct json_out *w, const struct chat_tool *t)
{
    json_obj(w);
    json_key_str(w, "type", t->type);
    json_key(w, "function");
    json_obj(w);
    if (t->description.p)
        json_key_str(w, "description", t->description);
    json_key_str(w, "name", t->name);
    if (t->parameters)
        json_key_raw(w, "parameters", json_raw(t->parameters));
    if (t->has_strict)
        json_key_bool(w, "strict", t->strict);
    json_end(w);
    json_end(w);
}

static void put_tool_choice(struct json_out *w, const struct chat *c,
                            const struct openai_style *style)
{
    if (!c->tool_choice_name.p) {
        bool any = style->any_for_required && str_eq(c->tool_choice, STR("required"));
        json_key_str(w, "tool_choice", any ? STR("any") : c->tool_choice);
        return;
    }
    json_key(w, "tool_choice");
    json_obj(w);
    json_key_str(w, "type", c->tool_choice);
    json_key(w, "function");
    json_obj(w);
    json_key_str(w, "name", c->tool_choice_name);
    json_end(w);
    json_end(w);
}

/* Everything but the messages and the model. */
static void put_chat_options(struct json_out *w, const struct chat *c,
                             const struct openai_style *style)
{
    if (c->has_max_completion_tokens)
        json_key_i64(w, style->max_field, c->max_completion_tokens);
    if (!style->bare && !style->omits_n)
        json_key_i64(w, "n", 1);
    if (c->n_stop)
        json_key_texts(w, "stop", c->stop, c->n_stop);
    if (c->has_temperature)
        json_key_raw(w, "temperature", c->temperature_text);
    if (c->has_tool_choice)
        put_tool_choice(w, c, style);
    if (c->n_tools) {
        json_key(w, "tools");
        json_arr(w);
        for (size_t i = 0; i < c->n_tools; i++)
            put_tool(w, &c->tools[i]);
        json_end(w);
    }
    if (c->has_top_p)
        json_key_raw(w, "top_p", c->top_p_text);
}

void openai_chat_body(struct json_out *w, const struct input *in, struct str model, struct str user,
                      const struct openai_style *style)
{
    static const struct chat none;
    const struct chat *chat = in->chat ? in->chat : &none;
    if (chat->model.p)
        model = chat->model;
    put_messages(w, in);
    if (model.n && !style->omits_model)
        json_key_str(w, "model", model);
    put_chat_options(w, chat, style);
    if (!style->bare)
        json_key_bool(w, "stream", in->stream);
    if (in->stream && style->stream_options) {
        json_key(w, "stream_options");
        json_obj(w);
        json_key_bool(w, "include_usage", true);
        json_end(w);
    }
    if (user.n)
        json_key_str(w, "user", user);
}

/* --- whole answer --- */

static void read_usage(const struct json *usage, struct usage *out)
{
    out->known = json_i64(json_get(usage, "prompt_tokens"), &out->in_tokens);
    if (json_i64(json_get(usage, "completion_tokens"), &out->out_tokens))
        out->known = true;
}

struct err *openai_embed_parse(const struct http_in *answer, const struct input *in,
                               const char *request_name, struct result *out)
{
    const struct json *root;
    TRY(answer_json(answer, &root));
    const struct json *data = json_get(root, "data");
    if (!json_is(data, JSON_ARRAY))
        return missing_field("data", request_name);
    TRY(floats_from(data, "embedding", in, request_name, answer->arena, out));
    out->usage.known =
        json_i64(json_path(root, "usage", "prompt_tokens", NULL), &out->usage.in_tokens);
    return NULL;
}

struct err *openai_chat_parse(const struct http_in *in, const char *request_name,
                              struct result *out)
{
    const struct json *root;
    TRY(answer_json(in, &root));
    const struct json *choices = json_get(root, "choices");
    if (!json_is(choices, JSON_ARRAY) || choices->n == 0 || choices->flat)
        return missing_field("choices", request_name);
    const struct json *message = json_get(json_at(choices, 0), "message");
    if (!message)
        return missing_field("message", request_name);
    TRY(completion_from(json_get(message, "content"), "content", request_name, in->arena, out));
    read_usage(json_get(root, "usage"), &out->usage);
    return NULL;
}

/* --- stream --- */

static struct str opt_str(const struct json *v)
{
    struct str s = {0};
    json_str(v, &s);
    return s;
}

static void read_tool_calls(const struct json *list, struct arena *a, struct chat_choice *out)
{
    if (!json_is(list, JSON_ARRAY) || list->flat || list->n == 0)
        return;
    struct chat_delta_tool_call *calls = arena_array(a, list->n, sizeof *calls);
    size_t n = 0;
    struct json_iter it = json_iter(list);
    for (const struct json *v; (v = json_next(&it)); n++) {
        json_i64(json_get(v, "index"), &calls[n].index);
        calls[n].id = opt_str(json_get(v, "id"));
        calls[n].type = opt_str(json_get(v, "type"));
        calls[n].name = opt_str(json_path(v, "function", "name", NULL));
        calls[n].arguments = opt_str(json_path(v, "function", "arguments", NULL));
    }
    out->tool_calls = calls;
    out->n_tool_calls = n;
}

static void read_choice(const struct json *v, struct arena *a, struct chat_choice *out)
{
    const struct json *delta = json_get(v, "delta");
    json_i64(json_get(v, "index"), &out->index);
    out->content = opt_str(json_get(delta, "content"));
    out->refusal = opt_str(json_get(delta, "refusal"));
    out->role = opt_str(json_get(delta, "role"));
    out->finish_reason = opt_str(json_get(v, "finish_reason"));
    read_tool_calls(json_get(delta, "tool_calls"), a, out);
}

static void read_chunk_usage(const struct json *usage, struct chat_chunk *out)
{
    if (!json_is(usage, JSON_OBJECT))
        return;
    out->has_usage = true;
    json_i64(json_get(usage, "completion_tokens"), &out->completion_tokens);
    json_i64(json_get(usage, "prompt_tokens"), &out->prompt_tokens);
    json_i64(json_get(usage, "total_tokens"), &out->total_tokens);
    out->has_cached_tokens = json_i64(
        json_path(usage, "prompt_tokens_details", "cached_tokens", NULL), &out->cached_tokens);
    out->has_reasoning_tokens =
        json_i64(json_path(usage, "completion_tokens_details", "reasoning_tokens", NULL),
                 &out->reasoning_tokens);
}

static void chat_chunk_event(struct stream *s, const struct json *root, struct sink *sink)
{
    struct chat_chunk chunk = {.id = opt_str(json_get(root, "id")),
                               .model = opt_str(json_get(root, "model")),
                               .object = opt_str(json_get(root, "object"))};
    const struct json *choices = json_get(root, "choices");
    chunk.has_choices = json_is(choices, JSON_ARRAY);
    if (chunk.has_choices && choices->n && !choices->flat) {
        struct chat_choice *list = arena_array(s->scratch, choices->n, sizeof *list);
        struct json_iter it = json_iter(choices);
        for (const struct json *v; (v = json_next(&it));)
            read_choice(v, s->scratch, &list[chunk.n_choices++]);
        chunk.choices = list;
    }
    read_chunk_usage(json_get(root, "usage"), &chunk);
    if (!chunk.id.p && !chunk.has_choices && !chunk.has_usage)
        return; /* {}: some keep a stream alive with it */
    struct delta delta = {.chunk = &chunk};
    sink->delta(sink, &delta);
}

static void completion_event(struct stream *s, const struct json *root, struct sink *sink)
{
    const struct json *choices = json_get(root, "choices");
    if (!json_is(choices, JSON_ARRAY) || choices->flat || choices->n == 0)
        return;
    struct str *texts = arena_array(s->scratch, choices->n, sizeof *texts);
    struct delta delta = {.texts = texts};
    struct json_iter it = json_iter(choices);
    for (const struct json *v; (v = json_next(&it));) {
        struct str text = opt_str(json_path(v, "delta", "content", NULL));
        if (text.n)
            texts[delta.n_texts++] = text;
    }
    if (delta.n_texts)
        sink->delta(sink, &delta);
}

/* What an error body says of itself; some servers write their codes as numbers. */
static struct str text_of(const struct json *v)
{
    return json_is(v, JSON_NUMBER) ? json_raw(v) : opt_str(v);
}

struct refusal {
    struct str message, type, code, param; /* {NULL, 0}: not said */
};

/* {"message","type","code","param"}, a bare text of smaller servers, or Hugging Face's
 * {"message","http_status_code"}, which it calls hugging_face_error. */
static struct refusal read_refusal(const struct json *error)
{
    struct refusal r = {.message = opt_str(error),
                        .type = opt_str(json_get(error, "type")),
                        .code = text_of(json_get(error, "code")),
                        .param = opt_str(json_get(error, "param"))};
    const struct json *http_status = json_get(error, "http_status_code");
    if (!r.message.p)
        r.message = opt_str(json_get(error, "message"));
    if (!r.code.p && json_is(http_status, JSON_NUMBER)) {
        r.code = json_raw(http_status);
        if (!r.type.p)
            r.type = STR("hugging_face_error");
    }
    return r;
}

static char *heap_text(struct str s)
{
    return s.p ? strndup(s.p, s.n) : NULL;
}

/* For the chat envelope, when the body names none. */
static struct str error_type(const struct endpoint *ep)
{
    return str_c(ep->provider && ep->provider->openai ? ep->provider->openai->error_type : NULL);
}

static struct err *event_error(struct stream *s, const struct json *error)
{
    struct refusal r = read_refusal(error);
    struct err *e = stream_error(s, r.message);
    if (!r.type.p)
        r.type = error_type(s->endpoint);
    if (!r.message.n && !r.code.p)
        r.code = STR("stream_error");
    e->chat_type = heap_text(r.type);
    e->chat_code = heap_text(r.code);
    e->chat_param = heap_text(r.param);
    return e;
}

struct err *openai_chat_event(struct stream *s, const struct event *ev, struct sink *sink)
{
    struct str data = str_trim(ev->data);
    s->finished = str_eq_nocase(data, STR("[DONE]"));
    if (s->finished || data.n == 0) /* an event without data says nothing */
        return NULL;
    const struct json *root;
    struct err *bad = json_parse(s->scratch, data, &root);
    if (bad) {
        err_free(bad);
        return event_error(s, NULL);
    }
    const struct json *error = json_get(root, "error");
    if (!json_is_null(error) || str_eq(ev->name, STR("error")))
        return event_error(s, json_is_null(error) ? root : error);
    if (!json_is(root, JSON_OBJECT))
        return event_error(s, NULL);
    const struct json *usage = json_get(root, "usage");
    if (json_is(usage, JSON_OBJECT))
        read_usage(usage, &s->usage);
    if (s->endpoint->task == TASK_CHAT_COMPLETION)
        chat_chunk_event(s, root, sink);
    else
        completion_event(s, root, sink);
    return NULL;
}

/* --- refusals --- */

static struct str quota_header(const struct http_in *in, struct str name)
{
    struct str v;
    return http_header_get(&in->headers, name, &v) ? v : STR("unknown");
}

struct str openai_quota(const struct http_in *in)
{
    return arena_printf(in->arena,
                        "Received a rate limit status code. Token limit [%.*s], remaining tokens "
                        "[%.*s]. Request limit [%.*s], remaining requests [%.*s]",
                        STR_ARG(quota_header(in, STR("x-ratelimit-limit-tokens"))),
                        STR_ARG(quota_header(in, STR("x-ratelimit-remaining-tokens"))),
                        STR_ARG(quota_header(in, STR("x-ratelimit-limit-requests"))),
                        STR_ARG(quota_header(in, STR("x-ratelimit-remaining-requests"))));
}

struct str azure_quota(const struct http_in *in)
{
    return arena_printf(in->arena,
                        "Received a rate limit status code. Remaining tokens [%.*s]. Remaining "
                        "requests [%.*s].",
                        STR_ARG(quota_header(in, STR("x-ratelimit-remaining-tokens"))),
                        STR_ARG(quota_header(in, STR("x-ratelimit-remaining-requests"))));
}

bool openai_prompt_too_long(struct str message)
{
    return str_find(message, STR("Please reduce your prompt; or completion length.")) != SIZE_MAX;
}

void openai_refusal(const struct http_in *in, struct verdict *out)
{
    const struct json *root, *error = NULL;
    struct err *bad = json_parse(in->arena, in->body, &root);
    if (!bad)
        error = json_get(root, "error");
    err_free(bad);
    struct refusal r = read_refusal(error);
    out->message = r.message;
    out->chat_type = r.type;
    out->chat_code = r.code;
    out->chat_param = r.param;
}

static bool is_chat(enum task task)
{
    return task == TASK_COMPLETION || task == TASK_CHAT_COMPLETION;
}

void openai_judge(const struct endpoint *ep, struct str url, const struct http_in *in,
                  struct verdict *out)
{
    verdict_by_status(in->status, out);
    openai_refusal(in, out);
    switch (in->status) {
    case 500:
        out->action = VERDICT_RETRY;
        break;
    case 503:
        verdict_set(out, VERDICT_RETRY, "Received a server busy error status code");
        break;
    case 429: /* chats are not worth a second try: their quota is by the minute */
        if (!is_chat(ep->task)) {
            out->action = VERDICT_RETRY;
            out->prefix = openai_quota(in);
        }
        break;
    case 413:
        verdict_set(out, VERDICT_SHORTEN, "Received a content too large status code");
        break;
    case 400:
        if (openai_prompt_too_long(out->message))
            verdict_set(out, VERDICT_SHORTEN, "Received a content too large status code");
        else
            verdict_set(out, VERDICT_FAIL, "Received a bad request status code");
        break;
    case 404:
        out->prefix = arena_printf(in->arena, "Resource not found at [%.*s]", STR_ARG(url));
        break;
    case 422:
        verdict_set(out, VERDICT_FAIL, "Received an input validation error response");
        break;
    default:
        break;
    }
}

/* --- services that copy OpenAI whole --- */

static const struct openai_copy *copy_of(const struct endpoint *ep)
{
    return ep->provider->openai;
}

static const char *name_of(const struct endpoint *ep)
{
    return provider_task(ep->provider, ep->task)->request_name;
}

/* {NULL, 0}: no such row, or not set */
static struct str text_setting(const struct values *values, const char *name)
{
    const struct value *v = settings_get(values, name);
    return v && v->set ? v->s : (struct str){0};
}

static struct str model_setting(const struct input *in)
{
    struct str model = text_setting(&in->values, "model_id");
    return model.p ? model : text_setting(&in->values, "model");
}

struct str openai_copy_url(const struct endpoint *ep)
{
    struct str url = text_setting(&ep->values, "url");
    if (url.p)
        return url;
    return str_c(is_chat(ep->task) ? copy_of(ep)->chat_url : copy_of(ep)->embed_url);
}

struct err *openai_copy_request(const struct endpoint *ep, const struct input *in,
                                struct http_out *out)
{
    request_json(out, openai_copy_url(ep), settings_get(&in->values, "api_key"));
    struct str organization = text_setting(&in->values, "organization_id");
    if (organization.p)
        http_header_add(&out->headers, STR("OpenAI-Organization"), organization);
    return request_headers(settings_get(&in->values, "headers"), out);
}

struct err *openai_copy_embed_build(const struct endpoint *ep, const struct input *in,
                                    struct http_out *out)
{
    TRY(openai_copy_request(ep, in, out));
    struct str model = model_setting(in), user = text_setting(&in->values, "user");
    const struct value *dimensions = settings_get(&in->values, "dimensions");
    struct body b;
    body_begin(&b);
    json_key_texts(&b.w, "input", in->texts, in->n_texts);
    if (model.p)
        json_key_str(&b.w, "model", model);
    if (copy_of(ep)->names_encoding)
        json_key_cstr(&b.w, "encoding_format", "float");
    if (user.p)
        json_key_str(&b.w, "user", user);
    if (copy_of(ep)->sends_dimensions && dimensions && dimensions->set && dimensions->by_user)
        json_key_i64(&b.w, "dimensions", dimensions->i);
    return body_finish(&b, out);
}

struct err *openai_copy_embed_parse(const struct endpoint *ep, const struct input *in,
                                    const struct http_in *answer, struct result *out)
{
    return openai_embed_parse(answer, in, name_of(ep), out);
}

struct err *openai_copy_chat_build(const struct endpoint *ep, const struct input *in,
                                   struct http_out *out)
{
    TRY(openai_copy_request(ep, in, out));
    struct body b;
    body_begin(&b);
    openai_chat_body(&b.w, in, model_setting(in), text_setting(&in->values, "user"),
                     &copy_of(ep)->style);
    return body_finish(&b, out);
}

struct err *openai_copy_chat_parse(const struct endpoint *ep, const struct input *in,
                                   const struct http_in *answer, struct result *out)
{
    return openai_chat_parse(answer, name_of(ep), out);
}

void openai_copy_judge(const struct endpoint *ep, const struct http_in *in, struct verdict *out)
{
    openai_judge(ep, openai_copy_url(ep), in, out);
    if (!out->chat_type.p)
        out->chat_type = error_type(ep);
    if (copy_of(ep)->raw_errors)
        verdict_raw_message(in, out);
}
