/* AVX2 with FMA: tiles of 6 rows by 16 columns, 12 of 16 registers are accumulators. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

typedef float vf __attribute__((vector_size(32)));
typedef int32_t vi __attribute__((vector_size(32)));

#define LANES           8
#define TILE_ROWS       6
#define TILE_VECTORS    2
#define EACH_TILE(X)    X(1) X(2) X(3) X(4) X(5) X(6)
#define vf_fma(a, b, c) ((vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define vf_max(a, b)    ((vf)_mm256_max_ps((__m256)(a), (__m256)(b)))
#define vf_min(a, b)    ((vf)_mm256_min_ps((__m256)(a), (__m256)(b)))
#define vf_round(a)                                                                                \
    ((vf)_mm256_round_ps((__m256)(a), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))
#define vf_to_vi(a)  ((vi)_mm256_cvtps_epi32((__m256)(a)))
#define KERNELS      kernels_avx2
#define KERNELS_NAME "avx2"

static bool machine_has(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

#include "kernels_body.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
typedef int kernels_avx2_is_for_x86;
#endif
