/* limiter: calls per minute, evenly spaced, by group.
 *
 * A group is what shares a provider's quota: service, credentials and so on (provider.group_by)
 * together with the limit's value. One atomic timestamp is the whole state: the time at which the
 * next call may go (the generic cell rate algorithm with a burst of one). Source: providers.md 1.6.
 *
 *     int64_t at_ns;
 *     switch (limiter_reserve(group, clock_mono_ns(), deadline_ns, capacity, &at_ns)) ...
 *
 * Thread: any. Groups are counted by the endpoints that use them. */
#ifndef INFERD_LIMITER_H
#define INFERD_LIMITER_H

#include <stdint.h>

#include "circuit.h"
#include "str.h"

struct limiter;
struct limit_group;

struct limiter *limiter_new(void);
void limiter_free(struct limiter *); /* after every group has been let go */

/* The group of this key, made if needed; a reference. requests_per_minute > 0. */
struct limit_group *limiter_group(struct limiter *, struct str key, int64_t requests_per_minute);
void limit_group_unref(struct limit_group *); /* NULL is fine */
/* A short name of the group for error texts: a hash, never the credentials. */
uint64_t limit_group_name(const struct limit_group *);
/* Of the service as this group sees it; lives as long as the group. */
struct circuit *limit_group_circuit(struct limit_group *);

enum limit_answer {
    LIMIT_NOW,
    LIMIT_WAIT,     /* a slot is taken: go at *at_ns, then limiter_waited */
    LIMIT_TOO_LATE, /* the next slot is past the deadline; nothing taken, nothing counted */
    LIMIT_FULL      /* too many are waiting */
};

/* deadline_ns 0: none. capacity 0: any number may wait. */
enum limit_answer limiter_reserve(struct limit_group *, int64_t now_ns, int64_t deadline_ns,
                                  int64_t capacity, int64_t *at_ns);
void limiter_waited(struct limit_group *); /* one that waited has gone, or given up */

#endif
