/* Endpoints that our own models answer: which deployment is theirs, and those that are there from
 * the start. Source: shared facts, inference.md 5.7, 9.1, 9.2.
 *
 * An endpoint has a deployment of its own, named after it, or uses one that somebody else started
 * (deployment_id), which it never starts, changes or stops. Those that are there from the start
 * get theirs with the first call. */
#include <stdlib.h>

#include "bug.h"
#include "log.h"
#include "package.h"
#include "private.h"

/* --- deployments of endpoints --- */

static struct str text_of(const struct endpoint *ep, const char *name)
{
    const struct value *v = settings_get(&ep->values, name);
    return v && v->set ? v->s : (struct str){NULL, 0};
}

bool local_is_attached(const struct endpoint *ep)
{
    return text_of(ep, "deployment_id").p != NULL;
}

struct str local_deployment(const struct endpoint *ep)
{
    struct str id = text_of(ep, "deployment_id");
    return id.p ? id : ep->id;
}

struct deployment_spec inference_deployment_spec(const struct endpoint *ep)
{
    const struct value *threads = settings_get(&ep->values, "num_threads");
    const struct value *allocations = settings_get(&ep->values, "num_allocations");
    const struct value *adaptive = settings_get(&ep->values, "adaptive_allocations");
    struct deployment_spec spec = {.id = local_deployment(ep),
                                   .model_id = text_of(ep, "model_id"),
                                   .num_allocations = 1,
                                   .num_threads = threads && threads->set ? (int)threads->i : 1,
                                   /* What endpoints remember is their own setting (extras.h). */
                                   .cache_bytes = 0};
    spec.has_adaptive = adaptive && adaptive->set;
    if (spec.has_adaptive)
        spec.adaptive = adaptive->adaptive;
    if (allocations && allocations->set)
        spec.num_allocations = (int)allocations->i;
    else if (spec.has_adaptive && spec.adaptive.has_min && spec.adaptive.min > 0)
        spec.num_allocations = (int)spec.adaptive.min;
    return spec;
}

static bool same_adaptive(const struct deployment_spec *a, const struct deployment_spec *b)
{
    const struct adaptive *x = &a->adaptive, *y = &b->adaptive;
    return a->has_adaptive == b->has_adaptive && x->enabled == y->enabled &&
           x->has_min == y->has_min && x->has_max == y->has_max && x->min == y->min &&
           x->max == y->max;
}

struct deployment_change local_change(const struct endpoint *from, const struct endpoint *to)
{
    struct deployment_spec a = inference_deployment_spec(from), b = inference_deployment_spec(to);
    struct deployment_change c = {0};
    if (!same_adaptive(&a, &b) && b.has_adaptive)
        c = (struct deployment_change){.has_adaptive = true,
                                       .has_enabled = true,
                                       .enabled = b.adaptive.enabled,
                                       .has_min = b.adaptive.has_min,
                                       .null_min = !b.adaptive.has_min,
                                       .has_max = b.adaptive.has_max,
                                       .null_max = !b.adaptive.has_max,
                                       .min = b.adaptive.min,
                                       .max = b.adaptive.max};
    c.number = b.num_allocations;
    c.has_number =
        a.num_allocations != b.num_allocations && !(b.has_adaptive && b.adaptive.enabled);
    return c;
}

size_t inference_users_of(struct inference *inf, struct str id, struct arena *arena,
                          struct str **out)
{
    struct endpoint **list;
    size_t n = table_list(inf->table, TASK_ANY, arena, &list), found = 0;
    *out = arena_array(arena, n, sizeof(**out));
    for (size_t i = 0; i < n; i++) {
        if (endpoint_is_local(list[i]) && str_eq(local_deployment(list[i]), id))
            (*out)[found++] = arena_dup(arena, list[i]->id);
        endpoint_unref(list[i]);
    }
    return found;
}

struct str inference_user_of(struct inference *inf, struct str id, struct arena *arena)
{
    struct str *users;
    return inference_users_of(inf, id, arena, &users) ? users[0] : (struct str){NULL, 0};
}

/* --- endpoints that are there from the start --- */

#define ADAPTIVE                                                                                   \
    "\"adaptive_allocations\":{\"enabled\":true,\"min_number_of_allocations\":0,"                  \
    "\"max_number_of_allocations\":32}}}"
#define BODY(model) "{\"service_settings\":{\"num_threads\":1,\"model_id\":\"" model "\"," ADAPTIVE

static const struct preset {
    struct str id;
    enum task task;
    struct str body;
} presets[] = {
    {STR_INIT(".elser-2-elasticsearch"), TASK_SPARSE_EMBEDDING,
     STR_INIT(BODY(".elser_model_2_linux-x86_64"))},
    {STR_INIT(".multilingual-e5-small-elasticsearch"), TASK_TEXT_EMBEDDING,
     STR_INIT(BODY(".multilingual-e5-small_linux-x86_64"))},
    {STR_INIT(".rerank-v1-elasticsearch"), TASK_RERANK, STR_INIT(BODY(".rerank-v1"))},
};

#define N_PRESETS (sizeof presets / sizeof presets[0])

bool inference_is_preset(struct str id)
{
    for (size_t i = 0; i < N_PRESETS; i++) {
        if (str_eq(presets[i].id, id))
            return true;
    }
    return false;
}

static struct err *preset_make(struct inference *inf, const struct preset *p, struct endpoint **out)
{
    const struct provider *provider = provider_find(STR("elasticsearch"));
    const struct json *body;
    struct endpoint *ep = NULL;
    struct arena *arena = arena_new(ARENA_NO_LIMIT);
    struct err *e = json_parse(arena, p->body, &body);
    if (!e)
        e = endpoint_parse(provider_settings(provider), 0, p->id, p->task, body, &ep);
    if (!e) {
        ep->provider = provider;
        e = provider->check(ep);
    }
    if (!e)
        e = extras_attach(inf, ep, NULL);
    arena_free(arena);
    if (e)
        endpoint_unref(ep);
    else
        *out = ep;
    return e;
}

static void preset_put(struct inference *inf, const struct preset *p)
{
    struct endpoint *ep;
    struct err *e = preset_make(inf, p, &ep);
    BUG_ON(e); /* their texts stand above */
    table_put(inf->table, ep);
}

void local_presets(struct inference *inf)
{
    for (size_t i = 0; i < N_PRESETS; i++) {
        struct endpoint *stored = table_find(inf->table, presets[i].id);
        if (!stored)
            preset_put(inf, &presets[i]);
        endpoint_unref(stored);
    }
}

void local_preset_again(struct inference *inf, struct str id)
{
    for (size_t i = 0; i < N_PRESETS; i++) {
        if (str_eq(presets[i].id, id))
            preset_put(inf, &presets[i]);
    }
}

/* --- calls --- */

/* Most calls that wait for a first start, this one counted (adaptive_allocations.md 7), and most
 * of them together with those that ended earlier, as nothing is taken back from who fetches. */
#define MOST_WAITING 100
#define MOST_FIRST   10000

/* A call that waits for its model to be fetched and for the first start of its deployment. Outlives
 * the call when that ends earlier: the rest goes on. */
struct first {
    struct loop_msg msg; /* the end of a call that was cancelled */
    struct inference *inf;
    struct loop *loop;
    struct endpoint *endpoint; /* a reference */
    struct call *call;         /* NULL: it has ended */
    bool posted, started;
};

static void first_free(struct first *f)
{
    atomic_fetch_sub(&f->inf->n_first, 1);
    endpoint_unref(f->endpoint);
    free(f);
}

static void first_release(struct first *f)
{
    if (!f->call && f->started)
        first_free(f);
}

/* The call waits no longer. */
static struct call *first_take(struct first *f)
{
    struct call *call = f->call;
    if (call)
        atomic_fetch_sub(&f->inf->n_first_waiting, 1);
    f->call = NULL;
    return call;
}

static void first_cancelled(struct loop_msg *msg)
{
    struct first *f = (struct first *)msg;
    struct call *call = first_take(f);
    call->sink->fail(call->sink, err_new(ERR_CANCELLED, "the inference call was cancelled"));
    first_release(f);
}

static void first_cancel(struct call *call)
{
    struct first *f = call->stage;
    call->on_cancel = NULL;
    f->posted = true;
    f->msg.run = first_cancelled;
    loop_post(call->loop, &f->msg);
}

static void first_done(void *ctx, struct err *e)
{
    struct first *f = ctx;
    struct call *call = f->call;
    f->started = true;
    if (!call || f->posted) { /* it ends, or has ended, without us */
        if (e)
            log_error("the model of a default endpoint could not be started",
                      LOG_S("inference_id", f->endpoint->id), LOG_E(e));
        err_free(e);
        first_release(f);
        return;
    }
    struct models *models = f->inf->parts.models;
    call->stage = NULL;
    call->on_cancel = NULL;
    first_take(f);
    first_free(f);
    if (e)
        call->sink->fail(call->sink, e);
    else
        deployment_submit(models, local_deployment(call->endpoint), call);
}

static void first_fetched(void *ctx, struct err *e)
{
    struct first *f = ctx;
    if (e) {
        first_done(f, e);
        return;
    }
    log_info("deploying for a first call", LOG_S("inference_id", f->endpoint->id));
    struct deployment_spec spec = inference_deployment_spec(f->endpoint);
    deployment_start(f->inf->parts.models, &spec, f->loop, first_done, f);
}

/* NULL: too many wait. */
static struct first *first_new(struct inference *inf, struct call *call)
{
    int waiting = atomic_fetch_add(&inf->n_first_waiting, 1) + 1;
    int all = atomic_fetch_add(&inf->n_first, 1) + 1;
    if (waiting >= MOST_WAITING || all > MOST_FIRST) {
        atomic_fetch_sub(&inf->n_first_waiting, 1);
        atomic_fetch_sub(&inf->n_first, 1);
        return NULL;
    }
    struct first *f = mem_new(sizeof *f);
    *f = (struct first){
        .inf = inf, .loop = call->loop, .endpoint = endpoint_ref(call->endpoint), .call = call};
    return f;
}

void local_submit(struct inference *inf, struct call *call)
{
    struct models *models = inf->parts.models;
    const struct endpoint *ep = call->endpoint;
    struct deployment_state state;
    struct str id = local_deployment(ep);
    if (!inference_is_preset(ep->id)) {
        deployment_submit(models, id, call);
        return;
    }
    deployment_state(models, id, &state);
    if (state.exists && !state.failure) {
        deployment_submit(models, id, call);
        return;
    }
    struct first *f = first_new(inf, call);
    if (!f) {
        call->sink->fail(call->sink, err_new(ERR_TOO_MANY,
                                             "Rejected inference request waiting for an allocation "
                                             "of deployment [%.*s]. Too many pending requests",
                                             STR_ARG(id)));
        return;
    }
    call->stage = f;
    call->on_cancel = first_cancel;
    if (!inf->parts.packages) {
        first_fetched(f, NULL);
        return;
    }
    struct str model_id = inference_deployment_spec(ep).model_id;
    packages_ensure(inf->parts.packages, model_id, call->loop, first_fetched, f);
}
