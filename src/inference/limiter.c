#include "limiter.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "bug.h"
#include "map.h"

struct limit_group {
    struct limiter *owner;
    char *key;
    size_t key_n;
    unsigned refs; /* under the owner's lock */
    int64_t interval_ns;
    _Atomic int64_t next_ns; /* when the next call may go */
    _Atomic int64_t waiting;
    struct circuit circuit;
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

void limiter_free(struct limiter *l)
{
    if (!l)
        return;
    BUG_ON(map_count(l->groups) != 0);
    map_free(l->groups);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

static struct limit_group *group_new(struct limiter *l, struct str key, int64_t per_minute)
{
    struct limit_group *g = mem_new(sizeof *g);
    g->owner = l;
    g->key = mem_new(key.n + 1);
    memcpy(g->key, key.p, key.n);
    g->key_n = key.n;
    g->refs = 1;
    g->interval_ns = INT64_C(60000000000) / per_minute;
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

enum limit_answer limiter_reserve(struct limit_group *g, int64_t now_ns, int64_t deadline_ns,
                                  int64_t capacity, int64_t *at_ns)
{
    int64_t next = atomic_load_explicit(&g->next_ns, memory_order_relaxed);
    for (;;) {
        int64_t slot = next > now_ns ? next : now_ns;
        if (deadline_ns && slot > deadline_ns)
            return LIMIT_TOO_LATE;
        if (slot > now_ns && capacity &&
            atomic_load_explicit(&g->waiting, memory_order_relaxed) >= capacity)
            return LIMIT_FULL;
        if (atomic_compare_exchange_weak_explicit(&g->next_ns, &next, slot + g->interval_ns,
                                                  memory_order_relaxed, memory_order_relaxed)) {
            *at_ns = slot;
            if (slot == now_ns)
                return LIMIT_NOW;
            atomic_fetch_add_explicit(&g->waiting, 1, memory_order_relaxed);
            return LIMIT_WAIT;
        }
    }
}

void limiter_waited(struct limit_group *g)
{
    atomic_fetch_sub_explicit(&g->waiting, 1, memory_order_relaxed);
}
