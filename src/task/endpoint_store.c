/* The stored form of an endpoint. Two JSON texts:
 *
 *     {"service":"openai","task_type":"text_embedding","service_settings":{...},
 *      "task_settings":{...},"chunking_settings":{...},
 *      "by_user":{"service_settings":["model_id"],"task_settings":[]}}
 *     {"api_key":"..."}
 *
 * `by_user` names what the caller gave, as opposed to what was filled in or measured: dimensions go
 * upstream only in the first case. */
#include "endpoint_private.h"

static void put_settings(struct json_out *w, const struct endpoint *ep, const char *key,
                         enum setting_place place)
{
    json_key(w, key);
    json_obj(w);
    settings_render(w, &ep->values, ep->task, place, true, -1);
    json_end(w);
}

static void put_by_user(struct json_out *w, const struct endpoint *ep, const char *key,
                        enum setting_place place)
{
    const struct settings_table *table = ep->values.table;
    json_key(w, key);
    json_arr(w);
    for (size_t i = 0; i < table->n; i++) {
        const struct setting *row = &table->rows[i];
        const struct value *v = &ep->values.v[i];
        if (row->place == place && (row->tasks & TASK_BIT(ep->task)) && v->set && v->by_user)
            json_put_cstr(w, row->name);
    }
    json_end(w);
}

void endpoint_to_store(const struct endpoint *ep, struct buf *public_out, struct buf *secret_out)
{
    struct json_out w;
    json_out_init(&w, public_out);
    json_obj(&w);
    json_key_str(&w, "service", ep->service);
    json_key_cstr(&w, "task_type", task_name(ep->task));
    put_settings(&w, ep, "service_settings", IN_SERVICE);
    put_settings(&w, ep, "task_settings", IN_TASK);
    if (ep->has_chunking) {
        json_key(&w, "chunking_settings");
        chunking_render(&w, &ep->chunking);
    }
    json_key(&w, "by_user");
    json_obj(&w);
    put_by_user(&w, ep, "service_settings", IN_SERVICE);
    put_by_user(&w, ep, "task_settings", IN_TASK);
    json_end(&w);
    json_end(&w);

    json_out_init(&w, secret_out);
    json_obj(&w);
    secrets_render(&w, &ep->values, ep->task);
    json_end(&w);
}

struct err *endpoint_peek_store(struct arena *arena, struct str public_json,
                                struct str *service_out, enum task *task_out)
{
    const struct json *root;
    struct str task;
    TRY(json_parse(arena, public_json, &root));
    if (!json_str(json_get(root, "service"), service_out) ||
        !json_str(json_get(root, "task_type"), &task) || !task_parse(task, task_out) ||
        *task_out == TASK_ANY)
        return err_new(ERR_CORRUPT, "A stored endpoint lacks its service or task type");
    return NULL;
}

static bool names_row(const struct json *names, const char *name)
{
    struct json_iter it = json_iter(names);
    for (const struct json *v; (v = json_next(&it));) {
        if (json_is(v, JSON_STRING) && str_eq_c(v->text, name))
            return true;
    }
    return false;
}

static void restore_by_user(struct endpoint *ep, const struct json *by_user)
{
    const struct json *service = json_get(by_user, "service_settings");
    const struct json *task = json_get(by_user, "task_settings");
    for (size_t i = 0; i < ep->values.table->n; i++) {
        const struct setting *row = &ep->values.table->rows[i];
        if (row->place != IN_SECRET)
            ep->values.v[i].by_user = names_row(row->place == IN_TASK ? task : service, row->name);
    }
}

/* A string with escapes was unescaped into the arena: its copy is wiped too. */
static void wipe_copies(struct str source, const struct json *v)
{
    bool borrowed = v->text.p >= source.p && v->text.p <= source.p + source.n;
    if (json_is(v, JSON_STRING) && v->text.n > 0 && !borrowed)
        secret_wipe((void *)(uintptr_t)v->text.p, v->text.n);
    if (v->type != JSON_OBJECT && v->type != JSON_ARRAY)
        return;
    struct json_iter it = json_iter(v);
    for (const struct json *m; (m = json_next(&it));)
        wipe_copies(source, m);
}

static struct err *read_secrets(struct settings_reader *r, struct arena *tmp, struct str text,
                                struct endpoint *ep)
{
    const struct json *root;
    TRY(json_parse(tmp, text, &root));
    settings_read(r, IN_SECRET, root, &ep->values);
    wipe_copies(text, root);
    for (size_t i = 0; i < r->table->n; i++) {
        const struct setting *row = &r->table->rows[i];
        if (row->place == IN_SECRET && (row->flags & SETTING_REQUIRED) && setting_applies(r, row) &&
            !ep->values.v[i].set)
            problem_missing(&r->problems, setting_scope(row), row->name);
    }
    return settings_end(r);
}

static struct err *read_stored(struct settings_reader *r, struct arena *tmp, struct str public_json,
                               struct str secret_json, struct endpoint *ep)
{
    const struct json *root;
    TRY(json_parse(tmp, public_json, &root));
    ep->has_chunking = endpoint_is_chunked(ep->task);
    if (ep->has_chunking)
        TRY(chunking_parse(ep->arena, json_get(root, "chunking_settings"), &ep->chunking));
    settings_read(r, IN_SERVICE, json_get(root, "service_settings"), &ep->values);
    settings_read(r, IN_TASK, json_get(root, "task_settings"), &ep->values);
    TRY(settings_end(r));
    restore_by_user(ep, json_get(root, "by_user"));
    TRY(read_secrets(r, tmp, secret_json, ep));
    settings_fill(r, &ep->values);
    return NULL;
}

static struct err *load(const struct settings_table *table, int64_t default_rpm, struct str id,
                        struct arena *tmp, struct str public_json, struct str secret_json,
                        struct endpoint **out)
{
    struct str service;
    enum task task;
    TRY(endpoint_peek_store(tmp, public_json, &service, &task));
    struct endpoint *ep = endpoint_new(table, id, task);
    struct settings_reader r = endpoint_reader(ep, ep->arena, SETTINGS_STORED);
    r.default_rpm = default_rpm;
    struct err *e = read_stored(&r, tmp, public_json, secret_json, ep);
    if (e)
        endpoint_unref(ep);
    else
        *out = ep;
    return e;
}

struct err *endpoint_from_store(const struct settings_table *table, int64_t default_rpm,
                                struct str id, struct str public_json, struct str secret_json,
                                struct endpoint **out)
{
    struct arena *tmp = arena_new(ARENA_NO_LIMIT);
    struct err *e = load(table, default_rpm, id, tmp, public_json, secret_json, out);
    arena_free(tmp);
    if (!e)
        return NULL;
    return err_wrap(
        e, ERR_STATUS,
        "Failed to load inference endpoint [%.*s]. Endpoint is in an invalid state, try "
        "deleting and reinitializing the service",
        STR_ARG(id));
}
