/* verified: which (user, hash, password) were found right lately; private to security/.
 *
 * Keeps keyed BLAKE2b digests, not passwords, and only of successes. Since the stored hash is part
 * of the digest, changing a password forgets the old one at once. An entry lives ten minutes after
 * its last use, so that a client which keeps calling is not cast out while somebody else is
 * guessing at its name. 1024 entries in sets of 4; a full set gives up its oldest. Thread: one
 * owner (the verifier's lock). */
#ifndef INFERD_SECURITY_VERIFIED_H
#define INFERD_SECURITY_VERIFIED_H

#include <stdbool.h>
#include <stdint.h>

#define VERIFIED_SETS  256
#define VERIFIED_WAYS  4
#define VERIFIED_MS    (10 * 60 * 1000)
#define VERIFIED_BYTES 32

struct verified_key {
    unsigned char b[VERIFIED_BYTES];
};

struct verified {
    struct verified_entry {
        struct verified_key key;
        int64_t until_ms; /* 0: empty */
    } set[VERIFIED_SETS][VERIFIED_WAYS];
};

bool verified_has(struct verified *, const struct verified_key *, int64_t now_ms);
void verified_add(struct verified *, const struct verified_key *, int64_t now_ms);

#endif
