/* batch: sequences waiting for an allocation, in whose turn it is, and which of them run together.
 *
 *     queue_put(&q, &sequence);
 *     batch_take(&q, &rules, &batch);   // batch.items run; batch.dropped are of cancelled calls,
 *                                       // batch.late could not be done in time any more
 *
 * Pure: no locks, no clocks. The deployment's lock is held around each call. Private to model/. */
#ifndef INFERD_BATCH_H
#define INFERD_BATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct document;

/* One row of a document, tokenized: lives in the call's arena. */
struct sequence {
    struct document *document;
    const atomic_bool *cancelled;  /* the call's */
    const int32_t *ids, *type_ids; /* [n_tokens]; type_ids NULL: all 0 */
    uint32_t n_tokens;
    uint32_t row;        /* of the document */
    bool search;         /* someone waits for it at a keyboard: input_type search */
    uint32_t owner;      /* whose it is: of queue_owner */
    int64_t deadline_ms; /* clock_mono_ms scale; 0: none */
    int64_t since_ns;    /* when it was made, to tell how long it waited; clock_mono_ns scale */
    uint64_t turn;       /* the queue's own */
    bool queued;
    struct sequence *prev, *next;
};

struct line {
    struct sequence *first, *last;
};

/* Start-time fair queueing (Goyal, Vin, Cheng 1996): time is counted in tokens. A sequence's turn
 * comes when its owner's earlier ones have had theirs, but no earlier than now. So whoever sends a
 * thousand texts at once waits behind himself, and somebody else's one text comes next. */
#define QUEUE_OWNERS 256
/* Places where an owner may be; should all be of others who hold something, he shares one. */
#define QUEUE_OWNER_PLACES 8

struct queue_owner {
    uint32_t id;
    uint64_t next_turn;
    size_t n_held; /* documents in the queue, or on their way: the deployment's own */
};

struct queue {
    struct line search, rest;   /* each in order of turns, then of arrival */
    unsigned searches_in_a_row; /* batches begun by a search while others waited */
    size_t n, n_tokens;         /* in both lines */
    uint64_t turn;              /* of the sequence that began the last batch */
    struct queue_owner owners[QUEUE_OWNERS];
};

/* Searches go first, as Elasticsearch has it, but of five batches one is begun by the others. */
#define BATCH_SEARCHES_IN_A_ROW 4

/* Why 256: more sequences than that in one run gain nothing, a session's weights are in cache
 * either way, and every one of them waits for the last. */
#define BATCH_MAX_SEQUENCES 256

struct batch {
    struct sequence *items[BATCH_MAX_SEQUENCES];
    size_t n, n_tokens;
    struct sequence *dropped, *late; /* linked by next */
    size_t n_dropped, n_late;
};

struct batch_rules {
    size_t token_budget;
    int64_t now_ms;
    double ms_per_token; /* as runs have taken; 0: not known */
};

/* Where in `owners` one is, by a hash of the user or the API key; stays while n_held is not 0. */
uint32_t queue_owner(struct queue *, uint32_t id);
void queue_put(struct queue *, struct sequence *);
void queue_remove(struct queue *, struct sequence *); /* it must be queued */
/* Empties it; the sequences are linked by next. */
struct sequence *queue_take_all(struct queue *);

/* Takes the sequence whose turn it is (of the searches, or of the others) and, in order of turns,
 * those of similar length that fit beside it into the budget. So a long text never waits for more
 * than the batches of those before it, and a short one does not run at the pace of a long one. A
 * first sequence over budget runs alone. Sequences of cancelled calls that are come across are
 * dropped, and those that a run would not finish before their deadline are late: under more load
 * than can be borne it is better to do what is still wanted. */
void batch_take(struct queue *, const struct batch_rules *, struct batch *out);

#endif
