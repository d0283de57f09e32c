/* users: users as resources. Passwords are hashed here, on the pool, at most so many at once.
 * Source: shared facts, security.md 10. */
#include "account.h"
#include "log.h"
#include "password.h"
#include "private.h"
#include "profile.h"
#include "query.h"
#include "secret.h"

#define ACT           "cluster:admin/xpack/security/user/"
#define MAX_DOC_BYTES ((size_t)2 << 20)
#define HASHING       2 /* at once: each takes 64 MiB */

static bool is_reserved(struct str name)
{
    static const char *const names[] = {
        "elastic",      "kibana",     "kibana_system",          "logstash_system",
        "beats_system", "apm_system", "remote_monitoring_user", "_anonymous"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_eq_c(name, names[i]))
            return true;
    return false;
}

static struct realm *take(struct security *s)
{
    return (struct realm *)cell_take(&s->realm);
}

/* --- passwords --- */

static struct err *hash_password(struct security *s, struct str password,
                                 char out[PASSWORD_HASH_CHARS])
{
    TRY(password_check(password));
    int busy = atomic_fetch_add(&s->n_hashing, 1);
    struct err *e = busy < HASHING
                        ? password_hash(password, out)
                        : err_new(ERR_TOO_MANY, "too many passwords are being set, try again");
    atomic_fetch_sub(&s->n_hashing, 1);
    return e;
}

/* password or password_hash of a body; "" in `out` when there is neither. */
static struct err *read_password(struct security *s, const struct json *body,
                                 char out[PASSWORD_HASH_CHARS])
{
    struct str password, hash;
    out[0] = '\0';
    TRY(text_member(body, "password", &password));
    TRY(text_member(body, "password_hash", &hash));
    if (password.p && hash.p)
        return invalid("only one of [password, password_hash] can be provided");
    if (hash.p)
        return password_check_hash(hash, out);
    return password.p ? hash_password(s, password, out) : NULL;
}

/* --- changing; `writing` is held --- */

static struct err *store_account(struct security *s, struct str name, const struct account_doc *d)
{
    struct buf body;
    buf_init(&body, MAX_DOC_BYTES);
    account_doc_render(d, &body);
    struct change change = {
        .kind = STORE_USER, .id = name, .body = buf_str(&body), .expect = STORE_ANY_REV};
    struct err *e =
        body.full ? err_new(ERR_TOO_LARGE, "the user is too large") : realm_change(s, &change, 1);
    if (body.p)
        secret_wipe(body.p, body.n);
    buf_deinit(&body);
    return e;
}

static struct err *read_roles(const struct json *body, struct str *out)
{
    const struct json *roles = json_get(body, "roles");
    struct json_iter it = json_iter(roles);
    struct str role;
    *out = STR("[]");
    if (json_is_null(roles))
        return NULL;
    bool ok = json_is(roles, JSON_ARRAY);
    for (const struct json *v; (v = json_next(&it));)
        ok = ok && json_str(v, &role) && str_find_char(role, '\0') == SIZE_MAX;
    *out = json_raw(roles);
    return ok ? NULL : err_new(ERR_PARSE, "expected field [roles] to be an array of strings");
}

static struct err *read_doc(struct security_call *c, struct account_doc *d)
{
    static const char *const members[] = {"username", "password",  "password_hash",
                                          "roles",    "full_name", "email",
                                          "metadata", "enabled",   NULL};
    struct str username;
    *d = (struct account_doc){.enabled = true};
    TRY(only_members(c->body, "user", members));
    TRY(text_member(c->body, "username", &username));
    if (username.p && !str_eq(username, c->name))
        return err_new(ERR_ARGUMENT, "expecting username [%.*s] in body but found [%.*s]",
                       STR_ARG(c->name), STR_ARG(username));
    TRY(read_roles(c->body, &d->roles));
    TRY(text_member(c->body, "full_name", &d->full_name));
    TRY(text_member(c->body, "email", &d->email));
    TRY(metadata_member(c->body, "metadata keys", &d->metadata));
    const struct json *enabled = json_get(c->body, "enabled");
    if (!json_is_null(enabled) && !json_bool(enabled, &d->enabled))
        return err_new(ERR_PARSE, "expected field [enabled] to be a boolean");
    return NULL;
}

/* An update that names no password keeps the one there is. */
static struct err *put(struct security *s, struct security_call *c, struct account_doc *d,
                       bool *created_out)
{
    struct realm *realm = take(s);
    const struct account *old = realm_account(realm, c->name);
    struct err *e = NULL;
    *created_out = !old;
    if (!d->hash.n && old)
        d->hash = str_c(old->hash);
    if (!d->hash.n)
        e = invalid("password must be specified unless you are updating an existing user");
    if (!e)
        e = store_account(s, c->name, d);
    counted_unref(&realm->counted);
    return e;
}

struct err *user_put(struct security *s, struct security_call *c)
{
    struct account_doc d;
    char hash[PASSWORD_HASH_CHARS];
    bool created;
    TRY(check_name("User", c->name));
    if (is_reserved(c->name))
        return invalid("user [%.*s] is reserved and only the password can be changed",
                       STR_ARG(c->name));
    TRY(read_doc(c, &d));
    TRY(read_password(s, c->body, hash));
    d.hash = str_c(hash);
    pthread_mutex_lock(&s->writing);
    struct err *e = put(s, c, &d, &created);
    pthread_mutex_unlock(&s->writing);
    secret_wipe(hash, sizeof hash);
    TRY(e);
    log_info(created ? "user created" : "user updated", LOG_S("user", c->name),
             LOG_C("by", c->user->name));
    json_obj(c->out);
    json_key_bool(c->out, "created", created);
    json_end(c->out);
    return NULL;
}

/* One change to an account that must be there. */
static struct err *amend(struct security *s, struct security_call *c, struct str name,
                         const char *hash, const bool *enabled, const char *absent)
{
    struct account_doc d;
    pthread_mutex_lock(&s->writing);
    struct realm *realm = take(s);
    const struct account *a = realm_account(realm, name);
    struct err *e = a ? NULL : err_new(ERR_VALIDATION, "Validation Failed: 1: %s;", absent);
    if (!e) {
        account_doc_of(a, c->arena, &d);
        if (hash)
            d.hash = str_c(hash);
        if (enabled)
            d.enabled = *enabled;
        e = store_account(s, str_c(a->user.name), &d);
    }
    counted_unref(&realm->counted);
    pthread_mutex_unlock(&s->writing);
    if (!e) {
        log_info(hash ? "password changed" : "user enabled or disabled", LOG_S("user", name),
                 LOG_C("by", c->user->name));
        json_obj(c->out);
        json_end(c->out);
    }
    return e;
}

/* One's own needs no privilege, but one's own credentials: not an API key's. */
struct err *user_password(struct security *s, struct security_call *c)
{
    static const char *const members[] = {"password", "password_hash", NULL};
    struct str name = c->name.p ? c->name : str_c(c->user->name);
    char hash[PASSWORD_HASH_CHARS];
    if (c->user->key || c->user->token_name || !str_eq_c(name, c->user->name))
        TRY(security_authorize(c->user, PRIV_MANAGE_SECURITY, ACT "change_password"));
    TRY(only_members(c->body, "change_password", members));
    TRY(read_password(s, c->body, hash));
    if (!hash[0])
        return invalid("password is missing");
    struct err *e = amend(s, c, name, hash, NULL, "user must exist in order to change password");
    secret_wipe(hash, sizeof hash);
    return e;
}

static struct err *set_enabled(struct security *s, struct security_call *c, bool enabled)
{
    if (!c->user->key && !c->user->token_name && str_eq_c(c->name, c->user->name))
        return err_new(ERR_ARGUMENT,
                       "users may not update the enabled status of their own account");
    return amend(s, c, c->name, NULL, &enabled,
                 enabled ? "only existing users can be enabled"
                         : "only existing users can be disabled");
}

struct err *user_enable(struct security *s, struct security_call *c)
{
    return set_enabled(s, c, true);
}

struct err *user_disable(struct security *s, struct security_call *c)
{
    return set_enabled(s, c, false);
}

struct err *user_delete(struct security *s, struct security_call *c)
{
    if (is_reserved(c->name))
        return err_new(ERR_ARGUMENT, "user [%.*s] is reserved and cannot be deleted",
                       STR_ARG(c->name));
    struct change change = {.kind = STORE_USER, .id = c->name, .expect = STORE_ANY_REV};
    pthread_mutex_lock(&s->writing);
    struct realm *realm = take(s);
    bool found = realm_account(realm, c->name);
    struct err *e = found ? tokens_end_of(s, c->arena, c->name) : NULL;
    if (found && !e)
        e = realm_change(s, &change, 1);
    counted_unref(&realm->counted);
    pthread_mutex_unlock(&s->writing);
    TRY(e);
    if (found)
        log_info("user deleted", LOG_S("user", c->name), LOG_C("by", c->user->name));
    json_obj(c->out);
    json_key_bool(c->out, "found", found);
    json_end(c->out);
    c->status = found ? 200 : 404;
    return NULL;
}

/* --- reading --- */

struct err *user_get(struct security *s, struct security_call *c)
{
    struct map *uids = NULL;
    if (c->with_profile_uid)
        TRY(profile_uids(s->store, c->arena, &uids));
    struct realm *realm = take(s);
    size_t n = 0;
    json_obj(c->out);
    for (size_t i = 0; i < realm->n_accounts; i++) {
        const struct account *a = realm->accounts[i];
        if (c->name.p && !name_listed(c->name, str_c(a->user.name)))
            continue;
        json_key(c->out, a->user.name);
        account_render(a, uids, c->out);
        n++;
    }
    json_end(c->out);
    counted_unref(&realm->counted);
    map_free(uids);
    c->status = c->name.p && !n ? 404 : 200;
    return NULL;
}

struct err *user_query(struct security *s, struct security_call *c)
{
    static const char *const fields[] = {"username", "roles",    "full_name", "email",
                                         "enabled",  "metadata", NULL};
    struct query q;
    struct map *uids = NULL;
    if (c->with_profile_uid)
        TRY(profile_uids(s->store, c->arena, &uids));
    query_init(&q, c->arena, "users", "username", fields);
    struct err *e = query_read(&q, c->body);
    struct realm *realm = take(s);
    for (size_t i = 0; !e && i < realm->n_accounts; i++) {
        if (str_eq(str_c(realm->accounts[i]->user.name), BUILT_IN_USER))
            continue; /* Elasticsearch finds those that were made */
        account_render(realm->accounts[i], uids, query_row(&q));
        e = query_row_end(&q);
    }
    counted_unref(&realm->counted);
    if (!e)
        query_render(&q, c->out);
    query_deinit(&q);
    map_free(uids);
    return e;
}
