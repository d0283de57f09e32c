/* RoBERTa (Liu et al. 2019; transformers' modeling_roberta.py) and its twins XLM-RoBERTa (Conneau
 * et al. 2020) and CamemBERT (Martin et al. 2020): BERT whose positions begin behind the padding's
 * id, so that a table of 514 positions is for 512 tokens. */
#include "encoder.h"

static uint32_t roberta_build(struct builder *b)
{
    struct encoder e;
    encoder_read(b, &e);
    b->type_vocab_size = builder_int(b, "type_vocab_size", 1, 1024);
    uint32_t base = encoder_position_base(b);
    return encoder_layers(b, &e, encoder_embed(b, b->hidden, e.eps, base));
}

const struct family family_roberta = {
    .model_type = "roberta",
    .architecture = "RobertaModel",
    .prefix = "roberta.",
    .build = roberta_build,
    .classifier = &classifier_roberta,
    .masked_lm = &masked_lm_roberta,
};

const struct family family_xlm_roberta = {
    .model_type = "xlm-roberta",
    .architecture = "XLMRobertaModel",
    .prefix = "roberta.",
    .build = roberta_build,
    .classifier = &classifier_roberta,
    .masked_lm = &masked_lm_roberta,
};

const struct family family_camembert = {
    .model_type = "camembert",
    .architecture = "CamembertModel",
    .prefix = "roberta.",
    .build = roberta_build,
    .classifier = &classifier_roberta,
    .masked_lm = &masked_lm_roberta,
};
