/* vault: secrets as they lie on disk; private to store/.
 *
 *     sealed = version (1 byte, now 1) | key id (8) | nonce (24) | ciphertext | tag (16)
 *
 * XChaCha20-Poly1305 (libsodium, IETF form) with a random nonce. Authenticated with it: the header
 * before the nonce, the record's kind and its id, so a record copied to another name does not open.
 * The key id is a hash of the key: it tells a wrong key file from a damaged record.
 *
 * The key: 32 random bytes, as 64 hex digits and a line feed, in <path.data>/secrets.key. A backup
 * of the database without that file holds no secret in the clear. Thread: any, once open. */
#ifndef INFERD_STORE_VAULT_H
#define INFERD_STORE_VAULT_H

#include "store.h"

struct vault;

#define VAULT_OVERHEAD (1 + 8 + 24 + 16)

/* Reads the key file, or makes it when it is missing and may_make; missing otherwise: an error
 * that says existing secrets need it. path_data NULL: a key for this process alone. */
struct err *vault_open(const char *path_data, bool may_make, struct vault **out);
void vault_close(struct vault *); /* wipes the key; NULL is fine */

/* Both write into the arena. What vault_unseal gives lies there until the arena ends. */
struct str vault_seal(const struct vault *, enum store_kind, struct str id, struct str plain,
                      struct arena *);
struct err *vault_unseal(const struct vault *, enum store_kind, struct str id, struct str sealed,
                         struct arena *, struct str *plain_out);

/* Whether this key sealed it, by the key id alone. */
bool vault_sealed_it(const struct vault *, struct str sealed);
struct err *vault_wrong_key(const struct vault *);

#endif
