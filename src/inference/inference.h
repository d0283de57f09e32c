/* inference: the endpoints, and what happens to calls on them.
 *
 *     struct inference *inf = inference_new(&options, &parts);
 *     TRY(inference_load(inf));                      // reads the store; before the loops run
 *     ...
 *     struct endpoint *ep = inference_find(inf, id); // a reference
 *     TRY(inference_input(ep, url_task, stream, arena, text, body, &call->input));
 *     inference_submit(inf, call);                   // takes the call, ends it via its sink
 *
 * Endpoints stand in one immutable table that is replaced whole; a loop reads its own reference to
 * it, so finding one takes no lock. Changes (create, update, delete) run one at a time per id:
 * probe, store, publish, in that order; whoever is told of success can rely on the disk.
 *
 * Thread: the loops, unless said otherwise. Sources: shared facts, inference.md 2, 7, 9 and
 * providers.md 1. */
#ifndef INFERD_INFERENCE_H
#define INFERD_INFERENCE_H

#include "call.h"
#include "client.h"
#include "model.h"
#include "pool.h"
#include "store.h"

struct inference;

/* inference.upstream.<service>.base_url */
struct upstream_base {
    struct str service;
    struct str base_url; /* without a trailing slash */
};

struct inference_options {
    int64_t retry_initial_delay_ms;
    int64_t retry_max_delay_ms;
    int64_t retry_timeout_ms; /* budget of the whole retry loop of a call */
    size_t max_response_bytes;
    int64_t stream_stall_ms; /* longest silence of an upstream stream */
    size_t queue_capacity;   /* calls waiting per rate limit group; 0: no bound */
    double reduction;        /* share of each input that a "too large" retry keeps */
    int64_t slow_ms;         /* calls that take as long are logged; 0: none */
    bool allow_private;      /* inference.upstream.allow_private */
    bool skip_probe;         /* xpack.inference.skip_validate_and_start */
    const struct upstream_base *bases;
    size_t n_bases;
    struct client_options client;
};

/* What it works with; all borrowed, all outlive it. loops[i] has loop_index i. */
struct packages;

struct inference_parts {
    struct store *store;
    struct pool *pool;
    struct models *models;
    struct packages *packages; /* fetches models that are not there; NULL: nothing does */
    struct loop *const *loops;
    size_t n_loops;
};

struct inference *inference_new(const struct inference_options *, const struct inference_parts *);
/* Reads every stored endpoint and starts the deployments of local ones. A record that cannot be
 * read is logged and left out, never dropped. Thread: main, before the loops run. */
struct err *inference_load(struct inference *);
/* After the loops have stopped. */
void inference_free(struct inference *);

/* --- reading --- */

/* A reference, or NULL. */
struct endpoint *inference_find(struct inference *, struct str id);
/* Those of one task (TASK_ANY: all), sorted by id. References; the array lives in the arena. */
void inference_list(struct inference *, enum task, struct arena *, struct endpoint ***out,
                    size_t *n_out);
/* The id of an endpoint that is answered by this deployment, in the arena; {NULL, 0}: none. */
struct str inference_user_of(struct inference *, struct str deployment_id, struct arena *);
/* All of them, sorted; their number. */
size_t inference_users_of(struct inference *, struct str deployment_id, struct arena *,
                          struct str **out);
/* The id of an endpoint that is there from the start, and deployed by its first call. */
bool inference_is_preset(struct str id);
/* As endpoint_render, with the live number of allocations for local ones. */
void inference_render(struct inference *, struct json_out *, const struct endpoint *);
/* GET _services; TASK_ANY: all. `details`: see provider.h. */
void inference_services_render(struct json_out *, enum task, bool details);
/* ERR_NOT_FOUND, and the type check of GET and DELETE. `task` TASK_ANY: no check. */
struct err *inference_find_typed(struct inference *, struct str id, enum task task,
                                 struct endpoint **out);

/* What endpoints have done since they were made, or since the start (tally.h): an object by id for
 * GET .diagnostics, of those that `shown` says yes to, and series labelled inference_id, service,
 * task_type for Prometheus. */
void inference_usage_render(struct inference *, struct arena *, struct json_out *,
                            bool (*shown)(void *ctx, struct str inference_id), void *ctx);
void inference_usage_metrics(struct inference *, struct arena *, struct buf *);

/* Connection pools of all loops, added up. done runs on `loop`. */
void inference_diagnostics(struct inference *, struct loop *,
                           void (*done)(void *ctx, const struct client_stats *), void *ctx);

/* --- changing --- */

struct endpoint_change {
    struct loop *loop;
    struct str id;
    enum task task;          /* from the URL; TASK_ANY: not there */
    struct str text;         /* the body, and its parsed form; borrowed until done */
    const struct json *body; /* NULL: no body */
    int64_t timeout_ms;
    bool dry_run, force; /* delete */
    /* Once, on `loop`. On success `ep` is a reference for the callee (delete: NULL). */
    void (*done)(void *ctx, struct err *, struct endpoint *ep);
    void *ctx;
};

void inference_create(struct inference *, const struct endpoint_change *);
void inference_update(struct inference *, const struct endpoint_change *);
void inference_delete(struct inference *, const struct endpoint_change *);

/* --- calling --- */

/* Reads a POST body for this endpoint: task and streaming checks, members, task settings laid over
 * the stored ones. `url_task` TASK_ANY: none in the URL. `text` lives as long as the call. */
struct err *inference_input(const struct endpoint *, enum task url_task, bool stream,
                            struct arena *, struct str text, const struct json *body,
                            struct input *out);

/* Takes the call in every case and ends it through its sink, on its loop. call->endpoint is a
 * reference that stays the caller's. At call->deadline_ms it fails with ERR_STATUS 408; a stream
 * that has begun has no deadline. A result is borrowed for the time of sink->done. */
void inference_submit(struct inference *, struct call *);
/* What a call would send, as JSON in `out`, with secrets masked: {"requests": [...]}; for a local
 * model {"model_id", "inputs", "tokens"}. Sends nothing. All of it is borrowed until done, which
 * comes on the loop, maybe before this returns. */
struct simulation {
    struct loop *loop;
    struct endpoint *endpoint;
    struct input *input; /* of inference_input */
    struct arena *arena;
    struct buf *out;
    void (*done)(void *ctx, struct err *);
    void *ctx;
};
void inference_simulate(struct inference *, const struct simulation *);

/* The same, but each input is cut into chunks by the endpoint's chunking_settings first, and the
 * result has a row for each chunk; `out`, which lives as long as the call, says which is which.
 * Long inputs are cut on the pool. Refused: tasks without chunks, more chunks than this in one
 * call. */
void inference_submit_chunked(struct inference *, struct call *, struct chunk_map *out);
#define INFERENCE_MAX_CHUNKS 10000
/* Stops the work behind a call; it still ends, soon, through fail with ERR_CANCELLED. */
void inference_cancel(struct call *);

#endif
