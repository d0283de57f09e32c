/* quantized::linear_dynamic: the input is quantized to 8 bits by its own range, once for the whole
 * tensor, and multiplied with an int8 weight. Exact but for the last float operations, so the
 * rounding of each of them is as in libtorch's x86 kernels (fbgemm, ChooseQuantizationParams). */
#include <math.h>

#include "bug.h"
#include "int8.h"
#include "pointwise.h"
#include "strided.h"

const struct int8_weight *plan_int8(const struct script_plan *p, const struct script_packed *of)
{
    for (size_t i = 0; i < p->n_int8; i++)
        if (p->int8[i].of == of)
            return &p->int8[i];
    return NULL;
}

static bool fits(const struct script_packed *w)
{
    const struct script_tensor *t = &w->weight;
    int64_t n;
    return t->rank == 2 && t->dtype == DTYPE_I8 && dims_numel(2, t->dim, &n) && n > 0 &&
           n < (int64_t)1 << 36 && isfinite(w->scale) && t->stride[0] >= 0 && t->stride[1] >= 0 &&
           (!w->has_bias ||
            (w->bias.rank == 1 && w->bias.dim[0] == t->dim[0] && w->bias.dtype == DTYPE_F32));
}

struct err *pack_int8(struct script_plan *p, const struct script_packed *of)
{
    if (plan_int8(p, of) || !fits(of))
        return NULL; /* what does not fit fails when it is run */
    const struct script_tensor *t = &of->weight;
    struct int8_weight w = {.of = of, .n = (size_t)t->dim[0], .k = (size_t)t->dim[1]};
    w.k_padded = (w.k + INT8_STEP - 1) / INT8_STEP * INT8_STEP;
    w.columns = aligned_alloc(64, w.n * w.k_padded * sizeof(*w.columns));
    if (!w.columns)
        return err_new(ERR_TOO_LARGE, "There is not enough memory to pack the model's weights");
    for (size_t i = 0; i < w.n; i++) {
        int16_t *column = w.columns + i * w.k_padded;
        for (size_t k = 0; k < w.k_padded; k++)
            column[k] = k < w.k
                            ? ((const int8_t *)
                                   t->data)[(int64_t)i * t->stride[0] + (int64_t)k * t->stride[1]]
                            : 0;
    }
    if (p->n_int8 == p->int8_cap) {
        p->int8_cap = p->int8_cap ? 2 * p->int8_cap : 64;
        p->int8 = mem_grow(p->int8, p->int8_cap * sizeof(*p->int8));
    }
    p->int8[p->n_int8++] = w;
    return NULL;
}

struct quantization {
    float scale;
    int32_t zero;
};

#define SMALLEST_SCALE 6.1e-5f

/* The range always holds 0. Of both ends the one that 0 is met with by the smaller error decides
 * where it lies. */
static struct quantization choose(float min, float max, int32_t most)
{
    struct quantization q;
    min = min < 0 ? min : 0;
    max = max > 0 ? max : 0;
    q.scale = (float)(((double)max - min) / most);
    if (q.scale == 0 || isinf(1 / q.scale))
        q.scale = 0.1f;
    if (q.scale < SMALLEST_SCALE) {
        float factor = SMALLEST_SCALE / q.scale;
        q.scale = SMALLEST_SCALE;
        if (min == 0)
            max = SMALLEST_SCALE * (float)most;
        else if (max == 0)
            min = -SMALLEST_SCALE * (float)most;
        else {
            min *= factor;
            max *= factor;
        }
    }
    double from_min = -min / (double)q.scale, from_max = most - max / (double)q.scale;
    double error_min = fabs(min / (double)q.scale);
    double error_max = abs(most) + fabs(max / (double)q.scale);
    double zero = error_min < error_max ? from_min : from_max;
    q.zero = zero < 0 ? 0 : zero > most ? most : (int32_t)nearbyint(zero);
    return q;
}

static bool range_of(const float *x, int64_t n, float *min, float *max)
{
    bool finite = true;
    *min = *max = 0;
    for (int64_t i = 0; i < n; i++) {
        *min = x[i] < *min ? x[i] : *min;
        *max = x[i] > *max ? x[i] : *max;
        finite &= fabsf(x[i]) <= 3.402823466e38f;
    }
    return finite;
}

/* Rows of k floats into rows of k_padded integers, the zero point taken off. */
static void quantize(const float *x, size_t rows, const struct int8_weight *w,
                     struct quantization q, int16_t *out)
{
    float inverse = 1 / q.scale;
    for (size_t r = 0; r < rows; r++, x += w->k, out += w->k_padded) {
        for (size_t i = 0; i < w->k; i++) {
            /* to nearest even, as the sum with 1.5 * 2^23 is: at most 255 steps from zero */
            float v = x[i] * inverse + 12582912.0f - 12582912.0f + (float)q.zero;
            v = v < 0 ? 0 : v > 255 ? 255 : v;
            out[i] = (int16_t)((int32_t)v - q.zero);
        }
        memset(out + w->k, 0, (w->k_padded - w->k) * sizeof(*out));
    }
}

static int32_t row_total(const int16_t *x, size_t k)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < k; i++)
        sum += (uint32_t)(int32_t)x[i];
    return (int32_t)sum;
}

/* y = acc * (scale of x * scale of w) + bias; a weight's zero point is taken off its rows' sums. */
static void dequantize(const struct int8_weight *w, const int16_t *x, size_t rows, float x_scale,
                       const int32_t *acc, float *y)
{
    const struct script_packed *of = w->of;
    const float *bias = of->has_bias ? of->bias.data : NULL;
    for (size_t r = 0; r < rows; r++, x += w->k_padded, acc += w->n, y += w->n) {
        uint32_t off =
            of->zero_point ? (uint32_t)of->zero_point * (uint32_t)row_total(x, w->k_padded) : 0;
        for (size_t j = 0; j < w->n; j++) {
            float scale = x_scale * (of->scales ? of->scales[j] : of->scale);
            y[j] = (float)(int32_t)((uint32_t)acc[j] - off) * scale;
            if (bias)
                y[j] += bias[(int64_t)j * of->bias.stride[0]];
        }
    }
}

/* Rows at a time, so that sums of a block stay in the cache. */
#define BLOCK_ROWS 64

static struct err *multiply_rows(struct step *s, const struct int8_weight *w, const float *x,
                                 int64_t rows, struct quantization q, float *y)
{
    size_t x_bytes = BLOCK_ROWS * w->k_padded * sizeof(int16_t);
    size_t acc_bytes = BLOCK_ROWS * w->n * sizeof(int32_t);
    int16_t *quantized = runner_alloc(s->r, x_bytes);
    int32_t *acc = runner_alloc(s->r, acc_bytes);
    for (int64_t from = 0; quantized && acc && from < rows; from += BLOCK_ROWS) {
        size_t n = (size_t)(rows - from < BLOCK_ROWS ? rows - from : BLOCK_ROWS);
        quantize(x + (size_t)from * w->k, n, w, q, quantized);
        int8_product(quantized, w->columns, n, w->n, w->k_padded, acc);
        dequantize(w, quantized, n, q.scale, acc, y + (size_t)from * w->n);
    }
    bool failed = !quantized || !acc;
    runner_release(s->r, quantized, x_bytes);
    runner_release(s->r, acc, acc_bytes);
    return failed ? step_no_memory(s) : NULL;
}

static struct err *multiply(struct step *s, const struct int8_weight *w, const struct view *x,
                            const struct script_tensor *out, int32_t most)
{
    struct view *dense;
    float min, max;
    int64_t rows = tensor_numel(&x->t) / (int64_t)w->k;
    TRY(step_work(s, (rows * (int64_t)w->n + 7) / 8, (int64_t)w->k_padded));
    TRY(dense_as(s, x, DTYPE_F32, &dense));
    struct err *err;
    if (!range_of(dense->t.data, tensor_numel(&x->t), &min, &max))
        err = step_bad(s, "the input is not finite");
    else
        err = multiply_rows(s, w, dense->t.data, rows, choose(min, max, most), out->data);
    tensor_drop(s, dense);
    return err;
}

struct err *run_quantized_linear_dynamic(struct step *s)
{
    const struct view *x;
    struct script_tensor out;
    bool reduce_range = false;
    TRY(arg_tensor(s, 0, "X", &x));
    TRY(arg_bool_opt(s, 2, "reduce_range", &reduce_range));
    const struct datum *v = arg_any(s, 1, "W_prepack");
    const struct int8_weight *w = NULL;
    if (v && v->kind == SCRIPT_PACKED)
        w = plan_int8(s->r->plan, v->packed);
    if (!w)
        return step_bad(s, "the weight must be a constant int8 matrix, its bias a row of floats");
    if (x->t.rank == 0 || x->t.dtype != DTYPE_F32 || x->t.dim[x->t.rank - 1] != (int64_t)w->k)
        return step_bad(s, "an input of %s and dtype %s for a weight of [%zu, %zu]",
                        tensor_shape(&x->t).z, dtype_torch_name(x->t.dtype), w->n, w->k);
    int64_t dim[TENSOR_MAX_RANK];
    memcpy(dim, x->t.dim, sizeof dim);
    dim[x->t.rank - 1] = (int64_t)w->n;
    TRY(out_new(s, DTYPE_F32, x->t.rank, dim, &out));
    return multiply(s, w, x, &out, reduce_range ? 127 : 255);
}
