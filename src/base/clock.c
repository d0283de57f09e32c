/* Calendar arithmetic is done here rather than by gmtime_r, which takes glibc's time zone lock. */
#include "clock.h"

#include <stdbool.h>
#include <stdio.h>
#include <time.h>

static int64_t now_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t clock_mono_ns(void)
{
    return now_ns(CLOCK_MONOTONIC);
}

int64_t clock_mono_ms(void)
{
    return now_ns(CLOCK_MONOTONIC) / 1000000;
}

int64_t clock_wall_ms(void)
{
    return now_ns(CLOCK_REALTIME) / 1000000;
}

/* Days since 1970 to year, month and day of the Gregorian calendar (H. Hinnant, "chrono-Compatible
 * Low-Level Date Algorithms", civil_from_days). Years begin in March, so the leap day comes last.
 */
static void civil(int64_t days, int *y, int *m, int *d)
{
    days += 719468;
    int64_t era = days / 146097;
    int64_t doe = days % 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    *d = (int)(doy - (153 * mp + 2) / 5 + 1);
    *m = (int)(mp < 10 ? mp + 3 : mp - 9);
    *y = (int)(yoe + era * 400 + (*m <= 2));
}

static char *digits(char *out, int n_digits, int value)
{
    for (int i = n_digits; i-- > 0; value /= 10)
        out[i] = (char)('0' + value % 10);
    return out + n_digits;
}

void clock_iso8601(int64_t wall_ms, char out[25])
{
    /* Four-digit years only: times outside are clamped to the first or last one. */
    const int64_t first_ms = -62135596800000, last_ms = 253402300799999;
    wall_ms = wall_ms < first_ms ? first_ms : wall_ms > last_ms ? last_ms : wall_ms;
    int64_t ms_of_day = wall_ms % 86400000;
    int64_t days = wall_ms / 86400000;
    if (ms_of_day < 0) {
        ms_of_day += 86400000;
        days--;
    }
    int y, m, d;
    civil(days, &y, &m, &d);
    int s = (int)(ms_of_day / 1000);
    char *p = digits(out, 4, y);
    *p++ = '-';
    p = digits(p, 2, m);
    *p++ = '-';
    p = digits(p, 2, d);
    *p++ = 'T';
    p = digits(p, 2, s / 3600);
    *p++ = ':';
    p = digits(p, 2, s / 60 % 60);
    *p++ = ':';
    p = digits(p, 2, s % 60);
    *p++ = '.';
    p = digits(p, 3, (int)(ms_of_day % 1000));
    *p++ = 'Z';
    *p = '\0';
}

void clock_span(int64_t ms, char out[CLOCK_SPAN_SIZE])
{
    bool whole = ms % 1000 == 0;
    snprintf(out, CLOCK_SPAN_SIZE, "%lld%s", (long long)(whole ? ms / 1000 : ms),
             whole ? "s" : "ms");
}
