/* Creating an endpoint on a model of our own: the model is fetched where it can be and is not
 * there, looked at, deployed, and measured if it does not say how long its embeddings are. An
 * endpoint on a deployment that runs already only looks. Source: shared facts,
 * inference.md 5.7, 5.8, 7.4, 9.2. */
#include "change.h"

#include "clock.h"
#include "log.h"
#include "package.h"

/* --- elser --- */

/* The older name of the elasticsearch service, for ELSER alone. */
#define ELSER_MODEL ".elser_model_2_linux-x86_64"

bool elser_asked(const struct json *body)
{
    struct str service;
    return json_str(json_get(body, "service"), &service) && str_eq_c(service, "elser");
}

struct err *elser_resolve(enum task task, const struct provider **out)
{
    *out = provider_find(STR("elasticsearch"));
    if (task == TASK_SPARSE_EMBEDDING)
        return NULL;
    return err_status(400, "The [elser] service does not support task type [%s]", task_name(task));
}

struct err *elser_check(struct endpoint *ep)
{
    struct value *model = &ep->values.v[settings_find(ep->values.table, "model_id")];
    if (!model->set) {
        model->set = true;
        model->s = STR(ELSER_MODEL);
    }
    if (str_starts(model->s, STR(".elser_model_")))
        return NULL;
    return err_new(ERR_VALIDATION,
                   "Validation Failed: 1: unknown ELSER model ID [%.*s]. Valid models are "
                   "[.elser_model_1, .elser_model_2, .elser_model_2_linux-x86_64];",
                   STR_ARG(model->s));
}

/* --- elasticsearch --- */

struct err *local_check_number(const struct endpoint *ep, const struct json *body)
{
    const struct json *asked = json_get(body, "service_settings");
    const struct value *v = settings_get(&ep->values, "adaptive_allocations");
    bool enabled = false;
    if (json_is_null(json_get(asked, "num_allocations")) || !v || !v->set || !v->adaptive.enabled)
        return NULL;
    json_bool(json_get(json_get(asked, "adaptive_allocations"), "enabled"), &enabled);
    return err_new(enabled ? ERR_REQUEST : ERR_VALIDATION,
                   "Validation Failed: 1: [number_of_allocations] cannot be set if adaptive "
                   "allocations is enabled;");
}

static struct err *create_check_model(struct op *op)
{
    if (op->model.tasks & TASK_BIT(op->ep->task))
        return NULL;
    for (enum task t = 0; t < N_TASKS; t++) {
        if (op->model.tasks & TASK_BIT(t))
            return err_status(400,
                              "Deployed model [%.*s] with type [%s] does not match the requested "
                              "task type [%s]",
                              STR_ARG(op->model.model_id), task_name(t), task_name(op->ep->task));
    }
    if (op->model.type)
        return err_status(400,
                          "Deployed model [%.*s] has type [%s] which does not map to any supported "
                          "task types",
                          STR_ARG(op->model.model_id), op->model.type);
    return err_status(400, "Deployed model [%.*s] does not map to any supported task types",
                      STR_ARG(op->model.model_id));
}

/* What a package gives is known to all, and not told. */
static struct err *create_measured(struct op *op)
{
    if (op->model.dimensions <= 0 || op->model.package)
        return NULL;
    const struct value *similarity = settings_get(&op->ep->values, "similarity");
    bool given = similarity && similarity->set;
    struct endpoint *measured =
        endpoint_with_dimensions(op->ep, op->model.dimensions, given ? NULL : op->model.similarity);
    return replace_draft(op, measured);
}

/* An uploaded model that did not say how long its embeddings are tells it by one. */
static void create_ready(struct op *op)
{
    bool measure = op->ep->task == TASK_TEXT_EMBEDDING && op->model.dimensions <= 0 &&
                   !op->model.package && !op->inf->options.skip_probe;
    struct err *e = measure ? probe_start(op) : NULL;
    if (e)
        op_fail(op, e);
    else if (!measure)
        op_store(op);
}

static void create_late(struct loop_timer *timer)
{
    struct op *op = (struct op *)((char *)timer - offsetof(struct op, timer));
    op->late = err_new(ERR_DEPLOYMENT_TIMEOUT,
                       "Timed out after [%llds] waiting for trained model deployment [%.*s] to "
                       "start. Use the trained model stats API to track the state of the "
                       "deployment and try again once it has started.",
                       (long long)(op->change.timeout_ms / 1000), STR_ARG(op->change.id));
    op_store(op);
}

static void create_deployed(void *ctx, struct err *e)
{
    struct op *op = ctx;
    op->deploying = false;
    if (op->late || op->answered) { /* the answer did not wait */
        if (e)
            log_error("deployment failed to start", LOG_S("inference_id", op->change.id), LOG_E(e));
        err_free(e);
        op_release(op);
        return;
    }
    loop_timer_cancel(&op->timer);
    if (e)
        op_fail(op, e);
    else
        create_ready(op);
}

static void set_int(struct endpoint *ep, const char *name, int64_t n)
{
    int row = settings_find(ep->values.table, name);
    ep->values.v[row] = (struct value){.set = true, .i = n};
}

/* What it uses is somebody else's: that is where its numbers come from. */
static void create_attach(struct op *op)
{
    const struct deployment_view *v = &op->attached;
    struct value *values = op->ep->values.v;
    int model = settings_find(op->ep->values.table, "model_id");
    int adaptive = settings_find(op->ep->values.table, "adaptive_allocations");
    values[model].set = true;
    values[model].s = arena_dup(op->ep->arena, v->model_id);
    set_int(op->ep, "num_threads", v->num_threads);
    set_int(op->ep, "num_allocations", v->wanted);
    if (v->has_adaptive)
        values[adaptive] = (struct value){.set = true, .adaptive = v->adaptive};
    create_ready(op);
}

static void create_deploy(struct op *op)
{
    struct deployment_spec spec = inference_deployment_spec(op->ep);
    op->deploying = op->deployed = true;
    loop_timer_set(op->change.loop, &op->timer, clock_mono_ms() + op->change.timeout_ms,
                   create_late);
    deployment_start(op->inf->parts.models, &spec, op->change.loop, create_deployed, op);
}

static void create_found(void *job)
{
    struct op *op = job;
    struct err *e = op->job_err;
    op->job_err = NULL;
    if (!e)
        e = create_check_model(op);
    if (!e)
        e = create_measured(op);
    if (e)
        op_fail(op, e);
    else if (local_is_attached(op->ep))
        create_attach(op);
    else
        create_deploy(op);
}

static struct err *create_look(struct op *op)
{
    struct models *models = op->inf->parts.models;
    struct deployment_spec spec = inference_deployment_spec(op->ep);
    struct deployment_view *v = &op->attached;
    if (!local_is_attached(op->ep))
        return models_find(models, spec.model_id, op->arena, &op->model);
    if (!deployment_view(models, spec.id, op->arena, v))
        return err_new(ERR_NOT_FOUND, "Cannot find deployment [%.*s]", STR_ARG(spec.id));
    if (spec.model_id.p && !str_eq(spec.model_id, v->model_id))
        return err_status(400,
                          "Deployment [%.*s] uses model [%.*s] which does not match the model "
                          "[%.*s] in the request.",
                          STR_ARG(spec.id), STR_ARG(v->model_id), STR_ARG(spec.model_id));
    return models_find(models, v->model_id, op->arena, &op->model);
}

static void create_find(void *job)
{
    struct op *op = job;
    op->job_err = create_look(op);
}

/* The fetching goes on; the next try finds more of it there. */
static void fetch_late(struct loop_timer *timer)
{
    struct op *op = (struct op *)((char *)timer - offsetof(struct op, timer));
    struct str model_id = inference_deployment_spec(op->ep).model_id;
    op_fail(op, err_new(ERR_DEPLOYMENT_TIMEOUT,
                        "Model download task is currently running. Wait for trained model [%.*s] "
                        "download task to complete then try again",
                        STR_ARG(model_id)));
}

static void create_fetched(void *ctx, struct err *e)
{
    struct op *op = ctx;
    op->deploying = false;
    if (op->answered) { /* it took too long */
        err_free(e);
        op_release(op);
        return;
    }
    loop_timer_cancel(&op->timer);
    if (e)
        op_fail(op, e);
    else
        pool_run(op->inf->parts.pool, op->change.loop, create_find, create_found, op);
}

/* Built-in models and those of a hub are fetched when they are first asked for. */
void op_create_local(struct op *op)
{
    struct str model_id = inference_deployment_spec(op->ep).model_id;
    if (!op->inf->parts.packages || local_is_attached(op->ep)) {
        pool_run(op->inf->parts.pool, op->change.loop, create_find, create_found, op);
        return;
    }
    op->deploying = true;
    loop_timer_set(op->change.loop, &op->timer, clock_mono_ms() + op->change.timeout_ms,
                   fetch_late);
    packages_ensure(op->inf->parts.packages, model_id, op->change.loop, create_fetched, op);
}
