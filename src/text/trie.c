#include "trie.h"

#include <stdlib.h>

#include "bug.h"

#define FIRST_BITS 10

struct trie *trie_new(void)
{
    struct trie *t = mem_new(sizeof(*t));
    t->multiplier = str_hash(STR("trie")) | 1;
    t->mask = (1u << FIRST_BITS) - 1;
    t->shift = 64 - FIRST_BITS;
    t->edges = mem_array((size_t)t->mask + 1, sizeof(*t->edges));
    t->nodes_cap = 1u << (FIRST_BITS - 1);
    t->values = mem_array(t->nodes_cap, sizeof(*t->values));
    t->n_nodes = TRIE_ROOT + 1;
    t->values[TRIE_ROOT] = -1;
    return t;
}

void trie_free(struct trie *t)
{
    if (!t)
        return;
    free(t->edges);
    free(t->values);
    free(t);
}

static struct trie_edge *slot(const struct trie *t, uint32_t key)
{
    uint32_t i = (uint32_t)((key * t->multiplier) >> t->shift);
    while (t->edges[i].key && t->edges[i].key != key)
        i = (i + 1) & t->mask;
    return &t->edges[i];
}

/* Nodes fill at most half of the edge table: probes stay short. */
static void grow(struct trie *t)
{
    struct trie_edge *old = t->edges;
    size_t n_old = (size_t)t->mask + 1;
    t->mask = t->mask * 2 + 1;
    t->shift--;
    t->edges = mem_array(n_old * 2, sizeof(*t->edges));
    for (size_t i = 0; i < n_old; i++) {
        if (old[i].key)
            *slot(t, old[i].key) = old[i];
    }
    free(old);
    t->nodes_cap *= 2;
    t->values = mem_grow(t->values, t->nodes_cap * sizeof(*t->values));
}

static uint32_t add_node(struct trie *t)
{
    t->values[t->n_nodes] = -1;
    return t->n_nodes++;
}

bool trie_put(struct trie *t, struct str s, int32_t value, int32_t *old)
{
    *old = -1;
    uint32_t at = TRIE_ROOT;
    struct trie_edge *e = NULL;
    for (size_t i = 0; i < s.n; i++) {
        if (t->n_nodes == TRIE_MAX_NODES)
            return false;
        if (t->n_nodes == t->nodes_cap)
            grow(t);
        uint32_t key = at << 8 | (uint8_t)s.p[i];
        e = slot(t, key);
        if (!e->key)
            *e = (struct trie_edge){key, add_node(t)};
        at = e->to & ~TRIE_ENDS;
    }
    if (!e)
        return true;
    if (e->to & TRIE_ENDS) {
        *old = t->values[at];
        return true;
    }
    e->to |= TRIE_ENDS;
    t->values[at] = value;
    return true;
}

void trie_set(struct trie *t, struct str s, int32_t value)
{
    uint32_t at = trie_node(t, s);
    BUG_ON(!trie_ends(at));
    t->values[at & ~TRIE_ENDS] = value;
}

uint32_t trie_node(const struct trie *t, struct str s)
{
    uint32_t at = TRIE_ROOT;
    for (size_t i = 0; at && i < s.n; i++)
        at = trie_step(t, at, (uint8_t)s.p[i]);
    return at;
}

int32_t trie_find(const struct trie *t, struct str s)
{
    uint32_t at = trie_node(t, s);
    return trie_ends(at) ? trie_value(t, at) : -1;
}
