/* ELECTRA (Clark et al. 2020; transformers' modeling_electra.py): BERT whose embeddings may be
 * narrower than its layers; a projection widens them. */
#include "encoder.h"

static uint32_t electra_build(struct builder *b)
{
    struct encoder e;
    encoder_read(b, &e);
    b->type_vocab_size = builder_int(b, "type_vocab_size", 1, 1024);
    uint32_t width = builder_int_or(b, "embedding_size", 1, 16384, b->hidden);
    uint32_t x = encoder_embed(b, width, e.eps, 0);
    if (width != b->hidden)
        x = builder_linear(b, "embeddings_project", x, b->hidden, width);
    return encoder_layers(b, &e, x);
}

static const struct classifier classifier = {"classifier.dense", "classifier.out_proj", ACT_GELU};

/* As wide as the embeddings, whose table decodes. */
static const struct masked_lm masked_lm = {
    .dense = "generator_predictions.dense",
    .norm = "generator_predictions.LayerNorm",
    .decoder = "generator_lm_head",
    .bias = "generator_lm_head.bias",
};

const struct family family_electra = {
    .model_type = "electra",
    .architecture = "ElectraModel",
    .prefix = "electra.",
    .build = electra_build,
    .classifier = &classifier,
    .masked_lm = &masked_lm,
};
