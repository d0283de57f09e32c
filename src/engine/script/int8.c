/* Two rows by four columns at a time; pairs of products are added by one instruction, which every
 * x86-64 has for 8 numbers, AVX2 for 16 and AVX-512 for 32. Sums of integers do not depend on their
 * order, so all of them give the same bits. */
#include "int8.h"

#include <stdbool.h>
#include <string.h>

typedef void product_fn(const int16_t *, const int16_t *, size_t, size_t, size_t, int32_t *);

static int32_t dot_plain(const int16_t *x, const int16_t *w, size_t k)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < k; i++)
        sum += (uint32_t)((int32_t)x[i] * w[i]);
    return (int32_t)sum;
}

#if defined(__x86_64__)
#include <immintrin.h>

/* target: instruction set; vec, lanes (of int16), load, madd, add: its vectors. */
#define PRODUCT(name, target_attribute, vec, lanes, zero, load, madd, add)                         \
    target_attribute static void name(const int16_t *x, const int16_t *w, size_t rows, size_t n,   \
                                      size_t k, int32_t *acc)                                      \
    {                                                                                              \
        for (size_t j = 0; j < n; j += 4)                                                          \
            for (size_t i = 0; i < rows; i += 2) {                                                 \
                size_t n_columns = n - j < 4 ? n - j : 4, n_rows = rows - i < 2 ? 1 : 2;           \
                const int16_t *x0 = x + i * k, *x1 = x0 + (n_rows - 1) * k;                        \
                const int16_t *w0 = w + j * k, *w1 = w0 + (n_columns > 1) * k;                     \
                const int16_t *w2 = w1 + (n_columns > 2) * k, *w3 = w2 + (n_columns > 3) * k;      \
                vec s00 = zero(), s01 = zero(), s02 = zero(), s03 = zero();                        \
                vec s10 = zero(), s11 = zero(), s12 = zero(), s13 = zero();                        \
                for (size_t p = 0; p < k; p += lanes) {                                            \
                    vec a = load((const void *)(x0 + p)), b = load((const void *)(x1 + p));        \
                    vec c = load((const void *)(w0 + p)), d = load((const void *)(w1 + p));        \
                    vec e = load((const void *)(w2 + p)), f = load((const void *)(w3 + p));        \
                    s00 = add(s00, madd(a, c)), s01 = add(s01, madd(a, d));                        \
                    s02 = add(s02, madd(a, e)), s03 = add(s03, madd(a, f));                        \
                    s10 = add(s10, madd(b, c)), s11 = add(s11, madd(b, d));                        \
                    s12 = add(s12, madd(b, e)), s13 = add(s13, madd(b, f));                        \
                }                                                                                  \
                vec sums[2][4] = {{s00, s01, s02, s03}, {s10, s11, s12, s13}};                     \
                for (size_t r = 0; r < n_rows; r++)                                                \
                    for (size_t c = 0; c < n_columns; c++) {                                       \
                        uint32_t lane[(lanes) / 2], sum = 0;                                       \
                        memcpy(lane, &sums[r][c], sizeof lane);                                    \
                        for (size_t l = 0; l < (lanes) / 2; l++)                                   \
                            sum += lane[l];                                                        \
                        acc[(i + r) * n + j + c] = (int32_t)sum;                                   \
                    }                                                                              \
            }                                                                                      \
    }

PRODUCT(product_sse2, , __m128i, 8, _mm_setzero_si128, _mm_loadu_si128, _mm_madd_epi16,
        _mm_add_epi32)
PRODUCT(product_avx2, __attribute__((target("avx2"))), __m256i, 16, _mm256_setzero_si256,
        _mm256_loadu_si256, _mm256_madd_epi16, _mm256_add_epi32)
PRODUCT(product_avx512, __attribute__((target("avx512f,avx512bw"))), __m512i, 32,
        _mm512_setzero_si512, _mm512_loadu_si512, _mm512_madd_epi16, _mm512_add_epi32)

static product_fn *best_product(void)
{
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw"))
        return product_avx512;
    return __builtin_cpu_supports("avx2") ? product_avx2 : product_sse2;
}
#else
static void product_plain(const int16_t *x, const int16_t *w, size_t rows, size_t n, size_t k,
                          int32_t *acc)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++)
            acc[i * n + j] = dot_plain(x + i * k, w + j * k, k);
}

static product_fn *best_product(void)
{
    return product_plain;
}
#endif

/* One row alone, the usual case of a head, is not worth tiles. */
void int8_product(const int16_t *x, const int16_t *w, size_t rows, size_t n, size_t k, int32_t *acc)
{
    if (k == 0)
        memset(acc, 0, rows * n * sizeof *acc);
    else if (rows == 1 && n == 1)
        acc[0] = dot_plain(x, w, k);
    else
        best_product()(x, w, rows, n, k, acc);
}
