/* Ops that copy elements: into other dtypes, other places, side by side. */
#include "families.h"
#include "pointwise.h"
#include "strided.h"

static struct err *copy_as(struct step *s, const struct view *x, enum dtype d)
{
    struct script_tensor t;
    TRY(out_new(s, d, x->t.rank, x->t.dim, &t));
    return copy_elements(s, &x->t, &t);
}

/* to(self, dtype), to(self, device, dtype), to(self, other), to(self, dtype=..., ...): what comes
 * second tells which. `copy` is last but one in all of them. */
struct err *run_aten_to(struct step *s)
{
    const struct view *x;
    TRY(arg_tensor(s, 0, "self", &x));
    const struct datum *what = arg_any(s, 1, "");
    enum dtype d = x->t.dtype;
    bool copy = false;
    uint32_t copy_at = 3;
    if (what && what->kind == SCRIPT_TENSOR) {
        d = what->view->t.dtype;
    } else if (what && what->kind == SCRIPT_BOOL) {
        copy_at = 2;
    } else if (what && what->kind == SCRIPT_INT) {
        TRY(dtype_of_code(s, what->i, &d));
    } else {
        bool by_position = arg_is(s, 2, "", SCRIPT_INT);
        copy_at = arg_is(s, 2, "", SCRIPT_BOOL) ? 3 : 4;
        TRY(arg_dtype_opt(s, by_position ? 2 : UINT32_MAX - 1, "dtype", &d, NULL));
    }
    TRY(arg_bool_opt(s, copy_at, "copy", &copy));
    return d == x->t.dtype && !copy ? out_same(s, x) : copy_as(s, x, d);
}

struct err *run_aten_type_as(struct step *s)
{
    const struct view *x, *other;
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(arg_tensor(s, 1, "other", &other));
    return x->t.dtype == other->t.dtype ? out_same(s, x) : copy_as(s, x, other->t.dtype);
}

struct err *run_aten_contiguous(struct step *s)
{
    const struct view *x;
    TRY(arg_tensor(s, 0, "self", &x));
    return tensor_is_dense(&x->t) ? out_same(s, x) : copy_as(s, x, x->t.dtype);
}

struct err *run_aten_clone(struct step *s)
{
    const struct view *x;
    TRY(arg_tensor(s, 0, "self", &x));
    return copy_as(s, x, x->t.dtype);
}

/* What fills `into`, converted to its dtype whatever it is. */
static struct err *put_into(struct step *s, const struct view *into, struct operand *in)
{
    enum dtype from = in->view ? in->view->t.dtype : into->t.dtype;
    struct view *copy = NULL;
    struct operand converted = *in;
    if (in->view && from != into->t.dtype) { /* in the dtype it has, then into the other */
        TRY(tensor_new(s, into->t.dtype, in->view->t.rank, in->view->t.dim, &copy));
        struct err *err = copy_elements(s, &in->view->t, &copy->t);
        if (err) {
            tensor_drop(s, copy);
            return err;
        }
        operand_of_view(copy, &converted);
    }
    struct pointwise m = copying(&converted, into->t.dtype);
    struct err *err = pointwise_into(s, &m, into);
    tensor_drop(s, copy);
    return err;
}

struct err *run_aten_copy_(struct step *s)
{
    const struct view *x;
    struct operand in;
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(operand_from(s, 1, "src", &in));
    return put_into(s, x, &in);
}

struct err *run_aten_fill_(struct step *s)
{
    const struct view *x;
    struct operand in;
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(operand_from(s, 1, "value", &in));
    if (in.view && in.view->t.rank)
        return step_bad(s, "the value must have no dimensions");
    return put_into(s, x, &in);
}

/* Training leaves elements out by chance; the chance is the same in every run. */
struct err *run_aten_dropout(struct step *s)
{
    const struct view *x;
    double p = 0.5;
    bool train = false;
    TRY(arg_tensor(s, 0, "input", &x));
    TRY(arg_float_opt(s, 1, "p", &p));
    TRY(arg_bool_opt(s, 2, "train", &train));
    if (!(p >= 0 && p <= 1))
        return step_bad(s, "a probability of [%g]", p);
    if (!train || p == 0)
        return out_same(s, x);
    if (!dtype_is_float(x->t.dtype))
        return step_bad(s, "a tensor of dtype %s in training", dtype_torch_name(x->t.dtype));
    TRY(copy_as(s, x, x->t.dtype));
    const struct script_tensor *t = &s->out->view->t;
    size_t size = dtype_size(t->dtype);
    for (int64_t i = 0, n = tensor_numel(t); i < n; i++) {
        char *at = (char *)t->data + (size_t)i * size;
        double value;
        elements_load(COMPUTE_F64, t->dtype, at, 0, 1, &value);
        value = random_next(s->r) < p ? 0 : value / (1 - p);
        elements_store(COMPUTE_F64, t->dtype, at, 0, 1, &value);
    }
    return NULL;
}

/* --- side by side --- */

static struct err *tensors_from(struct step *s, const struct items **out)
{
    TRY(arg_items(s, 0, "tensors", out));
    if ((*out)->n == 0)
        return step_bad(s, "no tensors are given");
    for (size_t i = 0; i < (*out)->n; i++)
        if ((*out)->v[i].kind != SCRIPT_TENSOR)
            return step_bad(s, "the list holds a %s", datum_kind_name((*out)->v[i].kind));
    return NULL;
}

static enum dtype common_dtype(const struct items *l)
{
    enum dtype d = l->v[0].view->t.dtype;
    for (size_t i = 1; i < l->n; i++)
        d = dtype_promote(d, l->v[i].view->t.dtype);
    return d;
}

/* An empty vector goes with anything: history. */
static bool is_nothing(const struct script_tensor *t)
{
    return t->rank == 1 && t->dim[0] == 0;
}

static struct err *joined_shape(struct step *s, const struct items *l, int64_t wanted,
                                struct script_tensor *shape, int *dim)
{
    const struct script_tensor *first = &l->v[0].view->t;
    for (size_t i = 0; i < l->n && is_nothing(first); i++)
        first = &l->v[i].view->t;
    *shape = *first;
    if (shape->rank == 0)
        return step_bad(s, "tensors without dimensions cannot be joined");
    TRY(dim_wrap(s, wanted, shape->rank, dim));
    shape->dim[*dim] = 0;
    for (size_t i = 0; i < l->n; i++) {
        const struct script_tensor *t = &l->v[i].view->t;
        if (is_nothing(t))
            continue;
        bool fits = t->rank == shape->rank;
        for (int k = 0; fits && k < t->rank; k++)
            fits = k == *dim || t->dim[k] == shape->dim[k];
        if (!fits || t->dim[*dim] > INT64_MAX - shape->dim[*dim])
            return step_bad(s, "tensors of %s and %s cannot be joined at dimension [%d]",
                            tensor_shape(first).z, tensor_shape(t).z, *dim);
        shape->dim[*dim] += t->dim[*dim];
    }
    return NULL;
}

struct err *run_aten_cat(struct step *s)
{
    const struct items *l;
    struct script_tensor shape, out;
    int64_t wanted = 0, at = 0;
    int dim;
    TRY(tensors_from(s, &l));
    TRY(arg_int_opt(s, 1, "dim", &wanted));
    TRY(joined_shape(s, l, wanted, &shape, &dim));
    TRY(out_new(s, common_dtype(l), shape.rank, shape.dim, &out));
    for (size_t i = 0; i < l->n; i++) {
        const struct script_tensor *t = &l->v[i].view->t;
        if (is_nothing(t))
            continue;
        struct script_tensor part = tensor_narrow(&out, dim, at, t->dim[dim], 1);
        TRY(copy_elements(s, t, &part));
        at += t->dim[dim];
    }
    return NULL;
}

struct err *run_aten_stack(struct step *s)
{
    const struct items *l;
    struct script_tensor out;
    int64_t wanted = 0, dims[TENSOR_MAX_RANK + 1];
    int dim;
    TRY(tensors_from(s, &l));
    TRY(arg_int_opt(s, 1, "dim", &wanted));
    const struct script_tensor *first = &l->v[0].view->t;
    TRY(dim_wrap(s, wanted, first->rank + 1, &dim));
    for (int i = 0; i <= first->rank; i++)
        dims[i] = i < dim ? first->dim[i] : i == dim ? (int64_t)l->n : first->dim[i - 1];
    TRY(out_new(s, common_dtype(l), first->rank + 1, dims, &out));
    for (size_t i = 0; i < l->n; i++) {
        const struct script_tensor *t = &l->v[i].view->t;
        struct script_tensor part = tensor_narrow(&out, dim, (int64_t)i, 1, 1), shown;
        part.rank--;
        for (int k = dim; k < part.rank; k++) {
            part.dim[k] = part.dim[k + 1];
            part.stride[k] = part.stride[k + 1];
        }
        if (t->rank != part.rank || !broadcast_to(t, part.rank, part.dim, &shown) ||
            tensor_numel(t) != tensor_numel(&part))
            return step_bad(s, "tensors of %s and %s cannot be stacked", tensor_shape(first).z,
                            tensor_shape(t).z);
        TRY(copy_elements(s, t, &part));
    }
    return NULL;
}

/* --- repeat --- */

struct err *run_aten_repeat(struct step *s)
{
    const struct view *x;
    struct ints times;
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(arg_ints(s, 1, "repeats", &times));
    if (times.n < x->t.rank || times.n > TENSOR_MAX_RANK)
        return step_bad(s, "[%d] repeats are given for a tensor of [%d] dimensions", times.n,
                        x->t.rank);
    struct script_tensor from = {.dtype = x->t.dtype, .rank = times.n, .data = x->t.data}, out;
    int64_t dims[TENSOR_MAX_RANK], at[TENSOR_MAX_RANK] = {0};
    for (int i = 0; i < times.n; i++) {
        int old = i - (times.n - x->t.rank);
        from.dim[i] = old < 0 ? 1 : x->t.dim[old];
        from.stride[i] = old < 0 ? 0 : x->t.stride[old];
        if (times.v[i] < 0 || __builtin_mul_overflow(from.dim[i], times.v[i], &dims[i]))
            return step_bad(s, "[%lld] repeats", (long long)times.v[i]);
        if (from.dim[i] == 1) { /* one copy shows it as often as asked for */
            from.dim[i] = times.v[i];
            from.stride[i] = 0;
            times.v[i] = 1;
        }
    }
    TRY(out_new(s, x->t.dtype, times.n, dims, &out));
    if (tensor_numel(&out) == 0)
        return NULL;
    do {
        struct script_tensor part = out;
        for (int i = 0; i < times.n; i++)
            part = tensor_narrow(&part, i, at[i] * from.dim[i], from.dim[i], 1);
        TRY(step_work(s, 1, 32));
        TRY(copy_elements(s, &from, &part));
    } while (next_position(times.n, times.v, at));
    return NULL;
}

/* --- triu --- */

struct err *run_aten_triu(struct step *s)
{
    const struct view *x;
    int64_t diagonal = 0;
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(arg_int_opt(s, 1, "diagonal", &diagonal));
    if (x->t.rank < 2)
        return step_bad(s, "a tensor of %s is no matrix", tensor_shape(&x->t).z);
    TRY(copy_as(s, x, x->t.dtype));
    const struct script_tensor *t = &s->out->view->t;
    int64_t columns = t->dim[t->rank - 1], rows = t->dim[t->rank - 2];
    int64_t all = tensor_numel(t) ? tensor_numel(t) / columns : 0;
    size_t size = dtype_size(t->dtype);
    for (int64_t i = 0; i < all; i++) { /* columns below i + diagonal go */
        int64_t row = i % rows;
        int64_t n = diagonal > columns ? columns : diagonal < -rows ? 0 : row + diagonal;
        n = n < 0 ? 0 : n > columns ? columns : n;
        if (n)
            memset((char *)t->data + (size_t)(i * columns) * size, 0, (size_t)n * size);
    }
    return NULL;
}

/* --- pad --- */

enum pad_mode { PAD_CONSTANT, PAD_REFLECT, PAD_REPLICATE, PAD_CIRCULAR };

static struct err *pad_mode_from(struct step *s, enum pad_mode *out)
{
    static const char *const names[] = {"constant", "reflect", "replicate", "circular"};
    const struct datum *v = arg_given(s, 2, "mode");
    *out = PAD_CONSTANT;
    if (!v)
        return NULL;
    for (int i = 0; i < 4 && v->kind == SCRIPT_STR; i++)
        if (str_eq_c(v->text->s, names[i])) {
            *out = (enum pad_mode)i;
            return NULL;
        }
    return step_bad(s, "there is no such mode of padding");
}

/* Where the element at `at` (outside [0, n)) comes from. */
static int64_t pad_source(enum pad_mode mode, int64_t at, int64_t n)
{
    if (at >= 0 && at < n)
        return at;
    if (mode == PAD_REPLICATE)
        return at < 0 ? 0 : n - 1;
    if (mode == PAD_CIRCULAR)
        return at < 0 ? at + n : at - n;
    return at < 0 ? -at : 2 * (n - 1) - at;
}

static struct err *check_pad(struct step *s, enum pad_mode mode, int64_t n, int64_t before,
                             int64_t after)
{
    int64_t most = mode == PAD_REFLECT    ? n - 1
                   : mode == PAD_CIRCULAR ? n
                   : n > 0                ? INT64_MAX / 4
                                          : 0;
    if (mode == PAD_CONSTANT)
        most = INT64_MAX / 4;
    if (before > most || after > most || before < -n || after < -n || n + before + after < 0)
        return step_bad(s, "a size of [%lld] cannot be padded by [%lld] and [%lld]", (long long)n,
                        (long long)before, (long long)after);
    return NULL;
}

static int64_t at_least_zero(int64_t x)
{
    return x > 0 ? x : 0;
}

/* One dimension of x into a new tensor. */
static struct err *pad_dim(struct step *s, const struct script_tensor *x, int dim,
                           enum pad_mode mode, int64_t before, int64_t after, struct number value)
{
    struct script_tensor out;
    int64_t dims[TENSOR_MAX_RANK], n = x->dim[dim];
    memcpy(dims, x->dim, sizeof dims);
    dims[dim] = n + before + after;
    TRY(out_new(s, x->dtype, x->rank, dims, &out));
    if (mode == PAD_CONSTANT)
        TRY(fill_elements(s, value, &out));
    int64_t from = at_least_zero(-before), to = at_least_zero(before);
    int64_t kept = n - from - at_least_zero(-after);
    if (kept > 0) {
        struct script_tensor source = tensor_narrow(x, dim, from, kept, 1);
        struct script_tensor target = tensor_narrow(&out, dim, to, kept, 1);
        TRY(copy_elements(s, &source, &target));
    }
    for (int64_t i = 0; mode != PAD_CONSTANT && i < dims[dim]; i++) {
        int64_t source_at = pad_source(mode, i - before, n);
        if (source_at == i - before)
            continue;
        struct script_tensor source = tensor_narrow(x, dim, source_at, 1, 1);
        struct script_tensor target = tensor_narrow(&out, dim, i, 1, 1);
        TRY(copy_elements(s, &source, &target));
    }
    return NULL;
}

/* Pairs of sizes from the last dimension on. */
struct err *run_aten_pad(struct step *s)
{
    const struct view *x;
    struct ints pad;
    enum pad_mode mode;
    double value = 0;
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(arg_ints(s, 1, "pad", &pad));
    TRY(pad_mode_from(s, &mode));
    TRY(arg_float_opt(s, 3, "value", &value));
    if (pad.n % 2 || pad.n / 2 > x->t.rank)
        return step_bad(s, "[%d] sizes of padding for a tensor of [%d] dimensions", pad.n,
                        x->t.rank);
    TRY(copy_as(s, x, x->t.dtype));
    for (int i = 0; i < pad.n / 2; i++) {
        int dim = x->t.rank - 1 - i;
        int64_t before = pad.v[2 * i], after = pad.v[2 * i + 1];
        if (before == 0 && after == 0)
            continue;
        TRY(check_pad(s, mode, x->t.dim[dim], before, after));
        struct view *so_far = datum_copy(s->out).view;
        struct err *err = pad_dim(s, &so_far->t, dim, mode, before, after, number_of_float(value));
        tensor_drop(s, so_far);
        TRY(err);
    }
    return NULL;
}
