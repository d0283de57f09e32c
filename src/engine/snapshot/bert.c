/* BERT (Devlin et al. 2018; transformers' modeling_bert.py): embeddings of word, position and type,
 * then the encoder. */
#include "encoder.h"

static uint32_t bert_build(struct builder *b)
{
    struct encoder e;
    encoder_read(b, &e);
    b->type_vocab_size = builder_int(b, "type_vocab_size", 1, 1024);
    return encoder_layers(b, &e, encoder_embed(b, b->hidden, e.eps, 0));
}

/* The pooler belongs to the model, hence its prefix. */
static const struct classifier classifier = {"bert.pooler.dense", "classifier", ACT_TANH};

static const struct masked_lm masked_lm = {
    .dense = "cls.predictions.transform.dense",
    .norm = "cls.predictions.transform.LayerNorm",
    .decoder = "cls.predictions.decoder",
    .bias = "cls.predictions.bias",
    .act_key = "hidden_act",
};

const struct family family_bert = {
    .model_type = "bert",
    .architecture = "BertModel",
    .prefix = "bert.",
    .build = bert_build,
    .classifier = &classifier,
    .masked_lm = &masked_lm,
};
