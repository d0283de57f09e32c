/* store: durable documents with revisions.
 *
 *     struct store *s;
 *     TRY(store_open("sqlite", "./data", &s));
 *     uint64_t rev;
 *     TRY(store_put(s, STORE_ENDPOINT, id, body, 0, &rev));    // 0: must not exist yet
 *
 * When put or drop answer NULL the change is on disk (fsync done): kill -9 a moment later loses
 * nothing. Several changes that belong together go through store_apply: all or none.
 * Loop threads never call any of this: use the pool. Thread: any other, many at once.
 *
 * Secrets (STORE_SECRET) are encrypted here, whatever the driver, with XChaCha20-Poly1305 under a
 * key from <path.data>/secrets.key (made with 0600 on first open; the record's kind and id are
 * authenticated with it). A wrong or missing key for existing secrets: an error that says so.
 *
 * One server per data folder: a second open of the same folder fails. */
#ifndef INFERD_STORE_H
#define INFERD_STORE_H

#include "arena.h"
#include "err.h"
#include "str.h"

struct store;

enum store_kind {
    STORE_META,     /* cluster uuid, node id, the built-in user's password hash ... */
    STORE_ENDPOINT, /* id: inference id; body: JSON without secrets */
    STORE_SECRET,   /* id: as the endpoint's; encrypted */
    STORE_USER,
    STORE_ROLE,
    STORE_API_KEY,       /* holds a hash of the key, never the key */
    STORE_TRAINED_MODEL, /* id: model id; body: what registry.c says */
    STORE_MODEL_ALIAS,   /* id: alias; body: names the model */
    STORE_TOKEN,         /* access tokens; holds hashes of them, never the tokens */
    STORE_DEPLOYMENT,    /* id: deployment id; body: what remember.c says */
    STORE_ROLE_MAPPING,  /* id: name; body: as the API shows it */
    STORE_SERVICE_TOKEN, /* id: qualified name; holds a hash of the token, never the token */
    STORE_PROFILE,       /* id: uid; body: what security/profile.c says */
    N_STORE_KINDS
};

struct doc {
    struct str id;
    struct str body;
    uint64_t rev; /* > 0, grows with every change of any document */
};

struct docs {
    struct doc *v;
    size_t n;
};

#define STORE_ANY_REV UINT64_MAX /* whether it exists or not; dropping an absent one is fine */

struct change {
    enum store_kind kind;
    struct str id;
    struct str body; /* p == NULL: drop */
    uint64_t expect; /* revision it must have; 0: must not exist; or STORE_ANY_REV */
};

struct err *store_open(const char *driver, const char *path_data, struct store **out);
void store_close(struct store *);
/* Seals every secret anew, under a new key, which takes the place of secrets.key: all or none,
 * whenever the process ends. Thread: main, before anybody else uses the store. */
struct err *store_rotate_key(struct store *, size_t *n_secrets_out);

/* Absent: ERR_NOT_FOUND. Copies into the arena (a secret too: let that arena end soon). */
struct err *store_get(struct store *, enum store_kind, struct str id, struct arena *,
                      struct doc *out);
/* Wrong `expect`: ERR_CONFLICT (exists: ERR_EXISTS when expect is 0; absent: ERR_NOT_FOUND). */
struct err *store_put(struct store *, enum store_kind, struct str id, struct str body,
                      uint64_t expect, uint64_t *rev_out);
struct err *store_drop(struct store *, enum store_kind, struct str id, uint64_t expect);
/* One transaction; on error nothing has changed. All of them get the one revision in *rev_out
 * (which may be NULL). No document may be named twice. */
struct err *store_apply(struct store *, const struct change *, size_t n, uint64_t *rev_out);
/* Sorted by id, bytewise. */
struct err *store_list(struct store *, enum store_kind, struct arena *, struct docs *out);

#endif
