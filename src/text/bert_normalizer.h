/* bert_normalizer: BERT's cleaning of text, one code point at a time, with its origin kept.
 *
 *     struct bert_run run = {0};
 *     bert_normalize(&n, text, at, &run, take, ctx);   // take(ctx, chars, n) in pieces
 *     bert_run_free(&run);
 *
 * Steps, in the reference's order: clean_text, handle_chinese_chars, strip_accents (NFD, then marks
 * out), lowercase. Each output code point says which bytes of the original text it stands for, by
 * the reference's own rule (tokenizers, NormalizedString::transform): a replacement consumes the
 * next original character, an addition shares the one before it. So after NFD has reordered
 * marks, origins follow the order of output, not the marks; harmless, and kept the same.
 * Thread: any. */
#ifndef INFERD_BERT_NORMALIZER_H
#define INFERD_BERT_NORMALIZER_H

#include "bert_chars.h"
#include "json.h"

struct bert_normalizer {
    bool clean_text, handle_chinese_chars, strip_accents, lowercase;
};

struct norm_char {
    uint32_t c;
    uint32_t begin, end; /* bytes of the original text */
};

/* Combining characters waiting to be put in canonical order. Runs longer than the limit are cut
 * there: no script writes such, and memory stays bounded. */
#define BERT_RUN_LIMIT 65536

struct bert_run {
    struct bert_waiting *v;
    size_t n, cap;
    bool survivor;       /* one of them is not going to be stripped */
    uint32_t begin, end; /* the character consumed last */
};
void bert_run_free(struct bert_run *);

typedef void norm_take(void *ctx, const struct norm_char *, size_t n);

/* Normalises all of `text`, whose first byte is byte `at` of the original. Nothing waits in `run`
 * afterwards: combining characters are not carried from one text to the next. */
void bert_normalize(const struct bert_normalizer *, struct str text, uint32_t at, struct bert_run *,
                    norm_take *take, void *ctx);

/* From tokenizer.json's "normalizer": a BertNormalizer object or null (nothing is changed). */
struct err *bert_normalizer_read(const struct json *, struct bert_normalizer *out);

#endif
