#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <time.h>

#include "clock.h"

static void agrees_with_gmtime(void **state)
{
    for (int64_t s = -62135596800; s < 253402300800; s += 86399 * 1237) {
        char got[25], want[64];
        time_t t = (time_t)s;
        struct tm tm;
        gmtime_r(&t, &tm);
        snprintf(want, sizeof want, "%04d-%02d-%02dT%02d:%02d:%02d.007Z", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
        clock_iso8601(s * 1000 + 7, got);
        assert_string_equal(got, want);
    }
}

static void edges(void **state)
{
    char out[25];
    clock_iso8601(0, out);
    assert_string_equal(out, "1970-01-01T00:00:00.000Z");
    clock_iso8601(-1, out);
    assert_string_equal(out, "1969-12-31T23:59:59.999Z");
    clock_iso8601(1709164800000, out);
    assert_string_equal(out, "2024-02-29T00:00:00.000Z");
    clock_iso8601(INT64_MAX, out);
    assert_string_equal(out, "9999-12-31T23:59:59.999Z");
    clock_iso8601(INT64_MIN, out);
    assert_string_equal(out, "0001-01-01T00:00:00.000Z");
}

static void moves_on(void **state)
{
    int64_t before = clock_mono_ns();
    assert_true(clock_mono_ns() >= before);
    assert_true(clock_mono_ms() >= before / 1000000);
    assert_true(clock_wall_ms() > 1700000000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_gmtime),
        cmocka_unit_test(edges),
        cmocka_unit_test(moves_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
