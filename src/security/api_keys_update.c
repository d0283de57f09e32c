/* api_keys_update: API keys changed by their owners, one or many at once. Source: shared facts,
 * security.md 9. */
#include "account.h"
#include "clock.h"
#include "key_change.h"
#include "log.h"
#include "map.h"

#define MAX_IDS 10000

/* Only the owner may, with his own credentials: the key takes his present rights as its ceiling. */
struct err *key_check_update(const struct user *u, const struct api_key *k, struct str id,
                             bool cross_cluster)
{
    static const char *const types[] = {"rest", "cross_cluster"};
    if (!k || !key_owned_by(u, k))
        return err_new(ERR_NOT_FOUND, "no API key owned by requesting user found for ID [%.*s]",
                       STR_ARG(id));
    if (k->ended_ms)
        return err_new(ERR_ARGUMENT, "cannot update invalidated API key [%.*s]", STR_ARG(id));
    if (key_expired(k, clock_wall_ms()))
        return err_new(ERR_ARGUMENT, "cannot update expired API key [%.*s]", STR_ARG(id));
    if (cross_cluster == (k->access.p != NULL))
        return NULL;
    return err_new(ERR_ARGUMENT, "cannot update API key of type [%s] while expected type is [%s]",
                   types[!cross_cluster], types[cross_cluster]);
}

static struct err *read_update(struct security_call *c, const struct api_key *k, struct key_doc *d)
{
    struct rights own;
    key_doc_of(k, c->arena, d);
    if (!json_is_null(json_get(c->body, "expiration")))
        TRY(key_read_expiration(c->body, clock_wall_ms(), &d->expires_ms));
    if (!json_is_null(json_get(c->body, "metadata")))
        TRY(metadata_member(c->body, "API key metadata keys", &d->metadata));
    if (!json_is_null(json_get(c->body, "role_descriptors"))) {
        TRY(rights_read(c->arena, json_get(c->body, "role_descriptors"), &own));
        TRY(key_descriptors_text(&own, c->arena, &d->own));
    }
    return key_descriptors_text(c->user->own, c->arena, &d->limit);
}

static bool same_doc(const struct api_key *k, struct arena *arena, const struct key_doc *new)
{
    struct key_doc old;
    key_doc_of(k, arena, &old);
    return old.expires_ms == new->expires_ms &&str_eq(old.metadata, new->metadata) &&
           str_eq(old.own, new->own) && str_eq(old.limit, new->limit) &&
           str_eq(old.access, new->access);
}

struct err *key_store_next(struct security *s, struct arena *arena, const struct api_key *k,
                           const struct key_doc *next, bool *changed_out)
{
    struct key_change change = {0};
    *changed_out = !same_doc(k, arena, next);
    if (!*changed_out)
        return NULL;
    struct err *e = key_change_init(&change, next);
    if (!e)
        e = key_changes_publish(s, arena, &change, 1);
    key_changes_deinit(&change, 1);
    return e;
}

/* change->next stays NULL if there is nothing to change. */
static struct err *update_one(struct security_call *c, const struct keys *keys, struct str id,
                              struct key_change *change)
{
    struct key_doc d;
    const struct api_key *k = keys_find(keys, id);
    TRY(key_check_update(c->user, k, id, false));
    TRY(read_update(c, k, &d));
    return same_doc(k, c->arena, &d) ? NULL : key_change_init(change, &d);
}

static struct err *check_caller(const struct security_call *c)
{
    if (c->user->key)
        return err_new(ERR_ARGUMENT, "authentication via API key not supported: only the owner "
                                     "user can update an API key");
    return NULL;
}

static struct err *update(struct security *s, struct security_call *c, bool *changed_out)
{
    struct key_change change = {0};
    struct keys *keys = (struct keys *)cell_take(&s->keys);
    struct err *e = update_one(c, keys, c->name, &change);
    *changed_out = change.next != NULL;
    if (!e && *changed_out)
        e = key_changes_publish(s, c->arena, &change, 1);
    key_changes_deinit(&change, 1);
    counted_unref(&keys->counted);
    return e;
}

struct err *api_key_update(struct security *s, struct security_call *c)
{
    static const char *const members[] = {"role_descriptors", "metadata", "expiration", NULL};
    bool changed = false;
    TRY(check_caller(c));
    TRY(only_members(c->body, "update_api_key_request", members));
    pthread_mutex_lock(&s->writing);
    struct err *e = update(s, c, &changed);
    pthread_mutex_unlock(&s->writing);
    TRY(e);
    if (changed)
        log_info("API key updated", LOG_S("id", c->name), LOG_C("by", c->user->name));
    json_obj(c->out);
    json_key_bool(c->out, "updated", changed);
    json_end(c->out);
    return NULL;
}

/* --- many at once: what one cannot have does not keep the others from it --- */

struct bulk {
    struct str *ids;
    struct err **errors; /* one per id; NULL: none */
    bool *changed;
    struct key_change *changes;
    size_t n, n_changes, n_errors;
};

static struct err *bulk_read(struct security_call *c, struct bulk *b)
{
    static const char *const members[] = {"ids", "role_descriptors", "metadata", "expiration",
                                          NULL};
    TRY(check_caller(c));
    TRY(only_members(c->body, "bulk_update_api_key_request", members));
    const struct json *ids = json_get(c->body, "ids");
    if (!json_is(ids, JSON_ARRAY) || ids->n == 0)
        return invalid("Field [ids] cannot be empty");
    if (ids->n > MAX_IDS)
        return invalid("Field [ids] has more than [%d] ids", MAX_IDS);
    b->ids = arena_array(c->arena, ids->n, sizeof *b->ids);
    b->errors = arena_array(c->arena, ids->n, sizeof *b->errors);
    b->changed = arena_array(c->arena, ids->n, sizeof *b->changed);
    b->changes = arena_array(c->arena, ids->n, sizeof *b->changes);
    struct map *seen = map_new();
    struct json_iter it = json_iter(ids);
    bool texts = true;
    for (const struct json *v; texts && (v = json_next(&it));) {
        texts = json_str(v, &b->ids[b->n]) && b->ids[b->n].n;
        if (texts && !map_get(seen, b->ids[b->n])) {
            map_put(seen, b->ids[b->n], seen);
            b->n++;
        }
    }
    map_free(seen);
    return texts ? NULL : invalid("Field [ids] must be an array of non-empty ids");
}

/* `writing` is held. */
static struct err *bulk_apply(struct security *s, struct security_call *c, struct bulk *b)
{
    struct keys *keys = (struct keys *)cell_take(&s->keys);
    for (size_t i = 0; i < b->n; i++) {
        struct key_change *change = &b->changes[b->n_changes];
        b->errors[i] = update_one(c, keys, b->ids[i], change);
        b->n_errors += b->errors[i] != NULL;
        if (b->errors[i])
            key_changes_deinit(change, 1);
        b->changed[i] = change->next != NULL;
        b->n_changes += b->changed[i];
    }
    struct err *e = key_changes_publish(s, c->arena, b->changes, b->n_changes);
    counted_unref(&keys->counted);
    return e;
}

static void bulk_list(struct json_out *w, const char *name, const struct bulk *b, bool changed)
{
    json_key(w, name);
    json_arr(w);
    for (size_t i = 0; i < b->n; i++)
        if (!b->errors[i] && b->changed[i] == changed)
            json_put_str(w, b->ids[i]);
    json_end(w);
}

static void bulk_render(struct json_out *w, const struct bulk *b)
{
    json_obj(w);
    bulk_list(w, "updated", b, true);
    bulk_list(w, "noops", b, false);
    if (b->n_errors) {
        json_key(w, "errors");
        json_obj(w);
        json_key_i64(w, "count", (int64_t)b->n_errors);
        json_key(w, "details");
        json_obj(w);
        for (size_t i = 0; i < b->n; i++) {
            if (!b->errors[i])
                continue;
            json_key_s(w, b->ids[i]);
            json_obj(w);
            json_key_cstr(w, "type", err_type(b->errors[i]));
            json_key_cstr(w, "reason", b->errors[i]->reason);
            json_end(w);
        }
        json_end(w);
        json_end(w);
    }
    json_end(w);
}

struct err *api_keys_update(struct security *s, struct security_call *c)
{
    struct bulk b = {0};
    TRY(bulk_read(c, &b));
    pthread_mutex_lock(&s->writing);
    struct err *e = bulk_apply(s, c, &b);
    pthread_mutex_unlock(&s->writing);
    if (!e) {
        bulk_render(c->out, &b);
        log_info("API keys updated", LOG_I("n", b.n_changes), LOG_C("by", c->user->name));
    }
    key_changes_deinit(b.changes, b.n_changes);
    for (size_t i = 0; i < b.n; i++)
        err_free(b.errors[i]);
    return e;
}
