/* What any machine runs: four lanes, which every 64-bit instruction set has. No fused
 * multiply-add: two roundings, the same ones everywhere in this file. */
#include <math.h>
#include <string.h>

#include "kernels.h"

typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));

#define LANES           4
#define TILE_ROWS       4
#define TILE_VECTORS    2
#define EACH_TILE(X)    X(1) X(2) X(3) X(4)
#define vf_fma(a, b, c) ((a) * (b) + (c))
#define vf_max(a, b)    vf_pick((a) > (b), a, b)
#define vf_min(a, b)    vf_pick((a) < (b), a, b)
#define vf_round(a)     __builtin_convertvector(vf_to_vi(a), vf)
#define KERNELS         kernels_generic
#define KERNELS_NAME    "generic"

static inline vf vf_pick(vi mask, vf yes, vf no)
{
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

/* To nearest: the magic number 1.5 * 2^23 pushes the fraction out, for |a| < 2^22. */
static inline vi vf_to_vi(vf a)
{
    const vf magic = {12582912.0f, 12582912.0f, 12582912.0f, 12582912.0f};
    return (vi)(a + magic) - (vi)magic;
}

static bool machine_has(void)
{
    return true;
}

#include "kernels_body.h"
