/* Encoding: added tokens are cut out of the text, a kind turns what lies between them into tokens,
 * the template puts special tokens around, and what is too long is cut. */
#include "tokenizer.h"

#include <stdlib.h>

#include "bert_chars.h"
#include "bug.h"
#include "tokenizer_private.h"
#include "unicode.h"

#define MAX_TEXT_BYTES (1u << 30)
#define MAX_PART_BYTES (1u << 20)
#define BYTE_SPACE     0x120 /* a space in the byte alphabet */

int32_t vocab_find(const struct vocab *v, struct str s)
{
    return trie_find(v->trie, s);
}

static void *moved(struct arena *a, const void *old, uint32_t n, uint32_t cap)
{
    void *p = arena_array(a, cap, sizeof(uint32_t));
    if (n)
        memcpy(p, old, n * sizeof(uint32_t));
    return p;
}

void pieces_grow(struct pieces *p)
{
    uint32_t cap = p->cap ? p->cap * 2 : 64;
    if (cap > p->limit)
        cap = p->limit;
    p->ids = moved(p->arena, p->ids, p->n, cap);
    p->begin = moved(p->arena, p->begin, p->n, cap);
    p->end = moved(p->arena, p->end, p->n, cap);
    p->words = moved(p->arena, p->words, p->n, cap);
    p->cap = cap;
}

void norm_text_reserve(struct norm_text *t, size_t n)
{
    if (n <= t->cap)
        return;
    t->cap = n > t->cap * 2 ? n : t->cap * 2;
    if (t->cap < 256)
        t->cap = 256;
    t->p = mem_grow(t->p, t->cap);
    t->begin = mem_grow(t->begin, t->cap * sizeof(*t->begin));
    t->end = mem_grow(t->end, t->cap * sizeof(*t->end));
}

void norm_text_copy(struct norm_text *t, const struct norm_text *from, size_t begin, size_t end)
{
    size_t n = end - begin;
    if (n == 0)
        return;
    norm_text_reserve(t, t->n + n);
    memcpy(t->p + t->n, from->p + begin, n);
    memcpy(t->begin + t->n, from->begin + begin, n * sizeof(*t->begin));
    memcpy(t->end + t->n, from->end + begin, n * sizeof(*t->end));
    t->n += n;
}

void norm_text_put(struct norm_text *t, uint32_t c, uint32_t begin, uint32_t end)
{
    if (t->cap - t->n < 4)
        norm_text_reserve(t, t->n + 4);
    size_t n = utf8_put(t->p + t->n, c);
    for (size_t i = 0; i < n; i++) {
        t->begin[t->n] = begin;
        t->end[t->n++] = end;
    }
}

void norm_text_free(struct norm_text *t)
{
    free(t->p);
    free(t->begin);
    free(t->end);
    *t = (struct norm_text){0};
}

/* Looks for added tokens in the normalised form of a piece. */
static void encode_normalized(const struct tokenizer *t, struct str text, uint32_t offset,
                              struct pieces *out)
{
    struct norm_text norm = {0};
    t->kind->normalize(t->model, text, offset, &norm);
    struct str s = {norm.p, norm.n};
    struct added_match m;
    size_t at = 0, taken = 0;
    while (s.n && added_next(&t->normalized, s, &at, taken, &m)) {
        if (taken < m.begin)
            t->kind->encode_normalized(t->model, &norm, taken, m.begin, out);
        out->word++;
        pieces_add(out, m.token->id, norm.begin[m.begin], norm.end[m.end - 1]);
        taken = m.end;
    }
    if (taken < s.n)
        t->kind->encode_normalized(t->model, &norm, taken, s.n, out);
    norm_text_free(&norm);
}

static bool is_letter(char c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

/* Where a long text is cut: a little at a time stays in the cache, and memory stays small. After a
 * mebibyte any character will do: that is beyond what a window holds. */
static size_t part_end(const struct tokenizer *t, struct str text, size_t from, size_t to,
                       bool may_cut)
{
    size_t end = to - from > MAX_PART_BYTES ? from + MAX_PART_BYTES : to;
    for (size_t i = from + t->part_bytes; may_cut && i + 1 < end; i++) {
        if (text.p[i] == ' ' && is_letter(text.p[i - 1]) && is_letter(text.p[i + 1]))
            return i;
    }
    for (int back = 0; end < to && back < 3 && ((uint8_t)text.p[end] & 0xC0) == 0x80; back++)
        end--;
    return end;
}

static void encode_piece(const struct tokenizer *t, struct str text, size_t from, size_t to,
                         struct pieces *out)
{
    struct str piece = {text.p + from, to - from};
    bool may_cut = t->may_cut && piece.n > t->part_bytes && t->kind->may_cut(t->model, piece);
    while (from < to) {
        size_t end = t->kind->may_cut ? part_end(t, text, from, to, may_cut) : to;
        piece = str_n(text.p + from, end - from);
        if (t->normalized.empty)
            t->kind->encode(t->model, piece, (uint32_t)from, out);
        else
            encode_normalized(t, piece, (uint32_t)from, out);
        from = end;
    }
}

static void encode_text(const struct tokenizer *t, struct str text, struct pieces *out)
{
    struct added_match m;
    size_t at = 0, taken = 0;
    while (added_next(&t->raw, text, &at, taken, &m)) {
        if (taken < m.begin)
            encode_piece(t, text, taken, m.begin, out);
        out->word++;
        pieces_add(out, m.token->id, (uint32_t)m.begin, (uint32_t)m.end);
        taken = m.end;
    }
    if (taken < text.n)
        encode_piece(t, text, taken, text.n, out);
}

static bool is_space(uint32_t c)
{
    return c == BYTE_SPACE || (bert_char(c)->flags & BERT_WHITE);
}

/* Characters of white space a token begins and ends with. */
static void count_spaces(struct str s, size_t *leading_out, size_t *trailing_out)
{
    size_t leading = 0, trailing = 0;
    bool inside = false;
    for (size_t i = 0; i < s.n;) {
        uint32_t c;
        i += bert_utf8((const uint8_t *)s.p + i, s.n - i, &c);
        bool space = is_space(c);
        inside |= !space;
        leading += space && !inside;
        trailing = space ? trailing + 1 : 0;
    }
    *leading_out = leading;
    *trailing_out = trailing;
}

/* n characters on from byte i, but not beyond `end`. */
static size_t forward(struct str s, size_t i, size_t end, size_t n)
{
    uint32_t c;
    for (; n > 0 && i < end; n--)
        i += bert_utf8((const uint8_t *)s.p + i, end - i, &c);
    return i;
}

static size_t count_chars(struct str s, size_t i, size_t end)
{
    size_t n = 0;
    for (; i < end; n++)
        i = forward(s, i, end, 1);
    return n;
}

static void trim_one(const struct template *template, struct str text, struct str token, bool first,
                     uint32_t *begin, uint32_t *end)
{
    size_t leading, trailing;
    count_spaces(token, &leading, &trailing);
    if (leading == 1 && template->keep_first && (first || *begin == 0))
        leading = 0;
    *begin = (uint32_t)forward(text, *begin, *end, leading);
    if (!trailing || *end < *begin)
        return;
    if (*end / 4 < trailing && count_chars(text, 0, *end) < trailing)
        return;
    size_t n = count_chars(text, *begin, *end);
    *end = (uint32_t)forward(text, *begin, *end, n > trailing ? n - trailing : 0);
}

/* tokenizers, process_offsets in processors/byte_level.rs: the white space in a token is not part
 * of its place. The text of an added token is what it was found as. */
static void trim(const struct tokenizer *t, const struct template *template, struct str text,
                 struct pieces *p)
{
    for (uint32_t i = 0; template->trim && i < p->n; i++) {
        struct str token = tokenizer_token(t, p->ids[i]);
        if (t->strips && t->strips[p->ids[i]])
            token = str_n(text.p + p->begin[i], p->end[i] - p->begin[i]);
        trim_one(template, text, token, i == 0, &p->begin[i], &p->end[i]);
    }
}

/* "longest_first": tokenizers, utils/truncation.rs. `room` is without special tokens. */
static void share_room(uint64_t room, uint64_t *n_a, uint64_t *n_b)
{
    if (*n_a + *n_b <= room)
        return;
    bool swap = *n_a > *n_b;
    uint64_t small = swap ? *n_b : *n_a;
    uint64_t large = small > room || room - small < small ? small : room - small;
    if (small + large > room) {
        small = room / 2;
        large = small + room % 2;
    }
    *n_a = swap ? large : small;
    *n_b = swap ? small : large;
}

void tokenizer_assemble(const struct template *template, struct arena *a,
                        const struct part parts[2], struct tokens *out)
{
    size_t total = template->n_special + parts[0].n + parts[1].n;
    int32_t *ids = arena_array(a, total, sizeof(*ids));
    int32_t *types = arena_array(a, total, sizeof(*types));
    uint32_t *begin = arena_array(a, total, sizeof(*begin));
    uint32_t *end = arena_array(a, total, sizeof(*end));
    uint32_t *words = arena_array(a, total, sizeof(*words));
    size_t k = 0;
    out->b_first = (uint32_t)total;
    for (uint32_t i = 0; i < template->n; i++) {
        const struct template_item *item = &template->items[i];
        if (item->what == TEMPLATE_TOKEN) {
            types[k] = item->type_id;
            ids[k++] = item->id;
            continue;
        }
        const struct part *part = &parts[item->what == TEMPLATE_B];
        const struct pieces *p = part->pieces;
        if (item->what == TEMPLATE_B && part->n)
            out->b_first = (uint32_t)k;
        for (size_t j = part->from; j < part->from + part->n; j++, k++) {
            ids[k] = p->ids[j];
            types[k] = item->type_id;
            begin[k] = p->begin[j];
            end[k] = p->end[j];
            words[k] = p->words[j];
        }
    }
    out->n = (uint32_t)total;
    out->ids = ids;
    out->type_ids = types;
    out->begin = begin;
    out->end = end;
    out->words = words;
}

void tokenizer_pieces(const struct tokenizer *t, struct str text, struct pieces *out)
{
    encode_text(t, text, out);
    trim(t, &t->single, text, out);
}

struct err *tokenizer_encode(const struct tokenizer *t, struct arena *arena, struct str a,
                             struct str b, const struct window *window, struct tokens *out)
{
    bool is_pair = b.p != NULL;
    const struct template *template = is_pair ? &t->pair : &t->single;
    uint32_t max = window && window->max_tokens ? window->max_tokens : t->default_max_tokens;
    if (max == 0)
        max = INT32_MAX;
    if (max < template->n_special)
        return err_new(ERR_ARGUMENT, "a window of [%u] tokens has no room for [%u] special tokens",
                       max, template->n_special);
    if (a.n > MAX_TEXT_BYTES || b.n > MAX_TEXT_BYTES)
        return err_new(ERR_TOO_LARGE, "a text of [%zu] bytes is too long to be tokenized",
                       a.n > b.n ? a.n : b.n);
    uint32_t room = max - template->n_special;
    struct pieces texts[2] = {{.arena = arena, .limit = room}, {.arena = arena, .limit = room}};
    encode_text(t, a, &texts[0]);
    if (is_pair)
        encode_text(t, b, &texts[1]);
    uint64_t n[2] = {texts[0].total, texts[1].total};
    uint64_t whole = n[0] + n[1] + template->n_special;
    *out = (struct tokens){.truncated = whole > max};
    out->n_untruncated = whole > UINT32_MAX ? UINT32_MAX : (uint32_t)whole;
    if (out->truncated && window && window->refuse)
        return err_new(ERR_ARGUMENT,
                       "Input too large. The tokenized input length [%u] exceeds the maximum "
                       "sequence length [%u]",
                       out->n_untruncated, max);
    if (is_pair)
        share_room(room, &n[0], &n[1]);
    else if (n[0] > room)
        n[0] = room;
    trim(t, template, a, &texts[0]);
    trim(t, template, b, &texts[1]);
    const struct part parts[2] = {{&texts[0], 0, n[0]}, {&texts[1], 0, n[1]}};
    tokenizer_assemble(template, arena, parts, out);
    return NULL;
}

uint32_t tokenizer_vocab_size(const struct tokenizer *t)
{
    return t->vocab.n;
}

struct str tokenizer_token(const struct tokenizer *t, int32_t id)
{
    if (id < 0 || (uint32_t)id >= t->vocab.n)
        return (struct str){NULL, 0};
    return t->vocab.tokens[id];
}

struct tokenizer *tokenizer_ref(struct tokenizer *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void tokenizer_unref(struct tokenizer *t)
{
    if (t && atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1)
        tokenizer_free(t);
}

void tokenizer_free(struct tokenizer *t)
{
    if (t->model)
        t->kind->free(t->model);
    added_set_deinit(&t->raw);
    added_set_deinit(&t->normalized);
    trie_free(t->vocab.trie);
    free(t->vocab.tokens);
    free(t->added);
    free(t->strips);
    arena_free(t->arena);
    free(t);
}
