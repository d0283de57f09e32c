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
#include "log.h"
#include "metrics.h"
#include "model_private.h"

#define MAX_ALLOCATIONS   1024
#define MAX_THREADS       32
#define MAX_FAILURE_TEXTS 256

static struct str copy(struct str s)
{
    char *p = mem_new(s.n + 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    return str_n(p, s.n);
}

static struct deployment *deployment_new(struct models *m, const struct deployment_spec *spec)
{
    struct deployment *d = mem_new(sizeof(*d));
    atomic_init(&d->refs, 1);
    d->models = models_ref(m);
    d->id = copy(spec->id);
    d->model_id = copy(spec->model_id);
    d->num_threads = spec->num_threads;
    d->wanted = spec->num_allocations;
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

int deployment_fits(const struct deployment *d, int wanted)
{
    int processors = d->models->processors;
    int threads = d->num_threads < processors ? d->num_threads : processors;
    int most = processors / threads;
    return wanted < most ? wanted : most;
}

struct err *deployment_is_stopping(const struct deployment *d)
{
    return err_status(409, "Trained model [%.*s] is [stopping]", STR_ARG(d->id));
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

static struct flight *take_pending(struct deployment *d)
{
    struct flight *first = d->pending;
    for (struct flight *f = first; f; f = f->next)
        f->pending = false;
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

void deployment_end(struct deployment *d, struct waiter *w)
{
    pthread_mutex_lock(&d->lock);
    d->phase = STOPPING;
    size_t n = d->queue.n;
    struct sequence *waiting = queue_take_all(&d->queue), *next;
    d->n_reserved -= n;
    struct flight *pending = take_pending(d);
    if (w) {
        w->next = d->stop_waiters;
        d->stop_waiters = w;
    }
    struct waiter *ended = deployment_ended(d);
    pthread_cond_broadcast(&d->work);
    pthread_mutex_unlock(&d->lock);
    metric_add(METRIC_LOCAL_QUEUE, -(int64_t)n);
    for (; waiting; waiting = next) {
        next = waiting->next;
        flight_sequence_done(waiting->flight, deployment_is_stopping(d));
    }
    fail_pending(pending, deployment_is_stopping(d));
    waiters_post(ended, NULL);
}

/* --- starting --- */

static struct err *check_spec(const struct models *m, const struct deployment_spec *s)
{
    if (s->num_allocations < 0 || s->num_allocations > MAX_ALLOCATIONS)
        return err_new(ERR_ARGUMENT, "[num_allocations] must be from 0 to %d; got [%d]",
                       MAX_ALLOCATIONS, s->num_allocations);
    if (s->num_threads < 1 || s->num_threads > MAX_THREADS ||
        (s->num_threads & (s->num_threads - 1)))
        return err_new(ERR_ARGUMENT,
                       "[threads_per_allocation] must be a power of 2 less than or equal to %d",
                       MAX_THREADS);
    char *folder = snapshot_folder(m, s->model_id);
    free(folder);
    return folder ? NULL : snapshot_unknown(s->model_id);
}

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

/* Publishes what loading came to. Takes both. */
static void set_started(struct deployment *d, struct allocation *fresh, struct err *err)
{
    struct flight *next;
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
        d->n_allocations = n;
    }
    struct flight *pending = take_pending(d);
    struct waiter *start = d->start_waiters, *ended = deployment_ended(d);
    d->start_waiters = NULL;
    pthread_mutex_unlock(&d->lock);
    if (stopped) {
        allocations_discard(d->models, fresh);
        err_free(err);
        err = deployment_is_stopping(d);
    } else {
        log_start(d, err, n);
        allocations_run(fresh);
    }
    if (err)
        fail_pending(pending, stopped ? err_copy(err) : deployment_is_failed(d));
    else
        for (; pending; pending = next) {
            next = pending->next;
            flight_go(pending);
        }
    waiters_post(start, err);
    waiters_post(ended, NULL);
}

static void start_work(void *job)
{
    struct deployment *d = job;
    struct models *m = d->models;
    struct allocation *fresh = NULL;
    pthread_mutex_lock(&d->admin);
    struct err *err = parts_load(m, d->model_id, &d->parts);
    if (!err)
        err = allocations_new(d, deployment_fits(d, d->wanted), &fresh);
    set_started(d, fresh, err);
    pthread_mutex_unlock(&d->admin);
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

void deployment_start(struct models *m, const struct deployment_spec *spec, struct loop *loop,
                      void (*done)(void *ctx, struct err *), void *ctx)
{
    struct waiter *w = waiter_new(loop, done, ctx);
    struct err *err = check_spec(m, spec);
    if (err) {
        waiter_post(w, err);
        return;
    }
    struct deployment *failed = NULL, *d = NULL;
    pthread_mutex_lock(&m->lock);
    bool ending = m->ending;
    if (!ending && !join(m, spec->id, w, &failed)) {
        d = deployment_new(m, spec);
        d->start_waiters = w;
        map_put(m->deployments, d->id, d);
        deployment_ref(d); /* the job's */
    }
    pthread_mutex_unlock(&m->lock);
    if (ending)
        waiter_post(w, err_new(ERR_UNAVAILABLE, "the server is shutting down"));
    if (failed)
        deployment_unref(failed);
    if (d)
        models_run(m, start_work, d);
}

/* --- scaling and stopping --- */

struct scale {
    struct deployment *d;
    int n;
    struct waiter *waiter;
};

/* Makes what is missing. Those that are too many see it themselves once they have no batch. */
static struct err *scale_to(struct deployment *d, int n)
{
    pthread_mutex_lock(&d->lock);
    enum deployment_phase phase = d->phase;
    int missing = deployment_fits(d, n) - d->n_allocations;
    if (phase == STARTED && missing <= 0)
        d->wanted = n;
    pthread_cond_broadcast(&d->work);
    pthread_mutex_unlock(&d->lock);
    if (phase == STOPPING)
        return deployment_is_stopping(d);
    if (phase != STARTED)
        return err_status(409, "cannot update deployment that is not in [started] state");
    if (missing <= 0)
        return NULL;
    struct allocation *fresh;
    TRY(allocations_new(d, missing, &fresh));
    pthread_mutex_lock(&d->lock);
    bool stopped = d->phase == STOPPING;
    if (!stopped) {
        d->wanted = n;
        d->n_allocations += missing;
    }
    pthread_mutex_unlock(&d->lock);
    if (stopped) {
        allocations_discard(d->models, fresh);
        return deployment_is_stopping(d);
    }
    allocations_run(fresh);
    return NULL;
}

static void scale_work(void *job)
{
    struct scale s = *(struct scale *)job;
    struct models *m = s.d->models;
    free(job);
    pthread_mutex_lock(&s.d->admin);
    struct err *err = scale_to(s.d, s.n);
    pthread_mutex_unlock(&s.d->admin);
    if (!err)
        log_info("deployment scaled", LOG_S("deployment_id", s.d->id), LOG_I("allocations", s.n));
    waiter_post(s.waiter, err);
    models_reap(m);
    deployment_unref(s.d);
    models_job_done(m);
}

void deployment_scale(struct models *m, struct str id, int n, struct loop *loop,
                      void (*done)(void *ctx, struct err *), void *ctx)
{
    struct waiter *w = waiter_new(loop, done, ctx);
    if (n < 0 || n > MAX_ALLOCATIONS) {
        waiter_post(w, err_new(ERR_ARGUMENT, "[num_allocations] must be from 0 to %d; got [%d]",
                               MAX_ALLOCATIONS, n));
        return;
    }
    struct deployment *d = deployment_find(m, id);
    if (!d) {
        waiter_post(
            w, err_new(ERR_NOT_FOUND, "No known model deployment with id [%.*s]", STR_ARG(id)));
        return;
    }
    struct scale *s = mem_new(sizeof(*s));
    *s = (struct scale){d, n, w};
    models_run(m, scale_work, s);
}

void deployment_stop(struct models *m, struct str id, struct loop *loop,
                     void (*done)(void *ctx, struct err *), void *ctx)
{
    struct waiter *w = waiter_new(loop, done, ctx);
    pthread_mutex_lock(&m->lock);
    struct deployment *d = map_take(m->deployments, id);
    pthread_mutex_unlock(&m->lock);
    if (!d) {
        waiter_post(w, NULL);
        return;
    }
    log_info("deployment stopping", LOG_S("deployment_id", d->id));
    deployment_end(d, w);
    deployment_unref(d);
}

/* One of a model, as a reference; `take`: out of the registry. */
static struct deployment *of_model(struct models *m, struct str model_id, bool take)
{
    struct deployment *d = NULL;
    struct str id;
    void *found;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; !d && map_next(m->deployments, &i, &id, &found);)
        if (str_eq(((struct deployment *)found)->model_id, model_id))
            d = found;
    if (d && take)
        map_take(m->deployments, d->id);
    else if (d)
        deployment_ref(d);
    pthread_mutex_unlock(&m->lock);
    return d;
}

bool models_deployed(struct models *m, struct str model_id)
{
    struct deployment *d = of_model(m, model_id, false);
    if (d)
        deployment_unref(d);
    return d != NULL;
}

bool models_has_deployment(struct models *m, struct str id)
{
    struct deployment *d = deployment_find(m, id);
    if (d)
        deployment_unref(d);
    return d != NULL;
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
    for (struct deployment *d; (d = of_model(m, model_id, true));) {
        atomic_fetch_add(&s->left, 1);
        log_info("deployment stopping", LOG_S("deployment_id", d->id));
        deployment_end(d, waiter_new(loop, one_stopped, s));
        deployment_unref(d);
    }
    one_stopped(s, NULL);
}

void deployment_state(struct models *m, struct str id, struct deployment_state *out)
{
    *out = (struct deployment_state){0};
    struct deployment *d = deployment_find(m, id);
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    out->exists = true;
    out->started = d->phase == STARTED;
    out->num_allocations = d->wanted;
    out->num_threads = d->num_threads;
    out->queued = d->n_reserved;
    out->failure = d->failure;
    pthread_mutex_unlock(&d->lock);
    deployment_unref(d);
}

void deployment_submit(struct models *m, struct str id, struct call *call)
{
    struct deployment *d = deployment_find(m, id);
    if (!d) {
        call_fail(call,
                  err_new(ERR_NOT_FOUND, "No known model deployment with id [%.*s]", STR_ARG(id)));
        return;
    }
    flight_start(d, call);
    deployment_unref(d);
}
