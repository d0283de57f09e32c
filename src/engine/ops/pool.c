/* pool: the tokens of each sequence to one row, as sentence-transformers' Pooling:
 *   cls            the first token
 *   lasttoken      the last token
 *   max            the largest of each column
 *   mean           sum / n
 *   mean_sqrt_len  sum / sqrt(n)
 *   weightedmean   sum of (place from 1) * token / sum of places
 * x [tokens, h] -> y [sequences, h]. One item is one sequence; tokens are added in order.
 * attr: pooling. */
#include "shape.h"

#include <math.h>

static struct err *pool_shape(struct graph *g, const struct node *n)
{
    const struct value *x = node_in(g, n, 0);
    if (n->n_in != 1 || x->rank != 2 || x->dim[0] != DIM_TOKENS || n->attr.pooling >= N_POOLINGS)
        return shape_refuse(n, "something other than tokens");
    return shape_out(g, n, DIM_SEQUENCES, x->dim[1]);
}

static size_t pool_items(const struct node *n, const struct frame *f)
{
    (void)n;
    return f->batch->n_sequences;
}

static void pool_max(const struct node *n, struct frame *f, size_t begin, size_t end, float *y)
{
    size_t width = value_width(&f->graph->values[n->out]);
    memcpy(y, frame_row(f, n->in[0], begin), width * sizeof(float));
    for (size_t row = begin + 1; row < end; row++)
        f->kernels->max(frame_row(f, n->in[0], row), width, y);
}

static void pool_sum(const struct node *n, struct frame *f, size_t begin, size_t end, float *y)
{
    size_t width = value_width(&f->graph->values[n->out]), count = end - begin;
    bool weighted = n->attr.pooling == POOL_WEIGHTEDMEAN;
    memset(y, 0, width * sizeof(float));
    for (size_t row = begin; row < end; row++)
        f->kernels->add_scaled(frame_row(f, n->in[0], row),
                               weighted ? (float)(row - begin + 1) : 1.0f, width, y);
    float whole = (float)count;
    if (weighted)
        whole = (float)count * (float)(count + 1) / 2;
    else if (n->attr.pooling == POOL_MEAN_SQRT_LEN)
        whole = sqrtf((float)count);
    f->kernels->scale(1.0f / whole, width, y);
}

static void pool_run(const struct node *n, struct frame *f, const struct part *p)
{
    size_t bytes = value_width(&f->graph->values[n->out]) * sizeof(float);
    for (size_t s = p->begin; s < p->end; s++) {
        size_t begin = f->batch->offsets[s], end = f->batch->offsets[s + 1];
        float *y = frame_row(f, n->out, s);
        switch (n->attr.pooling) {
        case POOL_CLS:
            memcpy(y, frame_row(f, n->in[0], begin), bytes);
            break;
        case POOL_LASTTOKEN:
            memcpy(y, frame_row(f, n->in[0], end - 1), bytes);
            break;
        case POOL_MAX:
            pool_max(n, f, begin, end, y);
            break;
        default:
            pool_sum(n, f, begin, end, y);
        }
    }
}

const struct op op_pool = {
    .name = "pool",
    .kind = OP_ITEMS,
    .shape = pool_shape,
    .run = pool_run,
    .items = pool_items,
};
