/* The writer: straight into a buf, in runs. Bytes that need no escape are copied in one piece,
 * found 16 at a time. Escapes are Jackson's: the short forms, upper-case \u00XX for the other
 * controls, everything else as it is. */
#include "json.h"

#include <stdio.h>

#include "bug.h"
#include "json_private.h"

#define DEPTH_MAX (64 * (int)(sizeof((struct json_out *)NULL)->is_array / sizeof(uint64_t)))

void json_out_init(struct json_out *w, struct buf *buf)
{
    *w = (struct json_out){.buf = buf};
}

static bool in_array(const struct json_out *w)
{
    int top = w->depth - 1;
    return w->is_array[top / 64] >> (top % 64) & 1;
}

/* The comma before a value, and the check that a value may stand here. */
static void before_value(struct json_out *w)
{
    if (w->after_key) {
        w->after_key = false;
        return;
    }
    if (w->depth == 0) {
        BUG_ON(w->comma); /* a second value at the top */
    } else {
        BUG_ON(!in_array(w)); /* a value without a name in an object */
        if (w->comma)
            buf_char(w->buf, ',');
    }
    w->comma = true;
}

static void open_container(struct json_out *w, bool array)
{
    before_value(w);
    BUG_ON(w->depth >= DEPTH_MAX);
    uint64_t bit = UINT64_C(1) << (w->depth % 64), *word = &w->is_array[w->depth / 64];
    *word = array ? *word | bit : *word & ~bit;
    w->depth++;
    w->comma = false;
    buf_char(w->buf, array ? '[' : '{');
}

void json_obj(struct json_out *w)
{
    open_container(w, false);
}

void json_arr(struct json_out *w)
{
    open_container(w, true);
}

void json_end(struct json_out *w)
{
    BUG_ON(w->depth == 0 || w->after_key);
    buf_char(w->buf, in_array(w) ? ']' : '}');
    w->depth--;
    w->comma = true;
}

void json_key_s(struct json_out *w, struct str key)
{
    BUG_ON(w->depth == 0 || w->after_key || in_array(w));
    if (w->comma)
        buf_char(w->buf, ',');
    json_quote(w->buf, key);
    buf_char(w->buf, ':');
    w->comma = true;
    w->after_key = true;
}

void json_key(struct json_out *w, const char *key)
{
    json_key_s(w, str_n(key, strlen(key)));
}

/* The end of the run from p on that may be copied as it is. */
static const char *clean_run(const char *p, const char *end)
{
    for (;;) {
        p = json_scan_plain(p, end);
        if (p == end || (unsigned char)*p < 0x80)
            return p;
        while (p < end && (unsigned char)*p >= 0x80) {
            size_t n = json_utf8_len(p, end);
            if (n == 0)
                return p;
            p += n;
        }
    }
}

static void put_escape(struct buf *b, unsigned char c)
{
    static const char letters[0x20] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    static const char hex[] = "0123456789ABCDEF";
    if (c >= 0x80) {
        buf_put(b, STR("\xEF\xBF\xBD"));
    } else if (c == '"' || c == '\\' || letters[c]) {
        char e[2] = {'\\', c < 0x20 ? letters[c] : (char)c};
        buf_put(b, str_n(e, 2));
    } else {
        char e[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        buf_put(b, str_n(e, 6));
    }
}

/* The rest of a string after its opening quote, when something in it needs an escape. */
static void quote_rest(struct buf *b, const char *p, const char *end)
{
    while (p < end) {
        const char *stop = clean_run(p, end);
        if (stop > p)
            buf_put(b, str_n(p, (size_t)(stop - p)));
        if (stop < end)
            put_escape(b, (unsigned char)*stop++);
        p = stop;
    }
    buf_char(b, '"');
}

void json_quote(struct buf *b, struct str s)
{
    const char *end = s.n ? s.p + s.n : s.p;
    bool clean = s.n == 0 || clean_run(s.p, end) == end;
    size_t room = b->limit - b->n;
    char *d = clean && room >= 2 && s.n <= room - 2 ? buf_reserve(b, s.n + 2) : NULL;
    if (!d) {
        buf_char(b, '"');
        quote_rest(b, s.p, end);
        return;
    }
    d[0] = '"';
    if (s.n)
        memcpy(d + 1, s.p, s.n);
    d[s.n + 1] = '"';
    b->n += s.n + 2;
}

void json_put_str(struct json_out *w, struct str s)
{
    before_value(w);
    json_quote(w->buf, s);
}

void json_put_cstr(struct json_out *w, const char *z)
{
    if (z)
        json_put_str(w, str_n(z, strlen(z)));
    else
        json_put_null(w);
}

void json_put_raw(struct json_out *w, struct str json_text)
{
    before_value(w);
    buf_put(w->buf, json_text);
}

void json_put_i64(struct json_out *w, int64_t value)
{
    char digits[24], *p = digits + sizeof digits;
    uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
    do
        *--p = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        *--p = '-';
    json_put_raw(w, str_n(p, (size_t)(digits + sizeof digits - p)));
}

void json_put_f64(struct json_out *w, double value)
{
    char text[JSON_F64_MAX];
    json_put_raw(w, str_n(text, json_format_f64(text, value)));
}

void json_put_f32(struct json_out *w, float value)
{
    char text[JSON_F32_MAX];
    json_put_raw(w, str_n(text, json_format_f32(text, value)));
}

void json_put_bool(struct json_out *w, bool value)
{
    json_put_raw(w, value ? STR("true") : STR("false"));
}

void json_put_null(struct json_out *w)
{
    json_put_raw(w, STR("null"));
}

/* By way of the stack, so that the buf's ceiling meets what is written and not an estimate. */
void json_put_floats(struct json_out *w, const float *v, size_t n)
{
    char piece[1024], *p = piece;
    before_value(w);
    *p++ = '[';
    for (size_t i = 0; i < n; i++) {
        if ((size_t)(piece + sizeof piece - p) < JSON_F32_MAX + 2) {
            buf_put(w->buf, str_n(piece, (size_t)(p - piece)));
            p = piece;
        }
        *p = ',';
        p += i > 0;
        p += json_format_f32(p, v[i]);
    }
    *p++ = ']';
    buf_put(w->buf, str_n(piece, (size_t)(p - piece)));
}

/* The next byte outside strings that is white space, or a quote; else `end`. */
static const char *scan_tight(const char *p, const char *end)
{
#ifdef __SSE2__
    for (; end - p >= 16; p += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i stop = _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(' ')), x);
        stop = _mm_or_si128(stop, _mm_cmpeq_epi8(x, _mm_set1_epi8('"')));
        int mask = _mm_movemask_epi8(stop);
        if (mask)
            return p + __builtin_ctz((unsigned)mask);
    }
#endif
    while (p < end && !json_space(*p) && *p != '"')
        p++;
    return p;
}

/* p is at the opening quote of a well-formed string. */
static const char *skip_string(const char *p, const char *end)
{
    for (p++;;) {
        p = json_scan_plain(p, end);
        if (*p == '"')
            return p + 1;
        p += *p == '\\' ? 2 : 1;
    }
}

#ifdef __SSE2__
/* A bit for each of the 64 bytes at p, set where it is not white space. */
static inline uint64_t tight_mask(const char *p)
{
    uint64_t mask = 0;
    for (int i = 0; i < 4; i++) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i));
        __m128i space = _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(' ')), x);
        mask |= (uint64_t)(uint16_t)~_mm_movemask_epi8(space) << (16 * i);
    }
    return mask;
}

/* Copies the runs of set bits among the 64 bytes at p to d, 16 bytes at a time and so up to 15 too
 * many. The next run is found in the mask, not by reading what is copied: the copies overlap. */
static inline char *put_runs(char *d, const char *p, uint64_t mask)
{
    while (mask) {
        int begin = __builtin_ctzll(mask);
        uint64_t after = ~(mask >> begin);
        int n = after ? __builtin_ctzll(after) : 64;
        for (int i = 0; i < n; i += 16) {
            __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(p + begin + i));
            _mm_storeu_si128((__m128i *)(void *)(d + i), x);
        }
        d += n;
        mask = begin + n < 64 ? mask >> (begin + n) << (begin + n) : 0;
    }
    return d;
}
#endif

/* The beginning of a flat array, which holds no strings, so that all white space in it goes.
 * Returns how far it came: the end is left to the caller, and so is everything when the result
 * could meet the buf's ceiling. Pretty-printed embeddings are most of what comes from upstreams. */
static const char *put_flat(struct buf *b, const char *p, const char *end)
{
#ifdef __SSE2__
    size_t room = (size_t)(end - p) + 16;
    if (end - p < 80 || b->limit - b->n < room)
        return p;
    char *d = buf_reserve(b, room);
    if (!d)
        return p;
    for (; end - p >= 80; p += 64)
        d = put_runs(d, p, tight_mask(p));
    b->n = (size_t)(d - b->p);
#endif
    return p;
}

/* The source text without the white space between tokens: numbers and escapes stay as they came. */
void json_put_node(struct json_out *w, const struct json *j)
{
    before_value(w);
    const char *p = j->raw, *end = p + j->raw_n;
    if (j->flat)
        p = put_flat(w->buf, p, end);
    const char *run = p;
    while (p < end) {
        p = scan_tight(p, end);
        if (p == end)
            break;
        if (*p == '"') {
            p = skip_string(p, end);
            continue;
        }
        buf_put(w->buf, str_n(run, (size_t)(p - run)));
        p = run = json_skip_space(p, end);
    }
    buf_put(w->buf, str_n(run, (size_t)(end - run)));
}

void json_key_str(struct json_out *w, const char *key, struct str value)
{
    json_key(w, key);
    json_put_str(w, value);
}

void json_key_cstr(struct json_out *w, const char *key, const char *value)
{
    json_key(w, key);
    json_put_cstr(w, value);
}

void json_key_i64(struct json_out *w, const char *key, int64_t value)
{
    json_key(w, key);
    json_put_i64(w, value);
}

void json_key_f64(struct json_out *w, const char *key, double value)
{
    json_key(w, key);
    json_put_f64(w, value);
}

void json_key_bool(struct json_out *w, const char *key, bool value)
{
    json_key(w, key);
    json_put_bool(w, value);
}

void json_key_raw(struct json_out *w, const char *key, struct str json_text)
{
    json_key(w, key);
    json_put_raw(w, json_text);
}
