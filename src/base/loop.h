/* loop: one thread, one epoll, everything that thread owns.
 *
 *     struct loop *l = loop_new(0);
 *     loop_fd_add(l, &conn->watch, fd, EPOLLIN, on_ready);
 *     loop_run(l);                       // until loop_stop
 *
 * A loop thread never waits: no disk, no lock held for long, no hashing of passwords, no matrix
 * products. Those go to the pool (pool.h) or an allocation. All functions are for the loop's own
 * thread except loop_post and loop_stop. Watches, timers and messages are embedded in their
 * owners' structs; the loop allocates nothing for them. */
#ifndef INFERD_LOOP_H
#define INFERD_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

struct loop_fd {
    int fd;
    uint32_t events; /* EPOLLIN | EPOLLOUT ... as asked for */
    void (*ready)(struct loop_fd *, uint32_t events);
    struct loop *loop; /* NULL: not watched */
};

struct loop_timer {
    void (*fire)(struct loop_timer *);
    int64_t at_ms;     /* clock_mono_ms() scale */
    size_t heap_index; /* SIZE_MAX or 0-initialised: not set */
    struct loop *loop;
};

/* A message posted from any thread; runs once on the loop's thread. */
struct loop_msg {
    void (*run)(struct loop_msg *);
    struct loop_msg *next;
};

struct loop *loop_new(int index);
/* Once nobody posts any more (pools freed, other loops ended); what is still queued never runs. */
void loop_free(struct loop *);
int loop_index(const struct loop *);
void loop_run(struct loop *);  /* returns after loop_stop */
void loop_stop(struct loop *); /* Thread: any. What was posted before it still runs. */

void loop_fd_add(struct loop *, struct loop_fd *, int fd, uint32_t events,
                 void (*ready)(struct loop_fd *, uint32_t));
void loop_fd_set(struct loop_fd *, uint32_t events); /* no syscall when unchanged */
void loop_fd_del(struct loop_fd *);                  /* before close(fd); safe inside callbacks */
void loop_fd_drop(struct loop_fd *); /* the same, when a library may have closed fd already */

/* (Re)arms; `fire` runs once. Zero-initialise the struct before first use. */
void loop_timer_set(struct loop *, struct loop_timer *, int64_t at_ms,
                    void (*fire)(struct loop_timer *));
void loop_timer_cancel(struct loop_timer *); /* not set: does nothing */
bool loop_timer_is_set(const struct loop_timer *);

/* Thread: any. Takes `m` until its run() is called; order of one sender is kept. */
void loop_post(struct loop *, struct loop_msg *m);

/* The time at which this round of events began: cheap, the one to use for deadlines. */
int64_t loop_now_ms(const struct loop *);

/* The loop whose thread this is; NULL on other threads. */
struct loop *loop_current(void);

#endif
