#include "account.h"

#include <sodium.h>
#include <stdlib.h>

#include "bug.h"
#include "log.h"
#include "map.h"
#include "password.h"
#include "profile.h"
#include "secret.h"

static const char *const superuser[] = {"superuser", NULL};

const struct account account_anonymous = {
    .user = {.name = "_anonymous",
             .roles = superuser,
             .privileges = UINT64_MAX,
             .account = &account_anonymous},
    .metadata = STR_INIT("{}"),
    .realm = "__anonymous",
    .realm_type = "__anonymous",
    .authentication_type = "anonymous",
    .enabled = true,
};

/* --- reading --- */

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names, sorted, and what those give that exist. */
static bool read_roles(struct realm *realm, const struct json *list, struct user *u)
{
    if (!json_is(list, JSON_ARRAY))
        return false;
    struct arena *a = realm->arena;
    const char **roles = arena_array(a, (size_t)list->n + 1, sizeof *roles);
    struct rights *own = arena_alloc(a, sizeof *own);
    own->roles = arena_array(a, (size_t)list->n + 1, sizeof *own->roles);
    struct json_iter it = json_iter(list);
    struct str role;
    size_t n = 0;
    for (const struct json *v; (v = json_next(&it)); n++) {
        if (!json_str(v, &role))
            return false;
        roles[n] = arena_cstr(a, role);
    }
    qsort(roles, n, sizeof *roles, by_bytes);
    for (size_t i = 0; i < n; i++) {
        const struct role *r = realm_role(realm, str_c(roles[i]));
        if (r)
            rights_add(own, r);
    }
    u->own = own;
    u->privileges = own->bits;
    u->roles = roles;
    return true;
}

static const char *text_or_null(struct arena *a, const struct json *v)
{
    struct str s;
    return json_str(v, &s) ? arena_cstr(a, s) : NULL;
}

static struct err *read_account(struct realm *realm, const struct doc *d, struct account **out)
{
    const struct json *root;
    struct arena *a = realm->arena;
    struct account *acc = arena_alloc(a, sizeof *acc);
    struct err *e = json_parse_copy(a, d->body, &root);
    if (e)
        return err_wrap(e, ERR_CORRUPT, "the stored user [%.*s] cannot be read", STR_ARG(d->id));
    bool built_in = str_eq(d->id, BUILT_IN_USER);
    acc->user.name = arena_cstr(a, d->id);
    acc->user.account = acc;
    acc->user.keeper = &realm->counted;
    acc->hash = text_or_null(a, json_get(root, "password"));
    acc->full_name = text_or_null(a, json_get(root, "full_name"));
    acc->email = text_or_null(a, json_get(root, "email"));
    acc->metadata = json_raw(json_get(root, "metadata"));
    acc->realm = built_in ? "reserved" : "default_native";
    acc->realm_type = built_in ? "reserved" : "native";
    acc->authentication_type = "realm";
    if (!acc->hash || strlen(acc->hash) >= crypto_pwhash_STRBYTES ||
        !read_roles(realm, json_get(root, "roles"), &acc->user) ||
        !json_is(json_get(root, "metadata"), JSON_OBJECT) ||
        !json_bool(json_get(root, "enabled"), &acc->enabled))
        return err_new(ERR_CORRUPT, "the stored user [%.*s] is incomplete", STR_ARG(d->id));
    acc->by_token = acc->user;
    acc->by_token.with_token = true;
    *out = acc;
    return NULL;
}

/* --- the first password --- */

static struct err *store_first(struct store *store, const char *hash)
{
    struct account_doc doc = {.hash = str_c(hash),
                              .roles = STR("[\"superuser\"]"),
                              .metadata = STR("{\"_reserved\":true}"),
                              .enabled = true};
    struct buf body;
    buf_init(&body, 4096);
    account_doc_render(&doc, &body);
    struct err *e = store_put(store, STORE_USER, BUILT_IN_USER, buf_str(&body), 0, NULL);
    secret_wipe(body.p, body.n);
    buf_deinit(&body);
    return e;
}

struct err *account_make_built_in(struct store *store, const char *hash, bool *made_out)
{
    struct err *e = store_first(store, hash);
    *made_out = !e;
    if (!e || e->kind != ERR_EXISTS)
        return e;
    err_free(e);
    return NULL;
}

static struct err *hash_and_store(struct store *store, const char *password)
{
    char hash[PASSWORD_HASH_CHARS];
    TRY(password_hash(str_c(password), hash));
    struct err *e = store_first(store, hash);
    secret_wipe(hash, sizeof hash);
    return e;
}

static struct err *make_built_in(struct store *store, const char *first_password,
                                 char **printed_out)
{
    if (first_password && *first_password)
        return hash_and_store(store, first_password);
    char *password = password_random();
    struct err *e = hash_and_store(store, password);
    if (!e) {
        *printed_out = password;
        return NULL;
    }
    secret_wipe(password, strlen(password));
    free(password);
    return e;
}

static struct err *ensure_built_in(struct store *store, const char *first_password,
                                   char **printed_out, struct arena *tmp)
{
    struct doc d;
    struct err *e = store_get(store, STORE_USER, BUILT_IN_USER, tmp, &d);
    if (!e) {
        if (first_password && *first_password)
            log_debug("the user has a password already, the one for the first start is ignored",
                      LOG_S("user", BUILT_IN_USER));
        return NULL;
    }
    if (e->kind != ERR_NOT_FOUND)
        return e;
    err_free(e);
    TRY(make_built_in(store, first_password, printed_out));
    log_info("first password of the built-in user stored", LOG_S("user", BUILT_IN_USER));
    return NULL;
}

struct err *account_ensure_built_in(struct store *store, const char *first_password,
                                    char **printed_out)
{
    BUG_ON(sodium_init() < 0);
    struct arena *tmp = arena_new(ARENA_NO_LIMIT);
    struct err *e = ensure_built_in(store, first_password, printed_out, tmp);
    arena_free(tmp);
    return e;
}

/* --- the realm --- */

static void realm_end(struct counted *c)
{
    struct realm *realm = (struct realm *)c; /* its first member */
    map_free(realm->by_name);
    map_free(realm->roles_by_name);
    arena_free(realm->arena);
    free(realm);
}

static int by_role_name(const void *a, const void *b)
{
    return str_cmp((*(const struct role *const *)a)->name, (*(const struct role *const *)b)->name);
}

static struct err *read_role_doc(struct realm *realm, const struct doc *d, struct role **out)
{
    const struct json *body;
    struct err *e = json_parse_copy(realm->arena, d->body, &body);
    if (!e)
        e = role_read(realm->arena, d->id, body, out);
    if (e)
        return err_wrap(e, ERR_CORRUPT, "the stored role [%.*s] cannot be read", STR_ARG(d->id));
    return NULL;
}

static struct err *read_all_roles(struct realm *realm, struct store *store, struct arena *tmp)
{
    struct docs docs;
    const struct role **built_in;
    size_t n;
    TRY(store_list(store, STORE_ROLE, tmp, &docs));
    TRY(roles_built_in(realm->arena, &built_in, &n));
    realm->roles = arena_array(realm->arena, docs.n + n, sizeof *realm->roles);
    memcpy(realm->roles, built_in, n * sizeof *built_in);
    for (size_t i = 0; i < docs.n; i++) {
        struct role *role = NULL;
        TRY(read_role_doc(realm, &docs.v[i], &role));
        realm->roles[n++] = role;
    }
    realm->n_roles = n;
    qsort(realm->roles, n, sizeof *realm->roles, by_role_name);
    for (size_t i = 0; i < n; i++)
        map_put(realm->roles_by_name, realm->roles[i]->name, (void *)(uintptr_t)realm->roles[i]);
    return NULL;
}

static struct err *read_all_accounts(struct realm *realm, struct store *store, struct arena *tmp)
{
    struct docs docs;
    TRY(store_list(store, STORE_USER, tmp, &docs));
    realm->accounts = arena_array(realm->arena, docs.n + 1, sizeof *realm->accounts);
    for (size_t i = 0; i < docs.n; i++) {
        struct account *a = NULL;
        TRY(read_account(realm, &docs.v[i], &a));
        realm->accounts[realm->n_accounts++] = a;
        map_put(realm->by_name, docs.v[i].id, a);
    }
    return NULL;
}

struct err *realm_read(struct store *store, struct realm **out)
{
    struct realm *realm = mem_new(sizeof *realm);
    struct arena *tmp = arena_new(ARENA_NO_LIMIT);
    counted_init(&realm->counted, realm_end);
    realm->arena = arena_new(ARENA_NO_LIMIT);
    realm->by_name = map_new();
    realm->roles_by_name = map_new();
    struct err *e = read_all_roles(realm, store, tmp);
    if (!e)
        e = read_all_accounts(realm, store, tmp);
    arena_free(tmp);
    if (e)
        counted_unref(&realm->counted);
    else
        *out = realm;
    return e;
}

const struct account *realm_account(const struct realm *realm, struct str name)
{
    return map_get(realm->by_name, name);
}

const struct role *realm_role(const struct realm *realm, struct str name)
{
    return map_get(realm->roles_by_name, name);
}

/* --- writing --- */

void account_doc_of(const struct account *a, struct arena *arena, struct account_doc *out)
{
    struct buf roles;
    struct json_out w;
    buf_init(&roles, (size_t)1 << 20);
    json_out_init(&w, &roles);
    json_arr(&w);
    for (const char *const *r = a->user.roles; *r; r++)
        json_put_cstr(&w, *r);
    json_end(&w);
    *out = (struct account_doc){.hash = str_c(a->hash),
                                .roles = arena_dup(arena, buf_str(&roles)),
                                .full_name = str_c(a->full_name),
                                .email = str_c(a->email),
                                .metadata = a->metadata,
                                .enabled = a->enabled};
    buf_deinit(&roles);
}

static void put_text(struct json_out *w, const char *key, struct str s)
{
    json_key(w, key);
    if (s.p)
        json_put_str(w, s);
    else
        json_put_null(w);
}

void account_doc_render(const struct account_doc *d, struct buf *out)
{
    struct json_out w;
    json_out_init(&w, out);
    json_obj(&w);
    json_key_str(&w, "password", d->hash);
    json_key_raw(&w, "roles", d->roles);
    put_text(&w, "full_name", d->full_name);
    put_text(&w, "email", d->email);
    json_key_raw(&w, "metadata", d->metadata);
    json_key_bool(&w, "enabled", d->enabled);
    json_end(&w);
}

void account_render(const struct account *a, const struct map *profiles, struct json_out *w)
{
    json_obj(w);
    json_key_cstr(w, "username", a->user.name);
    json_key(w, "roles");
    json_arr(w);
    for (const char *const *r = a->user.roles; *r; r++)
        json_put_cstr(w, *r);
    json_end(w);
    json_key_cstr(w, "full_name", a->full_name);
    json_key_cstr(w, "email", a->email);
    json_key_raw(w, "metadata", a->metadata);
    json_key_bool(w, "enabled", a->enabled);
    profile_render_uid(profiles, str_c(a->user.name), w);
    json_end(w);
}
