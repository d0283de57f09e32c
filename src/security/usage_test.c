/* Counting and limiting with time as an argument, and the file as it is found again. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "usage.h"

#define NOVEMBER INT64_C(1794000000000) /* 2026-11-06T21:20:00Z */
#define DAY      INT64_C(86400000)
#define KEY      STR("VuaCfGcBCdbkQm-e5aOx")

static char path[64];
static struct usage *u;

static void open_at(int64_t now)
{
    usage_close(u);
    u = NULL;
    assert_null(usage_open(path, now, &u));
}

static int setup(void **state)
{
    snprintf(path, sizeof path, "/tmp/inferd-usage-XXXXXX");
    close(mkstemp(path));
    open_at(NOVEMBER);
    return 0;
}

static int teardown(void **state)
{
    usage_close(u);
    u = NULL;
    unlink(path);
    return 0;
}

static bool admit(const struct usage_limits *l, int64_t now, struct usage_pass *pass)
{
    struct err *e = usage_admit(u, KEY, l, STR("e"), now, pass);
    if (e) {
        assert_int_equal(e->status, 429);
        assert_true(e->retry_after_ms > 0);
    }
    bool in = !e;
    err_free(e);
    return in;
}

static bool call(const struct usage_limits *l, int64_t now, int64_t in, int64_t out)
{
    struct usage_pass pass;
    if (!admit(l, now, &pass))
        return false;
    usage_settle(u, &pass, in, out, now);
    return true;
}

static void expect_shown(const char *text)
{
    struct buf b;
    struct json_out w;
    buf_init(&b, 1 << 20);
    json_out_init(&w, &b);
    usage_render(u, KEY, &w);
    if (!str_eq_c(buf_str(&b), text))
        fail_msg("%.*s is not %s", STR_ARG(buf_str(&b)), text);
    buf_deinit(&b);
}

static void a_minute(void **state)
{
    const struct usage_limits l = {.requests_per_minute = 2};
    assert_true(call(&l, NOVEMBER, 1, 1));
    assert_true(call(&l, NOVEMBER + 59000, 1, 1));
    assert_false(call(&l, NOVEMBER + 59999, 1, 1));
    assert_true(call(&l, NOVEMBER + 60000, 1, 1));
    assert_true(call(&l, NOVEMBER - 1000, 1, 1)); /* the clock was set back */
}

static void at_once(void **state)
{
    const struct usage_limits l = {.concurrency = 1};
    struct usage_pass one, two;
    assert_true(admit(&l, NOVEMBER, &one));
    assert_false(admit(&l, NOVEMBER, &two));
    usage_settle(u, &one, 0, 0, NOVEMBER);
    assert_null(one.row);
    assert_true(admit(&l, NOVEMBER, &two));
    usage_settle(u, &two, 0, 0, NOVEMBER);
}

static void a_month(void **state)
{
    const struct usage_limits l = {.tokens_per_month = 10};
    assert_true(call(&l, NOVEMBER, 4, 5));
    assert_true(call(&l, NOVEMBER, 4, 5));
    assert_false(call(&l, NOVEMBER + 20 * DAY, 4, 5));
    assert_true(call(&l, NOVEMBER + 30 * DAY, 1, 1)); /* December */
    expect_shown(
        "{\"2026-12\":{\"tokens\":2,\"endpoints\":{\"e\":{\"calls\":1,\"tokens\":{\"in\":1,"
        "\"out\":1}}}},\"2026-11\":{\"tokens\":18,\"endpoints\":{\"e\":{\"calls\":2,"
        "\"tokens\":{\"in\":8,\"out\":10}}}}}");
}

/* A call that began in November counts there, and not for December's budget. */
static void over_the_turn_of_a_month(void **state)
{
    const struct usage_limits l = {.tokens_per_month = 10};
    struct usage_pass pass;
    assert_true(admit(&l, NOVEMBER, &pass));
    usage_settle(u, &pass, 50, 0, NOVEMBER + 30 * DAY);
    assert_true(call(&l, NOVEMBER + 30 * DAY, 1, 0));
}

/* A clock that is set, or two threads that read it around midnight, gives nobody a second budget.
 */
static void back_to_the_month_before(void **state)
{
    const struct usage_limits l = {.tokens_per_month = 10};
    assert_true(call(&l, NOVEMBER, 6, 5));
    assert_true(call(&l, NOVEMBER + 30 * DAY, 8, 3));
    assert_false(call(&l, NOVEMBER, 1, 1));
    assert_false(call(&l, NOVEMBER + 30 * DAY, 1, 1));
}

static void found_again(void **state)
{
    const struct usage_limits l = {.tokens_per_month = 10};
    assert_true(call(&l, NOVEMBER, 6, 5));
    open_at(NOVEMBER);
    assert_false(call(&l, NOVEMBER, 1, 1));
    open_at(NOVEMBER + 30 * DAY);
    assert_true(call(&l, NOVEMBER + 30 * DAY, 1, 1));
    open_at(0); /* the machine has not set its clock yet */
    open_at(NOVEMBER);
    assert_false(call(&l, NOVEMBER, 1, 1));
}

/* Thirteen months later the row serves somebody else, and the file has not grown. */
static void old_rows_are_used_again(void **state)
{
    const struct usage_limits none = {0};
    struct stat st;
    assert_true(call(&none, NOVEMBER, 1, 1));
    open_at(NOVEMBER + 366 * DAY);
    assert_true(call(&none, NOVEMBER + 366 * DAY, 1, 1));
    open_at(NOVEMBER + 400 * DAY);
    expect_shown(
        "{\"2027-11\":{\"tokens\":2,\"endpoints\":{\"e\":{\"calls\":1,\"tokens\":{\"in\":1,"
        "\"out\":1}}}}}");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 262144);
}

static void long_names_stay_apart(void **state)
{
    char a[400], b[400];
    const struct usage_limits none = {0};
    struct usage_pass pass;
    memset(a, 'x', sizeof a);
    memcpy(b, a, sizeof b);
    b[399] = 'y';
    for (int i = 0; i < 2; i++) {
        assert_null(usage_admit(u, KEY, &none, str_n(i ? b : a, 400), NOVEMBER, &pass));
        usage_settle(u, &pass, 1, 1, NOVEMBER);
    }
    struct usage_pass first, second;
    assert_null(usage_admit(u, KEY, &none, str_n(a, 400), NOVEMBER, &first));
    assert_null(usage_admit(u, KEY, &none, str_n(b, 400), NOVEMBER, &second));
    assert_ptr_not_equal(first.row, second.row);
    usage_settle(u, &first, -5, INT64_MAX, NOVEMBER); /* a provider's nonsense counts as nothing */
    usage_settle(u, &second, 0, 0, NOVEMBER);
}

static void many_rows(void **state)
{
    const struct usage_limits none = {0};
    struct usage_pass pass;
    struct stat st;
    char name[32];
    for (int i = 0; i < 3000; i++) {
        int n = snprintf(name, sizeof name, "endpoint-%d", i);
        assert_null(usage_admit(u, KEY, &none, str_n(name, (size_t)n), NOVEMBER, &pass));
        usage_settle(u, &pass, 1, 0, NOVEMBER);
    }
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 3 * 262144);
    open_at(NOVEMBER);
    const struct usage_limits l = {.tokens_per_month = 3001};
    assert_true(call(&l, NOVEMBER, 1, 0));
    assert_false(call(&l, NOVEMBER, 1, 0));
}

static void *calls_of_a_thread(void *arg)
{
    const struct usage_limits none = {0};
    for (int i = 0; i < 2000; i++)
        call(&none, NOVEMBER, 2, 1);
    return arg;
}

static void many_threads(void **state)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, calls_of_a_thread, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    expect_shown("{\"2026-11\":{\"tokens\":24000,\"endpoints\":{\"e\":{\"calls\":8000,\"tokens\":{"
                 "\"in\":16000,\"out\":8000}}}}}");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_minute),
        TEST(at_once),
        TEST(a_month),
        TEST(over_the_turn_of_a_month),
        TEST(back_to_the_month_before),
        TEST(found_again),
        TEST(old_rows_are_used_again),
        TEST(long_names_stay_apart),
        TEST(many_rows),
        TEST(many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
