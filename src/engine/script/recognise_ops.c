/* Sizes and lists, what is only seen otherwise, sums and products, and the table of all ops: which
 * function describes what an op gives. */
#include "recognise_private.h"

#include <math.h>

/* --- ints, lists --- */

void recog_set_int(struct desc *out, int64_t factor, int64_t add)
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
        recog_set_int(out, 1, 0);
    else
        recog_set_int(out, 0, x->shape.dim[at]);
}

/* Int, NumToTensor and the like: an int either way. */
static void op_same_int(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, NULL);
    double number;
    if (x && x->what == WHAT_INT)
        *out = *x;
    else if (x && recog_number(r, x, &number) && number == floor(number) && fabs(number) < 1e15)
        recog_set_int(out, 0, (int64_t)number);
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
    if (x && x->what != WHAT_INT && x->what != WHAT_LIST)
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
        !recog_int(r, n, by_device ? 2 : 1, "dtype", INT64_MIN, &dtype))
        return;
    if (dtype == INT64_MIN) {
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

/* A buffer as it is. */
static void expand_buffer(struct recog *r, const struct script_node *n, const struct desc *x,
                          struct desc *out)
{
    struct shape to;
    const struct desc *list = recog_in(r, n, 1, "size");
    if (x->constant->kind != SCRIPT_TENSOR || !list || !recog_shape(list, &to) ||
        to.rank != x->shape.rank)
        return;
    for (int i = 0; i < to.rank; i++)
        if (to.dim[i] != DIM_INFER && to.dim[i] != x->shape.dim[i])
            return;
    *out = *x;
}

/* A mask seen with another shape; a norm or a count repeated along the rows. */
static void op_shape(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self"), *other;
    struct desc grid;
    if (!x || x->what == WHAT_INT)
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
    else if (n->op == SCRIPT_OP_aten_expand && x->what == WHAT_CONSTANT)
        expand_buffer(r, n, x, out);
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
    if (x && x->what == WHAT_GRID)
        op_shape(r, n, out);
    else if (x && list && recog_shape(list, &to) && heads_view(r, x, &to, &seen))
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

/* Sums and products are the same the other way round; what is written in place stays first. */
static void put_grid_last(const struct script_node *n, const struct desc **x, const struct desc **y)
{
    bool in_place = n->op == SCRIPT_OP_aten_add_ || n->op == SCRIPT_OP_aten_mul_;
    bool is_number = (*x)->what == WHAT_GRID || (*x)->what == WHAT_CONSTANT;
    const struct desc *first = *x;
    if (in_place || !is_number || (*y)->what < WHAT_IDS)
        return;
    *x = *y;
    *y = first;
}

static void op_add_(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self"), *y = recog_in(r, n, 1, "other");
    struct desc seen = {0}, grid;
    double alpha = 1, none;
    const struct desc *by = recog_in(r, n, 2, "alpha");
    if (!x || !y || (by && !recog_number(r, by, &alpha)))
        return;
    if (alpha == 1)
        put_grid_last(n, &x, &y);
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
    put_grid_last(n, &x, &y);
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

recog_op *const recog_ops[N_SCRIPT_OPS] = {
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
    [SCRIPT_OP_aten_gather] = grid_gather,
    [SCRIPT_OP_aten_ge] = grid_compare,
    [SCRIPT_OP_aten_gelu] = rows_activation,
    [SCRIPT_OP_aten_gt] = grid_compare,
    [SCRIPT_OP_aten_index] = grid_index,
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
    [SCRIPT_OP_aten_new_ones] = grid_fill,
    [SCRIPT_OP_aten_new_zeros] = grid_fill,
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
