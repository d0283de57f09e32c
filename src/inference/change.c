/* change: create, update and delete an endpoint. Each is a row of small steps on the caller's
 * loop; what blocks (disk, looking at model folders) runs on the pool in between. An `op` carries
 * one change from step to step and is freed when its answer has gone and nothing is under way.
 *
 *   create, outside:  check -> probe ------------------> store -> publish
 *   create, local:    check -> fetch model -> look at it -> deploy (-> probe) -> store -> publish
 *   update:           check -> probe or scale ---------> store -> publish
 *   delete:           check ---------------------------> drop -> publish -> stop deployment
 *
 * Source: shared facts, inference.md 2.1 to 2.4, 7.3, 7.4. */
#include "change.h"

#include <stdlib.h>

#include "bug.h"
#include "clock.h"
#include "log.h"

/* --- one change at a time per id --- */

static bool busy_begin(struct op *op)
{
    struct inference *inf = op->inf;
    pthread_mutex_lock(&inf->busy_lock);
    op->busy = map_get(inf->busy, op->change.id) == NULL;
    if (op->busy)
        map_put(inf->busy, op->change.id, op);
    pthread_mutex_unlock(&inf->busy_lock);
    return op->busy;
}

static void busy_end(struct op *op)
{
    if (!op->busy)
        return;
    pthread_mutex_lock(&op->inf->busy_lock);
    map_take(op->inf->busy, op->change.id);
    pthread_mutex_unlock(&op->inf->busy_lock);
    op->busy = false;
}

static struct err *busy_err(const struct op *op)
{
    if (strcmp(op->doing, "deleted") == 0)
        return err_status(409, "Model is currently being updated, you may delete the model once "
                               "the update completes");
    return err_status(409,
                      "Endpoint [%.*s] is currently being updated. Try again once the update "
                      "completes",
                      STR_ARG(op->change.id));
}

/* --- life of an op --- */

static struct op *op_new(struct inference *inf, const struct endpoint_change *change,
                         const char *doing)
{
    struct op *op = mem_new(sizeof *op);
    op->inf = inf;
    op->change = *change;
    op->doing = doing;
    op->arena = arena_new(ARENA_NO_LIMIT);
    op->change.id = arena_dup(op->arena, change->id);
    buf_init(&op->stored, SIZE_MAX);
    buf_init(&op->secret, SIZE_MAX);
    return op;
}

void op_release(struct op *op)
{
    if (!op->answered || op->deploying)
        return;
    loop_timer_cancel(&op->timer);
    endpoint_unref(op->ep);
    endpoint_unref(op->old);
    if (op->secret.p)
        secret_wipe(op->secret.p, op->secret.n);
    buf_deinit(&op->stored);
    buf_deinit(&op->secret);
    err_free(op->late);
    arena_free(op->arena);
    free(op);
}

/* Answers, once; takes both. */
static void op_answer(struct op *op, struct err *e, struct endpoint *ep)
{
    busy_end(op);
    op->answered = true;
    if (!e && !op->change.dry_run)
        log_info("endpoint changed", LOG_C("change", op->doing),
                 LOG_S("inference_id", op->change.id));
    op->change.done(op->change.ctx, e, ep);
    op_release(op);
}

static void stopped(void *ctx, struct err *e)
{
    (void)ctx;
    err_free(e);
}

void op_fail(struct op *op, struct err *e)
{
    if (op->deployed)
        deployment_stop(op->inf->parts.models, op->change.id, false, op->change.loop, stopped,
                        NULL);
    op_answer(op, e, NULL);
}

/* --- storing and publishing --- */

static void store_work(void *job)
{
    struct op *op = job;
    struct change changes[2] = {
        {.kind = STORE_ENDPOINT,
         .id = op->change.id,
         .body = buf_str(&op->stored),
         .expect = op->old ? op->old->rev : 0},
        {.kind = STORE_SECRET,
         .id = op->change.id,
         .body = buf_str(&op->secret),
         .expect = STORE_ANY_REV},
    };
    op->job_err = store_apply(op->inf->parts.store, changes, 2, &op->rev);
}

static void store_done(void *job)
{
    struct op *op = job;
    struct err *e = op->job_err;
    op->job_err = NULL;
    if (e && e->kind == ERR_EXISTS) {
        err_free(e);
        e = err_new(ERR_EXISTS, "Inference endpoint [%.*s] already exists", STR_ARG(op->change.id));
    }
    if (e) {
        op_fail(op, e);
        return;
    }
    op->ep->rev = op->rev;
    table_put(op->inf->table, endpoint_ref(op->ep));
    struct err *late = op->late;
    op->late = NULL;
    op_answer(op, late, late ? NULL : endpoint_ref(op->ep));
}

void op_store(struct op *op)
{
    struct err *e = extras_check_fallback(op->inf, op->ep);
    if (e) {
        op_fail(op, e);
        return;
    }
    endpoint_to_store(op->ep, &op->stored, &op->secret);
    pool_run(op->inf->parts.pool, op->change.loop, store_work, store_done, op);
}

/* --- the probe: one real call on a draft --- */

static struct op *op_of_sink(struct sink *sink)
{
    return (struct op *)((char *)sink - offsetof(struct op, sink));
}

/* Takes the copy that has been measured. */
struct err *replace_draft(struct op *op, struct endpoint *measured)
{
    struct endpoint *draft = op->ep;
    measured->provider = draft->provider;
    op->ep = measured;
    struct err *e = extras_attach(op->inf, measured, draft);
    endpoint_unref(draft);
    return e;
}

/* The size found is checked against the size asked for, and kept. */
static struct err *probe_dimensions(struct op *op, const struct result *result)
{
    int row = settings_find(op->ep->values.table, "dimensions");
    int64_t found = result_dimensions(result);
    if (found <= 0)
        return err_status(400, "Could not determine embedding size");
    const struct value *asked = row >= 0 ? &op->ep->values.v[row] : NULL;
    if (asked && asked->set && asked->by_user && asked->i != found)
        return err_status(400,
                          "The retrieved embeddings size [%lld] does not match the size specified "
                          "in the settings [%lld]. Please recreate the [%.*s] configuration with "
                          "the correct dimensions",
                          (long long)found, (long long)asked->i, STR_ARG(op->change.id));
    if (row < 0)
        return NULL;
    const struct value *similarity = settings_get(&op->ep->values, "similarity");
    bool given = similarity && similarity->set;
    struct endpoint *measured =
        endpoint_with_dimensions(op->ep, found, given ? NULL : op->ep->provider->similarity);
    return replace_draft(op, measured);
}

static void probe_done(struct sink *sink, const struct result *result)
{
    struct op *op = op_of_sink(sink);
    struct err *e = NULL;
    if (op->ep->task == TASK_TEXT_EMBEDDING)
        e = probe_dimensions(op, result);
    if (e)
        op_fail(op, e);
    else
        op_store(op);
}

static void probe_fail(struct sink *sink, struct err *e)
{
    struct op *op = op_of_sink(sink);
    struct err *outer = err_wrap(e, ERR_STATUS,
                                 "Could not complete inference endpoint creation as validation "
                                 "call to service threw an exception.");
    outer->status = 400;
    outer->retry_after_ms = e->retry_after_ms;
    op_fail(op, outer);
}

static bool probe_delta(struct sink *sink, const struct delta *delta)
{
    (void)sink, (void)delta;
    return true;
}

static const struct chat *probe_chat(struct arena *arena)
{
    struct chat_message *m = arena_alloc(arena, sizeof *m);
    *m = (struct chat_message){.role = STR("user"), .has_content = true, .content = STR("how big")};
    struct chat *chat = arena_alloc(arena, sizeof *chat);
    *chat = (struct chat){.messages = m, .n_messages = 1};
    return chat;
}

struct err *probe_start(struct op *op)
{
    struct input in = {.task = op->ep->task, .input_type = INPUT_INGEST};
    if (op->ep->task == TASK_CHAT_COMPLETION) {
        in.chat = probe_chat(op->arena);
    } else {
        in.texts = arena_array(op->arena, 1, sizeof *in.texts);
        in.texts[0] = STR("how big");
        in.n_texts = 1;
    }
    if (op->ep->task == TASK_RERANK) {
        in.has_query = true;
        in.query = STR("test query");
    }
    TRY(endpoint_call_values(op->ep, op->arena, NULL, &in.values));
    op->sink = (struct sink){.delta = probe_delta, .done = probe_done, .fail = probe_fail};
    op->call = (struct call){.loop = op->change.loop,
                             .arena = op->arena,
                             .endpoint = op->ep,
                             .input = in,
                             .sink = &op->sink,
                             .deadline_ms = clock_mono_ms() + op->change.timeout_ms,
                             .timeout_ms = op->change.timeout_ms,
                             .probe = true};
    inference_submit(op->inf, &op->call);
    return NULL;
}

/* --- create --- */

/* The task type of URL and body, which must agree. */
static struct err *resolve_task(const struct endpoint_change *c, enum task *out)
{
    *out = c->task;
    const struct json *member = json_get(c->body, "task_type");
    if (json_is_null(member)) {
        if (*out == TASK_ANY)
            return err_status(400, "model is missing required setting [task_type]");
        return NULL;
    }
    struct str name;
    if (!json_str(member, &name))
        return err_status(400,
                          "field [task_type] is not of the expected type. The value [%.*s] cannot "
                          "be converted to a [String]",
                          STR_ARG(json_raw(member)));
    enum task task;
    if (!task_parse(name, &task))
        return err_status(400, "Unknown task_type [%.*s]", STR_ARG(name));
    if (task == TASK_ANY)
        return err_status(400, "task_type [any] is not valid type for inference");
    if (*out != TASK_ANY && *out != task)
        return err_status(400,
                          "Cannot resolve conflicting task_type parameter in the request URL [%s] "
                          "and the request body [%s]",
                          task_name(*out), task_name(task));
    *out = task;
    return NULL;
}

static struct err *resolve_provider(const struct json *body, enum task task,
                                    const struct provider **out)
{
    struct str service;
    const struct json *member = json_get(body, "service");
    if (!json_str(member, &service))
        return err_status(400, "Inference endpoint configuration is missing the [service] setting");
    if (elser_asked(body))
        return elser_resolve(task, out);
    const struct provider *p = provider_find(service);
    if (!p)
        return err_status(400, "Unknown service [%.*s]", STR_ARG(service));
    if (!provider_task(p, task))
        return err_status(400, "The [%.*s] service does not support task type [%s]",
                          STR_ARG(service), task_name(task));
    *out = p;
    return NULL;
}

static struct err *create_draft(struct op *op)
{
    const struct endpoint_change *c = &op->change;
    TRY(endpoint_id_check(c->id));
    enum task task;
    TRY(resolve_task(c, &task));
    const struct provider *provider = NULL;
    TRY(resolve_provider(c->body, task, &provider));
    struct deployment_state state = {0};
    deployment_state(op->inf->parts.models, c->id, &state);
    if (state.exists)
        return err_status(400,
                          "Inference endpoint IDs must be unique. Requested inference endpoint ID "
                          "[%.*s] matches existing trained model ID(s) but must not.",
                          STR_ARG(c->id));
    const struct provider_task *pt = provider_task(provider, task);
    TRY(endpoint_parse(provider_settings(provider), pt->default_rpm, c->id, task, c->body,
                       &op->ep));
    op->ep->provider = provider;
    if (elser_asked(c->body))
        TRY(elser_check(op->ep));
    if (provider->check)
        TRY(provider->check(op->ep));
    if (provider->local)
        TRY(local_check_number(op->ep, c->body));
    TRY(extras_attach(op->inf, op->ep, NULL));
    return busy_begin(op) ? NULL : busy_err(op);
}

void inference_create(struct inference *inf, const struct endpoint_change *change)
{
    struct op *op = op_new(inf, change, "created");
    struct err *e = create_draft(op);
    if (e) {
        op_answer(op, e, NULL);
        return;
    }
    if (endpoint_is_local(op->ep)) {
        op_create_local(op);
        return;
    }
    if (inf->options.skip_probe) {
        op_store(op);
        return;
    }
    e = probe_start(op);
    if (e)
        op_fail(op, e);
}

/* --- update --- */

static void update_scaled(void *ctx, struct err *e)
{
    struct op *op = ctx;
    if (e && e->kind == ERR_NOT_FOUND) {
        err_free(e);
        e = err_status(404,
                       "Requested model ID [%.*s] does not have a matching trained model and thus "
                       "cannot be updated.",
                       STR_ARG(op->change.id));
    }
    if (e)
        op_fail(op, e);
    else
        op_store(op);
}

static struct err *update_attached(const struct op *op)
{
    struct str id = local_deployment(op->old);
    return err_status(409,
                      "Cannot update inference endpoint [%.*s] using model deployment [%.*s]. The "
                      "model deployment [%.*s] must be updated by whoever started it",
                      STR_ARG(op->change.id), STR_ARG(id), STR_ARG(id));
}

static struct err *update_draft(struct op *op, bool *changed)
{
    const struct endpoint_change *c = &op->change;
    if (!c->body)
        return err_status(400, "Request body is empty");
    op->old = inference_find(op->inf, c->id);
    if (!op->old)
        return err_status(404, "The inference endpoint [%.*s] does not exist and cannot be updated",
                          STR_ARG(c->id));
    if (c->task != TASK_ANY && c->task != op->old->task)
        return err_status(400, "Task type must match the task type of the existing endpoint");
    if (endpoint_is_local(op->old) && local_is_attached(op->old))
        return update_attached(op);
    TRY(endpoint_update(op->old, c->body, &op->ep, changed));
    op->ep->provider = op->old->provider;
    if (op->ep->provider->check)
        TRY(op->ep->provider->check(op->ep));
    if (endpoint_is_local(op->ep))
        TRY(local_check_number(op->ep, c->body));
    return extras_attach(op->inf, op->ep, op->old);
}

void inference_update(struct inference *inf, const struct endpoint_change *change)
{
    struct op *op = op_new(inf, change, "updated");
    if (!busy_begin(op)) {
        op_answer(op, busy_err(op), NULL);
        return;
    }
    bool changed = false;
    struct err *e = update_draft(op, &changed);
    if (e) {
        op_answer(op, e, NULL);
        return;
    }
    if (!changed) {
        op_answer(op, NULL, endpoint_ref(op->old));
        return;
    }
    if (endpoint_is_local(op->ep)) {
        struct deployment_change c = local_change(op->old, op->ep);
        deployment_update(inf->parts.models, change->id, &c, change->loop, update_scaled, op);
        return;
    }
    if (inf->options.skip_probe) {
        op_store(op);
        return;
    }
    e = probe_start(op);
    if (e)
        op_fail(op, e);
}

/* --- delete --- */

static void drop_work(void *job)
{
    struct op *op = job;
    struct change changes[2] = {
        {.kind = STORE_ENDPOINT, .id = op->change.id, .expect = op->old->rev},
        {.kind = STORE_SECRET, .id = op->change.id, .expect = STORE_ANY_REV},
    };
    if (op->old->rev) /* one that is there from the start is not stored */
        op->job_err = store_apply(op->inf->parts.store, changes, 2, &op->rev);
}

static void drop_stopped(void *ctx, struct err *e)
{
    struct op *op = ctx;
    if (e)
        log_error("deployment could not be stopped", LOG_S("inference_id", op->change.id),
                  LOG_E(e));
    err_free(e);
    op_answer(op, NULL, NULL);
}

static void drop_done(void *job)
{
    struct op *op = job;
    struct err *e = op->job_err;
    op->job_err = NULL;
    if (e) {
        op_answer(op, e, NULL);
        return;
    }
    table_drop(op->inf->table, op->change.id);
    local_preset_again(op->inf, op->change.id);
    if (endpoint_is_local(op->old) && !local_is_attached(op->old))
        deployment_stop(op->inf->parts.models, op->change.id, false, op->change.loop, drop_stopped,
                        op);
    else
        op_answer(op, NULL, NULL);
}

void inference_delete(struct inference *inf, const struct endpoint_change *change)
{
    struct op *op = op_new(inf, change, "deleted");
    struct err *e = inference_find_typed(inf, change->id, change->task, &op->old);
    if (!e && !change->force && !change->dry_run && inference_is_preset(change->id))
        e = err_status(
            400,
            "[%.*s] is a reserved inference endpoint. Use the force=true query parameter "
            "to delete the inference endpoint.",
            STR_ARG(change->id));
    if (!e && !change->dry_run && !busy_begin(op))
        e = busy_err(op);
    if (e || change->dry_run) {
        op_answer(op, e, NULL);
        return;
    }
    pool_run(inf->parts.pool, change->loop, drop_work, drop_done, op);
}
