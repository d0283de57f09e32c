/* transform: rewriting normalised text while every byte keeps its origin.
 *
 * Reference: huggingface/tokenizers, NormalizedString::transform. A step hands over the new code
 * points one by one, each with a change: 0 replaces the next old code point and takes its origin,
 * -n does so and removes n more, 1 inserts and shares the origin of the old one before. What a step
 * says is followed to the letter, also where its counts do not add up: the reference's offsets are
 * the ones clients see. Private to text/. */
#ifndef INFERD_TRANSFORM_H
#define INFERD_TRANSFORM_H

#include "tokenizer_kind.h"

struct transform {
    const struct norm_text *in;
    struct norm_text *out;
    size_t at;      /* byte of `in` that is replaced next */
    uint32_t first; /* origin of what is inserted before everything */
};

/* Length of the character that begins with this byte of well-formed UTF-8. */
static inline size_t utf8_length(char first)
{
    uint8_t b = (uint8_t)first;
    return b < 0x80 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
}

static inline void transform_skip(struct transform *t, size_t n_chars)
{
    while (n_chars-- > 0 && t->at < t->in->n)
        t->at += utf8_length(t->in->p[t->at]);
}

static inline void transform_put(struct transform *t, uint32_t c, int64_t change)
{
    const struct norm_text *in = t->in;
    if (change > 0) {
        bool any = t->at > 0;
        norm_text_put(t->out, c, any ? in->begin[t->at - 1] : t->first,
                      any ? in->end[t->at - 1] : t->first);
        return;
    }
    size_t i = t->at < in->n ? t->at : in->n - 1;
    norm_text_put(t->out, c, in->begin[i], in->end[i]);
    transform_skip(t, (size_t)(1 - change));
}

#endif
