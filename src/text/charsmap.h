/* charsmap: SentencePiece's "precompiled_charsmap", the rewriting its models are trained with.
 *
 * A little-endian length, a double-array trie of that many bytes, and the replacements, each ending
 * with a zero byte. Reference: huggingface/spm_precompiled and tokenizers' Precompiled: a grapheme
 * of fewer than six bytes is looked up as a whole, everything else character by character, and the
 * shortest entry that begins it decides. Private to text/. */
#ifndef INFERD_CHARSMAP_H
#define INFERD_CHARSMAP_H

#include "transform.h"

struct charsmap;

/* From base64. NULL: damaged. */
struct charsmap *charsmap_read(struct str base64);
/* SentencePiece's own "nmt_nfkc" as of its version 0.1.91, which XLM-RoBERTa and DeBERTa were
 * trained with: made once, from NFKC, and shared: never freed. Equal to the reference's map for all
 * texts (the test holds it against sums over every character). */
const struct charsmap *charsmap_nmt_nfkc(void);
void charsmap_free(struct charsmap *);
/* No printable character of ASCII is removed. */
bool charsmap_keeps_ascii(const struct charsmap *);
/* Appends to `out`. */
void charsmap_apply(const struct charsmap *, const struct norm_text *in, uint32_t at,
                    struct norm_text *out);

#endif
