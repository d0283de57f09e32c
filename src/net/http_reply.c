/* Answers: heads built by hand into the exchange's output buffer, bodies sent from where they are,
 * streams chunked into the same buffer. Everything a handler calls here only queues; the bytes
 * leave in reply_flush, one system call for all that was queued in a round. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "bug.h"
#include "gzip.h"
#include "http_edge.h"

/* A body up to this size is copied behind its head: cheaper than a second piece to the kernel. */
#define COPY_BYTES ((size_t)2048)
/* Compressing takes the loop's time, about 10 ms a MiB; larger answers go out as they are. */
#define COMPRESS_MAX_BYTES ((size_t)1 << 20)
/* A handler that ignores a full stream ends here: its stream is cut. */
#define STREAM_MAX_BYTES ((size_t)64 << 20)
#define HEAD_ROOM        ((size_t)256) /* status line, date, framing headers */

/* ---- the head ---- */

static char *put(char *p, const char *from, size_t n)
{
    memcpy(p, from, n);
    return p + n;
}

#define PUT_LIT(p, lit) put(p, lit, sizeof(lit) - 1)

static char *put_number(char *p, size_t v)
{
    char digits[20];
    size_t n = 0;
    do
        digits[sizeof digits - ++n] = (char)('0' + v % 10);
    while (v /= 10);
    return put(p, digits + sizeof digits - n, n);
}

static char *put_date(char *p, struct http_server *s)
{
    int64_t now = (int64_t)time(NULL);
    if (now != s->date_s) {
        struct tm tm;
        time_t t = (time_t)now;
        gmtime_r(&t, &tm);
        static const char days[] = "SunMonTueWedThuFriSat";
        static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        snprintf(s->date, sizeof s->date, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
                 days + 3 * tm.tm_wday, tm.tm_mday % 100, months + 3 * tm.tm_mon,
                 (tm.tm_year + 1900) % 10000, tm.tm_hour % 100, tm.tm_min % 100, tm.tm_sec % 100);
        s->date_s = now;
    }
    return put(p, s->date, 29);
}

/* What came from outside and was echoed must not become a header of its own. */
static bool is_line(struct str s)
{
    return s.n == 0 || (!memchr(s.p, '\r', s.n) && !memchr(s.p, '\n', s.n) && !memchr(s.p, 0, s.n));
}

static size_t head_size(const struct http_exchange *ex, struct str content_type)
{
    size_t n = HEAD_ROOM + content_type.n + ex->server->n_fixed_headers;
    for (size_t i = 0; i < ex->r.reply_headers.n; i++)
        n += ex->r.reply_headers.h[i].name.n + ex->r.reply_headers.h[i].value.n + 4;
    return n;
}

static char *put_headers(char *p, const struct http_headers *hs)
{
    for (size_t i = 0; i < hs->n; i++) {
        if (!is_line(hs->h[i].name) || !is_line(hs->h[i].value))
            continue;
        p = put(p, hs->h[i].name.p, hs->h[i].name.n);
        p = PUT_LIT(p, ": ");
        if (hs->h[i].value.n)
            p = put(p, hs->h[i].value.p, hs->h[i].value.n);
        p = PUT_LIT(p, "\r\n");
    }
    return p;
}

static char *put_status(char *p, int status)
{
    if (status == 200)
        return PUT_LIT(p, "HTTP/1.1 200 OK\r\n");
    const char *reason = http_reason(status);
    p = PUT_LIT(p, "HTTP/1.1 ");
    p = put_number(p, (size_t)status);
    p = PUT_LIT(p, " ");
    p = put(p, reason, strlen(reason));
    return PUT_LIT(p, "\r\n");
}

#define LENGTH_UNKNOWN SIZE_MAX

/* `room` bytes are kept free behind the head. */
static void head_put(struct http_exchange *ex, struct str content_type, size_t length, bool gzip,
                     size_t room)
{
    char *start = buf_reserve(&ex->out, head_size(ex, content_type) + room);
    BUG_ON(!start); /* no memory */
    char *p = put_status(start, ex->status);
    p = PUT_LIT(p, "date: ");
    p = put_date(p, ex->server);
    p = PUT_LIT(p, "\r\n");
    if (ex->server->n_fixed_headers)
        p = put(p, ex->server->options.fixed_headers, ex->server->n_fixed_headers);
    p = put_headers(p, &ex->r.reply_headers);
    if (content_type.n && is_line(content_type)) {
        p = PUT_LIT(p, "content-type: ");
        p = put(p, content_type.p, content_type.n);
        p = PUT_LIT(p, "\r\n");
    }
    if (gzip)
        p = PUT_LIT(p, "content-encoding: gzip\r\n");
    if (ex->chunked_out) {
        p = PUT_LIT(p, "transfer-encoding: chunked\r\n");
    } else if (length != LENGTH_UNKNOWN) {
        p = PUT_LIT(p, "content-length: ");
        p = put_number(p, length);
        p = PUT_LIT(p, "\r\n");
    }
    if (ex->close)
        p = PUT_LIT(p, "connection: close\r\n");
    else if (ex->head.http10)
        p = PUT_LIT(p, "connection: keep-alive\r\n");
    p = PUT_LIT(p, "\r\n");
    ex->out.n += (size_t)(p - start);
}

/* ---- whole answers ---- */

/* An answer that comes before the body has: a small rest is read and dropped, which keeps the
 * connection. A client that waits for 100 may or may not send the body now, so its ends. */
#define SKIP_BYTES ((uint64_t)65536)

static bool can_skip(const struct http_exchange *ex)
{
    if (ex->whole)
        return true;
    if (!ex->seen || ex->head.chunked || ex->head.expect_continue)
        return false;
    return ex->head.length <= SKIP_BYTES;
}

static void answer_begin(struct http_exchange *ex, int status)
{
    BUG_ON(ex->answered); /* one answer to a request */
    BUG_ON(status < 200 || status > 999);
    ex->answered = true;
    ex->status = status;
    ex->no_body = ex->r.method == HTTP_HEAD || status == 204 || status == 304;
    ex->close |= !ex->head.keep_alive || ex->server->draining || !can_skip(ex);
}

/* The handler's answer is not wanted: nobody is there, or the server has answered itself. */
static bool is_late(struct http_exchange *ex)
{
    if (ex->conn && !ex->cancelled)
        return false;
    ex->complete |= !ex->cancelled;
    server_settle_soon(ex);
    return true;
}

static bool compress(struct http_exchange *ex, struct str body, struct buf *out)
{
    const struct http_server_options *o = &ex->server->options;
    struct str value;
    if (!o->compress || !ex->head.accept_gzip || ex->no_body || body.n < o->compress_min_bytes ||
        body.n > COMPRESS_MAX_BYTES ||
        http_header_get(&ex->r.reply_headers, STR("content-encoding"), &value))
        return false;
    buf_init(out, body.n - 1); /* what does not become smaller is not worth it */
    gzip_deflate(body, 1, out);
    if (!out->full)
        return true;
    buf_deinit(out);
    return false;
}

static void answer_put(struct http_exchange *ex, struct str content_type, struct str body)
{
    struct buf packed;
    bool gzip = body.n > 1 && compress(ex, body, &packed);
    if (gzip) {
        buf_deinit(&ex->owned);
        ex->owned = packed;
        body = buf_str(&packed);
    }
    bool bare = ex->status == 204 || ex->status == 304;
    bool copy = !ex->no_body && body.n <= COPY_BYTES;
    head_put(ex, content_type, bare ? LENGTH_UNKNOWN : body.n, gzip, copy ? body.n : 0);
    if (copy)
        buf_put(&ex->out, body);
    else if (!ex->no_body)
        ex->tail = body;
    ex->complete = true;
}

void http_reply(struct http_request *r, int status, struct str content_type, struct str body)
{
    struct http_exchange *ex = exchange_of(r);
    if (is_late(ex))
        return;
    answer_begin(ex, status);
    answer_put(ex, content_type, body);
    server_conn_dirty(ex->conn);
}

void http_reply_buf(struct http_request *r, int status, struct str content_type, struct buf *body)
{
    struct http_exchange *ex = exchange_of(r);
    struct buf taken = *body;
    buf_init(body, taken.limit);
    if (is_late(ex)) {
        buf_deinit(&taken);
        return;
    }
    answer_begin(ex, status);
    ex->owned = taken;
    answer_put(ex, content_type, buf_str(&taken));
    server_conn_dirty(ex->conn);
}

static void allow_put(struct http_exchange *ex)
{
    http_header_add(&ex->r.reply_headers, STR("allow"),
                    STR("GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"));
}

/* The handler may be using the request's arena on another thread, having been told to stop but
 * not having done so; hence one of its own. */
void reply_error(struct http_exchange *ex, int status, const char *reason)
{
    struct http_server *s = ex->server;
    if (ex->seen)
        exchange_cancel(ex);
    ex->r.reply_headers.n = 0;
    if (status == 405 && !ex->seen)
        allow_put(ex);
    struct arena *arena = arena_new(ARENA_NO_LIMIT);
    struct str body = str_n(NULL, 0);
    if (s->hooks.protocol_error)
        body = s->hooks.protocol_error(arena, status, reason, s->ctx);
    if (!ex->seen)
        ex->r.method = HTTP_GET; /* whatever it was: the body is sent */
    answer_begin(ex, status);
    head_put(ex, STR("application/json"), body.n, false, body.n);
    if (!ex->no_body)
        buf_put(&ex->out, body);
    ex->complete = true;
    arena_free(arena);
}

void reply_continue(struct http_exchange *ex)
{
    buf_put(&ex->out, STR("HTTP/1.1 100 Continue\r\n\r\n"));
}

/* ---- streams ---- */

void http_stream_begin(struct http_request *r, int status, struct str content_type)
{
    struct http_exchange *ex = exchange_of(r);
    if (!ex->conn || ex->cancelled)
        return;
    answer_begin(ex, status);
    ex->chunked_out = !ex->head.http10 && status != 204 && status != 304;
    ex->close |= ex->head.http10 && !ex->no_body; /* its end is the end of the connection */
    head_put(ex, content_type, LENGTH_UNKNOWN, false, 0);
    server_conn_dirty(ex->conn);
}

static void chunk_put(struct http_exchange *ex, struct str bytes)
{
    if (!ex->chunked_out) {
        buf_put(&ex->out, bytes);
        return;
    }
    char size[20];
    char *p = size + sizeof size;
    *--p = '\n';
    *--p = '\r';
    for (size_t v = bytes.n; v; v >>= 4)
        *--p = "0123456789abcdef"[v & 15];
    char *to = buf_reserve(&ex->out, bytes.n + sizeof size + 2);
    BUG_ON(!to);
    char *end = put(to, p, (size_t)(size + sizeof size - p));
    end = put(end, bytes.p, bytes.n);
    end = PUT_LIT(end, "\r\n");
    ex->out.n += (size_t)(end - to);
}

/* Gives back the room of what has been sent, now and then, so that each byte moves once at most. */
static void out_compact(struct http_exchange *ex)
{
    if (ex->out_at < 65536 || ex->out_at < ex->out.n / 2)
        return;
    buf_consume(&ex->out, ex->out_at);
    ex->out_at = 0;
}

bool http_stream(struct http_request *r, struct str bytes)
{
    struct http_exchange *ex = exchange_of(r);
    if (!ex->conn || ex->cancelled || ex->complete || bytes.n == 0)
        return true;
    BUG_ON(!ex->answered); /* http_stream_begin comes first */
    if (ex->no_body || ex->overflow)
        return true;
    if (bytes.n > STREAM_MAX_BYTES || reply_queued(ex) > STREAM_MAX_BYTES) {
        ex->overflow = true;
        ex->conn->eof = true; /* as if the client had left: on_cancel follows */
        server_conn_dirty(ex->conn);
        return true;
    }
    out_compact(ex);
    chunk_put(ex, bytes);
    server_conn_dirty(ex->conn);
    ex->full |= reply_queued(ex) > ex->server->options.stream_high_water_bytes;
    return !ex->full;
}

void http_stream_end(struct http_request *r)
{
    struct http_exchange *ex = exchange_of(r);
    if (ex->complete || is_late(ex))
        return;
    BUG_ON(!ex->answered);
    if (ex->overflow) {
        http_stream_abort(r);
        return;
    }
    if (ex->chunked_out && !ex->no_body)
        buf_put(&ex->out, STR("0\r\n\r\n"));
    ex->complete = true;
    server_conn_dirty(ex->conn);
}

/* On HTTP/1.0, where the end of the connection is the end of the answer, only a reset tells the
 * client that this one is not whole. */
void http_stream_abort(struct http_request *r)
{
    struct http_exchange *ex = exchange_of(r);
    if (ex->complete || is_late(ex))
        return;
    if (!ex->chunked_out) {
        struct linger reset = {.l_onoff = 1, .l_linger = 0};
        setsockopt(ex->conn->watch.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    ex->close = true;
    ex->complete = true;
    server_conn_dirty(ex->conn);
}

void http_done(struct http_request *r)
{
    struct http_exchange *ex = exchange_of(r);
    BUG_ON(!ex->cancelled || ex->done);
    ex->done = true;
    server_settle_soon(ex);
}

/* ---- sending ---- */

size_t reply_queued(const struct http_exchange *ex)
{
    return ex->out.n - ex->out_at + ex->tail.n;
}

static ssize_t send_some(const struct http_conn *c, const struct http_exchange *ex)
{
    size_t n_out = ex->out.n - ex->out_at;
    int fd = c->watch.fd;
    if (c->tls)
        return n_out ? tls_write(c->tls, ex->out.p + ex->out_at, n_out)
                     : tls_write(c->tls, ex->tail.p, ex->tail.n);
    if (ex->tail.n == 0)
        return send(fd, ex->out.p + ex->out_at, n_out, MSG_NOSIGNAL);
    struct iovec v[2] = {
        {.iov_base = ex->out.p + ex->out_at, .iov_len = n_out},
        {.iov_base = (char *)(uintptr_t)ex->tail.p, .iov_len = ex->tail.n},
    };
    struct msghdr m = {.msg_iov = n_out ? v : v + 1, .msg_iovlen = n_out ? 2 : 1};
    return sendmsg(fd, &m, MSG_NOSIGNAL);
}

static void sent(struct http_exchange *ex, size_t n)
{
    ex->bytes_out += n;
    size_t n_out = ex->out.n - ex->out_at;
    size_t of_out = n < n_out ? n : n_out;
    ex->out_at += of_out;
    if (n > of_out)
        ex->tail = str_n(ex->tail.p + (n - of_out), ex->tail.n - (n - of_out));
}

enum flush reply_flush(struct http_conn *c)
{
    struct http_exchange *ex = c->ex;
    size_t queued;
    while ((queued = reply_queued(ex)) > 0) {
        if (c->blocked)
            return FLUSH_BLOCKED;
        ssize_t n = send_some(c, ex);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            return FLUSH_BROKEN;
        if (n > 0)
            sent(ex, (size_t)n);
        /* Less than all: the socket is full, and says when it is not. */
        c->blocked = n < 0 || ((size_t)n < queued && !c->tls);
    }
    buf_clear(&ex->out);
    ex->out_at = 0;
    return FLUSH_DONE;
}
