/* Any bytes as an archive: entries that can be read are as long as they say and lie apart. */
#include "archive_testing.h"
#include "bug.h"
#include "zip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void count(void *ctx, const void *bytes, size_t n)
{
    *(uint64_t *)ctx += n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct maker m;
    struct zip *z = NULL;
    maker_init(&m);
    struct err *err = zip_open(maker_bytes(&m, str_n((const char *)data, n)), &z);
    for (size_t i = 0; !err && i < zip_count(z); i++) {
        const struct zip_entry *e = zip_at(z, i);
        uint64_t seen = 0;
        BUG_ON(zip_find(z, e->name) != e || e->data_at + e->packed > n);
        err = zip_read(z, e, NULL, count, &seen);
        BUG_ON(!err && seen != e->size);
    }
    BUG_ON(err && err->kind != ERR_ARGUMENT);
    err_free(err);
    zip_close(z);
    maker_deinit(&m);
    return 0;
}
