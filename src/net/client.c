/* client: calls, their slots and their time. See client_private.h for the other files.
 *
 * A call needs a slot to run: at most max_total_connections in all and max_route_connections per
 * route. curl has limits of this kind too, but wakes only the first of those that wait, whatever
 * its host: a call for an idle host can be stuck for ever behind one for a busy host. So calls wait
 * here, per route, and curl's limits only make it close idle connections.
 *
 * Nothing of curl_multi_* may be called from within curl's callbacks, and `done` is never told from
 * within client_send: both just put the call on a list and kick the driver. */
#include <stdlib.h>

#include <pthread.h>

#include "bug.h"
#include "client_private.h"

#define KEEP_BODY_BYTES (256u << 10) /* a pooled call keeps no larger buffer */

/* --- routes and slots --- */

static struct route *route_get(struct client *c, struct str url)
{
    char key[512];
    size_t n;
    if (!request_route_key(url, key, sizeof key, &n))
        return NULL;
    if (c->last_route && str_eq(c->last_route->key, str_n(key, n)))
        return c->last_route;
    struct route *r = map_get(c->routes, str_n(key, n));
    if (!r) {
        char *copy = memcpy(mem_new(n + 1), key, n);
        r = mem_new(sizeof *r);
        r->key = str_n(copy, n);
        list_init(&r->waiting);
        map_put(c->routes, r->key, r);
    }
    c->last_route = r;
    return r;
}

static void route_free(struct client *c, struct route *r)
{
    if (c->last_route == r)
        c->last_route = NULL;
    map_take(c->routes, r->key);
    free((void *)(uintptr_t)r->key.p);
    free(r);
}

static bool has_slot(const struct client *c, const struct route *r)
{
    return c->active < c->options.max_total_connections &&
           r->active < c->options.max_route_connections;
}

static void take_slot(struct client_call *call)
{
    call->client->active++;
    call->route->active++;
    call->state = CALL_STARTING;
    list_push(&call->client->starting, &call->link);
}

static void wait_for_slot(struct client_call *call)
{
    struct route *r = call->route;
    call->state = CALL_QUEUED;
    list_push(&r->waiting, &call->link);
    if (!list_linked(&r->link))
        list_push(&call->client->full, &r->link);
}

static void leave_queue(struct client_call *call)
{
    struct route *r = call->route;
    list_remove(&call->link);
    if (list_empty(&r->waiting))
        list_remove(&r->link);
}

/* Routes take turns, calls of one route keep their order. */
static void serve_waiting(struct client *c)
{
    for (struct list_link *l = c->full.next, *next; l != &c->full; l = next) {
        next = l->next;
        struct route *r = LIST_OWNER(l, struct route, link);
        if (!has_slot(c, r))
            continue;
        struct client_call *call = LIST_OWNER(r->waiting.next, struct client_call, link);
        leave_queue(call);
        if (list_linked(&r->link)) {
            list_remove(&r->link);
            list_push(&c->full, &r->link);
        }
        take_slot(call);
        client_kick(c);
        return; /* one slot came free */
    }
}

/* A route that nobody uses is forgotten, except for the few that come again at once. */
static void route_leave(struct client *c, struct route *r)
{
    if (r->active == 0 && list_empty(&r->waiting) && map_count(c->routes) > 64)
        route_free(c, r);
}

void call_give_slot_back(struct client_call *call)
{
    struct client *c = call->client;
    c->active--;
    call->route->active--;
    serve_waiting(c);
}

/* --- calls --- */

static struct client_call *call_new(struct client *c, const struct client_egress *egress)
{
    if (c->n_pool && !egress)
        return c->pool[--c->n_pool];
    struct client_call *call = mem_new(sizeof *call);
    call->client = c;
    buf_init(&call->url, 64u << 10);
    buf_init(&call->lines, 256u << 10);
    buf_init(&call->head, SIZE_MAX); /* on_header counts */
    buf_init(&call->body, SIZE_MAX); /* on_body counts */
    list_init(&call->opened);
    call->easy = request_handle_new(c, call);
    call->special = egress != NULL;
    if (egress)
        request_egress(call, egress);
    return call;
}

static void call_free(struct client_call *call)
{
    curl_easy_cleanup(call->easy);
    curl_url_cleanup(call->parsed);
    buf_deinit(&call->url);
    buf_deinit(&call->lines);
    buf_deinit(&call->head);
    buf_deinit(&call->body);
    free(call);
}

void call_recycle(struct client_call *call)
{
    struct client *c = call->client;
    loop_timer_cancel(&call->timer);
    if (call->route)
        route_leave(c, call->route);
    call->route = NULL;
    call->state = CALL_FREE;
    call->out = NULL;
    c->n_calls--;
    if (call->body.cap > KEEP_BODY_BYTES)
        buf_deinit(&call->body);
    if (!call->special && c->n_pool < (size_t)c->options.max_total_connections)
        c->pool[c->n_pool++] = call;
    else
        call_free(call);
}

void call_tell(struct client_call *call)
{
    list_remove(&call->link);
    loop_timer_cancel(&call->timer);
    call->state = CALL_TELLING;
    struct err *err = call->err;
    call->err = NULL;
    bool ok = call->failure == CLIENT_OK;
    call->in.body = buf_str(&call->body);
    call->events->done(call->ctx, call->failure, err, ok ? &call->in : NULL);
    call_recycle(call);
}

/* Off its list, off curl, without its slot. */
static void call_detach(struct client_call *call)
{
    switch (call->state) {
    case CALL_QUEUED:
        leave_queue(call);
        break;
    case CALL_RUNNING:
        curl_multi_remove_handle(call->half->multi, call->easy);
        driver_detached(call);
        __attribute__((fallthrough));
    case CALL_STARTING:
        list_remove(&call->link);
        list_remove(&call->todo);
        call_give_slot_back(call);
        break;
    default:
        list_remove(&call->link);
    }
}

void call_end(struct client_call *call, enum client_failure failure, struct err *err)
{
    struct client *c = call->client;
    call_detach(call);
    call->state = CALL_ENDED;
    call->failure = failure;
    call->err = err;
    list_push(&c->ended, &call->link);
    client_kick(c);
}

/* --- time --- */

/* The next moment at which a limit could be passed; 0: no limit. */
static int64_t next_limit(const struct client_call *call)
{
    const struct client_limits *l = &call->limits;
    int64_t total = l->total_timeout_ms ? call->started_ms + l->total_timeout_ms : 0;
    bool can_stall = l->stall_timeout_ms && call->head_done && !call->paused;
    int64_t stall = can_stall ? call->last_ms + l->stall_timeout_ms : 0;
    if (!total || !stall)
        return total | stall;
    return total < stall ? total : stall;
}

/* Bytes that arrive move the limit on without touching the timer; it looks again when it fires. */
static void call_due(struct loop_timer *timer)
{
    struct client_call *call = LIST_OWNER(timer, struct client_call, timer);
    int64_t at = next_limit(call), now = loop_now_ms(call->client->loop);
    if (at == 0)
        return;
    if (at > now) {
        call_arm(call);
        return;
    }
    if (call->state == CALL_ENDED && !call->paused)
        return; /* being told in this very round */
    err_free(call->err);
    call->paused = false;
    const struct client_limits *l = &call->limits;
    bool total = l->total_timeout_ms && now >= call->started_ms + l->total_timeout_ms;
    call_end(call, CLIENT_TIMEOUT,
             err_new(ERR_IO, "%s [%.*s] timed out after [%lldms]",
                     total ? "Request to" : "Silence in the answer of", STR_ARG(call->route->key),
                     (long long)(total ? l->total_timeout_ms : l->stall_timeout_ms)));
}

void call_arm(struct client_call *call)
{
    int64_t at = next_limit(call);
    if (at && (!loop_timer_is_set(&call->timer) || call->timer.at_ms > at))
        loop_timer_set(call->client->loop, &call->timer, at, call_due);
}

/* --- the door --- */

static void call_begin(struct client_call *call, const struct http_out *out,
                       const struct client_limits *limits, const struct client_events *events,
                       void *ctx)
{
    struct client *c = call->client;
    call->half = &c->halves[limits->allow_private ? 1 : 0];
    call->out = out;
    call->limits = *limits;
    call->events = events;
    call->ctx = ctx;
    call->started_ms = call->last_ms = loop_now_ms(c->loop);
    call->in.arena = out->arena;
    call->in.status = 0;
    call->in.headers.n = 0;
    buf_clear(&call->head);
    buf_clear(&call->body);
    call->head_bytes = call->body_bytes = 0;
    call->tries = 0;
    call->in_block = call->head_done = call->paused = call->held = call->cancelled = false;
    call->refused = call->too_large = call->head_broken = call->upgraded = false;
    call->failure = CLIENT_OK;
    call->err = NULL;
    c->n_calls++;
}

struct client_call *client_send(struct client *c, const struct http_out *out,
                                const struct client_limits *limits,
                                const struct client_events *events, void *ctx)
{
    struct client_call *call = call_new(c, limits->egress);
    call_begin(call, out, limits, events, ctx);
    call->route = route_get(c, out->url);
    enum client_failure failure = CLIENT_UNKNOWN_HOST;
    const char *wrong = call->route ? request_set(call, &failure) : "The URL is not valid";
    if (wrong) {
        call_end(call, failure, err_new(ERR_IO, "%s", wrong));
        return call;
    }
    if (has_slot(c, call->route) && list_empty(&call->route->waiting))
        take_slot(call);
    else
        wait_for_slot(call);
    call_arm(call);
    client_kick(c);
    return call;
}

void client_resume(struct client_call *call)
{
    struct client *c = call->client;
    if (!call->paused || call->cancelled)
        return;
    call->paused = false;
    call->last_ms = loop_now_ms(c->loop);
    call_arm(call);
    if (call->state == CALL_RUNNING && call->held)
        list_push(&c->resuming, &call->todo);
    client_kick(c);
}

void client_cancel(struct client_call *call)
{
    struct client *c = call->client;
    if (call->cancelled || call->state == CALL_TELLING || call->state == CALL_FREE)
        return;
    if (!c->in_curl || call->state != CALL_RUNNING) {
        call_detach(call);
        err_free(call->err);
        call->err = NULL;
        call_recycle(call);
        return;
    }
    /* curl is at work, and lets go of a handle only afterwards. It must not look at the request's
     * bytes again, which the caller may free now: its own callback ends it, others are stopped. */
    call->cancelled = true;
    loop_timer_cancel(&call->timer);
    list_remove(&call->todo);
    list_push(&c->cancelled, &call->todo);
    if (call != c->current)
        curl_easy_pause(call->easy, CURLPAUSE_ALL);
}

/* --- the whole --- */

static void global_init(void)
{
    BUG_ON(curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK);
}

struct client *client_new(struct loop *loop, const struct client_options *options)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, global_init);
    BUG_ON(options->max_total_connections < 1 || options->max_route_connections < 1);
    struct client *c = mem_new(sizeof *c);
    c->loop = loop;
    c->options = *options;
    c->ca_file = options->ca_file ? mem_strdup(options->ca_file) : NULL;
    c->options.ca_file = c->ca_file;
    c->routes = map_new();
    c->pool = mem_array((size_t)options->max_total_connections, sizeof(struct client_call *));
    list_init(&c->full);
    list_init(&c->starting);
    list_init(&c->running);
    list_init(&c->ended);
    list_init(&c->resuming);
    list_init(&c->cancelled);
    half_init(c, &c->halves[0]);
    half_init(c, &c->halves[1]);
    return c;
}

static void cancel_all(struct list_link *list)
{
    while (!list_empty(list))
        client_cancel(LIST_OWNER(list->next, struct client_call, link));
}

void client_free(struct client *c)
{
    if (!c)
        return;
    BUG_ON(c->working || c->in_curl);
    while (!list_empty(&c->full)) { /* first, or they would get the slots of the others */
        struct route *r = LIST_OWNER(c->full.next, struct route, link);
        client_cancel(LIST_OWNER(r->waiting.next, struct client_call, link));
    }
    cancel_all(&c->starting);
    cancel_all(&c->running);
    cancel_all(&c->ended);
    half_deinit(&c->halves[0]);
    half_deinit(&c->halves[1]);
    while (c->n_pool)
        call_free(c->pool[--c->n_pool]);
    struct str key;
    void *route;
    for (size_t i = 0; map_next(c->routes, &i, &key, &route);)
        route_free(c, route);
    map_free(c->routes);
    loop_timer_cancel(&c->kick);
    loop_timer_cancel(&c->sweep);
    watches_free(c);
    free(c->pool);
    free(c->ca_file);
    free(c);
}

void client_stats(const struct client *c, struct client_stats *out)
{
    long leased = 0;
    for (struct list_link *l = c->running.next; l != &c->running; l = l->next)
        leased += LIST_OWNER(l, struct client_call, link)->tries > 0;
    long idle = c->n_sockets - c->active;
    *out = (struct client_stats){.leased = leased,
                                 .pending = c->n_calls - leased,
                                 .available = idle > 0 ? idle : 0,
                                 .max = c->options.max_total_connections};
}
