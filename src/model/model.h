/* model: the models inferd runs itself. Finds them on disk, deploys them, runs calls on them.
 *
 *     struct models *m = models_new(&options, pool);
 *     deployment_start(m, &spec, loop, done, ctx);       // loads; done when it can answer
 *     deployment_submit(m, STR("my-e5"), call);          // takes the call, ends it via its sink
 *
 * A deployment is a queue and N allocations; each allocation is a thread with a session over the
 * shared program (engine.h). Calls are tokenized on the pool, their sequences wait in the queue,
 * an allocation takes a batch of them within a token budget. A call's sequences may run in several
 * batches; the last one posts the call home. Full queue: 429.
 * Thread: loops, unless said otherwise. */
#ifndef INFERD_MODEL_H
#define INFERD_MODEL_H

#include "call.h"
#include "pool.h"

struct models;
struct registry;

struct models_options {
    const char *path;          /* path.models */
    struct registry *registry; /* of all models there are; NULL: only those in `path` */
    int processors;            /* node.processors: bound on threads */
    size_t queue_capacity;     /* sequences waiting per deployment; 1024 (ES's default) */
};

struct model_info {
    struct str model_id;
    unsigned tasks;           /* TASK bits it can do */
    int64_t dimensions;       /* text_embedding; else 0 */
    const char *similarity;   /* "cosine" */
    const char *element_type; /* "float" */
    uint32_t max_tokens;
};

struct models *models_new(const struct models_options *, struct pool *);
void models_free(struct models *); /* after the loops stopped: fails what waits, joins threads */

/* Looks at the folder without loading weights. Blocking: pool only. Unknown or unsafe id:
 * ERR_NOT_FOUND "No known trained model with model_id [x]"; broken: ERR_ARGUMENT naming the file.
 */
struct err *models_find(struct models *, struct str model_id, struct arena *,
                        struct model_info *out);

struct deployment_spec {
    struct str id; /* deployment id = inference id */
    struct str model_id;
    int num_allocations;
    int num_threads; /* threads_per_allocation: power of 2, <= 32 */
};

/* done(ctx, err) on `loop`, once: NULL when it answers calls. Already running with this id: NULL.
 */
void deployment_start(struct models *, const struct deployment_spec *, struct loop *,
                      void (*done)(void *ctx, struct err *), void *ctx);
/* Waiting and running calls end first (running) or fail (waiting). Unknown id: fine. */
void deployment_stop(struct models *, struct str id, struct loop *,
                     void (*done)(void *ctx, struct err *), void *ctx);
/* Grows or shrinks without losing a call. Unknown id: ERR_NOT_FOUND. */
void deployment_scale(struct models *, struct str id, int num_allocations, struct loop *,
                      void (*done)(void *ctx, struct err *), void *ctx);

struct deployment_state {
    bool exists, started;
    int num_allocations, num_threads;
    size_t queued;
    const char *failure; /* why it could not start; NULL; static or interned */
};
void deployment_state(struct models *, struct str id,
                      struct deployment_state *out); /* Thread: any */

/* Whether any deployment is of this model; whether one has this id. Thread: any. */
bool models_deployed(struct models *, struct str model_id);
bool models_has_deployment(struct models *, struct str deployment_id);
/* Stops every deployment of a model, as deployment_stop does; done when the last has ended, at once
 * when there is none. Thread: any. */
void models_stop_all(struct models *, struct str model_id, struct loop *,
                     void (*done)(void *ctx, struct err *), void *ctx);

/* What texts (with the query, where there is one) are to the deployment's model; out[n_texts].
 * Runs nothing. For long texts: pool. */
struct token_count {
    uint32_t tokens; /* special tokens included, after truncation */
    bool truncated;
};
struct err *deployment_count(struct models *, struct str id, const struct input *, struct arena *,
                             struct token_count *out);

/* Takes the call in every case and ends it through its sink on its loop. Unknown deployment:
 * ERR_NOT_FOUND. text_embedding: RESULT_FLOATS, one row per input; sparse_embedding:
 * RESULT_SPARSE, heaviest first; rerank: RESULT_RERANK, best first. */
void deployment_submit(struct models *, struct str id, struct call *);

#endif
