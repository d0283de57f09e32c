/* Code points in two steps: 8,704 page numbers, and the distinct pages of 128 entries. Pages are
 * filled from the spans in bert_chars_data.c; whole pages of one flag (ideographs, private use)
 * are shared, which leaves about 270 pages, a quarter of a megabyte, of which a text touches few.
 */
#include "bert_chars.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "bug.h"

#define N_PAGES      (0x110000 / BERT_CHARS_PAGE)
#define HANGUL_FIRST 0xAC00
#define HANGUL_LAST  0xD7A3

uint16_t bert_page_of[N_PAGES];
struct bert_char *bert_pages;

/* Which pages hold more than one kind of entry. Until then a page shares the one of its flag. */
struct build {
    uint8_t own[N_PAGES];
    uint8_t whole[N_PAGES]; /* flags of a page all of whose entries have just these */
};

static bool covers(const struct bert_span *s, size_t page)
{
    return s->first <= page * BERT_CHARS_PAGE && s->last >= (page + 1) * BERT_CHARS_PAGE - 1;
}

static void mark_span(struct build *b, const struct bert_span *s, bool may_share)
{
    for (size_t page = s->first / BERT_CHARS_PAGE; page <= s->last / BERT_CHARS_PAGE; page++) {
        if (may_share && covers(s, page))
            b->whole[page] |= s->value;
        else
            b->own[page] = 1;
    }
}

static void mark_pages(struct build *b)
{
    for (size_t i = 0; i < bert_flags_n; i++)
        mark_span(b, &bert_flags[i], true);
    for (size_t i = 0; i < bert_combining_n; i++)
        mark_span(b, &bert_combining[i], false);
    for (size_t i = 0; i < bert_lowers_n; i++) {
        for (uint32_t c = bert_lowers[i].first; c <= bert_lowers[i].last; c += bert_lowers[i].step)
            b->own[c / BERT_CHARS_PAGE] = 1;
    }
    for (size_t i = 0; i < bert_nfds_n; i++)
        b->own[bert_nfds[i].c / BERT_CHARS_PAGE] = 1;
}

/* Gives every page a number: one per distinct set of flags, one for each page of its own. */
static size_t number_pages(const struct build *b)
{
    uint16_t shared[256] = {0};
    size_t n = 0;
    for (size_t page = 0; page < N_PAGES; page++) {
        uint16_t *number = &shared[b->whole[page]];
        if (!b->own[page] && *number) {
            bert_page_of[page] = (uint16_t)(*number - 1);
            continue;
        }
        bert_page_of[page] = (uint16_t)n++;
        if (!b->own[page])
            *number = (uint16_t)n;
    }
    return n;
}

static struct bert_char *entry(uint32_t c)
{
    return &bert_pages[(size_t)bert_page_of[c / BERT_CHARS_PAGE] * BERT_CHARS_PAGE +
                       c % BERT_CHARS_PAGE];
}

static void fill_pages(void)
{
    for (size_t i = 0; i < bert_flags_n; i++) {
        for (uint32_t c = bert_flags[i].first; c <= bert_flags[i].last; c++)
            entry(c)->flags |= bert_flags[i].value;
    }
    for (size_t i = 0; i < bert_combining_n; i++) {
        for (uint32_t c = bert_combining[i].first; c <= bert_combining[i].last; c++)
            entry(c)->combining = bert_combining[i].value;
    }
    for (size_t i = 0; i < bert_lowers_n; i++) {
        for (uint32_t c = bert_lowers[i].first; c <= bert_lowers[i].last; c += bert_lowers[i].step)
            entry(c)->lower = bert_lowers[i].delta;
    }
    for (size_t i = 0; i < bert_nfds_n; i++)
        entry(bert_nfds[i].c)->nfd = (uint16_t)(i + 1);
}

static void build_once(void)
{
    struct build *b = mem_new(sizeof(*b));
    mark_pages(b);
    bert_pages = mem_array(number_pages(b) * BERT_CHARS_PAGE, sizeof(struct bert_char));
    fill_pages();
    free(b);
}

void bert_chars_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, build_once);
}

/* Unicode Standard 3.12, "Hangul Syllable Decomposition". */
static size_t decompose_hangul(uint32_t c, uint32_t *out)
{
    uint32_t s = c - HANGUL_FIRST;
    out[0] = 0x1100 + s / 588;
    out[1] = 0x1161 + s % 588 / 28;
    if (s % 28 == 0)
        return 2;
    out[2] = 0x11A7 + s % 28;
    return 3;
}

size_t bert_decompose(uint32_t c, const struct bert_char *b, uint32_t out[BERT_DECOMPOSED_MAX])
{
    if (b->nfd) {
        const uint32_t *to = bert_nfds[b->nfd - 1].to;
        size_t n = 0;
        while (n < BERT_DECOMPOSED_MAX && to[n]) {
            out[n] = to[n];
            n++;
        }
        return n;
    }
    if (c >= HANGUL_FIRST && c <= HANGUL_LAST)
        return decompose_hangul(c, out);
    out[0] = c;
    return 1;
}

/* Unicode Standard 3.9, table 3-7: the first byte fixes the length and what the second may be. */
size_t bert_utf8(const uint8_t *p, size_t n, uint32_t *out)
{
    uint32_t first = p[0];
    if (first < 0x80) {
        *out = first;
        return 1;
    }
    *out = 0xFFFD;
    if (first < 0xC2 || first > 0xF4)
        return 1;
    size_t need = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    uint32_t c = first & (0xFFu >> (need + 1));
    for (size_t i = 1; i < need; i++) {
        if (i == n || p[i] < low || p[i] > high)
            return i;
        c = c << 6 | (p[i] & 0x3Fu);
        low = 0x80;
        high = 0xBF;
    }
    *out = c;
    return need;
}
