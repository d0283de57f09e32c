/* security: who is calling and what may they do.
 *
 *     security_authenticate(sec, loop, authorization, uri, done, ctx);
 *     TRY(security_authorize(user, PRIV_MONITOR_INFERENCE, "cluster:monitor/xpack/inference/get"));
 *     user_unref(user);
 *
 * Users have passwords (Basic; argon2id on the pool, verifier.h), API keys are 128 random bits of
 * which a BLAKE2b digest is kept (ApiKey; checked at once, on the loop, without a lock). Users,
 * roles and keys are immutable tables in memory, replaced whole when the store has a change on
 * disk; who was authenticated before keeps what he had until his request ends.
 *
 * The built-in user's password comes from ELASTIC_PASSWORD on the first start, else a random one is
 * made and printed once. Texts, headers and shapes: shared facts, security.md. */
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
#define X(symbol, name, granted_by, actions) symbol,
#include "privileges.def"
#undef X
    N_PRIVILEGES
};

struct account;
struct api_key;
struct counted;
struct rights;

/* Counted: lives until the last user_unref, whatever changes meanwhile. */
struct user {
    const char *name;         /* "elastic"; "_anonymous" when security is off; a key's owner */
    const char *const *roles; /* NULL-terminated, sorted; as assigned, whether they exist or not */
    uint64_t privileges;      /* bit per enum privilege, implied ones included */
    const struct rights *own; /* what the roles give; NULL: `privileges` says it all */
    const struct rights *limit;    /* ... and only as far as this does; NULL: no limit */
    const struct account *account; /* NULL with an API key */
    const struct api_key *key;     /* NULL with a password or a token */
    bool with_token;
    const char *token_name; /* of a service account's token; NULL: it is no service */
    const struct user *by;  /* who runs as this user; NULL: himself */
    struct counted *keeper; /* of all of these; NULL: for ever */
};

const struct user *user_ref(const struct user *);
void user_unref(const struct user *); /* NULL is fine */

/* enabled false: everyone is a superuser and Authorization is ignored. Blocking (store): called
 * from main before the loops run. first_password NULL or empty: a random one; *printed_out is then
 * that password for main to print once (secret; caller wipes and frees), else NULL. */
struct err *security_open(struct store *, struct pool *, bool enabled, const char *first_password,
                          char **printed_out, struct security **out);
/* A new password for a user of the store, who must exist (`elastic` is made if need be, and
 * enabled). Thread: main, before anybody else uses the store. Waits: for the disk and for one
 * argon2id. */
struct err *security_reset_password(struct store *, struct str name, struct str password);
char *security_random_password(void); /* secret; the caller wipes and frees it */
#define SECURITY_TOKEN_MS (20 * 60 * 1000)
/* How long access tokens live; SECURITY_TOKEN_MS unless said. Before the loops run. */
void security_set_token_ms(struct security *, int64_t ms);
/* Keeps what API keys use in this file; otherwise it is forgotten at the end. Before the loops run.
 */
struct err *security_keep_usage(struct security *, const char *path);
/* After the loops have stopped and the pool is freed. NULL is fine. */
void security_close(struct security *);
bool security_enabled(const struct security *);

/* Verifies an Authorization header (empty: none). When the answer is known at once (cached, off,
 * malformed, an API key) `done` runs before this returns, else later on `loop`. done takes either a
 * user or an err: ERR_SECURITY 401 with err->challenge, or 429.
 * `uri` is the raw request target, for the text. Views are borrowed until done.
 * Thread: the loop's. */
void security_authenticate(struct security *, struct loop *, struct str authorization,
                           struct str uri,
                           void (*done)(void *ctx, const struct user *, struct err *), void *ctx);

/* `by` in the name of the user `name`: *out is that user, and `by` is taken. ERR_FORBIDDEN, and
 * *out is `by`: not he, or not that one. `action` is for the text. Thread: a loop's. */
struct err *security_run_as(struct security *, const struct user *by, struct str name,
                            const char *action, const struct user **out);
/* As security_authenticate, for a name and a password that came another way. */
void security_authenticate_password(struct security *, struct loop *, struct str name,
                                    struct str password, struct str uri,
                                    void (*done)(void *ctx, const struct user *, struct err *),
                                    void *ctx);

/* Is this an access token, good or not any more? Thread: any. */
bool security_is_token(struct security *, struct str text);
/* Is this what `encoded` of an API key looks like, and is there such a key? For bearer tokens,
 * which carry either that or a user's name and password. Thread: any. */
bool security_is_api_key(struct security *, struct str base64);

/* ERR_FORBIDDEN with Elasticsearch's text. Thread: any. */
struct err *security_authorize(const struct user *, enum privilege, const char *action);
/* The same for one inference endpoint: roles may be limited to some (role.h). */
struct err *security_authorize_endpoint(const struct user *, enum privilege, const char *action,
                                        struct str inference_id);
/* What an API key's inference call holds from its beginning to its answer; row NULL: nothing. */
struct usage_pass {
    struct usage_row *row;
};
/* Whoever does not come with an API key is let through. ERR_TOO_MANY, with the time to wait: the
 * key's own limits (role.h). Thread: any. */
struct err *security_admit(struct security *, const struct user *, struct str inference_id,
                           struct usage_pass *out);
/* Before the call is answered: from then on it is counted, whatever happens. Once; NULL-safe. */
void security_settle(struct security *, struct usage_pass *, int64_t in_tokens, int64_t out_tokens);

/* Is one of his roles for some endpoints only? Otherwise the two below need not be asked. */
bool security_is_limited(const struct user *);
/* May he see that there is such an endpoint? */
bool security_sees(const struct user *, struct str inference_id);
/* That error, whatever he may do otherwise. */
struct err *security_forbid(const struct user *, enum privilege, const char *action);

/* A number for whom work is done, for taking turns: of the API key, else of the user. Different
 * ones may share it. Thread: any. */
uint32_t security_owner(const struct user *);

/* The body of GET /_security/_authenticate. Thread: any. */
void security_render_user(const struct user *, struct json_out *);

/* --- the resources of the security API ---
 *
 * One call of it. The answer is written to `out`, whole, unless an err is returned. Each of these
 * may wait for the disk or hash a password. Thread: the pool's. */
struct security_call {
    const struct user *user;
    struct arena *arena;     /* the call's scratch, nobody else's meanwhile */
    const struct json *body; /* NULL: none */
    struct str name;         /* in the path: names of users or roles, ids of keys; p NULL: none */
    struct str part;         /* in the path, behind the name: names of its privileges; a service */
    struct str token;        /* in the path: the name of a service account's token */
    bool get;                /* by GET */
    /* of the query */
    struct str id, key_name, realm, username; /* p NULL: not given */
    bool owner, active_only, with_limited_by, with_usage, with_profile_uid;
    struct str data, if_seq_no, if_primary_term; /* of a profile; p NULL: not given */
    struct json_out *out;
    int status; /* 200 */
};

typedef struct err *security_op(struct security *, struct security_call *);

security_op api_key_create, api_key_get, api_key_invalidate, api_key_update, api_key_query;
security_op api_keys_update, cross_cluster_key_create, cross_cluster_key_update;
/* `user`: whose it will be. */
security_op token_create, token_invalidate, token_unsupported;
security_op user_put, user_get, user_delete, user_password, user_enable, user_disable, user_query;
security_op role_put, role_get, role_delete, role_query, roles_put, roles_delete;
security_op service_accounts_get, service_credentials_get;
security_op service_token_create, service_token_delete;
security_op profile_activate, profiles_get, profile_update, profile_enable, profile_disable;
security_op profiles_suggest, profiles_have_privileges;
security_op index_settings_get, index_settings_put;
security_op saml_prepare, saml_authenticate, saml_logout, saml_invalidate, saml_complete_logout;
security_op saml_metadata, oidc_prepare, oidc_authenticate, oidc_logout, delegate_pki, enroll;
security_op role_mapping_put, role_mapping_get, role_mapping_delete;
security_op has_privileges, privilege_builtin, user_privileges;
security_op application_privileges_put, application_privileges_get, application_privileges_delete;
/* The WWW-Authenticate values, in order. */
extern const struct str security_challenges[];
extern const size_t security_n_challenges;

#endif
