#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "buf.h"

static void grows_to_its_ceiling(void **state)
{
    struct buf b;
    buf_init(&b, 1000);
    for (int i = 0; i < 1000; i++)
        assert_true(buf_char(&b, (char)('a' + i % 26)));
    assert_false(b.full);
    assert_false(buf_char(&b, 'x'));
    assert_true(b.full);
    assert_int_equal(b.n, 1000);
    assert_true(b.cap <= 1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(b.p[i], 'a' + i % 26);
    buf_clear(&b);
    assert_false(b.full);
    assert_true(buf_put(&b, STR("again")));
    buf_deinit(&b);
}

static void full_stays_and_keeps_what_fit(void **state)
{
    struct buf b;
    buf_init(&b, 8);
    buf_put(&b, STR("hello "));
    assert_false(buf_put(&b, STR("world")));
    assert_true(str_eq(buf_str(&b), STR("hello ")));
    assert_true(buf_put(&b, STR("wo")));
    assert_true(b.full);
    buf_deinit(&b);
}

static void prints_up_to_the_last_byte(void **state)
{
    struct buf b;
    buf_init(&b, 10);
    assert_true(buf_printf(&b, "%d", 12345));
    assert_true(buf_printf(&b, "%s", "67890"));
    assert_true(str_eq(buf_str(&b), STR("1234567890")));
    assert_true(buf_printf(&b, "%s", ""));
    assert_false(buf_printf(&b, "%d", 1));
    assert_true(b.full);
    assert_true(str_eq(buf_str(&b), STR("1234567890")));
    buf_deinit(&b);

    buf_init(&b, 100000);
    assert_true(buf_printf(&b, "%05000d", 1));
    assert_int_equal(b.n, 5000);
    buf_deinit(&b);
}

static void reserve_then_consume(void **state)
{
    struct buf b;
    buf_init(&b, 64);
    assert_non_null(buf_reserve(&b, 0));
    char *p = buf_reserve(&b, 64);
    assert_non_null(p);
    memset(p, 'q', 64);
    b.n += 64;
    assert_null(buf_reserve(&b, 1));
    buf_clear(&b);
    buf_put(&b, STR("headbody"));
    buf_consume(&b, 4);
    assert_true(str_eq(buf_str(&b), STR("body")));
    buf_consume(&b, 4);
    assert_int_equal(b.n, 0);
    assert_null(buf_reserve(&b, SIZE_MAX));
    buf_deinit(&b);
}

static void ceiling_of_nothing(void **state)
{
    struct buf b;
    buf_init(&b, 0);
    assert_true(buf_put(&b, STR("")));
    assert_true(buf_cstr(&b, ""));
    assert_true(buf_printf(&b, "%s", ""));
    assert_false(b.full);
    assert_false(buf_char(&b, 'x'));
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_to_its_ceiling),
        cmocka_unit_test(full_stays_and_keeps_what_fit),
        cmocka_unit_test(prints_up_to_the_last_byte),
        cmocka_unit_test(reserve_then_consume),
        cmocka_unit_test(ceiling_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
