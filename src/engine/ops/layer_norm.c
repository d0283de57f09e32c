/* layer_norm: y = (x - mean) / sqrt(variance + eps) * gamma + beta over each row (Ba et al. 2016;
 * variance over n, as PyTorch's LayerNorm). Inputs x [rows, n], gamma [n], beta [n].
 * add_layer_norm: the same of x + z: inputs x, z, gamma, beta. attr: eps. */
#include "shape.h"

static struct err *norm_shape(struct graph *g, const struct node *n, uint32_t n_rows)
{
    if (n->n_in != n_rows + 2)
        return shape_refuse(n, "the wrong number of inputs");
    const struct value *x = node_in(g, n, 0);
    if (x->rank != 2 || !graph_is_rows(x))
        return shape_refuse(n, "an input that has no rows");
    for (uint32_t i = 0; i < n->n_in; i++) {
        const struct value *v = node_in(g, n, i);
        if (i < n_rows ? !is_rows(v, x->dim[0], x->dim[1]) : !is_vector(v, x->dim[1]))
            return shape_refuse(n, "inputs of different width");
    }
    return shape_out(g, n, x->dim[0], x->dim[1]);
}

static struct err *layer_norm_shape(struct graph *g, const struct node *n)
{
    return norm_shape(g, n, 1);
}

static struct err *add_layer_norm_shape(struct graph *g, const struct node *n)
{
    return norm_shape(g, n, 2);
}

static void norm_run(const struct node *n, struct frame *f, const struct part *part)
{
    struct part p = part_rows(part);
    bool adds = n->n_in == 4;
    size_t width = value_width(&f->graph->values[n->out]);
    const float *gamma = frame_row(f, n->in[n->n_in - 2], 0);
    const float *beta = frame_row(f, n->in[n->n_in - 1], 0);
    for (size_t row = p.begin; row < p.end; row++)
        f->kernels->layer_norm(frame_row(f, n->in[0], row),
                               adds ? frame_row(f, n->in[1], row) : NULL, gamma, beta, n->attr.eps,
                               width, frame_row(f, n->out, row));
}

const struct op op_layer_norm = {
    .name = "layer_norm",
    .kind = OP_ROWS,
    .shape = layer_norm_shape,
    .run = norm_run,
};

const struct op op_add_layer_norm = {
    .name = "add_layer_norm",
    .kind = OP_ROWS,
    .shape = add_layer_norm_shape,
    .run = norm_run,
};
