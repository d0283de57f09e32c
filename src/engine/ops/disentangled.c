/* disentangled: attention of what a token is and of where it is (He et al. 2021, DeBERTa, section
 * 3.1). Inputs q, k, v as of attention; constants pk and pq [2 s, width], keys and queries of
 * distances, and their rows by distance: near [1, 2 m - 1], m the most tokens of a sequence, whose
 * column m - 1 + i - j is r(i - j), the row for query i and key j, never falling. Per head
 *   y = softmax((q_i k_j + q_i pk_r(i-j) + k_j pq_r(i-j)) / sqrt(c d)) v,   d = width / heads.
 * Of the distances only those that a sequence has are multiplied. One item is one head of one
 * sequence. attr: heads, width, column as of attention; terms: c. */
#include "shape.h"

#include <math.h>

static struct err *disentangled_shape(struct graph *g, const struct node *n)
{
    if (n->n_in != 6 || n->attr.terms == 0)
        return shape_refuse(n, "other than six inputs");
    int64_t width = n->attr.width ? n->attr.width : node_in(g, n, 0)->dim[1];
    if (n->attr.heads == 0 || width % n->attr.heads)
        return shape_refuse(n, "a width that its heads do not divide");
    for (uint32_t i = 0; i < 3; i++) {
        const struct value *v = node_in(g, n, i);
        if (v->rank != 2 || v->dim[0] != DIM_TOKENS || v->dim[1] < n->attr.column[i] + width)
            return shape_refuse(n, "an input that is too narrow");
    }
    const struct value *pk = node_in(g, n, 3), *pq = node_in(g, n, 4), *near = node_in(g, n, 5);
    if (!is_matrix(pk, width) || !is_matrix(pq, width) || pk->dim[0] != pq->dim[0] ||
        near->rank != 2 || !near->data || near->dim[0] != 1 || near->dim[1] % 2 == 0)
        return shape_refuse(n, "distances that do not fit its heads");
    return shape_out(g, n, DIM_TOKENS, width);
}

static size_t disentangled_items(const struct node *n, const struct frame *f)
{
    return f->batch->n_sequences * n->attr.heads;
}

static size_t align16(size_t n)
{
    return (n + 15) / 16 * 16;
}

/* Most distances of n tokens that differ, in whole panels. */
static size_t most_rows(const struct graph *g, const struct node *n, const struct kernels *k,
                        size_t n_tokens)
{
    size_t table = (size_t)g->values[n->in[3]].dim[0], own = 2 * n_tokens - 1;
    size_t rows = own < table ? own : table;
    return (rows + k->nr - 1) / k->nr * k->nr;
}

static size_t disentangled_scratch(const struct graph *g, const struct node *n,
                                   const struct kernels *k, uint32_t max_tokens)
{
    size_t d = (size_t)g->values[n->out].dim[1] / n->attr.heads, m = max_tokens;
    size_t rows = most_rows(g, n, k, m);
    size_t floats = align16(rows * d) + 2 * align16(rows * m) + align16(m * m);
    return floats * sizeof(float) + k->attend_scratch(m, d);
}

/* What one item works on. */
struct item {
    size_t n, d, head;
    const float *q, *k, *v;
    const float *near;  /* of distance 0 */
    size_t first, rows; /* of the tables */
    float *panels, *from_q, *from_k, *scores;
    void *rest;
};

/* x [n, d] times the item's rows of a table: out [n, rows]. */
static void multiply(const struct node *n, struct frame *f, const struct item *t, int table,
                     const float *x, size_t ldx, float *out)
{
    const struct value *v = &f->graph->values[n->in[table]];
    size_t nr = f->kernels->nr, ld = value_width(v);
    struct packed p = {.k = t->d, .n = t->rows, .panels = t->panels};
    p.n_panels = (t->rows + nr - 1) / nr;
    for (size_t j = 0; j < p.n_panels * nr; j++) {
        const float *row = v->data + (t->first + j) * ld + t->head * t->d;
        float *column = t->panels + j / nr * nr * t->d + j % nr;
        for (size_t i = 0; i < t->d; i++)
            column[i * nr] = j < t->rows ? row[i] : 0;
    }
    struct gemm g = {.rows = t->n,
                     .a = x,
                     .lda = ldx,
                     .b = &p,
                     .panel_end = p.n_panels,
                     .c = out,
                     .ldc = p.n_panels * nr};
    f->kernels->gemm(&g);
}

static void add_up(const struct item *t, size_t ld, float scale)
{
    for (size_t i = 0; i < t->n; i++) {
        float *score = t->scores + i * t->n;
        for (size_t j = 0; j < t->n; j++) {
            size_t r = (size_t)t->near[(ptrdiff_t)i - (ptrdiff_t)j] - t->first;
            score[j] = (t->from_q[i * ld + r] + t->from_k[j * ld + r]) * scale;
        }
    }
}

static struct item item_of(const struct node *n, struct frame *f, size_t item)
{
    const struct graph *g = f->graph;
    struct item t = {.head = item % n->attr.heads};
    size_t sequence = item / n->attr.heads, begin = f->batch->offsets[sequence];
    t.n = f->batch->offsets[sequence + 1] - begin;
    t.d = value_width(&g->values[n->out]) / n->attr.heads;
    t.q = frame_row(f, n->in[0], begin) + n->attr.column[0] + t.head * t.d;
    t.k = frame_row(f, n->in[1], begin) + n->attr.column[1] + t.head * t.d;
    t.v = frame_row(f, n->in[2], begin) + n->attr.column[2] + t.head * t.d;
    t.near = g->values[n->in[5]].data + value_width(&g->values[n->in[5]]) / 2;
    t.first = (size_t)t.near[1 - (ptrdiff_t)t.n];
    t.rows = (size_t)t.near[t.n - 1] + 1 - t.first;
    size_t padded = most_rows(g, n, f->kernels, t.n);
    t.panels = f->scratch;
    t.from_q = t.panels + align16(padded * t.d);
    t.from_k = t.from_q + align16(padded * t.n);
    t.scores = t.from_k + align16(padded * t.n);
    t.rest = t.scores + align16(t.n * t.n);
    return t;
}

static void disentangled_item(const struct node *n, struct frame *f, size_t item)
{
    struct item t = item_of(n, f, item);
    size_t nr = f->kernels->nr, ld = (t.rows + nr - 1) / nr * nr;
    size_t ldq = frame_stride(f, n->in[0]), ldk = frame_stride(f, n->in[1]);
    float scale = 1.0f / sqrtf((float)(t.d * n->attr.terms));
    multiply(n, f, &t, 3, t.q, ldq, t.from_q);
    multiply(n, f, &t, 4, t.k, ldk, t.from_k);
    add_up(&t, ld, scale);
    struct attend a = {.n = t.n,
                       .d = t.d,
                       .q = t.q,
                       .k = t.k,
                       .v = t.v,
                       .ldq = ldq,
                       .ldk = ldk,
                       .ldv = frame_stride(f, n->in[2]),
                       .scale = scale,
                       .scores = t.scores,
                       .out = frame_row(f, n->out, f->batch->offsets[item / n->attr.heads]) +
                              t.head * t.d,
                       .ld_out = frame_stride(f, n->out),
                       .scratch = t.rest};
    f->kernels->attend(&a);
}

static void disentangled_run(const struct node *n, struct frame *f, const struct part *p)
{
    for (size_t i = p->begin; i < p->end; i++)
        disentangled_item(n, f, i);
}

const struct op op_disentangled = {
    .name = "disentangled",
    .kind = OP_ITEMS,
    .shape = disentangled_shape,
    .run = disentangled_run,
    .items = disentangled_items,
    .scratch = disentangled_scratch,
};
