/* account: a user as stored under STORE_USER, and the built-in one's first password; private to
 * security/. The document is JSON: password (an argon2id string), roles, full_name, email,
 * metadata, enabled. Thread: immutable once open, any. */
#ifndef INFERD_SECURITY_ACCOUNT_H
#define INFERD_SECURITY_ACCOUNT_H

#include "security.h"

struct account {
    struct user user;
    const char *hash;
    const char *full_name, *email; /* NULL: null */
    struct str metadata;           /* a JSON object */
    const char *realm, *realm_type;
    const char *authentication_type;
    bool enabled;
};

struct accounts;

/* Reads them all; makes `elastic` first if it is missing. Its random password, if it needs one, is
 * put into *printed_out; see security_open. Waits: for the disk and for one argon2id. */
struct err *accounts_open(struct store *, const char *first_password, char **printed_out,
                          struct accounts **out);
void accounts_close(struct accounts *); /* NULL is fine */

/* NULL: no such user. */
const struct account *accounts_find(const struct accounts *, struct str name);

/* Who everybody is while security is off. */
extern const struct account account_anonymous;

#endif
