/* tensor: dtypes and their conversion to float. */
#ifndef INFERD_ENGINE_TENSOR_H
#define INFERD_ENGINE_TENSOR_H

#include "engine.h"

size_t dtype_size(enum dtype);
const char *dtype_name(enum dtype); /* as safetensors spells it: "BF16" */

/* n elements at `in`, which may be unaligned, into floats; exact. False: not a float dtype. */
bool dtype_to_f32(enum dtype, const void *in, size_t n, float *out);

#endif
