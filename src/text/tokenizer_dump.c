/* tokenizer_dump: what the tokenizer makes of texts, for comparison with another one; see
 * tests/tokenizer_sweep.py. Not installed.
 *
 *     tokenizer_dump SNAPSHOT_FOLDER < requests > answers
 *     tokenizer_dump TOKENIZATION VOCABULARY < requests > answers
 *
 * TOKENIZATION as in an inference_config, {"bert":{}}; VOCABULARY: a file, as it is uploaded.
 *
 * Numbers are 32 bits in the machine's order. A request: 1 if there is a second text, the bytes of
 * the first, the bytes of the second, the window (0: none); then the texts. An answer: n,
 * truncated, n_untruncated; then n ids, type ids, begins and ends. */
#include <stdio.h>
#include <stdlib.h>

#include "bug.h"
#include "tokenization.h"
#include "tokenizer.h"

static struct str read_text(struct arena *a, uint32_t n)
{
    char *p = arena_alloc(a, (size_t)n + 1);
    BUG_ON(fread(p, 1, n, stdin) != n);
    return str_n(p, n);
}

static void put(const void *p, size_t n)
{
    BUG_ON(fwrite(p, sizeof(uint32_t), n, stdout) != n);
}

static struct err *answer(const struct tokenizer *t, struct arena *a, const uint32_t head[4])
{
    struct str first = read_text(a, head[1]), second = read_text(a, head[2]);
    if (!head[0])
        second = (struct str){NULL, 0};
    struct window window = {.max_tokens = head[3] ? head[3] : INT32_MAX};
    struct tokens got;
    TRY(tokenizer_encode(t, a, first, second, &window, &got));
    put((uint32_t[]){got.n, got.truncated, got.n_untruncated}, 3);
    put(got.ids, got.n);
    put(got.type_ids, got.n);
    put(got.begin, got.n);
    put(got.end, got.n);
    return NULL;
}

static struct str read_file(struct arena *a, const char *path)
{
    FILE *f = fopen(path, "rb");
    BUG_ON(!f || fseek(f, 0, SEEK_END));
    long n = ftell(f);
    BUG_ON(n < 0 || fseek(f, 0, SEEK_SET));
    char *p = arena_alloc(a, (size_t)n + 1);
    BUG_ON(fread(p, 1, (size_t)n, f) != (size_t)n);
    fclose(f);
    return str_n(p, (size_t)n);
}

static struct err *open_upload(struct arena *a, const char *tokenization, const char *path,
                               struct tokenizer **out)
{
    const struct json *options, *vocabulary;
    struct tokenization t;
    TRY(json_parse(a, str_c(tokenization), &options));
    TRY(json_parse(a, read_file(a, path), &vocabulary));
    TRY(tokenization_parse(options, &t));
    return tokenization_open(&t, vocabulary, out);
}

static struct err *open_either(struct arena *a, int argc, char **argv, struct tokenizer **out)
{
    if (argc == 2)
        return tokenizer_open_snapshot(argv[1], out);
    if (argc == 3)
        return open_upload(a, argv[1], argv[2], out);
    return err_new(ERR_ARGUMENT, "usage: tokenizer_dump SNAPSHOT_FOLDER | TOKENIZATION VOCABULARY");
}

int main(int argc, char **argv)
{
    struct tokenizer *t = NULL;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct err *err = open_either(a, argc, argv, &t);
    uint32_t head[4];
    while (!err && fread(head, sizeof(head), 1, stdin) == 1) {
        err = answer(t, a, head);
        arena_reset(a);
    }
    if (err)
        fprintf(stderr, "%s\n", err->reason);
    int status = err ? 1 : 0;
    err_free(err);
    arena_free(a);
    tokenizer_unref(t);
    return status;
}
