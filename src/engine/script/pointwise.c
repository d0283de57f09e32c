#include "pointwise.h"

#include "strided.h"

void operand_of_view(const struct view *v, struct operand *out)
{
    *out = (struct operand){.view = v, .t = v->t};
}

void operand_of_number(struct number n, struct operand *out)
{
    *out = (struct operand){.number = n};
}

struct err *operand_from(const struct step *s, uint32_t position, const char *keyword,
                         struct operand *out)
{
    const struct datum *v = arg_any(s, position, keyword);
    struct number n;
    if (v && v->kind == SCRIPT_TENSOR)
        operand_of_view(v->view, out);
    else if (v && number_from(v, &n))
        operand_of_number(n, out);
    else
        return step_bad(s, "argument [%s] must be a Tensor or a number, not %s", keyword,
                        v ? datum_kind_name(v->kind) : "absent");
    return NULL;
}

bool dtype_is_float(enum dtype d)
{
    return compute_of(d) != COMPUTE_I64;
}

static int int_width(enum dtype d)
{
    return d == DTYPE_BOOL ? 0 : (int)dtype_size(d);
}

enum dtype dtype_promote(enum dtype a, enum dtype b)
{
    if (a == b)
        return a;
    if (dtype_is_float(a) && dtype_is_float(b)) {
        if (a == DTYPE_F64 || b == DTYPE_F64)
            return DTYPE_F64;
        return DTYPE_F32; /* f16 with bf16 too */
    }
    if (dtype_is_float(a))
        return a;
    if (dtype_is_float(b))
        return b;
    if (int_width(a) == int_width(b))
        return DTYPE_I16; /* i8 with u8 */
    return int_width(a) > int_width(b) ? a : b;
}

enum dtype operands_dtype(const struct operand *in, int n)
{
    struct {
        bool any;
        enum dtype dtype;
    } level[3] = {0}; /* numbers, tensors without dimensions, tensors with them */
    static const enum dtype of_number[] = {DTYPE_BOOL, DTYPE_I64, DTYPE_F32};
    for (int i = 0; i < n; i++) {
        int l = !in[i].view ? 0 : in[i].view->t.rank == 0 ? 1 : 2;
        enum dtype d = l ? in[i].view->t.dtype : of_number[in[i].number.kind];
        level[l].dtype = level[l].any ? dtype_promote(level[l].dtype, d) : d;
        level[l].any = true;
    }
    enum dtype result = DTYPE_BOOL;
    bool any = false;
    for (int l = 0; l < 3; l++) { /* lower levels count only when they are of a higher kind */
        if (!level[l].any)
            continue;
        enum dtype d = level[l].dtype;
        if (!any)
            result = d;
        else if (dtype_is_float(d) || (d != DTYPE_BOOL && !dtype_is_float(result)))
            result = d;
        else
            result = dtype_promote(d, result);
        any = true;
    }
    return result;
}

/* Numbers become tensors of one element in the compute type. */
static void settle(struct operand *o, enum compute as)
{
    if (o->view)
        return;
    o->t = (struct script_tensor){.rank = 0};
    if (as == COMPUTE_F32) {
        o->f32 = (float)o->number.f;
        o->t.dtype = DTYPE_F32;
    } else if (as == COMPUTE_F64) {
        o->f64 = o->number.f;
        o->t.dtype = DTYPE_F64;
    } else {
        o->i64 = number_int(o->number);
        o->t.dtype = DTYPE_I64;
    }
    o->t.data = &o->f32;
}

union run {
    float f32[POINTWISE_RUN];
    double f64[POINTWISE_RUN];
    int64_t i64[POINTWISE_RUN];
    uint8_t u8[POINTWISE_RUN];
};

static bool is_dense_run(enum compute c, enum dtype d, int64_t stride)
{
    return compute_is_native(c, d) && stride == (int64_t)compute_size(c);
}

/* What the walk's innermost loop is, cut into runs. */
static void pointwise_inner(const struct pointwise *m, const struct walk *w,
                            const struct script_tensor *t)
{
    union run in_run[POINTWISE_INPUTS], out_run;
    const void *in[POINTWISE_INPUTS];
    bool direct = is_dense_run(m->out_as, t[0].dtype, w->inner_stride[0]);
    for (int64_t at = 0; at < w->inner; at += POINTWISE_RUN) {
        size_t n = (size_t)(w->inner - at < POINTWISE_RUN ? w->inner - at : POINTWISE_RUN);
        for (int k = 0; k < m->n_in; k++) {
            int64_t stride = w->inner_stride[k + 1];
            const char *p = w->p[k + 1] + at * stride;
            in[k] = p;
            if (is_dense_run(m->in_as, t[k + 1].dtype, stride))
                continue;
            elements_load(m->in_as, t[k + 1].dtype, p, stride, n, &in_run[k]);
            in[k] = &in_run[k];
        }
        char *out = w->p[0] + at * w->inner_stride[0];
        m->fn(n, in, direct ? (void *)out : &out_run, m->params);
        if (!direct)
            elements_store(m->out_as, t[0].dtype, out, w->inner_stride[0], n, &out_run);
    }
}

struct err *pointwise_to(struct step *s, const struct pointwise *m,
                         const struct script_tensor *into)
{
    struct script_tensor t[POINTWISE_INPUTS + 1] = {*into};
    const struct script_tensor *p[POINTWISE_INPUTS + 1] = {&t[0]};
    for (int k = 0; k < m->n_in; k++) {
        settle(&m->in[k], m->in_as);
        if (!broadcast_to(&m->in[k].t, into->rank, into->dim, &t[k + 1]))
            return step_bad(s, "a shape of %s cannot be broadcast to %s",
                            tensor_shape(&m->in[k].t).z, tensor_shape(into).z);
        p[k + 1] = &t[k + 1];
    }
    TRY(step_work(s, tensor_numel(into), 1));
    struct walk w;
    for (walk_init(&w, m->n_in + 1, p); !w.done; walk_next(&w))
        pointwise_inner(m, &w, t);
    return NULL;
}

struct err *pointwise_new(struct step *s, const struct pointwise *m, enum dtype dtype)
{
    struct script_tensor shape = {.rank = 0}, out;
    for (int k = 0; k < m->n_in; k++)
        if (m->in[k].view)
            TRY(broadcast_dims(s, &shape, &m->in[k].view->t));
    TRY(out_new(s, dtype, shape.rank, shape.dim, &out));
    return pointwise_to(s, m, &out);
}

static bool same_elements(const struct script_tensor *a, const struct script_tensor *b)
{
    if (a->data != b->data || a->rank != b->rank || a->dtype != b->dtype)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i] || a->stride[i] != b->stride[i])
            return false;
    return true;
}

struct err *pointwise_into(struct step *s, const struct pointwise *m, const struct view *into)
{
    struct view *copies[POINTWISE_INPUTS] = {NULL};
    struct err *err = may_change(s, into);
    for (int k = 0; !err && k < m->n_in; k++) {
        struct operand *o = &m->in[k];
        if (!o->view || o->view->memory != into->memory || same_elements(&o->t, &into->t))
            continue;
        err = tensor_new(s, o->t.dtype, o->t.rank, o->t.dim, &copies[k]);
        if (!err)
            err = copy_elements(s, &o->t, &copies[k]->t);
        if (!err)
            o->t = copies[k]->t;
    }
    if (!err)
        err = pointwise_to(s, m, &into->t);
    if (!err)
        err = out_same(s, into);
    for (int k = 0; k < m->n_in; k++)
        tensor_drop(s, copies[k]);
    return err;
}

static void pass_f32(size_t n, const void *const *in, void *out, const void *params)
{
    if (n && in[0] != out)
        memcpy(out, in[0], n * sizeof(float));
}

static void pass_8(size_t n, const void *const *in, void *out, const void *params)
{
    if (n && in[0] != out)
        memcpy(out, in[0], n * sizeof(int64_t));
}

static pointwise_fn *pass_of(enum compute c)
{
    return c == COMPUTE_F32 ? pass_f32 : pass_8;
}

struct pointwise copying(struct operand *in, enum dtype d)
{
    enum compute c = compute_of(d);
    return (struct pointwise){.n_in = 1, .in = in, .in_as = c, .out_as = c, .fn = pass_of(c)};
}

struct err *fill_elements(struct step *s, struct number n, const struct script_tensor *to)
{
    struct operand in;
    operand_of_number(n, &in);
    struct pointwise m = copying(&in, to->dtype);
    return pointwise_to(s, &m, to);
}

struct err *copy_elements(struct step *s, const struct script_tensor *from,
                          const struct script_tensor *to)
{
    int64_t n = tensor_numel(to);
    if (from->dtype == to->dtype && tensor_numel(from) == n && tensor_is_dense(from) &&
        tensor_is_dense(to)) {
        TRY(step_work(s, n, 1));
        if (n)
            memcpy(to->data, from->data, (size_t)n * dtype_size(to->dtype));
        return NULL;
    }
    struct view shown = {.t = *from};
    struct operand in;
    operand_of_view(&shown, &in);
    struct pointwise m = copying(&in, from->dtype);
    return pointwise_to(s, &m, to);
}

struct err *dense_as(struct step *s, const struct view *v, enum dtype dtype, struct view **out)
{
    *out = NULL;
    if (v->t.dtype == dtype && tensor_is_dense(&v->t)) {
        struct script_tensor t = v->t;
        dense_strides(&t);
        return view_of(s, v, &t, out);
    }
    TRY(tensor_new(s, dtype, v->t.rank, v->t.dim, out));
    struct err *err = copy_elements(s, &v->t, &(*out)->t);
    if (err) {
        tensor_drop(s, *out);
        *out = NULL;
    }
    return err;
}
