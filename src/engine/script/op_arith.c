/* Arithmetic on two operands, each a tensor or a number; numbers alone give numbers, lists join.
 *
 * A family of kernels has one kernel for each compute type. Integers wrap around as they do in
 * libtorch; what C leaves undefined (overflow, INT64_MIN / -1) is computed unsigned. */
#include <math.h>

#include "families.h"
#include "pointwise.h"
#include "strided.h"

#define MAP2(name, type, expr)                                                                     \
    static void name(size_t n, const void *const *in, void *out, const void *params)               \
    {                                                                                              \
        const type *x = in[0], *y = in[1];                                                         \
        type *o = out;                                                                             \
        for (size_t i = 0; i < n; i++) {                                                           \
            type a = x[i], b = y[i];                                                               \
            (void)b;                                                                               \
            o[i] = (type)(expr);                                                                   \
        }                                                                                          \
    }

static int64_t add_i64(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

static int64_t sub_i64(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a - (uint64_t)b);
}

static int64_t mul_i64(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a * (uint64_t)b);
}

/* Zero divisors are refused before. */
static int64_t trunc_i64(int64_t a, int64_t b)
{
    if (b == -1)
        return sub_i64(0, a);
    return b ? a / b : 0;
}

static int64_t floor_i64(int64_t a, int64_t b)
{
    int64_t q = trunc_i64(a, b);
    return b && b != -1 && a % b && (a % b < 0) != (b < 0) ? q - 1 : q;
}

static int64_t pow_i64(int64_t a, int64_t b)
{
    int64_t result = 1;
    if (b < 0)
        return a == 1 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : 0;
    for (; b; b >>= 1, a = mul_i64(a, a))
        if (b & 1)
            result = mul_i64(result, a);
    return result;
}

/* Python's floor of a quotient, as libtorch computes it: exact where a / b rounds up. */
static double floor_f64(double a, double b)
{
    if (b == 0)
        return a / b;
    double mod = fmod(a, b), div = (a - mod) / b;
    if (mod != 0 && (b < 0) != (mod < 0))
        div -= 1;
    if (div == 0)
        return copysign(0, a / b);
    double whole = floor(div);
    return div - whole > 0.5 ? whole + 1 : whole;
}

static float floor_f32(float a, float b)
{
    if (b == 0)
        return a / b;
    float mod = fmodf(a, b), div = (a - mod) / b;
    if (mod != 0 && (b < 0) != (mod < 0))
        div -= 1;
    if (div == 0)
        return copysignf(0, a / b);
    float whole = floorf(div);
    return div - whole > 0.5f ? whole + 1 : whole;
}

#define KERNELS3(name, f32, f64, i64)                                                              \
    MAP2(name##_f32, float, f32)                                                                   \
    MAP2(name##_f64, double, f64)                                                                  \
    MAP2(name##_i64, int64_t, i64)                                                                 \
    static pointwise_fn *const name[] = {                                                          \
        [COMPUTE_F32] = name##_f32, [COMPUTE_F64] = name##_f64, [COMPUTE_I64] = name##_i64};
/* `params` is the factor of b, a struct number. */
#define ALPHA (*(const struct number *)params)
KERNELS3(kernels_add, a + b, a + b, add_i64(a, b))
KERNELS3(kernels_add_alpha, a + (float)ALPHA.f * b, a + ALPHA.f * b,
         add_i64(a, mul_i64(ALPHA.i, b)))
KERNELS3(kernels_sub, a - b, a - b, sub_i64(a, b))
KERNELS3(kernels_sub_alpha, a - (float)ALPHA.f * b, a - ALPHA.f * b,
         sub_i64(a, mul_i64(ALPHA.i, b)))
KERNELS3(kernels_mul, a *b, a *b, mul_i64(a, b))
KERNELS3(kernels_div, a / b, a / b, trunc_i64(a, b))
KERNELS3(kernels_trunc, truncf(a / b), trunc(a / b), trunc_i64(a, b))
KERNELS3(kernels_floor, floor_f32(a, b), floor_f64(a, b), floor_i64(a, b))
KERNELS3(kernels_pow, powf(a, b), pow(a, b), pow_i64(a, b))
KERNELS3(kernels_square, a *a, a *a, mul_i64(a, a))
KERNELS3(kernels_root, sqrtf(a), sqrt(a), a)
KERNELS3(kernels_min, a != a || a < b ? a : b, a != a || a < b ? a : b, a < b ? a : b)
KERNELS3(kernels_max, a != a || a > b ? a : b, a != a || a > b ? a : b, a > b ? a : b)

struct arithmetic {
    pointwise_fn *const *kernels;
    bool true_division; /* integers become float */
    bool no_bools;
    struct number alpha; /* for kernels that have it */
};

static struct err *tensors_compute(struct step *s, const struct arithmetic *op, struct operand *in,
                                   bool in_place)
{
    enum dtype common = operands_dtype(in, 2);
    if (op->no_bools && common == DTYPE_BOOL)
        return step_bad(s, "bool tensors cannot be subtracted");
    if (op->true_division && !dtype_is_float(common))
        common = DTYPE_F32;
    struct pointwise m = {.n_in = 2, .in = in, .in_as = compute_of(common), .params = &op->alpha};
    m.out_as = m.in_as;
    m.fn = op->kernels[m.in_as];
    if (!in_place)
        return pointwise_new(s, &m, common);
    const struct view *into = in[0].view;
    if (!into)
        return step_bad(s, "a number cannot be changed in place");
    if ((dtype_is_float(common) && !dtype_is_float(into->t.dtype)) ||
        (common != DTYPE_BOOL && into->t.dtype == DTYPE_BOOL))
        return step_bad(s, "a result of dtype %s cannot be put into a tensor of dtype %s",
                        dtype_torch_name(common), dtype_torch_name(into->t.dtype));
    return pointwise_into(s, &m, into);
}

static struct err *operands_from(struct step *s, struct operand *in)
{
    TRY(operand_from(s, 0, "self", &in[0]));
    return operand_from(s, 1, "other", &in[1]);
}

/* --- numbers and lists --- */

static bool numbers_from(const struct step *s, struct number *a, struct number *b)
{
    const struct datum *x = arg_any(s, 0, "a"), *y = arg_any(s, 1, "b");
    return x && y && number_from(x, a) && number_from(y, b);
}

static bool both_int(struct number a, struct number b)
{
    return a.kind != NUMBER_FLOAT && b.kind != NUMBER_FLOAT;
}

/* Lists in lists are only made by construction: see datum.h. */
static struct err *append(struct step *s, const struct items *from, struct items *to, size_t at)
{
    for (size_t i = 0; i < from->n; i++) {
        if (datum_is_items(&from->v[i]) && to->o.depth <= from->v[i].items->o.depth)
            to->o.depth = (uint8_t)(from->v[i].items->o.depth + 1);
        to->v[at + i] = datum_copy(&from->v[i]);
    }
    return NULL;
}

static struct err *list_add(struct step *s, bool in_place)
{
    const struct items *a, *b;
    struct items *out;
    TRY(arg_items(s, 0, "a", &a));
    TRY(arg_items(s, 1, "b", &b));
    if (!in_place) {
        TRY(out_items(s, SCRIPT_LIST, a->n + b->n, &out));
        TRY(append(s, a, out, 0));
        return append(s, b, out, a->n);
    }
    if (a->o.constant)
        return step_bad(s, "a constant of the model cannot be changed");
    for (size_t i = 0; i < b->n; i++)
        if (datum_is_items(&b->v[i]))
            return step_bad(s, "a list of lists cannot be changed in place");
    const struct datum *list = arg_any(s, 0, "a");
    size_t n = a->n;
    struct items *into = list->items;
    if (!items_grow(s->r, into, b->n))
        return step_no_memory(s);
    for (size_t i = 0; n + i < into->n; i++) /* b may be the list itself */
        into->v[n + i] = datum_copy(&b->v[i]);
    *s->out = datum_copy(list);
    return NULL;
}

static struct err *list_repeat(struct step *s, const struct items *l, int64_t times)
{
    struct items *out;
    size_t n = times > 0 ? (size_t)times : 0, all;
    if (__builtin_mul_overflow(n, l->n, &all))
        return step_no_memory(s);
    TRY(out_items(s, SCRIPT_LIST, all, &out));
    for (size_t i = 0; l->n && i < n; i++)
        TRY(append(s, l, out, i * l->n));
    return NULL;
}

static struct err *text_join(struct step *s, struct str a, struct str b)
{
    struct str joined = {.n = a.n + b.n};
    char *p = runner_alloc(s->r, joined.n);
    if (!p)
        return step_no_memory(s);
    if (a.n)
        memcpy(p, a.p, a.n);
    if (b.n)
        memcpy(p + a.n, b.p, b.n);
    joined.p = p;
    struct err *err = out_text(s, joined);
    runner_release(s->r, p, joined.n);
    return err;
}

/* --- add, sub, rsub --- */

static struct err *alpha_from(struct step *s, struct arithmetic *op,
                              pointwise_fn *const *with_alpha)
{
    struct number alpha = number_of_int(1);
    if (arg_given(s, 2, "alpha"))
        TRY(arg_number(s, 2, "alpha", &alpha));
    if (alpha.f == 1)
        return NULL;
    if (alpha.kind == NUMBER_FLOAT)
        alpha.i = number_int(alpha);
    op->alpha = alpha;
    op->kernels = with_alpha;
    return NULL;
}

static struct err *check_alpha(struct step *s, const struct arithmetic *op,
                               const struct operand *in)
{
    if (op->alpha.kind == NUMBER_FLOAT && op->alpha.f != 1 &&
        !dtype_is_float(operands_dtype(in, 2)))
        return step_bad(s, "alpha must not be a float for integers");
    return NULL;
}

static struct err *add_in(struct step *s, bool in_place)
{
    struct arithmetic op = {.kernels = kernels_add};
    struct operand in[2];
    struct number a, b;
    if (numbers_from(s, &a, &b))
        return both_int(a, b) ? out_int(s, add_i64(a.i, b.i)) : out_float(s, a.f + b.f);
    if (arg_is(s, 0, "a", SCRIPT_LIST))
        return list_add(s, in_place);
    if (arg_is(s, 0, "a", SCRIPT_STR) && arg_is(s, 1, "b", SCRIPT_STR))
        return text_join(s, arg_any(s, 0, "a")->text->s, arg_any(s, 1, "b")->text->s);
    TRY(operands_from(s, in));
    TRY(alpha_from(s, &op, kernels_add_alpha));
    TRY(check_alpha(s, &op, in));
    return tensors_compute(s, &op, in, in_place);
}

struct err *run_aten_add(struct step *s)
{
    return add_in(s, false);
}

struct err *run_aten_add_(struct step *s)
{
    return add_in(s, true);
}

static struct err *sub_in(struct step *s, bool reversed)
{
    struct arithmetic op = {.kernels = kernels_sub, .no_bools = true};
    struct operand in[2];
    struct number a, b;
    if (!reversed && numbers_from(s, &a, &b))
        return both_int(a, b) ? out_int(s, sub_i64(a.i, b.i)) : out_float(s, a.f - b.f);
    TRY(operands_from(s, in));
    TRY(alpha_from(s, &op, kernels_sub_alpha));
    TRY(check_alpha(s, &op, in));
    if (reversed) {
        struct operand first = in[0];
        in[0] = in[1];
        in[1] = first;
    }
    return tensors_compute(s, &op, in, false);
}

struct err *run_aten_sub(struct step *s)
{
    return sub_in(s, false);
}

struct err *run_aten_rsub(struct step *s)
{
    return sub_in(s, true);
}

/* --- mul --- */

static struct err *mul_in(struct step *s, bool in_place)
{
    struct arithmetic op = {.kernels = kernels_mul};
    struct operand in[2];
    struct number a, b;
    if (numbers_from(s, &a, &b))
        return both_int(a, b) ? out_int(s, mul_i64(a.i, b.i)) : out_float(s, a.f * b.f);
    if (arg_is(s, 0, "l", SCRIPT_LIST) && arg_is(s, 1, "n", SCRIPT_INT)) {
        if (in_place)
            return step_bad(s, "a list cannot be repeated in place");
        return list_repeat(s, arg_any(s, 0, "l")->items, arg_any(s, 1, "n")->i);
    }
    if (arg_is(s, 0, "n", SCRIPT_INT) && arg_is(s, 1, "l", SCRIPT_LIST))
        return list_repeat(s, arg_any(s, 1, "l")->items, arg_any(s, 0, "n")->i);
    TRY(operands_from(s, in));
    return tensors_compute(s, &op, in, in_place);
}

struct err *run_aten_mul(struct step *s)
{
    return mul_in(s, false);
}

struct err *run_aten_mul_(struct step *s)
{
    return mul_in(s, true);
}

/* --- division --- */

/* Integers divided by zero have no result. */
static struct err *check_divisor(struct step *s, const struct operand *b)
{
    if (!b->view)
        return number_int(b->number) ? NULL : step_bad(s, "an integer is divided by zero");
    struct view *dense;
    TRY(dense_as(s, b->view, DTYPE_I64, &dense));
    const int64_t *p = dense->t.data;
    bool zero = false;
    for (int64_t i = 0, n = tensor_numel(&dense->t); i < n; i++)
        zero |= p[i] == 0;
    tensor_drop(s, dense);
    return zero ? step_bad(s, "an integer is divided by zero") : NULL;
}

/* Archives older than version 4 divide integers as C does. */
static struct err *division_mode(struct step *s, const struct operand *in, struct arithmetic *op)
{
    const struct datum *mode = arg_given(s, 2, "rounding_mode");
    bool integral = !dtype_is_float(operands_dtype(in, 2));
    *op = (struct arithmetic){.kernels = kernels_div, .true_division = true};
    if (mode && mode->kind == SCRIPT_STR && str_eq(mode->text->s, STR("floor")))
        *op = (struct arithmetic){.kernels = kernels_floor};
    else if (mode && mode->kind == SCRIPT_STR && str_eq(mode->text->s, STR("trunc")))
        *op = (struct arithmetic){.kernels = kernels_trunc};
    else if (mode)
        return step_bad(s, "rounding_mode must be None, floor or trunc");
    else if (integral && s->r->plan->script->version < 4)
        *op = (struct arithmetic){.kernels = kernels_trunc};
    return integral && !op->true_division ? check_divisor(s, &in[1]) : NULL;
}

static struct err *div_in(struct step *s, bool in_place)
{
    struct arithmetic op;
    struct operand in[2];
    struct number a, b;
    if (numbers_from(s, &a, &b)) {
        if (b.f == 0)
            return step_bad(s, "a number is divided by zero");
        return out_float(s, a.f / b.f);
    }
    TRY(operands_from(s, in));
    TRY(division_mode(s, in, &op));
    return tensors_compute(s, &op, in, in_place);
}

struct err *run_aten_div(struct step *s)
{
    return div_in(s, false);
}

struct err *run_aten_div_(struct step *s)
{
    return div_in(s, true);
}

struct err *run_aten_floor_divide(struct step *s)
{
    struct arithmetic op = {.kernels = kernels_floor};
    struct operand in[2];
    TRY(operands_from(s, in));
    if (!dtype_is_float(operands_dtype(in, 2)))
        TRY(check_divisor(s, &in[1]));
    return tensors_compute(s, &op, in, false);
}

/* --- pow --- */

struct err *run_aten_pow(struct step *s)
{
    struct arithmetic op = {.kernels = kernels_pow};
    struct operand in[2];
    struct number a, b;
    if (numbers_from(s, &a, &b))
        return out_float(s, pow(a.f, b.f));
    TRY(operand_from(s, 0, "self", &in[0]));
    TRY(operand_from(s, 1, "exponent", &in[1]));
    bool floats = dtype_is_float(operands_dtype(in, 2));
    if (!in[1].view && in[1].number.f == 2)
        op.kernels = kernels_square;
    else if (!in[1].view && in[1].number.f == 0.5 && floats)
        op.kernels = kernels_root;
    else if (!in[1].view && in[1].number.f < 0 && !floats)
        return step_bad(s, "integers have no negative integer powers");
    return tensors_compute(s, &op, in, false);
}

/* --- the lesser and the greater --- */

static struct err *bound_in(struct step *s, const struct operand *x, struct operand *low,
                            struct operand *high)
{
    struct operand in[3] = {*x};
    int n = 1;
    if (low)
        in[n++] = *low;
    if (high)
        in[n++] = *high;
    enum dtype common = operands_dtype(in, n);
    struct pointwise m = {.n_in = 2, .in = in, .in_as = compute_of(common)};
    m.out_as = m.in_as;
    m.fn = (low ? kernels_max : kernels_min)[m.in_as];
    TRY(pointwise_new(s, &m, common));
    if (n == 2)
        return NULL;
    struct view *bounded = datum_copy(s->out).view;
    struct operand again[2];
    operand_of_view(bounded, &again[0]);
    again[1] = in[2];
    m = (struct pointwise){.n_in = 2, .in = again, .in_as = m.in_as, .out_as = m.in_as};
    m.fn = kernels_min[m.in_as];
    struct err *err = pointwise_new(s, &m, common);
    tensor_drop(s, bounded);
    return err;
}

struct err *run_aten_clamp(struct step *s)
{
    const struct view *x;
    struct operand self, low, high;
    bool has_low = arg_given(s, 1, "min"), has_high = arg_given(s, 2, "max");
    TRY(arg_tensor(s, 0, "self", &x));
    operand_of_view(x, &self);
    if (has_low)
        TRY(operand_from(s, 1, "min", &low));
    if (has_high)
        TRY(operand_from(s, 2, "max", &high));
    if (!has_low && !has_high)
        return step_bad(s, "neither min nor max is given");
    return bound_in(s, &self, has_low ? &low : NULL, has_high ? &high : NULL);
}

struct err *run_aten_clamp_min(struct step *s)
{
    const struct view *x;
    struct operand self, low;
    TRY(arg_tensor(s, 0, "self", &x));
    operand_of_view(x, &self);
    TRY(operand_from(s, 1, "min", &low));
    return bound_in(s, &self, &low, NULL);
}

/* aten::max and aten::min of two tensors; their other forms are in op_reduce.c. */
struct err *pairwise_most(struct step *s, bool most)
{
    struct arithmetic op = {.kernels = most ? kernels_max : kernels_min};
    struct operand in[2];
    TRY(operands_from(s, in));
    return tensors_compute(s, &op, in, false);
}

/* --- prim::max, prim::min: numbers and lists of them --- */

static bool comes_first(struct number a, struct number b, bool most)
{
    if (both_int(a, b))
        return most ? a.i >= b.i : a.i <= b.i;
    return most ? a.f >= b.f : a.f <= b.f;
}

static struct err *most_of_list(struct step *s, const struct items *l, bool most)
{
    const struct datum *best = NULL;
    struct number b, n;
    for (size_t i = 0; i < l->n; i++) {
        if (!number_from(&l->v[i], &n))
            return step_bad(s, "the list holds a %s", datum_kind_name(l->v[i].kind));
        if (best && comes_first(b, n, most))
            continue;
        best = &l->v[i];
        b = n;
    }
    if (!best)
        return step_bad(s, "the list is empty");
    *s->out = datum_copy(best);
    return NULL;
}

static struct err *number_out(struct step *s, struct number n)
{
    return n.kind == NUMBER_FLOAT ? out_float(s, n.f)
           : n.kind == NUMBER_INT ? out_int(s, n.i)
                                  : out_bool(s, n.i != 0);
}

static struct err *most_of_two(struct step *s, bool most)
{
    struct number a, b;
    if (arg_is(s, 0, "self", SCRIPT_LIST) && !arg_any(s, 1, "r"))
        return most_of_list(s, arg_any(s, 0, "self")->items, most);
    TRY(arg_number(s, 0, "a", &a));
    TRY(arg_number(s, 1, "b", &b));
    if (!both_int(a, b)) {
        a = number_of_float(a.f);
        b = number_of_float(b.f);
    }
    return number_out(s, comes_first(a, b, most) ? a : b);
}

struct err *run_prim_max(struct step *s)
{
    return most_of_two(s, true);
}

struct err *run_prim_min(struct step *s)
{
    return most_of_two(s, false);
}
