#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "team.h"

enum { N_PHASES = 50, N_CHUNKS = 9 };

/* Plain memory on purpose: each chunk adds to its own cell and reads all cells of the phase before,
 * which is a race for the thread sanitizer and a wrong sum for us if phases overlap. */
struct sums {
    unsigned cell[N_PHASES + 1][N_CHUNKS];
    unsigned before; /* what every cell held when the run began */
    uint32_t n_chunks[N_PHASES];
    atomic_uint wrong;
};

static void add_up(void *ctx, unsigned thread, size_t phase, uint32_t chunk)
{
    struct sums *s = ctx;
    (void)thread;
    for (unsigned i = 0; phase > 0 && i < s->n_chunks[phase - 1]; i++)
        if (s->cell[phase - 1][i] != s->before + 1)
            atomic_fetch_add(&s->wrong, 1);
    s->cell[phase][chunk]++;
}

static void run_many(int n_threads)
{
    struct team *t;
    struct sums s = {0};
    assert_null(team_new(n_threads, N_PHASES, &t));
    assert_int_equal(team_size(t), n_threads);
    for (unsigned i = 0; i < N_PHASES; i++)
        s.n_chunks[i] = i % (N_CHUNKS + 1); /* some phases have nothing to do */
    for (unsigned run = 0; run < 40; run++) {
        s.before = run;
        team_run(t, s.n_chunks, N_PHASES, add_up, &s);
        for (unsigned i = 0; i < N_PHASES; i++)
            for (unsigned c = 0; c < N_CHUNKS; c++)
                assert_int_equal(s.cell[i][c], c < s.n_chunks[i] ? run + 1 : 0);
    }
    assert_int_equal(atomic_load(&s.wrong), 0);
    team_free(t);
}

static void test_phases_follow_each_other(void **state)
{
    (void)state;
    for (int n = 1; n <= 5; n++)
        run_many(n);
}

static void sleep_in_first(void *ctx, unsigned thread, size_t phase, uint32_t chunk)
{
    atomic_uint *count = ctx;
    (void)thread;
    if (phase == 0 && chunk == 0)
        nanosleep(&(struct timespec){0, 2000000}, NULL);
    atomic_fetch_add(count, 1);
}

/* Long waits end in the kernel and come back, between runs and between phases. */
static void test_sleepers_wake(void **state)
{
    (void)state;
    static const uint32_t n_chunks[] = {3, 4, 1};
    struct team *t;
    atomic_uint count = 0;
    assert_null(team_new(3, 3, &t));
    for (unsigned run = 1; run <= 5; run++) {
        nanosleep(&(struct timespec){0, 1000000}, NULL);
        team_run(t, n_chunks, 3, sleep_in_first, &count);
        assert_int_equal(atomic_load(&count), 8 * run);
    }
    team_free(t);
    team_free(NULL);
}

static void no_work(void *ctx, unsigned thread, size_t phase, uint32_t chunk)
{
    (void)thread;
    (void)phase;
    (void)chunk;
    atomic_fetch_add((atomic_uint *)ctx, 1);
}

/* Short runs after each other: workers are always a run behind, and must not take part in the
 * wrong one. */
static void test_late_workers_harm_nothing(void **state)
{
    (void)state;
    static const uint32_t one[] = {1}, two[] = {2, 2};
    struct team *t;
    atomic_uint count = 0;
    assert_null(team_new(4, 2, &t));
    for (int i = 0; i < 2000; i++) {
        team_run(t, one, 1, no_work, &count);
        team_run(t, two, 2, no_work, &count);
        team_run(t, two, 0, no_work, &count);
    }
    assert_int_equal(atomic_load(&count), 2000 * 5);
    team_free(t);
}

static void count_pauses(void *ctx)
{
    ++*(unsigned *)ctx;
}

static void test_one_thread_pauses(void **state)
{
    (void)state;
    static const uint32_t n_chunks[] = {3, 0, 2};
    struct team *t;
    atomic_uint count = 0;
    unsigned pauses = 0;
    assert_null(team_new(1, 3, &t));
    team_set_pause(t, count_pauses, &pauses);
    team_run(t, n_chunks, 3, no_work, &count);
    assert_int_equal(atomic_load(&count), 5);
    assert_int_equal(pauses, 5);
    team_free(t);
}

/* Where each thread of a run may be. */
struct places {
    pthread_mutex_t lock;
    unsigned seen; /* bit for each thread */
    bool alone[2];
};

static void look_where(void *ctx, unsigned thread, size_t phase, uint32_t chunk)
{
    struct places *p = ctx;
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    pthread_mutex_lock(&p->lock);
    p->seen |= 1u << thread;
    p->alone[thread] = CPU_COUNT(&set) == 1;
    pthread_mutex_unlock(&p->lock);
}

static void *in_a_thread(void *arg)
{
    struct places *p = arg;
    struct team *t;
    static const uint32_t n_chunks[] = {2};
    cpu_set_t set;
    int cpus[2], n = 0;
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    for (int i = 0; n < 2; i = (i + 1) % CPU_SETSIZE)
        if (CPU_ISSET(i, &set))
            cpus[n++] = i; /* twice the same where there is only one */
    assert_null(team_new(2, 1, &t));
    team_place(t, cpus);
    while (p->seen != 3)
        team_run(t, n_chunks, 1, look_where, p);
    team_free(t);
    return NULL;
}

static void test_threads_stay_where_they_are_placed(void **state)
{
    (void)state;
    struct places p = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t thread; /* the test's own stays free */
    assert_int_equal(pthread_create(&thread, NULL, in_a_thread, &p), 0);
    pthread_join(thread, NULL);
    assert_true(p.alone[0] && p.alone[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_phases_follow_each_other),
        cmocka_unit_test(test_sleepers_wake),
        cmocka_unit_test(test_late_workers_harm_nothing),
        cmocka_unit_test(test_one_thread_pauses),
        cmocka_unit_test(test_threads_stay_where_they_are_placed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
