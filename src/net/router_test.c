#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "router.h"

/* Each row is the pattern itself, so that a failed comparison shows what was found. */
static const struct {
    enum method method;
    const char *pattern;
} rows[] = {
    {HTTP_GET, "/"},
    {HTTP_GET, "/_inference"},
    {HTTP_GET, "/_inference/_services"},
    {HTTP_GET, "/_inference/_services/{task_type}"},
    {HTTP_GET, "/_inference/{id}"},
    {HTTP_POST, "/_inference/{id}"},
    {HTTP_PUT, "/_inference/{inference_id}"},
    {HTTP_GET, "/_inference/{task_type}/{id}"},
    {HTTP_PUT, "/_inference/{task_type}/{id}"},
    {HTTP_POST, "/_inference/{task_type}/{id}/_stream"},
    {HTTP_POST, "/_inference/{task_type}/{id}/{op}"},
    {HTTP_DELETE, "/a/{p1}/{p2}/{p3}/{p4}/{p5}/{p6}"},
};

struct fixture {
    struct router *r;
    struct arena *arena;
    struct route_match m;
};

static int setup(void **state)
{
    static struct fixture f;
    f.r = router_new();
    f.arena = arena_new(ARENA_NO_LIMIT);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        router_add(f.r, rows[i].method, rows[i].pattern, rows[i].pattern);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    router_free(f->r);
    arena_free(f->arena);
    return 0;
}

static const char *find(struct fixture *f, enum method method, const char *path)
{
    router_find(f->r, f->arena, method, str_c(path), &f->m);
    return f->m.row ? f->m.row : "none";
}

static void assert_param(const struct fixture *f, const char *name, const char *value)
{
    struct str v = route_param(&f->m, name);
    assert_non_null(v.p);
    assert_int_equal(v.n, strlen(value));
    assert_memory_equal(v.p, value, v.n);
}

static void literal_wins_over_name(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(find(f, HTTP_GET, "/_inference/_services"), "/_inference/_services");
    assert_string_equal(find(f, HTTP_GET, "/_inference/_service"), "/_inference/{id}");
    assert_param(f, "id", "_service");
    assert_string_equal(find(f, HTTP_GET, "/_inference/_services/rerank"),
                        "/_inference/_services/{task_type}");
    assert_param(f, "task_type", "rerank");
    assert_null(route_param(&f->m, "id").p);
}

static void comes_back_from_a_literal_that_leads_nowhere(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(find(f, HTTP_PUT, "/_inference/_services"), "/_inference/{inference_id}");
    assert_param(f, "inference_id", "_services");
    assert_string_equal(find(f, HTTP_POST, "/_inference/_services/x/_stream"),
                        "/_inference/{task_type}/{id}/_stream");
    assert_param(f, "task_type", "_services");
    assert_string_equal(find(f, HTTP_PUT, "/_inference/_services/x"),
                        "/_inference/{task_type}/{id}");
    assert_string_equal(find(f, HTTP_POST, "/_inference/a/b/c"),
                        "/_inference/{task_type}/{id}/{op}");
    assert_param(f, "op", "c");
}

static void decodes_segments(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(find(f, HTTP_GET, "/%5Finference/a%2Fb%20+"), "/_inference/{id}");
    assert_param(f, "id", "a/b +");
    assert_string_equal(find(f, HTTP_GET, "/_inference/a%00b"), "none");
    assert_int_equal(f->m.allowed, 0);
    assert_string_equal(find(f, HTTP_GET, "/_inference/a%zz"), "none");
    assert_string_equal(find(f, HTTP_GET, "/_inference/a%2"), "none");
    router_find(f->r, f->arena, HTTP_GET, str_n("/_inference/a\0b", 15), &f->m);
    assert_null(f->m.row);
}

static void forgives_trailing_slashes_only(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(find(f, HTTP_GET, "/_inference/"), "/_inference");
    assert_string_equal(find(f, HTTP_GET, "/"), "/");
    assert_string_equal(find(f, HTTP_GET, "//"), "/");
    assert_string_equal(find(f, HTTP_GET, "//_inference"), "none");
    assert_string_equal(find(f, HTTP_GET, "/_inference//x"), "none");
    assert_string_equal(find(f, HTTP_GET, ""), "none");
    assert_string_equal(find(f, HTTP_GET, "_inference"), "none");
    assert_string_equal(find(f, HTTP_OPTIONS, "*"), "none");
}

static void tells_the_allowed_methods(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(find(f, HTTP_PATCH, "/_inference/_services"), "none");
    assert_int_equal(f->m.allowed, 1 << HTTP_GET | 1 << HTTP_HEAD | 1 << HTTP_POST | 1 << HTTP_PUT);
    assert_string_equal(find(f, HTTP_GET, "/_inference/a/b/_stream"), "none");
    assert_int_equal(f->m.allowed, 1 << HTTP_POST);
    assert_string_equal(find(f, HTTP_GET, "/nothing"), "none");
    assert_int_equal(f->m.allowed, 0);
}

static void head_falls_back_to_get(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(find(f, HTTP_HEAD, "/_inference/_services"), "/_inference/_services");
    assert_string_equal(find(f, HTTP_HEAD, "/_inference/a/b/_stream"), "none");
}

static void bounds_hold(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(find(f, HTTP_DELETE, "/a/1/2/3/4/5/6"), rows[11].pattern);
    assert_param(f, "p1", "1");
    assert_param(f, "p6", "6");
    assert_string_equal(find(f, HTTP_DELETE, "/a/1/2/3/4/5/6/7"), "none");
    assert_string_equal(find(f, HTTP_GET, "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18"), "none");
}

/* A caller may build the path on its stack; what was found must not point there. */
static void values_live_in_the_arena(void **state)
{
    struct fixture *f = *state;
    char path[] = "/_inference/keep";
    router_find(f->r, f->arena, HTTP_GET, str_c(path), &f->m);
    memset(path, 'x', sizeof path - 1);
    assert_param(f, "id", "keep");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literal_wins_over_name),
        cmocka_unit_test(comes_back_from_a_literal_that_leads_nowhere),
        cmocka_unit_test(decodes_segments),
        cmocka_unit_test(forgives_trailing_slashes_only),
        cmocka_unit_test(tells_the_allowed_methods),
        cmocka_unit_test(head_falls_back_to_get),
        cmocka_unit_test(bounds_hold),
        cmocka_unit_test(values_live_in_the_arena),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
