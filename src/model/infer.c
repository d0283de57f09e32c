/* Which deployment an id means, for calls of endpoints and for documents of _infer. */
#include "bug.h"
#include "model_private.h"

void deployment_submit(struct models *m, struct str id, struct call *call)
{
    struct deployment *d = deployment_find(m, id);
    if (!d) {
        call_fail(call, NULL, deployment_unknown(id));
        return;
    }
    flight_start(d, call, NULL);
    deployment_unref(d);
}

/* An id that no deployment has: an alias, which the registry knows, or nothing. */
struct search {
    struct models *models;
    struct str id;
    struct infer_docs *infer;
    struct deployment *found; /* a reference */
    struct err *err;
};

/* --- trees: asked here, on the pool --- */

#define MAX_ANSWER_BYTES ((size_t)64 << 20)

static struct err *too_late(const struct infer_docs *infer)
{
    if (!atomic_load_explicit(&infer->call.cancelled, memory_order_acquire))
        return NULL;
    return err_new(ERR_CANCELLED, "the inference was cancelled");
}

static struct err *ask_all(const struct trained_model *m, const struct tree_config *config,
                           struct infer_docs *infer, struct arena *scratch, struct buf *out)
{
    struct json_iter it = json_iter(infer->docs);
    for (const struct json *doc; (doc = json_next(&it));) {
        struct json_out w;
        TRY(too_late(infer));
        if (out->n)
            buf_char(out, ',');
        json_out_init(&w, out);
        tree_infer(m->tree, config, m->model_id, doc, scratch, &w);
        arena_reset(scratch);
        if (out->full)
            return err_new(ERR_TOO_LARGE, "the results are larger than [%zu] bytes",
                           MAX_ANSWER_BYTES);
    }
    return NULL;
}

static struct err *ask_tree(const struct trained_model *m, struct infer_docs *infer)
{
    struct tree_config config;
    struct buf out;
    TRY(tree_config_update(infer->call.arena, &m->tree_config, m->model_id, infer->update,
                           &config));
    struct arena *scratch = arena_new(ARENA_NO_LIMIT);
    buf_init(&out, MAX_ANSWER_BYTES);
    struct err *e = ask_all(m, &config, infer, scratch, &out);
    if (!e)
        infer->rendered = arena_dup(infer->call.arena, buf_str(&out));
    buf_deinit(&out);
    arena_free(scratch);
    return e;
}

static struct err *find_by_registry(struct search *s)
{
    struct trained_model *model;
    struct err *err = registry_get(s->models->registry, s->id, &model);
    if (err && err->kind == ERR_NOT_FOUND) {
        err_free(err);
        return err_new(ERR_NOT_FOUND, "Could not find trained model [%.*s]", STR_ARG(s->id));
    }
    TRY(err);
    if (model->tree) {
        if (s->infer->admit)
            err = s->infer->admit(s->infer, model->model_id);
        if (!err)
            err = ask_tree(model, s->infer);
        trained_model_unref(model);
        return err;
    }
    s->found = deployment_of_model(s->models, model->model_id);
    trained_model_unref(model);
    if (s->found)
        return NULL;
    return err_status(409,
                      "Model [%.*s] must be deployed to use. Please deploy with the start trained "
                      "model deployment API.",
                      STR_ARG(s->id));
}

static void search_work(void *job)
{
    struct search *s = job;
    s->err = find_by_registry(s);
}

/* Asks the caller whether this deployment may answer; takes the reference. */
static void start(struct deployment *d, struct infer_docs *infer)
{
    struct err *err = infer->admit ? infer->admit(infer, d->id) : NULL;
    if (err)
        call_fail(&infer->call, infer, err);
    else
        flight_start(d, &infer->call, infer);
    deployment_unref(d);
}

static void search_done(void *job)
{
    struct search *s = job;
    struct infer_docs *infer = s->infer;
    if (s->err || !s->found) {
        infer->done(infer, s->err);
        return;
    }
    start(s->found, infer);
}

void deployment_infer(struct models *m, struct str id, struct infer_docs *infer)
{
    struct deployment *d = deployment_find(m, id);
    if (!d)
        d = deployment_of_model(m, id);
    if (d) {
        start(d, infer);
        return;
    }
    if (!m->registry) {
        call_fail(&infer->call, infer,
                  err_new(ERR_NOT_FOUND, "Could not find trained model [%.*s]", STR_ARG(id)));
        return;
    }
    struct search *s = arena_alloc(infer->call.arena, sizeof(*s));
    *s = (struct search){.models = m, .id = arena_dup(infer->call.arena, id), .infer = infer};
    pool_run(m->pool, infer->call.loop, search_work, search_done, s);
}

void infer_docs_render(const struct infer_docs *infer, struct json_out *w)
{
    if (infer->rendered.n)
        json_put_raw(w, infer->rendered);
    for (size_t i = 0; i < infer->n_docs; i++)
        nlp_render(w, infer->config, infer->results[i]);
}

struct err *deployment_cache_clear(struct models *m, struct str id)
{
    struct deployment *d = deployment_find(m, id);
    if (!d)
        return deployment_unknown(id);
    pthread_mutex_lock(&d->lock);
    struct recall *recall = d->phase == STARTED ? d->recall : NULL;
    pthread_mutex_unlock(&d->lock);
    if (recall)
        recall_clear(recall);
    deployment_unref(d);
    return NULL;
}
