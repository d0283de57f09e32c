/* reply: the last step of every request. */
#include "reply.h"

#include <stdio.h>

#include "framing.h"
#include "handlers.h"
#include "json_view.h"
#include "log.h"

/* Answers are ours, but embeddings of a large batch are large. */
#define MAX_REPLY_BYTES ((size_t)1 << 30)

void reply_buf_init(struct buf *b)
{
    buf_init(b, MAX_REPLY_BYTES);
}

void reply_nodes(struct json_out *w, const struct api_options *o)
{
    json_key_raw(w, "_nodes", STR("{\"total\":1,\"successful\":1,\"failed\":0}"));
    json_key_cstr(w, "cluster_name", o->cluster_name);
    json_key(w, "nodes");
    json_obj(w);
}

/* --- the error envelope --- */

static const char *code_name(int status)
{
    switch (status) {
    case 400:
        return "bad_request";
    case 401:
        return "unauthorized";
    case 402:
        return "payment_required";
    case 403:
        return "forbidden";
    case 404:
        return "not_found";
    case 405:
        return "method_not_allowed";
    case 408:
        return "request_timeout";
    case 409:
        return "conflict";
    case 413:
        return "request_entity_too_large";
    case 422:
        return "unprocessable_entity";
    case 429:
        return "too_many_requests";
    case 503:
        return "service_unavailable";
    default:
        return status < 500 ? "bad_request" : "internal_server_error";
    }
}

static void challenge_header(struct json_out *w)
{
    json_key(w, "header");
    json_obj(w);
    json_key(w, "WWW-Authenticate");
    json_arr(w);
    for (size_t i = 0; i < security_n_challenges; i++)
        json_put_str(w, security_challenges[i]);
    json_end(w);
    json_end(w);
}

static void err_members(struct json_out *w, const struct err *e)
{
    json_key_cstr(w, "type", err_type(e));
    json_key_cstr(w, "reason", e->reason);
    if (e->unsuccessful)
        json_key_cstr(w, "additional_unsuccessful_credentials", e->unsuccessful);
    if (e->challenge)
        challenge_header(w);
}

static void err_causes(struct json_out *w, const struct err *cause)
{
    if (!cause)
        return;
    json_key(w, "caused_by");
    json_obj(w);
    err_members(w, cause);
    err_causes(w, cause->cause);
    json_end(w);
}

void err_render(struct json_out *w, const struct err *e, bool trace)
{
    const struct err *root = e;
    while (root->cause)
        root = root->cause;
    json_obj(w);
    json_key(w, "error");
    json_obj(w);
    json_key(w, "root_cause");
    json_arr(w);
    json_obj(w);
    err_members(w, root);
    json_end(w);
    json_end(w);
    err_members(w, e);
    err_causes(w, e->cause);
    if (trace) {
        char text[512];
        snprintf(text, sizeof text, "[%s]: %s", err_type(e), e->reason);
        json_key_cstr(w, "stack_trace", text);
    }
    json_end(w);
    json_key_i64(w, "status", e->status);
    json_end(w);
}

void err_render_chat(struct json_out *w, const struct err *e)
{
    json_obj(w);
    json_key(w, "error");
    json_obj(w);
    json_key_cstr(w, "code", e->chat_code ? e->chat_code : code_name(e->status));
    json_key_cstr(w, "message", e->reason);
    if (e->chat_param)
        json_key_cstr(w, "param", e->chat_param);
    json_key_cstr(w, "type", e->chat_type ? e->chat_type : err_type(e));
    json_end(w);
    json_end(w);
}

/* What a service has failed with is 400 in Elasticsearch, by which OpenAI's clients would know that
 * their own request is wrong and not to be sent again. */
static int openai_status(const struct err *e)
{
    return e->status == 400 && e->elsewhere ? 502 : e->status;
}

/* OpenAI's words for a kind of failure. */
static const char *openai_type(int status)
{
    if (status == 429)
        return "rate_limit_error";
    if (status == 403)
        return "permission_error";
    return status >= 500 ? "server_error" : "invalid_request_error";
}

static const char *openai_code(const struct err *e)
{
    if (e->chat_code)
        return e->chat_code;
    if (e->kind == ERR_SECURITY) /* the caller's own, as against the endpoint's */
        return "invalid_api_key";
    if (e->kind == ERR_NOT_FOUND)
        return "model_not_found";
    return e->status == 429 ? "rate_limit_exceeded" : NULL;
}

/* There is one text only: what the causes say belongs into it, unless it is there already. */
static void put_message(struct json_out *w, const struct err *e)
{
    struct buf text;
    buf_init(&text, MAX_REPLY_BYTES);
    buf_cstr(&text, e->reason);
    for (const struct err *cause = e->cause; cause; cause = cause->cause) {
        if (str_find(buf_str(&text), str_c(cause->reason)) != SIZE_MAX)
            continue;
        buf_put(&text, STR(": "));
        buf_cstr(&text, cause->reason);
    }
    json_key_str(w, "message", buf_str(&text));
    buf_deinit(&text);
}

void err_render_openai(struct json_out *w, const struct err *e)
{
    json_obj(w);
    json_key(w, "error");
    json_obj(w);
    put_message(w, e);
    json_key_cstr(w, "type", openai_type(openai_status(e)));
    json_key_cstr(w, "param", e->chat_param);
    json_key_cstr(w, "code", openai_code(e));
    json_end(w);
    json_end(w);
}

void err_event(struct buf *out, const struct err *e, bool chat)
{
    struct buf json;
    buf_init(&json, MAX_REPLY_BYTES);
    struct json_out w;
    json_out_init(&w, &json);
    if (chat)
        err_render_chat(&w, e);
    else
        err_render(&w, e, false);
    sse_write(out, STR("error"), buf_str(&json));
    buf_deinit(&json);
}

/* --- headers; the product's own is put on by the server --- */

void reply_headers(struct request *r)
{
    struct http_headers *h = &r->http->reply_headers;
    struct str id;
    if (http_header_get(r->http->headers, STR("x-opaque-id"), &id) && id.n)
        http_header_add(h, STR("X-Opaque-Id"), id);
}

void reply_warn(struct request *r, struct str text)
{
    http_header_add(&r->http->reply_headers, STR("Warning"),
                    arena_printf(r->arena,
                                 "299 Elasticsearch-" ES_VERSION "-" ES_BUILD_HASH " \"%.*s\"",
                                 STR_ARG(text)));
}

static void answer(struct request *r, int status, struct str type, struct buf *body)
{
    if (r->answered || r->cancelled) {
        buf_deinit(body);
        return;
    }
    r->answered = true;
    reply_headers(r);
    http_reply_buf(r->http, status, type, body);
}

/* --- the caller's view of JSON --- */

static bool wants_view(const struct request *r)
{
    return r->pretty || r->filter_path.n || r->format != FORMAT_JSON;
}

/* Replaces the text by what the caller asked to see. */
static struct err *view(struct request *r, struct buf *json)
{
    const struct json *root;
    struct buf out;
    reply_buf_init(&out);
    if (r->filter_path.n) {
        TRY(json_parse(r->arena, buf_str(json), &root));
        struct err *e = json_filter(root, r->filter_path, &out);
        if (e) {
            buf_deinit(&out);
            return e;
        }
        buf_deinit(json);
        *json = out;
        reply_buf_init(&out);
    }
    if (r->format == FORMAT_YAML || r->pretty) {
        TRY(json_parse(r->arena, buf_str(json), &root));
        if (r->format == FORMAT_YAML)
            json_yaml(root, &out);
        else
            json_pretty(root, &out);
        buf_deinit(json);
        *json = out;
    }
    return NULL;
}

void reply_json(struct request *r, int status, struct buf *json)
{
    struct err *e = NULL;
    if (json->full)
        e = err_new(ERR_INTERNAL, "the answer is larger than [%zu] bytes", MAX_REPLY_BYTES);
    else if (wants_view(r))
        e = view(r, json);
    if (e) {
        buf_deinit(json);
        r->filter_path = (struct str){0}; /* the error itself is shown whole */
        reply_err(r, e);
        return;
    }
    answer(r, status, r->content_type, json);
}

void reply_text(struct request *r, int status, struct str content_type, struct str body)
{
    if (r->answered || r->cancelled)
        return;
    r->answered = true;
    reply_headers(r);
    http_reply(r->http, status, content_type, body);
}

void reply_simple(struct request *r, int status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct str text = arena_vprintf(r->arena, fmt, ap);
    va_end(ap);
    struct buf b;
    reply_buf_init(&b);
    struct json_out w;
    json_out_init(&w, &b);
    json_obj(&w);
    json_key_str(&w, "error", text);
    json_key_i64(&w, "status", status);
    json_end(&w);
    reply_json(r, status, &b);
}

static void err_headers(struct request *r, const struct err *e)
{
    struct http_headers *h = &r->http->reply_headers;
    for (size_t i = 0; e->challenge && i < security_n_challenges; i++)
        http_header_add(h, STR("WWW-Authenticate"), security_challenges[i]);
    if (e->retry_after_ms > 0)
        http_header_addf(h, r->arena, STR("Retry-After"), "%lld",
                         (long long)((e->retry_after_ms + 999) / 1000));
}

/* Is this a chat_completion call, whose errors have a shape of their own? */
static bool is_chat(const struct request *r)
{
    enum task task;
    if (!r->route || !(r->route->flags & ROUTE_INFER))
        return false;
    return r->chat ||
           (task_parse(request_param(r, "task_type"), &task) && task == TASK_CHAT_COMPLETION);
}

void reply_err(struct request *r, struct err *e)
{
    if (r->answered || r->cancelled) {
        err_free(e);
        return;
    }
    if (e->status >= 500)
        log_error("request failed", LOG_S("path", r->http->path), LOG_I("status", e->status),
                  LOG_E(e));
    err_headers(r, e);
    r->denied = e->kind == ERR_FORBIDDEN;
    int status = e->status;
    struct buf b;
    reply_buf_init(&b);
    if (request_is_openai(r)) {
        struct json_out o;
        json_out_init(&o, &b);
        err_render_openai(&o, e);
        status = openai_status(e);
        err_free(e);
        reply_json(r, status, &b);
        return;
    }
    if (r->route && r->route->flags & ROUTE_STREAM) {
        err_event(&b, e, is_chat(r));
        err_free(e);
        answer(r, status, STR("text/event-stream"), &b);
        return;
    }
    struct json_out w;
    json_out_init(&w, &b);
    if (is_chat(r))
        err_render_chat(&w, e);
    else
        err_render(&w, e, r->error_trace);
    err_free(e);
    reply_json(r, status, &b);
}
