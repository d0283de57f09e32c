/* convert: runs of elements between their dtype and the type they are computed in.
 *
 * Compute types: float for f32, f16 and bf16; double for f64; int64 for every integer and bool.
 * Storing wraps integers, rounds floats to nearest even, and makes of bool what is not zero. */
#ifndef INFERD_ENGINE_SCRIPT_CONVERT_H
#define INFERD_ENGINE_SCRIPT_CONVERT_H

#include "tensor.h"

enum compute { COMPUTE_F32, COMPUTE_F64, COMPUTE_I64, COMPUTE_BOOL /* results alone: uint8 */ };

enum compute compute_of(enum dtype); /* of a dtype's values */
size_t compute_size(enum compute);
bool compute_is_native(enum compute, enum dtype); /* the same bytes */

/* n elements `stride` bytes apart, aligned for their dtype. `c` is not COMPUTE_BOOL for loads. */
void elements_load(enum compute c, enum dtype, const void *p, int64_t stride, size_t n, void *out);
void elements_store(enum compute c, enum dtype, void *p, int64_t stride, size_t n, const void *in);

int64_t i64_of_double(double); /* truncated; what does not fit is INT64_MIN, as on x86 */

#endif
