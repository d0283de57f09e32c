#include "run.h"

#include "bug.h"
#include "op.h"
#include "plan.h"
#include "team.h"

/* Below this many rows for each thread all threads share the columns of the same rows instead: each
 * weight is then read by one of them only, and with few rows reading weights is what takes time. */
#define SHARE_BELOW_ROWS 48

float *frame_row(const struct frame *f, uint32_t value, size_t row)
{
    const struct place *p = &f->plan->places[value];
    if (f->graph->values[value].data)
        return f->graph->values[value].data + row * value_width(&f->graph->values[value]);
    if (p->local)
        return (float *)(f->local + p->at * PLAN_BLOCK_ROWS + (row - f->row0) * p->stride);
    return (float *)(f->global + p->at * f->budget + row * p->stride);
}

size_t frame_stride(const struct frame *f, uint32_t value)
{
    return f->graph->values[value].data ? value_width(&f->graph->values[value])
                                        : f->plan->places[value].stride / sizeof(float);
}

struct part part_rows(const struct part *p)
{
    size_t n = p->end - p->begin;
    return (struct part){p->begin + n * p->share / p->n_shares,
                         p->begin + n * (p->share + 1) / p->n_shares, 0, 1};
}

static size_t step_rows(const struct step *s, const struct token_batch *b)
{
    return s->rows == DIM_TOKENS ? b->n_tokens : b->n_sequences;
}

/* Blocks of equal size, so that no thread is left with a large last one. */
static size_t block_rows(size_t rows, size_t n_threads, size_t tile)
{
    size_t each = (rows + n_threads - 1) / n_threads;
    size_t blocks = (each + PLAN_BLOCK_ROWS - 1) / PLAN_BLOCK_ROWS;
    size_t block = ((each + blocks - 1) / blocks + tile - 1) / tile * tile;
    return block < PLAN_BLOCK_ROWS ? block : PLAN_BLOCK_ROWS;
}

/* Each thread takes blocks of rows through all nodes of the step. */
static void run_blocks(struct run *r, const struct step *s, struct frame *f, atomic_size_t *next)
{
    size_t rows = step_rows(s, f->batch),
           block = block_rows(rows, team_size(r->team), f->kernels->mr);
    for (;;) {
        size_t begin = atomic_fetch_add_explicit(next, block, memory_order_relaxed);
        if (begin >= rows)
            return;
        struct part part = {begin, begin + block < rows ? begin + block : rows, 0, 1};
        f->row0 = begin;
        for (uint32_t i = 0; i < s->n; i++) {
            const struct node *n = &f->graph->nodes[s->first + i];
            n->op->run(n, f, &part);
        }
    }
}

/* All threads take the same block through the step, each its share of every node. */
static void run_shared(struct run *r, const struct step *s, struct frame *f, unsigned thread)
{
    size_t rows = step_rows(s, f->batch);
    char *own = f->local;
    f->local = r->local;
    for (size_t begin = 0; begin < rows; begin += PLAN_BLOCK_ROWS) {
        size_t end = begin + PLAN_BLOCK_ROWS < rows ? begin + PLAN_BLOCK_ROWS : rows;
        struct part part = {begin, end, thread, team_size(r->team)};
        f->row0 = begin;
        for (uint32_t i = 0; i < s->n; i++) {
            const struct node *n = &f->graph->nodes[s->first + i];
            n->op->run(n, f, &part);
            if (i + 1 < s->n || end < rows)
                team_barrier(r->team);
        }
    }
    f->local = own;
}

static void run_items(const struct step *s, struct frame *f, atomic_size_t *next)
{
    const struct node *n = &f->graph->nodes[s->first];
    size_t items = n->op->items(n, f);
    for (;;) {
        size_t item = atomic_fetch_add_explicit(next, 1, memory_order_relaxed);
        if (item >= items)
            return;
        n->op->run(n, f, &(struct part){item, item + 1, 0, 1});
    }
}

static void run_thread(void *ctx, unsigned thread)
{
    struct run *r = ctx;
    struct frame f = r->proto;
    const struct plan *p = f.plan;
    f.local = r->local + thread * r->local_bytes;
    f.scratch = r->scratch + thread * r->scratch_bytes;
    for (size_t i = 0; i < p->n_steps; i++) {
        const struct step *s = &p->steps[i];
        unsigned n = team_size(r->team);
        if (i > 0)
            team_barrier(r->team);
        if (s->kind == OP_ITEMS)
            run_items(s, &f, &r->next[i]);
        else if (n > 1 && step_rows(s, f.batch) < (size_t)n * SHARE_BELOW_ROWS)
            run_shared(r, s, &f, thread);
        else
            run_blocks(r, s, &f, &r->next[i]);
    }
}

void run_graph(struct run *r, const struct token_batch *batch)
{
    r->proto.batch = batch;
    for (size_t i = 0; i < r->proto.plan->n_steps; i++)
        atomic_store_explicit(&r->next[i], 0, memory_order_relaxed);
    team_run(r->team, run_thread, r);
}
