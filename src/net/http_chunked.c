/* The chunked coding as a state machine over single bytes of framing; data is handed on in whole
 * pieces. Source: RFC 9112 section 7.1. Extensions and trailers mean nothing here; they are passed
 * over under one common limit, for a peer that sends only those would otherwise never end. */
#include "http_parse.h"

#define MAX_DIGITS 15   /* of a chunk's size: 2^60 bytes, so nothing overflows */
#define MAX_EXTRA  8192 /* bytes of extensions and trailers of one body */

enum state {
    SIZE, /* first digit or a later one */
    EXT,  /* after ';' up to CR */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER, /* at the beginning of a trailer line, or of the empty line that ends all */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
    ENDED,
    BAD,
};

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    char lower = (char)(c | 32);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static enum state on_size(struct http_chunked *k, char c)
{
    int v = hex_value(c);
    if (v >= 0) {
        if (++k->digits > MAX_DIGITS)
            return BAD;
        k->left = k->left * 16 + (uint64_t)v;
        return SIZE;
    }
    if (k->digits == 0)
        return BAD;
    return c == ';' ? EXT : c == '\r' ? SIZE_LF : BAD;
}

static bool is_control(char c)
{
    return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

static bool is_name(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static enum state on_extra(struct http_chunked *k, char c, enum state here, enum state on_cr)
{
    if (++k->extra > MAX_EXTRA)
        return BAD;
    if (c == '\r')
        return on_cr;
    return is_control(c) ? BAD : here;
}

static enum state on_trailer_name(struct http_chunked *k, char c, bool first)
{
    if (++k->extra > MAX_EXTRA)
        return BAD;
    if (c == ':' && !first)
        return TRAILER_VALUE;
    return is_name(c) ? TRAILER_NAME : BAD;
}

/* One byte of framing. */
static enum state step(struct http_chunked *k, char c)
{
    switch ((enum state)k->state) {
    case SIZE:
        return on_size(k, c);
    case EXT:
        return on_extra(k, c, EXT, SIZE_LF);
    case SIZE_LF:
        return c != '\n' ? BAD : k->left ? DATA : TRAILER;
    case DATA_CR:
        return c == '\r' ? DATA_LF : BAD;
    case DATA_LF:
        k->digits = 0;
        k->left = 0;
        return c == '\n' ? SIZE : BAD;
    case TRAILER:
        return c == '\r' ? LAST_LF : on_trailer_name(k, c, true);
    case TRAILER_NAME:
        return on_trailer_name(k, c, false);
    case TRAILER_VALUE:
        return on_extra(k, c, TRAILER_VALUE, TRAILER_LF);
    case TRAILER_LF:
        return c == '\n' ? TRAILER : BAD;
    case LAST_LF:
        return c == '\n' ? ENDED : BAD;
    case DATA:
    case ENDED:
    case BAD:
        break;
    }
    return BAD;
}

enum http_chunk http_chunked_feed(struct http_chunked *k, struct str *in, struct str *data_out)
{
    for (;;) {
        if (k->state == ENDED)
            return HTTP_CHUNK_END;
        if (k->state == BAD)
            return HTTP_CHUNK_BAD;
        if (in->n == 0)
            return HTTP_CHUNK_MORE;
        if (k->state == DATA) {
            size_t n = k->left < in->n ? (size_t)k->left : in->n;
            *data_out = str_n(in->p, n);
            *in = str_n(in->p + n, in->n - n);
            k->left -= n;
            if (k->left == 0)
                k->state = DATA_CR;
            return HTTP_CHUNK_DATA;
        }
        k->state = step(k, in->p[0]);
        *in = str_n(in->p + 1, in->n - 1);
    }
}
