/* recall: what documents gave, by their exact tokens, so that the same ones need not run again.
 *
 *     struct kept *k = recall_find(r, key);    // a reference, or NULL
 *     recall_put(r, key, k);                   // it takes a reference of its own
 *
 * Bounded in bytes; what has not been asked for the longest goes first. Thread: any. Private to
 * model/. */
#ifndef INFERD_RECALL_H
#define INFERD_RECALL_H

#include <stdatomic.h>

#include "engine.h"
#include "str.h"

/* What the rows of a document gave. Each row is set once, by whoever ran it; then nothing changes.
 */
struct kept {
    atomic_uint refs;
    atomic_size_t bytes;
    size_t n;
    struct output outputs[]; /* own their data */
};
struct kept *kept_new(size_t n_rows);
void kept_set(struct kept *, size_t row, const struct output *); /* copies; no err in it */
struct kept *kept_ref(struct kept *);
void kept_unref(struct kept *); /* NULL is fine */

struct recall;

struct recall *recall_new(size_t limit_bytes);
void recall_free(struct recall *); /* NULL is fine */
struct kept *recall_find(struct recall *, struct str key);
/* One that is larger than all the room is not kept; one that is there already stays. */
void recall_put(struct recall *, struct str key, struct kept *);
void recall_clear(struct recall *);
size_t recall_limit(const struct recall *);
size_t recall_bytes(struct recall *);

#endif
