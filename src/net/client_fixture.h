/* client_fixture: for the client's tests, a server that misbehaves on request and a probe for one
 * call. The path of a request names what the server does. Each connection has a thread; an answer
 * tells its connection's number in X-Conn. */
#ifndef INFERD_CLIENT_FIXTURE_H
#define INFERD_CLIENT_FIXTURE_H

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
    bool early = strncmp(p->in, "POST /early ", 12) == 0; /* is answered before its body is read */
    static _Thread_local char sink[65536];
    while (!early && have < p->body_n) {
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
    if (strncmp(p->in, "CONNECT ", 8) == 0) /* as a proxy that refuses */
        return say_answer(p, "403 Forbidden", "no"), true;
    if (strncmp(p->path, "http://", 7) == 0) /* as a proxy that tells what it was asked */
        return say_answer(p, "200 OK", p->in), true;
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
    if (IS("/more")) /* than it announced */
        return say(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n"
                      "Content-Length: 3\r\n\r\nbad"),
               true;
    if (IS("/more-later"))
        return say_answer(p, "200 OK", "ok"), usleep(2000),
               say(p, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"), true;
    if (IS("/last"))
        return say(p, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"), true;
    if (IS("/both"))
        return say(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n"
                      "\r\n0\r\n\r\n"),
               true;
    if (IS("/early")) {
        say_answer(p, "413 Content Too Large", "no");
        wait_for_release(p);
        return false;
    }
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

__attribute__((unused)) static void probe_streams(struct probe *p)
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
__attribute__((unused)) static void expect_failure(const char *path, enum client_failure failure,
                                                   const char *reason)
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

__attribute__((unused)) static int expect_body(const char *path, const char *body)
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

#define TEST(f) cmocka_unit_test_setup_teardown(f, start_client, stop_client)

#endif
