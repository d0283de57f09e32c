/* service: the accounts of services (Elastic's own, services.def), the tokens they come with, and
 * the table of all tokens; private to security/.
 *
 * A token is told as Elasticsearch tells it: base64 without padding of the bytes 0 1 0 1 and
 * "elastic/fleet-server/NAME:SECRET". It never expires; what is stored (STORE_SERVICE_TOKEN, JSON)
 * is a BLAKE2b digest of the secret, bound to the qualified name, which is the document's id.
 * Thread: immutable, any. */
#ifndef INFERD_SECURITY_SERVICE_H
#define INFERD_SECURITY_SERVICE_H

#include "account.h"
#include "key.h"

#define SERVICE_REALM      "_service_account"
#define SERVICE_TOKENS_MAX 10000 /* at once: the table is copied with each change */
#define SERVICE_NAME_MAX   256   /* of a token, in characters */

struct service {
    struct account account; /* its user: without a password, and no user of the realm's */
    struct rights rights;
    const struct role *role;
};

/* All accounts, sorted by name. */
struct services {
    struct arena *arena;
    struct service *v;
    size_t n;
};

struct err *services_open(struct services *out);
void services_close(struct services *); /* also of one that was never opened */
/* "elastic/fleet-server"; NULL: no such. */
const struct service *services_find(const struct services *, struct str name);

struct service_token {
    struct counted counted; /* first: what the table holds */
    struct arena *arena;
    struct user user;    /* who comes with it */
    struct str id, name; /* "elastic/fleet-server/token1", "token1" */
    struct str creator;
    const struct service *service; /* NULL: this version knows no such account */
    unsigned char hash[KEY_HASH_BYTES];
    int64_t created_ms;
};

struct service_tokens {
    struct counted counted;
    size_t n;
    struct service_token *v[]; /* sorted by id; one reference each */
};

struct err *service_token_read(const struct services *, const struct doc *,
                               struct service_token **out);
void service_token_render(const struct service_token *, struct buf *out); /* what is stored */
void service_token_unref(const struct service_token *);                   /* NULL is fine */

struct err *service_tokens_read(struct store *, const struct services *,
                                struct service_tokens **out);
struct service_tokens *service_tokens_new(size_t room);
void service_tokens_add(struct service_tokens *, struct service_token *); /* takes; any order */
void service_tokens_sort(struct service_tokens *);
/* NULL: no such. */
const struct service_token *service_tokens_find(const struct service_tokens *, struct str id);
bool service_token_is(const struct service_token *, struct str secret);

bool service_name_ok(struct str token_name);

/* What a bearer token says if it has the form of a service's: read and nothing more. Holds secrets:
 * service_bearer_wipe ends it when it was one. */
struct service_bearer {
    struct str id, service, name, secret; /* borrowed from `bytes` */
    unsigned char bytes[1024];
};
bool service_bearer_read(struct str token, struct service_bearer *out);
void service_bearer_wipe(struct service_bearer *);

#endif
