#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "str.h"

static void compares(void **state)
{
    assert_true(str_eq(str_c(NULL), STR("")));
    assert_true(str_eq_c(STR("abc"), "abc"));
    assert_false(str_eq_c(STR("abc"), "abcd"));
    assert_true(str_starts(STR("abc"), STR("ab")));
    assert_true(str_starts(STR("abc"), STR("")));
    assert_false(str_starts(STR("ab"), STR("abc")));
    assert_true(str_ends(STR("abc"), STR("bc")));
    assert_false(str_ends(STR("abc"), STR("ab")));
    assert_true(str_cmp(STR("a"), STR("b")) < 0);
    assert_true(str_cmp(STR("a"), STR("aa")) < 0);
    assert_true(str_cmp(STR("\xff"), STR("a")) > 0);
    assert_int_equal(str_cmp(STR("x"), STR("x")), 0);
}

/* Every pair of bytes, at the beginning (eight at a time) and at the end (one at a time). */
static void ignores_ascii_case_only(void **state)
{
    for (int i = 0; i < 256; i++) {
        for (int k = 0; k < 256; k++) {
            char a[9] = {(char)i, 0, 0, 0, 0, 0, 0, 0, (char)i};
            char b[9] = {(char)k, 0, 0, 0, 0, 0, 0, 0, (char)k};
            int x = i >= 'A' && i <= 'Z' ? i + 32 : i, y = k >= 'A' && k <= 'Z' ? k + 32 : k;
            assert_int_equal(str_eq_nocase(str_n(a, 8), str_n(b, 8)), x == y);
            assert_int_equal(str_eq_nocase(str_n(a + 8, 1), str_n(b + 8, 1)), x == y);
        }
    }
    assert_true(str_eq_nocase(STR("Content-Length"), STR("cONTENT-lENGTH")));
    assert_false(str_eq_nocase(STR("Content-Length"), STR("Content-Lengti")));
}

static void finds_and_cuts(void **state)
{
    assert_int_equal(str_find(STR("hello"), STR("ll")), 2);
    assert_int_equal(str_find(STR("hello"), STR("")), 0);
    assert_int_equal(str_find(STR("hello"), STR("lx")), SIZE_MAX);
    assert_int_equal(str_find_char(STR("hello"), 'o'), 4);
    assert_int_equal(str_find_char(str_n(NULL, 0), 'o'), SIZE_MAX);
    assert_true(str_eq_c(str_sub(STR("hello"), 1, 3), "ell"));
    assert_true(str_eq_c(str_sub(STR("hello"), 1, SIZE_MAX), "ello"));
    assert_int_equal(str_sub(STR("hello"), 9, 3).n, 0);
    assert_true(str_eq_c(str_trim(STR(" \t x y\r\n")), "x y"));
    assert_int_equal(str_trim(STR(" \n ")).n, 0);
}

static void splits(void **state)
{
    struct str rest = STR("a,,b,"), part;
    const char *want[] = {"a", "", "b", ""};
    for (int i = 0; i < 4; i++) {
        assert_true(str_split(&rest, ',', &part));
        assert_true(str_eq_c(part, want[i]));
    }
    assert_false(str_split(&rest, ',', &part));
    rest = STR("");
    assert_true(str_split(&rest, ',', &part));
    assert_false(str_split(&rest, ',', &part));
}

static void reads_integers(void **state)
{
    int64_t i;
    uint64_t u;
    assert_true(str_to_i64(STR("-9223372036854775808"), &i) && i == INT64_MIN);
    assert_true(str_to_i64(STR("9223372036854775807"), &i) && i == INT64_MAX);
    assert_true(str_to_i64(STR("-0"), &i) && i == 0);
    assert_true(str_to_u64(STR("18446744073709551615"), &u) && u == UINT64_MAX);
    const char *bad[] = {"", "-", "+1", " 1", "1 ", "1.0", "9223372036854775808", "--1", "0x1"};
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++)
        assert_false(str_to_i64(str_c(bad[k]), &i));
    assert_false(str_to_u64(STR("18446744073709551616"), &u));
    assert_false(str_to_u64(STR("99999999999999999999"), &u));
    assert_false(str_to_u64(STR("-1"), &u));
}

static void reads_sizes(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"100mb", 104857600},
        {"1b", 1},
        {"50 gb", (uint64_t)50 << 30},
        {"1.5gb", 1610612736},
        {" 2K ", 2048},
        {"3PB", (uint64_t)3 << 50},
        {"4t", (uint64_t)4 << 40},
        {"0", 0},
        {"0b", 0},
        {"-1", UINT64_MAX},
        {"-1b", UINT64_MAX},
        {"7m", 7 << 20},
        {"8191pb", (uint64_t)8191 << 50},
        {"0.5kb", 512},
        {"9223372036854775807b", INT64_MAX},
    };
    uint64_t v;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(str_to_bytes(str_c(good[i].text), &v));
        assert_true(v == good[i].bytes);
    }
    const char *bad[] = {"",
                         "1",
                         "b",
                         "mb",
                         "-2b",
                         "-1mb",
                         "1xb",
                         "8192pb",
                         "1.5b",
                         "1e3kb",
                         ".5kb",
                         "5.kb",
                         "1.2.3kb",
                         "nankb",
                         "infkb",
                         "0x10kb",
                         "1 2kb",
                         "+1kb",
                         "99999999999999999999b",
                         "9999999999999999999999.5kb"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(str_to_bytes(str_c(bad[i]), &v));
}

static void reads_times(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"30s", 30000},      {"500ms", 500},
        {"1d", 86400000},    {"2h", 7200000},
        {"5m", 300000},      {"1500micros", 1},
        {"2000000nanos", 2}, {"0", 0},
        {"000", 0},          {"-1", -1},
        {"10 S", 10000},     {"7MS", 7},
        {" 1H ", 3600000},   {"106751991167d", 106751991167 * 86400000},
    };
    int64_t v;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(str_to_ms(str_c(good[i].text), &v));
        assert_true(v == good[i].ms);
    }
    const char *bad[] = {"", "5", "s", "1.5h", "5M", "-2s", "1w", "106751991168d", "1 0s", "1e3s"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(str_to_ms(str_c(bad[i]), &v));
}

static void hashes(void **state)
{
    assert_true(str_hash(STR("abc")) == str_hash(str_n("abcd", 3)));
    assert_true(str_hash(STR("abc")) != str_hash(STR("abd")));
    assert_true(str_hash(str_n(NULL, 0)) == str_hash(STR("")));
}

static void checks_utf8(void **state)
{
    const char *good[] = {"",
                          "plain ascii text",
                          "\xc2\x80",
                          "\xdf\xbf",
                          "\xe0\xa0\x80",
                          "\xed\x9f\xbf",
                          "\xee\x80\x80",
                          "\xef\xbf\xbf",
                          "\xf0\x90\x80\x80",
                          "\xf4\x8f\xbf\xbf",
                          "abcdefgh\xc3\xa9zzzzzzzz"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(str_utf8_ok(str_c(good[i])));
    const char *bad[] = {
        "\x80",         "\xc0\x80",         "\xc1\xbf",         "\xc2",         "\xc2z",
        "\xe0\x9f\xbf", "\xe2\x82",         "\xed\xa0\x80",     "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf",
        "\xf0\x90\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff",         "12345678\xff",
        "1234567\xc3"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(str_utf8_ok(str_c(bad[i])));
    assert_true(str_utf8_ok(STR("a\0b")));
}

static void test_bytes_human(void **state)
{
    static const struct {
        uint64_t n;
        const char *text;
    } cases[] = {{0, "0b"},
                 {1023, "1023b"},
                 {1024, "1kb"},
                 {94027, "91.8kb"},
                 {1572864, "1.5mb"},
                 {UINT64_C(53687091200), "50gb"},
                 {UINT64_MAX, "16383.9pb"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[32];
        bytes_human(cases[i].n, out);
        assert_string_equal(out, cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compares),         cmocka_unit_test(ignores_ascii_case_only),
        cmocka_unit_test(finds_and_cuts),   cmocka_unit_test(splits),
        cmocka_unit_test(reads_integers),   cmocka_unit_test(reads_sizes),
        cmocka_unit_test(reads_times),      cmocka_unit_test(hashes),
        cmocka_unit_test(test_bytes_human), cmocka_unit_test(checks_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
