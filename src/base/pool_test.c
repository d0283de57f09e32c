#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>

#include "pool.h"

enum { N = 1000 };

struct job {
    struct loop *home;
    int worked, number;
};

static int n_done;

static void work(void *arg)
{
    struct job *j = arg;
    assert_null(loop_current());
    j->worked++;
}

static void done(void *arg)
{
    struct job *j = arg;
    assert_ptr_equal(loop_current(), j->home);
    assert_int_equal(j->worked, 1);
    if (++n_done == N)
        loop_stop(j->home);
}

static void done_runs_on_the_home_loop(void **state)
{
    static struct job jobs[N];
    struct loop *loop = loop_new(0);
    struct pool *pool = pool_new(4);
    for (int i = 0; i < N; i++) {
        jobs[i].home = loop;
        pool_run(pool, loop, work, done, &jobs[i]);
    }
    loop_run(loop);
    assert_int_equal(n_done, N);
    pool_free(pool);
    loop_free(loop);
}

static int order[N], n_order;

static void note(void *arg)
{
    order[n_order++] = ((struct job *)arg)->number;
}

static void one_thread_works_in_order_and_finishes(void **state)
{
    static struct job jobs[N];
    struct pool *pool = pool_new(1);
    for (int i = 0; i < N; i++) {
        jobs[i].number = i;
        pool_run(pool, NULL, note, NULL, &jobs[i]);
    }
    pool_free(pool);
    assert_int_equal(n_order, N);
    for (int i = 0; i < N; i++)
        assert_int_equal(order[i], i);
}

static struct pool *shared;
static atomic_int n_chained;

static void nothing(void *arg)
{
}

static void chain(void *arg)
{
    if (atomic_fetch_add(&n_chained, 1) < N)
        pool_run(shared, NULL, nothing, chain, NULL);
}

/* A job that ends by queueing the next one, while the pool is being freed. */
static void done_may_queue_more(void **state)
{
    shared = pool_new(2);
    pool_run(shared, NULL, nothing, chain, NULL);
    pool_free(shared);
    assert_int_equal(atomic_load(&n_chained), N + 1);
    pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(done_runs_on_the_home_loop),
        cmocka_unit_test(one_thread_works_in_order_and_finishes),
        cmocka_unit_test(done_may_queue_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
