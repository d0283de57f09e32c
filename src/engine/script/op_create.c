/* Tensors out of nothing but numbers. */
#include <math.h>

#include "families.h"
#include "pointwise.h"
#include "strided.h"

static struct err *filled(struct step *s, const struct ints *size, enum dtype d, struct number n)
{
    struct script_tensor t;
    TRY(out_new(s, d, size->n, size->v, &t));
    return fill_elements(s, n, &t);
}

/* zeros, ones, new_zeros, new_ones: size, then by keyword the dtype. */
static struct err *constant_fill(struct step *s, uint32_t size_at, enum dtype d, int64_t value)
{
    struct ints size;
    TRY(arg_ints(s, size_at, "size", &size));
    TRY(arg_dtype_opt(s, size_at + 1, "dtype", &d, NULL));
    return filled(s, &size, d, number_of_int(value));
}

struct err *run_aten_zeros(struct step *s)
{
    return constant_fill(s, 0, DTYPE_F32, 0);
}

struct err *run_aten_ones(struct step *s)
{
    return constant_fill(s, 0, DTYPE_F32, 1);
}

struct err *run_aten_new_zeros(struct step *s)
{
    const struct view *x;
    TRY(arg_tensor(s, 0, "self", &x));
    return constant_fill(s, 1, x->t.dtype, 0);
}

struct err *run_aten_new_ones(struct step *s)
{
    const struct view *x;
    TRY(arg_tensor(s, 0, "self", &x));
    return constant_fill(s, 1, x->t.dtype, 1);
}

/* Archives older than version 5 always made a float tensor. */
struct err *run_aten_full(struct step *s)
{
    struct ints size;
    struct number n;
    enum dtype d = DTYPE_F32;
    TRY(arg_ints(s, 0, "size", &size));
    TRY(arg_number(s, 1, "fill_value", &n));
    if (s->r->plan->script->version >= 5 && n.kind != NUMBER_FLOAT)
        d = n.kind == NUMBER_INT ? DTYPE_I64 : DTYPE_BOOL;
    TRY(arg_dtype_opt(s, 2, "dtype", &d, NULL));
    return filled(s, &size, d, n);
}

struct err *run_aten_full_like(struct step *s)
{
    const struct view *x;
    struct number n;
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(arg_number(s, 1, "fill_value", &n));
    struct ints size = {.n = x->t.rank};
    memcpy(size.v, x->t.dim, sizeof(x->t.dim));
    enum dtype d = x->t.dtype;
    TRY(arg_dtype_opt(s, 2, "dtype", &d, NULL));
    return filled(s, &size, d, n);
}

/* --- arange --- */

struct range {
    struct number start, end, step;
    bool ints;
};

/* (end), (start, end) or (start, end, step). */
static struct err *range_from(struct step *s, struct range *r)
{
    struct number n[3];
    int given = 0;
    while (given < 3 && arg_any(s, (uint32_t)given, "") &&
           number_from(arg_any(s, (uint32_t)given, ""), &n[given]))
        given++;
    if (!given)
        return step_bad(s, "an end must be given");
    r->start = given > 1 ? n[0] : number_of_int(0);
    r->end = given > 1 ? n[1] : n[0];
    r->step = given > 2 ? n[2] : number_of_int(1);
    r->ints = r->start.kind != NUMBER_FLOAT && r->end.kind != NUMBER_FLOAT &&
              r->step.kind != NUMBER_FLOAT;
    if (!isfinite(r->start.f) || !isfinite(r->end.f) || !isfinite(r->step.f) || r->step.f == 0)
        return step_bad(s, "a range from [%g] to [%g] by [%g]", r->start.f, r->end.f, r->step.f);
    if ((r->step.f > 0) != (r->end.f >= r->start.f) && r->end.f != r->start.f)
        return step_bad(s, "the end [%g] is on the other side of the start [%g]", r->end.f,
                        r->start.f);
    return NULL;
}

static void fill_range(const struct range *r, bool ints, int64_t n, const struct script_tensor *t)
{
    int64_t start = number_int(r->start), step = number_int(r->step);
    size_t size = dtype_size(t->dtype);
    for (int64_t i = 0; i < n; i++) {
        int64_t whole = (int64_t)((uint64_t)start + (uint64_t)i * (uint64_t)step);
        double value = r->start.f + (double)i * r->step.f;
        char *to = (char *)t->data + (size_t)i * size;
        if (ints)
            elements_store(COMPUTE_I64, t->dtype, to, 0, 1, &whole);
        else
            elements_store(COMPUTE_F64, t->dtype, to, 0, 1, &value);
    }
}

struct err *run_aten_arange(struct step *s)
{
    struct range r = {.ints = false};
    struct script_tensor t;
    bool given;
    TRY(range_from(s, &r));
    enum dtype d = r.ints ? DTYPE_I64 : DTYPE_F32;
    TRY(arg_dtype_opt(s, 3, "dtype", &d, &given));
    double size = ceil((r.end.f - r.start.f) / r.step.f);
    if (!(size >= 0 && size < 0x1p40))
        return step_bad(s, "a range of [%g] numbers", size);
    int64_t n = (int64_t)size;
    if (!dtype_is_float(d) && number_int(r.step) == 0)
        return step_bad(s, "a step of zero");
    TRY(out_new(s, d, 1, &n, &t));
    TRY(step_work(s, n, 1));
    fill_range(&r, !dtype_is_float(d), n, &t);
    return NULL;
}

/* --- tensor --- */

/* Shape and kind of nested lists of numbers. */
static struct err *measure(struct step *s, const struct datum *v, int depth, struct ints *size,
                           int *kind)
{
    struct number n;
    if (number_from(v, &n)) {
        *kind = (int)n.kind > *kind ? (int)n.kind : *kind;
        if (size->n < 0)
            size->n = depth;
        return size->n == depth ? NULL : step_bad(s, "the lists are of different depth");
    }
    if (v->kind != SCRIPT_LIST && v->kind != SCRIPT_TUPLE)
        return step_bad(s, "a tensor is made of numbers, not %s", datum_kind_name(v->kind));
    if (depth == TENSOR_MAX_RANK)
        return step_bad(s, "more than %d lists in one another", TENSOR_MAX_RANK);
    if (size->v[depth] < 0)
        size->v[depth] = (int64_t)v->items->n;
    if (size->v[depth] != (int64_t)v->items->n)
        return step_bad(s, "the lists are of different lengths");
    if (v->items->n == 0 && size->n < 0)
        size->n = depth + 1;
    if (v->items->n == 0 && size->n != depth + 1)
        return step_bad(s, "the lists are of different depth");
    for (size_t i = 0; i < v->items->n; i++) {
        TRY(step_work(s, 1, 16));
        TRY(measure(s, &v->items->v[i], depth + 1, size, kind));
    }
    return NULL;
}

static void pour(const struct datum *v, enum dtype d, char **to)
{
    struct number n;
    if (!number_from(v, &n)) {
        for (size_t i = 0; i < v->items->n; i++)
            pour(&v->items->v[i], d, to);
        return;
    }
    if (n.kind == NUMBER_FLOAT)
        elements_store(COMPUTE_F64, d, *to, 0, 1, &n.f);
    else
        elements_store(COMPUTE_I64, d, *to, 0, 1, &n.i);
    *to += dtype_size(d);
}

struct err *run_aten_tensor(struct step *s)
{
    static const enum dtype of_kind[] = {DTYPE_BOOL, DTYPE_I64, DTYPE_F32};
    struct ints size = {.n = -1};
    struct script_tensor t;
    int kind = -1;
    const struct datum *v = arg_any(s, 0, "data");
    if (!v)
        return step_bad(s, "no data are given");
    for (int i = 0; i < MOST_INTS; i++)
        size.v[i] = -1;
    TRY(measure(s, v, 0, &size, &kind));
    enum dtype d = kind < 0 ? DTYPE_F32 : of_kind[kind];
    TRY(arg_dtype_opt(s, 1, "dtype", &d, NULL));
    TRY(out_new(s, d, size.n, size.v, &t));
    char *to = t.data;
    pour(v, d, &to);
    return NULL;
}

/* --- random numbers: the same for every run --- */

/* splitmix64 (Steele, Lea, Flood 2014). */
double random_next(struct script_runner *r)
{
    uint64_t z = r->random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (double)((z ^ z >> 31) >> 40) * 0x1p-24;
}

struct err *run_aten_rand(struct step *s)
{
    struct ints size;
    struct script_tensor t;
    enum dtype d = DTYPE_F32;
    TRY(arg_ints(s, 0, "size", &size));
    TRY(arg_dtype_opt(s, 1, "dtype", &d, NULL));
    if (!dtype_is_float(d))
        return step_bad(s, "random numbers of dtype %s", dtype_torch_name(d));
    TRY(out_new(s, d, size.n, size.v, &t));
    int64_t n = tensor_numel(&t);
    TRY(step_work(s, n, 4));
    for (int64_t i = 0; i < n; i++) {
        double x = random_next(s->r);
        elements_store(COMPUTE_F64, d, (char *)t.data + (size_t)i * dtype_size(d), 0, 1, &x);
    }
    return NULL;
}

struct err *run_aten_manual_seed(struct step *s)
{
    int64_t seed;
    TRY(arg_int(s, 0, "seed", &seed));
    s->r->random = (uint64_t)seed;
    return NULL;
}
