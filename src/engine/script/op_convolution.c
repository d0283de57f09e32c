/* aten::_convolution over one to three dimensions of space, in groups, forwards and transposed.
 *
 * Forwards: the input's patches as columns [channels * kernel, positions], then a product with the
 * weight. Transposed: a product with the weight turned round gives such columns, which are added
 * where the patches lie. `small` is the side with one position for each patch, `large` the other.
 */
#include "matrix.h"

#define MOST_SPACE 3
#define MOST_SIZE  ((int64_t)1 << 30) /* so that no product of two of them overflows */

struct convolution {
    int n; /* dimensions of space */
    int64_t kernel[MOST_SPACE], stride[MOST_SPACE], padding[MOST_SPACE], dilation[MOST_SPACE];
    int64_t extra[MOST_SPACE]; /* output_padding */
    bool transposed;
    int64_t groups, batch, in, out; /* channels */
    int64_t small[MOST_SPACE], large[MOST_SPACE];
    int64_t n_small, n_large, n_kernel;
};

static struct err *per_space(struct step *s, uint32_t at, const char *keyword, int n, int64_t least,
                             int64_t *out)
{
    struct ints v;
    TRY(arg_ints(s, at, keyword, &v));
    if (v.n != n && v.n != 1)
        return step_bad(s, "argument [%s] has [%d] ints for [%d] dimensions", keyword, v.n, n);
    for (int i = 0; i < n; i++) {
        out[i] = v.v[v.n == 1 ? 0 : i];
        if (out[i] < least || out[i] > MOST_SIZE)
            return step_bad(s, "argument [%s] has [%lld]", keyword, (long long)out[i]);
    }
    return NULL;
}

static struct err *sizes_from(struct step *s, const struct view *x, const struct view *w,
                              struct convolution *c)
{
    c->n = x->t.rank - 2;
    if (c->n < 1 || c->n > MOST_SPACE || w->t.rank != x->t.rank)
        return step_bad(s, "an input of %s and a weight of %s", tensor_shape(&x->t).z,
                        tensor_shape(&w->t).z);
    for (int i = 0; i < x->t.rank; i++)
        if (x->t.dim[i] > MOST_SIZE || w->t.dim[i] > MOST_SIZE || w->t.dim[i] < 1)
            return step_bad(s, "an input of %s and a weight of %s", tensor_shape(&x->t).z,
                            tensor_shape(&w->t).z);
    TRY(per_space(s, 3, "stride", c->n, 1, c->stride));
    TRY(per_space(s, 4, "padding", c->n, 0, c->padding));
    TRY(per_space(s, 5, "dilation", c->n, 1, c->dilation));
    TRY(arg_bool_opt(s, 6, "transposed", &c->transposed));
    if (c->transposed)
        TRY(per_space(s, 7, "output_padding", c->n, 0, c->extra));
    TRY(arg_int(s, 8, "groups", &c->groups));
    c->batch = x->t.dim[0];
    c->in = x->t.dim[1];
    if (c->groups < 1 || c->groups > MOST_SIZE || c->in % c->groups || w->t.dim[0] % c->groups)
        return step_bad(s, "[%lld] groups for an input of %s and a weight of %s",
                        (long long)c->groups, tensor_shape(&x->t).z, tensor_shape(&w->t).z);
    c->out = c->transposed ? w->t.dim[1] * c->groups : w->t.dim[0];
    if ((c->transposed ? w->t.dim[0] : w->t.dim[1] * c->groups) != c->in)
        return step_bad(s, "an input of %s does not fit a weight of %s", tensor_shape(&x->t).z,
                        tensor_shape(&w->t).z);
    return NULL;
}

static struct err *space_from(struct step *s, const struct view *x, const struct view *w,
                              struct convolution *c)
{
    for (int i = 0; i < c->n; i++) {
        int64_t in = x->t.dim[i + 2], out;
        c->kernel[i] = w->t.dim[i + 2];
        int64_t reach = c->dilation[i] * (c->kernel[i] - 1) + 1, around = 2 * c->padding[i];
        if (c->transposed)
            out = (in - 1) * c->stride[i] - around + reach + c->extra[i];
        else
            out = in + around < reach ? -1 : (in + around - reach) / c->stride[i] + 1;
        if (in < 1 || out < 1 || out > MOST_SIZE)
            return step_bad(s, "an input of %s is too small or too large", tensor_shape(&x->t).z);
        c->small[i] = c->transposed ? in : out;
        c->large[i] = c->transposed ? out : in;
    }
    if (!dims_numel(c->n, c->small, &c->n_small) || !dims_numel(c->n, c->large, &c->n_large) ||
        !dims_numel(c->n, c->kernel, &c->n_kernel))
        return step_bad(s, "an input of %s is too large", tensor_shape(&x->t).z);
    return NULL;
}

/* Columns [channels * n_kernel, n_small] from (gather) or added to (scatter) an image
 * [channels, n_large]. */
static void patches(const struct convolution *c, int64_t channels, float *image, float *columns,
                    bool gather)
{
    for (int64_t channel = 0; channel < channels; channel++, image += c->n_large) {
        int64_t k[MOST_SPACE] = {0};
        do {
            int64_t at[MOST_SPACE] = {0};
            do {
                int64_t place = 0;
                bool inside = true;
                for (int i = 0; i < c->n; i++) {
                    int64_t x = at[i] * c->stride[i] - c->padding[i] + k[i] * c->dilation[i];
                    inside &= x >= 0 && x < c->large[i];
                    place = inside ? place * c->large[i] + x : 0;
                }
                if (gather)
                    *columns = inside ? image[place] : 0;
                else if (inside)
                    image[place] += *columns;
                columns++;
            } while (next_position(c->n, c->small, at));
        } while (next_position(c->n, c->kernel, k));
    }
}

static bool is_pointwise(const struct convolution *c)
{
    for (int i = 0; i < c->n; i++)
        if (c->kernel[i] != 1 || c->stride[i] != 1 || c->padding[i] != 0 || c->extra[i] != 0)
            return false;
    return true;
}

/* Forwards: y [rows, n_small] = w [rows, k] columns [k, n_small]. */
static struct err *convolve_group(struct step *s, const struct convolution *c, const float *w,
                                  float *x, float *columns, float *y)
{
    int64_t k = c->in / c->groups * c->n_kernel;
    bool direct = is_pointwise(c);
    if (!direct)
        patches(c, c->in / c->groups, x, columns, true);
    struct product p = {.rows = c->out / c->groups,
                        .k = k,
                        .n = c->n_small,
                        .a = w,
                        .lda = k,
                        .b = direct ? x : columns,
                        .stride_k = c->n_small,
                        .stride_n = 1,
                        .c = y,
                        .ldc = c->n_small};
    return product_run(s, &p);
}

/* Transposed: columns [out channels * kernel, n_small] = w' x, w [in channels, out * kernel]
 * turned round into `turned`. */
static struct err *spread_group(struct step *s, const struct convolution *c, const float *w,
                                float *x, float *columns, float *turned, float *y)
{
    int64_t k = c->in / c->groups, rows = c->out / c->groups * c->n_kernel;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < k; j++)
            turned[i * k + j] = w[j * rows + i];
    struct product p = {.rows = rows,
                        .k = k,
                        .n = c->n_small,
                        .a = turned,
                        .lda = k,
                        .b = x,
                        .stride_k = c->n_small,
                        .stride_n = 1,
                        .c = columns,
                        .ldc = c->n_small};
    TRY(product_run(s, &p));
    patches(c, c->out / c->groups, y, columns, false);
    return NULL;
}

static struct err *convolve_all(struct step *s, const struct convolution *c, float *x,
                                const float *w, const float *bias, float *columns, float *turned,
                                float *y)
{
    int64_t n_in = c->transposed ? c->n_small : c->n_large;
    int64_t n_out = c->transposed ? c->n_large : c->n_small;
    int64_t w_group = c->in / c->groups * (c->out / c->groups) * c->n_kernel;
    for (int64_t i = 0; i < c->batch * c->groups; i++) {
        float *from = x + i * (c->in / c->groups) * n_in;
        float *to = y + i * (c->out / c->groups) * n_out;
        const float *weight = w + i % c->groups * w_group;
        if (c->transposed)
            TRY(spread_group(s, c, weight, from, columns, turned, to));
        else
            TRY(convolve_group(s, c, weight, from, columns, to));
    }
    for (int64_t i = 0; bias && i < c->batch * c->out; i++)
        for (int64_t k = 0; k < n_out; k++)
            y[i * n_out + k] += bias[i % c->out];
    return NULL;
}

static struct err *convolve(struct step *s, const struct convolution *c, struct view *const *in,
                            const struct script_tensor *y)
{
    int64_t channels = (c->transposed ? c->out : c->in) / c->groups;
    int64_t dims[] = {channels, c->n_kernel, is_pointwise(c) && !c->transposed ? 1 : c->n_small};
    int64_t turned_dims[] = {channels, c->n_kernel, c->transposed ? c->in / c->groups : 1};
    struct view *columns = NULL, *turned = NULL;
    struct err *err = step_work(s, c->batch * c->groups, channels * c->n_kernel);
    if (!err)
        err = step_work(s, c->batch * c->groups * channels * c->n_kernel, 4 * c->n_small);
    if (!err)
        err = fill_elements(s, number_of_int(0), y);
    if (!err)
        err = tensor_new(s, DTYPE_F32, 3, dims, &columns);
    if (!err)
        err = tensor_new(s, DTYPE_F32, 3, turned_dims, &turned);
    if (!err)
        err = convolve_all(s, c, in[0]->t.data, in[1]->t.data, in[2] ? in[2]->t.data : NULL,
                           columns->t.data, turned->t.data, y->data);
    tensor_drop(s, columns);
    tensor_drop(s, turned);
    return err;
}

/* (input, weight, bias, stride, padding, dilation, transposed, output_padding, groups, ...):
 * computed in f32 whatever the float dtype. */
struct err *run_aten__convolution(struct step *s)
{
    const struct view *given[3];
    struct view *in[3] = {NULL}, *y = NULL;
    struct convolution c = {.n = 0};
    int64_t dims[MOST_SPACE + 2];
    TRY(arg_tensor(s, 0, "input", &given[0]));
    TRY(arg_tensor(s, 1, "weight", &given[1]));
    TRY(arg_tensor_opt(s, 2, "bias", &given[2]));
    TRY(sizes_from(s, given[0], given[1], &c));
    TRY(space_from(s, given[0], given[1], &c));
    enum dtype d = given[0]->t.dtype;
    if (!dtype_is_float(d) || given[1]->t.dtype != d || (given[2] && given[2]->t.dtype != d))
        return step_bad(s, "an input of dtype %s and a weight of dtype %s", dtype_torch_name(d),
                        dtype_torch_name(given[1]->t.dtype));
    if (given[2] && (given[2]->t.rank != 1 || given[2]->t.dim[0] != c.out))
        return step_bad(s, "a bias of %s for [%lld] channels", tensor_shape(&given[2]->t).z,
                        (long long)c.out);
    dims[0] = c.batch;
    dims[1] = c.out;
    memcpy(dims + 2, c.transposed ? c.large : c.small, sizeof c.small);
    struct script_tensor out;
    TRY(out_new(s, d, c.n + 2, dims, &out));
    struct err *err = tensor_new(s, DTYPE_F32, c.n + 2, dims, &y);
    for (int i = 0; !err && i < 3; i++)
        if (given[i])
            err = dense_as(s, given[i], DTYPE_F32, &in[i]);
    if (!err && tensor_numel(&out))
        err = convolve(s, &c, in, &y->t);
    if (!err)
        err = copy_elements(s, &y->t, &out);
    for (int i = 0; i < 3; i++)
        tensor_drop(s, in[i]);
    tensor_drop(s, y);
    return err;
}
