/* Matrix products: linear, matmul, bmm. f32 by the kernels, the halves through f32, f64 and
 * integers by plain loops. */
#include "matrix.h"

static enum dtype compute_dtype(enum dtype d)
{
    switch (compute_of(d)) {
    case COMPUTE_F32:
        return DTYPE_F32;
    case COMPUTE_F64:
        return DTYPE_F64;
    default:
        return DTYPE_I64;
    }
}

#define PLAIN(name, type, add)                                                                     \
    static void name(const struct script_tensor *a, const struct script_tensor *b,                 \
                     const type *bias, const struct script_tensor *c)                              \
    {                                                                                              \
        const type *x = a->data, *y = b->data;                                                     \
        for (int64_t i = 0; i < c->dim[0]; i++)                                                    \
            for (int64_t j = 0; j < c->dim[1]; j++) {                                              \
                type sum = bias ? bias[j] : 0;                                                     \
                for (int64_t k = 0; k < a->dim[1]; k++)                                            \
                    sum = add(sum, x[i * a->stride[0] + k * a->stride[1]],                         \
                              y[k * b->stride[0] + j * b->stride[1]]);                             \
                ((type *)c->data)[i * c->stride[0] + j * c->stride[1]] = sum;                      \
            }                                                                                      \
    }
#define ADD_F64(sum, x, y) ((sum) + (x) * (y))
#define ADD_I64(sum, x, y) ((int64_t)((uint64_t)(sum) + (uint64_t)(x) * (uint64_t)(y)))
PLAIN(plain_f64, double, ADD_F64)
PLAIN(plain_i64, int64_t, ADD_I64)

struct err *matrix_multiply(struct step *s, const struct script_tensor *a,
                            const struct script_tensor *b, const void *bias,
                            const struct script_tensor *c)
{
    struct view *dense = NULL;
    struct script_tensor rows = *a;
    if (a->dtype != DTYPE_F32) {
        TRY(step_work(s, c->dim[0] * c->dim[1], a->dim[1] + 1));
        if (a->dtype == DTYPE_F64)
            plain_f64(a, b, bias, c);
        else
            plain_i64(a, b, bias, c);
        return NULL;
    }
    if (a->stride[1] != 1 && a->dim[1] > 1) {
        TRY(tensor_new(s, a->dtype, 2, a->dim, &dense));
        struct err *err = copy_elements(s, a, &dense->t);
        if (err) {
            tensor_drop(s, dense);
            return err;
        }
        rows = dense->t;
    }
    struct product p = {.rows = c->dim[0],
                        .k = a->dim[1],
                        .n = c->dim[1],
                        .a = rows.data,
                        .lda = rows.stride[0],
                        .b = b->data,
                        .stride_k = b->stride[0],
                        .stride_n = b->stride[1],
                        .bias = bias,
                        .c = c->data,
                        .ldc = c->stride[0]};
    struct err *err = product_run(s, &p);
    tensor_drop(s, dense);
    return err;
}

/* The matrix of t (at least two dimensions) at a position of its outer ones. */
static struct script_tensor matrix_at(const struct script_tensor *t, const int64_t *at)
{
    struct script_tensor m = {.dtype = t->dtype, .rank = 2, .data = t->data};
    int64_t offset = 0;
    for (int i = 0; i < t->rank - 2; i++)
        offset += at[i] * t->stride[i];
    m.data = (char *)t->data + offset * (int64_t)dtype_size(t->dtype);
    for (int i = 0; i < 2; i++) {
        m.dim[i] = t->dim[t->rank - 2 + i];
        m.stride[i] = t->stride[t->rank - 2 + i];
    }
    return m;
}

/* c = a b for every matrix of c; a and b broadcast over the outer dimensions. */
static struct err *multiply_all(struct step *s, const struct script_tensor *a,
                                const struct script_tensor *b, const void *bias,
                                const struct script_tensor *c)
{
    struct script_tensor x, y;
    int64_t dim[TENSOR_MAX_RANK], at[TENSOR_MAX_RANK] = {0};
    int outer = c->rank - 2;
    memcpy(dim, c->dim, sizeof dim);
    dim[outer + 1] = a->dim[a->rank - 1];
    bool fits = broadcast_to(a, c->rank, dim, &x);
    dim[outer] = a->dim[a->rank - 1];
    dim[outer + 1] = c->dim[outer + 1];
    if (!fits || !broadcast_to(b, c->rank, dim, &y))
        return step_bad(s, "matrices of %s and %s cannot be multiplied", tensor_shape(a).z,
                        tensor_shape(b).z);
    if (tensor_numel(c) == 0)
        return NULL;
    do {
        struct script_tensor ma = matrix_at(&x, at), mb = matrix_at(&y, at);
        struct script_tensor mc = matrix_at(c, at);
        TRY(matrix_multiply(s, &ma, &mb, bias, &mc));
    } while (next_position(outer, c->dim, at));
    return NULL;
}

/* Rows of all outer dimensions of a as one matrix, where it can be seen so and b is one for all. */
static struct err *multiply_flat(struct step *s, const struct script_tensor *a,
                                 const struct script_tensor *b, const void *bias,
                                 const struct script_tensor *c)
{
    struct script_tensor rows, out;
    int64_t k = a->dim[a->rank - 1], n = c->dim[c->rank - 1];
    int64_t flat[2] = {1, k}, flat_out[2] = {1, n};
    for (int i = 0; i < a->rank - 1; i++)
        flat[0] *= a->dim[i];
    flat_out[0] = flat[0];
    if (b->rank == 2 && view_shape(a, 2, flat, &rows) && view_shape(c, 2, flat_out, &out))
        return multiply_all(s, &rows, b, bias, &out);
    return multiply_all(s, a, b, bias, c);
}

/* Operands in the type they are computed in, and the result in theirs. `out` is the result's
 * shape with at least two dimensions; `drop` says which of these are not shown. */
struct multiplication {
    const struct view *a, *b, *bias;
    struct script_tensor seen_a, seen_b, out; /* shapes alone */
    bool drop_rows, drop_columns;
};

static struct err *out_shape(struct step *s, struct multiplication *m)
{
    struct script_tensor outer_a = m->seen_a, outer_b = m->seen_b;
    int64_t k = outer_a.dim[outer_a.rank - 1];
    if (k != outer_b.dim[outer_b.rank - 2])
        return step_bad(s, "matrices of %s and %s cannot be multiplied", tensor_shape(&m->a->t).z,
                        tensor_shape(&m->b->t).z);
    outer_a.rank -= 2;
    outer_b.rank -= 2;
    m->out = outer_a;
    TRY(broadcast_dims(s, &m->out, &outer_b));
    if (m->out.rank + 2 > TENSOR_MAX_RANK)
        return step_bad(s, "a result of [%d] dimensions", m->out.rank + 2);
    m->out.dim[m->out.rank++] = m->seen_a.dim[m->seen_a.rank - 2];
    m->out.dim[m->out.rank++] = m->seen_b.dim[m->seen_b.rank - 1];
    return NULL;
}

static struct err *multiply_in(struct step *s, struct multiplication *m, struct view *a,
                               struct view *b, struct view *bias, enum dtype d)
{
    struct view *computed;
    struct script_tensor c, shown = m->out;
    m->seen_a.data = a->t.data;
    m->seen_b.data = b->t.data;
    TRY(tensor_new(s, d, m->out.rank, m->out.dim, &computed));
    c = computed->t;
    struct err *err = multiply_flat(s, &m->seen_a, &m->seen_b, bias ? bias->t.data : NULL, &c);
    shown.rank -= 2;
    if (!m->drop_rows)
        shown.dim[shown.rank++] = m->out.dim[m->out.rank - 2];
    if (!m->drop_columns)
        shown.dim[shown.rank++] = m->out.dim[m->out.rank - 1];
    shown.dtype = d;
    shown.data = c.data;
    dense_strides(&shown);
    if (!err && m->a->t.dtype == d)
        err = out_view(s, computed, &shown);
    else if (!err) {
        struct script_tensor out;
        err = out_new(s, m->a->t.dtype, shown.rank, shown.dim, &out);
        if (!err)
            err = copy_elements(s, &shown, &out);
    }
    tensor_drop(s, computed);
    return err;
}

/* f32 as it lies; other dtypes converted, which makes what is seen of them dense. */
static struct err *operand_as(struct step *s, const struct view *v, enum dtype d,
                              struct script_tensor *seen, struct view **out)
{
    if (v->t.dtype == d)
        return view_of(s, v, &v->t, out);
    TRY(tensor_new(s, d, seen->rank, seen->dim, out));
    TRY(copy_elements(s, seen, &(*out)->t));
    *seen = (*out)->t;
    return NULL;
}

static struct err *multiply(struct step *s, struct multiplication *m)
{
    if (m->a->t.dtype != m->b->t.dtype || (m->bias && m->bias->t.dtype != m->a->t.dtype))
        return step_bad(s, "matrices of dtypes %s and %s cannot be multiplied",
                        dtype_torch_name(m->a->t.dtype), dtype_torch_name(m->b->t.dtype));
    TRY(out_shape(s, m));
    enum dtype d = compute_dtype(m->a->t.dtype);
    struct view *a = NULL, *b = NULL, *bias = NULL;
    struct err *err = operand_as(s, m->a, d, &m->seen_a, &a);
    if (!err)
        err = operand_as(s, m->b, d, &m->seen_b, &b);
    if (!err && m->bias)
        err = dense_as(s, m->bias, d, &bias);
    if (!err)
        err = multiply_in(s, m, a, b, bias, d);
    tensor_drop(s, a);
    tensor_drop(s, b);
    tensor_drop(s, bias);
    return err;
}

/* A vector as a matrix of one row or one column. */
static struct script_tensor as_matrix(const struct script_tensor *t, bool row)
{
    struct script_tensor m = *t;
    if (t->rank != 1)
        return m;
    m.rank = 2;
    m.dim[row ? 0 : 1] = 1;
    m.stride[row ? 0 : 1] = row ? t->dim[0] : 1;
    m.dim[row ? 1 : 0] = t->dim[0];
    m.stride[row ? 1 : 0] = t->stride[0];
    return m;
}

struct err *run_aten_matmul(struct step *s)
{
    struct multiplication m = {.bias = NULL};
    TRY(arg_tensor(s, 0, "self", &m.a));
    TRY(arg_tensor(s, 1, "other", &m.b));
    if (m.a->t.rank == 0 || m.b->t.rank == 0)
        return step_bad(s, "tensors without dimensions cannot be multiplied");
    m.seen_a = as_matrix(&m.a->t, true);
    m.seen_b = as_matrix(&m.b->t, false);
    m.drop_rows = m.a->t.rank == 1;
    m.drop_columns = m.b->t.rank == 1;
    return multiply(s, &m);
}

struct err *run_aten_bmm(struct step *s)
{
    struct multiplication m = {.bias = NULL};
    TRY(arg_tensor(s, 0, "self", &m.a));
    TRY(arg_tensor(s, 1, "mat2", &m.b));
    if (m.a->t.rank != 3 || m.b->t.rank != 3 || m.a->t.dim[0] != m.b->t.dim[0])
        return step_bad(s, "batches of matrices are needed, not %s and %s", tensor_shape(&m.a->t).z,
                        tensor_shape(&m.b->t).z);
    m.seen_a = m.a->t;
    m.seen_b = m.b->t;
    return multiply(s, &m);
}

/* y = x w^T + bias. */
struct err *run_aten_linear(struct step *s)
{
    struct multiplication m = {.bias = NULL};
    TRY(arg_tensor(s, 0, "input", &m.a));
    TRY(arg_tensor(s, 1, "weight", &m.b));
    TRY(arg_tensor_opt(s, 2, "bias", &m.bias));
    if (m.a->t.rank == 0 || m.b->t.rank == 0 || m.b->t.rank > 2)
        return step_bad(s, "an input of %s and a weight of %s", tensor_shape(&m.a->t).z,
                        tensor_shape(&m.b->t).z);
    m.seen_a = as_matrix(&m.a->t, true);
    m.seen_b = as_matrix(&m.b->t, false);
    if (m.b->t.rank == 2) {
        m.seen_b.dim[0] = m.b->t.dim[1];
        m.seen_b.dim[1] = m.b->t.dim[0];
        m.seen_b.stride[0] = m.b->t.stride[1];
        m.seen_b.stride[1] = m.b->t.stride[0];
    }
    m.drop_rows = m.a->t.rank == 1;
    m.drop_columns = m.b->t.rank == 1;
    int64_t n = m.seen_b.dim[1];
    if (m.bias && (m.bias->t.rank > 1 || tensor_numel(&m.bias->t) != n))
        return step_bad(s, "a bias of %s for [%lld] columns", tensor_shape(&m.bias->t).z,
                        (long long)n);
    return multiply(s, &m);
}
