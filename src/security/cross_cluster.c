/* cross_cluster: API keys by which another cluster would search here or copy from here. They are
 * made, shown, changed and ended as Elasticsearch does it; since there are no indices and no port
 * for clusters, they open nothing, and on the HTTP port they do not count there either. Source:
 * Elasticsearch 9.1, "Create a cross-cluster API key". */
#include "account.h"
#include "clock.h"
#include "key_change.h"
#include "log.h"

#define MAX_BYTES ((size_t)1 << 20)

/* --- what a body gives access to --- */

struct writing {
    struct json_out access, indices; /* as it is shown; as the descriptor has it */
};

static bool all_texts(const struct json *list)
{
    struct str s;
    struct json_iter it = json_iter(list);
    for (const struct json *v; (v = json_next(&it));)
        if (!json_str(v, &s))
            return false;
    return json_is(list, JSON_ARRAY);
}

/* Clients read them back by their types. */
static bool fields_ok(const struct json *security)
{
    static const char *const lists[] = {"grant", "except", NULL};
    for (const char *const *name = lists; *name; name++) {
        const struct json *list = json_get(security, *name);
        if (!json_is_null(list) && !all_texts(list))
            return false;
    }
    return json_is_null(security) || json_is(security, JSON_OBJECT);
}

static bool query_ok(const struct json *query)
{
    return json_is_null(query) || json_is(query, JSON_STRING) || json_is(query, JSON_OBJECT);
}

static struct err *check_entry(const struct json *entry, const char *kind)
{
    static const char *const fields[] = {"names", "field_security", "query",
                                         "allow_restricted_indices", NULL};
    struct str name;
    if (!json_is(entry, JSON_OBJECT))
        return err_new(ERR_X_CONTENT,
                       "[cross_cluster_api_key_request_access] failed to parse field [%s]", kind);
    TRY(only_members(entry, "cross_cluster_api_key_request_access", fields));
    const struct json *names = json_get(entry, "names");
    if (!json_str(names, &name) && !(all_texts(names) && names->n))
        return err_new(ERR_PARSE,
                       "failed to parse indices privileges for role [cross_cluster]. missing "
                       "required [names] field");
    if (!query_ok(json_get(entry, "query")) || !fields_ok(json_get(entry, "field_security")))
        return err_new(ERR_PARSE,
                       "failed to parse indices privileges for role [cross_cluster]. [query] must "
                       "be a text or an object, [field_security] an object of lists of texts");
    if (kind[0] == 'r' && (json_get(entry, "query") || json_get(entry, "field_security")))
        return err_new(ERR_ARGUMENT,
                       "replication does not support document or field level security");
    return NULL;
}

static void put_entry(struct json_out *w, const struct json *entry, const char *privileges)
{
    static const char *const kept[] = {"field_security", "query"};
    const struct json *names = json_get(entry, "names");
    bool restricted = false;
    json_obj(w);
    json_key(w, "names");
    if (json_is(names, JSON_ARRAY)) {
        json_put_node(w, names);
    } else {
        json_arr(w);
        json_put_node(w, names);
        json_end(w);
    }
    if (privileges)
        json_key_raw(w, "privileges", str_c(privileges));
    for (size_t i = 0; i < 2; i++) {
        if (json_is_null(json_get(entry, kept[i])))
            continue;
        json_key(w, kept[i]);
        json_put_node(w, json_get(entry, kept[i]));
    }
    json_bool(json_get(entry, "allow_restricted_indices"), &restricted);
    json_key_bool(w, "allow_restricted_indices", restricted);
    json_end(w);
}

static struct err *put_kind(struct writing *w, const struct json *access, const char *kind,
                            const char *privileges, bool *any_out)
{
    const struct json *list = json_get(access, kind);
    *any_out = false;
    if (json_is_null(list))
        return NULL;
    if (!json_is(list, JSON_ARRAY) || (list->flat && list->n))
        return err_new(ERR_X_CONTENT,
                       "[cross_cluster_api_key_request_access] failed to parse field [%s]", kind);
    *any_out = list->n > 0;
    if (!list->n)
        return NULL;
    json_key(&w->access, kind);
    json_arr(&w->access);
    struct json_iter it = json_iter(list);
    for (const struct json *v; (v = json_next(&it));) {
        TRY(check_entry(v, kind));
        put_entry(&w->access, v, NULL);
        put_entry(&w->indices, v, privileges);
    }
    json_end(&w->access);
    return NULL;
}

static struct err *write_both(struct writing *w, const struct json *access, bool *search_out,
                              bool *replication_out)
{
    json_obj(&w->access);
    json_arr(&w->indices);
    TRY(put_kind(w, access, "search", "[\"read\",\"read_cross_cluster\",\"view_index_metadata\"]",
                 search_out));
    TRY(put_kind(w, access, "replication",
                 "[\"cross_cluster_replication\",\"cross_cluster_replication_internal\"]",
                 replication_out));
    json_end(&w->access);
    json_end(&w->indices);
    if (*search_out || *replication_out)
        return NULL;
    return err_new(ERR_ARGUMENT,
                   "must specify non-empty access for either [search] or [replication]");
}

/* The descriptor that follows from it goes the way of all descriptors. */
static struct err *make_descriptor(struct arena *a, struct str indices, bool search,
                                   bool replication, struct str *out)
{
    struct rights rights;
    const struct json *body;
    struct str text =
        arena_printf(a, "{\"cross_cluster\":{\"cluster\":[%s%s%s],\"indices\":%.*s}}",
                     search ? "\"cross_cluster_search\"" : "", search && replication ? "," : "",
                     replication ? "\"cross_cluster_replication\"" : "", STR_ARG(indices));
    TRY(json_parse(a, text, &body));
    TRY(rights_read(a, body, &rights));
    return key_descriptors_text(&rights, a, out);
}

static struct err *read_access(struct arena *a, const struct json *access, struct key_doc *d)
{
    static const char *const members[] = {"search", "replication", NULL};
    struct buf shown, indices;
    struct writing w;
    bool search = false, replication = false;
    if (!json_is(access, JSON_OBJECT))
        return err_new(ERR_ARGUMENT, "Required [access]");
    TRY(only_members(access, "cross_cluster_api_key_request_access", members));
    buf_init(&shown, 2 * MAX_BYTES);
    buf_init(&indices, 4 * MAX_BYTES);
    json_out_init(&w.access, &shown);
    json_out_init(&w.indices, &indices);
    struct err *e = write_both(&w, access, &search, &replication);
    if (!e && (shown.full || indices.full))
        e = err_new(ERR_TOO_LARGE, "[access] is too large");
    if (!e) {
        d->access = arena_dup(a, buf_str(&shown));
        e = make_descriptor(a, buf_str(&indices), search, replication, &d->own);
    }
    buf_deinit(&shown);
    buf_deinit(&indices);
    return e;
}

/* --- create --- */

static struct err *check_caller(const struct security_call *c, const char *what)
{
    if (c->user->key)
        return err_new(ERR_ARGUMENT, "authentication via API key not supported: %s", what);
    return NULL;
}

static struct err *read_create(struct security_call *c, struct key_doc *d)
{
    static const char *const members[] = {"name", "access", "expiration", "metadata", NULL};
    struct key_owner o = key_owner_of(c->user);
    *d = (struct key_doc){.username = o.name,
                          .realm = o.realm,
                          .realm_type = o.realm_type,
                          .created_ms = clock_wall_ms(),
                          .limit = STR("{}")};
    TRY(check_caller(c, "An API key cannot be used to create a cross-cluster API key"));
    TRY(only_members(c->body, "cross_cluster_api_key_request_payload", members));
    TRY(key_check_name(c->body, &d->name));
    TRY(key_read_expiration(c->body, d->created_ms, &d->expires_ms));
    TRY(metadata_member(c->body, "API key metadata keys", &d->metadata));
    return read_access(c->arena, json_get(c->body, "access"), d);
}

struct err *cross_cluster_key_create(struct security *s, struct security_call *c)
{
    struct key_doc d;
    TRY(read_create(c, &d));
    return key_issue(s, c, &d, "cross-cluster API key created");
}

/* --- update --- */

static struct err *read_update(struct security_call *c, struct key_doc *d)
{
    const struct json *body = c->body;
    bool access = !json_is_null(json_get(body, "access"));
    bool metadata = !json_is_null(json_get(body, "metadata"));
    bool expiration = !json_is_null(json_get(body, "expiration"));
    if (!access && !metadata && !expiration)
        return invalid("must update either [access], [metadata], or [expiration] for "
                       "cross-cluster API keys");
    if (expiration)
        TRY(key_read_expiration(body, clock_wall_ms(), &d->expires_ms));
    if (metadata)
        TRY(metadata_member(body, "API key metadata keys", &d->metadata));
    return access ? read_access(c->arena, json_get(body, "access"), d) : NULL;
}

static struct err *update(struct security *s, struct security_call *c, bool *changed_out)
{
    struct key_doc d;
    struct keys *keys = (struct keys *)cell_take(&s->keys);
    const struct api_key *k = keys_find(keys, c->name);
    struct err *e = key_check_update(c->user, k, c->name, true);
    if (!e) {
        key_doc_of(k, c->arena, &d);
        e = read_update(c, &d);
    }
    if (!e)
        e = key_store_next(s, c->arena, k, &d, changed_out);
    counted_unref(&keys->counted);
    return e;
}

struct err *cross_cluster_key_update(struct security *s, struct security_call *c)
{
    static const char *const members[] = {"access", "expiration", "metadata", NULL};
    bool changed = false;
    TRY(check_caller(c, "only the owner user can update an API key"));
    TRY(only_members(c->body, "update_cross_cluster_api_key_request_payload", members));
    pthread_mutex_lock(&s->writing);
    struct err *e = update(s, c, &changed);
    pthread_mutex_unlock(&s->writing);
    TRY(e);
    if (changed)
        log_info("cross-cluster API key updated", LOG_S("id", c->name), LOG_C("by", c->user->name));
    json_obj(c->out);
    json_key_bool(c->out, "updated", changed);
    json_end(c->out);
    return NULL;
}
