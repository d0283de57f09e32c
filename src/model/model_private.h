/* What the files of model/ share.
 *
 * model.c       the registry: deployments by id, joining threads, shutting down
 * snapshot.c    what a folder holds, without loading it
 * parts.c       program and tokenizer of a model, shared by its deployments
 * deployment.c  starting, scaling, stopping; states
 * allocation.c  a thread with a session that runs batches
 * encode.c      what of a call its model reads
 * flight.c      one call on its way: tokenizing, waiting, its rows, its end
 * batch.c       which sequences run together
 *
 * Counts: whoever can still touch a deployment holds a reference (the registry, each allocation,
 * each job on the pool, each flight), a deployment holds the models. Locks: models->lock before
 * deployment->lock, each for a few lines; deployment->admin is held by a pool thread while it makes
 * sessions, so that starting and scaling one deployment happen one after the other. */
#ifndef INFERD_MODEL_PRIVATE_H
#define INFERD_MODEL_PRIVATE_H

#include <pthread.h>

#include "batch.h"
#include "engine.h"
#include "head.h"
#include "map.h"
#include "model.h"
#include "tokenizer.h"

/* Tokens in one run, unless one text may be longer. MiniLM on one AVX-512 core takes the same time
 * per text at 256 and 512 tokens a run and no less at 1,024 and 2,048: beyond that a larger batch
 * only makes everyone in it wait longer and its activations fall out of cache. */
#define BATCH_TOKENS 512

struct models {
    atomic_uint refs;
    char *path;
    int processors;
    size_t queue_capacity;
    struct pool *pool;
    pthread_mutex_t lock;
    pthread_cond_t idle; /* n_jobs or n_threads fell; a part has loaded */
    struct map *deployments;
    struct parts *parts;
    size_t n_jobs;            /* on the pool */
    size_t n_threads;         /* allocations running */
    struct allocation *ended; /* their threads wait to be joined */
    bool ending;
};

struct models *models_ref(struct models *);
void models_unref(struct models *);
/* work(job) on the pool; models_free waits for it. */
void models_run(struct models *, void (*work)(void *), void *job);
/* The last thing a work function does. */
void models_job_done(struct models *);
void models_reap(struct models *); /* joins allocations that ended; pool threads */

/* done(ctx, err) on `loop`; takes the err. */
struct waiter {
    struct loop_msg msg;
    struct waiter *next;
    struct loop *loop;
    void (*done)(void *ctx, struct err *);
    void *ctx;
    struct err *err;
};
struct waiter *waiter_new(struct loop *, void (*done)(void *, struct err *), void *ctx);
void waiter_post(struct waiter *, struct err *);
/* All of a list; each gets a copy, err is freed. */
void waiters_post(struct waiter *, struct err *);

/* snapshot.c: the folder of a model, or NULL when the id is unsafe. */
char *snapshot_folder(const struct models *, struct str model_id);
struct err *snapshot_unknown(struct str model_id);
/* A name that is safe below path.models. */
bool snapshot_id_ok(struct str model_id);
/* models_find of a folder. Blocking: pool. */
struct err *snapshot_look(const char *folder, struct str model_id, struct arena *,
                          struct model_info *out);

/* snapshot.c: what sentence-transformers puts in front of a text, by enum input_type; {NULL, 0}:
 * nothing. From config_sentence_transformers.json, if there is one. Blocking: pool. */
#define N_INPUT_TYPES (INPUT_CLUSTERING + 1)
struct err *snapshot_prompts(const char *folder, struct str model_id, struct arena *,
                             struct str out[N_INPUT_TYPES]);

struct parts {
    struct parts *next;
    char *folder;
    unsigned refs; /* models->lock */
    enum { PARTS_LOADING, PARTS_READY, PARTS_BROKEN } state;
    struct err *err;
    struct program *program;
    struct tokenizer *tokenizer;
    const struct program_info *info;
    struct arena *arena; /* prompts */
    struct str prompts[N_INPUT_TYPES];
};

/* Blocking: pool. */
struct err *parts_load(struct models *, struct str model_id, struct parts **out);
void parts_unref(struct models *, struct parts *); /* NULL is fine */
/* encode.c: tokens of text `i`, at most as many as the model reads. */
struct err *parts_encode(const struct parts *, struct arena *, const struct input *, size_t i,
                         struct tokens *out);

enum deployment_phase { STARTING, STARTED, FAILED, STOPPING };

struct deployment {
    atomic_uint refs;
    struct models *models;
    struct str id, model_id; /* owned */
    int num_threads;
    pthread_mutex_t admin;
    struct parts *parts; /* set before STARTED, unchanged from then on */
    pthread_mutex_t lock;
    pthread_cond_t work; /* something to run, or to leave for */
    enum deployment_phase phase;
    const char *failure; /* why it FAILED; interned */
    struct queue queue;
    size_t n_reserved;      /* sequences let in and not yet taken */
    struct flight *pending; /* calls that came before it had started, oldest first */
    struct flight **pending_end;
    int wanted;        /* num_allocations */
    int n_allocations; /* running */
    bool starting;     /* the job that starts it has not ended */
    struct waiter *start_waiters, *stop_waiters;
};

struct deployment *deployment_find(struct models *, struct str id); /* a reference, or NULL */
struct deployment *deployment_ref(struct deployment *);
void deployment_unref(struct deployment *);
/* Out of the registry and on its way to its end; takes the waiter (NULL: none). */
void deployment_end(struct deployment *, struct waiter *);
/* With d->lock held: the stop waiters, when there is nothing left to wait for. */
struct waiter *deployment_ended(struct deployment *);
/* What calls are told, whether they came before or after. */
struct err *deployment_is_stopping(const struct deployment *);
struct err *deployment_is_failed(const struct deployment *); /* FAILED only */
/* How many of the allocations wanted fit the processors. */
int deployment_fits(const struct deployment *, int wanted);

struct allocation {
    struct allocation *next;
    struct deployment *deployment;
    struct session *session;
    pthread_t thread;
    struct batch batch;
    int32_t *ids, *type_ids; /* [token budget] */
    uint32_t offsets[BATCH_MAX_SEQUENCES + 1];
    size_t token_budget;
};

/* Sessions for `n` more; linked by next. On failure none. Pool. */
struct err *allocations_new(struct deployment *, int n, struct allocation **out);
void allocations_discard(struct models *, struct allocation *); /* never ran */
void allocations_free(struct allocation *);                     /* joined */
/* Starts their threads; d->n_allocations counts them already. */
void allocations_run(struct allocation *);

struct flight {
    struct loop_msg msg;
    struct flight *next;  /* pending */
    bool pending, queued; /* d->lock */
    struct call *call;
    struct deployment *deployment; /* a reference */
    const struct head *head;
    struct sequence *sequences;
    size_t n;
    float *rows; /* [n, width]; NULL: the head keeps what it needs */
    void **kept; /* [n], by head->keep; NULL: rows */
    size_t width;
    atomic_size_t left;        /* sequences that have not ended */
    _Atomic(struct err *) err; /* the first; taken when the call ends */
};

/* Takes the call. Loop. */
void flight_start(struct deployment *, struct call *);
/* The deployment has started: tokenizes and queues. */
void flight_go(struct flight *);
/* One of its sequences is done, err or not (taken); the last one sends the call home. */
void flight_sequence_done(struct flight *, struct err *);
/* All of it is over before anything ran. Takes the err. */
void flight_fail(struct flight *, struct err *);
/* A call without a flight fails, on its loop. */
void call_fail(struct call *, struct err *);

#endif
