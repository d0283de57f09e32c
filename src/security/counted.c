#include "counted.h"

#include "bug.h"
#include "loop.h"

void counted_init(struct counted *c, void (*end)(struct counted *))
{
    atomic_init(&c->refs, 1);
    c->end = end;
}

struct counted *counted_ref(const struct counted *c)
{
    struct counted *mine = (struct counted *)(uintptr_t)c;
    atomic_fetch_add_explicit(&mine->refs, 1, memory_order_relaxed);
    return mine;
}

void counted_unref(struct counted *c)
{
    if (c && atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1)
        c->end(c);
}

void cell_init(struct cell *cell, struct counted *first)
{
    BUG_ON(pthread_mutex_init(&cell->lock, NULL) != 0);
    first->version = 1;
    cell->current = first;
    atomic_store(&cell->version, 1);
}

void cell_deinit(struct cell *cell)
{
    if (!cell->current)
        return;
    for (int i = 0; i < CELL_LOOPS; i++)
        counted_unref(cell->seen[i]);
    counted_unref(cell->current);
    pthread_mutex_destroy(&cell->lock);
}

struct counted *cell_take(struct cell *cell)
{
    pthread_mutex_lock(&cell->lock);
    struct counted *c = counted_ref(cell->current);
    pthread_mutex_unlock(&cell->lock);
    return c;
}

const struct counted *cell_peek(struct cell *cell, struct counted **held_out)
{
    struct loop *loop = loop_current();
    if (!loop || loop_index(loop) >= CELL_LOOPS)
        return *held_out = cell_take(cell);
    struct counted **slot = &cell->seen[loop_index(loop)];
    uint64_t version = atomic_load_explicit(&cell->version, memory_order_acquire);
    if (!*slot || (*slot)->version != version) {
        counted_unref(*slot);
        *slot = cell_take(cell);
    }
    *held_out = NULL;
    return *slot;
}

void cell_swap(struct cell *cell, struct counted *next)
{
    pthread_mutex_lock(&cell->lock);
    struct counted *old = cell->current;
    next->version = old->version + 1;
    cell->current = next;
    atomic_store_explicit(&cell->version, next->version, memory_order_release);
    pthread_mutex_unlock(&cell->lock);
    counted_unref(old);
}
