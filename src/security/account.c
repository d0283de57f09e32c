#include "account.h"

#include <sodium.h>
#include <stdlib.h>

#include "bug.h"
#include "log.h"
#include "map.h"
#include "privilege.h"
#include "secret.h"

#define BUILT_IN STR("elastic")
#define LENGTH   20 /* of a random password: 121 bits */

struct accounts {
    struct arena *arena; /* all of them, and their texts */
    struct map *by_name;
};

static const char *const superuser[] = {"superuser", NULL};

const struct account account_anonymous = {
    .user = {.name = "_anonymous", .roles = superuser, .privileges = UINT64_MAX},
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

static bool read_roles(struct arena *a, const struct json *list, struct user *u)
{
    if (!json_is(list, JSON_ARRAY))
        return false;
    const char **roles = arena_array(a, (size_t)list->n + 1, sizeof *roles);
    struct json_iter it = json_iter(list);
    struct str role;
    size_t n = 0;
    for (const struct json *v; (v = json_next(&it)); n++) {
        if (!json_str(v, &role))
            return false;
        roles[n] = arena_cstr(a, role);
        u->privileges |= privilege_of_role(role);
    }
    qsort(roles, n, sizeof *roles, by_bytes);
    u->roles = roles;
    return true;
}

static const char *text_or_null(struct arena *a, const struct json *v)
{
    struct str s;
    return json_str(v, &s) ? arena_cstr(a, s) : NULL;
}

static struct err *read_account(struct arena *a, const struct doc *d, struct account **out)
{
    const struct json *root;
    struct account *acc = arena_alloc(a, sizeof *acc);
    struct err *e = json_parse_copy(a, d->body, &root);
    if (e)
        return err_wrap(e, ERR_CORRUPT, "the stored user [%.*s] cannot be read", STR_ARG(d->id));
    bool built_in = str_eq(d->id, BUILT_IN);
    acc->user.name = arena_cstr(a, d->id);
    acc->hash = text_or_null(a, json_get(root, "password"));
    acc->full_name = text_or_null(a, json_get(root, "full_name"));
    acc->email = text_or_null(a, json_get(root, "email"));
    acc->metadata = json_raw(json_get(root, "metadata"));
    acc->realm = built_in ? "reserved" : "default_native";
    acc->realm_type = built_in ? "reserved" : "native";
    acc->authentication_type = "realm";
    if (!acc->hash || strlen(acc->hash) >= crypto_pwhash_STRBYTES ||
        !read_roles(a, json_get(root, "roles"), &acc->user) ||
        !json_is(json_get(root, "metadata"), JSON_OBJECT) ||
        !json_bool(json_get(root, "enabled"), &acc->enabled))
        return err_new(ERR_CORRUPT, "the stored user [%.*s] is incomplete", STR_ARG(d->id));
    *out = acc;
    return NULL;
}

/* --- the first password --- */

static char *random_password(void)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*_=-+";
    char *z = mem_new(LENGTH + 1);
    for (int i = 0; i < LENGTH; i++)
        z[i] = letters[randombytes_uniform(sizeof letters - 1)];
    return z;
}

static struct err *store_first(struct store *store, const char *password)
{
    char hash[crypto_pwhash_STRBYTES];
    if (crypto_pwhash_str(hash, password, strlen(password), crypto_pwhash_OPSLIMIT_INTERACTIVE,
                          crypto_pwhash_MEMLIMIT_INTERACTIVE) != 0)
        return err_new(ERR_INTERNAL,
                       "hashing a password takes [%d] MiB of memory, which is not there",
                       crypto_pwhash_MEMLIMIT_INTERACTIVE >> 20);
    struct buf body;
    struct json_out w;
    buf_init(&body, 4096);
    json_out_init(&w, &body);
    json_obj(&w);
    json_key_cstr(&w, "password", hash);
    json_key_raw(&w, "roles", STR("[\"superuser\"]"));
    json_key_cstr(&w, "full_name", NULL);
    json_key_cstr(&w, "email", NULL);
    json_key_raw(&w, "metadata", STR("{\"_reserved\":true}"));
    json_key_bool(&w, "enabled", true);
    json_end(&w);
    struct err *e = store_put(store, STORE_USER, BUILT_IN, buf_str(&body), 0, NULL);
    secret_wipe(body.p, body.n);
    buf_deinit(&body);
    return e;
}

static struct err *make_built_in(struct store *store, const char *first_password,
                                 char **printed_out)
{
    if (first_password && *first_password)
        return store_first(store, first_password);
    char *password = random_password();
    struct err *e = store_first(store, password);
    if (!e) {
        *printed_out = password;
        return NULL;
    }
    secret_wipe(password, LENGTH);
    free(password);
    return e;
}

static struct err *ensure_built_in(struct store *store, const char *first_password,
                                   char **printed_out, struct arena *tmp)
{
    struct doc d;
    struct err *e = store_get(store, STORE_USER, BUILT_IN, tmp, &d);
    if (!e) {
        if (first_password && *first_password)
            log_debug("the user has a password already, the one for the first start is ignored",
                      LOG_S("user", BUILT_IN));
        return NULL;
    }
    if (e->kind != ERR_NOT_FOUND)
        return e;
    err_free(e);
    TRY(make_built_in(store, first_password, printed_out));
    log_info("first password of the built-in user stored", LOG_S("user", BUILT_IN));
    return NULL;
}

/* --- the table --- */

static struct err *read_all(struct accounts *all, struct store *store, struct arena *tmp)
{
    struct docs docs;
    TRY(store_list(store, STORE_USER, tmp, &docs));
    for (size_t i = 0; i < docs.n; i++) {
        struct account *a = NULL;
        TRY(read_account(all->arena, &docs.v[i], &a));
        map_put(all->by_name, docs.v[i].id, a);
    }
    return NULL;
}

struct err *accounts_open(struct store *store, const char *first_password, char **printed_out,
                          struct accounts **out)
{
    BUG_ON(sodium_init() < 0);
    struct accounts *all = mem_new(sizeof *all);
    struct arena *tmp = arena_new(ARENA_NO_LIMIT);
    all->arena = arena_new(ARENA_NO_LIMIT);
    all->by_name = map_new();
    *printed_out = NULL;
    struct err *e = ensure_built_in(store, first_password, printed_out, tmp);
    if (!e)
        e = read_all(all, store, tmp);
    arena_free(tmp);
    if (e)
        accounts_close(all);
    else
        *out = all;
    return e;
}

void accounts_close(struct accounts *all)
{
    if (!all)
        return;
    map_free(all->by_name);
    arena_free(all->arena);
    free(all);
}

const struct account *accounts_find(const struct accounts *all, struct str name)
{
    return map_get(all->by_name, name);
}
