#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "histogram.h"

static void counts_up_to_each_bound(void **state)
{
    (void)state;
    struct histogram h = {0};
    struct buf b;
    buf_init(&b, 1 << 20);
    histogram_add(&h, -5);
    histogram_add(&h, 1000); /* a bound belongs to its bucket */
    histogram_add(&h, 1001);
    histogram_add(&h, 61000000);
    histogram_render(&b, "x_seconds", STR("id=\"a\""), &h);
    buf_char(&b, '\0');
    assert_non_null(strstr(b.p, "x_seconds_bucket{id=\"a\",le=\"0.001\"} 2\n"));
    assert_non_null(strstr(b.p, "x_seconds_bucket{id=\"a\",le=\"0.0025\"} 3\n"));
    assert_non_null(strstr(b.p, "x_seconds_bucket{id=\"a\",le=\"60\"} 3\n"));
    assert_non_null(strstr(b.p, "x_seconds_bucket{id=\"a\",le=\"+Inf\"} 4\n"));
    assert_non_null(strstr(b.p, "x_seconds_sum{id=\"a\"} 61.002001\n"));
    assert_non_null(strstr(b.p, "x_seconds_count{id=\"a\"} 4\n"));
    buf_deinit(&b);
}

static void without_labels(void **state)
{
    (void)state;
    struct histogram h = {0};
    struct buf b;
    buf_init(&b, 1 << 20);
    histogram_render(&b, "y", STR(""), &h);
    buf_char(&b, '\0');
    assert_non_null(strstr(b.p, "y_bucket{le=\"0.001\"} 0\n"));
    assert_non_null(strstr(b.p, "y_sum 0.000000\ny_count 0\n"));
    buf_deinit(&b);
}

static void sizes_go_by_powers_of_two(void **state)
{
    (void)state;
    struct size_histogram h = {0};
    struct buf b;
    static const int64_t sizes[] = {1, 2, 3, 4, 100, 20000};
    buf_init(&b, 1 << 20);
    for (size_t i = 0; i < 6; i++)
        size_histogram_add(&h, sizes[i]);
    size_histogram_render(&b, "z", 4, &h);
    buf_char(&b, '\0');
    assert_string_equal(b.p, "z_bucket{le=\"1\"} 1\nz_bucket{le=\"2\"} 2\nz_bucket{le=\"4\"} 4\n"
                             "z_bucket{le=\"+Inf\"} 6\nz_sum 20110\nz_count 6\n");
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_up_to_each_bound),
        cmocka_unit_test(without_labels),
        cmocka_unit_test(sizes_go_by_powers_of_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
