#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/stat.h>

#include "store_testing.h"
#include "vault.h"

static int begin(void **state)
{
    struct vault *v;
    assert_ok(vault_open(NULL, true, &v));
    *state = v;
    return 0;
}

static int end(void **state)
{
    vault_close(*state);
    return 0;
}

static void opens_what_it_sealed(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct str plain, one = vault_seal(*state, STORE_SECRET, STR("id"), STR("value"), a);
    struct str two = vault_seal(*state, STORE_SECRET, STR("id"), STR("value"), a);
    assert_int_equal(one.n, 5 + VAULT_OVERHEAD);
    assert_false(str_eq(one, two)); /* a fresh nonce each time */
    assert_ok(vault_unseal(*state, STORE_SECRET, STR("id"), one, a, &plain));
    assert_true(str_eq_c(plain, "value"));
    arena_free(a);
}

static void any_changed_bit_is_noticed(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct str plain, sealed = vault_seal(*state, STORE_SECRET, STR("id"), STR("value"), a);
    for (size_t bit = 0; bit < 8 * sealed.n; bit++) {
        char *copy = arena_cstr(a, sealed);
        copy[bit / 8] = (char)(copy[bit / 8] ^ (1 << bit % 8));
        assert_err(vault_unseal(*state, STORE_SECRET, STR("id"), str_n(copy, sealed.n), a, &plain),
                   ERR_CORRUPT, "[id]");
    }
    for (size_t n = 0; n < sealed.n; n++)
        assert_err(vault_unseal(*state, STORE_SECRET, STR("id"), str_n(sealed.p, n), a, &plain),
                   ERR_CORRUPT, "[id]");
    arena_free(a);
}

static void a_record_belongs_to_its_name(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct str plain, sealed = vault_seal(*state, STORE_SECRET, STR("id"), STR("value"), a);
    assert_err(vault_unseal(*state, STORE_SECRET, STR("ie"), sealed, a, &plain), ERR_CORRUPT, "ie");
    assert_err(vault_unseal(*state, STORE_USER, STR("id"), sealed, a, &plain), ERR_CORRUPT, "id");
    arena_free(a);
}

static void another_key_is_told_from_damage(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct vault *other;
    struct str plain;
    assert_ok(vault_open(NULL, true, &other));
    struct str sealed = vault_seal(other, STORE_SECRET, STR("id"), STR("value"), a);
    assert_true(vault_sealed_it(other, sealed));
    assert_false(vault_sealed_it(*state, sealed));
    struct err *e = vault_unseal(*state, STORE_SECRET, STR("id"), sealed, a, &plain);
    assert_non_null(e);
    assert_non_null(e->cause);
    assert_non_null(strstr(e->cause->reason, "is not the one"));
    err_free(e);
    vault_close(other);
    arena_free(a);
}

int main(void)
{
    quiet_log();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_what_it_sealed),
        cmocka_unit_test(any_changed_bit_is_noticed),
        cmocka_unit_test(a_record_belongs_to_its_name),
        cmocka_unit_test(another_key_is_told_from_damage),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
