/* splade: y [sequences, n] = log(1 + relu(max over the tokens of a sequence of (x w^T + b))), x
 * [tokens, k], w [n, k], b [n] (SPLADE, Formal et al. 2021, with v2's max; log and relu never fall,
 * so they may come last). n is a vocabulary: all logits of 512 tokens would be 60 MB, so one item
 * is a few columns of all tokens, a tile of rows at a time. */
#include "shape.h"

#include <math.h>

/* An item's logits are [TILE, PANELS * nr] floats: 32 KiB at most, which the L1 holds. */
#define TILE   64
#define PANELS 4

static struct err *splade_shape(struct graph *g, const struct node *n)
{
    if (n->n_in != 3)
        return shape_refuse(n, "other than three inputs");
    const struct value *x = node_in(g, n, 0), *w = node_in(g, n, 1);
    if (x->rank != 2 || x->dim[0] != DIM_TOKENS || !is_matrix(w, x->dim[1]) ||
        !is_vector(node_in(g, n, 2), w->dim[0]))
        return shape_refuse(n, "a weight that does not fit its input");
    return shape_out(g, n, DIM_SEQUENCES, w->dim[0]);
}

static size_t splade_items(const struct node *n, const struct frame *f)
{
    (void)f;
    return (n->packed->n_panels + PANELS - 1) / PANELS;
}

static size_t splade_scratch(const struct graph *g, const struct node *n, const struct kernels *k,
                             uint32_t max_tokens)
{
    (void)g, (void)n, (void)max_tokens;
    return TILE * PANELS * k->nr * sizeof(float);
}

/* The panels of one item as a product of their own. */
static struct packed columns_of(const struct packed *b, size_t nr, size_t item)
{
    size_t first = item * PANELS, left = b->n_panels - first;
    struct packed p = {.k = b->k, .n_panels = left < PANELS ? left : PANELS};
    size_t columns = b->n - first * nr;
    p.n = columns < PANELS * nr ? columns : PANELS * nr;
    p.panels = b->panels + first * b->k * nr;
    p.bias = b->bias + first * nr;
    return p;
}

static void weigh(float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = y[i] > 0 ? log1pf(y[i]) : 0;
}

static void splade_item(const struct node *n, struct frame *f, size_t item)
{
    const struct kernels *k = f->kernels;
    const struct token_batch *b = f->batch;
    struct packed columns = columns_of(n->packed, k->nr, item);
    size_t at = item * PANELS * k->nr, stride = PANELS * k->nr, s = 0;
    float *logits = f->scratch;
    struct gemm g = {.b = &columns, .panel_end = columns.n_panels, .c = logits, .ldc = stride};
    g.lda = frame_stride(f, n->in[0]);
    for (size_t row = 0; row < b->n_tokens; row++) {
        size_t in_tile = row % TILE;
        if (in_tile == 0) {
            g.a = frame_row(f, n->in[0], row);
            g.rows = b->n_tokens - row < TILE ? b->n_tokens - row : TILE;
            k->gemm(&g);
        }
        while (row >= b->offsets[s + 1])
            s++;
        float *y = frame_row(f, n->out, s) + at;
        if (row == b->offsets[s])
            memcpy(y, logits + in_tile * stride, columns.n * sizeof(float));
        else
            k->max(logits + in_tile * stride, columns.n, y);
    }
    for (s = 0; s < b->n_sequences; s++)
        weigh(frame_row(f, n->out, s) + at, columns.n);
}

static void splade_run(const struct node *n, struct frame *f, const struct part *p)
{
    for (size_t i = p->begin; i < p->end; i++)
        splade_item(n, f, i);
}

const struct op op_splade = {
    .name = "splade",
    .kind = OP_ITEMS,
    .shape = splade_shape,
    .run = splade_run,
    .items = splade_items,
    .scratch = splade_scratch,
};
