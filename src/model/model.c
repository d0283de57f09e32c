/* The registry of deployments. Nothing here depends on a loop still running: at shutdown loops have
 * stopped, so state changes happen where the work is done (pool and allocation threads) and loops
 * only get messages. */
#include <stdlib.h>
#include <string.h>

#include "bug.h"
#include "model_private.h"

/* How long low priority stands back before it takes turns with everyone. */
#define LOW_PRIORITY_PATIENCE_MS 1000

struct models *models_new(const struct models_options *o, struct pool *pool)
{
    struct models *m = mem_new(sizeof(*m));
    atomic_init(&m->refs, 1);
    m->path = mem_strdup(o->path);
    m->processors = o->processors > 0 ? o->processors : 1;
    m->processors_left = m->processors;
    m->queue_capacity = o->queue_capacity ? o->queue_capacity : 1024;
    m->memory_bytes = o->memory_bytes;
    m->node_id = mem_strdup(o->node_id ? o->node_id : "node");
    m->node_name = mem_strdup(o->node_name ? o->node_name : "node");
    m->registry = o->registry;
    m->store = o->store;
    m->pool = pool;
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->idle, NULL);
    m->deployments = map_new();
    m->cores = cores_new(m->processors, o->cpus, LOW_PRIORITY_PATIENCE_MS);
    m->steward = steward_new(m, o->scale_interval_ms ? o->scale_interval_ms : 10000,
                             o->scale_cooldown_ms ? o->scale_cooldown_ms : 300000,
                             o->scale_to_zero_ms ? o->scale_to_zero_ms : 86400000);
    return m;
}

struct models *models_ref(struct models *m)
{
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void models_unref(struct models *m)
{
    if (atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
        return;
    BUG_ON(m->parts);
    map_free(m->deployments);
    cores_free(m->cores);
    pthread_cond_destroy(&m->idle);
    pthread_mutex_destroy(&m->lock);
    free(m->path);
    free(m->node_id);
    free(m->node_name);
    free(m);
}

void models_run(struct models *m, void (*work)(void *), void *job)
{
    pthread_mutex_lock(&m->lock);
    m->n_jobs++;
    pthread_mutex_unlock(&m->lock);
    pool_run(m->pool, NULL, work, NULL, job);
}

void models_job_done(struct models *m)
{
    pthread_mutex_lock(&m->lock);
    m->n_jobs--;
    pthread_cond_broadcast(&m->idle);
    pthread_mutex_unlock(&m->lock);
}

void models_reap(struct models *m)
{
    pthread_mutex_lock(&m->lock);
    struct allocation *a = m->ended;
    m->ended = NULL;
    pthread_mutex_unlock(&m->lock);
    for (struct allocation *i = a; i; i = i->next)
        pthread_join(i->thread, NULL);
    allocations_free(a);
}

void models_quiesce(struct models *m)
{
    if (!m)
        return;
    steward_stop(m->steward);
    pthread_mutex_lock(&m->lock);
    m->ending = true;
    pthread_mutex_unlock(&m->lock);
}

static struct deployment *take_any(struct models *m)
{
    struct str id;
    void *d = NULL;
    size_t i = 0;
    pthread_mutex_lock(&m->lock);
    if (map_next(m->deployments, &i, &id, &d))
        map_take(m->deployments, ((struct deployment *)d)->id);
    pthread_mutex_unlock(&m->lock);
    return d;
}

void models_free(struct models *m)
{
    if (!m)
        return;
    models_quiesce(m);
    steward_free(m->steward);
    for (struct deployment *d; (d = take_any(m));) {
        deployment_end(d, false, NULL);
        deployment_unref(d);
    }
    pthread_mutex_lock(&m->lock);
    while (m->n_jobs || m->n_threads)
        pthread_cond_wait(&m->idle, &m->lock);
    pthread_mutex_unlock(&m->lock);
    models_reap(m);
    models_unref(m);
}

struct waiter *waiter_new(struct loop *loop, void (*done)(void *, struct err *), void *ctx)
{
    struct waiter *w = mem_new(sizeof(*w));
    *w = (struct waiter){.loop = loop, .done = done, .ctx = ctx};
    return w;
}

static void waiter_run(struct loop_msg *msg)
{
    struct waiter w = *(struct waiter *)((char *)msg - offsetof(struct waiter, msg));
    free((char *)msg - offsetof(struct waiter, msg));
    if (w.done)
        w.done(w.ctx, w.err);
    else
        err_free(w.err);
}

void waiter_post(struct waiter *w, struct err *err)
{
    w->err = err;
    w->msg.run = waiter_run;
    loop_post(w->loop, &w->msg);
}

void waiters_post(struct waiter *list, struct err *err)
{
    struct waiter *next;
    for (struct waiter *w = list; w; w = next) {
        next = w->next;
        waiter_post(w, err ? err_copy(err) : NULL);
    }
    err_free(err);
}
