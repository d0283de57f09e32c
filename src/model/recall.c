#include "recall.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "bug.h"
#include "map.h"

/* --- kept --- */

struct kept *kept_new(size_t n)
{
    struct kept *k = mem_new(sizeof(*k) + n * sizeof(k->outputs[0]));
    atomic_init(&k->refs, 1);
    atomic_init(&k->bytes, sizeof(*k) + n * sizeof(k->outputs[0]));
    k->n = n;
    return k;
}

void kept_set(struct kept *k, size_t row, const struct output *from)
{
    struct output *o = &k->outputs[row];
    size_t n = (size_t)(from->dim[0] * from->dim[1] * from->dim[2]);
    BUG_ON(o->data || from->err);
    float *data = mem_array(n ? n : 1, sizeof(*data));
    if (n)
        memcpy(data, from->data, n * sizeof(*data));
    *o = *from;
    o->data = data;
    atomic_fetch_add_explicit(&k->bytes, n * sizeof(*data), memory_order_relaxed);
}

struct kept *kept_ref(struct kept *k)
{
    atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
    return k;
}

void kept_unref(struct kept *k)
{
    if (!k || atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < k->n; i++)
        free((void *)(uintptr_t)k->outputs[i].data);
    free(k);
}

/* --- recall --- */

struct entry {
    struct entry *prev, *next; /* most recent first */
    struct kept *kept;
    size_t bytes; /* with its key, twice: the map has a copy */
    struct str key;
    char key_bytes[];
};

struct recall {
    pthread_mutex_t lock;
    struct map *entries;
    struct entry *first, *last;
    size_t bytes, limit;
};

struct recall *recall_new(size_t limit)
{
    struct recall *r = mem_new(sizeof(*r));
    pthread_mutex_init(&r->lock, NULL);
    r->entries = map_new();
    r->limit = limit;
    return r;
}

static void unlink_entry(struct recall *r, struct entry *e)
{
    if (e->prev)
        e->prev->next = e->next;
    else
        r->first = e->next;
    if (e->next)
        e->next->prev = e->prev;
    else
        r->last = e->prev;
}

static void link_first(struct recall *r, struct entry *e)
{
    e->prev = NULL;
    e->next = r->first;
    if (r->first)
        r->first->prev = e;
    else
        r->last = e;
    r->first = e;
}

static void drop(struct recall *r, struct entry *e)
{
    map_take(r->entries, e->key);
    unlink_entry(r, e);
    r->bytes -= e->bytes;
    kept_unref(e->kept);
    free(e);
}

void recall_clear(struct recall *r)
{
    pthread_mutex_lock(&r->lock);
    while (r->first)
        drop(r, r->first);
    pthread_mutex_unlock(&r->lock);
}

void recall_free(struct recall *r)
{
    if (!r)
        return;
    recall_clear(r);
    map_free(r->entries);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

struct kept *recall_find(struct recall *r, struct str key)
{
    struct kept *k = NULL;
    pthread_mutex_lock(&r->lock);
    struct entry *e = map_get(r->entries, key);
    if (e) {
        unlink_entry(r, e);
        link_first(r, e);
        k = kept_ref(e->kept);
    }
    pthread_mutex_unlock(&r->lock);
    return k;
}

void recall_put(struct recall *r, struct str key, struct kept *k)
{
    size_t bytes = sizeof(struct entry) + 2 * key.n + atomic_load(&k->bytes);
    if (bytes > r->limit)
        return;
    struct entry *e = mem_new(sizeof(*e) + key.n);
    memcpy(e->key_bytes, key.p, key.n);
    *e = (struct entry){.kept = kept_ref(k), .bytes = bytes, .key = str_n(e->key_bytes, key.n)};
    pthread_mutex_lock(&r->lock);
    if (map_get(r->entries, key)) {
        pthread_mutex_unlock(&r->lock);
        kept_unref(k);
        free(e);
        return;
    }
    while (r->bytes + bytes > r->limit)
        drop(r, r->last);
    map_put(r->entries, e->key, e);
    link_first(r, e);
    r->bytes += bytes;
    pthread_mutex_unlock(&r->lock);
}

size_t recall_limit(const struct recall *r)
{
    return r->limit;
}

size_t recall_bytes(struct recall *r)
{
    pthread_mutex_lock(&r->lock);
    size_t n = r->bytes;
    pthread_mutex_unlock(&r->lock);
    return n;
}
