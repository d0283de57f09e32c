/* service_tokens: service accounts as resources, and their tokens made, listed and deleted.
 * Source: Elasticsearch 9.1, "Service accounts" and its API. */
#include <sodium.h>
#include <stdlib.h>

#include "bug.h"
#include "clock.h"
#include "log.h"
#include "private.h"
#include "secret.h"
#include "service.h"

static struct str account_name(const struct security_call *c)
{
    return arena_printf(c->arena, "%.*s/%.*s", STR_ARG(c->name), STR_ARG(c->part));
}

static struct str token_id(const struct security_call *c, struct str token)
{
    return arena_printf(c->arena, "%.*s/%.*s/%.*s", STR_ARG(c->name), STR_ARG(c->part),
                        STR_ARG(token));
}

/* --- accounts --- */

struct err *service_accounts_get(struct security *s, struct security_call *c)
{
    struct str prefix = c->name.p ? arena_printf(c->arena, "%.*s/", STR_ARG(c->name)) : STR("");
    struct str name = c->part.p ? account_name(c) : (struct str){0};
    json_obj(c->out);
    for (size_t i = 0; i < s->services.n; i++) {
        const struct service *v = &s->services.v[i];
        struct str own = str_c(v->account.user.name);
        if (!str_starts(own, prefix) || (name.p && !str_eq(own, name)))
            continue;
        json_key_s(c->out, own);
        json_obj(c->out);
        json_key_raw(c->out, "role_descriptor", v->role->text);
        json_end(c->out);
    }
    json_end(c->out);
    return NULL;
}

/* --- changing the table; `writing` is held --- */

/* The present table without the one of that id, and with `added` (taken; NULL: none). */
static void swap_table(struct security *s, struct str id, struct service_token *added)
{
    struct service_tokens *old = (struct service_tokens *)cell_take(&s->service_tokens);
    struct service_tokens *next = service_tokens_new(old->n + 1);
    for (size_t i = 0; i < old->n; i++) {
        if (str_eq(old->v[i]->id, id))
            continue;
        counted_ref(&old->v[i]->counted);
        service_tokens_add(next, old->v[i]);
    }
    if (added)
        service_tokens_add(next, added);
    service_tokens_sort(next);
    counted_unref(&old->counted);
    cell_swap(&s->service_tokens, &next->counted);
}

static struct err *store_token(struct security *s, const struct service_token *t,
                               struct service_token **read_out)
{
    struct buf body;
    buf_init(&body, 8192);
    service_token_render(t, &body);
    struct doc d = {.id = t->id, .body = buf_str(&body)};
    struct err *e = body.full ? err_new(ERR_TOO_LARGE, "the service token is too large") : NULL;
    if (!e)
        e = service_token_read(&s->services, &d, read_out);
    if (!e)
        e = store_put(s->store, STORE_SERVICE_TOKEN, t->id, d.body, 0, NULL);
    buf_deinit(&body);
    return e;
}

static struct err *exists(struct str id)
{
    return err_new(ERR_CONFLICT,
                   "[service_account_token-%.*s]: version conflict, document already exists "
                   "(current version [1])",
                   STR_ARG(id));
}

static struct err *add(struct security *s, const struct service_token *t)
{
    struct service_token *kept = NULL;
    struct service_tokens *now = (struct service_tokens *)cell_take(&s->service_tokens);
    struct err *e = NULL;
    if (service_tokens_find(now, t->id)) {
        e = exists(t->id);
    } else if (now->n >= SERVICE_TOKENS_MAX) {
        e = err_new(ERR_TOO_MANY, "there are [%d] service tokens already", SERVICE_TOKENS_MAX);
    } else {
        e = store_token(s, t, &kept);
    }
    counted_unref(&now->counted);
    if (e)
        service_token_unref(kept);
    else
        swap_table(s, t->id, kept);
    return e;
}

/* --- create --- */

#define SECRET_BYTES 16
#define SECRET_CHARS 22

static struct err *read_name(struct security_call *c, struct str *out)
{
    char made[32];
    *out = c->token;
    if (!c->token.p) {
        random_text(made, sizeof made, KEY_ID_BYTES);
        *out = arena_printf(c->arena, "token_%s", made);
    }
    if (service_name_ok(*out))
        return NULL;
    return invalid("service account token name must have at least 1 character and at most %d "
                   "characters that are alphanumeric (A-Z, a-z, 0-9) or hyphen (-) or underscore "
                   "(_). It must not begin with an underscore (_).",
                   SERVICE_NAME_MAX);
}

/* The token as it is told, once. */
static void render_made(struct security_call *c, const struct service_token *t, const char *secret)
{
    size_t n = 4 + t->id.n + 1 + SECRET_CHARS;
    size_t room = sodium_base64_encoded_len(n, sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
    char *bytes = arena_alloc(c->arena, n + 1), *text = arena_alloc(c->arena, room);
    bytes[1] = bytes[3] = 1;
    memcpy(bytes + 4, t->id.p, t->id.n);
    bytes[4 + t->id.n] = ':';
    memcpy(bytes + 4 + t->id.n + 1, secret, SECRET_CHARS);
    sodium_bin2base64(text, room, (unsigned char *)bytes, n,
                      sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
    json_obj(c->out);
    json_key_bool(c->out, "created", true);
    json_key(c->out, "token");
    json_obj(c->out);
    json_key_str(c->out, "name", t->name);
    json_key_cstr(c->out, "value", text);
    json_end(c->out);
    json_end(c->out);
    secret_wipe(bytes, n);
    secret_wipe(text, room);
}

struct err *service_token_create(struct security *s, struct security_call *c)
{
    char secret[SECRET_CHARS + 1];
    struct service_token t = {.creator = str_c(c->user->name), .created_ms = clock_wall_ms()};
    TRY(read_name(c, &t.name));
    if (!services_find(&s->services, account_name(c)))
        return err_new(ERR_ARGUMENT, "service account [%.*s/%.*s] does not exist", STR_ARG(c->name),
                       STR_ARG(c->part));
    t.id = token_id(c, t.name);
    random_text(secret, sizeof secret, SECRET_BYTES);
    key_hash(t.id, str_c(secret), t.hash);
    pthread_mutex_lock(&s->writing);
    struct err *e = add(s, &t);
    pthread_mutex_unlock(&s->writing);
    if (!e) {
        log_info("service token created", LOG_S("token", t.id), LOG_C("by", c->user->name));
        render_made(c, &t, secret);
    }
    secret_wipe(secret, sizeof secret);
    return e;
}

/* --- delete --- */

struct err *service_token_delete(struct security *s, struct security_call *c)
{
    struct str id = token_id(c, c->token);
    pthread_mutex_lock(&s->writing);
    struct service_tokens *now = (struct service_tokens *)cell_take(&s->service_tokens);
    bool found = service_tokens_find(now, id) != NULL;
    counted_unref(&now->counted);
    struct err *e = found ? store_drop(s->store, STORE_SERVICE_TOKEN, id, STORE_ANY_REV) : NULL;
    if (found && !e)
        swap_table(s, id, NULL);
    pthread_mutex_unlock(&s->writing);
    TRY(e);
    if (found)
        log_info("service token deleted", LOG_S("token", id), LOG_C("by", c->user->name));
    json_obj(c->out);
    json_key_bool(c->out, "found", found);
    json_end(c->out);
    c->status = found ? 200 : 404;
    return NULL;
}

/* --- list --- */

struct err *service_credentials_get(struct security *s, struct security_call *c)
{
    struct str name = account_name(c), prefix = token_id(c, STR(""));
    struct service_tokens *now = (struct service_tokens *)cell_take(&s->service_tokens);
    int64_t count = 0;
    for (size_t i = 0; i < now->n; i++)
        count += str_starts(now->v[i]->id, prefix);
    json_obj(c->out);
    json_key_str(c->out, "service_account", name);
    json_key_i64(c->out, "count", count);
    json_key(c->out, "tokens");
    json_obj(c->out);
    for (size_t i = 0; i < now->n; i++) {
        if (str_starts(now->v[i]->id, prefix)) {
            json_key_s(c->out, now->v[i]->name);
            json_put_raw(c->out, STR("{}"));
        }
    }
    json_end(c->out);
    json_key_raw(
        c->out, "nodes_credentials",
        STR("{\"_nodes\":{\"total\":1,\"successful\":1,\"failed\":0},\"file_tokens\":{}}"));
    json_end(c->out);
    counted_unref(&now->counted);
    return NULL;
}
