/* table: a counted, sorted array of endpoints behind one pointer.
 *
 * Lookup is a binary search by id: with a thousand endpoints ten string comparisons, less than a
 * hash of the id with a keyed function. Each loop keeps its own reference to the array it saw last
 * and compares a version, so the common path writes nothing that two loops share but the
 * endpoint's own counter. */
#include "table.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "bug.h"
#include "loop.h"

struct snapshot {
    atomic_uint refs;
    uint64_t version;
    size_t n;
    struct endpoint *v[]; /* sorted by id; one reference each */
};

struct table {
    pthread_mutex_t lock; /* guards `current` and writers */
    struct snapshot *current;
    _Atomic uint64_t version; /* of `current` */
    size_t n_loops;
    struct snapshot **seen; /* by loop index; each touched by its loop alone */
};

static struct snapshot *snapshot_new(size_t n)
{
    struct snapshot *s = mem_new(sizeof *s + n * sizeof s->v[0]);
    atomic_init(&s->refs, 1);
    s->n = n;
    return s;
}

static struct snapshot *snapshot_ref(struct snapshot *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

static void snapshot_unref(struct snapshot *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < s->n; i++)
        endpoint_unref(s->v[i]);
    free(s);
}

struct table *table_new(size_t n_loops)
{
    struct table *t = mem_new(sizeof *t);
    pthread_mutex_init(&t->lock, NULL);
    t->current = snapshot_new(0);
    t->n_loops = n_loops;
    t->seen = mem_array(n_loops ? n_loops : 1, sizeof *t->seen);
    return t;
}

void table_free(struct table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n_loops; i++)
        snapshot_unref(t->seen[i]);
    snapshot_unref(t->current);
    pthread_mutex_destroy(&t->lock);
    free(t->seen);
    free(t);
}

/* Index of the id, or of where it belongs. */
static size_t snapshot_search(const struct snapshot *s, struct str id, bool *found_out)
{
    size_t lo = 0, hi = s->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = str_cmp(s->v[mid]->id, id);
        if (order == 0) {
            *found_out = true;
            return mid;
        }
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *found_out = false;
    return lo;
}

/* A counted reference, for threads that keep none of their own. */
static struct snapshot *table_take(struct table *t)
{
    pthread_mutex_lock(&t->lock);
    struct snapshot *s = snapshot_ref(t->current);
    pthread_mutex_unlock(&t->lock);
    return s;
}

/* The loop's own reference, refreshed; NULL when this is no loop's thread. */
static struct snapshot *table_seen(struct table *t)
{
    struct loop *loop = loop_current();
    if (!loop || (size_t)loop_index(loop) >= t->n_loops)
        return NULL;
    struct snapshot **slot = &t->seen[loop_index(loop)];
    uint64_t version = atomic_load_explicit(&t->version, memory_order_acquire);
    if (!*slot || (*slot)->version != version) {
        snapshot_unref(*slot);
        *slot = table_take(t);
    }
    return *slot;
}

struct endpoint *table_find(struct table *t, struct str id)
{
    struct snapshot *own = table_seen(t);
    struct snapshot *s = own ? own : table_take(t);
    bool found;
    size_t i = snapshot_search(s, id, &found);
    struct endpoint *ep = found ? endpoint_ref(s->v[i]) : NULL;
    if (!own)
        snapshot_unref(s);
    return ep;
}

size_t table_list(struct table *t, enum task task, struct arena *arena, struct endpoint ***out)
{
    struct snapshot *own = table_seen(t);
    struct snapshot *s = own ? own : table_take(t);
    struct endpoint **list = arena_array(arena, s->n ? s->n : 1, sizeof *list);
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (task == TASK_ANY || s->v[i]->task == task)
            list[n++] = endpoint_ref(s->v[i]);
    }
    if (!own)
        snapshot_unref(s);
    *out = list;
    return n;
}

/* Lock held. Returns the old one, to be let go without the lock: that may end an endpoint, whose
 * on_free takes locks of its own. */
static struct snapshot *table_swap(struct table *t, struct snapshot *next)
{
    struct snapshot *old = t->current;
    next->version = old->version + 1;
    t->current = next;
    atomic_store_explicit(&t->version, next->version, memory_order_release);
    return old;
}

void table_put(struct table *t, struct endpoint *ep)
{
    pthread_mutex_lock(&t->lock);
    struct snapshot *old = t->current;
    bool found;
    size_t at = snapshot_search(old, ep->id, &found);
    struct snapshot *next = snapshot_new(old->n + (found ? 0 : 1));
    for (size_t i = 0; i < at; i++)
        next->v[i] = endpoint_ref(old->v[i]);
    next->v[at] = ep;
    for (size_t i = at + (found ? 1 : 0); i < old->n; i++)
        next->v[i + (found ? 0 : 1)] = endpoint_ref(old->v[i]);
    table_swap(t, next);
    pthread_mutex_unlock(&t->lock);
    snapshot_unref(old);
}

void table_drop(struct table *t, struct str id)
{
    struct snapshot *gone = NULL;
    pthread_mutex_lock(&t->lock);
    const struct snapshot *old = t->current;
    bool found;
    size_t at = snapshot_search(old, id, &found);
    if (found) {
        struct snapshot *next = snapshot_new(old->n - 1);
        for (size_t i = 0; i < next->n; i++)
            next->v[i] = endpoint_ref(old->v[i < at ? i : i + 1]);
        gone = table_swap(t, next);
    }
    pthread_mutex_unlock(&t->lock);
    snapshot_unref(gone);
}
