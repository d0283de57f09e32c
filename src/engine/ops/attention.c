/* attention: multi-head self-attention (Vaswani et al. 2017, section 3.2), each token over its own
 * sequence alone. Inputs q, k, v [tokens, >= column + width]; head h of q begins at column[0] +
 * h * width / heads. y [tokens, width] = softmax(q k^T / sqrt(width / heads)) v per head.
 * One item is one head of one sequence. attr: heads, width (0: that of q), column. */
#include "shape.h"

#include <math.h>

static struct err *attention_shape(struct graph *g, const struct node *n)
{
    if (n->n_in != 3)
        return shape_refuse(n, "other than three inputs");
    int64_t width = n->attr.width ? n->attr.width : node_in(g, n, 0)->dim[1];
    if (n->attr.heads == 0 || width % n->attr.heads)
        return shape_refuse(n, "a width that its heads do not divide");
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
