/* Two stages, each a code point at a time. Decomposition gathers marks until the next starter and
 * sorts them by class; composition holds the last starter and the marks that did not compose with
 * it. A code point's change (see transform.h) travels with it through both. */
#include "normal_forms.h"

#include <stdlib.h>

#include "bert_chars.h"
#include "bug.h"
#include "unicode.h"

struct form_char {
    uint32_t c;
    int32_t change;
    uint8_t combining;
};

struct form_list {
    struct form_char *v;
    size_t n, cap;
};

struct form {
    struct transform to;
    bool compat, compose;
    struct form_list waiting; /* decomposed, not yet in order */
    struct form_list sorted;
    struct form_list marks; /* after the starter, not composed with it */
    struct form_char starter;
    bool has_starter;
};

/* Compatibility forms that came after the reference's Unicode version: no forms there. */
static const uint32_t late[][2] = {
    {0x32ff, 0x32ff},   {0xa7f2, 0xa7f4},   {0xab69, 0xab69},   {0x10781, 0x107ba},
    {0x1ccd6, 0x1ccf9}, {0x1e030, 0x1e06d}, {0x1f16c, 0x1f16c}, {0x1fbf0, 0x1fbf9},
};

static bool is_late(uint32_t c)
{
    for (size_t i = 0; i < sizeof(late) / sizeof(late[0]); i++) {
        if (c <= late[i][1])
            return c >= late[i][0];
    }
    return false;
}

static void push(struct form_list *l, struct form_char c)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 32;
        l->v = mem_grow(l->v, l->cap * sizeof(*l->v));
    }
    l->v[l->n++] = c;
}

static void put(struct form *f, struct form_char c)
{
    transform_put(&f->to, c.c, c.change);
}

static void put_starter(struct form *f)
{
    if (f->has_starter)
        put(f, f->starter);
    for (size_t i = 0; i < f->marks.n; i++)
        put(f, f->marks.v[i]);
    f->marks.n = 0;
    f->has_starter = false;
}

/* Composites are those the reference takes apart. */
static bool known(uint32_t c)
{
    uint32_t to[BERT_DECOMPOSED_MAX];
    return bert_decompose(c, bert_char(c), to) > 1;
}

static void compose(struct form *f, struct form_char c)
{
    if (!f->has_starter) {
        if (c.combining) {
            put(f, c);
            return;
        }
        f->starter = c;
        f->has_starter = true;
        return;
    }
    bool blocked = f->marks.n && f->marks.v[f->marks.n - 1].combining >= c.combining;
    uint32_t whole = blocked ? 0 : unicode_compose(f->starter.c, c.c);
    if (whole && known(whole)) {
        f->starter.c = whole;
        f->starter.change += c.change - 1;
        return;
    }
    if (c.combining) {
        push(&f->marks, c);
        return;
    }
    put_starter(f);
    f->starter = c;
    f->has_starter = true;
}

static void ready(struct form *f, struct form_char c)
{
    if (f->compose)
        compose(f, c);
    else
        put(f, c);
}

/* Stable, by combining class. */
static void sort_waiting(struct form *f)
{
    struct form_list *w = &f->waiting;
    size_t at[256] = {0}, sum = 0;
    for (size_t i = 0; i < w->n; i++)
        at[w->v[i].combining]++;
    for (size_t k = 0; k < 256; k++) {
        size_t n = at[k];
        at[k] = sum;
        sum += n;
    }
    f->sorted.n = 0;
    for (size_t i = 0; i < w->n; i++)
        push(&f->sorted, w->v[i]);
    for (size_t i = 0; i < w->n; i++)
        f->sorted.v[at[w->v[i].combining]++] = w->v[i];
}

static void end_waiting(struct form *f)
{
    if (f->waiting.n == 1) {
        ready(f, f->waiting.v[0]);
    } else if (f->waiting.n) {
        sort_waiting(f);
        for (size_t i = 0; i < f->sorted.n; i++)
            ready(f, f->sorted.v[i]);
    }
    f->waiting.n = 0;
}

static void decomposed(struct form *f, uint32_t c, bool first)
{
    uint8_t combining = bert_char(c)->combining; /* of the version the reference has */
    if (!combining)
        end_waiting(f);
    struct form_char fc = {c, !first, combining};
    if (combining)
        push(&f->waiting, fc);
    else
        ready(f, fc);
}

static void decompose(struct form *f, uint32_t c)
{
    uint32_t to[18];
    if (c < 0x80) {
        decomposed(f, c, true);
        return;
    }
    size_t n = bert_decompose(c, bert_char(c), to);
    if (f->compat && !is_late(c) && c != 0x11938)
        n = unicode_decompose_compat(c, to);
    for (size_t i = 0; i < n; i++)
        decomposed(f, to[i], i == 0);
}

/* Below this nothing changes in any text: the first code point a form touches, or whose neighbour
 * it looks at. */
static bool already(enum normal_form form, const struct norm_text *in)
{
    uint8_t below = form == FORM_NFC ? 0xCC : form == FORM_NFD ? 0xC3 : 0xC2; /* lead bytes */
    for (size_t i = 0; i < in->n; i++) {
        if ((uint8_t)in->p[i] >= below)
            return false;
    }
    return true;
}

void normal_form_apply(enum normal_form form, const struct norm_text *in, uint32_t at,
                       struct norm_text *out)
{
    if (already(form, in)) {
        norm_text_copy(out, in, 0, in->n);
        return;
    }
    struct form f = {
        .to = {.in = in, .out = out, .first = at},
        .compat = form == FORM_NFKC || form == FORM_NFKD,
        .compose = form == FORM_NFC || form == FORM_NFKC,
    };
    for (size_t i = 0; i < in->n;) {
        uint32_t c;
        i += bert_utf8((const uint8_t *)in->p + i, in->n - i, &c);
        decompose(&f, c);
    }
    end_waiting(&f);
    put_starter(&f);
    free(f.waiting.v);
    free(f.sorted.v);
    free(f.marks.v);
}
