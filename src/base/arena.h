/* arena: memory that ends all at once.
 *
 *     struct arena *a = arena_new(ARENA_NO_LIMIT);
 *     struct str s = arena_printf(a, "%d inputs", n);
 *     arena_free(a);
 *
 * Everything of one call lives in one arena. Thread: whoever holds the call; never two at once.
 * arena_alloc ends the process when the system has no memory, as every small allocation does.
 * For sizes that come from outside use arena_try, which respects the ceiling given to arena_new. */
#ifndef INFERD_ARENA_H
#define INFERD_ARENA_H

#include <stdarg.h>
#include <stdlib.h>

#include "str.h"

struct arena;

#define ARENA_NO_LIMIT SIZE_MAX

struct arena *arena_new(size_t limit_bytes);
void arena_free(struct arena *); /* NULL is fine */

/* Forgets everything allocated, keeps the first block: for retries and keep-alive connections. */
void arena_reset(struct arena *);

/* Zeroed, aligned to 16 bytes. n == 0 gives a valid pointer. */
void *arena_alloc(struct arena *, size_t n);
/* Not zeroed; NULL when it would pass the arena's ceiling. */
void *arena_try(struct arena *, size_t n);
/* n * size with the overflow checked; zeroed. */
void *arena_array(struct arena *, size_t n, size_t size);

/* Copies; the copy is NUL-terminated one byte after its end. */
struct str arena_dup(struct arena *, struct str s);
char *arena_cstr(struct arena *, struct str s);
struct str arena_join(struct arena *, struct str a, struct str b); /* b behind a */
struct str arena_printf(struct arena *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct str arena_vprintf(struct arena *, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));

size_t arena_used(const struct arena *); /* bytes handed out */

#endif
