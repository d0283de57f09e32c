/* Pairs of products are added by one instruction, which every
 * x86-64 has for 8 numbers, AVX2 for 16 and AVX-512 for 32. Sums of integers do not depend on their
 * order, so all of them give the same bits. */
#include "int8.h"

#include <stdbool.h>
#include <string.h>

static int32_t dot_plain(const int16_t *x, const int16_t *w, size_t k)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < k; i++)
        sum += (uint32_t)((int32_t)x[i] * w[i]);
    return (int32_t)sum;
}

#if defined(__x86_64__)
#include <immintrin.h>

/* A tile of `height` rows of x by `width` rows of w, whose sums stay in registers; beyond the end
 * the last row stands in, and its sums are not kept. lanes: of int16. The loops over a tile have
 * constant bounds, so that they are unrolled. */
#define PRODUCT(name, attributes, vec, lanes, height, width, zero, load, madd, add)                \
    attributes static void name(const int16_t *x, const int16_t *w, size_t rows, size_t n,         \
                                size_t k, int32_t *acc)                                            \
    {                                                                                              \
        for (size_t j = 0; j < n; j += width)                                                      \
            for (size_t i = 0; i < rows; i += height) {                                            \
                const int16_t *a[height], *b[width];                                               \
                vec sum[height][width];                                                            \
                for (size_t r = 0; r < height; r++)                                                \
                    a[r] = x + (i + r < rows ? i + r : rows - 1) * k;                              \
                for (size_t c = 0; c < width; c++)                                                 \
                    b[c] = w + (j + c < n ? j + c : n - 1) * k;                                    \
                for (size_t r = 0; r < height; r++)                                                \
                    for (size_t c = 0; c < width; c++)                                             \
                        sum[r][c] = zero();                                                        \
                for (size_t p = 0; p < k; p += lanes) {                                            \
                    vec right[width];                                                              \
                    for (size_t c = 0; c < width; c++)                                             \
                        right[c] = load((const void *)(b[c] + p));                                 \
                    for (size_t r = 0; r < height; r++) {                                          \
                        vec left = load((const void *)(a[r] + p));                                 \
                        for (size_t c = 0; c < width; c++)                                         \
                            sum[r][c] = add(sum[r][c], madd(left, right[c]));                      \
                    }                                                                              \
                }                                                                                  \
                for (size_t r = 0; r < height && i + r < rows; r++)                                \
                    for (size_t c = 0; c < width && j + c < n; c++)                                \
                        acc[(i + r) * n + j + c] = lanes_total(&sum[r][c], (lanes) / 2);           \
            }                                                                                      \
    }

static inline int32_t lanes_total(const void *vector, size_t n)
{
    uint32_t lane[16], sum = 0;
    memcpy(lane, vector, n * sizeof *lane);
    for (size_t l = 0; l < n; l++)
        sum += lane[l];
    return (int32_t)sum;
}

PRODUCT(product_sse2, , __m128i, 8, 2, 4, _mm_setzero_si128, _mm_loadu_si128, _mm_madd_epi16,
        _mm_add_epi32)
PRODUCT(product_avx2, __attribute__((target("avx2"))), __m256i, 16, 2, 4, _mm256_setzero_si256,
        _mm256_loadu_si256, _mm256_madd_epi16, _mm256_add_epi32)
PRODUCT(product_avx512, __attribute__((target("avx512f,avx512bw"))), __m512i, 32, 4, 5,
        _mm512_setzero_si512, _mm512_loadu_si512, _mm512_madd_epi16, _mm512_add_epi32)

int8_product_fn *int8_product_at(size_t i)
{
    static int8_product_fn *const all[] = {product_avx512, product_avx2, product_sse2};
    size_t first = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") ? 0
                   : __builtin_cpu_supports("avx2")                                        ? 1
                                                                                           : 2;
    return first + i < 3 ? all[first + i] : NULL;
}
#else
static void product_plain(const int16_t *x, const int16_t *w, size_t rows, size_t n, size_t k,
                          int32_t *acc)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++)
            acc[i * n + j] = dot_plain(x + i * k, w + j * k, k);
}

int8_product_fn *int8_product_at(size_t i)
{
    return i == 0 ? product_plain : NULL;
}
#endif

/* One number is not worth a tile. */
void int8_product(const int16_t *x, const int16_t *w, size_t rows, size_t n, size_t k, int32_t *acc)
{
    if (k == 0)
        memset(acc, 0, rows * n * sizeof *acc);
    else if (rows == 1 && n == 1)
        acc[0] = dot_plain(x, w, k);
    else
        int8_product_at(0)(x, w, rows, n, k, acc);
}
