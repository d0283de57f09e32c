/* DistilBERT (Sanh et al. 2019; transformers' modeling_distilbert.py): BERT without types, with
 * names and config members of its own. Sinusoidal positions are stored as a table like any other.
 */
#include "encoder.h"

static const struct encoder_names names = {
    .layers = "transformer.layer",
    .query = "attention.q_lin",
    .key = "attention.k_lin",
    .value = "attention.v_lin",
    .mixed = "attention.out_lin",
    .attention_norm = "sa_layer_norm",
    .inner = "ffn.lin1",
    .outer = "ffn.lin2",
    .outer_norm = "output_layer_norm",
};

static uint32_t distilbert_build(struct builder *b)
{
    b->hidden = builder_int(b, "dim", 1, 16384);
    struct encoder e = {
        .names = &names,
        .heads = builder_int(b, "n_heads", 1, 1024),
        .inner = builder_int(b, "hidden_dim", 1, 65536),
        .eps = 1e-12f,
        .act = builder_activation(b, "activation"),
        .n_layers = builder_int(b, "n_layers", 1, 256),
        .bias = NO_VALUE,
    };
    b->vocab_size = builder_int(b, "vocab_size", 1, 16 << 20);
    b->max_tokens = builder_int(b, "max_position_embeddings", 1, 65536);
    encoder_check_heads(b, "n_heads", e.heads, "dim");
    return encoder_layers(b, &e, encoder_embed(b, b->hidden, e.eps, 0));
}

static const struct classifier classifier = {"pre_classifier", "classifier", ACT_RELU};

static const struct masked_lm masked_lm = {
    .dense = "vocab_transform",
    .norm = "vocab_layer_norm",
    .decoder = "vocab_projector",
    .bias = "vocab_projector.bias",
    .act_key = "activation",
};

const struct family family_distilbert = {
    .model_type = "distilbert",
    .architecture = "DistilBertModel",
    .prefix = "distilbert.",
    .build = distilbert_build,
    .classifier = &classifier,
    .masked_lm = &masked_lm,
};
