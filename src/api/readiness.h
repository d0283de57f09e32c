/* readiness: whether the server should be sent requests: it does not drain, and its store can be
 * written and read.
 *
 *     readiness_ask(ready, &question, loop, told);    // told(&question) on `loop`, once
 *
 * The store is tried by writing a document of ours and reading it back, on the pool. What came of
 * it holds for READINESS_KEEP_MS, so that nobody makes the disk busy by asking; a try that takes
 * longer than READINESS_WAIT_MS counts as one that failed until it ends. Whoever asks meanwhile
 * waits for the same try. */
#ifndef INFERD_READINESS_H
#define INFERD_READINESS_H

#include "pool.h"
#include "store.h"

#define READINESS_KEEP_MS 3000
#define READINESS_WAIT_MS 1000

struct readiness;

/* Borrows both. */
struct readiness *readiness_new(struct store *, struct pool *);
void readiness_free(struct readiness *); /* once the pool is freed; NULL is fine */

enum readiness_store { READINESS_STORE_GOOD, READINESS_STORE_FAILED, READINESS_STORE_SLOW };

/* The asker's memory, left alone until it is told. */
struct readiness_question {
    enum readiness_store store; /* the answer */
    bool draining;              /* and the other one */
    struct readiness *readiness;
    struct readiness_question *next;
    struct loop *loop;
    struct loop_msg msg;
    struct loop_timer timer;
    bool waiting;
    void (*told)(struct readiness_question *);
};

/* Zeroed memory. What is known is told at once, before this returns. Thread: the loop's. */
void readiness_ask(struct readiness *, struct readiness_question *, struct loop *,
                   void (*told)(struct readiness_question *));
void readiness_drain(struct readiness *); /* from now on it drains; thread: any */

#endif
