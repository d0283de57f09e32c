/* Attention as it is spelled out: rows seen head by head, products of queries and keys, a softmax,
 * a product with the values; or scaled_dot_product_attention. */
#include "recognise_private.h"

#include <math.h>

#include "op.h"

static struct shape shape_of(enum order order, uint32_t n, uint32_t d)
{
    switch (order) {
    case ORDER_NHD:
        return (struct shape){4, {1, DIM_N, n, d}};
    case ORDER_HND:
        return (struct shape){4, {1, n, DIM_N, d}};
    default:
        return (struct shape){4, {1, n, d, DIM_N}};
    }
}

/* Do the sizes say [1, n, heads, d], one of them perhaps left to follow? */
static bool split_sizes(const struct shape *to, int64_t width, int64_t *heads, int64_t *d)
{
    int infer = 0;
    for (int i = 0; i < to->rank; i++)
        infer += to->dim[i] == DIM_INFER;
    if (to->rank != 4 || infer > 1 || (to->dim[0] != 1 && to->dim[0] != DIM_INFER) ||
        (to->dim[1] != DIM_N && to->dim[1] != DIM_INFER))
        return false;
    *heads = to->dim[2];
    *d = to->dim[3];
    if (*heads == DIM_INFER && *d > 0)
        *heads = width / *d;
    if (*d == DIM_INFER && *heads > 0)
        *d = width / *heads;
    return *heads > 0 && *d > 0 && *heads <= width && *d <= width && *heads * *d == width;
}

/* Do they say [1, n, width]? */
static bool merged_sizes(const struct shape *to, int64_t width)
{
    int infer = 0;
    for (int i = 0; i < to->rank; i++)
        infer += to->dim[i] == DIM_INFER;
    return to->rank == 3 && infer <= 1 && (to->dim[0] == 1 || to->dim[0] == DIM_INFER) &&
           (to->dim[1] == DIM_N || to->dim[1] == DIM_INFER) &&
           (to->dim[2] == width || to->dim[2] == DIM_INFER);
}

/* The dims that there are, one of them perhaps left to follow. */
static bool same_sizes(const struct shape *have, const struct shape *to)
{
    int infer = 0;
    for (int i = 0; i < to->rank && i < have->rank; i++) {
        infer += to->dim[i] == DIM_INFER;
        if (to->dim[i] != have->dim[i] && to->dim[i] != DIM_INFER)
            return false;
    }
    return to->rank == have->rank && infer <= 1;
}

bool heads_view(struct recog *r, const struct desc *x, const struct shape *to, struct desc *out)
{
    struct desc tokens;
    int64_t n, d;
    if (x->what == WHAT_HEADS && same_sizes(&x->shape, to)) {
        *out = *x;
        return true;
    }
    if (x->what == WHAT_HEADS) {
        int64_t width = (int64_t)x->heads.n * x->heads.d;
        if (x->heads.order != ORDER_NHD || x->heads.scale != 1 || !merged_sizes(to, width))
            return false;
        rows_result(r, x->heads.value, out);
        return true;
    }
    if (!rows_tokens(r, x, &tokens) || tokens.rows.stage != STAGE_NONE)
        return false;
    if (merged_sizes(to, tokens.shape.dim[2])) {
        *out = tokens;
        return true;
    }
    if (!split_sizes(to, tokens.shape.dim[2], &n, &d))
        return false;
    *out = (struct desc){.what = WHAT_HEADS,
                         .shape = shape_of(ORDER_NHD, (uint32_t)n, (uint32_t)d),
                         .heads = {tokens.rows.value, (uint32_t)n, (uint32_t)d, ORDER_NHD, 1}};
    return true;
}

/* transpose(a, b), a < b. */
bool heads_swap(const struct desc *x, int a, int b, struct desc *out)
{
    enum order to;
    if (a == 1 && b == 2 && x->heads.order == ORDER_NHD)
        to = ORDER_HND;
    else if (a == 1 && b == 2 && x->heads.order == ORDER_HND)
        to = ORDER_NHD;
    else if (a == 2 && b == 3 && x->heads.order == ORDER_HND)
        to = ORDER_HDN;
    else if (a == 2 && b == 3 && x->heads.order == ORDER_HDN)
        to = ORDER_HND;
    else
        return false;
    *out = *x;
    out->heads.order = to;
    out->shape = shape_of(to, x->heads.n, x->heads.d);
    return true;
}

bool heads_scale(const struct desc *x, double factor, struct desc *out)
{
    *out = *x;
    if (x->what == WHAT_HEADS) {
        out->heads.scale *= factor;
        return true;
    }
    out->scores.scale *= factor;
    return !x->scores.bias; /* what was added would be scaled too */
}

/* Learned numbers by distance, [1, heads, n, n] or the same for every head. */
static bool take_bias(const struct desc *grid, uint32_t heads)
{
    const struct grid *g = grid->grid;
    int last = grid->shape.rank - 1;
    if (g->kind != GRID_DISTANCE || g->row != last - 1 || g->column != last)
        return false;
    for (size_t i = 0; i < (2 * g->m - 1) * g->n_channels; i++)
        if (isnan(g->v[i]))
            return false;
    return g->channel < 0 || (g->channel == last - 2 && g->n_channels == heads);
}

/* No more dims than the scores have, and none that is larger. */
static bool fits_scores(const struct shape *s, const struct shape *scores)
{
    for (int i = 1; i <= s->rank; i++) {
        int64_t dim = s->dim[s->rank - i];
        if (i > 4 || (dim != 1 && dim != scores->dim[4 - i]))
            return false;
    }
    return true;
}

/* Nothing but zeros, or such a bias. */
bool heads_add(struct recog *r, const struct desc *scores, const struct desc *grid,
               struct desc *out)
{
    (void)r;
    if (!fits_scores(&grid->shape, &scores->shape))
        return false;
    *out = *scores;
    if (grid_is(grid, 0))
        return true;
    if (scores->scores.bias || !take_bias(grid, scores->scores.heads))
        return false;
    out->scores.bias = grid->grid;
    return true;
}

/* The bias as op_attention has it: [heads, 2 m - 1]. */
static uint32_t bias_constant(struct recog *r, const struct grid *g, uint32_t heads)
{
    size_t width = 2 * g->m - 1;
    float *bias = r->err ? NULL : weights_alloc(width * heads);
    if (!bias)
        return NO_VALUE;
    for (size_t h = 0; h < heads; h++)
        for (size_t i = 0; i < width; i++)
            bias[h * width + i] = (float)g->v[g->channel < 0 ? i : i * g->n_channels + h];
    return graph_constant(r->graph, 2, (int64_t[]){heads, (int64_t)width}, bias);
}

/* scores: scaled by 1 / sqrt(d), as the op does it. */
static void attend(struct recog *r, const struct desc *scores, const struct desc *v,
                   struct desc *out)
{
    uint32_t heads = scores->scores.heads, d = scores->scores.d;
    if (v->what != WHAT_HEADS || v->heads.order != ORDER_HND || v->heads.n != heads ||
        v->heads.d != d || v->heads.scale != 1 ||
        fabs(scores->scores.scale * sqrt((double)d) - 1) > 1e-6)
        return;
    uint32_t in[4] = {scores->scores.q, scores->scores.k, v->heads.value, 0}, n_in = 3;
    if (scores->scores.bias)
        in[n_in++] = bias_constant(r, scores->scores.bias, heads);
    uint32_t y = rows_node(r, &op_attention, in, n_in, &(struct attr){.heads = heads});
    if (y == NO_VALUE)
        return;
    *out = (struct desc){.what = WHAT_HEADS,
                         .shape = shape_of(ORDER_HND, heads, d),
                         .heads = {y, heads, d, ORDER_HND, 1}};
}

/* q [1, heads, n, d] and k [1, heads, d, n]. */
static bool score(const struct desc *q, const struct desc *k, struct desc *out)
{
    if (!q || !k || q->what != WHAT_HEADS || k->what != WHAT_HEADS || q->heads.order != ORDER_HND ||
        k->heads.order != ORDER_HDN || q->heads.n != k->heads.n || q->heads.d != k->heads.d)
        return false;
    *out = (struct desc){.what = WHAT_SCORES, .shape = {4, {1, q->heads.n, DIM_N, DIM_N}}};
    out->scores.q = q->heads.value;
    out->scores.k = k->heads.value;
    out->scores.heads = q->heads.n;
    out->scores.d = q->heads.d;
    out->scores.scale = q->heads.scale * k->heads.scale;
    return true;
}

void heads_matmul(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self"), *y = recog_in(r, n, 1, "other");
    if (x && y && x->what == WHAT_WEIGHTS)
        attend(r, x, y, out);
    else
        score(x, y, out);
}

void heads_softmax(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self");
    int64_t dim, dtype;
    if (!x || x->what != WHAT_SCORES || !recog_int(r, n, 1, "dim", 0, &dim) ||
        (dim != -1 && dim != 3) || !recog_int(r, n, 2, "dtype", 6, &dtype) || dtype != 6)
        return;
    *out = *x;
    out->what = WHAT_WEIGHTS;
}

/* scaled_dot_product_attention(q, k, v, mask, dropout, is_causal, scale, enable_gqa) */
void heads_attention(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *q = recog_in(r, n, 0, "query"), *k = recog_in(r, n, 1, "key");
    const struct desc *v = recog_in(r, n, 2, "value"), *mask = recog_in(r, n, 3, "attn_mask");
    const struct desc *scale = recog_in(r, n, 6, "scale");
    struct desc turned, scores, grid;
    double dropout = 0, factor;
    int64_t causal, grouped;
    if (!q || !k || !v || k->what != WHAT_HEADS || k->heads.order != ORDER_HND ||
        !heads_swap(k, 2, 3, &turned) || !score(q, &turned, &scores))
        return;
    const struct desc *drops = recog_in(r, n, 4, "dropout_p");
    if ((drops && !recog_number(r, drops, &dropout)) || dropout != 0 ||
        !recog_int(r, n, 5, "is_causal", 0, &causal) || causal ||
        !recog_int(r, n, 7, "enable_gqa", 0, &grouped) || grouped)
        return;
    factor = 1 / sqrt((double)q->heads.d);
    if (!recog_is_none(scale) && !recog_number(r, scale, &factor))
        return;
    scores.scores.scale *= factor;
    if (!recog_is_none(mask)) {
        struct desc plain = scores;
        if (!mask->shape.rank || !grid_of(r, mask, &grid) || grid.grid->type == GRID_INT)
            return;
        bool all = grid.grid->type == GRID_BOOL;
        if (all ? !grid_is(&grid, 1) || !fits_scores(&grid.shape, &scores.shape)
                : !heads_add(r, &plain, &grid, &scores))
            return;
    }
    attend(r, &scores, v, out);
}
