#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "err.h"

static void kinds_come_from_the_table(void **state)
{
    struct err *e = err_new(ERR_NOT_FOUND, "no endpoint [%s]", "x");
    assert_int_equal(e->status, 404);
    assert_string_equal(e->reason, "no endpoint [x]");
    assert_string_equal(err_type(e), "resource_not_found_exception");
    assert_null(e->cause);
    err_free(e);

    e = err_status(418, "teapot");
    assert_int_equal(e->kind, ERR_STATUS);
    assert_int_equal(e->status, 418);
    err_free(e);
    err_free(NULL);
}

static void copies_deeply(void **state)
{
    struct err *low = err_new(ERR_IO, "disk");
    low->retry_after_ms = 70;
    low->chat_code = strdup("c");
    struct err *e = err_wrap(low, ERR_UNAVAILABLE, "outer");
    assert_int_equal(e->status, 503);
    assert_int_equal(e->retry_after_ms, 70);
    struct err *c = err_copy(e);
    err_free(e);
    assert_string_equal(c->reason, "outer");
    assert_string_equal(c->cause->reason, "disk");
    assert_string_equal(c->cause->chat_code, "c");
    assert_null(c->cause->cause);
    err_free(c);
    assert_null(err_copy(NULL));
}

static void lists(void **state)
{
    struct err_list l = {0};
    assert_null(err_list_end(&l, ERR_VALIDATION));
    err_list_add(&l, "%s", "first");
    err_list_add(&l, "second");
    struct err *e = err_list_end(&l, ERR_VALIDATION);
    assert_string_equal(e->reason, "Validation Failed: 1: first;2: second;");
    assert_int_equal(e->kind, ERR_VALIDATION);
    err_free(e);
    assert_null(err_list_end(&l, ERR_VALIDATION));
}

static struct err *inner(bool fail)
{
    return fail ? err_new(ERR_PARSE, "bad") : NULL;
}

static struct err *outer(bool fail, int *reached)
{
    TRY(inner(fail));
    ++*reached;
    return NULL;
}

static void try_passes_up(void **state)
{
    int reached = 0;
    assert_null(outer(false, &reached));
    struct err *e = outer(true, &reached);
    assert_non_null(e);
    assert_int_equal(reached, 1);
    err_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_come_from_the_table),
        cmocka_unit_test(copies_deeply),
        cmocka_unit_test(lists),
        cmocka_unit_test(try_passes_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
