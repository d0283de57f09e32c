/* The node's memory and processors, over all deployments: who may start or grow, and who gets what
 * another has given back. Errors in Elasticsearch's words (trained_models.md 9,
 * adaptive_allocations.md 8 and 9).
 *
 * Memory is a sum over what is claimed, by the formula of memory.h. Processors are divided by
 * budget.h. A deployment that fits in part starts with that part and gets the rest when others
 * leave it. What comes by itself (deployments that go to zero and come back, and those that were
 * there before a restart) is never refused for want of processors: its first allocation then shares
 * those of others, by turns (cores.h). */
#include <stdio.h>
#include <stdlib.h>

#include "budget.h"
#include "model_private.h"

static struct err *no_capacity(const char *why)
{
    struct err *cause = err_new(ERR_ILLEGAL_STATE,
                                "Could not start deployment because no suitable nodes were found, "
                                "allocation explanation [%s]",
                                why);
    struct err *err = err_wrap(cause, ERR_STATUS,
                               "Could not start deployment because no ML nodes with sufficient "
                               "capacity were found");
    err->status = 429;
    return err;
}

#define WHY "Could not assign (more) allocations on node [%s]. Reason: This node has insufficient "

static struct err *no_memory(const struct models *m, uint64_t used, uint64_t needed)
{
    char a[MEMORY_TEXT_SIZE], b[MEMORY_TEXT_SIZE], c[MEMORY_TEXT_SIZE], why[512];
    uint64_t free_bytes = m->memory_bytes > used ? m->memory_bytes - used : 0;
    snprintf(why, sizeof(why),
             WHY "available memory. Available memory for ML [%llu (%s)], free memory [%llu (%s)], "
                 "estimated memory required for this model [%llu (%s)].",
             m->node_id, (unsigned long long)m->memory_bytes, memory_text(m->memory_bytes, a),
             (unsigned long long)free_bytes, memory_text(free_bytes, b), (unsigned long long)needed,
             memory_text(needed, c));
    return no_capacity(why);
}

const char *account_why(const struct deployment *d, char out[ACCOUNT_WHY_SIZE])
{
    const struct models *m = d->models;
    snprintf(out, ACCOUNT_WHY_SIZE,
             WHY "allocated processors. Available processors [%d], free processors [%d], "
                 "processors required for each allocation of this model [%d]",
             m->node_id, m->processors, m->processors_left, d->num_threads);
    return out;
}

static struct err *no_processors(const struct deployment *d)
{
    char why[ACCOUNT_WHY_SIZE];
    return no_capacity(account_why(d, why));
}

static struct err *not_all(bool update)
{
    return err_status(429,
                      "Could not %s deployment because there are not enough resources to provide "
                      "all requested allocations",
                      update ? "update" : "start");
}

/* --- memory; with m->lock held --- */

/* What all deployments but one need. */
static uint64_t used_by_others(struct models *m, const struct deployment *but)
{
    struct str id;
    void *found;
    uint64_t sum = 0;
    for (size_t i = 0; map_next(m->deployments, &i, &id, &found);) {
        const struct deployment *d = found;
        if (d == but || !d->reckoned)
            continue;
        struct memory_need need = d->need;
        need.allocations = d->claimed;
        sum += memory_needed(&need);
    }
    return sum ? sum + MEMORY_CODE_BYTES : 0;
}

/* Of `n` allocations, beside what others use. */
static uint64_t needs(const struct deployment *d, int n, uint64_t used)
{
    struct memory_need need = d->need;
    need.allocations = n;
    uint64_t bytes = memory_needed(&need);
    return bytes && !used ? bytes + MEMORY_CODE_BYTES : bytes;
}

static bool has_memory(const struct deployment *d, int n, uint64_t used)
{
    const struct models *m = d->models;
    return !m->memory_bytes || used + needs(d, n, used) <= m->memory_bytes;
}

/* --- processors; with m->lock held --- */

int deployment_threads(const struct deployment *d)
{
    return d->num_threads < d->models->processors ? d->num_threads : d->models->processors;
}

/* With d->lock held. */
static bool shares(const struct deployment *d)
{
    const struct adaptive *a = &d->adaptive;
    bool comes_and_goes = d->has_adaptive && a->enabled && !(a->has_min && a->min > 0);
    return d->sharing || d->restored || comes_and_goes;
}

/* What is divided: deployments beside their claims, oldest first. */
struct division {
    size_t n;
    struct deployment *of[DEPLOYMENTS_MAX + 1];
    struct budget_claim claims[DEPLOYMENTS_MAX + 1];
};

static int by_age(const void *a, const void *b)
{
    const struct deployment *x = *(struct deployment *const *)a;
    const struct deployment *y = *(struct deployment *const *)b;
    return (x->number > y->number) - (x->number < y->number);
}

static void divide(struct models *m, struct division *out)
{
    struct str id;
    void *found;
    out->n = 0;
    for (size_t i = 0; out->n <= DEPLOYMENTS_MAX && map_next(m->deployments, &i, &id, &found);)
        if (((struct deployment *)found)->reckoned)
            out->of[out->n++] = found;
    qsort(out->of, out->n, sizeof(struct deployment *), by_age);
    for (size_t i = 0; i < out->n; i++) {
        struct deployment *d = out->of[i];
        pthread_mutex_lock(&d->lock);
        out->claims[i] = (struct budget_claim){.threads = deployment_threads(d),
                                               .wanted = d->claimed,
                                               .held = d->sharing ? 0 : d->granted,
                                               .low = d->low_priority,
                                               .shares = shares(d)};
        pthread_mutex_unlock(&d->lock);
    }
    m->processors_left = budget_divide(out->claims, out->n, m->processors);
}

/* -1: nothing, since it is being stopped. */
static int given_to(const struct division *v, const struct deployment *d)
{
    for (size_t i = 0; i < v->n; i++)
        if (v->of[i] == d)
            return v->claims[i].given;
    return -1;
}

/* Publishes it. Those but `own` that run and have got more are to make their allocations:
 * references. Those that start look themselves, when they have. */
static size_t settle(struct models *m, const struct division *v, const struct deployment *own,
                     struct deployment *out[DEPLOYMENTS_MAX + 1])
{
    size_t n = 0;
    for (size_t i = 0; i < v->n; i++) {
        struct deployment *d = v->of[i];
        pthread_mutex_lock(&d->lock);
        bool more = d->phase == STARTED && v->claims[i].given > d->granted;
        d->granted = v->claims[i].given;
        d->sharing = v->claims[i].sharing;
        pthread_cond_broadcast(&d->work); /* some may be too many */
        pthread_mutex_unlock(&d->lock);
        if (more && d != own && !m->ending)
            out[n++] = deployment_ref(d);
    }
    return n;
}

static void fill_work(void *job)
{
    struct deployment *d = job;
    struct models *m = d->models;
    deployment_fill(d);
    deployment_unref(d);
    models_job_done(m);
}

static void fill(struct models *m, struct deployment **list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        models_run(m, fill_work, list[i]);
}

/* --- what deployments ask for --- */

/* By the API it gets the threads that were asked for, or none; else as many as there are. */
static bool asked(const struct deployment *d)
{
    return d->by_api && !d->restored;
}

/* With m->lock held. On failure it takes no part. */
static struct err *open_processors(struct deployment *d, int n, struct division *v)
{
    if (asked(d) && d->num_threads > d->models->processors)
        return no_processors(d);
    d->reckoned = true;
    d->claimed = n;
    divide(d->models, v);
    int given = given_to(v, d);
    if (given == n || (given > 0 && !(asked(d) && d->wait_for == WAIT_FULLY_ALLOCATED)))
        return NULL;
    d->reckoned = false;
    divide(d->models, v);
    if (given < 0)
        return deployment_is_stopping(d);
    return given ? not_all(false) : no_processors(d);
}

struct err *account_open(struct deployment *d, int n)
{
    struct models *m = d->models;
    struct division v;
    struct deployment *more[DEPLOYMENTS_MAX + 1];
    size_t n_more = 0;
    pthread_mutex_lock(&m->lock);
    uint64_t used = used_by_others(m, d);
    struct err *err =
        has_memory(d, n, used) ? open_processors(d, n, &v) : no_memory(m, used, needs(d, n, used));
    if (!err)
        n_more = settle(m, &v, d, more);
    pthread_mutex_unlock(&m->lock);
    fill(m, more, n_more);
    return err;
}

/* With m->lock held: how many of n it may have, at least as many as it has. */
static struct err *find_room(struct deployment *d, int n, enum account_rule rule, int *out)
{
    struct division v;
    int before = d->claimed, most = n;
    uint64_t used = used_by_others(d->models, d);
    while (most > before && !has_memory(d, most, used))
        most = rule == ACCOUNT_WHAT_FITS ? most - 1 : before;
    d->claimed = most;
    divide(d->models, &v);
    d->claimed = before;
    int given = given_to(&v, d);
    if (given < 0)
        return deployment_is_stopping(d);
    if (rule != ACCOUNT_WITH_THE_REST_LATER)
        most = given > before ? given : before;
    *out = most;
    return !given || (most < n && rule != ACCOUNT_WHAT_FITS) ? not_all(true) : NULL;
}

struct err *account_grow(struct deployment *d, int n, enum account_rule rule, int *out)
{
    struct models *m = d->models;
    struct division v;
    struct deployment *more[DEPLOYMENTS_MAX + 1];
    pthread_mutex_lock(&m->lock);
    struct err *err = find_room(d, n, rule, out);
    if (!err)
        d->claimed = *out;
    divide(m, &v);
    size_t n_more = settle(m, &v, d, more);
    pthread_mutex_unlock(&m->lock);
    fill(m, more, n_more);
    return err;
}

static void change(struct deployment *d, bool leaves, int n)
{
    struct models *m = d->models;
    struct division v;
    struct deployment *more[DEPLOYMENTS_MAX + 1];
    pthread_mutex_lock(&m->lock);
    d->claimed = n;
    if (leaves) {
        d->reckoned = false;
        pthread_mutex_lock(&d->lock);
        d->granted = 0;
        d->sharing = false;
        pthread_mutex_unlock(&d->lock);
    }
    divide(m, &v);
    size_t n_more = settle(m, &v, d, more);
    pthread_mutex_unlock(&m->lock);
    fill(m, more, n_more);
}

void account_shrink(struct deployment *d, int n)
{
    change(d, false, n);
}

void account_close(struct deployment *d)
{
    change(d, true, 0);
}
