/* chunking: chunking_settings, validated, defaulted, stored and printed. (text/chunk.h does the
 * cutting.) Source: shared facts, inference.md 8.1. Strategies: sentence, word, none,
 * recursive. separator_group is replaced by its list of separators when read. */
#ifndef INFERD_CHUNKING_H
#define INFERD_CHUNKING_H

#include "arena.h"
#include "err.h"
#include "json.h"

enum chunk_strategy { CHUNK_SENTENCE, CHUNK_WORD, CHUNK_NONE, CHUNK_RECURSIVE };

struct chunking {
    enum chunk_strategy strategy;
    int max_chunk_size;   /* words */
    int sentence_overlap; /* 0 or 1 */
    int overlap;          /* words */
    const struct str *separators;
    size_t n_separators;
};

/* NULL, null or {} give the default: sentence, 250, 1. */
struct err *chunking_parse(struct arena *, const struct json *, struct chunking *out);
void chunking_render(struct json_out *, const struct chunking *);

#endif
