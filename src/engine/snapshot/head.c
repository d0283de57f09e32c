#include "op.h"
#include "snapshot.h"

uint32_t head_classifier(struct builder *b, const struct classifier *c, uint32_t x, uint32_t labels)
{
    b->prefix = STR("");
    x = builder_node(b, &op_pool, &x, 1, &(struct attr){.pooling = POOL_CLS});
    x = builder_linear(b, c->dense, x, b->hidden, b->hidden);
    x = builder_node(b, &op_activation, &x, 1, &(struct attr){.act = c->act});
    return builder_linear(b, c->out, x, labels, b->hidden);
}

uint32_t head_tokens(struct builder *b, const char *name, uint32_t x, uint32_t labels)
{
    b->prefix = STR("");
    return builder_linear(b, name, x, labels, b->hidden);
}

uint32_t head_splade(struct builder *b, const struct masked_lm *m, uint32_t x)
{
    const char *words =
        builder_name(b, "%.*sembeddings.word_embeddings.weight", STR_ARG(b->prefix));
    const char *own = builder_name(b, "%s.weight", m->decoder);
    const char *own_bias = builder_name(b, "%s.bias", m->decoder);
    enum activation act = m->act_key ? builder_activation(b, m->act_key) : ACT_GELU;
    float eps = (float)builder_number(b, "layer_norm_eps", 1e-12);
    b->prefix = STR("");
    x = builder_linear(b, m->dense, x, b->embedding, b->hidden);
    x = builder_node(b, &op_activation, &x, 1, &(struct attr){.act = act});
    x = builder_layer_norm(b, m->norm, x, b->embedding, eps);
    const char *decoder = builder_has(b, own) ? own : words;
    const char *bias = builder_has(b, m->bias) ? m->bias : own_bias;
    uint32_t in[] = {x, builder_tensor(b, decoder, b->vocab_size, b->embedding),
                     builder_tensor(b, bias, b->vocab_size, 0)};
    return builder_node(b, &op_splade, in, 3, &(struct attr){0});
}
