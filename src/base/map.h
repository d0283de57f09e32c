/* map: string keys to pointers, open addressing. Owns copies of the keys, never the values.
 * Thread: one owner; readers of a published map may be many as long as nobody writes. */
#ifndef INFERD_MAP_H
#define INFERD_MAP_H

#include "str.h"

struct map;

struct map *map_new(void);
void map_free(struct map *);
void *map_get(const struct map *, struct str key);        /* NULL: absent */
void *map_put(struct map *, struct str key, void *value); /* the old value or NULL */
void *map_take(struct map *, struct str key);             /* removes; the value or NULL */
size_t map_count(const struct map *);
/* Walks in no order: start with *i = 0; false at the end. While walking, map_take is allowed (a key
 * so taken is gone, so is key_out), map_put of a new key is not. */
bool map_next(const struct map *, size_t *i, struct str *key_out, void **value_out);

#endif
