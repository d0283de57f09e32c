#include "run.h"

#include "bug.h"
#include "op.h"
#include "plan.h"
#include "team.h"

/* Below this many rows for each thread they share the columns of the same rows instead: each
 * weight is then read by one of them only, and with few rows reading weights is what takes time. */
#define SHARE_BELOW_ROWS 48

float *frame_row(const struct frame *f, uint32_t value, size_t row)
{
    const struct place *p = &f->plan->places[value];
    if (f->graph->values[value].data)
        return f->graph->values[value].data + row * value_width(&f->graph->values[value]);
    if (p->local)
        return (float *)(f->local + p->at * PLAN_MOST_ROWS + (row - f->row0) * p->stride);
    return (float *)(f->global + p->at * f->budget + row * p->stride);
}

size_t frame_stride(const struct frame *f, uint32_t value)
{
    return f->graph->values[value].data ? value_width(&f->graph->values[value])
                                        : f->plan->places[value].stride / sizeof(float);
}

size_t batch_sequence(const struct token_batch *b, size_t row)
{
    size_t low = 0, high = b->n_sequences;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (b->offsets[middle] <= row)
            low = middle;
        else
            high = middle;
    }
    return low;
}

struct part part_rows(const struct part *p)
{
    size_t n = p->end - p->begin;
    return (struct part){p->begin + n * p->share / p->n_shares,
                         p->begin + n * (p->share + 1) / p->n_shares, 0, 1};
}

/* Blocks of equal size, so that no thread is left with a large last one. */
static size_t block_rows(size_t rows, size_t n_threads, size_t most)
{
    size_t each = (rows + n_threads - 1) / n_threads;
    size_t blocks = (each + most - 1) / most;
    return (each + blocks - 1) / blocks;
}

/* Pieces a node is cut into when threads share its columns: several for each thread, so that one
 * that is held up has little in hand. Anything but a product is too short for that. */
static uint32_t n_shares(const struct node *n, uint32_t n_threads)
{
    if (!n->packed)
        return n_threads;
    return n->packed->n_panels < 4 * n_threads ? (uint32_t)n->packed->n_panels : 4 * n_threads;
}

static void add_phase(struct run *r, size_t *n, const struct run_phase *p, size_t n_chunks)
{
    r->phases[*n] = *p;
    r->n_chunks[*n] = (uint32_t)n_chunks;
    ++*n;
}

static void plan_step(struct run *r, const struct step *s, size_t *n)
{
    const struct frame *f = &r->proto;
    uint32_t n_threads = team_size(r->team);
    struct run_phase p = {.step = s, .block = 1, .node = s->first};
    const struct node *nodes = f->graph->nodes;
    if (s->kind == OP_ITEMS) {
        p.rows = nodes[s->first].op->items(&nodes[s->first], f);
        add_phase(r, n, &p, p.rows);
        return;
    }
    p.rows = s->rows == DIM_TOKENS ? f->batch->n_tokens : f->batch->n_sequences;
    p.shared = n_threads > 1 && p.rows <= PLAN_MOST_ROWS && p.rows < n_threads * SHARE_BELOW_ROWS;
    if (!p.shared) {
        p.block = block_rows(p.rows, n_threads, f->plan->block_rows);
        add_phase(r, n, &p, (p.rows + p.block - 1) / p.block);
        return;
    }
    for (; p.node < s->first + s->n; p.node++)
        add_phase(r, n, &p, n_shares(&nodes[p.node], n_threads));
}

static void run_block(const struct run_phase *p, struct frame *f, uint32_t chunk)
{
    size_t begin = chunk * p->block, end = begin + p->block;
    struct part part = {begin, end < p->rows ? end : p->rows, 0, 1};
    f->row0 = begin;
    for (uint32_t i = 0; i < p->step->n; i++) {
        const struct node *n = &f->graph->nodes[p->step->first + i];
        n->op->run(n, f, &part);
    }
}

/* All rows lie in the first thread's memory; every chunk is a share of the same node. */
static void run_share(const struct run *r, size_t phase, struct frame *f, uint32_t chunk)
{
    const struct run_phase *p = &r->phases[phase];
    const struct node *n = &f->graph->nodes[p->node];
    f->local = r->local;
    n->op->run(n, f, &(struct part){0, p->rows, chunk, r->n_chunks[phase]});
}

static void run_chunk(void *ctx, unsigned thread, size_t phase, uint32_t chunk)
{
    const struct run *r = ctx;
    const struct run_phase *p = &r->phases[phase];
    struct frame f = r->proto;
    f.local = r->local + thread * r->local_bytes;
    f.scratch = r->scratch + thread * r->scratch_bytes;
    if (p->shared)
        run_share(r, phase, &f, chunk);
    else
        run_block(p, &f, chunk);
}

void run_graph(struct run *r, const struct token_batch *batch)
{
    size_t n = 0;
    r->proto.batch = batch;
    for (size_t i = 0; i < r->proto.plan->n_steps; i++)
        plan_step(r, &r->proto.plan->steps[i], &n);
    team_run(r->team, r->n_chunks, n, run_chunk, r);
}
