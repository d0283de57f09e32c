#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <time.h>

#include "team.h"

#define N_STEPS 200

/* Each thread writes its own slot of a step, then reads everybody's after the barrier: without one
 * the plain reads would see old numbers (and be a race for the thread sanitizer). */
struct shared {
    struct team *team;
    unsigned slot[TEAM_MAX_THREADS];
    atomic_uint wrong;
};

static void count_up(void *ctx, unsigned thread)
{
    struct shared *s = ctx;
    for (unsigned step = 1; step <= N_STEPS; step++) {
        s->slot[thread] += 1;
        team_barrier(s->team);
        for (unsigned i = 0; i < team_size(s->team); i++)
            if (s->slot[i] % N_STEPS != step % N_STEPS)
                atomic_fetch_add(&s->wrong, 1);
        team_barrier(s->team);
    }
}

static void test_barriers_keep_step(void **state)
{
    (void)state;
    for (int n = 1; n <= 5; n++) {
        struct shared s = {0};
        assert_null(team_new(n, &s.team));
        assert_int_equal(team_size(s.team), n);
        for (int run = 1; run <= 3; run++) {
            team_run(s.team, count_up, &s);
            for (int i = 0; i < n; i++)
                assert_int_equal(s.slot[i], run * N_STEPS);
        }
        assert_int_equal(atomic_load(&s.wrong), 0);
        team_free(s.team);
    }
}

static void sleep_then_mark(void *ctx, unsigned thread)
{
    struct shared *s = ctx;
    if (thread == 0)
        nanosleep(&(struct timespec){0, 2000000}, NULL);
    s->slot[thread]++;
}

/* Long waits end in the kernel and come back. */
static void test_sleepers_wake(void **state)
{
    (void)state;
    struct shared s = {0};
    assert_null(team_new(3, &s.team));
    for (unsigned run = 1; run <= 5; run++) {
        nanosleep(&(struct timespec){0, 1000000}, NULL);
        team_run(s.team, sleep_then_mark, &s);
        for (int i = 0; i < 3; i++)
            assert_int_equal(s.slot[i], run);
    }
    team_free(s.team);
    team_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_barriers_keep_step),
        cmocka_unit_test(test_sleepers_wake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
