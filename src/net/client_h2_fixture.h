/* client_h2_fixture: for the tests of HTTP/2, a peer that says frames as it is told, on the test's
 * own thread, and the books of the client, which must be right after every round. */
#ifndef INFERD_CLIENT_H2_FIXTURE_H
#define INFERD_CLIENT_H2_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bug.h"
#include "client_private.h"
#include "clock.h"

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };

static struct loop *loop;
static struct client *client;
static int listener, port;

/* --- the client's books --- */

static long length_of(const struct list_link *list)
{
    long n = 0;
    for (const struct list_link *l = list->next; l != list; l = l->next)
        n++;
    return n;
}

struct books {
    long active, idle, waiting;
};

static void read_ways(const struct route *r, struct books *all)
{
    long active = 0, idle = 0, opening = 0;
    for (struct list_link *l = r->ways.next; l != &r->ways; l = l->next) {
        const struct way *w = LIST_OWNER(l, struct way, link);
        active += length_of(&w->shared);
        idle += length_of(&w->idle);
        opening += w->opening;
    }
    for (struct list_link *l = client->running.next; l != &client->running; l = l->next) {
        const struct client_call *call = LIST_OWNER(l, struct client_call, link);
        const struct connection *k = call->connection;
        assert_non_null(k);
        assert_int_equal(call->slot, !k->h2);
        if (call->way->route == r) {
            active += call->slot;
            opening -= k->opening;
        }
    }
    assert_int_equal(r->active, active);
    assert_int_equal(r->idle, idle);
    assert_int_equal(opening, 0);
    assert_int_equal(list_linked(&r->link), !list_empty(&r->waiting));
    all->active += active;
    all->idle += idle;
    all->waiting += length_of(&r->waiting);
}

/* Each slot is held by one call or one connection, and each call is in one place. */
static void check_books(void)
{
    struct books all = {0};
    struct str key;
    void *route;
    for (size_t i = 0; map_next(client->routes, &i, &key, &route);)
        read_ways(route, &all);
    assert_int_equal(client->active, all.active);
    assert_int_equal(client->n_idle, all.idle);
    assert_int_equal(length_of(&client->idle), all.idle);
    assert_int_equal(client->n_calls,
                     all.waiting + length_of(&client->running) + length_of(&client->ended));
    assert_true(client->active <= client->options.max_total_connections);
}

static void stop(struct loop_timer *timer)
{
    loop_stop(loop);
}

/* A few rounds of the loop, so that what was set to run at once has run. */
static void turn(void)
{
    struct loop_timer end = {0};
    for (int i = 0; i < 4; i++) {
        loop_timer_set(loop, &end, clock_mono_ms() + (i == 3), stop);
        loop_run(loop);
    }
    check_books();
}

#define WAIT_FOR(condition)                                                                        \
    do {                                                                                           \
        int64_t wait_until = clock_mono_ms() + 20000;                                              \
        while (!(condition)) {                                                                     \
            turn();                                                                                \
            if (clock_mono_ms() > wait_until)                                                      \
                fail_msg("it never came to be: " #condition);                                      \
        }                                                                                          \
    } while (0)

/* --- calls --- */

struct probe {
    struct client_call *call;
    struct arena *arena;
    struct http_out out;
    struct client_limits limits;
    struct client_events events;
    enum client_failure failure;
    int status, n_head, n_done;
    struct buf body, reason;
    struct http_headers trailers;
    bool pause;
    void (*on_head)(struct probe *), (*on_body)(struct probe *), (*on_done)(struct probe *);
    struct probe *other;
};

static void probe_head(void *ctx, int status, const struct http_headers *hs)
{
    struct probe *p = ctx;
    p->n_head++;
    p->status = status;
    if (p->on_head)
        p->on_head(p);
}

static bool probe_body(void *ctx, struct str bytes)
{
    struct probe *p = ctx;
    assert_int_equal(p->n_head, 1);
    assert_int_equal(p->n_done, 0);
    buf_put(&p->body, bytes);
    if (p->on_body)
        p->on_body(p);
    return !p->pause;
}

static void probe_done(void *ctx, enum client_failure failure, struct err *err,
                       const struct http_in *in)
{
    struct probe *p = ctx;
    p->n_done++;
    p->failure = failure;
    assert_int_equal(failure == CLIENT_OK, err == NULL);
    assert_int_equal(failure == CLIENT_OK, in != NULL);
    if (err)
        buf_cstr(&p->reason, err->reason);
    err_free(err);
    if (in) {
        p->status = in->status;
        buf_put(&p->body, in->body);
    }
    client_cancel(p->call); /* too late, and harmless */
    if (p->on_done)
        p->on_done(p);
}

static void probe_init(struct probe *p)
{
    memset(p, 0, sizeof *p);
    p->arena = arena_new(ARENA_NO_LIMIT);
    p->out = (struct http_out){.arena = p->arena, .method = HTTP_POST, .body = STR("{}")};
    p->out.url = arena_printf(p->arena, "http://127.0.0.1:%d/p", port);
    p->limits = (struct client_limits){.max_response_bytes = 64u << 20, .allow_private = true};
    p->events = (struct client_events){.done = probe_done};
    buf_init(&p->body, 64u << 20);
    buf_init(&p->reason, 1000);
}

__attribute__((unused)) static void probe_streams(struct probe *p)
{
    p->events.head = probe_head;
    p->events.body = probe_body;
}

static void probe_send(struct probe *p)
{
    p->n_done = 0;
    p->call = client_send(client, &p->out, &p->limits, &p->events, p);
    assert_int_equal(p->n_done, 0);
}

static void probe_deinit(struct probe *p)
{
    buf_deinit(&p->body);
    buf_deinit(&p->reason);
    arena_free(p->arena);
}

static void expect_ok(const struct probe *p, const char *body)
{
    assert_int_equal(p->n_done, 1);
    if (p->failure != CLIENT_OK)
        fail_msg("[%.*s]", STR_ARG(buf_str(&p->reason)));
    assert_int_equal(p->status, 200);
    assert_true(str_eq_c(buf_str(&p->body), body));
}

__attribute__((unused)) static void expect_failed(const struct probe *p,
                                                  enum client_failure failure, const char *words)
{
    assert_int_equal(p->n_done, 1);
    assert_int_equal(p->failure, failure);
    if (str_find(buf_str(&p->reason), str_c(words)) == SIZE_MAX)
        fail_msg("[%.*s] does not say [%s]", STR_ARG(buf_str(&p->reason)), words);
}

/* --- the peer --- */

struct frame {
    int type, flags;
    int32_t id;
    uint32_t code; /* its payload's first (RST_STREAM, WINDOW_UPDATE) or second (GOAWAY) word */
    size_t n;
};

struct peer {
    int fd;
    bool eof;
    struct buf in, data; /* data: what has come of bodies, all of them */
    size_t n_frames;
    struct frame frames[4096];
};

static uint32_t word_at(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static void peer_start(struct peer *p, int fd)
{
    memset(p, 0, sizeof *p);
    p->fd = fd;
    buf_init(&p->in, 64u << 20);
    buf_init(&p->data, 64u << 20);
    p->n_frames = SIZE_MAX; /* the preface has not come */
}

__attribute__((unused)) static bool no_peer_comes(void)
{
    for (int i = 0; i < 10; i++)
        turn();
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd >= 0)
        close(fd);
    return fd < 0;
}

static void peer_take_frame(struct peer *p, size_t n)
{
    const char *b = p->in.p;
    struct frame f = {b[3], b[4], (int32_t)word_at(b + 5), 0, n};
    if (f.type == RST_STREAM || f.type == WINDOW_UPDATE)
        f.code = word_at(b + 9);
    if (f.type == GOAWAY)
        f.code = word_at(b + 13);
    if (f.type == DATA)
        buf_put(&p->data, str_n(b + 9, n));
    assert_true(p->n_frames < 4096);
    p->frames[p->n_frames++] = f;
    buf_consume(&p->in, 9 + n);
}

static void peer_read(struct peer *p)
{
    static char bytes[1 << 16];
    ssize_t got;
    turn();
    while ((got = recv(p->fd, bytes, sizeof bytes, 0)) > 0)
        buf_put(&p->in, str_n(bytes, (size_t)got));
    p->eof |= got == 0;
    if (p->n_frames == SIZE_MAX && p->in.n >= 24) {
        assert_memory_equal(p->in.p, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
        buf_consume(&p->in, 24);
        p->n_frames = 0;
    }
    while (p->n_frames != SIZE_MAX && p->in.n >= 9) {
        size_t n = word_at(p->in.p) >> 8;
        if (p->in.n < 9 + n)
            break;
        peer_take_frame(p, n);
    }
}

static size_t peer_count(struct peer *p, int type)
{
    size_t n = 0;
    peer_read(p);
    for (size_t i = 0; p->n_frames != SIZE_MAX && i < p->n_frames; i++)
        n += p->frames[i].type == type;
    return n;
}

/* The last of its type for that stream; NULL: none has come. */
__attribute__((unused)) static const struct frame *peer_find(struct peer *p, int type, int32_t id)
{
    peer_read(p);
    for (size_t i = p->n_frames == SIZE_MAX ? 0 : p->n_frames; i-- > 0;) {
        if (p->frames[i].type == type && p->frames[i].id == id)
            return &p->frames[i];
    }
    return NULL;
}

static void peer_write(struct peer *p, const void *bytes, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t put = send(p->fd, (const char *)bytes + at, n - at, MSG_NOSIGNAL);
        if (put > 0)
            at += (size_t)put;
        else if (errno == EAGAIN)
            peer_read(p);
        else
            return; /* the client has closed: what the test waits for will not come */
    }
}

static void peer_say(struct peer *p, int type, int flags, int32_t id, const void *payload, size_t n)
{
    unsigned char head[9] = {
        (unsigned char)(n >> 16),  (unsigned char)(n >> 8),  (unsigned char)n,
        (unsigned char)type,       (unsigned char)flags,     (unsigned char)(id >> 24),
        (unsigned char)(id >> 16), (unsigned char)(id >> 8), (unsigned char)id};
    peer_write(p, head, 9);
    peer_write(p, payload, n);
}

__attribute__((unused)) static void peer_word(struct peer *p, int type, int32_t id, uint32_t w)
{
    unsigned char b[4] = {(unsigned char)(w >> 24), (unsigned char)(w >> 16),
                          (unsigned char)(w >> 8), (unsigned char)w};
    peer_say(p, type, 0, id, b, 4);
}

__attribute__((unused)) static void peer_setting(struct peer *p, int name, uint32_t value)
{
    unsigned char b[6] = {0,
                          (unsigned char)name,
                          (unsigned char)(value >> 24),
                          (unsigned char)(value >> 16),
                          (unsigned char)(value >> 8),
                          (unsigned char)value};
    peer_say(p, SETTINGS, 0, 0, b, 6);
}

#define MAX_CONCURRENT_STREAMS 3

/* The next connection; waits for it. */
static void peer_accept(struct peer *p)
{
    int fd = -1;
    WAIT_FOR((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    peer_start(p, fd);
    peer_say(p, SETTINGS, 0, 0, NULL, 0);
    peer_say(p, SETTINGS, ACK, 0, NULL, 0);
}

__attribute__((unused)) static void peer_goodbye(struct peer *p, int32_t last)
{
    unsigned char b[8] = {0, 0, (unsigned char)(last >> 8), (unsigned char)last};
    peer_say(p, GOAWAY, 0, 0, b, 8);
}

__attribute__((unused)) static void peer_head(struct peer *p, int32_t id, int flags)
{
    peer_say(p, HEADERS, END_HEADERS | flags, id, "\x88", 1); /* :status 200 */
}

__attribute__((unused)) static void peer_data(struct peer *p, int32_t id, const char *text,
                                              int flags)
{
    peer_say(p, DATA, flags, id, text, strlen(text));
}

static void peer_answer(struct peer *p, int32_t id, const char *text)
{
    peer_head(p, id, 0);
    peer_data(p, id, text, END_STREAM);
}

/* Without a reset: all that has come is read before. */
static void peer_close(struct peer *p)
{
    static char sink[1 << 16];
    while (p->fd >= 0 && recv(p->fd, sink, sizeof sink, 0) > 0)
        ;
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    buf_deinit(&p->in);
    buf_deinit(&p->data);
}

/* --- what stories have in common --- */

static struct peer a, b, c; /* large */

/* Each on a stream of the peer's one connection, 1, 3, 5 ..., and with its request there. */
static void send_all(struct probe *p, int n, struct peer *peer)
{
    size_t before = peer->fd > 0 ? peer_count(peer, HEADERS) : 0;
    for (int i = 0; i < n; i++)
        probe_send(&p[i]);
    if (peer->fd <= 0)
        peer_accept(peer);
    WAIT_FOR(peer_count(peer, HEADERS) == before + (size_t)n);
}

static void init_all(struct probe *p, int n)
{
    for (int i = 0; i < n; i++)
        probe_init(&p[i]);
}

static void deinit_all(struct probe *p, int n)
{
    for (int i = 0; i < n; i++)
        probe_deinit(&p[i]);
}

/* A connection that has served a call, and idles. */
static void warm(struct peer *peer, uint32_t max_streams)
{
    struct probe p;
    probe_init(&p);
    memset(peer, 0, sizeof *peer);
    send_all(&p, 1, peer);
    peer_setting(peer, MAX_CONCURRENT_STREAMS, max_streams);
    peer_answer(peer, 1, "warm");
    WAIT_FOR(p.n_done);
    expect_ok(&p, "warm");
    WAIT_FOR(client->n_idle == 1);
    probe_deinit(&p);
}

/* Two connections, each of one stream. */
__attribute__((unused)) static void warm_two(struct probe p[2])
{
    warm(&a, 1);
    init_all(p, 2);
    send_all(&p[0], 1, &a);
    probe_send(&p[1]);
    peer_accept(&b);
    peer_setting(&b, MAX_CONCURRENT_STREAMS, 1);
    WAIT_FOR(peer_count(&b, HEADERS) == 1);
}

/* --- beginning and end --- */

static void listen_here(void)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof here;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_false(bind(listener, (struct sockaddr *)&here, n) || listen(listener, 64) ||
                 getsockname(listener, (struct sockaddr *)&here, &n));
    port = ntohs(here.sin_port);
}

static int start_client(void **state)
{
    static const struct client_options options = {.connect_timeout_ms = 5000,
                                                  .max_total_connections = 4,
                                                  .max_route_connections = 3,
                                                  .max_idle_ms = 60000,
                                                  .http2 = CLIENT_HTTP2_KNOWN};
    loop = loop_new(0);
    client = client_new(loop, &options);
    listen_here();
    return 0;
}

static int stop_client(void **state)
{
    client_free(client);
    loop_free(loop);
    close(listener);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start_client, stop_client)

#endif
