/* Strings of the reader. A string without escapes is lent from the text; one with escapes is
 * written anew into the arena, where it is never longer than its source. */
#include "json_private.h"
#include "unicode.h"

static struct err *cut_string(const struct json_reader *r)
{
    return json_fail(r, r->end, "Unexpected end-of-input in a String value or field name");
}

/* Consumes the non-ASCII run at *p. */
static struct err *check_utf8(const struct json_reader *r, const char **p)
{
    while (*p < r->end && (unsigned char)**p >= 0x80) {
        size_t n = json_utf8_len(*p, r->end);
        if (n == 0)
            return json_fail(r, *p, "Invalid UTF-8 sequence at byte 0x%02x", (unsigned char)**p);
        *p += n;
    }
    return NULL;
}

static struct err *check_escape(const struct json_reader *r, const char *p)
{
    if (r->end - p < 2)
        return cut_string(r);
    unsigned char c = (unsigned char)p[1];
    if (c != '\0' && strchr("\"\\/bfnrtu", c))
        return NULL;
    if (c < 0x20 || c > 0x7E)
        return json_fail(r, p + 1, "Unrecognized character escape (code %u)", c);
    return json_fail(r, p + 1, "Unrecognized character escape '%c' (code %u)", c, c);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four hex digits at p. */
static struct err *read_hex(const struct json_reader *r, const char *p, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 4; i++, p++) {
        int digit = p < r->end ? hex_digit(*p) : -1;
        if (digit < 0)
            return json_fail_char(r, p, "expected a hex-digit for character escape sequence");
        *out = *out << 4 | (uint32_t)digit;
    }
    return NULL;
}

/* *p is behind a \u; both halves of a surrogate pair are consumed. */
static struct err *read_code_point(const struct json_reader *r, const char **p, uint32_t *out)
{
    uint32_t high, low;
    TRY(read_hex(r, *p, &high));
    if (high < 0xD800 || high > 0xDFFF) {
        *p += 4;
        *out = high;
        return NULL;
    }
    const char *next = *p + 4;
    if (high > 0xDBFF || r->end - next < 2 || next[0] != '\\' || next[1] != 'u')
        return json_fail(r, *p, "Unpaired surrogate 0x%04x in character escape sequence", high);
    TRY(read_hex(r, next + 2, &low));
    if (low < 0xDC00 || low > 0xDFFF)
        return json_fail(r, *p, "Unpaired surrogate 0x%04x in character escape sequence", high);
    *p = next + 6;
    *out = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
    return NULL;
}

static char unescaped(char c)
{
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return c;
    }
}

/* p..end is the inside of the quotes; the escape letters are known to be good. */
static struct err *unescape(struct json_reader *r, const char *p, const char *end, struct str *out)
{
    char *begin = arena_try(r->arena, (size_t)(end - p)), *d = begin;
    if (!begin)
        return json_too_large();
    while (p < end) {
        const char *stop = memchr(p, '\\', (size_t)(end - p));
        size_t run = (size_t)((stop ? stop : end) - p);
        memcpy(d, p, run);
        d += run;
        p += run;
        if (!stop)
            break;
        p += 2;
        if (p[-1] != 'u') {
            *d++ = unescaped(p[-1]);
            continue;
        }
        uint32_t c = 0;
        TRY(read_code_point(r, &p, &c));
        d += utf8_put(d, c);
    }
    *out = str_n(begin, (size_t)(d - begin));
    return NULL;
}

struct err *json_read_string(struct json_reader *r, struct str *out)
{
    const char *begin = r->p + 1, *p = begin;
    bool escapes = false;
    for (;;) {
        p = json_scan_plain(p, r->end);
        if (p == r->end)
            return cut_string(r);
        if (*p == '"')
            break;
        if (*p == '\\') {
            TRY(check_escape(r, p));
            escapes = true;
            p += 2;
        } else if ((unsigned char)*p < 0x20) {
            return json_fail(r, p,
                             "Illegal unquoted character ((CTRL-CHAR, code %d)): has to be escaped "
                             "using backslash to be included in string value",
                             *p);
        } else {
            TRY(check_utf8(r, &p));
        }
    }
    r->p = p + 1;
    if (escapes)
        return unescape(r, begin, p, out);
    *out = str_n(begin, (size_t)(p - begin));
    return NULL;
}
