/* chunk_private: one text being cut, shared by the files of chunk. Offsets are UTF-16 units. */
#ifndef INFERD_CHUNK_PRIVATE_H
#define INFERD_CHUNK_PRIVATE_H

#include "chunk.h"
#include "segment.h"

struct cut {
    const struct chunk_plan *plan;
    struct utf16 units;
    struct arena *tmp;
    struct chunk *list; /* only start and end are set */
    size_t n, room, most;
    bool more; /* stop: enough chunks */
};

void cut_emit(struct cut *, size_t start, size_t end);
/* The part [from, to) as a text of its own, by sentences. */
void cut_sentences(struct cut *, size_t from, size_t to, bool overlap);
/* The whole, by the plan's separators. chunk_separators.c */
struct err *cut_separators(struct cut *);

/* Words of [start, end) as Elasticsearch counts them, see chunk.c. */
size_t count_words(struct segments *words, size_t start, size_t end);

#endif
