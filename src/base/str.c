/* Views of bytes. What is hot here (comparing header names, checking UTF-8) works on eight bytes
 * at a time in plain 64-bit words. */
#include "str.h"

#include <sodium.h>
#include <sys/random.h>

#include "bug.h"

#define ONES  0x0101010101010101u
#define HIGHS 0x8080808080808080u

static uint64_t load8(const char *p)
{
    uint64_t w;
    memcpy(&w, p, 8);
    return w;
}

struct str str_c(const char *z)
{
    return z ? str_n(z, strlen(z)) : (struct str){NULL, 0};
}

bool str_eq_c(struct str a, const char *z)
{
    return str_eq(a, str_c(z));
}

/* Lower-cases the ASCII letters among eight bytes: per byte, the high bit of (low7 + 0x3f) says
 * "at least A" and that of (low7 + 0x25) says "beyond Z"; bytes from 0x80 on are left alone. */
static uint64_t lower8(uint64_t w)
{
    uint64_t low7 = w & ~HIGHS;
    uint64_t is_upper = (low7 + 0x3f * ONES) & ~(low7 + 0x25 * ONES) & ~w & HIGHS;
    return w | is_upper >> 2;
}

static unsigned char lower1(char c)
{
    unsigned char u = (unsigned char)c;
    return u >= 'A' && u <= 'Z' ? (unsigned char)(u | 0x20) : u;
}

bool str_eq_nocase(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    size_t i = 0;
    for (; i + 8 <= a.n; i += 8)
        if (lower8(load8(a.p + i)) != lower8(load8(b.p + i)))
            return false;
    for (; i < a.n; i++)
        if (lower1(a.p[i]) != lower1(b.p[i]))
            return false;
    return true;
}

bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

bool str_ends(struct str s, struct str suffix)
{
    return s.n >= suffix.n &&
           (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

int str_cmp(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

size_t str_find(struct str s, struct str needle)
{
    if (needle.n == 0)
        return 0;
    if (needle.n > s.n)
        return SIZE_MAX;
    const char *at = memmem(s.p, s.n, needle.p, needle.n);
    return at ? (size_t)(at - s.p) : SIZE_MAX;
}

size_t str_find_char(struct str s, char c)
{
    const char *at = s.n ? memchr(s.p, c, s.n) : NULL;
    return at ? (size_t)(at - s.p) : SIZE_MAX;
}

struct str str_sub(struct str s, size_t from, size_t n)
{
    if (from >= s.n)
        return str_n(s.p ? s.p + s.n : NULL, 0);
    return str_n(s.p + from, n < s.n - from ? n : s.n - from);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str str_trim(struct str s)
{
    while (s.n && is_space(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

bool str_split(struct str *rest, char sep, struct str *part_out)
{
    if (!rest->p) {
        *part_out = (struct str){NULL, 0};
        return false;
    }
    size_t at = str_find_char(*rest, sep);
    if (at == SIZE_MAX) {
        *part_out = *rest;
        *rest = (struct str){NULL, 0};
    } else {
        *part_out = str_n(rest->p, at);
        *rest = str_n(rest->p + at + 1, rest->n - at - 1);
    }
    return true;
}

bool str_to_u64(struct str s, uint64_t *out)
{
    uint64_t v = 0;
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned digit = (unsigned char)s.p[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, digit, &v))
            return false;
    }
    *out = v;
    return true;
}

bool str_to_i64(struct str s, int64_t *out)
{
    bool negative = s.n && s.p[0] == '-';
    uint64_t v;
    if (!str_to_u64(negative ? str_sub(s, 1, SIZE_MAX) : s, &v))
        return false;
    if (v > (uint64_t)INT64_MAX + negative)
        return false;
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* SipHash's key, from the kernel before main runs, so that no call has to check for it. */
static unsigned char hash_key[crypto_shorthash_KEYBYTES];

static __attribute__((constructor)) void make_hash_key(void)
{
    BUG_ON(getrandom(hash_key, sizeof hash_key, 0) != (ssize_t)sizeof hash_key);
}

uint64_t str_hash(struct str s)
{
    uint64_t h;
    _Static_assert(sizeof h == crypto_shorthash_BYTES, "SipHash gives 64 bits");
    static const unsigned char empty[1];
    crypto_shorthash((unsigned char *)&h, s.n ? (const unsigned char *)s.p : empty, s.n, hash_key);
    return h;
}

/* The second byte's range after each kind of lead byte (Unicode 15, table 3-7) is what keeps out
 * overlong forms, surrogates and everything above U+10FFFF. Returns 0 when malformed. */
static size_t utf8_one(const unsigned char *p, size_t n)
{
    unsigned char c = p[0], low = 0x80, high = 0xbf;
    size_t len;
    if (c < 0x80)
        return 1;
    if (c < 0xc2 || c > 0xf4)
        return 0;
    if (c < 0xe0) {
        len = 2;
    } else if (c < 0xf0) {
        len = 3;
        low = c == 0xe0 ? 0xa0 : 0x80;
        high = c == 0xed ? 0x9f : 0xbf;
    } else {
        len = 4;
        low = c == 0xf0 ? 0x90 : 0x80;
        high = c == 0xf4 ? 0x8f : 0xbf;
    }
    if (n < len || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

bool str_utf8_ok(struct str s)
{
    size_t i = 0;
    while (i < s.n) {
        while (i + 8 <= s.n && !(load8(s.p + i) & HIGHS))
            i += 8;
        if (i == s.n)
            return true;
        size_t len = utf8_one((const unsigned char *)s.p + i, s.n - i);
        if (len == 0)
            return false;
        i += len;
    }
    return true;
}
