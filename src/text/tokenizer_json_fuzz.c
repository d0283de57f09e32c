/* Any JSON as tokenizer.json: refused with words, or a tokenizer that works. */
#include <stdlib.h>

#include "tokenizer_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    const struct json *root;
    struct tokenizer *t = NULL;
    struct tokens got;
    struct err *err = json_parse(a, str_n((const char *)data, size), &root);
    if (!err)
        err = tokenizer_read(root, (struct str){NULL, 0}, &t);
    if (!err)
        err = tokenizer_encode(t, a, STR("A\xCC\x81 b [SEP] ab\xE4\xB8\xAD"), STR("c"), NULL, &got);
    if (!err && got.n && tokenizer_vocab_size(t) == 0)
        abort();
    err_free(err);
    tokenizer_unref(t);
    arena_free(a);
    return 0;
}
