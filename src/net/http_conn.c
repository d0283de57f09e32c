/* A connection: a small state machine (enum conn_state) that conn_run drives as far as it goes.
 * Whatever happens (bytes, room to write, a deadline, an answer given elsewhere) ends in conn_run,
 * so hooks are called from one place and never within each other for one connection.
 *
 * One deadline per connection, kept lazily: moving it later costs nothing, the timer finds out
 * when it fires. A request that arrives whole and is answered at once touches no timer. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bug.h"
#include "gzip.h"
#include "http_edge.h"
#include "metrics.h"

#define BODY_READ_BYTES ((size_t)256 * 1024) /* of one read into a large body */
#define BODY_ROOM_BYTES ((size_t)4096)       /* kept behind a head for the reading of chunks */
#define LINGER_QUIET_MS 2000
#define LINGER_TOTAL_MS 10000
#define NEVER           INT64_MAX

/* ---- deadlines ---- */

static void on_timer(struct loop_timer *);

static void deadline(struct http_conn *c, int64_t at_ms)
{
    c->deadline_ms = at_ms;
    if (at_ms != NEVER && (!loop_timer_is_set(&c->timer) || c->timer.at_ms > at_ms))
        loop_timer_set(c->server->loop, &c->timer, at_ms, on_timer);
}

static int64_t from_now(const struct http_conn *c, int64_t ms)
{
    return loop_now_ms(c->server->loop) + ms;
}

/* ---- beginning and end ---- */

static void on_ready(struct loop_fd *, uint32_t);

void conn_new(struct http_server *s, int fd, const struct sockaddr_storage *peer)
{
    struct http_conn *c = mem_new(sizeof *c);
    c->server = s;
    peer_print(peer, c->peer);
    list_push(&s->conns, &c->all);
    s->n_conns++;
    metric_add(METRIC_HTTP_CONNECTIONS, 1);
    loop_fd_add(s->loop, &c->watch, fd, EPOLLIN, on_ready);
    if (!s->options.tls) {
        deadline(c, from_now(c, s->options.idle_timeout_ms));
        return;
    }
    c->tls = tls_accept(s->options.tls, fd);
    deadline(c, from_now(c, s->options.head_timeout_ms)); /* of the handshake */
    if (!c->tls)
        conn_kill(c);
}

static void conn_free(struct http_conn *c)
{
    struct http_server *s = c->server;
    int fd = c->watch.fd;
    loop_fd_del(&c->watch);
    loop_timer_cancel(&c->timer);
    tls_conn_free(c->tls);
    close(fd);
    list_remove(&c->all);
    list_remove(&c->dirty);
    s->n_conns--;
    metric_add(METRIC_HTTP_CONNECTIONS, -1);
    free(c);
    if (s->draining)
        server_flush_soon(s);
}

static void conn_gone(struct http_conn *c)
{
    if (c->ex)
        exchange_detach(c->ex);
    c->state = CONN_DEAD;
}

void conn_kill(struct http_conn *c)
{
    conn_gone(c);
    conn_free(c);
}

/* The answer is out. Closing while bytes of the client lie unread would reset the connection and
 * might destroy the answer on its way; so our side ends first and the rest is read. */
static void conn_close(struct http_conn *c, bool clean)
{
    if (c->ex)
        exchange_detach(c->ex);
    if (c->tls && !c->eof)
        tls_end(c->tls);
    if (clean || c->eof || shutdown(c->watch.fd, SHUT_WR) != 0) {
        c->state = CONN_DEAD;
        return;
    }
    c->state = CONN_LINGER;
    c->linger_end_ms = from_now(c, LINGER_TOTAL_MS);
    deadline(c, from_now(c, LINGER_QUIET_MS));
}

/* ---- reading ---- */

/* Enough of a body has been read for somebody who is not known yet. */
static bool body_waits(const struct http_conn *c)
{
    return c->state == CONN_BODY && c->ex->r.body_held && c->ex->body.n >= HTTP_HELD_BYTES;
}

static void in_grow(struct http_exchange *ex, size_t cap)
{
    ex->in = mem_grow(ex->in, cap);
    ex->in_cap = cap;
}

/* Where the next bytes go; 0: there is no room, or nothing may be read now. */
static size_t read_room(struct http_conn *c, char **to)
{
    struct http_exchange *ex = c->ex;
    struct http_server *s = c->server;
    if (c->state == CONN_LINGER || c->state == CONN_SKIP) {
        *to = s->scratch;
        bool exact = c->state == CONN_SKIP && c->skip_left < HTTP_SCRATCH_BYTES;
        return exact ? c->skip_left : HTTP_SCRATCH_BYTES;
    }
    if (ex->body_left) {
        size_t most = ex->r.body_held ? HTTP_HELD_BYTES - ex->body.n : BODY_READ_BYTES;
        size_t n = ex->body_left < most ? ex->body_left : most;
        *to = buf_reserve(&ex->body, n);
        return *to ? n : 0;
    }
    if (c->state == CONN_HEAD && ex->in_n == ex->in_cap)
        in_grow(ex, ex->in_cap * 2); /* http_scan ends it at max_head_bytes */
    *to = ex->in + ex->in_n;
    return ex->in_cap - ex->in_n;
}

static void took(struct http_conn *c, size_t n)
{
    struct http_exchange *ex = c->ex;
    if (c->state == CONN_LINGER) {
        int64_t quiet = from_now(c, LINGER_QUIET_MS);
        deadline(c, quiet < c->linger_end_ms ? quiet : c->linger_end_ms);
        return;
    }
    if (c->state == CONN_SKIP) {
        c->skip_left -= n;
    } else if (ex->body_left) {
        ex->body.n += n;
        ex->body_left -= n;
    } else {
        ex->in_n += n;
    }
    if (c->state == CONN_BODY || c->state == CONN_SKIP)
        deadline(c, body_waits(c) ? NEVER : from_now(c, c->server->options.body_timeout_ms));
}

void conn_read(struct http_conn *c)
{
    if (!c->ex && c->state == CONN_IDLE) {
        c->ex = exchange_take(c->server);
        c->ex->conn = c;
    }
    if (body_waits(c))
        return;
    char *to;
    size_t room = read_room(c, &to);
    if (room == 0) {
        c->eof |= c->state == CONN_BODY; /* no memory for a large body: nothing can be saved */
        return;
    }
    ssize_t n;
    do
        n = c->tls ? tls_read(c->tls, to, room) : recv(c->watch.fd, to, room, 0);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        took(c, (size_t)n);
    else if (n == 0 || errno != EAGAIN)
        c->eof = true;
}

/* ---- one request: head, body, handler ---- */

static bool error_out(struct http_conn *c, int status, const char *reason)
{
    reply_error(c->ex, status, reason);
    c->state = CONN_BUSY;
    return true;
}

static void request_fill(struct http_conn *c)
{
    struct http_exchange *ex = c->ex;
    struct http_request *r = &ex->r;
    r->method = ex->head.method;
    r->target = ex->head.target;
    r->path = ex->head.path;
    r->query = ex->head.query;
    memcpy(ex->peer, c->peer, sizeof ex->peer);
    r->peer = str_c(ex->peer);
    r->body_limit = c->server->options.max_body_bytes;
    r->started_ms = loop_now_ms(c->server->loop);
}

/* To whom waits for it before he sends his body. */
static void body_invite(struct http_exchange *ex)
{
    if (ex->head.expect_continue && ex->in_n == ex->scan.head_n && ex->body.n == 0 &&
        (ex->head.chunked || ex->head.length))
        reply_continue(ex);
}

/* Where the body will be gathered; r->body follows when it is whole. */
static bool body_begin(struct http_conn *c)
{
    struct http_exchange *ex = c->ex;
    struct str rest = str_n(ex->in + ex->used, ex->in_n - ex->used);
    c->state = CONN_BODY;
    if (!ex->whole)
        deadline(c, from_now(c, c->server->options.body_timeout_ms));
    if (ex->head.chunked) {
        buf_init(&ex->body, ex->r.body_limit);
    } else if (ex->head.length > ex->in_cap - ex->used) {
        buf_init(&ex->body, (size_t)ex->head.length);
        if (!buf_put(&ex->body, rest))
            return error_out(c, 503, "no memory for the request");
        ex->body_left = (size_t)ex->head.length - rest.n;
        ex->used = ex->in_n;
    }
    if (!ex->r.body_held)
        body_invite(ex);
    return true;
}

void http_body_go(struct http_request *r)
{
    struct http_exchange *ex = exchange_of(r);
    struct http_conn *c = ex->conn;
    if (!r->body_held)
        return;
    r->body_held = false;
    if (!c || c->state != CONN_BODY || ex->whole)
        return;
    deadline(c, from_now(c, c->server->options.body_timeout_ms));
    body_invite(ex);
    server_conn_dirty(c);
}

static bool request_begin(struct http_conn *c)
{
    struct http_exchange *ex = c->ex;
    struct http_server *s = c->server;
    request_fill(c);
    ex->seen = true;
    ex->whole = !ex->head.chunked && ex->head.length <= ex->in_n - ex->used;
    list_push(&s->in_flight, &ex->in_flight);
    s->n_in_flight++;
    if (s->hooks.head)
        s->hooks.head(&ex->r, s->ctx);
    if (ex->answered) {
        c->state = CONN_BUSY;
        return true;
    }
    if (ex->head.coding == HTTP_CODING_OTHER)
        return error_out(c, 415, "unknown Content-Encoding");
    if (!ex->head.chunked && ex->head.length > ex->r.body_limit)
        return error_out(c, 413, "the body is too large");
    return body_begin(c);
}

static bool step_head(struct http_conn *c)
{
    struct http_exchange *ex = c->ex;
    int status = http_scan(&ex->scan, str_n(ex->in, ex->in_n), c->server->options.max_head_bytes);
    if (status == HTTP_SCAN_MORE) {
        if (ex->head_deadline_ms == 0)
            ex->head_deadline_ms = from_now(c, c->server->options.head_timeout_ms);
        deadline(c, ex->head_deadline_ms);
        return false;
    }
    ex->head.keep_alive = false;
    if (status != HTTP_SCAN_DONE)
        return error_out(c, status, ex->scan.reason);
    ex->used = ex->scan.head_n;
    if (ex->in_cap - ex->used < BODY_ROOM_BYTES)
        in_grow(ex, ex->used + BODY_ROOM_BYTES);
    status = http_head_parse(&ex->scan, ex->in, &ex->head, &ex->headers);
    if (status) {
        ex->close = true;
        return error_out(c, status, ex->head.reason);
    }
    return request_begin(c);
}

/* True: the chunks have ended, or an error has been answered. */
static bool body_chunks(struct http_conn *c)
{
    struct http_exchange *ex = c->ex;
    struct str rest = str_n(ex->in + ex->used, ex->in_n - ex->used), piece;
    for (;;) {
        switch (http_chunked_feed(&ex->chunked, &rest, &piece)) {
        case HTTP_CHUNK_DATA:
            ex->body.limit = ex->r.body_limit;
            if (ex->body.n > ex->body.limit || !buf_put(&ex->body, piece))
                return error_out(c, 413, "the body is too large");
            continue;
        case HTTP_CHUNK_BAD:
            ex->close = true;
            return error_out(c, 400, "malformed chunk");
        case HTTP_CHUNK_MORE: /* the room is used again */
            ex->in_n = ex->used;
            return false;
        case HTTP_CHUNK_END:
            ex->used = ex->in_n - rest.n;
            ex->r.body = buf_str(&ex->body);
            ex->whole = ex->taken = true;
            return true;
        }
    }
}

/* As body_chunks, for a body of known length. */
static bool body_length(struct http_conn *c)
{
    struct http_exchange *ex = c->ex;
    if (ex->body.p) {
        ex->whole = ex->taken = ex->body_left == 0;
        ex->r.body = buf_str(&ex->body);
        return ex->whole;
    }
    size_t length = (size_t)ex->head.length;
    if (ex->in_n - ex->used < length)
        return false;
    ex->r.body = str_n(ex->in + ex->used, length);
    ex->used += length;
    ex->whole = ex->taken = true;
    return true;
}

static bool body_inflate(struct http_conn *c)
{
    struct http_exchange *ex = c->ex;
    struct buf out;
    buf_init(&out, ex->r.body_limit);
    struct err *e = gzip_inflate(ex->r.body, &out);
    if (e) {
        bool large = e->kind == ERR_TOO_LARGE;
        err_free(e);
        buf_deinit(&out);
        error_out(c, large ? 413 : 400, large ? "the body is too large" : "malformed gzip body");
        return false;
    }
    buf_deinit(&ex->body);
    ex->body = out;
    ex->r.body = buf_str(&out);
    return true;
}

/* While the body is on its way there is nothing to send, or a 100 Continue. */
static bool body_wait(struct http_conn *c)
{
    if (reply_queued(c->ex) && reply_flush(c) == FLUSH_BROKEN)
        conn_gone(c);
    return false;
}

static bool step_body(struct http_conn *c)
{
    struct http_exchange *ex = c->ex;
    struct http_server *s = c->server;
    if (ex->answered) {
        c->state = CONN_BUSY;
        return true;
    }
    bool ended = ex->head.chunked ? body_chunks(c) : body_length(c);
    if (!ended)
        return body_wait(c);
    if (c->state != CONN_BODY)
        return true; /* answered with an error */
    if (ex->head.coding == HTTP_CODING_GZIP && ex->r.body.n && !body_inflate(c))
        return true;
    c->state = CONN_BUSY;
    ex->ready = true;
    deadline(c, NEVER);
    s->hooks.ready(&ex->r, s->ctx);
    return true;
}

/* ---- answering ---- */

/* Bytes behind this request belong to the next one, and move to its exchange. */
static void request_next(struct http_conn *c)
{
    struct http_exchange *ex = c->ex, *next = NULL;
    size_t n = ex->in_n - ex->used;
    if (n) {
        next = exchange_take(c->server);
        if (next->in_cap < n)
            in_grow(next, n);
        memcpy(next->in, ex->in + ex->used, n);
        next->in_n = n;
    }
    exchange_detach(ex);
    c->ex = next;
    if (next)
        next->conn = c;
    c->state = CONN_IDLE;
}

/* What of a body that was not waited for is still to come. */
static size_t unread_body(struct http_exchange *ex)
{
    if (ex->body_left)
        return ex->body_left;
    size_t here = ex->in_n - ex->used, length = (size_t)ex->head.length;
    if (here < length) {
        ex->used = ex->in_n;
        return length - here;
    }
    ex->used += length;
    return 0;
}

static void answer_end(struct http_conn *c)
{
    struct http_exchange *ex = c->ex;
    deadline(c, NEVER);
    if (ex->close) {
        conn_close(c, ex->whole && ex->in_n == ex->used);
        return;
    }
    /* Answered before the body was taken: its bytes may be here, on their way, or both. */
    c->skip_left = ex->taken ? 0 : unread_body(ex);
    if (c->skip_left == 0) {
        request_next(c);
        return;
    }
    exchange_detach(ex);
    c->state = CONN_SKIP;
    deadline(c, from_now(c, c->server->options.body_timeout_ms));
}

static bool drain_tell(struct http_exchange *ex)
{
    if (!ex->full || ex->complete || ex->cancelled ||
        reply_queued(ex) > ex->server->options.stream_high_water_bytes / 2)
        return false;
    ex->full = false;
    if (ex->r.on_drain)
        ex->r.on_drain(&ex->r);
    return true;
}

static bool step_busy(struct http_conn *c)
{
    struct http_exchange *ex = c->ex;
    size_t before = ex->bytes_out;
    bool was_blocked = c->blocked;
    enum flush f = reply_flush(c);
    if (f == FLUSH_BROKEN) {
        conn_gone(c);
        return false;
    }
    if (f == FLUSH_BLOCKED && (ex->bytes_out != before || !was_blocked))
        deadline(c, from_now(c, c->server->options.write_timeout_ms));
    if (drain_tell(ex))
        return true;
    if (f == FLUSH_BLOCKED)
        return false;
    if (!ex->complete) {
        deadline(c, NEVER);
        return false;
    }
    answer_end(c);
    return true;
}

static bool step_idle(struct http_conn *c)
{
    if (c->ex && c->ex->in_n) {
        c->state = CONN_HEAD;
        return true;
    }
    if (c->ex)
        exchange_detach(c->ex);
    if (c->server->draining && c->server->drain_begun) {
        c->state = CONN_DEAD;
        return false;
    }
    if (!c->tls || tls_established(c->tls))
        deadline(c, from_now(c, c->server->options.idle_timeout_ms));
    return false;
}

static bool step(struct http_conn *c)
{
    switch (c->state) {
    case CONN_IDLE:
        return step_idle(c);
    case CONN_HEAD:
        return step_head(c);
    case CONN_BODY:
        return step_body(c);
    case CONN_BUSY:
        return step_busy(c);
    case CONN_SKIP:
        if (c->skip_left)
            return false;
        c->state = CONN_IDLE;
        return true;
    case CONN_LINGER:
    case CONN_DEAD:
        break;
    }
    return false;
}

/* ---- the drive ---- */

/* The client will send no more. As with Elasticsearch, that means it is gone, except that an
 * answer already made is still sent to whoever may be there. */
static void on_eof(struct http_conn *c)
{
    if (c->state == CONN_DEAD || (c->state == CONN_BUSY && c->ex->complete))
        return;
    conn_gone(c);
}

static bool may_read(const struct http_conn *c)
{
    if (c->state == CONN_BUSY) /* one request at a time, and few bytes of the next */
        return !c->eof && c->ex->whole && c->ex->in_n < c->ex->in_cap;
    return !c->eof && !body_waits(c);
}

/* Bytes that were decrypted with those read before: no event will tell of them. */
static bool has_more(const struct http_conn *c)
{
    return c->tls && c->state != CONN_DEAD && may_read(c) && tls_pending(c->tls);
}

static void watch(struct http_conn *c)
{
    bool reads = may_read(c);
    /* Without reading, an end is seen only if asked for. */
    bool leaves = !reads && !c->eof && (c->state == CONN_BUSY || body_waits(c));
    bool writes = c->blocked && c->ex && reply_queued(c->ex);
    writes |= c->tls && tls_wants_write(c->tls);
    loop_fd_set(&c->watch,
                (reads ? EPOLLIN : 0U) | (leaves ? EPOLLRDHUP : 0U) | (writes ? EPOLLOUT : 0U));
}

void conn_run(struct http_conn *c)
{
    list_remove(&c->dirty);
    c->running = true;
    for (;;) {
        while (step(c))
            ;
        if (c->eof)
            on_eof(c);
        if (!has_more(c))
            break;
        conn_read(c);
    }
    c->running = false;
    if (c->state == CONN_DEAD)
        conn_free(c);
    else
        watch(c);
}

static void on_ready(struct loop_fd *w, uint32_t events)
{
    struct http_conn *c = LIST_OWNER(w, struct http_conn, watch);
    /* Ended in both directions: whatever was asked, no answer can be delivered. */
    if (events & (EPOLLERR | EPOLLHUP)) {
        conn_kill(c);
        return;
    }
    if (events & EPOLLOUT || c->tls)
        c->blocked = false;
    if (events & EPOLLIN || (c->tls && tls_wants_write(c->tls) && may_read(c)))
        conn_read(c);
    else if (events & EPOLLRDHUP)
        c->eof = true;
    conn_run(c);
}

static void on_timer(struct loop_timer *t)
{
    struct http_conn *c = LIST_OWNER(t, struct http_conn, timer);
    int64_t now = loop_now_ms(c->server->loop);
    if (now < c->deadline_ms) {
        deadline(c, c->deadline_ms);
        return;
    }
    if (c->state == CONN_HEAD)
        error_out(c, 408, "the head of the request took too long");
    else if (c->state == CONN_BODY && !c->ex->answered)
        error_out(c, 408, "the body of the request came to a halt");
    else if (c->state != CONN_BODY)
        conn_gone(c);
    conn_run(c);
}
