/* Four characters at a time through a table; white space, padding and faults go the slow way. */
#include "base64.h"

enum { BAD = 64, PAD, SPACE };

static const unsigned char values[256] =
    {
#define X4(c, v) [c] = (v) + 1, [(c) + 1] = (v) + 2, [(c) + 2] = (v) + 3, [(c) + 3] = (v) + 4
        X4('A', 0),         X4('E', 4),         X4('I', 8),         X4('M', 12),
        X4('Q', 16),        X4('U', 20),        ['Y'] = 25,         ['Z'] = 26,
        X4('a', 26),        X4('e', 30),        X4('i', 34),        X4('m', 38),
        X4('q', 42),        X4('u', 46),        ['y'] = 51,         ['z'] = 52,
        X4('0', 52),        X4('4', 56),        ['8'] = 61,         ['9'] = 62,
        ['+'] = 63,         ['/'] = 64,         ['='] = PAD + 1,    [' '] = SPACE + 1,
        ['\t'] = SPACE + 1, ['\r'] = SPACE + 1, ['\n'] = SPACE + 1,
#undef X4
};

/* The table holds values plus one, so that what is not in it is 0. */
static unsigned value(char c)
{
    unsigned v = values[(unsigned char)c];
    return v ? v - 1 : BAD;
}

static bool all_values(unsigned a, unsigned b, unsigned c, unsigned d)
{
    return (a | b | c | d) < 64;
}

struct quad {
    unsigned v[4];
    int n, pads;
};

/* Whether the characters may go on like this. */
static bool take(struct quad *q, unsigned v)
{
    if (v == PAD)
        return q->n >= 2 && q->n + ++q->pads <= 4;
    if (v == BAD || q->pads)
        return false;
    q->v[q->n++] = v;
    return true;
}

static size_t put(const struct quad *q, unsigned char *out)
{
    unsigned bits = q->v[0] << 18 | q->v[1] << 12 | q->v[2] << 6 | q->v[3];
    out[0] = (unsigned char)(bits >> 16);
    out[1] = (unsigned char)(bits >> 8);
    out[2] = (unsigned char)bits;
    return (size_t)q->n - 1;
}

/* Stray bits after the last byte. */
static bool has_rest(const struct quad *q)
{
    return (q->n == 2 && q->v[1] & 15) || (q->n == 3 && q->v[2] & 3);
}

bool base64_decode(struct str in, unsigned char *out, size_t *n_out)
{
    struct quad q = {{0}, 0, 0};
    size_t n = 0;
    bool ended = false;
    for (size_t i = 0; i < in.n;) {
        const char *p = in.p + i;
        if (q.n == 0 && in.n - i >= 4 && !ended &&
            all_values(value(p[0]), value(p[1]), value(p[2]), value(p[3]))) {
            struct quad whole = {{value(p[0]), value(p[1]), value(p[2]), value(p[3])}, 4, 0};
            n += put(&whole, out + n);
            i += 4;
            continue;
        }
        unsigned v = value(*p);
        i++;
        if (v == SPACE)
            continue;
        if (ended || !take(&q, v))
            return false;
        if (q.n + q.pads < 4)
            continue;
        if (has_rest(&q))
            return false;
        ended = q.pads > 0;
        n += put(&q, out + n);
        q = (struct quad){{0}, 0, 0};
    }
    *n_out = n;
    return q.n == 0 && q.pads == 0;
}
