/* Darts-clone's units: a node is found by xor of the parent's offset and the byte, and says with
 * its low byte which byte it is for. Every index is checked: the array comes from a file. */
#include "charsmap.h"

#include <pthread.h>
#include <stdlib.h>

#include "bert_chars.h"
#include "bug.h"
#include "unicode.h"

#define MADE_MAX     8192 /* entries of the map that is made */
#define MAX_GRAPHEME 6    /* bytes from which on a grapheme is not looked up as a whole */

struct charsmap {
    struct trie *made; /* of the map that is made here, to `to`; else NULL */
    struct str *to;
    struct arena *arena;
    uint8_t *bytes;
    uint32_t *units;
    uint32_t n_units;
    const char *texts; /* replacements, in `bytes` */
    size_t n_texts;
    bool ascii_changes[128], keeps_ascii;
};

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Into `out`, which has room for 3 bytes per 4 characters. False: not base64. */
static bool base64_decode(struct str s, uint8_t *out, size_t *n_out)
{
    if (s.n % 4)
        return false;
    for (int i = 0; i < 2 && s.n && s.p[s.n - 1] == '='; i++)
        s.n--;
    uint32_t bits = 0;
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        int v = base64_value(s.p[i]);
        if (v < 0)
            return false;
        bits = bits << 6 | (uint32_t)v;
        if (i % 4 != 0)
            out[n++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    *n_out = n;
    return true;
}

static uint32_t le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t unit_offset(uint32_t unit)
{
    return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}

static bool lookup_made(const struct charsmap *m, struct str s, struct str *out)
{
    uint32_t at = TRIE_ROOT;
    for (size_t i = 0; i < s.n && at && !trie_ends(at); i++)
        at = trie_step(m->made, at, (uint8_t)s.p[i]);
    if (!trie_ends(at))
        return false;
    *out = m->to[trie_value(m->made, at)];
    return true;
}

/* The shortest entry that s begins with. False: none. */
static bool lookup(const struct charsmap *m, struct str s, struct str *out)
{
    if (m->made)
        return lookup_made(m, s, out);
    if (m->n_units == 0)
        return false;
    uint32_t at = unit_offset(m->units[0]);
    for (size_t i = 0; i < s.n && s.p[i]; i++) {
        uint8_t byte = (uint8_t)s.p[i];
        at ^= byte;
        if (at >= m->n_units)
            return false;
        uint32_t unit = m->units[at];
        if ((unit & (1u << 31 | 0xFF)) != byte)
            return false;
        at ^= unit_offset(unit);
        if (at >= m->n_units)
            return false;
        if (unit >> 8 & 1) {
            size_t text = m->units[at] & ~(1u << 31);
            if (text > m->n_texts)
                return false;
            *out = str_n(m->texts + text, strnlen(m->texts + text, m->n_texts - text));
            return true;
        }
    }
    return false;
}

static bool parse(struct charsmap *m, size_t n)
{
    if (n < 4)
        return false;
    uint32_t trie_bytes = le32(m->bytes) / 4 * 4;
    if (trie_bytes > n - 4)
        return false;
    m->n_units = trie_bytes / 4;
    m->units = mem_array(m->n_units ? m->n_units : 1, sizeof(*m->units));
    for (uint32_t i = 0; i < m->n_units; i++)
        m->units[i] = le32(m->bytes + 4 + i * 4);
    m->texts = (const char *)m->bytes + 4 + trie_bytes;
    m->n_texts = n - 4 - trie_bytes;
    return str_utf8_ok(str_n(m->texts, m->n_texts));
}

static void look_at_ascii(struct charsmap *m)
{
    m->keeps_ascii = true;
    for (int c = 0; c < 128; c++) {
        char text = (char)c;
        struct str to;
        bool found = lookup(m, str_n(&text, 1), &to);
        m->ascii_changes[c] = c == '\r' || found;
        m->keeps_ascii &= !(found && to.n == 0 && c >= ' ' && c <= '~');
    }
}

struct charsmap *charsmap_read(struct str base64)
{
    struct charsmap *m = mem_new(sizeof(*m));
    size_t n = 0;
    m->bytes = mem_new(base64.n / 4 * 3 + 3);
    if (!base64_decode(base64, m->bytes, &n) || !parse(m, n)) {
        charsmap_free(m);
        return NULL;
    }
    look_at_ascii(m);
    return m;
}

/* --- the map that most models have, made from Unicode's tables --- */

/* What SentencePiece's nmt_nfkc has beyond NFKC: controls go, invisible characters are spaces. */
static const struct {
    uint32_t first, last;
    bool removed;
} nmt_rules[] = {
    {0x1, 0x8, true},        {0x9, 0xA, false},       {0xB, 0xB, true},
    {0xC, 0xD, false},       {0xE, 0x1F, true},       {0x7F, 0x7F, true},
    {0x8F, 0x8F, true},      {0x9F, 0x9F, true},      {0x1680, 0x1680, false},
    {0x200B, 0x200F, false}, {0x2028, 0x2029, false}, {0x2581, 0x2581, false},
    {0xFEFF, 0xFEFF, false}, {0xFFFD, 0xFFFD, false},
};

/* Stay as they are: the wide tilde, and what got its compatibility mapping after the map that
 * the models were trained with was made. */
static const uint32_t unmapped[][2] = {{0x32FF, 0x32FF},   {0xA7F1, 0xA7F4},   {0xAB69, 0xAB69},
                                       {0xFF5E, 0xFF5E},   {0x10781, 0x107BA}, {0x1CCD6, 0x1CCF9},
                                       {0x1E030, 0x1E06D}, {0x1F16C, 0x1F16C}, {0x1F23B, 0x1F23B},
                                       {0x1FBF0, 0x1FBF9}};

/* Where characters with a mapping are. */
static const uint32_t mapped[][2] = {
    {0x1, 0x33FF}, {0xA69C, 0xAB70}, {0xF900, 0xFFFF}, {0x10000, 0x1FFFF}, {0x2F800, 0x2FA1F}};

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

static void make_entry(struct charsmap *m, struct str from, struct str to, size_t *n)
{
    int32_t old;
    BUG_ON(*n == MADE_MAX || !trie_put(m->made, from, (int32_t)*n, &old));
    m->to[(*n)++] = arena_dup(m->arena, to);
}

static bool is_unmapped(uint32_t c)
{
    for (size_t i = 0; i < N_OF(unmapped); i++) {
        if (c >= unmapped[i][0] && c <= unmapped[i][1])
            return true;
    }
    return c >= 0xD800 && c < 0xE000;
}

static bool make_by_rule(struct charsmap *m, uint32_t c, struct str from, size_t *n)
{
    for (size_t i = 0; i < N_OF(nmt_rules); i++) {
        if (c < nmt_rules[i].first || c > nmt_rules[i].last)
            continue;
        make_entry(m, from, nmt_rules[i].removed ? STR("") : STR(" "), n);
        return true;
    }
    return false;
}

static void make_single(struct charsmap *m, uint32_t c, struct arena *tmp, size_t *n)
{
    char text[4];
    struct str from = {text, is_unmapped(c) ? 0 : utf8_put(text, c)};
    if (from.n == 0 || make_by_rule(m, c, from, n))
        return;
    struct str to = unicode_nfkc(tmp, from);
    if (!str_eq(from, to))
        make_entry(m, from, to, n);
}

/* A letter and its mark as one character, where both fit a grapheme that is looked up as a whole,
 * and the letter is not an entry of its own, nor made of others. */
static void make_pair(struct charsmap *m, uint32_t c, size_t *n)
{
    uint32_t parts[18];
    char from[8], to[4];
    if (unicode_decompose(c, parts) != 2 || !unicode_combining_class(parts[1]))
        return;
    size_t n_from = utf8_put(from, parts[0]);
    struct str unused;
    bool is_entry = lookup_made(m, str_n(from, n_from), &unused);
    n_from += utf8_put(from + n_from, parts[1]);
    if (is_entry || n_from >= MAX_GRAPHEME || unicode_compose(parts[0], parts[1]) != c)
        return;
    make_entry(m, str_n(from, n_from), str_n(to, utf8_put(to, c)), n);
}

/* Marks that are another mark: U+0340, U+0341 and U+0343 after a letter do what that one does. */
static void make_twins(struct charsmap *m, uint32_t c, size_t *n)
{
    static const uint32_t twins[][2] = {{0x300, 0x340}, {0x301, 0x341}, {0x313, 0x343}};
    uint32_t parts[18];
    char from[8], to[4];
    struct str unused;
    if (unicode_decompose(c, parts) != 2 || unicode_compose(parts[0], parts[1]) != c)
        return;
    size_t n_first = utf8_put(from, parts[0]);
    if (lookup_made(m, str_n(from, n_first), &unused))
        return;
    for (size_t i = 0; i < N_OF(twins); i++) {
        if (parts[1] != twins[i][0])
            continue;
        size_t n_from = n_first + utf8_put(from + n_first, twins[i][1]);
        if (n_from < MAX_GRAPHEME)
            make_entry(m, str_n(from, n_from), str_n(to, utf8_put(to, c)), n);
    }
}

static struct charsmap *make_nmt_nfkc(void)
{
    struct charsmap *m = mem_new(sizeof(*m));
    struct arena *tmp = arena_new(ARENA_NO_LIMIT);
    size_t n = 0;
    m->made = trie_new();
    m->to = mem_array(MADE_MAX, sizeof(*m->to));
    m->arena = arena_new(ARENA_NO_LIMIT);
    for (size_t i = 0; i < N_OF(mapped); i++) {
        for (uint32_t c = mapped[i][0]; c <= mapped[i][1]; c++) {
            make_single(m, c, tmp, &n);
            arena_reset(tmp);
        }
    }
    for (uint32_t c = 0xC0; c < 0x3000; c++) {
        make_pair(m, c, &n);
        make_twins(m, c, &n);
    }
    arena_free(tmp);
    look_at_ascii(m);
    return m;
}

static struct charsmap *nmt_nfkc;

static void init_nmt_nfkc(void)
{
    nmt_nfkc = make_nmt_nfkc();
}

const struct charsmap *charsmap_nmt_nfkc(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_nmt_nfkc);
    return nmt_nfkc;
}

bool charsmap_keeps_ascii(const struct charsmap *m)
{
    return m->keeps_ascii;
}

void charsmap_free(struct charsmap *m)
{
    if (!m)
        return;
    trie_free(m->made);
    free(m->to);
    arena_free(m->arena);
    free(m->units);
    free(m->bytes);
    free(m);
}

/* Text on its way out. The last code point is held back, as removals are added to its change. */
struct rewrite {
    struct transform to;
    uint32_t held;
    int64_t change;
    bool any;
};

static void put(struct rewrite *r, uint32_t c, int64_t change)
{
    if (r->any)
        transform_put(&r->to, r->held, r->change);
    r->held = c;
    r->change = change;
    r->any = true;
}

static size_t count_chars(struct str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((uint8_t)s.p[i] & 0xC0) != 0x80;
    return n;
}

static void put_replacement(struct rewrite *r, struct str old, struct str new)
{
    size_t n_old = count_chars(old), n = 0;
    for (size_t i = 0; i < new.n; n++) {
        uint32_t c;
        i += bert_utf8((const uint8_t *)new.p + i, new.n - i, &c);
        put(r, c, n >= n_old);
    }
    if (n < n_old && r->any)
        r->change -= (int64_t)(n_old - n);
}

static void put_part(const struct charsmap *m, struct rewrite *r, struct str part)
{
    struct str to;
    if (part.n < MAX_GRAPHEME && lookup(m, part, &to)) {
        put_replacement(r, part, to);
        return;
    }
    for (size_t i = 0; i < part.n;) {
        uint32_t c;
        size_t n = bert_utf8((const uint8_t *)part.p + i, part.n - i, &c);
        struct str one = {part.p + i, n};
        if (lookup(m, one, &to))
            put_replacement(r, one, to);
        else
            put(r, c, 0);
        i += n;
    }
}

/* UAX #29's rules between two neighbours; what came before them is in the two flags. */
static bool joined(enum unicode_grapheme a, enum unicode_grapheme b, bool picture, bool odd_flag)
{
    if (a == UNICODE_G_CR && b == UNICODE_G_LF)
        return true;
    if (a == UNICODE_G_CR || a == UNICODE_G_LF || a == UNICODE_G_CONTROL || b == UNICODE_G_CR ||
        b == UNICODE_G_LF || b == UNICODE_G_CONTROL)
        return false;
    if (b == UNICODE_G_EXTEND || b == UNICODE_G_ZWJ || b == UNICODE_G_SPACING_MARK ||
        a == UNICODE_G_PREPEND)
        return true;
    if (a == UNICODE_G_L)
        return b == UNICODE_G_L || b == UNICODE_G_V || b == UNICODE_G_LV || b == UNICODE_G_LVT;
    if (a == UNICODE_G_LV || a == UNICODE_G_V)
        return b == UNICODE_G_V || b == UNICODE_G_T;
    if (a == UNICODE_G_LVT || a == UNICODE_G_T)
        return b == UNICODE_G_T;
    if (a == UNICODE_G_ZWJ)
        return picture && b == UNICODE_G_PICTOGRAPH;
    return a == UNICODE_G_REGIONAL && b == UNICODE_G_REGIONAL && odd_flag;
}

/* Where the grapheme that begins at byte i ends. */
static size_t grapheme_end(const struct norm_text *t, size_t i)
{
    const uint8_t *p = (const uint8_t *)t->p;
    uint32_t c;
    i += bert_utf8(p + i, t->n - i, &c);
    if (c >= 0x20 && c < 0x7F && (i == t->n || p[i] < 0x7F))
        return i;
    enum unicode_grapheme a = unicode_grapheme(c);
    bool picture = a == UNICODE_G_PICTOGRAPH, odd_flag = a == UNICODE_G_REGIONAL;
    while (i < t->n) {
        size_t n = bert_utf8(p + i, t->n - i, &c);
        enum unicode_grapheme b = unicode_grapheme(c);
        if (!joined(a, b, picture, odd_flag))
            break;
        if (b == UNICODE_G_PICTOGRAPH)
            picture = true;
        else if (b != UNICODE_G_EXTEND && b != UNICODE_G_ZWJ)
            picture = false;
        odd_flag = b == UNICODE_G_REGIONAL && !odd_flag;
        a = b;
        i += n;
    }
    return i;
}

void charsmap_apply(const struct charsmap *m, const struct norm_text *in, uint32_t at,
                    struct norm_text *out)
{
    struct rewrite r = {.to = {.in = in, .out = out, .first = at}};
    const uint8_t *p = (const uint8_t *)in->p;
    for (size_t i = 0; i < in->n;) {
        if (p[i] < 0x80 && !m->ascii_changes[p[i]] && (i + 1 == in->n || p[i + 1] < 0x80)) {
            put(&r, p[i++], 0);
            continue;
        }
        size_t end = grapheme_end(in, i);
        put_part(m, &r, str_n(in->p + i, end - i));
        i = end;
    }
    if (r.any)
        transform_put(&r.to, r.held, r.change);
}
