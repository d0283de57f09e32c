#include "rope.h"

#include <math.h>

#include "op.h"

/* Frequencies and angles in single precision, as the references compute them. */
uint32_t rope_table(struct builder *b, double base, uint32_t turned)
{
    uint32_t half = turned / 2;
    float *table = b->err ? NULL : builder_floats(b, (size_t)b->max_tokens * turned);
    if (!table)
        return 0;
    for (uint32_t i = 0; i < half; i++) {
        float frequency = 1.0f / powf((float)base, (float)(2 * i) / (float)turned);
        for (uint32_t p = 0; p < b->max_tokens; p++) {
            float angle = (float)p * frequency;
            table[(size_t)p * turned + i] = cosf(angle);
            table[(size_t)p * turned + half + i] = sinf(angle);
        }
    }
    return graph_constant(b->graph, 2, (int64_t[]){b->max_tokens, turned}, table);
}

uint32_t rope_attention(struct builder *b, uint32_t x, uint32_t heads, uint32_t table,
                        uint32_t bias)
{
    struct attr attr = {
        .heads = heads, .width = b->hidden, .column = {0, b->hidden, 2 * b->hidden}};
    x = builder_node(b, &op_rotary, (uint32_t[]){x, table}, 2, &attr);
    return builder_node(b, &op_attention, (uint32_t[]){x, x, x, bias}, bias == NO_VALUE ? 3 : 4,
                        &attr);
}

uint32_t rope_norm(struct builder *b, const char *name, uint32_t x, float eps, bool has_bias)
{
    if (has_bias)
        return builder_layer_norm(b, name, x, b->hidden, eps);
    uint32_t gamma = builder_tensor(b, builder_name(b, "%s.weight", name), b->hidden, 0);
    float *none = b->err ? NULL : builder_floats(b, b->hidden);
    if (!none)
        return 0;
    uint32_t beta = graph_constant(b->graph, 1, (int64_t[]){b->hidden}, none);
    return builder_node(b, &op_layer_norm, (uint32_t[]){x, gamma, beta}, 3,
                        &(struct attr){.eps = eps});
}

uint32_t rope_linear(struct builder *b, const char *name, uint32_t x, uint32_t n, uint32_t k,
                     bool has_bias)
{
    if (has_bias)
        return builder_linear(b, name, x, n, k);
    uint32_t w = builder_tensor(b, builder_name(b, "%s.weight", name), n, k);
    return builder_node(b, &op_linear, (uint32_t[]){x, w}, 2, &(struct attr){0});
}

uint32_t rope_add(struct builder *b, uint32_t x, uint32_t y)
{
    return builder_node(b, &op_add, (uint32_t[]){x, y}, 2, &(struct attr){0});
}
