/* Service accounts and the form of their tokens. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>

#include "service.h"

/* As a client would send it: made here, byte by byte, with libsodium's encoder. */
static struct str encode(const char *bytes, size_t n, char out[4096])
{
    sodium_bin2base64(out, 4096, (const unsigned char *)bytes, n,
                      sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
    return str_c(out);
}

#define BEARER(text) encode("\0\1\0\1" text, sizeof("\0\1\0\1" text) - 1, base64)

static void what_a_token_says(void **state)
{
    char base64[4096];
    struct service_bearer b;
    (void)state;
    /* the beginning of the example in Elasticsearch's documentation */
    struct str token = BEARER("elastic/fleet-server/token1:7LWZH6uSQ");
    assert_true(str_starts(token, STR("AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTo3TFdaSDZ")));
    assert_true(service_bearer_read(token, &b));
    assert_true(str_eq_c(b.id, "elastic/fleet-server/token1"));
    assert_true(str_eq_c(b.service, "elastic/fleet-server"));
    assert_true(str_eq_c(b.name, "token1"));
    assert_true(str_eq_c(b.secret, "7LWZH6uSQ"));
    service_bearer_wipe(&b);
    for (size_t i = 0; i < sizeof b.bytes; i++)
        assert_int_equal(b.bytes[i], 0);
    assert_true(service_bearer_read(BEARER("a/b/c:with:colons"), &b));
    assert_true(str_eq_c(b.secret, "with:colons"));
    assert_true(service_bearer_read(BEARER("a/b/c:"), &b));
    assert_int_equal(b.secret.n, 0);
}

static void what_is_no_token(void **state)
{
    char base64[4096];
    static char long_one[1200] = "\0\1\0\1a/b/c:";
    struct service_bearer b;
    (void)state;
    assert_false(service_bearer_read(STR(""), &b));
    assert_false(service_bearer_read(STR("AAEA"), &b));
    assert_false(service_bearer_read(STR("AAEAAQ"), &b));
    assert_false(service_bearer_read(STR("AAEAAQ!!"), &b));
    assert_false(service_bearer_read(BEARER("a/b/c"), &b));
    assert_false(service_bearer_read(BEARER("a/b:c"), &b));
    assert_false(service_bearer_read(BEARER("a/b/c/d:e"), &b));
    assert_false(service_bearer_read(BEARER("a/b/:e"), &b));
    assert_false(service_bearer_read(BEARER("a/b/_c:e"), &b));
    assert_false(service_bearer_read(BEARER("a/b/c d:e"), &b));
    assert_false(service_bearer_read(encode("\0\1\0\2a/b/c:e", 11, base64), &b));
    memset(long_one + 10, 'x', sizeof long_one - 10);
    assert_false(service_bearer_read(encode(long_one, sizeof long_one, base64), &b));
    assert_true(service_bearer_read(encode(long_one, sizeof b.bytes, base64), &b));
}

static void accounts_have_what_they_are_for(void **state)
{
    struct services s = {0};
    (void)state;
    assert_null(services_open(&s));
    assert_int_equal(s.n, 4);
    for (size_t i = 0; i < s.n; i++) {
        const struct user *u = &s.v[i].account.user;
        assert_true(u->privileges >> PRIV_MONITOR & 1);
        assert_false(u->privileges >> PRIV_MANAGE_SECURITY & 1);
        assert_false(u->privileges >> PRIV_ALL & 1);
        assert_ptr_equal(services_find(&s, str_c(u->name)), &s.v[i]);
        assert_true(i == 0 || strcmp(s.v[i - 1].account.user.name, u->name) < 0);
    }
    const struct service *kibana = services_find(&s, STR("elastic/kibana"));
    assert_true(kibana->account.user.privileges >> PRIV_MANAGE_ML & 1);
    assert_true(rights_allow(&kibana->rights, PRIV_MANAGE_PROFILE,
                             STR("cluster:admin/xpack/security/profile/activate")));
    assert_false(rights_allow(&kibana->rights, PRIV_MANAGE_PROFILE,
                              STR("cluster:admin/xpack/security/profile/set_enabled")));
    assert_null(services_find(&s, STR("elastic/kiban")));
    services_close(&s);
}

static void a_stored_token(void **state)
{
    struct services s = {0};
    struct service_token *t, *again, *broken = NULL;
    struct buf body;
    (void)state;
    assert_null(services_open(&s));
    struct service_token made = {
        .id = STR("elastic/kibana/t1"), .name = STR("t1"), .creator = STR("elastic")};
    key_hash(made.id, STR("secret"), made.hash);
    buf_init(&body, 4096);
    service_token_render(&made, &body);
    struct doc d = {.id = made.id, .body = buf_str(&body)};
    assert_null(service_token_read(&s, &d, &t));
    assert_string_equal(t->user.name, "elastic/kibana");
    assert_string_equal(t->user.token_name, "t1");
    assert_true(service_token_is(t, STR("secret")));
    assert_false(service_token_is(t, STR("Secret")));
    assert_false(service_token_is(t, STR("")));
    d.id = STR("elastic/gone/t1"); /* an account that this version does not know */
    assert_null(service_token_read(&s, &d, &again));
    assert_null(again->service);
    assert_false(service_token_is(again, STR("secret"))); /* bound to its name */
    d.body = STR("{}");
    struct err *e = service_token_read(&s, &d, &broken);
    assert_non_null(e);
    err_free(e);
    service_token_unref(again);
    service_token_unref(t);
    buf_deinit(&body);
    services_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_token_says),
        cmocka_unit_test(what_is_no_token),
        cmocka_unit_test(accounts_have_what_they_are_for),
        cmocka_unit_test(a_stored_token),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
