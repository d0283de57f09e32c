/* token: one access token with its refresh token, and the table of all; private to security/.
 *
 * A token is told as its id (20 characters) followed by its secret (43: 32 random bytes). What is
 * stored (STORE_TOKEN, JSON) are BLAKE2b digests of the secrets, bound to the id. A token stands
 * for its user as he is when it is used: his roles count then, and when he is disabled it does not
 * count. Thread: immutable, any. */
#ifndef INFERD_SECURITY_TOKEN_H
#define INFERD_SECURITY_TOKEN_H

#include "key.h"

#define TOKEN_ID_CHARS   20
#define TOKEN_CHARS      (TOKEN_ID_CHARS + 43)
#define TOKEN_REFRESH_MS (INT64_C(24) * 3600 * 1000)
#define TOKENS_MAX       10000 /* at once: the table is copied with each change */

struct token {
    struct counted counted; /* first: what the table holds */
    struct arena *arena;
    struct str id, username, realm;
    unsigned char access[KEY_HASH_BYTES];
    int64_t created_ms, expires_ms;
    int64_t ended_ms; /* the access token was invalidated then; 0: not */
    bool has_refresh;
    unsigned char refresh[KEY_HASH_BYTES];
    int64_t refresh_ended_ms; /* used, or invalidated; 0: not */
};

struct tokens {
    struct counted counted;
    size_t n;
    struct token *v[]; /* sorted by id; one reference each */
};

struct err *token_read(const struct doc *, struct token **out);
void token_render(const struct token *, struct buf *out); /* what is stored */
void token_unref(const struct token *);                   /* NULL is fine */
/* Neither part can be used any more. */
bool token_gone(const struct token *, int64_t wall_ms);
int64_t token_refresh_until(const struct token *);

struct err *tokens_read(struct store *, struct tokens **out);
struct tokens *tokens_new(size_t room);
void tokens_add(struct tokens *, struct token *); /* takes; any order */
void tokens_sort(struct tokens *);
/* The one whose id `text` begins with, if `text` has the form of a token; NULL: none. */
const struct token *tokens_find(const struct tokens *, struct str text);
/* Is that its access token, or its refresh token? */
bool token_is_access(const struct token *, struct str text);
bool token_is_refresh(const struct token *, struct str text);

#endif
