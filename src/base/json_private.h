/* json_private: what the files of the JSON reader and writer share with each other.
 *
 * json.c builds the tree, json_string.c and json_scan.c read strings and numbers, json_get.c looks
 * into a finished tree, json_number.c turns decimals into binary, json_float.c binary into
 * decimals, json_write.c writes. */
#ifndef INFERD_JSON_PRIVATE_H
#define INFERD_JSON_PRIVATE_H

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "json.h"

/* Most bodies have fewer nodes than this and never grow the array. */
#define JSON_FIRST_NODES 96

struct json_reader {
    struct arena *arena;
    const char *begin, *p, *end;
    struct json *nodes; /* the whole tree in reading order */
    uint32_t n, cap;
    uint32_t depth;
    bool opened;    /* the last thing read was the opening of a container */
    struct str key; /* of the value read next */
    uint32_t open[JSON_MAX_DEPTH];
    struct json first[JSON_FIRST_NODES];
};

/* ERR_X_CONTENT, "[line:column] " and the text. */
struct err *json_fail(const struct json_reader *, const char *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* "Unexpected character ('x' (code 120)): " and the text, or the end-of-input form of it. */
struct err *json_fail_char(const struct json_reader *, const char *at, const char *expected);
struct err *json_too_large(void);

/* r->p is at the opening quote; afterwards behind the closing one. */
struct err *json_read_string(struct json_reader *, struct str *out);

/* The address behind the number at p, or NULL when it is malformed. */
const char *json_scan_number(const char *p, const char *end);
/* Says what is wrong with the malformed number at p. */
struct err *json_fail_number(const struct json_reader *, const char *p);

/* p is at the first element of an array. If all elements are well-formed numbers: the address
 * behind the closing bracket and their count; *wide_out is false if none of them can be beyond the
 * range of floats. Otherwise NULL; the caller reads the elements one by one. */
const char *json_scan_flat(const char *p, const char *end, uint32_t *n_out, bool *wide_out);

/* Room for any of them; -1.17549435E-38 and -2.2250738585072014E-308 are the longest. */
#define JSON_F32_MAX 16
#define JSON_F64_MAX 26
size_t json_format_f32(char *out, float);
size_t json_format_f64(char *out, double);

static inline bool json_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline const char *json_skip_space(const char *p, const char *end)
{
    while (p < end && json_space(*p))
        p++;
    return p;
}

/* The first byte that is a quote, a backslash, a control character or not ASCII; else `end`. */
static inline const char *json_scan_plain(const char *p, const char *end)
{
#ifdef __SSE2__
    for (; end - p >= 16; p += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
        /* Signed, so that bytes from 0x80 on count as small too. */
        __m128i stop = _mm_cmplt_epi8(x, _mm_set1_epi8(0x20));
        stop = _mm_or_si128(stop, _mm_cmpeq_epi8(x, _mm_set1_epi8('"')));
        stop = _mm_or_si128(stop, _mm_cmpeq_epi8(x, _mm_set1_epi8('\\')));
        int mask = _mm_movemask_epi8(stop);
        if (mask)
            return p + __builtin_ctz((unsigned)mask);
    }
#endif
    for (; p < end; p++) {
        unsigned char c = (unsigned char)*p;
        if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\')
            break;
    }
    return p;
}

/* Bytes of the well-formed UTF-8 sequence at p (RFC 3629, section 4); 0 when it is not one. */
static inline size_t json_utf8_len(const char *p, const char *end)
{
    const unsigned char *u = (const unsigned char *)p;
    size_t left = (size_t)(end - p);
    unsigned c = u[0];
    if (c < 0x80)
        return 1;
    if (c < 0xC2 || c > 0xF4 || left < 2 || (u[1] & 0xC0) != 0x80)
        return 0;
    if (c < 0xE0)
        return 2;
    if (left < 3 || (u[2] & 0xC0) != 0x80)
        return 0;
    if (c < 0xF0) {
        bool overlong = c == 0xE0 && u[1] < 0xA0, surrogate = c == 0xED && u[1] > 0x9F;
        return overlong || surrogate ? 0 : 3;
    }
    if (left < 4 || (u[3] & 0xC0) != 0x80)
        return 0;
    bool overlong = c == 0xF0 && u[1] < 0x90, beyond = c == 0xF4 && u[1] > 0x8F;
    return overlong || beyond ? 0 : 4;
}

#endif
