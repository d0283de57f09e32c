/* limiter: calls per minute, evenly spaced, by group; those that must wait take turns by owner.
 *
 * A group is what shares a provider's quota: service, credentials and so on (provider.group_by)
 * together with the limit's value. While nobody waits, one atomic timestamp is the whole state: the
 * time at which the next call may go. Only those that must wait meet under the group's lock, in the
 * order of turns.h. Source: providers.md 1.6.
 *
 *     if (limiter_try(group, now_ns)) ...                           // goes, at once
 *     switch (limiter_wait(group, &ask, now_ns, &wait)) ...
 *     static void told(void *ctx, enum limit_answer)                // goes, or has given way
 *
 * The slots of a group that is waited for are given out by the loop of the one that was the first
 * to wait, until nobody does; the others are told on their own loops.
 *
 * Thread: any, unless said otherwise. Groups are counted by the endpoints that use them. */
#ifndef INFERD_LIMITER_H
#define INFERD_LIMITER_H

#include <stdint.h>

#include "circuit.h"
#include "loop.h"
#include "str.h"
#include "turns.h"

struct limiter;
struct limit_group;

struct limiter *limiter_new(void);
void limiter_free(struct limiter *); /* after every group has been let go; the loops have ended */

/* The group of this key, made if needed; a reference. requests_per_minute > 0. */
struct limit_group *limiter_group(struct limiter *, struct str key, int64_t requests_per_minute);
void limit_group_unref(struct limit_group *); /* NULL is fine */
/* A short name of the group for error texts: a hash, never the credentials. */
uint64_t limit_group_name(const struct limit_group *);
/* Of the service as this group sees it; lives as long as the group. */
struct circuit *limit_group_circuit(struct limit_group *);

/* True: nobody waits, and the slot of now is the caller's. */
bool limiter_try(struct limit_group *, int64_t now_ns);

struct limit_wait; /* one that waits */

struct limit_ask {
    uint32_t owner;
    bool part;           /* one of several requests of one call */
    int64_t deadline_ns; /* 0: none */
    size_t capacity;     /* 0: any number may wait */
    struct loop *loop;   /* whose thread this is, and on which is told */
    /* Once, later; the wait is over then. LIMIT_NOW: go; LIMIT_FULL: its place is another's. */
    void (*told)(void *ctx, enum limit_answer);
    void *ctx;
};

/* LIMIT_WAIT: *out waits, until told or limiter_leave; else *out is NULL. */
enum limit_answer limiter_wait(struct limit_group *, const struct limit_ask *, int64_t now_ns,
                               struct limit_wait **out);
/* It is not told any more. On its loop, while the group is held. */
void limiter_leave(struct limit_wait *);

#endif
