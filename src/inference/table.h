/* table: all endpoints by id, immutable, replaced whole.
 *
 * Readers on a loop thread keep one reference per loop and look at a version number: no lock
 * unless something changed since. Writers copy the sorted array, change the copy, swap. */
#ifndef INFERD_TABLE_H
#define INFERD_TABLE_H

#include "endpoint.h"

struct table;

struct table *table_new(size_t n_loops);
void table_free(struct table *);

/* A reference or NULL. Thread: any; on loop threads without a lock. */
struct endpoint *table_find(struct table *, struct str id);
/* References to all that are of `task` (TASK_ANY: all), sorted by id; the array is in the arena. */
size_t table_list(struct table *, enum task task, struct arena *, struct endpoint ***out);
/* Takes one reference to ep; an older endpoint of that id is let go. Thread: any. */
void table_put(struct table *, struct endpoint *ep);
void table_drop(struct table *, struct str id);

#endif
