/* Any body as an uploaded vocabulary, any options, any text: the input is three parts between zero
 * bytes. */
#include "tokenization.h"

#include "tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode(const struct tokenization *t, const struct json *vocabulary, struct str text)
{
    struct tokenizer *tokenizer;
    struct err *err = tokenization_open(t, vocabulary, &tokenizer);
    if (err) {
        err_free(err);
        return;
    }
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct windows w;
    struct str first = str_sub(text, 0, text.n / 2), second = str_sub(text, text.n / 2, text.n);
    err_free(tokenization_encode(t, tokenizer, a, text, str_c(NULL), &w));
    err_free(tokenization_encode(t, tokenizer, a, first, second, &w));
    tokenizer_unref(tokenizer);
    arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = {(const char *)data, size}, options, vocabulary;
    if (!str_split(&rest, '\0', &options) || !str_split(&rest, '\0', &vocabulary) || !rest.p)
        return 0;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    const struct json *o, *v;
    struct tokenization t;
    struct err *err = json_parse(a, options, &o);
    if (!err)
        err = json_parse(a, vocabulary, &v);
    if (!err)
        err = tokenization_parse(o, &t);
    if (!err) {
        err_free(vocabulary_check(&t, STR("m"), v));
        encode(&t, v, rest);
    }
    err_free(err);
    arena_free(a);
    return 0;
}
