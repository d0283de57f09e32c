/* What a service that speaks HTTP/2 may send: any bytes, in any pieces, to calls that collect,
 * stream, pause, run out of time, cancel themselves and each other, and send more from within their
 * events. Whatever comes, each call ends once and no slot is lost. The first bytes say what the
 * calls do, the rest is what the service says. */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bug.h"
#include "client_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define N_CALLS 4
#define N_BYTES (N_CALLS + 1) /* what the calls do, and how large the pieces are */

/* What a call does in an event. */
enum act { NOTHING, PAUSE, CANCEL, CANCEL_NEXT, SEND_NEXT, RESUME_NEXT };

struct probe {
    struct client_call *call;
    struct http_out out;
    struct client_limits limits;
    struct client_events events;
    struct loop_timer timer;
    bool under_way;
    enum act at_head, at_body;
    int n_sent;
    struct probe *next;
};

static struct loop *loop;
static struct client *client;

static void send_call(struct probe *p)
{
    if (p->under_way || p->n_sent == 3)
        return;
    p->n_sent++;
    p->under_way = true;
    p->call = client_send(client, &p->out, &p->limits, &p->events, p);
}

static void cancel(struct probe *p)
{
    if (!p->under_way)
        return;
    p->under_way = false;
    client_cancel(p->call);
}

static void resume(struct loop_timer *timer)
{
    struct probe *p = LIST_OWNER(timer, struct probe, timer);
    if (p->under_way)
        client_resume(p->call);
}

static void act(struct probe *p, enum act what)
{
    if (what == PAUSE)
        loop_timer_set(loop, &p->timer, 0, resume);
    if (what == CANCEL)
        cancel(p);
    if (what == CANCEL_NEXT)
        cancel(p->next);
    if (what == SEND_NEXT)
        send_call(p->next);
    if (what == RESUME_NEXT && p->next->under_way)
        client_resume(p->next->call);
}

static void on_head(void *ctx, int status, const struct http_headers *hs)
{
    struct probe *p = ctx;
    BUG_ON(!p->under_way || status < 200 || status > 999 || hs->n > HTTP_MAX_HEADERS);
    for (size_t i = 0; i < hs->n; i++) {
        struct str out;
        BUG_ON(!http_header_get(hs, hs->h[i].name, &out));
    }
    if (p->at_head != PAUSE)
        act(p, p->at_head);
}

static bool on_body(void *ctx, struct str bytes)
{
    struct probe *p = ctx;
    BUG_ON(bytes.n == 0 || !p->under_way);
    act(p, p->at_body);
    return p->at_body != PAUSE && p->at_body != RESUME_NEXT;
}

static void on_done(void *ctx, enum client_failure failure, struct err *err,
                    const struct http_in *in)
{
    struct probe *p = ctx;
    BUG_ON(!p->under_way || (failure == CLIENT_OK) != !err);
    BUG_ON(failure == CLIENT_OK && (in->status < 200 || in->status > 999));
    p->under_way = false;
    err_free(err);
    if (p->at_head != PAUSE)
        act(p, p->at_head);
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
    k->way->route->only_h1_until_ms = 0;
    k->way->route->max_streams = 3;
    k->way->route->life_calls = 0;
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

static void say(int fd, const uint8_t *bytes, size_t n, size_t step)
{
    for (size_t at = 0; at < n; at += step) {
        ssize_t put = send(fd, bytes + at, at + step < n ? step : n - at, MSG_NOSIGNAL);
        turn();
        drain(fd);
        if (put < 0)
            break;
    }
}

/* The lowest bits: what it does with its head and body; then whether it collects and has a limit.
 */
static void make_call(struct probe *p, struct arena *arena, uint8_t does, uint8_t at)
{
    static const char body[30000];
    p->out = (struct http_out){.arena = arena,
                               .method = HTTP_POST,
                               .url = STR("http://127.0.0.1:1/p"),
                               .body = str_n(body, at & 1 ? sizeof body : 2)};
    p->limits = (struct client_limits){.max_response_bytes = 1000,
                                       .allow_private = true,
                                       .total_timeout_ms = does & 0x80 ? 1 : 0,
                                       .stall_timeout_ms = does & 0x40 ? 1 : 0};
    bool collects = !at && !(does & 0x20);
    p->events =
        (struct client_events){.head = on_head, .body = collects ? NULL : on_body, .done = on_done};
    p->at_head = (enum act)(does % 6);
    p->at_body = (enum act)(does / 6 % 6);
}

static void check_all_is_back(void)
{
    struct client_stats left;
    struct str key;
    void *route;
    client_stats(client, &left);
    BUG_ON(left.leased || left.pending || left.available || client->active);
    for (size_t i = 0; map_next(client->routes, &i, &key, &route);) {
        const struct route *r = route;
        BUG_ON(r->active || r->idle || !list_empty(&r->ways) || !list_empty(&r->waiting));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct client_options options = {.connect_timeout_ms = 100,
                                                  .max_total_connections = 1,
                                                  .max_route_connections = 1,
                                                  .max_idle_ms = 60000};
    if (n < N_BYTES)
        return 0;
    if (!client) {
        loop = loop_new(0);
        client = client_new(loop, &options);
    }
    struct arena *arena = arena_new(ARENA_NO_LIMIT);
    struct probe p[N_CALLS] = {0};
    for (size_t i = 0; i < N_CALLS; i++) {
        make_call(&p[i], arena, data[i], (uint8_t)i);
        p[i].next = &p[(i + 1) % N_CALLS];
    }
    int fd = connect_pair(&p[0]);
    for (size_t i = 0; i + 1 < N_CALLS; i++) /* the last only from within an event */
        send_call(&p[i]);
    turn();
    say(fd, data + N_BYTES, n - N_BYTES, data[N_CALLS] ? data[N_CALLS] * 8u : n);
    close(fd);
    turn();
    for (size_t i = 0; i < N_CALLS; i++) {
        loop_timer_cancel(&p[i].timer);
        p[i].n_sent = 3;
        cancel(&p[i]); /* tried again, elsewhere; or sent by another that ended */
    }
    turn();
    check_all_is_back();
    arena_free(arena);
    return 0;
}
