#include "readiness.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "bug.h"
#include "clock.h"
#include "log.h"

struct readiness {
    struct store *store;
    struct pool *pool;
    atomic_bool draining;
    pthread_mutex_t lock;
    bool trying, known, good;
    int64_t began_ms, ended_ms; /* of the last try */
    struct readiness_question *waiting;
};

struct readiness *readiness_new(struct store *store, struct pool *pool)
{
    struct readiness *r = mem_new(sizeof *r);
    r->store = store;
    r->pool = pool;
    atomic_init(&r->draining, false);
    BUG_ON(pthread_mutex_init(&r->lock, NULL) != 0);
    return r;
}

void readiness_free(struct readiness *r)
{
    if (!r)
        return;
    pthread_mutex_destroy(&r->lock);
    free(r);
}

void readiness_drain(struct readiness *r)
{
    atomic_store(&r->draining, true);
}

/* --- the try --- */

static struct err *write_and_read(struct store *s, struct arena *arena)
{
    static const struct str id = STR_INIT("readiness");
    char time[25];
    struct doc doc;
    uint64_t rev;
    clock_iso8601(clock_wall_ms(), time);
    TRY(store_put(s, STORE_META, id, str_c(time), STORE_ANY_REV, &rev));
    TRY(store_get(s, STORE_META, id, arena, &doc));
    if (!str_eq_c(doc.body, time))
        return err_new(ERR_IO, "the store has not kept what was written to it");
    return NULL;
}

static void tell(struct loop_msg *msg)
{
    struct readiness_question *q =
        (struct readiness_question *)((char *)msg - offsetof(struct readiness_question, msg));
    loop_timer_cancel(&q->timer);
    q->told(q);
}

/* Nobody else touches these any more: out of the list, a timer finds nothing to do. */
static void tell_all(struct readiness_question *q, bool good)
{
    struct readiness_question *next;
    for (; q; q = next) {
        next = q->next;
        q->store = good ? READINESS_STORE_GOOD : READINESS_STORE_FAILED;
        q->msg.run = tell;
        loop_post(q->loop, &q->msg);
    }
}

static void try_store(void *job)
{
    struct readiness *r = job;
    struct arena *arena = arena_new((size_t)1 << 20);
    struct err *e = write_and_read(r->store, arena);
    bool good = !e;
    if (e)
        log_error("the store does not work", LOG_E(e));
    err_free(e);
    arena_free(arena);
    pthread_mutex_lock(&r->lock);
    r->trying = false;
    r->known = true;
    r->good = good;
    r->ended_ms = clock_mono_ms();
    struct readiness_question *waiting = r->waiting;
    r->waiting = NULL;
    for (struct readiness_question *q = waiting; q; q = q->next)
        q->waiting = false;
    pthread_mutex_unlock(&r->lock);
    tell_all(waiting, good);
}

/* --- asking --- */

static void leave(struct readiness *r, struct readiness_question *q)
{
    struct readiness_question **at = &r->waiting;
    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    q->waiting = false;
}

static void too_slow(struct loop_timer *timer)
{
    struct readiness_question *q =
        (struct readiness_question *)((char *)timer - offsetof(struct readiness_question, timer));
    struct readiness *r = q->readiness;
    pthread_mutex_lock(&r->lock);
    bool waiting = q->waiting;
    if (waiting)
        leave(r, q);
    pthread_mutex_unlock(&r->lock);
    if (!waiting)
        return; /* its answer is on the way */
    q->store = READINESS_STORE_SLOW;
    q->told(q);
}

/* With the lock held. True: the answer is known. */
static bool knows(const struct readiness *r, int64_t now_ms, enum readiness_store *out)
{
    *out = READINESS_STORE_SLOW;
    if (r->trying)
        return now_ms - r->began_ms >= READINESS_WAIT_MS;
    *out = r->good ? READINESS_STORE_GOOD : READINESS_STORE_FAILED;
    return r->known && now_ms - r->ended_ms < READINESS_KEEP_MS;
}

/* With the lock held. True: the caller has to begin a try. */
static bool wait_for_it(struct readiness *r, struct readiness_question *q, int64_t now_ms)
{
    bool begin = !r->trying;
    q->waiting = true;
    q->next = r->waiting;
    r->waiting = q;
    if (begin) {
        r->trying = true;
        r->began_ms = now_ms;
    }
    loop_timer_set(q->loop, &q->timer, r->began_ms + READINESS_WAIT_MS, too_slow);
    return begin;
}

void readiness_ask(struct readiness *r, struct readiness_question *q, struct loop *loop,
                   void (*told)(struct readiness_question *))
{
    int64_t now_ms = clock_mono_ms();
    bool begin = false;
    q->readiness = r;
    q->loop = loop;
    q->told = told;
    q->draining = atomic_load(&r->draining);
    pthread_mutex_lock(&r->lock);
    bool known = knows(r, now_ms, &q->store);
    if (!known)
        begin = wait_for_it(r, q, now_ms);
    pthread_mutex_unlock(&r->lock);
    if (known)
        told(q);
    else if (begin)
        pool_run(r->pool, NULL, try_store, NULL, r);
}
