/* client's HTTP/2: many calls on one connection. nghttp2 keeps the protocol's state and checks its
 * rules, here and in client_h2_session.c and nowhere else. Source: RFC 9113.
 *
 * What nghttp2 tells while it runs is only noted (client_h2_session.c), in the call it belongs to:
 * the head of its answer, bytes of its body, its end. When nghttp2 has returned, these calls hear
 * of it (tell), and as that may send, cancel or resume any call, a connection goes only after it
 * (h2_work).
 *
 * Requests are handed to nghttp2 at once and written at the end of the loop's round: those that
 * began in it leave in one record. A call that pauses holds up nobody: the connection's window is
 * given back as bytes come, a stream's as its call takes them, so that a call which takes none has
 * at most STREAM_WINDOW of them waiting.
 *
 * A connection from which nothing came while a call waited for long and gave up is sent a ping, and
 * no calls until something comes: it may have died without a word, and would fail them all. Of one
 * that can no longer be written to what had come is still read: answers, and a goodbye that says
 * which requests nobody has looked at. Those, and what waits for a stream that its connection does
 * not allow any more, go elsewhere, up to MAX_MOVES times. */
#include <stdlib.h>
#include <sys/epoll.h>

#include "bug.h"
#include "client_h2.h"

#define MAX_CALLS         100 /* on one connection; fewer when its peer says so */
#define STREAM_WINDOW     (1 << 20)
#define CONNECTION_WINDOW (16 << 20)
#define RECORD_BYTES      (16u << 10)  /* what is written at once, about: a record of TLS */
#define MAX_READS         4            /* of one connection at a time */
#define MAX_LIFE_MS       (600 * 1000) /* hosts move; see client_pool.c */
#define MAX_LIFE_CALLS    1000         /* more are not counted: few come at once */
#define SUSPECT_MS        2000
#define MAX_MOVES         20 /* of a call that nobody has looked at */
#define ONLY_H1_MS        (600 * 1000)

/* --- its life --- */

void h2_start(struct connection *k)
{
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP_ANSWER_MAX_HEAD},
    };
    struct h2 *h = mem_new(sizeof *h);
    k->h2 = h;
    h->in_ms = h->out_ms = loop_now_ms(k->client->loop);
    list_init(&h->calls);
    list_init(&h->touched);
    buf_init(&h->out, SIZE_MAX);
    h->session = h2_session_new(k);
    BUG_ON(nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, 3));
    BUG_ON(
        nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW));
}

/* Nothing comes any more; closed: the peer did it, and said nothing of an error. */
static void lose(struct connection *k, const char *why)
{
    struct h2 *h = k->h2;
    if (h->lost)
        return;
    h->lost = h->closing = true;
    h->closed = !why;
    if (why != h->why)
        snprintf(h->why, sizeof h->why, "%s", why ? why : "");
    loop_fd_del(&k->watch);
    for (struct list_link *l = h->calls.next; l != &h->calls; l = l->next) {
        struct client_call *call = LIST_OWNER(l, struct client_call, stream.mate);
        call->stream.id = 0;
        if (!call->stream.ended)
            h2_fail(call, STREAM_LOST, 0);
    }
}

/* --- out --- */

/* True: there is something to write. */
static bool make_frames(struct connection *k)
{
    struct h2 *h = k->h2;
    while (h->out.n < RECORD_BYTES) {
        const uint8_t *p;
        ssize_t n = nghttp2_session_mem_send(h->session, &p);
        if (n < 0)
            lose(k, nghttp2_strerror((int)n));
        if (n <= 0)
            break;
        buf_put(&h->out, str_n((const char *)p, (size_t)n));
    }
    return h->out.n && !h->lost;
}

/* What came before it broke is read first: answers, and which requests were not looked at. */
static void become_deaf(struct connection *k, const char *why)
{
    struct h2 *h = k->h2;
    h->deaf = h->closing = h->unread = true;
    snprintf(h->why, sizeof h->why, "%s", why);
    connection_work_soon(k);
}

static void send_frames(struct connection *k)
{
    struct h2 *h = k->h2;
    uint32_t events = EPOLLIN;
    while (!h->lost && !h->deaf && (h->stuck || make_frames(k))) {
        struct str part[2] = {buf_str(&h->out), {NULL, 0}};
        size_t n = 0;
        const char *why;
        enum io io = exchange_send(k, part, &n, &why);
        buf_consume(&h->out, n);
        if (io != IO_AGAIN || !h->stuck)
            h->out_ms = loop_now_ms(k->client->loop);
        h->stuck = io == IO_AGAIN;
        if (h->stuck) {
            events |= EPOLLOUT;
            break;
        }
        if (io != IO_DONE)
            become_deaf(k, why);
    }
    if (h->lost || h->deaf)
        return;
    loop_fd_set(&k->watch, events);
    if (h->out.n == 0 && !nghttp2_session_want_read(h->session) &&
        !nghttp2_session_want_write(h->session)) /* it has found the peer at fault, or said bye */
        lose(k, "The peer has broken the rules of HTTP/2");
}

void h2_begin(struct connection *k, struct client_call *call)
{
    struct h2 *h = k->h2;
    struct stream *st = &call->stream;
    BUG_ON(call->slot == h->in_use);
    if (!h->in_use) {
        h->in_use = true;
        call->slot = false;
        list_push(&k->way->shared, &k->link);
    }
    *st = (struct stream){.seen = h->n_in, .began_ms = loop_now_ms(k->client->loop)};
    call->connection = k;
    list_push(&h->calls, &st->mate);
    h->n_calls++;
    h->n_begun++;
    if (!h2_submit(h->session, call)) {
        h->closing = true;
        h2_fail(call, STREAM_RESET, NGHTTP2_REFUSED_STREAM);
    }
    connection_work_soon(k);
}

/* --- answers --- */

static struct err *broken_err(const struct client_call *call)
{
    const struct stream *st = &call->stream;
    const struct h2 *h = call->connection->h2;
    struct str key = call->way->route->key;
    if (st->fault == STREAM_BAD_STATUS)
        return err_new(ERR_IO, "The answer of [%.*s] cannot be read: malformed status",
                       STR_ARG(key));
    if (st->fault == STREAM_LARGE_HEAD)
        return err_new(ERR_IO, "The headers from [%.*s] are larger than [%u] bytes", STR_ARG(key),
                       HTTP_ANSWER_MAX_HEAD);
    if (st->fault == STREAM_RESET)
        return err_new(ERR_IO, "The exchange with [%.*s] broke off: its stream was reset (%s)",
                       STR_ARG(key), nghttp2_http2_strerror(st->code));
    if (!h->closed)
        return err_new(ERR_IO, "The exchange with [%.*s] broke off: %s", STR_ARG(key), h->why);
    if (call->begun)
        return err_new(ERR_IO, "[%.*s] closed the connection before the end of its answer",
                       STR_ARG(key));
    return err_new(ERR_IO, "[%.*s] closed the connection %s", STR_ARG(key),
                   call->retried ? "twice" : "without an answer");
}

/* Its peer wants HTTP/1.1, on whatever connection; for how long it does not say. */
static void forget_h2(struct route *r, int64_t until_ms)
{
    r->only_h1_until_ms = until_ms;
    r->speaks_h2 = false;
}

/* Nobody has looked at the request. */
static bool was_not_seen(const struct stream *st)
{
    return !st->sent || (st->fault == STREAM_RESET && (st->code == NGHTTP2_REFUSED_STREAM ||
                                                       st->code == NGHTTP2_HTTP_1_1_REQUIRED));
}

/* The connection was kept, and closed while the request was on its way. */
static bool was_closed_on(const struct client_call *call)
{
    const struct connection *k = call->connection;
    return call->stream.fault == STREAM_LOST && k->answered && k->h2->n_in == call->stream.seen;
}

static bool may_begin_again(struct client_call *call)
{
    const struct stream *st = &call->stream;
    struct route *r = call->way->route;
    if (call->begun || (st->fault != STREAM_LOST && st->fault != STREAM_RESET))
        return false;
    if (st->fault == STREAM_RESET && st->code == NGHTTP2_HTTP_1_1_REQUIRED)
        forget_h2(r, loop_now_ms(call->client->loop) + ONLY_H1_MS);
    if (was_not_seen(st))
        return call->moves++ < MAX_MOVES;
    if (call->retried || !was_closed_on(call))
        return false;
    call->retried = true;
    return true;
}

static void tell_fault(struct client_call *call)
{
    if (call->stream.fault == STREAM_TOO_LARGE)
        answer_too_large(call);
    else if (may_begin_again(call))
        call_again(call);
    else
        call_end(call, CLIENT_BROKEN, broken_err(call));
}

/* What was told makes room, but not piece by piece: each time all that waits is moved. */
static void forget_told(struct client_call *call)
{
    struct stream *st = &call->stream;
    if (st->told < call->body.n / 2)
        return;
    buf_consume(&call->body, st->told);
    st->told = 0;
}

/* What came of a body, in pieces after which its receiver may pause. OVER: it has no call any more.
 */
static enum fed tell_body(struct client_call *call)
{
    struct stream *st = &call->stream;
    while (st->told < call->body.n && !call->paused) {
        size_t n = call->body.n - st->told;
        n = n < STREAM_BYTES ? n : STREAM_BYTES;
        if (answer_body(call, str_n(call->body.p + st->told, n)) == FED_OVER)
            return FED_OVER;
        st->told += n;
        if (st->id)
            nghttp2_session_consume_stream(call->connection->h2->session, st->id, n);
    }
    forget_told(call);
    return FED_MORE;
}

static void tell(struct client_call *call)
{
    const struct stream *st = &call->stream;
    if (st->head_ready && !call->head_done && answer_head(call) == FED_OVER)
        return;
    if (call->events->body && tell_body(call) == FED_OVER)
        return;
    if (call->paused) /* hears of the rest once it is resumed */
        return;
    if (st->ended && !st->fault) {
        call->in.body = call->events->body ? (struct str){0} : buf_str(&call->body);
        call_answered(call);
    } else if (st->fault) {
        tell_fault(call);
    }
}

/* --- calls come and go --- */

bool h2_is_fit(const struct connection *k)
{
    const struct h2 *h = k->h2;
    int64_t now = loop_now_ms(k->client->loop);
    if (h->closing || h->suspect || (h->settled && h->max_streams == 0))
        return false;
    if (h->stuck && now - h->out_ms > SUSPECT_MS)
        return false;
    return now - k->opened_ms <= MAX_LIFE_MS && now >= k->way->route->only_h1_until_ms;
}

static bool has_room(const struct connection *k)
{
    const struct h2 *h = k->h2;
    uint32_t life = k->way->route->life_calls;
    if (!h2_is_fit(k) || (life && h->n_begun >= life))
        return false;
    /* Until this one has said it, what one before it said. */
    uint32_t theirs = h->settled ? h->max_streams : k->way->route->max_streams;
    if (!h->settled && theirs == 0)
        theirs = 1;
    return h->n_calls < (theirs < MAX_CALLS ? (long)theirs : MAX_CALLS);
}

struct connection *h2_with_room(struct way *w)
{
    for (struct list_link *l = w->shared.next; l != &w->shared; l = l->next) {
        struct connection *k = LIST_OWNER(l, struct connection, link);
        if (has_room(k))
            return k;
    }
    return NULL;
}

bool h2_is_coming(const struct way *w)
{
    const struct route *r = w->route;
    return w->opening && r->speaks_h2 && r->max_streams != 1 && r->life_calls != 1;
}

bool h2_is_first(const struct client_call *call)
{
    return call->connection->h2->calls.next == &call->stream.mate;
}

static void doubt_if_silent(struct connection *k, int64_t since_ms)
{
    struct h2 *h = k->h2;
    if (h->in_ms > since_ms)
        since_ms = h->in_ms;
    if (h->suspect || h->closing || loop_now_ms(k->client->loop) - since_ms <= SUSPECT_MS)
        return;
    h->suspect = nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, NULL) == 0;
}

void h2_leave(struct client_call *call)
{
    struct connection *k = call->connection;
    struct h2 *h = k->h2;
    struct stream *st = &call->stream;
    list_remove(&st->mate);
    list_remove(&st->touched);
    h->n_calls--;
    if (st->id) { /* what it still sends is not wanted, or what we still send not needed */
        nghttp2_session_set_stream_user_data(h->session, st->id, NULL);
        nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, st->id,
                                  st->ended ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL);
    }
    st->id = 0;
    k->answered |= st->ended;
    if (!st->ended && !call->paused)
        doubt_if_silent(k, st->began_ms);
    connection_work_soon(k);
}

void h2_resume(struct client_call *call)
{
    h2_touch(call);
    connection_work_soon(call->connection);
}

/* It has taken as many as made another say goodbye, and did not. */
static void trust_more(struct connection *k)
{
    struct route *r = k->way->route;
    if (r->life_calls && k->h2->n_begun >= r->life_calls)
        r->life_calls = r->life_calls < MAX_LIFE_CALLS ? 2 * r->life_calls : 0;
}

/* Without calls it idles, or goes. */
static void rest(struct connection *k)
{
    struct client *c = k->client;
    struct way *w = k->way;
    struct h2 *h = k->h2;
    if (!h->in_use) {
        if (h->closing) {
            idle_leave(k);
            connection_close(k);
        }
        return;
    }
    w->users++; /* it must be there when the slot goes back */
    h->in_use = false;
    list_remove(&k->link);
    if (h->closing) {
        connection_close(k);
    } else {
        trust_more(k);
        idle_put(k);
    }
    give_slot_back(c, w->route);
    way_leave(c, w);
}

/* --- in --- */

static void read_all(struct connection *k)
{
    struct client *c = k->client;
    struct h2 *h = k->h2;
    enum io io = IO_DONE;
    for (int i = 0; i < MAX_READS && io == IO_DONE && !h->lost; i++) {
        size_t n;
        const char *why = NULL;
        io = exchange_recv(k, c->scratch, SCRATCH_BYTES, &n, &why);
        if (n) {
            h->n_in += n;
            h->in_ms = loop_now_ms(c->loop);
            h->suspect = false;
        }
        ssize_t took = n ? nghttp2_session_mem_recv(h->session, (uint8_t *)c->scratch, n) : 0;
        if (took < 0)
            lose(k, nghttp2_strerror((int)took));
        else if (io == IO_CLOSED || io == IO_BROKEN)
            lose(k, io == IO_CLOSED ? NULL : why ? why : "The connection was lost");
        else if (io == IO_AGAIN && h->deaf)
            lose(k, h->why);
    }
    h->unread = io == IO_DONE && !h->lost;
    if (h->unread)
        connection_work_soon(k);
}

void h2_work(struct connection *k)
{
    struct h2 *h = k->h2;
    if (h->busy)
        return;
    h->busy = true;
    if (h->unread)
        read_all(k);
    do {
        while (!list_empty(&h->touched)) {
            struct client_call *call =
                LIST_OWNER(h->touched.next, struct client_call, stream.touched);
            list_remove(&call->stream.touched);
            tell(call);
        }
        if (!h->lost)
            send_frames(k);
    } while (!list_empty(&h->touched));
    h->busy = false;
    struct client *c = k->client;
    if (h->n_calls == 0)
        rest(k);
    serve_waiting(c); /* there may be room, or this connection takes no more */
}

void h2_ready(struct connection *k, uint32_t events)
{
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
        k->h2->unread = true;
    h2_work(k);
}

void h2_free(struct connection *k)
{
    struct h2 *h = k->h2;
    if (!h->lost && nghttp2_session_terminate_session(h->session, NGHTTP2_NO_ERROR) == 0)
        send_frames(k);
    nghttp2_session_del(h->session);
    buf_deinit(&h->out);
    free(h);
    k->h2 = NULL;
}
