/* call: one request in flight, and the sink its answer goes to.
 *
 * Whoever holds the call owns all of it, arena included, and nobody else touches it. Handing it on
 * (model_submit, upstream_submit) moves ownership; it ends through exactly one of sink->done or
 * sink->fail, on the call's own loop. `cancelled` is set by that loop (client gone, deadline) and
 * looked at by each stage when it takes the call; on_cancel, set by the stage that holds it, runs
 * on the loop's thread so that work can be stopped at once. After a cancel the stage still ends the
 * call through fail (ERR_CANCELLED), soon. */
#ifndef INFERD_CALL_H
#define INFERD_CALL_H

#include <stdatomic.h>

#include "input.h"
#include "loop.h"
#include "result.h"

struct sink {
    /* Streams only, zero or more times before done/fail. False: full, the caller waits for
     * on_drain. */
    bool (*delta)(struct sink *, const struct delta *);
    /* The whole answer; result NULL: a stream ended well. */
    void (*done)(struct sink *, const struct result *);
    void (*fail)(struct sink *, struct err *); /* takes the err */
};

struct call {
    struct loop *loop; /* home: sink runs here */
    struct arena *arena;
    struct endpoint *endpoint; /* a reference */
    struct input input;
    struct sink *sink;
    int64_t deadline_ms;  /* clock_mono_ms scale; 0: none */
    int64_t timeout_ms;   /* what the caller asked for, for texts */
    bool whole;           /* a stream that its caller waits for to the end: the deadline
                             holds after its first delta too */
    struct str opaque_id; /* X-Opaque-Id, for logs */
    struct str traceparent,
        tracestate;     /* W3C Trace Context, handed on as they came; p NULL: none */
    bool cached;        /* answered from what was kept: nobody was asked */
    bool partial;       /* of embeddings: one bad input is to fail alone, in result->errors */
    uint32_t owner;     /* whom it is for: work of one does not keep another waiting */
    bool part;          /* one of several requests of one call */
    bool probe;         /* made to find out whether it works: goes even where calls are
                           held back for now */
    struct usage usage; /* a stream's, or of the parts that were answered before one failed:
                           by the provider's count so far; a whole answer's is in result */
    atomic_bool cancelled;
    void (*on_cancel)(struct call *); /* NULL: nothing to stop early */
    void (*on_drain)(struct call *);  /* the sink has room again */
    void *stage;                      /* of whoever holds it */
};

#endif
