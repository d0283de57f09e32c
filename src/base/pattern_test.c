#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "buf.h"
#include "pattern.h"

static struct arena *arena;

static int setup(void **state)
{
    arena = arena_new(ARENA_NO_LIMIT);
    return 0;
}

static int teardown(void **state)
{
    arena_free(arena);
    return 0;
}

/* Where all matches begin, "0 4 9"; or the error's reason. */
static const char *matches(const char *source, struct str text, int64_t ms)
{
    struct pattern_watch watch;
    struct pattern *p = NULL;
    struct utf16 units;
    assert_true(utf16_of(arena, text, &units));
    pattern_watch_start(&watch, ms);
    struct err *e = pattern_new(str_c(source), &watch, &p);
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_cstr(&b, "");
    if (!e) {
        pattern_begin(p, units);
        bool found = true;
        size_t start;
        while (!(e = pattern_next(p, &found, &start)) && found)
            buf_printf(&b, "%s%zu", b.n ? " " : "", start);
    }
    pattern_free(p);
    if (e) {
        assert_int_equal(e->kind, ERR_ARGUMENT);
        buf_clear(&b);
        buf_cstr(&b, e->reason);
        err_free(e);
    }
    const char *out = arena_cstr(arena, buf_str(&b));
    buf_deinit(&b);
    return out;
}

static void what_matches(void **state)
{
    assert_string_equal(matches("b", STR("abcb"), 5000), "1 3");
    assert_string_equal(matches("x", STR("abcb"), 5000), "");
    assert_string_equal(matches("b", STR(""), 5000), "");
    assert_string_equal(matches("^b", STR("b\nb b"), 5000), "0 2"); /* lines */
    assert_string_equal(matches("(?<!\n)\n\n(?!\n)", STR("a\n\nb\n\n\nc\n\n"), 5000), "1 8");
    assert_string_equal(matches("", STR("ab"), 5000), "0 1 2");
    assert_string_equal(matches("b",
                                STR("\xF0\x9F\x98\x80"
                                    "b"),
                                5000),
                        "2");
    assert_string_equal(matches("[a-z&&[^b]]+", STR("aba"), 5000), "0 2"); /* as in Java */
}

static void what_is_no_pattern(void **state)
{
    assert_string_equal(matches("(", STR("x"), 5000),
                        "[(] cannot be used as a regular expression: U_REGEX_MISMATCHED_PAREN");
    assert_non_null(strstr(matches("a{2,1}", STR("x"), 5000), "cannot be used"));
    char *longest = arena_alloc(arena, PATTERN_MAX_BYTES + 2);
    memset(longest, 'a', PATTERN_MAX_BYTES);
    assert_string_equal(matches(longest, STR("x"), 5000), "");
    longest[PATTERN_MAX_BYTES] = 'a';
    assert_string_equal(matches(longest, STR("x"), 5000),
                        "a regular expression of [1001] bytes is too long, at most [1000]");
}

static struct str as(size_t n)
{
    char *p = arena_alloc(arena, n);
    memset(p, 'a', n);
    return str_n(p, n);
}

static void what_runs_away(void **state)
{
    static const char *const slow[] = {"(a+)+b", "(a|aa)+$b", "(.*?,){20}P", "(?:(a*)*)*b",
                                       "(?s)[^q]*+q"};
    for (size_t i = 0; i < sizeof slow / sizeof slow[0]; i++) {
        const char *reason = matches(slow[i], as(200000), 30);
        if (i == 2 && !*reason) /* fails at once, since there is no comma */
            continue;
        assert_non_null(strstr(reason, "takes too "));
        assert_non_null(strstr(reason, slow[i]));
    }
    assert_non_null(strstr(matches("(?:a|b)*c", as(1000000), 5000), "takes too much memory"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_matches, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_pattern, setup, teardown),
        cmocka_unit_test_setup_teardown(what_runs_away, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
