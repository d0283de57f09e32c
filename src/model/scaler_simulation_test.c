/* The scaler over a simulated deployment: requests come as a Poisson process whose rate follows a
 * scenario, each takes an exponential time, N allocations serve them in order of arrival. Checks
 * that the allocations follow the load without flutter and that the wait stays short.
 *
 *     scaler_simulation_test --csv FOLDER      writes FOLDER/NAME.csv of each scenario
 *
 * tools/scaler_picture.py draws them. Deterministic: its own random numbers, its own clock. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scaler.h"

#define MOST_SERVERS 64
#define MOST_WAITING (1 << 20)
#define MOST_RATE    250.0
#define STARTS_S     0.3 /* from a decision until the allocation serves */
#define SERVICE_S    0.05

struct point {
    double at, rate; /* seconds; requests per second, straight lines between */
};

struct scenario {
    const char *name;
    struct point points[12];
    double ends;
    double zero_after;
    int max;
    int most_turns; /* from growing to shrinking and back */
    double p99;     /* seconds a request may take, the moment of a jump included */
};

static const struct scenario scenarios[] = {
    {"steps",
     {{0, 5}, {600, 5}, {600, 60}, {1500, 60}, {1500, 160}, {2400, 160}, {2400, 20}, {4200, 20}},
     4200,
     900,
     0,
     3,
     2.5},
    {"ramp",
     {{0, 2}, {300, 2}, {2100, 200}, {2700, 200}, {4500, 2}, {6000, 2}},
     6000,
     900,
     0,
     3,
     2},
    {"bursts",
     {{0, 10},
      {900, 10},
      {900, 200},
      {960, 200},
      {960, 10},
      {1800, 10},
      {1800, 200},
      {1860, 200},
      {1860, 10},
      {3600, 10}},
     3600,
     900,
     0,
     5,
     4},
    {"day",
     {{0, 0},
      {3600, 0},
      {7200, 40},
      {14400, 120},
      {21600, 60},
      {25200, 140},
      {32400, 30},
      {36000, 0},
      {43200, 0},
      {43200, 20},
      {45000, 20}},
     45000,
     900,
     8,
     9,
     2},
};

static uint64_t seed;
static double uniform(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return ((double)(seed >> 11) + 0.5) / 9007199254740992.0;
}
static double exponential(double mean)
{
    return -mean * log(uniform());
}

struct simulation {
    const struct scenario *scenario;
    struct scaling scaling;
    struct scaling_limits limits;
    struct scaling_view view;
    double waiting[MOST_WAITING]; /* times of arrival, a ring */
    size_t first, n_waiting;
    double busy_until[MOST_SERVERS], started[MOST_SERVERS]; /* < now: free */
    double serves_from;                                     /* those asked for last */
    int serving;
    double *latencies;
    size_t n_latencies, cap;
    double round_latency; /* worst since the last line of the file */
    int turns, direction;
    int least, most;
    bool woken_from_zero;
    FILE *csv;
};

static double rate_at(const struct scenario *s, double t)
{
    for (size_t i = 1; i < 12 && (s->points[i].at > 0 || i == 1); i++) {
        const struct point *a = &s->points[i - 1], *b = &s->points[i];
        if (t < b->at)
            return a->rate + (b->rate - a->rate) * (t - a->at) / (b->at - a->at);
    }
    return 0;
}

static int64_t ms(double t)
{
    return (int64_t)(t * 1000);
}

static void resize(struct simulation *s, int n, double now)
{
    int direction = n > s->view.allocations ? 1 : -1;
    if (s->direction && direction != s->direction)
        s->turns++;
    s->direction = direction;
    if (n > s->view.allocations)
        s->serves_from = now + STARTS_S;
    else
        s->serving = n;
    s->view.allocations = n;
    s->least = n < s->least ? n : s->least;
    s->most = n > s->most ? n : s->most;
}

static void finish(struct simulation *s, double arrived, double done)
{
    if (s->n_latencies == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 4096;
        s->latencies = realloc(s->latencies, s->cap * sizeof(double));
        assert_non_null(s->latencies);
    }
    s->latencies[s->n_latencies++] = done - arrived;
    s->round_latency = done - arrived > s->round_latency ? done - arrived : s->round_latency;
}

/* Free allocations take what waits. */
static void serve(struct simulation *s, double now)
{
    if (s->serving < s->view.allocations && now >= s->serves_from) {
        s->serving = s->view.allocations;
        s->view.grown_ms = ms(now);
    }
    for (int i = 0; i < s->serving && s->n_waiting; i++) {
        if (s->busy_until[i] > now)
            continue;
        double arrived = s->waiting[s->first], takes = exponential(SERVICE_S);
        s->first = (s->first + 1) % MOST_WAITING;
        s->n_waiting--;
        s->busy_until[i] = now + takes;
        s->view.counts.completed++;
        s->view.counts.busy_seconds += takes;
        finish(s, arrived, now + takes);
    }
}

static void arrive(struct simulation *s, double now)
{
    assert_true(s->n_waiting < MOST_WAITING);
    s->waiting[(s->first + s->n_waiting++) % MOST_WAITING] = now;
    if (s->view.allocations == 0) {
        s->woken_from_zero = true;
        scaling_woken(&s->scaling, ms(now));
        resize(s, 1, now);
    }
}

static void line(struct simulation *s, double now)
{
    if (s->csv)
        fprintf(s->csv, "%.0f,%.3f,%d,%d,%zu,%.4f\n", now, rate_at(s->scenario, now),
                s->view.allocations, s->scaling.scaler.needed, s->n_waiting, s->round_latency);
    s->round_latency = 0;
}

static void run(struct simulation *s)
{
    double now = 0, next_line = 0, step = 0.005;
    double arrives = 0;
    scaling_init(&s->scaling, 1, 0);
    for (; now < s->scenario->ends; now += step) {
        for (; arrives <= now; arrives += exponential(1 / MOST_RATE))
            if (uniform() * MOST_RATE < rate_at(s->scenario, now)) /* thinned to the rate it has */
                arrive(s, now);
        serve(s, now);
        s->view.waiting = s->n_waiting;
        bool grows = s->serving < s->view.allocations; /* then the steward leaves it alone */
        if (!grows && scaling_due(&s->scaling, &s->view, &s->limits, ms(now))) {
            struct scaling_decision d;
            scaling_round(&s->scaling, &s->view, &s->limits, ms(now), &d);
            if (d.allocations >= 0)
                resize(s, d.allocations, now);
        }
        if (now >= next_line) {
            line(s, now);
            next_line += s->scenario->ends > 7200 ? 60 : 10;
        }
    }
}

static const char *folder;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static struct simulation *simulate(const struct scenario *scenario)
{
    struct simulation *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    seed = 88172645463325252u;
    s->scenario = scenario;
    s->limits = (struct scaling_limits){
        .scaler = {.max = scenario->max, .zero_after = scenario->zero_after},
        .interval_ms = 10000,
        .cooldown_ms = 300000};
    s->view = (struct scaling_view){.allocations = 1, .started = true};
    s->serving = s->least = s->most = 1;
    if (folder) {
        char path[512];
        snprintf(path, sizeof(path), "%s/%s.csv", folder, scenario->name);
        s->csv = fopen(path, "w");
        assert_non_null(s->csv);
        fprintf(s->csv, "second,rate,allocations,needed,waiting,worst_latency\n");
    }
    run(s);
    if (s->csv)
        fclose(s->csv);
    qsort(s->latencies, s->n_latencies, sizeof(double), by_value);
    return s;
}

static void simulation_free(struct simulation *s)
{
    free(s->latencies);
    free(s);
}

static void allocations_follow(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        struct simulation *s = simulate(&scenarios[i]);
        double p99 = s->latencies[s->n_latencies * 99 / 100];
        print_message("%-7s %zu requests, p99 %.3f s, allocations %d to %d, %d turns\n",
                      s->scenario->name, s->n_latencies, p99, s->least, s->most, s->turns);
        assert_true(s->turns <= s->scenario->most_turns);
        assert_true(p99 <= s->scenario->p99);
        assert_true(s->n_waiting < 100);
        simulation_free(s);
    }
}

/* A steady load changes nothing once it has been measured. */
static void steady_load_does_not_flutter(void **state)
{
    (void)state;
    for (int rate = 10; rate <= 150; rate += 7) {
        struct scenario steady = {
            .name = "steady", .points = {{0, rate}, {7200, rate}}, .ends = 7200, .zero_after = 900};
        struct simulation *s = simulate(&steady);
        if (s->turns > 6) /* a load right at the edge between two sizes */
            fail_msg("%d a second: %d turns in two hours", rate, s->turns);
        simulation_free(s);
    }
}

static void a_day_goes_to_zero_and_back(void **state)
{
    (void)state;
    struct simulation *s = simulate(&scenarios[3]);
    assert_int_equal(s->least, 0);
    assert_true(s->woken_from_zero);
    assert_true(s->most <= 8);
    simulation_free(s);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--csv") == 0)
        folder = argv[2];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocations_follow),
        cmocka_unit_test(a_day_goes_to_zero_and_back),
        cmocka_unit_test(steady_load_does_not_flutter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
