/* steward: the thread that lets adaptive allocations follow the load. Every interval, and sooner
 * when a queue grows fast or a call comes to a deployment that has gone to zero, it reads what
 * deployments have done, asks scaler.h and changes their allocations. Private to model/. Source:
 * adaptive_allocations.md 6 and 7. */
#ifndef INFERD_STEWARD_H
#define INFERD_STEWARD_H

#include "scaler.h"

struct models;
struct steward;
struct deployment;

struct steward *steward_new(struct models *, int64_t interval_ms, int64_t cooldown_ms,
                            int64_t zero_after_ms);
/* Joins the thread; may still be woken. Twice is fine. */
void steward_stop(struct steward *);
/* Stopped or not. Before deployments end. */
void steward_free(struct steward *);
/* There is something to look at: a deployment with adaptive allocations, or a call that waits for
 * one to be woken. Thread: any. */
void steward_wake(struct steward *);

/* What is known of a deployment's load; the steward's own but for what d->lock keeps. */
struct tended {
    bool known; /* scaling is set up */
    struct scaling scaling;
    bool failed; /* the last change did not succeed, and was told of */
    bool waking; /* its first allocations are being made, on the pool; d->lock */
    /* For view.c; d->lock. */
    const char *reason; /* of the last change; static; NULL: none yet */
    int64_t changed_ms; /* wall clock */
    double rate, seconds, needed;
};

#endif
