/* gate: y [rows, n] = act(x[:, :n]) * x[:, n:], the middle of a gated two-layer network (Shazeer
 * 2020, GLU Variants). Input x [rows, 2 n]. attr: act. */
#include "shape.h"

static struct err *gate_shape(struct graph *g, const struct node *n)
{
    const struct value *x = node_in(g, n, 0);
    if (n->n_in != 1 || x->rank != 2 || !graph_is_rows(x) || x->dim[1] % 2)
        return shape_refuse(n, "rows that have no halves");
    return shape_out(g, n, x->dim[0], x->dim[1] / 2);
}

static void gate_run(const struct node *n, struct frame *f, const struct part *part)
{
    struct part p = part_rows(part);
    size_t width = value_width(&f->graph->values[n->out]);
    for (size_t row = p.begin; row < p.end; row++) {
        const float *x = frame_row(f, n->in[0], row);
        float *y = frame_row(f, n->out, row);
        f->kernels->activate(n->attr.act, x, width, y);
        for (size_t i = 0; i < width; i++)
            y[i] *= x[width + i];
    }
}

const struct op op_gate = {
    .name = "gate",
    .kind = OP_ROWS,
    .shape = gate_shape,
    .run = gate_run,
};
