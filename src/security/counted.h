/* counted: immutable things that many threads read while one replaces them; private to security/.
 *
 *     struct counted *held;
 *     const struct keys *k = (const struct keys *)cell_peek(&cell, &held);
 *     ... counted_ref what is to outlive this ...
 *     counted_unref(held);
 *
 * A cell is one pointer to the current thing. Each loop keeps a reference of its own and compares a
 * version number, so reading on a loop takes no lock unless something changed; other threads take
 * the lock for the length of one increment. */
#ifndef INFERD_COUNTED_H
#define INFERD_COUNTED_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

struct counted {
    atomic_uint refs;
    uint64_t version; /* the cell's */
    void (*end)(struct counted *);
};

void counted_init(struct counted *, void (*end)(struct counted *)); /* one reference */
struct counted *counted_ref(const struct counted *);
void counted_unref(struct counted *); /* NULL is fine */

#define CELL_LOOPS 256 /* loops beyond that take the lock */

struct cell {
    pthread_mutex_t lock; /* guards `current` */
    struct counted *current;
    _Atomic uint64_t version;
    struct counted *seen[CELL_LOOPS]; /* each touched by its loop alone */
};

void cell_init(struct cell *, struct counted *first); /* takes it */
void cell_deinit(struct cell *);                      /* no thread reads any more */
/* Valid until *held_out is let go, or, when that is NULL, until this loop's next cell_peek. */
const struct counted *cell_peek(struct cell *, struct counted **held_out);
struct counted *cell_take(struct cell *);            /* a reference */
void cell_swap(struct cell *, struct counted *next); /* takes it. Thread: any. */

#endif
