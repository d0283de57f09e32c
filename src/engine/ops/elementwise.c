/* add: y = x + z. activation: y = act(x), attr: act. l2_normalize: y = x / max(|x|, 1e-12) over
 * each row, as torch.nn.functional.normalize. All inputs and outputs [rows, n]. */
#include "shape.h"

#include <math.h>

static struct err *same_shape(struct graph *g, const struct node *n, uint32_t n_in)
{
    if (n->n_in != n_in)
        return shape_refuse(n, "the wrong number of inputs");
    const struct value *x = node_in(g, n, 0);
    for (uint32_t i = 0; i < n_in; i++)
        if (!graph_is_rows(x) || !is_rows(node_in(g, n, i), x->dim[0], x->dim[1]))
            return shape_refuse(n, "inputs of different shapes");
    return shape_out(g, n, x->dim[0], x->dim[1]);
}

static struct err *unary_shape(struct graph *g, const struct node *n)
{
    return same_shape(g, n, 1);
}

static struct err *binary_shape(struct graph *g, const struct node *n)
{
    return same_shape(g, n, 2);
}

static void add_run(const struct node *n, struct frame *f, const struct part *part)
{
    struct part p = part_rows(part);
    size_t width = value_width(&f->graph->values[n->out]);
    for (size_t row = p.begin; row < p.end; row++)
        f->kernels->add(frame_row(f, n->in[0], row), frame_row(f, n->in[1], row), width,
                        frame_row(f, n->out, row));
}

static void activation_run(const struct node *n, struct frame *f, const struct part *part)
{
    struct part p = part_rows(part);
    size_t width = value_width(&f->graph->values[n->out]);
    for (size_t row = p.begin; row < p.end; row++)
        f->kernels->activate(n->attr.act, frame_row(f, n->in[0], row), width,
                             frame_row(f, n->out, row));
}

static void l2_normalize_run(const struct node *n, struct frame *f, const struct part *part)
{
    struct part p = part_rows(part);
    size_t width = value_width(&f->graph->values[n->out]);
    for (size_t row = p.begin; row < p.end; row++) {
        const float *x = frame_row(f, n->in[0], row);
        float *y = frame_row(f, n->out, row);
        float norm = sqrtf(f->kernels->sum_squares(x, width));
        memmove(y, x, width * sizeof(float));
        f->kernels->scale(1.0f / fmaxf(norm, 1e-12f), width, y);
    }
}

const struct op op_add = {
    .name = "add",
    .kind = OP_ROWS,
    .shape = binary_shape,
    .run = add_run,
};

const struct op op_activation = {
    .name = "activation",
    .kind = OP_ROWS,
    .shape = unary_shape,
    .run = activation_run,
};

const struct op op_l2_normalize = {
    .name = "l2_normalize",
    .kind = OP_ROWS,
    .shape = unary_shape,
    .run = l2_normalize_run,
};
