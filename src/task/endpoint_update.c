/* _update: a body laid over a copy of the stored endpoint. */
#include "endpoint_private.h"

/* ctx: the stored endpoint. Typed clients build the body from the type of a whole endpoint, whose
 * [service] is required; the stored one's name changes nothing. */
static bool is_not_updatable(const struct json *member, const void *ctx)
{
    const struct endpoint *stored = ctx;
    struct str key = member->key;
    if (str_eq(key, STR("service")) && json_is(member, JSON_STRING))
        return !str_eq(member->text, stored->service);
    return !str_eq(key, STR("task_type")) && !str_eq(key, STR("service_settings")) &&
           !str_eq(key, STR("task_settings"));
}

static bool is_any(const struct json *member, const void *ctx)
{
    return true;
}

/* The text with the whole body in it, as ES prints it here. */
static struct err *bad_body(int status, const char *what, const struct json *body)
{
    struct buf text;
    java_text_init(&text);
    java_members(&text, body, is_any, NULL);
    struct err *e = err_status(status, "%s [%.*s]", what, STR_ARG(java_text_end(&text)));
    buf_deinit(&text);
    return e;
}

static struct err *check_kinds(const struct json *body)
{
    const struct json *v = json_get(body, "service_settings");
    if (!json_is_null(v) && !json_is(v, JSON_OBJECT))
        return bad_body(400, "Unable to parse service settings in the request", body);
    v = json_get(body, "task_settings");
    if (!json_is_null(v) && !json_is(v, JSON_OBJECT))
        return bad_body(400, "Unable to parse task settings in the request", body);
    return NULL;
}

static struct err *check_task(const struct endpoint *ep, const struct json *body)
{
    const struct json *v = json_get(body, "task_type");
    enum task task;
    if (json_is_null(v))
        return NULL;
    if (!json_is(v, JSON_STRING))
        return bad_body(500, "Failed to parse [task_type] in update request", body);
    if (!task_parse(v->text, &task))
        return err_status(400, "Unknown task_type [%.*s]", STR_ARG(str_sub(v->text, 0, 200)));
    if (task != ep->task)
        return err_status(400, "Task type must match the task type of the existing endpoint");
    return NULL;
}

static struct err *check_members(const struct endpoint *stored, const struct json *body)
{
    struct buf text;
    struct err *e = NULL;
    java_text_init(&text);
    if (java_members(&text, body, is_not_updatable, stored) > 0)
        e = err_status(400,
                       "Request contained fields which cannot be updated, remove these fields and "
                       "try again [%.*s]",
                       STR_ARG(java_text_end(&text)));
    buf_deinit(&text);
    return e;
}

static bool gives_secret(const struct settings_reader *r, const struct json *service)
{
    for (size_t i = 0; i < r->table->n; i++) {
        const struct setting *row = &r->table->rows[i];
        if (row->place == IN_SECRET && setting_applies(r, row) &&
            !json_is_null(json_get(service, row->name)))
            return true;
    }
    return false;
}

/* Secrets are replaced as a set: a new access_key without its secret_key is refused, and an
 * entra_id takes the place of an api_key. */
static struct err *update_secrets(struct settings_reader *r, const struct json *service,
                                  struct values *values)
{
    if (!gives_secret(r, service))
        return NULL;
    for (size_t i = 0; i < r->table->n; i++) {
        struct value *v = &values->v[i];
        if (r->table->rows[i].place != IN_SECRET || !v->set)
            continue;
        secret_unref((struct secret *)(uintptr_t)v->secret);
        *v = (struct value){0};
    }
    settings_read(r, IN_SECRET, service, values);
    return settings_end(r);
}

static struct err *merge(struct endpoint *ep, const struct json *body)
{
    const struct json *service = json_get(body, "service_settings");
    const struct json *task = json_get(body, "task_settings");
    struct settings_reader r = endpoint_reader(ep, ep->arena, SETTINGS_UPDATE);
    TRY(settings_unknown(&r, IN_SERVICE, service));
    if (!json_is_null(service)) {
        settings_read(&r, IN_SERVICE, service, &ep->values);
        TRY(settings_end(&r));
        TRY(update_secrets(&r, service, &ep->values));
    }
    if (json_is_null(task))
        return NULL;
    settings_read(&r, IN_TASK, task, &ep->values);
    TRY(settings_end(&r));
    return settings_unknown(&r, IN_TASK, task);
}

#define SETTINGS_LIMIT ((size_t)1 << 30) /* no body that made it here is larger */

/* All that an update can change, as one text; the caller wipes it. */
static void put_all(const struct endpoint *ep, struct buf *out)
{
    struct json_out w;
    buf_init(out, SETTINGS_LIMIT);
    buf_reserve(out, 8192); /* so that growing leaves no unwiped copy, but for huge settings */
    json_out_init(&w, out);
    json_obj(&w);
    settings_render(&w, &ep->values, ep->task, IN_SERVICE, true, -1);
    secrets_render(&w, &ep->values, ep->task);
    json_key(&w, "task_settings");
    json_obj(&w);
    settings_render(&w, &ep->values, ep->task, IN_TASK, true, -1);
    json_end(&w);
    json_end(&w);
}

static bool differs(const struct endpoint *a, const struct endpoint *b)
{
    struct buf text_a, text_b;
    put_all(a, &text_a);
    put_all(b, &text_b);
    bool same = str_eq(buf_str(&text_a), buf_str(&text_b));
    secret_wipe(text_a.p, text_a.n);
    secret_wipe(text_b.p, text_b.n);
    buf_deinit(&text_a);
    buf_deinit(&text_b);
    return !same;
}

struct err *endpoint_update(const struct endpoint *stored, const struct json *body,
                            struct endpoint **out, bool *changed_out)
{
    if (!json_is(body, JSON_OBJECT) || body->n == 0)
        return err_status(400, "Request body is empty");
    TRY(check_task(stored, body));
    TRY(check_kinds(body));
    TRY(check_members(stored, body));
    struct endpoint *ep = endpoint_clone(stored);
    struct err *e = merge(ep, body);
    if (e) {
        endpoint_unref(ep);
        return e;
    }
    *changed_out = differs(stored, ep);
    *out = ep;
    return NULL;
}
