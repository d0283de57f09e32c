/* client: calls, their slots and their time. See client_private.h for the other files.
 *
 * A call needs a connection to run: of its own, and for that a slot, of which there are
 * max_total_connections in all and max_route_connections per route; or one over HTTP/2 that has
 * room for it. Calls without one wait here, per route, so that many for a busy host do not hold up
 * those for an idle one.
 *
 * A warm call is written to its connection from within client_send, and `done` is told from within
 * the event that brings the last bytes. Whatever fails on the way is told a little later, from
 * client_work: so no event ever comes from within the caller's own call. */
#include <stdlib.h>

#include "bug.h"
#include "client_private.h"

#define KEEP_BODY_BYTES (64u << 10) /* a pooled call keeps no larger buffer */
#define MAX_ROUNDS      8           /* then the loop's other work gets its turn */

/* --- connections for calls --- */

static bool has_slot(const struct client *c, const struct route *r)
{
    return c->active < c->options.max_total_connections &&
           r->active < c->options.max_route_connections;
}

/* Beside one that opens and will be shared no second one opens. */
static bool can_begin(const struct client_call *call)
{
    struct way *w = call->way;
    if (h2_with_room(w))
        return true;
    return has_slot(call->client, w->route) && (!h2_is_coming(w) || !list_empty(&w->idle));
}

static void take_slot(struct client_call *call)
{
    call->slot = true;
    call->client->active++;
    call->way->route->active++;
}

static void begin(struct client_call *call)
{
    call->state = CALL_RUNNING;
    list_push(&call->client->running, &call->link);
    struct connection *k = h2_with_room(call->way);
    if (!k) {
        take_slot(call);
        k = idle_take(call->way);
    }
    if (!k) {
        connection_open(call);
        return;
    }
    call->connection = k;
    if (k->h2) {
        h2_begin(k, call);
        return;
    }
    k->call = call;
    exchange_begin(k);
}

static uint64_t turn_of(struct list_link *link)
{
    return LIST_OWNER(link, struct client_call, link)->turn;
}

/* Start-time fair queueing: a turn is one call of each owner; who is new takes part in this one. */
static uint64_t next_turn(struct route *r, uint32_t owner)
{
    uint64_t *last = &r->last_turn[owner % OWNERS];
    *last = *last + 1 > r->turn ? *last + 1 : r->turn;
    return *last;
}

static void wait_in_line(struct client_call *call)
{
    struct route *r = call->way->route;
    struct list_link *before = &r->waiting; /* the end: where whoever has most belongs */
    call->state = CALL_QUEUED;
    bool again = call->moves || call->retried; /* it has had its turn */
    call->turn = again ? r->turn : next_turn(r, call->limits.owner);
    if (!list_empty(&r->waiting) && turn_of(r->waiting.prev) > call->turn) {
        before = r->waiting.next;
        while (turn_of(before) <= call->turn)
            before = before->next;
    }
    list_push(before, &call->link);
    if (!list_linked(&r->link))
        list_push(&call->client->full, &r->link);
}

static void leave_queue(struct client_call *call)
{
    struct route *r = call->way->route;
    list_remove(&call->link);
    if (!list_empty(&r->waiting))
        return;
    list_remove(&r->link);
    memset(r->last_turn, 0, sizeof r->last_turn);
    r->turn = 0;
}

static void start(struct client_call *call)
{
    if (list_empty(&call->way->route->waiting) && can_begin(call))
        begin(call);
    else
        wait_in_line(call);
}

/* Routes take turns, and in each the owners of calls. A route that was served goes to the end
 * and is looked at again there. */
void serve_waiting(struct client *c)
{
    for (struct list_link *l = c->full.next, *next; l != &c->full; l = next) {
        struct route *r = LIST_OWNER(l, struct route, link);
        struct client_call *call = LIST_OWNER(r->waiting.next, struct client_call, link);
        next = l->next;
        if (!can_begin(call))
            continue;
        r->turn = call->turn;
        leave_queue(call);
        if (list_linked(&r->link)) {
            list_remove(&r->link);
            list_push(&c->full, &r->link);
            if (next == &c->full)
                next = &r->link;
        }
        begin(call);
    }
}

void give_slot_back(struct client *c, struct route *r)
{
    c->active--;
    r->active--;
    serve_waiting(c);
}

/* --- calls --- */

static struct client_call *call_new(struct client *c)
{
    if (c->n_pool)
        return c->pool[--c->n_pool];
    struct client_call *call = mem_new(sizeof *call);
    call->client = c;
    buf_init(&call->request, 256u << 10);
    buf_init(&call->head, SIZE_MAX); /* http_answer counts */
    buf_init(&call->body, SIZE_MAX); /* answer_feed counts */
    return call;
}

static void call_free(struct client_call *call)
{
    buf_deinit(&call->request);
    buf_deinit(&call->head);
    buf_deinit(&call->body);
    free(call);
}

static void call_recycle(struct client_call *call)
{
    struct client *c = call->client;
    loop_timer_cancel(&call->timer);
    if (call->way)
        way_leave(c, call->way);
    call->way = NULL;
    call->state = CALL_FREE;
    call->out = NULL;
    c->n_calls--;
    if (call->body.cap > KEEP_BODY_BYTES)
        buf_deinit(&call->body);
    if (c->n_pool < (size_t)c->options.max_total_connections)
        c->pool[c->n_pool++] = call;
    else
        call_free(call);
}

static void call_tell(struct client_call *call)
{
    struct client *c = call->client;
    list_remove(&call->link);
    loop_timer_cancel(&call->timer);
    call->state = CALL_TELLING;
    struct err *err = call->err;
    call->err = NULL;
    bool ok = call->failure == CLIENT_OK, within = c->telling;
    c->telling = true;
    call->events->done(call->ctx, call->failure, err, ok ? &call->in : NULL);
    c->telling = within;
    call_recycle(call);
}

/* Off its list and its connection, without a slot. */
static void call_detach(struct client_call *call)
{
    if (call->state == CALL_QUEUED) {
        leave_queue(call);
        client_work_soon(call->client); /* those behind it may go other ways */
        return;
    }
    list_remove(&call->link);
    if (call->state != CALL_RUNNING)
        return;
    struct connection *k = call->connection;
    if (k && k->h2)
        h2_leave(call);
    else if (k)
        connection_close(k);
    call->connection = NULL;
    if (call->slot)
        give_slot_back(call->client, call->way->route);
    call->slot = false;
}

static void tell_later(struct client_call *call, enum client_failure failure, struct err *err)
{
    struct client *c = call->client;
    call->state = CALL_ENDED;
    call->failure = failure;
    call->err = err;
    list_push(&c->ended, &call->link);
    client_work_soon(c);
}

void call_end(struct client_call *call, enum client_failure failure, struct err *err)
{
    call_detach(call);
    tell_later(call, failure, err);
}

/* The receiver of one that pauses hears of the end after it has resumed. */
void call_answered(struct client_call *call)
{
    call_detach(call);
    if (call->paused)
        tell_later(call, CLIENT_OK, NULL);
    else
        call_tell(call);
}

void call_drop(struct client_call *call)
{
    call_detach(call);
    err_free(call->err);
    call->err = NULL;
    call_recycle(call);
}

void call_again(struct client_call *call)
{
    call_detach(call);
    answer_reset(call);
    start(call);
}

/* --- what is to do --- */

static bool tell_ended(struct client *c)
{
    for (struct list_link *l = c->ended.next; l != &c->ended; l = l->next) {
        struct client_call *call = LIST_OWNER(l, struct client_call, link);
        if (!call->paused || call->failure != CLIENT_OK) {
            call_tell(call); /* may end or cancel others */
            return true;
        }
    }
    return false;
}

static void read_todo(struct client *c)
{
    struct list_link now = {0}; /* what is put on the list meanwhile waits for the next round */
    list_push(&c->todo, &now);
    while (c->todo.next != &now) {
        struct connection *k = LIST_OWNER(c->todo.next, struct connection, todo);
        list_remove(&k->todo);
        exchange_read(k);
    }
    list_remove(&now);
}

static void client_work(struct loop_timer *timer)
{
    struct client *c = LIST_OWNER(timer, struct client, work);
    serve_waiting(c);
    for (int round = 0; round < MAX_ROUNDS; round++) {
        curl_run(c);
        read_todo(c);
        while (tell_ended(c))
            ;
        if (!c->curl_due && list_empty(&c->todo))
            return;
    }
    client_work_soon(c);
}

void client_work_soon(struct client *c)
{
    if (!loop_timer_is_set(&c->work))
        loop_timer_set(c->loop, &c->work, 0, client_work);
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
                     total ? "Request to" : "Silence in the answer of",
                     STR_ARG(call->way->route->key),
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
    call->out = out;
    call->limits = *limits;
    call->events = events;
    call->ctx = ctx;
    call->started_ms = call->last_ms = loop_now_ms(c->loop);
    call->in.arena = out->arena;
    call->retried = call->paused = call->in_event = call->cancelled = call->slot = false;
    call->moves = 0;
    call->failure = CLIENT_OK;
    call->err = NULL;
    answer_reset(call);
    c->n_calls++;
}

struct client_call *client_send(struct client *c, const struct http_out *out,
                                const struct client_limits *limits,
                                const struct client_events *events, void *ctx)
{
    struct client_call *call = call_new(c);
    call_begin(call, out, limits, events, ctx);
    struct url_parts url;
    if (url_take_apart(out->url, &url))
        call->way = way_get(c, &url, limits);
    if (!call->way) {
        tell_later(call, CLIENT_UNKNOWN_HOST, err_new(ERR_IO, "The URL is not valid"));
        return call;
    }
    const char *wrong = request_build(call, &url);
    if (wrong) {
        tell_later(call, CLIENT_BROKEN, err_new(ERR_IO, "%s", wrong));
        return call;
    }
    start(call);
    call_arm(call);
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
    if (!call->connection)
        client_work_soon(c);
    else if (call->connection->h2)
        h2_resume(call);
    else
        connection_work_soon(call->connection);
}

void client_cancel(struct client_call *call)
{
    if (call->cancelled || call->state == CALL_TELLING || call->state == CALL_FREE)
        return;
    if (!call->in_event) {
        call_drop(call);
        return;
    }
    /* Whoever told the event sees it when that returns; until then nothing happens to the call. */
    call->cancelled = true;
    loop_timer_cancel(&call->timer);
}

/* --- the whole --- */

struct client *client_new(struct loop *loop, const struct client_options *options)
{
    BUG_ON(options->max_total_connections < 1 || options->max_route_connections < 1);
    struct client *c = mem_new(sizeof *c);
    c->loop = loop;
    c->options = *options;
    c->ca_file = options->ca_file ? mem_strdup(options->ca_file) : NULL;
    c->options.ca_file = c->ca_file;
    c->routes = map_new();
    c->pool = mem_array((size_t)options->max_total_connections, sizeof(struct client_call *));
    c->scratch = malloc(SCRATCH_BYTES);
    BUG_ON(!c->scratch);
    list_init(&c->full);
    list_init(&c->running);
    list_init(&c->ended);
    list_init(&c->todo);
    list_init(&c->idle);
    curl_begin(c);
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
    BUG_ON(c->telling);
    while (!list_empty(&c->full)) { /* first, or they would get the slots of the others */
        struct route *r = LIST_OWNER(c->full.next, struct route, link);
        client_cancel(LIST_OWNER(r->waiting.next, struct client_call, link));
    }
    cancel_all(&c->running);
    cancel_all(&c->ended);
    read_todo(c); /* connections that calls have shared idle now, too */
    ways_free(c);
    curl_end(c);
    while (c->n_pool)
        call_free(c->pool[--c->n_pool]);
    loop_timer_cancel(&c->work);
    free(c->scratch);
    free(c->pool);
    free(c->ca_file);
    free(c);
}

void client_stats(const struct client *c, struct client_stats *out)
{
    long leased = 0;
    for (struct list_link *l = c->running.next; l != &c->running; l = l->next) {
        const struct client_call *call = LIST_OWNER(l, struct client_call, link);
        const struct connection *k = call->connection;
        leased += k && !k->opening && (!k->h2 || h2_is_first(call));
    }
    *out = (struct client_stats){.leased = leased,
                                 .pending = c->n_calls - leased,
                                 .available = c->n_idle,
                                 .max = c->options.max_total_connections};
}
