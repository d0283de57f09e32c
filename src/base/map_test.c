#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "map.h"

static struct str key(char *out, size_t cap, int i)
{
    return str_n(out, (size_t)snprintf(out, cap, "key %d", i));
}

/* A long random walk beside an array that knows the truth. */
static void behaves_as_an_array_does(void **state)
{
    enum { N = 300 };
    int *truth[N] = {0}, values[N];
    size_t count = 0;
    struct map *m = map_new();
    uint32_t rnd = 12345;
    char text[32];
    for (int step = 0; step < 50000; step++) {
        rnd = rnd * 1664525 + 1013904223;
        int i = (int)(rnd >> 8) % N;
        struct str k = key(text, sizeof text, i);
        if (rnd >> 31) {
            int *v = &values[(rnd >> 16) % N];
            assert_ptr_equal(map_put(m, k, v), truth[i]);
            count += truth[i] == NULL;
            truth[i] = v;
        } else {
            assert_ptr_equal(map_take(m, k), truth[i]);
            count -= truth[i] != NULL;
            truth[i] = NULL;
        }
        assert_int_equal(map_count(m), count);
        i = (int)(rnd >> 4) % N;
        assert_ptr_equal(map_get(m, key(text, sizeof text, i)), truth[i]);
    }
    map_free(m);
}

static void takes_while_walking(void **state)
{
    struct map *m = map_new();
    char text[32], value[1];
    for (int i = 0; i < 1000; i++)
        map_put(m, key(text, sizeof text, i), value);
    size_t i = 0, seen = 0;
    struct str k;
    void *v;
    while (map_next(m, &i, &k, &v)) {
        assert_ptr_equal(v, value);
        seen++;
        map_take(m, k);
    }
    assert_int_equal(seen, 1000);
    assert_int_equal(map_count(m), 0);
    map_free(m);
}

static void empty_and_binary_keys(void **state)
{
    struct map *m = map_new();
    int a, b;
    size_t i = 0;
    struct str k;
    void *v;
    assert_null(map_get(m, STR("x")));
    assert_null(map_take(m, STR("x")));
    assert_false(map_next(m, &i, &k, &v));
    map_put(m, str_n(NULL, 0), &a);
    map_put(m, STR("a\0b"), &b);
    assert_ptr_equal(map_get(m, STR("")), &a);
    assert_ptr_equal(map_get(m, STR("a\0b")), &b);
    assert_null(map_get(m, STR("a")));
    map_free(m);
    map_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(behaves_as_an_array_does),
        cmocka_unit_test(takes_while_walking),
        cmocka_unit_test(empty_and_binary_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
