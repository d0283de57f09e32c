/* buf: growable bytes with a ceiling.
 *
 *     struct buf b;
 *     buf_init(&b, 1 << 20);
 *     buf_put(&b, STR("hello "));
 *     buf_printf(&b, "%d", 5);
 *     if (b.full) ...            // something did not fit; what did fit is still there
 *     buf_deinit(&b);
 *
 * Nothing read from the network grows without such a ceiling. Writing past it sets `full`, which
 * stays set, and drops the bytes: writers need not check each call, only the end. */
#ifndef INFERD_BUF_H
#define INFERD_BUF_H

#include <stdarg.h>

#include "str.h"

struct buf {
    char *p;
    size_t n;     /* bytes used */
    size_t cap;   /* bytes allocated */
    size_t limit; /* ceiling of n */
    bool full;    /* a write was dropped */
};

void buf_init(struct buf *, size_t limit);
void buf_deinit(struct buf *);
void buf_clear(struct buf *); /* n = 0, full = false; keeps the memory */

/* Makes room for n more bytes and returns where to write them (then add to b->n what was
 * written); NULL and `full` when that passes the ceiling. */
char *buf_reserve(struct buf *, size_t n);

bool buf_put(struct buf *, struct str s);
bool buf_char(struct buf *, char c);
bool buf_cstr(struct buf *, const char *z);
bool buf_printf(struct buf *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool buf_vprintf(struct buf *, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/* Drops the first n bytes. */
void buf_consume(struct buf *, size_t n);

static inline struct str buf_str(const struct buf *b) /* valid until the next write */
{
    return (struct str){b->p, b->n};
}

#endif
