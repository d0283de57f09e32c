/* sigv4: four steps.
 *
 *     canonical request = method \n path \n query \n headers \n\n signed names \n hex(sha256(body))
 *     text to sign      = AWS4-HMAC-SHA256 \n time \n scope \n hex(sha256(canonical request))
 *     key               = HMAC chain "AWS4"+secret -> date -> region -> service -> aws4_request
 *     signature         = hex(HMAC(key, text to sign))
 */
#include "sigv4.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <time.h>

#include "buf.h"
#include "bug.h"
#include "secret.h"

#define DIGEST_BYTES 32
#define ALGORITHM    "AWS4-HMAC-SHA256"

/* --- digests --- */

static void sha256(struct str s, unsigned char out[DIGEST_BYTES])
{
    BUG_ON(!EVP_Q_digest(NULL, "SHA256", NULL, s.n ? s.p : "", s.n, out, NULL));
}

static void hmac(const void *key, size_t key_n, struct str s, unsigned char out[DIGEST_BYTES])
{
    size_t n;
    BUG_ON(!EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key, key_n, (const unsigned char *)s.p,
                      s.n, out, DIGEST_BYTES, &n));
}

static struct str hex(struct arena *arena, const unsigned char digest[DIGEST_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    char *text = arena_alloc(arena, 2 * DIGEST_BYTES + 1);
    for (size_t i = 0; i < DIGEST_BYTES; i++) {
        text[2 * i] = digits[digest[i] >> 4];
        text[2 * i + 1] = digits[digest[i] & 15];
    }
    return str_n(text, 2 * DIGEST_BYTES);
}

static struct str hex_sha256(struct arena *arena, struct str s)
{
    unsigned char digest[DIGEST_BYTES];
    sha256(s, digest);
    return hex(arena, digest);
}

/* --- the URL --- */

struct url_parts {
    struct str host, path, query;
};

/* The host as a client sends it: without a user and without the scheme's own port. */
static struct str wire_host(struct str authority, bool tls)
{
    size_t at = str_find_char(authority, '@');
    if (at != SIZE_MAX)
        authority = str_sub(authority, at + 1, authority.n);
    struct str port = tls ? STR(":443") : STR(":80");
    return str_ends(authority, port) ? str_sub(authority, 0, authority.n - port.n) : authority;
}

static struct url_parts url_split(struct str url)
{
    bool tls = str_starts(url, STR("https://"));
    size_t scheme = str_find(url, STR("://"));
    size_t from = scheme == SIZE_MAX ? 0 : scheme + 3, at = from;
    while (at < url.n && url.p[at] != '/' && url.p[at] != '?' && url.p[at] != '#')
        at++;
    struct url_parts parts = {.host = wire_host(str_sub(url, from, at - from), tls)};
    struct str rest = str_sub(url, at, url.n);
    size_t fragment = str_find_char(rest, '#');
    rest = str_sub(rest, 0, fragment == SIZE_MAX ? rest.n : fragment);
    size_t query = str_find_char(rest, '?');
    parts.path = str_sub(rest, 0, query == SIZE_MAX ? rest.n : query);
    if (query != SIZE_MAX)
        parts.query = str_sub(rest, query + 1, rest.n);
    return parts;
}

struct parameter {
    struct str name, value;
};

static int by_name_then_value(const void *a, const void *b)
{
    const struct parameter *x = a, *y = b;
    int order = str_cmp(x->name, y->name);
    return order ? order : str_cmp(x->value, y->value);
}

/* Encoded exactly once, whatever of it came encoded. */
static struct str encoded_once(struct arena *arena, struct str s)
{
    struct str plain;
    return http_escape(arena, http_unescape(arena, s, &plain) ? plain : s, false);
}

static void put_query(struct buf *out, struct arena *arena, struct str query)
{
    size_t most = 1, n = 0;
    for (size_t i = 0; i < query.n; i++)
        most += query.p[i] == '&';
    struct parameter *list = arena_array(arena, most, sizeof *list);
    for (struct str rest = query, one; str_split(&rest, '&', &one);) {
        if (one.n == 0)
            continue;
        size_t equals = str_find_char(one, '=');
        struct str value = equals == SIZE_MAX ? STR("") : str_sub(one, equals + 1, one.n);
        list[n].name = encoded_once(arena, str_sub(one, 0, equals == SIZE_MAX ? one.n : equals));
        list[n++].value = encoded_once(arena, value);
    }
    qsort(list, n, sizeof *list, by_name_then_value);
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s%.*s=%.*s", i ? "&" : "", STR_ARG(list[i].name), STR_ARG(list[i].value));
}

/* --- headers --- */

static struct str lower(struct arena *arena, struct str s)
{
    char *copy = arena_alloc(arena, s.n + 1);
    for (size_t i = 0; i < s.n; i++)
        copy[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] + 'a' - 'A') : s.p[i];
    return str_n(copy, s.n);
}

/* Trimmed, runs of blanks made one. */
static struct str tidy(struct arena *arena, struct str s)
{
    s = str_trim(s);
    char *copy = arena_alloc(arena, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        bool blank = s.p[i] == ' ' || s.p[i] == '\t';
        if (!blank || copy[n - 1] != ' ')
            copy[n++] = blank ? ' ' : s.p[i];
    }
    return str_n(copy, n);
}

static bool is_signed(struct str name)
{
    return str_eq(name, STR("content-type")) || str_starts(name, STR("x-amz"));
}

static size_t signed_headers(struct arena *arena, const struct http_out *out, struct str host,
                             struct parameter list[HTTP_MAX_HEADERS + 1])
{
    size_t n = 0;
    list[n++] = (struct parameter){STR("host"), host};
    for (size_t i = 0; i < out->headers.n; i++) {
        struct str name = lower(arena, out->headers.h[i].name);
        if (is_signed(name))
            list[n++] = (struct parameter){name, tidy(arena, out->headers.h[i].value)};
    }
    qsort(list, n, sizeof *list, by_name_then_value);
    return n;
}

static struct str names_of(struct arena *arena, const struct parameter *list, size_t n)
{
    struct str names = STR("");
    for (size_t i = 0; i < n; i++)
        names =
            arena_printf(arena, "%.*s%s%.*s", STR_ARG(names), i ? ";" : "", STR_ARG(list[i].name));
    return names;
}

struct str sigv4_canonical(struct arena *arena, const struct http_out *out,
                           struct str *signed_headers_out)
{
    struct url_parts url = url_split(out->url);
    struct parameter list[HTTP_MAX_HEADERS + 1];
    size_t n = signed_headers(arena, out, url.host, list);
    struct str path = url.path.n ? http_escape(arena, url.path, true) : STR("/");
    struct buf text;
    buf_init(&text, SIZE_MAX);
    buf_printf(&text, "%s\n%.*s\n", http_method_name(out->method), STR_ARG(path));
    put_query(&text, arena, url.query);
    buf_char(&text, '\n');
    for (size_t i = 0; i < n; i++)
        buf_printf(&text, "%.*s:%.*s\n", STR_ARG(list[i].name), STR_ARG(list[i].value));
    *signed_headers_out = names_of(arena, list, n);
    buf_printf(&text, "\n%.*s\n%.*s", STR_ARG(*signed_headers_out),
               STR_ARG(hex_sha256(arena, out->body)));
    struct str result = arena_dup(arena, buf_str(&text));
    buf_deinit(&text);
    return result;
}

/* --- the signature --- */

/* "20250121T120000Z"; its first eight characters are the date. */
static struct str time_text(struct arena *arena, int64_t now_s)
{
    time_t t = (time_t)now_s;
    struct tm tm;
    char text[32];
    BUG_ON(!gmtime_r(&t, &tm));
    size_t n = strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &tm);
    return arena_dup(arena, str_n(text, n));
}

static void signing_key(const struct sigv4 *who, struct str date, unsigned char key[DIGEST_BYTES])
{
    struct buf secret;
    buf_init(&secret, SIZE_MAX);
    buf_reserve(&secret, who->secret_key.n + 4); /* one piece: growing would leave a copy behind */
    buf_put(&secret, STR("AWS4"));
    buf_put(&secret, who->secret_key);
    hmac(secret.p, secret.n, date, key);
    secret_wipe(secret.p, secret.n);
    buf_deinit(&secret);
    hmac(key, DIGEST_BYTES, who->region, key);
    hmac(key, DIGEST_BYTES, who->service, key);
    hmac(key, DIGEST_BYTES, STR("aws4_request"), key);
}

struct err *sigv4_sign(const struct sigv4 *who, int64_t now_s, struct http_out *out)
{
    struct arena *a = out->arena;
    struct str now = time_text(a, now_s), date = str_sub(now, 0, 8), names;
    if (out->headers.n + 3 > HTTP_MAX_HEADERS)
        return err_new(ERR_ARGUMENT, "the request has too many headers to be signed");
    http_header_add(&out->headers, STR("X-Amz-Date"), now);
    if (who->session_token.n)
        http_header_add(&out->headers, STR("X-Amz-Security-Token"), who->session_token);

    struct str canonical = sigv4_canonical(a, out, &names);
    struct str scope = arena_printf(a, "%.*s/%.*s/%.*s/aws4_request", STR_ARG(date),
                                    STR_ARG(who->region), STR_ARG(who->service));
    struct str text = arena_printf(a, ALGORITHM "\n%.*s\n%.*s\n%.*s", STR_ARG(now), STR_ARG(scope),
                                   STR_ARG(hex_sha256(a, canonical)));
    unsigned char key[DIGEST_BYTES], signature[DIGEST_BYTES];
    signing_key(who, date, key);
    hmac(key, DIGEST_BYTES, text, signature);
    secret_wipe(key, sizeof key);
    http_header_addf(&out->headers, a, STR("Authorization"),
                     ALGORITHM " Credential=%.*s/%.*s, SignedHeaders=%.*s, Signature=%.*s",
                     STR_ARG(who->access_key), STR_ARG(scope), STR_ARG(names),
                     STR_ARG(hex(a, signature)));
    return NULL;
}
