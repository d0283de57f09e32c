/* What a service that speaks HTTP/2 may send: any bytes, in any pieces, to calls that collect,
 * stream, pause and are cancelled. Whatever comes, each call ends once. The first bytes say what
 * the calls do, the rest is what the service says. */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bug.h"
#include "client_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define N_CALLS 3

struct probe {
    struct client_call *call;
    struct http_out out;
    struct client_limits limits;
    struct client_events events;
    struct loop_timer timer;
    int n_done;
    bool pauses, cancels;
};

static struct loop *loop;
static struct client *client;

static void resume(struct loop_timer *timer)
{
    struct probe *p = LIST_OWNER(timer, struct probe, timer);
    if (!p->n_done)
        client_resume(p->call);
}

static void on_head(void *ctx, int status, const struct http_headers *hs)
{
    BUG_ON(status < 200 || status > 999 || hs->n > HTTP_MAX_HEADERS);
    for (size_t i = 0; i < hs->n; i++) {
        struct str out;
        BUG_ON(!http_header_get(hs, hs->h[i].name, &out));
    }
}

static bool on_body(void *ctx, struct str bytes)
{
    struct probe *p = ctx;
    BUG_ON(bytes.n == 0 || p->n_done);
    if (p->cancels) {
        p->n_done = 1;
        client_cancel(p->call);
        return true;
    }
    if (p->pauses)
        loop_timer_set(loop, &p->timer, 0, resume);
    return !p->pauses;
}

static void on_done(void *ctx, enum client_failure failure, struct err *err,
                    const struct http_in *in)
{
    struct probe *p = ctx;
    BUG_ON(p->n_done || (failure == CLIENT_OK) != !err);
    p->n_done = 1;
    err_free(err);
}

/* A connection of the way that these calls go, already open: one end of a pair of sockets. */
static int connect_pair(const struct probe *p)
{
    struct url_parts url;
    int fds[2];
    BUG_ON(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds));
    BUG_ON(!url_take_apart(p->out.url, &url));
    struct connection *k = mem_new(sizeof *k);
    k->client = client;
    k->way = way_get(client, &url, &p->limits);
    k->way->route->speaks_h2 = true;
    k->opened_ms = loop_now_ms(loop);
    loop_fd_add(loop, &k->watch, fds[0], EPOLLIN, exchange_ready);
    h2_start(k);
    idle_put(k);
    return fds[1];
}

static void stop(struct loop_timer *timer)
{
    loop_stop(loop);
}

/* A few rounds of the loop: what was set to run at once has run. */
static void turn(void)
{
    struct loop_timer end = {0};
    for (int i = 0; i < 3; i++) {
        loop_timer_set(loop, &end, 0, stop);
        loop_run(loop);
    }
}

static void drain(int fd)
{
    char sink[4096];
    while (read(fd, sink, sizeof sink) > 0)
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct client_options options = {.connect_timeout_ms = 100,
                                                  .max_total_connections = 1,
                                                  .max_route_connections = 1,
                                                  .max_idle_ms = 60000};
    if (n < 2)
        return 0;
    if (!client) {
        loop = loop_new(0);
        client = client_new(loop, &options);
    }
    struct arena *arena = arena_new(ARENA_NO_LIMIT);
    struct probe p[N_CALLS] = {0};
    int fd = -1;
    for (size_t i = 0; i < N_CALLS; i++) {
        p[i].out = (struct http_out){.arena = arena,
                                     .method = HTTP_POST,
                                     .url = STR("http://127.0.0.1:1/p"),
                                     .body = STR("{}")};
        p[i].limits = (struct client_limits){.max_response_bytes = 1000, .allow_private = true};
        p[i].events =
            (struct client_events){.head = on_head, .body = i ? on_body : NULL, .done = on_done};
        p[i].pauses = data[0] & 1 << i;
        p[i].cancels = data[0] & 8 << i;
        if (i == 0)
            fd = connect_pair(&p[i]);
        p[i].call = client_send(client, &p[i].out, &p[i].limits, &p[i].events, &p[i]);
    }
    turn();
    size_t step = data[1] ? data[1] * 8u : n;
    for (size_t at = 2; at < n; at += step) {
        ssize_t put = send(fd, data + at, at + step < n ? step : n - at, MSG_NOSIGNAL);
        turn();
        drain(fd);
        if (put < 0)
            break;
    }
    close(fd);
    turn();
    for (size_t i = 0; i < N_CALLS; i++) {
        loop_timer_cancel(&p[i].timer);
        if (!p[i].n_done) /* tried again, elsewhere */
            client_cancel(p[i].call);
    }
    turn();
    struct client_stats left;
    client_stats(client, &left);
    BUG_ON(left.leased || left.pending || left.available);
    arena_free(arena);
    return 0;
}
