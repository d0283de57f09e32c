#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <unicode/uchar.h>
#include <unicode/ustring.h>
#include <unicode/utf16.h>

#include "unicode.h"

static struct arena *a;

static int set_up(void **state)
{
    a = arena_new(ARENA_NO_LIMIT);
    return 0;
}

static int tear_down(void **state)
{
    arena_free(a);
    return 0;
}

static bool is_scalar(uint32_t c)
{
    return c < 0xd800 || c > 0xdfff;
}

static void utf8_there_and_back(void **state)
{
    char text[4];
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        if (!is_scalar(c))
            continue;
        size_t i = 0, n = utf8_put(text, c);
        assert_true(str_utf8_ok(str_n(text, n)));
        assert_int_equal(utf8_next(str_n(text, n), &i), c);
        assert_int_equal(i, n);
        assert_int_equal(utf16_length(str_n(text, n)), c > 0xffff ? 2 : 1);
    }
}

static void prefixes_count_in_utf16(void **state)
{
    struct str s = STR("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z"); /* a é € 😀 z */
    static const size_t bytes[] = {0, 1, 3, 6, 6, 10, 11, 11};
    assert_int_equal(utf16_length(s), 6);
    for (size_t n = 0; n < sizeof bytes / sizeof bytes[0]; n++)
        assert_int_equal(utf16_prefix(s, n).n, bytes[n]);
    assert_int_equal(utf16_prefix(str_n(NULL, 0), 3).n, 0);
}

/* Expected results are Python's bytes.decode("utf-8", "replace"). */
static void repairs_as_python_does(void **state)
{
#define BAD "\xef\xbf\xbd"
    static const struct {
        const char *bytes, *want;
    } cases[] = {
        {"fine \xc3\xa9", "fine \xc3\xa9"},
        {"\x80", BAD},
        {"a\xffz", "a" BAD "z"},
        {"\xc0\x80", BAD BAD},
        {"\xe2\x82", BAD},
        {"\xe2\x82z", BAD "z"},
        {"\xe2z", BAD "z"},
        {"\xed\xa0\x80", BAD BAD BAD},
        {"\xe0\x80\x80", BAD BAD BAD},
        {"\xf0\x9f\x98", BAD},
        {"\xf0\x9f\x98\x41", BAD "A"},
        {"\xf0\x80\x80\x80", BAD BAD BAD BAD},
        {"\xf4\x90\x80\x80", BAD BAD BAD BAD},
        {"\xf5\x80", BAD BAD},
        {"\xc3", BAD},
        {"\xc3\xc3\xa9", BAD "\xc3\xa9"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_true(str_eq_c(str_utf8_repair(a, str_c(cases[i].bytes)), cases[i].want));
}

/* The ASCII answers are written out by hand: they must be what the tables would have said. */
static void ascii_agrees_with_icu(void **state)
{
    for (uint32_t c = 0; c < 0x80; c++) {
        int type = u_charType((UChar32)c);
        bool white = c == '\t' || c == '\n' || c == '\r';
        assert_int_equal(unicode_is_whitespace(c), u_isUWhiteSpace((UChar32)c));
        assert_int_equal(unicode_is_control(c), type == U_CONTROL_CHAR && !white);
        assert_int_equal(unicode_is_letter(c), u_isalpha((UChar32)c));
        assert_int_equal(unicode_is_number(c), u_isdigit((UChar32)c));
        assert_int_equal(unicode_is_punctuation(c), c > 32 && c < 127 && !u_isalnum((UChar32)c));
    }
}

static void classes(void **state)
{
    assert_true(unicode_is_whitespace(0xa0) && unicode_is_whitespace(0x3000));
    assert_true(unicode_is_whitespace(0x85) && unicode_is_whitespace(0x2028));
    assert_false(unicode_is_whitespace(0x200b));
    assert_true(unicode_is_control(0x200b)); /* Cf */
    assert_true(unicode_is_control(0xe000)); /* Co */
    assert_true(unicode_is_control(0xfeff));
    assert_false(unicode_is_control(0x0378)); /* Cn */
    assert_true(unicode_is_punctuation(0x2014) && unicode_is_punctuation(0x3002));
    assert_true(unicode_is_punctuation(0xbf) && unicode_is_punctuation('$'));
    assert_false(unicode_is_punctuation(0x20ac));
    assert_true(unicode_is_mark_nonspacing(0x301));
    assert_false(unicode_is_mark_nonspacing(0x903)); /* Mc */
    assert_true(unicode_is_cjk(0x4e2d) && unicode_is_cjk(0x20000) && unicode_is_cjk(0xf900));
    assert_false(unicode_is_cjk(0x3042) || unicode_is_cjk(0xac00) || unicode_is_cjk('a'));
    assert_true(unicode_is_letter(0xaa) && unicode_is_number(0xbd) && unicode_is_number(0x2167));
    assert_int_equal(unicode_category(0x20ac), UNICODE_SC);
    assert_int_equal(unicode_category(0x110000), UNICODE_CN);
    assert_int_equal(unicode_combining_class(0x301), 230);
    assert_int_equal(unicode_combining_class('a'), 0);
}

/* Below U+0300, where the code takes a short way, there is nothing the tables would add. */
static void short_ways_agree_with_icu(void **state)
{
    for (uint32_t c = 0; c < 0x300; c++) {
        assert_int_not_equal(unicode_category(c), UNICODE_MN);
        assert_int_equal(u_getCombiningClass((UChar32)c), 0);
    }
}

static void lower_case_agrees_with_icu(void **state)
{
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        if (!is_scalar(c))
            continue;
        UChar from[2], to[8];
        int32_t n_from = 0, at = 0;
        U16_APPEND_UNSAFE(from, n_from, c);
        UErrorCode e = U_ZERO_ERROR;
        int32_t n = u_strToLower(to, 8, from, n_from, "", &e);
        uint32_t got[3];
        size_t n_got = unicode_lower(c, got);
        for (size_t i = 0; i < n_got; i++) {
            UChar32 want;
            assert_true(at < n);
            U16_NEXT(to, at, n, want);
            assert_int_equal(got[i], want);
        }
        assert_int_equal(at, n);
    }
}

static void decomposes(void **state)
{
    uint32_t out[18];
    assert_int_equal(unicode_decompose('a', out), 1);
    assert_int_equal(out[0], 'a');
    assert_int_equal(unicode_decompose(0x1ed9, out), 3); /* ộ */
    assert_true(out[0] == 'o' && out[1] == 0x323 && out[2] == 0x302);
    assert_int_equal(unicode_decompose(0xac01, out), 3); /* 각 */
    assert_true(out[0] == 0x1100 && out[1] == 0x1161 && out[2] == 0x11a8);
    assert_int_equal(unicode_decompose(0x2126, out), 1); /* Ohm becomes Omega */
    assert_int_equal(out[0], 0x3a9);
    assert_int_equal(unicode_decompose(0xfb01, out), 1); /* a compatibility form: kept */
    assert_int_equal(unicode_decompose_compat(0xfb01, out), 2);
    assert_int_equal(out[0], 'f');
    assert_int_equal(out[1], 'i');
    assert_int_equal(unicode_decompose_compat(0xfdfa, out), 18);
    assert_int_equal(unicode_decompose_compat('f', out), 1);
    assert_int_equal(unicode_compose('e', 0x301), 0xe9);
    assert_int_equal(unicode_compose(0x1100, 0x1161), 0xac00);
    assert_int_equal(unicode_compose('q', 0x301), 0);
    assert_int_equal(unicode_grapheme('a'), UNICODE_G_OTHER);
    assert_int_equal(unicode_grapheme('\r'), UNICODE_G_CR);
    assert_int_equal(unicode_grapheme(0x301), UNICODE_G_EXTEND);
    assert_int_equal(unicode_grapheme(0x200d), UNICODE_G_ZWJ);
    assert_int_equal(unicode_grapheme(0xac00), UNICODE_G_LV);
    assert_int_equal(unicode_grapheme(0x1f600), UNICODE_G_PICTOGRAPH);
}

/* One code point at a time and a text of that code point must be the same. */
static void decomposition_agrees_with_nfd(void **state)
{
    char text[4], all[18 * 4];
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        if (!is_scalar(c))
            continue;
        uint32_t out[18];
        size_t n = unicode_decompose(c, out), bytes = 0;
        for (size_t i = 0; i < n; i++)
            bytes += utf8_put(all + bytes, out[i]);
        struct str one = str_n(text, utf8_put(text, c));
        assert_true(str_eq(unicode_nfd(a, one), str_n(all, bytes)));
        arena_reset(a);
    }
}

static void normal_forms(void **state)
{
    struct str plain = STR("plain ascii");
    assert_ptr_equal(unicode_nfd(a, plain).p, plain.p);
    struct str already = STR("\xc3\xa9t\xc3\xa9");
    assert_ptr_equal(unicode_nfc(a, already).p, already.p);
    assert_true(str_eq_c(unicode_nfd(a, already), "e\xcc\x81te\xcc\x81"));
    assert_true(str_eq_c(unicode_nfc(a, STR("e\xcc\x81te\xcc\x81")), "\xc3\xa9t\xc3\xa9"));
    assert_true(str_eq_c(unicode_nfkc(a, STR("\xef\xac\x81\xc2\xb2")), "fi2"));
    assert_true(str_eq_c(unicode_nfkd(a, STR("\xef\xbc\xa1\xc3\xa9")), "Ae\xcc\x81"));
    assert_int_equal(unicode_nfc(a, str_n(NULL, 0)).n, 0);
    /* Marks out of order are sorted by class. */
    assert_true(str_eq_c(unicode_nfd(a, STR("a\xcc\x81\xcc\xa3")), "a\xcc\xa3\xcc\x81"));
    /* Eighteen times as many code points do not fit at the first attempt. */
    char many[300];
    for (size_t i = 0; i < sizeof many; i += 3)
        memcpy(many + i, "\xef\xb7\xba", 3);
    assert_int_equal(unicode_nfkd(a, str_n(many, sizeof many)).n, 100 * 33);
}

#define WITH_ARENA(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ARENA(utf8_there_and_back),
        WITH_ARENA(prefixes_count_in_utf16),
        WITH_ARENA(repairs_as_python_does),
        WITH_ARENA(ascii_agrees_with_icu),
        WITH_ARENA(classes),
        WITH_ARENA(short_ways_agree_with_icu),
        WITH_ARENA(lower_case_agrees_with_icu),
        WITH_ARENA(decomposes),
        WITH_ARENA(decomposition_agrees_with_nfd),
        WITH_ARENA(normal_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
