#include "limiter.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "bug.h"
#include "clock.h"
#include "map.h"

/* In place of the time of the next slot: there is somebody to ask under the lock. */
#define HELD INT64_MAX

struct limit_group {
    struct limiter *owner;
    char *key;
    size_t key_n;
    unsigned refs; /* under the owner's lock */
    int64_t interval_ns;
    _Atomic int64_t next_ns; /* when the next call may go, or HELD */
    struct circuit circuit;

    pthread_mutex_t lock;
    struct turns turns; /* its time of the next slot counts while HELD stands above */
    struct loop *home;  /* gives out slots; NULL: nobody waits */
    struct loop_timer alarm;
};

struct limit_wait {
    struct turn turn;
    struct loop_msg msg;
    struct limit_group *group;
    struct loop *loop;
    void (*told)(void *ctx, enum limit_answer);
    void *ctx;
    bool over;                /* the answer is on its way; under the group's lock */
    enum limit_answer answer; /* then */
    bool left;                /* nobody wants the answer; its loop's own */
};

struct limiter {
    pthread_mutex_t lock;
    struct map *groups;
};

struct limiter *limiter_new(void)
{
    struct limiter *l = mem_new(sizeof *l);
    pthread_mutex_init(&l->lock, NULL);
    l->groups = map_new();
    return l;
}

/* Alarms that were still to come hold their groups. */
static void alarms_end(struct limiter *l)
{
    size_t i = 0;
    struct str key;
    void *value;
    while (map_next(l->groups, &i, &key, &value)) {
        struct limit_group *g = value;
        if (g->home)
            limit_group_unref(g);
    }
}

void limiter_free(struct limiter *l)
{
    if (!l)
        return;
    alarms_end(l);
    BUG_ON(map_count(l->groups) != 0);
    map_free(l->groups);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* --- groups --- */

static struct limit_group *group_new(struct limiter *l, struct str key, int64_t per_minute)
{
    struct limit_group *g = mem_new(sizeof *g);
    g->owner = l;
    g->key = mem_new(key.n + 1);
    memcpy(g->key, key.p, key.n);
    g->key_n = key.n;
    g->refs = 1;
    g->interval_ns = INT64_C(60000000000) / per_minute;
    pthread_mutex_init(&g->lock, NULL);
    turns_init(&g->turns, g->interval_ns);
    return g;
}

struct limit_group *limiter_group(struct limiter *l, struct str key, int64_t requests_per_minute)
{
    BUG_ON(requests_per_minute <= 0);
    pthread_mutex_lock(&l->lock);
    struct limit_group *g = map_get(l->groups, key);
    if (g) {
        g->refs++;
    } else {
        g = group_new(l, key, requests_per_minute);
        map_put(l->groups, key, g);
    }
    pthread_mutex_unlock(&l->lock);
    return g;
}

static void group_ref(struct limit_group *g)
{
    pthread_mutex_lock(&g->owner->lock);
    g->refs++;
    pthread_mutex_unlock(&g->owner->lock);
}

void limit_group_unref(struct limit_group *g)
{
    if (!g)
        return;
    struct limiter *l = g->owner;
    pthread_mutex_lock(&l->lock);
    bool last = --g->refs == 0;
    if (last)
        map_take(l->groups, str_n(g->key, g->key_n));
    pthread_mutex_unlock(&l->lock);
    if (last) {
        BUG_ON(g->turns.n != 0);
        pthread_mutex_destroy(&g->lock);
        free(g->key);
        free(g);
    }
}

struct circuit *limit_group_circuit(struct limit_group *g)
{
    return &g->circuit;
}

uint64_t limit_group_name(const struct limit_group *g)
{
    return str_hash(str_n(g->key, g->key_n));
}

/* --- while nobody waits --- */

bool limiter_try(struct limit_group *g, int64_t now_ns)
{
    int64_t next = atomic_load_explicit(&g->next_ns, memory_order_relaxed);
    while (next <= now_ns) {
        if (atomic_compare_exchange_weak_explicit(&g->next_ns, &next, now_ns + g->interval_ns,
                                                  memory_order_relaxed, memory_order_relaxed))
            return true;
    }
    return false;
}

/* Under the lock. */
static void hold(struct limit_group *g)
{
    if (!g->home)
        g->turns.next_ns = atomic_exchange_explicit(&g->next_ns, HELD, memory_order_relaxed);
}

static void let_go(struct limit_group *g)
{
    if (!g->home)
        atomic_store_explicit(&g->next_ns, g->turns.next_ns, memory_order_relaxed);
}

/* --- telling --- */

static void tell(struct limit_wait *w)
{
    void (*told)(void *, enum limit_answer) = w->told;
    void *ctx = w->ctx;
    enum limit_answer answer = w->answer;
    bool left = w->left;
    free(w);
    if (!left)
        told(ctx, answer);
}

static void tell_run(struct loop_msg *msg)
{
    tell((struct limit_wait *)((char *)msg - offsetof(struct limit_wait, msg)));
}

/* Under the lock. */
static struct limit_wait *take(struct turn *turn, enum limit_answer answer)
{
    struct limit_wait *w = (struct limit_wait *)turn;
    w->over = true;
    w->answer = answer;
    return w;
}

static void tell_later(struct limit_wait *w)
{
    w->msg.run = tell_run;
    loop_post(w->loop, &w->msg);
}

/* Everyone whose slot has come. `here`: the loop on which they may be told at once; NULL: none. */
static void call_up(struct limit_group *g, int64_t now_ns, const struct loop *here)
{
    for (;;) {
        pthread_mutex_lock(&g->lock);
        struct turn *turn = turns_next(&g->turns, now_ns);
        struct limit_wait *w = turn ? take(turn, LIMIT_NOW) : NULL;
        pthread_mutex_unlock(&g->lock);
        if (!w)
            return;
        if (w->loop == here)
            tell(w);
        else
            tell_later(w);
    }
}

/* --- the alarm --- */

static void alarm_rings(struct loop_timer *timer);

static void alarm_set(struct limit_group *g, struct loop *home, int64_t at_ns)
{
    loop_timer_set(home, &g->alarm, at_ns / 1000000 + 1, alarm_rings);
}

static void alarm_rings(struct loop_timer *timer)
{
    struct limit_group *g =
        (struct limit_group *)((char *)timer - offsetof(struct limit_group, alarm));
    struct loop *home = timer->loop;
    call_up(g, clock_mono_ns(), home);
    pthread_mutex_lock(&g->lock);
    bool goes_on = g->turns.n > 0;
    int64_t at_ns = g->turns.next_ns;
    if (!goes_on) {
        g->home = NULL;
        let_go(g);
    }
    pthread_mutex_unlock(&g->lock);
    /* Once it has ended the timer may be another loop's. */
    if (goes_on)
        alarm_set(g, home, at_ns);
    else
        limit_group_unref(g);
}

/* --- waiting --- */

static struct limit_wait *wait_new(struct limit_group *g, const struct limit_ask *ask)
{
    struct limit_wait *w = mem_new(sizeof *w);
    w->turn.owner = ask->owner;
    w->turn.part = ask->part;
    w->turn.deadline_ns = ask->deadline_ns;
    w->group = g;
    w->loop = ask->loop;
    w->told = ask->told;
    w->ctx = ask->ctx;
    return w;
}

enum limit_answer limiter_wait(struct limit_group *g, const struct limit_ask *ask, int64_t now_ns,
                               struct limit_wait **out)
{
    struct limit_wait *w = wait_new(g, ask), *gone = NULL;
    struct turn *gives_way;
    call_up(g, now_ns, NULL); /* timers are coarser than slots may be */
    pthread_mutex_lock(&g->lock);
    hold(g);
    enum limit_answer answer = turns_join(&g->turns, &w->turn, ask->capacity, now_ns, &gives_way);
    bool first = answer == LIMIT_WAIT && !g->home;
    if (first)
        g->home = ask->loop;
    let_go(g);
    if (gives_way)
        gone = take(gives_way, LIMIT_FULL);
    int64_t at_ns = g->turns.next_ns;
    pthread_mutex_unlock(&g->lock);
    if (first) {
        group_ref(g);
        alarm_set(g, ask->loop, at_ns);
    }
    if (gone)
        tell_later(gone);
    if (answer != LIMIT_WAIT) {
        free(w);
        w = NULL;
    }
    *out = w;
    return answer;
}

/* Under the lock. */
static void give_back(struct limit_group *g, const struct turn *turn)
{
    hold(g);
    turns_give_back(&g->turns, turn);
    let_go(g);
}

void limiter_leave(struct limit_wait *w)
{
    struct limit_group *g = w->group;
    pthread_mutex_lock(&g->lock);
    bool over = w->over, slot = over && w->answer == LIMIT_NOW;
    if (slot)
        give_back(g, &w->turn);
    turns_leave(&g->turns, &w->turn);
    pthread_mutex_unlock(&g->lock);
    if (!over) {
        free(w);
        return;
    }
    w->left = true; /* who brings the answer frees it */
    if (slot)
        call_up(g, clock_mono_ns(), NULL);
}
