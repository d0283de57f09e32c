/* What must hold before a deployment may start: the errors of _start that come before anything is
 * loaded, in Elasticsearch's words and order (trained_models.md 9). Whether there is room for it
 * comes last: account.c. */
#include "model_private.h"

struct err *admit_spec(const struct deployment_spec *s)
{
    if (s->num_allocations < 0 || s->num_allocations > DEPLOYMENT_ALLOCATIONS_MAX)
        return err_new(ERR_ARGUMENT, "[num_allocations] must be from 0 to %d; got [%d]",
                       DEPLOYMENT_ALLOCATIONS_MAX, s->num_allocations);
    if (s->num_threads < 1 || s->num_threads > CORES_MOST_THREADS ||
        (s->num_threads & (s->num_threads - 1)))
        return err_new(ERR_ARGUMENT,
                       "[threads_per_allocation] must be a power of 2 less than or equal to %d",
                       CORES_MOST_THREADS);
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
    return account_open(d, d->wanted);
}
