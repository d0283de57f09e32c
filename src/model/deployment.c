/* A deployment from its start to its end.
 *
 *   STARTING --loaded--> STARTED --stop--> STOPPING --last allocation left--> gone
 *       \--broken--> FAILED --stop or a new start--> gone
 *
 * Stopping takes it out of the registry at once, so the id is free again while batches still run.
 */
#include <stdlib.h>
#include <string.h>

#include "bug.h"
#include "clock.h"
#include "log.h"
#include "metrics.h"
#include "model_private.h"

#define MAX_FAILURE_TEXTS 256

static struct str copy(struct str s)
{
    char *p = mem_new(s.n + 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    return str_n(p, s.n);
}

/* With m->lock held. */
static struct deployment *deployment_new(struct models *m, const struct deployment_spec *spec)
{
    struct deployment *d = mem_new(sizeof(*d));
    atomic_init(&d->refs, 1);
    d->models = models_ref(m);
    d->id = copy(spec->id);
    d->model_id = copy(spec->model_id);
    d->num_threads = spec->num_threads;
    d->wanted = spec->num_allocations;
    d->queue_capacity =
        spec->queue_capacity > 0 ? spec->queue_capacity : (int64_t)m->queue_capacity;
    d->cache_bytes = spec->cache_bytes;
    d->low_priority = spec->low_priority;
    d->has_adaptive = spec->has_adaptive;
    d->adaptive = spec->adaptive;
    d->by_api = spec->by_api;
    d->restored = spec->restored;
    d->number = m->n_started++;
    d->wait_for = spec->wait_for;
    d->start_ms = clock_wall_ms();
    numbers_init(&d->numbers, d->start_ms);
    d->pending_end = &d->pending;
    d->starting = true;
    pthread_mutex_init(&d->admin, NULL);
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->work, NULL);
    return d;
}

struct deployment *deployment_ref(struct deployment *d)
{
    atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
    return d;
}

void deployment_unref(struct deployment *d)
{
    if (atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) != 1)
        return;
    BUG_ON(d->queue.n || d->pending || d->n_allocations);
    recall_free(d->recall);
    parts_unref(d->models, d->parts);
    pthread_cond_destroy(&d->work);
    pthread_mutex_destroy(&d->lock);
    pthread_mutex_destroy(&d->admin);
    models_unref(d->models);
    free((char *)(uintptr_t)d->id.p);
    free((char *)(uintptr_t)d->model_id.p);
    free(d);
}

struct deployment *deployment_find(struct models *m, struct str id)
{
    pthread_mutex_lock(&m->lock);
    struct deployment *d = map_get(m->deployments, id);
    if (d)
        deployment_ref(d);
    pthread_mutex_unlock(&m->lock);
    return d;
}

struct err *deployment_is_stopping(const struct deployment *d)
{
    return err_status(409, "Trained model [%.*s] is [stopping]", STR_ARG(d->id));
}

struct err *deployment_unknown(struct str id)
{
    return err_new(ERR_NOT_FOUND, "No known model deployment with id [%.*s]", STR_ARG(id));
}

struct err *deployment_is_failed(const struct deployment *d)
{
    return err_status(409, "Trained model [%.*s] is [failed]: %s", STR_ARG(d->id), d->failure);
}

struct waiter *deployment_ended(struct deployment *d)
{
    if (d->phase != STOPPING || d->starting || d->n_allocations)
        return NULL;
    struct waiter *w = d->stop_waiters;
    d->stop_waiters = NULL;
    return w;
}

void deployment_unreserve(struct deployment *d, const struct flight *f, size_t n)
{
    d->n_reserved -= n;
    d->n_guests -= f->guest ? n : 0;
    d->queue.owners[f->owner].n_held -= n;
    metric_add(METRIC_LOCAL_QUEUE, -(int64_t)n);
    if (d->draining && !d->n_reserved)
        pthread_cond_broadcast(&d->work); /* time to leave */
}

struct flight *deployment_take_pending(struct deployment *d)
{
    struct flight *first = d->pending;
    for (struct flight *f = first; f; f = f->next) {
        f->pending = false;
        if (f->unplaced)
            atomic_fetch_sub(&d->models->n_unplaced, 1);
        f->unplaced = false;
    }
    d->pending = NULL;
    d->pending_end = &d->pending;
    return first;
}

static void fail_pending(struct flight *f, struct err *err)
{
    struct flight *next;
    for (; f; f = next) {
        next = f->next;
        flight_fail(f, err_copy(err));
    }
    err_free(err);
}

void deployment_fail_pending(struct deployment *d, struct err *err)
{
    pthread_mutex_lock(&d->lock);
    struct flight *pending = deployment_take_pending(d);
    pthread_mutex_unlock(&d->lock);
    fail_pending(pending, err);
}

/* Nothing runs what waits when there are no allocations. */
static struct sequence *take_waiting(struct deployment *d)
{
    if (d->draining && d->n_allocations)
        return NULL;
    d->draining = false;
    struct sequence *waiting = queue_take_all(&d->queue);
    for (struct sequence *s = waiting; s; s = s->next)
        document_left_queue(s->document);
    return waiting;
}

void deployment_end(struct deployment *d, bool drain, struct waiter *w)
{
    struct sequence *next;
    account_close(d);
    pthread_mutex_lock(&d->lock);
    d->phase = STOPPING;
    d->draining = drain;
    struct sequence *waiting = take_waiting(d);
    struct flight *pending = deployment_take_pending(d);
    if (w) {
        w->next = d->stop_waiters;
        d->stop_waiters = w;
    }
    struct waiter *ended = deployment_ended(d);
    pthread_cond_broadcast(&d->work);
    pthread_mutex_unlock(&d->lock);
    for (; waiting; waiting = next) {
        next = waiting->next;
        flight_part_done(waiting->document->flight, deployment_is_stopping(d));
    }
    fail_pending(pending, deployment_is_stopping(d));
    waiters_post(ended, NULL);
}

/* --- starting --- */

static void log_start(const struct deployment *d, const struct err *err, int n)
{
    if (err)
        log_error("deployment failed to start", LOG_S("deployment_id", d->id),
                  LOG_S("model_id", d->model_id), LOG_E(err));
    else
        log_info("deployment started", LOG_S("deployment_id", d->id),
                 LOG_S("model_id", d->model_id), LOG_I("allocations", n),
                 LOG_I("threads_per_allocation", d->num_threads),
                 LOG_C("kernels", engine_kernels()));
}

static size_t count(const struct allocation *a)
{
    size_t n = 0;
    for (; a; a = a->next)
        n++;
    return n;
}

/* Texts that outlive every deployment. There are as many as there are ways to fail; past a bound
 * that no honest operator reaches, one text serves for all. */
static const char *intern(const char *text)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct map *texts;
    const char *known = "it could not be loaded";
    pthread_mutex_lock(&lock);
    if (!texts)
        texts = map_new();
    const char *found = map_get(texts, str_c(text));
    if (found) {
        known = found;
    } else if (map_count(texts) < MAX_FAILURE_TEXTS) {
        known = mem_strdup(text);
        map_put(texts, str_c(text), (void *)(uintptr_t)known);
    }
    pthread_mutex_unlock(&lock);
    return known;
}

void flights_go(struct flight *pending)
{
    struct flight *next;
    for (; pending; pending = next) {
        next = pending->next;
        flight_go(pending);
    }
}

/* Publishes what loading came to. Takes both. */
static void set_started(struct deployment *d, struct allocation *fresh, struct err *err)
{
    int n = (int)count(fresh);
    const char *failure = err ? intern(err->reason) : NULL;
    pthread_mutex_lock(&d->lock);
    d->starting = false;
    bool stopped = d->phase == STOPPING;
    if (!stopped && err) {
        d->phase = FAILED;
        d->failure = failure;
    } else if (!stopped) {
        d->phase = STARTED;
        d->n_allocations = d->most_assigned = n;
        d->grown_ms = clock_mono_ms();
    }
    bool at_zero = d->phase == STARTED && !d->wanted;
    struct flight *pending = at_zero ? NULL : deployment_take_pending(d);
    struct waiter *start = d->start_waiters, *ended = deployment_ended(d);
    d->start_waiters = NULL;
    pthread_mutex_unlock(&d->lock);
    if (stopped) {
        allocations_discard(d->models, fresh);
        err_free(err);
        err = d->by_api ? err_status(400, "Error waiting for the model deployment to start. The "
                                          "trained model assignment was removed while waiting")
                        : deployment_is_stopping(d);
    } else {
        log_start(d, err, n);
        allocations_run(fresh);
    }
    if (err)
        fail_pending(pending, stopped ? deployment_is_stopping(d) : deployment_is_failed(d));
    else
        flights_go(pending);
    flights_at_zero(d);
    waiters_post(start, err);
    waiters_post(ended, NULL);
}

/* Those who only wait to hear that it may start. */
static void tell_starting(struct deployment *d)
{
    if (d->wait_for != WAIT_STARTING)
        return;
    pthread_mutex_lock(&d->lock);
    struct waiter *start = d->start_waiters;
    d->start_waiters = NULL;
    pthread_mutex_unlock(&d->lock);
    waiters_post(start, NULL);
}

/* The model's own id, where an alias was given. */
static void set_model(struct deployment *d, struct str model_id)
{
    struct str own = copy(model_id), old = own;
    pthread_mutex_lock(&d->models->lock);
    if (!str_eq(d->model_id, own)) {
        old = d->model_id;
        d->model_id = own;
    }
    pthread_mutex_unlock(&d->models->lock);
    free((char *)(uintptr_t)old.p);
}

static struct err *load(struct deployment *d, const struct source *s, struct allocation **fresh)
{
    TRY(parts_load(d->models, s, &d->parts));
    if (d->cache_bytes > 0)
        d->recall = recall_new((size_t)d->cache_bytes);
    pthread_mutex_lock(&d->lock);
    int n = d->granted;
    pthread_mutex_unlock(&d->lock);
    TRY(allocations_new(d, n, fresh));
    parts_rest(d->models, d->parts);
    return NULL;
}

/* As the API says that every node failed, of which there is one. */
static struct err *all_failed(struct deployment *d, struct err *err)
{
    if (!err || !d->by_api)
        return err;
    struct err *outer = err_status(500,
                                   "Could not start trained model deployment, the following nodes "
                                   "failed with errors [{%s=%s}]",
                                   d->models->node_id, err->reason);
    err_free(err);
    return outer;
}

static struct err *start_it(struct deployment *d, struct arena *a, struct allocation **fresh)
{
    struct source source;
    TRY(source_find(d->models, d->model_id, a, &source));
    set_model(d, source.model_id);
    struct err *err = admit_source(d, &source);
    if (!err && d->by_api && !d->restored)
        err = remember(d);
    if (!err) {
        tell_starting(d);
        err = all_failed(d, load(d, &source, fresh));
    }
    source_deinit(&source);
    return err;
}

/* What the API started and what failed is not left lying about. */
static void remove_failed(struct deployment *d)
{
    struct models *m = d->models;
    forget(d);
    pthread_mutex_lock(&m->lock);
    bool listed = map_get(m->deployments, d->id) == d;
    if (listed)
        map_take(m->deployments, d->id);
    pthread_mutex_unlock(&m->lock);
    if (listed)
        deployment_unref(d);
}

static void start_work(void *job)
{
    struct deployment *d = job;
    struct models *m = d->models;
    struct allocation *fresh = NULL;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    pthread_mutex_lock(&d->admin);
    struct err *err = start_it(d, a, &fresh);
    if (err)
        account_close(d);
    if (err && d->by_api && !d->restored)
        remove_failed(d);
    set_started(d, fresh, err);
    pthread_mutex_unlock(&d->admin);
    deployment_fill(d); /* of what it has been granted meanwhile */
    steward_wake(m->steward);
    arena_free(a);
    models_reap(m);
    deployment_unref(d);
    models_job_done(m);
}

/* Under m->lock: joins a deployment that is there already. False: there is none to join; a failed
 * one has been taken out and is in *failed_out. */
static bool join(struct models *m, struct str id, struct waiter *w, struct deployment **failed_out)
{
    *failed_out = NULL;
    struct deployment *d = map_get(m->deployments, id);
    if (!d)
        return false;
    pthread_mutex_lock(&d->lock);
    enum deployment_phase phase = d->phase;
    if (phase == STARTING) {
        w->next = d->start_waiters;
        d->start_waiters = w;
    }
    pthread_mutex_unlock(&d->lock);
    if (phase == STARTED)
        waiter_post(w, NULL);
    if (phase == FAILED)
        *failed_out = map_take(m->deployments, id);
    return phase != FAILED;
}

static struct err *is_there(struct str id)
{
    return err_status(400,
                      "Could not start model deployment because an existing deployment with the "
                      "same id [%.*s] exist",
                      STR_ARG(id));
}

/* Under m->lock. */
static struct err *check_new(struct models *m, const struct deployment_spec *spec)
{
    if (m->ending)
        return err_new(ERR_UNAVAILABLE, "the server is shutting down");
    bool there = map_get(m->deployments, spec->id) != NULL;
    if (map_count(m->deployments) >= DEPLOYMENTS_MAX && (spec->by_api || !there))
        return err_status(429,
                          "Could not start model deployment because existing deployments reached "
                          "the limit of [%d]",
                          DEPLOYMENTS_MAX);
    return spec->by_api && there ? is_there(spec->id) : NULL;
}

void deployment_start(struct models *m, const struct deployment_spec *spec, struct loop *loop,
                      void (*done)(void *ctx, struct err *), void *ctx)
{
    struct waiter *w = waiter_new(loop, done, ctx);
    struct err *err = admit_spec(spec);
    struct deployment *failed = NULL, *d = NULL;
    pthread_mutex_lock(&m->lock);
    if (!err)
        err = check_new(m, spec);
    if (!err && !join(m, spec->id, w, &failed)) {
        d = deployment_new(m, spec);
        d->start_waiters = w;
        map_put(m->deployments, d->id, d);
        deployment_ref(d); /* the job's */
    }
    pthread_mutex_unlock(&m->lock);
    if (err)
        waiter_post(w, err);
    if (failed)
        deployment_unref(failed);
    if (d)
        models_run(m, start_work, d);
}

/* --- stopping --- */

struct stop {
    struct deployment *d;
    bool drain;
    struct waiter *waiter;
};

static void stop_work(void *job)
{
    struct stop s = *(struct stop *)job;
    struct models *m = s.d->models;
    free(job);
    pthread_mutex_lock(&s.d->admin);
    forget(s.d);
    pthread_mutex_unlock(&s.d->admin);
    deployment_end(s.d, s.drain, s.waiter);
    deployment_unref(s.d);
    models_job_done(m);
}

/* Out of the registry already; takes the reference. What the store knows of it goes first, so that
 * whoever is told that it has stopped will not find it again after a restart. */
static void stop_it(struct deployment *d, bool drain, struct waiter *w)
{
    log_info("deployment stopping", LOG_S("deployment_id", d->id));
    if (!d->by_api) {
        deployment_end(d, drain, w);
        deployment_unref(d);
        return;
    }
    struct stop *s = mem_new(sizeof(*s));
    *s = (struct stop){d, drain, w};
    models_run(d->models, stop_work, s);
}

void deployment_stop(struct models *m, struct str id, bool drain, struct loop *loop,
                     void (*done)(void *ctx, struct err *), void *ctx)
{
    struct waiter *w = waiter_new(loop, done, ctx);
    pthread_mutex_lock(&m->lock);
    struct deployment *d = map_take(m->deployments, id);
    pthread_mutex_unlock(&m->lock);
    if (d)
        stop_it(d, drain, w);
    else
        waiter_post(w, NULL);
}

/* Out of the registry: any of a model. */
static struct deployment *take_of_model(struct models *m, struct str model_id)
{
    struct deployment *d = NULL;
    struct str id;
    void *found;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; !d && map_next(m->deployments, &i, &id, &found);)
        if (str_eq(((struct deployment *)found)->model_id, model_id))
            d = found;
    if (d)
        map_take(m->deployments, d->id);
    pthread_mutex_unlock(&m->lock);
    return d;
}

/* Stops of several deployments that are waited for together. */
struct stop_all {
    struct waiter *waiter;
    atomic_size_t left;
};

static void one_stopped(void *ctx, struct err *err)
{
    struct stop_all *s = ctx;
    err_free(err);
    if (atomic_fetch_sub(&s->left, 1) != 1)
        return;
    waiter_post(s->waiter, NULL);
    free(s);
}

void models_stop_all(struct models *m, struct str model_id, struct loop *loop,
                     void (*done)(void *ctx, struct err *), void *ctx)
{
    struct stop_all *s = mem_new(sizeof(*s));
    s->waiter = waiter_new(loop, done, ctx);
    atomic_init(&s->left, 1);
    for (struct deployment *d; (d = take_of_model(m, model_id));) {
        atomic_fetch_add(&s->left, 1);
        stop_it(d, false, waiter_new(loop, one_stopped, s));
    }
    one_stopped(s, NULL);
}
