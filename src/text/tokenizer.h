/* tokenizer: text to token ids, equal to Hugging Face's for the same files.
 *
 *     struct tokenizer *t;
 *     TRY(tokenizer_open_snapshot("models/all-minilm-l6-v2", &t));   // reads files: pool only
 *     struct tokens tok;
 *     TRY(tokenizer_encode(t, arena, text, (struct str){0}, &window, &tok));
 *     tokenizer_unref(t);
 *
 * A tokenizer is immutable and counted. Any bytes may come in: malformed UTF-8 is read as Python's
 * errors="replace" would (U+FFFD). Offsets in `out` are bytes of the original text.
 * Reference: huggingface/tokenizers 0.21 (WordPiece, BPE, Unigram). Thread: any. */
#ifndef INFERD_TOKENIZER_H
#define INFERD_TOKENIZER_H

#include "arena.h"
#include "err.h"
#include "json.h"
#include "str.h"

struct tokenizer;

/* How much fits, special tokens included; what is cut is cut at the end ("truncate": "end"). */
struct window {
    uint32_t max_tokens;
    bool refuse; /* too long is an error instead of a cut */
};

struct tokens {
    uint32_t n;
    const int32_t *ids;
    const int32_t *type_ids;     /* segment: 0 for a, 1 for b */
    const uint32_t *begin, *end; /* byte offsets in a or b; special tokens: 0, 0 */
    const uint32_t *words;       /* which word of a or b, from 1; special tokens: 0 */
    uint32_t b_first;            /* where b's tokens begin; n: there are none */
    bool truncated;
    uint32_t n_untruncated; /* what it would have been, special tokens included */
};

/* From a snapshot folder: tokenizer.json, else vocab.json with merges.txt, else vocab.txt; the
 * latter two with tokenizer_config.json. */
struct err *tokenizer_open_snapshot(const char *folder, struct tokenizer **out);
struct tokenizer *tokenizer_ref(struct tokenizer *);
void tokenizer_unref(struct tokenizer *);

/* b.p NULL: a single text. ids live in the arena. */
struct err *tokenizer_encode(const struct tokenizer *, struct arena *, struct str a, struct str b,
                             const struct window *, struct tokens *out);
uint32_t tokenizer_vocab_size(const struct tokenizer *);
/* The text of a token as the vocabulary has it ("##ing"); {NULL, 0} when out of range. */
struct str tokenizer_token(const struct tokenizer *, int32_t id);

#endif
