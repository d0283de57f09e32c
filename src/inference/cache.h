/* cache: answers of one endpoint to requests it has had before. Least recently used goes first;
 * bounded in bytes; each answer lives for `ttl`.
 *
 *     char key[CACHE_KEY_BYTES];
 *     cache_key(&input, key);
 *     struct cached *hit = cache_find(cache, key, now_ms);
 *     if (hit) { use(cached_result(hit)); cached_unref(hit); }
 *     else ... cache_put(cache, key, &result, now_ms);       // copies
 *
 * Thread: any. */
#ifndef INFERD_CACHE_H
#define INFERD_CACHE_H

#include "input.h"
#include "result.h"
#include "secret.h"

struct cache;
struct cached;

#define CACHE_KEY_BYTES SECRET_DIGEST_BYTES

struct cache *cache_new(size_t limit_bytes, int64_t ttl_ms);
void cache_free(struct cache *); /* NULL is fine; answers in use live on */

/* Everything of the request that the answer depends on. */
void cache_key(const struct input *, char out[CACHE_KEY_BYTES]);
/* A reference; NULL: not there, or too old. */
struct cached *cache_find(struct cache *, const char *key, int64_t now_ms);
const struct result *cached_result(const struct cached *);
void cached_unref(struct cached *);
void cache_put(struct cache *, const char *key, const struct result *, int64_t now_ms);

#endif
