#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "mask.h"

enum { S_KEY, S_MAP, S_MODEL, N_S };

static const struct setting rows[N_S] = {
    [S_KEY] = {.name = "key", .place = IN_SECRET, .type = SETTING_STR, .tasks = TASK_ALL_BITS},
    [S_MAP] = {.name = "map", .place = IN_SECRET, .type = SETTING_STR_MAP, .tasks = TASK_ALL_BITS},
    [S_MODEL] = {.name = "model", .place = IN_SERVICE, .type = SETTING_STR, .tasks = TASK_ALL_BITS},
};
static const struct settings_table table = {.service = "t", .rows = rows, .n = N_S};

struct fixture {
    struct arena *arena;
    struct value v[N_S];
    struct endpoint ep;
    struct secret *key, *map;
    struct mask mask;
    struct buf out;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->arena = arena_new(ARENA_NO_LIMIT);
    f->key = secret_new(STR("a/b c"));
    f->map = secret_new(STR("{\"x\":\"tok\",\"y\":\"token\"}"));
    f->v[S_KEY] = (struct value){.set = true, .secret = f->key};
    f->v[S_MAP] = (struct value){.set = true, .secret = f->map};
    f->v[S_MODEL] = (struct value){.set = true, .s = STR("m")};
    f->ep.values = (struct values){&table, f->v};
    f->mask = mask_new(f->arena, &f->ep);
    buf_init(&f->out, 1 << 20);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    secret_unref(f->key);
    secret_unref(f->map);
    arena_free(f->arena);
    buf_deinit(&f->out);
    free(f);
    return 0;
}

static void assert_text(struct fixture *f, const char *in, const char *out)
{
    struct str masked = mask_text(&f->mask, str_c(in));
    assert_int_equal(masked.n, strlen(out));
    assert_memory_equal(masked.p, out, masked.n);
}

static void secrets_in_texts(void **state)
{
    struct fixture *f = *state;
    assert_text(f, "", "");
    assert_text(f, "model m", "model m");
    assert_text(f, "xa/b cy", "x***y");
    assert_text(f, "?key=a%2Fb%20c&z", "?key=***&z");
    assert_text(f, "token tok toke", "*** *** ***e"); /* the longest wins */
    assert_text(f, "a/b ca/b c", "******");
}

static void assert_request(struct fixture *f, const struct http_out *out, const char *expected)
{
    struct json_out w;
    json_out_init(&w, &f->out);
    mask_request(&f->mask, out, &w);
    buf_char(&f->out, '\0');
    assert_string_equal(f->out.p, expected);
}

static void requests(void **state)
{
    struct fixture *f = *state;
    struct http_out out = {.arena = f->arena,
                           .method = HTTP_POST,
                           .url = STR("http://u:p@h:1/p?k=tok"),
                           .body = STR("{\"tok\":[1,2.50,\"a\\/b c\"],\"n\":{\"k\":null}}")};
    http_header_add(&out.headers, STR("X-Any"), STR("Key tok"));
    http_header_add(&out.headers, STR("AUTHORIZATION"), STR("signed"));
    http_header_add(&out.headers, STR("Content-Type"), STR("application/json"));
    assert_request(f, &out,
                   "{\"method\":\"POST\",\"url\":\"http://***@h:1/p?k=***\",\"headers\":{"
                   "\"X-Any\":\"***\",\"AUTHORIZATION\":\"***\","
                   "\"Content-Type\":\"application/json\"},"
                   "\"body\":{\"***\":[1,2.50,\"***\"],\"n\":{\"k\":null}}}");
}

static void bodies_that_are_no_json(void **state)
{
    struct fixture *f = *state;
    struct http_out out = {
        .arena = f->arena, .method = HTTP_PUT, .url = STR("http://h/"), .body = STR("k=token&b")};
    assert_request(
        f, &out, "{\"method\":\"PUT\",\"url\":\"http://h/\",\"headers\":{},\"body\":\"k=***&b\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(secrets_in_texts, setup, teardown),
        cmocka_unit_test_setup_teardown(requests, setup, teardown),
        cmocka_unit_test_setup_teardown(bodies_that_are_no_json, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
