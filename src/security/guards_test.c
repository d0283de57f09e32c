/* The two memories of the verifier, with made-up clocks: throttle.c and verified.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "throttle.h"
#include "verified.h"

static int64_t enter(struct throttle *t, uint64_t name, int64_t now)
{
    int64_t wait;
    return throttle_enter(t, name, now, &wait) ? wait : -wait;
}

static void mistyping_is_free(void **state)
{
    static struct throttle t;
    for (int i = 0; i < THROTTLE_FREE; i++) {
        assert_int_equal(enter(&t, 1, 100), 0);
        throttle_failed(&t, 1, 100);
    }
    assert_int_equal(enter(&t, 1, 100), 0);
    throttle_failed(&t, 1, 100);
    assert_int_equal(enter(&t, 1, 100), THROTTLE_STEP_MS);
    assert_int_equal(enter(&t, 2, 100), 0); /* others are not concerned */
}

static void guesses_line_up_and_are_refused_in_the_end(void **state)
{
    static struct throttle t;
    for (int i = 0; i < 100; i++)
        throttle_failed(&t, 1, 0);
    assert_int_equal(enter(&t, 1, 0), THROTTLE_MAX_STEP_MS);
    assert_int_equal(enter(&t, 1, 0), 2 * THROTTLE_MAX_STEP_MS);
    assert_int_equal(enter(&t, 1, 0), -3 * THROTTLE_MAX_STEP_MS);
    assert_int_equal(enter(&t, 1, 0), -3 * THROTTLE_MAX_STEP_MS); /* refusals take no turn */
    assert_int_equal(enter(&t, 1, 3 * THROTTLE_MAX_STEP_MS), 0);
}

static void delays_double(void **state)
{
    static struct throttle t;
    int64_t now = 0, expected = THROTTLE_STEP_MS;
    for (int i = 0; i < THROTTLE_FREE; i++)
        throttle_failed(&t, 1, now);
    for (int i = 0; i < 8; i++) {
        throttle_failed(&t, 1, now);
        assert_int_equal(enter(&t, 1, now), expected);
        now += 100000;
        expected = expected * 2 < THROTTLE_MAX_STEP_MS ? expected * 2 : THROTTLE_MAX_STEP_MS;
    }
}

static void success_and_time_forget(void **state)
{
    static struct throttle t;
    for (int i = 0; i < 20; i++) {
        throttle_failed(&t, 1, 0);
        throttle_failed(&t, 2, 0);
    }
    throttle_passed(&t, 1);
    assert_int_equal(enter(&t, 1, 0), 0);
    assert_int_equal(enter(&t, 2, 0), THROTTLE_MAX_STEP_MS);
    assert_int_equal(enter(&t, 2, THROTTLE_FORGET_MS + 1), 0);
    assert_int_equal(enter(&t, 2, THROTTLE_FORGET_MS + 1), 0);
}

static void a_flood_of_names_does_not_free_one(void **state)
{
    static struct throttle t;
    for (int i = 0; i < 20; i++)
        throttle_failed(&t, 1, 0);
    for (uint64_t name = 2; name < 10000; name++)
        throttle_failed(&t, name, 1);
    assert_int_equal(enter(&t, 1, 1), THROTTLE_MAX_STEP_MS - 1);
}

static struct verified_key key_of(unsigned n)
{
    struct verified_key k = {{0}};
    k.b[0] = 7; /* all in one set */
    memcpy(k.b + 8, &n, sizeof n);
    return k;
}

static void remembers_for_a_while_after_use(void **state)
{
    static struct verified v;
    struct verified_key k = key_of(1), other = key_of(2);
    assert_false(verified_has(&v, &k, 5));
    verified_add(&v, &k, 5);
    assert_true(verified_has(&v, &k, 5));
    assert_false(verified_has(&v, &other, 5));
    assert_true(verified_has(&v, &k, 5 + VERIFIED_MS - 1));
    assert_true(verified_has(&v, &k, 5 + 2 * VERIFIED_MS - 2)); /* used in between */
    assert_false(verified_has(&v, &k, 5 + 3 * VERIFIED_MS));
}

static void a_full_set_forgets_the_oldest(void **state)
{
    static struct verified v;
    for (unsigned i = 0; i <= VERIFIED_WAYS; i++) {
        struct verified_key k = key_of(i);
        verified_add(&v, &k, 100 + i);
    }
    for (unsigned i = 0; i <= VERIFIED_WAYS; i++) {
        struct verified_key k = key_of(i);
        assert_int_equal(verified_has(&v, &k, 200), i > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistyping_is_free),
        cmocka_unit_test(guesses_line_up_and_are_refused_in_the_end),
        cmocka_unit_test(delays_double),
        cmocka_unit_test(success_and_time_forget),
        cmocka_unit_test(a_flood_of_names_does_not_free_one),
        cmocka_unit_test(remembers_for_a_while_after_use),
        cmocka_unit_test(a_full_set_forgets_the_oldest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
