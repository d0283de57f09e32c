/* segment: where the words and sentences of a text end, by Unicode's rules (UAX #29) as ICU has
 * them for the root locale.
 *
 *     struct utf16 units;
 *     if (!utf16_of(arena, text, &units)) ...        // too long
 *     struct segments *words = segments_open(SEGMENT_WORDS, units);
 *     struct boundary b;
 *     while (segments_next(words, &b))
 *         n += b.is_word;
 *     segments_close(words);
 *
 * Texts are UTF-16 here, since that is what ICU cuts and what Elasticsearch counts in; a cursor
 * leads back to bytes. Opening an iterator anew takes ICU 3 to 5 us, so each thread keeps a few.
 * Thread: any; who opens segments closes them on the same thread. Time and memory are linear in
 * the text. */
#ifndef INFERD_SEGMENT_H
#define INFERD_SEGMENT_H

#include "arena.h"
#include "str.h"

struct utf16 {
    const uint16_t *p; /* never NULL */
    size_t n;          /* code units */
};

/* More bytes than this are not taken: ICU's lengths have 32 bits. */
#define SEGMENT_MAX_BYTES ((size_t)1 << 30)

/* Well-formed UTF-8 as UTF-16, in the arena: two bytes per byte at most. False: too long. */
bool utf16_of(struct arena *, struct str s, struct utf16 *out);
struct utf16 utf16_sub(struct utf16, size_t from, size_t to);

/* Where a UTF-16 offset is in the bytes. Starts as {.text = s}; each call walks from where the last
 * one ended, in either direction, so offsets that come roughly in order cost one walk in all. */
struct utf16_cursor {
    struct str text;
    size_t byte, unit;
};
/* `unit` is inside the text and does not cut a surrogate pair. */
size_t utf16_cursor_to(struct utf16_cursor *, size_t unit);

enum segment_kind { SEGMENT_WORDS, SEGMENT_SENTENCES };

struct boundary {
    size_t at;    /* UTF-16 units */
    bool is_word; /* the piece that ends here is a word: it has letters, numbers, ideographs */
};

struct segments;

/* `units` is borrowed until the close. At first before the text. */
struct segments *segments_open(enum segment_kind, struct utf16 units);
void segments_close(struct segments *);

/* The next boundary after where it is; the start of the text is none. False: at the end. */
bool segments_next(struct segments *, struct boundary *out);
/* Goes to the last boundary strictly before `at`; to the start of the text when there is none. */
void segments_before(struct segments *, size_t at, struct boundary *out);

#endif
