/* The server of one loop: its listening sockets, its connections, its end. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bug.h"
#include "http_edge.h"
#include "log.h"

#define ACCEPT_BATCH    64  /* of one round, so that those accepted are served in between */
#define ACCEPT_PAUSE_MS 100 /* when there are no descriptors left */

static struct http_server_options with_defaults(const struct http_server_options *o)
{
    struct http_server_options out = *o;
#define DEFAULT(field, value)                                                                      \
    if (out.field == 0)                                                                            \
    out.field = (value)
    DEFAULT(max_head_bytes, 64 * 1024);
    DEFAULT(max_body_bytes, 100 * 1024 * 1024);
    DEFAULT(head_timeout_ms, 10000);
    DEFAULT(body_timeout_ms, 30000);
    DEFAULT(write_timeout_ms, 60000);
    DEFAULT(idle_timeout_ms, 75000);
    DEFAULT(max_connections, SIZE_MAX);
    DEFAULT(stream_high_water_bytes, 256 * 1024);
    DEFAULT(compress_min_bytes, 1024);
#undef DEFAULT
    BUG_ON(out.max_head_bytes > 1 << 30); /* offsets in a head are 32 bits */
    return out;
}

struct http_server *http_server_new(struct loop *loop, const struct http_server_options *options,
                                    const struct http_server_hooks *hooks, void *ctx)
{
    BUG_ON(!hooks->ready);
    struct http_server *s = mem_new(sizeof *s);
    s->loop = loop;
    s->options = with_defaults(options);
    s->n_fixed_headers = options->fixed_headers ? strlen(options->fixed_headers) : 0;
    s->hooks = *hooks;
    s->ctx = ctx;
    s->date_s = -1;
    list_init(&s->conns);
    list_init(&s->dirty);
    list_init(&s->in_flight);
    return s;
}

size_t http_server_in_flight(const struct http_server *s)
{
    return s->n_in_flight;
}

/* ---- accepting ---- */

static void accept_watch(struct http_server *s, uint32_t events)
{
    for (size_t i = 0; i < s->n_listeners; i++)
        if (s->listeners[i].watch.loop)
            loop_fd_set(&s->listeners[i].watch, events);
}

static void accept_resume(struct loop_timer *t)
{
    accept_watch(LIST_OWNER(t, struct http_server, accept_timer), EPOLLIN);
}

/* Out of descriptors or memory: the socket stays readable, and asking again at once would only
 * burn the processor. */
static void accept_pause(struct http_server *s, int why)
{
    log_warn("cannot accept connections", LOG_C("reason", strerror(why)),
             LOG_I("connections", s->n_conns));
    accept_watch(s, 0);
    loop_timer_set(s->loop, &s->accept_timer, loop_now_ms(s->loop) + ACCEPT_PAUSE_MS,
                   accept_resume);
}

/* False: nothing is left to accept for now. */
static bool accept_one(struct http_listener *l)
{
    struct http_server *s = l->server;
    struct sockaddr_storage peer;
    socklen_t n = sizeof peer;
    int fd = accept4(l->watch.fd, (struct sockaddr *)&peer, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        if (s->n_conns >= s->options.max_connections)
            close(fd);
        else
            conn_new(s, fd, &peer);
        return true;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        accept_pause(s, errno);
        return false;
    }
    return errno != EAGAIN; /* else it was one connection's own trouble */
}

static void on_accept(struct loop_fd *w, uint32_t events)
{
    struct http_listener *l = LIST_OWNER(w, struct http_listener, watch);
    for (int i = 0; i < ACCEPT_BATCH && accept_one(l); i++)
        ;
}

struct err *http_server_listen(struct http_server *s, const char *host, int port, int *port_out)
{
    BUG_ON(s->n_listeners == HTTP_MAX_LISTENERS);
    struct http_listener *l = &s->listeners[s->n_listeners];
    int fd, bound;
    TRY(listen_open(host, port, &fd, &bound, &l->port_key));
    l->server = s;
    loop_fd_add(s->loop, &l->watch, fd, EPOLLIN, on_accept);
    s->n_listeners++;
    if (port_out)
        *port_out = bound;
    return NULL;
}

static void listeners_close(struct http_server *s)
{
    for (size_t i = 0; i < s->n_listeners; i++) {
        struct http_listener *l = &s->listeners[i];
        int fd = l->watch.fd;
        loop_fd_del(&l->watch);
        listen_close(fd, l->port_key);
    }
    s->n_listeners = 0;
    loop_timer_cancel(&s->accept_timer);
}

/* ---- what is due in this round ---- */

static void drain_begin(struct http_server *s)
{
    s->drain_begun = true;
    /* Closing the socket would reset those the kernel has accepted for us. */
    for (size_t i = 0; i < s->n_listeners; i++)
        for (int k = 0; k < LISTEN_BACKLOG && accept_one(&s->listeners[i]); k++)
            ;
    listeners_close(s);
    for (struct list_link *l = s->conns.next, *next; l != &s->conns; l = next) {
        next = l->next;
        struct http_conn *c = LIST_OWNER(l, struct http_conn, all);
        if (c->state != CONN_IDLE)
            continue;
        conn_read(c); /* a request that is already here is answered */
        conn_run(c);
    }
}

static void drain_check(struct http_server *s)
{
    if (!s->drain_begun)
        drain_begin(s);
    if (!s->drained || s->n_conns || s->n_in_flight)
        return;
    void (*drained)(void *) = s->drained;
    s->drained = NULL;
    drained(s->drained_ctx);
}

static void settle_all(struct http_server *s)
{
    while (s->settling) {
        struct http_exchange *ex = s->settling;
        s->settling = ex->next;
        ex->next = NULL;
        ex->settling = false;
        exchange_settle(ex);
    }
}

static void flush(struct loop_timer *t)
{
    struct http_server *s = LIST_OWNER(t, struct http_server, flush_timer);
    while (!list_empty(&s->dirty))
        conn_run(LIST_OWNER(s->dirty.next, struct http_conn, dirty));
    settle_all(s);
    if (s->draining)
        drain_check(s);
}

void server_flush_soon(struct http_server *s)
{
    if (!loop_timer_is_set(&s->flush_timer))
        loop_timer_set(s->loop, &s->flush_timer, loop_now_ms(s->loop), flush);
}

void server_conn_dirty(struct http_conn *c)
{
    if (c->running || list_linked(&c->dirty))
        return;
    list_push(&c->server->dirty, &c->dirty);
    server_flush_soon(c->server);
}

void server_settle_soon(struct http_exchange *ex)
{
    if (ex->settling)
        return;
    ex->settling = true;
    ex->next = ex->server->settling;
    ex->server->settling = ex;
    server_flush_soon(ex->server);
}

/* ---- the end ---- */

void http_server_drain(struct http_server *s, void (*drained)(void *), void *ctx)
{
    BUG_ON(s->draining);
    s->draining = true;
    s->drained = drained;
    s->drained_ctx = ctx;
    server_flush_soon(s);
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    s->draining = false;
    listeners_close(s);
    while (!list_empty(&s->conns))
        conn_kill(LIST_OWNER(s->conns.next, struct http_conn, all));
    settle_all(s);
    while (!list_empty(&s->in_flight))
        exchange_end(LIST_OWNER(s->in_flight.next, struct http_exchange, in_flight));
    while (s->idle) {
        struct http_exchange *ex = s->idle;
        s->idle = ex->next;
        exchange_free(ex);
    }
    loop_timer_cancel(&s->flush_timer);
    free(s);
}
