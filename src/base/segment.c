/* Boundaries from ICU's break iterators, and the way between UTF-8 and UTF-16. */
#include "segment.h"

#include <pthread.h>
#include <unicode/ubrk.h>
#include <unicode/ustring.h>

#include "bug.h"

_Static_assert(sizeof(UChar) == sizeof(uint16_t), "UTF-16 units are ICU's UChar");

/* --- UTF-16 --- */

bool utf16_of(struct arena *arena, struct str s, struct utf16 *out)
{
    if (s.n > SEGMENT_MAX_BYTES)
        return false;
    UChar *p = arena_try(arena, (s.n + 1) * sizeof *p);
    if (!p)
        return false;
    int32_t n;
    UErrorCode e = U_ZERO_ERROR;
    u_strFromUTF8(p, (int32_t)s.n + 1, &n, s.n ? s.p : "", (int32_t)s.n, &e);
    BUG_ON(U_FAILURE(e));
    *out = (struct utf16){p, (size_t)n};
    return true;
}

struct utf16 utf16_sub(struct utf16 units, size_t from, size_t to)
{
    BUG_ON(from > to || to > units.n);
    return (struct utf16){units.p + from, to - from};
}

static bool continues(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* Units of the character that begins with this byte. */
static size_t units_of(char lead)
{
    return (unsigned char)lead >= 0xf0 ? 2 : 1;
}

size_t utf16_cursor_to(struct utf16_cursor *c, size_t unit)
{
    const struct str t = c->text;
    while (c->unit < unit) {
        BUG_ON(c->byte >= t.n);
        c->unit += units_of(t.p[c->byte++]);
        while (c->byte < t.n && continues(t.p[c->byte]))
            c->byte++;
    }
    while (c->unit > unit) {
        do
            c->byte--;
        while (continues(t.p[c->byte]));
        c->unit -= units_of(t.p[c->byte]);
    }
    return c->byte;
}

/* --- iterators kept per thread --- */

/* Nobody needs more of a kind at once. */
#define KEPT 2

/* After a longer text an iterator is not kept: it may hold memory that grew with the text. */
#define KEPT_UNITS ((size_t)1 << 20)

struct segments {
    UBreakIterator *icu;
    enum segment_kind kind;
    size_t n_units;
};

struct kept {
    struct segments *list[2][KEPT];
    size_t n[2];
};

static pthread_key_t kept_key;
static pthread_once_t kept_once = PTHREAD_ONCE_INIT;

static void segments_free(struct segments *s)
{
    ubrk_close(s->icu);
    free(s);
}

static void kept_free(void *kept)
{
    struct kept *k = kept;
    for (size_t kind = 0; kind < 2; kind++) {
        while (k->n[kind])
            segments_free(k->list[kind][--k->n[kind]]);
    }
    free(k);
}

static void kept_init(void)
{
    BUG_ON(pthread_key_create(&kept_key, kept_free) != 0);
}

static struct kept *kept_of_thread(void)
{
    pthread_once(&kept_once, kept_init);
    struct kept *k = pthread_getspecific(kept_key);
    if (!k) {
        k = mem_new(sizeof *k);
        BUG_ON(pthread_setspecific(kept_key, k) != 0);
    }
    return k;
}

static struct segments *segments_new(enum segment_kind kind)
{
    UErrorCode e = U_ZERO_ERROR;
    struct segments *s = mem_new(sizeof *s);
    s->kind = kind;
    s->icu = ubrk_open(kind == SEGMENT_WORDS ? UBRK_WORD : UBRK_SENTENCE, "", NULL, 0, &e);
    BUG_ON(U_FAILURE(e));
    return s;
}

static void use_text(struct segments *s, struct utf16 units)
{
    UErrorCode e = U_ZERO_ERROR;
    s->n_units = units.n;
    ubrk_setText(s->icu, units.p, (int32_t)units.n, &e);
    BUG_ON(U_FAILURE(e));
}

struct segments *segments_open(enum segment_kind kind, struct utf16 units)
{
    struct kept *k = kept_of_thread();
    struct segments *s = k->n[kind] ? k->list[kind][--k->n[kind]] : segments_new(kind);
    use_text(s, units);
    return s;
}

void segments_close(struct segments *s)
{
    static const uint16_t nothing[1];
    struct kept *k = kept_of_thread();
    if (k->n[s->kind] == KEPT || s->n_units > KEPT_UNITS) {
        segments_free(s);
        return;
    }
    use_text(s, (struct utf16){nothing, 0}); /* lets go of a text that is not its own */
    k->list[s->kind][k->n[s->kind]++] = s;
}

/* --- walking --- */

static bool is_word(const struct segments *s)
{
    return s->kind == SEGMENT_WORDS && ubrk_getRuleStatus(s->icu) >= UBRK_WORD_NONE_LIMIT;
}

bool segments_next(struct segments *s, struct boundary *out)
{
    int32_t at = ubrk_next(s->icu);
    if (at == UBRK_DONE)
        return false;
    *out = (struct boundary){(size_t)at, is_word(s)};
    return true;
}

void segments_before(struct segments *s, size_t at, struct boundary *out)
{
    BUG_ON(at > s->n_units);
    if (at == 0) {
        *out = (struct boundary){(size_t)ubrk_first(s->icu), false};
        return;
    }
    int32_t before = ubrk_preceding(s->icu, (int32_t)at);
    *out = (struct boundary){before > 0 ? (size_t)before : 0, before > 0 && is_word(s)};
}
