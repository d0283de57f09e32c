#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <endian.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "buf.h"
#include "safetensors.h"

static void parses(void **state)
{
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"b\":{\"dtype\":\"F16\",\"shape\":[3],\"data_offsets\":[8,14]},"
        "\"none\":{\"dtype\":\"I64\",\"shape\":[0,5],\"data_offsets\":[14,14]},"
        "\"a\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},"
        "\"one\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[14,15]}}";
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct st_header h;
    assert_null(safetensors_parse(a, "f", str_c(header), 15, &h));
    assert_int_equal(h.n, 4);
    assert_true(str_eq(h.tensors[0].name, STR("a"))); /* by offset, not as written */
    assert_int_equal(h.tensors[0].rank, 2);
    assert_int_equal(h.tensors[0].dim[0], 2);
    assert_int_equal(h.tensors[0].dim[1], 1);
    assert_true(str_eq(h.tensors[1].dtype, STR("F16")));
    assert_int_equal(h.tensors[1].begin, 8);
    assert_int_equal(h.tensors[1].end, 14);
    assert_true(str_eq(h.tensors[3].name, STR("one")));
    assert_int_equal(h.tensors[3].rank, 0);
    arena_free(a);
}

/* Each is one step away from a good header for 8 bytes of data. */
static void refuses_headers(void **state)
{
    static const struct {
        const char *header, *says;
    } rows[] = {
        {"", "is not JSON"},
        {"[]", "not an object"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}} x", "is not JSON"},
        {"{\"a\":3}", "tensor [a]"},
        {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", "[dtype]"},
        {"{\"a\":{\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[0,8]}}", "[F33]"},
        {"{\"a\":{\"dtype\":32,\"shape\":[2],\"data_offsets\":[0,8]}}", "[dtype]"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", "[shape]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", "[shape]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", "[shape]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", "[shape]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[\"2\"],\"data_offsets\":[0,8]}}", "[shape]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}",
         "[shape]"},
        /* 4 * 2^62 * 2 wraps around to 0. */
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,2],\"data_offsets\":[0,0]}}",
         "[shape]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,8]}}",
         "[shape]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", "[data_offsets]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", "[data_offsets]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}}", "[data_offsets]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", "[data_offsets]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,\"8\"]}}", "[data_offsets]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", "[data_offsets]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", "outside"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[9223372036854775807,"
         "9223372036854775807]}}",
         "outside"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", "does not match"},
        {"{\"a\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,8]}}", "does not match"},
        {"{}", "no tensor"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "no tensor"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", "tensor [a]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         "tensor [b]"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
         "does not begin"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
         "\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[8,8]}}",
         "is not JSON"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct arena *a = arena_new(ARENA_NO_LIMIT);
        struct st_header h;
        struct err *e = safetensors_parse(a, "x.safetensors", str_c(rows[i].header), 8, &h);
        if (!e || e->kind != ERR_ARGUMENT || !strstr(e->reason, rows[i].says) ||
            !strstr(e->reason, "[x.safetensors]"))
            fail_msg("%s: %s", rows[i].header, e ? e->reason : "accepted");
        err_free(e);
        arena_free(a);
    }
}

/* --- files --- */

struct folder {
    char path[64];
};

static struct folder folder_with(const char *file, struct str bytes)
{
    struct folder f = {"/tmp/safetensors_test.XXXXXX"};
    char path[128];
    assert_non_null(mkdtemp(f.path));
    snprintf(path, sizeof(path), "%s/%s", f.path, file);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes.p, 1, bytes.n, out), bytes.n);
    assert_int_equal(fclose(out), 0);
    return f;
}

static void folder_remove(const struct folder *f, const char *file)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", f->path, file);
    unlink(path);
    assert_int_equal(rmdir(f->path), 0);
}

static void put_file(struct buf *b, uint64_t length, const char *header, struct str data)
{
    uint64_t le = htole64(length);
    buf_init(b, 4096);
    buf_put(b, str_n((const char *)&le, sizeof(le)));
    buf_cstr(b, header);
    buf_put(b, data);
}

static void assert_reads(const struct safetensors *st, const char *name, const float *want,
                         size_t n)
{
    float got[8];
    const struct st_tensor *t = safetensors_find(st, str_c(name));
    assert_non_null(t);
    assert_int_equal(t->dim[0], n);
    assert_null(safetensors_read(st, t, got));
    for (size_t i = 0; i < n; i++)
        assert_true(isnan(want[i]) ? isnan(got[i]) : memcmp(&got[i], &want[i], sizeof(float)) == 0);
}

/* The data begin at an odd place: a byte tensor comes first and the header's length is as it is. */
static void reads_floats(void **state)
{
    static const char header[] =
        "{\"pad\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
        "\"f32\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]},"
        "\"f16\":{\"dtype\":\"F16\",\"shape\":[7],\"data_offsets\":[9,23]},"
        "\"bf16\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[23,29]}}";
    static const unsigned char data[] = {
        7,    0,    0,    0xc0, 0x3f, 0,    0, 0, 0x80,       /* 1.5, -0 */
        0,    0x3c, 0,    0xc0, 0xff, 0x7b, 1, 0, 0xff, 0x83, /* 1, -2, 65504, 2^-24, -1023 2^-24 */
        0,    0xfc, 0,    0x7e,                               /* -inf, nan */
        0x80, 0x3f, 0x49, 0xc0, 0x80, 0x7f,                   /* 1, -3.140625, inf */
    };
    static const float f32[] = {1.5f, -0.0f};
    static const float f16[] = {1, -2, 65504, 0x1p-24f, -1023 * 0x1p-24f, -INFINITY, NAN};
    static const float bf16[] = {1, -3.140625f, INFINITY};
    struct buf b;
    struct safetensors *st;
    put_file(&b, strlen(header), header, str_n((const char *)data, sizeof(data)));
    struct folder f = folder_with("m", buf_str(&b));
    assert_null(safetensors_open(f.path, "m", b.n, &st)); /* the limit is exactly enough */
    assert_int_equal(safetensors_bytes(st), sizeof(data));
    assert_reads(st, "f32", f32, 2);
    assert_reads(st, "f16", f16, 7);
    assert_reads(st, "bf16", bf16, 3);
    assert_null(safetensors_find(st, STR("f3")));
    float unused[1];
    struct err *e = safetensors_read(st, safetensors_find(st, STR("pad")), unused);
    assert_non_null(e);
    assert_non_null(strstr(e->reason, "[U8]"));
    err_free(e);
    safetensors_close(st);
    folder_remove(&f, "m");
    buf_deinit(&b);
}

static void assert_refused(struct str bytes, size_t limit, const char *says)
{
    struct safetensors *st;
    struct folder f = folder_with("m", bytes);
    struct err *e = safetensors_open(f.path, "m", limit, &st);
    if (!e || e->kind != ERR_ARGUMENT || !strstr(e->reason, says) || !strstr(e->reason, "[m]"))
        fail_msg("%s, wanted %s", e ? e->reason : "accepted", says);
    err_free(e);
    folder_remove(&f, "m");
}

static void refuses_files(void **state)
{
    static const char header[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}";
    struct buf b;
    put_file(&b, strlen(header), header, STR("data"));
    struct str good = buf_str(&b);
    assert_refused(STR(""), 4096, "too early");
    assert_refused(str_sub(good, 0, 7), 4096, "too early");
    assert_refused(good, good.n - 1, "at most");
    assert_refused(str_sub(good, 0, 20), 4096, "too long");        /* within the header */
    assert_refused(str_sub(good, 0, good.n - 1), 4096, "outside"); /* within the data */
    buf_char(&b, 'x');
    assert_refused(buf_str(&b), 4096, "no tensor");
    buf_deinit(&b);
    static const uint64_t lengths[] = {UINT64_MAX, UINT64_MAX - 7, INT64_MAX,
                                       SAFETENSORS_MAX_HEADER + 1};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        put_file(&b, lengths[i], header, STR("data"));
        assert_refused(buf_str(&b), 4096, "too long");
        buf_deinit(&b);
    }
}

static void refuses_what_is_no_file(void **state)
{
    struct safetensors *st;
    static const char *const names[] = {"missing", "."};
    for (size_t i = 0; i < 2; i++) {
        struct err *e = safetensors_open("/tmp", names[i], 4096, &st);
        assert_non_null(e);
        assert_int_equal(e->kind, ERR_ARGUMENT);
        err_free(e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses),
        cmocka_unit_test(refuses_headers),
        cmocka_unit_test(reads_floats),
        cmocka_unit_test(refuses_files),
        cmocka_unit_test(refuses_what_is_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
