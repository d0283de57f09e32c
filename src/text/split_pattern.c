#include "split_pattern.h"

#include "bert_chars.h"
#include "unicode.h"

enum char_class { LETTER = 1, NUMBER = 2, SPACE = 4, NEWLINE = 8, OTHER = 16 };

/* What Unicode 16 has and the system's ICU may not have yet. */
static const uint32_t late_letters[][2] = {
    {0x1c89, 0x1c8a},   {0xa7cb, 0xa7cd},   {0xa7da, 0xa7dc},   {0x105c0, 0x105f3},
    {0x10d4a, 0x10d65}, {0x10d6f, 0x10d85}, {0x10ec2, 0x10ec4}, {0x1123f, 0x11240},
    {0x11380, 0x11389}, {0x1138b, 0x1138b}, {0x1138e, 0x1138e}, {0x11390, 0x113b5},
    {0x113b7, 0x113b7}, {0x113d1, 0x113d1}, {0x113d3, 0x113d3}, {0x11bc0, 0x11be0},
    {0x11f02, 0x11f02}, {0x11f04, 0x11f10}, {0x11f12, 0x11f33}, {0x1342f, 0x1342f},
    {0x13441, 0x13446}, {0x13460, 0x143fa}, {0x16100, 0x1611d}, {0x16d40, 0x16d6c},
    {0x18cff, 0x18cff}, {0x1b132, 0x1b132}, {0x1b155, 0x1b155}, {0x1df25, 0x1df2a},
    {0x1e030, 0x1e06d}, {0x1e4d0, 0x1e4eb}, {0x1e5d0, 0x1e5ed}, {0x1e5f0, 0x1e5f0},
    {0x2b739, 0x2b739}, {0x2ebf0, 0x2ee5d}, {0x31350, 0x323af},
};
static const uint32_t late_numbers[][2] = {
    {0x10d40, 0x10d49}, {0x116d0, 0x116e3}, {0x11bf0, 0x11bf9}, {0x11f50, 0x11f59},
    {0x16130, 0x16139}, {0x16d70, 0x16d79}, {0x1ccf0, 0x1ccf9}, {0x1d2c0, 0x1d2d3},
    {0x1e4f0, 0x1e4f9}, {0x1e5f1, 0x1e5fa},
};

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

static bool within(const uint32_t (*spans)[2], size_t n, uint32_t c)
{
    for (size_t i = 0; i < n; i++) {
        if (c >= spans[i][0] && c <= spans[i][1])
            return true;
    }
    return false;
}

static enum char_class class_of(uint32_t c)
{
    if (unicode_is_letter(c))
        return LETTER;
    if (unicode_is_number(c))
        return NUMBER;
    if (unicode_is_whitespace(c))
        return SPACE;
    if (unicode_category(c) != UNICODE_CN)
        return OTHER;
    if (within(late_letters, N_OF(late_letters), c))
        return LETTER;
    return within(late_numbers, N_OF(late_numbers), c) ? NUMBER : OTHER;
}

static enum char_class ascii_class(uint8_t c)
{
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z')
        return LETTER;
    if (c >= '0' && c <= '9')
        return NUMBER;
    if (c == '\n' || c == '\r')
        return NEWLINE;
    return c == ' ' || (c >= '\t' && c <= '\r') ? SPACE : OTHER;
}

/* Class and length of the character at byte i; 0 at the end. */
static int peek(struct str s, size_t i, size_t *n_out)
{
    *n_out = 1;
    if (i >= s.n)
        return 0;
    uint8_t byte = (uint8_t)s.p[i];
    if (byte < 0x80)
        return (int)ascii_class(byte);
    uint32_t c;
    *n_out = bert_utf8((const uint8_t *)s.p + i, s.n - i, &c);
    return (int)class_of(c);
}

/* The end of the longest run of these classes, of at most max characters. */
static size_t run(struct str s, size_t i, int classes, size_t max)
{
    size_t n;
    for (; max > 0 && (peek(s, i, &n) & classes); max--)
        i += n;
    return i;
}

/* White space: what a word takes along stays for the next match, unless nothing follows. */
static size_t white_end(struct str s, size_t i, bool newlines)
{
    size_t last = i, newline = 0, at = i, n;
    for (int k; (k = peek(s, at, &n)) & (SPACE | NEWLINE); at += n) {
        last = at;
        if (k == NEWLINE)
            newline = at + 1;
    }
    if (newlines && newline)
        return newline;
    return at == s.n || last == i ? at : last;
}

/* 's 't 're 've 'm 'll 'd after the apostrophe at byte i; i when there is none. The long s is an s
 * where case does not count. */
static size_t contraction(struct str s, size_t i, bool any_case)
{
    static const char *const ends[] = {"s", "t", "re", "ve", "m", "ll", "d"};
    for (size_t k = 0; k < N_OF(ends); k++) {
        size_t n = strlen(ends[k]);
        struct str end = str_sub(s, i + 1, n);
        if (any_case ? str_eq_nocase(end, str_c(ends[k])) : str_eq_c(end, ends[k]))
            return i + 1 + n;
    }
    return any_case && str_eq_c(str_sub(s, i + 1, 2), "\xC5\xBF") ? i + 3 : i;
}

static size_t gpt2_next(struct str s, size_t i)
{
    if (s.p[i] == '\'') {
        size_t end = contraction(s, i, false);
        if (end > i)
            return end;
    }
    size_t n, from = s.p[i] == ' ' ? i + 1 : i;
    int k = peek(s, from, &n);
    if (k & (LETTER | NUMBER | OTHER))
        return run(s, from, k, SIZE_MAX);
    return white_end(s, i, false);
}

static size_t cl100k_next(struct str s, size_t i, size_t max_digits)
{
    if (s.p[i] == '\'') {
        size_t end = contraction(s, i, true);
        if (end > i)
            return end;
    }
    size_t n, next;
    int k = peek(s, i, &n);
    if (k == LETTER)
        return run(s, i, LETTER, SIZE_MAX);
    if (k == NUMBER)
        return run(s, i, NUMBER, max_digits);
    if (k != NEWLINE && peek(s, i + n, &next) == LETTER)
        return run(s, i + n, LETTER, SIZE_MAX);
    size_t from = s.p[i] == ' ' ? i + 1 : i;
    if (peek(s, from, &n) == OTHER)
        return run(s, run(s, from, OTHER, SIZE_MAX), NEWLINE, SIZE_MAX);
    return white_end(s, i, true);
}

bool split_pattern_find(struct str regex, enum split_pattern *out)
{
    static const struct {
        const char *regex;
        enum split_pattern pattern;
    } known[] = {
        {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
         SPLIT_GPT2},
        {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
         " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
         SPLIT_CL100K},
        {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
         " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
         SPLIT_CL100K_ONE},
    };
    for (size_t i = 0; i < N_OF(known); i++) {
        if (str_eq_c(regex, known[i].regex)) {
            *out = known[i].pattern;
            return true;
        }
    }
    return false;
}

size_t split_pattern_next(enum split_pattern pattern, struct str text, size_t i)
{
    if (pattern == SPLIT_GPT2)
        return gpt2_next(text, i);
    return cl100k_next(text, i, pattern == SPLIT_CL100K ? 3 : 1);
}
