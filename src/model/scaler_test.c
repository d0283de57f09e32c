/* The vectors are those of the fact sheet adaptive_allocations.md, section 10. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "scaler.h"

#define ROUND_S 10.0
#define NONE    (-1)

static void near(double have, double want)
{
    if (fabs(have - want) > 5.1e-6)
        fail_msg("%.7f is not %.7f", have, want);
}

static int step(struct scaler *s, const struct scaler_limits *l, double requests, double time)
{
    scaler_see(s, &(struct scaler_round){ROUND_S, requests, time}, s->allocations);
    return scaler_decide(s, l);
}

static const struct scaler_limits no_bounds = {.zero_after = 86400};

struct row {
    int round;
    double rate, rate_variance, time_variance, lower, upper;
    int result;
};

static const struct row rows[] = {
    {0, 1.00000, 0.10000, 0.025000, 0.23377, 0.86623, NONE},
    {1, 1.00000, 0.09167, 0.022917, 0.24307, 0.84860, NONE},
    {2, 1.00000, 0.04810, 0.012024, 0.30474, 0.74336, NONE},
    {5, 1.00000, 0.02084, 0.005211, 0.36605, 0.65480, NONE},
    {10, 1.00000, 0.01258, 0.003146, 0.39411, 0.61847, NONE},
    {19, 1.00000, 0.00996, 0.002491, 0.40517, 0.60480, NONE},
    {20, 7.98908, 0.09984, 0.001396, 3.54990, 4.46280, 4},
    {21, 7.99987, 0.78907, 0.003087, 3.16068, 4.93789, NONE},
    {22, 7.99993, 0.39926, 0.003087, 3.27466, 4.79548, NONE},
    {23, 7.99996, 0.26987, 0.001561, 3.44470, 4.59630, NONE},
    {26, 7.99998, 0.14492, 0.000660, 3.61386, 4.40568, 5},
    {34, 7.99999, 0.08645, 0.000502, 3.68040, 4.33276, NONE},
    {35, 7.15519, 0.08448, 0.000502, 3.27853, 3.88968, NONE},
    {36, 6.34287, 0.08123, 0.000502, 2.89326, 3.46238, NONE},
    {37, 5.57337, 0.07695, 0.000502, 2.52938, 3.05642, 4},
    {39, 4.19195, 0.06626, 0.000502, 1.87915, 2.32433, 3},
    {42, 2.56410, 0.04822, 0.000502, 1.11975, 1.45419, 2},
    {46, 1.18432, 0.02701, 0.000502, 0.48714, 0.70454, 1},
};

static void check_row(const struct scaler *s, const struct row *r, int result)
{
    near(s->rate.value, r->rate);
    near(s->rate.variance, r->rate_variance);
    near(s->time.value, 0.5);
    if (fabs(s->time.variance - r->time_variance) > 5.1e-7)
        fail_msg("round %d: time variance %.7f is not %.7f", r->round, s->time.variance,
                 r->time_variance);
    near(kalman_lower(&s->rate) * kalman_lower(&s->time), r->lower);
    near(kalman_upper(&s->rate) * kalman_upper(&s->time), r->upper);
    assert_int_equal(result, r->result);
}

static void worked_example(void **state)
{
    (void)state;
    struct scaler s;
    size_t next = 0;
    scaler_init(&s, 1);
    for (int round = 0; round <= 46; round++) {
        double requests = round < 20 ? 10 : round < 35 ? 80 : 0;
        int result = step(&s, &no_bounds, requests, requests > 0 ? 0.5 : -1);
        if (rows[next].round == round)
            check_row(&s, &rows[next++], result);
        else
            assert_int_equal(result, NONE);
    }
    assert_int_equal(next, sizeof(rows) / sizeof(rows[0]));
}

struct vector {
    int min, max;
    double requests[10], time;
    int results[10], n;
    double lower, upper; /* after the last round; 0: not given */
};

static const struct vector vectors[] = {
    {0, 0, {860, 860, 940, 1000, 1000}, 0.01, {NONE, NONE, NONE, NONE, 2}, 5, 0.9190, 0.9806},
    {0,
     0,
     {860, 860, 940, 1000, 1000, 860, 700, 700, 700, 300},
     0.01,
     {NONE, NONE, NONE, NONE, 2, NONE, NONE, NONE, NONE, 1},
     10,
     0.2703,
     0.3407},
    {3, 6, {0, 0, 9000, 9000, 0, 0}, 0.01, {3, NONE, 6, NONE, NONE, 3}, 6, 2.1796, 2.3219},
    {0, 0, {400000}, 0.05, {32}, 1, 0, 0},
    {0, 50, {400000}, 0.05, {50}, 1, 0, 0},
    {0, 0, {7}, -1, {NONE}, 1, 0.4354, 0.9646},
    {0, 0, {40}, -1, {4}, 1, 3.3675, 4.6325},
};

static void more_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        const struct vector *v = &vectors[i];
        struct scaler_limits limits = {.min = v->min, .max = v->max, .zero_after = 86400};
        struct scaler s;
        scaler_init(&s, 1);
        for (int r = 0; r < v->n; r++) {
            int result = step(&s, &limits, v->requests[r], v->requests[r] > 0 ? v->time : -1);
            if (result != v->results[r])
                fail_msg("vector %zu round %d: %d is not %d", i, r, result, v->results[r]);
        }
        double t = s.time.known ? kalman_lower(&s.time) : 1;
        double u = s.time.known ? kalman_upper(&s.time) : 1;
        if (v->upper > 0) {
            assert_true(fabs(kalman_lower(&s.rate) * t - v->lower) < 5.1e-5);
            assert_true(fabs(kalman_upper(&s.rate) * u - v->upper) < 5.1e-5);
        }
    }
}

static void zero_only_when_idle_and_allowed(void **state)
{
    (void)state;
    struct scaler s;
    scaler_init(&s, 1);
    struct scaler_limits limits = {.zero_after = 60};
    assert_int_equal(step(&s, &limits, 1, 0.01), NONE);
    for (int i = 0; i < 6; i++)
        assert_int_equal(step(&s, &limits, 0, -1), NONE); /* 60 s are not more than 60 s */
    assert_int_equal(step(&s, &limits, 0, -1), 0);
    scaler_init(&s, 2);
    limits.min = 1;
    step(&s, &limits, 1, 0.01);
    for (int i = 0; i < 100; i++)
        assert_int_not_equal(step(&s, &limits, 0, -1), 0);
    assert_int_equal(s.allocations, 1);
}

static void absurd_numbers_stay_in_bounds(void **state)
{
    (void)state;
    struct scaler s;
    scaler_init(&s, 1);
    assert_int_equal(step(&s, &no_bounds, 1e12, 1e6), 32);
    scaler_init(&s, 0);
    assert_int_equal(step(&s, &no_bounds, 0, -1), NONE);
}

/* --- rounds --- */

static const struct scaling_limits rounds = {
    .scaler = {.zero_after = 900}, .interval_ms = 10000, .cooldown_ms = 300000};

static void first_round_only_looks(void **state)
{
    (void)state;
    struct scaling s;
    struct scaling_decision d;
    struct scaling_view v = {.started = true, .allocations = 1, .counts = {100000, 0, 50000}};
    scaling_init(&s, 1, 0);
    assert_false(scaling_due(&s, &v, &rounds, 9999));
    assert_true(scaling_due(&s, &v, &rounds, 10000));
    scaling_round(&s, &v, &rounds, 10000, &d);
    assert_int_equal(d.allocations, NONE);
    assert_false(s.scaler.rate.known);
}

static void shrinks_only_after_the_cooldown(void **state)
{
    (void)state;
    struct scaling s;
    struct scaling_decision d;
    struct scaling_view v = {.started = true, .allocations = 1};
    int64_t now = 0;
    scaling_init(&s, 1, now);
    scaling_round(&s, &v, &rounds, now += 10000, &d);
    v.counts = (struct scaling_counts){400, 0, 200};
    scaling_round(&s, &v, &rounds, now += 10000, &d);
    assert_true(d.allocations > 10);
    assert_non_null(d.reason);
    v.allocations = d.allocations;
    int64_t grew = now;
    bool held = false;
    do {
        scaling_round(&s, &v, &rounds, now += 10000, &d);
        held = held || d.held;
    } while (d.allocations < 0 && now < grew + 1000000);
    assert_true(held);
    assert_true(d.allocations < v.allocations);
    assert_true(now - grew >= 300000);
}

static void nothing_is_decided_while_it_starts(void **state)
{
    (void)state;
    struct scaling s;
    struct scaling_decision d;
    struct scaling_view v = {.allocations = 1};
    scaling_init(&s, 1, 0);
    scaling_round(&s, &v, &rounds, 10000, &d);
    v.counts = (struct scaling_counts){400, 0, 200};
    scaling_round(&s, &v, &rounds, 20000, &d);
    assert_int_equal(d.allocations, NONE);
}

static void a_growing_queue_brings_a_round_early(void **state)
{
    (void)state;
    struct scaling s;
    struct scaling_decision d;
    struct scaling_view v = {.started = true, .allocations = 1};
    scaling_init(&s, 1, 0);
    scaling_round(&s, &v, &rounds, 10000, &d);
    v.counts = (struct scaling_counts){20, 0, 2}; /* 0.1 s each */
    v.waiting = 10;
    assert_false(scaling_due(&s, &v, &rounds, 11500)); /* one second's work */
    v.waiting = 11;
    assert_true(scaling_due(&s, &v, &rounds, 11500));
    assert_false(scaling_due(&s, &v, &rounds, 10999));
    v.counts = (struct scaling_counts){20, 0, 2};
    v.waiting = 200;
    scaling_round(&s, &v, &rounds, 12000, &d);
    assert_true(d.allocations > 1);
}

/* Sixty callers who ask again once they are answered: 18 a second is all that one allocation does.
 */
static void who_waits_for_answers_is_seen_too(void **state)
{
    (void)state;
    struct scaling s;
    struct scaling_decision d;
    struct scaling_view v = {.started = true, .allocations = 1, .waiting = 60};
    struct scaling_limits limits = rounds;
    int64_t now = 0;
    limits.scaler.max = 2;
    scaling_init(&s, 1, now);
    scaling_round(&s, &v, &limits, now += 10000, &d);
    v.counts.completed += 180;
    v.counts.busy_seconds += 10;
    v.waiting = 59;
    scaling_round(&s, &v, &limits, now += 10000, &d);
    assert_int_equal(d.allocations, 2);
    assert_non_null(strstr(d.reason, "what waits"));
    v.allocations = 2;
    for (int i = 0; i < 40; i++) { /* no more than the most, and no fewer while they wait */
        v.counts.completed += 360;
        v.counts.busy_seconds += 20;
        scaling_round(&s, &v, &limits, now += 10000, &d);
        assert_int_equal(d.allocations, NONE);
    }
    v.waiting = 3; /* less than a second's work */
    for (int i = 0; i < 40 && d.allocations == NONE; i++) {
        v.counts.completed += 20;
        v.counts.busy_seconds += 1;
        scaling_round(&s, &v, &limits, now += 10000, &d);
    }
    assert_int_equal(d.allocations, 1);
}

/* Answers from the cache take no time of an allocation, and are no load. */
static void cached_answers_are_no_load(void **state)
{
    (void)state;
    struct scaling s;
    struct scaling_decision d;
    struct scaling_view v = {.started = true, .allocations = 1};
    scaling_init(&s, 1, 0);
    for (int64_t now = 10000; now < 200000; now += 10000) {
        scaling_round(&s, &v, &rounds, now, &d);
        assert_int_equal(d.allocations, NONE);
        v.counts.completed += 100000;
    }
    assert_true(s.scaler.time.known);
    assert_false(isnan(s.scaler.time.value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worked_example),
        cmocka_unit_test(more_vectors),
        cmocka_unit_test(zero_only_when_idle_and_allowed),
        cmocka_unit_test(absurd_numbers_stay_in_bounds),
        cmocka_unit_test(first_round_only_looks),
        cmocka_unit_test(shrinks_only_after_the_cooldown),
        cmocka_unit_test(who_waits_for_answers_is_seen_too),
        cmocka_unit_test(nothing_is_decided_while_it_starts),
        cmocka_unit_test(a_growing_queue_brings_a_round_early),
        cmocka_unit_test(cached_answers_are_no_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
