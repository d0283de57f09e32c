/* _infer of a trained model: documents asked of whichever deployment the id means. */
#include "body.h"
#include "clock.h"
#include "deployments.h"
#include "log.h"
#include "reply.h"

#define DEFAULT_TIMEOUT_MS 10000

struct ml_infer {
    struct infer_docs docs;
    struct str ignored; /* names the path has given already */
    struct request *request;
    struct loop_timer timer, cancel_soon;
    struct usage_pass pass; /* of the caller's API key */
    struct str answers; /* the deployment that answers, or the model of trees; p NULL: unknown */
    int64_t began_ns;
    bool timed_out;
};

/* --- the body --- */

static struct err *read_docs(struct body *b, const struct json *v, void *out)
{
    struct json_iter it = json_iter(v);
    if (v->flat && v->n)
        return err_new(ERR_X_CONTENT, "[docs] must be an array of objects");
    for (const struct json *d; (d = json_next(&it));) {
        if (!json_is(d, JSON_OBJECT))
            return err_new(ERR_X_CONTENT, "[docs] must be an array of objects");
    }
    *(const struct json **)out = v;
    return NULL;
}

static struct err *read_config(struct body *b, const struct json *v, void *out)
{
    *(const struct json **)out = v;
    return NULL;
}

static struct err *infer_body(const struct request *r, struct ml_infer *out)
{
    static const struct body_field fields[] = {
        {"docs", BODY_ARRAY, true, read_docs, offsetof(struct ml_infer, docs.docs)},
        {"inference_config", BODY_OBJECT, false, read_config,
         offsetof(struct ml_infer, docs.update)},
        {"id", BODY_STR, false, body_str, offsetof(struct ml_infer, ignored)},
        {"model_id", BODY_STR, false, body_str, offsetof(struct ml_infer, ignored)},
    };
    static const struct body_parser parser = {"cluster:internal/xpack/ml/inference/infer/request",
                                              fields, 4};
    struct body b = {.arena = r->arena, .text = r->http->body};
    return body_parse(&b, &parser, r->body, out);
}

/* --- the caller's API key: what it may, and what it has used --- */

static struct err *admit(struct infer_docs *docs, struct str deployment_id)
{
    struct ml_infer *m = (struct ml_infer *)docs;
    struct request *r = m->request;
    m->answers = arena_dup(r->arena, deployment_id);
    TRY(deployment_authorize(r, deployment_id, false));
    return security_admit(r->api->parts.security, r->user, deployment_id, &m->pass);
}

/* Before anything of its end is told. A call that failed has used no tokens. */
static void settle(struct ml_infer *m, bool answered)
{
    if (m->pass.row)
        security_settle(m->request->api->parts.security, &m->pass, answered ? m->docs.tokens : 0,
                        0);
}

/* --- the end --- */

/* As for calls of endpoints: never what it was about. */
static void log_slow(const struct ml_infer *m, int status)
{
    const struct request *r = m->request;
    int64_t ms = (clock_mono_ns() - m->began_ns) / 1000000;
    int64_t slow_ms = r->api->options.slow_ms;
    struct str id = {0};
    if (!slow_ms || ms < slow_ms)
        return;
    http_header_get(r->http->headers, STR("x-opaque-id"), &id);
    log_warn("slow inference call", LOG_S("deployment_id", m->answers),
             LOG_S("model_id", request_param(r, "model_id")), LOG_I("documents", m->docs.docs->n),
             LOG_I("took_ms", ms), LOG_I("status", status), LOG_S("x_opaque_id", id));
}

static void answer(struct ml_infer *m)
{
    struct buf b;
    struct json_out w;
    reply_buf_init(&b);
    json_out_init(&w, &b);
    json_obj(&w);
    json_key(&w, "inference_results");
    json_arr(&w);
    infer_docs_render(&m->docs, &w);
    json_end(&w);
    json_end(&w);
    reply_json(m->request, 200, &b);
}

static void infer_done(struct infer_docs *docs, struct err *e)
{
    struct ml_infer *m = (struct ml_infer *)docs;
    struct request *r = m->request;
    loop_timer_cancel(&m->timer);
    loop_timer_cancel(&m->cancel_soon);
    settle(m, !e);
    if (!request_back(r)) {
        err_free(e);
        return;
    }
    if (e && m->timed_out && e->kind != ERR_DEPLOYMENT_TIMEOUT) {
        struct str time = time_text(r->arena, docs->call.timeout_ms);
        err_free(e);
        e = err_status(408, "timeout [%.*s] waiting for inference result", STR_ARG(time));
    }
    log_slow(m, e ? e->status : 200);
    if (e)
        reply_err(r, e);
    else
        answer(m);
}

static void cancel(struct ml_infer *m)
{
    struct call *call = &m->docs.call;
    atomic_store_explicit(&call->cancelled, true, memory_order_release);
    if (call->on_cancel)
        call->on_cancel(call);
}

static void late(struct loop_timer *timer)
{
    struct ml_infer *m = (struct ml_infer *)((char *)timer - offsetof(struct ml_infer, timer));
    m->timed_out = true;
    cancel(m);
}

static void cancel_now(struct loop_timer *timer)
{
    cancel((struct ml_infer *)((char *)timer - offsetof(struct ml_infer, cancel_soon)));
}

static void gone(struct request *r)
{
    struct ml_infer *m = r->work;
    loop_timer_set(r->http->loop, &m->cancel_soon, 0, cancel_now);
}

/* --- the beginning --- */

static struct err *infer_read(struct request *r, struct ml_infer *m)
{
    struct call *call = &m->docs.call;
    TRY(request_query_ms(r, "timeout", DEFAULT_TIMEOUT_MS, &call->timeout_ms));
    TRY(infer_body(r, m));
    call->loop = r->http->loop;
    call->arena = r->arena;
    call->owner = security_owner(r->user);
    call->deadline_ms = call->timeout_ms < 0 ? 0 : clock_mono_ms() + call->timeout_ms;
    return NULL;
}

void post_ml_infer(struct request *r)
{
    struct ml_infer *m = arena_alloc(r->arena, sizeof *m);
    m->request = r;
    m->began_ns = clock_mono_ns();
    m->docs.admit = admit;
    m->docs.done = infer_done;
    struct err *e = infer_read(r, m);
    if (e) {
        reply_err(r, e);
        return;
    }
    r->work = m;
    r->on_cancel = gone;
    request_hold(r);
    if (m->docs.call.deadline_ms)
        loop_timer_set(r->http->loop, &m->timer, m->docs.call.deadline_ms, late);
    deployment_infer(r->api->parts.models, request_param(r, "model_id"), &m->docs);
}
