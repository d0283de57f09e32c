/* Decimal text into binary floating point, correctly rounded.
 *
 * To float32: the digits w (at most 19 kept) and the decimal exponent q give d = w * 10^q in double
 * arithmetic. Rounding w, the table's 10^q and the product each costs at most half a unit in the
 * last place, and digits cut off less than a hundredth, so d is within a few units of the true
 * value. Rounding d to float can then only go wrong if a midpoint of two floats lies that near,
 * which shows in the 29 bits that float lacks: about one number in ten million, and strtof decides
 * it. Going through double without that look would be double rounding.
 *
 * To float64: exact cases as in Clinger, "How to read floating point numbers accurately" (1990),
 * section 3; the rest by strtod. Both libc functions are called in the C locale. */
#include "json.h"

#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "bug.h"
#include "json_private.h"

/* value = (negative ? -1 : 1) * digits * 10^exp10; `cut`: there were more digits than fit */
struct decimal {
    uint64_t digits;
    int64_t exp10;
    bool negative, cut;
};

#define POWER_MIN (-65)
#define POWER_MAX 38

static const double powers[] = {
    1e-65, 1e-64, 1e-63, 1e-62, 1e-61, 1e-60, 1e-59, 1e-58, 1e-57, 1e-56, 1e-55, 1e-54, 1e-53,
    1e-52, 1e-51, 1e-50, 1e-49, 1e-48, 1e-47, 1e-46, 1e-45, 1e-44, 1e-43, 1e-42, 1e-41, 1e-40,
    1e-39, 1e-38, 1e-37, 1e-36, 1e-35, 1e-34, 1e-33, 1e-32, 1e-31, 1e-30, 1e-29, 1e-28, 1e-27,
    1e-26, 1e-25, 1e-24, 1e-23, 1e-22, 1e-21, 1e-20, 1e-19, 1e-18, 1e-17, 1e-16, 1e-15, 1e-14,
    1e-13, 1e-12, 1e-11, 1e-10, 1e-9,  1e-8,  1e-7,  1e-6,  1e-5,  1e-4,  1e-3,  1e-2,  1e-1,
    1e0,   1e1,   1e2,   1e3,   1e4,   1e5,   1e6,   1e7,   1e8,   1e9,   1e10,  1e11,  1e12,
    1e13,  1e14,  1e15,  1e16,  1e17,  1e18,  1e19,  1e20,  1e21,  1e22,  1e23,  1e24,  1e25,
    1e26,  1e27,  1e28,  1e29,  1e30,  1e31,  1e32,  1e33,  1e34,  1e35,  1e36,  1e37,  1e38,
};

/* Eight ASCII digits at once: pairs, then fours, then all. False if one is not a digit. */
static inline bool eight_digits(const char *p, uint64_t *out)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t x;
    memcpy(&x, p, 8);
    x -= UINT64_C(0x3030303030303030);
    if ((x | (x + UINT64_C(0x7676767676767676))) & UINT64_C(0x8080808080808080))
        return false;
    x = x * 10 + (x >> 8);
    uint64_t low = (x & UINT64_C(0x000000FF000000FF)) * UINT64_C(0x000F424000000064);
    uint64_t high = (x >> 16 & UINT64_C(0x000000FF000000FF)) * UINT64_C(0x0000271000000001);
    *out = (low + high) >> 32 & UINT64_C(0xFFFFFFFF);
    return true;
#else
    return false;
#endif
}

/* The run of digits at p. Digits are kept while they fit: at least 18 significant ones. */
static inline const char *take_digits(const char *p, const char *end, struct decimal *d,
                                      bool fraction)
{
    uint64_t eight;
    while (d->digits < UINT64_C(100000000000) && end - p >= 8 && eight_digits(p, &eight)) {
        d->digits = d->digits * 100000000 + eight;
        d->exp10 -= fraction ? 8 : 0;
        p += 8;
    }
    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        if (d->digits < UINT64_C(1000000000000000000)) {
            d->digits = d->digits * 10 + (uint64_t)(*p - '0');
            d->exp10 -= fraction;
        } else {
            d->cut |= *p != '0';
            d->exp10 += !fraction;
        }
    }
    return p;
}

/* p is behind the letter. Beyond any float it need not be exact. */
static const char *exponent_read(const char *p, const char *end, int64_t *out)
{
    bool negative = *p == '-';
    p += *p == '-' || *p == '+';
    int64_t e = 0;
    for (; p < end && *p >= '0' && *p <= '9'; p++)
        if (e < INT64_C(100000000000))
            e = e * 10 + (*p - '0');
    *out = negative ? -e : e;
    return p;
}

/* p is at a well-formed number that ends before `end`. Returns the address behind it. */
static inline const char *decimal_read(const char *p, const char *end, struct decimal *d)
{
    *d = (struct decimal){.negative = *p == '-'};
    p = take_digits(p + d->negative, end, d, false);
    if (p < end && *p == '.')
        p = take_digits(p + 1, end, d, true);
    if (p == end || (*p | 0x20) != 'e')
        return p;
    int64_t e;
    p = exponent_read(p + 1, end, &e);
    d->exp10 += e;
    return p;
}

static locale_t c_locale;

static void c_locale_init(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    BUG_ON(!c_locale);
}

/* No midpoint of two doubles has more significant digits than this; of the digits behind it matters
 * only whether there is one that is not zero. */
#define SIGNIFICANT_MAX 770

/* The number as a short "digits e exponent" with a terminator, whatever the length of the text. */
static void shorten(struct str text, char z[static SIGNIFICANT_MAX + 32])
{
    size_t n = 0, i = 0;
    int64_t exp10 = 0, e = 0;
    bool point = false, more = false;
    for (i = text.p[0] == '-'; i < text.n && (text.p[i] | 0x20) != 'e'; i++) {
        char c = text.p[i];
        if (c == '.') {
            point = true;
        } else if (n == SIGNIFICANT_MAX) {
            more |= c != '0';
            exp10 += !point;
        } else {
            if (n > 0 || c != '0')
                z[n++] = c;
            exp10 -= point;
        }
    }
    if (i < text.n)
        exponent_read(text.p + i + 1, text.p + text.n, &e);
    if (n == 0)
        z[n++] = '0';
    if (more) {
        z[n++] = '1';
        exp10--;
    }
    snprintf(z + n, 32, "e%lld", (long long)(exp10 + e));
}

/* strtod or strtof on text that has no terminator. */
static double slow(struct str text, bool single)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, c_locale_init);
    char z[SIGNIFICANT_MAX + 34];
    shorten(text, z);
    double value = single ? (double)strtof_l(z, NULL, c_locale) : strtod_l(z, NULL, c_locale);
    return text.p[0] == '-' ? -value : value;
}

/* False: too near a midpoint, or outside the range of normal floats. */
static inline bool quick_f32(const struct decimal *d, float *out)
{
    if (d->digits == 0) {
        *out = d->negative ? -0.0F : 0.0F;
        return true;
    }
    if (d->exp10 < POWER_MIN || d->exp10 > POWER_MAX)
        return false;
    double v = (double)d->digits * powers[d->exp10 - POWER_MIN];
    if (v < 0x1.0001p-126 || v > 0x1.fffffep127)
        return false;
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    int64_t from_midpoint = (int64_t)(bits & 0x1FFFFFFF) - 0x10000000;
    if (from_midpoint >= -16 && from_midpoint <= 16)
        return false;
    *out = (float)(d->negative ? -v : v);
    return true;
}

bool json_numbers(const struct json *j, float *out, size_t n)
{
    if (!json_is(j, JSON_ARRAY) || j->n != n || (!j->flat && n > 0))
        return false;
    const char *p = j->raw + 1, *end = j->raw + j->raw_n;
    for (size_t i = 0; i < n; i++) {
        while (*p == ',' || json_space(*p))
            p++;
        const char *begin = p;
        struct decimal d;
        p = decimal_read(p, end, &d);
        if (!quick_f32(&d, &out[i]))
            out[i] = (float)slow(str_n(begin, (size_t)(p - begin)), true);
    }
    return true;
}

/* From here on a double rounds to no float: half a step above the largest. */
#define FLOAT_END 0x1.ffffffp127

bool json_f64(const struct json *j, double *out)
{
    if (!json_is(j, JSON_NUMBER))
        return false;
    struct decimal d;
    decimal_read(j->text.p, j->text.p + j->text.n, &d);
    if (!d.cut && d.digits <= UINT64_C(1) << 53 && d.exp10 >= -22 && d.exp10 <= 22) {
        double w = (double)d.digits;
        double v = d.exp10 < 0 ? w / powers[-d.exp10 - POWER_MIN] : w * powers[d.exp10 - POWER_MIN];
        *out = d.negative ? -v : v;
        return true;
    }
    double v = slow(j->text, false);
    if (isinf(v))
        return false;
    *out = v;
    return true;
}

bool json_f32(const struct json *j, float *out)
{
    double d;
    if (!json_f64(j, &d) || d >= FLOAT_END || d <= -FLOAT_END)
        return false;
    *out = (float)d;
    return true;
}

bool json_all_finite(const struct json *j, struct str *bad_out)
{
    if (!json_is(j, JSON_ARRAY) || !j->wide)
        return true;
    struct json_iter it = json_iter(j);
    float f;
    for (const struct json *v; (v = json_next(&it));) {
        if (!json_f32(v, &f)) {
            *bad_out = json_raw(v);
            return false;
        }
    }
    return true;
}
