/* recognise_private: descriptions of a script's values, for recognise*.c alone.
 *
 * The script is followed once, node by node, as it would run on one sequence of n tokens: ids
 * [1, n], a mask of ones, types and places 0 .. n - 1. Each value gets a description that holds for
 * every n up to max_tokens, or none (WHAT_UNKNOWN), which spreads to all that is made of it. */
#ifndef INFERD_ENGINE_RECOGNISE_PRIVATE_H
#define INFERD_ENGINE_RECOGNISE_PRIVATE_H

#include "recognise.h"
#include "tensor.h"

/* The dim that is the number of tokens; in a list of sizes, one that follows from the others. */
#define DIM_N     (-16)
#define DIM_INFER (-1)

struct shape {
    int rank;
    int64_t dim[TENSOR_MAX_RANK];
};

/* Numbers that depend on nothing but places: one for all, one for each place, or one for each
 * distance (key - query), each perhaps per channel. */
enum grid_kind { GRID_SAME, GRID_PLACE, GRID_DISTANCE };
enum grid_type { GRID_BOOL, GRID_INT, GRID_FLOAT };

struct grid {
    enum grid_kind kind;
    enum grid_type type;
    int row, column;   /* dims: of the place; of query and key */
    int channel;       /* dim; -1: none */
    size_t n_channels; /* 1: none */
    size_t m;          /* places it is known for: [1, m or 2 m - 1][n_channels] numbers */
    double *v;
};

enum what {
    WHAT_UNKNOWN,
    WHAT_INT,        /* factor * n + add; also a tensor without dims */
    WHAT_LIST,       /* or tuple */
    WHAT_CONSTANT,   /* anything else that is */
    WHAT_GRID,       /* */
    WHAT_IDS,        /* the arguments */
    WHAT_TYPES,      /* */
    WHAT_REAL,       /* 1 where the id is not the padding's: ids != pad */
    WHAT_REAL_SUM,   /* its cumulated sum */
    WHAT_REAL_RANK,  /* that, 0 for padding */
    WHAT_REAL_PLACE, /* that + pad: RoBERTa's positions */
    WHAT_EMBEDDED,   /* rows of tables, added up */
    WHAT_TOKENS,     /* a graph's value as [1, n, width] */
    WHAT_SEQUENCE,   /* a graph's value as [1, width] */
    WHAT_HEADS,      /* a graph's value seen head by head */
    WHAT_SCORES,     /* q k^T, perhaps scaled, perhaps with a bias */
    WHAT_WEIGHTS,    /* their softmax */
    WHAT_TOTAL,      /* tokens added up: [1, width] */
    WHAT_COUNT,      /* n, as often as its shape says */
    WHAT_NORM,       /* the length of a sequence's row: [1, 1] or as wide as the row */
    WHAT_COLUMN,     /* one of two logits of each token: [1, n, 1] or [1, n] */
    WHAT_PAIRS       /* both: [2, 1, n] */
};

/* Which dims of [1, n, heads, d] stand where. */
enum order { ORDER_NHD, ORDER_HND, ORDER_HDN };

/* On the way from logits to SPLADE's weights. */
enum stage { STAGE_NONE, STAGE_RELU, STAGE_PLUS_ONE, STAGE_LOG };

struct desc {
    enum what what;
    struct shape shape;
    union {
        struct {
            int64_t factor, add;
        } i;
        struct {
            struct desc *items;
            size_t n;
        } list;
        const struct script_value *constant;
        struct grid *grid;
        int64_t pad; /* WHAT_REAL... */
        struct {
            const struct script_tensor *word, *type, *position;
            int64_t base;     /* row of the first token's position */
            bool pads, typed; /* typed: by the type ids; else all have the table's one row */
            int64_t type_row;
        } embedded;
        struct {
            uint32_t value;  /* of the graph */
            uint32_t logits; /* the node they come from, with a stage */
            enum stage stage;
            int column; /* WHAT_COLUMN */
        } rows;
        struct {
            uint32_t value;
            uint32_t n, d;
            enum order order;
            double scale;
        } heads;
        struct {
            uint32_t q, k, heads, d;
            double scale;
            const struct grid *bias;
        } scores;
    };
};

struct recog {
    const struct script *script;
    struct graph *graph;
    struct arena *arena; /* of this walk */
    struct desc *desc;   /* per value */
    uint32_t *alias;     /* per value: a group that shares memory, named by its first value */
    bool *dead;          /* per group: written to since; only what the write gave may be read */
    bool *held;          /* per group: in a list, from where it may be reached unseen */
    uint32_t max_tokens, vocab_size, type_vocab_size;
    size_t numbers;  /* of all grids */
    size_t weights;  /* floats of all constants of the graph */
    const char *why; /* the first thing that was not understood */
    bool failed;     /* nothing of it can be trusted */
    struct err *err; /* no memory */
};

/* Gives up: what is asked for is more than any model of these architectures has. */
void recog_too_much(struct recog *, const char *what);

typedef void recog_op(struct recog *, const struct script_node *, struct desc *out);

/* recognise_ops.c: NULL, an op that is never understood. */
extern recog_op *const recog_ops[N_SCRIPT_OPS];

/* factor * n + add */
void recog_set_int(struct desc *out, int64_t factor, int64_t add);
/* The description of an argument by its place or keyword; NULL: not given. */
const struct desc *recog_in(struct recog *, const struct script_node *, uint32_t position,
                            const char *keyword);
/* An int that does not depend on n; absent or none: `fallback`. False: something else. */
bool recog_int(struct recog *, const struct script_node *, uint32_t position, const char *keyword,
               int64_t fallback, int64_t *out);
bool recog_is_none(const struct desc *); /* NULL, too */
/* A number that is the same everywhere, whatever form it has. */
bool recog_number(struct recog *, const struct desc *, double *out);
bool recog_text_is(const struct desc *, const char *text);
/* A list of ints as a shape; ints that depend on n must be n. */
bool recog_shape(const struct desc *list, struct shape *out);
bool shape_equal(const struct shape *, const struct shape *);
/* -rank .. rank - 1 to 0 .. rank - 1. */
bool shape_dim(const struct shape *, int64_t dim, int *out);

/* recognise_grid.c, recognise_view.c */
void grid_set(struct desc *out, struct grid *, const struct shape *);
void grid_same(struct recog *, double value, enum grid_type, const struct shape *,
               struct desc *out);
void grid_places(struct recog *, const struct shape *, int dim, struct desc *out);
bool grid_of(struct recog *, const struct desc *, struct desc *out); /* numbers are grids, too */
bool grid_is(const struct desc *, double value);                     /* the same everywhere, this */
void grid_apply(struct recog *, enum script_op, const struct desc *const in[], int n_in,
                double alpha, struct desc *out);
void grid_view(struct recog *, const struct script_node *, const struct desc *x, struct desc *out);
recog_op grid_arange, grid_fill, grid_where, grid_compare, grid_unary, grid_gather, grid_index;
void grid_slice_constant(struct recog *, const struct script_tensor *, int64_t n, struct desc *out);
void grid_distances_of(struct recog *, const struct script_tensor *table, const struct desc *index,
                       struct desc *out);

/* recognise_rows.c: what the graph computes. Its constants are copies: a script that uses one many
 * times over is not worth them. */
uint32_t rows_constant(struct recog *, const struct script_tensor *);
uint32_t rows_node(struct recog *, const struct op *, const uint32_t *in, uint32_t n_in,
                   const struct attr *);
/* Anything that is rows of tokens, as a value of the graph. */
bool rows_tokens(struct recog *, const struct desc *, struct desc *out);
void rows_result(struct recog *, uint32_t value, struct desc *out);
recog_op rows_embedding, rows_linear, rows_layer_norm, rows_activation, rows_select, rows_sum,
    rows_mean, rows_max, rows_norm, rows_split, rows_stack, rows_log;
bool rows_add(struct recog *, const struct desc *x, const struct desc *y, struct desc *out);
bool rows_divide(struct recog *, const struct desc *x, const struct desc *y, struct desc *out);

/* recognise_heads.c: attention */
bool heads_view(struct recog *, const struct desc *x, const struct shape *, struct desc *out);
bool heads_swap(const struct desc *x, int a, int b, struct desc *out);
recog_op heads_attention, heads_matmul, heads_softmax;
bool heads_scale(const struct desc *x, double factor, struct desc *out);
bool heads_add(struct recog *, const struct desc *scores, const struct desc *grid,
               struct desc *out);

#endif
