#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "secret.h"

static void counted(void **state)
{
    struct secret *s = secret_new(STR("sk-123"));
    struct secret *again = secret_ref(s);
    assert_ptr_equal(s, again);
    secret_unref(s);
    assert_true(str_eq_c(secret_reveal(again), "sk-123"));
    assert_int_equal(secret_reveal(again).p[6], '\0');
    secret_unref(again);
    secret_unref(NULL);
    assert_null(secret_ref(NULL));
    assert_int_equal(secret_reveal(NULL).n, 0);
    secret_unref(secret_new(str_n(NULL, 0)));
}

static void wipes(void **state)
{
    char bytes[] = "sk-123";
    secret_wipe(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        assert_int_equal(bytes[i], 0);
    secret_wipe(NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(counted), cmocka_unit_test(wipes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
