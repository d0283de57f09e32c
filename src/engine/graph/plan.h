/* plan: what runs between two barriers, and where activations lie.
 *
 * A step is either a run of OP_ROWS nodes over the same rows or one OP_ITEMS node. A value that is
 * born and dies inside one step is local: each thread keeps only the block of rows it works on.
 * All others are global: [token_budget] rows each, sharing memory where their lives do not meet.
 * Nothing is allocated by a run. */
#ifndef INFERD_ENGINE_PLAN_H
#define INFERD_ENGINE_PLAN_H

#include "op.h"

/* Most rows of a block, and what local memory is for. */
#define PLAN_MOST_ROWS 98

struct step {
    enum op_kind kind;
    uint32_t first, n; /* nodes */
    int64_t rows;      /* DIM_TOKENS or DIM_SEQUENCES */
};

struct place {
    bool local;
    size_t at;     /* bytes per row before it: times the number of rows gives the offset */
    size_t stride; /* bytes of one row */
};

struct plan {
    struct step *steps;
    size_t n_steps;
    struct place *places;    /* per value */
    size_t global_row_bytes; /* times token_budget: the session's shared memory */
    size_t local_row_bytes;  /* times PLAN_MOST_ROWS: each thread's */
    size_t block_rows;       /* rows a thread takes through a step at once */
    size_t scratch_bytes;    /* each thread's */
};

struct plan *plan_new(const struct graph *, const struct kernels *, uint32_t max_tokens);
void plan_free(struct plan *);

#endif
