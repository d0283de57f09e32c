#include "verified.h"

#include <sodium.h>

static struct verified_entry *set_of(struct verified *v, const struct verified_key *key)
{
    return v->set[key->b[0] % VERIFIED_SETS]; /* the digest is keyed: nobody aims at a set */
}

static bool same(const struct verified_key *a, const struct verified_key *b)
{
    return sodium_memcmp(a->b, b->b, VERIFIED_BYTES) == 0;
}

bool verified_has(struct verified *v, const struct verified_key *key, int64_t now_ms)
{
    struct verified_entry *set = set_of(v, key);
    for (int i = 0; i < VERIFIED_WAYS; i++) {
        if (set[i].until_ms <= now_ms || !same(&set[i].key, key))
            continue;
        set[i].until_ms = now_ms + VERIFIED_MS;
        return true;
    }
    return false;
}

void verified_add(struct verified *v, const struct verified_key *key, int64_t now_ms)
{
    struct verified_entry *set = set_of(v, key), *oldest = set;
    for (int i = 1; i < VERIFIED_WAYS; i++)
        if (set[i].until_ms < oldest->until_ms)
            oldest = &set[i];
    *oldest = (struct verified_entry){*key, now_ms + VERIFIED_MS};
}
