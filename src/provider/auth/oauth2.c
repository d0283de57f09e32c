#include "oauth2.h"

#include <openssl/evp.h>

#include "bearer.h"
#include "bug.h"
#include "json.h"

struct str oauth2_setting(const struct endpoint *ep, const char *name)
{
    int i = settings_find(ep->values.table, name);
    if (i < 0 || !ep->values.v[i].set)
        return (struct str){0};
    const struct value *v = &ep->values.v[i];
    return ep->values.table->rows[i].place == IN_SECRET ? secret_reveal(v->secret) : v->s;
}

static const struct json *scopes_of(const struct endpoint *ep)
{
    const struct value *v = settings_get(&ep->values, "scopes");
    return v && v->set ? v->json : NULL;
}

/* --- the settings --- */

struct check {
    struct err_list problems;
    char missing[64]; /* "client_id, scopes" */
    size_t n;
};

static void note_missing(struct check *c, const char *name)
{
    int n = snprintf(c->missing + c->n, sizeof c->missing - c->n, "%s%s", c->n ? ", " : "", name);
    BUG_ON(n < 0 || (size_t)n >= sizeof c->missing - c->n);
    c->n += (size_t)n;
}

/* Texts: Elasticsearch 9.4 and 9.5. */
struct err *oauth2_check(const struct endpoint *ep, const char *label, const char *server)
{
    struct check c = {0};
    bool id = oauth2_setting(ep, "client_id").p, scopes = scopes_of(ep);
    bool at = oauth2_setting(ep, server).p, secret = oauth2_setting(ep, "client_secret").p;
    if (!id && !scopes && !at) {
        if (secret)
            err_list_add(&c.problems,
                         "OAuth2 requires the fields [client_id, scopes, %s], to be "
                         "set.",
                         server);
        return err_list_end(&c.problems, ERR_VALIDATION);
    }
    if (!id)
        note_missing(&c, "client_id");
    if (!scopes)
        note_missing(&c, "scopes");
    if (c.n && (id || scopes))
        err_list_add(&c.problems,
                     "[service_settings] OAuth2 fields [client_id, scopes] must be "
                     "provided together; missing: [%s]",
                     c.missing);
    else if (c.n || !at)
        err_list_add(&c.problems,
                     "[service_settings] all %s OAuth2 fields must be provided "
                     "together; missing: [%s]",
                     label, at ? c.missing : server);
    return err_list_end(&c.problems, ERR_VALIDATION);
}

/* --- the exchange --- */

void oauth2_key(const struct endpoint *ep, struct buf *out)
{
    static const char *const names[] = {"client_id", "client_secret", "tenant_id", "token_url"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        buf_put(out, oauth2_setting(ep, names[i]));
        buf_char(out, '\0');
    }
    buf_put(out, json_raw(scopes_of(ep)));
}

static void form_add(struct buf *form, struct arena *arena, const char *name, struct str value)
{
    struct str text = http_escape(arena, value, false);
    buf_printf(form, "&%s=%.*s", name, STR_ARG(text));
}

static struct str scope_words(const struct endpoint *ep, struct arena *arena)
{
    struct str all = {0};
    struct json_iter it = json_iter(scopes_of(ep));
    for (const struct json *v; (v = json_next(&it));)
        all = arena_printf(arena, "%.*s%s%.*s", STR_ARG(all), all.n ? " " : "", STR_ARG(v->text));
    return all;
}

static void add_basic(struct http_out *out, struct str id, struct str secret)
{
    struct str pair =
        arena_printf(out->arena, "%.*s:%.*s", STR_ARG(http_escape(out->arena, id, false)),
                     STR_ARG(http_escape(out->arena, secret, false)));
    char *text = arena_alloc(out->arena, 4 * ((pair.n + 2) / 3) + 1);
    int n = EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)pair.p, (int)pair.n);
    http_header_addf(&out->headers, out->arena, STR("Authorization"), "Basic %.*s", n, text);
}

void oauth2_ask(const struct endpoint *ep, struct str url, bool basic, struct http_out *out)
{
    struct str id = oauth2_setting(ep, "client_id"), secret = oauth2_setting(ep, "client_secret");
    struct str scope = scope_words(ep, out->arena);
    struct buf form;
    out->method = HTTP_POST;
    out->url = url;
    http_header_add(&out->headers, STR("Content-Type"), STR("application/x-www-form-urlencoded"));
    http_header_add(&out->headers, STR("Accept"), STR("application/json"));
    buf_init(&form, SIZE_MAX);
    buf_cstr(&form, "grant_type=client_credentials");
    if (basic) {
        add_basic(out, id, secret);
    } else {
        form_add(&form, out->arena, "client_id", id);
        form_add(&form, out->arena, "client_secret", secret);
    }
    if (scope.n)
        form_add(&form, out->arena, "scope", scope);
    out->body = arena_dup(out->arena, buf_str(&form));
    secret_wipe(form.p, form.n);
    buf_deinit(&form);
}

/* {"error": "invalid_client", "error_description": "..."} of RFC 6749 5.2 */
static struct err *refusal(const struct endpoint *ep, const struct http_in *in)
{
    struct str code = {0}, description = {0};
    const struct json *root;
    struct err *bad = json_parse(in->arena, in->body, &root);
    if (!bad) {
        json_str(json_get(root, "error"), &code);
        json_str(json_get(root, "error_description"), &description);
    }
    err_free(bad);
    if (!code.n)
        code = arena_printf(in->arena, "status %d", in->status);
    return err_new(in->status >= 500 ? ERR_IO : ERR_INTERNAL,
                   "Failed to retrieve access token for request for inference id [%.*s]: [%.*s]"
                   "%s%.*s",
                   STR_ARG(ep->id), STR_ARG(str_sub(code, 0, 100)), description.n ? " " : "",
                   STR_ARG(str_sub(description, 0, 1000)));
}

struct err *oauth2_take(const struct endpoint *ep, const struct http_in *in, int64_t now_s,
                        struct token *out)
{
    if (in->status < 200 || in->status > 299)
        return refusal(ep, in);
    const char *wrong = bearer_read(in, now_s, out);
    if (!wrong)
        return NULL;
    return err_new(ERR_INTERNAL,
                   "Failed to retrieve access token for request for inference id [%.*s]: cannot "
                   "read the answer: %s",
                   STR_ARG(ep->id), wrong);
}

struct err *oauth2_sign(const struct endpoint *ep, const struct token *token, int64_t now_s,
                        struct http_out *out)
{
    struct str ignored;
    if (http_header_get(&out->headers, STR("Authorization"), &ignored))
        return NULL;
    return bearer_sign(ep, token, now_s, out);
}

/* --- the scheme whose server is a setting --- */

static struct err *ask(const struct endpoint *ep, int64_t now_s, struct http_out *out)
{
    oauth2_ask(ep, oauth2_setting(ep, "token_url"), true, out);
    return NULL;
}

const struct auth oauth2_auth = {
    .key = oauth2_key, .ask = ask, .take = oauth2_take, .sign = oauth2_sign};
