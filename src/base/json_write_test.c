#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "json.h"

static void assert_text(const struct buf *b, struct str want)
{
    if (!str_eq(buf_str(b), want))
        fail_msg("wrote [%.*s], not [%.*s]", (int)b->n, b->p, STR_ARG(want));
}

static void structure(void **state)
{
    struct buf b;
    buf_init(&b, 10000);
    struct json_out w;
    json_out_init(&w, &b);
    json_obj(&w);
    json_key_str(&w, "s", STR("x"));
    json_key(&w, "a");
    json_arr(&w);
    json_arr(&w);
    json_end(&w);
    json_obj(&w);
    json_end(&w);
    json_put_i64(&w, INT64_MIN);
    json_put_i64(&w, INT64_MAX);
    json_put_i64(&w, 0);
    json_put_bool(&w, true);
    json_put_null(&w);
    json_put_cstr(&w, NULL);
    json_end(&w);
    json_key_cstr(&w, "c", "d");
    json_key_cstr(&w, "n", NULL);
    json_key_i64(&w, "i", -5);
    json_key_f64(&w, "f", 2);
    json_key_bool(&w, "b", false);
    json_key_raw(&w, "r", STR("[1]"));
    json_key_s(&w, STR("k\"\0"));
    json_put_f32(&w, 0.1F);
    json_end(&w);
    assert_text(&b, STR("{\"s\":\"x\",\"a\":[[],{},-9223372036854775808,9223372036854775807,0,true,"
                        "null,null],\"c\":\"d\",\"n\":null,\"i\":-5,\"f\":2.0,\"b\":false,"
                        "\"r\":[1],\"k\\\"\\u0000\":0.1}"));
    buf_deinit(&b);
}

static void deep(void **state)
{
    struct buf b;
    buf_init(&b, 10000);
    struct json_out w;
    json_out_init(&w, &b);
    for (int i = 0; i < JSON_MAX_DEPTH; i++) {
        json_arr(&w);
        json_obj(&w);
        if (w.depth >= JSON_MAX_DEPTH)
            break;
        json_key(&w, "a");
    }
    while (w.depth > 0)
        json_end(&w);
    assert_int_equal(b.p[0], '[');
    assert_int_equal(b.p[b.n - 1], ']');
    buf_deinit(&b);
}

static void quoting(void **state)
{
    static const struct {
        struct str in, out;
    } cases[] = {
        {STR_INIT(""), STR_INIT("\"\"")},
        {STR_INIT("a/b"), STR_INIT("\"a/b\"")},
        {STR_INIT("\"\\\n\r\t\b\f"), STR_INIT("\"\\\"\\\\\\n\\r\\t\\b\\f\"")},
        {STR_INIT("\0\x01\x1f\x0b\x7f"), STR_INIT("\"\\u0000\\u0001\\u001F\\u000B\x7f\"")},
        {STR_INIT("h\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80!"),
         STR_INIT("\"h\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80!\"")},
        {STR_INIT("a\xFFz"), STR_INIT("\"a\xEF\xBF\xBDz\"")},
        {STR_INIT("\xC3"), STR_INIT("\"\xEF\xBF\xBD\"")},
        {STR_INIT("\xC3\"x"), STR_INIT("\"\xEF\xBF\xBD\\\"x\"")},
        {STR_INIT("\xED\xA0\x80"), STR_INIT("\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"")},
        {STR_INIT("0123456789abcdef0123456789\n0123456789abcdef"),
         STR_INIT("\"0123456789abcdef0123456789\\n0123456789abcdef\"")},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b;
        buf_init(&b, 1000);
        json_quote(&b, cases[i].in);
        assert_text(&b, cases[i].out);
        buf_deinit(&b);
    }
}

static void nodes(void **state)
{
    static const struct {
        struct str in, out;
    } cases[] = {
        {STR_INIT(" 1.50 "), STR_INIT("1.50")},
        {STR_INIT("{ \"a b\" : [ 1 , 2 ,\n\t3 ] , \"c\\\" \" : \" x  y \" }"),
         STR_INIT("{\"a b\":[1,2,3],\"c\\\" \":\" x  y \"}")},
        {STR_INIT("[\"\xC3\xA9 \\u00e9\\\\\" , null ]"),
         STR_INIT("[\"\xC3\xA9 \\u00e9\\\\\",null]")},
        {STR_INIT("[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8, 0.9]"),
         STR_INIT("[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9]")},
    };
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b;
        buf_init(&b, 1000);
        struct json_out w;
        json_out_init(&w, &b);
        const struct json *j;
        assert_null(json_parse(a, cases[i].in, &j));
        json_put_node(&w, j);
        assert_text(&b, cases[i].out);
        buf_deinit(&b);
    }
    arena_free(a);
}

/* Numbers with growing and shrinking white space between them, around every block boundary. */
static void flat_array(struct buf *spaced, struct buf *tight, size_t n)
{
    static const char space[] =
        " \n  \t \r      \n                                                   "
        "                              ";
    buf_init(spaced, 100000);
    buf_init(tight, 100000);
    buf_char(spaced, '[');
    buf_char(tight, '[');
    for (size_t i = 0; i < n; i++) {
        char number[40];
        snprintf(number, sizeof number, "%.*f", (int)(i * 7 % 23), (double)i * -0.37);
        buf_cstr(tight, i ? "," : "");
        buf_cstr(tight, number);
        buf_cstr(spaced, i ? "," : "");
        buf_put(spaced, str_n(space, i * 5 % n));
        buf_cstr(spaced, number);
        buf_put(spaced, str_n(space, i * 3 % 19));
    }
    buf_char(spaced, ']');
    buf_char(tight, ']');
}

static void pretty_flat_arrays(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    for (size_t n = 1; n < 80; n++) {
        struct buf spaced, tight, b;
        flat_array(&spaced, &tight, n);
        const struct json *j;
        assert_null(json_parse(a, buf_str(&spaced), &j));
        assert_true(j->flat);
        /* Ceilings: just enough, one short, and ample. */
        const size_t limits[] = {tight.n, tight.n - 1, 100000};
        for (int i = 0; i < 3; i++) {
            buf_init(&b, limits[i]);
            struct json_out w;
            json_out_init(&w, &b);
            json_put_node(&w, j);
            if (i == 1)
                assert_true(b.full && b.n < tight.n);
            else
                assert_true(!b.full && str_eq(buf_str(&b), buf_str(&tight)));
            buf_deinit(&b);
        }
        buf_deinit(&spaced);
        buf_deinit(&tight);
    }
    arena_free(a);
}

static void quote_at_the_ceiling(void **state)
{
    static const struct {
        size_t limit;
        struct str in;
        bool fits;
    } cases[] = {
        {5, STR_INIT("abc"), true},   {4, STR_INIT("abc"), false}, {2, STR_INIT(""), true},
        {1, STR_INIT(""), false},     {0, STR_INIT("a"), false},   {6, STR_INIT("ab\n"), true},
        {5, STR_INIT("ab\n"), false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b;
        buf_init(&b, cases[i].limit);
        json_quote(&b, cases[i].in);
        assert_int_equal(b.full, !cases[i].fits);
        assert_true(b.n <= cases[i].limit);
        buf_deinit(&b);
    }
}

static void full(void **state)
{
    struct buf b;
    buf_init(&b, 10);
    struct json_out w;
    json_out_init(&w, &b);
    json_arr(&w);
    for (int i = 0; i < 100; i++)
        json_put_i64(&w, i);
    json_end(&w);
    assert_true(b.full);
    assert_true(b.n <= 10);
    buf_deinit(&b);
}

static void put_float(struct buf *b, bool single, double x)
{
    struct json_out w;
    buf_clear(b);
    json_out_init(&w, b);
    if (single)
        json_put_f32(&w, (float)x);
    else
        json_put_f64(&w, x);
    buf_char(b, '\0');
}

/* Texts as java.lang.Float.toString and Double.toString give them. */
static void java_layout(void **state)
{
    static const struct {
        double x;
        const char *f32, *f64;
    } cases[] = {
        {0.0, "0.0", "0.0"},
        {-0.0, "-0.0", "-0.0"},
        {1.0, "1.0", "1.0"},
        {-2.5, "-2.5", "-2.5"},
        {0.25, "0.25", "0.25"},
        {100.0, "100.0", "100.0"},
        {0.001, "0.001", "0.001"},
        {0.0009765625, "9.765625E-4", "9.765625E-4"},
        {1e-4, "1.0E-4", "1.0E-4"},
        {-7.7057e-4, "-7.7057E-4", "-7.7057E-4"},
        {9999999.0, "9999999.0", "9999999.0"},
        {1e7, "1.0E7", "1.0E7"},
        {12345678.0, "1.2345678E7", "1.2345678E7"},
        {1e10, "1.0E10", "1.0E10"},
        {123456.789, "123456.79", "123456.789"},
        {2e23, "2.0E23", "2.0E23"},
        {0x1p-149, "1.4E-45", "1.401298464324817E-45"},
        {0x1p-148, "2.8E-45", "2.802596928649634E-45"},
        {0x1.fffffep127, "3.4028235E38", "3.4028234663852886E38"},
        {0x1p-126, "1.1754944E-38", "1.1754943508222875E-38"},
        {0x1p-44, "5.684342E-14", "5.684341886080802E-14"},
        {4.9e-324, "0.0", "4.9E-324"},
        {9.9e-324, "0.0", "9.9E-324"},
        {2e-323, "0.0", "2.0E-323"},
        {1.7976931348623157e308, "\"Infinity\"", "1.7976931348623157E308"},
        {(double)-INFINITY, "\"-Infinity\"", "\"-Infinity\""},
        {(double)NAN, "\"NaN\"", "\"NaN\""},
    };
    struct buf b;
    buf_init(&b, 100);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        /* Beyond float's range the conversion would be undefined, so it is spelled out. */
        double x = cases[i].x;
        put_float(&b, true, x > 3.5e38 ? (double)INFINITY : x);
        assert_string_equal(b.p, cases[i].f32);
        put_float(&b, false, x);
        assert_string_equal(b.p, cases[i].f64);
    }
    buf_deinit(&b);
}

/* Significant digits of a written number. */
static int significant(const char *p)
{
    int n = 0, zeros = 0;
    for (; *p && *p != 'E'; p++) {
        if (*p < '0' || *p > '9' || (n == 0 && *p == '0'))
            continue;
        n++;
        zeros = *p == '0' ? zeros + 1 : 0;
    }
    return n - zeros;
}

static double reread(const char *text, bool single)
{
    return single ? (double)strtof(text, NULL) : strtod(text, NULL);
}

/* The fewest digits that read back, by trial. Rounding to a number of digits finds the nearest such
 * decimal, which may miss a shorter one just below a power of two: there we may be shorter. */
static void assert_shortest(double x, bool single, const char *got)
{
    if (reread(got, single) != x)
        fail_msg("%s does not read back as %a", got, x);
    int n = significant(got);
    char tried[64];
    for (int i = 1; i < n; i++) {
        snprintf(tried, sizeof tried, "%.*e", i - 1, x);
        if (reread(tried, single) == x && !(n == 2 && i == 1)) /* Java prints two digits at least */
            fail_msg("%s is longer than %s", got, tried);
    }
    snprintf(tried, sizeof tried, "%.*e", n - 1, x);
    if (reread(tried, single) == x && strtod(tried, NULL) != strtod(got, NULL))
        fail_msg("%s is not as near as %s", got, tried);
}

static uint64_t random_bits(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static void shortest_f32(void **state)
{
    struct buf b;
    buf_init(&b, 100);
    uint64_t s = 88172645463325252;
    for (int i = 0; i < 200000; i++) {
        uint32_t bits = (uint32_t)(random_bits(&s) >> 16);
        if (i % 64 == 0)
            bits &= 0xFF800000; /* a power of two */
        if (i % 64 == 1)
            bits &= 0x800FFFFF; /* below the normal numbers */
        float x;
        memcpy(&x, &bits, sizeof x);
        if (!isfinite(x) || x == 0)
            continue;
        put_float(&b, true, (double)x);
        assert_shortest((double)x, true, b.p);
    }
    buf_deinit(&b);
}

static void shortest_f64(void **state)
{
    struct buf b;
    buf_init(&b, 100);
    uint64_t s = 88172645463325252;
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = random_bits(&s);
        if (i % 64 == 0)
            bits &= UINT64_C(0xFFF0000000000000);
        if (i % 64 == 1)
            bits &= UINT64_C(0x800FFFFFFFFFFFFF);
        double x;
        memcpy(&x, &bits, sizeof x);
        if (i % 4 == 3)
            x = (double)((int64_t)bits >> 40) / 1000; /* a short decimal */
        if (!isfinite(x) || x == 0)
            continue;
        put_float(&b, false, x);
        assert_shortest(x, false, b.p);
    }
    buf_deinit(&b);
}

static void arrays_of_floats(void **state)
{
    static float v[5000];
    struct buf b, want;
    buf_init(&b, 1 << 20);
    buf_init(&want, 1 << 20);
    for (size_t i = 0; i < 5000; i++)
        v[i] = ((float)i - 2500) * 1e-7F;
    v[7] = NAN;
    for (size_t n = 0; n <= 5000; n += n < 3 ? 1 : 833) {
        struct json_out w;
        buf_clear(&b);
        buf_clear(&want);
        json_out_init(&w, &b);
        json_put_floats(&w, v, n);
        json_out_init(&w, &want);
        json_arr(&w);
        for (size_t i = 0; i < n; i++)
            json_put_f32(&w, v[i]);
        json_end(&w);
        assert_text(&b, buf_str(&want));
    }
    buf_deinit(&b);
    buf_deinit(&want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(structure),
        cmocka_unit_test(deep),
        cmocka_unit_test(quoting),
        cmocka_unit_test(nodes),
        cmocka_unit_test(pretty_flat_arrays),
        cmocka_unit_test(quote_at_the_ceiling),
        cmocka_unit_test(full),
        cmocka_unit_test(java_layout),
        cmocka_unit_test(shortest_f32),
        cmocka_unit_test(shortest_f64),
        cmocka_unit_test(arrays_of_floats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
