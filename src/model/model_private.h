/* What the deployments' files of model/ share.
 *
 * model.c       deployments by id, joining threads, shutting down
 * snapshot.c    what a folder holds, without loading it
 * parts.c       program, tokenizer and task of a model, shared by its deployments
 * deployment.c  starting and stopping
 * admit.c       what must hold before a deployment may start: the errors of _start
 * account.c, budget.c   the node's memory and processors, divided among all of them
 * cores.c       turns on the processors, when there are more allocations than those
 * update.c      other numbers of allocations
 * view.c        states and numbers, for those who look
 * model_metrics.c  the same for Prometheus
 * infer.c       which deployment an id means
 * remember.c    deployments that come back after a restart
 * allocation.c  a thread with a session that runs batches
 * encode.c      from a call's texts to the rows its model reads
 * document.c    one text on its way: its rows, what they gave, its result
 * recall.c      what documents gave before
 * flight.c      one call on its way: its documents, waiting, its end
 * batch.c       which sequences run together
 * head.c        from results to what an endpoint's task answers
 * numbers.c, memory.c   counting, reckoning
 *
 * Counts: whoever can still touch a deployment holds a reference (the registry, each allocation,
 * each job on the pool, each flight), a deployment holds the models. Locks: models->lock before
 * deployment->lock, each for a few lines; deployment->admin is held by a pool thread while it makes
 * sessions, so that starting and scaling one deployment happen one after the other. */
#ifndef INFERD_MODEL_PRIVATE_H
#define INFERD_MODEL_PRIVATE_H

#include <pthread.h>

#include "batch.h"
#include "cores.h"
#include "engine.h"
#include "head.h"
#include "histogram.h"
#include "map.h"
#include "memory.h"
#include "model.h"
#include "nlp.h"
#include "numbers.h"
#include "recall.h"
#include "steward.h"
#include "tokenizer.h"
#include "trained_model.h"

/* Tokens in one run, unless one text may be longer. MiniLM on one AVX-512 core takes the same time
 * per text at 256 and 512 tokens a run and no less at 1,024 and 2,048: beyond that a larger batch
 * only makes everyone in it wait longer and its activations fall out of cache. */
#define BATCH_TOKENS 512
/* num_allocations, whoever asks. */
#define DEPLOYMENT_ALLOCATIONS_MAX 1024

struct models {
    atomic_uint refs;
    char *path;
    int processors;
    size_t queue_capacity;
    uint64_t memory_bytes;
    char *node_id, *node_name;
    struct registry *registry;
    struct store *store;
    struct pool *pool;
    struct steward *steward;
    struct cores *cores;
    atomic_uint n_unplaced; /* calls that wait for a first allocation, of all deployments */
    pthread_mutex_t lock;
    pthread_cond_t idle; /* n_jobs or n_threads fell; a part has loaded */
    struct map *deployments;
    struct parts *parts;
    struct size_histogram batch_sequences, batch_tokens;
    int processors_left;      /* by no allocation */
    uint64_t n_started;       /* deployments, ever */
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

/* A model's files and what is known of it. */
struct source {
    struct trained_model *model; /* a reference; NULL without a registry */
    struct str model_id;
    bool snapshot;
    const char *folder, *definition, *vocabulary; /* folder: a snapshot's; else the other two */
};
/* Blocking: pool. Errors: that there is no such model, that it is not whole. */
struct err *source_find(struct models *, struct str id_or_alias, struct arena *,
                        struct source *out);
void source_deinit(struct source *);
int64_t source_bytes(const struct source *); /* of the definition, or of the snapshot's weights */

struct parts {
    struct parts *next;
    char *key;
    unsigned refs; /* models->lock */
    enum { PARTS_LOADING, PARTS_READY, PARTS_BROKEN } state;
    struct err *err;
    struct program *program; /* NULL: no allocation needs it; models->lock */
    size_t n_users;          /* allocations; models->lock */
    bool loading_again;      /* the program; models->lock */
    const char *place;       /* folder or archive it is loaded from */
    uint32_t token_budget;
    struct tokenizer *tokenizer;
    struct program_info info;    /* also while there is no program */
    struct trained_model *model; /* a reference, or NULL */
    struct nlp_config nlp;       /* borrows from model */
    bool snapshot;
    struct arena *arena; /* prompts */
    struct str prompts[N_INPUT_TYPES];
    struct str input_field;
};

/* Blocking: pool. */
struct err *parts_load(struct models *, const struct source *, struct parts **out);
void parts_unref(struct models *, struct parts *); /* NULL is fine */
/* The program for an allocation, loaded if none has it: give it back with parts_program_done. May
 * block: pool, or the thread of an allocation or the steward where it is known to be there. */
struct err *parts_program(struct models *, struct parts *, struct program **out);
void parts_program_done(struct models *, struct parts *, struct program *);
void parts_rest(struct models *, struct parts *); /* without allocations nobody needs its weights */

/* encode.c: the config for an endpoint's call: with its query, where it has one. In the arena. */
void encode_config(const struct parts *, struct arena *, const struct input *,
                   struct nlp_config *out);
/* The rows of a text of an endpoint's call: behind what the model wants in front of it. */
struct err *encode_input(const struct parts *, const struct nlp_config *, struct arena *,
                         const struct input *, size_t i, struct nlp_request *out);
/* Those of a document of _infer. */
struct err *encode_document(const struct parts *, const struct nlp_config *, struct arena *,
                            const struct json *document, struct nlp_request *out);

struct deployment {
    atomic_uint refs;
    struct models *models;
    struct str id, model_id; /* owned */
    int num_threads;
    int64_t queue_capacity;
    bool low_priority;
    bool by_api;   /* started by the API, now or before a restart: the store knows it */
    bool restored; /* it was started before the server was */
    enum wait_for wait_for;
    uint64_t number;  /* by age; m->lock */
    int64_t start_ms; /* wall clock */
    pthread_mutex_t admin;
    struct parts *parts;     /* set before STARTED, unchanged from then on */
    struct recall *recall;   /* NULL: no cache; as parts */
    struct memory_need need; /* set by admit.c, under models->lock; allocations: not set */
    bool reckoned;           /* it takes part in the account; models->lock */
    int claimed;             /* allocations it is reckoned with; models->lock */
    pthread_mutex_t lock;
    pthread_cond_t work; /* something to run, or to leave for */
    int64_t cache_bytes;
    enum deployment_phase phase;
    bool draining;       /* STOPPING, but what waits still runs */
    const char *failure; /* why it FAILED; interned */
    struct queue queue;
    size_t n_reserved;      /* documents let in of which nothing has been taken to run */
    size_t n_guests;        /* of those, beyond queue_capacity */
    struct flight *pending; /* calls that came before it had started, oldest first */
    struct flight **pending_end;
    bool has_adaptive;
    struct adaptive adaptive;
    int wanted;        /* num_allocations */
    int granted;       /* of them, those it has processors for; written with models->lock too */
    bool sharing;      /* the one granted has none of its own */
    int n_allocations; /* running */
    int most_assigned;
    int64_t grown_ms; /* clock_mono_ms: when the youngest allocation started */
    struct tended tended;
    bool starting; /* the job that starts it has not ended */
    struct numbers numbers;
    double ms_per_token, ms_off; /* of runs, lately: mean and mean deviation; 0: none yet */
    struct waiter *start_waiters, *stop_waiters;
};

struct deployment *deployment_find(struct models *, struct str id); /* a reference, or NULL */
/* One of a model, the best to ask; a reference, or NULL. */
struct deployment *deployment_of_model(struct models *, struct str model_id);
struct deployment *deployment_ref(struct deployment *);
void deployment_unref(struct deployment *);
/* On its way to its end, once out of the registry; takes the waiter (NULL: none). */
void deployment_end(struct deployment *, bool drain, struct waiter *);
/* With d->lock held: the stop waiters, when there is nothing left to wait for. */
struct waiter *deployment_ended(struct deployment *);
/* What calls are told, whether they came before or after. */
struct err *deployment_is_stopping(const struct deployment *);
struct err *deployment_is_failed(const struct deployment *); /* FAILED only */
struct err *deployment_unknown(struct str id);
/* update.c: from so many allocations to *n of them, unless somebody else has changed their number
 * or ended the scaling meanwhile. *n: the number there is afterwards, as far as it is this one's
 * doing: less than was asked for where there is no room for more, and more while something waits
 * for what should go to zero. Takes d->admin: pool, steward. */
struct err *deployment_scale(struct deployment *, int from, int *n, const char *reason);
/* Calls that wait for it to start, or for its first allocation. With d->lock held: taken out. */
struct flight *deployment_take_pending(struct deployment *);
void flights_go(struct flight *pending);
/* Has no allocations, or no scaler any more: those that wait do so for the scaler, which is to be
 * woken, or are told that nobody will make one. Whatever else the deployment is: nothing. */
void flights_at_zero(struct deployment *);
/* Takes the err. */
void deployment_fail_pending(struct deployment *, struct err *);
/* Makes the allocations that it has been granted and that are missing. Takes d->admin: pool. */
void deployment_fill(struct deployment *);
/* With d->lock held: n documents of the flight wait no longer. */
void deployment_unreserve(struct deployment *, const struct flight *, size_t n);

/* admit.c: before anything is loaded. With a success the deployment takes part in the sums. */
struct err *admit_spec(const struct deployment_spec *);
struct err *admit_source(struct deployment *, const struct source *);

/* account.c: what the node's memory and processors allow; changes of one deployment give others
 * what they are short of, on the pool. Takes m->lock and the d->lock of each. */

/* Before it is loaded: it takes part from now on, with n allocations, and is granted what there is
 * room for. */
struct err *account_open(struct deployment *, int n);
enum account_rule {
    ACCOUNT_ALL_OR_NOTHING,
    ACCOUNT_WHAT_FITS,          /* as many as there is room for now */
    ACCOUNT_WITH_THE_REST_LATER /* all, of which processors may be missing for a while */
};
/* To n allocations from fewer; out: what it may have. Nothing has changed when it is refused. */
struct err *account_grow(struct deployment *, int n, enum account_rule, int *out);
/* Or back to what there was, when a growth did not succeed. */
void account_shrink(struct deployment *, int n);
void account_close(struct deployment *);
/* Why it has no more allocations, for lack of processors. With m->lock held. */
#define ACCOUNT_WHY_SIZE 512
const char *account_why(const struct deployment *, char out[ACCOUNT_WHY_SIZE]);
/* What an allocation really has: not more than there are processors. */
int deployment_threads(const struct deployment *);

/* remember.c: Blocking: pool, with d->admin held. */
struct err *remember(struct deployment *);
void forget(struct deployment *);

struct allocation {
    struct allocation *next;
    struct deployment *deployment;
    struct program *program; /* parts_program_done gives it back */
    struct session *session;
    struct cores_turn turn;
    pthread_t thread;
    struct batch batch;
    int32_t *ids, *type_ids; /* [token budget] */
    uint32_t offsets[BATCH_MAX_SEQUENCES + 1];
    struct output outputs[BATCH_MAX_SEQUENCES];
    size_t token_budget, batch_tokens;
};

/* Sessions for `n` more; linked by next. On failure none. Pool. */
struct err *allocations_new(struct deployment *, int n, struct allocation **out);
void allocations_discard(struct models *, struct allocation *); /* never ran */
void allocations_free(struct allocation *);                     /* joined */
/* Starts their threads; d->n_allocations counts them already. */
void allocations_run(struct allocation *);

/* One text of a call. In the call's arena. */
struct document {
    struct flight *flight;
    struct nlp_request request;
    struct nlp_result result;
    struct kept *kept;       /* what its rows gave, where that is needed later */
    struct arena *arena;     /* of its result, when an allocation made it */
    struct document *same;   /* the next of the same tokens: gets what this one gets */
    struct str key;          /* of recall; {NULL, 0}: none */
    bool follows;            /* it is another's `same` */
    bool made;               /* result is there */
    uint32_t n_waiting;      /* of its sequences, in the queue; d->lock */
    atomic_uint left;        /* sequences that have not ended */
    atomic_uint_fast64_t ns; /* its share of the runs */
    atomic_bool failed;
};

/* One of its sequences would not be done in time, and has not run. */
void document_late(struct document *);
/* With d->lock held: a sequence is no longer in the queue. */
void document_left_queue(struct document *);
/* One of its sequences has ended; err (taken): badly, by the model's fault when it is its own. */
void document_part_done(struct document *, struct err *);

/* What row `row` gave; borrowed. Thread: allocations. */
struct err *document_take(struct document *, uint32_t row, const struct output *);
/* In this arena, from what is kept. */
struct err *document_make(struct document *, struct arena *);
/* Looks each up, in recall and among those before it; the number that need not run. */
struct err *documents_recall(struct flight *, size_t *n_out);

/* Most that the rows of a call may give while they are waited for. */
#define FLIGHT_MAX_BYTES ((size_t)1 << 30)

struct flight {
    struct loop_msg msg;
    struct flight *next;  /* pending */
    bool pending, queued; /* d->lock */
    bool unplaced;        /* pending, and counted in n_unplaced; d->lock */
    struct call *call;
    struct infer_docs *infer;      /* of call; NULL: an endpoint's */
    struct deployment *deployment; /* a reference */
    const struct head *head;       /* of an endpoint's call */
    struct nlp_config config;
    struct document *documents;
    size_t n;       /* documents */
    bool guest;     /* let in though the queue was full; d->lock */
    uint32_t owner; /* in the queue */
    struct sequence *sequences;
    size_t n_sequences;
    atomic_size_t bytes;       /* kept */
    atomic_size_t left;        /* sequences that have not ended, and the preparation */
    _Atomic(struct err *) err; /* the first; taken when the call ends */
};

/* Takes the call. Loop. */
void flight_start(struct deployment *, struct call *, struct infer_docs *);
/* The deployment has started: tokenizes and queues. */
void flight_go(struct flight *);
bool flight_cancelled(const struct flight *);
/* One of its parts is done, err or not (taken); the last one sends the call home. */
void flight_part_done(struct flight *, struct err *);
/* All of it is over before anything ran. Takes the err. */
void flight_fail(struct flight *, struct err *);
/* A call without a flight fails, on its loop. */
void call_fail(struct call *, struct infer_docs *, struct err *);

#endif
