/* Deployments of trained models: _start, _update, _stop, cache/_clear. What they are is in model/;
 * here is who may be told what, and when. */
#include "deployments.h"

#include <stdlib.h>

#include "bug.h"
#include "clock.h"
#include "ml.h"
#include "package.h"
#include "reply.h"

/* --- _start and _update: both answer with the assignment --- */

/* Outlives the request: who has waited long enough is answered while the start goes on. */
struct altering {
    struct request *request; /* NULL: it has been answered */
    struct loop_timer timer;
    bool pending;                    /* model/ has not called back */
    bool fetching;                   /* the model's files are still coming */
    const struct start_asked *asked; /* in the request's arena */
    int64_t timeout_ms;
    char *id;
};

static struct altering *altering_new(struct request *r, struct str id, int64_t timeout_ms)
{
    struct altering *c = mem_new(sizeof *c);
    c->request = r;
    c->timeout_ms = timeout_ms;
    c->pending = true;
    c->id = mem_new(id.n + 1);
    memcpy(c->id, id.p, id.n);
    request_hold(r);
    return c;
}

static void altering_release(struct altering *c)
{
    if (c->pending || c->request)
        return;
    loop_timer_cancel(&c->timer);
    free(c->id);
    free(c);
}

static struct err *show_assignment(struct request *r, const char *id, struct buf *b)
{
    struct json_out w;
    struct deployment_view view;
    if (!deployment_view(r->api->parts.models, str_c(id), r->arena, &view))
        return err_status(400, "Error waiting for the model deployment to start. The trained model "
                               "assignment was removed while waiting");
    reply_buf_init(b);
    json_out_init(&w, b);
    assignment_render(r->api, &view, &w);
    return NULL;
}

/* Takes the err. */
static void altering_answer(struct altering *c, struct err *e)
{
    struct request *r = c->request;
    struct buf b;
    c->request = NULL;
    if (!request_back(r)) {
        err_free(e);
        return;
    }
    if (!e)
        e = show_assignment(r, c->id, &b);
    if (e)
        reply_err(r, e);
    else
        reply_json(r, 200, &b);
}

static struct err *late_err(const struct altering *c)
{
    if (c->fetching)
        return err_new(ERR_DEPLOYMENT_TIMEOUT,
                       "Model download task is currently running. Wait for trained model [%.*s] "
                       "download task to complete then try again",
                       STR_ARG(c->asked->spec.model_id));
    struct str time = time_text(c->request->arena, c->timeout_ms);
    return err_new(ERR_DEPLOYMENT_TIMEOUT,
                   "Timed out after [%.*s] waiting for trained model deployment [%s] to start. Use "
                   "the trained model stats API to track the state of the deployment and try again "
                   "once it has started.",
                   STR_ARG(time), c->id);
}

static void altering_late(struct loop_timer *timer)
{
    struct altering *c = (struct altering *)((char *)timer - offsetof(struct altering, timer));
    altering_answer(c, late_err(c));
    altering_release(c);
}

static void altering_done(void *ctx, struct err *e)
{
    struct altering *c = ctx;
    c->pending = false;
    if (c->request)
        altering_answer(c, e);
    else
        err_free(e); /* model/ has logged it */
    altering_release(c);
}

struct err *deployment_authorize(const struct request *r, struct str id, bool changes)
{
    struct str *users;
    struct err *refusal = NULL;
    if (!security_is_limited(r->user))
        return NULL;
    size_t n = inference_users_of(r->api->parts.inference, id, r->arena, &users);
    for (size_t i = 0; i < n; i++) {
        err_free(refusal);
        refusal = security_authorize_endpoint(r->user, r->route->needs, r->route->action, users[i]);
        if ((refusal != NULL) == changes)
            break;
    }
    return refusal;
}

/* An id that an endpoint has already is not for others. */
static struct err *check_endpoints(const struct request *r, struct str id)
{
    struct endpoint *ep = inference_find(r->api->parts.inference, id);
    if (!ep)
        return NULL;
    endpoint_unref(ep);
    if (models_has_deployment(r->api->parts.models, id))
        return NULL; /* there is another text for that */
    return err_status(400,
                      "Model IDs must be unique. Requested model ID [%.*s] matches existing model "
                      "IDs but must not.",
                      STR_ARG(id));
}

static void start_fetched(void *ctx, struct err *e)
{
    struct altering *c = ctx;
    struct request *r = c->request;
    c->fetching = false;
    if (e || !r) { /* too late: it is not started behind anybody's back */
        altering_done(c, e);
        return;
    }
    deployment_start(r->api->parts.models, &c->asked->spec, r->http->loop, altering_done, c);
}

/* A built-in model that is being fetched is waited for. */
static void start(struct altering *c)
{
    struct request *r = c->request;
    const struct api_parts *parts = &r->api->parts;
    const struct deployment_spec *spec = &c->asked->spec;
    int64_t have, total;
    c->fetching = packages_progress(parts->packages, spec->model_id, &have, &total);
    if (c->fetching)
        packages_ensure(parts->packages, spec->model_id, r->http->loop, start_fetched, c);
    else
        deployment_start(parts->models, spec, r->http->loop, altering_done, c);
}

void post_start(struct request *r)
{
    struct start_asked asked;
    struct err *e = start_read(r, &asked);
    if (!e)
        e = check_endpoints(r, asked.spec.id);
    if (e) {
        reply_err(r, e);
        return;
    }
    struct altering *c = altering_new(r, asked.spec.id, asked.timeout_ms);
    struct start_asked *kept = arena_alloc(r->arena, sizeof *kept);
    *kept = asked;
    c->asked = kept;
    loop_timer_set(r->http->loop, &c->timer, clock_mono_ms() + asked.timeout_ms, altering_late);
    start(c);
}

void post_update(struct request *r)
{
    struct deployment_change change;
    struct str id = request_param(r, "model_id");
    struct err *e = update_read(r, &change);
    if (!e)
        e = deployment_authorize(r, id, true);
    if (e) {
        reply_err(r, e);
        return;
    }
    struct altering *c = altering_new(r, id, 0);
    deployment_update(r->api->parts.models, id, &change, r->http->loop, altering_done, c);
}

/* --- _stop --- */

struct stop {
    struct request *request;
    size_t left;
};

static void stop_answer(struct request *r)
{
    struct buf b;
    struct json_out w;
    reply_buf_init(&b);
    json_out_init(&w, &b);
    json_obj(&w);
    json_key_bool(&w, "stopped", true);
    json_end(&w);
    reply_json(r, 200, &b);
}

static void stop_one_done(void *ctx, struct err *e)
{
    struct stop *s = ctx;
    struct request *r = s->request;
    err_free(e);
    if (--s->left)
        return;
    free(s);
    if (request_back(r))
        stop_answer(r);
}

struct stop_asked {
    bool allow_no_match, force, finish;
};

static struct err *stop_flag(const struct request *r, const char *name, bool *out)
{
    bool by_body = *out;
    const struct json *v = json_get(r->body, name);
    if (!json_is_null(v) && !json_bool(v, &by_body))
        return err_new(ERR_X_CONTENT, "[stop_deployment_request] failed to parse field [%s]", name);
    return request_query_bool(r, name, by_body, out);
}

static struct err *stop_read(const struct request *r, struct stop_asked *out)
{
    *out = (struct stop_asked){.allow_no_match = true};
    TRY(stop_flag(r, "allow_no_match", &out->allow_no_match));
    TRY(stop_flag(r, "force", &out->force));
    return stop_flag(r, "finish_pending_work", &out->finish);
}

/* Deployments of a comma list of ids and patterns; each once. */
static struct err *stop_find(struct request *r, const struct stop_asked *asked,
                             const struct deployment_view ***out, size_t *n_out)
{
    struct deployment_view *all;
    struct str rest = request_param(r, "model_id"), part;
    size_t n_all;
    models_views(r->api->parts.models, r->arena, &all, &n_all);
    bool *chosen = arena_array(r->arena, n_all, sizeof *chosen);
    while (str_split(&rest, ',', &part)) {
        bool found = false;
        for (size_t i = 0; i < n_all; i++) {
            if (id_matches(part, all[i].id))
                found = chosen[i] = true;
        }
        if (!found && !asked->allow_no_match)
            return err_new(ERR_NOT_FOUND, "No known model deployment with id [%.*s]",
                           STR_ARG(part));
    }
    *out = arena_array(r->arena, n_all, sizeof **out);
    for (size_t i = 0; i < n_all; i++) {
        if (chosen[i])
            (*out)[(*n_out)++] = &all[i];
    }
    return NULL;
}

static struct err *stop_check(struct request *r, const struct deployment_view *d)
{
    struct str user = inference_user_of(r->api->parts.inference, d->id, r->arena);
    if (!user.p)
        return NULL;
    return err_status(409,
                      "Cannot stop deployment [%.*s] as it is used by inference endpoint [%.*s]; "
                      "use force to stop the deployment",
                      STR_ARG(d->id), STR_ARG(user));
}

static struct err *stop_all(struct request *r)
{
    struct stop_asked asked;
    const struct deployment_view **found;
    size_t n = 0;
    TRY(stop_read(r, &asked));
    TRY(stop_find(r, &asked, &found, &n));
    for (size_t i = 0; i < n; i++)
        TRY(deployment_authorize(r, found[i]->id, true));
    for (size_t i = 0; i < n && !asked.force; i++)
        TRY(stop_check(r, found[i]));
    if (!n) {
        stop_answer(r);
        return NULL;
    }
    struct stop *s = mem_new(sizeof *s);
    *s = (struct stop){.request = r, .left = n};
    request_hold(r);
    for (size_t i = 0; i < n; i++)
        deployment_stop(r->api->parts.models, found[i]->id, asked.finish, r->http->loop,
                        stop_one_done, s);
    return NULL;
}

void post_stop(struct request *r)
{
    struct err *e = stop_all(r);
    if (e)
        reply_err(r, e);
}

/* --- cache/_clear --- */

void post_clear_model_cache(struct request *r)
{
    struct buf b;
    struct json_out w;
    int64_t timeout_ms;
    struct str id = request_param(r, "model_id");
    struct err *e = request_query_ms(r, "timeout", 30000, &timeout_ms);
    if (!e)
        e = deployment_authorize(r, id, true);
    if (!e)
        e = deployment_cache_clear(r->api->parts.models, id);
    if (e) {
        reply_err(r, e);
        return;
    }
    reply_buf_init(&b);
    json_out_init(&w, &b);
    json_obj(&w);
    json_key_bool(&w, "cleared", true);
    json_end(&w);
    reply_json(r, 200, &b);
}
