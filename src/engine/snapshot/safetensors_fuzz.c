/* Any bytes as a header over any length of data: what is let through must be tensors of known
 * types that lie end to end and fill the data. */
#include "safetensors.h"

#include "bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    uint64_t data_bytes = (uint64_t)data[0] << 8 | data[1], at = 0;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct st_header h;
    struct err *e =
        safetensors_parse(a, "fuzz", str_n((const char *)data + 2, n - 2), data_bytes, &h);
    for (size_t i = 0; !e && i < h.n; i++) {
        const struct st_tensor *t = &h.tensors[i];
        BUG_ON(t->begin != at || t->end < t->begin || t->rank > TENSOR_MAX_RANK);
        at = t->end;
    }
    BUG_ON(!e && at != data_bytes);
    BUG_ON(e && e->kind != ERR_ARGUMENT);
    err_free(e);
    arena_free(a);
    return 0;
}
