/* encoder: the layers that BERT and its relatives share (Vaswani et al. 2017, the encoder):
 * self-attention and a two-layer network, each followed by add and layer norm. The families differ
 * in what they call the tensors, in how tokens are embedded and in what attention knows of places.
 */
#ifndef INFERD_ENGINE_ENCODER_H
#define INFERD_ENGINE_ENCODER_H

#include "snapshot.h"

/* What a family calls the tensors of a layer: LAYERS.3.QUERY.weight. */
struct encoder_names {
    const char *layers;
    const char *query, *key, *value;
    const char *mixed; /* the projection behind attention */
    const char *attention_norm;
    const char *inner, *outer;
    const char *outer_norm;
};

/* BERT's, RoBERTa's and ELECTRA's. */
extern const struct encoder_names encoder_names_bert;

struct encoder {
    const struct encoder_names *names;
    uint32_t heads, inner, n_layers;
    float eps;
    enum activation act;
    uint32_t bias; /* attention's fourth input; NO_VALUE: none */
    /* Attention of a family's own in layer i, up to the projection behind it; NULL: the usual. */
    uint32_t (*mix)(struct builder *, const struct encoder *, uint32_t x, uint32_t i);
};

/* The heads of RoBERTa's code, and of MPNet's. */
extern const struct classifier classifier_roberta;
extern const struct masked_lm masked_lm_roberta;

/* Reads hidden_size, num_attention_heads and the like into the builder and `out`; what an encoder
 * with absolute positions cannot be is refused. */
void encoder_read(struct builder *, struct encoder *out);
/* [num_attention_heads] must divide [hidden_size], which stand under these keys. */
void encoder_check_heads(struct builder *, const char *heads_key, uint32_t heads,
                         const char *hidden_key);
/* For positions that begin behind the padding's id ([pad_token_id], 1 when absent): takes what lies
 * before from max_tokens and returns how much. */
uint32_t encoder_position_base(struct builder *);
/* Word, position and type embeddings of this width, their sum normed: the input of the layers.
 * With position_base, padding is told by its id (see embed.c). */
uint32_t encoder_embed(struct builder *, uint32_t width, float eps, uint32_t position_base);
/* Queries, keys and values of layer i. */
void encoder_project(struct builder *, const struct encoder *, uint32_t x, uint32_t i,
                     uint32_t out[3]);
/* x [tokens, hidden] through all layers. */
uint32_t encoder_layers(struct builder *, const struct encoder *, uint32_t x);

#endif
