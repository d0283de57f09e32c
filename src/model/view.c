/* Deployments as those see them who only look. */
#include <stdlib.h>

#include "bug.h"
#include "clock.h"
#include "model_private.h"

/* The best to ask first: one that runs, or will. */
static int rank(enum deployment_phase phase)
{
    static const int ranks[] = {[STARTED] = 0, [STARTING] = 1, [STOPPING] = 2, [FAILED] = 3};
    return ranks[phase];
}

static enum deployment_phase phase_of(struct deployment *d)
{
    pthread_mutex_lock(&d->lock);
    enum deployment_phase phase = d->phase;
    pthread_mutex_unlock(&d->lock);
    return phase;
}

struct deployment *deployment_of_model(struct models *m, struct str model_id)
{
    struct deployment *best = NULL;
    struct str id;
    void *found;
    int best_rank = 0;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; map_next(m->deployments, &i, &id, &found);) {
        struct deployment *d = found;
        if (!str_eq(d->model_id, model_id))
            continue;
        int r = rank(phase_of(d));
        if (!best || r < best_rank) {
            best = d;
            best_rank = r;
        }
    }
    if (best)
        deployment_ref(best);
    pthread_mutex_unlock(&m->lock);
    return best;
}

bool models_deployed(struct models *m, struct str model_id)
{
    struct deployment *d = deployment_of_model(m, model_id);
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

/* --- all of it --- */

/* Why not every allocation that is wanted runs: the processors are the reason. */
static struct str reason_of(const struct deployment *d, struct arena *a)
{
    char why[ACCOUNT_WHY_SIZE];
    if (d->phase != STARTED || d->granted >= d->wanted)
        return (struct str){NULL, 0};
    return arena_dup(a, str_c(account_why(d, why)));
}

/* With m->lock held, for model_id, need and processors. */
static void show(struct deployment *d, struct arena *a, struct deployment_view *out)
{
    struct memory_need need = d->need;
    *out = (struct deployment_view){
        .id = arena_dup(a, d->id),
        .model_id = arena_dup(a, d->model_id),
        .num_threads = d->num_threads,
        .queue_capacity = d->queue_capacity,
        .low_priority = d->low_priority,
        .start_ms = d->start_ms,
        .model_bytes = need.definition_bytes,
        .per_deployment_bytes = need.per_deployment_bytes,
        .per_allocation_bytes = need.per_allocation_bytes,
    };
    pthread_mutex_lock(&d->lock);
    out->phase = d->phase;
    out->wanted = need.allocations = d->wanted;
    out->running = d->n_allocations;
    out->granted = d->granted < d->wanted ? d->granted : d->wanted;
    out->most_assigned = d->most_assigned > d->wanted ? d->most_assigned : d->wanted;
    out->cache_bytes = d->cache_bytes > 0 ? d->cache_bytes : 0;
    out->has_adaptive = d->has_adaptive;
    out->adaptive = d->adaptive;
    out->scaling = (struct deployment_scaling){.needed = d->tended.needed,
                                               .rate = d->tended.rate,
                                               .seconds = d->tended.seconds,
                                               .reason = d->tended.reason,
                                               .changed_ms = d->tended.changed_ms};
    out->reason = reason_of(d, a);
    if (d->failure)
        out->failure = arena_dup(a, str_c(d->failure));
    numbers_show(&d->numbers, clock_wall_ms(), &out->numbers);
    out->numbers.pending = (int64_t)d->n_reserved;
    pthread_mutex_unlock(&d->lock);
    out->memory_bytes = memory_needed(&need);
}

bool deployment_view(struct models *m, struct str id, struct arena *a, struct deployment_view *out)
{
    pthread_mutex_lock(&m->lock);
    struct deployment *d = map_get(m->deployments, id);
    if (d)
        show(d, a, out);
    pthread_mutex_unlock(&m->lock);
    return d != NULL;
}

static int by_id(const void *a, const void *b)
{
    const struct deployment_view *x = a, *y = b;
    return str_cmp(x->id, y->id);
}

void models_views(struct models *m, struct arena *a, struct deployment_view **out, size_t *n_out)
{
    struct str id;
    void *found;
    size_t n = 0;
    pthread_mutex_lock(&m->lock);
    struct deployment_view *views = arena_array(a, map_count(m->deployments), sizeof(*views));
    for (size_t i = 0; map_next(m->deployments, &i, &id, &found);)
        show(found, a, &views[n++]);
    pthread_mutex_unlock(&m->lock);
    if (n)
        qsort(views, n, sizeof(*views), by_id);
    *out = views;
    *n_out = n;
}
