/* Ops that find elements by the values of integer or bool tensors. Every index is checked before
 * an address is made of it. */
#include "families.h"
#include "pointwise.h"
#include "strided.h"

static struct err *check_index_dtype(const struct step *s, enum dtype d)
{
    if (d != DTYPE_I64 && d != DTYPE_I32)
        return step_bad(s, "indices must be of dtype Long or Int, not %s", dtype_torch_name(d));
    return NULL;
}

static struct err *out_of_range(const struct step *s, int64_t at, int64_t size)
{
    return step_bad(s, "index [%lld] is out of range for a size of [%lld]", (long long)at,
                    (long long)size);
}

/* --- embedding --- */

static struct err *copy_rows(struct step *s, const struct script_tensor *weight, const int64_t *ids,
                             int64_t n, char *to)
{
    size_t size = dtype_size(weight->dtype), row = (size_t)weight->dim[1] * size;
    bool dense = weight->stride[1] == 1 || weight->dim[1] <= 1;
    for (int64_t i = 0; i < n; i++, to += row) {
        if (ids[i] < 0 || ids[i] >= weight->dim[0])
            return out_of_range(s, ids[i], weight->dim[0]);
        const char *from = (const char *)weight->data + ids[i] * weight->stride[0] * (int64_t)size;
        if (dense)
            memcpy(to, from, row);
        else
            for (int64_t k = 0; k < weight->dim[1]; k++)
                memcpy(to + (size_t)k * size, from + k * weight->stride[1] * (int64_t)size, size);
    }
    return NULL;
}

struct err *run_aten_embedding(struct step *s)
{
    const struct view *weight, *indices;
    struct view *ids;
    struct script_tensor t;
    int64_t dims[TENSOR_MAX_RANK + 1];
    TRY(arg_tensor(s, 0, "weight", &weight));
    TRY(arg_tensor(s, 1, "indices", &indices));
    TRY(check_index_dtype(s, indices->t.dtype));
    if (weight->t.rank != 2)
        return step_bad(s, "a weight of %s is no matrix", tensor_shape(&weight->t).z);
    int rank = indices->t.rank;
    memcpy(dims, indices->t.dim, sizeof(dims[0]) * (size_t)rank);
    dims[rank] = weight->t.dim[1];
    TRY(out_new(s, weight->t.dtype, rank + 1, dims, &t));
    TRY(step_work(s, tensor_numel(&t), 1));
    TRY(dense_as(s, indices, DTYPE_I64, &ids));
    struct err *err = NULL;
    if (tensor_numel(&t))
        err = copy_rows(s, &weight->t, ids->t.data, tensor_numel(&ids->t), t.data);
    tensor_drop(s, ids);
    return err;
}

/* --- gather --- */

/* out[i][j][k] = x[i][index[i][j][k]][k] for dim 1. */
struct err *run_aten_gather(struct step *s)
{
    const struct view *x, *index;
    struct script_tensor out;
    int dim;
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(arg_dim(s, 1, "dim", x->t.rank, &dim));
    TRY(arg_tensor(s, 2, "index", &index));
    TRY(check_index_dtype(s, index->t.dtype));
    struct script_tensor from = x->t, at = index->t;
    if (from.rank == 0) {
        from.rank = 1;
        from.dim[0] = from.stride[0] = 1;
    }
    if (at.rank == 0) {
        at.rank = 1;
        at.dim[0] = at.stride[0] = 1;
    }
    bool fits = at.rank == from.rank;
    for (int i = 0; fits && i < at.rank; i++)
        fits = i == dim || at.dim[i] <= from.dim[i];
    if (!fits && tensor_numel(&at))
        return step_bad(s, "an index of %s does not fit a tensor of %s", tensor_shape(&at).z,
                        tensor_shape(&from).z);
    TRY(out_new(s, from.dtype, index->t.rank, index->t.dim, &out));
    TRY(step_work(s, tensor_numel(&out), 2));
    if (tensor_numel(&at) == 0)
        return NULL;
    struct script_tensor to = at, source = at; /* source: x along all but dim */
    to.dtype = source.dtype = from.dtype;
    to.data = out.data;
    dense_strides(&to);
    source.data = from.data;
    memcpy(source.stride, from.stride, sizeof source.stride);
    source.stride[dim] = 0;
    int64_t size = (int64_t)dtype_size(from.dtype), step = from.stride[dim] * size;
    const struct script_tensor *walked[] = {&to, &at, &source};
    struct walk w;
    for (walk_init(&w, 3, walked); !w.done; walk_next(&w))
        for (int64_t i = 0; i < w.inner; i++) {
            int64_t id;
            elements_load(COMPUTE_I64, at.dtype, w.p[1] + i * w.inner_stride[1], 0, 1, &id);
            if (id < 0 || id >= from.dim[dim])
                return out_of_range(s, id, from.dim[dim]);
            memcpy(w.p[0] + i * w.inner_stride[0], w.p[2] + i * w.inner_stride[2] + id * step,
                   (size_t)size);
        }
    return NULL;
}

/* --- where(condition), and masks as indices --- */

static int64_t count_nonzero(const uint8_t *p, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        count += p[i] != 0;
    return count;
}

/* out[d] gets dimension d's position of each element that is not zero, in row-major order. */
static struct err *nonzero(struct step *s, const struct view *mask, struct view **out)
{
    struct view *dense;
    TRY(dense_as(s, mask, DTYPE_BOOL, &dense));
    int rank = mask->t.rank;
    int64_t n = tensor_numel(&mask->t), count = count_nonzero(dense->t.data, n);
    struct err *err = step_work(s, n, 2);
    for (int d = 0; !err && d < rank; d++)
        err = tensor_new(s, DTYPE_I64, 1, &count, &out[d]);
    const uint8_t *p = dense->t.data;
    for (int64_t i = 0, found = 0; !err && i < n; i++) {
        if (!p[i])
            continue;
        int64_t rest = i;
        for (int d = rank; d-- > 0; rest /= mask->t.dim[d])
            ((int64_t *)out[d]->t.data)[found] = rest % mask->t.dim[d];
        found++;
    }
    tensor_drop(s, dense);
    return err;
}

struct err *where_indices(struct step *s, const struct view *condition)
{
    struct view *found[TENSOR_MAX_RANK] = {NULL}, one = *condition;
    struct items *out;
    if (one.t.rank == 0) { /* a number is seen as [1] */
        one.t.rank = 1;
        one.t.dim[0] = one.t.stride[0] = 1;
    }
    TRY(out_items(s, SCRIPT_LIST, (size_t)one.t.rank, &out));
    struct err *err = nonzero(s, &one, found);
    for (int d = 0; d < one.t.rank; d++)
        if (err)
            tensor_drop(s, found[d]);
        else
            items_put(out, (size_t)d, found[d]);
    return err;
}

/* --- index, index_put_ --- */

/* x seen through indices: for each dimension of x an i64 tensor or NULL (all of it). */
struct indexing {
    struct view *index[TENSOR_MAX_RANK];
    int n;                       /* dimensions accounted for */
    struct script_tensor common; /* the shape the indices broadcast to */
    int first, n_indexed;
    bool adjacent;
    int rank; /* of the result */
    int64_t dim[2 * TENSOR_MAX_RANK];
};

static void indexing_drop(struct step *s, struct indexing *x)
{
    for (int i = 0; i < TENSOR_MAX_RANK; i++)
        tensor_drop(s, x->index[i]);
}

/* A mask stands for as many indices as it has dimensions. */
static struct err *take_mask(struct step *s, const struct script_tensor *x, const struct view *mask,
                             struct indexing *out)
{
    if (out->n + mask->t.rank > x->rank || mask->t.rank == 0)
        return step_bad(s, "a mask of %s does not fit a tensor of %s", tensor_shape(&mask->t).z,
                        tensor_shape(x).z);
    for (int i = 0; i < mask->t.rank; i++)
        if (mask->t.dim[i] != x->dim[out->n + i])
            return step_bad(s, "a mask of %s does not fit a tensor of %s", tensor_shape(&mask->t).z,
                            tensor_shape(x).z);
    int at = out->n;
    out->n += mask->t.rank;
    return nonzero(s, mask, &out->index[at]);
}

static struct err *check_indices(struct step *s, struct view *index, int64_t size)
{
    int64_t *p = index->t.data;
    for (int64_t i = 0, n = tensor_numel(&index->t); i < n; i++) {
        if (p[i] < -size || p[i] >= size)
            return out_of_range(s, p[i], size);
        p[i] += p[i] < 0 ? size : 0;
    }
    return NULL;
}

static struct err *take_index(struct step *s, const struct script_tensor *x, const struct datum *v,
                              struct indexing *out)
{
    if (v->kind == SCRIPT_NONE) {
        if (out->n == x->rank)
            return step_bad(s, "more indices than dimensions");
        out->n++;
        return NULL;
    }
    if (v->kind != SCRIPT_TENSOR)
        return step_bad(s, "an index must be a Tensor, not %s", datum_kind_name(v->kind));
    enum dtype d = v->view->t.dtype;
    if (d == DTYPE_BOOL || d == DTYPE_U8)
        return take_mask(s, x, v->view, out);
    if (d != DTYPE_I64 && d != DTYPE_I32 && d != DTYPE_I16 && d != DTYPE_I8)
        return step_bad(s, "an index cannot be of dtype %s", dtype_torch_name(d));
    if (out->n == x->rank)
        return step_bad(s, "more indices than dimensions");
    struct view **copy = &out->index[out->n]; /* one's own: negative ones are turned */
    TRY(tensor_new(s, DTYPE_I64, v->view->t.rank, v->view->t.dim, copy));
    TRY(copy_elements(s, &v->view->t, &(*copy)->t));
    return check_indices(s, *copy, x->dim[out->n++]);
}

/* Indices side by side put their common dimensions where the first of them was, else in front. */
static struct err *settle_shape(struct step *s, const struct script_tensor *x, struct indexing *out)
{
    int last = -1;
    out->common = (struct script_tensor){.rank = 0};
    out->first = -1;
    for (int i = 0; i < x->rank; i++) {
        if (!out->index[i])
            continue;
        TRY(broadcast_dims(s, &out->common, &out->index[i]->t));
        out->first = out->first < 0 ? i : out->first;
        out->n_indexed++;
        last = i;
    }
    if (!out->n_indexed)
        return step_bad(s, "no index is given");
    out->adjacent = last - out->first + 1 == out->n_indexed;
    int common_at = out->adjacent ? out->first : 0;
    for (int i = 0, kept = 0; i <= x->rank; i++) {
        if (kept == common_at && out->rank == kept)
            for (int k = 0; k < out->common.rank; k++)
                out->dim[out->rank++] = out->common.dim[k];
        if (i < x->rank && !out->index[i]) {
            out->dim[out->rank++] = x->dim[i];
            kept++;
        }
    }
    if (out->rank > TENSOR_MAX_RANK)
        return step_bad(s, "a result of [%d] dimensions", out->rank);
    return NULL;
}

static struct err *indexing_from(struct step *s, const struct script_tensor *x,
                                 struct indexing *out)
{
    const struct items *indices;
    *out = (struct indexing){.n = 0};
    TRY(arg_items(s, 1, "indices", &indices));
    struct err *err = NULL;
    for (size_t i = 0; !err && i < indices->n; i++)
        err = take_index(s, x, &indices->v[i], out);
    if (!err)
        err = settle_shape(s, x, out);
    if (err)
        indexing_drop(s, out);
    return err;
}

/* The elements of x that are meant, as offsets from x->data in bytes; dense, in the result's
 * shape. First what the kept dimensions give, then the indices' part is added. */
static struct err *indexed_offsets(struct step *s, const struct script_tensor *x,
                                   const struct indexing *ix, struct view **out)
{
    int common_at = ix->adjacent ? ix->first : 0, kept = 0;
    int64_t size = (int64_t)dtype_size(x->dtype);
    TRY(tensor_new(s, DTYPE_I64, ix->rank, ix->dim, out));
    TRY(fill_elements(s, number_of_int(0), &(*out)->t));
    TRY(step_work(s, tensor_numel(&(*out)->t), 2 * x->rank + 2));
    for (int i = 0; i < x->rank; i++) {
        struct script_tensor part = (*out)->t, steps = {.dtype = DTYPE_I64, .rank = ix->rank};
        memcpy(steps.dim, part.dim, sizeof steps.dim);
        int64_t step = x->stride[i] * size;
        int at = kept < common_at ? kept : kept + ix->common.rank;
        if (ix->index[i]) { /* its own dimensions, stretched over the kept ones */
            struct script_tensor seen;
            if (!broadcast_to(&ix->index[i]->t, ix->common.rank, ix->common.dim, &seen))
                return step_bad(s, "indices cannot be broadcast");
            memcpy(steps.stride + common_at, seen.stride, sizeof(int64_t) * (size_t)seen.rank);
            steps.data = seen.data;
        } else {
            kept++;
        }
        const struct script_tensor *walked[] = {&part, ix->index[i] ? &steps : &part};
        struct walk w;
        if (!ix->index[i]) { /* position along `at` times the stride: dimension by dimension */
            for (int64_t k = 0; k < part.dim[at]; k++) {
                struct script_tensor slice = tensor_narrow(&part, at, k, 1, 1);
                const struct script_tensor *one[] = {&slice};
                for (walk_init(&w, 1, one); !w.done; walk_next(&w))
                    for (int64_t e = 0; e < w.inner; e++)
                        *(int64_t *)(void *)(w.p[0] + e * w.inner_stride[0]) += k * step;
            }
            continue;
        }
        for (walk_init(&w, 2, walked); !w.done; walk_next(&w))
            for (int64_t e = 0; e < w.inner; e++)
                *(int64_t *)(void *)(w.p[0] + e * w.inner_stride[0]) +=
                    *(const int64_t *)(const void *)(w.p[1] + e * w.inner_stride[1]) * step;
    }
    return NULL;
}

/* index(list, element): where it is. */
static struct err *index_of(struct step *s, const struct items *l)
{
    const struct datum *v = arg_any(s, 1, "el");
    struct number a, b;
    for (size_t i = 0; v && i < l->n; i++) {
        bool same = number_from(&l->v[i], &a) && number_from(v, &b) && a.f == b.f;
        if (l->v[i].kind == SCRIPT_STR && v->kind == SCRIPT_STR)
            same = str_eq(l->v[i].text->s, v->text->s);
        if (same)
            return out_int(s, (int64_t)i);
    }
    return step_bad(s, "the list does not hold this");
}

/* str.index(part, start, end); an end of -1 is the text's. */
static struct err *index_of_text(struct step *s, struct str text)
{
    const struct datum *part = arg_any(s, 1, "substr");
    int64_t start = 0, end = -1, n = (int64_t)text.n;
    TRY(arg_int_opt(s, 2, "start", &start));
    TRY(arg_int_opt(s, 3, "end", &end));
    end = end < 0 || end > n ? n : end;
    if (part && part->kind == SCRIPT_STR && start >= 0 && start <= end) {
        size_t at = str_find(str_sub(text, (size_t)start, (size_t)(end - start)), part->text->s);
        if (at != SIZE_MAX)
            return out_int(s, start + (int64_t)at);
    }
    return step_bad(s, "the str does not hold this");
}

struct err *run_aten_index(struct step *s)
{
    const struct view *x;
    struct indexing ix;
    struct view *offsets = NULL;
    struct script_tensor out;
    if (arg_is(s, 0, "self", SCRIPT_LIST))
        return index_of(s, arg_any(s, 0, "self")->items);
    if (arg_is(s, 0, "self", SCRIPT_STR))
        return index_of_text(s, arg_any(s, 0, "self")->text->s);
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(indexing_from(s, &x->t, &ix));
    struct err *err = out_new(s, x->t.dtype, ix.rank, ix.dim, &out);
    if (!err)
        err = indexed_offsets(s, &x->t, &ix, &offsets);
    if (!err) {
        const int64_t *from = offsets->t.data;
        size_t size = dtype_size(out.dtype);
        for (int64_t i = 0, n = tensor_numel(&out); i < n; i++)
            memcpy((char *)out.data + (size_t)i * size, (const char *)x->t.data + from[i], size);
    }
    tensor_drop(s, offsets);
    indexing_drop(s, &ix);
    return err;
}

/* Several values for one element: the last one stays, or their sum is added. */
static void put_elements(const struct script_tensor *x, const int64_t *to, int64_t n,
                         const char *values, bool accumulate)
{
    size_t size = dtype_size(x->dtype);
    enum compute c = compute_of(x->dtype);
    for (int64_t i = 0; i < n; i++, values += size) {
        char *at = (char *)x->data + to[i];
        if (!accumulate) {
            memcpy(at, values, size);
            continue;
        }
        union {
            float f32;
            double f64;
            int64_t i64;
        } a, b;
        elements_load(c, x->dtype, at, 0, 1, &a);
        elements_load(c, x->dtype, values, 0, 1, &b);
        if (c == COMPUTE_F32)
            a.f32 += b.f32;
        else if (c == COMPUTE_F64)
            a.f64 += b.f64;
        else
            a.i64 = (int64_t)((uint64_t)a.i64 + (uint64_t)b.i64);
        elements_store(c, x->dtype, at, 0, 1, &a);
    }
}

static struct err *put_indexed(struct step *s, const struct view *x, const struct indexing *ix,
                               const struct view *values, bool accumulate)
{
    struct view *offsets = NULL, *dense = NULL;
    struct script_tensor seen;
    if (!broadcast_to(&values->t, ix->rank, ix->dim, &seen))
        return step_bad(s, "values of %s cannot be broadcast to %s", tensor_shape(&values->t).z,
                        shape_text(ix->rank, ix->dim).z);
    struct err *err = tensor_new(s, x->t.dtype, ix->rank, ix->dim, &dense);
    if (!err)
        err = copy_elements(s, &seen, &dense->t);
    if (!err)
        err = indexed_offsets(s, &x->t, ix, &offsets);
    if (!err)
        put_elements(&x->t, offsets->t.data, tensor_numel(&dense->t), dense->t.data, accumulate);
    tensor_drop(s, offsets);
    tensor_drop(s, dense);
    return err ? err : out_same(s, x);
}

struct err *run_aten_index_put_(struct step *s)
{
    const struct view *x, *values;
    struct indexing ix;
    bool accumulate = false;
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(arg_tensor(s, 2, "values", &values));
    TRY(arg_bool_opt(s, 3, "accumulate", &accumulate));
    TRY(may_change(s, x));
    if (values->t.dtype != x->t.dtype)
        return step_bad(s, "values of dtype %s are put into a tensor of dtype %s",
                        dtype_torch_name(values->t.dtype), dtype_torch_name(x->t.dtype));
    TRY(indexing_from(s, &x->t, &ix));
    struct err *err = put_indexed(s, x, &ix, values, accumulate);
    indexing_drop(s, &ix);
    return err;
}
