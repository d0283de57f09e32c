#include "mask.h"

#include <stdlib.h>

#include "bug.h"
#include "unicode.h"

static const struct str stars = STR_INIT("***");

/* Shorter ones are found in any text; nobody's key is as short. */
#define LEAST_IN_TEXTS 8
/* So much of a secret's beginning is treated as the whole: texts are cut, by us and by others. */
#define TELLING 16
/* Bytes of an error that are looked through and shown: a loop must not be held up by what a service
 * says. */
#define MOST_SAID ((size_t)256 << 10)
/* Backslashes before one character: escaped four times over. */
#define MOST_ESCAPES 15

/* --- what must not be seen --- */

static void add(struct mask *m, struct str needle)
{
    if (needle.n == 0)
        return;
    if (m->n == m->cap) {
        size_t cap = m->cap ? m->cap * 2 : 8;
        struct str *more = arena_array(m->arena, cap, sizeof *more);
        if (m->n)
            memcpy(more, m->needles, m->n * sizeof *more);
        m->needles = more;
        m->cap = cap;
    }
    m->needles[m->n++] = needle;
}

/* As it stands in base64 of a text that holds it, which may begin at each of three places in a
 * group: the digits that are of its bits alone, in both alphabets. */
static void add_base64(struct mask *m, struct str secret)
{
    static const char digits[2][65] = {
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"};
    const unsigned char *p = (const unsigned char *)secret.p;
    for (size_t before = 0; before < 3; before++) {
        size_t first = (before * 8 + 5) / 6, end = (before + secret.n) * 8 / 6;
        for (int kind = 0; kind < 2; kind++) {
            char *text = arena_alloc(m->arena, end - first + 1);
            bool both = true;
            for (size_t i = first; i < end; i++) {
                size_t bit = i * 6 - before * 8, byte = bit / 8;
                unsigned two = (unsigned)p[byte] << 8 | (byte + 1 < secret.n ? p[byte + 1] : 0);
                unsigned digit = two >> (10 - bit % 8) & 63;
                text[i - first] = digits[kind][digit];
                both = both && digit < 62;
            }
            add(m, str_n(text, end - first));
            if (both)
                break;
        }
    }
}

static void add_forms(struct mask *m, struct str secret)
{
    add(m, secret);
    if (m->in_errors && secret.n >= LEAST_IN_TEXTS)
        add_base64(m, secret);
}

/* The texts in it, however deep: of a map of secrets, or of a key file. */
static void add_texts(struct mask *m, const struct json *node)
{
    struct str text;
    if (json_str(node, &text)) {
        if (!str_eq(text, STR("service_account"))) /* what Google's key files say they are */
            add_forms(m, text);
        return;
    }
    struct json_iter it = json_iter(node);
    for (const struct json *v; (v = json_next(&it));)
        add_texts(m, v);
}

static void add_secret(struct mask *m, struct str secret)
{
    add_forms(m, secret);
    const struct json *root = NULL;
    if (secret.n == 0 || secret.p[0] != '{')
        return;
    struct err *e = json_parse_copy(m->arena, secret, &root);
    if (!e)
        add_texts(m, root);
    err_free(e);
}

static struct mask make(struct arena *arena, const struct endpoint *ep, bool in_errors)
{
    struct mask m = {.arena = arena, .in_errors = in_errors};
    const struct settings_table *table = ep->values.table;
    for (size_t i = 0; i < table->n; i++) {
        const struct value *v = &ep->values.v[i];
        if (table->rows[i].place == IN_SECRET && v->set)
            add_secret(&m, secret_reveal(v->secret));
    }
    return m;
}

struct mask mask_new(struct arena *arena, const struct endpoint *ep)
{
    return make(arena, ep, false);
}

/* --- looking for it --- */

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint32_t hex_value(struct str s)
{
    uint32_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (hex(s.p[i]) < 0)
            return UINT32_MAX;
        v = v << 4 | (uint32_t)hex(s.p[i]);
    }
    return v;
}

/* \uXXXX, which may be half of a pair; the number of bytes of `s` it takes, 0: it is none. */
static size_t read_unicode(struct str s, char out[4], size_t *n_out)
{
    if (s.n < 6 || s.p[1] != 'u')
        return 0;
    uint32_t c = hex_value(str_sub(s, 2, 4));
    size_t taken = 6;
    if (c >= 0xD800 && c < 0xDC00 && s.n >= 12 && s.p[6] == '\\' && s.p[7] == 'u') {
        uint32_t low = hex_value(str_sub(s, 8, 4));
        if (low < 0xDC00 || low > 0xDFFF)
            return 0;
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        taken = 12;
    }
    if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
        return 0;
    *n_out = utf8_put(out, c);
    return taken;
}

/* What one written character at `s` stands for: bytes as they are, percent-encoded or escaped as in
 * JSON, however often over. The number of bytes of `s` it takes. */
static size_t read_one(struct str s, char out[4], size_t *n_out)
{
    *n_out = 1;
    out[0] = s.p[0];
    if (s.p[0] == '%' && s.n >= 3 && hex(s.p[1]) >= 0 && hex(s.p[2]) >= 0) {
        out[0] = (char)hex_value(str_sub(s, 1, 2));
        return 3;
    }
    if (s.p[0] != '\\' || s.n < 2)
        return 1;
    size_t n = read_unicode(s, out, n_out);
    if (n)
        return n;
    size_t at = 0;
    while (at + 1 < s.n && at < MOST_ESCAPES && s.p[at] == '\\')
        at++;
    out[0] = s.p[at] == 'n' ? '\n' : s.p[at] == 't' ? '\t' : s.p[at] == 'r' ? '\r' : s.p[at];
    return at + 1;
}

static bool is_told(struct str needle, size_t n)
{
    return n == needle.n || n >= TELLING || (n >= LEAST_IN_TEXTS && 2 * n >= needle.n);
}

/* How much of `s` from `at` on is the needle, or a telling beginning of it; 0: it is not. */
static size_t match_one(struct str needle, struct str s, size_t at)
{
    size_t have = 0, from = at;
    while (have < needle.n && at < s.n) {
        char c[4];
        size_t n_c, n = read_one(str_sub(s, at, s.n - at), c, &n_c);
        if (n_c > needle.n - have || memcmp(c, needle.p + have, n_c) != 0) {
            if (s.p[at] != needle.p[have])
                break;
            n = n_c = 1; /* a secret may hold what looks like an escape */
        }
        at += n;
        have += n_c;
    }
    return have && is_told(needle, have) ? at - from : 0;
}

/* The longest needle that begins here; 0: none. */
static size_t match(const struct mask *m, struct str s, size_t at)
{
    size_t best = 0, n_first;
    char c = s.p[at], first[4] = {c};
    if (c == '%' || c == '\\')
        read_one(str_sub(s, at, s.n - at), first, &n_first);
    for (size_t i = 0; i < m->n; i++) {
        if (m->needles[i].p[0] != c && m->needles[i].p[0] != first[0])
            continue;
        size_t n = match_one(m->needles[i], s, at);
        if (n > best)
            best = n;
    }
    return best;
}

static bool holds(const struct mask *m, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (match(m, s, i))
            return true;
    }
    return false;
}

struct str mask_text(const struct mask *m, struct str s)
{
    if (!holds(m, s))
        return s;
    struct buf b;
    buf_init(&b, SIZE_MAX);
    for (size_t i = 0; i < s.n;) {
        size_t n = match(m, s, i);
        if (n)
            buf_put(&b, stars);
        else
            buf_char(&b, s.p[i]);
        i += n ? n : 1;
    }
    struct str out = arena_dup(m->arena, buf_str(&b));
    secret_wipe(b.p, b.n);
    buf_deinit(&b);
    return out;
}

/* --- the parts of a request --- */

static bool is_credential(struct str name)
{
    static const struct str names[] = {STR_INIT("authorization"),
                                       STR_INIT("proxy-authorization"),
                                       STR_INIT("cookie"),
                                       STR_INIT("api-key"),
                                       STR_INIT("x-api-key"),
                                       STR_INIT("x-goog-api-key"),
                                       STR_INIT("x-amz-security-token")};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (str_eq_nocase(name, names[i]))
            return true;
    }
    return false;
}

/* "https://user:password@host/": what stands before the @. */
static struct str mask_user(const struct mask *m, struct str url)
{
    size_t scheme = str_find(url, STR("://"));
    if (scheme == SIZE_MAX)
        return url;
    size_t at = 0;
    for (size_t i = scheme + 3; i < url.n && !memchr("/?#", url.p[i], 3); i++) {
        if (url.p[i] == '@')
            at = i;
    }
    if (!at)
        return url;
    return arena_printf(m->arena, "%.*s***%.*s", STR_ARG(str_sub(url, 0, scheme + 3)),
                        STR_ARG(str_sub(url, at, url.n)));
}

static void put_headers(const struct mask *m, const struct http_headers *hs, struct json_out *w)
{
    json_key(w, "headers");
    json_obj(w);
    for (size_t i = 0; i < hs->n; i++) {
        const struct http_header *h = &hs->h[i];
        bool hide = is_credential(h->name) || holds(m, h->value);
        json_key_s(w, h->name);
        json_put_str(w, hide ? stars : h->value);
    }
    json_end(w);
}

static void put_node(const struct mask *m, const struct json *v, struct json_out *w)
{
    struct str text;
    if (json_str(v, &text)) {
        json_put_str(w, mask_text(m, text));
        return;
    }
    bool object = json_is(v, JSON_OBJECT);
    if (!object && !json_is(v, JSON_ARRAY)) {
        if (holds(m, json_raw(v)))
            json_put_str(w, stars);
        else
            json_put_node(w, v);
        return;
    }
    if (object)
        json_obj(w);
    else
        json_arr(w);
    struct json_iter it = json_iter(v);
    for (const struct json *child; (child = json_next(&it));) {
        if (object)
            json_key_s(w, mask_text(m, child->key));
        put_node(m, child, w);
    }
    json_end(w);
}

static void put_body(const struct mask *m, struct str body, struct json_out *w)
{
    const struct json *root;
    if (body.n == 0)
        return;
    json_key(w, "body");
    struct err *e = json_parse(m->arena, body, &root);
    if (e)
        json_put_str(w, mask_text(m, body));
    else
        put_node(m, root, w);
    err_free(e);
}

/* Whole characters. */
static struct str beginning(struct str s)
{
    size_t n = s.n < MOST_SAID ? s.n : MOST_SAID;
    while (n < s.n && n > 0 && ((unsigned char)s.p[n] & 0xC0) == 0x80)
        n--;
    return str_sub(s, 0, n);
}

static void mask_member(const struct mask *m, char **text)
{
    if (!*text)
        return;
    (*text)[beginning(str_c(*text)).n] = '\0';
    struct str shown = mask_text(m, str_c(*text));
    if (shown.p == *text)
        return;
    free(*text);
    *text = mem_new(shown.n + 1);
    memcpy(*text, shown.p, shown.n);
}

static void forget_short(struct mask *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++)
        if (m->needles[i].n >= LEAST_IN_TEXTS)
            m->needles[n++] = m->needles[i];
    m->n = n;
}

void mask_err(struct arena *arena, const struct endpoint *ep, const struct secret *token,
              struct err *e)
{
    struct mask m = make(arena, ep, true);
    if (token)
        add_forms(&m, secret_reveal(token));
    forget_short(&m);
    for (; e; e = e->cause) {
        mask_member(&m, &e->reason);
        mask_member(&m, &e->chat_type);
        mask_member(&m, &e->chat_code);
        mask_member(&m, &e->chat_param);
    }
}

void mask_request(const struct mask *m, const struct http_out *out, struct json_out *w)
{
    json_obj(w);
    json_key_cstr(w, "method", http_method_name(out->method));
    json_key_str(w, "url", mask_text(m, mask_user(m, out->url)));
    put_headers(m, &out->headers, w);
    put_body(m, out->body, w);
    json_end(w);
}
