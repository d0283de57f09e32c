/* cores: turns of the engine's threads on the node's processors: never more of them run than there
 * are.
 *
 *     cores_turn_init(&turn, 2, false);       // of an allocation with two threads
 *     cores_enter(cores, &turn);              // may wait
 *     ... a batch ...
 *     cores_leave(cores, &turn);
 *
 * What deployments have been granted (budget.h) fits the processors, so these do not wait, but for
 * the last batches of allocations that are leaving. Who does wait, in the order of coming: those
 * that share because more deployments run than there are processors, and with them, while there
 * are such, everyone. Low priority runs on processors that are idle: it begins when there is one
 * and pauses when others need it. After a while without one it gets a turn like everyone, so that
 * it is slow and not stuck.
 *
 * With a list of CPUs each turn also gets CPUs of its own, the same ones as last time if they are
 * free: threads that run never stand upon one CPU while another is idle.
 *
 * Thread: any; a turn is its thread's own. Private to model/. */
#ifndef INFERD_CORES_H
#define INFERD_CORES_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* threads_per_allocation is at most this. */
#define CORES_MOST_THREADS 32

struct cores;

struct cores_turn {
    struct cores_turn *next; /* in line */
    pthread_cond_t wake;
    int threads;
    bool low;
    bool placed;                   /* slots are those of last time */
    int slots[CORES_MOST_THREADS]; /* [threads], while it runs; indices of CPUs */
    enum { TURN_OUT, TURN_IN, TURN_ON_IDLE } state;
};

/* cpus[processors], copied; NULL: threads are not placed. patience_ms: how long low priority waits
 * for an idle processor. */
struct cores *cores_new(int processors, const int *cpus, int64_t patience_ms);
void cores_free(struct cores *);

/* threads: at most the processors. */
void cores_turn_init(struct cores_turn *, int threads, bool low);
void cores_turn_deinit(struct cores_turn *);

/* True: its CPUs have changed: cores_cpus. */
bool cores_enter(struct cores *, struct cores_turn *);
void cores_leave(struct cores *, struct cores_turn *);
/* Of low priority, in the middle of its work: waits while others need its processor. */
void cores_pause(struct cores *, struct cores_turn *);
/* [threads], between enter and leave; only where cores_enter has said that they have changed. */
void cores_cpus(const struct cores *, const struct cores_turn *, int *out);

#endif
