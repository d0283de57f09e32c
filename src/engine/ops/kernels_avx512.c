/* AVX-512F with FMA: tiles of 14 rows by 32 columns, 28 of 32 registers are accumulators. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx2,fma")
#endif

typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));

#define LANES           16
#define TILE_ROWS       14
#define TILE_VECTORS    2
#define EACH_TILE(X)    X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#define vf_fma(a, b, c) ((vf)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define vf_max(a, b)    ((vf)_mm512_max_ps((__m512)(a), (__m512)(b)))
#define vf_min(a, b)    ((vf)_mm512_min_ps((__m512)(a), (__m512)(b)))
#define vf_round(a)     ((vf)_mm512_roundscale_ps((__m512)(a), 0))
#define vf_to_vi(a)     ((vi)_mm512_cvtps_epi32((__m512)(a)))
#define KERNELS         kernels_avx512
#define KERNELS_NAME    "avx512"

static bool machine_has(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma");
}

#include "kernels_body.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
typedef int kernels_avx512_is_for_x86;
#endif
