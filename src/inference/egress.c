#include "egress.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "bug.h"
#include "provider.h"
#include "shape.h" /* request_header: which headers may be set is one rule */

#define MAX_PEM_BYTES    (256u << 10)
#define MAX_PROXY_BYTES  300
#define MAX_HEADERS      32
#define MAX_HEADER_BYTES 4096

static void wrong(struct err_list *list, const char *what)
{
    err_list_add(list, "[egress] Invalid value. %s", what);
}

/* A text member that is not empty; absent and null: false. */
static bool text_member(struct err_list *list, const struct json *object, const char *member,
                        struct str *out)
{
    const struct json *v = json_get(object, member);
    if (json_is_null(v))
        return false;
    if (json_str(v, out) && out->n)
        return true;
    err_list_add(list, "[egress] Invalid value. [%s] must be a text that is not empty", member);
    return false;
}

/* --- the proxy --- */

static bool is_host(struct str host)
{
    for (size_t i = 0; i < host.n; i++) {
        char c = host.p[i];
        bool alphanumeric =
            (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alphanumeric && !memchr(".-_[]:", c, 6))
            return false;
    }
    return host.n > 0;
}

/* "http://host:port" without more: credentials in it would be shown by GET. */
static bool proxy_ok(struct str url)
{
    struct str scheme = STR("http://");
    int64_t port;
    if (url.n > MAX_PROXY_BYTES || url.n < scheme.n ||
        !str_eq_nocase(str_sub(url, 0, scheme.n), scheme))
        return false;
    size_t colon = url.n;
    while (colon > scheme.n && url.p[colon - 1] != ':')
        colon--;
    return colon > scheme.n && is_host(str_sub(url, scheme.n, colon - 1 - scheme.n)) &&
           str_to_i64(str_sub(url, colon, url.n), &port) && port > 0 && port < 65536;
}

static void read_proxy(struct err_list *list, const struct json *object, struct arena *arena,
                       struct egress *eg)
{
    struct str url;
    if (!text_member(list, object, "proxy", &url))
        return;
    if (url.p[url.n - 1] == '/')
        url.n--;
    if (proxy_ok(url))
        eg->client.proxy = arena_cstr(arena, url);
    else
        wrong(list, "[proxy] must be of the form [http://host:port], without credentials");
}

/* --- headers --- */

static bool value_ok(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return s.n <= MAX_HEADER_BYTES;
}

static struct err *add_header(struct egress *eg, struct arena *arena, const struct json *v)
{
    struct str value;
    struct http_out out = {.arena = arena, .headers = eg->headers};
    if (!json_str(v, &value) || !value_ok(value))
        return err_new(ERR_ARGUMENT, "[headers] the header [%.*s] must be one line of text",
                       STR_ARG(str_sub(v->key, 0, 200)));
    TRY(request_header(&out, v->key, value, "egress"));
    eg->headers = out.headers;
    return NULL;
}

static void read_headers(struct err_list *list, const struct json *object, struct arena *arena,
                         struct egress *eg)
{
    const struct json *headers = json_get(object, "headers");
    if (json_is_null(headers))
        return;
    if (!json_is(headers, JSON_OBJECT) || headers->n > MAX_HEADERS) {
        err_list_add(list,
                     "[egress] Invalid value. [headers] must be an object of at most [%d] "
                     "texts",
                     MAX_HEADERS);
        return;
    }
    struct json_iter it = json_iter(headers);
    for (const struct json *v; (v = json_next(&it));) {
        struct err *e = add_header(eg, arena, v);
        if (e)
            err_list_add(list, "[egress] Invalid value. %s", e->reason);
        err_free(e);
    }
}

/* --- certificates --- */

/* PEM may be encrypted, and libcrypto would ask the terminal. */
static int no_password(char *buf, int size, int writing, void *arg)
{
    return -1;
}

static BIO *bio_of(struct str pem)
{
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    BUG_ON(!bio);
    return bio;
}

/* The first certificate; NULL: there is none, or another cannot be read. */
static X509 *read_certificates(struct str pem)
{
    if (pem.n > MAX_PEM_BYTES)
        return NULL;
    BIO *bio = bio_of(pem);
    X509 *first = PEM_read_bio_X509(bio, NULL, no_password, NULL);
    for (X509 *next = first; next;) {
        ERR_clear_error();
        next = PEM_read_bio_X509(bio, NULL, no_password, NULL);
        X509_free(next);
    }
    bool ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    BIO_free(bio);
    ERR_clear_error();
    if (first && !ended) {
        X509_free(first);
        return NULL;
    }
    return first;
}

static EVP_PKEY *read_key(struct str pem)
{
    if (pem.n > MAX_PEM_BYTES)
        return NULL;
    BIO *bio = bio_of(pem);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    BIO_free(bio);
    ERR_clear_error();
    return key;
}

static void read_ca(struct err_list *list, const struct json *object, struct egress *eg)
{
    if (!text_member(list, object, "ca", &eg->client.ca))
        return;
    X509 *first = read_certificates(eg->client.ca);
    if (!first)
        wrong(list, "[ca] must be certificates in PEM");
    X509_free(first);
}

static void read_client(struct err_list *list, const struct json *object, struct str key_pem,
                        struct egress *eg)
{
    if (!text_member(list, object, "client_certificate", &eg->client.certificate))
        return;
    X509 *certificate = read_certificates(eg->client.certificate);
    EVP_PKEY *key = key_pem.n ? read_key(key_pem) : NULL;
    eg->client.key = key_pem;
    if (!certificate)
        wrong(list, "[client_certificate] must be certificates in PEM");
    else if (!key_pem.n)
        wrong(list, "[client_certificate] needs the setting [egress_client_key]");
    else if (!key)
        err_list_add(list, "[egress_client_key] Invalid value. It must be a private key in PEM "
                           "without a password");
    else if (X509_check_private_key(certificate, key) != 1)
        err_list_add(list, "[egress_client_key] Invalid value. It is not the key of "
                           "[client_certificate]");
    ERR_clear_error();
    X509_free(certificate);
    EVP_PKEY_free(key);
}

/* --- the whole --- */

static void unknown_members(struct err_list *list, const struct json *object)
{
    static const char *const known[] = {"proxy", "headers", "ca", "client_certificate", NULL};
    struct json_iter it = json_iter(object);
    for (const struct json *v; (v = json_next(&it));) {
        const char *const *k = known;
        while (*k && !str_eq_c(v->key, *k))
            k++;
        if (str_eq_c(v->key, "client_key"))
            err_list_add(list, "[egress] does not allow the setting [client_key]: it is a secret, "
                               "and belongs into [egress_client_key]");
        else if (!*k)
            err_list_add(list, "[egress] does not allow the setting [%.*s]", STR_ARG(v->key));
    }
}

const struct egress *egress_read(struct err_list *list, const struct endpoint *ep)
{
    const struct value *v = settings_get(&ep->values, "egress");
    const struct value *key = settings_get(&ep->values, "egress_client_key");
    if (!v || !v->set || v->json->n == 0)
        return NULL;
    if (ep->provider->local) {
        wrong(list, "Models of our own send nothing");
        return NULL;
    }
    int before = list->n;
    struct egress *eg = arena_alloc(ep->arena, sizeof *eg);
    unknown_members(list, v->json);
    read_proxy(list, v->json, ep->arena, eg);
    read_headers(list, v->json, ep->arena, eg);
    read_ca(list, v->json, eg);
    read_client(list, v->json, key && key->set ? secret_reveal(key->secret) : (struct str){0}, eg);
    return list->n == before ? eg : NULL;
}
