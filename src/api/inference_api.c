/* inference_api: endpoints as resources: create, read, update, delete, and what services there are.
 * Calls on them are in infer.c. Source: shared facts, inference.md 2.1 to 2.4, 2.8, 2.9. */
#include "handlers.h"
#include "log.h"
#include "reply.h"

#define DEFAULT_TIMEOUT_MS 30000

struct err *url_task(const struct request *r, enum task *out)
{
    struct str name = request_param(r, "task_type");
    *out = TASK_ANY;
    if (name.p && !task_parse(name, out))
        return err_status(400, "Unknown task_type [%.*s]", STR_ARG(name));
    return NULL;
}

static bool is_all(struct str id)
{
    return id.p == NULL || str_eq(id, STR("_all")) || str_eq(id, STR("*"));
}

/* --- GET --- */

size_t keep_seen(const struct request *r, struct endpoint **list, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (security_sees(r->user, list[i]->id))
            list[kept++] = list[i];
        else
            endpoint_unref(list[i]);
    }
    return kept;
}

static void endpoints_reply(struct request *r, struct endpoint *const *list, size_t n)
{
    struct buf b;
    reply_buf_init(&b);
    struct json_out w;
    json_out_init(&w, &b);
    json_obj(&w);
    json_key(&w, "endpoints");
    json_arr(&w);
    for (size_t i = 0; i < n; i++)
        inference_render(r->api->parts.inference, &w, list[i]);
    json_end(&w);
    json_end(&w);
    reply_json(r, 200, &b);
}

void get_endpoints(struct request *r)
{
    struct inference *inf = r->api->parts.inference;
    struct str id = request_param(r, "inference_id");
    enum task task;
    struct err *e = url_task(r, &task);
    if (!e && is_all(id)) {
        struct endpoint **list;
        size_t n;
        inference_list(inf, task, r->arena, &list, &n);
        n = keep_seen(r, list, n);
        endpoints_reply(r, list, n);
        for (size_t i = 0; i < n; i++)
            endpoint_unref(list[i]);
        return;
    }
    struct endpoint *ep = NULL;
    if (!e)
        e = inference_find_typed(inf, id, task, &ep);
    if (e) {
        reply_err(r, e);
        return;
    }
    endpoints_reply(r, &ep, 1);
    endpoint_unref(ep);
}

/* --- PUT, _update, DELETE --- */

static struct err *change_init(struct request *r, struct endpoint_change *c)
{
    *c = (struct endpoint_change){.loop = r->http->loop,
                                  .id = request_param(r, "inference_id"),
                                  .text = r->http->body,
                                  .body = r->body,
                                  .ctx = r};
    TRY(url_task(r, &c->task));
    TRY(request_query_ms(r, "timeout", DEFAULT_TIMEOUT_MS, &c->timeout_ms));
    if (c->timeout_ms < 0)
        c->timeout_ms = INT64_C(1) << 40;
    return NULL;
}

/* The older name of a service: what it has become is answered, and that it has. */
static void warn_of_elser(struct request *r, const struct endpoint *ep)
{
    struct str service;
    const struct value *model = settings_get(&ep->values, "model_id");
    const struct json *asked = json_path(r->body, "service_settings", "model_id", NULL);
    if (!json_str(json_get(r->body, "service"), &service) || !str_eq_c(service, "elser") || !model)
        return;
    reply_warn(
        r, arena_printf(r->arena,
                        "The [elser] service is deprecated and will be removed in a future "
                        "release. Use the [elasticsearch] service instead, with [model_id] set to "
                        "[%.*s] in the [service_settings]",
                        STR_ARG(model->s)));
    if (json_is_null(asked))
        reply_warn(r, STR("Using the [elser] service without a [model_id] is deprecated: the "
                          "[elasticsearch] service requires [model_id] in the [service_settings]"));
}

static void changed(void *ctx, struct err *e, struct endpoint *ep)
{
    struct request *r = ctx;
    if (!request_back(r)) {
        err_free(e);
        endpoint_unref(ep);
        return;
    }
    if (e) {
        reply_err(r, e);
        return;
    }
    struct buf b;
    reply_buf_init(&b);
    struct json_out w;
    json_out_init(&w, &b);
    inference_render(r->api->parts.inference, &w, ep);
    warn_of_elser(r, ep);
    endpoint_unref(ep);
    reply_json(r, 200, &b);
}

void put_endpoint(struct request *r)
{
    struct endpoint_change c;
    struct err *e = change_init(r, &c);
    if (e) {
        reply_err(r, e);
        return;
    }
    c.done = changed;
    request_hold(r);
    inference_create(r->api->parts.inference, &c);
}

void update_endpoint(struct request *r)
{
    struct endpoint_change c;
    struct err *e = change_init(r, &c);
    if (e) {
        reply_err(r, e);
        return;
    }
    c.done = changed;
    request_hold(r);
    inference_update(r->api->parts.inference, &c);
}

static void delete_reply(struct request *r, bool acknowledged)
{
    struct buf b;
    reply_buf_init(&b);
    struct json_out w;
    json_out_init(&w, &b);
    json_obj(&w);
    json_key_bool(&w, "acknowledged", acknowledged);
    json_key_raw(&w, "pipelines", STR("[]"));
    json_key_raw(&w, "indexes", STR("[]"));
    if (!acknowledged)
        json_key_cstr(&w, "error_message", "");
    json_end(&w);
    reply_json(r, 200, &b);
}

static void deleted(void *ctx, struct err *e, struct endpoint *ep)
{
    struct request *r = ctx;
    endpoint_unref(ep);
    if (!request_back(r)) {
        err_free(e);
        return;
    }
    bool dry_run;
    if (!e)
        e = request_query_bool(r, "dry_run", false, &dry_run);
    if (e)
        reply_err(r, e);
    else
        delete_reply(r, !dry_run);
}

void delete_endpoint(struct request *r)
{
    struct endpoint_change c;
    struct err *e = change_init(r, &c);
    if (!e)
        e = request_query_bool(r, "dry_run", false, &c.dry_run);
    if (!e)
        e = request_query_bool(r, "force", false, &c.force);
    if (e) {
        reply_err(r, e);
        return;
    }
    c.done = deleted;
    request_hold(r);
    inference_delete(r->api->parts.inference, &c);
}

/* --- services, diagnostics --- */

void get_services(struct request *r)
{
    enum task task;
    bool details;
    struct err *e = url_task(r, &task);
    if (!e)
        e = request_query_bool(r, "details", false, &details);
    if (e) {
        reply_err(r, e);
        return;
    }
    struct buf b;
    reply_buf_init(&b);
    struct json_out w;
    json_out_init(&w, &b);
    inference_services_render(&w, task, details);
    reply_json(r, 200, &b);
}

static bool is_seen(void *ctx, struct str inference_id)
{
    const struct request *r = ctx;
    return security_sees(r->user, inference_id);
}

static void diagnosed(void *ctx, const struct client_stats *s)
{
    struct request *r = ctx;
    if (!request_back(r))
        return;
    struct buf b;
    reply_buf_init(&b);
    struct json_out w;
    json_out_init(&w, &b);
    json_obj(&w);
    json_key(&w, r->api->options.node_id);
    json_obj(&w);
    json_key(&w, "external");
    json_obj(&w);
    json_key(&w, "connection_pool_stats");
    json_obj(&w);
    json_key_i64(&w, "leased_connections", s->leased);
    json_key_i64(&w, "pending_connections", s->pending);
    json_key_i64(&w, "available_connections", s->available);
    json_key_i64(&w, "max_connections", s->max);
    json_end(&w);
    json_end(&w);
    json_key(&w, "inference_endpoints");
    inference_usage_render(r->api->parts.inference, r->arena, &w, is_seen, r);
    json_end(&w);
    json_end(&w);
    reply_json(r, 200, &b);
}

void get_diagnostics(struct request *r)
{
    request_hold(r);
    inference_diagnostics(r->api->parts.inference, r->http->loop, diagnosed, r);
}
