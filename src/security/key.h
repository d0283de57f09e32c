/* key: one API key, and the table of all; private to security/.
 *
 * A key is 16 random bytes, told once. What is stored (STORE_API_KEY, JSON) is a BLAKE2b digest of
 * it: a slow hash protects guessable passwords, and 128 random bits are not guessable. Beside it
 * lie the key's own role descriptors and those of its owner at that time: what it may do is what
 * both allow, whatever becomes of the owner later. Thread: immutable, any. */
#ifndef INFERD_KEY_H
#define INFERD_KEY_H

#include "counted.h"
#include "map.h"
#include "role.h"
#include "security.h"

#define KEY_ID_BYTES     15
#define KEY_SECRET_BYTES 16
#define KEY_HASH_BYTES   32
#define KEY_RETENTION_MS (INT64_C(7) * 24 * 3600 * 1000) /* ended keys stay listed that long */

struct api_key {
    struct counted counted; /* first: what the table holds */
    struct arena *arena;
    struct user user; /* who comes with this key */
    struct str id, name;
    unsigned char hash[KEY_HASH_BYTES];
    int64_t created_ms;
    int64_t expires_ms;           /* 0: never */
    int64_t ended_ms;             /* invalidated then; 0: not */
    struct str realm, realm_type; /* the owner's */
    struct str metadata;          /* a JSON object */
    struct rights own, limit;
    struct usage_limits limits; /* the strictest of all these roles */
    /* What a cross-cluster key opens to another cluster, a JSON object; p NULL: it is no such key.
     * It authenticates nobody here. */
    struct str access;
};

/* The digest of a key, bound to its id. */
void key_hash(struct str id, struct str secret, unsigned char out[KEY_HASH_BYTES]);
struct err *key_read(const struct doc *, struct api_key **out);
void key_unref(const struct api_key *); /* NULL is fine */

/* What is stored of a key. */
struct key_doc {
    struct str id, name, hash64, username, realm, realm_type, metadata;
    struct str own, limit; /* maps of descriptors */
    struct str access;     /* p NULL: of no cross-cluster key */
    int64_t created_ms, expires_ms, ended_ms;
};
void key_doc_of(const struct api_key *, struct arena *, struct key_doc *out);
void key_doc_render(const struct key_doc *, struct buf *out);
/* As the API shows it; usage NULL: without what it has used; profiles NULL: without its owner's
 * (profile.h). */
struct key_view {
    bool with_limited_by;
    struct usage *usage;
    const struct map *profiles;
};
void key_render(const struct api_key *, const struct key_view *, struct json_out *);

bool key_expired(const struct api_key *, int64_t wall_ms);
bool key_gone(const struct api_key *, int64_t wall_ms); /* not even listed any more */

struct keys {
    struct counted counted;
    size_t n;
    struct api_key *v[]; /* sorted by id; one reference each */
};

struct err *keys_read(struct store *, struct keys **out);
struct keys *keys_new(size_t room);
void keys_add(struct keys *, struct api_key *); /* takes; any order */
void keys_sort(struct keys *);
/* NULL: no such. Borrowed from the table. */
const struct api_key *keys_find(const struct keys *, struct str id);

#endif
