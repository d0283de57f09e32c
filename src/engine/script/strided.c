#include "strided.h"

/* Views of stride 0 can be larger than any memory; what bounds them is the time to walk them. */
#define MOST_ELEMENTS ((int64_t)1 << 40)

bool dims_numel(int rank, const int64_t *dim, int64_t *out)
{
    int64_t n = 1;
    bool empty = false;
    for (int i = 0; i < rank; i++) {
        if (dim[i] < 0 || dim[i] > MOST_ELEMENTS)
            return false;
        empty |= dim[i] == 0;
        if (dim[i] && (n > MOST_ELEMENTS / dim[i]))
            return false;
        n *= dim[i] ? dim[i] : 1;
    }
    *out = empty ? 0 : n;
    return true;
}

int64_t tensor_numel(const struct script_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

void dense_strides(struct script_tensor *t)
{
    int64_t stride = 1;
    for (int i = t->rank; i-- > 0;) {
        t->stride[i] = stride;
        stride *= t->dim[i] > 1 ? t->dim[i] : 1;
    }
}

bool tensor_is_dense(const struct script_tensor *t)
{
    int64_t stride = 1;
    for (int i = t->rank; i-- > 0;) {
        if (t->dim[i] == 0)
            return true;
        if (t->dim[i] != 1 && t->stride[i] != stride)
            return false;
        stride *= t->dim[i];
    }
    return true;
}

struct shape_text shape_text(int rank, const int64_t *dim)
{
    struct shape_text text;
    size_t n = 0;
    text.z[n++] = '[';
    for (int i = 0; i < rank && n < sizeof(text.z) - 24; i++)
        n += (size_t)snprintf(text.z + n, 24, i ? ", %lld" : "%lld", (long long)dim[i]);
    text.z[n] = ']';
    text.z[n + 1] = '\0';
    return text;
}

struct shape_text tensor_shape(const struct script_tensor *t)
{
    return shape_text(t->rank, t->dim);
}

struct err *broadcast_dims(const struct step *s, struct script_tensor *shape,
                           const struct script_tensor *with)
{
    int rank = shape->rank > with->rank ? shape->rank : with->rank;
    int64_t dim[TENSOR_MAX_RANK], n;
    for (int i = 1; i <= rank; i++) {
        int64_t a = i <= shape->rank ? shape->dim[shape->rank - i] : 1;
        int64_t b = i <= with->rank ? with->dim[with->rank - i] : 1;
        if (a != b && a != 1 && b != 1)
            return step_bad(s, "shapes %s and %s cannot be broadcast", tensor_shape(shape).z,
                            tensor_shape(with).z);
        dim[rank - i] = a == 1 ? b : a;
    }
    if (!dims_numel(rank, dim, &n))
        return step_bad(s, "a shape of %s is too large", shape_text(rank, dim).z);
    shape->rank = rank;
    memcpy(shape->dim, dim, sizeof(dim[0]) * (size_t)rank);
    return NULL;
}

bool broadcast_to(const struct script_tensor *t, int rank, const int64_t *dim,
                  struct script_tensor *out)
{
    struct script_tensor seen = {.dtype = t->dtype, .rank = rank, .data = t->data};
    if (t->rank > rank)
        return false;
    for (int i = 1; i <= rank; i++) {
        int to = rank - i, from = t->rank - i;
        seen.dim[to] = dim[to];
        if (from < 0 || (t->dim[from] == 1 && dim[to] != 1))
            seen.stride[to] = 0;
        else if (t->dim[from] == dim[to])
            seen.stride[to] = t->stride[from];
        else
            return false;
    }
    *out = seen;
    return true;
}

bool next_position(int rank, const int64_t *dim, int64_t *at)
{
    for (int i = rank; i-- > 0;) {
        if (++at[i] < dim[i])
            return true;
        at[i] = 0;
    }
    return false;
}

/* Dimension b directly inside a (a is outer): one loop if every tensor steps evenly. */
static bool merges(const struct walk *w, int a, int64_t inner_dim, const int64_t *inner_stride)
{
    for (int k = 0; k < w->n; k++)
        if (w->stride[k][a] != inner_stride[k] * inner_dim)
            return false;
    return true;
}

void walk_init(struct walk *w, int n, const struct script_tensor *const *t)
{
    w->n = n;
    w->rank = 0;
    w->done = tensor_numel(t[0]) == 0;
    for (int k = 0; k < n; k++)
        w->p[k] = t[k]->data;
    for (int i = 0; i < t[0]->rank; i++) {
        if (t[0]->dim[i] == 1)
            continue;
        int at = w->rank;
        int64_t stride[MOST_WALKED];
        for (int k = 0; k < n; k++)
            stride[k] = t[k]->stride[i] * (int64_t)dtype_size(t[k]->dtype);
        if (at && merges(w, at - 1, t[0]->dim[i], stride))
            w->dim[--at] *= t[0]->dim[i];
        else
            w->dim[at] = t[0]->dim[i];
        for (int k = 0; k < n; k++)
            w->stride[k][at] = stride[k];
        w->rank = at + 1;
    }
    w->inner = 1;
    memset(w->inner_stride, 0, sizeof(w->inner_stride));
    if (w->rank) {
        w->rank--;
        w->inner = w->dim[w->rank];
        for (int k = 0; k < n; k++)
            w->inner_stride[k] = w->stride[k][w->rank];
    }
    memset(w->at, 0, sizeof(w->at));
}

void walk_next(struct walk *w)
{
    for (int i = w->rank; i-- > 0;) {
        for (int k = 0; k < w->n; k++)
            w->p[k] += w->stride[k][i];
        if (++w->at[i] < w->dim[i])
            return;
        for (int k = 0; k < w->n; k++)
            w->p[k] -= w->stride[k][i] * w->dim[i];
        w->at[i] = 0;
    }
    w->done = true;
}
