#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "gzip.h"

#define LIMIT 1000000

static void pack(struct str s, int level, struct buf *out)
{
    buf_init(out, LIMIT);
    gzip_deflate(s, level, out);
    assert_false(out->full);
}

static struct err *unpack(struct str s, size_t limit, struct buf *out)
{
    buf_init(out, limit);
    return gzip_inflate(s, out);
}

static void assert_refused(struct str s, size_t limit, enum err_kind kind)
{
    struct buf out;
    struct err *e = unpack(s, limit, &out);
    assert_non_null(e);
    assert_int_equal(e->kind, kind);
    assert_true(out.n <= limit);
    err_free(e);
    buf_deinit(&out);
}

static void assert_unpacks(struct str packed, struct str want)
{
    struct buf out;
    struct err *e = unpack(packed, want.n, &out); /* the ceiling is exactly enough */
    assert_null(e);
    assert_true(str_eq(buf_str(&out), want));
    buf_deinit(&out);
}

/* 300,000 bytes that compress somewhat. */
static struct buf sample(void)
{
    struct buf b;
    buf_init(&b, LIMIT);
    for (uint32_t i = 0, x = 1; i < 100000; i++, x = x * 1664525 + 1013904223)
        buf_printf(&b, "%02x,", x >> 24);
    assert_int_equal(b.n, 300000);
    return b;
}

static void round_trip(void **state)
{
    struct buf b = sample(), packed;
    for (int level = 1; level <= 9; level += 4) {
        pack(buf_str(&b), level, &packed);
        assert_true(packed.n < b.n);
        assert_unpacks(buf_str(&packed), buf_str(&b));
        buf_deinit(&packed);
    }
    pack(STR(""), 6, &packed);
    assert_unpacks(buf_str(&packed), STR(""));
    buf_deinit(&packed);
    buf_deinit(&b);
}

static void appends(void **state)
{
    struct buf packed, out;
    pack(STR("world"), 6, &packed);
    buf_init(&out, 100);
    buf_cstr(&out, "hello ");
    assert_null(gzip_inflate(buf_str(&packed), &out));
    assert_true(str_eq(buf_str(&out), STR("hello world")));
    buf_deinit(&out);
    buf_deinit(&packed);
}

static void members_in_a_row(void **state)
{
    struct buf a, b;
    pack(STR("one,"), 6, &a);
    pack(STR(""), 1, &b);
    buf_put(&a, buf_str(&b));
    buf_deinit(&b);
    pack(STR("two"), 9, &b);
    buf_put(&a, buf_str(&b));
    assert_unpacks(buf_str(&a), STR("one,two"));
    /* Cut anywhere it is an error, except behind a whole member. */
    size_t whole = 0;
    for (size_t n = 0; n < a.n; n++) {
        struct buf out;
        struct err *e = unpack(str_n(a.p, n), 100, &out);
        whole += e == NULL;
        if (e)
            assert_int_equal(e->kind, ERR_PARSE);
        err_free(e);
        buf_deinit(&out);
    }
    assert_int_equal(whole, 2);
    buf_deinit(&a);
    buf_deinit(&b);
}

static void ceiling(void **state)
{
    struct buf b = sample(), packed;
    pack(buf_str(&b), 6, &packed);
    assert_refused(buf_str(&packed), b.n - 1, ERR_TOO_LARGE);
    assert_refused(buf_str(&packed), 16384, ERR_TOO_LARGE);
    assert_refused(buf_str(&packed), 1, ERR_TOO_LARGE);
    assert_refused(buf_str(&packed), 0, ERR_TOO_LARGE);
    buf_deinit(&packed);
    buf_deinit(&b);
}

static void damaged(void **state)
{
    struct buf packed;
    assert_refused(STR(""), 100, ERR_PARSE);
    assert_refused(STR("{\"input\":\"x\"}"), 100, ERR_PARSE);
    assert_refused(STR("\x78\x9c\x03\x00\x00\x00\x00\x01"), 100, ERR_PARSE); /* zlib framing */
    pack(STR("hello"), 6, &packed);
    buf_char(&packed, '\0');
    assert_refused(buf_str(&packed), 100, ERR_PARSE);
    packed.p[packed.n - 1] = 'x';
    assert_refused(buf_str(&packed), 100, ERR_PARSE);
    packed.n--;
    assert_unpacks(buf_str(&packed), STR("hello"));
    packed.p[packed.n - 5] ^= 1; /* the checksum */
    assert_refused(buf_str(&packed), 100, ERR_PARSE);
    buf_deinit(&packed);
}

static void deflate_ceiling(void **state)
{
    struct buf b = sample(), packed;
    buf_init(&packed, 1000);
    gzip_deflate(buf_str(&b), 6, &packed);
    assert_true(packed.full);
    assert_true(packed.n <= 1000);
    buf_deinit(&packed);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip), cmocka_unit_test(appends), cmocka_unit_test(members_in_a_row),
        cmocka_unit_test(ceiling),    cmocka_unit_test(damaged), cmocka_unit_test(deflate_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
