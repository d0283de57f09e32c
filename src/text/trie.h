/* trie: byte strings to small numbers, walked one byte at a time.
 *
 *     struct trie *t = trie_new();
 *     trie_put(t, STR("##ing"), 2075);
 *     uint32_t at = TRIE_ROOT;
 *     while (p < end && (at = trie_step(t, at, *p++)))       // 0: no string goes on like this
 *         if (trie_ends(at)) id = trie_value(t, at);         // a string ends here
 *
 * Nodes are numbers and edges live in one open-addressed table keyed by (node, byte), hashed with a
 * random odd multiplier: building is linear in the bytes put, whatever a hostile vocabulary looks
 * like, and a step is one multiplication and, as a rule, one cache line.
 * Thread: one writer; a finished trie is immutable, any number of readers. */
#ifndef INFERD_TRIE_H
#define INFERD_TRIE_H

#include "str.h"

#define TRIE_ROOT      1u
#define TRIE_ENDS      (1u << 31)       /* in the number trie_step returns */
#define TRIE_MAX_NODES ((1u << 24) - 1) /* (node, byte) is a 32-bit key */

struct trie_edge {
    uint32_t key; /* node << 8 | byte; 0: free */
    uint32_t to;  /* node, with TRIE_ENDS when a string ends there */
};

struct trie {
    struct trie_edge *edges;
    int32_t *values; /* by node; -1: no string ends there */
    uint64_t multiplier;
    uint32_t n_nodes, nodes_cap, mask;
    unsigned shift; /* 64 - log2(mask + 1) */
};

struct trie *trie_new(void);
void trie_free(struct trie *);
/* False: too many nodes. A string that is there already keeps its first value, which is written
 * to *old (otherwise *old is -1). The empty string is not stored. value >= 0. */
bool trie_put(struct trie *, struct str, int32_t value, int32_t *old);
/* A new value for a string that is there. */
void trie_set(struct trie *, struct str, int32_t value);
int32_t trie_find(const struct trie *, struct str); /* -1: not there */
/* The node a string leads to, 0 when none does; the empty string leads to the root. */
uint32_t trie_node(const struct trie *, struct str);

static inline uint32_t trie_step(const struct trie *t, uint32_t at, uint8_t byte)
{
    uint32_t key = at << 8 | byte; /* the shift drops TRIE_ENDS */
    uint32_t i = (uint32_t)((key * t->multiplier) >> t->shift);
    for (;; i = (i + 1) & t->mask) {
        if (t->edges[i].key == key)
            return t->edges[i].to;
        if (t->edges[i].key == 0)
            return 0;
    }
}

static inline bool trie_ends(uint32_t at)
{
    return at & TRIE_ENDS;
}

static inline int32_t trie_value(const struct trie *t, uint32_t at)
{
    return t->values[at & ~TRIE_ENDS];
}

#endif
