#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "json.h"

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

static const struct json *parse(struct str text)
{
    const struct json *root = NULL;
    struct err *e = json_parse(arena, text, &root);
    if (e)
        fail_msg("[%.*s]: %s", STR_ARG(text), e->reason);
    return root;
}

/* What RFC 8259 allows. */
static const struct str good[] = {
    STR_INIT("null"),
    STR_INIT("true"),
    STR_INIT("false"),
    STR_INIT("0"),
    STR_INIT("-0"),
    STR_INIT("\"\""),
    STR_INIT("[]"),
    STR_INIT("{}"),
    STR_INIT(" \t\r\n[ ] \n"),
    STR_INIT("{ \"a\" : 1 , \"b\" : [ ] }"),
    STR_INIT("[[],[[]],{}]"),
    STR_INIT("[null,1,\"1\",{}]"),
    STR_INIT("1.5"),
    STR_INIT("-1.5e10"),
    STR_INIT("1E+2"),
    STR_INIT("1e-2"),
    STR_INIT("0e0"),
    STR_INIT("0.0"),
    STR_INIT("123456789012345678901234567890"),
    STR_INIT("1e999999"),
    STR_INIT("[1,2]"),
    STR_INIT("[ 1 , -2.5 , 3e1 ]"),
    STR_INIT("[-0,0.1,1]"),
    STR_INIT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\""),
    STR_INIT("\"\\u0000\""),
    STR_INIT("\"\\uD83D\\uDE00\""),
    STR_INIT("\"\\ud83d\\ude00\""),
    STR_INIT("\"\x7f\""),
    STR_INIT("\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\""),
    STR_INIT("\"\xF4\x8F\xBF\xBF\""),
    STR_INIT("\"\xED\x9F\xBF\xEE\x80\x80\""),
    STR_INIT("\"\xC2\x80\""),
    STR_INIT("\"\xE2\x80\xA8\""),
    STR_INIT("{\"\":1}"),
    STR_INIT("{\"a\":1,\"A\":2}"),
    STR_INIT("{\"a\":{\"a\":1}}"),
    STR_INIT("[{\"a\":1},{\"a\":1}]"),
    STR_INIT("\"// no comment\""),
    STR_INIT("\"a'b\""),
};

/* What it does not allow, and where the error must point to. */
static const struct {
    struct str text;
    const char *error;
} bad[] = {
    {STR_INIT(""), "[1:1] Unexpected end-of-input"},
    {STR_INIT(" \n "), "[2:2] Unexpected end-of-input"},
    {STR_INIT("nul"), "[1:1] Unrecognized token 'nul'"},
    {STR_INIT("nulll"), "[1:1] Unrecognized token 'nulll'"},
    {STR_INIT("True"), "[1:1] Unrecognized token 'True'"},
    {STR_INIT("NaN"), "[1:1] Unrecognized token 'NaN'"},
    {STR_INIT("Infinity"), "[1:1] Unrecognized token 'Infinity'"},
    {STR_INIT("-Infinity"), "[1:2] Unexpected character ('I' (code 73)): expected digit"},
    {STR_INIT("[NaN]"), "[1:2] Unrecognized token 'NaN'"},
    {STR_INIT("'a'"), "[1:1] Unexpected character (''' (code 39))"},
    {STR_INIT("01"), "[1:1] Invalid numeric value: Leading zeroes not allowed"},
    {STR_INIT("-01"), "[1:2] Invalid numeric value: Leading zeroes not allowed"},
    {STR_INIT("00.5"), "[1:1] Invalid numeric value"},
    {STR_INIT("[1,012]"), "[1:4] Invalid numeric value"},
    {STR_INIT("1."), "[1:3] Unexpected end-of-input: Decimal point not followed by a digit"},
    {STR_INIT("1.e5"), "[1:3] Unexpected character ('e' (code 101)): Decimal point"},
    {STR_INIT(".5"), "[1:1] Unexpected character ('.' (code 46))"},
    {STR_INIT("+1"), "[1:1] Unexpected character ('+' (code 43))"},
    {STR_INIT("-"), "[1:2] Unexpected end-of-input: expected digit"},
    {STR_INIT("--1"), "[1:2] Unexpected character ('-' (code 45))"},
    {STR_INIT("1e"), "[1:3] Unexpected end-of-input: Exponent"},
    {STR_INIT("1e+"), "[1:4] Unexpected end-of-input: Exponent"},
    {STR_INIT("[1e+]"), "[1:5] Unexpected character (']' (code 93)): Exponent"},
    {STR_INIT("1.5e1.5"), "[1:6] Unexpected character ('.' (code 46))"},
    {STR_INIT("0x1"), "[1:2] Unexpected character ('x' (code 120))"},
    {STR_INIT("1 2"), "[1:3] Unexpected character ('2' (code 50)): was expecting the end"},
    {STR_INIT("[1 2]"), "[1:4] Unexpected character ('2' (code 50)): was expecting comma"},
    {STR_INIT("[1,]"), "[1:4] Unexpected character (']' (code 93)): expected a valid value"},
    {STR_INIT("[,1]"), "[1:2] Unexpected character (',' (code 44))"},
    {STR_INIT("[1,,2]"), "[1:4] Unexpected character (',' (code 44))"},
    {STR_INIT("[1,2"), "[1:5] Unexpected end-of-input: expected close marker for Array"},
    {STR_INIT("[1,2,"), "[1:6] Unexpected end-of-input"},
    {STR_INIT("["), "[1:2] Unexpected end-of-input: expected close marker for Array"},
    {STR_INIT("]"), "[1:1] Unexpected character (']' (code 93))"},
    {STR_INIT("[1}"), "[1:3] Unexpected close marker '}': expected ']'"},
    {STR_INIT("{\"a\":1]"), "[1:7] Unexpected close marker ']': expected '}'"},
    {STR_INIT("[]]"), "[1:3] Unexpected character (']' (code 93)): was expecting the end"},
    {STR_INIT("{"), "[1:2] Unexpected end-of-input: expected close marker for Object"},
    {STR_INIT("{a:1}"), "[1:2] Unexpected character ('a' (code 97)): was expecting double-quote"},
    {STR_INIT("{1:1}"), "[1:2] Unexpected character ('1' (code 49)): was expecting double-quote"},
    {STR_INIT("{\"a\"}"), "[1:5] Unexpected character ('}' (code 125)): was expecting a colon"},
    {STR_INIT("{\"a\" 1}"), "[1:6] Unexpected character ('1' (code 49)): was expecting a colon"},
    {STR_INIT("{\"a\":}"), "[1:6] Unexpected character ('}' (code 125)): expected a valid value"},
    {STR_INIT("{\"a\":1,}"), "[1:8] Unexpected character ('}' (code 125)): was expecting double"},
    {STR_INIT("{,\"a\":1}"), "[1:2] Unexpected character (',' (code 44)): was expecting double"},
    {STR_INIT("{\"a\":1 \"b\":2}"),
     "[1:8] Unexpected character ('\"' (code 34)): was expecting comma"},
    {STR_INIT("{\"a\":1"), "[1:7] Unexpected end-of-input: expected close marker for Object"},
    {STR_INIT("{\"a\":"), "[1:6] Unexpected end-of-input"},
    {STR_INIT("{\"a\""), "[1:5] Unexpected end-of-input: was expecting a colon"},
    {STR_INIT("{\"a"), "[1:4] Unexpected end-of-input in a String"},
    {STR_INIT("{}{}"), "[1:3] Unexpected character ('{' (code 123)): was expecting the end"},
    {STR_INIT("{\"a\":1,\"a\":2}"), "[1:11] Duplicate field 'a'"},
    {STR_INIT("{\"a\":1,\n\"\\u0061\" :{}}"), "[2:9] Duplicate field 'a'"},
    {STR_INIT("{\"a\":{\"b\":1,\"c\":2,\"b\":[1]}}"), "[1:22] Duplicate field 'b'"},
    {STR_INIT("// x\n1"), "[1:1] Unexpected character ('/' (code 47))"},
    {STR_INIT("1 /* x */"), "[1:3] Unexpected character ('/' (code 47))"},
    {STR_INIT("[1]#"), "[1:4] Unexpected character ('#' (code 35))"},
    {STR_INIT("1\0"), "[1:2] Illegal character ((CTRL-CHAR, code 0))"},
    {STR_INIT("[1\0]"), "[1:3] Illegal character ((CTRL-CHAR, code 0))"},
    {STR_INIT("\xEF\xBB\xBF{}"), "[1:1] Unexpected character (byte 0xef)"},
    {STR_INIT("\f1"), "[1:1] Illegal character ((CTRL-CHAR, code 12))"},
    {STR_INIT("\"a"), "[1:3] Unexpected end-of-input in a String"},
    {STR_INIT("\"a\\"), "[1:4] Unexpected end-of-input in a String"},
    {STR_INIT("\"\\\""), "[1:4] Unexpected end-of-input in a String"},
    {STR_INIT("\"a\nb\""), "[1:3] Illegal unquoted character ((CTRL-CHAR, code 10))"},
    {STR_INIT("\"\0\""), "[1:2] Illegal unquoted character ((CTRL-CHAR, code 0))"},
    {STR_INIT("\"\\x41\""), "[1:3] Unrecognized character escape 'x' (code 120)"},
    {STR_INIT("\"\\\0\""), "[1:3] Unrecognized character escape (code 0)"},
    {STR_INIT("\"\\\xC3\xA9\""), "[1:3] Unrecognized character escape (code 195)"},
    {STR_INIT("\"\\u12\""), "[1:6] Unexpected character ('\"' (code 34)): expected a hex-digit"},
    {STR_INIT("\"\\u12G4\""), "[1:6] Unexpected character ('G' (code 71)): expected a hex-digit"},
    {STR_INIT("\"\\uD800\""), "[1:4] Unpaired surrogate 0xd800"},
    {STR_INIT("\"\\uDC00\""), "[1:4] Unpaired surrogate 0xdc00"},
    {STR_INIT("\"\\uD800\\n\""), "[1:4] Unpaired surrogate 0xd800"},
    {STR_INIT("\"\\uD800\\u0041\""), "[1:4] Unpaired surrogate 0xd800"},
    {STR_INIT("\"\\uD800\\uD800\""), "[1:4] Unpaired surrogate 0xd800"},
    {STR_INIT("\"\xFF\""), "[1:2] Invalid UTF-8 sequence at byte 0xff"},
    {STR_INIT("\"\x80\""), "[1:2] Invalid UTF-8 sequence"},
    {STR_INIT("\"\xC0\x80\""), "[1:2] Invalid UTF-8 sequence"},
    {STR_INIT("\"\xC1\xBF\""), "[1:2] Invalid UTF-8 sequence"},
    {STR_INIT("\"\xE0\x9F\xBF\""), "[1:2] Invalid UTF-8 sequence"},
    {STR_INIT("\"\xED\xA0\x80\""), "[1:2] Invalid UTF-8 sequence"},
    {STR_INIT("\"\xF0\x8F\xBF\xBF\""), "[1:2] Invalid UTF-8 sequence"},
    {STR_INIT("\"\xF4\x90\x80\x80\""), "[1:2] Invalid UTF-8 sequence"},
    {STR_INIT("\"\xF5\x80\x80\x80\""), "[1:2] Invalid UTF-8 sequence"},
    {STR_INIT("\"\xE2\x82\""), "[1:2] Invalid UTF-8 sequence"},
    {STR_INIT("\"ab\xC3"), "[1:4] Invalid UTF-8 sequence"},
    {STR_INIT("{\"\xC3\":1}"), "[1:3] Invalid UTF-8 sequence"},
    {STR_INIT("\xC3\xA9"), "[1:1] Unexpected character (byte 0xc3)"},
};

static void accepts(void **state)
{
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        parse(good[i]);
}

static void refuses(void **state)
{
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        /* From the heap and to the byte, so that a sanitizer sees a read too far. */
        char *copy = malloc(bad[i].text.n + 1);
        assert_non_null(copy);
        memcpy(copy, bad[i].text.p, bad[i].text.n);
        copy = realloc(copy, bad[i].text.n ? bad[i].text.n : 1);
        const struct json *root;
        struct err *e = json_parse(arena, str_n(copy, bad[i].text.n), &root);
        if (!e)
            fail_msg("accepted [%.*s]", STR_ARG(bad[i].text));
        assert_int_equal(e->kind, ERR_X_CONTENT);
        if (strncmp(e->reason, bad[i].error, strlen(bad[i].error)) != 0)
            fail_msg("[%.*s]: %s", STR_ARG(bad[i].text), e->reason);
        err_free(e);
        free(copy);
    }
}

static void strings(void **state)
{
    struct str s;
    assert_true(json_str(parse(STR("\"plain\"")), &s));
    assert_true(str_eq(s, STR("plain")));
    assert_true(json_str(parse(STR("\"a\\u00e9\\n\\/\\ud83d\\ude00z\\u0000\"")), &s));
    assert_true(str_eq(s, STR("a\xC3\xA9\n/\xF0\x9F\x98\x80z\0")));
    assert_true(str_eq(json_raw(parse(STR(" \"a\\n\" "))), STR("\"a\\n\"")));
    assert_false(json_str(parse(STR("1")), &s));
    assert_false(json_str(NULL, &s));
}

/* Stops at every offset within and around the 16 bytes that are looked at together. */
static void strings_by_length(void **state)
{
    for (size_t n = 0; n < 70; n++) {
        for (size_t special = 0; special <= n; special++) {
            char text[128], want[128];
            size_t t = 0, w = 0;
            text[t++] = '"';
            for (size_t i = 0; i < n; i++) {
                if (i == special)
                    text[t++] = '\\';
                text[t++] = i == special ? '"' : 'x';
                want[w++] = i == special ? '"' : 'x';
            }
            text[t++] = '"';
            struct str s;
            assert_true(json_str(parse(str_n(text, t)), &s));
            assert_true(str_eq(s, str_n(want, w)));
        }
    }
}

static void lookups(void **state)
{
    struct str text = STR("{\"a\":{\"b\":[{\"c\":null},[1,2],true,\"x\"]},\"d\":-5}");
    const struct json *root = parse(text);
    assert_int_equal(root->n, 2);
    assert_int_equal(root->skip, 9);
    const struct json *list = json_path(root, "a", "b", NULL);
    assert_true(json_is(list, JSON_ARRAY));
    assert_int_equal(list->n, 4);
    assert_true(json_is_null(json_get(json_at(list, 0), "c")));
    assert_true(json_at(list, 1)->flat);
    bool yes = false;
    assert_true(json_bool(json_at(list, 2), &yes) && yes);
    assert_null(json_at(list, 4));
    assert_null(json_at(json_at(list, 1), 0)); /* flat */
    assert_null(json_path(root, "a", "x", "y", NULL));
    assert_null(json_get(list, "a"));
    assert_true(str_eq(json_get(root, "d")->key, STR("d")));
    assert_null(json_get(NULL, "a"));
    assert_null(json_at(NULL, 0));
    assert_false(json_is(NULL, JSON_NULL));
    assert_true(json_is_null(NULL));
    int line, column;
    json_where(text, json_get(root, "d"), &line, &column);
    assert_int_equal(line, 1);
    assert_int_equal(column, 44);
}

static void where(void **state)
{
    struct str text = STR("{\r\n \"a\":1,\r\r\n\n\t\"b\": 2}");
    int line, column;
    json_where(text, json_get(parse(text), "b"), &line, &column);
    assert_int_equal(line, 5);
    assert_int_equal(column, 7);
}

static void copies(void **state)
{
    char text[] = "{\"a\":\"xyz\"}";
    const struct json *root;
    assert_null(json_parse_copy(arena, str_c(text), &root));
    memset(text, '#', sizeof text);
    struct str s;
    assert_true(json_str(json_get(root, "a"), &s));
    assert_true(str_eq(s, STR("xyz")));
}

static void integers(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        int64_t value;
    } cases[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"99999999999999999999999", false, 0},
        {"18446744073709551616", false, 0},
        {"1.0", false, 0},
        {"1e2", false, 0},
        {"\"1\"", false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t v = 0;
        assert_int_equal(json_i64(parse(str_c(cases[i].text)), &v), cases[i].ok);
        assert_int_equal(v, cases[i].value);
    }
    int64_t v;
    assert_false(json_i64(NULL, &v));
}

static void assert_nested(size_t depth, const char *open, const char *close, bool ok)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    for (size_t i = 0; i < depth; i++)
        buf_cstr(&b, open);
    for (size_t i = 0; i < depth && close; i++)
        buf_cstr(&b, close);
    const struct json *root;
    struct err *e = json_parse(arena, buf_str(&b), &root);
    assert_int_equal(e == NULL, ok);
    if (e)
        assert_int_equal(e->kind, ERR_X_CONTENT);
    err_free(e);
    buf_deinit(&b);
}

static void depth(void **state)
{
    assert_nested(JSON_MAX_DEPTH, "[", "]", true);
    assert_nested(JSON_MAX_DEPTH + 1, "[", "]", false);
    assert_nested(100000, "[", NULL, false);
    assert_nested(100000, "{\"a\":", NULL, false);
    assert_nested(JSON_MAX_DEPTH - 1, "[0,", "[0]]", false);
    assert_nested(JSON_MAX_DEPTH, "[0,[0],", "0]", false);
}

/* 100,000 members, then the same with the first name once more. */
static void many_members(void **state)
{
    struct buf b;
    buf_init(&b, 1 << 24);
    buf_char(&b, '{');
    for (int i = 0; i < 100000; i++)
        buf_printf(&b, "\"k%d\":[],", i);
    size_t mark = b.n;
    buf_cstr(&b, "\"z\":1}");
    const struct json *root = parse(buf_str(&b));
    assert_int_equal(root->n, 100001);
    assert_int_equal(json_get(root, "z") - root, 100001);
    b.n = mark;
    buf_cstr(&b, "\"k0\":1}");
    struct err *e = json_parse(arena, buf_str(&b), &root);
    assert_non_null(e);
    assert_non_null(strstr(e->reason, "Duplicate field 'k0'"));
    err_free(e);
    buf_deinit(&b);
}

static void respects_the_ceiling(void **state)
{
    struct buf b;
    buf_init(&b, 1 << 24);
    for (int i = 0; i < 100000; i++)
        buf_cstr(&b, i ? ",[]" : "[[]");
    buf_char(&b, ']');
    struct arena *small = arena_new(1 << 20);
    const struct json *root;
    struct err *e = json_parse(small, buf_str(&b), &root);
    assert_non_null(e);
    assert_int_equal(e->kind, ERR_TOO_LARGE);
    err_free(e);
    arena_free(small);
    assert_int_equal(parse(buf_str(&b))->n, 100000);
    buf_deinit(&b);
}

/* Flat exactly when the plain reader finds nothing but numbers; the same elements either way. A
 * string put in front keeps the second copy from being flat. */
static void assert_same_elements(struct str elements)
{
    struct buf flat, full;
    buf_init(&flat, 1 << 20);
    buf_init(&full, 1 << 20);
    buf_printf(&flat, "[%.*s]", STR_ARG(elements));
    buf_printf(&full, "[\"\",%.*s]", STR_ARG(elements));
    const struct json *a = NULL, *b = NULL;
    struct err *ea = json_parse(arena, buf_str(&flat), &a);
    struct err *eb = json_parse(arena, buf_str(&full), &b);
    if (!ea != !eb)
        fail_msg("[%.*s]: %s", STR_ARG(elements), ea ? ea->reason : eb->reason);
    if (!ea) {
        struct json_iter ia = json_iter(a), ib = json_iter(b);
        json_next(&ib);
        const struct json *va, *vb;
        bool numbers = true;
        assert_int_equal(a->n, b->n - 1);
        while ((vb = json_next(&ib))) {
            va = json_next(&ia);
            assert_non_null(va);
            assert_true(str_eq(json_raw(va), json_raw(vb)));
            numbers &= vb->type == JSON_NUMBER;
        }
        assert_null(json_next(&ia));
        assert_int_equal(a->flat, numbers);
    }
    err_free(ea);
    err_free(eb);
    buf_deinit(&flat);
    buf_deinit(&full);
}

static uint32_t random_state;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)random_state * n >> 32);
}

/* Long rows of numbers with, now and then, one character changed. */
static void flat_against_plain(void **state)
{
    static const char *const numbers[] = {"0",
                                          "-0",
                                          "1",
                                          "-12",
                                          "0.5",
                                          "-0.0123456789",
                                          "1e5",
                                          "1E-7",
                                          "-1.5e+300",
                                          "12345678901234567",
                                          "-0.00692928349599242",
                                          "7.7e-05",
                                          "100"};
    static const char *const gaps[] = {",", ",", ",", ",", ", ", " ,", "\n,\t", " , \r\n "};
    static const char changes[] = "0123456789-+.eE, \n[]xN\"";
    random_state = 7;
    for (int round = 0; round < 4000; round++) {
        struct buf b;
        buf_init(&b, 1 << 16);
        uint32_t n = 2 + random_below(40), n_gaps = round % 2 ? 8 : 1;
        for (uint32_t i = 0; i < n; i++) {
            if (i)
                buf_cstr(&b, gaps[random_below(n_gaps)]);
            buf_cstr(&b, numbers[random_below(13)]);
        }
        if (round % 8)
            b.p[random_below((uint32_t)b.n)] = changes[random_below(sizeof changes - 1)];
        assert_same_elements(buf_str(&b));
        buf_deinit(&b);
        arena_reset(arena);
    }
}

/* One number that floats cannot hold, or that only looks like it, at every place of a row. */
static void numbers_beyond_floats(void **state)
{
    static const struct {
        const char *text;
        bool fits;
    } cases[] = {
        {"1e999", false},
        {"-1E+39", false},
        {"3.4028235677973366e38", false}, /* the midpoint: IEEE 754, 4.3.1 */
        {"3.402823567797336e38", true},
        {"-3.4028235e+38", true},
        {"1e-999", true},
        {"1e0000000038", true},
        {"1e0000000039", false},
        {"340282346638528859811704183484516925440", true},
        {"1000000000000000000000000000000000000000", false},
        {"0.00000000000000000000000000000000000000000000000000000000000001e99", true},
        {"0.00000000000000000000000000000000000000000000000000000000000001e999", false},
        {"100000000000000000000000000000000000000000000000000000000000000e-62", true},
        {"12345678901234567890123456789012345678901234567890123456789012345678", false},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        for (int at = 0; at < 24; at++) {
            struct buf b;
            buf_init(&b, 1 << 12);
            for (int i = 0; i < 24; i++)
                buf_printf(&b, "%c%s", i ? ',' : '[', i == at ? cases[c].text : "-0.0151e-2");
            buf_char(&b, ']');
            struct str out = {0};
            const struct json *j = parse(buf_str(&b));
            assert_true(j->flat);
            assert_int_equal(json_all_finite(j, &out), cases[c].fits);
            if (!cases[c].fits)
                assert_true(str_eq_c(out, cases[c].text));
            buf_deinit(&b);
        }
        float f;
        assert_int_equal(json_f32(parse(str_c(cases[c].text)), &f), cases[c].fits);
        arena_reset(arena);
    }
    struct str out;
    assert_true(json_all_finite(NULL, &out));
    assert_false(parse(STR("[0.1,-0.22,3e-5,12345678]"))->wide);
    assert_true(json_all_finite(parse(STR("[\"1e999\"]")), &out)); /* not flat: no numbers */
}

static void flat_arrays(void **state)
{
    const struct json *j = parse(STR("{\"a\":[ 1 ,2.50, -3e2 ],\"b\":[1,null],\"c\":[]}"));
    const struct json *a = json_get(j, "a");
    assert_true(a->flat);
    assert_int_equal(a->n, 3);
    assert_int_equal(a->skip, 1);
    assert_true(str_eq(json_raw(a), STR("[ 1 ,2.50, -3e2 ]")));
    struct json_iter it = json_iter(a);
    assert_true(str_eq(json_next(&it)->text, STR("1")));
    const struct json *v = json_next(&it);
    assert_true(str_eq(v->text, STR("2.50")));
    assert_int_equal(v->type, JSON_NUMBER);
    assert_true(str_eq(json_raw(json_next(&it)), STR("-3e2")));
    assert_null(json_next(&it));
    assert_null(json_next(&it));
    float f[3];
    assert_true(json_numbers(a, f, 3));
    assert_true(f[0] == 1 && f[1] == 2.5F && f[2] == -300);
    assert_false(json_numbers(a, f, 2));
    assert_false(json_get(j, "b")->flat);
    assert_false(json_numbers(json_get(j, "b"), f, 2));
    assert_false(json_get(j, "c")->flat);
    assert_true(json_numbers(json_get(j, "c"), f, 0));
    assert_false(json_numbers(NULL, f, 0));
}

static void assert_reads_as(const char *text, float want32, double want64)
{
    char array[2100];
    snprintf(array, sizeof array, "[%s]", text);
    float f;
    double d;
    assert_true(json_numbers(parse(str_c(array)), &f, 1));
    if (memcmp(&f, &want32, sizeof f) != 0)
        fail_msg("%s read as float %a, not %a", text, (double)f, (double)want32);
    bool ok = json_f64(parse(str_c(text)), &d);
    if (want64 - want64 != 0) /* infinite */
        assert_false(ok);
    else if (!ok || memcmp(&d, &want64, sizeof d) != 0)
        fail_msg("%s read as double %a, not %a", text, d, want64);
}

/* strtof and strtod are the reference. */
static void conversions(void **state)
{
    static const char *const hard[] = {
        "0",
        "-0",
        "-0.0e9",
        "1",
        "0.1",
        "1e22",
        "1e23",
        "9007199254740993",
        "16777217",
        "16777219",
        "1.00000005960464477539062500000000000000000000000000000000001", /* just above a midpoint */
        "1.000000059604644775390625",
        "1.00000005960464477539062499999999999999999999999999999999",
        "1.4e-45",
        "7.0e-46",
        "7.1e-46",
        "1.17549435e-38",
        "1.1754943e-38",
        "3.4028235e38",
        "3.4028236e38",
        "3.40282356779733661637539395458142568447e38",
        "3.5e38",
        "1e39",
        "1e400",
        "-1e400",
        "1e-400",
        "0e999999999999",
        "1e-999999999999999999999",
        "4.9e-324",
        "2.4e-324",
        "2.2250738585072011e-308",
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "123456789012345678901234567890",
        "0.000000000000000000000000000000000000123456789",
        "8.41e21",
        "1.1125369292536007e-308",
        "0.0069292834959924220001",
        "2e0000000000000000001",
    };
    for (size_t i = 0; i < sizeof hard / sizeof *hard; i++)
        assert_reads_as(hard[i], strtof(hard[i], NULL), strtod(hard[i], NULL));
    random_state = 11;
    for (int i = 0; i < 50000; i++) {
        char text[64], *p = text;
        uint32_t n = 1 + random_below(22), point = random_below(25);
        p += snprintf(p, 16, "%s%u", i % 2 ? "-" : "", random_below(10));
        for (uint32_t k = 0; k < n && text[i % 2] != '0'; k++)
            *p++ = (char)('0' + random_below(10));
        if (point < 23) {
            *p++ = '.';
            for (uint32_t k = 0; k <= point; k++)
                *p++ = (char)('0' + random_below(10));
        }
        *p = '\0';
        if (i % 3 == 0)
            snprintf(p, 13, "e%d", (int)random_below(110) - 60);
        assert_reads_as(text, strtof(text, NULL), strtod(text, NULL));
        arena_reset(arena);
    }
}

/* A thousand digits and more: the last one decides. */
static void long_numbers(void **state)
{
    char text[2000];
    for (int last = 0; last <= 1; last++) {
        memset(text, '0', sizeof text);
        memcpy(text, "1.000000059604644775390625", 26);
        text[1500] = (char)('0' + last);
        text[1501] = '\0';
        assert_reads_as(text, strtof(text, NULL), strtod(text, NULL));
        memcpy(text, "9007199254740993", 16);
        memcpy(text + 1501, "e-1485", 7);
        assert_reads_as(text, strtof(text, NULL), strtod(text, NULL));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts),
        cmocka_unit_test(refuses),
        cmocka_unit_test(strings),
        cmocka_unit_test(strings_by_length),
        cmocka_unit_test(lookups),
        cmocka_unit_test(where),
        cmocka_unit_test(copies),
        cmocka_unit_test(integers),
        cmocka_unit_test(depth),
        cmocka_unit_test(many_members),
        cmocka_unit_test(respects_the_ceiling),
        cmocka_unit_test(flat_arrays),
        cmocka_unit_test(numbers_beyond_floats),
        cmocka_unit_test(flat_against_plain),
        cmocka_unit_test(conversions),
        cmocka_unit_test(long_numbers),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
