/* Masks, places and distances: small tensors that no weight touches. Since the mask is all ones and
 * places count from 0, each of them is known for every length at once. Numbers are kept in double
 * and rounded to single precision where PyTorch has floats. */
#include "recognise_private.h"

#include <math.h>

/* Of all grids: 128 MiB. A model of 512 places has some 100,000. */
#define MOST_NUMBERS ((size_t)1 << 24)

static size_t n_numbers(const struct grid *g)
{
    size_t n = g->kind == GRID_SAME ? 1 : g->kind == GRID_PLACE ? g->m : 2 * g->m - 1;
    return n * g->n_channels;
}

/* NULL: too many of them. */
static struct grid *grid_new(struct recog *r, enum grid_kind kind, enum grid_type type, size_t m,
                             size_t n_channels)
{
    struct grid *g = arena_alloc(r->arena, sizeof(*g));
    *g = (struct grid){.kind = kind, .type = type, .channel = -1, .n_channels = n_channels, .m = m};
    r->numbers += n_numbers(g);
    if (r->numbers > MOST_NUMBERS) {
        recog_too_much(r, "places");
        return NULL;
    }
    g->v = arena_array(r->arena, n_numbers(g), sizeof(*g->v));
    return g;
}

void grid_set(struct desc *out, struct grid *g, const struct shape *shape)
{
    *out = (struct desc){.what = WHAT_GRID, .shape = *shape, .grid = g};
}

void grid_same(struct recog *r, double value, enum grid_type type, const struct shape *shape,
               struct desc *out)
{
    struct grid *g = grid_new(r, GRID_SAME, type, SIZE_MAX, 1);
    if (!g)
        return;
    g->v[0] = value;
    grid_set(out, g, shape);
}

void grid_places(struct recog *r, const struct shape *shape, int dim, struct desc *out)
{
    struct grid *g = grid_new(r, GRID_PLACE, GRID_INT, r->max_tokens, 1);
    if (!g)
        return;
    g->row = dim;
    for (size_t i = 0; i < g->m; i++)
        g->v[i] = (double)i;
    grid_set(out, g, shape);
}

/* The one element of a tensor. */
static bool element(const struct script_tensor *t, double *out, enum grid_type *type)
{
    float f;
    for (int i = 0; i < t->rank; i++)
        if (t->dim[i] != 1)
            return false;
    *type = GRID_INT;
    switch (t->dtype) {
    case DTYPE_I64: {
        int64_t i;
        memcpy(&i, t->data, sizeof(i));
        *out = (double)i;
        return i > -(1LL << 52) && i < 1LL << 52;
    }
    case DTYPE_I32: {
        int32_t i;
        memcpy(&i, t->data, sizeof(i));
        *out = i;
        return true;
    }
    case DTYPE_BOOL:
        *type = GRID_BOOL;
        *out = *(const uint8_t *)t->data != 0;
        return true;
    case DTYPE_F64:
        *type = GRID_FLOAT;
        memcpy(out, t->data, sizeof(*out));
        return true;
    default:
        *type = GRID_FLOAT;
        if (!dtype_to_f32(t->dtype, t->data, 1, &f))
            return false;
        *out = f;
        return true;
    }
}

bool grid_of(struct recog *r, const struct desc *d, struct desc *out)
{
    double x = 0;
    enum grid_type type = GRID_FLOAT;
    struct shape shape = {0};
    if (!d)
        return false;
    if (d->what == WHAT_GRID) {
        *out = *d;
        return true;
    }
    *out = (struct desc){0};
    if (d->what == WHAT_INT && d->i.factor == 0) {
        grid_same(r, (double)d->i.add, GRID_INT, &shape, out);
        return out->what == WHAT_GRID;
    }
    if (d->what != WHAT_CONSTANT)
        return false;
    if (d->constant->kind == SCRIPT_FLOAT)
        x = d->constant->f;
    else if (d->constant->kind != SCRIPT_TENSOR || !element(&d->constant->tensor, &x, &type))
        return false;
    grid_same(r, x, type, &d->shape, out);
    return out->what == WHAT_GRID;
}

bool grid_is(const struct desc *d, double value)
{
    return d && d->what == WHAT_GRID && d->grid->kind == GRID_SAME && d->grid->v[0] == value;
}

/* --- element by element --- */

static double compute(enum script_op op, const double *x, double alpha)
{
    switch (op) {
    case SCRIPT_OP_aten_add:
    case SCRIPT_OP_aten_add_:
        return x[0] + alpha * x[1];
    case SCRIPT_OP_aten_sub:
        return x[0] - alpha * x[1];
    case SCRIPT_OP_aten_rsub:
        return x[1] - alpha * x[0];
    case SCRIPT_OP_aten_mul:
    case SCRIPT_OP_aten_mul_:
        return x[0] * x[1];
    case SCRIPT_OP_aten_div:
    case SCRIPT_OP_aten_div_:
        return x[0] / x[1];
    case SCRIPT_OP_aten_neg:
        return -x[0];
    case SCRIPT_OP_aten_abs:
        return fabs(x[0]);
    case SCRIPT_OP_aten_log:
        return (double)logf((float)x[0]);
    case SCRIPT_OP_aten_lt:
        return x[0] < x[1];
    case SCRIPT_OP_aten_le:
        return x[0] <= x[1];
    case SCRIPT_OP_aten_gt:
        return x[0] > x[1];
    case SCRIPT_OP_aten_ge:
        return x[0] >= x[1];
    case SCRIPT_OP_aten_eq:
        return x[0] == x[1];
    case SCRIPT_OP_aten_ne:
        return x[0] != x[1];
    case SCRIPT_OP_aten_min:
        return x[0] < x[1] ? x[0] : x[1];
    case SCRIPT_OP_aten_max:
        return x[0] > x[1] ? x[0] : x[1];
    case SCRIPT_OP_aten_bitwise_not:
        return x[0] == 0;
    case SCRIPT_OP_aten___and__:
        return x[0] != 0 && x[1] != 0;
    case SCRIPT_OP_aten_where:
        return x[0] != 0 ? x[1] : x[2];
    default: /* masked_fill */
        return x[1] != 0 ? x[2] : x[0];
    }
}

/* NaN is also what no number can be told for (the integer of an infinity), and stays that until
 * something chooses the other one. */
static double compute_known(enum script_op op, const double *x, int n_in, double alpha)
{
    bool chooses = n_in == 3;
    int condition = op == SCRIPT_OP_aten_where ? 0 : 1;
    for (int i = 0; i < n_in; i++)
        if (isnan(x[i]) && (!chooses || i == condition))
            return (double)NAN;
    return compute(op, x, alpha);
}

static bool gives_bool(enum script_op op)
{
    return op == SCRIPT_OP_aten_lt || op == SCRIPT_OP_aten_le || op == SCRIPT_OP_aten_gt ||
           op == SCRIPT_OP_aten_ge || op == SCRIPT_OP_aten_eq || op == SCRIPT_OP_aten_ne ||
           op == SCRIPT_OP_aten_bitwise_not || op == SCRIPT_OP_aten___and__;
}

static enum grid_type type_of(enum script_op op, const struct desc *const in[], int n_in)
{
    enum grid_type type = GRID_BOOL;
    if (gives_bool(op))
        return GRID_BOOL;
    if (op == SCRIPT_OP_aten_masked_fill || op == SCRIPT_OP_aten_masked_fill_)
        return in[0]->grid->type;
    for (int i = op == SCRIPT_OP_aten_where; i < n_in; i++)
        type = in[i]->grid->type > type ? in[i]->grid->type : type;
    bool divides =
        op == SCRIPT_OP_aten_div || op == SCRIPT_OP_aten_div_ || op == SCRIPT_OP_aten_log;
    return divides ? GRID_FLOAT : type;
}

static double stored(enum grid_type type, double x)
{
    if (isnan(x))
        return x;
    return type == GRID_FLOAT ? (double)(float)x : type == GRID_BOOL ? x != 0 : x;
}

/* Right-aligned, dims of one stretch. */
static bool broadcast(struct shape *to, const struct shape *from)
{
    struct shape out = to->rank >= from->rank ? *to : *from;
    const struct shape *less = to->rank >= from->rank ? from : to;
    for (int i = 0; i < less->rank; i++) {
        int64_t *dim = &out.dim[out.rank - less->rank + i], other = less->dim[i];
        if (*dim != other && *dim != 1 && other != 1)
            return false;
        *dim = *dim == 1 ? other : *dim;
    }
    *to = out;
    return true;
}

/* Which grid says how the result is laid out: the one that is not the same everywhere. All such
 * must lie the same way. */
static bool find_leader(const struct desc *const in[], int n_in, int rank, struct grid *like)
{
    *like = (struct grid){.kind = GRID_SAME, .channel = -1, .n_channels = 1, .m = SIZE_MAX};
    for (int i = 0; i < n_in; i++) {
        struct grid g = *in[i]->grid;
        int shift = rank - in[i]->shape.rank;
        if (g.kind == GRID_SAME)
            continue;
        g.row += shift;
        g.column += shift;
        g.channel += g.channel < 0 ? 0 : shift;
        if (like->kind != GRID_SAME &&
            (like->kind != g.kind || like->row != g.row || like->column != g.column ||
             like->channel != g.channel || like->n_channels != g.n_channels))
            return false;
        g.m = g.m < like->m ? g.m : like->m;
        *like = g;
    }
    return true;
}

static double number_at(const struct grid *g, const struct grid *like, size_t i)
{
    if (g->kind == GRID_SAME)
        return g->v[0];
    return g->kind == GRID_PLACE ? g->v[i] : g->v[i + (g->m - like->m) * g->n_channels];
}

/* 0, 1, 2 ... */
static bool grid_counts(const struct grid *g)
{
    for (size_t i = 0; i < g->m; i++)
        if (g->v[i] != (double)i)
            return false;
    return g->type == GRID_INT && g->channel < 0;
}

/* Places of keys less places of queries. */
static bool distances(struct recog *r, const struct desc *x, const struct desc *y,
                      const struct shape *shape, struct desc *out)
{
    const struct grid *a = x->grid, *b = y->grid;
    int of_a = a->row + shape->rank - x->shape.rank, of_b = b->row + shape->rank - y->shape.rank;
    if (a->kind != GRID_PLACE || b->kind != GRID_PLACE || of_a == of_b || !grid_counts(a) ||
        !grid_counts(b))
        return false;
    size_t m = a->m < b->m ? a->m : b->m;
    struct grid *g = grid_new(r, GRID_DISTANCE, GRID_INT, m, 1);
    if (!g)
        return false;
    g->row = of_a < of_b ? of_a : of_b;
    g->column = of_a < of_b ? of_b : of_a;
    for (size_t i = 0; i < 2 * m - 1; i++)
        g->v[i] = ((double)i - (double)(m - 1)) * (of_a < of_b ? -1 : 1);
    grid_set(out, g, shape);
    return true;
}

void grid_apply(struct recog *r, enum script_op op, const struct desc *const in[], int n_in,
                double alpha, struct desc *out)
{
    struct shape shape = in[0]->shape;
    struct grid like;
    for (int i = 1; i < n_in; i++)
        if (!broadcast(&shape, &in[i]->shape))
            return;
    if (op == SCRIPT_OP_aten_sub && alpha == 1 && distances(r, in[0], in[1], &shape, out))
        return;
    if (!find_leader(in, n_in, shape.rank, &like))
        return;
    struct grid *g = grid_new(r, like.kind, type_of(op, in, n_in), like.m, like.n_channels);
    if (!g)
        return;
    g->row = like.row;
    g->column = like.column;
    g->channel = like.channel;
    bool same = g->channel < 0;
    for (size_t i = 0, n = n_numbers(g); i < n; i++) {
        double x[3] = {0};
        for (int j = 0; j < n_in; j++)
            x[j] = number_at(in[j]->grid, &like, i);
        g->v[i] = stored(g->type, compute_known(op, x, n_in, alpha));
        same = same && g->v[i] == g->v[0];
    }
    if (same) {
        g->kind = GRID_SAME; /* as far as anybody will look */
        g->m = SIZE_MAX;
    }
    grid_set(out, g, &shape);
}

/* lt, eq and the like; min and max of two. */
void grid_compare(struct recog *r, const struct script_node *n, struct desc *out)
{
    struct desc x, y;
    const struct desc *a = recog_in(r, n, 0, "self"), *b = recog_in(r, n, 1, "other");
    double pad;
    if (n->op == SCRIPT_OP_aten_ne && a && a->what == WHAT_IDS && recog_number(r, b, &pad) &&
        pad >= 0 && pad < 65536 && pad == floor(pad)) {
        *out = (struct desc){.what = WHAT_REAL, .shape = a->shape, .pad = (int64_t)pad};
        return;
    }
    if (!grid_of(r, a, &x) || !grid_of(r, b, &y))
        return;
    bool bits = n->op == SCRIPT_OP_aten___and__;
    if (!bits || (x.grid->type == GRID_BOOL && y.grid->type == GRID_BOOL))
        grid_apply(r, n->op, (const struct desc *[]){&x, &y}, 2, 1, out);
}

void grid_unary(struct recog *r, const struct script_node *n, struct desc *out)
{
    struct desc x;
    if (n->op == SCRIPT_OP_aten_log) {
        rows_log(r, n, out);
        if (out->what != WHAT_UNKNOWN)
            return;
    }
    if (!grid_of(r, recog_in(r, n, 0, "self"), &x) ||
        (n->op == SCRIPT_OP_aten_bitwise_not && x.grid->type != GRID_BOOL))
        return;
    grid_apply(r, n->op, (const struct desc *[]){&x}, 1, 1, out);
}

/* where(condition, x, y), masked_fill(x, condition, y). */
void grid_where(struct recog *r, const struct script_node *n, struct desc *out)
{
    struct desc in[3];
    bool fills = n->op != SCRIPT_OP_aten_where;
    const struct desc *first = recog_in(r, n, 0, fills ? "self" : "condition");
    bool condition = grid_of(r, recog_in(r, n, 1, fills ? "mask" : "self"), &in[1]);
    if (fills && condition && in[1].grid->type != GRID_BOOL)
        return;
    if (fills && first && condition && first->what != WHAT_GRID && grid_is(&in[1], 0) &&
        (first->what == WHAT_SCORES || first->what == WHAT_TOKENS)) {
        struct shape shape = first->shape;
        if (broadcast(&shape, &in[1].shape) && shape_equal(&shape, &first->shape))
            *out = *first; /* nothing is masked */
        return;
    }
    if (condition && grid_of(r, first, &in[0]) && (fills || in[0].grid->type == GRID_BOOL) &&
        grid_of(r, recog_in(r, n, 2, fills ? "value" : "other"), &in[2]))
        grid_apply(r, n->op, (const struct desc *[]){&in[0], &in[1], &in[2]}, 3, 1, out);
}

/* --- making them --- */

void grid_arange(struct recog *r, const struct script_node *n, struct desc *out)
{
    /* arange(end, dtype ...) or arange(start, end, dtype ...), from dtype on by keyword or all five
     */
    uint32_t places = 0;
    while (places < n->n_in && !(n->keywords && n->keywords[places]))
        places++;
    bool starts = places == 2 || places == 6;
    int64_t start = 0, dtype;
    const struct desc *end = recog_in(r, n, starts ? 1 : 0, "end");
    if ((!starts && places != 1 && places != 5) ||
        (starts && !recog_int(r, n, 0, "start", 0, &start)) || start != 0 || !end ||
        end->what != WHAT_INT || !recog_int(r, n, starts ? 2 : 1, "dtype", 4, &dtype) ||
        (dtype != 4 && dtype != 3))
        return;
    if (end->i.factor == 1 && end->i.add == 0)
        grid_places(r, &(struct shape){1, {DIM_N}}, 0, out);
    else if (end->i.factor == 0 && end->i.add == 1) /* of the one sequence there is */
        grid_same(r, 0, GRID_INT, &(struct shape){1, {1}}, out);
}

static enum grid_type type_of_dtype(int64_t dtype)
{
    return dtype == 11 ? GRID_BOOL : dtype >= 0 && dtype <= 4 ? GRID_INT : GRID_FLOAT;
}

/* ones, zeros (size, dtype), full (size, value, dtype), full_like (x, value), new_ones, new_zeros
 * (x, size, dtype). */
void grid_fill(struct recog *r, const struct script_node *n, struct desc *out)
{
    struct shape shape;
    struct desc value;
    int64_t dtype = 6;
    bool like = n->op == SCRIPT_OP_aten_new_ones || n->op == SCRIPT_OP_aten_new_zeros;
    double x = n->op == SCRIPT_OP_aten_ones || n->op == SCRIPT_OP_aten_new_ones;
    enum grid_type type = GRID_FLOAT;
    const struct desc *first = recog_in(r, n, like ? 1 : 0, "size");
    if (n->op == SCRIPT_OP_aten_full_like) {
        struct desc as;
        if (!grid_of(r, recog_in(r, n, 0, "self"), &as) ||
            !recog_number(r, recog_in(r, n, 1, "fill_value"), &x) ||
            !recog_is_none(recog_in(r, n, 2, "dtype")))
            return;
        grid_same(r, stored(as.grid->type, x), as.grid->type, &as.shape, out);
        return;
    }
    if (!first || !recog_shape(first, &shape))
        return;
    uint32_t at = like ? 2 : 1;
    if (like && recog_is_none(recog_in(r, n, at, "dtype"))) {
        if (!grid_of(r, recog_in(r, n, 0, "self"), &value))
            return;
        type = value.grid->type;
    }
    if (n->op == SCRIPT_OP_aten_full) {
        if (!grid_of(r, recog_in(r, n, at++, "fill_value"), &value) ||
            value.grid->kind != GRID_SAME)
            return;
        x = value.grid->v[0];
        type = value.grid->type;
    }
    if (!recog_is_none(recog_in(r, n, at, "dtype"))) {
        if (!recog_int(r, n, at, "dtype", 6, &dtype))
            return;
        type = type_of_dtype(dtype);
    }
    grid_same(r, stored(type, x), type, &shape, out);
}

static bool whole_at(const struct script_tensor *t, int64_t i, double *out)
{
    enum grid_type type;
    struct script_tensor one = {.dtype = t->dtype,
                                .data = (char *)t->data +
                                        (size_t)(i * t->stride[1]) * dtype_size(t->dtype)};
    return element(&one, out, &type) && type == GRID_INT;
}

/* The first n columns of a buffer [1, m]: positions 0, 1, 2 ... or types 0, 0, 0 ... as a model
 * keeps them. It is not for more than m tokens. */
void grid_slice_constant(struct recog *r, const struct script_tensor *t, int64_t n,
                         struct desc *out)
{
    struct shape shape = {2, {1, DIM_N}};
    if (t->rank != 2 || t->dim[0] != 1 || n != DIM_N || t->dim[1] < 1)
        return;
    if (t->dim[1] < r->max_tokens)
        r->max_tokens = (uint32_t)t->dim[1];
    struct grid *g = grid_new(r, GRID_PLACE, GRID_INT, r->max_tokens, 1);
    bool same = true;
    if (!g)
        return;
    g->row = 1;
    for (size_t i = 0; i < g->m; i++) {
        if (!whole_at(t, (int64_t)i, &g->v[i]))
            return;
        same = same && g->v[i] == g->v[0];
    }
    if (same)
        grid_same(r, g->v[0], GRID_INT, &shape, out);
    else
        grid_set(out, g, &shape);
}

/* gather(x, 1, index) of a buffer [1, m] that has one number everywhere: that number. */
void grid_gather(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self"), *index = recog_in(r, n, 2, "index");
    int64_t dim, base;
    double first, next;
    if (!x || !index || x->what != WHAT_CONSTANT || x->constant->kind != SCRIPT_TENSOR ||
        !recog_int(r, n, 1, "dim", 0, &dim) || (dim != 1 && dim != -1) ||
        !shape_equal(&index->shape, &(struct shape){2, {1, DIM_N}}))
        return;
    const struct script_tensor *t = &x->constant->tensor;
    if (index->what == WHAT_REAL_PLACE)
        base = index->pad + 1;
    else if (index->what == WHAT_GRID && index->grid->kind == GRID_PLACE &&
             grid_counts(index->grid))
        base = 0;
    else
        return;
    if (t->rank != 2 || t->dim[0] != 1 || t->dim[1] <= base || !whole_at(t, 0, &first))
        return;
    for (int64_t i = 1; i < t->dim[1]; i++)
        if (!whole_at(t, i, &next) || next != first)
            return;
    if (t->dim[1] - base < r->max_tokens)
        r->max_tokens = (uint32_t)(t->dim[1] - base);
    grid_same(r, first, GRID_INT, &index->shape, out);
}

/* x[a, b] of a mask that is the same everywhere: the same, for every a and b within. */
void grid_index(struct recog *r, const struct script_node *n, struct desc *out)
{
    const struct desc *x = recog_in(r, n, 0, "self"), *list = recog_in(r, n, 1, "indices");
    struct shape shape = {0};
    if (!x || !list || x->what != WHAT_GRID || x->grid->kind != GRID_SAME ||
        list->what != WHAT_LIST || (int64_t)list->list.n != x->shape.rank)
        return;
    for (size_t i = 0; i < list->list.n; i++) {
        const struct desc *at = &list->list.items[i];
        bool first = grid_is(at, 0);
        if (at->what != WHAT_GRID || at->grid->type != GRID_INT || !broadcast(&shape, &at->shape) ||
            (!first &&
             (x->shape.dim[i] != DIM_N || at->grid->kind != GRID_PLACE || !grid_counts(at->grid))))
            return;
    }
    grid_same(r, x->grid->v[0], x->grid->type, &shape, out);
}

/* Rows of a table [rows, channels] by distance: learned biases. */
void grid_distances_of(struct recog *r, const struct script_tensor *table, const struct desc *index,
                       struct desc *out)
{
    const struct grid *from = index->grid;
    if (table->rank != 2 || from->kind != GRID_DISTANCE || from->channel >= 0 ||
        from->type != GRID_INT || index->shape.rank + 1 > TENSOR_MAX_RANK || table->dim[1] > 1024)
        return;
    size_t channels = (size_t)table->dim[1];
    struct grid *g = grid_new(r, GRID_DISTANCE, GRID_FLOAT, from->m, channels);
    if (!g)
        return;
    g->row = from->row;
    g->column = from->column;
    g->channel = index->shape.rank;
    for (size_t i = 0; i < 2 * from->m - 1; i++) {
        if (!(from->v[i] >= 0 && from->v[i] < (double)table->dim[0]))
            return;
        for (size_t c = 0; c < channels; c++) {
            float x;
            int64_t at = (int64_t)from->v[i] * table->stride[0] + (int64_t)c * table->stride[1];
            if (!dtype_to_f32(table->dtype,
                              (const char *)table->data + (size_t)at * dtype_size(table->dtype), 1,
                              &x))
                return;
            g->v[i * channels + c] = (double)x;
        }
    }
    struct shape shape = index->shape;
    shape.dim[shape.rank++] = table->dim[1];
    grid_set(out, g, &shape);
}
