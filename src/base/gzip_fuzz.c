/* Any bytes into the inflater: it must end, stay below the ceiling and, where it succeeds, agree
 * with what the deflater makes of the result. */
#include "gzip.h"

#include "bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf out, packed, again;
    buf_init(&out, 100000);
    buf_init(&packed, SIZE_MAX);
    buf_init(&again, 100000);
    struct err *e = gzip_inflate(str_n((const char *)data, n), &out);
    BUG_ON(out.n > out.limit);
    if (!e) {
        gzip_deflate(buf_str(&out), 1, &packed);
        e = gzip_inflate(buf_str(&packed), &again);
        BUG_ON(e || !str_eq(buf_str(&out), buf_str(&again)));
    }
    err_free(e);
    buf_deinit(&out);
    buf_deinit(&packed);
    buf_deinit(&again);
    return 0;
}
