/* Deployments that the API started, as documents: they start again after a restart. */
#include "bug.h"
#include "log.h"
#include "model_private.h"
#include "store.h"

static void write_adaptive(struct json_out *w, const struct adaptive *a)
{
    json_key(w, "adaptive_allocations");
    json_obj(w);
    json_key_bool(w, "enabled", a->enabled);
    if (a->has_min)
        json_key_i64(w, "min_number_of_allocations", a->min);
    if (a->has_max)
        json_key_i64(w, "max_number_of_allocations", a->max);
    json_end(w);
}

static void write(struct deployment *d, struct buf *b)
{
    struct json_out w;
    json_out_init(&w, b);
    pthread_mutex_lock(&d->lock);
    json_obj(&w);
    json_key_str(&w, "model_id", d->model_id);
    json_key_i64(&w, "number_of_allocations", d->wanted);
    json_key_i64(&w, "threads_per_allocation", d->num_threads);
    json_key_i64(&w, "queue_capacity", d->queue_capacity);
    json_key_i64(&w, "cache_bytes", d->cache_bytes);
    json_key_bool(&w, "low_priority", d->low_priority);
    if (d->has_adaptive)
        write_adaptive(&w, &d->adaptive);
    json_end(&w);
    pthread_mutex_unlock(&d->lock);
}

struct err *remember(struct deployment *d)
{
    struct buf b;
    uint64_t rev;
    if (!d->models->store)
        return NULL;
    buf_init(&b, SIZE_MAX);
    write(d, &b);
    struct err *err =
        store_put(d->models->store, STORE_DEPLOYMENT, d->id, buf_str(&b), STORE_ANY_REV, &rev);
    buf_deinit(&b);
    return err;
}

void forget(struct deployment *d)
{
    if (!d->models->store || !d->by_api)
        return;
    struct err *err = store_drop(d->models->store, STORE_DEPLOYMENT, d->id, STORE_ANY_REV);
    if (err)
        log_error("a stopped deployment stays in the store", LOG_S("deployment_id", d->id),
                  LOG_E(err));
    err_free(err);
}

/* --- reading --- */

static void read_adaptive(const struct json *j, struct deployment_spec *out)
{
    struct adaptive *a = &out->adaptive;
    out->has_adaptive = json_is(j, JSON_OBJECT);
    json_bool(json_get(j, "enabled"), &a->enabled);
    a->has_min = json_i64(json_get(j, "min_number_of_allocations"), &a->min);
    a->has_max = json_i64(json_get(j, "max_number_of_allocations"), &a->max);
}

static bool read_int(const struct json *j, int *out)
{
    int64_t n;
    if (!json_i64(j, &n) || n < 0 || n > INT32_MAX)
        return false;
    *out = (int)n;
    return true;
}

static struct err *read(struct arena *a, const struct doc *doc, struct deployment_spec *out)
{
    const struct json *j;
    *out = (struct deployment_spec){
        .id = doc->id, .by_api = true, .restored = true, .wait_for = WAIT_STARTED};
    TRY(json_parse(a, doc->body, &j));
    bool ok = json_str(json_get(j, "model_id"), &out->model_id) &&
              read_int(json_get(j, "number_of_allocations"), &out->num_allocations) &&
              read_int(json_get(j, "threads_per_allocation"), &out->num_threads) &&
              json_i64(json_get(j, "queue_capacity"), &out->queue_capacity) &&
              json_i64(json_get(j, "cache_bytes"), &out->cache_bytes) &&
              json_bool(json_get(j, "low_priority"), &out->low_priority);
    read_adaptive(json_get(j, "adaptive_allocations"), out);
    return ok ? NULL : err_new(ERR_CORRUPT, "a member is missing");
}

static void started(void *ctx, struct err *err)
{
    err_free(err); /* the start has logged it */
}

struct err *models_load(struct models *m, struct loop *loop)
{
    struct docs docs;
    if (!m->store)
        return NULL;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct err *failed = store_list(m->store, STORE_DEPLOYMENT, a, &docs);
    for (size_t i = 0; !failed && i < docs.n; i++) {
        struct deployment_spec spec;
        struct err *err = read(a, &docs.v[i], &spec);
        if (err)
            log_error("stored deployment cannot be read", LOG_S("deployment_id", docs.v[i].id),
                      LOG_E(err));
        else
            deployment_start(m, &spec, loop, started, NULL);
        err_free(err);
    }
    arena_free(a);
    return failed;
}
