/* What plan, runner and ops share. Private to the interpreter. */
#ifndef INFERD_ENGINE_SCRIPT_RUN_PRIVATE_H
#define INFERD_ENGINE_SCRIPT_RUN_PRIVATE_H

#include "run.h"
#include "datum.h"

struct step;
typedef struct err *step_fn(struct step *);

/* Values a node or a block is the last to need. */
struct drops {
    uint32_t n;
    const uint32_t *ids;
};

struct plan_node {
    const struct script_node *node;
    struct plan_block *body[2];
    struct drops drops;
    bool folded; /* its result is among the constants */
};

struct plan_block {
    const struct script_block *block;
    struct plan_node *nodes; /* [block->n_nodes] */
    struct drops drops;      /* after its results were taken */
};

/* A constant matrix B [k, n] in panels, found by what it shows. */
struct packed_weight {
    const void *data;
    int64_t k, n, stride_k, stride_n;
    struct packed packed; /* bias: NULL */
};

/* A quantized weight as int16, so that products of pairs add up in one instruction. */
struct int8_weight {
    const struct script_packed *of;
    size_t n, k, k_padded; /* k_padded: multiple of INT8_STEP, zeros behind k */
    int16_t *columns;      /* [n, k_padded] */
};

struct script_plan {
    struct arena *arena;
    const struct script *script;
    const struct kernels *kernels;
    struct plan_block *forward;
    bool *is_constant;       /* [n_values] */
    struct datum *constants; /* [n_values] */
    struct packed_weight *weights;
    size_t n_weights, weights_cap;
    struct int8_weight *int8;
    size_t n_int8, int8_cap;
};

/* NULL: not packed. */
const struct int8_weight *plan_int8(const struct script_plan *, const struct script_packed *);
struct err *pack_int8(struct script_plan *, const struct script_packed *);
const struct packed_weight *plan_weight(const struct script_plan *, const void *data, int64_t k,
                                        int64_t n, int64_t stride_k, int64_t stride_n);

struct script_runner {
    const struct script_plan *plan;
    struct datum *values; /* [n_values] */
    size_t bytes, max_bytes;
    uint64_t steps, work;         /* of this run */
    uint64_t max_steps, max_work; /* more is an error */
    uint64_t random;              /* state of aten::rand, the same at the start of every run */
    float *output;
    size_t output_bytes;
};

/* The node's op at work. `out` is the node's only value (None before); ops with none or several
 * write to it too, or to node->out by themselves. */
struct step {
    struct script_runner *r;
    const struct script_node *node;
    struct datum *out;
};

/* The op of each row of ops.def; those of control flow are in run.c. */
#define X(id, name) step_fn run_##id;
#include "ops.def"
#undef X

/* Runs one node whose inputs are constants, for the plan. */
struct err *run_alone(struct script_runner *, const struct script_node *, struct datum *out);
const struct datum *runner_datum(const struct script_runner *, uint32_t id);
void runner_set(struct script_runner *, uint32_t id, struct datum); /* takes the reference */

#endif
