/* batch: sequences waiting for an allocation, and which of them run together.
 *
 *     queue_put(&q, &sequence);
 *     batch_take(&q, budget, &batch);   // batch.items run; batch.dropped are of cancelled calls
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
    uint32_t row; /* of the document */
    bool search;  /* someone waits for it at a keyboard: input_type search */
    bool queued;
    struct sequence *prev, *next;
};

struct line {
    struct sequence *first, *last;
};

struct queue {
    struct line search, rest;
    unsigned searches_in_a_row; /* batches begun by a search while others waited */
    size_t n;                   /* in both lines */
};

/* Searches go first, as Elasticsearch has it, but of five batches one is begun by the others. */
#define BATCH_SEARCHES_IN_A_ROW 4

/* Why 256: more sequences than that in one run gain nothing, a session's weights are in cache
 * either way, and every one of them waits for the last. */
#define BATCH_MAX_SEQUENCES 256

struct batch {
    struct sequence *items[BATCH_MAX_SEQUENCES];
    size_t n, n_tokens;
    struct sequence *dropped; /* linked by next */
    size_t n_dropped;
};

void queue_put(struct queue *, struct sequence *);
void queue_remove(struct queue *, struct sequence *); /* it must be queued */
/* Empties it; the sequences are linked by next. */
struct sequence *queue_take_all(struct queue *);

/* Takes the sequence whose turn it is (the longest waiting search, or the longest waiting of the
 * others) and, in order of arrival, those of similar length that fit beside it into `token_budget`.
 * So a long text never waits for more than the batches of those before it, and a short one does not
 * run at the pace of a long one. A first sequence over budget runs alone. Sequences of cancelled
 * calls that are come across are dropped. */
void batch_take(struct queue *, size_t token_budget, struct batch *out);

#endif
