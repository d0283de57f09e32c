/* Endpoints: made from a PUT body, counted, copied, shown. Storing them is endpoint_store.c,
 * changing them endpoint_update.c. The order of checks is that of Elasticsearch's services:
 * chunking, then service settings, task settings and secrets (each collected), then members nobody
 * read. */
#include "endpoint_private.h"

#include "bug.h"

struct endpoint *endpoint_new(const struct settings_table *table, struct str id, enum task task)
{
    struct arena *arena = arena_new(ARENA_NO_LIMIT);
    struct endpoint *ep = arena_alloc(arena, sizeof *ep);
    atomic_init(&ep->refs, 1);
    ep->arena = arena;
    ep->id = arena_dup(arena, id);
    ep->task = task;
    ep->service = str_c(table->service);
    ep->values = values_new(arena, table);
    return ep;
}

struct endpoint *endpoint_ref(struct endpoint *ep)
{
    atomic_fetch_add_explicit(&ep->refs, 1, memory_order_relaxed);
    return ep;
}

void endpoint_unref(struct endpoint *ep)
{
    if (!ep)
        return;
    unsigned before = atomic_fetch_sub_explicit(&ep->refs, 1, memory_order_acq_rel);
    BUG_ON(before == 0);
    if (before > 1)
        return;
    if (ep->on_free)
        ep->on_free(ep);
    values_unref(&ep->values);
    arena_free(ep->arena);
}

bool endpoint_is_chunked(enum task task)
{
    return task == TASK_TEXT_EMBEDDING || task == TASK_SPARSE_EMBEDDING;
}

struct settings_reader endpoint_reader(const struct endpoint *ep, struct arena *arena,
                                       enum settings_why why)
{
    const struct value *rate = settings_get(&ep->values, "rate_limit");
    return (struct settings_reader){
        .table = ep->values.table,
        .task = ep->task,
        .default_rpm = rate && rate->set ? rate->i : 0,
        .why = why,
        .arena = arena,
    };
}

/* --- reading a PUT body --- */

static struct err *object_or_null(const char *name, const struct json *v)
{
    if (json_is_null(v) || json_is(v, JSON_OBJECT))
        return NULL;
    struct err_list list = {0};
    problem_type(&list, name, v, "Map");
    return err_list_end(&list, ERR_VALIDATION);
}

static bool is_unread(const struct json *member, const void *ctx)
{
    const enum task *task = ctx;
    struct str key = member->key;
    if (str_eq(key, STR("service")) || str_eq(key, STR("task_type")) ||
        str_eq(key, STR("service_settings")) || str_eq(key, STR("task_settings")))
        return false;
    return !(endpoint_is_chunked(*task) && str_eq(key, STR("chunking_settings")));
}

static struct err *check_top_level(const struct endpoint *ep, const struct json *body)
{
    struct buf text;
    struct err *e = NULL;
    java_text_init(&text);
    if (java_members(&text, body, is_unread, &ep->task) > 0)
        e = err_status(400, "Configuration contains settings [%.*s] unknown to the [%.*s] service",
                       STR_ARG(java_text_end(&text)), STR_ARG(ep->service));
    buf_deinit(&text);
    return e;
}

static struct err *read_body(struct endpoint *ep, struct settings_reader *r,
                             const struct json *body)
{
    const struct json *service = json_get(body, "service_settings");
    const struct json *task = json_get(body, "task_settings");
    if (json_is_null(service))
        return err_status(400, "Missing required field [service_settings]");
    TRY(object_or_null("service_settings", service));
    TRY(object_or_null("task_settings", task));
    ep->has_chunking = endpoint_is_chunked(ep->task);
    if (ep->has_chunking)
        TRY(chunking_parse(ep->arena, json_get(body, "chunking_settings"), &ep->chunking));
    settings_read_legacy(r, task, &ep->values);
    settings_read(r, IN_SERVICE, service, &ep->values);
    TRY(settings_end(r));
    settings_read(r, IN_TASK, task, &ep->values);
    TRY(settings_end(r));
    settings_read(r, IN_SECRET, service, &ep->values);
    TRY(settings_end(r));
    TRY(check_top_level(ep, body));
    TRY(settings_unknown(r, IN_SERVICE, service));
    TRY(settings_unknown(r, IN_TASK, task));
    settings_fill(r, &ep->values);
    return NULL;
}

struct err *endpoint_parse(const struct settings_table *table, int64_t default_rpm, struct str id,
                           enum task task, const struct json *body, struct endpoint **out)
{
    struct endpoint *ep = endpoint_new(table, id, task);
    struct settings_reader r = endpoint_reader(ep, ep->arena, SETTINGS_NEW);
    r.default_rpm = default_rpm;
    struct err *e = read_body(ep, &r, body);
    if (e) {
        endpoint_unref(ep);
        return e;
    }
    *out = ep;
    return NULL;
}

struct err *endpoint_call_values(const struct endpoint *ep, struct arena *arena,
                                 const struct json *task_settings, struct values *out)
{
    *out = values_new(arena, ep->values.table);
    memcpy(out->v, ep->values.v, ep->values.table->n * sizeof(struct value));
    if (json_is_null(task_settings))
        return NULL;
    TRY(object_or_null("task_settings", task_settings));
    struct settings_reader r = endpoint_reader(ep, arena, SETTINGS_CALL);
    settings_read(&r, IN_TASK, task_settings, out);
    TRY(settings_end(&r));
    if (out->table->calls_are_open && out->table->calls_are_open(out))
        return NULL;
    return settings_unknown(&r, IN_TASK, task_settings);
}

/* --- copies --- */

static void copy_chunking(struct endpoint *to, const struct endpoint *from)
{
    to->has_chunking = from->has_chunking;
    to->chunking = from->chunking;
    size_t n = from->chunking.n_separators;
    if (n == 0)
        return;
    struct str *separators = arena_array(to->arena, n, sizeof *separators);
    for (size_t i = 0; i < n; i++)
        separators[i] = arena_dup(to->arena, from->chunking.separators[i]);
    to->chunking.separators = separators;
}

struct endpoint *endpoint_clone(const struct endpoint *from)
{
    struct endpoint *ep = endpoint_new(from->values.table, from->id, from->task);
    ep->service = from->service.p == from->values.table->service
                      ? from->service
                      : arena_dup(ep->arena, from->service);
    ep->provider = from->provider;
    ep->values = values_copy(ep->arena, &from->values);
    copy_chunking(ep, from);
    ep->rev = from->rev;
    return ep;
}

/* The value of the row that this task has under a name; NULL: none. */
static struct value *task_value(struct endpoint *ep, const char *name)
{
    const struct settings_table *table = ep->values.table;
    for (size_t i = 0; i < table->n; i++) {
        if ((table->rows[i].tasks & TASK_BIT(ep->task)) && strcmp(table->rows[i].name, name) == 0)
            return &ep->values.v[i];
    }
    return NULL;
}

struct endpoint *endpoint_with_dimensions(const struct endpoint *from, int64_t dimensions,
                                          const char *similarity)
{
    struct endpoint *ep = endpoint_clone(from);
    struct value *v = task_value(ep, "dimensions");
    if (v) {
        v->set = true;
        v->i = dimensions;
    }
    v = task_value(ep, "similarity");
    if (v && similarity) {
        v->set = true;
        v->s = arena_dup(ep->arena, str_c(similarity));
    }
    return ep;
}

/* --- what clients see --- */

void endpoint_render_live(struct json_out *w, const struct endpoint *ep,
                          int64_t num_allocations_live)
{
    json_obj(w);
    json_key_str(w, "inference_id", ep->id);
    json_key_cstr(w, "task_type", task_name(ep->task));
    json_key_str(w, "service", ep->service);
    json_key(w, "service_settings");
    json_obj(w);
    settings_render(w, &ep->values, ep->task, IN_SERVICE, false, num_allocations_live);
    json_end(w);
    if (settings_any(&ep->values, ep->task, IN_TASK)) {
        json_key(w, "task_settings");
        json_obj(w);
        settings_render(w, &ep->values, ep->task, IN_TASK, false, -1);
        json_end(w);
    }
    if (ep->has_chunking) {
        json_key(w, "chunking_settings");
        chunking_render(w, &ep->chunking);
    }
    json_end(w);
}

void endpoint_render(struct json_out *w, const struct endpoint *ep)
{
    endpoint_render_live(w, ep, -1);
}

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

struct err *endpoint_id_check(struct str id)
{
    bool ok = id.n > 0 && is_alnum(id.p[0]) && is_alnum(id.p[id.n - 1]);
    for (size_t i = 0; ok && i < id.n; i++)
        ok = is_alnum(id.p[i]) || id.p[i] == '_' || id.p[i] == '-' || id.p[i] == '.';
    if (ok)
        return NULL;
    struct err_list list = {0};
    err_list_add(&list,
                 "Invalid inference_id; '%.*s' can contain lowercase alphanumeric (a-z and 0-9), "
                 "hyphens or underscores; must start and end with alphanumeric",
                 STR_ARG(id));
    return err_list_end(&list, ERR_REQUEST);
}
