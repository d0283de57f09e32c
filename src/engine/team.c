/* A barrier by generation: the last to arrive opens the next generation, the others wait for the
 * word to change. `sleepers` spares the opener a system call when all of them spin. */
#include "team.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bug.h"

/* Some 50 us: longer than the longest gap between two threads that both run. */
#define SPINS 2000

struct gate {
    _Alignas(64) atomic_uint word; /* generation */
    atomic_uint sleepers;
};

struct team {
    unsigned n;
    unsigned n_started; /* threads to join, the caller's counted */
    bool spin;          /* pointless on a machine with fewer processors than threads */
    _Alignas(64) atomic_uint arrived;
    struct gate barrier;
    struct gate start; /* workers wait here between runs */
    atomic_bool stop;
    void (*work)(void *ctx, unsigned thread);
    void *ctx;
    pthread_t threads[TEAM_MAX_THREADS];
    struct worker {
        struct team *team;
        unsigned thread;
    } workers[TEAM_MAX_THREADS];
};

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void gate_wait(struct gate *g, unsigned seen, bool spin)
{
    for (int i = spin ? SPINS : 0; i > 0; i--) {
        if (atomic_load_explicit(&g->word, memory_order_acquire) != seen)
            return;
        relax();
    }
    /* Sequentially consistent against gate_open: either it sees the sleeper or we see the word. */
    atomic_fetch_add(&g->sleepers, 1);
    while (atomic_load(&g->word) == seen)
        syscall(SYS_futex, &g->word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    atomic_fetch_sub(&g->sleepers, 1);
}

static void gate_open(struct gate *g)
{
    atomic_fetch_add(&g->word, 1);
    if (atomic_load(&g->sleepers))
        syscall(SYS_futex, &g->word, FUTEX_WAKE_PRIVATE, TEAM_MAX_THREADS, NULL, NULL, 0);
}

void team_barrier(struct team *t)
{
    if (t->n == 1)
        return;
    unsigned seen = atomic_load_explicit(&t->barrier.word, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&t->arrived, 1, memory_order_acq_rel) + 1 == t->n) {
        atomic_store_explicit(&t->arrived, 0, memory_order_relaxed);
        gate_open(&t->barrier);
    } else {
        gate_wait(&t->barrier, seen, t->spin);
    }
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct team *t = w->team;
    for (unsigned seen = 0;; seen++) {
        gate_wait(&t->start, seen, t->spin);
        if (atomic_load(&t->stop))
            return NULL;
        t->work(t->ctx, w->thread);
        team_barrier(t);
    }
}

void team_run(struct team *t, void (*work)(void *ctx, unsigned thread), void *ctx)
{
    t->work = work;
    t->ctx = ctx;
    if (t->n > 1)
        gate_open(&t->start);
    work(ctx, 0);
    team_barrier(t);
}

/* Workers take no signals: those are for the threads that know what to do with them. */
static int start_worker(struct team *t, unsigned thread)
{
    sigset_t all, old;
    sigfillset(&all);
    t->workers[thread] = (struct worker){t, thread};
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&t->threads[thread], NULL, worker_main, &t->workers[thread]);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

static struct team *team_alloc(int n_threads)
{
    void *p = NULL;
    BUG_ON(posix_memalign(&p, 64, sizeof(struct team)));
    memset(p, 0, sizeof(struct team));
    struct team *t = p;
    t->n = (unsigned)n_threads;
    t->spin = sysconf(_SC_NPROCESSORS_ONLN) >= n_threads;
    return t;
}

struct err *team_new(int n_threads, struct team **out)
{
    if (n_threads < 1 || n_threads > TEAM_MAX_THREADS)
        return err_new(ERR_ARGUMENT, "number of threads must be from 1 to %d, not [%d]",
                       TEAM_MAX_THREADS, n_threads);
    struct team *t = team_alloc(n_threads);
    for (t->n_started = 1; t->n_started < t->n; t->n_started++) {
        int rc = start_worker(t, t->n_started);
        if (rc) {
            team_free(t);
            return err_new(ERR_UNAVAILABLE, "Could not start a thread of a model: [%s]",
                           strerrordesc_np(rc));
        }
    }
    *out = t;
    return NULL;
}

void team_free(struct team *t)
{
    if (!t)
        return;
    atomic_store(&t->stop, true);
    gate_open(&t->start);
    for (unsigned i = 1; i < t->n_started; i++)
        pthread_join(t->threads[i], NULL);
    free(t);
}

unsigned team_size(const struct team *t)
{
    return t->n;
}
