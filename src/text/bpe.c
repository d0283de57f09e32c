/* BPE: words cut into characters, or bytes, and merged pair by pair in the order of the merges.
 *
 * Reference: huggingface/tokenizers, models/bpe. Symbols are a linked list, possible merges a heap
 * by rank and then by place, so a word of n symbols takes O(n log n) whatever the merges are; what
 * a merge made stale is seen when it is taken out. Words longer than a mebibyte are cut there: no
 * text has such, and memory stays bounded. */
#include <stdlib.h>

#include "bert_chars.h"
#include "bug.h"
#include "pipeline.h"
#include "transform.h"
#include "unicode.h"

#define MAX_WORD   (1u << 20) /* bytes */
#define MAX_MERGES (1u << 23)

struct merge {
    uint64_t pair; /* 1 + left << 32 | right; 0: free */
    uint32_t rank;
    int32_t id;
};

struct bpe {
    struct pipeline pipeline;
    const struct vocab *vocab;
    struct merge *merges; /* open addressing */
    uint64_t multiplier;
    uint32_t mask;
    unsigned shift;
    bool byte_level, byte_fallback, fuse_unknown, ignore_merges;
    bool gaps;           /* some bytes of the alphabet have no token and are left out */
    int32_t unknown;     /* -1: unknown characters are left out */
    int32_t bytes[256];  /* ids: of the byte alphabet, or of <0x00> to <0xFF>; -1: none */
    uint32_t continuing; /* trie node of continuing_subword_prefix; 0: no token has it */
    struct str suffix;   /* end_of_word_suffix, in `owned` */
    char *owned;
    struct trie *whole; /* ignore_merges with bytes: the vocabulary out of the byte alphabet */
};

/* --- the byte alphabet: printable bytes stand for themselves, the rest for U+0100 onwards --- */

static bool stands_for_itself(uint32_t byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

static void byte_alphabet(uint32_t chars[256])
{
    uint32_t next = 0x100;
    for (uint32_t b = 0; b < 256; b++)
        chars[b] = stands_for_itself(b) ? b : next++;
}

static void read_bytes(struct bpe *m)
{
    static const char digits[] = "0123456789ABCDEF";
    uint32_t chars[256];
    byte_alphabet(chars);
    for (uint32_t b = 0; b < 256; b++) {
        char text[6] = {'<', '0', 'x', digits[b >> 4], digits[b & 15], '>'};
        size_t n = m->byte_level ? utf8_put(text, chars[b]) : sizeof(text);
        m->bytes[b] = vocab_find(m->vocab, str_n(text, n));
        m->gaps |= m->byte_level && m->bytes[b] < 0;
    }
}

/* The bytes a token of the byte alphabet stands for; 0: it is not in the alphabet. */
static size_t out_of_alphabet(struct str token, const int16_t byte_of[324], char *out)
{
    size_t n_out = 0;
    for (size_t i = 0; i < token.n;) {
        uint32_t c;
        i += bert_utf8((const uint8_t *)token.p + i, token.n - i, &c);
        if (c >= 324 || byte_of[c] < 0)
            return 0;
        out[n_out++] = (char)byte_of[c];
    }
    return n_out;
}

static struct err *read_whole(struct bpe *m)
{
    uint32_t chars[256];
    int16_t byte_of[324];
    byte_alphabet(chars);
    memset(byte_of, -1, sizeof(byte_of));
    for (int b = 0; b < 256; b++)
        byte_of[chars[b]] = (int16_t)b;
    m->whole = trie_new();
    for (uint32_t id = 0; id < m->vocab->n; id++) {
        char bytes[VOCAB_MAX_TOKEN_BYTES];
        int32_t old;
        struct str token = m->vocab->tokens[id];
        if (!token.p || vocab_find(m->vocab, token) != (int32_t)id)
            continue;
        size_t n = out_of_alphabet(token, byte_of, bytes);
        if (!trie_put(m->whole, str_n(bytes, n), (int32_t)id, &old))
            return err_new(ERR_ARGUMENT, "member [model.vocab] is too large");
    }
    return NULL;
}

/* --- merges --- */

static uint64_t pair_of(int32_t a, int32_t b)
{
    return ((uint64_t)(uint32_t)a << 32 | (uint32_t)b) + 1;
}

static struct merge *merge_slot(const struct bpe *m, uint64_t pair)
{
    uint32_t i = (uint32_t)((pair * m->multiplier) >> m->shift);
    while (m->merges[i].pair && m->merges[i].pair != pair)
        i = (i + 1) & m->mask;
    return &m->merges[i];
}

static const struct merge *merge_find(const struct bpe *m, int32_t a, int32_t b)
{
    const struct merge *found = merge_slot(m, pair_of(a, b));
    return found->pair ? found : NULL;
}

/* --- one word --- */

struct symbol {
    int32_t id;
    uint32_t n; /* bytes; 0: merged into the one before */
    uint32_t prev, next;
};

struct candidate {
    uint32_t rank, at;
    int32_t id;
};

#define NONE UINT32_MAX

struct word {
    const struct bpe *m;
    struct symbol *symbols;
    struct candidate *heap;
    uint32_t n, n_heap;
};

static bool before(struct candidate a, struct candidate b)
{
    return a.rank != b.rank ? a.rank < b.rank : a.at < b.at;
}

static void heap_push(struct word *w, struct candidate c)
{
    uint32_t i = w->n_heap++;
    while (i > 0 && before(c, w->heap[(i - 1) / 2])) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = c;
}

static struct candidate heap_pop(struct word *w)
{
    struct candidate top = w->heap[0], last = w->heap[--w->n_heap];
    uint32_t i = 0;
    for (uint32_t k; (k = 2 * i + 1) < w->n_heap; i = k) {
        if (k + 1 < w->n_heap && before(w->heap[k + 1], w->heap[k]))
            k++;
        if (!before(w->heap[k], last))
            break;
        w->heap[i] = w->heap[k];
    }
    w->heap[i] = last;
    return top;
}

/* The symbol at `at` and the one after it may merge. */
static void consider(struct word *w, uint32_t at)
{
    uint32_t next = w->symbols[at].next;
    if (next == NONE)
        return;
    const struct merge *found = merge_find(w->m, w->symbols[at].id, w->symbols[next].id);
    if (found)
        heap_push(w, (struct candidate){found->rank, at, found->id});
}

static void merge_all(struct word *w)
{
    for (uint32_t i = 0; i < w->n; i++)
        consider(w, i);
    while (w->n_heap) {
        struct candidate c = heap_pop(w);
        struct symbol *left = &w->symbols[c.at];
        if (left->n == 0 || left->next == NONE)
            continue;
        struct symbol *right = &w->symbols[left->next];
        const struct merge *found = merge_find(w->m, left->id, right->id);
        if (!found || found->id != c.id)
            continue;
        left->id = c.id;
        left->n += right->n;
        left->next = right->next;
        right->n = 0;
        if (left->next != NONE)
            w->symbols[left->next].prev = c.at;
        if (left->prev != NONE)
            consider(w, left->prev);
        consider(w, c.at);
    }
}

static void add_symbol(struct word *w, int32_t id, uint32_t n)
{
    w->symbols[w->n] = (struct symbol){id, n, w->n ? w->n - 1 : NONE, w->n + 1};
    w->n++;
}

/* What the reference counts in: bytes of the text in the byte alphabet. It makes a difference only
 * where bytes are left out, as lengths are then added up over what is not there. */
static uint32_t alphabet_length(const struct bpe *m, uint8_t byte)
{
    return m->gaps && (byte < '!' || byte > '~') ? 2 : 1;
}

/* Walks a text by what it is in the alphabet. */
struct cursor {
    uint32_t i;  /* byte of the text */
    uint32_t to; /* where it ends in the alphabet */
};

/* The byte of the text that is byte `target` of its form in the alphabet; targets never go back. */
static uint32_t out_of_lengths(const struct bpe *m, struct str text, struct cursor *c,
                               uint32_t target)
{
    if (!m->gaps)
        return target;
    if (c->to == 0)
        c->to = alphabet_length(m, (uint8_t)text.p[0]);
    while (c->to <= target && c->i + 1 < text.n)
        c->to += alphabet_length(m, (uint8_t)text.p[++c->i]);
    return c->i;
}

static int32_t find_char(const struct bpe *m, struct str c, bool first, bool last)
{
    const struct trie *t = m->vocab->trie;
    uint32_t at = first ? TRIE_ROOT : m->continuing;
    for (size_t i = 0; at && i < c.n; i++)
        at = trie_step(t, at, (uint8_t)c.p[i]);
    for (size_t i = 0; last && at && i < m->suffix.n; i++)
        at = trie_step(t, at, (uint8_t)m->suffix.p[i]);
    return trie_ends(at) ? trie_value(t, at) : -1;
}

/* Unknown characters that wait: with fuse_unk several are one token. They come out before the next
 * known one, which is how the reference has it. */
struct unknowns {
    uint32_t n; /* bytes; 0: none */
};

static void flush(struct word *w, struct unknowns *u)
{
    if (u->n)
        add_symbol(w, w->m->unknown, u->n);
    u->n = 0;
}

static void add_unknown(struct word *w, uint32_t n, struct unknowns *u)
{
    if (w->m->unknown < 0)
        return;
    if (!w->m->fuse_unknown)
        flush(w, u);
    u->n += n;
}

static bool add_fallback(struct word *w, struct str c)
{
    if (!w->m->byte_fallback)
        return false;
    for (size_t i = 0; i < c.n; i++) {
        if (w->m->bytes[(uint8_t)c.p[i]] < 0)
            return false;
    }
    for (size_t i = 0; i < c.n; i++)
        add_symbol(w, w->m->bytes[(uint8_t)c.p[i]], 1);
    return true;
}

static void add_chars(struct word *w, struct str text)
{
    struct unknowns u = {0};
    for (size_t i = 0; i < text.n;) {
        size_t n = w->m->byte_level ? 1 : utf8_length(text.p[i]);
        struct str c = {text.p + i, n};
        int32_t id = w->m->byte_level ? w->m->bytes[(uint8_t)c.p[0]]
                                      : find_char(w->m, c, i == 0, i + n == text.n);
        i += n;
        uint32_t length = w->m->gaps ? alphabet_length(w->m, (uint8_t)c.p[0]) : (uint32_t)n;
        if (id >= 0) {
            flush(w, &u);
            add_symbol(w, id, length);
        } else if (!add_fallback(w, c)) {
            add_unknown(w, length, &u);
        }
    }
    flush(w, &u);
    if (w->n)
        w->symbols[w->n - 1].next = NONE;
}

static void encode_word(const struct bpe *m, const struct norm_text *t, uint32_t from, uint32_t to,
                        struct scratch *scratch, struct pieces *out)
{
    struct str text = {t->p + from, to - from};
    int32_t id = m->ignore_merges ? trie_find(m->whole ? m->whole : m->vocab->trie, text) : -1;
    if (id >= 0) {
        pieces_add(out, id, t->begin[from], t->end[to - 1]);
        return;
    }
    /* A merge adds at most two candidates. */
    struct word w = {.m = m};
    w.symbols = scratch_take(scratch, text.n * (sizeof(*w.symbols) + 3 * sizeof(*w.heap)));
    w.heap = (struct candidate *)(w.symbols + text.n);
    add_chars(&w, text);
    merge_all(&w);
    struct cursor c = {0};
    uint32_t at = 0;
    for (uint32_t i = 0; w.n && i != NONE; i = w.symbols[i].next) {
        uint32_t end = at + w.symbols[i].n;
        uint32_t first = from + out_of_lengths(m, text, &c, at);
        uint32_t last = from + out_of_lengths(m, text, &c, end - 1);
        pieces_add(out, w.symbols[i].id, t->begin[first], t->end[last]);
        at = end;
    }
}

static void bpe_word(const void *model, const struct norm_text *t, uint32_t from, uint32_t to,
                     struct scratch *scratch, struct pieces *out)
{
    while (to - from > MAX_WORD) {
        uint32_t end = from + MAX_WORD;
        while (((uint8_t)t->p[end] & 0xC0) == 0x80)
            end--;
        encode_word(model, t, from, end, scratch, out);
        from = end;
    }
    encode_word(model, t, from, to, scratch, out);
}

/* --- reading --- */

static struct err *bad(const char *member, const char *must)
{
    return err_new(ERR_ARGUMENT, "member [model.%s] %s", member, must);
}

static struct err *read_flag(const struct json *model, const char *name, bool *out)
{
    const struct json *j = json_get(model, name);
    if (json_is_null(j) || json_bool(j, out))
        return NULL;
    return bad(name, "must be true or false");
}

static struct err *read_affix(const struct json *model, const char *name, struct str *out)
{
    const struct json *j = json_get(model, name);
    *out = (struct str){NULL, 0};
    if (json_is_null(j) || (json_str(j, out) && out->n <= VOCAB_MAX_TOKEN_BYTES))
        return NULL;
    return bad(name, "must be a string of at most 4096 bytes");
}

/* "a b", or since tokenizers 0.20 ["a","b"]. */
static bool read_pair(const struct json *j, struct str pair[2])
{
    struct str text;
    if (json_is(j, JSON_ARRAY))
        return !j->flat && j->n == 2 && json_str(json_at(j, 0), &pair[0]) &&
               json_str(json_at(j, 1), &pair[1]);
    return json_str(j, &text) && str_split(&text, ' ', &pair[0]) &&
           str_split(&text, ' ', &pair[1]) && text.p == NULL;
}

static struct err *read_merge(struct bpe *m, const struct json *j, uint32_t rank, size_t n_prefix)
{
    struct str pair[2];
    if (!read_pair(j, pair))
        return bad("merges", "must be an array of pairs of tokens");
    int32_t a = vocab_find(m->vocab, pair[0]), b = vocab_find(m->vocab, pair[1]), id = -1;
    if (a >= 0 && b >= 0 && pair[1].n >= n_prefix) {
        uint32_t at = trie_node(m->vocab->trie, pair[0]);
        for (size_t i = n_prefix; at && i < pair[1].n; i++)
            at = trie_step(m->vocab->trie, at, (uint8_t)pair[1].p[i]);
        id = trie_ends(at) ? trie_value(m->vocab->trie, at) : -1;
    }
    if (id < 0)
        return err_new(ERR_ARGUMENT,
                       "member [model.merges] has at [%u] a pair that is not in the vocabulary, or "
                       "makes a token that is not",
                       rank);
    struct merge *slot = merge_slot(m, pair_of(a, b));
    *slot = (struct merge){pair_of(a, b), rank, id};
    return NULL;
}

static struct err *read_merges(struct bpe *m, const struct json *merges, size_t n_prefix)
{
    if (!json_is(merges, JSON_ARRAY) || (merges->flat && merges->n) || merges->n > MAX_MERGES)
        return bad("merges", "must be an array of pairs of tokens");
    unsigned bits = 4;
    while ((1u << bits) < merges->n * 2)
        bits++;
    m->mask = (1u << bits) - 1;
    m->shift = 64 - bits;
    m->multiplier = str_hash(STR("merges")) | 1;
    m->merges = mem_array((size_t)m->mask + 1, sizeof(*m->merges));
    uint32_t rank = 0;
    struct json_iter it = json_iter(merges);
    for (const struct json *j; (j = json_next(&it)); rank++)
        TRY(read_merge(m, j, rank, n_prefix));
    return NULL;
}

static struct err *read_unknown(struct bpe *m, const struct json *model)
{
    const struct json *j = json_get(model, "unk_token");
    struct str text;
    m->unknown = -1;
    if (json_is_null(j))
        return NULL;
    if (!json_str(j, &text))
        return bad("unk_token", "must be a string");
    m->unknown = vocab_find(m->vocab, text);
    return m->unknown < 0 && text.n ? bad("unk_token", "must be in the vocabulary") : NULL;
}

static struct err *read_flags(struct bpe *m, const struct json *model)
{
    double dropout = 0;
    const struct json *j = json_get(model, "dropout");
    if (!json_is_null(j) && (!json_f64(j, &dropout) || dropout != 0))
        return bad("dropout", "must be null or 0");
    TRY(read_flag(model, "byte_fallback", &m->byte_fallback));
    TRY(read_flag(model, "fuse_unk", &m->fuse_unknown));
    return read_flag(model, "ignore_merges", &m->ignore_merges);
}

static struct err *read_model(struct bpe *m, const struct json *model)
{
    struct str prefix, suffix;
    TRY(read_flags(m, model));
    TRY(read_affix(model, "continuing_subword_prefix", &prefix));
    TRY(read_affix(model, "end_of_word_suffix", &suffix));
    if ((prefix.n || suffix.n) && (m->byte_level || m->byte_fallback))
        return bad(prefix.n ? "continuing_subword_prefix" : "end_of_word_suffix",
                   "must be empty where words are cut into bytes");
    m->owned = mem_new(suffix.n + 1);
    if (suffix.n)
        memcpy(m->owned, suffix.p, suffix.n);
    m->suffix = str_n(m->owned, suffix.n);
    m->continuing = trie_node(m->vocab->trie, prefix);
    TRY(read_unknown(m, model));
    read_bytes(m);
    m->byte_fallback &= !m->byte_level;
    TRY(read_merges(m, json_get(model, "merges"), prefix.n));
    return m->ignore_merges && m->byte_level ? read_whole(m) : NULL;
}

static void bpe_free(void *model)
{
    struct bpe *m = model;
    pipeline_deinit(&m->pipeline);
    trie_free(m->whole);
    free(m->merges);
    free(m->owned);
    free(m);
}

static struct err *bpe_open(const struct json *root, const struct vocab *vocab, void **out)
{
    struct bpe *m = mem_new(sizeof(*m));
    m->vocab = vocab;
    struct err *err = pipeline_read(root, &m->pipeline);
    if (!err) {
        m->byte_level = pretokenizer_is_byte_level(m->pipeline.pretokenizer);
        err = read_model(m, json_get(root, "model"));
    }
    if (err) {
        bpe_free(m);
        return err;
    }
    *out = m;
    return NULL;
}

static bool bpe_may_cut(const void *model, struct str text)
{
    const struct bpe *m = model;
    return pipeline_may_cut(&m->pipeline, text);
}

static void bpe_encode(const void *model, struct str text, uint32_t at, struct pieces *out)
{
    const struct bpe *m = model;
    pipeline_encode(&m->pipeline, bpe_word, m, text, at, out);
}

static void bpe_normalize(const void *model, struct str text, uint32_t at, struct norm_text *out)
{
    const struct bpe *m = model;
    normalizer_run(m->pipeline.normalizer, text, at, out);
}

static void bpe_encode_normalized(const void *model, const struct norm_text *t, size_t from,
                                  size_t to, struct pieces *out)
{
    const struct bpe *m = model;
    pipeline_encode_normalized(&m->pipeline, bpe_word, m, t, from, to, out);
}

const struct tokenizer_kind tokenizer_bpe = {
    .type = "BPE",
    .open = bpe_open,
    .free = bpe_free,
    .may_cut = bpe_may_cut,
    .encode = bpe_encode,
    .normalize = bpe_normalize,
    .encode_normalized = bpe_encode_normalized,
};
