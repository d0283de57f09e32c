#include "steward.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "bug.h"
#include "clock.h"
#include "log.h"
#include "model_private.h"

/* How often it looks whether a round is due. */
#define LOOK_MS 250

struct steward {
    struct models *models;
    struct scaling_limits limits;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool ending, woken;
};

/* --- one deployment --- */

/* What the steward reads of it in one look. */
struct glance {
    struct scaling_view view;
    struct scaler_limits bounds;
    bool asked, waking;
};

static void look(struct deployment *d, double zero_after, struct glance *out)
{
    const struct numbers *n = &d->numbers;
    pthread_mutex_lock(&d->lock);
    *out = (struct glance){
        .view = {.counts = {.completed = (uint64_t)n->inferences,
                            .failed = (uint64_t)(n->errors + n->timeouts + n->rejected),
                            .busy_seconds = n->ms / 1000},
                 .waiting = d->n_reserved,
                 .allocations = d->wanted,
                 .started = d->phase == STARTED,
                 .grown_ms = d->grown_ms},
        .bounds = {.min = d->adaptive.has_min ? (int)d->adaptive.min : 0,
                   .max = d->adaptive.has_max ? (int)d->adaptive.max : 0,
                   .zero_after = zero_after},
        .asked = d->pending != NULL,
        .waking = d->tended.waking,
    };
    pthread_mutex_unlock(&d->lock);
}

static void show(struct deployment *d)
{
    struct tended *t = &d->tended;
    const struct scaler *s = &t->scaling.scaler;
    pthread_mutex_lock(&d->lock);
    t->rate = s->rate.known ? s->rate.value : 0;
    t->seconds = s->time.known ? s->time.value : 0;
    t->needed = s->needed;
    pthread_mutex_unlock(&d->lock);
}

static void log_failure(struct deployment *d, int n, const struct err *err)
{
    if (!d->tended.failed)
        log_warn("adaptive allocations scaler: scaling failed", LOG_S("deployment_id", d->id),
                 LOG_I("allocations", n), LOG_E(err));
    d->tended.failed = true;
}

/* What the calls are told that waited for a first allocation. Takes the err. It is the node's
 * fault, not theirs. */
static struct err *not_made(const struct deployment *d, struct err *err)
{
    struct err *told = err;
    if (err->status != 429 && err->status != 409) {
        told = err_status(409, "Trained model deployment [%.*s] is not allocated to any nodes: %s",
                          STR_ARG(d->id), err->reason);
        err_free(err);
    }
    told->elsewhere = true;
    return told;
}

static void resize(struct deployment *d, int from, int n, const char *reason)
{
    int now = n;
    struct err *err = deployment_scale(d, from, &now, reason);
    if (err) {
        log_failure(d, n, err);
        if (from == 0)
            deployment_fail_pending(d, not_made(d, err));
        else
            err_free(err);
        return;
    }
    d->tended.failed = false;
    if (now == from) /* no room, or something waits */
        return;
    log_info("adaptive allocations scaler: scaled", LOG_S("deployment_id", d->id),
             LOG_I("from", from), LOG_I("allocations", now), LOG_C("reason", reason));
}

struct first_ones {
    struct deployment *deployment;
    int n;
    const char *reason;
};

static void first_ones_work(void *job)
{
    struct first_ones f = *(struct first_ones *)job;
    struct deployment *d = f.deployment;
    struct models *m = d->models;
    free(job);
    resize(d, 0, f.n, f.reason);
    pthread_mutex_lock(&d->lock);
    d->tended.waking = false;
    pthread_mutex_unlock(&d->lock);
    steward_wake(m->steward); /* more may be waiting than one can do */
    models_reap(m);
    deployment_unref(d);
    models_job_done(m);
}

/* From none. The model is loaded on the pool, so that others are looked after meanwhile; until that
 * is done this one is left alone. */
static void make_first(struct deployment *d, int n, const char *reason)
{
    struct first_ones *f = mem_new(sizeof(*f));
    *f = (struct first_ones){deployment_ref(d), n, reason};
    pthread_mutex_lock(&d->lock);
    d->tended.waking = true;
    pthread_mutex_unlock(&d->lock);
    models_run(d->models, first_ones_work, f);
}

static void tend(struct steward *s, struct deployment *d)
{
    struct glance g;
    struct scaling_limits limits = s->limits;
    struct scaling_decision decision;
    struct scaling *scaling = &d->tended.scaling;
    int64_t now = clock_mono_ms();
    look(d, limits.scaler.zero_after, &g);
    limits.scaler = g.bounds;
    if (!d->tended.known)
        scaling_init(scaling, g.view.allocations, now);
    d->tended.known = true;
    if (g.waking)
        return;
    if (g.asked && g.view.started && g.view.allocations == 0) {
        scaling_woken(scaling, now);
        make_first(d, 1, "a request came while it had no allocation");
        return;
    }
    if (!scaling_due(scaling, &g.view, &limits, now))
        return;
    scaling_round(scaling, &g.view, &limits, now, &decision);
    show(d);
    if (decision.allocations > 0 && decision.from == 0)
        make_first(d, decision.allocations, decision.reason);
    else if (decision.allocations >= 0)
        resize(d, decision.from, decision.allocations, decision.reason);
}

/* --- all of them --- */

static bool is_adaptive(struct deployment *d)
{
    pthread_mutex_lock(&d->lock);
    bool yes = d->has_adaptive && d->adaptive.enabled && d->phase != FAILED;
    pthread_mutex_unlock(&d->lock);
    return yes;
}

/* References to those with adaptive allocations; the number of them. */
static size_t take_adaptive(struct models *m, struct deployment *out[DEPLOYMENTS_MAX])
{
    struct str id;
    void *value;
    size_t n = 0, at = 0;
    pthread_mutex_lock(&m->lock);
    while (n < DEPLOYMENTS_MAX && map_next(m->deployments, &at, &id, &value)) {
        struct deployment *d = value;
        if (is_adaptive(d))
            out[n++] = deployment_ref(d);
        else
            d->tended.known = false; /* begins anew when it is switched on */
    }
    pthread_mutex_unlock(&m->lock);
    return n;
}

static void wait_for_work(struct steward *s, bool any)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&s->lock);
    int r = 0;
    while (!s->woken && !s->ending && r != ETIMEDOUT) {
        if (any)
            r = pthread_cond_timedwait(&s->wake, &s->lock, &until);
        else
            pthread_cond_wait(&s->wake, &s->lock);
    }
    s->woken = false;
    pthread_mutex_unlock(&s->lock);
}

static bool is_ending(struct steward *s)
{
    pthread_mutex_lock(&s->lock);
    bool ending = s->ending;
    pthread_mutex_unlock(&s->lock);
    return ending;
}

static void *thread_main(void *arg)
{
    struct steward *s = arg;
    struct deployment *list[DEPLOYMENTS_MAX];
    pthread_setname_np(pthread_self(), "steward");
    while (!is_ending(s)) {
        size_t n = take_adaptive(s->models, list);
        for (size_t i = 0; i < n; i++) {
            tend(s, list[i]);
            deployment_unref(list[i]);
        }
        models_reap(s->models);
        wait_for_work(s, n > 0);
    }
    return NULL;
}

struct steward *steward_new(struct models *m, int64_t interval_ms, int64_t cooldown_ms,
                            int64_t zero_after_ms)
{
    struct steward *s = mem_new(sizeof(*s));
    pthread_condattr_t monotonic;
    sigset_t all, old;
    s->models = m;
    s->limits = (struct scaling_limits){.scaler = {.zero_after = (double)zero_after_ms / 1000},
                                        .interval_ms = interval_ms,
                                        .cooldown_ms = cooldown_ms};
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    sigfillset(&all); /* signals are for the main thread */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    BUG_ON(pthread_create(&s->thread, NULL, thread_main, s) != 0);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return s;
}

void steward_stop(struct steward *s)
{
    pthread_mutex_lock(&s->lock);
    bool stopped = s->ending;
    s->ending = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (!stopped)
        pthread_join(s->thread, NULL);
}

void steward_free(struct steward *s)
{
    steward_stop(s);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void steward_wake(struct steward *s)
{
    pthread_mutex_lock(&s->lock);
    s->woken = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
}
