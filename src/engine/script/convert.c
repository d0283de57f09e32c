#include "convert.h"

#include "bug.h"

static float f32_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

static uint32_t bits_of_f32(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

static float f32_of_bf16(uint16_t h)
{
    return f32_of_bits((uint32_t)h << 16);
}

static float f32_of_f16(uint16_t h)
{
    float f = 0;
    dtype_to_f32(DTYPE_F16, &h, 1, &f);
    return f;
}

static uint16_t bf16_of_f32(float f)
{
    uint32_t bits = bits_of_f32(f);
    if (f != f)
        return 0x7fc0;
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static uint16_t f16_of_f32(float f)
{
    uint32_t bits = bits_of_f32(f), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x477ff000) /* 65520 rounds up to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) { /* below 2^-14: the addition rounds at 2^-24 */
        float shifted = f32_of_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_of_f32(shifted) - 0x3f000000));
    }
    uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (rounded - 0x38000000) >> 13);
}

int64_t i64_of_double(double x)
{
    return x >= -0x1p63 && x < 0x1p63 ? (int64_t)x : INT64_MIN;
}

enum compute compute_of(enum dtype d)
{
    switch (d) {
    case DTYPE_F32:
    case DTYPE_F16:
    case DTYPE_BF16:
        return COMPUTE_F32;
    case DTYPE_F64:
        return COMPUTE_F64;
    default:
        return COMPUTE_I64;
    }
}

size_t compute_size(enum compute c)
{
    return c == COMPUTE_F32 ? 4 : c == COMPUTE_BOOL ? 1 : 8;
}

bool compute_is_native(enum compute c, enum dtype d)
{
    return (c == COMPUTE_F32 && d == DTYPE_F32) || (c == COMPUTE_F64 && d == DTYPE_F64) ||
           (c == COMPUTE_I64 && d == DTYPE_I64) || (c == COMPUTE_BOOL && d == DTYPE_BOOL);
}

/* Every run of a dtype into every compute type: `expr` makes the value of the element e. */
#define LOAD_LOOP(from, to, expr)                                                                  \
    for (size_t i = 0; i < n; i++, p += stride) {                                                  \
        from e;                                                                                    \
        memcpy(&e, p, sizeof(e));                                                                  \
        ((to *)out)[i] = (to)(expr);                                                               \
    }                                                                                              \
    return
#define LOAD_CASES(to, of_f32, of_f64)                                                             \
    switch (dtype) {                                                                               \
    case DTYPE_F32:                                                                                \
        LOAD_LOOP(float, to, of_f32(e));                                                           \
    case DTYPE_F16:                                                                                \
        LOAD_LOOP(uint16_t, to, of_f32(f32_of_f16(e)));                                            \
    case DTYPE_BF16:                                                                               \
        LOAD_LOOP(uint16_t, to, of_f32(f32_of_bf16(e)));                                           \
    case DTYPE_F64:                                                                                \
        LOAD_LOOP(double, to, of_f64(e));                                                          \
    case DTYPE_I64:                                                                                \
        LOAD_LOOP(int64_t, to, e);                                                                 \
    case DTYPE_I32:                                                                                \
        LOAD_LOOP(int32_t, to, e);                                                                 \
    case DTYPE_I16:                                                                                \
        LOAD_LOOP(int16_t, to, e);                                                                 \
    case DTYPE_I8:                                                                                 \
        LOAD_LOOP(int8_t, to, e);                                                                  \
    case DTYPE_U8:                                                                                 \
        LOAD_LOOP(uint8_t, to, e);                                                                 \
    case DTYPE_BOOL:                                                                               \
        LOAD_LOOP(uint8_t, to, e != 0);                                                            \
    }

#define SAME(x) (x)

static void load_f32(enum dtype dtype, const char *p, int64_t stride, size_t n, void *out)
{
    LOAD_CASES(float, SAME, SAME)
}

static void load_f64(enum dtype dtype, const char *p, int64_t stride, size_t n, void *out)
{
    LOAD_CASES(double, SAME, SAME)
}

static void load_i64(enum dtype dtype, const char *p, int64_t stride, size_t n, void *out)
{
    LOAD_CASES(int64_t, i64_of_double, i64_of_double)
}

void elements_load(enum compute c, enum dtype dtype, const void *p, int64_t stride, size_t n,
                   void *out)
{
    if (compute_is_native(c, dtype) && stride == (int64_t)compute_size(c)) {
        memcpy(out, p, n * compute_size(c));
        return;
    }
    switch (c) {
    case COMPUTE_F32:
        load_f32(dtype, p, stride, n, out);
        return;
    case COMPUTE_F64:
        load_f64(dtype, p, stride, n, out);
        return;
    case COMPUTE_I64:
        load_i64(dtype, p, stride, n, out);
        return;
    default:
        BUG_ON(true);
    }
}

#define STORE_LOOP(from, to, expr)                                                                 \
    for (size_t i = 0; i < n; i++, p += stride) {                                                  \
        from x = ((const from *)in)[i];                                                            \
        to e = (to)(expr);                                                                         \
        memcpy(p, &e, sizeof(e));                                                                  \
    }                                                                                              \
    return
#define STORE_CASES(from, to_int)                                                                  \
    switch (dtype) {                                                                               \
    case DTYPE_F32:                                                                                \
        STORE_LOOP(from, float, x);                                                                \
    case DTYPE_F16:                                                                                \
        STORE_LOOP(from, uint16_t, f16_of_f32((float)x));                                          \
    case DTYPE_BF16:                                                                               \
        STORE_LOOP(from, uint16_t, bf16_of_f32((float)x));                                         \
    case DTYPE_F64:                                                                                \
        STORE_LOOP(from, double, x);                                                               \
    case DTYPE_I64:                                                                                \
        STORE_LOOP(from, int64_t, to_int(x));                                                      \
    case DTYPE_I32:                                                                                \
        STORE_LOOP(from, int32_t, to_int(x));                                                      \
    case DTYPE_I16:                                                                                \
        STORE_LOOP(from, int16_t, to_int(x));                                                      \
    case DTYPE_I8:                                                                                 \
        STORE_LOOP(from, int8_t, to_int(x));                                                       \
    case DTYPE_U8:                                                                                 \
        STORE_LOOP(from, uint8_t, to_int(x));                                                      \
    case DTYPE_BOOL:                                                                               \
        STORE_LOOP(from, uint8_t, x != 0);                                                         \
    }

static void store_f32(enum dtype dtype, char *p, int64_t stride, size_t n, const void *in)
{
    STORE_CASES(float, i64_of_double)
}

static void store_f64(enum dtype dtype, char *p, int64_t stride, size_t n, const void *in)
{
    STORE_CASES(double, i64_of_double)
}

static void store_i64(enum dtype dtype, char *p, int64_t stride, size_t n, const void *in)
{
    STORE_CASES(int64_t, SAME)
}

static void store_bool(enum dtype dtype, char *p, int64_t stride, size_t n, const void *in)
{
    STORE_CASES(uint8_t, SAME)
}

void elements_store(enum compute c, enum dtype dtype, void *p, int64_t stride, size_t n,
                    const void *in)
{
    if (compute_is_native(c, dtype) && stride == (int64_t)compute_size(c)) {
        memcpy(p, in, n * compute_size(c));
        return;
    }
    switch (c) {
    case COMPUTE_F32:
        store_f32(dtype, p, stride, n, in);
        return;
    case COMPUTE_F64:
        store_f64(dtype, p, stride, n, in);
        return;
    case COMPUTE_I64:
        store_i64(dtype, p, stride, n, in);
        return;
    case COMPUTE_BOOL:
        store_bool(dtype, p, stride, n, in);
        return;
    }
}
