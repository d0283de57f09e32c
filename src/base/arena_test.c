#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "arena.h"

static bool all_zero(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

static void zeroed_and_aligned(void **state)
{
    /* Twice, so that the second arena gets the first one's dirty blocks. */
    for (int round = 0; round < 2; round++) {
        struct arena *a = arena_new(ARENA_NO_LIMIT);
        for (size_t n = 0; n < 3000; n += 7) {
            char *p = arena_alloc(a, n);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 16, 0);
            assert_true(all_zero(p, n));
            memset(p, 0xee, n);
        }
        arena_free(a);
    }
}

static void allocations_do_not_overlap(void **state)
{
    enum { N = 500 };
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    unsigned char *p[N];
    size_t n[N];
    for (size_t i = 0; i < N; i++) {
        n[i] = i % 50 == 49 ? 100000 : i * 13 % 700;
        p[i] = arena_alloc(a, n[i]);
        memset(p[i], (int)(i & 255), n[i]);
    }
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < n[i]; k++)
            assert_int_equal(p[i][k], i & 255);
    arena_free(a);
}

static void ceiling_stops_try_only(void **state)
{
    struct arena *a = arena_new(1000);
    assert_non_null(arena_try(a, 600));
    assert_null(arena_try(a, 401));
    assert_non_null(arena_try(a, 400));
    assert_null(arena_try(a, 1));
    assert_non_null(arena_try(a, 0));
    assert_int_equal(arena_used(a), 1000);
    assert_non_null(arena_alloc(a, 5000));
    assert_null(arena_try(a, 0));
    arena_free(a);
}

static void absurd_sizes_fail(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    assert_null(arena_try(a, SIZE_MAX));
    assert_null(arena_try(a, SIZE_MAX - 8));
    assert_int_equal(arena_used(a), 0);
    arena_free(a);
}

static void reset_forgets(void **state)
{
    struct arena *a = arena_new(10000);
    char *first = arena_alloc(a, 100);
    for (int i = 0; i < 50; i++)
        arena_alloc(a, 1000);
    arena_reset(a);
    assert_int_equal(arena_used(a), 0);
    assert_ptr_equal(arena_alloc(a, 100), first);
    assert_true(all_zero(first, 100));
    arena_free(a);
    arena_free(NULL);
}

static void copies_and_prints(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct str d = arena_dup(a, STR("a\0b"));
    assert_int_equal(d.n, 3);
    assert_memory_equal(d.p, "a\0b", 4);
    assert_string_equal(arena_cstr(a, str_n(NULL, 0)), "");
    assert_true(str_eq(arena_printf(a, "%d inputs", 5), STR("5 inputs")));
    struct str joined = arena_join(a, STR("a\0b"), STR("c"));
    assert_true(str_eq(joined, STR("a\0bc")) && joined.p[joined.n] == '\0');
    assert_int_equal(arena_join(a, (struct str){0}, (struct str){0}).n, 0);
    struct str wide = arena_printf(a, "%0300d", 7);
    assert_int_equal(wide.n, 300);
    assert_int_equal(strlen(wide.p), 300);
    assert_int_equal(wide.p[299], '7');
    uint32_t *numbers = arena_array(a, 3, sizeof *numbers);
    assert_int_equal(numbers[2], 0);
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zeroed_and_aligned),     cmocka_unit_test(allocations_do_not_overlap),
        cmocka_unit_test(ceiling_stops_try_only), cmocka_unit_test(absurd_sizes_fail),
        cmocka_unit_test(reset_forgets),          cmocka_unit_test(copies_and_prints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
