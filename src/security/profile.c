#include "profile.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "json_view.h"
#include "unicode.h"

void profile_uid(struct str username, char out[PROFILE_UID_CHARS + 1])
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    char text[sodium_base64_ENCODED_LEN(sizeof hash, sodium_base64_VARIANT_URLSAFE_NO_PADDING)];
    crypto_hash_sha256(hash, (const unsigned char *)username.p, username.n);
    sodium_bin2base64(text, sizeof text, hash, sizeof hash,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    snprintf(out, PROFILE_UID_CHARS + 1, "u_%s_0", text);
}

/* --- what is stored --- */

static bool read_members(const struct json *root, struct profile *p)
{
    json_str(json_get(root, "full_name"), &p->full_name);
    json_str(json_get(root, "email"), &p->email);
    p->labels = json_get(root, "labels");
    p->data = json_get(root, "data");
    p->roles = json_raw(json_get(root, "roles"));
    p->labels_text = json_raw(p->labels);
    p->data_text = json_raw(p->data);
    return json_str(json_get(root, "username"), &p->username) &&
           json_str(json_get(root, "realm"), &p->realm) &&
           json_is(json_get(root, "roles"), JSON_ARRAY) && json_is(p->labels, JSON_OBJECT) &&
           json_is(p->data, JSON_OBJECT) && json_bool(json_get(root, "enabled"), &p->enabled) &&
           json_i64(json_get(root, "synchronized"), &p->synchronized_ms);
}

struct err *profile_read(struct arena *a, const struct doc *d, struct profile *out)
{
    const struct json *root;
    *out = (struct profile){.uid = arena_dup(a, d->id), .rev = d->rev};
    struct err *e = json_parse(a, d->body, &root);
    if (!e && !read_members(root, out))
        e = err_new(ERR_CORRUPT, "a member is missing");
    return e ? err_wrap(e, ERR_CORRUPT, "the stored profile [%.*s] cannot be read", STR_ARG(d->id))
             : NULL;
}

static void put_known(struct json_out *w, const char *key, struct str s)
{
    if (s.p)
        json_key_str(w, key, s);
}

void profile_render_doc(const struct profile *p, struct buf *out)
{
    struct json_out w;
    json_out_init(&w, out);
    json_obj(&w);
    json_key_str(&w, "username", p->username);
    json_key_str(&w, "realm", p->realm);
    json_key_raw(&w, "roles", p->roles);
    put_known(&w, "full_name", p->full_name);
    put_known(&w, "email", p->email);
    json_key_bool(&w, "enabled", p->enabled);
    json_key_i64(&w, "synchronized", p->synchronized_ms);
    json_key_raw(&w, "labels", p->labels_text);
    json_key_raw(&w, "data", p->data_text);
    json_end(&w);
}

/* --- what is shown --- */

static struct err *render_data(const struct profile *p, struct str wanted, struct json_out *w)
{
    struct buf part;
    json_key(w, "data");
    if (!wanted.n || str_eq(wanted, STR("*"))) {
        json_put_raw(w, wanted.n ? p->data_text : STR("{}"));
        return NULL;
    }
    buf_init(&part, PROFILE_MAX_BYTES);
    struct err *e = json_filter(p->data, wanted, &part);
    if (!e)
        json_put_raw(w, buf_str(&part));
    buf_deinit(&part);
    return e;
}

struct err *profile_render(const struct profile *p, struct str data, bool whole, struct json_out *w)
{
    json_obj(w);
    json_key_str(w, "uid", p->uid);
    if (whole) {
        json_key_bool(w, "enabled", p->enabled);
        json_key_i64(w, "last_synchronized", p->synchronized_ms);
    }
    json_key(w, "user");
    json_obj(w);
    json_key_str(w, "username", p->username);
    json_key_raw(w, "roles", p->roles);
    json_key_str(w, "realm_name", p->realm);
    put_known(w, "email", p->email);
    put_known(w, "full_name", p->full_name);
    json_end(w);
    json_key_raw(w, "labels", p->labels_text);
    TRY(render_data(p, data, w));
    if (whole) {
        json_key(w, "_doc");
        json_obj(w);
        json_key_i64(w, "_primary_term", 1);
        json_key_i64(w, "_seq_no", (int64_t)p->rev);
        json_end(w);
    }
    json_end(w);
    return NULL;
}

/* --- merging --- */

static struct map *members_of(const struct json *object)
{
    struct map *m = map_new();
    struct json_iter it = json_iter(object);
    for (const struct json *v; (v = json_next(&it));)
        map_put(m, v->key, (void *)(uintptr_t)v);
    return m;
}

/* As deep as the parser lets bodies be. */
void profile_merge(const struct json *old, const struct json *added, struct json_out *w)
{
    if (!json_is(old, JSON_OBJECT) || !json_is(added, JSON_OBJECT)) {
        json_put_node(w, added);
        return;
    }
    struct map *before = members_of(old), *after = members_of(added);
    json_obj(w);
    struct json_iter it = json_iter(old);
    for (const struct json *v; (v = json_next(&it));) {
        const struct json *next = map_get(after, v->key);
        json_key_s(w, v->key);
        if (next)
            profile_merge(v, next, w);
        else
            json_put_node(w, v);
    }
    it = json_iter(added);
    for (const struct json *v; (v = json_next(&it));) {
        if (map_get(before, v->key))
            continue;
        json_key_s(w, v->key);
        json_put_node(w, v);
    }
    json_end(w);
    map_free(before);
    map_free(after);
}

/* --- who has one --- */

struct err *profile_uids(struct store *store, struct arena *a, struct map **out)
{
    struct docs docs;
    TRY(store_list(store, STORE_PROFILE, a, &docs));
    *out = map_new();
    for (size_t i = 0; i < docs.n; i++)
        map_put(*out, docs.v[i].id, &docs.v[i]);
    return NULL;
}

void profile_render_uid(const struct map *uids, struct str username, struct json_out *w)
{
    char uid[PROFILE_UID_CHARS + 1];
    if (!uids)
        return;
    profile_uid(username, uid);
    if (map_get(uids, str_c(uid)))
        json_key_cstr(w, "profile_uid", uid);
}

/* --- what somebody types --- */

/* " juan pérez ": its words in lower case, each between spaces. */
static struct str words_of(struct arena *a, struct str s)
{
    struct buf b;
    uint32_t lower[3];
    char bytes[4];
    buf_init(&b, SIZE_MAX);
    buf_char(&b, ' ');
    for (size_t i = 0; i < s.n;) {
        uint32_t c = utf8_next(s, &i);
        if (!unicode_is_letter(c) && !unicode_is_number(c) && !unicode_is_mark_nonspacing(c)) {
            if (b.p[b.n - 1] != ' ')
                buf_char(&b, ' ');
            continue;
        }
        size_t n = unicode_lower(c, lower);
        for (size_t k = 0; k < n; k++)
            buf_put(&b, str_n(bytes, utf8_put(bytes, lower[k])));
    }
    if (b.p[b.n - 1] != ' ')
        buf_char(&b, ' ');
    struct str words = arena_dup(a, buf_str(&b));
    buf_deinit(&b);
    return words;
}

void profile_words_init(struct profile_words *w, struct arena *a, struct str typed)
{
    *w = (struct profile_words){.arena = a, .text = words_of(a, typed)};
}

static bool holds(struct str text, struct str part)
{
    return memmem(text.p, text.n, part.p, part.n) != NULL;
}

int profile_words_score(const struct profile_words *w, const struct profile *p)
{
    struct str names = arena_printf(w->arena, "%.*s %.*s %.*s", STR_ARG(p->username),
                                    STR_ARG(p->full_name), STR_ARG(p->email));
    struct str text = words_of(w->arena, names);
    int score = 0;
    for (size_t from = 0; from + 1 < w->text.n;) {
        size_t end = from + 1;
        while (w->text.p[end] != ' ')
            end++;
        bool last = end + 1 == w->text.n; /* still being typed: it begins a word */
        score += holds(text, str_sub(w->text, from, end - from + !last));
        from = end;
    }
    return score;
}
