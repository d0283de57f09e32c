/* account: users and roles as stored, and the built-in user's first password; private to security/.
 *
 * A user's document (STORE_USER) is JSON: password (an argon2id string), roles, full_name, email,
 * metadata, enabled. A role's (STORE_ROLE) is its descriptor. Thread: immutable once read, any. */
#ifndef INFERD_SECURITY_ACCOUNT_H
#define INFERD_SECURITY_ACCOUNT_H

#include "counted.h"
#include "map.h"
#include "role.h"
#include "security.h"

#define BUILT_IN_USER STR("elastic")

struct account {
    struct user user;
    struct user by_token; /* the same, when he comes with a token */
    const char *hash;
    const char *full_name, *email; /* NULL: null */
    struct str metadata;           /* a JSON object */
    const char *realm, *realm_type;
    const char *authentication_type;
    bool enabled;
};

/* All users and roles of one moment. */
struct realm {
    struct counted counted; /* first: what cells hold */
    struct arena *arena;
    struct map *by_name, *roles_by_name;
    struct account **accounts; /* sorted by name */
    size_t n_accounts;
    const struct role **roles; /* sorted by name, built-in ones among them */
    size_t n_roles;
};

/* Makes `elastic` if it is missing. Its random password, if it needs one, is put into *printed_out;
 * see security_open. Waits: for the disk and for one argon2id. */
struct err *account_ensure_built_in(struct store *, const char *first_password, char **printed_out);
/* Makes `elastic` with this hash unless he is there: *made_out. Waits: for the disk. */
struct err *account_make_built_in(struct store *, const char *hash, bool *made_out);
/* Everybody with what his roles give now. Waits: for the disk. */
struct err *realm_read(struct store *, struct realm **out);

/* NULL: no such. */
const struct account *realm_account(const struct realm *, struct str name);
const struct role *realm_role(const struct realm *, struct str name);

/* What is stored of an account; `roles` is a JSON array of texts. */
struct account_doc {
    struct str hash, roles, full_name, email, metadata; /* p NULL: null */
    bool enabled;
};
void account_doc_of(const struct account *, struct arena *, struct account_doc *out);
void account_doc_render(const struct account_doc *, struct buf *out);
/* As the API shows it. `profiles`: who has one (profile.h); NULL: not asked. */
void account_render(const struct account *, const struct map *profiles, struct json_out *);

/* Who everybody is while security is off. */
extern const struct account account_anonymous;

#endif
