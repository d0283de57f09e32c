/* BUG_ON: what we did wrong ourselves. Compiled into release builds too: logs and aborts. */
#ifndef INFERD_BUG_H
#define INFERD_BUG_H

_Noreturn void bug_abort(const char *file, int line, const char *what);

#define BUG_ON(cond)                                                                               \
    do {                                                                                           \
        if (__builtin_expect(!!(cond), 0))                                                         \
            bug_abort(__FILE__, __LINE__, #cond);                                                  \
    } while (0)

/* malloc family that ends the process instead of failing: for small sizes of our own making. */
#include <stddef.h>
void *mem_new(size_t n); /* zeroed; free() it */
void *mem_array(size_t n, size_t size);
void *mem_grow(void *p, size_t n);
char *mem_strdup(const char *z);

#endif
