/* product: matrix products of f32 by the kernels, over strided matrices. */
#ifndef INFERD_ENGINE_SCRIPT_PRODUCT_H
#define INFERD_ENGINE_SCRIPT_PRODUCT_H

#include "step.h"

/* B [k, n], elements stride_k and stride_n apart, into panels of nr columns for kernels.h:
 * panels has ceil(n / nr) * nr * k floats. */
void product_pack(size_t nr, const float *b, int64_t stride_k, int64_t stride_n, size_t k, size_t n,
                  float *panels);

/* c[rows, n] = a[rows, k] b[k, n] + bias[n]. */
struct product {
    int64_t rows, k, n;
    const float *a; /* rows lda floats apart, dense in k */
    int64_t lda;
    const float *b;
    int64_t stride_k, stride_n;
    const float *bias; /* [n] dense; NULL: none */
    float *c;          /* rows ldc floats apart */
    int64_t ldc;
};
struct err *product_run(struct step *, const struct product *);

#endif
