/* int8: products of small integers, exact in int32. */
#ifndef INFERD_ENGINE_SCRIPT_INT8_H
#define INFERD_ENGINE_SCRIPT_INT8_H

#include <stddef.h>
#include <stdint.h>

#define INT8_STEP 32 /* k is a multiple of it, filled up with zeros */

/* acc[i, j] = sum_k x[i, k] * w[j, k], wrapping: x [rows, k], w [n, k], acc [rows, n], dense. */
typedef void int8_product_fn(const int16_t *x, const int16_t *w, size_t rows, size_t n, size_t k,
                             int32_t *acc);
void int8_product(const int16_t *x, const int16_t *w, size_t rows, size_t n, size_t k,
                  int32_t *acc);
/* The forms of it that this machine runs, best first, for k > 0; NULL after the last. */
int8_product_fn *int8_product_at(size_t i);

#endif
