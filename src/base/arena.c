/* A bump allocator over blocks that double in size. The arena itself lives in its first block, so
 * a small call costs one block in all. Whatever would waste much of a block gets one of its own.
 *
 * Blocks of the usual sizes are kept in a small free list per thread: arenas begin and end with
 * each request, and glibc's own per-thread cache stops at 1 KiB. Under AddressSanitizer nothing is
 * kept, every allocation is followed by a poisoned gap, and so overruns and late uses are found. */
#include "arena.h"

#include <pthread.h>
#include <stdio.h>
#include <sanitizer/asan_interface.h>

#include "bug.h"

#if defined(__SANITIZE_ADDRESS__)
#define ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASAN 1
#endif
#endif
#ifndef ASAN
#define ASAN 0
#endif

#define ALIGN       ((size_t)16)
#define GAP         (ASAN ? ALIGN : 0)
#define FIRST_BLOCK ((size_t)4096)
#define N_CLASSES   6 /* 4, 8, 16, 32, 64, 128 KiB */
#define LAST_BLOCK  (FIRST_BLOCK << (N_CLASSES - 1))
#define MAX_CACHED  8 /* of each class: at most 2 MiB a thread */

struct block {
    struct block *next;
    size_t size; /* whole, with this header */
    char data[];
};

struct arena {
    char *p, *end;        /* free part of the current block */
    struct block *blocks; /* all but the first, newest first */
    size_t used, limit;
    int next_class;
};

_Static_assert(sizeof(struct block) % 16 == 0, "data must be aligned");
_Static_assert(sizeof(struct arena) % 16 == 0, "data must be aligned");

static _Thread_local struct {
    struct block *free[N_CLASSES];
    int n[N_CLASSES];
    bool registered;
} cache;

static pthread_key_t cache_key;
static pthread_once_t cache_once = PTHREAD_ONCE_INIT;

static void cache_drop(void *unused)
{
    for (int i = 0; i < N_CLASSES; i++) {
        for (struct block *b = cache.free[i], *next; b; b = next) {
            next = b->next;
            free(b);
        }
        cache.free[i] = NULL;
        cache.n[i] = 0;
    }
    cache.registered = false; /* a later destructor may still free an arena */
}

static void cache_key_new(void)
{
    BUG_ON(pthread_key_create(&cache_key, cache_drop) != 0);
}

static struct block *block_new(int class)
{
    struct block *b = cache.free[class];
    if (b) {
        cache.free[class] = b->next;
        cache.n[class]--;
        return b;
    }
    b = malloc(FIRST_BLOCK << class);
    if (b)
        b->size = FIRST_BLOCK << class;
    return b;
}

static int class_of(size_t size)
{
    for (int i = 0; i < N_CLASSES; i++)
        if (size == FIRST_BLOCK << i)
            return i;
    return -1;
}

static void block_free(struct block *b)
{
    ASAN_UNPOISON_MEMORY_REGION(b->data, b->size - sizeof *b);
    int class = ASAN ? -1 : class_of(b->size);
    if (class < 0 || cache.n[class] >= MAX_CACHED) {
        free(b);
        return;
    }
    if (!cache.registered) {
        pthread_once(&cache_once, cache_key_new);
        pthread_setspecific(cache_key, &cache);
        cache.registered = true;
    }
    b->next = cache.free[class];
    cache.free[class] = b;
    cache.n[class]++;
}

static struct block *first_block(struct arena *a)
{
    return (struct block *)((char *)a - sizeof(struct block));
}

static void start_block(struct arena *a, char *from, struct block *b)
{
    a->p = from;
    a->end = (char *)b + b->size;
    ASAN_POISON_MEMORY_REGION(a->p, (size_t)(a->end - a->p));
}

struct arena *arena_new(size_t limit_bytes)
{
    struct block *b = block_new(0);
    BUG_ON(!b);
    b->next = NULL;
    struct arena *a = (struct arena *)b->data;
    *a = (struct arena){.limit = limit_bytes, .next_class = 1};
    start_block(a, b->data + sizeof *a, b);
    return a;
}

static void free_blocks(struct arena *a)
{
    for (struct block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        block_free(b);
    }
}

void arena_free(struct arena *a)
{
    if (!a)
        return;
    free_blocks(a);
    block_free(first_block(a));
}

void arena_reset(struct arena *a)
{
    free_blocks(a);
    a->blocks = NULL;
    a->used = 0;
    a->next_class = 1;
    start_block(a, (char *)(a + 1), first_block(a));
}

static void *own_block(struct arena *a, size_t need)
{
    struct block *b = malloc(sizeof *b + need);
    if (!b)
        return NULL;
    b->size = sizeof *b + need;
    b->next = a->blocks;
    a->blocks = b;
    ASAN_POISON_MEMORY_REGION(b->data, need);
    return b->data;
}

/* `need` bytes, a multiple of ALIGN, when the current block has no room for them. */
static __attribute__((noinline)) void *take_slow(struct arena *a, size_t need)
{
    size_t size = FIRST_BLOCK << a->next_class;
    if (need > size / 4)
        return own_block(a, need);
    struct block *b = block_new(a->next_class);
    if (!b)
        return NULL;
    b->next = a->blocks;
    a->blocks = b;
    if (a->next_class < N_CLASSES - 1)
        a->next_class++;
    start_block(a, b->data, b);
    void *p = a->p;
    a->p += need;
    return p;
}

/* NULL: the system has no memory, or n is absurd. */
static inline void *take(struct arena *a, size_t n)
{
    if (__builtin_expect(n > SIZE_MAX / 2, 0))
        return NULL;
    size_t need = ((n + ALIGN - 1) & ~(ALIGN - 1)) + GAP;
    void *p;
    if (__builtin_expect(need <= (size_t)(a->end - a->p), 1)) {
        p = a->p;
        a->p += need;
    } else if (!(p = take_slow(a, need))) {
        return NULL;
    }
    a->used += n;
    ASAN_UNPOISON_MEMORY_REGION(p, n);
    return p;
}

/* As arena_alloc, but not zeroed: for what is written over at once. */
static void *take_or_die(struct arena *a, size_t n)
{
    void *p = take(a, n);
    BUG_ON(!p);
    return p;
}

void *arena_alloc(struct arena *a, size_t n)
{
    return memset(take_or_die(a, n), 0, n);
}

void *arena_try(struct arena *a, size_t n)
{
    if (a->used > a->limit || n > a->limit - a->used)
        return NULL;
    return take(a, n);
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
    size_t bytes;
    BUG_ON(__builtin_mul_overflow(n, size, &bytes));
    return arena_alloc(a, bytes);
}

char *arena_cstr(struct arena *a, struct str s)
{
    BUG_ON(s.n == SIZE_MAX);
    char *p = take_or_die(a, s.n + 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

struct str arena_dup(struct arena *a, struct str s)
{
    return str_n(arena_cstr(a, s), s.n);
}

struct str arena_join(struct arena *arena, struct str a, struct str b)
{
    BUG_ON(a.n > SIZE_MAX / 2 || b.n > SIZE_MAX / 2);
    char *p = take_or_die(arena, a.n + b.n + 1);
    if (a.n)
        memcpy(p, a.p, a.n);
    if (b.n)
        memcpy(p + a.n, b.p, b.n);
    p[a.n + b.n] = '\0';
    return str_n(p, a.n + b.n);
}

struct str arena_vprintf(struct arena *a, const char *fmt, va_list ap)
{
    char small[256];
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    BUG_ON(n < 0);
    char *p = take_or_die(a, (size_t)n + 1);
    if ((size_t)n < sizeof small)
        memcpy(p, small, (size_t)n + 1);
    else
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return str_n(p, (size_t)n);
}

struct str arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct str s = arena_vprintf(a, fmt, ap);
    va_end(ap);
    return s;
}

size_t arena_used(const struct arena *a)
{
    return a->used;
}
