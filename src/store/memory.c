/* The driver for tests and for servers that need to remember nothing: sorted arrays in memory. A
 * transaction holds the write lock from begin to end, so readers see whole commits. Nothing in it
 * can fail, hence rollback never has anything to take back. */
#include <pthread.h>
#include <stdlib.h>

#include "bug.h"
#include "store_driver.h"

struct memory {
    pthread_rwlock_t lock;
    struct docs kinds[N_STORE_KINDS]; /* sorted by id; each id and body is one heap block */
    size_t cap[N_STORE_KINDS];
    uint64_t last_rev;
    bool dirty; /* the open transaction has changed something */
};

static struct err *memory_open(const char *path_data, void **db_out)
{
    struct memory *m = mem_new(sizeof *m);
    BUG_ON(pthread_rwlock_init(&m->lock, NULL) != 0);
    *db_out = m;
    return NULL;
}

static void doc_release(struct doc *d)
{
    char *block = (char *)(uintptr_t)d->id.p;
    free(block);
}

static void memory_close(void *db)
{
    struct memory *m = db;
    for (int k = 0; k < N_STORE_KINDS; k++) {
        for (size_t i = 0; i < m->kinds[k].n; i++)
            doc_release(&m->kinds[k].v[i]);
        free(m->kinds[k].v);
    }
    pthread_rwlock_destroy(&m->lock);
    free(m);
}

/* The index of id, or of the first one after it. */
static size_t find(const struct docs *d, struct str id, bool *found)
{
    size_t lo = 0, hi = d->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (str_cmp(d->v[mid].id, id) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *found = lo < d->n && str_eq(d->v[lo].id, id);
    return lo;
}

static struct doc copy_to(struct arena *a, const struct doc *d)
{
    return (struct doc){arena_dup(a, d->id), arena_dup(a, d->body), d->rev};
}

static struct err *memory_get(void *db, enum store_kind kind, struct str id, struct arena *a,
                              struct doc *out)
{
    struct memory *m = db;
    bool found;
    *out = (struct doc){0};
    pthread_rwlock_rdlock(&m->lock);
    size_t i = find(&m->kinds[kind], id, &found);
    if (found)
        *out = copy_to(a, &m->kinds[kind].v[i]);
    pthread_rwlock_unlock(&m->lock);
    return NULL;
}

static struct err *memory_list(void *db, enum store_kind kind, struct arena *a, struct docs *out)
{
    struct memory *m = db;
    pthread_rwlock_rdlock(&m->lock);
    const struct docs *d = &m->kinds[kind];
    out->n = d->n;
    out->v = arena_array(a, d->n, sizeof *out->v);
    for (size_t i = 0; i < d->n; i++)
        out->v[i] = copy_to(a, &d->v[i]);
    pthread_rwlock_unlock(&m->lock);
    return NULL;
}

static struct err *memory_begin(void *db, uint64_t *last_rev_out)
{
    struct memory *m = db;
    pthread_rwlock_wrlock(&m->lock);
    m->dirty = false;
    *last_rev_out = m->last_rev;
    return NULL;
}

static struct err *memory_peek(void *db, enum store_kind kind, struct str id, uint64_t *rev_out)
{
    struct memory *m = db;
    bool found;
    size_t i = find(&m->kinds[kind], id, &found);
    *rev_out = found ? m->kinds[kind].v[i].rev : 0;
    return NULL;
}

static struct err *memory_set(void *db, enum store_kind kind, struct str id, struct str body,
                              uint64_t rev)
{
    struct memory *m = db;
    struct docs *d = &m->kinds[kind];
    bool found;
    size_t i = find(d, id, &found);
    char *block = mem_new(id.n + body.n + 1);
    memcpy(block, id.p, id.n);
    if (body.n)
        memcpy(block + id.n, body.p, body.n);
    m->dirty = true;
    if (found) {
        doc_release(&d->v[i]);
    } else {
        if (d->n == m->cap[kind]) {
            m->cap[kind] = m->cap[kind] ? 2 * m->cap[kind] : 16;
            d->v = mem_grow(d->v, m->cap[kind] * sizeof *d->v);
        }
        memmove(&d->v[i + 1], &d->v[i], (d->n - i) * sizeof *d->v);
        d->n++;
    }
    d->v[i] = (struct doc){str_n(block, id.n), str_n(block + id.n, body.n), rev};
    return NULL;
}

static struct err *memory_drop(void *db, enum store_kind kind, struct str id)
{
    struct memory *m = db;
    struct docs *d = &m->kinds[kind];
    bool found;
    size_t i = find(d, id, &found);
    if (!found)
        return NULL;
    m->dirty = true;
    doc_release(&d->v[i]);
    d->n--;
    memmove(&d->v[i], &d->v[i + 1], (d->n - i) * sizeof *d->v);
    return NULL;
}

static struct err *memory_commit(void *db, uint64_t last_rev, bool anew)
{
    struct memory *m = db;
    (void)anew; /* there are no pages */
    m->last_rev = last_rev;
    pthread_rwlock_unlock(&m->lock);
    return NULL;
}

static void memory_rollback(void *db)
{
    struct memory *m = db;
    BUG_ON(m->dirty);
    pthread_rwlock_unlock(&m->lock);
}

const struct store_driver store_memory = {
    .name = "memory",
    .open = memory_open,
    .close = memory_close,
    .get = memory_get,
    .list = memory_list,
    .begin = memory_begin,
    .peek = memory_peek,
    .set = memory_set,
    .drop = memory_drop,
    .commit = memory_commit,
    .rollback = memory_rollback,
};
