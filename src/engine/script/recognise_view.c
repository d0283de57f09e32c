/* Grids seen with other dims: nothing of their numbers changes, only which dim is whose. */
#include "recognise_private.h"

/* Dim i of the new one is dim from[i] of the old. */
static void reorder(struct recog *r, const struct desc *x, const int *from, struct desc *out)
{
    struct grid *g = arena_alloc(r->arena, sizeof(*g));
    struct shape shape = {.rank = x->shape.rank};
    *g = *x->grid;
    for (int i = 0; i < shape.rank; i++) {
        shape.dim[i] = x->shape.dim[from[i]];
        g->row = x->grid->row == from[i] ? i : g->row;
        g->column = x->grid->column == from[i] ? i : g->column;
        g->channel = x->grid->channel == from[i] ? i : g->channel;
    }
    grid_set(out, g, &shape);
}

static void unsqueeze(struct recog *r, const struct desc *x, int64_t at, struct desc *out)
{
    struct shape shape = x->shape;
    struct grid *g = arena_alloc(r->arena, sizeof(*g));
    *g = *x->grid;
    at += at < 0 ? shape.rank + 1 : 0;
    if (at < 0 || at > shape.rank || shape.rank == TENSOR_MAX_RANK)
        return;
    for (int i = shape.rank++; i > at; i--)
        shape.dim[i] = shape.dim[i - 1];
    shape.dim[at] = 1;
    g->row += g->row >= at;
    g->column += g->column >= at;
    g->channel += g->channel >= at;
    grid_set(out, g, &shape);
}

static void expand(struct recog *r, const struct desc *x, const struct shape *to, struct desc *out)
{
    struct shape shape = *to;
    struct grid *g = arena_alloc(r->arena, sizeof(*g));
    int shift = to->rank - x->shape.rank;
    *g = *x->grid;
    if (shift < 0)
        return;
    for (int i = 0; i < shift; i++)
        if (shape.dim[i] < 0 && shape.dim[i] != DIM_N)
            return;
    for (int i = 0; i < x->shape.rank; i++) {
        int64_t have = x->shape.dim[i], *want = &shape.dim[shift + i];
        if (*want == DIM_INFER)
            *want = have;
        if (have != 1 && *want != have)
            return;
    }
    g->row += shift;
    g->column += shift;
    g->channel += g->channel < 0 ? 0 : shift;
    grid_set(out, g, &shape);
}

static void count_dim(int64_t dim, int64_t *product, int *n, int sign)
{
    if (dim == DIM_N)
        *n += sign;
    else if (dim < 1 || dim > 65536 || *product > 65536)
        *product = -1;
    else
        *product *= dim;
}

/* What is the same everywhere, with as many numbers as before. */
static void reshape(const struct desc *x, const struct shape *to, struct desc *out)
{
    int64_t have = 1, want = 1;
    int n = 0;
    for (int i = 0; i < x->shape.rank; i++)
        count_dim(x->shape.dim[i], &have, &n, 1);
    for (int i = 0; i < to->rank; i++)
        count_dim(to->dim[i], &want, &n, -1);
    if (x->grid->kind == GRID_SAME && n == 0 && have == want && want > 0)
        grid_set(out, x->grid, to);
}

static void swap(struct recog *r, const struct script_node *n, const struct desc *x,
                 struct desc *out)
{
    int64_t first, second;
    int a, b, from[TENSOR_MAX_RANK];
    if (!recog_int(r, n, 1, "dim0", 0, &first) || !recog_int(r, n, 2, "dim1", 1, &second) ||
        !shape_dim(&x->shape, first, &a) || !shape_dim(&x->shape, second, &b))
        return;
    for (int i = 0; i < x->shape.rank; i++)
        from[i] = i == a ? b : i == b ? a : i;
    reorder(r, x, from, out);
}

static void permute(struct recog *r, const struct desc *x, const struct desc *list,
                    struct desc *out)
{
    struct shape dims;
    int from[TENSOR_MAX_RANK];
    unsigned seen = 0;
    if (!list || !recog_shape(list, &dims) || dims.rank != x->shape.rank)
        return;
    for (int i = 0; i < dims.rank; i++) {
        if (!shape_dim(&x->shape, dims.dim[i], &from[i]))
            return;
        seen |= 1u << from[i];
    }
    if (seen == (1u << dims.rank) - 1)
        reorder(r, x, from, out);
}

void grid_view(struct recog *r, const struct script_node *n, const struct desc *x, struct desc *out)
{
    int64_t dim;
    struct shape to;
    const struct desc *list = recog_in(r, n, 1, n->op == SCRIPT_OP_aten_permute ? "dims" : "size");
    switch (n->op) {
    case SCRIPT_OP_aten_unsqueeze:
        if (recog_int(r, n, 1, "dim", 0, &dim))
            unsqueeze(r, x, dim, out);
        return;
    case SCRIPT_OP_aten_expand:
        if (list && recog_shape(list, &to))
            expand(r, x, &to, out);
        return;
    case SCRIPT_OP_aten_expand_as:
        list = recog_in(r, n, 1, "other");
        if (list && list->shape.rank)
            expand(r, x, &list->shape, out);
        return;
    case SCRIPT_OP_aten_view:
    case SCRIPT_OP_aten_reshape:
        list = recog_in(r, n, 1, n->op == SCRIPT_OP_aten_view ? "size" : "shape");
        if (list && recog_shape(list, &to))
            reshape(x, &to, out);
        return;
    case SCRIPT_OP_aten_transpose:
        swap(r, n, x, out);
        return;
    case SCRIPT_OP_aten_permute:
        permute(r, x, list, out);
        return;
    default:
        return;
    }
}
