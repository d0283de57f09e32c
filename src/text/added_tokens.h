/* added_tokens: tokens that are looked for in the text itself, before any word is cut.
 *
 * Reference: huggingface/tokenizers, AddedVocabulary. Those with "normalized": false are found in
 * the raw text, the others in normalised text, leftmost and longest first. A special token's text
 * in the input is that token, as the reference has it. Private to text/. */
#ifndef INFERD_ADDED_TOKENS_H
#define INFERD_ADDED_TOKENS_H

#include "tokenizer_kind.h"

#define ADDED_MAX_TOKENS 65536
#define ADDED_MAX_BYTES  512

struct added_token {
    int32_t id;
    struct str content;
    bool special, normalized, lstrip, rstrip, single_word;
};

/* One set to look for: raw or normalised. */
struct added_set {
    struct trie *trie; /* to an index in tokens */
    const struct added_token *tokens;
    bool first[256]; /* bytes a token begins with */
    int only_first;  /* the one such byte; -1: several or none */
    bool empty;
};

void added_set_init(struct added_set *, const struct added_token *);
void added_set_deinit(struct added_set *);
/* Looks for `text` as token i. A second token of the same text is ignored, as are empty ones.
 * False: too many nodes. */
bool added_set_put(struct added_set *, struct str text, size_t i);

struct added_match {
    const struct added_token *token;
    size_t begin, end; /* bytes of the text searched, stripped white space included */
};

/* The next match at or after *at; *at moves past what was looked at. `taken` is where the last
 * match ended: white space that belongs to it is not stripped again. False: no more. */
bool added_next(const struct added_set *, struct str text, size_t *at, size_t taken,
                struct added_match *out);

#endif
