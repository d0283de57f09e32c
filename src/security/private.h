/* private: what the files of security/ share. */
#ifndef INFERD_SECURITY_PRIVATE_H
#define INFERD_SECURITY_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "counted.h"
#include "security.h"
#include "service.h"

struct security {
    bool enabled; /* false: nothing below is there */
    struct store *store;
    struct verifier *verifier;
    struct cell realm;  /* struct realm: users and roles */
    struct cell keys;   /* struct keys */
    struct cell tokens; /* struct tokens */
    struct services services;
    struct cell service_tokens; /* struct service_tokens */
    struct usage *usage;
    int64_t token_ms; /* how long an access token lives */
    /* One change at a time, so that the tables follow the store in its order. Taken by pool threads
     * only; held over the disk's answer, which is what makes the order the same. */
    pthread_mutex_t writing;
    atomic_int n_hashing;
};

/* An error of the form "Validation Failed: 1: ...;". */
struct err *invalid(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Members other than these are refused, as Elasticsearch's parsers do; body may be NULL. */
struct err *only_members(const struct json *body, const char *parser, const char *const *names);
/* A member that must be a text when it is there; p NULL when it is not (or null). */
struct err *text_member(const struct json *body, const char *name, struct str *out);
/* Metadata: an object whose keys do not begin with "_"; "{}" when it is not there. */
struct err *metadata_member(const struct json *body, const char *what, struct str *out);
/* Stores a change of users or roles, then works out everybody's rights anew. `writing` is held. */
struct err *realm_change(struct security *, const struct change *, size_t n);
/* All tokens of a user who goes: another of that name must not be served by them. `writing` is
 * held.
 */
struct err *tokens_end_of(struct security *, struct arena *, struct str username);
/* asking.c: is that a question about privileges? Has the user all that it asks for? *left: how many
 * answers that may still take; 413 when it is more. */
struct err *asking_check(const struct json *body);
struct err *asking_has_all(const struct user *, const struct json *body, size_t *left, bool *out);
/* Who asks, as refusals name him: "service account [elastic/kibana]". */
void put_subject(const struct user *, struct buf *);
/* Lower- and upper-case letters, digits, - and _ from n random bytes, at most 32. */
void random_text(char *out, size_t room, size_t n);
/* Is it one of these, which are separated by commas? */
bool name_listed(struct str list, struct str name);
/* Users' and roles' names. */
struct err *check_name(const char *what, struct str name);

#endif
