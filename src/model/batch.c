#include "batch.h"

#include "bug.h"

/* How far behind the first one looks for company: bounds the time the queue's lock is held. */
#define LOOK_AHEAD 1024

void queue_put(struct queue *q, struct sequence *s)
{
    s->queued = true;
    s->next = NULL;
    s->prev = q->last;
    if (q->last)
        q->last->next = s;
    else
        q->first = s;
    q->last = s;
    q->n++;
}

void queue_remove(struct queue *q, struct sequence *s)
{
    BUG_ON(!s->queued);
    if (s->prev)
        s->prev->next = s->next;
    else
        q->first = s->next;
    if (s->next)
        s->next->prev = s->prev;
    else
        q->last = s->prev;
    s->queued = false;
    s->prev = s->next = NULL;
    q->n--;
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

void batch_take(struct queue *q, size_t token_budget, struct batch *out)
{
    out->n = out->n_tokens = out->n_dropped = 0;
    out->dropped = NULL;
    struct sequence *next;
    size_t looked = 0;
    for (struct sequence *s = q->first; s && looked < LOOK_AHEAD; s = next, looked++) {
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
            return;
    }
}
