/* Whatever decodes has a canonical form that decodes to the same. */
#include <sodium.h>
#include <stdlib.h>

#include "base64.h"
#include "bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned char *out = mem_new(base64_bytes(size));
    size_t n, again_n;
    if (base64_decode(str_n((const char *)data, size), out, &n)) {
        BUG_ON(n > base64_bytes(size));
        size_t room = sodium_base64_ENCODED_LEN(n, sodium_base64_VARIANT_ORIGINAL);
        char *text = mem_new(room);
        sodium_bin2base64(text, room, out, n, sodium_base64_VARIANT_ORIGINAL);
        unsigned char *again = mem_new(base64_bytes(room));
        BUG_ON(!base64_decode(str_c(text), again, &again_n));
        BUG_ON(again_n != n || (n && memcmp(again, out, n) != 0));
        free(again);
        free(text);
    }
    free(out);
    return 0;
}
