/* Readiness over a store in memory and a pool that can be kept busy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include "readiness.h"

static struct loop *loop;
static struct pool *pool;
static struct store *store;
static struct readiness *ready;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static int waiting;

static int begin(void **state)
{
    loop = loop_new(0);
    pool = pool_new(1);
    struct err *e = store_open("memory", "/nowhere", &store);
    ready = readiness_new(store, pool);
    return e ? -1 : 0;
}

static int end(void **state)
{
    pool_free(pool);
    readiness_free(ready);
    store_close(store);
    loop_free(loop);
    return 0;
}

static void told(struct readiness_question *q)
{
    if (--waiting == 0)
        loop_stop(loop);
}

static void ask(struct readiness_question *q)
{
    *q = (struct readiness_question){.store = (enum readiness_store)99};
    waiting++;
    readiness_ask(ready, q, loop, told);
}

static void until_told(void)
{
    if (waiting)
        loop_run(loop);
    assert_int_equal(waiting, 0);
}

static uint64_t times_written(void)
{
    uint64_t rev;
    struct str id = STR("other");
    assert_null(store_put(store, STORE_META, id, STR("x"), STORE_ANY_REV, &rev));
    return rev;
}

static void one_try_serves_all(void **state)
{
    struct readiness_question q[8];
    uint64_t before = times_written();
    for (int i = 0; i < 8; i++)
        ask(&q[i]);
    until_told();
    for (int i = 0; i < 8; i++)
        assert_int_equal(q[i].store, READINESS_STORE_GOOD);
    assert_int_equal(times_written() - before, 2); /* ours and its own one */
    ask(&q[0]);                                    /* remembered: told at once */
    assert_int_equal(waiting, 0);
    assert_int_equal(q[0].store, READINESS_STORE_GOOD);
    assert_false(q[0].draining);
}

static void held(void *job)
{
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
}

static void slow_is_said(void **state)
{
    struct readiness_question q[3];
    pthread_mutex_lock(&gate);
    pool_run(pool, NULL, held, NULL, NULL);
    ask(&q[0]);
    ask(&q[1]);
    until_told();
    assert_int_equal(q[0].store, READINESS_STORE_SLOW);
    assert_int_equal(q[1].store, READINESS_STORE_SLOW);
    ask(&q[2]); /* it is slow already: nobody waits again */
    assert_int_equal(waiting, 0);
    assert_int_equal(q[2].store, READINESS_STORE_SLOW);
    pthread_mutex_unlock(&gate);
    pool_free(pool); /* what is queued runs first */
    pool = pool_new(1);
    ask(&q[0]);
    until_told();
    assert_int_equal(q[0].store, READINESS_STORE_GOOD);
}

static void draining_is_said(void **state)
{
    struct readiness_question q;
    readiness_drain(ready);
    ask(&q);
    until_told();
    assert_int_equal(q.store, READINESS_STORE_GOOD);
    assert_true(q.draining);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_try_serves_all, begin, end),
        cmocka_unit_test_setup_teardown(slow_is_said, begin, end),
        cmocka_unit_test_setup_teardown(draining_is_said, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
