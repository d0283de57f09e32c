/* The server on one thread, plain blocking sockets on the other, over loopback. What a handler does
 * is chosen by the path. */
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
#include "http_server.h"

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
    atomic_int heads, cancels, finished, last_status, drains, drained;
    atomic_bool release;
} t;

/* ---- the handler ---- */

static bool path_is(const struct http_request *r, const char *z)
{
    return str_eq_c(r->path, z);
}

static void reply_text(struct http_request *r, int status, struct str body)
{
    http_reply(r, status, STR("text/plain"), body);
}

static void reply_late(struct loop_timer *timer)
{
    (void)timer;
    reply_text(t.held, 200, STR("late"));
}

static void done_late(struct loop_timer *timer)
{
    (void)timer;
    BUG_ON(arena_used(t.held->arena) == 0); /* still ours */
    http_reply(t.held, 200, STR("text/plain"), STR("nobody reads this"));
    http_done(t.held);
}

static void cancel_done(struct http_request *r)
{
    t.cancels++;
    http_done(r);
}

static void cancel_then_done_late(struct http_request *r)
{
    t.cancels++;
    loop_timer_set(r->loop, &t.later, loop_now_ms(r->loop) + 2, done_late);
}

static void cancel_count(struct http_request *r)
{
    (void)r;
    t.cancels++;
}

static void flood(struct http_request *r)
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

static void flood_on(struct http_request *r)
{
    t.drains++;
    flood(r);
}

static void stream_second(struct loop_timer *timer)
{
    (void)timer;
    http_stream(t.held, STR("two"));
    http_stream(t.held, STR("three"));
    http_stream_end(t.held);
}

static void on_echo(struct http_request *r)
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

static void on_big(struct http_request *r)
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

static void on_compressible(struct http_request *r)
{
    char *p = arena_alloc(r->arena, 10000);
    memset(p, 'z', 10000);
    reply_text(r, 200, str_n(p, 10000));
}

static void hold(struct http_request *r, void (*on_cancel)(struct http_request *))
{
    t.held = r;
    arena_alloc(r->arena, 1);
    r->on_cancel = on_cancel;
}

static void ready(struct http_request *r, void *ctx)
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
    } else if (path_is(r, "/length")) {
        reply_text(r, 200, arena_printf(r->arena, "%zu", r->body.n));
    } else {
        on_echo(r);
    }
}

static void head(struct http_request *r, void *ctx)
{
    (void)ctx;
    t.heads++;
    BUG_ON(r->peer.n < 11 || memcmp(r->peer.p, "127.0.0.1:", 10) != 0);
    if (path_is(r, "/early"))
        reply_text(r, 401, STR("who are you"));
    if (path_is(r, "/small"))
        r->body_limit = 10;
    if (path_is(r, "/small-cancel")) {
        r->body_limit = 10;
        r->on_cancel = cancel_done;
    }
}

static struct str protocol_error(struct arena *a, int status, const char *reason, void *ctx)
{
    (void)ctx;
    return arena_printf(a, "{\"error\":\"%s\",\"status\":%d}", reason, status);
}

static void finished(struct http_request *r, int status, size_t bytes_out, void *ctx)
{
    (void)r, (void)ctx;
    BUG_ON(status && bytes_out == 0 && t.cancels == 0);
    t.last_status = status;
    t.finished++;
}

/* ---- the server's life ---- */

static void *run(void *unused)
{
    loop_run(t.loop);
    return unused;
}

static void start(struct http_server_options o)
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

static void stop(void)
{
    loop_stop(t.loop);
    pthread_join(t.thread, NULL);
    http_server_free(t.server);
    loop_free(t.loop);
    assert_int_equal(t.heads, t.finished);
}

static int setup(void **state)
{
    (void)state;
    start((struct http_server_options){.compress = true});
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stop();
    return 0;
}

/* ---- the client ---- */

static int dial(void)
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

static void say_n(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        assert_true(k > 0);
        p += k;
        n -= (size_t)k;
    }
}

static void say(int fd, const char *text)
{
    say_n(fd, text, strlen(text));
}

static struct buf heard; /* bytes read and not yet taken */

static bool hear(int fd)
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

static bool has_header(const char *line)
{
    return strcasestr(got.head, line) != NULL;
}

/* At least n bytes in `heard`, or the end of the connection. */
static bool hear_n(int fd, size_t n)
{
    while (heard.n < n)
        if (!hear(fd))
            return false;
    return true;
}

static size_t line_end(int fd)
{
    for (;;) {
        size_t at = str_find(buf_str(&heard), STR("\r\n"));
        if (at != SIZE_MAX)
            return at;
        if (!hear(fd))
            return SIZE_MAX;
    }
}

static void take_body(int fd, size_t n)
{
    got.cut = !hear_n(fd, n);
    if (got.cut)
        n = heard.n;
    buf_put(&got.body, str_n(heard.p, n));
    buf_consume(&heard, n);
}

static void take_chunks(int fd)
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
static int answer_of(int fd, bool no_body)
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

static int answer(int fd)
{
    return answer_of(fd, false);
}

static void assert_body(const char *text)
{
    if (!str_eq_c(buf_str(&got.body), text))
        fail_msg("body is \"%.*s\", not \"%s\"", (int)got.body.n, got.body.p, text);
}

static void assert_closed(int fd)
{
    assert_false(hear(fd));
    assert_int_equal(heard.n, 0);
}

static void hang_up(int fd)
{
    close(fd);
    buf_clear(&heard);
}

/* A new connection that says this and gets an answer; the caller closes it. */
static int ask(const char *text)
{
    int fd = dial();
    say(fd, text);
    answer(fd);
    return fd;
}

static void wait_for(atomic_int *n, int value)
{
    for (int i = 0; i < PATIENCE_S * 1000 && *n < value; i++)
        usleep(1000);
    assert_int_equal(*n, value);
}

#define HOST "Host: a\r\n"

/* ---- tests ---- */

static void answers_and_keeps_the_connection(void **state)
{
    (void)state;
    int fd = dial();
    for (int i = 0; i < 3; i++) {
        say(fd, "POST /a/b?c=d HTTP/1.1\r\n" HOST "X-Echo: e\r\nContent-Length: 5\r\n\r\nhello");
        assert_int_equal(answer(fd), 200);
        assert_body("POST /a/b ?c=d [5] hello");
        assert_true(has_header("\r\nX-Echo: e\r\n"));
        assert_true(has_header("\r\ncontent-type: text/plain\r\n"));
        assert_true(has_header(" GMT\r\n"));
        assert_false(has_header("\r\nconnection:"));
        assert_false(has_header("injected"));
    }
    hang_up(fd);
}

static void the_same_byte_by_byte(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "\r\nPOST /x HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello",
        "POST /x HTTP/1.1\r\n" HOST
        "Transfer-Encoding: chunked\r\n\r\n2;e\r\nhe\r\n3\r\nllo\r\n0\r\nT: v\r\n\r\n",
    };
    int fd = dial();
    for (size_t i = 0; i < 2; i++) {
        for (const char *p = requests[i]; *p; p++) {
            say_n(fd, p, 1);
            if (i == 0)
                usleep(50); /* most arrive apart */
        }
        assert_int_equal(answer(fd), 200);
        assert_body("POST /x ? [5] hello");
    }
    hang_up(fd);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    int fd = dial();
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 200; i++) /* the first answer is late, the rest waits behind it */
        buf_printf(&b, "POST /%s HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\n%03d",
                   i == 0 ? "late" : "n", i);
    say_n(fd, b.p, b.n);
    buf_deinit(&b);
    assert_int_equal(answer(fd), 200);
    assert_body("late");
    for (int i = 1; i < 200; i++) {
        char want[32];
        snprintf(want, sizeof want, "POST /n ? [3] %03d", i);
        assert_int_equal(answer(fd), 200);
        assert_body(want);
    }
    hang_up(fd);
}

static void say_chunks(int fd, size_t total)
{
    static char piece[50000];
    memset(piece, 'c', sizeof piece);
    for (size_t sent = 0; sent < total; sent += sizeof piece) {
        say(fd, "c350\r\n"); /* 50000 */
        say_n(fd, piece, sizeof piece);
        say(fd, "\r\n");
    }
    say(fd, "0\r\n\r\n");
}

static void large_bodies(void **state)
{
    (void)state;
    int fd = dial();
    char *p = mem_new(5000000);
    memset(p, 'b', 5000000);
    say(fd, "POST /length HTTP/1.1\r\n" HOST "Content-Length: 5000000\r\n\r\n");
    say_n(fd, p, 5000000);
    free(p);
    assert_int_equal(answer(fd), 200);
    assert_body("5000000");
    say(fd, "POST /length HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    say_chunks(fd, 2000000);
    say(fd, "GET /after HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(answer(fd), 200);
    assert_body("2000000");
    assert_int_equal(answer(fd), 200);
    assert_body("GET /after ? [0] ");
    hang_up(fd);
}

static void large_answers(void **state)
{
    (void)state;
    int fd = ask("GET /big HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(got.body.n, BIG_BYTES);
    for (size_t i = 0; i < BIG_BYTES; i++)
        if (got.body.p[i] != (char)('a' + i % 23))
            fail_msg("byte %zu is wrong", i);
    hang_up(fd);
}

static void head_and_204_have_no_body(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "HEAD /x HTTP/1.1\r\n" HOST "\r\nGET /none HTTP/1.1\r\n" HOST "\r\n"
            "HEAD /stream HTTP/1.1\r\n" HOST "\r\nGET /x HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(answer_of(fd, true), 200);
    assert_true(has_header("\r\ncontent-length: 14\r\n"));
    assert_int_equal(answer(fd), 204);
    assert_false(has_header("\r\ncontent-length:"));
    assert_int_equal(answer_of(fd, true), 200);
    assert_int_equal(answer(fd), 200);
    assert_body("GET /x ? [0] ");
    hang_up(fd);
}

static void http10(void **state)
{
    (void)state;
    int fd = ask("GET /x HTTP/1.0\r\n\r\n");
    assert_body("GET /x ? [0] ");
    assert_true(has_header("\r\nconnection: close\r\n"));
    assert_closed(fd);
    hang_up(fd);
    fd = ask("GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_true(has_header("\r\nconnection: keep-alive\r\n"));
    say(fd, "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_int_equal(answer(fd), 200);
    assert_false(has_header("chunked"));
    assert_body("onetwothree");
    hang_up(fd);
}

static void connection_close(void **state)
{
    (void)state;
    int fd = ask("GET /x HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    assert_int_equal(got.status, 200);
    assert_true(has_header("\r\nconnection: close\r\n"));
    assert_closed(fd);
    hang_up(fd);
}

static void streams_are_chunked(void **state)
{
    (void)state;
    int fd = ask("GET /stream HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(got.status, 200);
    assert_true(has_header("\r\ntransfer-encoding: chunked\r\n"));
    assert_false(got.cut);
    assert_body("onetwothree");
    say(fd, "GET /x HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(answer(fd), 200);
    hang_up(fd);
}

static void an_aborted_stream_is_seen_to_be_cut(void **state)
{
    (void)state;
    int fd = ask("GET /abort HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(got.status, 200);
    assert_true(got.cut);
    assert_body("half");
    hang_up(fd);
    fd = dial();
    say(fd, "GET /abort HTTP/1.0\r\n\r\n");
    char c[4096];
    ssize_t n;
    while ((n = recv(fd, c, sizeof c, 0)) > 0)
        ;
    assert_int_equal(n, -1);
    assert_int_equal(errno, ECONNRESET);
    hang_up(fd);
}

static void a_full_stream_waits_for_the_client(void **state)
{
    (void)state;
    int fd = ask("GET /flood HTTP/1.1\r\n" HOST "\r\n");
    assert_false(got.cut);
    assert_int_equal(got.body.n, FLOOD_BYTES);
    assert_true(t.drains > 0);
    hang_up(fd);
}

static void answers_are_compressed_for_those_who_ask(void **state)
{
    (void)state;
    int fd = ask("GET /z HTTP/1.1\r\n" HOST "Accept-Encoding: gzip\r\n\r\n");
    assert_true(has_header("\r\ncontent-encoding: gzip\r\n"));
    assert_true(got.body.n < 1000);
    struct buf plain;
    buf_init(&plain, 20000);
    assert_null(gzip_inflate(buf_str(&got.body), &plain));
    assert_int_equal(plain.n, 10000);
    buf_deinit(&plain);
    say(fd, "GET /z HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(answer(fd), 200);
    assert_false(has_header("content-encoding"));
    assert_int_equal(got.body.n, 10000);
    say(fd, "GET /x HTTP/1.1\r\n" HOST "Accept-Encoding: gzip\r\n\r\n");
    assert_int_equal(answer(fd), 200);
    assert_false(has_header("content-encoding"));
    hang_up(fd);
}

static void say_coded(int fd, const char *path, const char *coding, struct str body)
{
    char h[256];
    snprintf(h, sizeof h,
             "POST %s HTTP/1.1\r\n" HOST "Content-Encoding: %s\r\nContent-Length: %zu\r\n\r\n",
             path, coding, body.n);
    say(fd, h);
    say_n(fd, body.p, body.n);
}

static void gzip_bodies_are_inflated(void **state)
{
    (void)state;
    struct buf packed;
    buf_init(&packed, 1 << 20);
    gzip_deflate(STR("hello hello hello"), 1, &packed);
    int fd = dial();
    say_coded(fd, "/x", "gzip", buf_str(&packed));
    assert_int_equal(answer(fd), 200);
    assert_body("POST /x ? [17] hello hello hello");
    say_coded(fd, "/x", "br", STR("abc"));
    assert_int_equal(answer(fd), 415);
    say_coded(fd, "/x", "gzip", STR("no gzip"));
    assert_int_equal(answer(fd), 400);
    say_coded(fd, "/x", "gzip", STR(""));
    assert_int_equal(answer(fd), 200);
    char *zeros = mem_new(100000);
    buf_clear(&packed);
    gzip_deflate(str_n(zeros, 100000), 9, &packed);
    free(zeros);
    buf_put(&packed, STR("")); /* some 130 bytes that stand for 100,000 */
    say_coded(fd, "/length", "gzip", buf_str(&packed));
    assert_int_equal(answer(fd), 200);
    assert_body("100000");
    hang_up(fd);
    buf_deinit(&packed);
}

static void bodies_have_a_limit(void **state)
{
    (void)state;
    int fd = ask("POST /small HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\n01234567890");
    assert_int_equal(got.status, 413);
    assert_body("{\"error\":\"the body is too large\",\"status\":413}");
    /* It was small: read, dropped, and the connection goes on. */
    say(fd, "POST /small HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n0123456789");
    assert_int_equal(answer(fd), 200);
    say(fd, "POST /small HTTP/1.1\r\n" HOST
            "Transfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n6\r\n012345\r\n0\r\n\r\n");
    assert_int_equal(answer(fd), 413);
    assert_closed(fd);
    hang_up(fd);
    struct buf packed;
    buf_init(&packed, 1000);
    gzip_deflate(STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), 9, &packed);
    fd = dial();
    say_coded(fd, "/small", "gzip", buf_str(&packed));
    buf_deinit(&packed);
    assert_int_equal(answer(fd), 413);
    hang_up(fd);
}

static void a_handler_is_told_when_its_body_is_refused(void **state)
{
    (void)state;
    int fd = ask("POST /small-cancel HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\n01234567890");
    assert_int_equal(got.status, 413);
    assert_int_equal(t.cancels, 1);
    hang_up(fd);
}

static void an_early_answer_drops_a_small_body(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "POST /early HTTP/1.1\r\n" HOST "Content-Length: 40000\r\n\r\n");
    assert_int_equal(answer(fd), 401);
    assert_false(has_header("connection: close"));
    char rest[40000];
    memset(rest, 'r', sizeof rest);
    say_n(fd, rest, sizeof rest);
    say(fd, "POST /early HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabcGET /x HTTP/1.1\r\n" HOST
            "\r\n");
    assert_int_equal(answer(fd), 401);
    assert_int_equal(answer(fd), 200);
    assert_body("GET /x ? [0] ");
    hang_up(fd);
}

/* The client writes far more than the socket buffers hold and reads only then: it must neither
 * fail nor miss the answer. */
static void an_early_answer_to_a_large_body_is_seen(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "POST /early HTTP/1.1\r\n" HOST "Content-Length: 5000000\r\n\r\n");
    char *p = mem_new(5000000);
    say_n(fd, p, 5000000);
    free(p);
    assert_int_equal(answer(fd), 401);
    assert_true(has_header("connection: close"));
    assert_closed(fd);
    hang_up(fd);
}

static void expect_100(void **state)
{
    (void)state;
    int fd = ask("POST /x HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_int_equal(got.status, 100);
    say(fd, "hello");
    assert_int_equal(answer(fd), 200);
    assert_body("POST /x ? [5] hello");
    say(fd, "POST /x HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi");
    assert_int_equal(answer(fd), 200); /* it did not wait, so it gets none */
    say(fd, "POST /early HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_int_equal(answer(fd), 401);
    assert_true(has_header("connection: close"));
    hang_up(fd);
    fd = ask("POST /small HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 99\r\n\r\n");
    assert_int_equal(got.status, 413);
    hang_up(fd);
}

static void bad_requests_are_answered_and_closed(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int status;
    } rows[] = {
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\nHost: a\n\n", 400},
        {"\x16\x03\x01\x02", 400},
        {"POST / HTTP/1.1\r\n" HOST
         "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         400},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
        {"BREW / HTTP/1.1\r\n" HOST "\r\n", 501},
        {"TRACE / HTTP/1.1\r\n" HOST "\r\n", 405},
        {"GET / HTTP/3.0\r\n" HOST "\r\n", 505},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int fd = ask(rows[i].text);
        assert_int_equal(got.status, rows[i].status);
        assert_true(has_header("\r\nconnection: close\r\n"));
        assert_true(has_header("\r\ncontent-type: application/json\r\n"));
        assert_int_equal(has_header("\r\nallow: GET"), rows[i].status == 405);
        assert_true(got.body.n > 10);
        assert_closed(fd);
        hang_up(fd);
    }
}

static void heads_have_a_limit(void **state)
{
    (void)state;
    char *p = mem_new(100000);
    memset(p, 'a', 100000);
    memcpy(p, "GET /", 5);
    int fd = dial();
    say_n(fd, p, 100000);
    assert_int_equal(answer(fd), 414);
    assert_closed(fd);
    hang_up(fd);
    memcpy(p, "GET / HTTP/1.1\r\nHost: ", 22);
    fd = dial();
    say_n(fd, p, 100000);
    assert_int_equal(answer(fd), 431);
    hang_up(fd);
    /* The largest that is allowed, with a body behind it. */
    memcpy(p, "GET /y HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nX-Long: ", 62);
    memcpy(p + 65536 - 4, "\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 17);
    fd = dial();
    say_n(fd, p, 65536 + 13);
    assert_int_equal(answer(fd), 200);
    assert_body("GET /y ? [3] abc");
    hang_up(fd);
    free(p);
}

static void a_client_that_leaves_is_noticed(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "GET /hang HTTP/1.1\r\n" HOST "\r\n");
    wait_for(&t.heads, 1);
    close(fd);
    wait_for(&t.finished, 1);
    assert_int_equal(t.cancels, 1);
    assert_int_equal(t.last_status, 0);
    fd = dial();
    say(fd, "GET /hang-late HTTP/1.1\r\n" HOST "\r\n");
    shutdown(fd, SHUT_WR);
    wait_for(&t.finished, 2);
    assert_int_equal(t.cancels, 2);
    assert_closed(fd);
    hang_up(fd);
}

static void a_client_that_leaves_amid_a_stream(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "GET /flood HTTP/1.1\r\n" HOST "\r\n");
    assert_true(hear(fd));
    hang_up(fd);
    wait_for(&t.finished, 1);
    assert_int_equal(t.cancels, 1);
}

static void late_answers_to_nobody_are_dropped(void **state)
{
    (void)state;
    static const char *const paths[] = {"/late", "/stream"};
    for (int i = 0; i < 2; i++) {
        int fd = dial();
        char text[64];
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST "\r\n", paths[i]);
        say(fd, text);
        close(fd);
        wait_for(&t.finished, i + 1);
    }
    assert_int_equal(t.cancels, 0);
}

static void slow_clients_are_ended(void **state)
{
    (void)state;
    start((struct http_server_options){
        .head_timeout_ms = 20, .body_timeout_ms = 20, .idle_timeout_ms = 20});
    int fd = ask("GET / HTTP/1.1\r\nHos");
    assert_int_equal(got.status, 408);
    assert_closed(fd);
    hang_up(fd);
    fd = ask("POST /x HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhel");
    assert_int_equal(got.status, 408);
    assert_closed(fd);
    hang_up(fd);
    fd = ask("GET /x HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(got.status, 200);
    assert_closed(fd); /* idle */
    hang_up(fd);
    /* A drip of bytes does not move the head's deadline. */
    fd = dial();
    const char *drip = "GET /a HTTP/1.1\r\n";
    for (int i = 0; i < 200 && send(fd, drip + i % 17, 1, MSG_NOSIGNAL) == 1; i++)
        usleep(1000);
    assert_int_equal(answer(fd), 408);
    hang_up(fd);
    stop();
}

static void a_client_that_does_not_read_is_ended(void **state)
{
    (void)state;
    start((struct http_server_options){.write_timeout_ms = 20});
    int fd = dial();
    say(fd, "GET /big HTTP/1.1\r\n" HOST "\r\n");
    wait_for(&t.finished, 1);
    fd = (hang_up(fd), dial());
    say(fd, "GET /flood HTTP/1.1\r\n" HOST "\r\n");
    wait_for(&t.finished, 2);
    assert_int_equal(t.cancels, 1);
    hang_up(fd);
    stop();
}

static void connections_beyond_the_limit_are_closed(void **state)
{
    (void)state;
    start((struct http_server_options){.max_connections = 1});
    int first = ask("GET /x HTTP/1.1\r\n" HOST "\r\n");
    int second = dial();
    assert_closed(second);
    hang_up(second);
    say(first, "GET /x HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(answer(first), 200);
    hang_up(first);
    stop();
}

/* ---- drain and the end ---- */

static void on_drained(void *ctx)
{
    (void)ctx;
    t.drained++;
}

static void drain_now(struct loop_msg *m)
{
    (void)m;
    http_server_drain(t.server, on_drained, NULL);
}

static void reply_now(struct loop_msg *m)
{
    (void)m;
    reply_text(t.held, 200, STR("last"));
}

static void drain_lets_requests_end(void **state)
{
    (void)state;
    int idle = ask("GET /x HTTP/1.1\r\n" HOST "\r\n"), busy = dial();
    say(busy, "GET /hang HTTP/1.1\r\n" HOST "\r\n");
    wait_for(&t.heads, 2);
    struct loop_msg drain = {.run = drain_now}, reply = {.run = reply_now};
    loop_post(t.loop, &drain);
    assert_closed(idle);
    assert_int_equal(t.drained, 0);
    loop_post(t.loop, &reply);
    assert_int_equal(answer(busy), 200);
    assert_body("last");
    assert_true(has_header("\r\nconnection: close\r\n"));
    wait_for(&t.drained, 1);
    hang_up(idle);
    hang_up(busy);
}

static void free_cancels_what_is_left(void **state)
{
    (void)state;
    start((struct http_server_options){0});
    int a = dial(), b = dial(), c = dial();
    say(a, "GET /hang HTTP/1.1\r\n" HOST "\r\n");
    wait_for(&t.heads, 1);
    say(b, "GET /hang-on HTTP/1.1\r\n" HOST "\r\n");
    wait_for(&t.heads, 2);
    say(c, "GET /hal");
    stop(); /* checks that all have finished */
    assert_int_equal(t.cancels, 2);
    close(a);
    close(b);
    close(c);
}

/* ---- listening ---- */

static void listening(void **state)
{
    (void)state;
    struct loop *l = loop_new(0);
    static const struct http_server_hooks hooks = {.ready = ready};
    struct http_server_options o = {0};
    struct http_server *s = http_server_new(l, &o, &hooks, NULL),
                       *s2 = http_server_new(l, &o, &hooks, NULL);
    static const char *const hosts[] = {"localhost", "_local_", "::1", "[::1]", "0.0.0.0", "::"};
    int port;
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        struct err *e = http_server_listen(s, hosts[i], 0, &port);
        if (e)
            fail_msg("%s", e->reason);
        assert_true(port > 0);
    }
    struct err *e = http_server_listen(s2, "127.0.0.1", t.port, &port);
    assert_null(e); /* our own: another loop's share */
    assert_int_equal(port, t.port);
    e = http_server_listen(s2, "example.org", 0, &port);
    assert_non_null(e);
    assert_non_null(strstr(e->reason, "[example.org]"));
    err_free(e);
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on); /* as a second server would */
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    e = http_server_listen(s2, "127.0.0.1", ntohs(a.sin_port), &port);
    assert_non_null(e);
    assert_non_null(strstr(e->reason, "the port is taken"));
    err_free(e);
    close(fd);
    http_server_free(s);
    http_server_free(s2);
    loop_free(l);
}

#define WITH_SERVER(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    buf_init(&heard, SIZE_MAX / 2);
    buf_init(&got.body, SIZE_MAX / 2);
    const struct CMUnitTest tests[] = {
        WITH_SERVER(answers_and_keeps_the_connection),
        WITH_SERVER(the_same_byte_by_byte),
        WITH_SERVER(pipelined_requests_are_answered_in_order),
        WITH_SERVER(large_bodies),
        WITH_SERVER(large_answers),
        WITH_SERVER(head_and_204_have_no_body),
        WITH_SERVER(http10),
        WITH_SERVER(connection_close),
        WITH_SERVER(streams_are_chunked),
        WITH_SERVER(an_aborted_stream_is_seen_to_be_cut),
        WITH_SERVER(a_full_stream_waits_for_the_client),
        WITH_SERVER(answers_are_compressed_for_those_who_ask),
        WITH_SERVER(gzip_bodies_are_inflated),
        WITH_SERVER(bodies_have_a_limit),
        WITH_SERVER(a_handler_is_told_when_its_body_is_refused),
        WITH_SERVER(an_early_answer_drops_a_small_body),
        WITH_SERVER(an_early_answer_to_a_large_body_is_seen),
        WITH_SERVER(expect_100),
        WITH_SERVER(bad_requests_are_answered_and_closed),
        WITH_SERVER(heads_have_a_limit),
        WITH_SERVER(a_client_that_leaves_is_noticed),
        WITH_SERVER(a_client_that_leaves_amid_a_stream),
        WITH_SERVER(late_answers_to_nobody_are_dropped),
        cmocka_unit_test(slow_clients_are_ended),
        cmocka_unit_test(a_client_that_does_not_read_is_ended),
        cmocka_unit_test(connections_beyond_the_limit_are_closed),
        WITH_SERVER(drain_lets_requests_end),
        cmocka_unit_test(free_cancels_what_is_left),
        WITH_SERVER(listening),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_deinit(&heard);
    buf_deinit(&got.body);
    return failed;
}
