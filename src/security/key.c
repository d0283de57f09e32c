#include "key.h"

#include <sodium.h>
#include <stdlib.h>

#include "bug.h"
#include "profile.h"
#include "service.h"

void key_hash(struct str id, struct str secret, unsigned char out[KEY_HASH_BYTES])
{
    static const unsigned char end = 0; /* no id holds a NUL */
    crypto_generichash_state st;
    crypto_generichash_init(&st, NULL, 0, KEY_HASH_BYTES);
    crypto_generichash_update(&st, (const unsigned char *)id.p, id.n);
    crypto_generichash_update(&st, &end, 1);
    crypto_generichash_update(&st, (const unsigned char *)secret.p, secret.n);
    crypto_generichash_final(&st, out, KEY_HASH_BYTES);
    sodium_memzero(&st, sizeof st);
}

static void key_end(struct counted *c)
{
    struct api_key *k = (struct api_key *)c; /* its first member */
    arena_free(k->arena);
    free(k);
}

void key_unref(const struct api_key *k)
{
    if (k)
        counted_unref((struct counted *)(uintptr_t)&k->counted);
}

/* --- reading --- */

static bool get_text(const struct json *root, const char *name, struct str *out)
{
    return json_str(json_get(root, name), out);
}

static bool read_hash(const struct json *root, unsigned char out[KEY_HASH_BYTES])
{
    struct str s;
    size_t n;
    return get_text(root, "hash", &s) &&
           sodium_base642bin(out, KEY_HASH_BYTES, s.p, s.n, NULL, &n, NULL,
                             sodium_base64_VARIANT_ORIGINAL) == 0 &&
           n == KEY_HASH_BYTES;
}

static void narrow_by(struct usage_limits *l, const struct rights *r)
{
    for (size_t i = 0; i < r->n; i++)
        usage_limits_narrow(l, &r->roles[i]->limits);
}

static struct err *read_members(struct api_key *k, const struct json *root)
{
    struct str username;
    static const char *const nobody[] = {NULL};
    if (!get_text(root, "name", &k->name) || !get_text(root, "username", &username) ||
        !get_text(root, "realm", &k->realm) || !get_text(root, "realm_type", &k->realm_type) ||
        !read_hash(root, k->hash) || !json_i64(json_get(root, "creation"), &k->created_ms) ||
        !json_i64(json_get(root, "expiration"), &k->expires_ms) ||
        !json_i64(json_get(root, "invalidation"), &k->ended_ms) ||
        !json_is(json_get(root, "metadata"), JSON_OBJECT))
        return err_new(ERR_CORRUPT, "a member is missing");
    k->metadata = json_raw(json_get(root, "metadata"));
    if (json_is(json_get(root, "access"), JSON_OBJECT))
        k->access = json_raw(json_get(root, "access"));
    TRY(rights_read(k->arena, json_get(root, "role_descriptors"), &k->own));
    TRY(rights_read(k->arena, json_get(root, "limited_by"), &k->limit));
    narrow_by(&k->limits, &k->own);
    narrow_by(&k->limits, &k->limit);
    uint64_t bits = k->limit.bits;
    k->user = (struct user){.name = arena_cstr(k->arena, username),
                            .roles = nobody,
                            .privileges = k->own.n ? bits & k->own.bits : bits,
                            .own = k->own.n ? &k->own : &k->limit,
                            .limit = k->own.n ? &k->limit : NULL,
                            .key = k,
                            .keeper = &k->counted};
    return NULL;
}

struct err *key_read(const struct doc *d, struct api_key **out)
{
    struct api_key *k = mem_new(sizeof *k);
    const struct json *root;
    counted_init(&k->counted, key_end);
    k->arena = arena_new(ARENA_NO_LIMIT);
    k->id = arena_dup(k->arena, d->id);
    struct err *e = json_parse_copy(k->arena, d->body, &root);
    if (!e)
        e = read_members(k, root);
    if (e) {
        key_unref(k);
        return err_wrap(e, ERR_CORRUPT, "the stored API key [%.*s] cannot be read", STR_ARG(d->id));
    }
    *out = k;
    return NULL;
}

/* --- writing --- */

static struct str render_rights(const struct rights *r, struct arena *arena)
{
    struct buf b;
    struct json_out w;
    buf_init(&b, (size_t)64 << 20);
    json_out_init(&w, &b);
    rights_render(r, &w);
    struct str text = arena_dup(arena, buf_str(&b));
    buf_deinit(&b);
    return text;
}

void key_doc_of(const struct api_key *k, struct arena *arena, struct key_doc *out)
{
    size_t n = sodium_base64_ENCODED_LEN(KEY_HASH_BYTES, sodium_base64_VARIANT_ORIGINAL);
    char *hash = arena_alloc(arena, n);
    sodium_bin2base64(hash, n, k->hash, KEY_HASH_BYTES, sodium_base64_VARIANT_ORIGINAL);
    *out = (struct key_doc){.id = k->id,
                            .name = k->name,
                            .hash64 = str_c(hash),
                            .username = str_c(k->user.name),
                            .realm = k->realm,
                            .realm_type = k->realm_type,
                            .metadata = k->metadata,
                            .own = render_rights(&k->own, arena),
                            .limit = render_rights(&k->limit, arena),
                            .access = k->access,
                            .created_ms = k->created_ms,
                            .expires_ms = k->expires_ms,
                            .ended_ms = k->ended_ms};
}

void key_doc_render(const struct key_doc *d, struct buf *out)
{
    struct json_out w;
    json_out_init(&w, out);
    json_obj(&w);
    json_key_str(&w, "name", d->name);
    json_key_str(&w, "hash", d->hash64);
    json_key_i64(&w, "creation", d->created_ms);
    json_key_i64(&w, "expiration", d->expires_ms);
    json_key_i64(&w, "invalidation", d->ended_ms);
    json_key_str(&w, "username", d->username);
    json_key_str(&w, "realm", d->realm);
    json_key_str(&w, "realm_type", d->realm_type);
    json_key_raw(&w, "metadata", d->metadata);
    json_key_raw(&w, "role_descriptors", d->own);
    json_key_raw(&w, "limited_by", d->limit);
    if (d->access.p)
        json_key_raw(&w, "access", d->access);
    json_end(&w);
}

static void render_used(const struct api_key *k, struct usage *usage, struct json_out *w)
{
    json_key(w, "inferd");
    json_obj(w);
    json_key(w, "limits");
    usage_limits_render(&k->limits, w);
    json_key(w, "usage");
    usage_render(usage, k->id, w);
    json_end(w);
}

void key_render(const struct api_key *k, const struct key_view *view, struct json_out *w)
{
    json_obj(w);
    json_key_str(w, "id", k->id);
    json_key_str(w, "name", k->name);
    json_key_cstr(w, "type", k->access.p ? "cross_cluster" : "rest");
    json_key_i64(w, "creation", k->created_ms);
    if (k->expires_ms)
        json_key_i64(w, "expiration", k->expires_ms);
    json_key_bool(w, "invalidated", k->ended_ms != 0);
    if (k->ended_ms)
        json_key_i64(w, "invalidation", k->ended_ms);
    json_key_cstr(w, "username", k->user.name);
    json_key_str(w, "realm", k->realm);
    json_key_str(w, "realm_type", k->realm_type);
    json_key_raw(w, "metadata", k->metadata);
    json_key(w, "role_descriptors");
    rights_render(&k->own, w);
    if (view->with_limited_by && !k->access.p) {
        json_key(w, "limited_by");
        json_arr(w);
        rights_render(&k->limit, w);
        json_end(w);
    }
    if (k->access.p)
        json_key_raw(w, "access", k->access);
    if (!str_eq(k->realm, STR(SERVICE_REALM))) /* services have none, whatever they are called */
        profile_render_uid(view->profiles, str_c(k->user.name), w);
    if (view->usage)
        render_used(k, view->usage, w);
    json_end(w);
}

bool key_expired(const struct api_key *k, int64_t wall_ms)
{
    return k->expires_ms && k->expires_ms <= wall_ms;
}

bool key_gone(const struct api_key *k, int64_t wall_ms)
{
    return (k->ended_ms && k->ended_ms + KEY_RETENTION_MS < wall_ms) ||
           (k->expires_ms && k->expires_ms < wall_ms - KEY_RETENTION_MS);
}

/* --- the table --- */

static void keys_end(struct counted *c)
{
    struct keys *keys = (struct keys *)c; /* its first member */
    for (size_t i = 0; i < keys->n; i++)
        key_unref(keys->v[i]);
    free(keys);
}

struct keys *keys_new(size_t room)
{
    struct keys *keys = mem_new(sizeof *keys + room * sizeof keys->v[0]);
    counted_init(&keys->counted, keys_end);
    return keys;
}

void keys_add(struct keys *keys, struct api_key *k)
{
    keys->v[keys->n++] = k;
}

static int by_id(const void *a, const void *b)
{
    return str_cmp((*(struct api_key *const *)a)->id, (*(struct api_key *const *)b)->id);
}

void keys_sort(struct keys *keys)
{
    qsort(keys->v, keys->n, sizeof keys->v[0], by_id);
}

static struct err *read_all(struct store *store, struct arena *tmp, struct keys **out)
{
    struct docs docs;
    TRY(store_list(store, STORE_API_KEY, tmp, &docs));
    struct keys *keys = keys_new(docs.n);
    for (size_t i = 0; i < docs.n; i++) {
        struct api_key *k = NULL;
        struct err *e = key_read(&docs.v[i], &k);
        if (e) {
            counted_unref(&keys->counted);
            return e;
        }
        keys_add(keys, k);
    }
    *out = keys;
    return NULL;
}

struct err *keys_read(struct store *store, struct keys **out)
{
    struct arena *tmp = arena_new(ARENA_NO_LIMIT);
    struct err *e = read_all(store, tmp, out);
    arena_free(tmp);
    if (!e)
        keys_sort(*out);
    return e;
}

const struct api_key *keys_find(const struct keys *keys, struct str id)
{
    size_t lo = 0, hi = keys->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = str_cmp(keys->v[mid]->id, id);
        if (order == 0)
            return keys->v[mid];
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}
