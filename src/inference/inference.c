/* inference: making and ending the whole, loading what is stored, reading the table. */
#include "inference.h"

#include <stdlib.h>

#include "bug.h"
#include "log.h"
#include "private.h"

struct inference *inference_new(const struct inference_options *options,
                                const struct inference_parts *parts)
{
    struct inference *inf = mem_new(sizeof *inf);
    inf->options = *options;
    inf->parts = *parts;
    inf->table = table_new(parts->n_loops);
    inf->limiter = limiter_new();
    inf->exchanges = exchanges_new();
    pthread_mutex_init(&inf->busy_lock, NULL);
    inf->busy = map_new();
    inf->clients = mem_array(parts->n_loops, sizeof *inf->clients);
    for (size_t i = 0; i < parts->n_loops; i++)
        inf->clients[i] = client_new(parts->loops[i], &options->client);
    return inf;
}

void inference_free(struct inference *inf)
{
    if (!inf)
        return;
    for (size_t i = 0; i < inf->parts.n_loops; i++)
        client_free(inf->clients[i]);
    free(inf->clients);
    exchanges_free(inf->exchanges);
    table_free(inf->table);
    limiter_free(inf->limiter);
    map_free(inf->busy);
    pthread_mutex_destroy(&inf->busy_lock);
    free(inf);
}

/* --- loading --- */

static struct err *load_one(struct inference *inf, struct arena *arena, const struct doc *doc,
                            struct endpoint **out)
{
    struct str service;
    enum task task;
    TRY(endpoint_peek_store(arena, doc->body, &service, &task));
    const struct provider *provider = provider_find(service);
    const struct provider_task *pt = provider ? provider_task(provider, task) : NULL;
    if (!pt)
        return err_new(ERR_CORRUPT, "unknown service [%.*s] or task type [%s]", STR_ARG(service),
                       task_name(task));
    struct doc secret;
    TRY(store_get(inf->parts.store, STORE_SECRET, doc->id, arena, &secret));
    struct endpoint *ep;
    TRY(endpoint_from_store(provider_settings(provider), pt->default_rpm, doc->id, doc->body,
                            secret.body, &ep));
    secret_wipe((char *)(uintptr_t)secret.body.p, secret.body.n);
    ep->provider = provider;
    ep->rev = doc->rev;
    struct err *e = extras_attach(inf, ep, NULL);
    if (e) {
        endpoint_unref(ep);
        return e;
    }
    *out = ep;
    return NULL;
}

static void deployed(void *ctx, struct err *e)
{
    struct endpoint *ep = ctx;
    if (e)
        log_warn("deployment could not be started again", LOG_S("inference_id", ep->id), LOG_E(e));
    else
        log_info("deployment started", LOG_S("inference_id", ep->id));
    err_free(e);
    endpoint_unref(ep);
}

struct err *inference_load(struct inference *inf)
{
    struct arena *arena = arena_new(ARENA_NO_LIMIT);
    struct docs docs;
    struct err *failed = store_list(inf->parts.store, STORE_ENDPOINT, arena, &docs);
    for (size_t i = 0; !failed && i < docs.n; i++) {
        struct endpoint *ep = NULL;
        struct err *e = load_one(inf, arena, &docs.v[i], &ep);
        if (e) {
            log_error("stored endpoint cannot be read", LOG_S("inference_id", docs.v[i].id),
                      LOG_E(e));
            err_free(e);
            continue;
        }
        if (endpoint_is_local(ep) && !local_is_attached(ep) && !inference_is_preset(ep->id)) {
            struct deployment_spec spec = inference_deployment_spec(ep);
            spec.restored = true;
            deployment_start(inf->parts.models, &spec, inf->parts.loops[0], deployed,
                             endpoint_ref(ep));
        }
        table_put(inf->table, ep);
    }
    local_presets(inf);
    if (!failed)
        log_info("endpoints loaded", LOG_I("count", docs.n));
    arena_free(arena);
    return failed;
}

/* --- reading --- */

struct endpoint *inference_find(struct inference *inf, struct str id)
{
    return table_find(inf->table, id);
}

struct err *inference_find_typed(struct inference *inf, struct str id, enum task task,
                                 struct endpoint **out)
{
    struct endpoint *ep = table_find(inf->table, id);
    if (!ep)
        return err_new(ERR_NOT_FOUND, "Inference endpoint not found [%.*s]", STR_ARG(id));
    if (task != TASK_ANY && task != ep->task) {
        struct err *e = err_status(400,
                                   "Requested task type [%s] does not match the inference "
                                   "endpoint's task type [%s]",
                                   task_name(task), task_name(ep->task));
        endpoint_unref(ep);
        return e;
    }
    *out = ep;
    return NULL;
}

void inference_list(struct inference *inf, enum task task, struct arena *arena,
                    struct endpoint ***out, size_t *n_out)
{
    *n_out = table_list(inf->table, task, arena, out);
}

void inference_render(struct inference *inf, struct json_out *w, const struct endpoint *ep)
{
    struct deployment_state state = {0};
    if (endpoint_is_local(ep))
        deployment_state(inf->parts.models, local_deployment(ep), &state);
    endpoint_render_live(w, ep, state.exists ? state.num_allocations : -1);
}

void inference_services_render(struct json_out *w, enum task task, bool details)
{
    providers_render(w, task, details);
}

/* --- diagnostics: asks each loop in turn, for a client belongs to its loop --- */

struct survey {
    struct loop_msg msg;
    struct inference *inf;
    struct loop *home;
    size_t next;
    struct client_stats sum;
    void (*done)(void *ctx, const struct client_stats *);
    void *ctx;
};

static void survey_end(struct loop_msg *msg)
{
    struct survey *s = (struct survey *)msg;
    s->done(s->ctx, &s->sum);
    free(s);
}

static void survey_visit(struct loop_msg *msg)
{
    struct survey *s = (struct survey *)msg;
    struct client_stats one;
    client_stats(s->inf->clients[s->next], &one);
    s->sum.leased += one.leased;
    s->sum.pending += one.pending;
    s->sum.available += one.available;
    s->sum.max += one.max;
    s->next++;
    bool last = s->next == s->inf->parts.n_loops;
    s->msg.run = last ? survey_end : survey_visit;
    loop_post(last ? s->home : s->inf->parts.loops[s->next], &s->msg);
}

void inference_diagnostics(struct inference *inf, struct loop *loop,
                           void (*done)(void *ctx, const struct client_stats *), void *ctx)
{
    struct survey *s = mem_new(sizeof *s);
    *s = (struct survey){.inf = inf, .home = loop, .done = done, .ctx = ctx};
    s->msg.run = survey_visit;
    loop_post(inf->parts.loops[0], &s->msg);
}
