/* graph: the one form every front end ends in, and what the passes and the runner work on.
 *
 *     struct graph *g = graph_new();
 *     uint32_t w = graph_constant(g, 2, (int64_t[]){n, k}, memory);
 *     TRY(graph_add(g, &op_linear, (uint32_t[]){x, w, b}, 3, &(struct attr){0}, &y));
 *     g->output = y;
 *
 * Nodes stand in run order; each value is written once. Rows of a value are tokens (of all
 * sequences, end to end) or sequences: a first dim of DIM_TOKENS or DIM_SEQUENCES is known at run
 * time. Values without such a dim are constants. The graph owns its constants' memory; after
 * program_load nothing in it changes. Thread: one while it is built, any number of readers after.
 *
 * Order of work: a builder adds plain ops; fuse.c replaces what belongs together; pack.c lays
 * weights out for the kernels; plan.c decides what runs between two barriers and where
 * activations lie; run.c runs it. */
#ifndef INFERD_ENGINE_GRAPH_H
#define INFERD_ENGINE_GRAPH_H

#include "arena.h"
#include "engine.h"
#include "kernels.h"

#define DIM_TOKENS    (-1)
#define DIM_SEQUENCES (-2)
#define NO_VALUE      UINT32_MAX
#define NODE_MAX_IN   6

struct op;

struct value {
    enum dtype dtype;
    int rank;
    int64_t dim[TENSOR_MAX_RANK];
    float *data; /* constant; NULL: an activation, or a constant that was packed away */
    size_t data_bytes;
};

enum pooling {
    POOL_CLS,
    POOL_MEAN,
    POOL_MAX,
    POOL_MEAN_SQRT_LEN,
    POOL_LASTTOKEN,
    POOL_WEIGHTEDMEAN,
    N_POOLINGS
};

/* What an op needs to know beyond its inputs; each op's file says which it reads. */
struct attr {
    float eps;
    enum activation act;
    enum pooling pooling;
    uint32_t heads;
    uint32_t column[3];     /* attention: where q, k and v begin in a row of their value */
    uint32_t width;         /* attention: hidden size of q, k and v; 0: all of q */
    uint32_t position_base; /* embed: row of the position table for the first token */
    bool pads;              /* embed: a token whose id is position_base - 1 is padding */
    bool placeless;         /* embed: no table of positions */
    uint32_t terms;         /* disentangled: what the scores are made of: 2 or 3 */
};

struct node {
    const struct op *op;
    uint32_t n_in;
    uint32_t in[NODE_MAX_IN];
    uint32_t out;
    struct attr attr;
    const struct packed *packed; /* linear, splade: set by pack.c */
};

struct graph {
    struct arena *arena;
    struct value *values;
    size_t n_values, cap_values;
    struct node *nodes;
    size_t n_nodes, cap_nodes;
    uint32_t output;
    float *weights; /* pack.c: every packed weight, in run order */
    size_t weights_bytes;
};

struct graph *graph_new(void);
void graph_free(struct graph *); /* NULL is fine */

/* A float constant; takes `data`, which must come from weights_alloc. */
uint32_t graph_constant(struct graph *, int rank, const int64_t *dim, float *data);
/* Appends a node and the value it writes, after the op's shape function has agreed. */
struct err *graph_add(struct graph *, const struct op *, const uint32_t *in, uint32_t n_in,
                      const struct attr *, uint32_t *out);

/* Zeroed floats, at least 64-byte aligned; NULL when the system has no memory. */
float *weights_alloc(size_t n_floats);
void weights_free(float *); /* NULL is fine */

bool graph_is_rows(const struct value *); /* the first dim is known at run time only */
size_t value_width(const struct value *); /* floats in one row */

/* fuse.c: q/k/v into one linear; linear + activation; add + layer_norm. */
struct err *graph_fuse(struct graph *);
/* pack.c: the weights of products into panels for these kernels. */
struct err *graph_pack(struct graph *, const struct kernels *);

#endif
