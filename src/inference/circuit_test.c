#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "circuit.h"

#define T0 INT64_C(1000)

static const struct circuit_pass plain;

static enum circuit_change fail_times(struct circuit *c, int n, int64_t now)
{
    enum circuit_change change = CIRCUIT_SAME;
    for (int i = 0; i < n; i++) {
        struct circuit_pass pass;
        assert_true(circuit_enter(c, now, &pass));
        assert_false(pass.probe);
        assert_int_equal(change, CIRCUIT_SAME);
        change = circuit_report(c, pass, CIRCUIT_FAILED, now);
    }
    return change;
}

static struct circuit_pass probe_at(struct circuit *c, int64_t now)
{
    struct circuit_pass pass;
    assert_true(circuit_enter(c, now, &pass));
    assert_true(pass.probe);
    return pass;
}

static void assert_refused(struct circuit *c, int64_t now, int64_t retry_after_ms)
{
    struct circuit_pass pass;
    assert_false(circuit_enter(c, now, &pass));
    assert_int_equal(pass.retry_after_ms, retry_after_ms);
    assert_int_equal(circuit_wait_ms(c, now), retry_after_ms);
}

static void only_failures_in_a_row_open_it(void **state)
{
    struct circuit c = {0};
    assert_int_equal(fail_times(&c, CIRCUIT_FAILURES - 1, T0), CIRCUIT_SAME);
    assert_int_equal(circuit_report(&c, plain, CIRCUIT_ANSWERED, T0), CIRCUIT_SAME);
    assert_int_equal(fail_times(&c, CIRCUIT_FAILURES - 1, T0), CIRCUIT_SAME);
    assert_int_equal(circuit_report(&c, plain, CIRCUIT_UNKNOWN, T0), CIRCUIT_SAME);
    assert_true(circuit_is_closed(&c));
    assert_int_equal(fail_times(&c, 1, T0), CIRCUIT_OPENED);
    assert_false(circuit_is_closed(&c));
}

static void open_it_refuses_until_its_time_is_up(void **state)
{
    struct circuit c = {0};
    fail_times(&c, CIRCUIT_FAILURES, T0);
    assert_refused(&c, T0, 5000);
    assert_refused(&c, T0 + 4999, 1);
    assert_int_equal(circuit_wait_ms(&c, T0 + 5000), 0);
    probe_at(&c, T0 + 5000);
}

static void late_failures_change_nothing(void **state)
{
    struct circuit c = {0};
    fail_times(&c, CIRCUIT_FAILURES, T0);
    assert_int_equal(circuit_report(&c, plain, CIRCUIT_FAILED, T0 + 100), CIRCUIT_SAME);
    assert_refused(&c, T0 + 100, 4900);
}

static void a_late_answer_closes_it(void **state)
{
    struct circuit c = {0};
    fail_times(&c, CIRCUIT_FAILURES, T0);
    assert_int_equal(circuit_report(&c, plain, CIRCUIT_ANSWERED, T0 + 1), CIRCUIT_CLOSED);
    assert_int_equal(fail_times(&c, CIRCUIT_FAILURES - 1, T0 + 2), CIRCUIT_SAME);
}

static void one_probe_at_a_time(void **state)
{
    struct circuit c = {0};
    fail_times(&c, CIRCUIT_FAILURES, T0);
    struct circuit_pass pass = probe_at(&c, T0 + 6000);
    assert_refused(&c, T0 + 6000, 5000);
    assert_int_equal(circuit_report(&c, pass, CIRCUIT_ANSWERED, T0 + 6001), CIRCUIT_CLOSED);
    assert_true(circuit_enter(&c, T0 + 6001, &pass));
    assert_false(pass.probe);
}

static void probes_that_fail_double_the_time(void **state)
{
    static const int64_t spans[] = {5000, 10000, 20000, 40000, 60000, 60000};
    struct circuit c = {0};
    int64_t now = T0;
    fail_times(&c, CIRCUIT_FAILURES, now);
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++) {
        assert_refused(&c, now, spans[i]);
        now += spans[i];
        struct circuit_pass pass = probe_at(&c, now);
        assert_int_equal(circuit_report(&c, pass, CIRCUIT_FAILED, now), CIRCUIT_OPENED);
    }
    struct circuit_pass pass = probe_at(&c, now + 60000);
    circuit_report(&c, pass, CIRCUIT_ANSWERED, now + 60000);
    fail_times(&c, CIRCUIT_FAILURES, now + 60000);
    assert_refused(&c, now + 60000, 5000); /* from the start */
}

static void a_cancelled_probe_makes_room_for_the_next(void **state)
{
    struct circuit c = {0};
    fail_times(&c, CIRCUIT_FAILURES, T0);
    struct circuit_pass pass = probe_at(&c, T0 + 5000);
    assert_int_equal(circuit_report(&c, pass, CIRCUIT_UNKNOWN, T0 + 5010), CIRCUIT_SAME);
    probe_at(&c, T0 + 5010);
}

static void a_lost_probe_is_forgotten(void **state)
{
    struct circuit c = {0};
    fail_times(&c, CIRCUIT_FAILURES, T0);
    probe_at(&c, T0 + 5000);
    assert_refused(&c, T0 + 9999, 1);
    probe_at(&c, T0 + 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_failures_in_a_row_open_it),
        cmocka_unit_test(open_it_refuses_until_its_time_is_up),
        cmocka_unit_test(late_failures_change_nothing),
        cmocka_unit_test(a_late_answer_closes_it),
        cmocka_unit_test(one_probe_at_a_time),
        cmocka_unit_test(probes_that_fail_double_the_time),
        cmocka_unit_test(a_cancelled_probe_makes_room_for_the_next),
        cmocka_unit_test(a_lost_probe_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
