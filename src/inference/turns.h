/* turns: calls that wait for the slots of a rate, and whose turn it is.
 *
 *     switch (turns_join(&t, &turn, capacity, now_ns, &gives_way)) ...
 *     while ((turn = turns_next(&t, now_ns))) ...        // goes
 *
 * Slots are `interval_ns` apart; idle time saves none up (the generic cell rate algorithm with a
 * burst of one). Owners have a slot each, one after the other: whoever sends a thousand calls waits
 * behind himself, and what somebody else sends meanwhile goes within one slot for each owner that
 * waits. Of one owner's calls those that came first go first; so do the parts of calls that were
 * split, and the two kinds go alternately, so that neither a call of a hundred parts nor a hundred
 * calls keep the other waiting.
 *
 * When all places are taken, the latest call of the owner who has the most gives way to one of an
 * owner who would have fewer: else whoever fills them keeps the others out (longest queue drop:
 * Suter et al. 1998).
 *
 * Pure: no lock, no clock. Allocates one record for each owner that waits. Private to limiter. */
#ifndef INFERD_TURNS_H
#define INFERD_TURNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "list.h"

enum limit_answer {
    LIMIT_NOW,
    LIMIT_WAIT,
    LIMIT_TOO_LATE, /* the next slot is past the deadline; nothing taken, nothing counted */
    LIMIT_FULL      /* too many are waiting */
};

struct turn_owner;

/* In the caller's memory. */
struct turn {
    struct list_link link;
    struct turn_owner *of; /* NULL: it does not wait */
    uint32_t owner;        /* the caller's */
    bool part;             /* the caller's: one of several requests of one call */
    int64_t deadline_ns;   /* the caller's; 0: none */
    int64_t since_ns, slot_ns;
};

#define TURNS_BUCKETS 64

struct turns {
    int64_t interval_ns, next_ns; /* when the next slot is */
    size_t n;                     /* that wait */
    struct list_link ring;        /* owners that wait; the first one's turn is next */
    struct turn_owner *buckets[TURNS_BUCKETS];
};

void turns_init(struct turns *, int64_t interval_ns);

/* LIMIT_NOW: the slot at now_ns is taken. LIMIT_WAIT: until turns_next or turns_leave. capacity 0:
 * any number may wait. *gives_way: one that waits no longer for it; NULL: none. */
enum limit_answer turns_join(struct turns *, struct turn *, size_t capacity, int64_t now_ns,
                             struct turn **gives_way);
/* The one to go in a slot that has come, its slot_ns; NULL: none yet, or nobody waits. Those whose
 * deadline is before their slot are left out: they wait for their end, and no longer here. */
struct turn *turns_next(struct turns *, int64_t now_ns);
void turns_leave(struct turns *, struct turn *); /* does not wait: does nothing */
/* One that has its slot will not use it: others may, unless a later one is given already. */
void turns_give_back(struct turns *, const struct turn *);

#endif
