#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>

#include "limiter.h"

/* 60 a minute: one per second. */
#define SECOND INT64_C(1000000000)
#define NOW    (INT64_C(5000) * SECOND)

static struct limiter *limiter;
static struct limit_group *group;

static int setup(void **state)
{
    limiter = limiter_new();
    group = limiter_group(limiter, STR("key"), 60);
    return 0;
}

static int teardown(void **state)
{
    limit_group_unref(group);
    limiter_free(limiter); /* a BUG when a group is left */
    return 0;
}

static void calls_are_spaced(void **state)
{
    int64_t at;
    assert_int_equal(limiter_reserve(group, NOW, 0, 0, &at), LIMIT_NOW);
    assert_int_equal(at, NOW);
    assert_int_equal(limiter_reserve(group, NOW, 0, 0, &at), LIMIT_WAIT);
    assert_int_equal(at, NOW + SECOND);
    assert_int_equal(limiter_reserve(group, NOW + SECOND / 2, 0, 0, &at), LIMIT_WAIT);
    assert_int_equal(at, NOW + 2 * SECOND);
    limiter_waited(group);
    limiter_waited(group);
}

static void idle_time_saves_one_call_not_many(void **state)
{
    int64_t at;
    assert_int_equal(limiter_reserve(group, NOW, 0, 0, &at), LIMIT_NOW);
    assert_int_equal(limiter_reserve(group, NOW + 100 * SECOND, 0, 0, &at), LIMIT_NOW);
    assert_int_equal(limiter_reserve(group, NOW + 100 * SECOND, 0, 0, &at), LIMIT_WAIT);
    assert_int_equal(at, NOW + 101 * SECOND);
    limiter_waited(group);
}

static void a_slot_past_the_deadline_is_not_taken(void **state)
{
    int64_t at;
    assert_int_equal(limiter_reserve(group, NOW, NOW, 0, &at), LIMIT_NOW);
    assert_int_equal(limiter_reserve(group, NOW, NOW + SECOND - 1, 0, &at), LIMIT_TOO_LATE);
    assert_int_equal(limiter_reserve(group, NOW, NOW + SECOND - 1, 0, &at), LIMIT_TOO_LATE);
    assert_int_equal(limiter_reserve(group, NOW, NOW + SECOND, 0, &at), LIMIT_WAIT);
    assert_int_equal(at, NOW + SECOND);
    limiter_waited(group);
}

static void only_so_many_may_wait(void **state)
{
    int64_t at;
    assert_int_equal(limiter_reserve(group, NOW, 0, 2, &at), LIMIT_NOW); /* does not wait */
    assert_int_equal(limiter_reserve(group, NOW, 0, 2, &at), LIMIT_WAIT);
    assert_int_equal(limiter_reserve(group, NOW, 0, 2, &at), LIMIT_WAIT);
    assert_int_equal(limiter_reserve(group, NOW, 0, 2, &at), LIMIT_FULL);
    assert_int_equal(limiter_reserve(group, NOW, 0, 2, &at), LIMIT_FULL);
    limiter_waited(group);
    assert_int_equal(limiter_reserve(group, NOW, 0, 2, &at), LIMIT_WAIT);
    assert_int_equal(at, NOW + 3 * SECOND); /* those refused took no slot */
    assert_int_equal(limiter_reserve(group, NOW + 4 * SECOND, 0, 2, &at), LIMIT_NOW);
    limiter_waited(group);
    limiter_waited(group);
}

static void a_deadline_comes_before_a_full_queue(void **state)
{
    int64_t at;
    limiter_reserve(group, NOW, 0, 1, &at);
    limiter_reserve(group, NOW, 0, 1, &at);
    assert_int_equal(limiter_reserve(group, NOW, NOW + 1, 1, &at), LIMIT_TOO_LATE);
    assert_int_equal(limiter_reserve(group, NOW, NOW + 9 * SECOND, 1, &at), LIMIT_FULL);
    limiter_waited(group);
}

static void equal_keys_share_a_group(void **state)
{
    int64_t at;
    struct limit_group *same = limiter_group(limiter, STR("key"), 60);
    struct limit_group *other = limiter_group(limiter, STR("kez"), 60);
    assert_ptr_equal(same, group);
    assert_int_equal(limit_group_name(same), limit_group_name(group));
    assert_int_not_equal(limit_group_name(other), limit_group_name(group));
    assert_int_equal(limiter_reserve(group, NOW, 0, 0, &at), LIMIT_NOW);
    assert_int_equal(limiter_reserve(other, NOW, 0, 0, &at), LIMIT_NOW);
    assert_int_equal(limiter_reserve(same, NOW, NOW, 0, &at), LIMIT_TOO_LATE);
    limit_group_unref(same);
    limit_group_unref(other);
}

/* The keys are digests: any byte may be in them. */
static void keys_are_bytes(void **state)
{
    struct limit_group *a = limiter_group(limiter, STR("a\0b"), 60);
    struct limit_group *b = limiter_group(limiter, STR("a\0c"), 60);
    assert_ptr_not_equal(a, b);
    limit_group_unref(a);
    limit_group_unref(b);
}

static void a_group_ends_with_its_last_reference(void **state)
{
    int64_t at;
    struct limit_group *g = limiter_group(limiter, STR("short"), 60);
    limit_group_unref(limiter_group(limiter, STR("short"), 60));
    assert_int_equal(limiter_reserve(g, NOW, 0, 0, &at), LIMIT_NOW);
    limit_group_unref(g);
    g = limiter_group(limiter, STR("short"), 60); /* starts full */
    assert_int_equal(limiter_reserve(g, NOW, 0, 0, &at), LIMIT_NOW);
    limit_group_unref(g);
    limit_group_unref(NULL);
}

static void extreme_rates(void **state)
{
    int64_t at;
    struct limit_group *fast = limiter_group(limiter, STR("fast"), INT64_MAX);
    for (int i = 0; i < 3; i++)
        assert_int_equal(limiter_reserve(fast, NOW, NOW, 1, &at), LIMIT_NOW);
    struct limit_group *slow = limiter_group(limiter, STR("slow"), 1);
    limiter_reserve(slow, NOW, 0, 0, &at);
    assert_int_equal(limiter_reserve(slow, NOW, 0, 0, &at), LIMIT_WAIT);
    assert_int_equal(at, NOW + 60 * SECOND);
    limiter_waited(slow);
    limit_group_unref(fast);
    limit_group_unref(slow);
}

/* --- many threads --- */

#define THREADS 4
#define EACH    500

static void *reserve_many(void *arg)
{
    int64_t *at = arg;
    for (int i = 0; i < EACH; i++) {
        struct limit_group *g = limiter_group(limiter, STR("key"), 60);
        if (limiter_reserve(g, NOW, 0, 0, &at[i]) == LIMIT_WAIT)
            limiter_waited(g);
        limit_group_unref(g);
    }
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void every_slot_is_given_once(void **state)
{
    static int64_t at[THREADS * EACH];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, reserve_many, &at[i * EACH]);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    qsort(at, THREADS * EACH, sizeof at[0], by_value);
    for (int i = 0; i < THREADS * EACH; i++)
        assert_int_equal(at[i], NOW + i * SECOND);
    int64_t next;
    assert_int_equal(limiter_reserve(group, NOW, 0, 1, &next), LIMIT_WAIT); /* nobody is left */
    limiter_waited(group);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(calls_are_spaced),
        TEST(idle_time_saves_one_call_not_many),
        TEST(a_slot_past_the_deadline_is_not_taken),
        TEST(only_so_many_may_wait),
        TEST(a_deadline_comes_before_a_full_queue),
        TEST(equal_keys_share_a_group),
        TEST(keys_are_bytes),
        TEST(a_group_ends_with_its_last_reference),
        TEST(extreme_rates),
        TEST(every_slot_is_given_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
