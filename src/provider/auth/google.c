/* The key is read from its PEM text for every exchange, once an hour, rather than kept decoded.
 * Sizes are bounded first: a signature with an oversized key would hold up its loop. */
#include "google.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "bearer.h"
#include "bug.h"
#include "json.h"

#define SCOPE      "https://www.googleapis.com/auth/cloud-platform"
#define TOKEN_URI  "https://oauth2.googleapis.com/token"
#define LIFETIME_S 3600 /* the most that Google grants */
#define MAX_FILE   65536
#define MAX_KEY    4096 /* bytes of PEM; 4096 bits of RSA take 3272 */
#define MIN_BITS   1024
#define MAX_BITS   4096
#define MAX_MEMBER 2048
#define MAX_SAID   1000 /* of the answer's own words in an error */

/* Every failure on the way to a token is a 403, as in Elasticsearch. */
#define REFUSED 403

struct key_file {
    struct str email, key, key_id, token_uri;
};

static struct str file_text(const struct endpoint *ep)
{
    const struct value *v = settings_get(&ep->values, "service_account_json");
    return v && v->set ? secret_reveal(v->secret) : (struct str){0};
}

static void google_key(const struct endpoint *ep, struct buf *out)
{
    buf_cstr(out, SCOPE);
    buf_char(out, '\0');
    buf_put(out, file_text(ep));
}

/* --- the key file --- */

static struct err *bad_file(const char *why)
{
    return err_status(REFUSED, "[service_account_json] is not a service account key file: %s", why);
}

/* A member that goes into a claim or a URL: printable, and not endless. */
static bool plain_member(const struct json *file, const char *name, struct str *out)
{
    if (!json_str(json_get(file, name), out) || out->n == 0 || out->n > MAX_MEMBER)
        return false;
    for (size_t i = 0; i < out->n; i++) {
        if (out->p[i] <= ' ' || out->p[i] > '~')
            return false;
    }
    return true;
}

static bool is_web_address(struct str url)
{
    return str_starts(url, STR("https://")) || str_starts(url, STR("http://"));
}

static struct err *read_file(struct arena *arena, struct str text, struct key_file *out)
{
    const struct json *file;
    struct str type;
    if (text.n > MAX_FILE)
        return bad_file("it is too large");
    struct err *bad = json_parse(arena, text, &file);
    if (bad) { /* its text may quote the key */
        err_free(bad);
        return bad_file("it is not JSON");
    }
    if (!json_is(file, JSON_OBJECT))
        return bad_file("it is not an object");
    if (json_str(json_get(file, "type"), &type) && !str_eq(type, STR("service_account")))
        return bad_file("its [type] is not [service_account]");
    if (!plain_member(file, "client_email", &out->email))
        return bad_file("[client_email] is missing or malformed");
    if (!json_is_null(json_get(file, "private_key_id")) &&
        !plain_member(file, "private_key_id", &out->key_id))
        return bad_file("[private_key_id] is malformed");
    out->token_uri = STR(TOKEN_URI);
    if (!json_is_null(json_get(file, "token_uri")) &&
        (!plain_member(file, "token_uri", &out->token_uri) || !is_web_address(out->token_uri)))
        return bad_file("[token_uri] is not a web address");
    if (!json_str(json_get(file, "private_key"), &out->key) || out->key.n == 0)
        return bad_file("[private_key] is missing");
    return out->key.n > MAX_KEY ? bad_file("[private_key] is too large") : NULL;
}

/* Without this OpenSSL would ask for the passphrase of an encrypted key on the terminal. */
static int no_passphrase(char *to, int n, int writing, void *ctx)
{
    return -1;
}

static struct err *read_key(struct str pem, EVP_PKEY **out)
{
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    BUG_ON(!bio);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    BIO_free(bio);
    if (!key)
        return bad_file("[private_key] cannot be read as an unencrypted PEM key");
    int bits = EVP_PKEY_get_bits(key);
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA && bits >= MIN_BITS && bits <= MAX_BITS) {
        *out = key;
        return NULL;
    }
    EVP_PKEY_free(key);
    return bad_file("[private_key] is not an RSA key of 1024 to 4096 bits");
}

/* --- the signed claim (RFC 7515) --- */

static void put_base64url(struct buf *to, const void *bytes, size_t n)
{
    size_t room = (n + 2) / 3 * 4;
    char *p = buf_reserve(to, room + 1); /* it ends what it writes with a NUL */
    BUG_ON(!p);
    EVP_EncodeBlock((unsigned char *)p, bytes, (int)n);
    while (room && p[room - 1] == '=')
        room--;
    for (size_t i = 0; i < room; i++)
        p[i] = p[i] == '+' ? '-' : p[i] == '/' ? '_' : p[i];
    to->n += room;
}

static void put_json(struct buf *to, struct buf *json)
{
    put_base64url(to, json->p, json->n);
    buf_clear(json);
}

static void put_claim(struct buf *to, const struct key_file *f, int64_t now_s)
{
    struct buf json;
    struct json_out w;
    buf_init(&json, SIZE_MAX);
    json_out_init(&w, &json);
    json_obj(&w);
    json_key_cstr(&w, "alg", "RS256");
    json_key_cstr(&w, "typ", "JWT");
    if (f->key_id.n)
        json_key_str(&w, "kid", f->key_id);
    json_end(&w);
    put_json(to, &json);
    buf_char(to, '.');
    json_out_init(&w, &json);
    json_obj(&w);
    json_key_str(&w, "iss", f->email);
    json_key_cstr(&w, "scope", SCOPE);
    json_key_str(&w, "aud", f->token_uri);
    json_key_i64(&w, "iat", now_s);
    json_key_i64(&w, "exp", now_s + LIFETIME_S);
    json_end(&w);
    put_json(to, &json);
    buf_deinit(&json);
}

/* RSASSA-PKCS1-v1_5 with SHA-256 over what stands in `to` from `from` on, put behind it. A key
 * whose numbers do not belong together fails here. */
static struct err *put_signature(struct buf *to, size_t from, EVP_PKEY *key)
{
    unsigned char signature[MAX_BITS / 8];
    size_t n = sizeof signature;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    BUG_ON(!md);
    bool ok = EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, key) == 1 &&
              EVP_DigestSign(md, signature, &n, (unsigned char *)to->p + from, to->n - from) == 1;
    EVP_MD_CTX_free(md);
    if (!ok)
        return bad_file("[private_key] does not sign");
    buf_char(to, '.');
    put_base64url(to, signature, n);
    return NULL;
}

static struct err *put_assertion(struct buf *to, const struct key_file *f, int64_t now_s)
{
    EVP_PKEY *key = NULL;
    TRY(read_key(f->key, &key));
    size_t from = to->n;
    put_claim(to, f, now_s);
    struct err *e = put_signature(to, from, key);
    EVP_PKEY_free(key);
    return e;
}

/* --- the exchange --- */

/* The key without its escapes is a copy in the arena, unless there were none to take out. */
static void wipe_copy(struct str key, struct str text)
{
    uintptr_t at = (uintptr_t)key.p, from = (uintptr_t)text.p;
    if (key.n && (at < from || at >= from + text.n))
        secret_wipe((void *)at, key.n);
}

static struct err *google_ask(const struct endpoint *ep, int64_t now_s, struct http_out *out)
{
    struct str text = file_text(ep);
    struct key_file f = {0};
    struct buf body;
    buf_init(&body, SIZE_MAX);
    buf_cstr(&body, "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=");
    struct err *e = read_file(out->arena, text, &f);
    if (!e)
        e = put_assertion(&body, &f, now_s);
    ERR_clear_error(); /* or the next TLS call on this thread takes it for its own */
    wipe_copy(f.key, text);
    out->method = HTTP_POST;
    out->url = f.token_uri;
    out->body = arena_dup(out->arena, buf_str(&body));
    http_header_add(&out->headers, STR("Content-Type"), STR("application/x-www-form-urlencoded"));
    buf_deinit(&body);
    return e;
}

/* {"error": "invalid_grant", "error_description": "Invalid JWT Signature."} */
static struct err *refusal(const struct http_in *in)
{
    struct str code = {0}, why = {0};
    const struct json *root;
    struct err *bad = json_parse(in->arena, in->body, &root);
    if (!bad) {
        json_str(json_get(root, "error"), &code);
        json_str(json_get(root, "error_description"), &why);
    }
    err_free(bad);
    code = str_sub(code, 0, MAX_SAID);
    why = str_sub(why, 0, MAX_SAID);
    /* A server in trouble is worth another try. */
    struct err *e =
        err_new(in->status >= 500 ? ERR_IO : ERR_STATUS,
                "Error getting access token for service account: status [%d]%s%.*s%s%.*s",
                in->status, code.n ? ", " : "", STR_ARG(code), why.n ? ": " : "", STR_ARG(why));
    e->status = REFUSED;
    return e;
}

static struct err *google_take(const struct endpoint *ep, const struct http_in *in, int64_t now_s,
                               struct token *out)
{
    if (in->status < 200 || in->status > 299)
        return refusal(in);
    const char *wrong = bearer_read(in, now_s, out);
    if (!wrong)
        return NULL;
    return err_status(REFUSED,
                      "Error getting access token for service account: the answer cannot be read: "
                      "%s",
                      wrong);
}

const struct auth google_auth = {
    .key = google_key, .ask = google_ask, .take = google_take, .sign = bearer_sign};
