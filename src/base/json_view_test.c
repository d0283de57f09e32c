#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "json_view.h"

static void assert_text(const struct buf *b, const char *want)
{
    struct buf z;
    buf_init(&z, 1 << 20);
    buf_put(&z, buf_str(b));
    buf_char(&z, '\0');
    assert_string_equal(z.p, want);
    buf_deinit(&z);
}

static const struct json *parse(struct arena *a, const char *text)
{
    const struct json *root;
    assert_null(json_parse(a, str_c(text), &root));
    return root;
}

static void assert_view(void (*view)(const struct json *, struct buf *), const char *text,
                        const char *want)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct buf b;
    buf_init(&b, 1 << 20);
    view(parse(a, text), &b);
    assert_text(&b, want);
    buf_deinit(&b);
    arena_free(a);
}

static void pretty(void **state)
{
    assert_view(json_pretty, "1", "1\n");
    assert_view(json_pretty, "{}", "{ }\n");
    assert_view(json_pretty, "[]", "[ ]\n");
    assert_view(json_pretty, "[1.0,-2E5]", "[\n  1.0,\n  -2E5\n]\n");
    assert_view(json_pretty, "{\"a\":{\"b\":[],\"c\":[{\"d\":\"x\\ny\\u0001\"},null]},\"e\":{}}",
                "{\n"
                "  \"a\" : {\n"
                "    \"b\" : [ ],\n"
                "    \"c\" : [\n"
                "      {\n"
                "        \"d\" : \"x\\ny\\u0001\"\n"
                "      },\n"
                "      null\n"
                "    ]\n"
                "  },\n"
                "  \"e\" : { }\n"
                "}\n");
}

static void yaml(void **state)
{
    assert_view(json_yaml, "\"a\\\"b\"", "--- \"a\\\"b\"\n");
    assert_view(json_yaml, "{}", "--- {}\n");
    assert_view(json_yaml, "[1,[2,[3,4]],[],{}]",
                "---\n- 1\n- - 2\n  - - 3\n    - 4\n- []\n- {}\n");
    assert_view(json_yaml,
                "{\"a\":{\"b\":true,\"c\":[{\"d\":\"x\",\"e\":[0.5]},null]},\"1x\":{},\"no\":[]}",
                "---\n"
                "a:\n"
                "  b: true\n"
                "  c:\n"
                "  - d: \"x\"\n"
                "    e:\n"
                "    - 0.5\n"
                "  - null\n"
                "\"1x\": {}\n"
                "\"no\": []\n");
}

#define DOC                                                                                        \
    "{\"took\":1,\"hits\":{\"total\":{\"value\":2},\"hits\":[{\"_id\":\"a\",\"_source\":{\"x\":1," \
    "\"y\":[1,2]}},{\"_id\":\"b\",\"_source\":{\"x\":3}},{\"other\":0}],\"empty\":{}},"            \
    "\"e\":[],\"with.dot\":5,\"hint\":\"t\"}"

static void assert_filter(const char *text, const char *filter, const char *want)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_null(json_filter(parse(a, text), str_c(filter), &b));
    assert_text(&b, want);
    buf_deinit(&b);
    arena_free(a);
}

static void filter_includes(void **state)
{
    assert_filter(DOC, "took", "{\"took\":1}");
    assert_filter(DOC, "took , hint", "{\"took\":1,\"hint\":\"t\"}");
    assert_filter(DOC, "", DOC);
    assert_filter(DOC, ",,", DOC);
    assert_filter(DOC, "none", "{}");
    assert_filter(DOC, "took.deeper", "{}");
    assert_filter(DOC, "hits.hits._id", "{\"hits\":{\"hits\":[{\"_id\":\"a\"},{\"_id\":\"b\"}]}}");
    assert_filter(DOC, "hits.hits._source.y",
                  "{\"hits\":{\"hits\":[{\"_source\":{\"y\":[1,2]}}]}}");
    assert_filter(DOC, "hits.empty,e", "{\"hits\":{\"empty\":{}},\"e\":[]}");
    assert_filter(DOC, "with\\.dot", "{\"with.dot\":5}");
    assert_filter("[{\"a\":1,\"b\":2},3,{\"b\":1}]", "a", "[{\"a\":1}]");
    assert_filter("{ \"a\" : [ 1 , 2 ] }", "a", "{\"a\":[1,2]}");
}

static void filter_wildcards(void **state)
{
    assert_filter(DOC, "h*t", "{\"hint\":\"t\"}");
    assert_filter(DOC, "*ook", "{\"took\":1}");
    assert_filter(DOC, "hits.t*.*", "{\"hits\":{\"total\":{\"value\":2}}}");
    assert_filter(DOC, "**.x",
                  "{\"hits\":{\"hits\":[{\"_source\":{\"x\":1}},{\"_source\":{\"x\":3}}]}}");
    assert_filter(DOC, "hits.**.value", "{\"hits\":{\"total\":{\"value\":2}}}");
    assert_filter(DOC, "hits.total.**", "{\"hits\":{\"total\":{\"value\":2}}}");
    assert_filter(DOC, "*", DOC);
    assert_filter("{\"aXbXc\":1,\"aXb\":2}", "a*b*c", "{\"aXbXc\":1}");
}

static void filter_excludes(void **state)
{
    assert_filter(DOC, "-hits,-e,-h*,-with\\.dot", "{\"took\":1}");
    assert_filter("{\"a\":{\"b\":1,\"c\":{}},\"d\":[]}", "-a.b", "{\"a\":{\"c\":{}},\"d\":[]}");
    assert_filter("{\"a\":{\"b\":1},\"c\":2}", "-a.b", "{\"c\":2}");
    assert_filter("{\"a\":[{\"b\":1},{\"c\":1},5]}", "-a.b", "{\"a\":[{\"c\":1},5]}");
    assert_filter("{\"a\":{\"b\":1}}", "-**", "{}");
    assert_filter(DOC, "hits.hits._source.*,-**.y",
                  "{\"hits\":{\"hits\":[{\"_source\":{\"x\":1}},{\"_source\":{\"x\":3}}]}}");
    assert_filter(DOC, "took,-took", "{}");
}

static void filter_bad(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct buf b, many;
    buf_init(&b, 1000);
    buf_init(&many, 10000);
    for (int i = 0; i < 300; i++)
        buf_cstr(&many, "a.b,");
    struct str bad[] = {STR("a..b"), STR(".a"), STR("a."), STR("a\xff"), buf_str(&many)};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err *e = json_filter(parse(a, "{\"a\":1}"), bad[i], &b);
        assert_non_null(e);
        assert_int_equal(e->kind, ERR_ARGUMENT);
        err_free(e);
    }
    assert_int_equal(b.n, 0);
    buf_deinit(&b);
    buf_deinit(&many);
    arena_free(a);
}

/* A pattern of many stars against a long name must not take exponential time. */
static void filter_stars(void **state)
{
    struct buf b;
    buf_init(&b, 100000);
    buf_cstr(&b, "{\"");
    for (int i = 0; i < 20000; i++)
        buf_char(&b, 'a');
    buf_cstr(&b, "\":1}");
    buf_char(&b, '\0');
    assert_filter(b.p, "a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", "{}");
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pretty),          cmocka_unit_test(yaml),
        cmocka_unit_test(filter_includes), cmocka_unit_test(filter_wildcards),
        cmocka_unit_test(filter_excludes), cmocka_unit_test(filter_bad),
        cmocka_unit_test(filter_stars),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
