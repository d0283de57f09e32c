/* Any bytes as a pickle, with two storages at hand: every element of every tensor lies in one. */
#include "pickle.h"

#include "bug.h"
#include "map.h"
#include "tensor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static char elements[2][64];

static void check_tensor(const struct script_tensor *t, const char *base)
{
    uint64_t last = 0;
    BUG_ON(t->rank < 0 || t->rank > TENSOR_MAX_RANK);
    for (int i = 0; i < t->rank; i++) {
        BUG_ON(t->dim[i] < 0 || t->stride[i] < 0);
        if (t->dim[i] == 0)
            return;
        last += (uint64_t)(t->dim[i] - 1) * (uint64_t)t->stride[i];
    }
    const char *end = (const char *)t->data + (last + 1) * dtype_size(t->dtype);
    BUG_ON((const char *)t->data < base || end > base + 64);
}

static void check(const struct pickle_value *v, int depth)
{
    if (v->kind == PICKLE_TENSOR) {
        const char *at = v->tensor.view->data;
        check_tensor(v->tensor.view, at < elements[1] ? elements[0] : elements[1]);
    }
    bool holds = v->kind == PICKLE_LIST || v->kind == PICKLE_TUPLE || v->kind == PICKLE_DICT;
    for (uint32_t i = 0; holds && i < v->n && i < 8 && depth < 6; i++)
        check(v->items[i], depth + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct storage storages[2] = {{.name = STR("data/0"), .data = elements[0], .size = 64},
                                  {.name = STR("data/1"), .data = elements[1], .size = 64}};
    struct archive archive = {.file = "fuzz", .by_name = map_new()};
    struct pickle_value *v;
    for (int i = 0; i < 2; i++)
        map_put(archive.by_name, storages[i].name, &storages[i]);
    struct err *err =
        pickle_read(str_n((const char *)data, n), "data.pkl", "data/", &archive, a, &v);
    if (!err)
        check(v, 0);
    BUG_ON(err && err->kind != ERR_ARGUMENT);
    err_free(err);
    map_free(archive.by_name);
    arena_free(a);
    return 0;
}
