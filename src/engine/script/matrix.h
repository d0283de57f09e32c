/* matrix: products of single matrices, for the ops that are made of them. */
#ifndef INFERD_ENGINE_SCRIPT_MATRIX_H
#define INFERD_ENGINE_SCRIPT_MATRIX_H

#include "families.h"
#include "pointwise.h"
#include "product.h"
#include "strided.h"

/* c [m, n] = a [m, k] b [k, n] + bias [n]: one dtype, f32, f64 or i64; c's rows are dense. The
 * bias (NULL: none) is dense and of the same dtype. */
struct err *matrix_multiply(struct step *, const struct script_tensor *a,
                            const struct script_tensor *b, const void *bias,
                            const struct script_tensor *c);

#endif
