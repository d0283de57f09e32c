/* The tokenizer itself, shared by tokenizer.c (encoding) and tokenizer_load.c (reading files). */
#ifndef INFERD_TOKENIZER_PRIVATE_H
#define INFERD_TOKENIZER_PRIVATE_H

#include <stdatomic.h>

#include "added_tokens.h"
#include "template.h"
#include "tokenizer.h"

struct tokenizer {
    atomic_uint refs;
    struct arena *arena; /* token texts */
    struct vocab vocab;  /* the trie has the model's tokens only, the list has added ones too */
    const struct tokenizer_kind *kind;
    void *model;
    struct added_token *added;
    size_t n_added;
    struct added_set raw, normalized;
    bool *strips; /* by id: added tokens that take white space along; NULL: there are none */
    struct template single, pair;
    bool may_cut;                /* long texts are encoded part by part */
    uint32_t part_bytes;         /* of at least so many bytes */
    uint32_t default_max_tokens; /* "truncation"; 0: none */
};

/* Tokens of one text, without special ones; `out` has its arena and its limit. */
void tokenizer_pieces(const struct tokenizer *, struct str text, struct pieces *out);
/* The template filled in: special tokens, and a part of each text's. Sets all of `out` but what is
 * said of truncation. */
struct part {
    const struct pieces *pieces;
    size_t from, n;
};
void tokenizer_assemble(const struct template *, struct arena *, const struct part parts[2],
                        struct tokens *out);

/* All that a tokenizer.json says. `lines`: the vocabulary, one token a line, when it is not in
 * model.vocab ({NULL, 0}: it is). Errors name the member. */
struct err *tokenizer_read(const struct json *root, struct str lines, struct tokenizer **out);
/* Memory only: a tokenizer that is published ends with tokenizer_unref. */
void tokenizer_free(struct tokenizer *);

#endif
