/* _stats: models and their deployments, an element for each deployment and for each model that has
 * none. */
#include <stdlib.h>

#include "clock.h"
#include "deployments.h"
#include "memory.h"
#include "ml.h"
#include "package.h"

struct element {
    const struct trained_model *model;  /* NULL: not known (any more) */
    const struct deployment_view *view; /* NULL: not deployed */
    struct str model_id;
};

struct stats {
    struct deployment_view *views;
    size_t n_views;
    bool *taken; /* [n_views]: asked for by its own id */
    struct trained_model **models;
    size_t n_models;
    struct element *elements;
    size_t n;
};

/* --- what is asked for --- */

static bool is_model(struct ml_call *c, struct str id)
{
    struct trained_model *m;
    struct err *e = registry_get(c->registry, id, &m);
    if (!e)
        trained_model_unref(m);
    err_free(e);
    return !e;
}

/* Deployments by their ids; what is left of the list is for the registry. */
static struct str take_deployments(struct ml_call *c, struct stats *s, struct str list)
{
    struct buf left;
    struct str part;
    buf_init(&left, list.n + 2);
    while (str_split(&list, ',', &part)) {
        bool found = false;
        part = str_trim(part);
        for (size_t i = 0; i < s->n_views; i++) {
            if (id_matches(part, s->views[i].id))
                found = s->taken[i] = true;
        }
        if (found && !id_is_pattern(part) && !is_model(c, part))
            continue;
        if (left.n)
            buf_char(&left, ',');
        buf_put(&left, part);
    }
    struct str text = arena_dup(c->arena, buf_str(&left));
    buf_deinit(&left);
    return text;
}

static bool listed(const struct stats *s, struct str model_id)
{
    for (size_t i = 0; i < s->n_models; i++) {
        if (str_eq(s->models[i]->model_id, model_id))
            return true;
    }
    return false;
}

static int by_ids(const void *a, const void *b)
{
    const struct element *x = a, *y = b;
    int order = str_cmp(x->model_id, y->model_id);
    if (order == 0 && x->view && y->view)
        order = str_cmp(x->view->id, y->view->id);
    return order;
}

static void add(struct stats *s, const struct trained_model *m, const struct deployment_view *v)
{
    s->elements[s->n++] =
        (struct element){.model = m, .view = v, .model_id = m ? m->model_id : v->model_id};
}

static void gather(struct ml_call *c, struct stats *s)
{
    s->elements = arena_array(c->arena, s->n_models + s->n_views, sizeof *s->elements);
    for (size_t i = 0; i < s->n_models; i++) {
        size_t before = s->n;
        for (size_t k = 0; k < s->n_views; k++) {
            if (str_eq(s->views[k].model_id, s->models[i]->model_id))
                add(s, s->models[i], &s->views[k]);
        }
        if (s->n == before)
            add(s, s->models[i], NULL);
    }
    for (size_t k = 0; k < s->n_views; k++) {
        if (s->taken[k] && !listed(s, s->views[k].model_id))
            add(s, NULL, &s->views[k]);
    }
    if (s->n)
        qsort(s->elements, s->n, sizeof *s->elements, by_ids);
}

/* --- what is shown --- */

static uint64_t memory_of(const struct element *e)
{
    if (e->view)
        return e->view->memory_bytes;
    if (e->model->tree)
        return 0; /* it runs in here */
    /* What one allocation of it would need. */
    struct memory_need need = {.model_id = e->model_id,
                               .definition_bytes = e->model->definition_bytes,
                               .per_deployment_bytes = e->model->per_deployment_bytes,
                               .per_allocation_bytes = e->model->per_allocation_bytes,
                               .allocations = 1};
    return memory_needed(&need);
}

static void inference_stats(const struct deployment_view *v, struct json_out *w)
{
    json_key(w, "inference_stats");
    json_obj(w);
    json_key_i64(w, "failure_count", v->numbers.errors);
    json_key_i64(w, "inference_count", v->numbers.inferences);
    json_key_i64(w, "cache_miss_count", 0);
    json_key_i64(w, "missing_all_fields_count", 0);
    json_key_i64(w, "timestamp", clock_wall_ms());
    json_end(w);
}

/* How far the files of a package have come; not in Elasticsearch's answer. */
static void download(const struct api *api, struct str model_id, struct json_out *w)
{
    int64_t have, total;
    if (!packages_progress(api->parts.packages, model_id, &have, &total))
        return;
    json_key(w, "inferd");
    json_obj(w);
    json_key(w, "download");
    json_obj(w);
    json_key_i64(w, "bytes", have);
    if (total > 0)
        json_key_i64(w, "total_bytes", total);
    json_end(w);
    json_end(w);
}

static void element_render(const struct api *api, const struct element *e, struct json_out *w)
{
    json_obj(w);
    json_key_str(w, "model_id", e->model_id);
    json_key(w, "model_size_stats");
    json_obj(w);
    json_key_i64(w, "model_size_bytes",
                 e->view ? e->view->model_bytes : e->model->definition_bytes);
    json_key_i64(w, "required_native_memory_bytes", (int64_t)memory_of(e));
    json_end(w);
    json_key_i64(w, "pipeline_count", 0);
    if (e->view) {
        inference_stats(e->view, w);
        json_key(w, "deployment_stats");
        deployment_stats_render(api, e->view, w);
    }
    download(api, e->model_id, w);
    json_end(w);
}

static struct err *query_page(const struct request *r, const char *name, int64_t preset,
                              int64_t *out)
{
    struct str v;
    *out = preset;
    if (!request_query(r, name, &v) || v.n == 0)
        return NULL;
    if (!str_to_i64(v, out) || *out > INT32_MAX || *out < INT32_MIN)
        return err_new(ERR_ARGUMENT, "Failed to parse int parameter [%s] with value [%.*s]", name,
                       STR_ARG(str_sub(v, 0, 64)));
    if (*out < 0)
        return err_new(ERR_ARGUMENT, "Parameter [%s] cannot be < 0", name);
    return NULL;
}

static void render(struct ml_call *c, const struct stats *s, int64_t from, int64_t size)
{
    struct json_out *w = c->w;
    json_obj(w);
    json_key_i64(w, "count", (int64_t)s->n);
    json_key(w, "trained_model_stats");
    json_arr(w);
    for (size_t i = (size_t)from; i < s->n && i - (size_t)from < (size_t)size; i++)
        element_render(c->request->api, &s->elements[i], w);
    json_end(w);
    json_end(w);
}

static struct err *get_stats(struct ml_call *c)
{
    const struct request *r = c->request;
    struct str list = request_param(r, "model_id");
    struct stats s = {0};
    bool allow_no_match;
    int64_t from, size;
    TRY(request_query_bool(r, "allow_no_match", true, &allow_no_match));
    TRY(query_page(r, "from", 0, &from));
    TRY(query_page(r, "size", 100, &size));
    models_views(c->models, c->arena, &s.views, &s.n_views);
    s.taken = arena_array(c->arena, s.n_views, sizeof *s.taken);
    struct str left = take_deployments(c, &s, list.n ? list : STR("_all"));
    if (left.n)
        TRY(registry_find(c->registry, left, allow_no_match, c->arena, &s.models, &s.n_models));
    gather(c, &s);
    render(c, &s, from, size);
    for (size_t i = 0; i < s.n_models; i++)
        trained_model_unref(s.models[i]);
    return NULL;
}

void get_model_stats(struct request *r)
{
    ml_work(r, get_stats);
}
