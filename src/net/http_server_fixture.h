/* http_server_fixture: a server on one thread, plain blocking sockets on the other, over loopback.
 * What the handler does is chosen by the path. Shared by the tests of the HTTP server. */
#ifndef INFERD_HTTP_SERVER_FIXTURE_H
#define INFERD_HTTP_SERVER_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bug.h"
#include "gzip.h"
#include "http_edge.h"

#define BIG_BYTES   ((size_t)8 << 20)
#define FLOOD_BYTES ((size_t)4 << 20)
#define PATIENCE_S  10

static struct {
    struct loop *loop;
    struct http_server *server;
    pthread_t thread;
    int port;
    struct http_request *held;
    struct loop_timer later;
    size_t flooded;
    size_t most_held; /* bytes of the body that were read while it was held */
    int held_ticks;   /* ... with no more coming */
    atomic_int heads, cancels, finished, last_status, drains, drained;
    atomic_bool release;
} t;

/* ---- the handler ---- */

static inline bool path_is(const struct http_request *r, const char *z)
{
    return str_eq_c(r->path, z);
}

static inline void reply_text(struct http_request *r, int status, struct str body)
{
    http_reply(r, status, STR("text/plain"), body);
}

static inline void reply_late(struct loop_timer *timer)
{
    (void)timer;
    reply_text(t.held, 200, STR("late"));
}

static inline void done_late(struct loop_timer *timer)
{
    (void)timer;
    BUG_ON(arena_used(t.held->arena) == 0); /* still ours */
    http_reply(t.held, 200, STR("text/plain"), STR("nobody reads this"));
    http_done(t.held);
}

static inline void cancel_done(struct http_request *r)
{
    t.cancels++;
    http_done(r);
}

static inline void cancel_then_done_late(struct http_request *r)
{
    t.cancels++;
    loop_timer_set(r->loop, &t.later, loop_now_ms(r->loop) + 2, done_late);
}

static inline void cancel_count(struct http_request *r)
{
    (void)r;
    t.cancels++;
}

static inline void flood(struct http_request *r)
{
    static char piece[10000];
    memset(piece, 'f', sizeof piece);
    while (t.flooded < FLOOD_BYTES) {
        size_t left = FLOOD_BYTES - t.flooded;
        size_t n = left < sizeof piece ? left : sizeof piece;
        t.flooded += n;
        if (!http_stream(r, str_n(piece, n)))
            return; /* on_drain goes on */
    }
    http_stream_end(r);
}

static inline void flood_on(struct http_request *r)
{
    t.drains++;
    flood(r);
}

static inline void stream_second(struct loop_timer *timer)
{
    (void)timer;
    http_stream(t.held, STR("two"));
    http_stream(t.held, STR("three"));
    http_stream_end(t.held);
}

static inline void on_echo(struct http_request *r)
{
    struct str h;
    http_header_get(r->headers, STR("x-echo"), &h);
    http_header_add(&r->reply_headers, STR("X-Echo"), h);
    http_header_add(&r->reply_headers, STR("X-Bad"), STR("a\r\nX-Injected: 1"));
    struct str text =
        arena_printf(r->arena, "%s %.*s ?%.*s [%zu] %.*s", http_method_name(r->method),
                     STR_ARG(r->path), STR_ARG(r->query), r->body.n, STR_ARG(r->body));
    reply_text(r, 200, text);
}

static inline void on_big(struct http_request *r)
{
    struct buf b;
    buf_init(&b, BIG_BYTES);
    char *p = buf_reserve(&b, BIG_BYTES);
    for (size_t i = 0; i < BIG_BYTES; i++)
        p[i] = (char)('a' + i % 23);
    b.n = BIG_BYTES;
    http_reply_buf(r, 200, STR("text/plain"), &b);
    BUG_ON(b.p);
}

static inline void on_compressible(struct http_request *r)
{
    char *p = arena_alloc(r->arena, 10000);
    memset(p, 'z', 10000);
    reply_text(r, 200, str_n(p, 10000));
}

static inline void hold(struct http_request *r, void (*on_cancel)(struct http_request *))
{
    t.held = r;
    arena_alloc(r->arena, 1);
    r->on_cancel = on_cancel;
}

/* Looks at what was read of a held body until nothing comes any more; then goes on, or refuses. */
static inline void held_tick(struct loop_timer *timer)
{
    size_t n = exchange_of(t.held)->body.n;
    t.held_ticks = n > t.most_held ? 0 : t.held_ticks + 1;
    t.most_held = n;
    if (n < HTTP_HELD_BYTES || t.held_ticks < 20)
        loop_timer_set(t.loop, timer, loop_now_ms(t.loop) + 1, held_tick);
    else if (path_is(t.held, "/held-refused"))
        reply_text(t.held, 401, STR("who are you"));
    else
        http_body_go(t.held);
}

static inline void go_late(struct loop_timer *timer)
{
    (void)timer;
    http_body_go(t.held);
}

static inline void head_held(struct http_request *r)
{
    r->body_held = true;
    t.held = r;
    t.most_held = 0;
    t.held_ticks = 0;
    void (*then)(struct loop_timer *) = path_is(r, "/held-small") ? go_late : held_tick;
    loop_timer_set(r->loop, &t.later, loop_now_ms(r->loop) + 1, then);
}

static inline void ready(struct http_request *r, void *ctx)
{
    (void)ctx;
    int64_t soon = loop_now_ms(r->loop) + 2;
    if (path_is(r, "/late")) {
        hold(r, NULL);
        loop_timer_set(r->loop, &t.later, soon, reply_late);
    } else if (path_is(r, "/hang")) {
        hold(r, cancel_done);
    } else if (path_is(r, "/hang-late")) {
        hold(r, cancel_then_done_late);
    } else if (path_is(r, "/hang-on")) {
        hold(r, cancel_count);
    } else if (path_is(r, "/big")) {
        on_big(r);
    } else if (path_is(r, "/z")) {
        on_compressible(r);
    } else if (path_is(r, "/none")) {
        reply_text(r, 204, STR("not sent"));
    } else if (path_is(r, "/stream")) {
        hold(r, NULL);
        http_stream_begin(r, 200, STR("text/event-stream"));
        http_stream(r, STR("one"));
        loop_timer_set(r->loop, &t.later, soon, stream_second);
    } else if (path_is(r, "/flood")) {
        t.flooded = 0;
        r->on_drain = flood_on;
        r->on_cancel = cancel_done;
        http_stream_begin(r, 200, STR("text/plain"));
        flood(r);
    } else if (path_is(r, "/abort")) {
        http_stream_begin(r, 200, STR("text/plain"));
        http_stream(r, STR("half"));
        http_stream_abort(r);
    } else if (path_is(r, "/length") || path_is(r, "/held")) {
        reply_text(r, 200, arena_printf(r->arena, "%zu", r->body.n));
    } else {
        on_echo(r);
    }
}

static inline void head(struct http_request *r, void *ctx)
{
    (void)ctx;
    t.heads++;
    BUG_ON(r->peer.n < 11 || memcmp(r->peer.p, "127.0.0.1:", 10) != 0);
    if (path_is(r, "/early"))
        reply_text(r, 401, STR("who are you"));
    if (str_starts(r->path, STR("/held")))
        head_held(r);
    if (path_is(r, "/small"))
        r->body_limit = 10;
    if (path_is(r, "/small-cancel")) {
        r->body_limit = 10;
        r->on_cancel = cancel_done;
    }
}

static inline struct str protocol_error(struct arena *a, int status, const char *reason, void *ctx)
{
    (void)ctx;
    return arena_printf(a, "{\"error\":\"%s\",\"status\":%d}", reason, status);
}

static inline void finished(struct http_request *r, int status, size_t bytes_out, void *ctx)
{
    (void)r, (void)ctx;
    BUG_ON(status && bytes_out == 0 && t.cancels == 0);
    t.last_status = status;
    t.finished++;
}

/* ---- the server's life ---- */

static inline void *run(void *unused)
{
    loop_run(t.loop);
    return unused;
}

static inline void start(struct http_server_options o)
{
    memset(&t, 0, sizeof t);
    t.loop = loop_new(0);
    static const struct http_server_hooks hooks = {
        .head = head, .ready = ready, .protocol_error = protocol_error, .finished = finished};
    t.server = http_server_new(t.loop, &o, &hooks, NULL);
    struct err *e = http_server_listen(t.server, "127.0.0.1", 0, &t.port);
    assert_null(e);
    assert_int_equal(pthread_create(&t.thread, NULL, run, NULL), 0);
}

static inline void stop(void)
{
    loop_stop(t.loop);
    pthread_join(t.thread, NULL);
    http_server_free(t.server);
    loop_free(t.loop);
    assert_int_equal(t.heads, t.finished);
}

static inline int setup(void **state)
{
    (void)state;
    start((struct http_server_options){.compress = true});
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    stop();
    return 0;
}

/* ---- the client ---- */

static inline int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)t.port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static inline void say_n(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        assert_true(k > 0);
        p += k;
        n -= (size_t)k;
    }
}

static inline void say(int fd, const char *text)
{
    say_n(fd, text, strlen(text));
}

static struct buf heard; /* bytes read and not yet taken */

static inline bool hear(int fd)
{
    char *to = buf_reserve(&heard, 65536);
    ssize_t n = recv(fd, to, 65536, 0);
    if (n < 0 && errno == EAGAIN)
        fail_msg("the server is silent after \"%.*s\"", (int)heard.n, heard.p);
    if (n <= 0)
        return false;
    heard.n += (size_t)n;
    return true;
}

static struct {
    int status;
    char head[2048];
    struct buf body;
    bool cut;
} got;

static inline bool has_header(const char *line)
{
    return strcasestr(got.head, line) != NULL;
}

/* At least n bytes in `heard`, or the end of the connection. */
static inline bool hear_n(int fd, size_t n)
{
    while (heard.n < n)
        if (!hear(fd))
            return false;
    return true;
}

static inline size_t line_end(int fd)
{
    for (;;) {
        size_t at = str_find(buf_str(&heard), STR("\r\n"));
        if (at != SIZE_MAX)
            return at;
        if (!hear(fd))
            return SIZE_MAX;
    }
}

static inline void take_body(int fd, size_t n)
{
    got.cut = !hear_n(fd, n);
    if (got.cut)
        n = heard.n;
    buf_put(&got.body, str_n(heard.p, n));
    buf_consume(&heard, n);
}

static inline void take_chunks(int fd)
{
    for (;;) {
        size_t end = line_end(fd);
        got.cut = end == SIZE_MAX;
        if (got.cut)
            return;
        size_t n = strtoul(heard.p, NULL, 16);
        buf_consume(&heard, end + 2);
        take_body(fd, n);
        if (got.cut || !hear_n(fd, 2))
            return;
        buf_consume(&heard, 2);
        if (n == 0)
            return;
    }
}

/* Reads one answer; `no_body` for HEAD. */
static inline int answer_of(int fd, bool no_body)
{
    size_t end;
    buf_clear(&got.body);
    got.cut = false;
    while ((end = str_find(buf_str(&heard), STR("\r\n\r\n"))) == SIZE_MAX)
        if (!hear(fd))
            return got.status = -1;
    assert_true(end < sizeof got.head - 4);
    memcpy(got.head, heard.p, end + 4);
    got.head[end + 4] = '\0';
    buf_consume(&heard, end + 4);
    got.status = (int)strtol(got.head + 9, NULL, 10);
    const char *length = strcasestr(got.head, "\r\ncontent-length: ");
    if (no_body || got.status == 204 || got.status == 100)
        return got.status;
    if (length)
        take_body(fd, strtoul(length + 18, NULL, 10));
    else if (has_header("\r\ntransfer-encoding: chunked"))
        take_chunks(fd);
    else
        while (hear(fd) || (take_body(fd, heard.n), false))
            ;
    return got.status;
}

static inline int answer(int fd)
{
    return answer_of(fd, false);
}

static inline void assert_body(const char *text)
{
    if (!str_eq_c(buf_str(&got.body), text))
        fail_msg("body is \"%.*s\", not \"%s\"", (int)got.body.n, got.body.p, text);
}

static inline void assert_closed(int fd)
{
    assert_false(hear(fd));
    assert_int_equal(heard.n, 0);
}

static inline void hang_up(int fd)
{
    close(fd);
    buf_clear(&heard);
}

/* A new connection that says this and gets an answer; the caller closes it. */
static inline int ask(const char *text)
{
    int fd = dial();
    say(fd, text);
    answer(fd);
    return fd;
}

static inline void wait_for(atomic_int *n, int value)
{
    for (int i = 0; i < PATIENCE_S * 1000 && *n < value; i++)
        usleep(1000);
    assert_int_equal(*n, value);
}

#define HOST "Host: a\r\n"

static inline void say_coded(int fd, const char *path, const char *coding, struct str body)
{
    char h[256];
    snprintf(h, sizeof h,
             "POST %s HTTP/1.1\r\n" HOST "Content-Encoding: %s\r\nContent-Length: %zu\r\n\r\n",
             path, coding, body.n);
    say(fd, h);
    say_n(fd, body.p, body.n);
}

/* cmocka's macro on a function of this test. */
#define WITH_SERVER(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static inline void client_init(void)
{
    buf_init(&heard, SIZE_MAX / 2);
    buf_init(&got.body, SIZE_MAX / 2);
}

static inline void client_deinit(void)
{
    buf_deinit(&heard);
    buf_deinit(&got.body);
}

#endif
