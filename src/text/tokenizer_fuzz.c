/* Any bytes as text, alone and as a pair, in any window: offsets stay inside, ids in range. */
#include <stdlib.h>

#include "tokenizer_private.h"

static const char config[] =
    "{\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":"
    "true,"
    "\"strip_accents\":null,\"lowercase\":true},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
    "\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"[CLS]\",1],\"sep\":[\"[SEP]\",2]},"
    "\"added_tokens\":[{\"id\":2,\"content\":\"[SEP]\",\"lstrip\":true,\"normalized\":false},"
    "{\"id\":9,\"content\":\"\xC3\x89x\",\"single_word\":true,\"rstrip\":true}],"
    "\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"[UNK]\":0,\"[CLS]\":1,\"[SEP]\":2,\"a\":3,"
    "\"##a\":4,\"##ab\":5,\"e\":6,\"##e\":7,\"!\":8}}}";

static void check(const struct tokens *t, const size_t n[2], uint32_t max)
{
    if (t->n > max || t->n > t->n_untruncated || t->truncated != (t->n_untruncated > max))
        abort();
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->ids[i] < 0 || t->ids[i] > 9 || (t->type_ids[i] & ~1) || t->begin[i] > t->end[i] ||
            t->end[i] > n[t->type_ids[i]])
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tokenizer *t;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    const struct json *root;
    if (!t &&
        (json_parse(a, str_c(config), &root) || tokenizer_read(root, (struct str){NULL, 0}, &t)))
        abort();
    if (size > 1) {
        struct window w = {.max_tokens = 3 + data[0]};
        size_t n[2] = {(size - 2) * data[1] / 255, 0};
        n[1] = size - 2 - n[0];
        const char *p = (const char *)data + 2;
        struct tokens got;
        if (tokenizer_encode(t, a, str_n(p, n[0]), str_n(p + n[0], n[1]), &w, &got))
            abort();
        check(&got, n, w.max_tokens);
        if (tokenizer_encode(t, a, str_n(p, n[0]), str_n(NULL, 0), &w, &got))
            abort();
        check(&got, n, w.max_tokens);
    }
    arena_free(a);
    return 0;
}
