/* Whole texts: decoding, UTF-16 counting, repair, normal forms. ICU's C interface normalizes
 * UTF-16 only, so a text that is not already in the form asked for makes the way there and back;
 * ASCII is in all four forms and is seen first. */
#include "unicode.h"

#include <stdlib.h>
#include <unicode/unorm2.h>
#include <unicode/ustring.h>

#include "buf.h"
#include "bug.h"

/* What is handed to ICU at once. Its lengths are 32 bits wide and NFKD makes eleven times the bytes
 * of some characters, so texts beyond this are done in parts. */
#define MAX_PART ((size_t)64 << 20)

uint32_t utf8_next(struct str s, size_t *i)
{
    BUG_ON(*i >= s.n);
    const unsigned char *p = (const unsigned char *)s.p + *i;
    uint32_t c = p[0];
    if (c < 0x80) {
        ++*i;
        return c;
    }
    size_t len = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    BUG_ON(c < 0xc2 || c > 0xf4 || len > s.n - *i);
    c &= 0x7fu >> len;
    for (size_t k = 1; k < len; k++) {
        BUG_ON((p[k] & 0xc0) != 0x80);
        c = c << 6 | (p[k] & 0x3f);
    }
    *i += len;
    return c;
}

size_t utf8_put(char *out, uint32_t c)
{
    BUG_ON(c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff));
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* One unit per lead byte, and one more for those of four-byte sequences. */
static size_t units_of(unsigned char c)
{
    return (size_t)((c & 0xc0) != 0x80) + (size_t)(c >= 0xf0);
}

size_t utf16_length(struct str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += units_of((unsigned char)s.p[i]);
    return n;
}

struct str utf16_prefix(struct str s, size_t n)
{
    if (s.n <= n)
        return s;
    size_t units = 0;
    for (size_t i = 0; i < s.n; i++) {
        units += units_of((unsigned char)s.p[i]);
        if (units > n)
            return str_n(s.p, i);
    }
    return s;
}

/* --- repair --- */

/* How many bytes at p are the longest beginning of a well-formed sequence, and whether all of it
 * is there. At least 1. */
static size_t maximal_subpart(const unsigned char *p, size_t n, bool *whole)
{
    unsigned char c = p[0];
    size_t len = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    unsigned char low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    unsigned char high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    size_t i = 1;
    for (; i < len && i < n && p[i] >= low && p[i] <= high; i++) {
        low = 0x80;
        high = 0xbf;
    }
    *whole = i == len;
    return i;
}

struct str str_utf8_repair(struct arena *a, struct str s)
{
    if (str_utf8_ok(s))
        return s;
    /* A bad byte takes three at most; all-bad text is counted first to know how many. */
    size_t n = 0;
    bool whole;
    for (size_t i = 0, len; i < s.n; i += len) {
        len = maximal_subpart((const unsigned char *)s.p + i, s.n - i, &whole);
        n += whole ? len : 3;
    }
    char *out = arena_alloc(a, n), *p = out;
    for (size_t i = 0, len; i < s.n; i += len) {
        len = maximal_subpart((const unsigned char *)s.p + i, s.n - i, &whole);
        memcpy(p, whole ? s.p + i : "\xef\xbf\xbd", whole ? len : 3);
        p += whole ? len : 3;
    }
    return str_n(out, n);
}

/* --- normal forms --- */

static bool is_ascii(struct str s)
{
    unsigned char all = 0;
    for (size_t i = 0; i < s.n; i++)
        all |= (unsigned char)s.p[i];
    return all < 0x80;
}

/* Frees `from`, gives the normalized units; the first `done` of them are known to be so. */
static UChar *normalized(const UNormalizer2 *form, UChar *from, int32_t n, int32_t done,
                         int32_t *n_out)
{
    /* Most texts grow little; the few that do not fit are measured by the failed attempt. */
    int32_t cap = n + n / 2 + 32;
    for (;;) {
        UErrorCode e = U_ZERO_ERROR;
        UChar *to = mem_array((size_t)cap, sizeof *to);
        memcpy(to, from, (size_t)done * sizeof *to);
        *n_out = unorm2_normalizeSecondAndAppend(form, to, done, cap, from + done, n - done, &e);
        if (e != U_BUFFER_OVERFLOW_ERROR) {
            BUG_ON(U_FAILURE(e));
            free(from);
            return to;
        }
        free(to);
        cap = *n_out + 1;
    }
}

static struct str from_utf16(struct arena *a, const UChar *units, int32_t n)
{
    UErrorCode e = U_ZERO_ERROR;
    int32_t bytes = 0;
    u_strToUTF8(NULL, 0, &bytes, units, n, &e);
    BUG_ON(U_FAILURE(e) && e != U_BUFFER_OVERFLOW_ERROR);
    e = U_ZERO_ERROR;
    char *out = arena_alloc(a, (size_t)bytes + 1);
    u_strToUTF8(out, bytes + 1, NULL, units, n, &e);
    BUG_ON(U_FAILURE(e));
    return str_n(out, (size_t)bytes);
}

static struct str normalize_part(struct arena *a, struct str s, const UNormalizer2 *form)
{
    if (is_ascii(s))
        return s;
    UErrorCode e = U_ZERO_ERROR;
    int32_t n = 0;
    UChar *units = mem_array(s.n, sizeof *units);
    u_strFromUTF8(units, (int32_t)s.n, &n, s.p, (int32_t)s.n, &e);
    BUG_ON(U_FAILURE(e));
    int32_t done = unorm2_spanQuickCheckYes(form, units, n, &e);
    BUG_ON(U_FAILURE(e));
    if (done == n) {
        free(units);
        return s;
    }
    units = normalized(form, units, n, done, &n);
    struct str out = from_utf16(a, units, n);
    free(units);
    return out;
}

/* Where to end a part of `s`: before a character that nothing earlier can change. A run of more
 * combining marks than this looks back over is no text, and may be cut anywhere. */
static size_t part_end(struct str s, const UNormalizer2 *form)
{
    if (s.n <= MAX_PART)
        return s.n;
    size_t end = MAX_PART;
    for (size_t i = MAX_PART; i > MAX_PART - 4096; i--) {
        if (((unsigned char)s.p[i] & 0xc0) == 0x80)
            continue;
        size_t next = i;
        if (unorm2_hasBoundaryBefore(form, (UChar32)utf8_next(s, &next)))
            return i;
        end = i;
    }
    return end;
}

static struct str normalize(struct arena *a, struct str s,
                            const UNormalizer2 *(*instance)(UErrorCode *))
{
    UErrorCode e = U_ZERO_ERROR;
    const UNormalizer2 *form = instance(&e);
    BUG_ON(U_FAILURE(e));
    if (s.n <= MAX_PART)
        return normalize_part(a, s, form);
    struct buf all;
    buf_init(&all, SIZE_MAX);
    while (s.n) {
        size_t n = part_end(s, form);
        buf_put(&all, normalize_part(a, str_n(s.p, n), form));
        s = str_sub(s, n, SIZE_MAX);
    }
    BUG_ON(all.full); /* no memory */
    struct str out = arena_dup(a, buf_str(&all));
    buf_deinit(&all);
    return out;
}

struct str unicode_nfd(struct arena *a, struct str s)
{
    return normalize(a, s, unorm2_getNFDInstance);
}

struct str unicode_nfc(struct arena *a, struct str s)
{
    return normalize(a, s, unorm2_getNFCInstance);
}

struct str unicode_nfkd(struct arena *a, struct str s)
{
    return normalize(a, s, unorm2_getNFKDInstance);
}

struct str unicode_nfkc(struct arena *a, struct str s)
{
    return normalize(a, s, unorm2_getNFKCInstance);
}
