/* pretokenizer: "pre_tokenizer" of a tokenizer.json: where normalised text is cut into words.
 *
 *     struct words w = {0};
 *     pretokenizer_run(p, &norm, from, to, &w);
 *     for (i < w.n) model(&w.text, w.v[i].from, w.v[i].to);
 *     words_free(&w);
 *
 * Steps: ByteLevel, Metaspace, WhitespaceSplit, Whitespace, BertPreTokenizer, Punctuation, Digits,
 * Split, and Sequence of these. ByteLevel's alphabet is left to the model: words keep their bytes.
 * Private to text/. Thread: any. */
#ifndef INFERD_PRETOKENIZER_H
#define INFERD_PRETOKENIZER_H

#include "json.h"
#include "tokenizer_kind.h"

#define PRETOKENIZER_MAX_STEPS 16

struct pretokenizer;

struct word_span {
    uint32_t from, to; /* bytes of `text` */
    uint32_t origin;   /* where the word's part of the original begins */
};

/* `text` may differ from what was cut: Metaspace and ByteLevel put characters in. */
struct words {
    struct norm_text text;
    struct word_span *v;
    size_t n, cap;
};

struct err *pretokenizer_read(const struct json *, struct pretokenizer **out);
void pretokenizer_free(struct pretokenizer *);
/* Ends in ByteLevel: the model's vocabulary is in the byte alphabet. */
bool pretokenizer_is_byte_level(const struct pretokenizer *);
/* See normalizer_may_cut. */
bool pretokenizer_may_cut(const struct pretokenizer *);
/* Bytes from .. to of `in`, at least one; `w` is empty or was used before. */
void pretokenizer_run(const struct pretokenizer *, const struct norm_text *in, size_t from,
                      size_t to, struct words *w);
void words_free(struct words *);

#endif
