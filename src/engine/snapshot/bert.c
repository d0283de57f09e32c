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

const struct family family_bert = {
    .model_type = "bert",
    .architecture = "BertModel",
    .prefix = "bert.",
    .build = bert_build,
};
