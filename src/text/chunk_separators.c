/* Chunks by separators: the text is cut before each match of the first separator, neighbours are
 * glued together while their words fit, and what is still too long goes the same way with the next
 * separator; after the last, by sentences. The pieces are made as the matches come, so nothing is
 * kept of them but the one that grows at each level. */
#include "bug.h"
#include "chunk_private.h"
#include "pattern.h"

struct separating {
    struct cut *cut;
    struct segments *words;
    struct pattern_watch watch;
    struct pattern *patterns[CHUNK_MAX_SEPARATORS]; /* made when first needed */
};

struct glued {
    size_t start, end, words;
};

static struct err *separate(struct separating *s, size_t from, size_t to, size_t level);

/* A glued piece is done: fine as it is, or on to the next separator. */
static struct err *settle(struct separating *s, const struct glued *g, size_t next_level)
{
    const struct chunk_plan *plan = s->cut->plan;
    if (g->start == g->end)
        return NULL;
    if (g->words <= plan->max_words)
        cut_emit(s->cut, g->start, g->end);
    else if (next_level < plan->n_separators)
        return separate(s, g->start, g->end, next_level);
    else
        cut_sentences(s->cut, g->start, g->end, false);
    return NULL;
}

/* The piece from where the glued one ends to `end`. */
static struct err *glue(struct separating *s, struct glued *g, size_t end, size_t next_level)
{
    size_t start = g->end;
    if (start == end)
        return NULL;
    size_t words = count_words(s->words, start, end);
    if (g->start < g->end && g->words + words > s->cut->plan->max_words) {
        TRY(settle(s, g, next_level));
        *g = (struct glued){start, end, words};
    } else {
        g->end = end;
        g->words += words;
    }
    return NULL;
}

static struct err *pattern_at(struct separating *s, size_t level, struct pattern **out)
{
    struct pattern **p = &s->patterns[level];
    if (!*p)
        TRY(pattern_new(s->cut->plan->separators[level], &s->watch, p));
    *out = *p;
    return NULL;
}

static struct err *separate(struct separating *s, size_t from, size_t to, size_t level)
{
    struct pattern *p;
    TRY(pattern_at(s, level, &p));
    pattern_begin(p, utf16_sub(s->cut->units, from, to));
    struct glued g = {from, from, 0};
    while (!s->cut->more) {
        bool found;
        size_t start;
        TRY(pattern_next(p, &found, &start));
        if (!found)
            break;
        TRY(glue(s, &g, from + start, level + 1));
    }
    TRY(glue(s, &g, to, level + 1));
    return settle(s, &g, level + 1);
}

struct err *cut_separators(struct cut *c)
{
    const struct chunk_plan *plan = c->plan;
    size_t n = c->units.n;
    if (plan->n_separators > CHUNK_MAX_SEPARATORS)
        return err_new(ERR_ARGUMENT, "[%zu] separators are too many, at most [%d]",
                       plan->n_separators, CHUNK_MAX_SEPARATORS);
    if (n > CHUNK_MAX_SEPARATED_UNITS)
        return err_new(ERR_ARGUMENT,
                       "a text of [%zu] characters is too long to be cut by separators, at most "
                       "[%zu]",
                       n, CHUNK_MAX_SEPARATED_UNITS);
    struct separating s = {.cut = c, .words = segments_open(SEGMENT_WORDS, c->units)};
    pattern_watch_start(&s.watch, CHUNK_SEPARATING_MS);
    size_t words = count_words(s.words, 0, n);
    struct err *e = NULL;
    if (words <= plan->max_words)
        cut_emit(c, 0, n);
    else
        e = settle(&s, &(struct glued){0, n, words}, 0);
    for (size_t i = 0; i < CHUNK_MAX_SEPARATORS; i++)
        pattern_free(s.patterns[i]);
    segments_close(s.words);
    return e;
}
