/* run: takes a batch through a planned graph with a team of threads. */
#ifndef INFERD_ENGINE_RUN_H
#define INFERD_ENGINE_RUN_H

#include "graph.h"

struct plan;
struct team;

/* A piece of a node's work. Rows [begin, end) of a step's rows (or items of the op); with
 * n_shares > 1 every thread gets the same rows and does its share of them, cut as the op likes. */
struct part {
    size_t begin, end;
    unsigned share, n_shares;
};

/* What one thread sees while it runs. */
struct frame {
    const struct graph *graph;
    const struct plan *plan;
    const struct kernels *kernels;
    const struct token_batch *batch;
    char *global;
    size_t budget; /* rows of a global value */
    char *local;   /* this block's rows of local values */
    size_t row0;   /* the row that local rows begin with */
    void *scratch;
};

/* A row of an activation or of a constant table, [width] floats. */
float *frame_row(const struct frame *, uint32_t value, size_t row);
size_t frame_stride(const struct frame *, uint32_t value); /* floats from one row to the next */

/* The sequence that holds token `row`. */
size_t batch_sequence(const struct token_batch *, size_t row);

/* This call's own rows: `part` cut into n_shares pieces. */
struct part part_rows(const struct part *);

/* One phase of a run: a whole step, or one node of it when threads share its columns. */
struct run_phase {
    const struct step *step;
    uint32_t node; /* of the graph; shared only */
    bool shared;
    size_t rows;  /* or items, of all chunks together */
    size_t block; /* rows or items of one chunk */
};

struct run {
    struct frame proto;
    struct team *team;
    char *local; /* of thread t: local + t * local_bytes */
    size_t local_bytes;
    char *scratch;
    size_t scratch_bytes;
    struct run_phase *phases; /* as many as the graph has nodes, like n_chunks */
    uint32_t *n_chunks;
};

void run_graph(struct run *, const struct token_batch *);

#endif
