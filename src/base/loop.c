/* One round: wait, take the time, deliver events, run messages, fire timers.
 *
 * Messages are a lock-free stack (many producers push, the loop takes all of it at once and turns
 * it round), with an eventfd written only by whoever finds it empty. The eventfd is watched edge
 * triggered and never read: each write wakes the loop once, which saves a system call a wake-up.
 * Posting from the loop's own thread writes nothing, since the loop looks before it sleeps.
 *
 * Timers are a binary heap of (at, seq): seq counts settings, so equal times fire in the order in
 * which they were set. The heap is an array from 1 on, because a heap_index of 0 means not set. */
#include "loop.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bug.h"
#include "clock.h"

#define BATCH 256

struct due {
    int64_t at_ms;
    uint64_t seq;
    struct loop_timer *timer;
};

struct loop {
    int epoll, wake;
    int index;
    int64_t now_ms;

    struct epoll_event events[BATCH];
    int n_events, next_event; /* of the batch being delivered */

    struct due *heap; /* heap[1 .. n_timers] */
    size_t n_timers, heap_cap;
    uint64_t seq;

    /* What other threads touch has a cache line of its own. */
    _Alignas(64) _Atomic(struct loop_msg *) inbox;
    atomic_bool stop;
};

static _Thread_local struct loop *current;

struct loop *loop_new(int index)
{
    struct loop *l = aligned_alloc(_Alignof(struct loop), sizeof *l);
    BUG_ON(!l);
    *l = (struct loop){.index = index, .now_ms = clock_mono_ms()};
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    BUG_ON(l->epoll < 0 || l->wake < 0);
    struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    BUG_ON(epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->wake, &e) != 0);
    return l;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    close(l->epoll);
    close(l->wake);
    free(l->heap);
    free(l);
}

int loop_index(const struct loop *l)
{
    return l->index;
}

int64_t loop_now_ms(const struct loop *l)
{
    return l->now_ms;
}

struct loop *loop_current(void)
{
    return current;
}

/* --- descriptors --- */

static void control(struct loop_fd *w, int op)
{
    struct epoll_event e = {.events = w->events, .data.ptr = w};
    BUG_ON(epoll_ctl(w->loop->epoll, op, w->fd, &e) != 0);
}

void loop_fd_add(struct loop *l, struct loop_fd *w, int fd, uint32_t events,
                 void (*ready)(struct loop_fd *, uint32_t))
{
    *w = (struct loop_fd){.fd = fd, .events = events, .ready = ready, .loop = l};
    control(w, EPOLL_CTL_ADD);
}

void loop_fd_set(struct loop_fd *w, uint32_t events)
{
    BUG_ON(!w->loop);
    if (w->events == events)
        return;
    w->events = events;
    control(w, EPOLL_CTL_MOD);
}

/* Its events that are still to come in this batch are struck out: the owner may free it now. */
static void strike_out(struct loop_fd *w)
{
    struct loop *l = w->loop;
    for (int i = l->next_event; i < l->n_events; i++)
        if (l->events[i].data.ptr == w)
            l->events[i].data.ptr = NULL;
    w->loop = NULL;
}

void loop_fd_del(struct loop_fd *w)
{
    if (!w->loop)
        return;
    control(w, EPOLL_CTL_DEL);
    strike_out(w);
}

void loop_fd_drop(struct loop_fd *w)
{
    if (!w->loop)
        return;
    epoll_ctl(w->loop->epoll, EPOLL_CTL_DEL, w->fd, NULL); /* a closed one has left by itself */
    strike_out(w);
}

static void deliver(struct loop *l)
{
    for (l->next_event = 0; l->next_event < l->n_events;) {
        const struct epoll_event *e = &l->events[l->next_event++];
        struct loop_fd *w = e->data.ptr;
        if (!w)
            continue;
        /* What a callback before this one no longer asks for is not delivered either. */
        uint32_t events = e->events & (w->events | EPOLLERR | EPOLLHUP);
        if (events)
            w->ready(w, events);
    }
    l->n_events = 0;
}

/* --- timers --- */

static bool before(const struct due *a, const struct due *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->seq < b->seq;
}

static void place(struct loop *l, size_t i, struct due d)
{
    l->heap[i] = d;
    d.timer->heap_index = i;
}

/* Moves `d`, for which slot i is free, to where it belongs. */
static void settle(struct loop *l, size_t i, struct due d)
{
    for (; i > 1 && before(&d, &l->heap[i / 2]); i /= 2)
        place(l, i, l->heap[i / 2]);
    for (size_t child; (child = i * 2) <= l->n_timers; i = child) {
        if (child < l->n_timers && before(&l->heap[child + 1], &l->heap[child]))
            child++;
        if (!before(&l->heap[child], &d))
            break;
        place(l, i, l->heap[child]);
    }
    place(l, i, d);
}

bool loop_timer_is_set(const struct loop_timer *t)
{
    return t->heap_index != 0 && t->heap_index != SIZE_MAX;
}

static void heap_reserve(struct loop *l)
{
    if (l->n_timers + 1 < l->heap_cap)
        return;
    l->heap_cap = l->heap_cap ? l->heap_cap * 2 : 64;
    l->heap = mem_grow(l->heap, l->heap_cap * sizeof *l->heap);
}

void loop_timer_set(struct loop *l, struct loop_timer *t, int64_t at_ms,
                    void (*fire)(struct loop_timer *))
{
    size_t i;
    if (loop_timer_is_set(t)) {
        BUG_ON(t->loop != l);
        i = t->heap_index;
    } else {
        heap_reserve(l);
        i = ++l->n_timers;
    }
    t->fire = fire;
    t->at_ms = at_ms;
    t->loop = l;
    /* A time that has passed counts as now: one that re-arms itself so comes after all others. */
    int64_t key = at_ms < l->now_ms ? l->now_ms : at_ms;
    settle(l, i, (struct due){key, ++l->seq, t});
}

void loop_timer_cancel(struct loop_timer *t)
{
    if (!loop_timer_is_set(t))
        return;
    struct loop *l = t->loop;
    size_t i = t->heap_index;
    BUG_ON(i > l->n_timers || l->heap[i].timer != t);
    t->heap_index = 0;
    struct due last = l->heap[l->n_timers--];
    if (last.timer != t)
        settle(l, i, last);
}

/* Those set by the timers that fire here wait for the next round, so that descriptors are served
 * in between. */
static void fire_timers(struct loop *l)
{
    uint64_t last_seq = l->seq;
    while (l->n_timers) {
        struct due top = l->heap[1];
        if (top.at_ms > l->now_ms || top.seq > last_seq)
            return;
        loop_timer_cancel(top.timer);
        top.timer->fire(top.timer);
    }
}

static int timeout_ms(const struct loop *l)
{
    if (atomic_load_explicit(&l->inbox, memory_order_relaxed))
        return 0;
    if (l->n_timers == 0)
        return -1;
    int64_t left = l->heap[1].at_ms - clock_mono_ms();
    return left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

/* --- messages --- */

static void wake(struct loop *l)
{
    uint64_t one = 1;
    /* EAGAIN: the counter is at its end, after 2^64 wake-ups. EINTR cannot be. */
    ssize_t ignored = write(l->wake, &one, sizeof one);
    (void)ignored;
}

void loop_post(struct loop *l, struct loop_msg *m)
{
    struct loop_msg *head = atomic_load_explicit(&l->inbox, memory_order_relaxed);
    do
        m->next = head;
    while (!atomic_compare_exchange_weak_explicit(&l->inbox, &head, m, memory_order_release,
                                                  memory_order_relaxed));
    /* From here on `m` is the loop's. */
    if (!head && l != current)
        wake(l);
}

static void run_messages(struct loop *l)
{
    if (!atomic_load_explicit(&l->inbox, memory_order_relaxed))
        return;
    struct loop_msg *m = atomic_exchange_explicit(&l->inbox, NULL, memory_order_acquire);
    struct loop_msg *in_order = NULL;
    while (m) {
        struct loop_msg *next = m->next;
        m->next = in_order;
        in_order = m;
        m = next;
    }
    while (in_order) {
        m = in_order;
        in_order = m->next;
        m->run(m);
    }
}

void loop_stop(struct loop *l)
{
    atomic_store_explicit(&l->stop, true, memory_order_release);
    wake(l);
}

static void wait_events(struct loop *l)
{
    int n = epoll_wait(l->epoll, l->events, BATCH, timeout_ms(l));
    BUG_ON(n < 0 && errno != EINTR);
    l->n_events = n > 0 ? n : 0;
    l->now_ms = clock_mono_ms();
}

void loop_run(struct loop *l)
{
    struct loop *outer = current;
    current = l;
    /* The flag is read before the messages are taken: what was posted before loop_stop runs. */
    for (bool stop = false; !stop;) {
        wait_events(l);
        deliver(l);
        stop = atomic_exchange_explicit(&l->stop, false, memory_order_acquire);
        run_messages(l);
        fire_timers(l);
    }
    current = outer;
}
