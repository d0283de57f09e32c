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
/* Another key, in <path.data>/secrets.key.next until it is adopted. For a rotation: all secrets are
 * sealed with it in one transaction, then its file takes the place of secrets.key. Whichever moment
 * the process ends at, one of the two files opens all secrets, and store_open finds out which. */
struct err *vault_make_next(const char *path_data, struct vault **out);
/* The one that a rotation has left; NULL in *out: there is none. */
struct err *vault_open_next(const char *path_data, struct vault **out);
/* The old key's bytes are overwritten. */
struct err *vault_adopt(struct vault *next, const char *path_data);
struct err *vault_drop_next(const char *path_data); /* if there is one */
void vault_close(struct vault *);                   /* wipes the key; NULL is fine */

/* Both write into the arena. What vault_unseal gives lies there until the arena ends. */
struct str vault_seal(const struct vault *, enum store_kind, struct str id, struct str plain,
                      struct arena *);
struct err *vault_unseal(const struct vault *, enum store_kind, struct str id, struct str sealed,
                         struct arena *, struct str *plain_out);

/* Whether this key sealed it, by the key id alone. */
bool vault_sealed_it(const struct vault *, struct str sealed);
struct err *vault_wrong_key(const struct vault *);

#endif
