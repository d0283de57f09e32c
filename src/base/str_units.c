/* Sizes and times as Elasticsearch's ByteSizeValue and TimeValue read them: units in any case
 * (but "M", which is refused for times so that nobody takes it for months), spaces before the
 * unit, "0" and "-1" without one. Sizes may have a fraction ("1.5gb"), times may not. */
#include "str.h"

#include <stdlib.h>

struct unit {
    struct str name;
    uint64_t factor;
};

/* Longer names first: "kb" also ends in "b". */
static const struct unit byte_units[] = {
    {STR_INIT("pb"), (uint64_t)1 << 50},
    {STR_INIT("tb"), (uint64_t)1 << 40},
    {STR_INIT("gb"), 1 << 30},
    {STR_INIT("mb"), 1 << 20},
    {STR_INIT("kb"), 1 << 10},
    {STR_INIT("p"), (uint64_t)1 << 50},
    {STR_INIT("t"), (uint64_t)1 << 40},
    {STR_INIT("g"), 1 << 30},
    {STR_INIT("m"), 1 << 20},
    {STR_INIT("k"), 1 << 10},
    {STR_INIT("b"), 1},
};

/* Factors in nanoseconds. */
static const struct unit time_units[] = {
    {STR_INIT("nanos"), 1},
    {STR_INIT("micros"), 1000},
    {STR_INIT("ms"), 1000000},
    {STR_INIT("s"), 1000000000},
    {STR_INIT("m"), 60 * (uint64_t)1000000000},
    {STR_INIT("h"), 3600 * (uint64_t)1000000000},
    {STR_INIT("d"), 86400 * (uint64_t)1000000000},
};

/* Cuts the unit off `*s`; NULL when it has none. */
static const struct unit *cut_unit(struct str *s, const struct unit *units, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t len = units[i].name.n;
        if (s->n < len || !str_eq_nocase(str_sub(*s, s->n - len, len), units[i].name))
            continue;
        *s = str_trim(str_n(s->p, s->n - len));
        return &units[i];
    }
    return NULL;
}

static bool all_zeros(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '0')
            return false;
    return s.n > 0;
}

/* digits '.' digits, nothing else: strtod alone would take "1e9", "inf" and hexadecimal. */
static bool fraction(struct str s, double *out)
{
    char z[64];
    size_t dot = str_find_char(s, '.');
    if (dot == 0 || dot == SIZE_MAX || dot + 1 == s.n || s.n >= sizeof z)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (i != dot && (unsigned char)(s.p[i] - '0') > 9)
            return false;
    memcpy(z, s.p, s.n);
    z[s.n] = '\0';
    *out = strtod(z, NULL);
    return true;
}

bool str_to_bytes(struct str s, uint64_t *out)
{
    s = str_trim(s);
    const struct unit *unit = cut_unit(&s, byte_units, sizeof byte_units / sizeof byte_units[0]);
    uint64_t v;
    double d;
    if (str_eq(s, STR("-1")) && (!unit || unit->factor == 1)) {
        *out = UINT64_MAX;
        return true;
    }
    if (!unit) {
        *out = 0;
        return all_zeros(s);
    }
    if (str_to_u64(s, &v)) {
        if (__builtin_mul_overflow(v, unit->factor, &v) || v > INT64_MAX)
            return false;
        *out = v;
        return true;
    }
    /* A fraction of a byte makes no sense. */
    if (unit->factor == 1 || !fraction(s, &d) || d * (double)unit->factor >= 0x1p63)
        return false;
    *out = (uint64_t)(d * (double)unit->factor);
    return true;
}

bool str_to_ms(struct str s, int64_t *out)
{
    s = str_trim(s);
    bool months = s.n && s.p[s.n - 1] == 'M';
    const struct unit *unit =
        months ? NULL : cut_unit(&s, time_units, sizeof time_units / sizeof time_units[0]);
    uint64_t v;
    if (str_eq(s, STR("-1"))) {
        *out = -1;
        return true;
    }
    if (!unit) {
        *out = 0;
        return all_zeros(s);
    }
    if (!str_to_u64(s, &v) || v > INT64_MAX)
        return false;
    if (unit->factor < 1000000)
        v /= 1000000 / unit->factor;
    else if (__builtin_mul_overflow(v, unit->factor / 1000000, &v) || v > INT64_MAX)
        return false;
    *out = (int64_t)v;
    return true;
}

void bytes_human(uint64_t n, char out[32])
{
    static const char *const units[] = {"b", "kb", "mb", "gb", "tb", "pb"};
    uint64_t unit = 1;
    size_t u = 0;
    for (; u < 5 && n / unit >= 1024; u++)
        unit *= 1024;
    uint64_t whole = n / unit, tenth = n % unit * 10 / unit;
    if (tenth)
        snprintf(out, 32, "%llu.%llu%s", (unsigned long long)whole, (unsigned long long)tenth,
                 units[u]);
    else
        snprintf(out, 32, "%llu%s", (unsigned long long)whole, units[u]);
}
