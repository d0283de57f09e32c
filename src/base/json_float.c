/* Binary floating point into the shortest decimal that reads back the same.
 *
 * Algorithm: Raffaello Giulietti, "The Schubfach way to render doubles" (2022), sections 8 and 9.
 * A value c * 2^q rounds from all decimals between its two midpoints. With k the greatest integer
 * for which 10^k is not longer than that interval, the interval holds at least one multiple of 10^k
 * and at most one of 10^(k+1): look for the latter first, else take the nearer of the two multiples
 * of 10^k around the value. The value and its midpoints, as multiples of 10^k / 4, come from one
 * multiplication each with a truncated 10^-k; only whether the cut-off part is zero matters, so it
 * is folded into the last bit ("round to odd").
 *
 * Layout: java.lang.Float.toString and Double.toString (JDK 19 and later): plain notation from 1e-3
 * up to 1e7, otherwise d.dddE[-]d, and always a digit behind the point. */
#include <math.h>
#include <string.h>

#include "json_powers.h"
#include "json_private.h"

/* digits * 10^exp10 */
struct shortest {
    uint64_t digits;
    int exp10;
};

/* floor(log10(2^q)), floor(log10(3/4 * 2^q)) and floor(log2(10^e)) for the exponents of a double;
 * the fractions are log10(2), log10(4/3) and log2(10) in fixed point. */
static inline int log10_pow2(int q)
{
    return (q * 1262611) >> 22;
}

static inline int log10_three_quarters_pow2(int q)
{
    return (q * 1262611 - 524031) >> 22;
}

static inline int log2_pow10(int e)
{
    return (e * 1741647) >> 19;
}

/* cp * g / 2^95, round to odd, where g has 63 bits. */
static inline uint64_t scale32(uint64_t g, uint64_t cp)
{
    uint64_t x = (uint64_t)((unsigned __int128)g * cp >> 64);
    return x >> 31 | ((x & 0x7FFFFFFF) != 0);
}

/* cp * g / 2^127, round to odd, where g has two times 63 bits. */
static inline uint64_t scale64(const uint64_t g[2], uint64_t cp)
{
    unsigned __int128 x =
        ((unsigned __int128)g[0] * cp >> 1) + (uint64_t)((unsigned __int128)g[1] * cp >> 64);
    uint64_t rest = (uint64_t)x & INT64_MAX;
    return (uint64_t)(x >> 63) | (rest != 0);
}

/* The choice among the multiples of 10^k and 10^(k+1). All in quarters of 10^k: the value and its
 * midpoints, which belong to the interval when the significand is even. */
static inline struct shortest choose(uint64_t value, uint64_t left, uint64_t right, bool odd, int k)
{
    left += odd;
    right -= odd;
    uint64_t s = value >> 2;
    /* From two digits on: Java prints two at least, and then the nearest of that length. */
    if (s >= 100) {
        uint64_t low = s / 10 * 10, high = low + 10;
        bool low_in = left <= low << 2, high_in = high << 2 <= right;
        if (low_in != high_in)
            return (struct shortest){low_in ? low : high, k};
    }
    bool low_in = left <= s << 2, high_in = (s + 1) << 2 <= right;
    if (low_in != high_in)
        return (struct shortest){low_in ? s : s + 1, k};
    uint64_t middle = (s << 2) + 2;
    bool down = value < middle || (value == middle && (s & 1) == 0);
    return (struct shortest){down ? s : s + 1, k};
}

/* Significands below these have one digit at 10^k, and Java prints two: scale them up. */
#define TINY32 8
#define TINY64 3

static inline struct shortest shortest32(uint32_t bits)
{
    uint32_t fraction = bits & 0x7FFFFF, biased = bits >> 23 & 0xFF;
    uint32_t c = biased ? fraction | 0x800000 : fraction;
    int q = (biased ? (int)biased : 1) - 150;
    /* Below a power of two the floats lie twice as dense. */
    bool even_spaced = fraction != 0 || biased <= 1;
    int k = even_spaced ? log10_pow2(q) : log10_three_quarters_pow2(q);
    int shift = q + log2_pow10(-k) + 33;
    uint64_t g = json_powers[k - JSON_POWERS_MIN][0] + 1;
    bool tiny = c < TINY32;
    uint64_t cb = (uint64_t)c * (tiny ? 40 : 4);
    uint64_t value = scale32(g, cb << shift);
    uint64_t left = scale32(g, (cb - (even_spaced ? 2 : 1)) << shift);
    uint64_t right = scale32(g, (cb + 2) << shift);
    struct shortest v = choose(value, left, right, c & !tiny, k);
    v.exp10 -= tiny;
    return v;
}

static struct shortest shortest64(uint64_t bits)
{
    uint64_t fraction = bits & ((UINT64_C(1) << 52) - 1);
    int biased = (int)(bits >> 52 & 0x7FF);
    uint64_t c = biased ? fraction | UINT64_C(1) << 52 : fraction;
    int q = (biased ? biased : 1) - 1075;
    bool even_spaced = fraction != 0 || biased <= 1;
    int k = even_spaced ? log10_pow2(q) : log10_three_quarters_pow2(q);
    int shift = q + log2_pow10(-k) + 2;
    const uint64_t *g = json_powers[k - JSON_POWERS_MIN];
    bool tiny = c < TINY64;
    uint64_t cb = c * (tiny ? 40 : 4);
    uint64_t value = scale64(g, cb << shift);
    uint64_t left = scale64(g, (cb - (even_spaced ? 2 : 1)) << shift);
    uint64_t right = scale64(g, (cb + 2) << shift);
    struct shortest v = choose(value, left, right, c & !tiny, k);
    v.exp10 -= tiny;
    return v;
}

static const char pairs[200] =
    "00010203040506070809101112131415161718192021222324252627282930313233"
    "34353637383940414243444546474849505152535455565758596061626364656667"
    "6869707172737475767778798081828384858687888990919293949596979899";

static inline int count_digits(uint64_t x)
{
    int n = 1;
    for (; x >= 10000; x /= 10000)
        n += 4;
    return n + (x >= 10) + (x >= 100) + (x >= 1000);
}

/* Exactly n digits, leading zeros included. */
static inline void put_digits(char *out, uint64_t x, int n)
{
    for (; n >= 2; x /= 100, n -= 2)
        memcpy(out + n - 2, pairs + 2 * (x % 100), 2);
    if (n)
        out[0] = (char)('0' + x % 10);
}

/* The digits with a point behind the first `whole` of them (0 < whole), zeros added as needed. */
static inline char *put_pointed(char *out, uint64_t digits, int n, int whole)
{
    if (n <= whole) {
        put_digits(out, digits, n);
        memset(out + n, '0', (size_t)(whole - n));
        memcpy(out + whole, ".0", 2);
        return out + whole + 2;
    }
    put_digits(out + 1, digits, n);
    memmove(out, out + 1, (size_t)whole);
    out[whole] = '.';
    return out + n + 1;
}

static inline size_t layout(char *out, bool negative, struct shortest v)
{
    char *p = out;
    *p = '-';
    p += negative;
    while (v.digits % 10 == 0) {
        v.digits /= 10;
        v.exp10++;
    }
    int n = count_digits(v.digits);
    int exp10 = n - 1 + v.exp10; /* of the first digit */
    if (exp10 >= 0 && exp10 < 7) {
        p = put_pointed(p, v.digits, n, exp10 + 1);
    } else if (exp10 < 0 && exp10 >= -3) {
        memcpy(p, "0.000", 5);
        p += 1 - exp10;
        put_digits(p, v.digits, n);
        p += n;
    } else {
        p = put_pointed(p, v.digits, n, 1);
        *p++ = 'E';
        *p = '-';
        p += exp10 < 0;
        unsigned e = (unsigned)(exp10 < 0 ? -exp10 : exp10);
        int e_n = count_digits(e);
        put_digits(p, e, e_n);
        p += e_n;
    }
    return (size_t)(p - out);
}

/* JSON has no number for these; Jackson quotes Java's names. */
static size_t layout_special(char *out, bool nan, bool negative)
{
    const char *name = nan ? "\"NaN\"" : negative ? "\"-Infinity\"" : "\"Infinity\"";
    size_t n = strlen(name);
    memcpy(out, name, n);
    return n;
}

static size_t layout_zero(char *out, bool negative)
{
    memcpy(out, "-0.0", 4);
    if (!negative)
        memcpy(out, "0.0", 3);
    return negative ? 4 : 3;
}

size_t json_format_f32(char *out, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bool negative = bits >> 31;
    if ((bits >> 23 & 0xFF) == 0xFF)
        return layout_special(out, isnan(x), negative);
    if (bits << 1 == 0)
        return layout_zero(out, negative);
    return layout(out, negative, shortest32(bits));
}

size_t json_format_f64(char *out, double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    bool negative = bits >> 63;
    if ((bits >> 52 & 0x7FF) == 0x7FF)
        return layout_special(out, isnan(x), negative);
    if (bits << 1 == 0)
        return layout_zero(out, negative);
    return layout(out, negative, shortest64(bits));
}
