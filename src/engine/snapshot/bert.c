/* BERT (Devlin et al. 2018; transformers' modeling_bert.py): embeddings of word, position and type,
 * then layers of self-attention and a two-layer network, each followed by add and layer norm. */
#include "op.h"
#include "snapshot.h"

struct sizes {
    uint32_t hidden, heads, inner;
    float eps;
    enum activation act;
};

static uint32_t embeddings(struct builder *b, const struct sizes *s)
{
    const char *e = "embeddings";
    uint32_t in[] = {
        builder_tensor(b, builder_name(b, "%s.word_embeddings.weight", e), b->vocab_size,
                       s->hidden),
        builder_tensor(b, builder_name(b, "%s.position_embeddings.weight", e), b->max_tokens,
                       s->hidden),
        builder_tensor(b, builder_name(b, "%s.token_type_embeddings.weight", e), b->type_vocab_size,
                       s->hidden),
    };
    uint32_t x = builder_node(b, &op_embed, in, 3, &(struct attr){0});
    return builder_layer_norm(b, "embeddings.LayerNorm", x, s->hidden, s->eps);
}

static uint32_t add_norm(struct builder *b, const struct sizes *s, uint32_t x, uint32_t y,
                         const char *name)
{
    uint32_t sum = builder_node(b, &op_add, (uint32_t[]){x, y}, 2, &(struct attr){0});
    return builder_layer_norm(b, name, sum, s->hidden, s->eps);
}

static uint32_t layer(struct builder *b, const struct sizes *s, uint32_t x, uint32_t i)
{
    static const char *const projections[] = {"query", "key", "value"};
    uint32_t qkv[3], h = s->hidden;
    for (int p = 0; p < 3; p++)
        qkv[p] = builder_linear(
            b, builder_name(b, "encoder.layer.%u.attention.self.%s", i, projections[p]), x, h, h);
    uint32_t mixed = builder_node(b, &op_attention, qkv, 3, &(struct attr){.heads = s->heads});
    uint32_t y = builder_linear(b, builder_name(b, "encoder.layer.%u.attention.output.dense", i),
                                mixed, h, h);
    x = add_norm(b, s, y, x, builder_name(b, "encoder.layer.%u.attention.output.LayerNorm", i));
    y = builder_linear(b, builder_name(b, "encoder.layer.%u.intermediate.dense", i), x, s->inner,
                       h);
    y = builder_node(b, &op_activation, &y, 1, &(struct attr){.act = s->act});
    y = builder_linear(b, builder_name(b, "encoder.layer.%u.output.dense", i), y, h, s->inner);
    return add_norm(b, s, y, x, builder_name(b, "encoder.layer.%u.output.LayerNorm", i));
}

static uint32_t bert_build(struct builder *b)
{
    struct sizes s = {
        .hidden = builder_int(b, "hidden_size", 1, 16384),
        .heads = builder_int(b, "num_attention_heads", 1, 1024),
        .inner = builder_int(b, "intermediate_size", 1, 65536),
        .eps = (float)builder_number(b, "layer_norm_eps", 1e-12),
        .act = builder_activation(b, "hidden_act"),
    };
    uint32_t n_layers = builder_int(b, "num_hidden_layers", 1, 256);
    b->hidden = s.hidden;
    b->vocab_size = builder_int(b, "vocab_size", 1, 16 << 20);
    b->max_tokens = builder_int(b, "max_position_embeddings", 1, 65536);
    b->type_vocab_size = builder_int(b, "type_vocab_size", 1, 1024);
    builder_expect(b, "position_embedding_type", "absolute");
    builder_expect(b, "is_decoder", "false");
    builder_expect(b, "add_cross_attention", "false");
    if (!b->err && s.hidden % s.heads)
        b->err = err_new(ERR_ARGUMENT,
                         "[config.json]: [num_attention_heads] [%u] does not divide "
                         "[hidden_size] [%u]",
                         s.heads, s.hidden);
    uint32_t x = embeddings(b, &s);
    for (uint32_t i = 0; i < n_layers; i++)
        x = layer(b, &s, x, i);
    return x;
}

const struct family family_bert = {
    .model_type = "bert",
    .architecture = "BertModel",
    .build = bert_build,
};
