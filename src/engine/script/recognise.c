/* The walk: each node's op has a function below, or in another recognise_*.c, that describes what
 * the node gives by what it is given; an op without one, or one given something else than what it
 * is written for, gives WHAT_UNKNOWN. What is written in place is a new value to us: whoever reads
 * the old one afterwards reads something unknown. */
#include "recognise_private.h"

#include <math.h>

#include "bug.h"
#include "op.h"

/* --- reading a node --- */

const struct desc *recog_in(struct recog *r, const struct script_node *n, uint32_t position,
                            const char *keyword)
{
    uint32_t v = script_arg(n, position, keyword);
    return v == NO_VALUE ? NULL : &r->desc[v];
}

bool recog_is_none(const struct desc *d)
{
    return !d || (d->what == WHAT_CONSTANT && d->constant->kind == SCRIPT_NONE);
}

bool recog_int(struct recog *r, const struct script_node *n, uint32_t position, const char *keyword,
               int64_t fallback, int64_t *out)
{
    const struct desc *d = recog_in(r, n, position, keyword);
    *out = fallback;
    if (recog_is_none(d))
        return true;
    if (d->what != WHAT_INT || d->i.factor != 0)
        return false;
    *out = d->i.add;
    return true;
}

bool recog_number(struct recog *r, const struct desc *d, double *out)
{
    struct desc grid;
    if (!grid_of(r, d, &grid) || grid.grid->kind != GRID_SAME)
        return false;
    for (int i = 0; i < grid.shape.rank; i++)
        if (grid.shape.dim[i] != 1)
            return false;
    *out = grid.grid->v[0];
    return true;
}

bool recog_text_is(const struct desc *d, const char *text)
{
    return d && d->what == WHAT_CONSTANT && d->constant->kind == SCRIPT_STR &&
           str_eq_c(d->constant->s, text);
}

bool recog_shape(const struct desc *list, struct shape *out)
{
    *out = (struct shape){0};
    if (list->what != WHAT_LIST || list->list.n > TENSOR_MAX_RANK)
        return false;
    for (size_t i = 0; i < list->list.n; i++) {
        const struct desc *d = &list->list.items[i];
        bool is_n = d->what == WHAT_INT && d->i.factor == 1 && d->i.add == 0;
        if (d->what != WHAT_INT || (!is_n && (d->i.factor != 0 || d->i.add <= DIM_N)))
            return false;
        out->dim[out->rank++] = is_n ? DIM_N : d->i.add;
    }
    return true;
}

bool shape_equal(const struct shape *a, const struct shape *b)
{
    return a->rank == b->rank && memcmp(a->dim, b->dim, (size_t)a->rank * sizeof(a->dim[0])) == 0;
}

bool shape_dim(const struct shape *s, int64_t dim, int *out)
{
    dim += dim < 0 ? s->rank : 0;
    *out = (int)dim;
    return dim >= 0 && dim < s->rank;
}

/* --- ints, lists --- */

static void set_int(struct desc *out, int64_t factor, int64_t add)
{
    *out = (struct desc){.what = WHAT_INT, .i = {factor, add}};
}

static void op_size(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self");
    int64_t dim;
    int at;
    if (!x || !recog_int(r, n, 1, "dim", 0, &dim) || !shape_dim(&x->shape, dim, &at))
        return;
    if (x->shape.dim[at] == DIM_N)
        set_int(out, 1, 0);
    else
        set_int(out, 0, x->shape.dim[at]);
}

/* Int, NumToTensor and the like: an int either way. */
static void op_same_int(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, NULL);
    double number;
    if (x && x->what == WHAT_INT)
        *out = *x;
    else if (x && recog_number(r, x, &number) && number == floor(number) && fabs(number) < 1e15)
        set_int(out, 0, (int64_t)number);
}

static void op_list(struct recog *r, const struct script_node *n, struct desc *out)
{
    struct desc *items = arena_array(r->arena, n->n_in ? n->n_in : 1, sizeof(*items));
    for (uint32_t i = 0; i < n->n_in; i++)
        items[i] = r->desc[n->in[i]];
    *out = (struct desc){.what = WHAT_LIST, .list = {items, n->n_in}};
}

static void op_unpack(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *list = &r->desc[n->in[0]];
    (void)out;
    if (list->what != WHAT_LIST || list->list.n != n->n_out)
        return;
    for (uint32_t i = 0; i < n->n_out; i++)
        r->desc[n->out[i]] = list->list.items[i];
}

/* --- the same seen otherwise --- */

/* contiguous, detach, clone; dropout(x, p, training), where training is off. */
static void op_same(struct recog *r, const struct script_node *n, struct desc *out)
{
    int64_t training;
    const struct desc *x = recog_in(r, n, 0, n->op == SCRIPT_OP_aten_dropout ? "input" : "self");
    if (n->op == SCRIPT_OP_aten_dropout && (!recog_int(r, n, 2, "train", 1, &training) || training))
        return;
    if (x)
        *out = *x;
}

static bool is_float(const struct desc *d)
{
    return d->what >= WHAT_EMBEDDED && d->what <= WHAT_COLUMN;
}

/* To a grid's type; trunc as C does it. */
static void convert(struct recog *r, const struct desc *x, enum grid_type type, struct desc *out)
{
    struct grid *g = arena_alloc(r->arena, sizeof(*g));
    *g = *x->grid;
    size_t n = g->kind == GRID_SAME ? 1 : g->kind == GRID_PLACE ? g->m : 2 * g->m - 1;
    n *= g->n_channels;
    g->type = type;
    g->v = arena_array(r->arena, n, sizeof(*g->v));
    for (size_t i = 0; i < n; i++) {
        double v = x->grid->v[i];
        if (isnan(v) || (type == GRID_INT && !(fabs(v) < 1e15)))
            g->v[i] = (double)NAN;
        else
            g->v[i] = type == GRID_BOOL ? v != 0 : type == GRID_INT ? trunc(v) : (double)(float)v;
    }
    *out = *x;
    out->grid = g;
}

/* to(x, dtype, ...) and to(x, device, dtype, ...): of float32, int32, int64 and bool. */
static void op_to(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self"), *first = recog_in(r, n, 1, "dtype");
    bool by_device =
        first && first->what == WHAT_CONSTANT && first->constant->kind == SCRIPT_DEVICE;
    int64_t dtype;
    if (!x || (first && first->what != WHAT_INT && !by_device && !recog_is_none(first)) ||
        !recog_int(r, n, by_device ? 2 : 1, "dtype", -1, &dtype))
        return;
    if (dtype == -1) {
        *out = *x;
        return;
    }
    bool whole = dtype == 4 || dtype == 3;
    if (dtype != 6 && dtype != 11 && !whole)
        return;
    if (x->what == WHAT_GRID)
        convert(r, x, dtype == 6 ? GRID_FLOAT : whole ? GRID_INT : GRID_BOOL, out);
    else if (is_float(x) ? dtype == 6 : whole && x->what >= WHAT_IDS && x->what < WHAT_EMBEDDED)
        *out = *x;
    else if (x->what == WHAT_INT && dtype == 4)
        *out = *x;
}

static void op_type_as(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self"), *y = recog_in(r, n, 1, "other");
    if (!x || !y)
        return;
    if (x->what == WHAT_GRID && y->what == WHAT_GRID)
        convert(r, x, y->grid->type, out);
    else if (x->what == WHAT_GRID && is_float(y))
        convert(r, x, GRID_FLOAT, out);
    else if (is_float(x) ? is_float(y)
                         : x->what >= WHAT_IDS && x->what < WHAT_EMBEDDED && y->what >= WHAT_IDS &&
                               y->what < WHAT_EMBEDDED)
        *out = *x;
}

/* slice(x, dim, start, end, step): all of a dim, or the first n of a buffer. */
static void op_slice(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self"), *end = recog_in(r, n, 3, "end");
    int64_t dim, start, step;
    int at;
    if (!x || !recog_int(r, n, 1, "dim", 0, &dim) || !recog_int(r, n, 2, "start", 0, &start) ||
        !recog_int(r, n, 4, "step", 1, &step) || start != 0 || step != 1 ||
        !shape_dim(&x->shape, dim, &at))
        return;
    bool to_n = end && end->what == WHAT_INT && end->i.factor == 1 && end->i.add == 0;
    bool to_end = recog_is_none(end) ||
                  (end->what == WHAT_INT && end->i.factor == 0 && end->i.add == INT64_MAX);
    if (to_end || (to_n && x->shape.dim[at] == DIM_N))
        *out = *x;
    else if (to_n && at == 1 && x->what == WHAT_CONSTANT && x->constant->kind == SCRIPT_TENSOR)
        grid_slice_constant(r, &x->constant->tensor, DIM_N, out);
}

/* A mask seen with another shape; a norm or a count repeated along the rows. */
static void op_shape(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self"), *other;
    struct desc grid;
    if (!x)
        return;
    if (x->what == WHAT_NORM || x->what == WHAT_COUNT) {
        struct shape to;
        other = recog_in(r, n, 1, n->op == SCRIPT_OP_aten_expand_as ? "other" : "size");
        if (n->op == SCRIPT_OP_aten_expand_as && other)
            to = other->shape;
        else if (n->op != SCRIPT_OP_aten_expand || !other || !recog_shape(other, &to))
            return;
        if (to.rank != 2 || x->shape.rank != 2 || to.dim[0] != 1 || x->shape.dim[1] != 1 ||
            to.dim[1] < 1)
            return;
        *out = *x;
        out->shape = to;
        return;
    }
    if (grid_of(r, x, &grid))
        grid_view(r, n, &grid, out);
}

static void op_transpose(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self");
    int64_t first, second;
    int a, b;
    if (!x || x->what != WHAT_HEADS) {
        op_shape(r, n, out);
        return;
    }
    if (recog_int(r, n, 1, "dim0", 0, &first) && recog_int(r, n, 2, "dim1", 1, &second) &&
        shape_dim(&x->shape, first, &a) && shape_dim(&x->shape, second, &b))
        heads_swap(x, a < b ? a : b, a < b ? b : a, out);
}

/* Of heads [0, 2, 1, 3], which swaps the two in the middle, or [0, 2, 3, 1] of keys. */
static void op_permute(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self"), *list = recog_in(r, n, 1, "dims");
    struct shape dims;
    struct desc swapped;
    if (!x || x->what != WHAT_HEADS) {
        op_shape(r, n, out);
        return;
    }
    if (!list || !recog_shape(list, &dims))
        return;
    if (shape_equal(&dims, &(struct shape){4, {0, 2, 1, 3}}))
        heads_swap(x, 1, 2, out);
    else if (shape_equal(&dims, &(struct shape){4, {0, 2, 3, 1}}) && heads_swap(x, 1, 2, &swapped))
        heads_swap(&swapped, 2, 3, out);
}

static void op_view(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self");
    const struct desc *list = recog_in(r, n, 1, n->op == SCRIPT_OP_aten_view ? "size" : "shape");
    struct shape to;
    struct desc seen = {0};
    if (x && list && recog_shape(list, &to) && heads_view(r, x, &to, &seen))
        *out = seen;
}

static void op_squeeze(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self");
    int64_t dim;
    int at;
    if (!x || x->what != WHAT_COLUMN || x->shape.rank != 3 || !recog_int(r, n, 1, "dim", 0, &dim) ||
        !shape_dim(&x->shape, dim, &at) || at != 2)
        return;
    *out = *x;
    out->shape.rank = 2;
}

/* cat([x], dim): x */
static void op_cat(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *list = recog_in(r, n, 0, "tensors");
    if (list && list->what == WHAT_LIST && list->list.n == 1)
        *out = list->list.items[0];
}

/* --- sums, products --- */

/* RoBERTa's positions, step by step: see enum what. */
static bool count_real(const struct desc *x, const struct desc *y, enum script_op op,
                       struct recog *r, struct desc *out)
{
    double number;
    bool adds = op == SCRIPT_OP_aten_add || op == SCRIPT_OP_aten_add_;
    *out = *x;
    if (adds && recog_number(r, y, &number)) {
        if (x->what == WHAT_REAL_RANK && number == (double)x->pad)
            out->what = WHAT_REAL_PLACE;
        else if (number != 0)
            return false;
        return true;
    }
    if (adds || x->what != WHAT_REAL_SUM || y->what != WHAT_REAL || x->pad != y->pad)
        return false;
    out->what = WHAT_REAL_RANK;
    return true;
}

static void op_cumsum(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self");
    int64_t dim;
    int at;
    if (!x || x->what != WHAT_REAL || !recog_int(r, n, 1, "dim", 0, &dim) ||
        !shape_dim(&x->shape, dim, &at) || at != 1 || !recog_is_none(recog_in(r, n, 2, "dtype")))
        return;
    *out = *x;
    out->what = WHAT_REAL_SUM;
}

static bool is_real(const struct desc *d)
{
    return d->what >= WHAT_REAL && d->what <= WHAT_REAL_PLACE;
}

/* Times ones, wherever that leaves the shape as it is. */
static bool is_ones_for(const struct desc *ones, const struct desc *x)
{
    if (!grid_is(ones, 1) || ones->shape.rank > x->shape.rank)
        return false;
    for (int i = 1; i <= ones->shape.rank; i++) {
        int64_t dim = ones->shape.dim[ones->shape.rank - i];
        if (dim != 1 && dim != x->shape.dim[x->shape.rank - i])
            return false;
    }
    return true;
}

static void grids(struct recog *r, const struct script_node *n, const struct desc *x,
                  const struct desc *y, double alpha, struct desc *out)
{
    struct desc a, b;
    if (grid_of(r, x, &a) && grid_of(r, y, &b))
        grid_apply(r, n->op, (const struct desc *[]){&a, &b}, 2, alpha, out);
}

static void op_add_(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self"), *y = recog_in(r, n, 1, "other");
    struct desc seen = {0}, grid;
    double alpha = 1, none;
    const struct desc *by = recog_in(r, n, 2, "alpha");
    if (!x || !y || (by && !recog_number(r, by, &alpha)))
        return;
    if (x->what == WHAT_INT && recog_number(r, y, &none) && none == 0) {
        *out = *x;
        return;
    }
    bool done = false;
    if (alpha == 1 && is_real(x))
        done = count_real(x, y, n->op, r, &seen);
    else if (alpha == 1 && x->what == WHAT_SCORES && grid_of(r, y, &grid))
        done = heads_add(r, x, &grid, &seen);
    else if (alpha == 1 && x->what >= WHAT_EMBEDDED && x->what <= WHAT_SEQUENCE)
        done = rows_add(r, x, y, &seen);
    if (done)
        *out = seen;
    else
        grids(r, n, x, y, alpha, out);
}

/* sub and rsub of grids only. */
static void op_sub(struct recog *r, const struct script_node *n, struct desc *out)
{
    double alpha = 1;
    const struct desc *by = recog_in(r, n, 2, "alpha");
    if (!by || recog_number(r, by, &alpha))
        grids(r, n, recog_in(r, n, 0, "self"), recog_in(r, n, 1, "other"), alpha, out);
}

static void op_mul(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self"), *y = recog_in(r, n, 1, "other");
    struct desc seen = {0}, grid;
    double factor;
    if (!x || !y)
        return;
    if (is_real(x)) {
        if (count_real(x, y, n->op, r, &seen))
            *out = seen;
        return;
    }
    bool rows = x->what >= WHAT_TOKENS && x->what <= WHAT_WEIGHTS;
    if (rows && grid_of(r, y, &grid) && is_ones_for(&grid, x)) {
        *out = *x;
        return;
    }
    if ((x->what == WHAT_HEADS || x->what == WHAT_SCORES) && recog_number(r, y, &factor)) {
        if (heads_scale(x, factor, &seen))
            *out = seen;
        return;
    }
    grids(r, n, x, y, 1, out);
}

static void op_div(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self"), *y = recog_in(r, n, 1, "other");
    struct desc seen = {0};
    double factor;
    if (!x || !y || !recog_is_none(recog_in(r, n, 2, "rounding_mode")))
        return;
    if ((x->what == WHAT_HEADS || x->what == WHAT_SCORES) && recog_number(r, y, &factor)) {
        if (factor != 0 && heads_scale(x, 1 / factor, &seen))
            *out = seen;
    } else if (x->what == WHAT_TOTAL || x->what == WHAT_SEQUENCE) {
        if (rows_divide(r, x, y, &seen))
            *out = seen;
    } else {
        grids(r, n, x, y, 1, out);
    }
}

/* From below only, by a number that what is there never falls under. A row's length may be 0, but
 * then the row is, and l2_normalize has its own bound of 1e-12. */
static void op_clamp(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self");
    double least;
    if (!x || !recog_number(r, recog_in(r, n, 1, "min"), &least) ||
        (n->op == SCRIPT_OP_aten_clamp && !recog_is_none(recog_in(r, n, 2, "max"))))
        return;
    if ((x->what == WHAT_COUNT && least <= 1) || (x->what == WHAT_NORM && least <= 1e-7))
        *out = *x;
}

static recog_op *const ops[N_SCRIPT_OPS] = {
    [SCRIPT_OP_aten_Int] = op_same_int,
    [SCRIPT_OP_aten_IntImplicit] = op_same_int,
    [SCRIPT_OP_aten_ScalarImplicit] = op_same_int,
    [SCRIPT_OP_aten___and__] = grid_compare,
    [SCRIPT_OP_aten_abs] = grid_unary,
    [SCRIPT_OP_aten_add] = op_add_,
    [SCRIPT_OP_aten_add_] = op_add_,
    [SCRIPT_OP_aten_arange] = grid_arange,
    [SCRIPT_OP_aten_bitwise_not] = grid_unary,
    [SCRIPT_OP_aten_cat] = op_cat,
    [SCRIPT_OP_aten_clamp] = op_clamp,
    [SCRIPT_OP_aten_clamp_min] = op_clamp,
    [SCRIPT_OP_aten_clone] = op_same,
    [SCRIPT_OP_aten_contiguous] = op_same,
    [SCRIPT_OP_aten_cumsum] = op_cumsum,
    [SCRIPT_OP_aten_detach] = op_same,
    [SCRIPT_OP_aten_div] = op_div,
    [SCRIPT_OP_aten_div_] = op_div,
    [SCRIPT_OP_aten_dropout] = op_same,
    [SCRIPT_OP_aten_embedding] = rows_embedding,
    [SCRIPT_OP_aten_eq] = grid_compare,
    [SCRIPT_OP_aten_expand] = op_shape,
    [SCRIPT_OP_aten_expand_as] = op_shape,
    [SCRIPT_OP_aten_full] = grid_fill,
    [SCRIPT_OP_aten_full_like] = grid_fill,
    [SCRIPT_OP_aten_ge] = grid_compare,
    [SCRIPT_OP_aten_gelu] = rows_activation,
    [SCRIPT_OP_aten_gt] = grid_compare,
    [SCRIPT_OP_aten_layer_norm] = rows_layer_norm,
    [SCRIPT_OP_aten_le] = grid_compare,
    [SCRIPT_OP_aten_linalg_vector_norm] = rows_norm,
    [SCRIPT_OP_aten_linear] = rows_linear,
    [SCRIPT_OP_aten_log] = grid_unary,
    [SCRIPT_OP_aten_lt] = grid_compare,
    [SCRIPT_OP_aten_masked_fill] = grid_where,
    [SCRIPT_OP_aten_masked_fill_] = grid_where,
    [SCRIPT_OP_aten_matmul] = heads_matmul,
    [SCRIPT_OP_aten_max] = rows_max,
    [SCRIPT_OP_aten_mean] = rows_mean,
    [SCRIPT_OP_aten_min] = grid_compare,
    [SCRIPT_OP_aten_mul] = op_mul,
    [SCRIPT_OP_aten_mul_] = op_mul,
    [SCRIPT_OP_aten_ne] = grid_compare,
    [SCRIPT_OP_aten_neg] = grid_unary,
    [SCRIPT_OP_aten_norm] = rows_norm,
    [SCRIPT_OP_aten_ones] = grid_fill,
    [SCRIPT_OP_aten_permute] = op_permute,
    [SCRIPT_OP_aten_relu] = rows_activation,
    [SCRIPT_OP_aten_reshape] = op_view,
    [SCRIPT_OP_aten_rsub] = op_sub,
    [SCRIPT_OP_aten_scaled_dot_product_attention] = heads_attention,
    [SCRIPT_OP_aten_select] = rows_select,
    [SCRIPT_OP_aten_silu] = rows_activation,
    [SCRIPT_OP_aten_size] = op_size,
    [SCRIPT_OP_aten_slice] = op_slice,
    [SCRIPT_OP_aten_softmax] = heads_softmax,
    [SCRIPT_OP_aten_split] = rows_split,
    [SCRIPT_OP_aten_squeeze] = op_squeeze,
    [SCRIPT_OP_aten_stack] = rows_stack,
    [SCRIPT_OP_aten_sub] = op_sub,
    [SCRIPT_OP_aten_sum] = rows_sum,
    [SCRIPT_OP_aten_tanh] = rows_activation,
    [SCRIPT_OP_aten_to] = op_to,
    [SCRIPT_OP_aten_transpose] = op_transpose,
    [SCRIPT_OP_aten_type_as] = op_type_as,
    [SCRIPT_OP_aten_unsqueeze] = op_shape,
    [SCRIPT_OP_aten_view] = op_view,
    [SCRIPT_OP_aten_where] = grid_where,
    [SCRIPT_OP_aten_zeros] = grid_fill,
    [SCRIPT_OP_prim_ListConstruct] = op_list,
    [SCRIPT_OP_prim_ListUnpack] = op_unpack,
    [SCRIPT_OP_prim_NumToTensor] = op_same_int,
    [SCRIPT_OP_prim_TupleConstruct] = op_list,
    [SCRIPT_OP_prim_TupleUnpack] = op_unpack,
};

/* --- the walk --- */

static void refuse(struct recog *r, enum script_op op, const char *what)
{
    if (!r->why)
        r->why = arena_printf(r->arena, "%s %s", script_op_name(op), what).p;
}

static bool in_place(enum script_op op)
{
    const char *name = script_op_name(op);
    return name[strlen(name) - 1] == '_' && name[strlen(name) - 2] != '_';
}

/* Results that may share memory with what they are made of; more of them is only stricter. */
static bool may_alias(enum script_op op)
{
    switch (op) {
    case SCRIPT_OP_aten_add:
    case SCRIPT_OP_aten_sub:
    case SCRIPT_OP_aten_mul:
    case SCRIPT_OP_aten_div:
    case SCRIPT_OP_aten_linear:
    case SCRIPT_OP_aten_layer_norm:
    case SCRIPT_OP_aten_matmul:
    case SCRIPT_OP_aten_softmax:
    case SCRIPT_OP_aten_embedding:
    case SCRIPT_OP_aten_size:
    case SCRIPT_OP_aten_where:
    case SCRIPT_OP_aten_gelu:
    case SCRIPT_OP_aten_relu:
    case SCRIPT_OP_aten_tanh:
    case SCRIPT_OP_aten_scaled_dot_product_attention:
        return false;
    default:
        return true;
    }
}

static bool reads_dead(const struct recog *r, const struct script_node *n)
{
    for (uint32_t i = 0; i < n->n_in; i++)
        if (r->dead[r->alias[n->in[i]]])
            return true;
    return false;
}

static void name_aliases(struct recog *r, const struct script_node *n)
{
    bool shares = may_alias(n->op) && !in_place(n->op);
    bool holds = n->op == SCRIPT_OP_prim_ListConstruct || n->op == SCRIPT_OP_prim_TupleConstruct;
    uint32_t first = NO_VALUE;
    for (uint32_t i = 0; shares && i < n->n_in; i++) {
        if (r->desc[n->in[i]].what == WHAT_INT || r->script->constants[n->in[i]])
            continue;
        first = first == NO_VALUE ? r->alias[n->in[i]] : first;
        r->held[r->alias[n->in[i]]] |= holds;
    }
    for (uint32_t i = 0; i < n->n_out; i++)
        r->alias[n->out[i]] = first == NO_VALUE ? n->out[i] : first;
}

static void follow(struct recog *r, const struct script_node *n)
{
    struct desc out = {0};
    bool writes = in_place(n->op);
    for (uint32_t i = 0; i < n->n_out; i++)
        r->desc[n->out[i]] = (struct desc){0};
    if (writes && (!ops[n->op] || n->n_in == 0 || n->in[0] < r->script->n_args ||
                   r->script->constants[n->in[0]] || r->held[r->alias[n->in[0]]])) {
        refuse(r, n->op, "writes in place");
        r->failed = true;
        return;
    }
    if (n->body[0] || n->body[1] || !ops[n->op])
        refuse(r, n->op, "is not followed");
    else if (reads_dead(r, n))
        refuse(r, n->op, "reads what was written in place");
    else
        ops[n->op](r, n, &out);
    if (n->n_out == 1)
        r->desc[n->out[0]] = out;
    if (n->n_out > 0 && r->desc[n->out[0]].what == WHAT_UNKNOWN)
        refuse(r, n->op, "stands where it is not known");
    if (writes)
        r->dead[r->alias[n->in[0]]] = true;
    name_aliases(r, n);
}

static void describe_constant(struct recog *r, const struct script_value *v, struct desc *out)
{
    *out = (struct desc){.what = WHAT_CONSTANT, .constant = v};
    if (v->kind == SCRIPT_INT)
        set_int(out, 0, v->i);
    else if (v->kind == SCRIPT_BOOL)
        set_int(out, 0, v->b);
    else if (v->kind == SCRIPT_TENSOR) {
        out->shape.rank = v->tensor.rank;
        memcpy(out->shape.dim, v->tensor.dim, sizeof(out->shape.dim));
    } else if (v->kind == SCRIPT_LIST || v->kind == SCRIPT_TUPLE) {
        /* Lists of numbers; deeper ones are of no use here. */
        struct desc *items = arena_array(r->arena, v->list.n ? v->list.n : 1, sizeof(*items));
        for (size_t i = 0; i < v->list.n; i++) {
            enum script_kind kind = v->list.items[i]->kind;
            if (kind != SCRIPT_LIST && kind != SCRIPT_TUPLE)
                describe_constant(r, v->list.items[i], &items[i]);
        }
        *out = (struct desc){.what = WHAT_LIST, .list = {items, v->list.n}};
    }
}

static void describe_arguments(struct recog *r)
{
    const struct shape shape = {2, {1, DIM_N}};
    for (uint32_t i = 0; i < r->script->n_args; i++) {
        struct desc *d = &r->desc[i];
        *d = (struct desc){.what = i == 0   ? WHAT_IDS
                                   : i == 2 ? WHAT_TYPES
                                            : WHAT_UNKNOWN,
                           .shape = shape};
        if (i == 1)
            grid_same(r, 1, GRID_INT, &shape, d);
        if (i == 3)
            grid_places(r, &shape, 1, d);
    }
}

/* Nodes that the output needs. */
static void prune(struct graph *g)
{
    bool *needed = mem_array(g->n_values, sizeof(*needed));
    size_t kept = g->n_nodes;
    needed[g->output] = true;
    for (size_t i = g->n_nodes; i-- > 0;) {
        const struct node *n = &g->nodes[i];
        for (uint32_t j = 0; needed[n->out] && j < n->n_in; j++)
            needed[n->in[j]] = true;
        if (needed[n->out])
            g->nodes[--kept] = *n;
    }
    memmove(g->nodes, g->nodes + kept, (g->n_nodes - kept) * sizeof(*g->nodes));
    g->n_nodes -= kept;
    for (size_t i = 0; i < g->n_values; i++) {
        if (!needed[i]) {
            weights_free(g->values[i].data);
            g->values[i].data = NULL;
        }
    }
    free(needed);
}

/* The result itself or what stands first in it. */
static bool take_output(struct recog *r, struct recognised *out)
{
    const struct script_block *f = r->script->forward;
    if (f->n_results != 1 || r->dead[r->alias[f->results[0]]])
        return false;
    const struct desc *d = &r->desc[f->results[0]];
    if (d->what == WHAT_LIST && d->list.n > 0)
        d = &d->list.items[0];
    bool rows = (d->what == WHAT_TOKENS && d->rows.stage <= STAGE_RELU) ||
                d->what == WHAT_SEQUENCE || d->what == WHAT_PAIRS;
    if (!rows || r->vocab_size == 0 || r->max_tokens == 0)
        return false;
    r->graph->output = d->rows.value;
    out->graph = r->graph;
    out->max_tokens = r->max_tokens;
    out->vocab_size = r->vocab_size;
    out->type_vocab_size = r->type_vocab_size;
    out->pairs = d->what == WHAT_PAIRS;
    return true;
}

struct err *recognise(const struct script *s, uint32_t max_tokens, struct recognised *out,
                      const char **why)
{
    struct recog r = {.script = s, .max_tokens = max_tokens, .graph = graph_new()};
    r.arena = s->arena;
    r.desc = mem_array(s->n_values, sizeof(*r.desc));
    r.alias = mem_array(s->n_values, sizeof(*r.alias));
    r.dead = mem_array(s->n_values, sizeof(*r.dead));
    r.held = mem_array(s->n_values, sizeof(*r.held));
    *out = (struct recognised){0};
    for (uint32_t i = 0; i < s->n_values; i++) {
        r.alias[i] = i;
        if (s->constants[i])
            describe_constant(&r, s->constants[i], &r.desc[i]);
    }
    describe_arguments(&r);
    for (uint32_t i = 0; i < s->forward->n_nodes && !r.err && !r.failed; i++)
        follow(&r, &s->forward->nodes[i]);
    if (!r.err && !r.failed && take_output(&r, out))
        prune(r.graph);
    else
        graph_free(r.graph);
    *why = r.why ? r.why : "its result is not rows of the model";
    free(r.desc);
    free(r.alias);
    free(r.dead);
    free(r.held);
    return r.err;
}
