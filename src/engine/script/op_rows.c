/* Ops along one dimension whose results keep their places: cumsum, softmax, layer_norm. */
#include <math.h>

#include "families.h"
#include "pointwise.h"
#include "strided.h"

/* The lines of t along dim: a walk over the others, the innermost loop included. */
static struct script_tensor without_dim(const struct script_tensor *t, int dim)
{
    struct script_tensor others = *t;
    if (t->rank)
        others.dim[dim] = tensor_numel(t) ? 1 : 0;
    return others;
}

struct line {
    int64_t n, stride_in, stride_out; /* bytes */
    const struct script_tensor *in, *out;
    void *memory; /* n elements of the compute type */
};
typedef void line_fn(const struct line *, const char *in, char *out);

static struct err *each_line(struct step *s, const struct script_tensor *in,
                             const struct script_tensor *out, int dim, line_fn *fn)
{
    struct line line = {.in = in, .out = out, .n = 1};
    if (in->rank) {
        line.n = in->dim[dim];
        line.stride_in = in->stride[dim] * (int64_t)dtype_size(in->dtype);
        line.stride_out = out->stride[dim] * (int64_t)dtype_size(out->dtype);
    }
    size_t bytes = (size_t)line.n * sizeof(double);
    line.memory = runner_alloc(s->r, bytes);
    if (!line.memory)
        return step_no_memory(s);
    struct script_tensor from = without_dim(in, dim), to = without_dim(out, dim);
    const struct script_tensor *walked[] = {&to, &from};
    struct walk w;
    for (walk_init(&w, 2, walked); !w.done; walk_next(&w))
        for (int64_t i = 0; i < w.inner; i++)
            fn(&line, w.p[1] + i * w.inner_stride[1], w.p[0] + i * w.inner_stride[0]);
    runner_release(s->r, line.memory, bytes);
    return NULL;
}

/* --- cumsum --- */

static void cumsum_f64(const struct line *l, const char *in, char *out)
{
    double *x = l->memory, sum = 0;
    elements_load(COMPUTE_F64, l->in->dtype, in, l->stride_in, (size_t)l->n, x);
    for (int64_t i = 0; i < l->n; i++)
        x[i] = sum += x[i];
    elements_store(COMPUTE_F64, l->out->dtype, out, l->stride_out, (size_t)l->n, x);
}

static void cumsum_i64(const struct line *l, const char *in, char *out)
{
    int64_t *x = l->memory;
    uint64_t sum = 0;
    elements_load(COMPUTE_I64, l->in->dtype, in, l->stride_in, (size_t)l->n, x);
    for (int64_t i = 0; i < l->n; i++)
        x[i] = (int64_t)(sum += (uint64_t)x[i]);
    elements_store(COMPUTE_I64, l->out->dtype, out, l->stride_out, (size_t)l->n, x);
}

struct err *run_aten_cumsum(struct step *s)
{
    const struct view *x;
    struct script_tensor out;
    int dim;
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(arg_dim(s, 1, "dim", x->t.rank, &dim));
    enum dtype d = dtype_is_float(x->t.dtype) ? x->t.dtype : DTYPE_I64;
    TRY(arg_dtype_opt(s, 2, "dtype", &d, NULL));
    TRY(out_new(s, d, x->t.rank, x->t.dim, &out));
    TRY(step_work(s, tensor_numel(&out), 2));
    return each_line(s, &x->t, &out, dim, dtype_is_float(d) ? cumsum_f64 : cumsum_i64);
}

/* --- softmax --- */

static void softmax_f32(const struct line *l, const char *in, char *out)
{
    size_t n = (size_t)l->n;
    if (l->in->dtype == DTYPE_F32 && l->out->dtype == DTYPE_F32 && l->stride_in == 4 &&
        l->stride_out == 4) {
        softmax_row((const float *)(const void *)in, n, false, (float *)(void *)out);
        return;
    }
    elements_load(COMPUTE_F32, l->in->dtype, in, l->stride_in, n, l->memory);
    softmax_row(l->memory, n, false, l->memory);
    elements_store(COMPUTE_F32, l->out->dtype, out, l->stride_out, n, l->memory);
}

static void softmax_f64(const struct line *l, const char *in, char *out)
{
    double *x = l->memory, most = -INFINITY, sum = 0;
    elements_load(COMPUTE_F64, l->in->dtype, in, l->stride_in, (size_t)l->n, x);
    for (int64_t i = 0; i < l->n; i++)
        most = x[i] > most ? x[i] : most;
    for (int64_t i = 0; i < l->n; i++)
        sum += x[i] = exp(x[i] - most);
    for (int64_t i = 0; i < l->n; i++)
        x[i] /= sum;
    elements_store(COMPUTE_F64, l->out->dtype, out, l->stride_out, (size_t)l->n, x);
}

struct err *run_aten_softmax(struct step *s)
{
    const struct view *x;
    struct script_tensor out;
    int dim;
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(arg_dim(s, 1, "dim", x->t.rank, &dim));
    enum dtype d = x->t.dtype;
    TRY(arg_dtype_opt(s, 2, "dtype", &d, NULL));
    if (!dtype_is_float(d))
        return step_bad(s, "a tensor of dtype %s has no softmax", dtype_torch_name(d));
    TRY(out_new(s, d, x->t.rank, x->t.dim, &out));
    TRY(step_work(s, tensor_numel(&out), 4));
    return each_line(s, &x->t, &out, dim, d == DTYPE_F64 ? softmax_f64 : softmax_f32);
}

/* --- layer_norm --- */

struct norm {
    int64_t rows, n;
    double eps;
    struct view *x, *gamma, *beta; /* dense, of one dtype; gamma and beta of n elements */
};

/* What is not given is 1 or 0. */
static struct err *norm_weights(struct step *s, uint32_t position, const char *keyword,
                                enum dtype d, int64_t n, int64_t otherwise, struct view **out)
{
    const struct view *given;
    TRY(arg_tensor_opt(s, position, keyword, &given));
    if (given && tensor_numel(&given->t) != n)
        return step_bad(s, "a %s of %s for [%lld] elements", keyword, tensor_shape(&given->t).z,
                        (long long)n);
    if (given)
        return dense_as(s, given, d, out);
    TRY(tensor_new(s, d, 1, &n, out));
    return fill_elements(s, number_of_int(otherwise), &(*out)->t);
}

static void norm_rows_f64(const struct norm *m, double *y)
{
    const double *x = m->x->t.data, *gamma = m->gamma->t.data, *beta = m->beta->t.data;
    for (int64_t r = 0; r < m->rows; r++, x += m->n, y += m->n) {
        double mean = 0, variance = 0;
        for (int64_t i = 0; i < m->n; i++)
            mean += x[i] / (double)m->n;
        for (int64_t i = 0; i < m->n; i++)
            variance += (x[i] - mean) * (x[i] - mean) / (double)m->n;
        double factor = 1 / sqrt(variance + m->eps);
        for (int64_t i = 0; i < m->n; i++)
            y[i] = (x[i] - mean) * factor * gamma[i] + beta[i];
    }
}

static void norm_rows_f32(const struct norm *m, const struct kernels *kernels, float *y)
{
    const float *x = m->x->t.data;
    for (int64_t r = 0; r < m->rows; r++, x += m->n, y += m->n)
        kernels->layer_norm(x, NULL, m->gamma->t.data, m->beta->t.data, (float)m->eps, (size_t)m->n,
                            y);
}

static struct err *norm_into(struct step *s, const struct norm *m, const struct script_tensor *out)
{
    if (out->dtype == DTYPE_F64) {
        norm_rows_f64(m, out->data);
        return NULL;
    }
    if (out->dtype == DTYPE_F32) {
        norm_rows_f32(m, s->r->plan->kernels, out->data);
        return NULL;
    }
    struct view *y; /* the halves are computed in float */
    TRY(tensor_new(s, DTYPE_F32, out->rank, out->dim, &y));
    norm_rows_f32(m, s->r->plan->kernels, y->t.data);
    struct err *err = copy_elements(s, &y->t, out);
    tensor_drop(s, y);
    return err;
}

static struct err *norm_shape(struct step *s, const struct view *x, struct norm *m)
{
    struct ints shape;
    TRY(arg_ints(s, 1, "normalized_shape", &shape));
    bool fits = shape.n >= 1 && shape.n <= x->t.rank;
    m->n = m->rows = 1;
    for (int i = 0; fits && i < shape.n; i++) {
        fits = shape.v[i] == x->t.dim[x->t.rank - shape.n + i];
        m->n *= fits ? shape.v[i] : 1;
    }
    if (!fits)
        return step_bad(s, "a tensor of %s does not end in %s", tensor_shape(&x->t).z,
                        shape_text(shape.n, shape.v).z);
    for (int i = 0; i < x->t.rank - shape.n; i++)
        m->rows *= x->t.dim[i];
    return NULL;
}

struct err *run_aten_layer_norm(struct step *s)
{
    const struct view *x;
    struct norm m = {.eps = 1e-5};
    struct script_tensor out;
    TRY(arg_tensor(s, 0, "input", &x));
    TRY(norm_shape(s, x, &m));
    TRY(arg_float_opt(s, 4, "eps", &m.eps));
    if (!dtype_is_float(x->t.dtype))
        return step_bad(s, "a tensor of dtype %s cannot be normalized",
                        dtype_torch_name(x->t.dtype));
    TRY(out_new(s, x->t.dtype, x->t.rank, x->t.dim, &out));
    TRY(step_work(s, tensor_numel(&out), 2));
    enum dtype d = x->t.dtype == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
    struct err *err = dense_as(s, x, d, &m.x);
    if (!err)
        err = norm_weights(s, 2, "weight", d, m.n, 1, &m.gamma);
    if (!err)
        err = norm_weights(s, 3, "bias", d, m.n, 0, &m.beta);
    if (!err && tensor_numel(&out))
        err = norm_into(s, &m, &out);
    tensor_drop(s, m.x);
    tensor_drop(s, m.gamma);
    tensor_drop(s, m.beta);
    return err;
}
