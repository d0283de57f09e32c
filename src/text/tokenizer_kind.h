/* tokenizer_kind: what the kinds of tokenizer have in common, and how one is added.
 *
 * A kind is one file and one line in tokenizer_kinds.def: it reads "normalizer", "pre_tokenizer"
 * and "model" of a tokenizer.json and turns pieces of text into ids. What stands around it is
 * shared: the vocabulary, added tokens (cut out of the text before a kind sees it), the special
 * tokens around a text, truncation. Private to text/. */
#ifndef INFERD_TOKENIZER_KIND_H
#define INFERD_TOKENIZER_KIND_H

#include "arena.h"
#include "err.h"
#include "json.h"
#include "trie.h"

#define VOCAB_MAX_TOKENS      (1u << 22)
#define VOCAB_MAX_TOKEN_BYTES 4096

/* ids to texts and back. Every id below n; holes (ids nobody has) are {NULL, 0}. */
struct vocab {
    struct str *tokens;
    uint32_t n;
    struct trie *trie;
};
int32_t vocab_find(const struct vocab *, struct str); /* -1: not there */

/* Tokens of one text. Only the first `limit` are kept, all are counted. */
struct pieces {
    struct arena *arena;
    int32_t *ids;
    uint32_t *begin, *end;
    uint32_t *words; /* which word of the text each is of */
    uint32_t word;   /* the one being cut; kinds count it up */
    uint32_t n, cap, limit;
    uint64_t total;
};
void pieces_grow(struct pieces *);

static inline void pieces_add(struct pieces *p, int32_t id, uint32_t begin, uint32_t end)
{
    p->total++;
    if (p->n == p->limit)
        return;
    if (p->n == p->cap)
        pieces_grow(p);
    p->ids[p->n] = id;
    p->words[p->n] = p->word;
    p->begin[p->n] = begin;
    p->end[p->n++] = end;
}

/* Normalised text: UTF-8, and for each of its bytes the bytes of the original it stands for. */
struct norm_text {
    char *p;
    uint32_t *begin, *end;
    size_t n, cap;
};

struct tokenizer_kind {
    const char *type; /* "model.type" in tokenizer.json */
    /* Everything but added tokens and the template. `vocab` is complete and outlives the model.
     * Errors name the member only; the caller adds the file. */
    struct err *(*open)(const struct json *root, const struct vocab *, void **out);
    void (*free)(void *);
    /* This text may be cut between a letter of ASCII and a space before another, with the same
     * tokens coming out. NULL: no, or the kind keeps little of a text anyway. */
    bool (*may_cut)(const void *, struct str text);
    /* Tokens of a piece of text, whose first byte is byte `at` of the original. */
    void (*encode)(const void *, struct str text, uint32_t at, struct pieces *out);
    /* The same in two steps, for tokens that are looked for in normalised text. `out` is empty. */
    void (*normalize)(const void *, struct str text, uint32_t at, struct norm_text *out);
    void (*encode_normalized)(const void *, const struct norm_text *, size_t from, size_t to,
                              struct pieces *out);
};

void norm_text_reserve(struct norm_text *, size_t n); /* room for n bytes in all */
void norm_text_put(struct norm_text *, uint32_t c, uint32_t begin, uint32_t end);
void norm_text_copy(struct norm_text *, const struct norm_text *from, size_t begin, size_t end);
void norm_text_free(struct norm_text *);

#define X(kind) extern const struct tokenizer_kind kind;
#include "tokenizer_kinds.def"
#undef X

#endif
