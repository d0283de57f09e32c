#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "credentials.h"

static void assert_kind(const char *header, enum credentials_kind kind)
{
    struct credentials c;
    credentials_parse(str_c(header), &c);
    if (c.kind != kind)
        fail_msg("[%s]: expected kind %d, got %d", header, kind, c.kind);
    credentials_wipe(&c);
    assert_null(c.decoded);
}

static void assert_parts(const char *header, enum credentials_kind kind, const char *name,
                         const char *secret)
{
    struct credentials c;
    credentials_parse(str_c(header), &c);
    assert_int_equal(c.kind, kind);
    assert_true(str_eq_c(c.name, name));
    assert_true(str_eq_c(c.secret, secret));
    credentials_wipe(&c);
}

static void reads_basic(void **state)
{
    assert_parts("Basic ZWxhc3RpYzpzZWNyZXQ=", CREDENTIALS_BASIC, "elastic", "secret");
    assert_parts("bAsIc ZWxhc3RpYzpzZWNyZXQ=", CREDENTIALS_BASIC, "elastic", "secret");
    assert_parts("  Basic   ZWxhc3RpYzpzZWNyZXQ=  ", CREDENTIALS_BASIC, "elastic", "secret");
    assert_parts("Basic YTpiOmM6", CREDENTIALS_BASIC, "a", "b:c:");
    assert_parts("Basic Og==", CREDENTIALS_BASIC, "", "");
    assert_parts("Basic w6Q6w7Y=", CREDENTIALS_BASIC, "\xc3\xa4", "\xc3\xb6");
}

static void refuses_unreadable_basic(void **state)
{
    assert_kind("Basic !!!", CREDENTIALS_BAD_BASIC_ENCODING);
    assert_kind("Basic ZWxhc3RpYzpzZWNyZXQ", CREDENTIALS_BAD_BASIC_ENCODING);  /* no padding */
    assert_kind("Basic ZWxhc3RpYzpzZWNyZXR=", CREDENTIALS_BAD_BASIC_ENCODING); /* stray bits */
    assert_kind("Basic Z WxhOmI=", CREDENTIALS_BAD_BASIC_ENCODING);
    assert_kind("Basic w6Q6w7Y=Og==", CREDENTIALS_BAD_BASIC_ENCODING);
    assert_kind("Basic ZWxhc3RpYw==", CREDENTIALS_BAD_BASIC_VALUE); /* no colon */
    assert_kind("Basic YQA6Yg==", CREDENTIALS_BAD_BASIC_VALUE);     /* NUL in the name */
    assert_kind("Basic YTpiAA==", CREDENTIALS_BAD_BASIC_VALUE);     /* NUL in the password */
}

static void reads_other_schemes(void **state)
{
    assert_parts("apikey aWQ6a2V5", CREDENTIALS_API_KEY, "id", "key");
    assert_kind("ApiKey a_5", CREDENTIALS_BAD_API_KEY_ENCODING);
    assert_kind("ApiKey aWRrZXk=", CREDENTIALS_BAD_API_KEY_VALUE); /* no colon */
    assert_kind("ApiKey OmtleQ==", CREDENTIALS_BAD_API_KEY_VALUE); /* no id */
    assert_kind("BEARER abc", CREDENTIALS_BEARER);
}

static void takes_the_rest_as_missing(void **state)
{
    static const char *const headers[] = {"",        " ",       "Basic",    "Basic ",
                                          "ApiKey ", "Bearer ", "Digest x", "BasicZWxh"};
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        assert_kind(headers[i], CREDENTIALS_NONE);
}

static void limits_what_it_reads(void **state)
{
    static char header[6 + CREDENTIALS_LIMIT + 2];
    memset(header, 'A', sizeof header - 1);
    memcpy(header, "Basic ", 6);
    assert_kind(header, CREDENTIALS_BAD_BASIC_VALUE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_basic),          cmocka_unit_test(refuses_unreadable_basic),
        cmocka_unit_test(reads_other_schemes),  cmocka_unit_test(takes_the_rest_as_missing),
        cmocka_unit_test(limits_what_it_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
