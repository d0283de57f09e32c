/* Other numbers of allocations for a deployment that runs, and other bounds for whoever scales it.
 */
#include <stdlib.h>

#include "bug.h"
#include "clock.h"
#include "log.h"
#include "model_private.h"

/* With d->lock held: nobody would be left to run what waits. */
static bool must_stay(const struct deployment *d, int n)
{
    return n == 0 && (d->n_reserved || d->pending || d->queue.n);
}

/* With d->admin held. Allocations that are too many see it themselves once they have no batch. */
static struct err *make_missing(struct deployment *d, int *made_out)
{
    struct allocation *fresh;
    *made_out = 0;
    pthread_mutex_lock(&d->lock);
    int missing = d->phase == STARTED ? d->granted - d->n_allocations : 0;
    pthread_mutex_unlock(&d->lock);
    if (missing <= 0)
        return NULL;
    TRY(allocations_new(d, missing, &fresh));
    pthread_mutex_lock(&d->lock);
    bool stopped = d->phase == STOPPING;
    if (!stopped) {
        d->grown_ms = clock_mono_ms();
        d->n_allocations += missing;
        if (d->n_allocations > d->most_assigned)
            d->most_assigned = d->n_allocations;
    }
    pthread_mutex_unlock(&d->lock);
    if (stopped) {
        allocations_discard(d->models, fresh);
        return NULL;
    }
    allocations_run(fresh);
    *made_out = missing;
    return NULL;
}

void deployment_fill(struct deployment *d)
{
    int made;
    pthread_mutex_lock(&d->admin);
    struct err *err = make_missing(d, &made);
    pthread_mutex_unlock(&d->admin);
    if (made)
        log_info("a deployment gets allocations that it was short of",
                 LOG_S("deployment_id", d->id), LOG_I("allocations", made));
    if (err)
        log_warn("a deployment has fewer allocations than there is room for",
                 LOG_S("deployment_id", d->id), LOG_E(err));
    err_free(err);
}

/* With d->lock held. */
static void set_wanted(struct deployment *d, int n, const struct deployment_change *c)
{
    if (d->wanted != n && c->reason) {
        d->tended.reason = c->reason;
        d->tended.changed_ms = clock_wall_ms();
    }
    d->wanted = n;
}

static enum account_rule rule_of(const struct deployment_change *c)
{
    if (c->by_scaler)
        return ACCOUNT_WHAT_FITS;
    return c->by_api ? ACCOUNT_ALL_OR_NOTHING : ACCOUNT_WITH_THE_REST_LATER;
}

/* With d->admin held. */
static struct err *grow(struct deployment *d, int from, int n, const struct deployment_change *c)
{
    int made;
    TRY(account_grow(d, n, rule_of(c), &n));
    struct err *err = make_missing(d, &made);
    if (err) {
        account_shrink(d, from);
        return err;
    }
    pthread_mutex_lock(&d->lock);
    bool stopped = d->phase == STOPPING;
    struct flight *pending = stopped ? NULL : deployment_take_pending(d);
    if (!stopped)
        set_wanted(d, n, c);
    pthread_mutex_unlock(&d->lock);
    flights_go(pending);
    return stopped ? deployment_is_stopping(d) : NULL;
}

/* With d->admin held. */
static struct err *shrink(struct deployment *d, int n, const struct deployment_change *c)
{
    pthread_mutex_lock(&d->lock);
    bool stopped = d->phase == STOPPING, stay = must_stay(d, n);
    if (!stopped && !stay)
        set_wanted(d, n, c);
    pthread_mutex_unlock(&d->lock);
    if (stopped)
        return deployment_is_stopping(d);
    if (!stay)
        account_shrink(d, n);
    return NULL;
}

/* --- what is asked, laid over what is --- */

static struct err *merge(const struct deployment *d, const struct deployment_change *c,
                         bool *has_out, struct adaptive *out)
{
    struct adaptive a = d->adaptive;
    *has_out = (d->has_adaptive || c->has_adaptive) && !c->null_adaptive;
    if (!d->has_adaptive)
        a = (struct adaptive){0};
    if (c->has_enabled)
        a.enabled = c->enabled;
    if (c->has_min || c->null_min) {
        a.has_min = c->has_min;
        a.min = c->min;
    }
    if (c->has_max || c->null_max) {
        a.has_max = c->has_max;
        a.max = c->max;
    }
    *out = *has_out ? a : (struct adaptive){0};
    struct err_list list = {0};
    if (a.has_min && a.has_max && a.min > a.max)
        err_list_add(&list, "[min_number_of_allocations] must not be larger than "
                            "[max_number_of_allocations]");
    if (*has_out && a.enabled && c->has_number && !c->by_scaler)
        err_list_add(&list, "[number_of_allocations] cannot be set if adaptive allocations is "
                            "enabled");
    return err_list_end(&list, ERR_VALIDATION);
}

static struct err *check_number(const struct deployment_change *c)
{
    if (!c->has_number || (c->number >= 0 && c->number <= DEPLOYMENT_ALLOCATIONS_MAX))
        return NULL;
    return err_new(ERR_ARGUMENT, "[num_allocations] must be from 0 to %d; got [%lld]",
                   DEPLOYMENT_ALLOCATIONS_MAX, (long long)c->number);
}

/* With d->admin held. */
static struct err *update(struct deployment *d, const struct deployment_change *c)
{
    bool has;
    struct adaptive adaptive;
    pthread_mutex_lock(&d->lock);
    enum deployment_phase phase = d->phase;
    int old = d->wanted;
    pthread_mutex_unlock(&d->lock);
    if (phase == STOPPING)
        return deployment_is_stopping(d);
    if (phase != STARTED)
        return err_status(409, "cannot update deployment that is not in [started] state");
    TRY(merge(d, c, &has, &adaptive));
    int n = c->has_number ? (int)c->number : old;
    if (n > old)
        TRY(grow(d, old, n, c));
    if (n < old)
        TRY(shrink(d, n, c));
    pthread_mutex_lock(&d->lock);
    d->has_adaptive = has;
    d->adaptive = adaptive;
    pthread_mutex_unlock(&d->lock);
    if (!has || !adaptive.enabled)
        flights_at_zero(d);
    return d->by_api ? remember(d) : NULL;
}

/* With d->admin held: it is still as the scaler saw it. */
static bool is_as_seen(struct deployment *d, int from)
{
    pthread_mutex_lock(&d->lock);
    bool yes = d->wanted == from && d->has_adaptive && d->adaptive.enabled;
    pthread_mutex_unlock(&d->lock);
    return yes;
}

struct err *deployment_scale(struct deployment *d, int from, int *n, const char *reason)
{
    struct deployment_change c = {
        .has_number = true, .number = *n, .by_scaler = true, .reason = reason};
    struct err *err = NULL;
    pthread_mutex_lock(&d->admin);
    *n = from;
    if (is_as_seen(d, from)) {
        err = update(d, &c);
        *n = d->wanted; /* who changes it holds this lock */
    }
    pthread_mutex_unlock(&d->admin);
    return err;
}

struct update {
    struct deployment *d;
    struct deployment_change change;
    struct waiter *waiter;
};

static void update_work(void *job)
{
    struct update *u = job;
    struct deployment *d = u->d;
    struct models *m = d->models;
    pthread_mutex_lock(&d->admin);
    struct err *err = update(d, &u->change);
    int wanted = d->wanted; /* who changes it holds this lock */
    pthread_mutex_unlock(&d->admin);
    if (!err)
        log_info("deployment updated", LOG_S("deployment_id", d->id), LOG_I("allocations", wanted));
    steward_wake(m->steward);
    waiter_post(u->waiter, err);
    free(u);
    models_reap(m);
    deployment_unref(d);
    models_job_done(m);
}

void deployment_update(struct models *m, struct str id, const struct deployment_change *change,
                       struct loop *loop, void (*done)(void *ctx, struct err *), void *ctx)
{
    struct waiter *w = waiter_new(loop, done, ctx);
    struct err *err = check_number(change);
    struct deployment *d = err ? NULL : deployment_find(m, id);
    if (!err && !d)
        err = deployment_unknown(id);
    if (err) {
        waiter_post(w, err);
        return;
    }
    struct update *u = mem_new(sizeof(*u));
    *u = (struct update){d, *change, w};
    models_run(m, update_work, u);
}
