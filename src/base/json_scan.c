/* Numbers of the reader: grammar only, no conversion.
 *
 * Arrays of numbers are most of the bytes of an inference API, so they are checked 64 bytes at a
 * time, after the manner of Langdale and Lemire, "Parsing gigabytes of JSON per second" (2019): one
 * 64-bit mask per kind of character, and the grammar of a number as arithmetic on the masks. The
 * central trick is their section 3.1.1: adding a mask of run starts to a mask of runs carries each
 * start to the bit behind its run.
 *
 * A block always begins with an element and counts up to its last comma, so nothing is carried from
 * block to block; the rest is read again by the next block. What the block cannot decide (an
 * element longer than a block, the last element, an error) is left to the plain scanner.
 *
 * On the way it is noticed whether a number may be too large for a float: all embeddings pass
 * through here, few have a number that may, and those alone are read again. */
#include "json_private.h"

static inline const char *skip_digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

static inline const char *scan_number(const char *p, const char *end)
{
    if (p < end && *p == '-')
        p++;
    const char *begin = p;
    p = skip_digits(p, end);
    if (p == begin || (*begin == '0' && p - begin > 1))
        return NULL;
    if (p < end && *p == '.') {
        begin = ++p;
        p = skip_digits(p, end);
        if (p == begin)
            return NULL;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        begin = p;
        p = skip_digits(p, end);
        if (p == begin)
            return NULL;
    }
    return p;
}

const char *json_scan_number(const char *p, const char *end)
{
    return scan_number(p, end);
}

/* Below 1e38 for sure: few digits, and no exponent or a negative one. */
static bool is_narrow(const char *p, const char *end)
{
    if (end - p > 32)
        return false;
    for (; p < end; p++) {
        if ((*p | 0x20) == 'e')
            return p[1] == '-';
    }
    return true;
}

struct err *json_fail_number(const struct json_reader *r, const char *p)
{
    if (*p == '-')
        p++;
    const char *q = skip_digits(p, r->end);
    if (q == p)
        return json_fail_char(r, q,
                              "expected digit (0-9) to follow minus sign, for valid numeric "
                              "value");
    if (*p == '0' && q - p > 1)
        return json_fail(r, p, "Invalid numeric value: Leading zeroes not allowed");
    if (q < r->end && *q == '.') {
        p = q + 1;
        q = skip_digits(p, r->end);
        if (q == p)
            return json_fail_char(r, q, "Decimal point not followed by a digit");
    }
    if (q + 1 < r->end && (q[1] == '+' || q[1] == '-'))
        q++;
    return json_fail_char(r, q + 1, "Exponent indicator not followed by a digit");
}

#ifdef __SSE2__

/* Bit i speaks of byte i of the block. */
struct block {
    uint64_t digit, zero, comma, minus, plus, dot, exp, space;
};

static inline uint64_t put_mask(uint64_t to, __m128i bytes, int i)
{
    return to | (uint64_t)(unsigned)_mm_movemask_epi8(bytes) << (16 * i);
}

static inline struct block block_read(const char *p)
{
    struct block b = {0};
    for (int i = 0; i < 4; i++) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i));
        __m128i from_zero = _mm_sub_epi8(x, _mm_set1_epi8('0'));
        __m128i nine = _mm_min_epu8(from_zero, _mm_set1_epi8(9));
        b.digit = put_mask(b.digit, _mm_cmpeq_epi8(nine, from_zero), i);
        b.zero = put_mask(b.zero, _mm_cmpeq_epi8(x, _mm_set1_epi8('0')), i);
        b.comma = put_mask(b.comma, _mm_cmpeq_epi8(x, _mm_set1_epi8(',')), i);
        b.minus = put_mask(b.minus, _mm_cmpeq_epi8(x, _mm_set1_epi8('-')), i);
        b.dot = put_mask(b.dot, _mm_cmpeq_epi8(x, _mm_set1_epi8('.')), i);
        __m128i lower = _mm_or_si128(x, _mm_set1_epi8(0x20));
        b.exp = put_mask(b.exp, _mm_cmpeq_epi8(lower, _mm_set1_epi8('e')), i);
    }
    return b;
}

/* The two kinds that a compact array of embeddings does not have. */
static inline void block_read_rare(const char *p, struct block *b)
{
    for (int i = 0; i < 4; i++) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i));
        b->plus = put_mask(b->plus, _mm_cmpeq_epi8(x, _mm_set1_epi8('+')), i);
        __m128i s = _mm_cmpeq_epi8(x, _mm_set1_epi8(' '));
        s = _mm_or_si128(s, _mm_cmpeq_epi8(x, _mm_set1_epi8('\n')));
        s = _mm_or_si128(s, _mm_cmpeq_epi8(x, _mm_set1_epi8('\r')));
        s = _mm_or_si128(s, _mm_cmpeq_epi8(x, _mm_set1_epi8('\t')));
        b->space = put_mask(b->space, s, i);
    }
}

/* Each start is the first bit of a run in `runs`: the bits behind those runs. */
static inline uint64_t run_ends(uint64_t starts, uint64_t runs)
{
    return (starts + runs) & ~runs;
}

/* Moves the bits that stand on white space behind it. */
static inline uint64_t past_space(uint64_t bits, uint64_t space)
{
    return (bits & ~space) | run_ends(bits & space, space);
}

/* Is the block, which ends in a comma, a row of well-formed numbers, each followed by a comma? */
static inline bool block_ok(const struct block *b)
{
    uint64_t start = past_space(b->comma << 1 | 1, b->space);
    /* The start behind the last comma lies in the next block. */
    uint64_t all = b->comma ? ~UINT64_C(0) >> __builtin_clzll(b->comma) : 0;
    start &= all;

    uint64_t lead = start & b->minus;
    uint64_t whole = (start & ~lead) | lead << 1;
    uint64_t whole_end = run_ends(whole & b->digit, b->digit);
    uint64_t bad = (whole & ~b->digit) | ((whole & b->zero) << 1 & b->digit);

    uint64_t point = whole_end & b->dot;
    uint64_t fraction = point << 1;
    uint64_t fraction_end = run_ends(fraction & b->digit, b->digit);
    bad |= (fraction & ~b->digit) | (b->dot ^ point);

    uint64_t end = (whole_end & ~point) | fraction_end;
    uint64_t sign = 0;
    if (b->exp) {
        uint64_t e = end & b->exp;
        uint64_t behind = e << 1;
        sign = behind & (b->minus | b->plus);
        uint64_t power = (behind & ~sign) | sign << 1;
        bad |= (power & ~b->digit) | (b->exp ^ e);
        end = (end & ~e) | run_ends(power & b->digit, b->digit);
    }
    bad |= (b->minus ^ (lead | (sign & b->minus))) | (b->plus & ~sign);
    bad |= past_space(end, b->space) ^ b->comma;
    return bad == 0;
}

/* A number of 39 digits or more in one run has these bytes of its block, wherever it begins. */
#define MIDDLE (UINT64_C(0x3FFF) << 25)

/* Of a good block: may a number reach 1e38? By its exponent or by its length, without looking at
 * which part of it is long. */
static inline bool maybe_large(const struct block *b)
{
    return (b->exp && b->exp << 1 & ~b->minus) || (b->digit & MIDDLE) == MIDDLE;
}

static inline unsigned count_bits(uint64_t x)
{
    x -= x >> 1 & UINT64_C(0x5555555555555555);
    x = (x & UINT64_C(0x3333333333333333)) + (x >> 2 & UINT64_C(0x3333333333333333));
    x = (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (unsigned)(x * UINT64_C(0x0101010101010101) >> 56);
}

/* p begins an element and has 64 bytes. Bytes of whole elements with their commas; 0: none. *wide
 * is set if a number may be large. */
static inline size_t scan_block(const char *p, uint32_t *n, bool *wide)
{
    struct block b = block_read(p);
    uint64_t other = ~(b.digit | b.comma | b.minus | b.dot | b.exp);
    if (other) {
        block_read_rare(p, &b);
        other &= ~(b.plus | b.space);
    }
    if (other) /* the array, or all that is good of it, ends here */
        b.comma &= (other & -other) - 1;
    if (!b.comma)
        return 0;
    unsigned last = 63 - (unsigned)__builtin_clzll(b.comma);
    uint64_t keep = ~UINT64_C(0) >> (63 - last);
    b.digit &= keep;
    b.minus &= keep;
    b.plus &= keep;
    b.dot &= keep;
    b.exp &= keep;
    b.space &= keep;
    if (!block_ok(&b))
        return 0;
    *wide |= maybe_large(&b);
    *n += count_bits(b.comma);
    return last + 1;
}

static const char *scan_blocks(const char *p, const char *end, uint32_t *n, bool *wide)
{
    while (end - p >= 64) {
        size_t took = scan_block(p, n, wide);
        if (took == 0)
            break;
        p += took;
    }
    return p;
}

#else

static const char *scan_blocks(const char *p, const char *end, uint32_t *n, bool *wide)
{
    return p;
}

#endif

const char *json_scan_flat(const char *p, const char *end, uint32_t *n_out, bool *wide_out)
{
    uint32_t n = 0;
    bool wide = false;
    for (;;) {
        const char *begin = json_skip_space(scan_blocks(p, end, &n, &wide), end);
        p = scan_number(begin, end);
        if (!p)
            return NULL;
        wide |= !is_narrow(begin, p);
        n++;
        p = json_skip_space(p, end);
        if (p == end || (*p != ',' && *p != ']'))
            return NULL;
        p++;
        if (p[-1] == ']')
            break;
    }
    *n_out = n;
    *wide_out = wide;
    return p;
}
