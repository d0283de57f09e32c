#include "token.h"

#include <sodium.h>
#include <stdlib.h>

#include "bug.h"

static void token_end(struct counted *c)
{
    struct token *t = (struct token *)c; /* its first member */
    arena_free(t->arena);
    free(t);
}

void token_unref(const struct token *t)
{
    if (t)
        counted_unref((struct counted *)(uintptr_t)&t->counted);
}

int64_t token_refresh_until(const struct token *t)
{
    return t->has_refresh && !t->refresh_ended_ms ? t->created_ms + TOKEN_REFRESH_MS : 0;
}

bool token_gone(const struct token *t, int64_t wall_ms)
{
    return t->expires_ms <= wall_ms && token_refresh_until(t) <= wall_ms;
}

/* --- reading and writing --- */

static bool read_hash(const struct json *v, unsigned char out[KEY_HASH_BYTES])
{
    struct str s;
    size_t n = 0;
    return json_str(v, &s) &&
           sodium_base642bin(out, KEY_HASH_BYTES, s.p, s.n, NULL, &n, NULL,
                             sodium_base64_VARIANT_ORIGINAL) == 0 &&
           n == KEY_HASH_BYTES;
}

static bool read_members(struct token *t, const struct json *root)
{
    const struct json *refresh = json_get(root, "refresh");
    t->has_refresh = !json_is_null(refresh);
    return json_str(json_get(root, "username"), &t->username) &&
           json_str(json_get(root, "realm"), &t->realm) &&
           read_hash(json_get(root, "access"), t->access) &&
           json_i64(json_get(root, "creation"), &t->created_ms) &&
           json_i64(json_get(root, "expiration"), &t->expires_ms) &&
           json_i64(json_get(root, "invalidation"), &t->ended_ms) &&
           json_i64(json_get(root, "refresh_invalidation"), &t->refresh_ended_ms) &&
           (!t->has_refresh || read_hash(refresh, t->refresh));
}

struct err *token_read(const struct doc *d, struct token **out)
{
    struct token *t = mem_new(sizeof *t);
    const struct json *root;
    counted_init(&t->counted, token_end);
    t->arena = arena_new(ARENA_NO_LIMIT);
    t->id = arena_dup(t->arena, d->id);
    struct err *e = json_parse_copy(t->arena, d->body, &root);
    if (!e && (t->id.n != TOKEN_ID_CHARS || !read_members(t, root)))
        e = err_new(ERR_CORRUPT, "a member is missing");
    if (e) {
        token_unref(t);
        return err_wrap(e, ERR_CORRUPT, "the stored token [%.*s] cannot be read", STR_ARG(d->id));
    }
    *out = t;
    return NULL;
}

static void put_hash(struct json_out *w, const char *key, const unsigned char hash[KEY_HASH_BYTES])
{
    char text[sodium_base64_ENCODED_LEN(KEY_HASH_BYTES, sodium_base64_VARIANT_ORIGINAL)];
    sodium_bin2base64(text, sizeof text, hash, KEY_HASH_BYTES, sodium_base64_VARIANT_ORIGINAL);
    json_key_cstr(w, key, text);
}

void token_render(const struct token *t, struct buf *out)
{
    struct json_out w;
    json_out_init(&w, out);
    json_obj(&w);
    json_key_str(&w, "username", t->username);
    json_key_str(&w, "realm", t->realm);
    json_key_i64(&w, "creation", t->created_ms);
    json_key_i64(&w, "expiration", t->expires_ms);
    json_key_i64(&w, "invalidation", t->ended_ms);
    json_key_i64(&w, "refresh_invalidation", t->refresh_ended_ms);
    put_hash(&w, "access", t->access);
    if (t->has_refresh)
        put_hash(&w, "refresh", t->refresh);
    json_end(&w);
}

/* --- the table --- */

static void tokens_end(struct counted *c)
{
    struct tokens *tokens = (struct tokens *)c; /* its first member */
    for (size_t i = 0; i < tokens->n; i++)
        token_unref(tokens->v[i]);
    free(tokens);
}

struct tokens *tokens_new(size_t room)
{
    struct tokens *tokens = mem_new(sizeof *tokens + room * sizeof tokens->v[0]);
    counted_init(&tokens->counted, tokens_end);
    return tokens;
}

void tokens_add(struct tokens *tokens, struct token *t)
{
    tokens->v[tokens->n++] = t;
}

static int by_id(const void *a, const void *b)
{
    return str_cmp((*(struct token *const *)a)->id, (*(struct token *const *)b)->id);
}

void tokens_sort(struct tokens *tokens)
{
    qsort(tokens->v, tokens->n, sizeof tokens->v[0], by_id);
}

static struct err *read_all(struct store *store, struct arena *tmp, struct tokens **out)
{
    struct docs docs;
    TRY(store_list(store, STORE_TOKEN, tmp, &docs));
    struct tokens *tokens = tokens_new(docs.n);
    for (size_t i = 0; i < docs.n; i++) {
        struct token *t = NULL;
        struct err *e = token_read(&docs.v[i], &t);
        if (e) {
            counted_unref(&tokens->counted);
            return e;
        }
        tokens_add(tokens, t);
    }
    tokens_sort(tokens);
    *out = tokens;
    return NULL;
}

struct err *tokens_read(struct store *store, struct tokens **out)
{
    struct arena *tmp = arena_new(ARENA_NO_LIMIT);
    struct err *e = read_all(store, tmp, out);
    arena_free(tmp);
    return e;
}

const struct token *tokens_find(const struct tokens *tokens, struct str text)
{
    if (text.n != TOKEN_CHARS)
        return NULL;
    struct str id = str_sub(text, 0, TOKEN_ID_CHARS);
    size_t lo = 0, hi = tokens->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = str_cmp(tokens->v[mid]->id, id);
        if (order == 0)
            return tokens->v[mid];
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static bool fits(const struct token *t, struct str text, const unsigned char *wanted)
{
    unsigned char hash[KEY_HASH_BYTES];
    key_hash(t->id, str_sub(text, TOKEN_ID_CHARS, text.n), hash);
    return sodium_memcmp(hash, wanted, sizeof hash) == 0;
}

bool token_is_access(const struct token *t, struct str text)
{
    return fits(t, text, t->access);
}

bool token_is_refresh(const struct token *t, struct str text)
{
    return t->has_refresh && fits(t, text, t->refresh);
}
