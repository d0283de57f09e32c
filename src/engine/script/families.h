/* What one family of ops offers to another. */
#ifndef INFERD_ENGINE_SCRIPT_FAMILIES_H
#define INFERD_ENGINE_SCRIPT_FAMILIES_H

#include "step.h"

/* op_arith.c: aten::max and aten::min of two tensors. */
struct err *pairwise_most(struct step *, bool most);

/* op_index.c: where the condition is not zero, one i64 tensor for each dimension, as a list. */
struct err *where_indices(struct step *, const struct view *condition);

/* op_view.c: strides that show the same elements in another shape; false: they must be copied. */
bool view_shape(const struct script_tensor *, int rank, const int64_t *dim,
                struct script_tensor *out);
/* op_view.c: every step-th of `length` positions of a dimension. They must be there. */
struct script_tensor tensor_narrow(const struct script_tensor *, int dim, int64_t start,
                                   int64_t length, int64_t step);

/* op_create.c: the next of the run's random numbers, in [0, 1). */
double random_next(struct script_runner *);

/* softmax.c: y = softmax(x) over n dense floats; a row that is -inf all over gives NaN, or zeros
 * when `safe`. x and y may be the same. */
void softmax_row(const float *x, size_t n, bool safe, float *y);

#endif
