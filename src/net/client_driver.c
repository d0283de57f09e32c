/* client's driver: curl's multi interface on our loop.
 *
 * curl says POLL_REMOVE after every answer and POLL_IN before the next, which would be two
 * epoll_ctl a request. Sockets stay in epoll instead, idle or not: interest is dropped only when an
 * idle one has something to say (its peer closed). The pipes of curl's resolver are another matter:
 * nobody tells of their closing, so they leave epoll as soon as curl says so.
 *
 * curl's timer is kept lazily: a loop timer that fires too early just looks again. */
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bug.h"
#include "client_private.h"

#define MAX_ROUNDS 8 /* then the loop's other work gets its turn */

static void client_work(struct client *c);

static void kick_due(struct loop_timer *timer)
{
    client_work(LIST_OWNER(timer, struct client, kick));
}

void client_kick(struct client *c)
{
    if (!c->working && !loop_timer_is_set(&c->kick))
        loop_timer_set(c->loop, &c->kick, 0, kick_due);
}

/* --- curl at work --- */

/* Calls cancelled while curl was at work go now. */
static void drop_cancelled(struct client *c)
{
    while (!list_empty(&c->cancelled)) {
        struct client_call *call = LIST_OWNER(c->cancelled.next, struct client_call, todo);
        list_remove(&call->todo);
        list_remove(&call->link);
        curl_multi_remove_handle(call->half->multi, call->easy);
        driver_detached(call);
        call_give_slot_back(call);
        call_recycle(call);
    }
}

static void act(struct half *half, curl_socket_t fd, int mask)
{
    struct client *c = half->client;
    int running;
    c->in_curl++;
    curl_multi_socket_action(half->multi, fd, mask, &running);
    c->in_curl--;
    drop_cancelled(c);
}

static void collect(struct half *half)
{
    CURLMsg *msg;
    int left;
    while ((msg = curl_multi_info_read(half->multi, &left))) {
        char *private = NULL;
        CURLcode code = msg->data.result;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &private);
        if (!private) {
            curl_multi_remove_handle(half->multi, msg->easy_handle);
            half->sweeping = false;
            continue;
        }
        struct client_call *call = (struct client_call *)(void *)private;
        enum client_failure failure = answer_failure(call, code);
        call_end(call, failure, answer_err(call, failure, code));
    }
}

static void start_calls(struct client *c)
{
    while (!list_empty(&c->starting)) {
        struct client_call *call = LIST_OWNER(c->starting.next, struct client_call, link);
        list_remove(&call->link);
        list_push(&c->running, &call->link);
        call->state = CALL_RUNNING;
        BUG_ON(curl_multi_add_handle(call->half->multi, call->easy) != CURLM_OK);
    }
}

static void resume_calls(struct client *c)
{
    while (!list_empty(&c->resuming)) {
        struct client_call *call = LIST_OWNER(c->resuming.next, struct client_call, todo);
        list_remove(&call->todo);
        call->held = false;
        c->in_curl++;
        CURLcode code = curl_easy_pause(call->easy, CURLPAUSE_CONT); /* calls on_body */
        c->in_curl--;
        if (code != CURLE_OK && !call->cancelled) {
            enum client_failure failure = answer_failure(call, code);
            call_end(call, failure, answer_err(call, failure, code));
        }
        drop_cancelled(c);
    }
}

/* The receiver of one that pauses hears of the end after it has resumed. */
static bool tell_ended(struct client *c)
{
    struct list_link *l = c->ended.next;
    while (l != &c->ended) {
        struct client_call *call = LIST_OWNER(l, struct client_call, link);
        if (!call->paused || call->failure != CLIENT_OK) {
            call_tell(call); /* may end or cancel others */
            return true;
        }
        l = l->next;
    }
    return false;
}

static bool something_to_do(const struct client *c)
{
    return !list_empty(&c->starting) || !list_empty(&c->resuming) || c->halves[0].due ||
           c->halves[1].due;
}

static void run_due(struct half *half)
{
    if (!half->due)
        return;
    half->due = false;
    act(half, CURL_SOCKET_TIMEOUT, 0);
}

/* Everything that can be done without waiting. A call sent from within `done` starts right here. */
static void client_work(struct client *c)
{
    c->working = true;
    for (int round = 0;; round++) {
        start_calls(c);
        resume_calls(c);
        run_due(&c->halves[0]);
        run_due(&c->halves[1]);
        collect(&c->halves[0]);
        collect(&c->halves[1]);
        while (tell_ended(c))
            ;
        if (!something_to_do(c) || round == MAX_ROUNDS)
            break;
    }
    c->working = false;
    if (something_to_do(c))
        client_kick(c);
    if (c->n_sockets > c->active && !loop_timer_is_set(&c->sweep))
        client_sweep_at(c, loop_now_ms(c->loop) + c->options.max_idle_ms + 1001);
}

/* --- sockets --- */

static void watch_ready(struct loop_fd *fd, uint32_t events)
{
    struct watch *w = LIST_OWNER(fd, struct watch, fd);
    struct client *c = w->half->client;
    if (!w->fd.loop) /* gone in this same round */
        return;
    if (!w->wanted) { /* idle, and its peer closed it: curl finds out when it looks */
        loop_fd_del(fd);
        client_sweep_at(c, loop_now_ms(c->loop) + 1001);
        return;
    }
    int mask = (events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
               /* An error is read from the socket: only then does curl know what it was. */
               (events & (EPOLLIN | EPOLLERR | EPOLLHUP) ? CURL_CSELECT_IN : 0);
    c->working = true;
    act(w->half, fd->fd, mask);
    client_work(c);
}

static struct watch *watch_get(struct client *c, curl_socket_t fd)
{
    size_t i = (size_t)fd;
    if (i >= c->n_watches) {
        size_t n = i + 64;
        c->watches = mem_grow(c->watches, n * sizeof *c->watches);
        memset(c->watches + c->n_watches, 0, (n - c->n_watches) * sizeof *c->watches);
        c->n_watches = n;
    }
    if (!c->watches[i]) {
        c->watches[i] = mem_new(sizeof **c->watches);
        c->watches[i]->number = fd;
    }
    return c->watches[i];
}

/* A connection's socket is closed, by curl or in a moment. */
static void watch_gone(struct client *c, struct watch *w)
{
    list_remove(&w->opened);
    w->fd.loop = NULL;
    w->wanted = w->connected = false;
    if (w->ours)
        c->n_sockets--;
    w->ours = false;
}

void watches_free(struct client *c)
{
    for (size_t i = 0; i < c->n_watches; i++) {
        if (c->watches[i])
            loop_fd_del(&c->watches[i]->fd);
        free(c->watches[i]);
    }
    free(c->watches);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
    struct half *half = arg;
    struct watch *w = watch_get(half->client, fd);
    w->half = half;
    w->wanted = what != CURL_POLL_REMOVE;
    if (!w->wanted) {
        if (!w->ours)
            loop_fd_del(&w->fd);
        else if (!w->connected)
            watch_gone(half->client, w);
        return 0;
    }
    w->connected |= (what & CURL_POLL_IN) != 0;
    uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (w->fd.loop)
        loop_fd_set(&w->fd, events);
    else
        loop_fd_add(half->client->loop, &w->fd, fd, events, watch_ready);
    return 0;
}

static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct client_call *call = arg;
    if (!call) /* the sweeper: it only goes through the motions */
        return CURL_SOCKET_BAD;
    if (!call->limits.allow_private && address_is_private(&a->addr)) {
        call->refused = true;
        return CURL_SOCKET_BAD;
    }
    int fd = socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    struct watch *w = watch_get(call->client, fd);
    watch_gone(call->client, w); /* whoever had the number is */
    w->ours = true;
    list_push(&call->opened, &w->opened);
    call->client->n_sockets++;
    return fd;
}

void driver_detached(struct client_call *call)
{
    while (!list_empty(&call->opened))
        watch_gone(call->client, LIST_OWNER(call->opened.next, struct watch, opened));
}

static bool has_local_port(int fd, int port)
{
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        return false;
    if (a.ss_family == AF_INET)
        return ntohs(((struct sockaddr_in *)&a)->sin_port) == port;
    return a.ss_family == AF_INET6 && ntohs(((struct sockaddr_in6 *)&a)->sin6_port) == port;
}

void driver_connected(struct client_call *call, int local_port)
{
    for (struct list_link *l = call->opened.next, *next; l != &call->opened; l = next) {
        next = l->next;
        struct watch *w = LIST_OWNER(l, struct watch, opened);
        bool alone = call->opened.next == l && call->opened.prev == l;
        if (alone || has_local_port(w->number, local_port)) {
            list_remove(l);
            w->connected = true;
            break;
        }
    }
    driver_detached(call);
}

static int on_close_socket(void *arg, curl_socket_t fd)
{
    struct client *c = arg;
    struct watch *w = watch_get(c, fd);
    loop_fd_del(&w->fd);
    watch_gone(c, w);
    return close(fd);
}

void driver_prepare(struct client *c, CURL *easy)
{
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, c);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, (long)(c->options.max_idle_ms / 1000));
    /* Hosts move: now and then a name is looked up again, however busy its connections are. */
    curl_easy_setopt(easy, CURLOPT_MAXLIFETIME_CONN, 600L);
}

/* --- curl's timer --- */

static void half_timer_due(struct loop_timer *timer)
{
    struct half *half = LIST_OWNER(timer, struct half, timer);
    struct client *c = half->client;
    if (half->due_ms == 0)
        return;
    if (half->due_ms > loop_now_ms(c->loop)) {
        loop_timer_set(c->loop, timer, half->due_ms, half_timer_due);
        return;
    }
    half->due_ms = 0;
    half->due = true;
    client_work(c);
}

static int on_timer(CURLM *multi, long ms, void *arg)
{
    struct half *half = arg;
    struct client *c = half->client;
    half->due = ms == 0;
    half->due_ms = ms > 0 ? loop_now_ms(c->loop) + ms : 0;
    if (half->due)
        client_kick(c);
    else if (ms > 0 && (!loop_timer_is_set(&half->timer) || half->timer.at_ms > half->due_ms))
        loop_timer_set(c->loop, &half->timer, half->due_ms, half_timer_due);
    return 0;
}

/* --- idle connections ---
 *
 * curl closes connections that are dead or too old only while it sets up a transfer (and looks once
 * a second at most). So that they do not linger when nobody sends, a transfer that cannot come to
 * anything is set up: its socket is refused by on_open_socket. */

static void sweep_half(struct half *half)
{
    if (half->sweeping)
        return;
    if (!half->sweeper) {
        half->sweeper = curl_easy_init();
        BUG_ON(!half->sweeper);
        driver_prepare(half->client, half->sweeper);
        curl_easy_setopt(half->sweeper, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(half->sweeper, CURLOPT_PROXY, "");
        curl_easy_setopt(half->sweeper, CURLOPT_URL, "http://127.0.0.1:9/");
    }
    half->sweeping = curl_multi_add_handle(half->multi, half->sweeper) == CURLM_OK;
}

static void sweep_due(struct loop_timer *timer)
{
    struct client *c = LIST_OWNER(timer, struct client, sweep);
    if (c->n_sockets <= c->active)
        return; /* none idle; the next answer sets the timer again */
    sweep_half(&c->halves[0]);
    sweep_half(&c->halves[1]);
    client_work(c);
    if (c->n_sockets > c->active)
        client_sweep_at(c, loop_now_ms(c->loop) + c->options.max_idle_ms / 2 + 1001);
}

void client_sweep_at(struct client *c, int64_t at_ms)
{
    if (!loop_timer_is_set(&c->sweep) || c->sweep.at_ms > at_ms)
        loop_timer_set(c->loop, &c->sweep, at_ms, sweep_due);
}

/* --- the multi handles --- */

void half_init(struct client *c, struct half *half)
{
    const struct client_options *o = &c->options;
    half->client = c;
    half->multi = curl_multi_init();
    BUG_ON(!half->multi);
    curl_multi_setopt(half->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(half->multi, CURLMOPT_SOCKETDATA, half);
    curl_multi_setopt(half->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(half->multi, CURLMOPT_TIMERDATA, half);
    curl_multi_setopt(half->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    curl_multi_setopt(half->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, o->max_total_connections);
    curl_multi_setopt(half->multi, CURLMOPT_MAX_HOST_CONNECTIONS, o->max_route_connections);
    curl_multi_setopt(half->multi, CURLMOPT_MAXCONNECTS, o->max_total_connections);
}

void half_deinit(struct half *half)
{
    if (half->sweeping)
        curl_multi_remove_handle(half->multi, half->sweeper);
    curl_multi_cleanup(half->multi);
    if (half->sweeper)
        curl_easy_cleanup(half->sweeper);
    loop_timer_cancel(&half->timer);
}
