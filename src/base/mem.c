/* The malloc family for small sizes of our own making: a process that cannot get a few bytes has
 * nothing sensible left to do, and checking for it everywhere would only hide the real errors. */
#include "bug.h"

#include <stdlib.h>
#include <string.h>

static void *or_die(void *p)
{
    BUG_ON(p == NULL);
    return p;
}

void *mem_new(size_t n)
{
    return or_die(calloc(1, n ? n : 1));
}

void *mem_array(size_t n, size_t size)
{
    return or_die(n && size ? calloc(n, size) : calloc(1, 1));
}

void *mem_grow(void *p, size_t n)
{
    return or_die(realloc(p, n ? n : 1));
}

char *mem_strdup(const char *z)
{
    return or_die(strdup(z));
}
