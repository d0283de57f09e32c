#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include "archive_testing.h"
#include "bug.h"
#include "zip.h"

static void expect_refused(const char *file, const char *reason)
{
    struct zip *z = NULL;
    struct err *err = zip_open(file, &z);
    for (size_t i = 0; !err && i < zip_count(z); i++)
        err = zip_read(z, zip_at(z, i), NULL, NULL, NULL);
    zip_close(z);
    assert_non_null(err);
    assert_int_equal(err->kind, ERR_ARGUMENT);
    if (!strstr(err->reason, reason))
        fail_msg("[%s] is not in [%s]", reason, err->reason);
    err_free(err);
}

static void reads_stored_and_deflated(void **state)
{
    struct maker m;
    struct zip *z;
    char out[5000], text[5000];
    memset(text, 'a', sizeof(text));
    maker_init(&m);
    maker_add(&m, "top/a", STR("hello"));
    maker_deflate(&m, "top/b/c", str_n(text, sizeof(text)));
    maker_add(&m, "top/empty", STR(""));
    maker_deflate(&m, "top/empty2", STR(""));
    assert_null(zip_open(maker_file(&m), &z));
    assert_int_equal(zip_count(z), 4);
    assert_null(zip_read(z, zip_find(z, STR("a")), out, NULL, NULL));
    assert_memory_equal(out, "hello", 5);
    assert_null(zip_read(z, zip_find(z, STR("b/c")), out, NULL, NULL));
    assert_memory_equal(out, text, sizeof(text));
    assert_null(zip_read(z, zip_find(z, STR("empty")), out, NULL, NULL));
    assert_null(zip_read(z, zip_find(z, STR("empty2")), out, NULL, NULL));
    assert_null(zip_find(z, STR("top/a")));
    zip_close(z);
    maker_deinit(&m);
}

/* Written by Python's zipfile: ZIP64 fields, data descriptors, a comment (make_zip_fixtures.py). */
static void reads_other_writers(void **state)
{
    static const char *const files[] = {"zip64.zip", "descriptor.zip", "comment.zip"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct zip *z = NULL;
        char path[1000], out[600];
        snprintf(path, sizeof(path), "%s/script/%s", ENGINE_FIXTURES, files[i]);
        struct err *err = zip_open(path, &z);
        if (err)
            fail_msg("%s: %s", files[i], err->reason);
        assert_int_equal(zip_count(z), 2);
        assert_int_equal(zip_find(z, STR("one"))->size, 11);
        assert_null(zip_read(z, zip_find(z, STR("one")), out, NULL, NULL));
        assert_memory_equal(out, "hello world", 11);
        assert_null(zip_read(z, zip_find(z, STR("d/two")), out, NULL, NULL));
        assert_memory_equal(out, "abcabcabc", 9);
        zip_close(z);
    }
}

static void put(struct buf *b, int bytes, uint64_t v)
{
    for (int i = 0; i < bytes; i++)
        buf_char(b, (char)(i < 8 ? v >> 8 * i & 0xff : 0));
}

/* A header from "version needed" to the name's length; sizes are in the extra field. */
static void put_wide(struct buf *b, uint32_t crc, size_t n_name, size_t n_extra)
{
    put(b, 2, 45);
    put(b, 8, 0);
    put(b, 4, crc);
    put(b, 8, UINT64_MAX);
    put(b, 2, n_name);
    put(b, 2, n_extra);
}

static void put_central(struct buf *b, const char *name, uint32_t crc, uint64_t size, uint64_t at)
{
    put(b, 4, 0x02014b50);
    put(b, 2, 45);
    put_wide(b, crc, strlen(name), 28);
    put(b, 10, 0);
    put(b, 4, UINT32_MAX);
    buf_cstr(b, name);
    put(b, 2, 1);
    put(b, 2, 24);
    put(b, 8, size);
    put(b, 8, size);
    put(b, 8, at);
}

static void write_at(int fd, uint64_t at, struct buf *b)
{
    BUG_ON(pwrite(fd, b->p, b->n, (off_t)at) != (ssize_t)b->n);
    buf_clear(b);
}

/* More than 4 GiB, all but the ends a hole. */
static void reads_large_files(void **state)
{
    const uint64_t size = (uint64_t)5 << 30, second = 35 + size, directory = second + 35 + 5;
    struct maker m;
    struct buf b;
    struct zip *z;
    char out[5];
    maker_init(&m);
    buf_init(&b, 1 << 16);
    const char *file = maker_bytes(&m, STR(""));
    put(&b, 4, 0x04034b50);
    put_wide(&b, 0, 5, 0);
    buf_cstr(&b, "top/a");
    write_at(m.fd, 0, &b);
    put(&b, 4, 0x04034b50);
    put_wide(&b, 0x3610a686, 5, 0);
    buf_cstr(&b, "top/bhello");
    write_at(m.fd, second, &b);
    put_central(&b, "top/a", 0, size, 0);
    put_central(&b, "top/b", 0x3610a686, 5, second);
    size_t n = b.n;
    put(&b, 4, 0x06064b50);
    put(&b, 8, 44);
    put(&b, 12, 0);
    put(&b, 8, 2);
    put(&b, 8, 2);
    put(&b, 8, n);
    put(&b, 8, directory);
    put(&b, 4, 0x07064b50);
    put(&b, 4, 0);
    put(&b, 8, directory + n);
    put(&b, 4, 1);
    put(&b, 4, 0x06054b50);
    put(&b, 4, 0);
    put(&b, 4, UINT32_MAX);
    put(&b, 8, UINT64_MAX);
    put(&b, 2, 0);
    write_at(m.fd, directory, &b);
    struct err *err = zip_open(file, &z);
    if (err)
        fail_msg("%s", err->reason);
    assert_int_equal(zip_find(z, STR("a"))->size, size);
    assert_null(zip_read(z, zip_find(z, STR("b")), out, NULL, NULL));
    assert_memory_equal(out, "hello", 5);
    zip_close(z);
    buf_deinit(&b);
    maker_deinit(&m);
}

static void refuses_names(void **state)
{
    char name[400];
    struct maker m;
    memset(name, 'n', sizeof(name));
    memcpy(name, "top/", 4);
    name[4 + 256] = 0;
    maker_init(&m);
    maker_add(&m, "top/a", STR(""));
    maker_add(&m, name, STR(""));
    expect_refused(maker_file(&m), "possible evasion");
    maker_deinit(&m);
    maker_init(&m);
    maker_add(&m, "top/a", STR("1"));
    maker_add(&m, "top/a", STR("2"));
    expect_refused(maker_file(&m), "entry [top/a] is there twice");
    maker_deinit(&m);
    maker_init(&m);
    maker_add(&m, "top/a", STR("1"));
    maker_add(&m, "other/a", STR("2"));
    expect_refused(maker_file(&m), "is not in the directory of the first entry");
    maker_deinit(&m);
    maker_init(&m);
    maker_add(&m, "top", STR("1"));
    expect_refused(maker_file(&m), "entry [top] is in no directory");
    maker_deinit(&m);
    maker_init(&m);
    maker_raw(&m, STR("top/a\0b"), 0, STR(""), 0, 0);
    expect_refused(maker_file(&m), "has a zero byte in its name");
    maker_deinit(&m);
}

static void refuses_damaged_entries(void **state)
{
    struct maker m;
    maker_init(&m);
    maker_raw(&m, STR("top/a"), 0, STR("hello"), 5, 12345);
    expect_refused(maker_file(&m), "has another CRC");
    maker_deinit(&m);
    maker_init(&m);
    maker_raw(&m, STR("top/a"), 0, STR("hello"), 6, 0);
    expect_refused(maker_file(&m), "has two sizes");
    maker_deinit(&m);
    maker_init(&m);
    maker_raw(&m, STR("top/a"), 12, STR("hello"), 5, 0);
    expect_refused(maker_file(&m), "neither stored nor deflated");
    maker_deinit(&m);
    maker_init(&m);
    maker_raw(&m, STR("top/a"), 8, STR("\377\377\377"), 5, 0);
    expect_refused(maker_file(&m), "is damaged");
    maker_deinit(&m);
}

/* An entry that says less or more than comes out of it, and one of megabytes of zeros. */
static void refuses_bombs(void **state)
{
    struct maker m;
    size_t n = (size_t)64 << 20;
    char *zeros = mem_new(n);
    maker_init(&m);
    maker_deflate(&m, "top/a", str_n(zeros, 100));
    m.central.p[24] = 99;
    expect_refused(maker_file(&m), "is longer than it says");
    maker_deinit(&m);
    maker_init(&m);
    maker_deflate(&m, "top/a", str_n(zeros, 100));
    m.central.p[24] = 101;
    expect_refused(maker_file(&m), "is shorter than it says");
    maker_deinit(&m);
    maker_init(&m);
    for (int i = 0; i < 6; i++) {
        char name[20];
        snprintf(name, sizeof(name), "top/%d", i);
        maker_deflate(&m, name, str_n(zeros, n));
    }
    expect_refused(maker_file(&m), "unpacks to too many bytes");
    maker_deinit(&m);
    free(zeros);
}

/* Two names for the same bytes, as in the bombs that need no deep compression. */
static void refuses_overlap(void **state)
{
    struct maker m;
    maker_init(&m);
    maker_add(&m, "top/a", STR("hello"));
    maker_add(&m, "top/b", STR("hello"));
    memset(m.central.p + 42 + 51, 0, 4); /* the second's place */
    memcpy(m.central.p + 46 + 51, "top/a", 5);
    expect_refused(maker_file(&m), "twice");
    maker_deinit(&m);
    maker_init(&m);
    struct buf inner;
    buf_init(&inner, 1000);
    maker_add(&m, "top/b", STR("hello")); /* lies within the data of top/a */
    buf_put(&inner, buf_str(&m.file));
    maker_deinit(&m);
    maker_init(&m);
    maker_add(&m, "top/a", buf_str(&inner));
    maker_raw(&m, STR("top/b"), 0, STR("hello"), 5, 0x3610a686);
    m.central.p[42 + 51] = 30 + 5;
    expect_refused(maker_file(&m), "overlaps another");
    buf_deinit(&inner);
    maker_deinit(&m);
}

static void refuses_damaged_ends(void **state)
{
    static const struct {
        size_t at; /* from the end of the file */
        char byte;
        const char *reason;
    } cases[] = {
        {22, 'x', "no end of central directory"},
        {2, 1, "no end of central directory"},
        {18, 1, "several parts"},
        {12, 99, "several parts"},
        {10, 0, "central directory"},
        {6, 1, "central directory"},
        {3, 127, "central directory is not where it says"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct maker m;
        maker_init(&m);
        maker_add(&m, "top/a", STR("hello"));
        maker_end(&m);
        m.file.p[m.file.n - cases[i].at] = cases[i].byte;
        expect_refused(maker_bytes(&m, buf_str(&m.file)), cases[i].reason);
        maker_deinit(&m);
    }
}

static void refuses_what_is_no_archive(void **state)
{
    struct maker m;
    maker_init(&m);
    expect_refused(maker_bytes(&m, STR("")), "is too short");
    expect_refused(maker_bytes(&m, STR("this is a text and no archive at all")),
                   "no end of central directory");
    expect_refused("/nonexistent/model.pt", "Could not open [model.pt]");
    expect_refused("/", "is not a regular file");
    maker_deinit(&m);
}

static void refuses_too_many_entries(void **state)
{
    struct maker m;
    maker_init(&m);
    maker_add(&m, "top/a", STR("hello"));
    maker_end(&m);
    char *end = m.file.p + m.file.n - 22;
    memset(end + 8, 0xff, 4);
    expect_refused(maker_bytes(&m, buf_str(&m.file)), "central directory is too large");
    maker_deinit(&m);
}

/* Whatever a byte is changed to: no crash, and no byte of a wrong CRC is let through unnoticed. */
static void survives_changes(void **state)
{
    struct maker m;
    maker_init(&m);
    maker_add(&m, "top/a", STR("hello"));
    maker_deflate(&m, "top/b", STR("hello hello hello hello hello"));
    maker_end(&m);
    for (size_t i = 0; i < m.file.n * 8; i++) {
        struct zip *z = NULL;
        char out[64];
        m.file.p[i / 8] = (char)(m.file.p[i / 8] ^ 1 << i % 8);
        struct err *err = zip_open(maker_bytes(&m, buf_str(&m.file)), &z);
        for (size_t j = 0; !err && j < zip_count(z); j++)
            if (zip_at(z, j)->size <= sizeof(out))
                err = zip_read(z, zip_at(z, j), out, NULL, NULL);
        zip_close(z);
        err_free(err);
        m.file.p[i / 8] = (char)(m.file.p[i / 8] ^ 1 << i % 8);
    }
    for (size_t n = 0; n < m.file.n; n++) {
        struct zip *z = NULL;
        struct err *err = zip_open(maker_bytes(&m, str_n(m.file.p, n)), &z);
        assert_non_null(err);
        err_free(err);
    }
    maker_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_stored_and_deflated),
        cmocka_unit_test(reads_other_writers),
        cmocka_unit_test(reads_large_files),
        cmocka_unit_test(refuses_names),
        cmocka_unit_test(refuses_damaged_entries),
        cmocka_unit_test(refuses_bombs),
        cmocka_unit_test(refuses_overlap),
        cmocka_unit_test(refuses_damaged_ends),
        cmocka_unit_test(refuses_what_is_no_archive),
        cmocka_unit_test(refuses_too_many_entries),
        cmocka_unit_test(survives_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
