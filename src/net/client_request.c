/* client's requests: an http_out as bytes. Head lines are checked here: whatever a setting may
 * hold, it cannot smuggle in a second header or a second request. Source: RFC 9112 section 3, RFC
 * 7617 (Basic). */
#include "client_private.h"

#define MAX_URL_BYTES (64u << 10)
/* A body that fits one TLS record together with its head goes with it, in one write. */
#define MAX_JOINED_BYTES (16u << 10)

/* --- the URL --- */

static bool is_visible(struct str s)
{
    unsigned char bad = 0; /* no early exit: makes vector code */
    for (size_t i = 0; i < s.n; i++)
        bad |= (unsigned char)((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f);
    return !bad;
}

bool url_take_apart(struct str url, struct url_parts *out)
{
    *out = (struct url_parts){0};
    size_t at;
    if (url.n > 7 && str_eq_nocase(str_n(url.p, 7), STR("http://")))
        at = 7;
    else if (url.n > 8 && str_eq_nocase(str_n(url.p, 8), STR("https://")))
        at = 8;
    else
        return false;
    out->tls = at == 8;
    size_t start = at, end = at;
    for (; end < url.n && url.p[end] != '/' && url.p[end] != '?' && url.p[end] != '#'; end++) {
        if (url.p[end] == '@')
            start = end + 1;
    }
    out->authority = str_n(url.p + start, end - start);
    if (start > at)
        out->user = str_n(url.p + at, start - 1 - at);
    struct str rest = str_n(url.p + end, url.n - end);
    const char *fragment = rest.n ? memchr(rest.p, '#', rest.n) : NULL;
    out->target = fragment ? str_n(rest.p, (size_t)(fragment - rest.p)) : rest;
    return start < end && is_visible(url) && !memchr(url.p + at, '\\', end - at);
}

/* --- headers --- */

static bool value_ok(struct str s)
{
    unsigned char bad = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bad |= (unsigned char)((c < ' ' && c != '\t') || c == 0x7f);
    }
    return !bad;
}

static void put_line(struct buf *out, struct str name, struct str value)
{
    char *p = buf_reserve(out, name.n + value.n + 4);
    if (!p)
        return;
    memcpy(p, name.p, name.n);
    p += name.n;
    *p++ = ':';
    if (value.n) {
        *p++ = ' ';
        memcpy(p, value.p, value.n);
        p += value.n;
    }
    *p++ = '\r';
    *p++ = '\n';
    out->n = (size_t)(p - out->p);
}

/* What the caller may say instead of us. */
struct given {
    bool host, accept, agent, authorization;
};

/* False: the framing of the message is ours, and the line is left out. A wrong length would let one
 * caller's bytes be read as the next one's request. */
static bool note(struct given *g, struct str name)
{
    switch (name.n) {
    case 4:
        g->host |= str_eq_nocase(name, STR("host"));
        return true;
    case 6:
        g->accept |= str_eq_nocase(name, STR("accept"));
        return !str_eq_nocase(name, STR("expect"));
    case 10:
        g->agent |= str_eq_nocase(name, STR("user-agent"));
        return true;
    case 13:
        g->authorization |= str_eq_nocase(name, STR("authorization"));
        return true;
    case 14:
        return !str_eq_nocase(name, STR("content-length"));
    case 17:
        return !str_eq_nocase(name, STR("transfer-encoding"));
    default:
        return true;
    }
}

static const char *put_given(struct buf *out, const struct http_headers *hs, struct given *g)
{
    for (size_t i = 0; i < hs->n; i++) {
        struct str name = hs->h[i].name, value = hs->h[i].value;
        if (!http_is_token(name))
            return "The name of a header holds a character that is not allowed";
        if (!value_ok(value))
            return "The value of a header holds a character that is not allowed";
        if (note(g, name))
            put_line(out, name, value);
    }
    return NULL;
}

/* --- credentials in the URL --- */

static void put_base64(struct buf *out, struct str s)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < s.n; i += 3) {
        unsigned w = 0;
        for (size_t j = 0; j < 3; j++)
            w = w << 8 | (i + j < s.n ? (unsigned char)s.p[i + j] : 0u);
        buf_char(out, digits[w >> 18]);
        buf_char(out, digits[w >> 12 & 63]);
        buf_char(out, i + 1 < s.n ? digits[w >> 6 & 63] : '=');
        buf_char(out, i + 2 < s.n ? digits[w & 63] : '=');
    }
}

static bool put_basic(struct buf *out, struct arena *arena, struct str user)
{
    struct str plain;
    if (!http_unescape(arena, user, &plain))
        return false;
    buf_put(out, STR("Authorization: Basic "));
    put_base64(out, memchr(plain.p, ':', plain.n) ? plain
                                                  : arena_printf(arena, "%.*s:", STR_ARG(plain)));
    buf_put(out, STR("\r\n"));
    return true;
}

/* --- the whole --- */

/* As signatures have it too: as written, without the scheme's own port. */
static struct str wire_host(const struct client_call *call, const struct url_parts *url)
{
    if (call->way->route->ace.n)
        return call->way->route->ace;
    struct str host = url->authority, port = url->tls ? STR(":443") : STR(":80");
    return str_ends(host, port) ? str_sub(host, 0, host.n - port.n) : host;
}

/* A proxy is told the whole URL, except for what goes through it unread. */
static void put_request_line(struct client_call *call, const struct url_parts *url)
{
    struct buf *out = &call->request;
    buf_cstr(out, http_method_name(call->out->method));
    buf_char(out, ' ');
    if (call->way->proxy.n && !url->tls) {
        buf_put(out, STR("http://"));
        buf_put(out, call->way->route->ace.n ? call->way->route->ace : url->authority);
    }
    if (url->target.n == 0 || url->target.p[0] != '/')
        buf_char(out, '/');
    buf_put(out, url->target);
    buf_put(out, STR(" HTTP/1.1\r\n"));
}

static bool sends_body(const struct http_out *out)
{
    return out->method == HTTP_POST || out->method == HTTP_PUT || out->method == HTTP_PATCH ||
           (out->body.n && out->method != HTTP_HEAD);
}

static void put_length(struct buf *out, size_t n)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + n % 10);
    while ((n /= 10) != 0);
    put_line(out, STR("Content-Length"), str_n(digits + at, sizeof digits - at));
}

static void put_body(struct client_call *call, struct str body)
{
    bool joins = call->way->route->tls && call->request.n + body.n <= MAX_JOINED_BYTES;
    if (joins)
        buf_put(&call->request, body);
    call->body_out = joins ? (struct str){0} : body;
}

const char *request_build(struct client_call *call, const struct url_parts *url)
{
    const struct http_out *out = call->out;
    struct buf *to = &call->request;
    struct given given = {0};
    buf_clear(to);
    if (out->url.n > MAX_URL_BYTES)
        return "The URL is too long";
    put_request_line(call, url);
    const char *wrong = put_given(to, &out->headers, &given);
    if (wrong)
        return wrong;
    if (!given.host)
        put_line(to, STR("Host"), wire_host(call, url));
    if (!given.agent)
        buf_put(to, STR("User-Agent: inferd/" INFERD_VERSION "\r\n"));
    if (!given.accept)
        buf_put(to, STR("Accept: */*\r\n"));
    if (url->user.n && !given.authorization && !put_basic(to, out->arena, url->user))
        return "The credentials in the URL are not valid";
    bool has_body = sends_body(out);
    if (has_body)
        put_length(to, out->body.n);
    buf_put(to, STR("\r\n"));
    put_body(call, has_body ? out->body : (struct str){0});
    return to->full ? "The headers are too large" : NULL;
}

/* --- for HTTP/2 --- */

/* Of the connection, not the request: RFC 9113 section 8.2.2. */
static bool is_of_connection(struct str name)
{
    static const char *const names[] = {"connection", "keep-alive", "proxy-connection",
                                        "upgrade",    "te",         NULL};
    for (const char *const *of = names; *of; of++) {
        if (str_eq(name, str_c(*of)))
            return true;
    }
    return false;
}

/* The next line's bytes without its end, off the front of *text. */
static struct str take_line(struct str *text)
{
    const char *end = memchr(text->p, '\r', text->n);
    struct str line = str_n(text->p, (size_t)(end - text->p));
    *text = str_sub(*text, line.n + 2, text->n);
    return line;
}

static struct str lower_in_place(struct str s)
{
    char *p = (char *)(uintptr_t)s.p;
    for (size_t i = 0; i < s.n; i++)
        p[i] = p[i] >= 'A' && p[i] <= 'Z' ? (char)(p[i] + 32) : p[i];
    return s;
}

size_t request_fields(struct client_call *call, struct http_header out[REQUEST_MAX_FIELDS],
                      struct str *body_out)
{
    struct str text = buf_str(&call->request), line = take_line(&text);
    const char *target = memchr(line.p, ' ', line.n), *end = line.p + line.n - strlen(" HTTP/1.1");
    out[0] = (struct http_header){STR(":method"), str_n(line.p, (size_t)(target - line.p))};
    out[1] =
        (struct http_header){STR(":scheme"), call->way->route->tls ? STR("https") : STR("http")};
    out[2] = (struct http_header){STR(":path"), str_n(target + 1, (size_t)(end - target - 1))};
    out[3] = (struct http_header){STR(":authority"), STR("")};
    size_t n = 4;
    while ((line = take_line(&text)).n) {
        const char *colon = memchr(line.p, ':', line.n);
        struct str name = lower_in_place(str_n(line.p, (size_t)(colon - line.p)));
        struct str value = str_trim(str_n(colon + 1, line.n - name.n - 1));
        if (str_eq(name, STR("host")))
            out[3].value = value;
        else if (!is_of_connection(name) && n < REQUEST_MAX_FIELDS)
            out[n++] = (struct http_header){name, value};
    }
    *body_out = call->body_out.p ? call->body_out : text;
    return n;
}
