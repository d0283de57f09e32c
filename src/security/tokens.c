/* tokens: access tokens made, renewed and ended. Who asks has been authenticated before, by his
 * password or by what his request came with. Source: shared facts, security.md 12; RFC 6749, 4.3,
 * 4.4, 5.2, 6. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "account.h"
#include "bug.h"
#include "clock.h"
#include "log.h"
#include "private.h"
#include "secret.h"
#include "token.h"

#define GONE_AT_ONCE 64 /* tokens whose time is over that leave with one change */

static const struct tokens *tokens_peek(struct security *s, struct counted **held)
{
    return (const struct tokens *)cell_peek(&s->tokens, held);
}

/* --- changing --- */

struct token_change {
    struct str id;
    struct token *next; /* a reference; NULL: it is forgotten */
};

static int change_by_id(const void *a, const void *b)
{
    return str_cmp(((const struct token_change *)a)->id, ((const struct token_change *)b)->id);
}

static bool named(const struct token_change *v, size_t n, struct str id)
{
    const struct token_change key = {.id = id};
    return bsearch(&key, v, n, sizeof *v, change_by_id) != NULL;
}

static struct err *store_changes(struct security *s, struct arena *arena,
                                 const struct token_change *v, size_t n)
{
    struct change *changes = arena_array(arena, n, sizeof *changes);
    for (size_t i = 0; i < n; i++) {
        struct buf body;
        buf_init(&body, 4096);
        if (v[i].next)
            token_render(v[i].next, &body);
        changes[i] =
            (struct change){.kind = STORE_TOKEN,
                            .id = v[i].id,
                            .body = v[i].next ? arena_dup(arena, buf_str(&body)) : (struct str){0},
                            .expect = STORE_ANY_REV};
        buf_deinit(&body);
    }
    return store_apply(s->store, changes, n, NULL);
}

/* First the disk, then the table; sorts the changes. Takes the tokens. `writing` is held. */
static struct err *publish(struct security *s, struct arena *arena, struct token_change *v,
                           size_t n)
{
    struct counted *held;
    struct err *e = n ? store_changes(s, arena, v, n) : NULL;
    if (e || !n) {
        for (size_t i = 0; i < n; i++)
            token_unref(v[i].next);
        return e;
    }
    qsort(v, n, sizeof *v, change_by_id);
    const struct tokens *old = tokens_peek(s, &held);
    struct tokens *next = tokens_new(old->n + n);
    for (size_t i = 0; i < old->n; i++) {
        if (named(v, n, old->v[i]->id))
            continue;
        counted_ref(&old->v[i]->counted);
        tokens_add(next, old->v[i]);
    }
    for (size_t i = 0; i < n; i++) {
        if (v[i].next)
            tokens_add(next, v[i].next);
    }
    counted_unref(held);
    tokens_sort(next);
    cell_swap(&s->tokens, &next->counted);
    return NULL;
}

/* Another of the same contents, to be changed. */
static struct token *copy_of(const struct token *t)
{
    struct buf body;
    struct token *copy = NULL;
    buf_init(&body, 4096);
    token_render(t, &body);
    struct doc d = {.id = t->id, .body = buf_str(&body)};
    struct err *e = token_read(&d, &copy);
    BUG_ON(e != NULL);
    buf_deinit(&body);
    return copy;
}

/* --- making --- */

struct fresh {
    char id[TOKEN_ID_CHARS + 1];
    char access[TOKEN_CHARS - TOKEN_ID_CHARS + 1], refresh[TOKEN_CHARS - TOKEN_ID_CHARS + 1];
};

static struct token *token_make(const struct account *a, bool with_refresh, int64_t lifetime_ms,
                                struct fresh *f)
{
    struct token t = {.username = str_c(a->user.name),
                      .realm = str_c(a->realm),
                      .created_ms = clock_wall_ms(),
                      .has_refresh = with_refresh};
    random_text(f->id, sizeof f->id, KEY_ID_BYTES);
    random_text(f->access, sizeof f->access, 32);
    random_text(f->refresh, sizeof f->refresh, 32);
    t.id = str_c(f->id);
    t.expires_ms = t.created_ms + lifetime_ms;
    key_hash(t.id, str_c(f->access), t.access);
    key_hash(t.id, str_c(f->refresh), t.refresh);
    return copy_of(&t);
}

static void render_made(struct security *s, struct security_call *c, const struct account *a,
                        const struct fresh *f, bool with_refresh)
{
    char text[TOKEN_CHARS + 1];
    json_obj(c->out);
    snprintf(text, sizeof text, "%s%s", f->id, f->access);
    json_key_cstr(c->out, "access_token", text);
    json_key_cstr(c->out, "type", "Bearer");
    json_key_i64(c->out, "expires_in", s->token_ms / 1000);
    if (with_refresh) {
        snprintf(text, sizeof text, "%s%s", f->id, f->refresh);
        json_key_cstr(c->out, "refresh_token", text);
    }
    json_key(c->out, "authentication");
    security_render_user(&a->by_token, c->out);
    json_end(c->out);
    secret_wipe(text, sizeof text);
}

/* RFC 6749, 5.2: not the envelope of other errors. */
static void oauth_error(struct security_call *c, const char *error, const char *description)
{
    c->status = 400;
    json_obj(c->out);
    json_key_cstr(c->out, "error", error);
    json_key_cstr(c->out, "error_description", description);
    json_end(c->out);
}

static struct err *full(void)
{
    struct err *e = err_new(ERR_TOO_MANY, "there are more than [%d] tokens in use", TOKENS_MAX);
    e->retry_after_ms = 60000;
    return e;
}

/* `used` (or NULL): the token whose refresh token pays for the new one. `writing` is held. */
static struct err *make_one(struct security *s, struct security_call *c, const struct account *a,
                            bool with_refresh, const struct token *used)
{
    struct token_change v[2 + GONE_AT_ONCE];
    struct fresh fresh;
    size_t n = 0;
    int64_t now = clock_wall_ms();
    struct tokens *held = (struct tokens *)cell_take(&s->tokens);
    for (size_t i = 0; i < held->n && n < GONE_AT_ONCE; i++)
        if (held->v[i] != used && token_gone(held->v[i], now))
            v[n++] = (struct token_change){.id = held->v[i]->id};
    struct err *e = held->n - n >= TOKENS_MAX ? full() : NULL;
    if (!e) {
        struct token *t = token_make(a, with_refresh, s->token_ms, &fresh);
        v[n++] = (struct token_change){t->id, t};
        if (used) {
            struct token *over = copy_of(used);
            over->refresh_ended_ms = now;
            v[n++] = (struct token_change){over->id, over};
        }
        log_info("token created", LOG_S("id", t->id), LOG_C("user", a->user.name));
        e = publish(s, c->arena, v, n);
    }
    if (!e)
        render_made(s, c, a, &fresh, with_refresh);
    secret_wipe(&fresh, sizeof fresh);
    counted_unref(&held->counted);
    return e;
}

/* The user's present record, a reference to whose realm is *held. NULL: gone, or disabled. */
static const struct account *account_now(struct security *s, struct str name, struct realm **held)
{
    *held = (struct realm *)cell_take(&s->realm);
    const struct account *a = realm_account(*held, name);
    return a && a->enabled ? a : NULL;
}

static struct err *make_for(struct security *s, struct security_call *c, struct str name,
                            bool with_refresh, const struct token *used)
{
    struct realm *held;
    struct err *e = NULL;
    const struct account *a = account_now(s, name, &held);
    if (a)
        e = make_one(s, c, a, with_refresh, used);
    else
        oauth_error(c, "invalid_grant", "the user is not there any more");
    counted_unref(&held->counted);
    return e;
}

/* `writing` is held. */
static struct err *renew(struct security *s, struct security_call *c, struct str text)
{
    int64_t now = clock_wall_ms();
    struct err *e = NULL;
    struct tokens *held = (struct tokens *)cell_take(&s->tokens);
    const struct token *t = tokens_find(held, text);
    if (!t || !token_is_refresh(t, text))
        oauth_error(c, "invalid_grant", "could not refresh the requested token");
    else if (t->refresh_ended_ms)
        oauth_error(c, "invalid_grant", "token has already been refreshed or was invalidated");
    else if (token_refresh_until(t) <= now)
        oauth_error(c, "invalid_grant", "refresh token is expired");
    else
        e = make_for(s, c, t->username, true, t);
    counted_unref(&held->counted);
    return e;
}

struct err *token_create(struct security *s, struct security_call *c)
{
    struct str grant, refresh;
    TRY(text_member(c->body, "grant_type", &grant));
    TRY(text_member(c->body, "refresh_token", &refresh));
    bool by_refresh = str_eq(grant, STR("refresh_token"));
    if (!by_refresh && c->user->key)
        return err_new(ERR_ARGUMENT, "an API key cannot be exchanged for a token");
    if (!by_refresh && c->user->token_name) /* a user may have the same name */
        return err_new(ERR_ARGUMENT, "OAuth2 token creation is not supported for service accounts");
    pthread_mutex_lock(&s->writing);
    struct err *e =
        by_refresh ? renew(s, c, refresh)
                   : make_for(s, c, str_c(c->user->name), str_eq(grant, STR("password")), NULL);
    pthread_mutex_unlock(&s->writing);
    return e;
}

struct err *token_unsupported(struct security *s, struct security_call *c)
{
    (void)s;
    oauth_error(c, "unsupported_grant_type",
                "grant_type only supports the values: [password, refresh_token, "
                "client_credentials]");
    return NULL;
}

/* --- ending --- */

struct ending {
    struct str access, refresh, realm, username; /* p NULL: not said */
    size_t n_ended, n_before;
    bool found;
};

static struct err *read_ending(const struct json *body, struct ending *x)
{
    static const char *const members[] = {"token", "refresh_token", "realm_name", "username", NULL};
    TRY(only_members(body, "invalidate_token", members));
    TRY(text_member(body, "token", &x->access));
    TRY(text_member(body, "refresh_token", &x->refresh));
    TRY(text_member(body, "realm_name", &x->realm));
    TRY(text_member(body, "username", &x->username));
    if (!x->access.p && !x->refresh.p && !x->realm.p && !x->username.p)
        return invalid("One of [token, refresh_token] or [realm_name, username] must be specified");
    if ((x->access.p && x->refresh.p) ||
        ((x->access.p || x->refresh.p) && (x->realm.p || x->username.p)))
        return invalid("only one of [token, refresh_token] may be specified, and neither "
                       "[realm_name] nor [username] with it");
    return NULL;
}

static bool by_owner(const struct ending *x, const struct token *t)
{
    return (x->realm.p || x->username.p) && (!x->realm.p || str_eq(x->realm, t->realm)) &&
           (!x->username.p || str_eq(x->username, t->username));
}

static void end_part(struct ending *x, int64_t *ended_ms, int64_t now_ms)
{
    x->found = true;
    if (*ended_ms) {
        x->n_before++;
        return;
    }
    *ended_ms = now_ms;
    x->n_ended++;
}

/* NULL: nothing of it ends. */
static struct token *end_one(struct ending *x, const struct token *t, int64_t now_ms)
{
    bool owner = by_owner(x, t);
    bool access = owner || (x->access.p && x->access.n == TOKEN_CHARS &&
                            str_eq(str_sub(x->access, 0, TOKEN_ID_CHARS), t->id) &&
                            token_is_access(t, x->access));
    bool refresh =
        t->has_refresh && (owner || (x->refresh.p && x->refresh.n == TOKEN_CHARS &&
                                     str_eq(str_sub(x->refresh, 0, TOKEN_ID_CHARS), t->id) &&
                                     token_is_refresh(t, x->refresh)));
    if (!access && !refresh)
        return NULL;
    size_t before = x->n_ended;
    struct token *next = copy_of(t);
    if (access)
        end_part(x, &next->ended_ms, now_ms);
    if (refresh)
        end_part(x, &next->refresh_ended_ms, now_ms);
    if (x->n_ended > before)
        return next;
    token_unref(next);
    return NULL;
}

/* `writing` is held. */
static struct err *end_all(struct security *s, struct arena *arena, struct ending *x)
{
    struct tokens *held = (struct tokens *)cell_take(&s->tokens);
    struct token_change *v = arena_array(arena, held->n + 1, sizeof *v);
    size_t n = 0;
    int64_t now = clock_wall_ms();
    for (size_t i = 0; i < held->n; i++) {
        struct token *next = end_one(x, held->v[i], now);
        if (next)
            v[n++] = (struct token_change){next->id, next};
    }
    struct err *e = publish(s, arena, v, n);
    counted_unref(&held->counted);
    return e;
}

struct err *tokens_end_of(struct security *s, struct arena *arena, struct str username)
{
    struct ending x = {.username = username};
    return end_all(s, arena, &x);
}

struct err *token_invalidate(struct security *s, struct security_call *c)
{
    struct ending x = {0};
    TRY(read_ending(c->body, &x));
    pthread_mutex_lock(&s->writing);
    struct err *e = end_all(s, c->arena, &x);
    pthread_mutex_unlock(&s->writing);
    TRY(e);
    log_info("tokens invalidated", LOG_I("n", x.n_ended), LOG_C("by", c->user->name));
    json_obj(c->out);
    json_key_i64(c->out, "invalidated_tokens", (int64_t)x.n_ended);
    json_key_i64(c->out, "previously_invalidated_tokens", (int64_t)x.n_before);
    json_key_i64(c->out, "error_count", 0);
    json_end(c->out);
    c->status = x.found ? 200 : 404;
    return NULL;
}
