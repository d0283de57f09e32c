/* What profiles are made of: ids, merging, and how well names fit what somebody types. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "profile.h"

static struct arena *a;

static int begin(void **state)
{
    (void)state;
    a = arena_new(ARENA_NO_LIMIT);
    return 0;
}

static int end(void **state)
{
    (void)state;
    arena_free(a);
    return 0;
}

static void ids_are_elasticsearchs(void **state)
{
    char uid[PROFILE_UID_CHARS + 1];
    (void)state;
    /* python3 -c 'import hashlib,base64;
     * print(base64.urlsafe_b64encode(hashlib.sha256(b"elastic").digest()))' */
    profile_uid(STR("elastic"), uid);
    assert_string_equal(uid, "u_mGBROF_q5bmFCATbLXAcCwKa0k8JvONAwSruelyKA5E_0");
}

static void assert_merged(const char *old, const char *added, const char *want)
{
    const struct json *x, *y;
    struct buf b;
    struct json_out w;
    buf_init(&b, 1 << 16);
    json_out_init(&w, &b);
    assert_null(json_parse(a, str_c(old), &x));
    assert_null(json_parse(a, str_c(added), &y));
    profile_merge(x, y, &w);
    buf_char(&b, '\0');
    assert_string_equal(b.p, want);
    buf_deinit(&b);
}

static void merging(void **state)
{
    (void)state;
    assert_merged("{}", "{}", "{}");
    assert_merged("{\"a\":1}", "{}", "{\"a\":1}");
    assert_merged("{}", "{\"a\":{\"b\":[1,2]}}", "{\"a\":{\"b\":[1,2]}}");
    assert_merged("{\"a\":1,\"b\":2}", "{\"b\":3,\"c\":4}", "{\"a\":1,\"b\":3,\"c\":4}");
    assert_merged("{\"a\":{\"x\":1,\"y\":{\"z\":2}}}", "{\"a\":{\"y\":{\"w\":3}}}",
                  "{\"a\":{\"x\":1,\"y\":{\"z\":2,\"w\":3}}}");
    assert_merged("{\"a\":{\"x\":1}}", "{\"a\":[1]}", "{\"a\":[1]}");
    assert_merged("{\"a\":[1]}", "{\"a\":{\"x\":null}}", "{\"a\":{\"x\":null}}");
    assert_merged("{\"a\":{\"x\":1}}", "{\"a\":null}", "{\"a\":null}");
}

static int score(const char *typed, const char *username, const char *full_name, const char *email)
{
    struct profile_words w;
    struct profile p = {
        .username = str_c(username), .full_name = str_c(full_name), .email = str_c(email)};
    profile_words_init(&w, a, str_c(typed));
    return profile_words_score(&w, &p);
}

static void words(void **state)
{
    (void)state;
    assert_int_equal(score("juan", "juan", NULL, NULL), 1);
    assert_int_equal(score("ju", "juan", NULL, NULL), 1);
    assert_int_equal(score("uan", "juan", NULL, NULL), 0);
    assert_int_equal(score("juan perez", "juan", "Juan Perez", NULL), 2);
    assert_int_equal(score("PÉREZ", "juan", "Juan Pérez", NULL), 1);
    assert_int_equal(score("pére juan", "juan", "Juan Pérez", NULL), 1);
    assert_int_equal(score("bazooka", "j", NULL, "juan@bazooka.gum"), 1);
    assert_int_equal(score("...juan!!", "juan", NULL, NULL), 1);
    assert_int_equal(score("", "juan", NULL, NULL), 0);
    assert_int_equal(score("...", "juan", NULL, NULL), 0);
    assert_int_equal(score("n p", "juan", "Juan Perez", NULL), 1); /* no word across words */
}

static void a_damaged_document(void **state)
{
    struct profile p;
    (void)state;
    struct doc d = {.id = STR("u_x_0"), .body = STR("{\"username\":\"x\"}")};
    struct err *e = profile_read(a, &d, &p);
    assert_non_null(e);
    assert_int_equal(e->kind, ERR_CORRUPT);
    err_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ids_are_elasticsearchs, begin, end),
        cmocka_unit_test_setup_teardown(merging, begin, end),
        cmocka_unit_test_setup_teardown(words, begin, end),
        cmocka_unit_test_setup_teardown(a_damaged_document, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
