/* Storages and views of them. A view is given by offset, sizes and strides in elements; the last
 * element it reaches is offset + sum((size - 1) * stride), which has to be less than the number of
 * elements; with a size of 0 nothing is reached. */
#include "pickle_tensor.h"

#include "tensor.h"

#define KEY_MOST   200
#define COUNT_MOST ((int64_t)1 << 56) /* its bytes fit an int64_t */

/* Any byte but 0 means true, as in PyTorch; C wants a 1. */
static void make_bools(struct storage *s)
{
    unsigned char *p = s->data;
    for (uint64_t i = 0; p && i < s->size; i++)
        p[i] = p[i] != 0;
}

const char *pickle_storage(const struct pickle_value *id, const char *folder,
                           const struct archive *archive, struct pickle_value *v)
{
    if (id->kind != PICKLE_TUPLE || id->n != 5)
        return "has a persistent id that is no storage";
    const struct pickle_value *word = id->items[0], *type = id->items[1], *key = id->items[2],
                              *place = id->items[3], *count = id->items[4];
    if (word->kind != PICKLE_STR || !str_eq(word->s, STR("storage")))
        return "has a persistent id that is no storage";
    if (type->kind != PICKLE_GLOBAL || type->global.which != GLOBAL_STORAGE)
        return "has a storage of no known type";
    if (place->kind != PICKLE_STR || !str_eq(place->s, STR("cpu")))
        return "has a storage that is not on the [cpu]";
    if (key->kind != PICKLE_STR || key->s.n > KEY_MOST || count->kind != PICKLE_INT || count->i < 0)
        return "has a damaged storage";
    char name[KEY_MOST + 32];
    int n = snprintf(name, sizeof(name), "%s%.*s", folder, STR_ARG(key->s));
    struct storage *s = archive_storage(archive, str_n(name, (size_t)n));
    if (!s)
        return "has a storage without an entry";
    size_t width = dtype_size(type->global.type->dtype);
    if (s->size % width || (uint64_t)count->i != s->size / width)
        return "has a storage that is not as long as its entry";
    s->used = true;
    if (type->global.type->dtype == DTYPE_BOOL)
        make_bools(s);
    v->storage.type = type->global.type;
    v->storage.of = s;
    v->storage.n_elements = (uint64_t)count->i;
    return NULL;
}

static const char *read_view(const struct pickle_value *sizes, const struct pickle_value *strides,
                             uint64_t offset, uint64_t n_elements, struct script_tensor *t)
{
    uint64_t last = offset;
    int64_t count = 1; /* of elements, a size of 0 counted as 1: whatever order one multiplies in */
    bool empty = false;
    if (sizes->kind != PICKLE_TUPLE || strides->kind != PICKLE_TUPLE || sizes->n != strides->n)
        return "has a tensor with damaged sizes";
    if (sizes->n > TENSOR_MAX_RANK)
        return "has a tensor of too many dimensions";
    t->rank = (int)sizes->n;
    for (int i = 0; i < t->rank; i++) {
        const struct pickle_value *size = sizes->items[i], *stride = strides->items[i];
        uint64_t step;
        if (size->kind != PICKLE_INT || stride->kind != PICKLE_INT || size->i < 0 || stride->i < 0)
            return "has a tensor with a size or stride that is no count";
        t->dim[i] = size->i;
        t->stride[i] = stride->i;
        empty |= size->i == 0;
        if (__builtin_mul_overflow(count, size->i ? size->i : 1, &count) || count > COUNT_MOST)
            return "has a tensor of too many elements";
        if (size->i > 0 &&
            (__builtin_mul_overflow((uint64_t)size->i - 1, (uint64_t)stride->i, &step) ||
             __builtin_add_overflow(last, step, &last)))
            return "has a tensor that reaches past its storage";
    }
    for (int i = 0; i < t->rank && empty; i++)
        t->stride[i] = 0; /* nothing is reached: the numbers mean nothing either */
    if (empty ? offset > n_elements : last >= n_elements)
        return "has a tensor that reaches past its storage";
    return NULL;
}

static const char *read_channels(const struct pickle_value *how, struct quantization *q)
{
    const struct pickle_value *scales = how->items[1], *zeros = how->items[2],
                              *axis = how->items[3];
    if (scales->kind != PICKLE_TENSOR || scales->tensor.view->dtype != DTYPE_F64 ||
        scales->tensor.view->rank != 1 || scales->tensor.quantized)
        return "has a quantized tensor with damaged scales";
    if (zeros->kind != PICKLE_TENSOR || zeros->tensor.view->dtype != DTYPE_I64 ||
        zeros->tensor.view->rank != 1 || zeros->tensor.quantized || axis->kind != PICKLE_INT)
        return "has a quantized tensor with damaged zero points";
    q->scales = scales;
    q->zero_points = zeros;
    q->axis = axis->i;
    return NULL;
}

static const char *read_quantizer(const struct pickle_value *how, struct quantization *q)
{
    if (how->kind != PICKLE_TUPLE || how->n < 1 || how->items[0]->kind != PICKLE_GLOBAL)
        return "has a quantized tensor with a damaged quantizer";
    enum pickle_global which = how->items[0]->global.which;
    if (which == GLOBAL_PER_CHANNEL && how->n == 4)
        return read_channels(how, q);
    if (which != GLOBAL_PER_TENSOR || how->n != 3 || how->items[1]->kind != PICKLE_FLOAT ||
        how->items[2]->kind != PICKLE_INT)
        return "has a quantized tensor with a damaged quantizer";
    q->scale = how->items[1]->f;
    q->zero_point = how->items[2]->i;
    return NULL;
}

const char *pickle_tensor(const struct pickle_value *args, bool quantized, struct arena *a,
                          struct pickle_value *v)
{
    if (args->n < (quantized ? 6u : 5u))
        return "has a tensor with too few arguments";
    const struct pickle_value *of = args->items[0], *offset = args->items[1];
    if (of->kind != PICKLE_STORAGE || offset->kind != PICKLE_INT || offset->i < 0)
        return "has a damaged tensor";
    if (of->storage.type->quantized != quantized)
        return "has a tensor whose storage is of another kind";
    struct script_tensor *t = arena_alloc(a, sizeof(*t));
    v->tensor.view = t;
    t->dtype = of->storage.type->dtype;
    const char *why =
        read_view(args->items[2], args->items[3], (uint64_t)offset->i, of->storage.n_elements, t);
    if (why)
        return why;
    if (of->storage.of->data)
        t->data = (char *)of->storage.of->data + (size_t)offset->i * dtype_size(t->dtype);
    if (!quantized)
        return NULL;
    struct quantization *q = arena_alloc(a, sizeof(*q));
    v->tensor.quantized = q;
    return read_quantizer(args->items[4], q);
}
