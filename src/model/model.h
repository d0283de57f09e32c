/* model: the models inferd runs itself: deployed, asked, watched.
 *
 *     struct models *m = models_new(&options, pool);
 *     deployment_start(m, &spec, loop, done, ctx);       // loads; done when it can answer
 *     deployment_submit(m, STR("my-e5"), call);          // an endpoint's call, ended via its sink
 *     deployment_infer(m, STR("my-e5"), &infer);         // documents of _infer
 *
 * A deployment is a queue and N allocations; each allocation is a thread with a session over the
 * shared program (engine.h). A document becomes one or several sequences (windows, a pair for each
 * label), which wait in the queue; an allocation takes a batch of them within a token budget. The
 * sequences of a call may run in several batches; the last one posts the call home. Full queue:
 * 429. What a document's exact tokens gave is kept in the deployment's cache.
 *
 * Sources: trained_models.md 8 to 13, adaptive_allocations.md. Thread: loops, unless said
 * otherwise. */
#ifndef INFERD_MODEL_H
#define INFERD_MODEL_H

#include "call.h"
#include "pool.h"

struct models;
struct nlp_config;
struct nlp_result;
struct registry;
struct store;

struct models_options {
    const char *path; /* path.models */
    int processors;   /* node.processors: what all allocations' threads together may take */
    const int *cpus;  /* [processors]: where their threads stay; NULL: where the system likes */
    size_t queue_capacity; /* documents waiting per deployment that says nothing; 1024 */
    uint64_t memory_bytes; /* for all deployments, by the formula of memory.h; 0: no bound */
    /* Of adaptive allocations; 0: 10 s, 5 min, 24 h (adaptive_allocations.md 6). */
    int64_t scale_interval_ms, scale_cooldown_ms, scale_to_zero_ms;
    const char *node_id, *node_name; /* for texts; NULL: "node" */
    /* Borrowed. NULL: no models but the folders of `path`; deployments are not kept. */
    struct registry *registry;
    struct store *store;
};

struct model_info {
    struct str model_id;      /* an alias has become the model's id */
    unsigned tasks;           /* TASK bits it can do */
    const char *type;         /* of its inference config: "ner"; NULL: it has none */
    bool package;             /* comes from the model repository */
    int64_t dimensions;       /* text_embedding, where the files say; else 0 */
    const char *similarity;   /* "cosine" */
    const char *element_type; /* "float" */
    uint32_t max_tokens;
};

struct models *models_new(const struct models_options *, struct pool *);
/* Starts again what was started through the API: before the loops run. */
struct err *models_load(struct models *, struct loop *);
/* Before the pool is freed: nothing of its own accord is given to it from here on. */
void models_quiesce(struct models *); /* NULL is fine */
void models_free(struct models *);    /* after the loops stopped: fails what waits, joins threads */

/* Looks without loading weights. Blocking: pool only. Unknown or unsafe id:
 * ERR_NOT_FOUND "No known trained model with model_id [x]"; broken: ERR_ARGUMENT naming the file.
 */
struct err *models_find(struct models *, struct str model_id, struct arena *,
                        struct model_info *out);

/* --- starting, changing, stopping --- */

#define DEPLOYMENTS_MAX           100
#define DEPLOYMENT_CACHE_OF_MODEL (-1)

enum wait_for { WAIT_STARTED, WAIT_STARTING, WAIT_FULLY_ALLOCATED };

struct deployment_spec {
    struct str id;       /* deployment id; of an endpoint its inference id */
    struct str model_id; /* or an alias */
    int num_allocations;
    int num_threads;        /* threads_per_allocation: power of 2, <= 32 */
    int64_t queue_capacity; /* 0: that of the options */
    int64_t cache_bytes;    /* 0: none; DEPLOYMENT_CACHE_OF_MODEL: as large as the model */
    bool low_priority;
    bool has_adaptive;
    struct adaptive adaptive;
    /* As the API's _start has it: an id that exists is an error, a start that fails leaves nothing
     * behind, a success is kept in the store. Otherwise an existing deployment is joined, and one
     * that failed stays to be seen. */
    bool by_api;
    /* It was there before the server was: it stays in the store, and a lack of processors does not
     * keep it from answering. What fails stays to be seen. */
    bool restored;
    enum wait_for wait_for;
};

/* done(ctx, err) on `loop`, once: NULL when it answers calls (WAIT_STARTING: when it is known that
 * it may start). Errors in ES's words and order (trained_models.md 9). Thread: any. */
void deployment_start(struct models *, const struct deployment_spec *, struct loop *,
                      void (*done)(void *ctx, struct err *), void *ctx);
/* Running calls end first, waiting ones fail; `drain`: run too. Unknown id: fine. */
void deployment_stop(struct models *, struct str id, bool drain, struct loop *,
                     void (*done)(void *ctx, struct err *), void *ctx);
/* Stops every deployment of a model; done when the last has ended, at once when there is none.
 * Thread: any. */
void models_stop_all(struct models *, struct str model_id, struct loop *,
                     void (*done)(void *ctx, struct err *), void *ctx);

/* What _update asks, each only where has_ or null_ says so. */
struct deployment_change {
    bool has_number;
    int64_t number;
    bool has_adaptive, null_adaptive;
    bool has_enabled, enabled;
    bool has_min, null_min, has_max, null_max;
    int64_t min, max;
    bool by_api; /* more allocations than there is room for are refused, not cut */
    /* May say 0, and a number beside adaptive allocations; gets as many as there is room for. */
    bool by_scaler;
    const char *reason; /* of the scaler's; static */
};
/* Grows or shrinks without losing a call. Unknown id: ERR_NOT_FOUND. */
void deployment_update(struct models *, struct str id, const struct deployment_change *,
                       struct loop *, void (*done)(void *ctx, struct err *), void *ctx);
/* Forgets what inferences gave. Unknown id: ERR_NOT_FOUND. Thread: any. */
struct err *deployment_cache_clear(struct models *, struct str id);

/* --- looking: Thread: any --- */

bool models_deployed(struct models *, struct str model_id);
bool models_has_deployment(struct models *, struct str deployment_id);

struct deployment_state {
    bool exists, started;
    int num_allocations, num_threads;
    size_t queued;
    const char *failure; /* why it could not start; NULL; static or interned */
};
void deployment_state(struct models *, struct str id, struct deployment_state *out);

enum deployment_phase { STARTING, STARTED, FAILED, STOPPING };

/* What a deployment has done; counted in documents. */
struct deployment_numbers {
    int64_t inferences, cache_hits, errors, rejected, timeouts;
    double ms;                                  /* of all together */
    double average_ms, average_ms_without_hits; /* 0 without inferences */
    int64_t last_access_ms;                     /* 0: none */
    int64_t pending;
    int64_t peak_per_minute, last_minute, hits_last_minute;
    double average_ms_last_minute;
};

/* What whoever scales a deployment reckons with. */
struct deployment_scaling {
    double needed;        /* allocations, by load alone */
    double rate, seconds; /* requests a second, and how long one takes, as estimated */
    const char *reason;   /* of the last change; static; NULL: there was none */
    int64_t changed_ms;   /* wall clock */
};

/* A deployment as _stats and the assignment show it; texts in the arena given. */
struct deployment_view {
    struct str id, model_id;
    enum deployment_phase phase;
    struct str failure, reason; /* reason: why it has fewer allocations than it should */
    int num_threads, wanted, running;
    int granted;       /* of those wanted, the ones that there are processors for */
    int most_assigned; /* max_assigned_allocations */
    int64_t queue_capacity, cache_bytes, start_ms;
    bool low_priority, has_adaptive;
    struct adaptive adaptive;
    int64_t model_bytes, per_deployment_bytes, per_allocation_bytes;
    uint64_t memory_bytes; /* what it needs, by the formula */
    struct str input_field;
    struct deployment_numbers numbers;
    struct deployment_scaling scaling; /* with adaptive allocations */
};
bool deployment_view(struct models *, struct str id, struct arena *, struct deployment_view *out);
/* All, sorted by id. */
void models_views(struct models *, struct arena *, struct deployment_view **out, size_t *n_out);

/* For Prometheus: a series for each deployment, and how large batches are. */
void models_metrics(struct models *, struct arena *, struct buf *out);

/* --- asking --- */

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

/* One _infer. The caller fills loop and arena of `call` (and deadline_ms, which tells a timeout
 * from a client that left) and what is asked; all of it is model's until done, which comes once, on
 * the loop. Stopping early: set call.cancelled, then call.on_cancel if there is one. */
struct infer_docs {
    struct call call;
    const struct json *docs;   /* an array of objects */
    const struct json *update; /* inference_config; NULL: none */
    /* Once it is known which deployment answers, on the loop; of trees, which have none, it is the
     * model, on the pool. An err refuses the call. NULL: nobody is asked. Borrowed until it
     * returns. */
    struct err *(*admit)(struct infer_docs *, struct str deployment_id);
    void (*done)(struct infer_docs *, struct err *);
    /* Without an err; borrowed until done returns. */
    const struct nlp_config *config;
    const struct nlp_result *const *results; /* [n_docs] */
    size_t n_docs;
    int64_t tokens; /* that were run for it, special ones included; none for what the cache had */
    struct str rendered; /* of trees: the elements, instead of the above */
};
/* The elements of "inference_results", into an array that is open. */
void infer_docs_render(const struct infer_docs *, struct json_out *);
/* `id`: alias, deployment or model. Errors of trained_models.md 10. */
void deployment_infer(struct models *, struct str id, struct infer_docs *);

#endif
