/* password: passwords as they are chosen and stored; private to security/.
 *
 * Stored is an argon2id string of libsodium's "interactive" cost (64 MiB, 2 passes). What is
 * hashed elsewhere must be just like that: its parameters say what every later check will cost.
 * Thread: any; password_hash waits some 110 ms for a core. */
#ifndef INFERD_SECURITY_PASSWORD_H
#define INFERD_SECURITY_PASSWORD_H

#include <sodium.h>

#include "err.h"
#include "str.h"

#define PASSWORD_HASH_CHARS crypto_pwhash_STRBYTES /* with the NUL */

/* May it be one? In Elasticsearch's words. */
struct err *password_check(struct str);
struct err *password_hash(struct str, char out[PASSWORD_HASH_CHARS]);
struct err *password_check_hash(struct str hash, char out[PASSWORD_HASH_CHARS]);
/* 121 random bits. A secret: the caller wipes and frees it. */
char *password_random(void);

#endif
