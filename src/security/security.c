#include "security.h"

#include <sodium.h>
#include <stdlib.h>

#include "account.h"
#include "bug.h"
#include "clock.h"
#include "credentials.h"
#include "key.h"
#include "metrics.h"
#include "private.h"
#include "token.h"
#include "usage.h"
#include "verifier.h"

const struct str security_challenges[] = {
    STR_INIT("Basic realm=\"security\", charset=\"UTF-8\""),
    STR_INIT("Bearer realm=\"security\""),
    STR_INIT("ApiKey"),
};
const size_t security_n_challenges = sizeof security_challenges / sizeof *security_challenges;

/* --- opening --- */

static struct err *open_tables(struct security *s, const char *first_password, char **printed_out)
{
    struct realm *realm;
    struct keys *keys;
    TRY(account_ensure_built_in(s->store, first_password, printed_out));
    TRY(realm_read(s->store, &realm));
    cell_init(&s->realm, &realm->counted);
    TRY(keys_read(s->store, &keys));
    cell_init(&s->keys, &keys->counted);
    struct tokens *tokens;
    TRY(tokens_read(s->store, &tokens));
    cell_init(&s->tokens, &tokens->counted);
    struct service_tokens *service_tokens;
    TRY(services_open(&s->services));
    TRY(service_tokens_read(s->store, &s->services, &service_tokens));
    cell_init(&s->service_tokens, &service_tokens->counted);
    return usage_open(NULL, clock_wall_ms(), &s->usage);
}

struct err *security_open(struct store *store, struct pool *pool, bool enabled,
                          const char *first_password, char **printed_out, struct security **out)
{
    struct security *s = mem_new(sizeof *s);
    *printed_out = NULL;
    s->enabled = enabled;
    s->store = store;
    s->token_ms = SECURITY_TOKEN_MS;
    BUG_ON(pthread_mutex_init(&s->writing, NULL) != 0);
    if (enabled) {
        struct err *e = open_tables(s, first_password, printed_out);
        if (e) {
            security_close(s);
            return e;
        }
        s->verifier = verifier_new(pool, VERIFIER_WAITING);
    }
    *out = s;
    return NULL;
}

void security_close(struct security *s)
{
    if (!s)
        return;
    verifier_free(s->verifier);
    usage_close(s->usage);
    cell_deinit(&s->service_tokens);
    services_close(&s->services);
    cell_deinit(&s->tokens);
    cell_deinit(&s->keys);
    cell_deinit(&s->realm);
    pthread_mutex_destroy(&s->writing);
    free(s);
}

struct err *security_keep_usage(struct security *s, const char *path)
{
    struct usage *kept;
    if (!s->enabled)
        return NULL;
    TRY(usage_open(path, clock_wall_ms(), &kept));
    usage_close(s->usage);
    s->usage = kept;
    return NULL;
}

static const struct api_key *key_of(const struct user *u)
{
    return u->by ? u->by->key : u->key;
}

struct err *security_admit(struct security *s, const struct user *u, struct str inference_id,
                           struct usage_pass *out)
{
    const struct api_key *k = key_of(u);
    *out = (struct usage_pass){0};
    if (!k)
        return NULL;
    struct err *e = usage_admit(s->usage, k->id, &k->limits, inference_id, clock_wall_ms(), out);
    if (e && e->kind == ERR_TOO_MANY)
        metric_add(METRIC_KEY_LIMITED, 1);
    return e;
}

void security_settle(struct security *s, struct usage_pass *pass, int64_t in_tokens,
                     int64_t out_tokens)
{
    if (pass->row)
        usage_settle(s->usage, pass, in_tokens, out_tokens, clock_wall_ms());
}

void security_set_token_ms(struct security *s, int64_t ms)
{
    s->token_ms = ms;
}

bool security_enabled(const struct security *s)
{
    return s->enabled;
}

/* --- authenticating --- */

/* One caller who waits for a verdict. */
struct ask {
    struct verify_wait wait;
    struct security *security;
    const struct user *user; /* a reference; NULL: there is none of that name */
    struct str name, uri;    /* name lies behind the struct */
    void (*done)(void *ctx, const struct user *, struct err *);
    void *ctx;
};

static struct err *challenge(struct err *e)
{
    e->challenge = true;
    return e;
}

static struct err *refusal(struct str name, struct str uri)
{
    return challenge(err_new(ERR_SECURITY,
                             "unable to authenticate user [%.*s] for REST request [%.*s]",
                             STR_ARG(name), STR_ARG(uri)));
}

static struct err *busy(int64_t retry_ms)
{
    struct err *e =
        err_new(ERR_TOO_MANY, "too many passwords are being verified, try again in [%lld ms]",
                (long long)retry_ms);
    e->retry_after_ms = retry_ms;
    return e;
}

static struct err *not_valid(void)
{
    return err_new(ERR_SECURITY, "unable to authenticate with provided credentials and anonymous "
                                 "access is not allowed for this request");
}

/* Everything that is neither a readable Basic header nor a readable API key. */
static struct err *unusable(const struct credentials *c, struct str uri)
{
    static const char unreadable[] = "error attempting to authenticate request";
    switch (c->kind) {
    case CREDENTIALS_BAD_BASIC_ENCODING:
        return err_new(ERR_SECURITY, "invalid basic authentication header encoding");
    case CREDENTIALS_BAD_BASIC_VALUE:
        return err_new(ERR_SECURITY, "invalid basic authentication header value");
    case CREDENTIALS_BAD_API_KEY_ENCODING:
        return err_wrap(err_new(ERR_ARGUMENT, "Illegal base64 in ApiKey value"), ERR_SECURITY, "%s",
                        unreadable);
    case CREDENTIALS_BAD_API_KEY_VALUE:
        return err_wrap(err_new(ERR_ARGUMENT, "invalid ApiKey value"), ERR_SECURITY, "%s",
                        unreadable);
    case CREDENTIALS_NONE:
    case CREDENTIALS_BASIC:
    case CREDENTIALS_API_KEY:
    case CREDENTIALS_BEARER:
        break;
    }
    return err_new(ERR_SECURITY, "missing authentication credentials for REST request [%.*s]",
                   STR_ARG(uri));
}

/* Hashing takes its time, more so when guesses are spaced out: whoever has been disabled or given
 * another password meanwhile does not get in, and new roles count. A reference or NULL. */
static const struct user *still_there(struct security *s, const struct user *then)
{
    struct counted *held;
    const struct realm *realm = (const struct realm *)cell_peek(&s->realm, &held);
    const struct account *a = realm_account(realm, str_c(then->name));
    bool same = a && a->enabled && strcmp(a->hash, then->account->hash) == 0;
    const struct user *now = same ? user_ref(&a->user) : NULL;
    counted_unref(held);
    return now;
}

static void on_verdict(struct verify_wait *w, enum verdict verdict)
{
    struct ask *a = (struct ask *)w; /* its first member */
    const struct user *user =
        verdict == VERDICT_YES && a->user ? still_there(a->security, a->user) : NULL;
    if (user)
        a->done(a->ctx, user, NULL);
    else
        a->done(a->ctx, NULL, refusal(a->name, a->uri));
    user_unref(a->user);
    free(a);
}

static struct ask *ask_new(struct loop *loop, const struct account *account, struct str name,
                           struct str uri)
{
    struct ask *a = mem_new(sizeof *a + name.n);
    char *copy = (char *)(a + 1);
    if (name.n)
        memcpy(copy, name.p, name.n);
    a->wait.loop = loop;
    a->wait.done = on_verdict;
    a->user = account ? user_ref(&account->user) : NULL;
    a->name = str_n(copy, name.n);
    a->uri = uri;
    return a;
}

typedef void authenticated_fn(void *ctx, const struct user *, struct err *);

static void verify(struct security *s, struct loop *loop, const struct credentials *c,
                   struct str uri, authenticated_fn *done, void *ctx)
{
    struct counted *held;
    const struct realm *realm = (const struct realm *)cell_peek(&s->realm, &held);
    const struct account *account = realm_account(realm, c->name);
    struct attempt attempt = {.name = c->name,
                              .password = c->secret,
                              .hash = account && account->enabled ? account->hash : NULL};
    struct ask *a = ask_new(loop, account, c->name, uri);
    a->security = s;
    a->done = done;
    a->ctx = ctx;
    int64_t retry_ms = 0;
    enum verdict verdict = verifier_ask(s->verifier, &attempt, &a->wait, &retry_ms);
    counted_unref(held);
    if (verdict == VERDICT_PENDING)
        return;
    const struct user *user = a->user;
    free(a);
    if (verdict == VERDICT_YES) {
        done(ctx, user, NULL);
        return;
    }
    user_unref(user);
    done(ctx, NULL, busy(retry_ms));
}

/* --- API keys --- */

static struct err *key_refusal(const char *fmt, struct str id)
{
    struct err *e = challenge(not_valid());
    struct buf b;
    buf_init(&b, CREDENTIALS_LIMIT + 256);
    buf_put(&b, STR("API key: "));
    struct str rest = str_c(fmt), part;
    for (bool first = true; str_split(&rest, '$', &part); first = false) {
        if (!first)
            buf_put(&b, id);
        buf_put(&b, part);
    }
    buf_char(&b, '\0');
    e->unsuccessful = mem_strdup(b.p);
    buf_deinit(&b);
    return e;
}

/* In Elasticsearch's order: whether it was ended, then whether it is right, then its age. */
static struct err *check_key(const struct api_key *k, struct str id, struct str secret)
{
    unsigned char hash[KEY_HASH_BYTES];
    if (!k)
        return key_refusal("unable to find apikey with id $", id);
    if (k->ended_ms)
        return key_refusal("api key [$] has been invalidated", id);
    key_hash(id, secret, hash);
    if (sodium_memcmp(hash, k->hash, sizeof hash) != 0)
        return key_refusal("invalid credentials for API key [$]", id);
    if (k->access.p)
        return key_refusal("authentication expected API key type of [rest], but API key [$] has "
                           "type [cross_cluster]",
                           id);
    if (key_expired(k, clock_wall_ms()))
        return key_refusal("api key is expired", id);
    return NULL;
}

static void verify_key(struct security *s, const struct credentials *c, authenticated_fn *done,
                       void *ctx)
{
    struct counted *held;
    const struct keys *keys = (const struct keys *)cell_peek(&s->keys, &held);
    const struct api_key *k = keys_find(keys, c->name);
    struct err *e = check_key(k, c->name, c->secret);
    const struct user *user = e ? NULL : user_ref(&k->user);
    counted_unref(held);
    done(ctx, user, e);
}

bool security_is_api_key(struct security *s, struct str base64)
{
    struct counted *held;
    struct credentials c;
    if (!s->enabled || base64.n > CREDENTIALS_LIMIT)
        return false;
    credentials_parse_api_key(base64, &c);
    const struct keys *keys = (const struct keys *)cell_peek(&s->keys, &held);
    bool found = c.kind == CREDENTIALS_API_KEY && keys_find(keys, c.name);
    counted_unref(held);
    credentials_wipe(&c);
    return found;
}

/* --- access tokens --- */

static struct err *token_refusal(const char *why)
{
    struct err *e = challenge(not_valid());
    struct buf b;
    buf_init(&b, 256);
    buf_printf(&b, "bearer token: %s", why);
    buf_char(&b, '\0');
    e->unsuccessful = mem_strdup(b.p);
    buf_deinit(&b);
    return e;
}

static struct err *check_token(const struct token *t, struct str text)
{
    if (!t || !token_is_access(t, text))
        return challenge(not_valid());
    if (t->ended_ms)
        return token_refusal("The access token was invalidated");
    if (t->expires_ms <= clock_wall_ms())
        return token_refusal("The access token expired");
    return NULL;
}

/* Elasticsearch tries it before access tokens, and asks no further when it has that form. */
static bool verify_service(struct security *s, struct str text, authenticated_fn *done, void *ctx)
{
    struct counted *held;
    struct service_bearer b;
    if (!service_bearer_read(text, &b))
        return false;
    const struct service_tokens *tokens =
        (const struct service_tokens *)cell_peek(&s->service_tokens, &held);
    const struct service_token *t = service_tokens_find(tokens, b.id);
    bool good = t && t->service && service_token_is(t, b.secret);
    const struct user *user = good ? user_ref(&t->user) : NULL;
    struct err *e = good ? NULL
                         : challenge(err_new(ERR_SECURITY,
                                             "failed to authenticate service account [%.*s] with "
                                             "token name [%.*s]",
                                             STR_ARG(b.service), STR_ARG(b.name)));
    counted_unref(held);
    service_bearer_wipe(&b);
    done(ctx, user, e);
    return true;
}

static void verify_token(struct security *s, struct str text, authenticated_fn *done, void *ctx)
{
    struct counted *held, *held_realm;
    const struct tokens *tokens = (const struct tokens *)cell_peek(&s->tokens, &held);
    const struct realm *realm = (const struct realm *)cell_peek(&s->realm, &held_realm);
    const struct token *t = tokens_find(tokens, text);
    struct err *e = check_token(t, text);
    const struct account *a = e ? NULL : realm_account(realm, t->username);
    const struct user *user = a && a->enabled ? user_ref(&a->by_token) : NULL;
    if (!user && !e)
        e = challenge(not_valid());
    counted_unref(held);
    counted_unref(held_realm);
    done(ctx, user, e);
}

static void verify_bearer(struct security *s, struct str text, authenticated_fn *done, void *ctx)
{
    if (!verify_service(s, text, done, ctx))
        verify_token(s, text, done, ctx);
}

bool security_is_token(struct security *s, struct str text)
{
    struct counted *held;
    if (!s->enabled)
        return false;
    const struct tokens *tokens = (const struct tokens *)cell_peek(&s->tokens, &held);
    bool found = tokens_find(tokens, text) != NULL;
    counted_unref(held);
    struct service_bearer b;
    if (!found && service_bearer_read(text, &b)) {
        service_bearer_wipe(&b);
        return true;
    }
    return found;
}

/* --- whoever comes --- */

void security_authenticate_password(struct security *s, struct loop *loop, struct str name,
                                    struct str password, struct str uri,
                                    void (*done)(void *ctx, const struct user *, struct err *),
                                    void *ctx)
{
    struct credentials c = {.kind = CREDENTIALS_BASIC, .name = name, .secret = password};
    verify(s, loop, &c, uri, done, ctx);
}

void security_authenticate(struct security *s, struct loop *loop, struct str authorization,
                           struct str uri,
                           void (*done)(void *ctx, const struct user *, struct err *), void *ctx)
{
    if (!security_enabled(s)) {
        done(ctx, &account_anonymous.user, NULL);
        return;
    }
    struct credentials c;
    credentials_parse(authorization, &c);
    if (c.kind == CREDENTIALS_BASIC)
        verify(s, loop, &c, uri, done, ctx);
    else if (c.kind == CREDENTIALS_API_KEY)
        verify_key(s, &c, done, ctx);
    else if (c.kind == CREDENTIALS_BEARER)
        verify_bearer(s, c.secret, done, ctx);
    else
        done(ctx, NULL, challenge(unusable(&c, uri)));
    credentials_wipe(&c);
}

/* --- rendering --- */

static void render_realm(struct json_out *w, const char *key, const char *name, const char *type)
{
    json_key(w, key);
    json_obj(w);
    json_key_cstr(w, "name", name);
    json_key_cstr(w, "type", type);
    json_end(w);
}

/* How the caller proved who he is. */
static void render_proof(const struct user *by, const struct account *shown, struct json_out *w)
{
    const char *realm = by->key ? "_es_api_key" : by->account->realm;
    const char *type = by->key ? "_es_api_key" : by->account->realm_type;
    render_realm(w, "authentication_realm", realm, type);
    if (shown)
        render_realm(w, "lookup_realm", shown->realm, shown->realm_type);
    else
        render_realm(w, "lookup_realm", realm, type);
    const char *how = by->key          ? "api_key"
                      : by->with_token ? "token"
                                       : by->account->authentication_type;
    json_key_cstr(w, "authentication_type", how);
    if (!by->key)
        return;
    json_key(w, "api_key");
    json_obj(w);
    json_key_str(w, "id", by->key->id);
    json_key_str(w, "name", by->key->name);
    json_key_cstr(w, "managed_by", "elasticsearch");
    json_end(w);
}

static void render_about(const struct user *u, const struct account *a, struct json_out *w)
{
    json_key_cstr(w, "full_name", a ? a->full_name : NULL);
    json_key_cstr(w, "email", a ? a->email : NULL);
    if (u->token_name) {
        json_key(w, "token");
        json_obj(w);
        json_key_cstr(w, "name", u->token_name);
        json_key_cstr(w, "type", SERVICE_REALM "_index");
        json_end(w);
    }
    json_key_raw(w, "metadata", a ? a->metadata : STR("{}"));
    json_key_bool(w, "enabled", a ? a->enabled : true);
}

uint32_t security_owner(const struct user *u)
{
    return (uint32_t)str_hash(u->key ? u->key->id : str_c(u->name));
}

void security_render_user(const struct user *u, struct json_out *w)
{
    json_obj(w);
    json_key_cstr(w, "username", u->name);
    json_key(w, "roles");
    json_arr(w);
    for (const char *const *r = u->roles; *r; r++)
        json_put_cstr(w, *r);
    json_end(w);
    render_about(u, u->account, w);
    render_proof(u->by ? u->by : u, u->account, w);
    json_end(w);
}
