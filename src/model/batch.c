#include "batch.h"

#include "bug.h"

/* How far behind the first one looks for company: bounds the time the queue's lock is held. */
#define LOOK_AHEAD 1024

static struct line *line_of(struct queue *q, const struct sequence *s)
{
    return s->search ? &q->search : &q->rest;
}

void queue_put(struct queue *q, struct sequence *s)
{
    struct line *l = line_of(q, s);
    s->queued = true;
    s->next = NULL;
    s->prev = l->last;
    if (l->last)
        l->last->next = s;
    else
        l->first = s;
    l->last = s;
    q->n++;
}

void queue_remove(struct queue *q, struct sequence *s)
{
    BUG_ON(!s->queued);
    struct line *l = line_of(q, s);
    if (s->prev)
        s->prev->next = s->next;
    else
        l->first = s->next;
    if (s->next)
        s->next->prev = s->prev;
    else
        l->last = s->prev;
    s->queued = false;
    s->prev = s->next = NULL;
    q->n--;
}

struct sequence *queue_take_all(struct queue *q)
{
    struct sequence *all = q->search.first ? q->search.first : q->rest.first;
    if (q->search.last)
        q->search.last->next = q->rest.first;
    for (struct sequence *s = all; s; s = s->next)
        s->queued = false;
    *q = (struct queue){0};
    return all;
}

/* Within a factor of two, or both short: below 32 tokens a run costs the same. */
static bool similar(uint32_t a, uint32_t b)
{
    uint32_t small = a < b ? a : b, large = a < b ? b : a;
    return large <= 32 || large / 2 <= small;
}

static bool drop_cancelled(struct queue *q, struct sequence *s, struct batch *out)
{
    if (!atomic_load_explicit(s->cancelled, memory_order_acquire))
        return false;
    queue_remove(q, s);
    s->next = out->dropped;
    out->dropped = s;
    out->n_dropped++;
    return true;
}

/* Adds what fits, from one line. False: the batch is full. */
static bool take_from(struct queue *q, struct line *l, size_t token_budget, struct batch *out)
{
    struct sequence *next;
    size_t looked = 0;
    for (struct sequence *s = l->first; s && looked < LOOK_AHEAD; s = next, looked++) {
        next = s->next;
        if (drop_cancelled(q, s, out))
            continue;
        if (out->n && (!similar(out->items[0]->n_tokens, s->n_tokens) ||
                       out->n_tokens + s->n_tokens > token_budget))
            continue;
        queue_remove(q, s);
        out->items[out->n++] = s;
        out->n_tokens += s->n_tokens;
        if (out->n == BATCH_MAX_SEQUENCES || out->n_tokens >= token_budget)
            return false;
    }
    return true;
}

/* Whether a search begins the next batch. */
static bool search_first(struct queue *q)
{
    if (q->search.first && q->rest.first && q->searches_in_a_row < BATCH_SEARCHES_IN_A_ROW) {
        q->searches_in_a_row++;
        return true;
    }
    q->searches_in_a_row = 0;
    return q->search.first && !q->rest.first;
}

void batch_take(struct queue *q, size_t token_budget, struct batch *out)
{
    out->n = out->n_tokens = out->n_dropped = 0;
    out->dropped = NULL;
    bool search = search_first(q);
    if (take_from(q, search ? &q->search : &q->rest, token_budget, out))
        take_from(q, search ? &q->rest : &q->search, token_budget, out);
}
