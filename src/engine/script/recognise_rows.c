/* What the graph computes: rows of tokens and of sequences. */
#include "recognise_private.h"

#include <math.h>

#include "op.h"

/* Floats of all constants may be as many as the archive has bytes (each weight four times, or in
 * half precision twice), and these. */
#define MORE_WEIGHTS ((size_t)4 << 20)
/* A model of 48 layers has a third of it. */
#define MOST_NODES 2048

/* A copy of a float tensor, dense; its strides are whatever the archive says. */
uint32_t rows_constant(struct recog *r, const struct script_tensor *t)
{
    size_t n = 1, size = dtype_size(t->dtype);
    size_t most = r->script->weight_bytes + MORE_WEIGHTS;
    for (int i = 0; i < t->rank; i++)
        if (t->dim[i] < 1 || __builtin_mul_overflow(n, (size_t)t->dim[i], &n))
            return NO_VALUE;
    if (r->err || r->failed || t->rank < 1)
        return NO_VALUE;
    if (n > most || r->weights > most - n) {
        recog_too_much(r, "weights");
        return NO_VALUE;
    }
    r->weights += n;
    float *data = weights_alloc(n);
    if (!data) {
        r->err = err_new(ERR_TOO_LARGE, "There is not enough memory for the model's weights");
        return NO_VALUE;
    }
    size_t inner = (size_t)t->dim[t->rank - 1];
    bool dense = t->stride[t->rank - 1] == 1;
    for (size_t at = 0; at < n; at += dense ? inner : 1) {
        size_t rest = at, offset = 0;
        for (int i = t->rank - 1; i >= 0; i--) {
            offset += rest % (size_t)t->dim[i] * (size_t)t->stride[i];
            rest /= (size_t)t->dim[i];
        }
        if (!dtype_to_f32(t->dtype, (const char *)t->data + offset * size, dense ? inner : 1,
                          data + at)) {
            weights_free(data);
            return NO_VALUE;
        }
    }
    return graph_constant(r->graph, t->rank, t->dim, data);
}

/* NO_VALUE: not possible, and the reason is kept. */
uint32_t rows_node(struct recog *r, const struct op *op, const uint32_t *in, uint32_t n_in,
                   const struct attr *attr)
{
    uint32_t out;
    for (uint32_t i = 0; i < n_in; i++)
        if (in[i] == NO_VALUE || r->err)
            return NO_VALUE;
    if (r->graph->n_nodes == MOST_NODES) {
        recog_too_much(r, "nodes");
        return NO_VALUE;
    }
    struct err *err = graph_add(r->graph, op, in, n_in, attr, &out);
    if (!err)
        return out;
    if (!r->why)
        r->why = arena_printf(r->script->arena, "%s", err->reason).p;
    err_free(err);
    return NO_VALUE;
}

void rows_result(struct recog *r, uint32_t value, struct desc *out)
{
    if (value == NO_VALUE)
        return;
    const struct value *v = &r->graph->values[value];
    bool tokens = v->dim[0] == DIM_TOKENS;
    *out = (struct desc){.what = tokens ? WHAT_TOKENS : WHAT_SEQUENCE, .rows = {.value = value}};
    out->shape.rank = tokens ? 3 : 2;
    out->shape.dim[0] = 1;
    out->shape.dim[1] = tokens ? DIM_N : v->dim[1];
    out->shape.dim[2] = tokens ? v->dim[1] : 0;
}

/* --- embeddings --- */

static const struct script_tensor *table_of(const struct desc *d)
{
    bool fits = d && d->what == WHAT_CONSTANT && d->constant->kind == SCRIPT_TENSOR &&
                d->constant->tensor.rank == 2;
    return fits ? &d->constant->tensor : NULL;
}

/* Positions base, base + 1, ...: how many of them a table has bounds max_tokens. */
static bool place_base(struct recog *r, const struct grid *g, const struct script_tensor *table,
                       int64_t *base)
{
    if (g->type != GRID_INT || g->channel >= 0 ||
        !(g->v[0] >= 0 && g->v[0] < (double)table->dim[0]))
        return false;
    *base = (int64_t)g->v[0];
    int64_t most = table->dim[0] - *base;
    if (most < r->max_tokens)
        r->max_tokens = (uint32_t)most;
    for (size_t i = 0; i < r->max_tokens; i++)
        if (i >= g->m || g->v[i] != (double)(*base + (int64_t)i))
            return false;
    return true;
}

static bool embed_grid(struct recog *r, const struct script_tensor *table, const struct desc *index,
                       struct desc *out)
{
    const struct grid *g = index->grid;
    if (g->type != GRID_INT || index->shape.rank < 1 || index->shape.rank > 2 ||
        index->shape.dim[index->shape.rank - 1] != DIM_N ||
        (index->shape.rank == 2 && index->shape.dim[0] != 1))
        return false;
    if (g->kind == GRID_PLACE) {
        out->embedded.position = table;
        return place_base(r, g, table, &out->embedded.base);
    }
    if (g->kind != GRID_SAME || !(g->v[0] >= 0 && g->v[0] < (double)table->dim[0]))
        return false;
    out->embedded.type = table;
    out->embedded.type_row = (int64_t)g->v[0];
    return true;
}

/* embedding(table, index, ...): what the padding's row is matters to training only. */
void rows_embedding(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct script_tensor *table = table_of(recog_in(r, n, 0, "weight"));
    const struct desc *index = recog_in(r, n, 1, "indices");
    struct desc d = {.what = WHAT_EMBEDDED};
    if (!table || !index || table->dim[0] < 1 || table->dim[0] > INT32_MAX)
        return;
    d.shape = (struct shape){3, {1, DIM_N, table->dim[1]}};
    switch (index->what) {
    case WHAT_IDS:
        d.embedded.word = table;
        break;
    case WHAT_TYPES:
        d.embedded.type = table;
        d.embedded.typed = true;
        break;
    case WHAT_REAL_PLACE:
        d.embedded.position = table;
        d.embedded.base = index->pad + 1;
        d.embedded.pads = true;
        if (table->dim[0] <= d.embedded.base)
            return;
        if (table->dim[0] - d.embedded.base < r->max_tokens)
            r->max_tokens = (uint32_t)(table->dim[0] - d.embedded.base);
        break;
    case WHAT_GRID:
        if (index->grid->kind == GRID_DISTANCE) {
            grid_distances_of(r, table, index, out);
            return;
        }
        if (!embed_grid(r, table, index, &d))
            return;
        if (index->shape.rank == 1)
            d.shape = (struct shape){2, {DIM_N, table->dim[1]}};
        break;
    default:
        return;
    }
    *out = d;
}

/* Two sums of tables, none of which is in both. */
static bool embedded_add(const struct desc *x, const struct desc *y, struct desc *out)
{
    struct desc d = *x;
    d.shape = x->shape.rank == 3 ? x->shape : y->shape;
    int64_t width = x->shape.dim[x->shape.rank - 1];
    if (d.shape.rank != 3 || y->shape.dim[y->shape.rank - 1] != width ||
        (x->embedded.word && y->embedded.word) || (x->embedded.type && y->embedded.type) ||
        (x->embedded.position && y->embedded.position))
        return false;
    d.embedded.word = x->embedded.word ? x->embedded.word : y->embedded.word;
    if (y->embedded.type) {
        d.embedded.type = y->embedded.type;
        d.embedded.typed = y->embedded.typed;
        d.embedded.type_row = y->embedded.type_row;
    }
    if (y->embedded.position) {
        d.embedded.position = y->embedded.position;
        d.embedded.base = y->embedded.base;
        d.embedded.pads = y->embedded.pads;
    }
    *out = d;
    return true;
}

static bool embed(struct recog *r, const struct desc *d, struct desc *out)
{
    uint32_t in[3], n = 1;
    const struct script_tensor *word = d->embedded.word;
    if (!word || d->shape.rank != 3)
        return false;
    in[0] = rows_constant(r, word);
    if (d->embedded.position)
        in[n++] = rows_constant(r, d->embedded.position);
    if (d->embedded.type) {
        struct script_tensor types = *d->embedded.type;
        if (!d->embedded.typed) {
            types.data = (char *)types.data +
                         (size_t)(d->embedded.type_row * types.stride[0]) * dtype_size(types.dtype);
            types.dim[0] = 1;
        } else {
            r->type_vocab_size = (uint32_t)types.dim[0];
        }
        in[n++] = rows_constant(r, &types);
    }
    struct attr attr = {.position_base = (uint32_t)d->embedded.base,
                        .pads = d->embedded.pads,
                        .placeless = !d->embedded.position};
    r->vocab_size = (uint32_t)word->dim[0];
    rows_result(r, rows_node(r, &op_embed, in, n, &attr), out);
    return out->what == WHAT_TOKENS;
}

bool rows_tokens(struct recog *r, const struct desc *d, struct desc *out)
{
    if (d && d->what == WHAT_TOKENS && d->rows.stage <= STAGE_RELU) {
        *out = *d;
        return true;
    }
    *out = (struct desc){0};
    return d && d->what == WHAT_EMBEDDED && embed(r, d, out);
}

/* Rows of tokens or of sequences. */
static bool any_rows(struct recog *r, const struct desc *d, struct desc *out)
{
    if (d && d->what == WHAT_SEQUENCE) {
        *out = *d;
        return true;
    }
    return rows_tokens(r, d, out);
}

/* --- row by row --- */

static const struct script_tensor *weight(const struct desc *d, int rank)
{
    bool fits = d && d->what == WHAT_CONSTANT && d->constant->kind == SCRIPT_TENSOR &&
                d->constant->tensor.rank == rank;
    return fits ? &d->constant->tensor : NULL;
}

void rows_linear(struct recog *r, const struct script_node *n, struct desc *out)
{
    struct desc x;
    uint32_t in[3], n_in = 2;
    const struct script_tensor *w = weight(recog_in(r, n, 1, "weight"), 2);
    const struct desc *bias = recog_in(r, n, 2, "bias");
    if (!w || (!recog_is_none(bias) && !weight(bias, 1)) ||
        !any_rows(r, recog_in(r, n, 0, "input"), &x))
        return;
    in[0] = x.rows.value;
    in[1] = rows_constant(r, w);
    if (!recog_is_none(bias))
        in[n_in++] = rows_constant(r, weight(bias, 1));
    rows_result(r, rows_node(r, &op_linear, in, n_in, &(struct attr){0}), out);
}

/* A vector of the weights or, where there is none, of this number. */
static uint32_t vector(struct recog *r, const struct desc *d, int64_t n, float otherwise)
{
    const struct script_tensor *t = weight(d, 1);
    if (t)
        return rows_constant(r, t);
    if (!recog_is_none(d) || r->err)
        return NO_VALUE;
    float *data = weights_alloc((size_t)n);
    if (!data)
        return NO_VALUE;
    for (int64_t i = 0; i < n; i++)
        data[i] = otherwise;
    return graph_constant(r->graph, 1, &n, data);
}

/* layer_norm(x, [width], gamma, beta, eps) */
void rows_layer_norm(struct recog *r, const struct script_node *n, struct desc *out)
{
    struct desc x;
    struct shape over;
    double eps = 1e-5;
    const struct desc *list = recog_in(r, n, 1, "normalized_shape");
    const struct desc *own = recog_in(r, n, 4, "eps");
    if (!list || !recog_shape(list, &over) || over.rank != 1 ||
        (own && !recog_number(r, own, &eps)) || !(eps >= 0 && eps < 1) ||
        !any_rows(r, recog_in(r, n, 0, "input"), &x) ||
        over.dim[0] != x.shape.dim[x.shape.rank - 1])
        return;
    uint32_t in[] = {x.rows.value, vector(r, recog_in(r, n, 2, "weight"), over.dim[0], 1),
                     vector(r, recog_in(r, n, 3, "bias"), over.dim[0], 0)};
    rows_result(r, rows_node(r, &op_layer_norm, in, 3, &(struct attr){.eps = (float)eps}), out);
}

static enum activation activation_of(struct recog *r, const struct script_node *n)
{
    const struct desc *how = recog_in(r, n, 1, "approximate");
    switch (n->op) {
    case SCRIPT_OP_aten_relu:
        return ACT_RELU;
    case SCRIPT_OP_aten_tanh:
        return ACT_TANH;
    case SCRIPT_OP_aten_silu:
        return ACT_SILU;
    default:
        if (!how || recog_text_is(how, "none"))
            return ACT_GELU;
        return recog_text_is(how, "tanh") ? ACT_GELU_TANH : ACT_NONE;
    }
}

/* The node that writes a value. */
static uint32_t writer(const struct recog *r, uint32_t value)
{
    for (size_t i = r->graph->n_nodes; i-- > 0;)
        if (r->graph->nodes[i].out == value)
            return (uint32_t)i;
    return NO_VALUE;
}

void rows_activation(struct recog *r, const struct script_node *n, struct desc *out)
{
    struct desc x;
    enum activation act = activation_of(r, n);
    if (act == ACT_NONE || !any_rows(r, recog_in(r, n, 0, "self"), &x))
        return;
    uint32_t from = writer(r, x.rows.value);
    uint32_t y = rows_node(r, &op_activation, &x.rows.value, 1, &(struct attr){.act = act});
    rows_result(r, y, out);
    if (act == ACT_RELU && from != NO_VALUE && r->graph->nodes[from].op == &op_linear &&
        out->what == WHAT_TOKENS) {
        out->rows.stage = STAGE_RELU;
        out->rows.logits = from;
    }
}

bool rows_add(struct recog *r, const struct desc *x, const struct desc *y, struct desc *out)
{
    struct desc a, b;
    double one;
    if (x->what == WHAT_EMBEDDED && y->what == WHAT_EMBEDDED)
        return embedded_add(x, y, out);
    if (x->what == WHAT_TOKENS && x->rows.stage == STAGE_RELU && recog_number(r, y, &one) &&
        one == 1) {
        *out = *x;
        out->rows.stage = STAGE_PLUS_ONE;
        return true;
    }
    if (!any_rows(r, x, &a) || !any_rows(r, y, &b) || !shape_equal(&a.shape, &b.shape) ||
        a.rows.stage > STAGE_RELU || b.rows.stage > STAGE_RELU)
        return false;
    uint32_t in[] = {a.rows.value, b.rows.value};
    rows_result(r, rows_node(r, &op_add, in, 2, &(struct attr){0}), out);
    return out->what != WHAT_UNKNOWN;
}

void rows_log(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self");
    if (!x || x->what != WHAT_TOKENS || x->rows.stage != STAGE_PLUS_ONE)
        return;
    *out = *x;
    out->rows.stage = STAGE_LOG;
}

/* --- tokens to a sequence --- */

static void pool(struct recog *r, uint32_t x, enum pooling how, struct desc *out)
{
    rows_result(r, rows_node(r, &op_pool, &x, 1, &(struct attr){.pooling = how}), out);
}

/* select(x, 1, 0): the first token. */
void rows_select(struct recog *r, const struct script_node *n, struct desc *out)
{
    struct desc x;
    int64_t dim, index;
    int at;
    if (recog_int(r, n, 1, "dim", 0, &dim) && recog_int(r, n, 2, "index", 0, &index) &&
        rows_tokens(r, recog_in(r, n, 0, "self"), &x) && shape_dim(&x.shape, dim, &at) && at == 1 &&
        (index == 0 || index == -1))
        pool(r, x.rows.value, index == 0 ? POOL_CLS : POOL_LASTTOKEN, out);
}

/* The one dim of a list, or an int. */
static bool one_dim(struct recog *r, const struct script_node *n, uint32_t at,
                    const struct shape *of, int *out)
{
    struct shape dims;
    int64_t dim;
    const struct desc *list = recog_in(r, n, at, "dim");
    if (list && list->what == WHAT_LIST) {
        if (!recog_shape(list, &dims) || dims.rank != 1)
            return false;
        dim = dims.dim[0];
    } else if (!list || !recog_int(r, n, at, "dim", 0, &dim)) {
        return false;
    }
    return shape_dim(of, dim, out);
}

/* sum(x, [dim], keepdim, dtype) over the tokens, of rows or of ones. */
void rows_sum(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self");
    int64_t keep;
    int at;
    if (!x || !recog_int(r, n, 2, "keepdim", 0, &keep) ||
        !recog_is_none(recog_in(r, n, 3, "dtype")) || !one_dim(r, n, 1, &x->shape, &at) ||
        x->shape.dim[at] != DIM_N)
        return;
    struct desc d = {.shape = x->shape};
    for (int i = at; i + 1 < d.shape.rank && !keep; i++)
        d.shape.dim[i] = d.shape.dim[i + 1];
    if (keep)
        d.shape.dim[at] = 1;
    else
        d.shape.rank--;
    if (grid_is(x, 1)) {
        d.what = WHAT_COUNT;
        *out = d;
    } else if (x->what == WHAT_TOKENS && x->rows.stage <= STAGE_RELU && !keep) {
        d.what = WHAT_TOTAL;
        d.rows.value = x->rows.value;
        *out = d;
    }
}

void rows_mean(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self");
    int64_t keep;
    int at;
    if (x && x->what == WHAT_TOKENS && x->rows.stage <= STAGE_RELU &&
        recog_int(r, n, 2, "keepdim", 0, &keep) && !keep &&
        recog_is_none(recog_in(r, n, 3, "dtype")) && one_dim(r, n, 1, &x->shape, &at) && at == 1)
        pool(r, x->rows.value, POOL_MEAN, out);
}

/* max(x, dim, keepdim): values and their places, which nobody may ask for. */
void rows_max(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self"), *dim = recog_in(r, n, 1, "dim");
    int64_t keep;
    int at;
    struct desc values = {0};
    if (!dim || dim->what != WHAT_INT) {
        grid_compare(r, n, out);
        return;
    }
    if (!x || x->what != WHAT_TOKENS || !recog_int(r, n, 2, "keepdim", 0, &keep) || keep ||
        !one_dim(r, n, 1, &x->shape, &at) || at != 1)
        return;
    if (x->rows.stage <= STAGE_RELU) {
        pool(r, x->rows.value, POOL_MAX, &values);
    } else if (x->rows.stage == STAGE_LOG) {
        const struct node *l = &r->graph->nodes[x->rows.logits];
        uint32_t in[3] = {l->in[0], l->in[1], l->n_in == 3 ? l->in[2] : NO_VALUE};
        if (l->n_in == 2)
            in[2] = vector(r, NULL, r->graph->values[l->in[1]].dim[0], 0);
        rows_result(r, rows_node(r, &op_splade, in, 3, &(struct attr){0}), &values);
    }
    if (values.what == WHAT_UNKNOWN)
        return;
    struct desc *both = arena_array(r->arena, 2, sizeof(*both));
    both[0] = values;
    *out = (struct desc){.what = WHAT_LIST, .list = {both, 2}};
}

/* linalg_vector_norm(x, 2, [1], keepdim) and norm(x, 2, [1], keepdim). */
void rows_norm(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self");
    double order = 2;
    int64_t keep;
    int at;
    const struct desc *p = recog_in(r, n, 1, n->op == SCRIPT_OP_aten_norm ? "p" : "ord");
    if (!x || x->what != WHAT_SEQUENCE || (p && !recog_number(r, p, &order)) || order != 2 ||
        !recog_int(r, n, 3, "keepdim", 0, &keep) || !keep ||
        !recog_is_none(recog_in(r, n, 4, "dtype")) || !one_dim(r, n, 2, &x->shape, &at) || at != 1)
        return;
    *out = (struct desc){.what = WHAT_NORM, .shape = {2, {1, 1}}, .rows = {.value = x->rows.value}};
}

/* A total by the count, a row by its length. */
bool rows_divide(struct recog *r, const struct desc *x, const struct desc *y, struct desc *out)
{
    bool wide = y->shape.rank == 2 && y->shape.dim[0] == 1 && x->shape.rank == 2 &&
                (y->shape.dim[1] == 1 || y->shape.dim[1] == x->shape.dim[1]);
    if (!wide)
        return false;
    if (x->what == WHAT_TOTAL && y->what == WHAT_COUNT)
        pool(r, x->rows.value, POOL_MEAN, out);
    else if (x->what == WHAT_SEQUENCE && y->what == WHAT_NORM && x->rows.value == y->rows.value)
        rows_result(r, rows_node(r, &op_l2_normalize, &x->rows.value, 1, &(struct attr){0}), out);
    return out->what != WHAT_UNKNOWN;
}

/* --- starts and ends of answers --- */

/* split(x, 1, -1) of two columns. */
void rows_split(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self");
    int64_t size, dim;
    int at;
    if (!x || x->what != WHAT_TOKENS || x->rows.stage > STAGE_RELU || x->shape.dim[2] != 2 ||
        !recog_int(r, n, 1, "split_size", 0, &size) || size != 1 ||
        !recog_int(r, n, 2, "dim", 0, &dim) || !shape_dim(&x->shape, dim, &at) || at != 2)
        return;
    struct desc *both = arena_array(r->arena, 2, sizeof(*both));
    for (int i = 0; i < 2; i++) {
        both[i] = *x;
        both[i].what = WHAT_COLUMN;
        both[i].shape.dim[2] = 1;
        both[i].rows.column = i;
    }
    *out = (struct desc){.what = WHAT_LIST, .list = {both, 2}};
}

/* stack([starts, ends], 0) */
void rows_stack(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *list = recog_in(r, n, 0, "tensors");
    int64_t dim;
    if (!list || list->what != WHAT_LIST || list->list.n != 2 ||
        !recog_int(r, n, 1, "dim", 0, &dim) || dim != 0)
        return;
    const struct desc *a = &list->list.items[0], *b = &list->list.items[1];
    if (a->what != WHAT_COLUMN || b->what != WHAT_COLUMN || a->shape.rank != 2 ||
        b->shape.rank != 2 || a->rows.value != b->rows.value || a->rows.column != 0 ||
        b->rows.column != 1)
        return;
    *out = (struct desc){
        .what = WHAT_PAIRS, .shape = {3, {2, 1, DIM_N}}, .rows = {.value = a->rows.value}};
}
