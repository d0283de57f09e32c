/* security: who is calling and what may they do.
 *
 *     security_authenticate(sec, loop, authorization, uri, done, ctx);
 *     TRY(security_authorize(user, PRIV_MONITOR_INFERENCE, "cluster:monitor/xpack/inference/get"));
 *
 * This step: Basic credentials for the built-in user `elastic`. Its password comes from
 * ELASTIC_PASSWORD on the first start, else a random one is made and printed once; only an argon2id
 * hash is stored. A verified password is remembered in memory under a keyed hash (BLAKE2b, key made
 * at start) for some minutes, positive results only, dropped when the password changes.
 * argon2id runs on the pool, at most two at once, with a queue limit (full: 429); repeated failures
 * of one user are slowed down. Texts and headers: shared facts, security.md 3 and 4. */
#ifndef INFERD_SECURITY_H
#define INFERD_SECURITY_H

#include "arena.h"
#include "err.h"
#include "http.h"
#include "json.h"
#include "loop.h"
#include "pool.h"
#include "store.h"

struct security;

enum privilege {
#define X(symbol, name, granted_by) symbol,
#include "privileges.def"
#undef X
    N_PRIVILEGES
};

struct user {
    const char *name;         /* "elastic"; "_anonymous" when security is off */
    const char *const *roles; /* NULL-terminated, sorted */
    uint64_t privileges;      /* bit per enum privilege, implied ones included */
};

/* enabled false: everyone is a superuser and Authorization is ignored. Blocking (store): called
 * from main before the loops run. first_password NULL or empty: a random one; *printed_out is then
 * that password for main to print once (secret; caller wipes and frees), else NULL. */
struct err *security_open(struct store *, struct pool *, bool enabled, const char *first_password,
                          char **printed_out, struct security **out);
/* After the loops have stopped and the pool is freed. NULL is fine. */
void security_close(struct security *);
bool security_enabled(const struct security *);

/* Verifies an Authorization header (empty: none). When the answer is known at once (cached, off,
 * malformed) `done` runs before this returns, else later on `loop`. done gets either a user
 * (valid as long as `security`) or an err it takes: ERR_SECURITY 401 with err->challenge, or 429.
 * `uri` is the raw request target, for the text. Views are borrowed until done.
 * Thread: the loop's. */
void security_authenticate(struct security *, struct loop *, struct str authorization,
                           struct str uri,
                           void (*done)(void *ctx, const struct user *, struct err *), void *ctx);

/* ERR_FORBIDDEN with Elasticsearch's text. Thread: any. */
struct err *security_authorize(const struct user *, enum privilege, const char *action);

/* The body of GET /_security/_authenticate. Thread: any. */
void security_render_user(const struct security *, const struct user *, struct json_out *);

/* The WWW-Authenticate values, in order. */
extern const struct str security_challenges[];
extern const size_t security_n_challenges;

#endif
