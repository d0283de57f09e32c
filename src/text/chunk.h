/* chunk: a long text cut into chunks of so many words, as Elasticsearch cuts the fields it embeds.
 *
 *     struct chunk_plan plan = {.by = CHUNK_BY_SENTENCE, .max_words = 250, .overlap = 1};
 *     struct chunks chunks;
 *     TRY(chunk_text(&plan, arena, text, 1000, &chunks));
 *     for (size_t i = 0; i < chunks.n; i++)
 *         use(str_sub(text, chunks.list[i].from, chunks.list[i].to - chunks.list[i].from));
 *
 * Cut points are Elasticsearch's, oddities included: offsets that it stored stay valid. A word is
 * what ICU's word rules say (segment.h). Every text has at least one chunk, the empty text too;
 * chunks come in order of their ends, and what no chunk holds has no words.
 *
 * Text is well-formed UTF-8. Time and memory are linear in it, but for separators, which are
 * regular expressions from outside: their time and memory are bounded, and their texts shorter.
 * Source: shared facts, inference.md 8.2. Thread: any. */
#ifndef INFERD_CHUNK_H
#define INFERD_CHUNK_H

#include "arena.h"
#include "err.h"

enum chunk_by { CHUNK_BY_SENTENCE, CHUNK_BY_WORD, CHUNK_BY_NOTHING, CHUNK_BY_SEPARATOR };

struct chunk_plan {
    enum chunk_by by;
    size_t max_words; /* at least 1 */
    size_t overlap;   /* by sentence: 0 or 1 sentences; by word: words, at most half of max_words */
    const struct str *separators; /* regular expressions, tried in this order */
    size_t n_separators;
};

#define CHUNK_MAX_SEPARATORS 50 /* as Elasticsearch since 9.5 */
/* Longest text that is cut by separators: between two looks at the clock a hostile expression may
 * read the text ten thousand times. */
#define CHUNK_MAX_SEPARATED_UNITS ((size_t)1 << 20)
#define CHUNK_SEPARATING_MS       2000

struct chunk {
    size_t start, end; /* UTF-16 code units, end exclusive */
    size_t from, to;   /* the same in bytes */
};

struct chunks {
    struct chunk *list; /* in the arena */
    size_t n;
    bool more; /* there would be more than were asked for */
};

/* At most `most` (at least 1) chunks. ERR_ARGUMENT: a separator that is no regular expression or
 * runs away, too many of them; ERR_TOO_LARGE: the text is too long. */
struct err *chunk_text(const struct chunk_plan *, struct arena *, struct str text, size_t most,
                       struct chunks *out);

#endif
