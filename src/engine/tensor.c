#include "tensor.h"

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [DTYPE_F32] = {"F32", 4}, [DTYPE_F16] = {"F16", 2},   [DTYPE_BF16] = {"BF16", 2},
    [DTYPE_I8] = {"I8", 1},   [DTYPE_U8] = {"U8", 1},     [DTYPE_I32] = {"I32", 4},
    [DTYPE_I64] = {"I64", 8}, [DTYPE_BOOL] = {"BOOL", 1}, [DTYPE_F64] = {"F64", 8},
    [DTYPE_I16] = {"I16", 2},
};

size_t dtype_size(enum dtype d)
{
    return dtypes[d].size;
}

const char *dtype_name(enum dtype d)
{
    return dtypes[d].name;
}

static float f32_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

/* IEEE 754 binary16: sign 1, exponent 5 (bias 15), fraction 10. */
static float f32_of_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 0x3ff;
    if (exponent == 31)
        return f32_of_bits(sign | 0x7f800000 | fraction << 13);
    if (exponent)
        return f32_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
    float f = (float)fraction * 0x1p-24f; /* zero or subnormal */
    return sign ? -f : f;
}

bool dtype_to_f32(enum dtype d, const void *in, size_t n, float *out)
{
    const unsigned char *p = in;
    uint16_t half;
    switch (d) {
    case DTYPE_F32:
        memcpy(out, in, n * sizeof(float));
        return true;
    case DTYPE_F16:
        for (size_t i = 0; i < n; i++) {
            memcpy(&half, p + 2 * i, 2);
            out[i] = f32_of_f16(half);
        }
        return true;
    case DTYPE_BF16:
        for (size_t i = 0; i < n; i++) {
            memcpy(&half, p + 2 * i, 2);
            out[i] = f32_of_bits((uint32_t)half << 16);
        }
        return true;
    default:
        return false;
    }
}
