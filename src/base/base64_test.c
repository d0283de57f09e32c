/* References: RFC 4648, section 10, and libsodium's encoder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <stdlib.h>

#include "base64.h"

static void assert_decodes(const char *text, const char *bytes)
{
    unsigned char out[64];
    size_t n = 99;
    assert_true(base64_decode(str_c(text), out, &n));
    assert_int_equal(n, strlen(bytes));
    assert_memory_equal(out, bytes, n);
}

static void test_vectors(void **state)
{
    (void)state;
    assert_decodes("", "");
    assert_decodes("Zg==", "f");
    assert_decodes("Zm8=", "fo");
    assert_decodes("Zm9v", "foo");
    assert_decodes("Zm9vYg==", "foob");
    assert_decodes("Zm9vYmE=", "fooba");
    assert_decodes("Zm9vYmFy", "foobar");
}

static void test_white_space(void **state)
{
    (void)state;
    assert_decodes(" Zm9v\r\nYm\tFy\n", "foobar");
    assert_decodes("Z g\n= =", "f");
}

static void test_refused(void **state)
{
    static const char *const bad[] = {
        "Z",     "Zg",   "Zg=",  "Zm9",      "Zm9vYg=",  "Zg==Zg==", "=Zg=",     "Zg===",
        "Zm9v=", "Zh==", "Zm9=", "Zm9v!m8=", "Zm9vYm-_", "====",     "Zm9vZg==x"};
    unsigned char out[64];
    size_t n;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (base64_decode(str_c(bad[i]), out, &n))
            fail_msg("[%s] was taken", bad[i]);
    }
}

static void test_every_byte_and_length(void **state)
{
    unsigned char bytes[1000], out[1024];
    char text[1400];
    size_t n;
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 37 + i / 256);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        sodium_bin2base64(text, sizeof text, bytes, len, sodium_base64_VARIANT_ORIGINAL);
        assert_true(base64_bytes(strlen(text)) <= sizeof out);
        assert_true(base64_decode(str_c(text), out, &n));
        assert_int_equal(n, len);
        assert_memory_equal(out, bytes, len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_white_space),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_every_byte_and_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
