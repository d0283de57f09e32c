#include "security.h"

#include <stdlib.h>

#include "account.h"
#include "bug.h"
#include "credentials.h"
#include "verifier.h"

const struct str security_challenges[] = {
    STR_INIT("Basic realm=\"security\", charset=\"UTF-8\""),
    STR_INIT("Bearer realm=\"security\""),
    STR_INIT("ApiKey"),
};
const size_t security_n_challenges = sizeof security_challenges / sizeof *security_challenges;

struct security {
    struct accounts *accounts; /* NULL: security is off */
    struct verifier *verifier;
};

struct err *security_open(struct store *store, struct pool *pool, bool enabled,
                          const char *first_password, char **printed_out, struct security **out)
{
    struct security *s = mem_new(sizeof *s);
    *printed_out = NULL;
    if (enabled) {
        struct err *e = accounts_open(store, first_password, printed_out, &s->accounts);
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
    accounts_close(s->accounts);
    free(s);
}

bool security_enabled(const struct security *s)
{
    return s->accounts != NULL;
}

/* --- authenticating --- */

/* One caller who waits for a verdict. */
struct ask {
    struct verify_wait wait;
    const struct account *account; /* NULL: there is none of that name */
    struct str name, uri;          /* name lies behind the struct */
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

/* Everything that is not a readable Basic header. */
static struct err *unusable(const struct credentials *c, struct str uri)
{
    static const char unreadable[] = "error attempting to authenticate request";
    switch (c->kind) {
    case CREDENTIALS_API_KEY:
    case CREDENTIALS_BEARER:
        return err_new(ERR_SECURITY, "unable to authenticate with provided credentials and "
                                     "anonymous access is not allowed for this request");
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
        break;
    }
    return err_new(ERR_SECURITY, "missing authentication credentials for REST request [%.*s]",
                   STR_ARG(uri));
}

static void on_verdict(struct verify_wait *w, enum verdict verdict)
{
    struct ask *a = (struct ask *)w; /* its first member */
    if (verdict == VERDICT_YES)
        a->done(a->ctx, &a->account->user, NULL);
    else
        a->done(a->ctx, NULL, refusal(a->name, a->uri));
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
    a->account = account;
    a->name = str_n(copy, name.n);
    a->uri = uri;
    return a;
}

static void verify(struct security *s, struct loop *loop, const struct credentials *c,
                   struct str uri, void (*done)(void *ctx, const struct user *, struct err *),
                   void *ctx)
{
    const struct account *account = accounts_find(s->accounts, c->name);
    struct attempt attempt = {.name = c->name,
                              .password = c->secret,
                              .hash = account && account->enabled ? account->hash : NULL};
    struct ask *a = ask_new(loop, account, c->name, uri);
    a->done = done;
    a->ctx = ctx;
    int64_t retry_ms = 0;
    enum verdict verdict = verifier_ask(s->verifier, &attempt, &a->wait, &retry_ms);
    if (verdict == VERDICT_PENDING)
        return;
    free(a);
    if (verdict == VERDICT_YES)
        done(ctx, &account->user, NULL);
    else
        done(ctx, NULL, busy(retry_ms));
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
    else
        done(ctx, NULL, challenge(unusable(&c, uri)));
    credentials_wipe(&c);
}

/* --- rendering --- */

static void render_realm(struct json_out *w, const char *key, const struct account *a)
{
    json_key(w, key);
    json_obj(w);
    json_key_cstr(w, "name", a->realm);
    json_key_cstr(w, "type", a->realm_type);
    json_end(w);
}

void security_render_user(const struct security *s, const struct user *u, struct json_out *w)
{
    const struct account *a =
        security_enabled(s) ? accounts_find(s->accounts, str_c(u->name)) : &account_anonymous;
    BUG_ON(!a || &a->user != u); /* users come from security_authenticate alone */
    json_obj(w);
    json_key_cstr(w, "username", u->name);
    json_key(w, "roles");
    json_arr(w);
    for (const char *const *r = u->roles; *r; r++)
        json_put_cstr(w, *r);
    json_end(w);
    json_key_cstr(w, "full_name", a->full_name);
    json_key_cstr(w, "email", a->email);
    json_key_raw(w, "metadata", a->metadata);
    json_key_bool(w, "enabled", a->enabled);
    render_realm(w, "authentication_realm", a);
    render_realm(w, "lookup_realm", a);
    json_key_cstr(w, "authentication_type", a->authentication_type);
    json_end(w);
}
