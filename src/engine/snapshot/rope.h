/* rope: what families share that tell places by turning queries and keys. */
#ifndef INFERD_ENGINE_ROPE_H
#define INFERD_ENGINE_ROPE_H

#include "snapshot.h"

/* The constant [max_tokens, turned] of op_rotary: frequencies base^(-2 i / turned). */
uint32_t rope_table(struct builder *, double base, uint32_t turned);
/* x [tokens, 3 hidden], q, k and v one after the other, turned by `table`, and attended to. bias:
 * attention's fourth input; NO_VALUE: none. */
uint32_t rope_attention(struct builder *, uint32_t x, uint32_t heads, uint32_t table,
                        uint32_t bias);

/* Norm and linear that may have no bias: has_bias is the config's word for it. */
uint32_t rope_norm(struct builder *, const char *name, uint32_t x, float eps, bool has_bias);
uint32_t rope_linear(struct builder *, const char *name, uint32_t x, uint32_t n, uint32_t k,
                     bool has_bias);
uint32_t rope_add(struct builder *, uint32_t x, uint32_t y);

#endif
