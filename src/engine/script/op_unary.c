/* One tensor in, one of the same shape out, element by element. */
#include <math.h>

#include "pointwise.h"

#define MAP1(name, type, expr)                                                                     \
    static void name(size_t n, const void *const *in, void *out, const void *params)               \
    {                                                                                              \
        const type *x = in[0];                                                                     \
        type *o = out;                                                                             \
        for (size_t i = 0; i < n; i++) {                                                           \
            type a = x[i];                                                                         \
            o[i] = (type)(expr);                                                                   \
        }                                                                                          \
    }

static int64_t neg_i64(int64_t a)
{
    return (int64_t)(0 - (uint64_t)a);
}

/* In the ops' file: kernels by compute type; without one for integers they become float. */
#define FLOATS(name, f32, f64)                                                                     \
    MAP1(name##_f32, float, f32)                                                                   \
    MAP1(name##_f64, double, f64)                                                                  \
    static pointwise_fn *const name[3] = {[COMPUTE_F32] = name##_f32, [COMPUTE_F64] = name##_f64};
#define NUMBERS(name, f32, f64, i64)                                                               \
    MAP1(name##_f32, float, f32)                                                                   \
    MAP1(name##_f64, double, f64)                                                                  \
    MAP1(name##_i64, int64_t, i64)                                                                 \
    static pointwise_fn *const name[3] = {                                                         \
        [COMPUTE_F32] = name##_f32, [COMPUTE_F64] = name##_f64, [COMPUTE_I64] = name##_i64};

NUMBERS(kernels_abs, fabsf(a), fabs(a), a < 0 ? neg_i64(a) : a)
NUMBERS(kernels_ceil, ceilf(a), ceil(a), a)
NUMBERS(kernels_neg, -a, -a, neg_i64(a))
NUMBERS(kernels_relu, a < 0 ? 0 : a, a < 0 ? 0 : a, a < 0 ? 0 : a)
NUMBERS(kernels_sign, (float)((a > 0) - (a < 0)), (double)((a > 0) - (a < 0)), (a > 0) - (a < 0))
FLOATS(kernels_cos, cosf(a), cos(a))
FLOATS(kernels_sin, sinf(a), sin(a))
FLOATS(kernels_log, logf(a), log(a))
FLOATS(kernels_sqrt, sqrtf(a), sqrt(a))
FLOATS(kernels_rsqrt, 1 / sqrtf(a), 1 / sqrt(a))
FLOATS(kernels_tanh, tanhf(a), tanh(a))
FLOATS(kernels_silu, a / (1 + expf(-a)), a / (1 + exp(-a)))
FLOATS(kernels_gelu, 0.5f * a * (1 + erff(a * 0.70710678118654752f)),
       0.5 * a * (1 + erf(a * 0.70710678118654752440)))
FLOATS(kernels_gelu_tanh,
       0.5f * a * (1 + tanhf(0.79788456080286536f * (a + 0.044715f * a * a * a))),
       0.5 * a * (1 + tanh(0.79788456080286535588 * (a + 0.044715 * a * a * a))))

/* `params` is the runner's kernels with an activation: the vector forms of f32. */
struct activation_params {
    const struct kernels *kernels;
    enum activation act;
};

static void activate(size_t n, const void *const *in, void *out, const void *params)
{
    const struct activation_params *p = params;
    p->kernels->activate(p->act, in[0], n, out);
}

static void not_i64(size_t n, const void *const *in, void *out, const void *params)
{
    const int64_t *x = in[0];
    int64_t *o = out;
    for (size_t i = 0; i < n; i++)
        o[i] = params ? !x[i] : ~x[i];
}

static struct err *unary(struct step *s, pointwise_fn *const *kernels)
{
    struct operand in;
    const struct view *x;
    TRY(arg_tensor(s, 0, "self", &x));
    operand_of_view(x, &in);
    enum dtype d = x->t.dtype;
    if (!kernels[compute_of(d)])
        d = DTYPE_F32;
    struct pointwise m = {.n_in = 1, .in = &in, .in_as = compute_of(d), .out_as = compute_of(d)};
    m.fn = kernels[m.in_as];
    return pointwise_new(s, &m, d);
}

/* f32 by the kernels, everything else by `kernels`. */
static struct err *activation(struct step *s, enum activation act, pointwise_fn *const *kernels,
                              bool floats_only)
{
    struct activation_params p = {.kernels = s->r->plan->kernels, .act = act};
    struct operand in;
    const struct view *x;
    TRY(arg_tensor(s, 0, "self", &x));
    if (floats_only && !dtype_is_float(x->t.dtype))
        return step_bad(s, "a tensor of dtype %s has no such function",
                        dtype_torch_name(x->t.dtype));
    if (x->t.dtype != DTYPE_F32)
        return unary(s, kernels);
    operand_of_view(x, &in);
    struct pointwise m = {.n_in = 1,
                          .in = &in,
                          .in_as = COMPUTE_F32,
                          .out_as = COMPUTE_F32,
                          .fn = activate,
                          .params = &p};
    return pointwise_new(s, &m, DTYPE_F32);
}

/* A number has the function too; its result is a float. */
static struct err *unary_or_number(struct step *s, pointwise_fn *const *kernels,
                                   double (*f)(double))
{
    struct number n;
    const struct datum *v = arg_any(s, 0, "self");
    if (v && number_from(v, &n))
        return out_float(s, f(n.f));
    return unary(s, kernels);
}

struct err *run_aten_abs(struct step *s)
{
    if (arg_is(s, 0, "self", SCRIPT_TENSOR) && arg_any(s, 0, "self")->view->t.dtype == DTYPE_BOOL)
        return step_bad(s, "a bool has no absolute value");
    return unary(s, kernels_abs);
}

struct err *run_aten_ceil(struct step *s)
{
    struct number n;
    const struct datum *v = arg_any(s, 0, "self");
    if (v && number_from(v, &n))
        return out_int(s, n.kind == NUMBER_FLOAT ? i64_of_double(ceil(n.f)) : n.i);
    return unary(s, kernels_ceil);
}

struct err *run_aten_neg(struct step *s)
{
    struct number n;
    const struct datum *v = arg_any(s, 0, "self");
    if (v && number_from(v, &n))
        return n.kind == NUMBER_FLOAT ? out_float(s, -n.f) : out_int(s, neg_i64(n.i));
    if (v && v->kind == SCRIPT_TENSOR && v->view->t.dtype == DTYPE_BOOL)
        return step_bad(s, "a bool tensor has no negative");
    return unary(s, kernels_neg);
}

struct err *run_aten_relu(struct step *s)
{
    return unary(s, kernels_relu);
}

struct err *run_aten_sign(struct step *s)
{
    return unary(s, kernels_sign);
}

struct err *run_aten_cos(struct step *s)
{
    return unary_or_number(s, kernels_cos, cos);
}

struct err *run_aten_sin(struct step *s)
{
    return unary_or_number(s, kernels_sin, sin);
}

struct err *run_aten_log(struct step *s)
{
    struct number n, base;
    const struct datum *v = arg_any(s, 0, "self"), *b = arg_any(s, 1, "b");
    if (v && b && number_from(v, &n) && number_from(b, &base))
        return out_float(s, log(n.f) / log(base.f));
    return unary_or_number(s, kernels_log, log);
}

struct err *run_aten_sqrt(struct step *s)
{
    return unary_or_number(s, kernels_sqrt, sqrt);
}

struct err *run_aten_rsqrt(struct step *s)
{
    return unary(s, kernels_rsqrt);
}

struct err *run_aten_tanh(struct step *s)
{
    struct number n;
    const struct datum *v = arg_any(s, 0, "self");
    if (v && number_from(v, &n))
        return out_float(s, tanh(n.f));
    return activation(s, ACT_TANH, kernels_tanh, false);
}

struct err *run_aten_silu(struct step *s)
{
    return activation(s, ACT_SILU, kernels_silu, true);
}

/* Archives older than version 10 know the exact form alone, and do not name it. */
struct err *run_aten_gelu(struct step *s)
{
    const struct datum *form = arg_given(s, 1, "approximate");
    if (!form || (form->kind == SCRIPT_STR && str_eq(form->text->s, STR("none"))))
        return activation(s, ACT_GELU, kernels_gelu, true);
    if (form->kind == SCRIPT_STR && str_eq(form->text->s, STR("tanh")))
        return activation(s, ACT_GELU_TANH, kernels_gelu_tanh, true);
    return step_bad(s, "approximate must be none or tanh");
}

struct err *run_aten_bitwise_not(struct step *s)
{
    struct operand in;
    const struct view *x;
    TRY(arg_tensor(s, 0, "self", &x));
    if (dtype_is_float(x->t.dtype))
        return step_bad(s, "a float tensor has no bits to turn");
    operand_of_view(x, &in);
    struct pointwise m = {.n_in = 1, .in = &in, .in_as = COMPUTE_I64, .out_as = COMPUTE_I64};
    m.fn = not_i64;
    m.params = x->t.dtype == DTYPE_BOOL ? &in : NULL;
    return pointwise_new(s, &m, x->t.dtype);
}
