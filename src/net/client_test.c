/* The client against a server that misbehaves on request: the path of a request names what the
 * server does. Each connection has a thread; an answer tells its connection's number in X-Conn. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "buf.h"
#include "client.h"
#include "clock.h"

/* --- the server --- */

static struct {
    int fd, port;
    pthread_t acceptor;
    atomic_int connections, requests, handlers, busy, busy_max;
    atomic_bool release; /* lets /wait go on */
} server;

struct peer {
    int fd, number;
    char in[8192];
    size_t n;
    char path[256];
    size_t body_n;
};

static void say(struct peer *p, const char *z)
{
    ssize_t ignored = send(p->fd, z, strlen(z), MSG_NOSIGNAL);
    (void)ignored;
}

static void say_answer(struct peer *p, const char *status, const char *body)
{
    char text[16384];
    snprintf(text, sizeof text, "HTTP/1.1 %s\r\nX-Conn: %d\r\nContent-Length: %zu\r\n\r\n%s",
             status, p->number, strlen(body), body);
    say(p, text);
}

static bool read_more(struct peer *p)
{
    ssize_t got = recv(p->fd, p->in + p->n, sizeof p->in - 1 - p->n, 0);
    if (got <= 0)
        return false;
    p->n += (size_t)got;
    p->in[p->n] = '\0';
    return true;
}

/* Leaves the head in p->in, NUL-terminated, and drops the body. */
static bool read_request(struct peer *p)
{
    char *end;
    p->n = 0;
    p->in[0] = '\0';
    while (!(end = strstr(p->in, "\r\n\r\n"))) {
        if (!read_more(p) || p->in[0] == 0x16) /* TLS is not spoken here */
            return false;
    }
    end[2] = '\0';
    size_t have = p->n - (size_t)(end + 4 - p->in);
    const char *length = strcasestr(p->in, "\r\ncontent-length:");
    p->body_n = length ? strtoul(length + 17, NULL, 10) : 0;
    static _Thread_local char sink[65536];
    while (have < p->body_n) {
        ssize_t got = recv(p->fd, sink, sizeof sink, 0);
        if (got <= 0)
            return false;
        have += (size_t)got;
    }
    atomic_fetch_add(&server.requests, 1);
    return sscanf(p->in, "%*s %255[^ ?]", p->path) == 1;
}

static void reset(struct peer *p)
{
    struct linger now = {1, 0};
    setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

static void wait_for_eof(struct peer *p)
{
    char c;
    while (recv(p->fd, &c, 1, 0) > 0)
        ;
}

static void say_big(struct peer *p, size_t n)
{
    char head[128], piece[1000];
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);
    say(p, head);
    for (size_t i = 0; i < n; i++) {
        piece[i % sizeof piece] = (char)('a' + i % 26);
        if (i + 1 == n || (i + 1) % sizeof piece == 0) {
            ssize_t put = send(p->fd, piece, i % sizeof piece + 1, MSG_NOSIGNAL);
            if (put < 0)
                return;
        }
    }
}

static void say_flood(struct peer *p, int n, const char *value)
{
    char line[4200];
    say(p, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < n; i++) {
        snprintf(line, sizeof line, "X-%d: %s\r\n", i, value);
        say(p, line);
    }
    say(p, "Content-Length: 2\r\n\r\nok");
}

static void wait_for_release(struct peer *p)
{
    int busy = atomic_fetch_add(&server.busy, 1) + 1;
    if (busy > atomic_load(&server.busy_max))
        atomic_store(&server.busy_max, busy);
    for (int i = 0; i < 4000 && !atomic_load(&server.release); i++)
        usleep(500);
    atomic_fetch_sub(&server.busy, 1);
    say_answer(p, "200 OK", "waited");
}

#define IS(z) (strcmp(p->path, z) == 0)

/* False: close the connection. */
static bool serve(struct peer *p)
{
    static char long_value[4001];
    memset(long_value, 'v', sizeof long_value - 1);
    if (IS("/ok"))
        return say_answer(p, "200 OK", "ok"), true;
    if (IS("/echo"))
        return say_answer(p, "200 OK", p->in), true;
    if (IS("/empty"))
        return say(p, "HTTP/1.1 204 No Content\r\n\r\n"), true;
    if (IS("/head"))
        return say(p, "HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n"), true;
    if (IS("/redirect"))
        return say(p, "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n"), true;
    if (IS("/chunked"))
        return say(p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nab"), usleep(1000),
               say(p, "cd\r\n3;x=y\r\nefg\r\n0\r\nX-Trailer: t\r\n\r\n"), true;
    if (IS("/continue"))
        return say(p, "HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\n"
                      "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
               say_answer(p, "200 OK", "ok"), true;
    if (IS("/upgrade"))
        return say(p, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nhello"), true;
    if (IS("/folded"))
        return say(p, "HTTP/1.1 200 OK\r\nX-A: one\r\n  two\r\nContent-Length: 0\r\n\r\n"), true;
    if (IS("/to-the-end"))
        return say(p, "HTTP/1.1 200 OK\r\n\r\nall of it"), false;
    if (IS("/cut"))
        return say(p, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"), false;
    if (IS("/cut-chunk"))
        return say(p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly"), false;
    if (IS("/reset"))
        return reset(p), false;
    if (IS("/nothing"))
        return false;
    if (IS("/garbage"))
        return say(p, "SSH-2.0-OpenSSH_9.2\r\n\r\n"), false;
    if (IS("/bad-chunk"))
        return say(p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), true;
    if (IS("/stall"))
        return say(p, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome"), wait_for_eof(p), false;
    if (IS("/silent"))
        return wait_for_eof(p), false;
    if (IS("/big"))
        return say_big(p, 300000), true;
    if (IS("/huge-chunks"))
        return say(p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n186A0\r\n"),
               say_big(p, 100000), true;
    if (IS("/flood"))
        return say_flood(p, 100, long_value), true;
    if (IS("/many"))
        return say_flood(p, 200, "v"), true;
    if (IS("/wait"))
        return wait_for_release(p), true;
    if (IS("/once"))
        return say_answer(p, "200 OK", "ok"), read_request(p), false;
    if (IS("/bye"))
        return say_answer(p, "200 OK", "ok"), false;
    return say_answer(p, "404 Not Found", "what?"), true;
}

static void *handler(void *arg)
{
    struct peer *p = arg;
    while (read_request(p) && serve(p))
        ;
    close(p->fd);
    free(p);
    atomic_fetch_sub(&server.handlers, 1);
    return NULL;
}

static void *acceptor(void *arg)
{
    int fd;
    while ((fd = accept(server.fd, NULL, NULL)) >= 0) {
        struct peer *p = calloc(1, sizeof *p);
        p->fd = fd;
        p->number = atomic_fetch_add(&server.connections, 1) + 1;
        atomic_fetch_add(&server.handlers, 1);
        pthread_t t;
        pthread_create(&t, NULL, handler, p);
        pthread_detach(t);
    }
    return NULL;
}

static int start_server(void **state)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    server.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(server.fd, (struct sockaddr *)&a, n) || listen(server.fd, 64) ||
        getsockname(server.fd, (struct sockaddr *)&a, &n))
        return -1;
    server.port = ntohs(a.sin_port);
    return pthread_create(&server.acceptor, NULL, acceptor, NULL);
}

static int stop_server(void **state)
{
    shutdown(server.fd, SHUT_RDWR);
    pthread_join(server.acceptor, NULL);
    close(server.fd);
    return 0;
}

/* --- the client's side --- */

static struct loop *loop;
static struct client *client;

/* One call and all that is heard of it. */
struct probe {
    struct client_call *call;
    struct arena *arena;
    struct http_out out;
    struct client_limits limits;
    struct client_events events;
    enum client_failure failure;
    struct err *err;
    int status, conn, n_head, n_body, n_done;
    struct buf body;
    struct http_headers headers; /* valid while the arena lives */
    struct loop_timer timer;
    void (*on_body)(struct probe *);
    bool pause, stop_at_end;
};

static int pending; /* probes whose done is awaited */

static void keep_headers(struct probe *p, const struct http_headers *hs)
{
    p->headers = *hs;
    for (size_t i = 0; i < hs->n; i++) {
        p->headers.h[i].name = arena_dup(p->arena, hs->h[i].name);
        p->headers.h[i].value = arena_dup(p->arena, hs->h[i].value);
    }
}

static void on_head(void *ctx, int status, const struct http_headers *hs)
{
    struct probe *p = ctx;
    p->n_head++;
    p->status = status;
    keep_headers(p, hs);
}

static bool on_body(void *ctx, struct str bytes)
{
    struct probe *p = ctx;
    p->n_body++;
    buf_put(&p->body, bytes);
    if (p->on_body)
        p->on_body(p);
    return !p->pause;
}

static void on_done(void *ctx, enum client_failure failure, struct err *err,
                    const struct http_in *in)
{
    struct probe *p = ctx;
    p->n_done++;
    p->failure = failure;
    p->err = err;
    assert_int_equal(failure == CLIENT_OK, err == NULL);
    assert_int_equal(failure == CLIENT_OK, in != NULL);
    if (in) {
        struct str conn;
        p->status = in->status;
        keep_headers(p, &in->headers);
        if (http_header_get(&in->headers, STR("x-conn"), &conn))
            p->conn = (int)strtol(conn.p, NULL, 10);
        buf_put(&p->body, in->body);
    }
    client_cancel(p->call); /* too late, and harmless */
    client_resume(p->call);
    if (--pending == 0)
        loop_stop(loop);
}

static void probe_init(struct probe *p, const char *path)
{
    memset(p, 0, sizeof *p);
    p->arena = arena_new(ARENA_NO_LIMIT);
    p->out = (struct http_out){.arena = p->arena, .method = HTTP_POST, .body = STR("{}")};
    p->out.url = path[0] == '/' ? arena_printf(p->arena, "http://127.0.0.1:%d%s", server.port, path)
                                : str_c(path);
    p->limits = (struct client_limits){.max_response_bytes = 1 << 20, .allow_private = true};
    p->events = (struct client_events){.done = on_done};
    buf_init(&p->body, 1 << 22);
}

static void probe_streams(struct probe *p)
{
    p->events.head = on_head;
    p->events.body = on_body;
}

static void probe_send(struct probe *p)
{
    pending++;
    p->call = client_send(client, &p->out, &p->limits, &p->events, p);
    assert_int_equal(p->n_done, 0);
}

static void give_up(struct loop_timer *timer)
{
    loop_stop(loop);
}

static void run(int64_t ms)
{
    struct loop_timer guard = {0};
    loop_timer_set(loop, &guard, clock_mono_ms() + ms, give_up);
    loop_run(loop);
    loop_timer_cancel(&guard);
}

/* A loop_stop that came while the loop was leaving ends the next run at once: hence the loop. */
static void run_all(void)
{
    for (int64_t end = clock_mono_ms() + 10000; pending && clock_mono_ms() < end;)
        run(end - clock_mono_ms());
    assert_int_equal(pending, 0);
}

static void probe_deinit(struct probe *p)
{
    err_free(p->err);
    buf_deinit(&p->body);
    arena_free(p->arena);
}

static void probe_run(struct probe *p)
{
    probe_send(p);
    run_all();
    assert_int_equal(p->n_done, 1);
}

/* Sends `path` and expects this end; the reason must say `reason` (NULL: anything). */
static void expect_failure(const char *path, enum client_failure failure, const char *reason)
{
    struct probe p;
    probe_init(&p, path);
    p.limits.total_timeout_ms = 5000;
    probe_run(&p);
    assert_int_equal(p.failure, failure);
    if (reason && !strstr(p.err->reason, reason))
        fail_msg("[%s] does not say [%s]", p.err->reason, reason);
    probe_deinit(&p);
}

static int expect_body(const char *path, const char *body)
{
    struct probe p;
    probe_init(&p, path);
    probe_run(&p);
    if (p.failure != CLIENT_OK)
        fail_msg("%s: %s", path, p.err->reason);
    assert_int_equal(p.status, 200);
    assert_true(str_eq_c(buf_str(&p.body), body));
    int conn = p.conn;
    probe_deinit(&p);
    return conn;
}

static int start_client(void **state)
{
    static const struct client_options options = {.connect_timeout_ms = 5000,
                                                  .max_total_connections = 4,
                                                  .max_route_connections = 3,
                                                  .max_idle_ms = 60000};
    pending = 0;
    atomic_store(&server.release, false);
    atomic_store(&server.requests, 0);
    atomic_store(&server.busy_max, 0);
    loop = loop_new(0);
    client = client_new(loop, &options);
    return 0;
}

static int stop_client(void **state)
{
    atomic_store(&server.release, true);
    client_free(client);
    loop_free(loop);
    for (int i = 0, quiet = 0; i < 2000 && quiet < 3; i++) { /* no peer of this test is left */
        quiet = atomic_load(&server.handlers) ? 0 : quiet + 1;
        usleep(500);
    }
    return 0;
}

/* --- what goes well --- */

static void test_answers(void **state)
{
    expect_body("/ok", "ok");
    expect_body("/chunked", "abcdefg");
    expect_body("/to-the-end", "all of it");
    expect_body("/continue", "ok");
}

static void test_connection_is_reused(void **state)
{
    int first = expect_body("/ok", "ok");
    assert_int_equal(expect_body("/ok", "ok"), first);
    struct client_stats s;
    client_stats(client, &s);
    assert_int_equal(s.leased, 0);
    assert_int_equal(s.pending, 0);
    assert_int_equal(s.available, 1);
    assert_int_equal(s.max, 4);
}

static void test_request_as_given(void **state)
{
    struct probe p;
    probe_init(&p, "/echo");
    http_header_add(&p.out.headers, STR("Content-Type"), STR("application/json"));
    http_header_add(&p.out.headers, STR("X-Empty"), STR(""));
    http_header_add(&p.out.headers, STR("Content-Length"), STR("7"));
    http_header_add(&p.out.headers, STR("transfer-encoding"), STR("chunked"));
    probe_run(&p);
    buf_char(&p.body, '\0');
    assert_non_null(strstr(p.body.p, "POST /echo HTTP/1.1\r\n"));
    assert_non_null(strstr(p.body.p, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(p.body.p, "X-Empty:\r\n"));
    assert_non_null(strstr(p.body.p, "Content-Length: 2\r\n"));
    assert_null(strstr(p.body.p, "Content-Length: 7"));
    assert_null(strcasestr(p.body.p, "transfer-encoding"));
    assert_null(strstr(p.body.p, "Expect"));
    probe_deinit(&p);
}

static void test_methods_on_one_handle(void **state)
{
    static const enum method methods[] = {HTTP_GET,    HTTP_POST,    HTTP_PUT,
                                          HTTP_DELETE, HTTP_OPTIONS, HTTP_GET};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        struct probe p;
        probe_init(&p, "/echo");
        p.out.method = methods[i];
        p.out.body = (struct str){0};
        probe_run(&p);
        assert_int_equal(p.failure, CLIENT_OK);
        assert_true(str_starts(buf_str(&p.body), str_c(http_method_name(methods[i]))));
        probe_deinit(&p);
        probe_init(&p, "/head");
        p.out.method = HTTP_HEAD;
        probe_run(&p);
        assert_int_equal(p.failure, CLIENT_OK);
        assert_int_equal(p.body.n, 0);
        probe_deinit(&p);
    }
}

static void test_large_request_does_not_wait(void **state)
{
    struct probe p;
    probe_init(&p, "/echo");
    char *body = arena_alloc(p.arena, 3 << 20);
    memset(body, 'x', 3 << 20);
    p.out.body = str_n(body, 3 << 20);
    probe_run(&p);
    assert_int_equal(p.failure, CLIENT_OK);
    assert_true(str_find(buf_str(&p.body), STR("Content-Length: 3145728\r\n")) != SIZE_MAX);
    assert_true(str_find(buf_str(&p.body), STR("Expect")) == SIZE_MAX);
    probe_deinit(&p);
}

static void test_redirect_is_an_answer(void **state)
{
    struct probe p;
    struct str to;
    probe_init(&p, "/redirect");
    probe_run(&p);
    assert_int_equal(p.status, 302);
    assert_true(http_header_get(&p.headers, STR("Location"), &to));
    assert_int_equal(atomic_load(&server.requests), 1);
    probe_deinit(&p);
}

static void test_odd_heads(void **state)
{
    struct probe p;
    struct str value;
    probe_init(&p, "/many");
    probe_run(&p);
    assert_int_equal(p.failure, CLIENT_OK);
    assert_int_equal(p.headers.n, HTTP_MAX_HEADERS);
    probe_deinit(&p);
    probe_init(&p, "/folded");
    probe_run(&p);
    assert_true(http_header_get(&p.headers, STR("x-a"), &value));
    assert_true(str_starts(value, STR("one")) && str_ends(value, STR("two")));
    probe_deinit(&p);
    probe_init(&p, "/empty");
    probe_run(&p);
    assert_int_equal(p.status, 204);
    probe_deinit(&p);
}

static void test_head_comes_once(void **state)
{
    struct probe p;
    probe_init(&p, "/continue");
    probe_streams(&p);
    probe_run(&p);
    assert_int_equal(p.n_head, 1);
    assert_int_equal(p.status, 200);
    assert_false(http_header_get(&p.headers, STR("x-early"), &(struct str){0}));
    assert_true(str_eq_c(buf_str(&p.body), "ok"));
    probe_deinit(&p);
}

/* --- what goes wrong --- */

static void test_broken_answers(void **state)
{
    expect_failure("/cut", CLIENT_BROKEN, "before the end of its answer");
    expect_failure("/cut-chunk", CLIENT_BROKEN, NULL);
    expect_failure("/bad-chunk", CLIENT_BROKEN, NULL);
    expect_failure("/reset", CLIENT_BROKEN, NULL);
    expect_failure("/nothing", CLIENT_BROKEN, "without an answer");
    expect_failure("/garbage", CLIENT_BROKEN, NULL);
    expect_failure("/flood", CLIENT_BROKEN, "headers");
    expect_failure("/upgrade", CLIENT_BROKEN, "another protocol");
}

static void test_stall_and_total_timeout(void **state)
{
    struct probe p;
    probe_init(&p, "/stall");
    p.limits.stall_timeout_ms = 20;
    probe_run(&p);
    assert_int_equal(p.failure, CLIENT_TIMEOUT);
    assert_non_null(strstr(p.err->reason, "Silence"));
    probe_deinit(&p);
    probe_init(&p, "/silent");
    p.limits.total_timeout_ms = 20;
    probe_run(&p);
    assert_int_equal(p.failure, CLIENT_TIMEOUT);
    assert_non_null(strstr(p.err->reason, "Request to"));
    probe_deinit(&p);
}

static void test_answer_too_large(void **state)
{
    static const char *const paths[] = {"/big", "/huge-chunks"};
    for (int i = 0; i < 4; i++) {
        struct probe p;
        probe_init(&p, paths[i / 2]);
        if (i % 2)
            probe_streams(&p);
        p.limits.max_response_bytes = 50000;
        probe_run(&p);
        assert_int_equal(p.failure, CLIENT_TOO_LARGE);
        assert_int_equal(p.err->kind, ERR_TOO_LARGE);
        assert_true(p.body.n <= 50000);
        probe_deinit(&p);
    }
}

static void test_no_connection(void **state)
{
    int closed = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    assert_int_equal(bind(closed, (struct sockaddr *)&a, n), 0);
    getsockname(closed, (struct sockaddr *)&a, &n);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/?key=secret", ntohs(a.sin_port));
    expect_failure(url, CLIENT_CONNECT, "Connection refused");
    snprintf(url, sizeof url, "https://127.0.0.1:%d/garbage", server.port);
    expect_failure(url, CLIENT_TLS, NULL);
    close(closed);
}

static void test_unknown_host(void **state)
{
    /* A label of more than 63 bytes: no resolver asks the network for it. */
    expect_failure(
        "http://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b/x",
        CLIENT_UNKNOWN_HOST, "[http://aaaaaaaa");
    expect_failure("http://[::zz]/", CLIENT_UNKNOWN_HOST, NULL);
    expect_failure("ftp://127.0.0.1/", CLIENT_UNKNOWN_HOST, "not valid");
    expect_failure("nonsense", CLIENT_UNKNOWN_HOST, "not valid");
    expect_failure("http://127.0.0.1/a b", CLIENT_UNKNOWN_HOST, "not valid");
    expect_failure("http://", CLIENT_UNKNOWN_HOST, "not valid");
}

/* The resolver's pipe has left epoll before its number is used again. */
static void test_socket_after_a_lookup(void **state)
{
    for (int i = 0; i < 5; i++) {
        char url[64];
        snprintf(url, sizeof url, "http://localhost:%d/reset", server.port);
        expect_failure(url, CLIENT_BROKEN, NULL);
        test_unknown_host(state);
        expect_body("/ok", "ok");
    }
}

static void test_private_address_is_refused(void **state)
{
    struct probe p;
    expect_body("/ok", "ok"); /* leaves a connection that must not be used below */
    probe_init(&p, "/ok");
    p.limits.allow_private = false;
    probe_run(&p);
    assert_int_equal(p.failure, CLIENT_REFUSED_ADDRESS);
    assert_int_equal(atomic_load(&server.requests), 1);
    probe_deinit(&p);
}

static void test_header_injection_is_refused(void **state)
{
    static const struct http_header bad[] = {
        {STR_INIT("X-A"), STR_INIT("1\r\nX-B: 2")}, {STR_INIT("X-A: 1\r\nX-B"), STR_INIT("2")},
        {STR_INIT("X-A"), STR_INIT("1\0002")},      {STR_INIT(""), STR_INIT("1")},
        {STR_INIT("X-A:"), STR_INIT("1")},          {STR_INIT("X-A"), STR_INIT("1\n")},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct probe p;
        probe_init(&p, "/echo");
        http_header_add(&p.out.headers, bad[i].name, bad[i].value);
        probe_run(&p);
        assert_int_equal(p.failure, CLIENT_BROKEN);
        probe_deinit(&p);
    }
    assert_int_equal(atomic_load(&server.requests), 0);
}

static void test_reasons_hold_no_secret(void **state)
{
    char url[128];
    snprintf(url, sizeof url, "http://user:hidden@127.0.0.1:%d/cut?key=hidden", server.port);
    struct probe p;
    probe_init(&p, url);
    http_header_add(&p.out.headers, STR("Authorization"), STR("hidden"));
    probe_run(&p);
    assert_int_equal(p.failure, CLIENT_BROKEN);
    assert_null(strstr(p.err->reason, "hidden"));
    probe_deinit(&p);
}

/* --- idle connections that died --- */

static void test_one_retry_on_a_dead_connection(void **state)
{
    int first = expect_body("/once", "ok");
    int second = expect_body("/ok", "ok"); /* closed when it was read */
    assert_true(second != first);
    assert_int_equal(atomic_load(&server.requests), 3);
}

static void test_no_second_retry(void **state)
{
    struct probe p[2];
    for (int i = 0; i < 2; i++) {
        probe_init(&p[i], "/once");
        probe_send(&p[i]);
    }
    run_all();
    assert_true(p[0].conn != p[1].conn);
    probe_deinit(&p[0]);
    probe_deinit(&p[1]);
    expect_failure("/ok", CLIENT_BROKEN, "twice");
    assert_int_equal(atomic_load(&server.requests), 4);
}

static void test_connection_closed_while_idle(void **state)
{
    for (int i = 0; i < 3; i++) {
        int conn = expect_body("/bye", "ok");
        run(2);
        assert_true(expect_body("/ok", "ok") != conn);
    }
}

/* --- pausing --- */

static void resume_later(struct loop_timer *timer)
{
    struct probe *p = (struct probe *)((char *)timer - offsetof(struct probe, timer));
    client_resume(p->call);
}

static void pause_here(struct probe *p)
{
    p->pause = p->n_body % 3 == 1;
    assert_false(loop_timer_is_set(&p->timer)); /* nothing comes while it pauses */
    if (p->pause)
        loop_timer_set(loop, &p->timer, clock_mono_ms() + 1, resume_later);
}

static void pause_always(struct probe *p)
{
    p->pause = true;
    assert_false(loop_timer_is_set(&p->timer));
    loop_timer_set(loop, &p->timer, 0, resume_later);
}

static void check_big(const struct probe *p)
{
    assert_int_equal(p->failure, CLIENT_OK);
    assert_int_equal(p->body.n, 300000);
    for (size_t i = 0; i < 300000; i++)
        assert_true(p->body.p[i] == (char)('a' + i % 26));
}

static void test_pause_and_resume(void **state)
{
    void (*const how[])(struct probe *) = {pause_here, pause_always};
    for (int i = 0; i < 2; i++) {
        struct probe p;
        probe_init(&p, "/big");
        probe_streams(&p);
        p.on_body = how[i];
        p.limits.stall_timeout_ms = 2000;
        probe_run(&p);
        check_big(&p);
        probe_deinit(&p);
        expect_body("/ok", "ok");
    }
}

static void stay_paused(struct probe *p)
{
    p->pause = true;
}

/* The end waits for the receiver; a pause is no stall, but the total time runs on. */
static void test_end_while_paused(void **state)
{
    struct probe p;
    probe_init(&p, "/ok");
    probe_streams(&p);
    p.on_body = stay_paused;
    p.limits.stall_timeout_ms = 2;
    probe_send(&p);
    run(15);
    assert_int_equal(p.n_done, 0);
    client_resume(p.call);
    run_all();
    assert_int_equal(p.failure, CLIENT_OK);
    probe_deinit(&p);
    static const char *const paths[] = {"/ok", "/big"};
    for (int i = 0; i < 2; i++) {
        probe_init(&p, paths[i]);
        probe_streams(&p);
        p.on_body = stay_paused;
        p.limits.total_timeout_ms = 20;
        probe_run(&p);
        assert_int_equal(p.failure, CLIENT_TIMEOUT);
        assert_int_equal(p.n_body, 1);
        probe_deinit(&p);
    }
}

/* --- cancelling --- */

static struct probe *victim;

static void cancel_victim(struct probe *p)
{
    p->on_body = NULL;
    if (victim->n_done)
        return;
    client_cancel(victim->call);
    arena_free(victim->arena); /* its request's bytes may go at once */
    victim->arena = NULL;
    pending--;
}

static void cancel_self(struct probe *p)
{
    client_cancel(p->call);
    client_cancel(p->call);
    client_resume(p->call);
    if (--pending == 0)
        loop_stop(loop);
}

static void test_cancel_in_own_body(void **state)
{
    struct probe p;
    probe_init(&p, "/big");
    probe_streams(&p);
    p.on_body = cancel_self;
    probe_send(&p);
    run_all();
    assert_int_equal(p.n_body, 1);
    int conn = expect_body("/ok", "ok");
    assert_int_equal(p.n_done, 0);
    assert_true(conn > 0);
    probe_deinit(&p);
}

static void test_cancel_another_from_a_body(void **state)
{
    static const char *const paths[] = {"/wait", "/stall", "/big", "/silent", "/ok"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        for (int first = 0; first < 2; first++) {
            struct probe p, other;
            probe_init(&other, paths[i]);
            probe_init(&p, "/big");
            probe_streams(&p);
            probe_streams(&other);
            char *body = arena_alloc(other.arena, 1 << 20);
            other.out.body = str_n(body, 1 << 20);
            victim = &other;
            if (first)
                probe_send(&other);
            probe_send(&p);
            if (!first)
                probe_send(&other);
            p.on_body = cancel_victim;
            run_all();
            check_big(&p);
            assert_int_equal(other.n_done, other.arena != NULL);
            probe_deinit(&p);
            err_free(other.err);
            buf_deinit(&other.body);
            arena_free(other.arena);
        }
    }
}

static void test_cancel_at_any_time(void **state)
{
    static const char *const paths[] = {
        "/wait", "/stall", "/silent", "http://[::zz]/",
        "http://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b/x"};
    for (int i = 0; i < 20; i++) {
        struct probe p;
        probe_init(&p, paths[i % 5]);
        probe_send(&p);
        if (i >= 5)
            run(i % 3);
        if (p.n_done == 0) {
            client_cancel(p.call);
            pending--;
        }
        run(0);
        probe_deinit(&p);
    }
    atomic_store(&server.release, true);
    expect_body("/ok", "ok");
}

static void test_free_cancels(void **state)
{
    static const char *const paths[] = {"/wait", "/stall", "/silent", "/ok",
                                        "/ok",   "/ok",    "nothing"};
    struct probe p[7];
    for (int i = 0; i < 7; i++) {
        probe_init(&p[i], paths[i]);
        p[i].events.done = NULL;
        p[i].call = client_send(client, &p[i].out, &p[i].limits, &p[i].events, &p[i]);
        if (i == 2)
            run(3);
    }
    client_free(client);
    loop_free(loop);
    for (int i = 0; i < 7; i++)
        probe_deinit(&p[i]);
    start_client(state);
}

/* --- many at once --- */

static void release(struct loop_timer *timer)
{
    struct client_stats s;
    client_stats(client, &s);
    assert_int_equal(s.leased, 3);
    assert_int_equal(s.pending, 4);
    atomic_store(&server.release, true);
}

static void test_route_has_its_limit(void **state)
{
    struct probe p[7];
    struct loop_timer timer = {0};
    for (int i = 0; i < 7; i++) {
        probe_init(&p[i], "/wait");
        probe_send(&p[i]);
    }
    loop_timer_set(loop, &timer, clock_mono_ms() + 30, release);
    run_all();
    assert_int_equal(atomic_load(&server.busy_max), 3);
    for (int i = 0; i < 7; i++) {
        assert_int_equal(p[i].failure, CLIENT_OK);
        probe_deinit(&p[i]);
    }
}

/* A host with free slots is served however many wait for another one. */
static void test_busy_route_does_not_hold_up_others(void **state)
{
    struct probe busy[6], other;
    for (int i = 0; i < 6; i++) {
        probe_init(&busy[i], "/wait");
        probe_send(&busy[i]);
    }
    pending = 0;
    probe_init(&other, "/ok");
    other.out.url = arena_printf(other.arena, "http://localhost:%d/ok", server.port);
    probe_run(&other);
    assert_int_equal(other.failure, CLIENT_OK);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(busy[i].n_done, 0);
        client_cancel(busy[i].call);
        probe_deinit(&busy[i]);
    }
    probe_deinit(&other);
}

static void test_waiting_can_time_out_and_be_cancelled(void **state)
{
    struct probe p[6];
    for (int i = 0; i < 6; i++) {
        probe_init(&p[i], "/wait");
        p[i].limits.total_timeout_ms = i == 3 ? 10 : 0;
        probe_send(&p[i]);
    }
    client_cancel(p[4].call);
    pending = 1;
    run_all();
    assert_int_equal(p[3].failure, CLIENT_TIMEOUT);
    pending = 4;
    atomic_store(&server.release, true);
    run_all();
    assert_int_equal(p[5].failure, CLIENT_OK);
    assert_int_equal(p[4].n_done, 0);
    for (int i = 0; i < 6; i++)
        probe_deinit(&p[i]);
}

static struct probe chain;

static void send_chain(struct probe *p)
{
    p->on_body = NULL;
    probe_send(&chain);
}

static void chain_done(void *ctx, enum client_failure failure, struct err *err,
                       const struct http_in *in)
{
    probe_send(&chain);
    on_done(ctx, failure, err, in);
}

static void test_send_from_within_events(void **state)
{
    struct probe p;
    probe_init(&p, "/ok");
    probe_init(&chain, "/ok");
    probe_streams(&p);
    p.on_body = send_chain;
    probe_send(&p);
    run_all();
    assert_int_equal(chain.n_done, 1);
    probe_deinit(&chain);
    probe_deinit(&p);
    probe_init(&p, "/ok");
    probe_init(&chain, "/ok");
    p.events.done = chain_done;
    probe_send(&p);
    run_all();
    assert_int_equal(chain.n_done, 1);
    assert_int_equal(chain.conn, p.conn);
    probe_deinit(&chain);
    probe_deinit(&p);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, start_client, stop_client)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_answers),
        TEST(test_connection_is_reused),
        TEST(test_request_as_given),
        TEST(test_methods_on_one_handle),
        TEST(test_large_request_does_not_wait),
        TEST(test_redirect_is_an_answer),
        TEST(test_odd_heads),
        TEST(test_head_comes_once),
        TEST(test_broken_answers),
        TEST(test_stall_and_total_timeout),
        TEST(test_answer_too_large),
        TEST(test_no_connection),
        TEST(test_unknown_host),
        TEST(test_socket_after_a_lookup),
        TEST(test_private_address_is_refused),
        TEST(test_header_injection_is_refused),
        TEST(test_reasons_hold_no_secret),
        TEST(test_one_retry_on_a_dead_connection),
        TEST(test_no_second_retry),
        TEST(test_connection_closed_while_idle),
        TEST(test_pause_and_resume),
        TEST(test_end_while_paused),
        TEST(test_cancel_in_own_body),
        TEST(test_cancel_another_from_a_body),
        TEST(test_cancel_at_any_time),
        TEST(test_free_cancels),
        TEST(test_route_has_its_limit),
        TEST(test_busy_route_does_not_hold_up_others),
        TEST(test_waiting_can_time_out_and_be_cancelled),
        TEST(test_send_from_within_events),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
