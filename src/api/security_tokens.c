/* security_tokens: what is made in the name of somebody whose password or token comes in the body:
 * access tokens, profiles, and API keys for others. He is authenticated first, here on the loop, as
 * a caller is; then the work is done in his name. Source: shared facts, security.md 9 and 12. */
#include "reply.h"
#include "secret.h"
#include "security_api.h"

struct grant {
    struct request *request;
    security_op *op;
    const struct json *body; /* what the work is about */
};

static void authenticated(void *ctx, const struct user *user, struct err *e)
{
    struct grant *g = ctx;
    struct request *r = g->request;
    if (!request_back(r)) {
        err_free(e);
        user_unref(user);
        return;
    }
    if (e) {
        reply_err(r, e);
        return;
    }
    /* It is done in his name, and it is the caller's doing: the audit log says so. */
    security_work_as(r, g->op, user, g->body);
    user_unref(user);
}

static void grant_start(struct request *r, security_op *op, const struct json *body,
                        struct str name, struct str password, struct str bearer)
{
    struct grant *g = arena_alloc(r->arena, sizeof *g);
    *g = (struct grant){.request = r, .op = op, .body = body};
    struct security *s = r->api->parts.security;
    request_hold(r);
    if (!bearer.p) {
        security_authenticate_password(s, r->http->loop, name, password, r->http->target,
                                       authenticated, g);
        return;
    }
    struct buf header;
    buf_init(&header, sizeof "Bearer " + bearer.n);
    buf_printf(&header, "Bearer %.*s", STR_ARG(bearer));
    security_authenticate(s, r->http->loop, buf_str(&header), r->http->target, authenticated, g);
    secret_wipe(header.p, header.n); /* which is not looked at after the call */
    buf_deinit(&header);
}

static struct err *missing(const char *name)
{
    return err_new(ERR_REQUEST, "Validation Failed: 1: %s is missing;", name);
}

/* --- tokens --- */

static struct err *unexpected(const struct json *body, const char *parser, const char *const *names)
{
    struct json_iter it = json_iter(body);
    for (const struct json *m; (m = json_next(&it));) {
        bool known = false;
        for (const char *const *name = names; *name; name++)
            known = known || str_eq_c(m->key, *name);
        if (!known)
            return err_new(ERR_X_CONTENT, "[%s] unknown field [%.*s]", parser, STR_ARG(m->key));
    }
    return NULL;
}

static struct err *token_begin(struct request *r)
{
    static const char *const names[] = {
        "grant_type", "username", "password", "refresh_token", "scope", "kerberos_ticket", NULL};
    struct str grant = {0}, name = {0}, password = {0}, refresh = {0}, none = {0};
    TRY(unexpected(r->body, "token_request", names));
    json_str(json_get(r->body, "grant_type"), &grant);
    json_str(json_get(r->body, "username"), &name);
    json_str(json_get(r->body, "password"), &password);
    json_str(json_get(r->body, "refresh_token"), &refresh);
    if (!grant.p)
        return missing("grant_type");
    if (str_eq(grant, STR("password"))) {
        if (!name.n || !password.n)
            return missing(name.n ? "password" : "username");
        if (refresh.p)
            return err_new(ERR_REQUEST, "Validation Failed: 1: refresh_token is not supported with "
                                        "the password grant_type;");
        grant_start(r, token_create, r->body, name, password, none);
    } else if (str_eq(grant, STR("client_credentials"))) {
        security_work(r, token_create);
    } else if (str_eq(grant, STR("refresh_token"))) {
        if (!refresh.n)
            return missing("refresh_token");
        security_work(r, token_create);
    } else {
        security_work(r, token_unsupported);
    }
    return NULL;
}

void post_token(struct request *r)
{
    struct err *e = token_begin(r);
    if (e)
        reply_err(r, e);
}

void delete_token(struct request *r)
{
    security_work(r, token_invalidate);
}

/* --- API keys for others --- */

static struct err *grant_begin(struct request *r)
{
    struct str grant = {0}, name = {0}, password = {0}, token = {0};
    const struct json *key = json_get(r->body, "api_key");
    json_str(json_get(r->body, "grant_type"), &grant);
    json_str(json_get(r->body, "username"), &name);
    json_str(json_get(r->body, "password"), &password);
    json_str(json_get(r->body, "access_token"), &token);
    if (!json_is(key, JSON_OBJECT))
        return missing("api_key");
    if (!grant.p)
        return missing("grant_type");
    if (!json_is_null(json_get(r->body, "run_as")))
        return err_new(ERR_ARGUMENT, "[run_as] cannot be used here: let the user grant it himself");
    if (str_eq(grant, STR("password"))) {
        if (!name.n || !password.n)
            return missing(name.n ? "password" : "username");
        token = (struct str){0};
    } else if (str_eq(grant, STR("access_token"))) {
        if (!token.n)
            return missing("access_token");
    } else {
        return err_new(ERR_REQUEST, "Validation Failed: 1: invalid grant_type [%.*s];",
                       STR_ARG(grant));
    }
    grant_start(r, api_key_create, key, name, password, token);
    return NULL;
}

void grant_api_key(struct request *r)
{
    struct err *e = grant_begin(r);
    if (e)
        reply_err(r, e);
}

/* --- profiles --- */

struct grant_fields {
    struct str type, name, password, token;
};

/* One field that this kind of grant needs, or does not take. */
static void check_field(struct err_list *list, const char *field, struct str value, bool wanted,
                        struct str type)
{
    if (wanted && !value.n)
        err_list_add(list, "[%s] is required for grant_type [%.*s]", field, STR_ARG(type));
    if (!wanted && value.p)
        err_list_add(list, "[%s] is not supported for grant_type [%.*s]", field, STR_ARG(type));
}

static struct err *read_grant(const struct json *body, struct grant_fields *g)
{
    static const char *const names[] = {"grant_type", "username", "password", "access_token", NULL};
    struct err_list list = {0};
    *g = (struct grant_fields){0};
    TRY(unexpected(body, "activate_profile_request", names));
    json_str(json_get(body, "grant_type"), &g->type);
    json_str(json_get(body, "username"), &g->name);
    json_str(json_get(body, "password"), &g->password);
    json_str(json_get(body, "access_token"), &g->token);
    bool by_password = str_eq(g->type, STR("password"));
    if (!by_password && !str_eq(g->type, STR("access_token"))) {
        err_list_add(&list, "grant_type [%.*s] is not supported", STR_ARG(g->type));
        return err_list_end(&list, ERR_REQUEST);
    }
    check_field(&list, "username", g->name, by_password, g->type);
    check_field(&list, "password", g->password, by_password, g->type);
    check_field(&list, "access_token", g->token, !by_password, g->type);
    return err_list_end(&list, ERR_REQUEST);
}

void activate_profile(struct request *r)
{
    struct grant_fields g;
    struct err *e = read_grant(r->body, &g);
    if (e)
        reply_err(r, e);
    else
        grant_start(r, profile_activate, r->body, g.name, g.password, g.token);
}
