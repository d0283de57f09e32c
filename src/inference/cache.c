/* cache: a map from a digest of the request to a counted copy of the answer, and a list in order of
 * use. What an entry weighs is what its arena took. */
#include "cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "bug.h"
#include "map.h"

struct cached {
    atomic_uint refs;
    struct arena *arena;
    struct result result;
    size_t bytes;
    int64_t expires_ms;
    struct cached *newer, *older;
    char key[CACHE_KEY_BYTES];
};

struct cache {
    pthread_mutex_t lock;
    struct map *entries;
    struct cached *newest, *oldest;
    size_t bytes, limit_bytes;
    int64_t ttl_ms;
};

/* What an entry takes beside its arena's contents: blocks, map slot. */
#define ENTRY_OVERHEAD (sizeof(struct cached) + 4096)

struct cache *cache_new(size_t limit_bytes, int64_t ttl_ms)
{
    struct cache *c = mem_new(sizeof *c);
    pthread_mutex_init(&c->lock, NULL);
    c->entries = map_new();
    c->limit_bytes = limit_bytes;
    c->ttl_ms = ttl_ms;
    return c;
}

void cached_unref(struct cached *e)
{
    if (!e || atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) != 1)
        return;
    arena_free(e->arena);
    free(e);
}

const struct result *cached_result(const struct cached *e)
{
    return &e->result;
}

static struct str key_str(const struct cached *e)
{
    return str_n(e->key, sizeof e->key);
}

/* --- the list; lock held --- */

static void unlink_entry(struct cache *c, struct cached *e)
{
    *(e->newer ? &e->newer->older : &c->newest) = e->older;
    *(e->older ? &e->older->newer : &c->oldest) = e->newer;
    e->newer = e->older = NULL;
}

static void link_newest(struct cache *c, struct cached *e)
{
    e->older = c->newest;
    *(c->newest ? &c->newest->newer : &c->oldest) = e;
    c->newest = e;
}

static void drop(struct cache *c, struct cached *e)
{
    map_take(c->entries, key_str(e));
    unlink_entry(c, e);
    c->bytes -= e->bytes;
    cached_unref(e);
}

void cache_free(struct cache *c)
{
    if (!c)
        return;
    while (c->oldest)
        drop(c, c->oldest);
    map_free(c->entries);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* --- keys --- */

static void key_str_part(struct buf *b, struct str s)
{
    buf_printf(b, "%zu:", s.n);
    buf_put(b, s);
}

void cache_key(const struct input *in, char out[CACHE_KEY_BYTES])
{
    struct buf b;
    buf_init(&b, SIZE_MAX);
    buf_printf(&b, "%d %d %d %lld %d %d ", in->task, in->input_type, in->has_top_n,
               (long long)in->top_n, in->has_return_documents, in->return_documents);
    key_str_part(&b, in->query);
    key_str_part(&b, in->task_settings ? json_raw(in->task_settings) : STR(""));
    for (size_t i = 0; i < in->n_texts; i++)
        key_str_part(&b, in->texts[i]);
    secret_digest(buf_str(&b), out);
    buf_deinit(&b);
}

/* --- finding and putting --- */

struct cached *cache_find(struct cache *c, const char *key, int64_t now_ms)
{
    pthread_mutex_lock(&c->lock);
    struct cached *e = map_get(c->entries, str_n(key, CACHE_KEY_BYTES));
    if (e && e->expires_ms <= now_ms) {
        drop(c, e);
        e = NULL;
    }
    if (e) {
        unlink_entry(c, e);
        link_newest(c, e);
        atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&c->lock);
    return e;
}

static struct cached *copy(const char *key, const struct result *r, int64_t expires_ms)
{
    struct cached *e = mem_new(sizeof *e);
    atomic_init(&e->refs, 1);
    e->arena = arena_new(ARENA_NO_LIMIT);
    result_copy(e->arena, r, &e->result);
    e->bytes = arena_used(e->arena) + ENTRY_OVERHEAD;
    e->expires_ms = expires_ms;
    memcpy(e->key, key, sizeof e->key);
    return e;
}

void cache_put(struct cache *c, const char *key, const struct result *r, int64_t now_ms)
{
    struct cached *e = copy(key, r, now_ms + c->ttl_ms);
    if (e->bytes > c->limit_bytes) {
        cached_unref(e);
        return;
    }
    pthread_mutex_lock(&c->lock);
    struct cached *old = map_get(c->entries, key_str(e));
    if (old)
        drop(c, old);
    while (c->oldest && c->bytes + e->bytes > c->limit_bytes)
        drop(c, c->oldest);
    map_put(c->entries, key_str(e), e);
    link_newest(c, e);
    c->bytes += e->bytes;
    pthread_mutex_unlock(&c->lock);
}
