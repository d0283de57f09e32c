/* pipeline: normaliser, pre-tokeniser and a model of words: what BPE and Unigram have in common.
 *
 * A kind embeds a pipeline and gives it a function that turns one word into tokens. Private to
 * text/. */
#ifndef INFERD_PIPELINE_H
#define INFERD_PIPELINE_H

#include "normalizer.h"
#include "pretokenizer.h"

struct pipeline {
    struct normalizer *normalizer;
    struct pretokenizer *pretokenizer;
};

/* Room a model reuses from word to word; zeroed before the first, freed after the last. */
struct scratch {
    void *p;
    size_t cap;
};
/* At least n bytes; what was there is lost. */
void *scratch_take(struct scratch *, size_t n);

typedef void word_encode(const void *model, const struct norm_text *, uint32_t from, uint32_t to,
                         struct scratch *, struct pieces *out);

struct err *pipeline_read(const struct json *root, struct pipeline *out);
void pipeline_deinit(struct pipeline *);
bool pipeline_may_cut(const struct pipeline *, struct str text);
void pipeline_encode(const struct pipeline *, word_encode *, const void *model, struct str text,
                     uint32_t at, struct pieces *out);
void pipeline_encode_normalized(const struct pipeline *, word_encode *, const void *model,
                                const struct norm_text *, size_t from, size_t to,
                                struct pieces *out);

#endif
