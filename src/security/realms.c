/* realms: calls of the security API that are about realms which only a configuration could make:
 * SAML, OpenID Connect, PKI; and enrollment, which is for clusters. They are answered as
 * Elasticsearch answers on a node that has none of them. Source: Elasticsearch 9.1, the API's pages
 * and its answers. */
#include "private.h"
#include "token.h"

/* A body of texts, and of arrays that nobody looks into here. */
static struct err *read_texts(const struct security_call *c, const char *parser,
                              const char *const *names)
{
    struct str s;
    TRY(only_members(c->body, parser, names));
    for (; *names; names++) {
        const struct json *v = json_get(c->body, *names);
        if (!json_is_null(v) && !json_is(v, JSON_ARRAY) && !json_str(v, &s))
            return err_new(ERR_X_CONTENT, "[%s] %s doesn't support values of this type", parser,
                           *names);
    }
    return NULL;
}

static struct str text_or(const struct security_call *c, const char *name, const char *other)
{
    struct str s = {0};
    return json_str(json_get(c->body, name), &s) ? s : str_c(other);
}

static struct err *required(const struct security_call *c, const char *name)
{
    if (!json_is_null(json_get(c->body, name)))
        return NULL;
    return err_new(ERR_ARGUMENT, "Required [%s]", name);
}

/* Elasticsearch answers with the status of a fault. */
static struct err *no_realm(struct err *e)
{
    e->status = 500;
    return e;
}

static struct err *challenged(struct err *e)
{
    e->challenge = true;
    return e;
}

/* Whose access token that is; which realm he is of. */
static struct err *realm_of_token(struct security *s, struct security_call *c, struct str text,
                                  struct str *realm_out)
{
    struct tokens *now = (struct tokens *)cell_take(&s->tokens);
    const struct token *t = tokens_find(now, text);
    bool good = t && token_is_access(t, text) && !t->ended_ms;
    if (good)
        *realm_out = arena_dup(c->arena, t->realm);
    counted_unref(&now->counted);
    return good ? NULL : challenged(err_new(ERR_SECURITY, "token malformed"));
}

/* --- SAML --- */

struct err *saml_prepare(struct security *s, struct security_call *c)
{
    static const char *const names[] = {"acs", "realm", "relay_state", NULL};
    (void)s;
    TRY(read_texts(c, "saml_prepare_authn", names));
    return no_realm(err_new(ERR_SECURITY,
                            "Cannot find any matching realm for "
                            "[SamlPrepareAuthenticationRequest{realmName=%.*s, "
                            "assertionConsumerServiceURL=%.*s}]",
                            STR_ARG(text_or(c, "realm", "null")),
                            STR_ARG(text_or(c, "acs", "null"))));
}

/* The content of a response that no realm can check. */
struct err *saml_authenticate(struct security *s, struct security_call *c)
{
    static const char *const names[] = {"content", "ids", "realm", NULL};
    (void)s;
    TRY(read_texts(c, "saml_authenticate", names));
    TRY(required(c, "content"));
    return challenged(err_new(ERR_SECURITY,
                              "unable to authenticate user [<unauthenticated-saml-user>] for "
                              "action [cluster:admin/xpack/security/saml/authenticate]"));
}

struct err *saml_logout(struct security *s, struct security_call *c)
{
    static const char *const names[] = {"token", "refresh_token", NULL};
    struct str realm = {0};
    TRY(read_texts(c, "saml_logout", names));
    if (!text_or(c, "token", "").n)
        return invalid("token is missing");
    TRY(realm_of_token(s, c, text_or(c, "token", ""), &realm));
    return no_realm(
        err_new(ERR_SECURITY, "Authenticating realm %.*s is not a SAML realm", STR_ARG(realm)));
}

struct err *saml_invalidate(struct security *s, struct security_call *c)
{
    static const char *const names[] = {"query_string", "queryString", "realm", "acs", NULL};
    (void)s;
    TRY(read_texts(c, "saml_invalidate_session", names));
    if (!text_or(c, "query_string", "").n && !text_or(c, "queryString", "").n)
        return invalid("query_string is missing");
    return no_realm(err_new(ERR_SECURITY,
                            "Cannot find any matching realm for "
                            "[SamlInvalidateSessionRequest{realmName='%.*s', "
                            "assertionConsumerServiceURL='%.*s'}]",
                            STR_ARG(text_or(c, "realm", "null")),
                            STR_ARG(text_or(c, "acs", "null"))));
}

struct err *saml_complete_logout(struct security *s, struct security_call *c)
{
    static const char *const names[] = {"ids",     "query_string", "queryString",
                                        "content", "realm",        NULL};
    (void)s;
    TRY(read_texts(c, "saml_complete_logout", names));
    TRY(required(c, "realm"));
    return no_realm(err_new(ERR_SECURITY, "Cannot find any matching realm with name [%.*s]",
                            STR_ARG(text_or(c, "realm", ""))));
}

struct err *saml_metadata(struct security *s, struct security_call *c)
{
    (void)s;
    return no_realm(
        err_new(ERR_SECURITY, "Cannot find any matching realm for [%.*s]", STR_ARG(c->name)));
}

/* --- OpenID Connect --- */

struct err *oidc_prepare(struct security *s, struct security_call *c)
{
    static const char *const names[] = {"realm", "iss", "login_hint", "state", "nonce", NULL};
    (void)s;
    TRY(read_texts(c, "oidc_prepare_authentication", names));
    struct str realm = text_or(c, "realm", ""), issuer = text_or(c, "iss", "");
    if (!realm.n && !issuer.n)
        return invalid("one of [realm, issuer] must be provided");
    if (realm.n && issuer.n)
        return invalid("only one of [realm, issuer] can be provided in the same request");
    if (issuer.n)
        return no_realm(err_new(ERR_SECURITY, "Cannot find OpenID Connect realm with issuer [%.*s]",
                                STR_ARG(issuer)));
    return no_realm(
        err_new(ERR_SECURITY, "Cannot find OpenID Connect realm with name [%.*s]", STR_ARG(realm)));
}

struct err *oidc_authenticate(struct security *s, struct security_call *c)
{
    static const char *const names[] = {"redirect_uri", "state", "nonce", "realm", NULL};
    struct err_list list = {0};
    (void)s;
    TRY(read_texts(c, "oidc_authn", names));
    for (int i = 1; i < 3; i++)
        if (!text_or(c, names[i], "").n)
            err_list_add(&list, "%s parameter is missing", names[i]);
    if (!text_or(c, "redirect_uri", "").n)
        err_list_add(&list, "redirect_uri parameter is missing");
    TRY(err_list_end(&list, ERR_REQUEST));
    return challenged(err_new(ERR_SECURITY, "unable to authenticate user [<OIDC Token>] for action "
                                            "[cluster:admin/xpack/security/oidc/authenticate]"));
}

struct err *oidc_logout(struct security *s, struct security_call *c)
{
    static const char *const names[] = {"token", "refresh_token", "access_token", NULL};
    struct str realm = {0};
    TRY(read_texts(c, "oidc_logout", names));
    struct str token = text_or(c, "token", "");
    if (!token.n)
        token = text_or(c, "access_token", "");
    if (!token.n)
        return invalid("token is missing");
    TRY(realm_of_token(s, c, token, &realm));
    return err_new(ERR_ARGUMENT, "Access token is not valid for an OpenID Connect realm");
}

/* --- PKI and enrollment --- */

struct err *delegate_pki(struct security *s, struct security_call *c)
{
    static const char *const names[] = {"x509_certificate_chain", NULL};
    const struct json *chain = json_get(c->body, "x509_certificate_chain");
    struct str one;
    (void)s;
    TRY(only_members(c->body, "delegate_pki_request", names));
    if (!json_is(chain, JSON_ARRAY) || !chain->n)
        return invalid("certificates chain must not be empty");
    struct json_iter it = json_iter(chain);
    for (const struct json *v; (v = json_next(&it));)
        if (!json_str(v, &one))
            return err_new(ERR_X_CONTENT, "[delegate_pki_request] failed to parse field "
                                          "[x509_certificate_chain]");
    return challenged(err_new(ERR_SECURITY,
                              "unable to authenticate with provided credentials and anonymous "
                              "access is not allowed for action "
                              "[cluster:admin/xpack/security/delegate_pki]"));
}

struct err *enroll(struct security *s, struct security_call *c)
{
    (void)s;
    (void)c;
    return err_new(ERR_FORBIDDEN, "Enrollment mode is not enabled. Set "
                                  "[xpack.security.enrollment.enabled] to true, in order to use "
                                  "this API.");
}
