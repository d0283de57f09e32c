/* secret: bytes that no formatter, log call or renderer accepts. Wiped when freed.
 * Held as a pointer to an opaque struct on purpose: secret_reveal is the one way to the bytes,
 * so every use can be found by name. Thread: immutable, any. */
#ifndef INFERD_SECRET_H
#define INFERD_SECRET_H

#include "str.h"

struct secret;

struct secret *secret_new(struct str bytes);      /* copies */
struct secret *secret_ref(const struct secret *); /* counted */
void secret_unref(struct secret *);               /* NULL is fine; wipes with the last */
struct str secret_reveal(const struct secret *);  /* borrowed; NULL gives the empty view */

/* Wipes caller's memory in a way the compiler keeps. */
void secret_wipe(void *p, size_t n);

/* A keyless BLAKE2b-256 digest: to compare or group by what must not be kept. */
#define SECRET_DIGEST_BYTES 32
void secret_digest(struct str bytes, char out[SECRET_DIGEST_BYTES]);

#endif
