#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "http.h"

static void names_and_reasons(void **state)
{
    assert_string_equal(http_method_name(HTTP_GET), "GET");
    assert_string_equal(http_method_name(HTTP_PATCH), "PATCH");
    assert_string_equal(http_reason(404), "Not Found");
    assert_string_equal(http_reason(429), "Too Many Requests");
    assert_string_equal(http_reason(599), "");
}

static void headers(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    static struct http_headers h;
    struct str v;
    http_header_add(&h, STR("Content-Type"), STR("text/plain"));
    http_header_addf(&h, a, STR("Authorization"), "Bearer %s", "k");
    http_header_add(&h, STR("content-type"), STR("second"));
    assert_true(http_header_get(&h, STR("CONTENT-TYPE"), &v));
    assert_true(str_eq_c(v, "text/plain"));
    assert_true(http_header_get(&h, STR("authorization"), &v));
    assert_true(str_eq_c(v, "Bearer k"));
    assert_false(http_header_get(&h, STR("Content-Typ"), &v));
    assert_null(v.p);
    assert_int_equal(v.n, 0);
    arena_free(a);
}

static void escapes(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    assert_true(str_eq_c(http_escape(a, STR("a-Z_0.9~"), false), "a-Z_0.9~"));
    assert_true(str_eq_c(http_escape(a, STR("a b/c:\xff+"), false), "a%20b%2Fc%3A%FF%2B"));
    assert_true(str_eq_c(http_escape(a, STR("a/b"), true), "a/b"));
    assert_int_equal(http_escape(a, str_n(NULL, 0), false).n, 0);
    arena_free(a);
}

static void unescapes(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct str s;
    assert_true(http_unescape(a, STR("a%20b%2fc%3A+"), &s));
    assert_true(str_eq_c(s, "a b/c:+"));
    assert_true(http_unescape(a, STR(""), &s));
    assert_int_equal(s.n, 0);
    const char *bad[] = {"%", "%2", "a%2", "%zz", "%2g", "%00", "%-1", "% 1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(http_unescape(a, str_c(bad[i]), &s));
    assert_false(http_unescape(a, STR("a\0b"), &s));
    char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (char)(i ? i : 1);
    assert_true(http_unescape(a, http_escape(a, str_n(all, 256), false), &s));
    assert_true(str_eq(s, str_n(all, 256)));
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_reasons),
        cmocka_unit_test(headers),
        cmocka_unit_test(escapes),
        cmocka_unit_test(unescapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
