/* request: from the head to the handler.
 *
 *   head:  query, media types, credentials (often known at once), route, privilege, parameters
 *   ready: body; then, when the credentials are known too, the handler
 *
 * What is wrong with a request is found in Elasticsearch's order: credentials before everything,
 * then route and method, media types, query parameters, body, and only then the privilege. */
#include "request.h"

#include <strings.h>

#include "audit.h"
#include "clock.h"
#include "log.h"
#include "reply.h"
#include "secret.h"

#define MAX_QUERY_MS (INT64_C(1) << 40) /* some 35 years: may be added to a clock */

static struct request *request_of(struct http_request *http)
{
    return http->user;
}

/* --- holding --- */

void request_hold(struct request *r)
{
    r->holds++;
}

bool request_back(struct request *r)
{
    r->holds--;
    if (!r->cancelled)
        return true;
    if (r->holds == 0)
        http_done(r->http);
    return false;
}

static void cancelled(struct http_request *http)
{
    struct request *r = request_of(http);
    r->cancelled = true;
    err_free(r->refused);
    r->refused = NULL;
    if (r->holds == 0)
        http_done(http);
    else if (r->on_cancel)
        r->on_cancel(r);
}

/* --- path and query --- */

struct str request_param(const struct request *r, const char *name)
{
    return route_param(&r->match, name);
}

bool request_query(const struct request *r, const char *name, struct str *out)
{
    for (size_t i = 0; i < r->n_query; i++) {
        if (str_eq_c(r->query[i].name, name)) {
            *out = r->query[i].value;
            return true;
        }
    }
    return false;
}

struct err *request_query_bool(const struct request *r, const char *name, bool preset, bool *out)
{
    struct str v;
    *out = preset;
    if (!request_query(r, name, &v))
        return NULL;
    if (v.n == 0 || str_eq_c(v, "true"))
        *out = true;
    else if (str_eq_c(v, "false"))
        *out = false;
    else
        return err_new(ERR_ARGUMENT,
                       "Failed to parse value [%.*s] as only [true] or [false] are allowed.",
                       STR_ARG(v));
    return NULL;
}

struct err *request_query_ms(const struct request *r, const char *name, int64_t preset,
                             int64_t *out)
{
    struct str v;
    *out = preset;
    if (!request_query(r, name, &v) || v.n == 0)
        return NULL;
    if (!str_to_ms(v, out))
        return err_new(ERR_ARGUMENT,
                       "failed to parse setting [%s] with value [%.*s] as a time value: unit is "
                       "missing or unrecognized",
                       name, STR_ARG(v));
    if (*out > MAX_QUERY_MS)
        *out = MAX_QUERY_MS;
    return NULL;
}

/* '+' means a space here, unlike in paths. */
static struct err *query_decode(struct request *r, struct str raw, struct str *out)
{
    if (str_find_char(raw, '%') == SIZE_MAX && str_find_char(raw, '+') == SIZE_MAX) {
        *out = raw;
        return NULL;
    }
    char *copy = arena_cstr(r->arena, raw);
    for (size_t i = 0; i < raw.n; i++) {
        if (copy[i] == '+')
            copy[i] = ' ';
    }
    if (!http_unescape(r->arena, str_n(copy, raw.n), out) || !str_utf8_ok(*out))
        return err_new(ERR_ARGUMENT, "invalid percent-encoding in query string");
    return NULL;
}

static struct err *query_parse(struct request *r)
{
    struct str rest = r->http->query, part;
    if (rest.n == 0)
        return NULL;
    while (str_split(&rest, '&', &part)) {
        if (part.n == 0)
            continue;
        if (r->n_query == MAX_QUERY_PARAMS)
            return err_new(ERR_ARGUMENT, "request contains more than [%d] parameters",
                           MAX_QUERY_PARAMS);
        struct query_param *q = &r->query[r->n_query];
        size_t eq = str_find_char(part, '=');
        q->has_value = eq != SIZE_MAX;
        TRY(query_decode(r, str_sub(part, 0, q->has_value ? eq : part.n), &q->name));
        if (q->has_value)
            TRY(query_decode(r, str_sub(part, eq + 1, part.n), &q->value));
        r->n_query++;
    }
    return NULL;
}

static bool query_known(const struct route *route, struct str name)
{
    static const char *const always[] = {"pretty", "human",  "error_trace",         "filter_path",
                                         "format", "source", "source_content_type", NULL};
    for (size_t i = 0; always[i]; i++) {
        if (str_eq_c(name, always[i]))
            return true;
    }
    for (const char *const *p = route->params; p && *p; p++) {
        if (str_eq_c(name, *p))
            return true;
    }
    return false;
}

static struct err *query_check(struct request *r)
{
    if (r->route->flags & ROUTE_OPENAI)
        return NULL;
    struct buf unknown;
    buf_init(&unknown, 4096);
    size_t n = 0;
    for (size_t i = 0; i < r->n_query; i++) {
        if (!query_known(r->route, r->query[i].name))
            buf_printf(&unknown, "%s[%.*s]", n++ ? ", " : "", STR_ARG(r->query[i].name));
    }
    struct err *e = NULL;
    if (n)
        e = err_new(ERR_ARGUMENT, "request [%.*s] contains unrecognized parameter%s: %.*s",
                    STR_ARG(r->http->path), n > 1 ? "s" : "", STR_ARG(buf_str(&unknown)));
    buf_deinit(&unknown);
    return e;
}

static struct err *query_common(struct request *r)
{
    TRY(request_query_bool(r, "pretty", false, &r->pretty));
    TRY(request_query_bool(r, "error_trace", false, &r->error_trace));
    bool human;
    TRY(request_query_bool(r, "human", false, &human));
    request_query(r, "filter_path", &r->filter_path);
    return NULL;
}

/* --- media types --- */

enum media { MEDIA_NONE, MEDIA_JSON, MEDIA_YAML, MEDIA_ANY, MEDIA_OTHER };

/* One media type: its kind, and the compatible-with version of Elasticsearch's own (0: none). */
static enum media media_parse(struct str s, int *version)
{
    struct str type;
    *version = 0;
    s = str_trim(s);
    if (s.n == 0 || !str_split(&s, ';', &type))
        return MEDIA_NONE;
    type = str_trim(type);
    bool vendor = str_eq_nocase(type, STR("application/vnd.elasticsearch+json")) ||
                  str_eq_nocase(type, STR("application/vnd.elasticsearch+yaml"));
    struct str parameter;
    while (vendor && str_split(&s, ';', &parameter)) {
        parameter = str_trim(parameter);
        int64_t v;
        if (str_starts(parameter, STR("compatible-with=")) &&
            str_to_i64(str_sub(parameter, 16, parameter.n), &v) && v > 0 && v < 1000)
            *version = (int)v;
    }
    if (str_eq_nocase(type, STR("*/*")) || str_eq_nocase(type, STR("application/*")))
        return MEDIA_ANY;
    if (str_eq_nocase(type, STR("application/json")) || (vendor && str_ends(type, STR("json"))))
        return MEDIA_JSON;
    if (str_eq_nocase(type, STR("application/yaml")) || vendor)
        return MEDIA_YAML;
    return MEDIA_OTHER;
}

static struct err *version_err(const char *header, int version, struct str value)
{
    struct err *e =
        err_new(ERR_MEDIA_TYPE, "%s version must be either version 9 or 8, but found %d. %s=%.*s",
                header, version, header, STR_ARG(value));
    e->status = 400;
    return e;
}

/* What an Accept without any JSON says of versions; only a stream's route takes such a one. */
#define ANY_VERSION -1

/* The first type of the list that we can produce decides. */
static struct err *accept_parse(struct request *r, int *version_out)
{
    struct str header, part;
    *version_out = 0;
    r->content_type = STR("application/json");
    if (!http_header_get(r->http->headers, STR("accept"), &header) || header.n == 0)
        return NULL;
    struct str rest = header;
    while (str_split(&rest, ',', &part)) {
        int version;
        enum media m = media_parse(part, &version);
        if (m == MEDIA_OTHER || m == MEDIA_NONE)
            continue;
        if (version && version != 8 && version != 9)
            return version_err("Accept", version, header);
        *version_out = version;
        if (m == MEDIA_YAML)
            r->format = FORMAT_YAML;
        const char *kind = m == MEDIA_YAML ? "yaml" : "json";
        if (version)
            r->content_type = arena_printf(
                r->arena, "application/vnd.elasticsearch+%s;compatible-with=%d", kind, version);
        else if (m == MEDIA_YAML)
            r->content_type = STR("application/yaml");
        return NULL;
    }
    if (r->route && r->route->flags & (ROUTE_STREAM | ROUTE_TEXT | ROUTE_CAT)) {
        *version_out = ANY_VERSION;
        return NULL;
    }
    return err_new(ERR_MEDIA_TYPE, "Invalid media-type value on headers [Accept]");
}

static struct err *format_parse(struct request *r)
{
    struct str format;
    if (!request_query(r, "format", &format) || format.n == 0)
        return NULL;
    if (str_eq_nocase(format, STR("json"))) {
        r->format = FORMAT_JSON;
        return NULL;
    }
    if (r->route->flags & ROUTE_CAT && str_eq_nocase(format, STR("text")))
        return NULL;
    if (!str_eq_nocase(format, STR("yaml")))
        return err_new(ERR_MEDIA_TYPE, "Invalid media-type value on format parameter [%.*s]",
                       STR_ARG(format));
    r->format = FORMAT_YAML;
    r->content_type = STR("application/yaml");
    return NULL;
}

/* Both headers must ask for the same version when there is a body, unless Accept names none because
 * it asks for a stream (the Go client's "text/event-stream"). True: fine; false: answered. */
static bool content_type_ok(struct request *r, int accept_version)
{
    struct str header;
    if (r->http->body.n == 0)
        return true;
    if (!http_header_get(r->http->headers, STR("content-type"), &header)) {
        reply_simple(r, 406, "Content-Type header is missing");
        return false;
    }
    int version;
    if (media_parse(header, &version) != MEDIA_JSON) {
        reply_simple(r, 406, "Content-Type header [%.*s] is not supported", STR_ARG(header));
        return false;
    }
    struct str accept = STR("null");
    http_header_get(r->http->headers, STR("accept"), &accept);
    struct err *e = NULL;
    if (version && version != 8 && version != 9)
        e = version_err("Content-Type", version, header);
    else if (version != accept_version && accept_version != ANY_VERSION)
        e = err_new(ERR_MEDIA_TYPE,
                    "A compatible version is required on both Content-Type and Accept headers if "
                    "either one has requested a compatible version and the compatible versions "
                    "must match. Accept=%.*s, Content-Type=%.*s",
                    STR_ARG(accept), STR_ARG(header));
    if (!e)
        return true;
    e->status = 400;
    reply_err(r, e);
    return false;
}

/* --- route --- */

bool request_is_openai(const struct request *r)
{
    if (r->route)
        return r->route->flags & ROUTE_OPENAI;
    return str_starts(r->http->path, STR("/v1/")) || str_starts(r->http->path, STR("/v2/"));
}

static void no_route(struct request *r)
{
    if (!r->match.allowed && request_is_openai(r)) {
        reply_err(r, err_status(404, "Invalid URL (%s %.*s)", http_method_name(r->http->method),
                                STR_ARG(r->http->path)));
        return;
    }
    if (!r->match.allowed) {
        struct buf b;
        reply_buf_init(&b);
        struct json_out w;
        json_out_init(&w, &b);
        json_obj(&w);
        json_key_str(&w, "error",
                     arena_printf(r->arena, "no handler found for uri [%.*s] and method [%s]",
                                  STR_ARG(r->http->target), http_method_name(r->http->method)));
        json_end(&w);
        reply_json(r, 400, &b);
        return;
    }
    struct buf allow;
    buf_init(&allow, 256);
    for (enum method m = 0; m < N_HTTP_METHODS; m++) {
        /* HEAD works wherever GET does, but Elasticsearch names it for the root alone. */
        bool named = m != HTTP_HEAD || r->http->path.n <= 1;
        if (named && r->match.allowed & (1u << m))
            buf_printf(&allow, "%s%s", allow.n ? ", " : "", http_method_name(m));
    }
    struct str list = arena_dup(r->arena, buf_str(&allow));
    buf_deinit(&allow);
    http_header_add(&r->http->reply_headers, STR("Allow"), list);
    if (r->http->method == HTTP_OPTIONS) {
        reply_text(r, 200, STR("text/plain; charset=UTF-8"), STR(""));
        return;
    }
    if (request_is_openai(r)) {
        reply_err(r, err_status(405, "Not allowed to %s on %.*s (%.*s)",
                                http_method_name(r->http->method), STR_ARG(r->http->path),
                                STR_ARG(list)));
        return;
    }
    reply_simple(r, 405, "Incorrect HTTP method for uri [%.*s] and method [%s], allowed: [%.*s]",
                 STR_ARG(r->http->target), http_method_name(r->http->method), STR_ARG(list));
}

/* --- body, privilege, handler --- */

static struct err *body_parse(struct request *r)
{
    if (r->http->body.n == 0) {
        if (r->route->flags & ROUTE_BODY)
            return err_new(ERR_PARSE, "request body is required");
        return NULL;
    }
    if (r->route->flags & ROUTE_RAW)
        return NULL;
    TRY(json_parse(r->arena, r->http->body, &r->body));
    if (!json_is(r->body, JSON_OBJECT))
        return err_new(ERR_X_CONTENT, "[1:1] Expected START_OBJECT but got [%.*s]",
                       STR_ARG(str_sub(r->http->body, 0, 32)));
    return NULL;
}

/* The privilege of the route, for the endpoint that its path names if it names one. */
static struct err *authorize(const struct request *r)
{
    if (r->route->flags & ROUTE_OPEN)
        return NULL;
    struct str id = request_param(r, "inference_id");
    bool listing =
        r->route->method == HTTP_GET && (str_eq(id, STR("_all")) || str_eq(id, STR("*")));
    if (id.p && !listing) /* a list shows what he may see */
        return security_authorize_endpoint(r->user, r->route->needs, r->route->action, id);
    return security_authorize(r->user, r->route->needs, r->route->action);
}

static void handle(struct request *r)
{
    if (!r->route) {
        no_route(r);
        return;
    }
    int accept_version;
    struct err *e = accept_parse(r, &accept_version);
    if (!e)
        e = format_parse(r);
    if (!e)
        e = query_check(r);
    if (!e)
        e = query_common(r);
    if (e) {
        reply_err(r, e);
        return;
    }
    if (!content_type_ok(r, accept_version))
        return;
    e = body_parse(r);
    if (!e)
        e = authorize(r);
    if (e) {
        reply_err(r, e);
        return;
    }
    r->route->handle(r);
}

/* Both halves are needed: who it is, and the whole body. */
static void go_on(struct request *r)
{
    if (!r->head_done || !r->ready)
        return;
    struct err *e = r->refused;
    r->refused = NULL;
    if (e)
        reply_err(r, e);
    else
        handle(r);
}

/* Takes the user; the one who counts from here on is *out. */
static struct err *run_as(struct request *r, const struct user *user, const struct user **out)
{
    struct str name;
    *out = user;
    if (!user || !http_header_get(r->http->headers, STR("es-security-runas-user"), &name) ||
        name.n == 0)
        return NULL;
    return security_run_as(r->api->parts.security, user, name, r->route ? r->route->action : "",
                           out);
}

static void authenticated(void *ctx, const struct user *user, struct err *e)
{
    struct request *r = ctx;
    if (!request_back(r)) {
        err_free(e);
        user_unref(user);
        return;
    }
    if (!e)
        e = run_as(r, user, &user);
    r->user = user;
    r->head_done = true;
    if (!e)
        http_body_go(r->http);
    if (e && !r->ready) { /* before the body: the server need not read it */
        reply_err(r, e);
        return;
    }
    r->refused = e;
    go_on(r);
}

/* OpenAI's clients send what they are given as a bearer token. It is read as what it is:
 * an access token, `encoded` of an API key, or else base64(user:password), which is what Basic
 * carries. */
static struct str bearer_as_known(struct security *security, struct arena *arena,
                                  struct str authorization)
{
    static const struct str bearer = STR_INIT("Bearer ");
    if (authorization.n <= bearer.n || !str_eq_nocase(str_sub(authorization, 0, bearer.n), bearer))
        return authorization;
    struct str token = str_sub(authorization, bearer.n, authorization.n);
    if (security_is_token(security, token))
        return authorization;
    const char *scheme = security_is_api_key(security, token) ? "ApiKey" : "Basic";
    return arena_printf(arena, "%s %.*s", scheme, STR_ARG(token));
}

static void on_head(struct http_request *http, void *ctx)
{
    struct api *api = ctx;
    struct request *r = arena_alloc(http->arena, sizeof *r);
    *r = (struct request){
        .api = api, .http = http, .arena = http->arena, .content_type = STR("application/json")};
    http->user = r;
    http->on_cancel = cancelled;
    router_find(api->router, r->arena, http->method, http->path, &r->match);
    if (!security_enabled(api->parts.security) && str_starts(http->path, STR("/_security")))
        r->match = (struct route_match){0};
    r->route = r->match.row;
    r->inference_id = request_param(r, "inference_id");
    struct err *e = query_parse(r);
    if (e) {
        reply_err(r, e);
        return;
    }
    if (r->route && r->route->flags & ROUTE_OPEN) {
        r->head_done = true;
        return;
    }
    struct str authorization = {0};
    http_header_get(http->headers, STR("authorization"), &authorization);
    if (request_is_openai(r))
        authorization = bearer_as_known(api->parts.security, r->arena, authorization);
    request_hold(r);
    http->body_held = true; /* nobody is known to be allowed more */
    security_authenticate(api->parts.security, http->loop, authorization, http->target,
                          authenticated, r);
}

static void on_ready(struct http_request *http, void *ctx)
{
    (void)ctx;
    struct request *r = request_of(http);
    r->ready = true;
    go_on(r);
}

static struct str on_protocol_error(struct arena *arena, int status, const char *reason, void *ctx)
{
    (void)ctx;
    struct err *e = err_status(status, "%s", reason);
    if (status == 413)
        e->kind = ERR_TOO_LARGE;
    else if (status < 500)
        e->kind = ERR_ARGUMENT;
    struct buf b;
    reply_buf_init(&b);
    struct json_out w;
    json_out_init(&w, &b);
    err_render(&w, e, false);
    err_free(e);
    struct str text = arena_dup(arena, buf_str(&b));
    buf_deinit(&b);
    return text;
}

static enum audit_kind audit_kind_of(const struct request *r, struct str authorization, int status)
{
    if (r->user)
        return r->denied ? AUDIT_DENIED : AUDIT_GRANTED;
    if (status != 401 && status != 429)
        return AUDIT_TAMPERED;
    return authorization.n ? AUDIT_FAILED : AUDIT_ANONYMOUS;
}

static void audit(const struct request *r, int status)
{
    const struct http_request *http = r->http;
    struct str id = {0}, authorization = {0}, run_as = {0};
    bool left_unknown = !r->user && status == 0;
    if (left_unknown || (r->route && r->route->flags & ROUTE_OPEN))
        return;
    http_header_get(http->headers, STR("x-opaque-id"), &id);
    http_header_get(http->headers, STR("authorization"), &authorization);
    if (r->denied && !r->user->by)
        http_header_get(http->headers, STR("es-security-runas-user"), &run_as);
    struct audit_event e = {.kind = audit_kind_of(r, authorization, status),
                            .run_as = run_as,
                            .user = r->user,
                            .authorization = authorization,
                            .peer = http->peer,
                            .method = str_c(http_method_name(http->method)),
                            .path = http->path,
                            .action = str_c(r->route ? r->route->action : NULL),
                            .inference_id = r->inference_id,
                            .opaque_id = id,
                            .status = status,
                            .broken = r->broken,
                            .left = r->cancelled,
                            .duration_ms = loop_now_ms(http->loop) - http->started_ms};
    audit_write(r->api->parts.audit, &e);
}

static void on_finished(struct http_request *http, int status, size_t bytes_out, void *ctx)
{
    (void)ctx;
    struct request *r = request_of(http);
    if (r->api->parts.audit)
        audit(r, status);
    user_unref(r->user);
    if (str_starts(http->path, STR("/_security"))) /* passwords and tokens come in such bodies */
        secret_wipe((char *)(uintptr_t)http->body.p, http->body.n);
    if (!log_on(LOG_DEBUG))
        return;
    struct str id = {0};
    http_header_get(http->headers, STR("x-opaque-id"), &id);
    log_debug("request", LOG_C("http.method", http_method_name(http->method)),
              LOG_S("url.path", http->path), LOG_I("http.status", status),
              LOG_I("bytes", bytes_out), LOG_S("client", http->peer), LOG_S("x_opaque_id", id),
              LOG_I("duration_ms", loop_now_ms(http->loop) - http->started_ms));
}

const struct http_server_hooks request_hooks = {
    .head = on_head,
    .ready = on_ready,
    .protocol_error = on_protocol_error,
    .finished = on_finished,
};
