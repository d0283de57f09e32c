#include "safetensors.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bug.h"
#include "file.h"
#include "json.h"
#include "map.h"
#include "tensor.h"

#define READ_CHUNK ((size_t)1 << 20)

struct safetensors {
    int fd;
    const char *file;
    struct arena *arena;
    struct st_header header;
    struct map *by_name;
    uint64_t data_at, data_bytes;
};

/* Every dtype the format knows and its size; those that have an `enum dtype` can be read. */
static const struct {
    const char *name;
    unsigned bits;
} known[] = {{"F64", 64}, {"F32", 32}, {"F16", 16},    {"BF16", 16},  {"I64", 64}, {"I32", 32},
             {"I16", 16}, {"I8", 8},   {"U64", 64},    {"U32", 32},   {"U16", 16}, {"U8", 8},
             {"BOOL", 8}, {"C64", 64}, {"F8_E5M2", 8}, {"F8_E4M3", 8}};

static uint64_t known_bytes(struct str dtype)
{
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (str_eq_c(dtype, known[i].name))
            return known[i].bits / 8;
    return 0;
}

static struct err *bad(const char *file, struct str name, const char *what)
{
    return err_new(ERR_ARGUMENT, "[%s]: tensor [%.*s] %s", file, (int)(name.n < 200 ? name.n : 200),
                   name.p, what);
}

/* Fills rank and dim; *bytes_out is what the shape needs. */
static struct err *read_shape(const char *file, const struct json *shape, struct st_tensor *t,
                              uint64_t *bytes_out)
{
    uint64_t bytes = known_bytes(t->dtype);
    if (bytes == 0)
        return err_new(ERR_ARGUMENT, "[%s]: tensor [%.*s] has the unknown dtype [%.*s]", file,
                       (int)(t->name.n < 200 ? t->name.n : 200), t->name.p,
                       (int)(t->dtype.n < 40 ? t->dtype.n : 40), t->dtype.p);
    if (!json_is(shape, JSON_ARRAY) || shape->n > TENSOR_MAX_RANK)
        return bad(file, t->name, "has no [shape] of at most 8 dimensions");
    struct json_iter it = json_iter(shape);
    for (const struct json *v; (v = json_next(&it));) {
        int64_t d;
        if (!json_i64(v, &d) || d < 0 || __builtin_mul_overflow(bytes, (uint64_t)d, &bytes))
            return bad(file, t->name, "has a [shape] that is not one");
        t->dim[t->rank++] = d;
    }
    *bytes_out = bytes;
    return NULL;
}

static struct err *read_tensor(const char *file, const struct json *v, uint64_t data_bytes,
                               struct st_tensor *t)
{
    int64_t at[2];
    uint64_t bytes = 0;
    const struct json *offsets = json_get(v, "data_offsets");
    t->name = v->key;
    if (!json_is(v, JSON_OBJECT) || !json_str(json_get(v, "dtype"), &t->dtype))
        return bad(file, t->name, "has no [dtype]");
    TRY(read_shape(file, json_get(v, "shape"), t, &bytes));
    if (!json_is(offsets, JSON_ARRAY) || offsets->n != 2)
        return bad(file, t->name, "has no [data_offsets]");
    struct json_iter it = json_iter(offsets);
    for (int i = 0; i < 2; i++)
        if (!json_i64(json_next(&it), &at[i]) || at[i] < 0)
            return bad(file, t->name, "has [data_offsets] that are not offsets");
    if (at[0] > at[1] || (uint64_t)at[1] > data_bytes)
        return bad(file, t->name, "lies outside of the file by its [data_offsets]");
    if ((uint64_t)(at[1] - at[0]) != bytes)
        return bad(file, t->name, "has a [shape] that does not match its [data_offsets]");
    t->begin = (uint64_t)at[0];
    t->end = (uint64_t)at[1];
    return NULL;
}

static int by_offset(const void *a, const void *b)
{
    const struct st_tensor *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* Sorted tensors must cover the data exactly. */
static struct err *check_cover(const char *file, const struct st_header *h, uint64_t data_bytes)
{
    uint64_t at = 0;
    for (size_t i = 0; i < h->n; i++) {
        if (h->tensors[i].begin != at)
            return bad(file, h->tensors[i].name, "does not begin where the one before it ends");
        at = h->tensors[i].end;
    }
    if (at != data_bytes)
        return err_new(ERR_ARGUMENT, "[%s]: the file has bytes that belong to no tensor", file);
    return NULL;
}

struct err *safetensors_parse(struct arena *a, const char *file, struct str text,
                              uint64_t data_bytes, struct st_header *out)
{
    const struct json *root;
    struct err *err = json_parse(a, text, &root);
    if (err)
        return err_wrap(err, ERR_ARGUMENT, "[%s]: the header is not JSON", file);
    if (!json_is(root, JSON_OBJECT))
        return err_new(ERR_ARGUMENT, "[%s]: the header is not an object", file);
    out->n = 0;
    out->tensors = arena_array(a, root->n, sizeof(*out->tensors));
    struct json_iter it = json_iter(root);
    for (const struct json *v; (v = json_next(&it));) {
        if (str_eq(v->key, STR("__metadata__")))
            continue;
        TRY(read_tensor(file, v, data_bytes, &out->tensors[out->n]));
        out->n++;
    }
    qsort(out->tensors, out->n, sizeof(*out->tensors), by_offset);
    return check_cover(file, out, data_bytes);
}

static struct err *read_header(struct safetensors *st, size_t limit_bytes)
{
    struct stat info;
    uint64_t length;
    if (fstat(st->fd, &info) < 0)
        return err_new(ERR_IO, "Could not read [%s]: [%s]", st->file, strerrordesc_np(errno));
    uint64_t size = (uint64_t)info.st_size;
    if (size > limit_bytes)
        return err_new(ERR_ARGUMENT, "[%s] has [%llu] bytes; at most [%zu] are allowed", st->file,
                       (unsigned long long)size, limit_bytes);
    TRY(file_read_at(st->fd, st->file, 0, &length, sizeof(length)));
    length = le64toh(length);
    if (length > SAFETENSORS_MAX_HEADER || length > size - sizeof(length))
        return err_new(ERR_ARGUMENT, "[%s]: a header of [%llu] bytes is too long", st->file,
                       (unsigned long long)length);
    char *text = arena_try(st->arena, (size_t)length + 1);
    BUG_ON(!text);
    TRY(file_read_at(st->fd, st->file, sizeof(length), text, (size_t)length));
    st->data_at = sizeof(length) + length;
    st->data_bytes = size - st->data_at;
    return safetensors_parse(st->arena, st->file, str_n(text, (size_t)length), st->data_bytes,
                             &st->header);
}

struct err *safetensors_open(const char *folder, const char *file, size_t limit_bytes,
                             struct safetensors **out)
{
    struct safetensors *st = mem_new(sizeof(*st));
    st->fd = -1;
    st->arena = arena_new(ARENA_NO_LIMIT);
    st->file = arena_cstr(st->arena, str_c(file));
    st->by_name = map_new();
    struct err *err = file_open(folder, file, &st->fd);
    if (!err)
        err = read_header(st, limit_bytes);
    if (err) {
        safetensors_close(st);
        return err;
    }
    for (size_t i = 0; i < st->header.n; i++)
        map_put(st->by_name, st->header.tensors[i].name, &st->header.tensors[i]);
    *out = st;
    return NULL;
}

void safetensors_close(struct safetensors *st)
{
    if (!st)
        return;
    if (st->fd >= 0)
        close(st->fd);
    map_free(st->by_name);
    arena_free(st->arena);
    free(st);
}

const struct st_tensor *safetensors_find(const struct safetensors *st, struct str name)
{
    return map_get(st->by_name, name);
}

size_t safetensors_bytes(const struct safetensors *st)
{
    return (size_t)st->data_bytes;
}

const char *safetensors_file(const struct safetensors *st)
{
    return st->file;
}

struct err *safetensors_read(const struct safetensors *st, const struct st_tensor *t, float *out)
{
    static const enum dtype floats[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    const enum dtype *d = NULL;
    for (size_t i = 0; i < sizeof(floats) / sizeof(floats[0]); i++)
        if (str_eq_c(t->dtype, dtype_name(floats[i])))
            d = &floats[i];
    if (!d)
        return err_new(ERR_ARGUMENT,
                       "[%s]: tensor [%.*s] has dtype [%.*s]; F32, F16 or BF16 is "
                       "needed",
                       st->file, STR_ARG(t->name), STR_ARG(t->dtype));
    uint64_t at = st->data_at + t->begin;
    size_t n = (size_t)(t->end - t->begin) / dtype_size(*d);
    if (*d == DTYPE_F32)
        return file_read_at(st->fd, st->file, at, out, n * sizeof(float));
    char *chunk = mem_new(READ_CHUNK);
    struct err *err = NULL;
    for (size_t i = 0; i < n && !err;) {
        size_t some = n - i < READ_CHUNK / 2 ? n - i : READ_CHUNK / 2;
        err = file_read_at(st->fd, st->file, at + 2 * i, chunk, 2 * some);
        if (!err)
            dtype_to_f32(*d, chunk, some, out + i);
        i += some;
    }
    free(chunk);
    return err;
}
