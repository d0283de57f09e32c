/* Ops that show the same elements in another way: no element is copied, but by reshape where it
 * must be. */
#include "families.h"
#include "pointwise.h"
#include "strided.h"

/* Dimensions of size 1 apart, a run of old dimensions that step evenly can be cut into any new
 * ones. Walks both shapes from the inside, as at::computeStride does. */
bool view_shape(const struct script_tensor *t, int rank, const int64_t *dim,
                struct script_tensor *out)
{
    struct script_tensor v = {.dtype = t->dtype, .rank = rank, .data = t->data};
    for (int i = 0; i < rank; i++)
        v.dim[i] = dim[i];
    dense_strides(&v);
    *out = v;
    if (tensor_numel(t) == 0 || tensor_is_dense(t))
        return true;
    int at = rank - 1;
    int64_t base = t->stride[t->rank - 1], old = 1, new = 1;
    for (int i = t->rank; i-- > 0;) {
        old *= t->dim[i];
        bool run_ends = i == 0 || (t->dim[i - 1] != 1 && t->stride[i - 1] != old * base);
        if (!run_ends)
            continue;
        while (at >= 0 && (new < old || dim[at] == 1)) {
            v.stride[at] = new *base;
            new *= dim[at--];
        }
        if (new != old)
            return false;
        if (i > 0) {
            base = t->stride[i - 1];
            old = new = 1;
        }
    }
    *out = v;
    return at == -1;
}

/* One size may be -1: what is left. */
static struct err *infer_shape(const struct step *s, const struct script_tensor *t,
                               struct ints *size)
{
    int64_t n, known = 1, all = tensor_numel(t);
    int open = -1;
    if (size->n > TENSOR_MAX_RANK)
        return step_bad(s, "a tensor of [%d] dimensions, more than %d", size->n, TENSOR_MAX_RANK);
    for (int i = 0; i < size->n; i++) {
        if (size->v[i] != -1)
            continue;
        if (open >= 0)
            return step_bad(s, "only one size can be -1");
        open = i;
        size->v[i] = 1;
    }
    if (!dims_numel(size->n, size->v, &known))
        return step_bad(s, "a tensor cannot have the shape %s", shape_text(size->n, size->v).z);
    if (open >= 0 && known > 0)
        size->v[open] = all / known;
    if (!dims_numel(size->n, size->v, &n) || n != all || (open >= 0 && known == 0))
        return step_bad(s, "a shape of %s cannot be seen as %s", tensor_shape(t).z,
                        shape_text(size->n, size->v).z);
    return NULL;
}

/* The same bytes as elements of another dtype: the last dimension, which must be dense, gets longer
 * or shorter, and every address must do for the new elements. */
static struct err *view_dtype(struct step *s, const struct view *x)
{
    struct script_tensor t = x->t;
    TRY(arg_dtype_opt(s, 1, "dtype", &t.dtype, NULL));
    int64_t old = (int64_t)dtype_size(x->t.dtype), new = (int64_t)dtype_size(t.dtype);
    int last = t.rank - 1;
    bool fits = old == new || (t.rank > 0 && (t.stride[last] == 1 || t.dim[last] <= 1));
    for (int i = 0; fits && old != new &&i < last; i++) {
        fits = t.dim[i] <= 1 || t.stride[i] * old % new == 0;
        t.stride[i] = t.dim[i] <= 1 ? 1 : t.stride[i] * old / new;
    }
    if (fits && old != new) {
        fits = t.dim[last] * old % new == 0;
        t.dim[last] = t.dim[last] * old / new;
        t.stride[last] = 1;
    }
    if (!fits || (uintptr_t)t.data % (uintptr_t) new != 0)
        return step_bad(s, "a tensor of %s and dtype %s cannot be seen as %s",
                        tensor_shape(&x->t).z, dtype_torch_name(x->t.dtype),
                        dtype_torch_name(t.dtype));
    return out_view(s, x, &t);
}

struct err *run_aten_view(struct step *s)
{
    const struct view *x;
    struct ints size;
    struct script_tensor t;
    TRY(arg_tensor(s, 0, "self", &x));
    if (arg_is(s, 1, "dtype", SCRIPT_INT))
        return view_dtype(s, x);
    TRY(arg_ints(s, 1, "size", &size));
    TRY(infer_shape(s, &x->t, &size));
    if (!view_shape(&x->t, size.n, size.v, &t))
        return step_bad(s, "a tensor of %s cannot be seen as %s without copying its elements",
                        tensor_shape(&x->t).z, shape_text(size.n, size.v).z);
    return out_view(s, x, &t);
}

struct err *run_aten_reshape(struct step *s)
{
    const struct view *x;
    struct ints size;
    struct script_tensor t;
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(arg_ints(s, 1, "shape", &size));
    TRY(infer_shape(s, &x->t, &size));
    if (view_shape(&x->t, size.n, size.v, &t))
        return out_view(s, x, &t);
    TRY(out_new(s, x->t.dtype, size.n, size.v, &t));
    struct script_tensor as_before = x->t;
    as_before.data = t.data;
    dense_strides(&as_before);
    return copy_elements(s, &x->t, &as_before);
}

struct err *run_aten_detach(struct step *s)
{
    const struct view *x;
    TRY(arg_tensor(s, 0, "self", &x));
    return out_same(s, x);
}

struct err *run_aten_transpose(struct step *s)
{
    const struct view *x;
    int a, b;
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(arg_dim(s, 1, "dim0", x->t.rank, &a));
    TRY(arg_dim(s, 2, "dim1", x->t.rank, &b));
    struct script_tensor t = x->t;
    t.dim[a] = x->t.dim[b];
    t.dim[b] = x->t.dim[a];
    t.stride[a] = x->t.stride[b];
    t.stride[b] = x->t.stride[a];
    return out_view(s, x, &t);
}

struct err *run_aten_permute(struct step *s)
{
    const struct view *x;
    struct ints dims;
    bool seen[TENSOR_MAX_RANK] = {false};
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(arg_ints(s, 1, "dims", &dims));
    if (dims.n != x->t.rank)
        return step_bad(s, "[%d] dimensions are given for a tensor of [%d]", dims.n, x->t.rank);
    struct script_tensor t = x->t;
    for (int i = 0; i < dims.n; i++) {
        int from;
        TRY(dim_wrap(s, dims.v[i], x->t.rank, &from));
        if (seen[from])
            return step_bad(s, "dimension [%d] appears twice", from);
        seen[from] = true;
        t.dim[i] = x->t.dim[from];
        t.stride[i] = x->t.stride[from];
    }
    return out_view(s, x, &t);
}

struct err *run_aten_unsqueeze(struct step *s)
{
    const struct view *x;
    int at;
    TRY(arg_tensor(s, 0, "self", &x));
    if (x->t.rank == TENSOR_MAX_RANK)
        return step_bad(s, "more than %d dimensions", TENSOR_MAX_RANK);
    TRY(arg_dim(s, 1, "dim", x->t.rank + 1, &at));
    struct script_tensor t = x->t;
    t.rank++;
    for (int i = t.rank - 1; i > at; i--) {
        t.dim[i] = t.dim[i - 1];
        t.stride[i] = t.stride[i - 1];
    }
    t.dim[at] = 1;
    t.stride[at] = at + 1 < t.rank ? t.dim[at + 1] * t.stride[at + 1] : 1;
    return out_view(s, x, &t);
}

struct err *run_aten_squeeze(struct step *s)
{
    const struct view *x;
    struct ints dims;
    bool marks[TENSOR_MAX_RANK];
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(arg_ints_opt(s, 1, "dim", &dims));
    if (dims.n == 0)
        return out_same(s, x);
    TRY(dims_mark(s, &dims, x->t.rank, marks));
    struct script_tensor t = x->t;
    t.rank = 0;
    for (int i = 0; i < x->t.rank; i++) {
        if (marks[i] && x->t.dim[i] == 1)
            continue;
        t.dim[t.rank] = x->t.dim[i];
        t.stride[t.rank++] = x->t.stride[i];
    }
    return out_view(s, x, &t);
}

static struct err *expand_to(struct step *s, const struct view *x, int rank, const int64_t *dim)
{
    struct script_tensor t;
    int64_t n;
    if (!dims_numel(rank, dim, &n))
        return step_bad(s, "a tensor cannot have the shape %s", shape_text(rank, dim).z);
    if (!broadcast_to(&x->t, rank, dim, &t))
        return step_bad(s, "a shape of %s cannot be expanded to %s", tensor_shape(&x->t).z,
                        shape_text(rank, dim).z);
    return out_view(s, x, &t);
}

struct err *run_aten_expand(struct step *s)
{
    const struct view *x;
    struct ints size;
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(arg_ints(s, 1, "size", &size));
    if (size.n < x->t.rank || size.n > TENSOR_MAX_RANK)
        return step_bad(s, "a tensor of [%d] dimensions cannot be expanded to [%d]", x->t.rank,
                        size.n);
    for (int i = 0; i < x->t.rank; i++) { /* -1: as it is */
        int64_t *to = &size.v[size.n - x->t.rank + i];
        *to = *to == -1 ? x->t.dim[i] : *to;
    }
    return expand_to(s, x, size.n, size.v);
}

struct err *run_aten_expand_as(struct step *s)
{
    const struct view *x, *other;
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(arg_tensor(s, 1, "other", &other));
    return expand_to(s, x, other->t.rank, other->t.dim);
}

/* Part of dimension `dim`. The first element moves only when there is one. */
struct script_tensor tensor_narrow(const struct script_tensor *x, int dim, int64_t start,
                                   int64_t length, int64_t step)
{
    struct script_tensor t = *x;
    t.dim[dim] = length;
    if (tensor_numel(&t) > 0)
        t.data = (char *)x->data + start * x->stride[dim] * (int64_t)dtype_size(x->dtype);
    t.stride[dim] = length > 1 ? x->stride[dim] * step : x->stride[dim];
    return t;
}

static int64_t clamped(int64_t at, int64_t size)
{
    at = at < 0 ? at + size : at;
    return at < 0 ? 0 : at > size ? size : at;
}

/* Python's slices: from, to (beyond the end: to the end), step. */
static struct err *slice_range(const struct step *s, uint32_t position, int64_t size,
                               int64_t *start, int64_t *length, int64_t *step)
{
    int64_t end = INT64_MAX;
    *start = 0;
    *step = 1;
    TRY(arg_int_opt(s, position, "start", start));
    TRY(arg_int_opt(s, position + 1, "end", &end));
    TRY(arg_int_opt(s, position + 2, "step", step));
    if (*step < 1)
        return step_bad(s, "a step of [%lld] is not positive", (long long)*step);
    *start = clamped(*start, size);
    end = clamped(end, size);
    int64_t span = end > *start ? end - *start : 0;
    *length = span ? (span - 1) / *step + 1 : 0;
    return NULL;
}

static struct err *slice_list(struct step *s, const struct items *l)
{
    int64_t start, length, step;
    struct items *out;
    TRY(slice_range(s, 1, (int64_t)l->n, &start, &length, &step));
    TRY(out_items(s, SCRIPT_LIST, (size_t)length, &out));
    out->o.depth = l->o.depth;
    for (int64_t i = 0; i < length; i++)
        out->v[i] = datum_copy(&l->v[start + i * step]);
    return NULL;
}

static struct err *slice_text(struct step *s, struct str text)
{
    int64_t start, length, step;
    TRY(slice_range(s, 1, (int64_t)text.n, &start, &length, &step));
    if (step != 1)
        return step_bad(s, "a text is sliced with a step of [%lld]", (long long)step);
    return out_text(s, str_sub(text, (size_t)start, (size_t)length));
}

struct err *run_aten_slice(struct step *s)
{
    const struct view *x;
    int64_t wanted = 0, start, length, step;
    int dim;
    if (arg_is(s, 0, "l", SCRIPT_LIST))
        return slice_list(s, arg_any(s, 0, "l")->items);
    if (arg_is(s, 0, "string", SCRIPT_STR))
        return slice_text(s, arg_any(s, 0, "string")->text->s);
    TRY(arg_tensor(s, 0, "self", &x));
    TRY(arg_int_opt(s, 1, "dim", &wanted));
    if (x->t.rank == 0)
        return step_bad(s, "a tensor without dimensions cannot be sliced");
    TRY(dim_wrap(s, wanted, x->t.rank, &dim));
    TRY(slice_range(s, 2, x->t.dim[dim], &start, &length, &step));
    struct script_tensor t = tensor_narrow(&x->t, dim, start, length, step);
    return out_view(s, x, &t);
}

static struct err *select_of_list(struct step *s, const struct items *l)
{
    int64_t at;
    TRY(arg_int(s, 1, "idx", &at));
    at = at < 0 ? at + (int64_t)l->n : at;
    if (at < 0 || at >= (int64_t)l->n)
        return step_bad(s, "a list of [%zu] has no item [%lld]", l->n, (long long)at);
    *s->out = datum_copy(&l->v[at]);
    return NULL;
}

struct err *run_aten_select(struct step *s)
{
    const struct view *x;
    const struct datum *v = arg_any(s, 0, "self");
    int64_t at;
    int dim;
    if (v && v->kind == SCRIPT_LIST)
        return select_of_list(s, v->items);
    TRY(arg_tensor(s, 0, "self", &x));
    if (x->t.rank == 0)
        return step_bad(s, "a tensor without dimensions has nothing to select");
    TRY(arg_dim(s, 1, "dim", x->t.rank, &dim));
    TRY(arg_int(s, 2, "index", &at));
    int64_t size = x->t.dim[dim];
    if (at < -size || at >= size)
        return step_bad(s, "index [%lld] is out of range for dimension [%d] of size [%lld]",
                        (long long)at, dim, (long long)size);
    struct script_tensor t = tensor_narrow(&x->t, dim, at < 0 ? at + size : at, 1, 1);
    t.rank--;
    for (int i = dim; i < t.rank; i++) {
        t.dim[i] = t.dim[i + 1];
        t.stride[i] = t.stride[i + 1];
    }
    return out_view(s, x, &t);
}

/* Parts of the lengths length(i), one behind the other, as a list of views. */
static struct err *part_into(struct step *s, const struct view *x, int dim, struct items *out,
                             size_t i, int64_t start, int64_t length)
{
    struct script_tensor t = tensor_narrow(&x->t, dim, start, length, 1);
    struct view *v;
    TRY(view_of(s, x, &t, &v));
    items_put(out, i, v);
    return NULL;
}

static struct err *split_evenly(struct step *s, const struct view *x, int dim, int64_t length)
{
    int64_t size = x->t.dim[dim];
    if (length < 0 || (length == 0 && size > 0))
        return step_bad(s, "a part's size of [%lld] is not positive", (long long)length);
    int64_t n = size == 0 ? 1 : (size - 1) / length + 1;
    struct items *out;
    TRY(out_items(s, SCRIPT_LIST, (size_t)n, &out));
    for (int64_t i = 0, start = 0; i < n; i++, start += length)
        TRY(part_into(s, x, dim, out, (size_t)i, start,
                      size - start < length ? size - start : length));
    return NULL;
}

static struct err *split_sizes(struct step *s, const struct view *x, int dim)
{
    const struct items *sizes;
    struct items *out;
    int64_t at = 0, size = x->t.dim[dim];
    TRY(arg_items(s, 1, "split_size", &sizes));
    TRY(out_items(s, SCRIPT_LIST, sizes->n, &out));
    for (size_t i = 0; i < sizes->n; i++) {
        const struct datum *v = &sizes->v[i];
        if (v->kind != SCRIPT_INT || v->i < 0 || v->i > size - at)
            return step_bad(s, "the parts do not add up to [%lld]", (long long)size);
        TRY(part_into(s, x, dim, out, i, at, v->i));
        at += v->i;
    }
    return at == size ? NULL : step_bad(s, "the parts do not add up to [%lld]", (long long)size);
}

/* str.split: None cuts at white space and drops empty parts. */
static struct err *split_text(struct step *s, struct str text)
{
    const struct datum *by = arg_given(s, 1, "separator");
    int64_t most = -1;
    TRY(arg_int_opt(s, 2, "max", &most));
    if (by && (by->kind != SCRIPT_STR || by->text->s.n == 0))
        return step_bad(s, "the separator must be a str that is not empty");
    struct str sep = by ? by->text->s : STR(" ");
    for (int64_t pass = 0, n = 0;; pass++, n = 0) { /* counts, then cuts */
        struct items *out = pass ? s->out->items : NULL;
        struct str rest = text;
        bool more = true;
        while (more) {
            if (!by)
                rest = str_trim(rest);
            size_t at = most >= 0 && n >= most ? SIZE_MAX : str_find(rest, sep);
            more = at != SIZE_MAX;
            struct str part = more ? str_sub(rest, 0, at) : rest;
            rest = more ? str_sub(rest, at + sep.n, rest.n) : rest;
            if (!by && part.n == 0)
                continue;
            if (out) {
                struct text *t = text_new(s->r, part);
                if (!t)
                    return step_no_memory(s);
                out->v[n] = (struct datum){.kind = SCRIPT_STR, .text = t};
            }
            n++;
        }
        if (pass)
            return NULL;
        TRY(out_items(s, SCRIPT_LIST, (size_t)n, &out));
    }
}

static struct err *cut_args(struct step *s, const struct view **x, int *dim)
{
    int64_t wanted = 0;
    TRY(arg_tensor(s, 0, "self", x));
    TRY(arg_int_opt(s, 2, "dim", &wanted));
    if ((*x)->t.rank == 0)
        return step_bad(s, "a tensor without dimensions cannot be cut");
    return dim_wrap(s, wanted, (*x)->t.rank, dim);
}

struct err *run_aten_split(struct step *s)
{
    const struct view *x;
    int64_t length;
    int dim;
    if (arg_is(s, 0, "self", SCRIPT_STR))
        return split_text(s, arg_any(s, 0, "self")->text->s);
    TRY(cut_args(s, &x, &dim));
    if (!arg_is(s, 1, "split_size", SCRIPT_INT))
        return split_sizes(s, x, dim);
    TRY(arg_int(s, 1, "split_size", &length));
    return split_evenly(s, x, dim, length);
}

/* At most `chunks` parts of one size, the last one maybe smaller. */
struct err *run_aten_chunk(struct step *s)
{
    const struct view *x;
    int64_t chunks;
    int dim;
    TRY(cut_args(s, &x, &dim));
    TRY(arg_int(s, 1, "chunks", &chunks));
    if (chunks < 1)
        return step_bad(s, "[%lld] chunks are not positive", (long long)chunks);
    int64_t size = x->t.dim[dim], length = size / chunks + (size % chunks != 0);
    if (size > 0)
        return split_evenly(s, x, dim, length);
    struct items *out; /* of nothing, as many as asked for */
    TRY(out_items(s, SCRIPT_LIST, (size_t)chunks, &out));
    for (int64_t i = 0; i < chunks; i++)
        TRY(part_into(s, x, dim, out, (size_t)i, 0, 0));
    return NULL;
}
