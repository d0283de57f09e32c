/* Each phase has two counters, chunks taken and chunks done, both tagged with the number of the
 * run in their upper half. A worker that comes late from an earlier run finds another tag and
 * leaves; it touches nothing of a run of which it holds no chunk, and a run does not end while
 * anyone holds one. */
#include "team.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bug.h"

/* Some 50 us: longer than the longest gap between two threads that both run. */
#define SPINS 2000

struct phase {
    _Alignas(64) atomic_uint_least64_t taken; /* run << 32 | chunks */
    atomic_uint_least64_t done;
    atomic_uint n_chunks;
};

struct team {
    unsigned n_threads;
    unsigned n_started; /* threads to join, the caller's counted */
    bool spins;         /* pointless with fewer processors than threads */
    void (*pause)(void *ctx);
    void *pause_ctx;
    team_work *work; /* read only with a chunk in hand */
    void *ctx;
    struct phase *phases;
    size_t most_phases;
    atomic_size_t n_phases;
    _Alignas(64) atomic_uint run; /* number of the current one */
    atomic_bool stop;
    /* Raised when a run begins and when a phase ends; what sleepers sleep on. */
    _Alignas(64) atomic_uint pulse;
    atomic_uint sleepers;
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

static void pulse_raise(struct team *t)
{
    atomic_fetch_add(&t->pulse, 1);
    if (atomic_load(&t->sleepers))
        syscall(SYS_futex, &t->pulse, FUTEX_WAKE_PRIVATE, TEAM_MAX_THREADS, NULL, NULL, 0);
}

/* Until ready(t, run, phase). Sequentially consistent against pulse_raise: either it sees the
 * sleeper, or the sleeper sees what was made ready before or a newer pulse. */
static void wait_until(struct team *t, bool (*ready)(struct team *, unsigned, size_t), unsigned run,
                       size_t phase)
{
    for (int i = t->spins ? SPINS : 1; i > 0; i--) {
        if (ready(t, run, phase))
            return;
        relax();
    }
    atomic_fetch_add(&t->sleepers, 1);
    for (;;) {
        unsigned seen = atomic_load(&t->pulse);
        if (ready(t, run, phase))
            break;
        syscall(SYS_futex, &t->pulse, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    }
    atomic_fetch_sub(&t->sleepers, 1);
}

static uint64_t tag(unsigned run)
{
    return (uint64_t)run << 32;
}

static bool phase_over(struct team *t, unsigned run, size_t phase)
{
    uint64_t done = atomic_load(&t->phases[phase].done);
    return done >> 32 != run || (uint32_t)done >= atomic_load(&t->phases[phase].n_chunks);
}

static bool run_begun(struct team *t, unsigned seen, size_t phase)
{
    (void)phase;
    return atomic_load(&t->run) != seen;
}

/* False: none left, or another run by now. */
static bool chunk_take(struct phase *p, unsigned run, uint32_t *out)
{
    uint64_t taken = atomic_load_explicit(&p->taken, memory_order_acquire);
    do {
        if (taken >> 32 != run || (uint32_t)taken >= atomic_load(&p->n_chunks))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&p->taken, &taken, taken + 1,
                                                    memory_order_acquire, memory_order_acquire));
    *out = (uint32_t)taken;
    return true;
}

static void run_phases(struct team *t, unsigned run, unsigned thread)
{
    size_t n = atomic_load(&t->n_phases);
    for (size_t i = 0; i < n && atomic_load(&t->run) == run; i++) {
        struct phase *p = &t->phases[i];
        uint32_t chunk;
        while (chunk_take(p, run, &chunk)) {
            t->work(t->ctx, thread, i, chunk);
            uint64_t done = atomic_fetch_add(&p->done, 1) + 1;
            if ((uint32_t)done == atomic_load(&p->n_chunks))
                pulse_raise(t);
        }
        wait_until(t, phase_over, run, i);
    }
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct team *t = w->team;
    unsigned run = 0;
    for (;;) {
        wait_until(t, run_begun, run, 0);
        if (atomic_load(&t->stop))
            return NULL;
        run = atomic_load(&t->run);
        run_phases(t, run, w->thread);
    }
}

static void run_alone(struct team *t, const uint32_t *n_chunks, size_t n_phases, team_work *work,
                      void *ctx)
{
    for (size_t i = 0; i < n_phases; i++) {
        for (uint32_t chunk = 0; chunk < n_chunks[i]; chunk++) {
            if (t->pause)
                t->pause(t->pause_ctx);
            work(ctx, 0, i, chunk);
        }
    }
}

void team_run(struct team *t, const uint32_t *n_chunks, size_t n_phases, team_work *work, void *ctx)
{
    BUG_ON(n_phases > t->most_phases);
    if (t->n_threads == 1) {
        run_alone(t, n_chunks, n_phases, work, ctx);
        return;
    }
    unsigned run = atomic_load(&t->run) + 1;
    t->work = work;
    t->ctx = ctx;
    atomic_store(&t->n_phases, n_phases);
    for (size_t i = 0; i < n_phases; i++) {
        /* The tag first: whoever is late and sees the new n_chunks cannot take by the old tag. */
        atomic_store(&t->phases[i].taken, tag(run));
        atomic_store(&t->phases[i].done, tag(run));
        atomic_store(&t->phases[i].n_chunks, n_chunks[i]);
    }
    atomic_store(&t->run, run);
    pulse_raise(t);
    run_phases(t, run, 0);
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

/* Those that this process may use, which may be fewer than there are. */
static int n_processors(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

static void *aligned_new(size_t n)
{
    void *p = NULL;
    BUG_ON(posix_memalign(&p, 64, n));
    memset(p, 0, n);
    return p;
}

struct err *team_new(int n_threads, size_t most_phases, struct team **out)
{
    if (n_threads < 1 || n_threads > TEAM_MAX_THREADS)
        return err_new(ERR_ARGUMENT, "number of threads must be from 1 to %d, not [%d]",
                       TEAM_MAX_THREADS, n_threads);
    struct team *t = aligned_new(sizeof(*t));
    t->n_threads = (unsigned)n_threads;
    t->spins = n_processors() >= n_threads;
    t->most_phases = most_phases;
    t->phases = aligned_new((most_phases + 1) * sizeof(*t->phases));
    for (t->n_started = 1; t->n_started < t->n_threads; t->n_started++) {
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
    atomic_fetch_add(&t->run, 1);
    pulse_raise(t);
    for (unsigned i = 1; i < t->n_started; i++)
        pthread_join(t->threads[i], NULL);
    free(t->phases);
    free(t);
}

unsigned team_size(const struct team *t)
{
    return t->n_threads;
}

void team_set_pause(struct team *t, void (*pause)(void *ctx), void *ctx)
{
    t->pause = pause;
    t->pause_ctx = ctx;
}

void team_place(struct team *t, const int *cpus)
{
    for (unsigned i = 0; i < t->n_threads; i++) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(cpus[i], &set);
        pthread_setaffinity_np(i ? t->threads[i] : pthread_self(), sizeof(set), &set);
    }
}
