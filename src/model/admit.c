/* What must hold before a deployment may start or grow: the errors of _start and _update that come
 * before anything is loaded, in Elasticsearch's words and order (trained_models.md 9,
 * adaptive_allocations.md 8 and 9).
 *
 * Memory is a sum over all deployments, by the formula of memory.h. Processors bound each
 * deployment for itself: deployments share them, and what more of them run than there are
 * processors only takes longer. */
#include <stdio.h>

#include "model_private.h"

#define MAX_ALLOCATIONS 1024
#define MAX_THREADS     32

struct err *admit_spec(const struct deployment_spec *s)
{
    if (s->num_allocations < 0 || s->num_allocations > MAX_ALLOCATIONS)
        return err_new(ERR_ARGUMENT, "[num_allocations] must be from 0 to %d; got [%d]",
                       MAX_ALLOCATIONS, s->num_allocations);
    if (s->num_threads < 1 || s->num_threads > MAX_THREADS ||
        (s->num_threads & (s->num_threads - 1)))
        return err_new(ERR_ARGUMENT,
                       "[threads_per_allocation] must be a power of 2 less than or equal to %d",
                       MAX_THREADS);
    return NULL;
}

/* A deployment may be named after its model, not after another one. */
static struct err *check_name(struct deployment *d, const struct source *s)
{
    struct trained_model *other;
    if (!d->by_api || !d->models->registry || str_eq(d->id, s->model_id))
        return NULL;
    struct err *err = registry_get(d->models->registry, d->id, &other);
    if (err) { /* as it should be */
        err_free(err);
        return NULL;
    }
    bool same = str_eq(other->model_id, s->model_id);
    trained_model_unref(other);
    if (same)
        return NULL;
    return err_status(400,
                      "Deployment id [%.*s] is the same as an another model which is not the model "
                      "being deployed. Deployment id can be the same as the model being deployed "
                      "but cannot match a different model",
                      STR_ARG(d->id));
}

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

static struct err *no_memory(const struct models *m, uint64_t available, uint64_t used,
                             uint64_t needed)
{
    char a[MEMORY_TEXT_SIZE], b[MEMORY_TEXT_SIZE], c[MEMORY_TEXT_SIZE], why[512];
    uint64_t free_bytes = available > used ? available - used : 0;
    snprintf(why, sizeof(why),
             WHY "available memory. Available memory for ML [%llu (%s)], free memory [%llu (%s)], "
                 "estimated memory required for this model [%llu (%s)].",
             m->node_id, (unsigned long long)available, memory_text(available, a),
             (unsigned long long)free_bytes, memory_text(free_bytes, b), (unsigned long long)needed,
             memory_text(needed, c));
    return no_capacity(why);
}

static struct err *no_processors(const struct deployment *d)
{
    char why[512];
    int n = d->models->processors;
    snprintf(why, sizeof(why),
             WHY "allocated processors. Available processors [%d], free processors [%d], "
                 "processors required for each allocation of this model [%d]",
             d->models->node_id, n, n, d->num_threads);
    return no_capacity(why);
}

static struct err *not_all(bool update)
{
    return err_status(429,
                      "Could not %s deployment because there are not enough resources to provide "
                      "all requested allocations",
                      update ? "update" : "start");
}

/* With m->lock held: what all deployments but one need. */
static uint64_t used_by_others(struct models *m, const struct deployment *but)
{
    struct str id;
    void *found;
    uint64_t sum = 0;
    for (size_t i = 0; map_next(m->deployments, &i, &id, &found);) {
        struct deployment *d = found;
        if (d == but || !d->reckoned)
            continue;
        struct memory_need need = d->need;
        pthread_mutex_lock(&d->lock);
        need.allocations = d->wanted;
        pthread_mutex_unlock(&d->lock);
        sum += memory_needed(&need);
    }
    return sum ? sum + MEMORY_CODE_BYTES : 0;
}

struct err *admit_refused(void)
{
    return not_all(true);
}

struct err *admit_size(struct deployment *d, int n, bool update)
{
    struct models *m = d->models;
    struct memory_need need = d->need;
    need.allocations = n;
    pthread_mutex_lock(&m->lock);
    uint64_t used = used_by_others(m, d), needed = memory_needed(&need);
    if (!used && needed)
        needed += MEMORY_CODE_BYTES;
    bool fits = !m->memory_bytes || used + needed <= m->memory_bytes;
    if (fits)
        d->reckoned = true;
    pthread_mutex_unlock(&m->lock);
    if (!fits)
        return update ? not_all(true) : no_memory(m, m->memory_bytes, used, needed);
    if (!d->by_api || update)
        return NULL;
    if (d->num_threads > m->processors)
        return no_processors(d);
    bool all = d->wait_for == WAIT_FULLY_ALLOCATED;
    return all && deployment_fits(d, n) < n ? not_all(false) : NULL;
}

struct err *admit_source(struct deployment *d, const struct source *s)
{
    TRY(check_name(d, s));
    int64_t bytes = source_bytes(s);
    pthread_mutex_lock(&d->lock);
    if (d->cache_bytes == DEPLOYMENT_CACHE_OF_MODEL)
        d->cache_bytes = bytes;
    pthread_mutex_unlock(&d->lock);
    struct memory_need need = {.definition_bytes = bytes, .cache_bytes = d->cache_bytes};
    if (s->model) {
        need.per_deployment_bytes = s->model->per_deployment_bytes;
        need.per_allocation_bytes = s->model->per_allocation_bytes;
    }
    pthread_mutex_lock(&d->models->lock);
    need.model_id = d->model_id;
    d->need = need;
    pthread_mutex_unlock(&d->models->lock);
    return admit_size(d, d->wanted, false);
}

void admit_leave(struct deployment *d)
{
    pthread_mutex_lock(&d->models->lock);
    d->reckoned = false;
    pthread_mutex_unlock(&d->models->lock);
}
