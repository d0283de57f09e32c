#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>

#include "metrics.h"

enum { N_THREADS = 4, N_ADDS = 10000 };

static void *add(void *arg)
{
    for (int i = 0; i < N_ADDS; i++) {
        metric_add(METRIC_HTTP_REQUESTS, 1);
        metric_add(METRIC_LOCAL_QUEUE, i % 2 ? -3 : 5);
    }
    return NULL;
}

/* Counts stay when their threads end, and reading meanwhile never goes backwards. */
static void sums_over_threads(void **state)
{
    pthread_t t[N_THREADS];
    int64_t last = 0;
    for (int i = 0; i < N_THREADS; i++)
        pthread_create(&t[i], NULL, add, NULL);
    for (int i = 0; i < 100; i++) {
        int64_t now = metric_read(METRIC_HTTP_REQUESTS);
        assert_true(now >= last);
        last = now;
    }
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(t[i], NULL);
    add(NULL);
    assert_int_equal(metric_read(METRIC_HTTP_REQUESTS), (N_THREADS + 1) * N_ADDS);
    assert_int_equal(metric_read(METRIC_LOCAL_QUEUE), (N_THREADS + 1) * N_ADDS);
    assert_int_equal(metric_read(METRIC_LOCAL_TOKENS), 0);
}

static void seconds_are_counted_in_nanoseconds(void **state)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    metric_add(METRIC_LOCAL_RUN_NS, 12000000034);
    metrics_render(&b);
    struct str want = STR("# TYPE inferd_local_run_seconds_total counter\n"
                          "inferd_local_run_seconds_total 12.000000034\n");
    assert_int_not_equal(str_find(buf_str(&b), want), SIZE_MAX);
    buf_clear(&b);
    metrics_label(&b, "a", STR("x\"y\\z\n"));
    assert_true(str_eq_c(buf_str(&b), "a=\"x\\\"y\\\\z\\n\""));
    buf_deinit(&b);
}

static void renders(void **state)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    metric_add(METRIC_LOCAL_TOKENS, 42);
    metrics_render(&b);
    assert_false(b.full);
    struct str want = STR("# HELP inferd_local_tokens_total Tokens run by local models\n"
                          "# TYPE inferd_local_tokens_total counter\n"
                          "inferd_local_tokens_total 42\n");
    assert_int_not_equal(str_find(buf_str(&b), want), SIZE_MAX);
    size_t lines = 0;
    for (size_t i = 0; i < b.n; i++)
        lines += b.p[i] == '\n';
    assert_int_equal(lines, 3 * N_METRICS);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sums_over_threads),
                                       cmocka_unit_test(seconds_are_counted_in_nanoseconds),
                                       cmocka_unit_test(renders)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
