/* Linear probing over a power of two of slots, at most three quarters of them in use. The hash is
 * keyed (str_hash), so outsiders cannot choose colliding keys. Removing leaves a tombstone, which
 * keeps every other entry where it is: map_take is allowed while walking with map_next. */
#include "map.h"

#include <stdlib.h>

#include "bug.h"

struct slot {
    uint64_t hash;
    char *key; /* NULL: free; `gone`: a tombstone */
    size_t n;
    void *value;
};

struct map {
    struct slot *slots;
    size_t cap;  /* power of two, or 0 */
    size_t used; /* with tombstones */
    size_t count;
};

static char gone[1];

static bool is_live(const struct slot *s)
{
    return s->key && s->key != gone;
}

struct map *map_new(void)
{
    return mem_new(sizeof(struct map));
}

void map_free(struct map *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->cap; i++)
        if (is_live(&m->slots[i]))
            free(m->slots[i].key);
    free(m->slots);
    free(m);
}

static struct slot *find(const struct map *m, struct str key, uint64_t hash)
{
    if (m->cap == 0)
        return NULL;
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct slot *s = &m->slots[i];
        if (!s->key)
            return NULL;
        if (s->hash == hash && s->key != gone && str_eq(str_n(s->key, s->n), key))
            return s;
    }
}

static struct slot *free_slot(const struct map *m, uint64_t hash)
{
    size_t i = hash & (m->cap - 1);
    while (m->slots[i].key)
        i = (i + 1) & (m->cap - 1);
    return &m->slots[i];
}

static void grow(struct map *m)
{
    struct map old = *m;
    /* Many tombstones: the same size will do, they go away by moving. */
    m->cap = old.cap == 0 ? 16 : old.count >= old.cap / 2 ? old.cap * 2 : old.cap;
    m->slots = mem_array(m->cap, sizeof *m->slots);
    m->used = m->count;
    for (size_t i = 0; i < old.cap; i++)
        if (is_live(&old.slots[i]))
            *free_slot(m, old.slots[i].hash) = old.slots[i];
    free(old.slots);
}

void *map_get(const struct map *m, struct str key)
{
    if (m->count == 0)
        return NULL;
    struct slot *s = find(m, key, str_hash(key));
    return s ? s->value : NULL;
}

static char *dup_key(struct str key)
{
    BUG_ON(key.n == SIZE_MAX);
    char *p = mem_new(key.n + 1);
    if (key.n)
        memcpy(p, key.p, key.n);
    return p;
}

void *map_put(struct map *m, struct str key, void *value)
{
    uint64_t hash = str_hash(key);
    struct slot *s = find(m, key, hash);
    if (s) {
        void *old = s->value;
        s->value = value;
        return old;
    }
    if (m->used >= m->cap / 4 * 3)
        grow(m);
    *free_slot(m, hash) = (struct slot){hash, dup_key(key), key.n, value};
    m->used++;
    m->count++;
    return NULL;
}

void *map_take(struct map *m, struct str key)
{
    struct slot *s = find(m, key, str_hash(key));
    if (!s)
        return NULL;
    void *value = s->value;
    free(s->key);
    *s = (struct slot){.key = gone};
    m->count--;
    return value;
}

size_t map_count(const struct map *m)
{
    return m->count;
}

bool map_next(const struct map *m, size_t *i, struct str *key_out, void **value_out)
{
    while (*i < m->cap) {
        const struct slot *s = &m->slots[(*i)++];
        if (!is_live(s))
            continue;
        *key_out = str_n(s->key, s->n);
        *value_out = s->value;
        return true;
    }
    return false;
}
