/* Comparisons, and what is chosen by a mask. */
#include "families.h"
#include "pointwise.h"
#include "strided.h"

#define COMPARE(name, type, op)                                                                    \
    static void name(size_t n, const void *const *in, void *out, const void *params)               \
    {                                                                                              \
        const type *x = in[0], *y = in[1];                                                         \
        uint8_t *o = out;                                                                          \
        for (size_t i = 0; i < n; i++)                                                             \
            o[i] = x[i] op y[i];                                                                   \
    }
#define COMPARE3(name, op)                                                                         \
    COMPARE(name##_f32, float, op)                                                                 \
    COMPARE(name##_f64, double, op)                                                                \
    COMPARE(name##_i64, int64_t, op)

COMPARE3(eq, ==)
COMPARE3(ne, !=)
COMPARE3(lt, <)
COMPARE3(le, <=)
COMPARE3(gt, >)
COMPARE3(ge, >=)

enum comparison { EQ, NE, LT, LE, GT, GE };
#define KERNELS(name)                                                                              \
    {                                                                                              \
        [COMPUTE_F32] = name##_f32, [COMPUTE_F64] = name##_f64, [COMPUTE_I64] = name##_i64         \
    }
static pointwise_fn *const kernels[][3] = {
    [EQ] = KERNELS(eq), [NE] = KERNELS(ne), [LT] = KERNELS(lt),
    [LE] = KERNELS(le), [GT] = KERNELS(gt), [GE] = KERNELS(ge),
};

/* order: < 0, 0, > 0; unordered (a NaN) is only ever unequal. */
static bool holds(enum comparison c, int order, bool unordered)
{
    if (unordered)
        return c == NE;
    switch (c) {
    case EQ:
        return order == 0;
    case NE:
        return order != 0;
    case LT:
        return order < 0;
    case LE:
        return order <= 0;
    case GT:
        return order > 0;
    case GE:
        return order >= 0;
    }
    return false;
}

static int order_of(struct number a, struct number b, bool *unordered)
{
    *unordered = false;
    if (a.kind != NUMBER_FLOAT && b.kind != NUMBER_FLOAT)
        return (a.i > b.i) - (a.i < b.i);
    *unordered = a.f != a.f || b.f != b.f;
    return (a.f > b.f) - (a.f < b.f);
}

/* Numbers, texts, None and lists of them; false: not to be compared. */
static bool equal(const struct datum *a, const struct datum *b, bool *out)
{
    struct number x, y;
    bool unordered;
    if (number_from(a, &x) && number_from(b, &y)) {
        *out = order_of(x, y, &unordered) == 0 && !unordered;
        return true;
    }
    if (a->kind == SCRIPT_STR && b->kind == SCRIPT_STR) {
        *out = str_eq(a->text->s, b->text->s);
        return true;
    }
    *out = a->kind == b->kind;
    return a->kind == SCRIPT_NONE || b->kind == SCRIPT_NONE ||
           (a->kind == SCRIPT_DEVICE && b->kind == SCRIPT_DEVICE);
}

static struct err *compare_lists(struct step *s, enum comparison c, const struct items *a,
                                 const struct items *b)
{
    bool same = a->n == b->n;
    if (c != EQ && c != NE)
        return step_bad(s, "lists have no order");
    for (size_t i = 0; same && i < a->n; i++)
        if (!equal(&a->v[i], &b->v[i], &same))
            return step_bad(s, "lists of %s cannot be compared", datum_kind_name(a->v[i].kind));
    return out_bool(s, same == (c == EQ));
}

static struct err *compare(struct step *s, enum comparison c)
{
    const struct datum *a = arg_any(s, 0, "self"), *b = arg_any(s, 1, "other");
    struct operand in[2];
    struct number x, y;
    bool unordered, same;
    if (!a || !b)
        return step_bad(s, "two arguments are needed");
    if (number_from(a, &x) && number_from(b, &y)) {
        int order = order_of(x, y, &unordered);
        return out_bool(s, holds(c, order, unordered));
    }
    if (a->kind == SCRIPT_STR && b->kind == SCRIPT_STR)
        return out_bool(s, holds(c, str_cmp(a->text->s, b->text->s), false));
    if (a->kind == SCRIPT_LIST && b->kind == SCRIPT_LIST)
        return compare_lists(s, c, a->items, b->items);
    if ((c == EQ || c == NE) && a->kind != SCRIPT_TENSOR && equal(a, b, &same))
        return out_bool(s, same == (c == EQ));
    TRY(operand_from(s, 0, "self", &in[0]));
    TRY(operand_from(s, 1, "other", &in[1]));
    struct pointwise m = {.n_in = 2, .in = in, .out_as = COMPUTE_BOOL};
    m.in_as = compute_of(operands_dtype(in, 2));
    m.fn = kernels[c][m.in_as];
    return pointwise_new(s, &m, DTYPE_BOOL);
}

struct err *run_aten_eq(struct step *s)
{
    return compare(s, EQ);
}

struct err *run_aten_ne(struct step *s)
{
    return compare(s, NE);
}

struct err *run_aten_lt(struct step *s)
{
    return compare(s, LT);
}

struct err *run_aten_le(struct step *s)
{
    return compare(s, LE);
}

struct err *run_aten_gt(struct step *s)
{
    return compare(s, GT);
}

struct err *run_aten_ge(struct step *s)
{
    return compare(s, GE);
}

static void and_i64(size_t n, const void *const *in, void *out, const void *params)
{
    const int64_t *x = in[0], *y = in[1];
    int64_t *o = out;
    for (size_t i = 0; i < n; i++)
        o[i] = x[i] & y[i];
}

struct err *run_aten___and__(struct step *s)
{
    struct operand in[2];
    const struct datum *a = arg_any(s, 0, "self"), *b = arg_any(s, 1, "other");
    if (a && b && a->kind == SCRIPT_BOOL && b->kind == SCRIPT_BOOL)
        return out_bool(s, a->b && b->b);
    if (a && b && a->kind == SCRIPT_INT && b->kind == SCRIPT_INT)
        return out_int(s, a->i & b->i);
    TRY(operand_from(s, 0, "self", &in[0]));
    TRY(operand_from(s, 1, "other", &in[1]));
    enum dtype common = operands_dtype(in, 2);
    if (dtype_is_float(common))
        return step_bad(s, "floats have no bits to combine");
    struct pointwise m = {.n_in = 2, .in = in, .in_as = COMPUTE_I64, .out_as = COMPUTE_I64};
    m.fn = and_i64;
    return pointwise_new(s, &m, common);
}

/* --- masks --- */

/* The mask is read in the compute type of the values: what is not zero chooses. */
#define CHOOSE(name, type)                                                                         \
    static void name(size_t n, const void *const *in, void *out, const void *params)               \
    {                                                                                              \
        const type *mask = in[0], *yes = in[1], *no = in[2];                                       \
        type *o = out;                                                                             \
        for (size_t i = 0; i < n; i++)                                                             \
            o[i] = mask[i] != 0 ? yes[i] : no[i];                                                  \
    }
CHOOSE(choose_f32, float)
CHOOSE(choose_f64, double)
CHOOSE(choose_i64, int64_t)

static pointwise_fn *const choose[] = {
    [COMPUTE_F32] = choose_f32, [COMPUTE_F64] = choose_f64, [COMPUTE_I64] = choose_i64};

static struct pointwise choice(struct operand *in, enum dtype d)
{
    enum compute c = compute_of(d);
    return (struct pointwise){.n_in = 3, .in = in, .in_as = c, .out_as = c, .fn = choose[c]};
}

struct err *run_aten_where(struct step *s)
{
    struct operand in[3];
    const struct view *condition;
    TRY(arg_tensor(s, 0, "condition", &condition));
    if (!arg_any(s, 1, "self") && !arg_any(s, 2, "other"))
        return where_indices(s, condition);
    if (condition->t.dtype != DTYPE_BOOL && condition->t.dtype != DTYPE_U8)
        return step_bad(s, "the condition must be of dtype Bool, not %s",
                        dtype_torch_name(condition->t.dtype));
    operand_of_view(condition, &in[0]);
    TRY(operand_from(s, 1, "self", &in[1]));
    TRY(operand_from(s, 2, "other", &in[2]));
    enum dtype common = operands_dtype(in + 1, 2);
    struct pointwise m = choice(in, common);
    return pointwise_new(s, &m, common);
}

static struct err *masked_fill_in(struct step *s, bool in_place)
{
    const struct view *x, *mask;
    struct operand in[3];
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(arg_tensor(s, 1, "mask", &mask));
    TRY(operand_from(s, 2, "value", &in[1]));
    if (mask->t.dtype != DTYPE_BOOL)
        return step_bad(s, "the mask must be of dtype Bool, not %s",
                        dtype_torch_name(mask->t.dtype));
    if (in[1].view && in[1].view->t.rank)
        return step_bad(s, "the value must have no dimensions");
    operand_of_view(mask, &in[0]);
    operand_of_view(x, &in[2]);
    struct pointwise m = choice(in, x->t.dtype);
    return in_place ? pointwise_into(s, &m, x) : pointwise_new(s, &m, x->t.dtype);
}

struct err *run_aten_masked_fill(struct step *s)
{
    return masked_fill_in(s, false);
}

struct err *run_aten_masked_fill_(struct step *s)
{
    return masked_fill_in(s, true);
}
