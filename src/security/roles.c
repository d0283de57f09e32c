/* roles: roles as resources. A change counts for its users from the answer on: everybody's rights
 * are worked out anew. API keys made before keep theirs. Source: shared facts, security.md 11. */
#include "account.h"
#include "log.h"
#include "map.h"
#include "private.h"
#include "privilege.h"
#include "query.h"

static struct realm *take(struct security *s)
{
    return (struct realm *)cell_take(&s->realm);
}

/* --- put --- */

static struct err *read_role(struct security_call *c, struct str name, const struct json *body,
                             struct role **out)
{
    static const struct json *const none = NULL;
    struct str metadata;
    TRY(check_name("Role", name));
    if (role_is_reserved(name))
        return err_new(ERR_ARGUMENT, "role [%.*s] is reserved and cannot be modified.",
                       STR_ARG(name));
    TRY(metadata_member(body, "role metadata keys", &metadata));
    if (body == none)
        TRY(json_parse(c->arena, STR("{}"), &body));
    return role_read(c->arena, name, body, out);
}

enum outcome { CREATED, UPDATED, NOOP };

/* What storing these roles does to each, told before it is done. */
static struct err *put_roles(struct security *s, struct arena *arena, struct role *const *roles,
                             size_t n, enum outcome *outcomes)
{
    struct change *changes = arena_array(arena, n + 1, sizeof *changes);
    size_t n_changes = 0;
    pthread_mutex_lock(&s->writing);
    struct realm *realm = take(s);
    for (size_t i = 0; i < n; i++) {
        const struct role *old = realm_role(realm, roles[i]->name);
        outcomes[i] = !old ? CREATED : str_eq(old->text, roles[i]->text) ? NOOP : UPDATED;
        if (outcomes[i] != NOOP)
            changes[n_changes++] = (struct change){.kind = STORE_ROLE,
                                                   .id = roles[i]->name,
                                                   .body = roles[i]->text,
                                                   .expect = STORE_ANY_REV};
    }
    struct err *e = n_changes ? realm_change(s, changes, n_changes) : NULL;
    counted_unref(&realm->counted);
    pthread_mutex_unlock(&s->writing);
    return e;
}

struct err *role_put(struct security *s, struct security_call *c)
{
    struct role *role = NULL;
    enum outcome outcome;
    TRY(read_role(c, c->name, c->body, &role));
    TRY(put_roles(s, c->arena, &role, 1, &outcome));
    log_info("role put", LOG_S("role", c->name), LOG_C("by", c->user->name));
    json_obj(c->out);
    json_key(c->out, "role");
    json_obj(c->out);
    json_key_bool(c->out, "created", outcome == CREATED);
    json_end(c->out);
    json_end(c->out);
    return NULL;
}

struct failure {
    struct str name;
    struct err *err;
};

static void render_failures(struct json_out *w, const struct failure *v, size_t n)
{
    if (!n)
        return;
    json_key(w, "errors");
    json_obj(w);
    json_key_i64(w, "count", (int64_t)n);
    json_key(w, "details");
    json_obj(w);
    for (size_t i = 0; i < n; i++) {
        json_key_s(w, v[i].name);
        json_obj(w);
        json_key_cstr(w, "type", err_type(v[i].err));
        json_key_cstr(w, "reason", v[i].err->reason);
        json_end(w);
    }
    json_end(w);
    json_end(w);
}

static void render_outcomes(struct json_out *w, struct role *const *roles,
                            const enum outcome *outcomes, size_t n)
{
    static const char *const names[] = {"created", "updated", "noop"};
    for (enum outcome o = CREATED; o <= NOOP; o++) {
        bool any = false;
        for (size_t i = 0; i < n; i++) {
            if (outcomes[i] != o)
                continue;
            if (!any) {
                json_key(w, names[o]);
                json_arr(w);
            }
            any = true;
            json_put_str(w, roles[i]->name);
        }
        if (any)
            json_end(w);
    }
}

struct err *roles_put(struct security *s, struct security_call *c)
{
    const struct json *all = json_get(c->body, "roles");
    if (!json_is(all, JSON_OBJECT))
        return err_new(ERR_PARSE, "expected field [roles] to be an object");
    struct role **roles = arena_array(c->arena, all->n + 1, sizeof(struct role *));
    struct failure *failures = arena_array(c->arena, all->n + 1, sizeof *failures);
    enum outcome *outcomes = arena_array(c->arena, all->n + 1, sizeof *outcomes);
    size_t n = 0, n_failures = 0;
    struct json_iter it = json_iter(all);
    for (const struct json *m; (m = json_next(&it));) {
        struct role *role = NULL;
        struct err *bad = read_role(c, m->key, m, &role);
        if (bad)
            failures[n_failures++] = (struct failure){m->key, bad};
        else
            roles[n++] = role;
    }
    struct err *e = put_roles(s, c->arena, roles, n, outcomes);
    if (!e) {
        json_obj(c->out);
        render_outcomes(c->out, roles, outcomes, n);
        render_failures(c->out, failures, n_failures);
        json_end(c->out);
    }
    for (size_t i = 0; i < n_failures; i++)
        err_free(failures[i].err);
    return e;
}

/* --- delete --- */

/* `found` says for each whether it was there. */
static struct err *drop_roles(struct security *s, struct arena *arena, const struct str *names,
                              size_t n, bool *found)
{
    struct change *changes = arena_array(arena, n + 1, sizeof *changes);
    size_t n_changes = 0;
    pthread_mutex_lock(&s->writing);
    struct realm *realm = take(s);
    for (size_t i = 0; i < n; i++) {
        found[i] = realm_role(realm, names[i]);
        bool again = false;
        for (size_t j = 0; j < n_changes; j++)
            again = again || str_eq(changes[j].id, names[i]);
        if (found[i] && !again)
            changes[n_changes++] =
                (struct change){.kind = STORE_ROLE, .id = names[i], .expect = STORE_ANY_REV};
    }
    struct err *e = n_changes ? realm_change(s, changes, n_changes) : NULL;
    counted_unref(&realm->counted);
    pthread_mutex_unlock(&s->writing);
    return e;
}

static struct err *not_reserved(struct str name)
{
    if (!role_is_reserved(name))
        return NULL;
    return err_new(ERR_ARGUMENT, "role [%.*s] is reserved and cannot be deleted", STR_ARG(name));
}

struct err *role_delete(struct security *s, struct security_call *c)
{
    bool found;
    TRY(not_reserved(c->name));
    TRY(drop_roles(s, c->arena, &c->name, 1, &found));
    if (found)
        log_info("role deleted", LOG_S("role", c->name), LOG_C("by", c->user->name));
    json_obj(c->out);
    json_key_bool(c->out, "found", found);
    json_end(c->out);
    c->status = found ? 200 : 404;
    return NULL;
}

static void put_names(struct json_out *w, const char *key, const struct str *names,
                      const bool *found, size_t n, bool wanted)
{
    bool any = false;
    for (size_t i = 0; i < n; i++)
        any = any || found[i] == wanted;
    if (!any)
        return;
    json_key(w, key);
    json_arr(w);
    for (size_t i = 0; i < n; i++)
        if (found[i] == wanted)
            json_put_str(w, names[i]);
    json_end(w);
}

struct err *roles_delete(struct security *s, struct security_call *c)
{
    const struct json *list = json_get(c->body, "names");
    if (!json_is(list, JSON_ARRAY))
        return err_new(ERR_PARSE, "expected field [names] to be an array of strings");
    struct str *names = arena_array(c->arena, list->n + 1, sizeof *names);
    struct failure *failures = arena_array(c->arena, list->n + 1, sizeof *failures);
    bool *found = arena_array(c->arena, list->n + 1, sizeof *found);
    size_t n = 0, n_failures = 0;
    struct json_iter it = json_iter(list);
    for (const struct json *v; (v = json_next(&it));) {
        struct str name = {0};
        json_str(v, &name);
        struct err *bad = not_reserved(name);
        if (bad)
            failures[n_failures++] = (struct failure){name, bad};
        else
            names[n++] = name;
    }
    struct err *e = drop_roles(s, c->arena, names, n, found);
    if (!e) {
        json_obj(c->out);
        put_names(c->out, "deleted", names, found, n, true);
        put_names(c->out, "not_found", names, found, n, false);
        render_failures(c->out, failures, n_failures);
        json_end(c->out);
    }
    for (size_t i = 0; i < n_failures; i++)
        err_free(failures[i].err);
    return e;
}

/* --- reading --- */

struct err *role_get(struct security *s, struct security_call *c)
{
    struct realm *realm = take(s);
    size_t n = 0;
    json_obj(c->out);
    for (size_t i = 0; i < realm->n_roles; i++) {
        const struct role *role = realm->roles[i];
        if (c->name.p && !name_listed(c->name, role->name))
            continue;
        json_key_s(c->out, role->name);
        json_put_raw(c->out, role->text);
        n++;
    }
    json_end(c->out);
    counted_unref(&realm->counted);
    c->status = c->name.p && !n ? 404 : 200;
    return NULL;
}

/* {"name":..., and the descriptor's own members. */
static void render_named(const struct role *role, struct json_out *w)
{
    json_obj(w);
    json_key_str(w, "name", role->name);
    struct json_iter it = json_iter(role->body);
    for (const struct json *m; (m = json_next(&it));) {
        json_key_s(w, m->key);
        json_put_node(w, m);
    }
    json_end(w);
}

struct err *role_query(struct security *s, struct security_call *c)
{
    static const char *const fields[] = {"name", "description", "metadata", NULL};
    struct query q;
    query_init(&q, c->arena, "roles", "name", fields);
    struct err *e = query_read(&q, c->body);
    struct realm *realm = take(s);
    for (size_t i = 0; !e && i < realm->n_roles; i++) {
        if (role_is_reserved(realm->roles[i]->name))
            continue; /* Elasticsearch lists those that were made */
        render_named(realm->roles[i], query_row(&q));
        e = query_row_end(&q);
    }
    counted_unref(&realm->counted);
    if (!e)
        query_render(&q, c->out);
    query_deinit(&q);
    return e;
}

struct err *privilege_builtin(struct security *s, struct security_call *c)
{
    static const char *const index[] = {
        "all",          "create", "create_doc",          "create_index", "delete",
        "delete_index", "index",  "maintenance",         "manage",       "monitor",
        "none",         "read",   "view_index_metadata", "write"};
    (void)s;
    json_obj(c->out);
    json_key(c->out, "cluster");
    json_arr(c->out);
    privilege_names(c->out);
    json_end(c->out);
    json_key(c->out, "index");
    json_arr(c->out);
    for (size_t i = 0; i < sizeof index / sizeof *index; i++)
        json_put_cstr(c->out, index[i]);
    json_end(c->out);
    json_key_raw(c->out, "remote_cluster", STR("[\"monitor_enrich\",\"monitor_stats\"]"));
    json_end(c->out);
    return NULL;
}
