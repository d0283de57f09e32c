#include "batch.h"

#include "bug.h"

/* How far behind the first one looks for company: bounds the time the queue's lock is held. */
#define LOOK_AHEAD 1024

static struct line *line_of(struct queue *q, const struct sequence *s)
{
    return s->search ? &q->search : &q->rest;
}

/* Behind `before` (NULL: first). */
static void insert(struct line *l, struct sequence *before, struct sequence *s)
{
    s->prev = before;
    s->next = before ? before->next : l->first;
    if (s->next)
        s->next->prev = s;
    else
        l->last = s;
    if (before)
        before->next = s;
    else
        l->first = s;
}

/* The last one whose turn is not after this; looked for from the nearer end. */
static struct sequence *place(const struct line *l, uint64_t turn)
{
    struct sequence *p = l->last;
    if (!p || p->turn <= turn)
        return p;
    if (turn < l->first->turn)
        return NULL;
    if (turn - l->first->turn > p->turn - turn) {
        while (p && p->turn > turn)
            p = p->prev;
        return p;
    }
    for (p = l->first; p->next && p->next->turn <= turn; p = p->next)
        ;
    return p;
}

uint32_t queue_owner(struct queue *q, uint32_t id)
{
    struct queue_owner *idle = NULL;
    for (uint32_t i = 0; i < QUEUE_OWNER_PLACES; i++) {
        struct queue_owner *o = &q->owners[(id + i) % QUEUE_OWNERS];
        if (o->id == id)
            return (uint32_t)(o - q->owners);
        if (!o->n_held && (!idle || o->next_turn < idle->next_turn))
            idle = o;
    }
    if (!idle)
        return id % QUEUE_OWNERS;
    *idle = (struct queue_owner){.id = id};
    return (uint32_t)(idle - q->owners);
}

void queue_put(struct queue *q, struct sequence *s)
{
    uint64_t *next = &q->owners[s->owner].next_turn;
    struct line *l = line_of(q, s);
    s->queued = true;
    s->turn = *next > q->turn ? *next : q->turn;
    *next = s->turn + s->n_tokens;
    insert(l, place(l, s->turn), s);
    q->n++;
    q->n_tokens += s->n_tokens;
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
    q->n_tokens -= s->n_tokens;
}

struct sequence *queue_take_all(struct queue *q)
{
    struct sequence *all = q->search.first ? q->search.first : q->rest.first;
    if (q->search.last)
        q->search.last->next = q->rest.first;
    for (struct sequence *s = all; s; s = s->next)
        s->queued = false;
    q->search = q->rest = (struct line){0};
    q->n = q->n_tokens = 0;
    return all;
}

/* Within a factor of two, or both short: below 32 tokens a run costs the same. */
static bool similar(uint32_t a, uint32_t b)
{
    uint32_t small = a < b ? a : b, large = a < b ? b : a;
    return large <= 32 || large / 2 <= small;
}

static void push(struct sequence **list, size_t *n, struct sequence *s)
{
    s->next = *list;
    *list = s;
    ++*n;
}

/* True: it has left the queue without running. */
static bool is_over(struct queue *q, const struct batch_rules *r, double run_ms, struct sequence *s,
                    struct batch *out)
{
    bool cancelled = atomic_load_explicit(s->cancelled, memory_order_acquire);
    bool late = !cancelled && s->deadline_ms && (double)(s->deadline_ms - r->now_ms) < run_ms;
    if (!cancelled && !late)
        return false;
    queue_remove(q, s);
    if (cancelled)
        push(&out->dropped, &out->n_dropped, s);
    else
        push(&out->late, &out->n_late, s);
    return true;
}

/* Adds what fits, from one line. False: the batch is full. */
static bool take_from(struct queue *q, struct line *l, const struct batch_rules *r, double run_ms,
                      struct batch *out)
{
    struct sequence *next;
    size_t looked = 0;
    for (struct sequence *s = l->first; s && looked < LOOK_AHEAD; s = next) {
        next = s->next;
        if (is_over(q, r, run_ms, s, out))
            continue;
        looked++;
        if (out->n && (!similar(out->items[0]->n_tokens, s->n_tokens) ||
                       out->n_tokens + s->n_tokens > r->token_budget))
            continue;
        queue_remove(q, s);
        if (!out->n && s->turn > q->turn)
            q->turn = s->turn;
        out->items[out->n++] = s;
        out->n_tokens += s->n_tokens;
        if (out->n == BATCH_MAX_SEQUENCES || out->n_tokens >= r->token_budget)
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

void batch_take(struct queue *q, const struct batch_rules *r, struct batch *out)
{
    size_t tokens = q->n_tokens < r->token_budget ? q->n_tokens : r->token_budget;
    double run_ms = r->ms_per_token * (double)tokens;
    out->n = out->n_tokens = out->n_dropped = out->n_late = 0;
    out->dropped = out->late = NULL;
    bool search = search_first(q);
    if (take_from(q, search ? &q->search : &q->rest, r, run_ms, out))
        take_from(q, search ? &q->rest : &q->search, r, run_ms, out);
}
