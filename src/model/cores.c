/* One lock; a line of those who wait for processors and another of those who wait for idle ones.
 * The first of a line is woken when it may go; it takes its place itself. */
#include "cores.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bug.h"

struct line {
    struct cores_turn *first, **end;
};

struct cores {
    pthread_mutex_t lock;
    int processors;
    int64_t patience_ms;
    int busy;    /* threads that run */
    int on_idle; /* threads of low priority that run beside them */
    struct line line, idle;
    atomic_bool crowded; /* busy and on_idle are more than there are: on_idle is to pause */
    int *cpus;           /* [processors], or NULL */
    bool *taken;         /* [processors]: the CPU is somebody's */
};

struct cores *cores_new(int processors, const int *cpus, int64_t patience_ms)
{
    struct cores *c = mem_new(sizeof(*c));
    c->processors = processors;
    c->patience_ms = patience_ms;
    c->line.end = &c->line.first;
    c->idle.end = &c->idle.first;
    pthread_mutex_init(&c->lock, NULL);
    if (cpus) {
        c->cpus = mem_array((size_t)processors, sizeof(*c->cpus));
        c->taken = mem_array((size_t)processors, sizeof(*c->taken));
        memcpy(c->cpus, cpus, (size_t)processors * sizeof(*cpus));
    }
    return c;
}

void cores_free(struct cores *c)
{
    if (!c)
        return;
    BUG_ON(c->busy || c->on_idle || c->line.first || c->idle.first);
    pthread_mutex_destroy(&c->lock);
    free(c->cpus);
    free(c->taken);
    free(c);
}

void cores_turn_init(struct cores_turn *t, int threads, bool low)
{
    pthread_condattr_t monotonic;
    *t = (struct cores_turn){.threads = threads, .low = low};
    BUG_ON(threads < 1 || threads > CORES_MOST_THREADS);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&t->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void cores_turn_deinit(struct cores_turn *t)
{
    BUG_ON(t->state != TURN_OUT);
    pthread_cond_destroy(&t->wake);
}

/* --- lines --- */

static void line_add(struct line *l, struct cores_turn *t)
{
    t->next = NULL;
    *l->end = t;
    l->end = &t->next;
}

static void line_remove(struct line *l, struct cores_turn *t)
{
    struct cores_turn **at = &l->first;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    if (!t->next)
        l->end = at;
}

static bool may_run(const struct cores *c, const struct cores_turn *t)
{
    return c->line.first == t && c->busy + t->threads <= c->processors;
}

static bool may_run_on_idle(const struct cores *c, const struct cores_turn *t)
{
    return !c->line.first && c->idle.first == t &&
           c->busy + c->on_idle + t->threads <= c->processors;
}

/* After every change: tells who may go now, and who should not go on. */
static void look(struct cores *c)
{
    struct cores_turn *next = c->line.first ? c->line.first : c->idle.first;
    if (next && (c->line.first ? may_run(c, next) : may_run_on_idle(c, next)))
        pthread_cond_signal(&next->wake);
    atomic_store_explicit(&c->crowded, c->on_idle && c->busy + c->on_idle > c->processors,
                          memory_order_relaxed);
}

static void wait_in_line(struct cores *c, struct cores_turn *t)
{
    line_add(&c->line, t);
    while (!may_run(c, t))
        pthread_cond_wait(&t->wake, &c->lock);
    line_remove(&c->line, t);
    c->busy += t->threads;
    t->state = TURN_IN;
    look(c);
}

/* False: there was none for so long that it waits like everyone. */
static bool wait_for_idle(struct cores *c, struct cores_turn *t)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += c->patience_ms / 1000;
    until.tv_nsec += c->patience_ms % 1000 * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    line_add(&c->idle, t);
    int r = 0;
    while (!may_run_on_idle(c, t) && r != ETIMEDOUT)
        r = pthread_cond_timedwait(&t->wake, &c->lock, &until);
    bool found = may_run_on_idle(c, t);
    line_remove(&c->idle, t);
    if (found) {
        c->on_idle += t->threads;
        t->state = TURN_ON_IDLE;
    }
    look(c);
    return found;
}

/* --- CPUs --- */

static bool still_free(const struct cores *c, const struct cores_turn *t)
{
    for (int i = 0; i < t->threads; i++)
        if (c->taken[t->slots[i]])
            return false;
    return true;
}

/* Neighbours, at a multiple of their number, as long as there are such: those share caches. */
static bool find_block(const struct cores *c, struct cores_turn *t)
{
    for (int at = 0; at + t->threads <= c->processors; at += t->threads) {
        for (int i = 0; i < t->threads; i++)
            t->slots[i] = at + i;
        if (still_free(c, t))
            return true;
    }
    return false;
}

static void find_any(const struct cores *c, struct cores_turn *t)
{
    int n = 0;
    for (int i = 0; i < c->processors && n < t->threads; i++)
        if (!c->taken[i])
            t->slots[n++] = i;
    BUG_ON(n < t->threads); /* a turn takes no more than is not busy */
}

static bool place(struct cores *c, struct cores_turn *t)
{
    if (!c->cpus || t->low)
        return false;
    bool stays = t->placed && still_free(c, t);
    if (!stays && !find_block(c, t))
        find_any(c, t);
    for (int i = 0; i < t->threads; i++)
        c->taken[t->slots[i]] = true;
    t->placed = true;
    return !stays;
}

static void unplace(struct cores *c, const struct cores_turn *t)
{
    if (!c->cpus || t->low)
        return;
    for (int i = 0; i < t->threads; i++)
        c->taken[t->slots[i]] = false;
}

void cores_cpus(const struct cores *c, const struct cores_turn *t, int *out)
{
    for (int i = 0; i < t->threads; i++)
        out[i] = c->cpus[t->slots[i]];
}

/* --- turns --- */

bool cores_enter(struct cores *c, struct cores_turn *t)
{
    pthread_mutex_lock(&c->lock);
    if (!t->low || !wait_for_idle(c, t))
        wait_in_line(c, t);
    bool moved = place(c, t);
    pthread_mutex_unlock(&c->lock);
    return moved;
}

static void go_out(struct cores *c, struct cores_turn *t)
{
    if (t->state == TURN_IN)
        c->busy -= t->threads;
    else
        c->on_idle -= t->threads;
    t->state = TURN_OUT;
}

void cores_leave(struct cores *c, struct cores_turn *t)
{
    pthread_mutex_lock(&c->lock);
    BUG_ON(t->state == TURN_OUT);
    go_out(c, t);
    unplace(c, t);
    look(c);
    pthread_mutex_unlock(&c->lock);
}

void cores_pause(struct cores *c, struct cores_turn *t)
{
    if (!atomic_load_explicit(&c->crowded, memory_order_relaxed))
        return;
    pthread_mutex_lock(&c->lock);
    if (t->state == TURN_ON_IDLE && c->busy + c->on_idle > c->processors) {
        go_out(c, t);
        if (!wait_for_idle(c, t))
            wait_in_line(c, t);
    }
    pthread_mutex_unlock(&c->lock);
}
