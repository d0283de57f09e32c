/* script: front end for TorchScript archives (torch.jit.save). Private to engine.
 *
 *     struct script *s;
 *     TRY(script_load("model.pt", &limits, &s));
 *     script_run(...)     run.h: interprets it, op by op, one sequence at a time
 *     recognise(...)      recognise.h: the plan of a known architecture instead
 *     script_free(s);
 *
 * Loading: zip.h, archive.h, pickle.h, parser (ast.h), library.h with the check of ops, lower.h.
 *
 * What load gives is `forward` of the root module with every method call inlined and every
 * attribute resolved to a constant: nodes in run order over numbered values, each written once.
 * Nothing of the archive is executed; pickles are read for data only. Names as libtorch prints
 * them: "aten::add", "prim::If". Only ops of ops.def pass (trained_models.md 17); limits on
 * nesting, nodes, constants, archive size and expansion are checked while reading.
 *
 * Immutable after load; any number of readers. The script owns everything in its arena, and the
 * storages of its tensors. */
#ifndef INFERD_ENGINE_SCRIPT_H
#define INFERD_ENGINE_SCRIPT_H

#include "arena.h"
#include "engine.h"
#include "str.h"

struct buf;
struct storage;

enum script_kind {
    SCRIPT_NONE,
    SCRIPT_BOOL,
    SCRIPT_INT, /* a dtype, a layout or a memory format too: libtorch prints them as numbers */
    SCRIPT_FLOAT,
    SCRIPT_STR,
    SCRIPT_DEVICE,
    SCRIPT_TENSOR,
    SCRIPT_LIST,
    SCRIPT_TUPLE,
    SCRIPT_DICT,  /* keys and values in turn */
    SCRIPT_PACKED /* LinearPackedParamsBase: weight and bias of quantized::linear_dynamic */
};

/* A view of a storage: strides in elements, none negative; every element lies in the storage. */
struct script_tensor {
    enum dtype dtype;
    int rank;
    int64_t dim[TENSOR_MAX_RANK], stride[TENSOR_MAX_RANK];
    void *data; /* of the first element */
};

struct script_packed {
    struct script_tensor weight; /* DTYPE_I8 [n, k] */
    float scale;                 /* per tensor */
    const float *scales;         /* [n] per channel; NULL: per tensor */
    int32_t zero_point;
    bool has_bias;
    struct script_tensor bias; /* [n] */
};

/* A constant. */
struct script_value {
    enum script_kind kind;
    union {
        bool b;
        int64_t i;
        double f;
        struct str s;
        struct script_tensor tensor;
        struct script_packed *packed;
        struct {
            const struct script_value **items;
            size_t n;
        } list; /* list, tuple, dict */
    };
};

/* Index into ops.def: SCRIPT_OP_aten_add ... */
enum script_op {
#define X(id, name) SCRIPT_OP_##id,
#include "ops.def"
#undef X
    N_SCRIPT_OPS
};
const char *script_op_name(enum script_op); /* "aten::add" */

struct script_node {
    enum script_op op;
    uint32_t n_in, n_out;
    const uint32_t *in;    /* values; positional arguments first */
    const char **keywords; /* [n_in], NULL for a positional one; NULL: all are */
    const uint32_t *out;   /* one, but for unpacking, prim::If and prim::Loop */
    struct script_block *body[2];
};

/* prim::If: in[0] is the condition; body[0] when true; results are its outs.
 * prim::Loop: in = trip count, condition, carried ...; body[0]: params = counter, carried ...;
 * results = condition, carried ... An op with several results (aten::max with a dim, aten::split)
 * gives one tuple or list, which prim::TupleUnpack or prim::ListUnpack takes apart.
 * Blocks are nested at most 64 deep. Tuples within the code are gone but for those an op makes, a
 * list holds or forward returns; an `if` whose condition is known is gone too. Types are not known:
 * aten::Int, aten::IntImplicit and aten::ScalarImplicit of what is a number already are that
 * number, and one op name covers Tensor, int and float (aten::add of two ints). */
struct script_block {
    const uint32_t *params;
    uint32_t n_params;
    struct script_node *nodes;
    uint32_t n_nodes;
    const uint32_t *results;
    uint32_t n_results;
};

struct script {
    struct arena *arena;
    int version; /* of the archive: 1 to 10; changes what some ops mean (trained_models.md 15) */
    uint32_t n_values;
    const struct script_value **constants; /* [n_values]; NULL: computed */
    uint32_t n_args;                       /* of forward, self apart: values 0 .. n_args - 1 */
    struct script_block *forward;          /* one result */
    size_t weight_bytes;                   /* of all storages */
    struct storage *storages;              /* script.c: memory that tensors point into */
};

struct err *script_load(const char *file, const struct engine_limits *, struct script **out);
void script_free(struct script *); /* NULL is fine */

/* As text, for tests and debugging: a line for each node, constants where they are used. */
void script_dump(const struct script *, struct buf *out);

/* Argument `position` or, when not given so, the one with this keyword; NO_VALUE: absent. */
uint32_t script_arg(const struct script_node *, uint32_t position, const char *keyword);

#endif
