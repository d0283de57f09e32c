/* Chunks by words and by sentences. Both walk boundaries once from left to right, and never look
 * further back than the sentence before. */
#include "chunk_private.h"

#include "bug.h"

/* Words of the sentence before that are repeated when the whole of it is too much; also the overlap
 * inside a sentence that is too long. */
#define MOST_OVERLAP 20

static size_t min_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

void cut_emit(struct cut *c, size_t start, size_t end)
{
    if (c->n == c->most) {
        c->more = true;
        return;
    }
    if (c->n == c->room) {
        struct chunk *list =
            arena_array(c->tmp, c->room = c->room ? 2 * c->room : 16, sizeof *list);
        if (c->n)
            memcpy(list, c->list, c->n * sizeof *list);
        c->list = list;
    }
    c->list[c->n++] = (struct chunk){.start = start, .end = end};
}

/* --- by words --- */

struct piece {
    size_t start, end, words;
    bool any;
};

static void emit_piece(struct cut *c, const struct piece *p)
{
    if (p->any)
        cut_emit(c, p->start, p->end);
}

/* Pieces of `size` words, each with the last `overlap` words of the one before. A piece ends right
 * after its last word, so the space behind it opens the next. All but the last are emitted; the
 * last is handed back. */
static struct piece cut_words(struct cut *c, size_t from, size_t to, size_t size, size_t overlap)
{
    struct segments *s = segments_open(SEGMENT_WORDS, utf16_sub(c->units, from, to));
    struct piece last = {0};
    size_t start = from, mark = from; /* of this piece; of the next */
    size_t words = 0, since_mark = 0;
    struct boundary b;
    while (!c->more && segments_next(s, &b)) {
        size_t at = from + b.at;
        words += b.is_word;
        since_mark += b.is_word;
        if (words >= size) {
            emit_piece(c, &last);
            last = (struct piece){start, at, words, true};
            words = overlap;
            start = overlap ? mark : at;
        }
        if (since_mark == size - overlap) {
            mark = at;
            since_mark = 0;
        }
    }
    segments_close(s);
    if (words > overlap || !last.any) {
        emit_piece(c, &last);
        last = (struct piece){start, to, words, true};
    }
    return last;
}

/* --- by sentences --- */

/* Counting begins at the last word boundary before `start`, which counts too if it ends a word: a
 * part that begins right behind a word, or one character further, has one word too many. That is
 * how Elasticsearch counts; it moves cut points. */
size_t count_words(struct segments *words, size_t start, size_t end)
{
    struct boundary b;
    size_t n = 0;
    segments_before(words, start, &b);
    do
        n += b.is_word;
    while (segments_next(words, &b) && b.at <= end);
    return n;
}

/* The boundary one step after the last of `n` words, counted as above. */
static size_t skip_words(struct segments *words, size_t start, size_t n)
{
    struct boundary b;
    segments_before(words, start, &b);
    while (n > 0) {
        n -= b.is_word;
        if (!segments_next(words, &b))
            break;
    }
    return b.at;
}

/* The chunk that grows, inside a part of the text. Offsets are those of the part. */
struct growing {
    struct segments *words;
    size_t start, end, n_words;
    size_t before, n_before; /* start and words of the sentence before */
};

/* Begins a chunk with a sentence of `n` words, and with some of what went before. */
static void begin_chunk(struct growing *g, size_t max, bool overlap, size_t n)
{
    if (!overlap) {
        g->start = g->end;
        g->n_words = n;
    } else if (g->n_before + n <= max) {
        g->start = g->before;
        g->n_words = g->n_before + n;
    } else {
        size_t keep = min_of(max / 2, MOST_OVERLAP);
        g->start = skip_words(g->words, g->before, g->n_before > keep ? g->n_before - keep : 0);
        g->n_words = keep + n;
    }
}

static void add_sentence(struct cut *c, struct growing *g, size_t from, bool overlap, size_t end)
{
    size_t max = c->plan->max_words;
    size_t sentence = g->end, n = count_words(g->words, sentence, end);
    if (g->n_words + n <= max) {
        g->n_words += n;
    } else {
        if (g->n_words > 0)
            cut_emit(c, from + g->start, from + g->end);
        begin_chunk(g, max, overlap, n);
        if (g->n_words > max) {
            struct piece last =
                cut_words(c, from + g->start, from + end, max, min_of((max - 1) / 2, MOST_OVERLAP));
            g->start = last.start - from;
            g->n_words = last.words;
        }
    }
    g->before = sentence;
    g->n_before = n;
    g->end = end;
}

void cut_sentences(struct cut *c, size_t from, size_t to, bool overlap)
{
    struct utf16 part = utf16_sub(c->units, from, to);
    struct segments *sentences = segments_open(SEGMENT_SENTENCES, part);
    struct growing g = {.words = segments_open(SEGMENT_WORDS, part)};
    size_t n_first = c->n;
    struct boundary b;
    while (!c->more && segments_next(sentences, &b))
        add_sentence(c, &g, from, overlap, b.at);
    if (g.n_words > 0)
        cut_emit(c, from + g.start, to);
    if (c->n == n_first && !c->more)
        cut_emit(c, from, to);
    segments_close(g.words);
    segments_close(sentences);
}

/* --- the door --- */

static struct err *cut_by_plan(struct cut *c)
{
    const struct chunk_plan *plan = c->plan;
    struct piece last;
    switch (plan->by) {
    case CHUNK_BY_SENTENCE:
        cut_sentences(c, 0, c->units.n, plan->overlap > 0);
        return NULL;
    case CHUNK_BY_WORD:
        last = cut_words(c, 0, c->units.n, plan->max_words, plan->overlap);
        emit_piece(c, &last);
        return NULL;
    case CHUNK_BY_SEPARATOR:
        return cut_separators(c);
    case CHUNK_BY_NOTHING:
        break;
    }
    cut_emit(c, 0, c->units.n);
    return NULL;
}

static void hand_out(const struct cut *c, struct arena *arena, struct str text, struct chunks *out)
{
    struct utf16_cursor cursor = {.text = text};
    *out = (struct chunks){arena_array(arena, c->n, sizeof *out->list), c->n, c->more};
    for (size_t i = 0; i < c->n; i++) {
        struct chunk *chunk = &out->list[i];
        *chunk = c->list[i];
        chunk->from = utf16_cursor_to(&cursor, chunk->start);
        chunk->to = utf16_cursor_to(&cursor, chunk->end);
    }
}

struct err *chunk_text(const struct chunk_plan *plan, struct arena *arena, struct str text,
                       size_t most, struct chunks *out)
{
    BUG_ON(most == 0 || (plan->by != CHUNK_BY_NOTHING && plan->max_words == 0) ||
           (plan->by == CHUNK_BY_WORD && plan->overlap > plan->max_words / 2));
    struct arena *tmp = arena_new(ARENA_NO_LIMIT);
    struct cut c = {.plan = plan, .tmp = tmp, .most = most};
    struct err *e = NULL;
    if (!utf16_of(tmp, text, &c.units))
        e = err_new(ERR_TOO_LARGE, "a text of [%zu] bytes is too long to be cut into chunks",
                    text.n);
    if (!e)
        e = cut_by_plan(&c);
    if (!e)
        hand_out(&c, arena, text, out);
    arena_free(tmp);
    return e;
}
