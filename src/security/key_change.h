/* key_change: changes to the table of API keys, and what the calls that make them have in common;
 * private to security/.
 *
 *     struct key_change v[1];
 *     e = key_change_init(&v[0], &doc);
 *     if (!e)
 *         e = key_changes_publish(s, arena, v, 1);      // s->writing is held
 *     key_changes_deinit(v, 1);
 *
 * Thread: the pool's. */
#ifndef INFERD_KEY_CHANGE_H
#define INFERD_KEY_CHANGE_H

#include "key.h"
#include "private.h"

struct key_change {
    struct str id;
    struct api_key *next; /* a reference; NULL: the key is forgotten */
    struct buf body;
};

/* What the document says. Reads it back, so a change that is stored can be read later. */
struct err *key_change_init(struct key_change *, const struct key_doc *);
void key_changes_deinit(struct key_change *, size_t n);
/* First the disk, then the table; sorts the changes. `writing` is held. */
struct err *key_changes_publish(struct security *, struct arena *, struct key_change *, size_t n);
/* Valid until *held is let go. */
const struct keys *keys_peek(struct security *, struct counted **held);

struct key_owner {
    struct str name, realm, realm_type;
};
struct key_owner key_owner_of(const struct user *);
bool key_owned_by(const struct user *, const struct api_key *);

struct err *key_check_name(const struct json *body, struct str *out);
/* Gives a key that was asked for its id and its secret, stores it, together with forgetting keys
 * that ended long ago, and answers with it, the one time that the secret is told. `made` is logged.
 */
struct err *key_issue(struct security *, struct security_call *, struct key_doc *,
                      const char *made);
/* May the user change this key, which is asked for by this id (NULL: there is none), as one of this
 * kind? */
struct err *key_check_update(const struct user *, const struct api_key *, struct str id,
                             bool cross_cluster);
/* Stores the next form of a key unless nothing has changed, and says which. `writing` is held. */
struct err *key_store_next(struct security *, struct arena *, const struct api_key *,
                           const struct key_doc *, bool *changed_out);

/* expiration of a body, as a time; 0: not there. */
struct err *key_read_expiration(const struct json *body, int64_t now_ms, int64_t *out);
/* The descriptors as they are stored. Never cut short: a key without descriptors has all that its
 * owner has. */
struct err *key_descriptors_text(const struct rights *, struct arena *, struct str *out);

#endif
