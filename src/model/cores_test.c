/* Threads that take turns: how many run at once is counted by themselves. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "bug.h"
#include "cores.h"

#define LONG_PATIENCE 3600000

static atomic_int running, most, on_cpu[8];

static void run_now(int n)
{
    int now = atomic_fetch_add(&running, n) + n, seen = atomic_load(&most);
    while (now > seen && !atomic_compare_exchange_weak(&most, &seen, now))
        ;
}

struct worker {
    pthread_t thread;
    struct cores *cores;
    struct cores_turn turn;
    atomic_int turns, entered;
    bool watches_cpus;
    int cpus[CORES_MOST_THREADS];
};

static void use_cpus(struct worker *w, int by)
{
    for (int i = 0; i < w->turn.threads; i++) {
        int others = atomic_fetch_add(&on_cpu[w->cpus[i]], by);
        BUG_ON(others != (by > 0 ? 0 : 1));
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;
    for (; w->entered < w->turns; w->entered++) {
        if (cores_enter(w->cores, &w->turn))
            cores_cpus(w->cores, &w->turn, w->cpus);
        run_now(w->turn.threads);
        if (w->watches_cpus)
            use_cpus(w, 1);
        for (volatile int i = 0; i < 500; i = i + 1)
            ;
        if (w->watches_cpus)
            use_cpus(w, -1);
        atomic_fetch_sub(&running, w->turn.threads);
        cores_leave(w->cores, &w->turn);
    }
    return NULL;
}

static void start(struct worker *w, struct cores *c, int threads, bool low, int turns)
{
    *w = (struct worker){.cores = c};
    atomic_store(&w->turns, turns);
    cores_turn_init(&w->turn, threads, low);
}

static void never_more_than_there_are(void **state)
{
    static const int threads[] = {1, 2, 4, 1, 2, 1, 1};
    struct worker w[7];
    struct cores *c = cores_new(4, NULL, LONG_PATIENCE);
    atomic_store(&most, 0);
    for (int i = 0; i < 7; i++) {
        start(&w[i], c, threads[i], i == 6, 300);
        BUG_ON(pthread_create(&w[i].thread, NULL, work, &w[i]) != 0);
    }
    for (int i = 0; i < 7; i++) {
        pthread_join(w[i].thread, NULL);
        assert_int_equal(w[i].entered, 300); /* nobody is forgotten */
        cores_turn_deinit(&w[i].turn);
    }
    assert_in_range(atomic_load(&most), 1, 4);
    cores_free(c);
}

static void no_cpu_has_two(void **state)
{
    static const int cpus[] = {3, 1, 0, 7}, threads[] = {1, 2, 1, 1, 2};
    struct worker w[5];
    struct cores *c = cores_new(4, cpus, LONG_PATIENCE);
    for (int i = 0; i < 5; i++) {
        start(&w[i], c, threads[i], false, 300);
        w[i].watches_cpus = true;
        BUG_ON(pthread_create(&w[i].thread, NULL, work, &w[i]) != 0);
    }
    for (int i = 0; i < 5; i++) {
        pthread_join(w[i].thread, NULL);
        cores_turn_deinit(&w[i].turn);
    }
    cores_free(c);
}

static void cpus_stay_the_same(void **state)
{
    static const int cpus[] = {10, 11, 12, 13};
    struct cores *c = cores_new(4, cpus, LONG_PATIENCE);
    struct cores_turn one, two, team;
    int got[CORES_MOST_THREADS];
    cores_turn_init(&one, 1, false);
    cores_turn_init(&two, 1, false);
    cores_turn_init(&team, 2, false);
    assert_true(cores_enter(c, &one));
    assert_true(cores_enter(c, &team));
    cores_cpus(c, &team, got);
    assert_int_equal(got[0], 12); /* a pair of neighbours */
    assert_int_equal(got[1], 13);
    cores_leave(c, &one);
    assert_false(cores_enter(c, &one)); /* where it was */
    cores_leave(c, &one);
    assert_true(cores_enter(c, &two)); /* its place is taken meanwhile */
    assert_true(cores_enter(c, &one));
    cores_cpus(c, &one, got);
    assert_int_equal(got[0], 11);
    cores_leave(c, &one);
    cores_leave(c, &two);
    cores_leave(c, &team);
    cores_turn_deinit(&one);
    cores_turn_deinit(&two);
    cores_turn_deinit(&team);
    cores_free(c);
}

/* One that comes to run on what is idle, in a thread of its own. */
static void *enter(void *arg)
{
    struct worker *w = arg;
    cores_enter(w->cores, &w->turn);
    run_now(1);
    return NULL;
}

static void *pause_it(void *arg)
{
    struct worker *w = arg;
    cores_pause(w->cores, &w->turn);
    atomic_fetch_add(&w->entered, 1);
    return NULL;
}

static void low_priority_runs_on_what_is_idle(void **state)
{
    struct worker low;
    struct cores_turn one;
    struct cores *c = cores_new(1, NULL, LONG_PATIENCE);
    start(&low, c, 1, true, 0);
    cores_turn_init(&one, 1, false);
    cores_enter(c, &low.turn);
    assert_int_equal(low.turn.state, TURN_ON_IDLE);
    cores_pause(c, &low.turn); /* nobody needs it */
    cores_enter(c, &one);      /* at once */
    BUG_ON(pthread_create(&low.thread, NULL, pause_it, &low) != 0);
    cores_leave(c, &one);
    pthread_join(low.thread, NULL);
    assert_int_equal(low.turn.state, TURN_ON_IDLE);
    cores_leave(c, &low.turn);
    cores_enter(c, &one);
    atomic_store(&running, 0);
    BUG_ON(pthread_create(&low.thread, NULL, enter, &low) != 0);
    assert_int_equal(atomic_load(&running), 0);
    cores_leave(c, &one);
    pthread_join(low.thread, NULL);
    assert_int_equal(atomic_load(&running), 1);
    cores_leave(c, &low.turn);
    cores_turn_deinit(&one);
    cores_turn_deinit(&low.turn);
    cores_free(c);
}

/* It stands back for a while, then takes its turn. */
static void low_priority_is_not_stuck(void **state)
{
    struct worker busy[2], low;
    struct cores *c = cores_new(1, NULL, 1);
    start(&low, c, 1, true, 50);
    for (int i = 0; i < 2; i++) {
        start(&busy[i], c, 1, false, INT32_MAX);
        BUG_ON(pthread_create(&busy[i].thread, NULL, work, &busy[i]) != 0);
    }
    BUG_ON(pthread_create(&low.thread, NULL, work, &low) != 0);
    pthread_join(low.thread, NULL);
    assert_int_equal(low.entered, 50);
    for (int i = 0; i < 2; i++)
        busy[i].turns = 0;
    for (int i = 0; i < 2; i++) {
        pthread_join(busy[i].thread, NULL);
        cores_turn_deinit(&busy[i].turn);
    }
    cores_turn_deinit(&low.turn);
    cores_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_more_than_there_are),
        cmocka_unit_test(no_cpu_has_two),
        cmocka_unit_test(cpus_stay_the_same),
        cmocka_unit_test(low_priority_runs_on_what_is_idle),
        cmocka_unit_test(low_priority_is_not_stuck),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
