/* Growth doubles, so that appending is linear in all, and never passes the ceiling. */
#include "buf.h"

#include <stdio.h>
#include <stdlib.h>

#include "bug.h"

#define FIRST_CAP 256

void buf_init(struct buf *b, size_t limit)
{
    *b = (struct buf){.limit = limit};
}

void buf_deinit(struct buf *b)
{
    free(b->p);
    *b = (struct buf){.limit = b->limit};
}

void buf_clear(struct buf *b)
{
    b->n = 0;
    b->full = false;
}

static bool grow(struct buf *b, size_t need)
{
    size_t cap = b->cap < FIRST_CAP / 2 ? FIRST_CAP : b->cap > SIZE_MAX / 2 ? SIZE_MAX : b->cap * 2;
    if (cap < need)
        cap = need;
    if (cap > b->limit)
        cap = b->limit;
    char *p = realloc(b->p, cap);
    if (!p)
        return false;
    b->p = p;
    b->cap = cap;
    return true;
}

char *buf_reserve(struct buf *b, size_t n)
{
    if (__builtin_expect(n <= b->cap - b->n && b->p, 1))
        return b->p + b->n;
    if (n > b->limit - b->n || (b->n + n > 0 && !grow(b, b->n + n))) {
        b->full = true;
        return NULL;
    }
    /* n == 0 on a buffer that has no memory yet: still a pointer that may be compared. */
    static char nothing[1];
    return b->p ? b->p + b->n : nothing;
}

bool buf_put(struct buf *b, struct str s)
{
    if (s.n == 0)
        return true;
    char *p = buf_reserve(b, s.n);
    if (!p)
        return false;
    memcpy(p, s.p, s.n);
    b->n += s.n;
    return true;
}

bool buf_char(struct buf *b, char c)
{
    char *p = buf_reserve(b, 1);
    if (!p)
        return false;
    *p = c;
    b->n++;
    return true;
}

bool buf_cstr(struct buf *b, const char *z)
{
    return buf_put(b, str_c(z));
}

bool buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    size_t room = b->cap - b->n;
    int n = vsnprintf(room ? b->p + b->n : NULL, room, fmt, ap);
    BUG_ON(n < 0);
    if ((size_t)n >= room) {
        /* vsnprintf wants a byte for its NUL: at the very ceiling that one has to go elsewhere. */
        char *p = NULL, *own = NULL;
        if ((size_t)n < b->limit - b->n)
            p = buf_reserve(b, (size_t)n + 1);
        else if ((size_t)n == b->limit - b->n)
            p = own = malloc((size_t)n + 1);
        if (!p) {
            b->full = true;
            va_end(again);
            return false;
        }
        vsnprintf(p, (size_t)n + 1, fmt, again);
        va_end(again);
        if (own) {
            bool ok = buf_put(b, str_n(own, (size_t)n));
            free(own);
            return ok;
        }
    } else {
        va_end(again);
    }
    b->n += (size_t)n;
    return true;
}

bool buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    bool ok = buf_vprintf(b, fmt, ap);
    va_end(ap);
    return ok;
}

void buf_consume(struct buf *b, size_t n)
{
    BUG_ON(n > b->n);
    b->n -= n;
    if (b->n && n)
        memmove(b->p, b->p + n, b->n);
}
