/* api_keys: the life of API keys: made, shown, changed, ended. Source: shared facts, security.md 9.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "account.h"
#include "clock.h"
#include "key_change.h"
#include "log.h"
#include "private.h"
#include "profile.h"
#include "query.h"
#include "secret.h"

#define MAX_NAME 256
#define ACT      "cluster:admin/xpack/security/api_key/"

/* --- whose --- */

static bool may(const struct user *u, enum privilege p, const char *action)
{
    struct err *e = security_authorize(u, p, action);
    err_free(e);
    return !e;
}

/* Does the call ask for nothing but what is the caller's own? */
static bool about_own(const struct security_call *c)
{
    const struct user *u = c->user;
    struct key_owner o = key_owner_of(u);
    if (c->owner || (u->key && c->id.p && str_eq(c->id, u->key->id)))
        return true;
    return !u->key && c->username.p && c->realm.p && str_eq(c->username, o.name) &&
           str_eq(c->realm, o.realm);
}

/* --- create --- */

struct err *key_check_name(const struct json *body, struct str *out)
{
    TRY(text_member(body, "name", out));
    if (!out->n)
        return invalid("api key name is required");
    size_t characters = 0;
    for (size_t i = 0; i < out->n; i++)
        characters += ((unsigned char)out->p[i] & 0xc0) != 0x80;
    if (characters > MAX_NAME)
        return invalid("api key name may not be more than %d characters long", MAX_NAME);
    if (str_trim(*out).n != out->n)
        return invalid("api key name may not begin or end with whitespace");
    if (out->p[0] == '_')
        return invalid("api key name may not begin with an underscore");
    return NULL;
}

static struct err *check_derived(const struct user *u, const struct rights *own)
{
    bool empty = own->n > 0;
    for (size_t i = 0; i < own->n; i++)
        empty = empty && own->roles[i]->empty;
    if (!u->key || empty)
        return NULL;
    return err_new(ERR_ARGUMENT, "creating derived api keys requires an explicit role descriptor "
                                 "that is empty (has no privileges)");
}

static struct err *read_create(struct security_call *c, struct key_doc *d)
{
    static const char *const members[] = {"name",     "expiration", "role_descriptors",
                                          "metadata", "type",       NULL};
    struct rights own;
    struct key_owner o = key_owner_of(c->user);
    *d = (struct key_doc){.username = o.name,
                          .realm = o.realm,
                          .realm_type = o.realm_type,
                          .created_ms = clock_wall_ms()};
    TRY(only_members(c->body, "api_key_request", members));
    TRY(key_check_name(c->body, &d->name));
    TRY(key_read_expiration(c->body, d->created_ms, &d->expires_ms));
    TRY(metadata_member(c->body, "API key metadata keys", &d->metadata));
    TRY(rights_read(c->arena, json_get(c->body, "role_descriptors"), &own));
    TRY(check_derived(c->user, &own));
    TRY(key_descriptors_text(&own, c->arena, &d->own));
    /* What the caller has now: the ceiling of what the key will ever have. */
    return key_descriptors_text(c->user->own, c->arena, &d->limit);
}

/* What making a key takes, beside what is in its document. */
struct key_fresh {
    char id[32], secret[32]; /* secret; wipe it */
};

static void make_secret(struct arena *arena, struct key_doc *d, struct key_fresh *f)
{
    unsigned char hash[KEY_HASH_BYTES];
    random_text(f->id, sizeof f->id, KEY_ID_BYTES);
    random_text(f->secret, sizeof f->secret, KEY_SECRET_BYTES);
    d->id = arena_dup(arena, str_c(f->id));
    key_hash(d->id, str_c(f->secret), hash);
    size_t room = sodium_base64_encoded_len(sizeof hash, sodium_base64_VARIANT_ORIGINAL);
    char *text = arena_alloc(arena, room);
    sodium_bin2base64(text, room, hash, sizeof hash, sodium_base64_VARIANT_ORIGINAL);
    d->hash64 = str_c(text);
}

/* Keys that ended long ago leave with the first change after their time. */
static size_t add_gone(const struct keys *keys, int64_t now_ms, struct key_change *v, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; i < keys->n && n < room; i++)
        if (key_gone(keys->v[i], now_ms))
            v[n++] = (struct key_change){.id = keys->v[i]->id};
    return n;
}

#define GONE_AT_ONCE 64

static struct err *store_new(struct security *s, struct arena *arena, const struct key_doc *d)
{
    struct key_change v[1 + GONE_AT_ONCE];
    size_t n = 1;
    struct err *e = key_change_init(&v[0], d);
    if (!e) {
        pthread_mutex_lock(&s->writing);
        struct keys *held = (struct keys *)cell_take(&s->keys);
        n += add_gone(held, d->created_ms, &v[1], GONE_AT_ONCE);
        e = key_changes_publish(s, arena, v, n);
        pthread_mutex_unlock(&s->writing);
        counted_unref(&held->counted);
    }
    key_changes_deinit(v, n);
    return e;
}

static void render_new(const struct key_doc *d, const struct key_fresh *f, struct json_out *w)
{
    char both[80];
    size_t n = (size_t)snprintf(both, sizeof both, "%s:%s", f->id, f->secret);
    char encoded[sodium_base64_ENCODED_LEN(sizeof both, sodium_base64_VARIANT_ORIGINAL)];
    sodium_bin2base64(encoded, sizeof encoded, (unsigned char *)both, n,
                      sodium_base64_VARIANT_ORIGINAL);
    json_obj(w);
    json_key_cstr(w, "id", f->id);
    json_key_str(w, "name", d->name);
    if (d->expires_ms)
        json_key_i64(w, "expiration", d->expires_ms);
    json_key_cstr(w, "api_key", f->secret);
    json_key_cstr(w, "encoded", encoded);
    json_end(w);
    secret_wipe(both, sizeof both);
    secret_wipe(encoded, sizeof encoded);
}

struct err *key_issue(struct security *s, struct security_call *c, struct key_doc *d,
                      const char *made)
{
    struct key_fresh fresh;
    make_secret(c->arena, d, &fresh);
    struct err *e = store_new(s, c->arena, d);
    if (!e) {
        log_info(made, LOG_S("id", d->id), LOG_S("user", d->username));
        render_new(d, &fresh, c->out);
    }
    secret_wipe(&fresh, sizeof fresh);
    return e;
}

struct err *api_key_create(struct security *s, struct security_call *c)
{
    struct key_doc d;
    TRY(read_create(c, &d));
    return key_issue(s, c, &d, "API key created");
}

/* --- get --- */

static bool name_matches(struct str pattern, struct str name)
{
    if (pattern.n && pattern.p[pattern.n - 1] == '*')
        return str_starts(name, str_sub(pattern, 0, pattern.n - 1));
    return str_eq(pattern, name);
}

static bool selected(const struct security_call *c, const struct api_key *k, int64_t now_ms)
{
    return !key_gone(k, now_ms) && (!c->id.p || name_listed(c->id, k->id)) &&
           (!c->key_name.p || name_matches(c->key_name, k->name)) &&
           (!c->realm.p || str_eq(c->realm, k->realm)) &&
           (!c->username.p || str_eq_c(c->username, k->user.name)) &&
           (!c->owner || key_owned_by(c->user, k)) &&
           (!c->active_only || (!k->ended_ms && !key_expired(k, now_ms)));
}

static struct err *check_get(const struct security_call *c)
{
    static const char action[] = ACT "get";
    const struct user *u = c->user;
    bool self = u->key && c->id.p && str_eq(c->id, u->key->id);
    if (!self && !may(u, PRIV_READ_API_KEY, action)) {
        TRY(security_authorize(u, PRIV_READ_OWN_API_KEY, action));
        if (!about_own(c))
            return security_forbid(u, PRIV_READ_OWN_API_KEY, action);
    }
    if (c->id.p && c->key_name.p)
        return invalid("only one of [api key id, api key name] can be specified");
    if ((c->id.p || c->key_name.p) && (c->realm.p || c->username.p))
        return invalid("username or realm name must not be specified when the api key id or api "
                       "key name is specified");
    if (c->owner && (c->realm.p || c->username.p))
        return invalid("neither username nor realm-name may be specified when retrieving owned "
                       "API keys");
    return NULL;
}

struct err *api_key_get(struct security *s, struct security_call *c)
{
    struct counted *held;
    struct map *uids = NULL;
    TRY(check_get(c));
    if (c->with_profile_uid)
        TRY(profile_uids(s->store, c->arena, &uids));
    const struct key_view view = {c->with_limited_by, c->with_usage ? s->usage : NULL, uids};
    int64_t now = clock_wall_ms();
    size_t n = 0;
    const struct keys *keys = keys_peek(s, &held);
    json_obj(c->out);
    json_key(c->out, "api_keys");
    json_arr(c->out);
    for (size_t i = 0; i < keys->n; i++) {
        if (!selected(c, keys->v[i], now))
            continue;
        key_render(keys->v[i], &view, c->out);
        n++;
    }
    counted_unref(held);
    map_free(uids);
    json_end(c->out);
    json_end(c->out);
    c->status = c->id.p && !n ? 404 : 200;
    return NULL;
}

/* --- query --- */

struct err *api_key_query(struct security *s, struct security_call *c)
{
    static const char action[] = ACT "query";
    static const char *const fields[] = {
        "id",           "name",  "type",       "creation", "expiration", "invalidated", "username",
        "invalidation", "realm", "realm_name", "metadata", "realm_type", NULL};
    struct counted *held;
    bool all = may(c->user, PRIV_READ_API_KEY, action);
    if (!all)
        TRY(security_authorize(c->user, PRIV_READ_OWN_API_KEY, action));
    struct query q;
    struct map *uids = NULL;
    if (c->with_profile_uid)
        TRY(profile_uids(s->store, c->arena, &uids));
    const struct key_view view = {c->with_limited_by, NULL, uids};
    query_init(&q, c->arena, "api_keys", "id", fields);
    struct err *e = query_read(&q, c->body);
    int64_t now = clock_wall_ms();
    const struct keys *keys = keys_peek(s, &held);
    for (size_t i = 0; !e && i < keys->n; i++) {
        const struct api_key *k = keys->v[i];
        if (key_gone(k, now) || (!all && !key_owned_by(c->user, k)))
            continue;
        key_render(k, &view, query_row(&q));
        e = query_row_end(&q);
    }
    counted_unref(held);
    if (!e)
        query_render(&q, c->out);
    query_deinit(&q);
    map_free(uids);
    return e;
}

/* --- invalidate --- */

static struct err *read_invalidate(struct security_call *c)
{
    static const char *const members[] = {"id",         "ids",      "name", "owner",
                                          "realm_name", "username", NULL};
    struct buf ids;
    struct str id;
    TRY(only_members(c->body, "invalidate_api_key", members));
    TRY(text_member(c->body, "name", &c->key_name));
    TRY(text_member(c->body, "realm_name", &c->realm));
    TRY(text_member(c->body, "username", &c->username));
    TRY(text_member(c->body, "id", &c->id));
    json_bool(json_get(c->body, "owner"), &c->owner);
    const struct json *list = json_get(c->body, "ids");
    if (json_is_null(list))
        return NULL;
    buf_init(&ids, (size_t)1 << 20);
    struct json_iter it = json_iter(list);
    bool texts = json_is(list, JSON_ARRAY);
    for (const struct json *v; (v = json_next(&it));) {
        texts = texts && json_str(v, &id) && id.n;
        if (texts)
            buf_printf(&ids, "%s%.*s", ids.n ? "," : "", STR_ARG(id));
    }
    c->id = arena_dup(c->arena, buf_str(&ids));
    texts = texts && ids.n;
    buf_deinit(&ids);
    return texts ? NULL : invalid("Field [ids] must be an array of non-empty ids");
}

static struct err *check_invalidate(const struct security_call *c)
{
    static const char action[] = ACT "invalidate";
    const struct user *u = c->user;
    if (!may(u, PRIV_MANAGE_API_KEY, action)) {
        TRY(security_authorize(u, PRIV_MANAGE_OWN_API_KEY, action));
        if (!about_own(c))
            return security_forbid(u, PRIV_MANAGE_OWN_API_KEY, action);
    }
    if (!c->id.p && !c->key_name.p && !c->realm.p && !c->username.p && !c->owner)
        return invalid("One of [api key id(s), api key name, username, realm name] must be "
                       "specified if [owner] flag is false");
    if (c->id.p && c->key_name.p)
        return invalid("only one of [api key id(s), api key name] can be specified");
    if ((c->id.p || c->key_name.p) && (c->realm.p || c->username.p))
        return invalid("username or realm name must not be specified when the api key id(s) or "
                       "api key name is specified");
    if (c->owner && (c->realm.p || c->username.p))
        return invalid("neither username nor realm-name may be specified when invalidating owned "
                       "API keys");
    return NULL;
}

struct ending {
    struct key_change *v;
    size_t n;
    const struct api_key **earlier; /* ended before */
    size_t n_earlier;
};

static struct err *collect(const struct keys *keys, struct security_call *c, struct ending *out)
{
    int64_t now = clock_wall_ms();
    out->v = arena_array(c->arena, keys->n + 1, sizeof *out->v);
    out->earlier = arena_array(c->arena, keys->n + 1, sizeof *out->earlier);
    for (size_t i = 0; i < keys->n; i++) {
        const struct api_key *k = keys->v[i];
        struct key_doc d;
        if (!selected(c, k, now))
            continue;
        if (k->ended_ms) {
            out->earlier[out->n_earlier++] = k;
            continue;
        }
        key_doc_of(k, c->arena, &d);
        d.ended_ms = now;
        TRY(key_change_init(&out->v[out->n++], &d));
    }
    return NULL;
}

static void render_ended(struct security_call *c, const struct ending *x)
{
    json_obj(c->out);
    json_key(c->out, "invalidated_api_keys");
    json_arr(c->out);
    for (size_t i = 0; i < x->n; i++)
        json_put_str(c->out, x->v[i].id);
    json_end(c->out);
    json_key(c->out, "previously_invalidated_api_keys");
    json_arr(c->out);
    for (size_t i = 0; i < x->n_earlier; i++)
        json_put_str(c->out, x->earlier[i]->id);
    json_end(c->out);
    json_key_i64(c->out, "error_count", 0);
    json_end(c->out);
    c->status = c->id.p && !x->n && !x->n_earlier ? 404 : 200;
}

struct err *api_key_invalidate(struct security *s, struct security_call *c)
{
    struct ending x = {0};
    TRY(read_invalidate(c));
    TRY(check_invalidate(c));
    pthread_mutex_lock(&s->writing);
    struct keys *keys = (struct keys *)cell_take(&s->keys); /* the ids below are its keys' */
    struct err *e = collect(keys, c, &x);
    if (!e)
        e = key_changes_publish(s, c->arena, x.v, x.n);
    pthread_mutex_unlock(&s->writing);
    if (!e) {
        render_ended(c, &x);
        for (size_t i = 0; i < x.n; i++)
            log_info("API key invalidated", LOG_S("id", x.v[i].id), LOG_C("by", c->user->name));
    }
    key_changes_deinit(x.v, x.n);
    counted_unref(&keys->counted);
    return e;
}
