#include "key_change.h"

#include <stdlib.h>

#include "account.h"

#define MAX_DOC_BYTES  ((size_t)8 << 20)
#define MAX_EXPIRES_MS (INT64_C(1) << 50)

const struct keys *keys_peek(struct security *s, struct counted **held)
{
    return (const struct keys *)cell_peek(&s->keys, held);
}

/* --- whose --- */

struct key_owner key_owner_of(const struct user *u)
{
    struct key_owner o = {.name = str_c(u->name)};
    if (u->key) {
        o.realm = u->key->realm;
        o.realm_type = u->key->realm_type;
    } else {
        o.realm = str_c(u->account->realm);
        o.realm_type = str_c(u->account->realm_type);
    }
    return o;
}

bool key_owned_by(const struct user *u, const struct api_key *k)
{
    struct key_owner o = key_owner_of(u);
    return str_eq(o.name, str_c(k->user.name)) && str_eq(o.realm, k->realm);
}

/* --- changing --- */

struct err *key_change_init(struct key_change *k, const struct key_doc *d)
{
    *k = (struct key_change){.id = d->id};
    buf_init(&k->body, MAX_DOC_BYTES);
    key_doc_render(d, &k->body);
    if (k->body.full)
        return err_new(ERR_TOO_LARGE, "the API key takes more than [%zu] bytes", MAX_DOC_BYTES);
    struct doc doc = {.id = d->id, .body = buf_str(&k->body)};
    return key_read(&doc, &k->next);
}

void key_changes_deinit(struct key_change *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        key_unref(v[i].next);
        buf_deinit(&v[i].body);
    }
}

static int by_id(const void *a, const void *b)
{
    return str_cmp(((const struct key_change *)a)->id, ((const struct key_change *)b)->id);
}

static bool named(const struct key_change *v, size_t n, struct str id)
{
    const struct key_change key = {.id = id};
    return bsearch(&key, v, n, sizeof *v, by_id);
}

struct err *key_changes_publish(struct security *s, struct arena *arena, struct key_change *v,
                                size_t n)
{
    struct change *changes = arena_array(arena, n + 1, sizeof *changes);
    struct counted *held;
    if (!n)
        return NULL;
    qsort(v, n, sizeof *v, by_id);
    for (size_t i = 0; i < n; i++)
        changes[i] = (struct change){.kind = STORE_API_KEY,
                                     .id = v[i].id,
                                     .body = v[i].next ? buf_str(&v[i].body) : (struct str){0},
                                     .expect = STORE_ANY_REV};
    TRY(store_apply(s->store, changes, n, NULL));
    const struct keys *old = keys_peek(s, &held);
    struct keys *next = keys_new(old->n + n);
    for (size_t i = 0; i < old->n; i++) {
        if (named(v, n, old->v[i]->id))
            continue;
        counted_ref(&old->v[i]->counted);
        keys_add(next, old->v[i]);
    }
    for (size_t i = 0; i < n; i++) {
        if (v[i].next)
            keys_add(next, v[i].next);
        v[i].next = NULL;
    }
    counted_unref(held);
    keys_sort(next);
    cell_swap(&s->keys, &next->counted);
    return NULL;
}

/* --- what bodies say --- */

struct err *key_read_expiration(const struct json *body, int64_t now_ms, int64_t *out)
{
    struct str text;
    int64_t ms;
    TRY(text_member(body, "expiration", &text));
    *out = 0;
    if (!text.p)
        return NULL;
    if (!str_to_ms(text, &ms) || ms < 0 || ms > MAX_EXPIRES_MS)
        return err_new(ERR_ARGUMENT,
                       "failed to parse setting [expiration] with value [%.*s] as a time value: "
                       "unit is missing or unrecognized",
                       STR_ARG(text));
    *out = now_ms + ms;
    return NULL;
}

struct err *key_descriptors_text(const struct rights *r, struct arena *arena, struct str *out)
{
    struct buf b;
    struct json_out w;
    buf_init(&b, MAX_DOC_BYTES);
    json_out_init(&w, &b);
    rights_render(r, &w);
    bool full = b.full;
    *out = arena_dup(arena, buf_str(&b));
    buf_deinit(&b);
    return full ? err_new(ERR_TOO_LARGE, "the role descriptors take more than [%zu] bytes",
                          MAX_DOC_BYTES)
                : NULL;
}
