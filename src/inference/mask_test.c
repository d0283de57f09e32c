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

static void secrets_written_otherwise(void **state)
{
    struct fixture *f = *state;
    assert_text(f, "u\\u0061\\/\\u0062%20ct", "u***t");
    assert_text(f, "a\\\\\\/b c", "***"); /* escaped twice */
    assert_text(f, "%61/b%20%63", "***");
    assert_text(f, "a\\/b d \\ % %4 %zz \\u12 \\uD800 \\", "a\\/b d \\ % %4 %zz \\u12 \\uD800 \\");
}

/* What a service may send at most, in time that does not grow with its square. */
static void long_texts(void **state)
{
    struct fixture *f = *state;
    size_t n = 4 << 20;
    char *text = malloc(n);
    const char *hostile[] = {"\\", "%", "a/b ", "tok", "%5C"};
    assert_non_null(text);
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        size_t len = strlen(hostile[i]);
        for (size_t k = 0; k < n; k++)
            text[k] = hostile[i][k % len];
        assert_true(mask_text(&f->mask, str_n(text, n)).n > 0);
    }
    free(text);
}

static void assert_err(struct fixture *f, struct secret *key, const char *in, const char *out)
{
    struct err *e = err_wrap(err_new(ERR_ARGUMENT, "%s", in), ERR_STATUS, "Cause: %s", in);
    f->v[S_KEY].secret = key;
    mask_err(f->arena, &f->ep, NULL, e);
    assert_string_equal(e->reason + 7, out);
    assert_string_equal(e->cause->reason, out);
    err_free(e);
}

static void long_errors_are_cut(void **state)
{
    struct fixture *f = *state;
    char *text = calloc(1, (1 << 20) + 1);
    assert_non_null(text);
    for (size_t i = 1; i + 1 < 1 << 20; i += 2)
        memcpy(text + i, "\xC3\xA9", 2);
    text[0] = 'a';
    struct err *e = err_new(ERR_ARGUMENT, "%s", text);
    mask_err(f->arena, &f->ep, NULL, e);
    assert_int_equal(strlen(e->reason), (256 << 10) - 1);
    assert_true(str_utf8_ok(str_c(e->reason)));
    err_free(e);
    free(text);
}

/* The base64 is Python's. */
static void secrets_in_errors(void **state)
{
    struct fixture *f = *state;
    struct secret *key = secret_new(STR("s\"k-\xC3\xA9/\xF0\x9F\x98\x80-0123456789abcdef"));
    struct secret *odd = secret_new(STR("k\xFB\xFF\xBFkeykey%41"));
    assert_err(f, key, "[s\\\"k-\\u00e9\\/\\ud83d\\uDE00-0123456789abcdef]", "[***]");
    assert_err(f, key, "cut s\"k-\xC3\xA9/\xF0\x9F\x98\x80-01234", "cut ***");
    assert_err(f, key, "s\"k-\xC3\xA9 is how keys begin", "s\"k-\xC3\xA9 is how keys begin");
    assert_err(f, key, "Basic cyJrLcOpL/CfmIAtMDEyMzQ1Njc4OWFiY2RlZg==", "Basic ***g==");
    assert_err(f, key, "Basic dTpzImstw6kv8J+YgC0wMTIzNDU2Nzg5YWJjZGVm", "Basic dTp***");
    assert_err(f, key, "Basic dXU6cyJrLcOpL/CfmIAtMDEyMzQ1Njc4OWFiY2RlZg==", "Basic dXU6***g==");
    assert_err(f, key, "_ dXNlcjpzImstw6kv8J-YgC0wMTIzNDU2Nzg5YWJjZGVm", "_ dXNlcjp***");
    assert_err(f, odd, "k\xFB\xFF\xBFkeykey%41 k%FB%ff%BFkeykey%2541", "*** ***");
    f->v[S_KEY].secret = f->key;
    secret_unref(key);
    secret_unref(odd);
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
        cmocka_unit_test_setup_teardown(secrets_written_otherwise, setup, teardown),
        cmocka_unit_test_setup_teardown(long_texts, setup, teardown),
        cmocka_unit_test_setup_teardown(long_errors_are_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(secrets_in_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(requests, setup, teardown),
        cmocka_unit_test_setup_teardown(bodies_that_are_no_json, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
