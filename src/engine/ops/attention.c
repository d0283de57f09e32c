/* attention: multi-head self-attention (Vaswani et al. 2017, section 3.2), each token over its own
 * sequence alone. Inputs q, k, v [tokens, >= column + width]; head h of q begins at column[0] +
 * h * width / heads. y [tokens, width] = softmax(q k^T / sqrt(width / heads) + bias) v per head.
 * bias (optional input) is a constant [heads, 2 m - 1], m the most tokens of a sequence: column
 * m - 1 + j - i is for query i and key j, so a score knows how far its tokens are apart.
 * One item is one head of one sequence. attr: heads, width (0: that of q), column. */
#include "shape.h"

#include <math.h>

static struct err *attention_shape(struct graph *g, const struct node *n)
{
    if (n->n_in < 3 || n->n_in > 4)
        return shape_refuse(n, "neither three nor four inputs");
    int64_t width = n->attr.width ? n->attr.width : node_in(g, n, 0)->dim[1];
    if (n->attr.heads == 0 || width % n->attr.heads)
        return shape_refuse(n, "a width that its heads do not divide");
    if (n->n_in == 4) {
        const struct value *bias = node_in(g, n, 3);
        if (bias->rank != 2 || !bias->data || bias->dim[0] != n->attr.heads ||
            bias->dim[1] % 2 == 0)
            return shape_refuse(n, "a bias that does not fit its heads");
    }
    for (uint32_t i = 0; i < 3; i++) {
        const struct value *v = node_in(g, n, i);
        if (v->rank != 2 || v->dim[0] != DIM_TOKENS || v->dim[1] < n->attr.column[i] + width)
            return shape_refuse(n, "an input that is too narrow");
    }
    return shape_out(g, n, DIM_TOKENS, width);
}

static size_t attention_items(const struct node *n, const struct frame *f)
{
    return f->batch->n_sequences * n->attr.heads;
}

static size_t attention_scratch(const struct graph *g, const struct node *n,
                                const struct kernels *k, uint32_t max_tokens)
{
    return k->attend_scratch(max_tokens, (size_t)g->values[n->out].dim[1] / n->attr.heads);
}

/* Of distance 0. */
static const float *bias_row(const struct node *n, const struct frame *f, size_t head)
{
    return frame_row(f, n->in[3], head) + value_width(&f->graph->values[n->in[3]]) / 2;
}

static void attention_item(const struct node *n, struct frame *f, size_t item)
{
    size_t head = item % n->attr.heads, sequence = item / n->attr.heads;
    size_t begin = f->batch->offsets[sequence];
    size_t d = value_width(&f->graph->values[n->out]) / n->attr.heads;
    struct attend a = {
        .n = f->batch->offsets[sequence + 1] - begin,
        .d = d,
        .q = frame_row(f, n->in[0], begin) + n->attr.column[0] + head * d,
        .k = frame_row(f, n->in[1], begin) + n->attr.column[1] + head * d,
        .v = frame_row(f, n->in[2], begin) + n->attr.column[2] + head * d,
        .ldq = frame_stride(f, n->in[0]),
        .ldk = frame_stride(f, n->in[1]),
        .ldv = frame_stride(f, n->in[2]),
        .scale = 1.0f / sqrtf((float)d),
        .bias = n->n_in == 4 ? bias_row(n, f, head) : NULL,
        .out = frame_row(f, n->out, begin) + head * d,
        .ld_out = frame_stride(f, n->out),
        .scratch = f->scratch,
    };
    f->kernels->attend(&a);
}

static void attention_run(const struct node *n, struct frame *f, const struct part *p)
{
    for (size_t i = p->begin; i < p->end; i++)
        attention_item(n, f, i);
}

const struct op op_attention = {
    .name = "attention",
    .kind = OP_ITEMS,
    .shape = attention_shape,
    .run = attention_run,
    .items = attention_items,
    .scratch = attention_scratch,
};
