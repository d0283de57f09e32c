/* linear: y [rows, n] = act(x [rows, k] w^T + b), w [n, k] and b [n] (optional) as PyTorch stores
 * them, packed into panels before the first run. attr: act. */
#include "shape.h"

static struct err *linear_shape(struct graph *g, const struct node *n)
{
    if (n->n_in < 2 || n->n_in > 3)
        return shape_refuse(n, "neither two nor three inputs");
    const struct value *x = node_in(g, n, 0), *w = node_in(g, n, 1);
    if (x->rank != 2 || !graph_is_rows(x) || !is_matrix(w, x->dim[1]))
        return shape_refuse(n, "a weight that does not fit its input");
    if (n->n_in == 3 && !is_vector(node_in(g, n, 2), w->dim[0]))
        return shape_refuse(n, "a bias that does not fit its weight");
    return shape_out(g, n, x->dim[0], w->dim[0]);
}

static void linear_run(const struct node *n, struct frame *f, const struct part *p)
{
    const struct packed *b = n->packed;
    struct gemm g = {
        .rows = p->end - p->begin,
        .a = frame_row(f, n->in[0], p->begin),
        .lda = frame_stride(f, n->in[0]),
        .b = b,
        .panel = b->n_panels * p->share / p->n_shares,
        .panel_end = b->n_panels * (p->share + 1) / p->n_shares,
        .c = frame_row(f, n->out, p->begin),
        .ldc = frame_stride(f, n->out),
        .act = n->attr.act,
    };
    f->kernels->gemm(&g);
}

const struct op op_linear = {
    .name = "linear",
    .kind = OP_ROWS,
    .shape = linear_shape,
    .run = linear_run,
};
