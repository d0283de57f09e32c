#include "mask.h"

#include <stdlib.h>

#include "bug.h"

static const struct str stars = STR_INIT("***");

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

static void add_forms(struct mask *m, struct str secret)
{
    add(m, secret);
    struct str escaped = http_escape(m->arena, secret, false);
    if (!str_eq(escaped, secret))
        add(m, escaped);
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

struct mask mask_new(struct arena *arena, const struct endpoint *ep)
{
    struct mask m = {.arena = arena};
    const struct settings_table *table = ep->values.table;
    for (size_t i = 0; i < table->n; i++) {
        const struct value *v = &ep->values.v[i];
        if (table->rows[i].place == IN_SECRET && v->set)
            add_secret(&m, secret_reveal(v->secret));
    }
    return m;
}

/* --- looking for it --- */

/* The longest needle that begins here; 0: none. */
static size_t match(const struct mask *m, struct str s, size_t at)
{
    size_t best = 0;
    for (size_t i = 0; i < m->n; i++) {
        struct str needle = m->needles[i];
        if (needle.n > best && needle.n <= s.n - at && memcmp(s.p + at, needle.p, needle.n) == 0)
            best = needle.n;
    }
    return best;
}

static bool holds(const struct mask *m, struct str s)
{
    for (size_t i = 0; i < m->n; i++) {
        if (str_find(s, m->needles[i]) != SIZE_MAX)
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

static void mask_member(const struct mask *m, char **text)
{
    if (!*text)
        return;
    struct str shown = mask_text(m, str_c(*text));
    if (shown.p == *text)
        return;
    free(*text);
    *text = mem_new(shown.n + 1);
    memcpy(*text, shown.p, shown.n);
}

/* Shorter ones are found in any text; nobody's key is as short. */
#define LEAST_IN_TEXTS 8

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
    struct mask m = mask_new(arena, ep);
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
