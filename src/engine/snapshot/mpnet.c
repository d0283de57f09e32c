/* MPNet (Song et al. 2020; transformers' modeling_mpnet.py): BERT without types, with RoBERTa's
 * positions, and with T5's relative positions besides (Raffel et al. 2020, section 2.1): each head
 * adds to a score a number that depends on how far the two tokens are apart. Distances share
 * buckets: near ones have their own, far ones share more and more, from 128 on all are one. */
#include "encoder.h"

#include <math.h>

#define MAX_DISTANCE 128

static const struct encoder_names names = {
    .layers = "encoder.layer",
    .query = "attention.attn.q",
    .key = "attention.attn.k",
    .value = "attention.attn.v",
    .mixed = "attention.attn.o",
    .attention_norm = "attention.LayerNorm",
    .inner = "intermediate.dense",
    .outer = "output.dense",
    .outer_norm = "output.LayerNorm",
};

/* Of key - query, in single precision as PyTorch has it: the borders depend on that. */
static uint32_t bucket_of(int64_t distance, uint32_t n_buckets)
{
    uint32_t half = n_buckets / 2, exact = half / 2, first = distance > 0 ? half : 0;
    uint32_t far = (uint32_t)(distance < 0 ? -distance : distance);
    if (far < exact)
        return first + far;
    float share = logf((float)far / (float)exact) / (float)log((double)MAX_DISTANCE / exact);
    uint32_t bucket = exact + (uint32_t)(share * (float)(half - exact));
    return first + (bucket < half ? bucket : half - 1);
}

/* The learned [buckets, heads] as attention's bias [heads, 2 max_tokens - 1]. */
static uint32_t relative_bias(struct builder *b, uint32_t heads)
{
    uint32_t n_buckets = builder_int_or(b, "relative_attention_num_buckets", 4, 256, 32);
    uint32_t learned =
        builder_tensor(b, "encoder.relative_attention_bias.weight", n_buckets, heads);
    size_t width = 2 * (size_t)b->max_tokens - 1;
    float *bias = b->err ? NULL : builder_floats(b, width * heads);
    if (!bias)
        return NO_VALUE;
    const float *from = b->graph->values[learned].data;
    for (size_t i = 0; i < width; i++) {
        uint32_t bucket = bucket_of((int64_t)i - (b->max_tokens - 1), n_buckets);
        for (uint32_t h = 0; h < heads; h++)
            bias[h * width + i] = from[bucket * heads + h];
    }
    return graph_constant(b->graph, 2, (int64_t[]){heads, (int64_t)width}, bias);
}

static uint32_t mpnet_build(struct builder *b)
{
    struct encoder e;
    encoder_read(b, &e);
    e.names = &names;
    uint32_t base = encoder_position_base(b);
    uint32_t x = encoder_embed(b, b->hidden, e.eps, base);
    e.bias = relative_bias(b, e.heads);
    return encoder_layers(b, &e, x);
}

const struct family family_mpnet = {
    .model_type = "mpnet",
    .architecture = "MPNetModel",
    .prefix = "mpnet.",
    .build = mpnet_build,
    .classifier = &classifier_roberta,
    .masked_lm = &masked_lm_roberta,
};
