/* Sums, means, norms and extremes over some of a tensor's dimensions.
 *
 * Floats add up in double, integers in int64, in the order of memory: more exact than libtorch's
 * sums and the same in every run. Where the elements of one result lie close to each other a
 * result is folded at a time, else a run of neighbouring results at once, so that memory is read
 * in order either way. */
#include <math.h>

#include "families.h"
#include "pointwise.h"
#include "strided.h"

enum fold_kind { FOLD_SUM, FOLD_MAX, FOLD_MIN, FOLD_ABS, FOLD_SQUARES, FOLD_COUNT, FOLD_POWERS };

#define FOLD_RUN 256

struct fold {
    enum fold_kind kind;
    bool absolute; /* of absolute values: FOLD_MAX and FOLD_MIN of norms */
    double power;  /* of FOLD_POWERS */
    bool ints;
    bool track; /* positions of extremes, along the one dimension */
};

struct accumulators {
    double f[FOLD_RUN];
    int64_t i[FOLD_RUN];
    int64_t at[FOLD_RUN];
};

static void begin(const struct fold *f, size_t n, struct accumulators *acc)
{
    for (size_t i = 0; i < n; i++) {
        acc->f[i] = f->kind == FOLD_MAX ? -INFINITY : f->kind == FOLD_MIN ? INFINITY : 0;
        acc->i[i] = f->kind == FOLD_MAX ? INT64_MIN : f->kind == FOLD_MIN ? INT64_MAX : 0;
        acc->at[i] = 0;
    }
}

/* n elements into n accumulators (spread 1) or into the first (spread 0). */
#define FOLD_EACH(statement)                                                                       \
    for (size_t i = 0; i < n; i++) {                                                               \
        size_t k = i * spread;                                                                     \
        statement;                                                                                 \
    }                                                                                              \
    return

static void fold_floats(const struct fold *f, double *x, size_t n, size_t spread,
                        struct accumulators *acc)
{
    double *a = acc->f;
    for (size_t i = 0; f->absolute && i < n; i++)
        x[i] = fabs(x[i]);
    switch (f->kind) {
    case FOLD_SUM:
        FOLD_EACH(a[k] += x[i]);
    case FOLD_MAX: /* a NaN wins and stays */
        FOLD_EACH(a[k] = a[k] == a[k] && (x[i] > a[k] || x[i] != x[i]) ? x[i] : a[k]);
    case FOLD_MIN:
        FOLD_EACH(a[k] = a[k] == a[k] && (x[i] < a[k] || x[i] != x[i]) ? x[i] : a[k]);
    case FOLD_ABS:
        FOLD_EACH(a[k] += fabs(x[i]));
    case FOLD_SQUARES:
        FOLD_EACH(a[k] += x[i] * x[i]);
    case FOLD_COUNT:
        FOLD_EACH(a[k] += x[i] != 0);
    case FOLD_POWERS:
        FOLD_EACH(a[k] += pow(fabs(x[i]), f->power));
    }
}

static void fold_ints(const struct fold *f, const int64_t *x, size_t n, size_t spread,
                      struct accumulators *acc)
{
    int64_t *a = acc->i;
    switch (f->kind) {
    case FOLD_MAX:
        FOLD_EACH(a[k] = x[i] > a[k] ? x[i] : a[k]);
    case FOLD_MIN:
        FOLD_EACH(a[k] = x[i] < a[k] ? x[i] : a[k]);
    default:
        FOLD_EACH(a[k] = (int64_t)((uint64_t)a[k] + (uint64_t)x[i]));
    }
}

/* With positions: `position` is the first element's (spread 0) or everyone's (spread 1). The
 * first position is 0 already, so that a row of nothing but the least value has it. */
static void fold_tracking(const struct fold *f, const double *x, const int64_t *whole, size_t n,
                          size_t spread, int64_t position, struct accumulators *acc)
{
    bool most = f->kind == FOLD_MAX;
    for (size_t i = 0; i < n; i++) {
        size_t k = i * spread;
        bool better;
        if (f->ints)
            better = most ? whole[i] > acc->i[k] : whole[i] < acc->i[k];
        else
            better = acc->f[k] == acc->f[k] &&
                     (x[i] != x[i] || (most ? x[i] > acc->f[k] : x[i] < acc->f[k]));
        if (!better)
            continue;
        if (f->ints)
            acc->i[k] = whole[i];
        else
            acc->f[k] = x[i];
        acc->at[k] = position + (spread ? 0 : (int64_t)i);
    }
}

static void fold_run(const struct fold *f, enum dtype d, const char *p, int64_t stride, size_t n,
                     size_t spread, int64_t position, struct accumulators *acc)
{
    union {
        double f[FOLD_RUN];
        int64_t i[FOLD_RUN];
    } run;
    elements_load(f->ints ? COMPUTE_I64 : COMPUTE_F64, d, p, stride, n, &run);
    if (f->track)
        fold_tracking(f, run.f, run.i, n, spread, position, acc);
    else if (f->ints)
        fold_ints(f, run.i, n, spread, acc);
    else
        fold_floats(f, run.f, n, spread, acc);
}

/* One result: everything of `reduced`, moved to start at p. */
static void fold_row(const struct fold *f, struct script_tensor reduced, char *p,
                     struct accumulators *acc)
{
    const struct script_tensor *walked[] = {&reduced};
    struct walk w;
    int64_t position = 0;
    reduced.data = p;
    begin(f, 1, acc);
    for (walk_init(&w, 1, walked); !w.done; walk_next(&w))
        for (int64_t at = 0; at < w.inner; at += FOLD_RUN) {
            int64_t n = w.inner - at < FOLD_RUN ? w.inner - at : FOLD_RUN;
            fold_run(f, reduced.dtype, w.p[0] + at * w.inner_stride[0], w.inner_stride[0],
                     (size_t)n, 0, position, acc);
            position += n;
        }
}

/* n results, `stride` bytes apart. */
static void fold_columns(const struct fold *f, struct script_tensor reduced, char *p,
                         int64_t stride, size_t n, struct accumulators *acc)
{
    const struct script_tensor *walked[] = {&reduced};
    struct walk w;
    int64_t position = 0;
    reduced.data = p;
    begin(f, n, acc);
    for (walk_init(&w, 1, walked); !w.done; walk_next(&w))
        for (int64_t at = 0; at < w.inner; at++)
            fold_run(f, reduced.dtype, w.p[0] + at * w.inner_stride[0], stride, n, 1, position++,
                     acc);
}

struct reduction {
    struct fold fold;
    const struct script_tensor *x;
    bool marks[TENSOR_MAX_RANK]; /* dimensions that go */
    bool keep;                   /* as dimensions of size 1 */
    double divisor;              /* of sums: what a mean is of */
    double root;                 /* of norms: the power that undoes theirs */
};

static struct script_tensor shape_of_result(const struct reduction *r)
{
    struct script_tensor t = {.rank = 0};
    for (int i = 0; i < r->x->rank; i++)
        if (!r->marks[i])
            t.dim[t.rank++] = r->x->dim[i];
        else if (r->keep)
            t.dim[t.rank++] = 1;
    return t;
}

static void store_results(const struct reduction *r, struct accumulators *acc, size_t n,
                          const struct walk *w, int64_t at, enum dtype d, bool positions)
{
    const struct fold *f = &r->fold;
    for (size_t i = 0; i < n && !f->ints; i++) {
        acc->f[i] /= r->divisor;
        if (r->root == 0.5)
            acc->f[i] = sqrt(acc->f[i]);
        else if (r->root != 1)
            acc->f[i] = pow(acc->f[i], r->root);
    }
    elements_store(f->ints ? COMPUTE_I64 : COMPUTE_F64, d, w->p[0] + at * w->inner_stride[0],
                   w->inner_stride[0], n, f->ints ? (void *)acc->i : (void *)acc->f);
    if (positions)
        elements_store(COMPUTE_I64, DTYPE_I64, w->p[2] + at * w->inner_stride[2],
                       w->inner_stride[2], n, acc->at);
}

static int64_t closest(const struct script_tensor *t)
{
    int64_t stride = INT64_MAX;
    for (int i = 0; i < t->rank; i++)
        if (t->dim[i] > 1 && t->stride[i] < stride)
            stride = t->stride[i];
    return stride;
}

/* `positions` (i64, of out's shape) may be NULL. */
static struct err *reduce(struct step *s, const struct reduction *r,
                          const struct script_tensor *out, const struct script_tensor *positions)
{
    struct script_tensor kept = {.dtype = r->x->dtype, .data = r->x->data}, reduced = kept;
    struct script_tensor to = {.dtype = out->dtype, .data = out->data}, at_to;
    for (int i = 0; i < r->x->rank; i++) {
        struct script_tensor *t = r->marks[i] ? &reduced : &kept;
        t->dim[t->rank] = r->x->dim[i];
        t->stride[t->rank++] = r->x->stride[i];
    }
    to.rank = kept.rank;
    memcpy(to.dim, kept.dim, sizeof to.dim);
    dense_strides(&to);
    at_to = to;
    at_to.dtype = DTYPE_I64;
    at_to.data = positions ? positions->data : NULL;
    TRY(step_work(s, tensor_numel(&kept), tensor_numel(&reduced) + 1));
    const struct script_tensor *walked[] = {&to, &kept, &at_to};
    int64_t near = closest(&reduced), size = (int64_t)dtype_size(kept.dtype);
    struct accumulators acc;
    struct walk w;
    for (walk_init(&w, positions ? 3 : 2, walked); !w.done; walk_next(&w)) {
        bool single = near == INT64_MAX; /* one element for each result */
        bool rows = !single && (w.inner == 1 || near * size <= w.inner_stride[1]);
        int64_t run = rows ? 1 : FOLD_RUN;
        for (int64_t at = 0; at < w.inner; at += run) {
            int64_t n = w.inner - at < run ? w.inner - at : run;
            char *p = w.p[1] + at * w.inner_stride[1];
            if (rows)
                fold_row(&r->fold, reduced, p, &acc);
            else
                fold_columns(&r->fold, reduced, p, w.inner_stride[1], (size_t)n, &acc);
            store_results(r, &acc, (size_t)n, &w, at, out->dtype, positions);
        }
    }
    return NULL;
}

static int64_t count_reduced(const struct reduction *r)
{
    int64_t n = 1;
    for (int i = 0; i < r->x->rank; i++)
        n *= r->marks[i] ? r->x->dim[i] : 1;
    return n;
}

static struct err *reduce_new(struct step *s, const struct reduction *r, enum dtype d)
{
    struct script_tensor shape = shape_of_result(r), out;
    TRY(out_new(s, d, shape.rank, shape.dim, &out));
    return reduce(s, r, &out, NULL);
}

/* Dimensions and whether to keep them, at these positions. */
static struct err *dims_from(struct step *s, uint32_t dim_at, const struct view *x,
                             struct reduction *r)
{
    struct ints dims = {.n = -1};
    *r = (struct reduction){.x = &x->t, .divisor = 1, .root = 1};
    TRY(arg_ints_opt(s, dim_at, "dim", &dims));
    TRY(dims_mark(s, &dims, x->t.rank, r->marks));
    return arg_bool_opt(s, dim_at + 1, "keepdim", &r->keep);
}

/* --- sum and mean --- */

static struct err *sum_of_list(struct step *s, const struct items *l)
{
    struct number n;
    uint64_t whole = 0;
    double sum = 0;
    bool floats = false;
    for (size_t i = 0; i < l->n; i++) {
        if (!number_from(&l->v[i], &n))
            return step_bad(s, "the list holds a %s", datum_kind_name(l->v[i].kind));
        floats |= n.kind == NUMBER_FLOAT;
        sum += n.f;
        whole += (uint64_t)n.i;
    }
    return floats ? out_float(s, sum) : out_int(s, (int64_t)whole);
}

struct err *run_aten_sum(struct step *s)
{
    const struct view *x;
    struct reduction r;
    if (arg_is(s, 0, "self", SCRIPT_LIST))
        return sum_of_list(s, arg_any(s, 0, "self")->items);
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(dims_from(s, 1, x, &r));
    enum dtype d = dtype_is_float(x->t.dtype) ? x->t.dtype : DTYPE_I64;
    TRY(arg_dtype_opt(s, 3, "dtype", &d, NULL));
    r.fold = (struct fold){.kind = FOLD_SUM, .ints = !dtype_is_float(d)};
    return reduce_new(s, &r, d);
}

struct err *run_aten_mean(struct step *s)
{
    const struct view *x;
    struct reduction r;
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(dims_from(s, 1, x, &r));
    enum dtype d = x->t.dtype;
    TRY(arg_dtype_opt(s, 3, "dtype", &d, NULL));
    if (!dtype_is_float(d))
        return step_bad(s, "a tensor of dtype %s has no mean of that dtype", dtype_torch_name(d));
    r.divisor = (double)count_reduced(&r);
    return reduce_new(s, &r, d);
}

/* --- norms --- */

static struct err *norm_of(struct step *s, const struct view *x, struct reduction *r, double p)
{
    enum dtype d = x->t.dtype;
    TRY(arg_dtype_opt(s, 4, "dtype", &d, NULL));
    if (!dtype_is_float(d))
        return step_bad(s, "a tensor of dtype %s has no norm", dtype_torch_name(d));
    if (isinf(p) && count_reduced(r) == 0)
        return step_bad(s, "an empty tensor has no such norm");
    r->fold.absolute = isinf(p);
    r->fold.kind = p == INFINITY    ? FOLD_MAX
                   : p == -INFINITY ? FOLD_MIN
                   : p == 0         ? FOLD_COUNT
                   : p == 1         ? FOLD_ABS
                   : p == 2         ? FOLD_SQUARES
                                    : FOLD_POWERS;
    r->fold.power = p;
    if (!isinf(p) && p != 0)
        r->root = 1 / p;
    return reduce_new(s, r, d);
}

struct err *run_aten_norm(struct step *s)
{
    const struct view *x;
    struct reduction r;
    double p = 2;
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(arg_float_opt(s, 1, "p", &p));
    TRY(dims_from(s, 2, x, &r));
    return norm_of(s, x, &r, p);
}

struct err *run_aten_linalg_vector_norm(struct step *s)
{
    const struct view *x;
    struct reduction r;
    double p = 2;
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(arg_float_opt(s, 1, "ord", &p));
    TRY(dims_from(s, 2, x, &r));
    return norm_of(s, x, &r, p);
}

/* --- extremes --- */

/* (values, indices) along one dimension. */
static struct err *extreme_along(struct step *s, const struct view *x, struct reduction *r)
{
    struct items *pair;
    struct view *values, *indices;
    TRY(dims_from(s, 1, x, r));
    r->fold.track = true;
    struct script_tensor shape = shape_of_result(r);
    TRY(out_items(s, SCRIPT_TUPLE, 2, &pair));
    TRY(tensor_new(s, x->t.dtype, shape.rank, shape.dim, &values));
    items_put(pair, 0, values);
    TRY(tensor_new(s, DTYPE_I64, shape.rank, shape.dim, &indices));
    items_put(pair, 1, indices);
    return NULL;
}

static struct err *extreme(struct step *s, bool most)
{
    const struct view *x;
    struct reduction r;
    if (arg_is(s, 1, "other", SCRIPT_TENSOR))
        return pairwise_most(s, most);
    TRY(arg_tensor(s, 0, "self", &x));
    bool along = arg_is(s, 1, "dim", SCRIPT_INT);
    if (along) {
        TRY(extreme_along(s, x, &r));
    } else {
        const struct ints all = {.n = -1};
        r = (struct reduction){.x = &x->t, .divisor = 1, .root = 1};
        TRY(dims_mark(s, &all, x->t.rank, r.marks));
    }
    r.fold.kind = most ? FOLD_MAX : FOLD_MIN;
    r.fold.ints = !dtype_is_float(x->t.dtype);
    if (count_reduced(&r) == 0)
        return step_bad(s, "nothing has no %s", most ? "maximum" : "minimum");
    if (!along)
        return reduce_new(s, &r, x->t.dtype);
    const struct datum *pair = s->out->items->v;
    return reduce(s, &r, &pair[0].view->t, &pair[1].view->t);
}

struct err *run_aten_max(struct step *s)
{
    return extreme(s, true);
}

struct err *run_aten_min(struct step *s)
{
    return extreme(s, false);
}
