#include "encoder.h"

#include "op.h"

const struct encoder_names encoder_names_bert = {
    .layers = "encoder.layer",
    .query = "attention.self.query",
    .key = "attention.self.key",
    .value = "attention.self.value",
    .mixed = "attention.output.dense",
    .attention_norm = "attention.output.LayerNorm",
    .inner = "intermediate.dense",
    .outer = "output.dense",
    .outer_norm = "output.LayerNorm",
};

const struct classifier classifier_roberta = {"classifier.dense", "classifier.out_proj", ACT_TANH};

const struct masked_lm masked_lm_roberta = {
    .dense = "lm_head.dense",
    .norm = "lm_head.layer_norm",
    .decoder = "lm_head.decoder",
    .bias = "lm_head.bias",
};

void encoder_check_heads(struct builder *b, const char *heads_key, uint32_t heads,
                         const char *hidden_key)
{
    if (!b->err && b->hidden % heads)
        b->err = err_new(ERR_ARGUMENT, "[config.json]: [%s] [%u] does not divide [%s] [%u]",
                         heads_key, heads, hidden_key, b->hidden);
}

void encoder_read(struct builder *b, struct encoder *out)
{
    b->hidden = builder_int(b, "hidden_size", 1, 16384);
    *out = (struct encoder){
        .names = &encoder_names_bert,
        .heads = builder_int(b, "num_attention_heads", 1, 1024),
        .inner = builder_int(b, "intermediate_size", 1, 65536),
        .eps = (float)builder_number(b, "layer_norm_eps", 1e-12),
        .act = builder_activation(b, "hidden_act"),
        .n_layers = builder_int(b, "num_hidden_layers", 1, 256),
        .bias = NO_VALUE,
    };
    b->vocab_size = builder_int(b, "vocab_size", 1, 16 << 20);
    b->max_tokens = builder_int(b, "max_position_embeddings", 1, 65536);
    builder_expect(b, "position_embedding_type", "absolute");
    builder_expect(b, "is_decoder", "false");
    builder_expect(b, "add_cross_attention", "false");
    encoder_check_heads(b, "num_attention_heads", out->heads, "hidden_size");
}

uint32_t encoder_position_base(struct builder *b)
{
    uint32_t base = builder_int_or(b, "pad_token_id", 0, 65535, 1) + 1;
    if (!b->err && b->max_tokens <= base)
        b->err = err_new(ERR_ARGUMENT,
                         "[config.json]: [max_position_embeddings] [%u] leaves no positions behind "
                         "[pad_token_id] [%u]",
                         b->max_tokens, base - 1);
    b->max_tokens -= b->err ? 0 : base;
    return base;
}

uint32_t encoder_embed(struct builder *b, uint32_t width, float eps, uint32_t position_base)
{
    uint32_t in[3], n = 2;
    b->embedding = width;
    struct attr attr = {.position_base = position_base, .pads = position_base > 0};
    in[0] = builder_tensor(b, "embeddings.word_embeddings.weight", b->vocab_size, width);
    in[1] = builder_tensor(b, "embeddings.position_embeddings.weight",
                           b->max_tokens + position_base, width);
    if (b->type_vocab_size)
        in[n++] =
            builder_tensor(b, "embeddings.token_type_embeddings.weight", b->type_vocab_size, width);
    uint32_t x = builder_node(b, &op_embed, in, n, &attr);
    return builder_layer_norm(b, "embeddings.LayerNorm", x, width, eps);
}

static uint32_t add_norm(struct builder *b, const struct encoder *e, uint32_t x, uint32_t y,
                         const char *name)
{
    uint32_t sum = builder_node(b, &op_add, (uint32_t[]){x, y}, 2, &(struct attr){0});
    return builder_layer_norm(b, name, sum, b->hidden, e->eps);
}

static const char *name_of(struct builder *b, const struct encoder *e, uint32_t i, const char *what)
{
    return builder_name(b, "%s.%u.%s", e->names->layers, i, what);
}

void encoder_project(struct builder *b, const struct encoder *e, uint32_t x, uint32_t i,
                     uint32_t out[3])
{
    const struct encoder_names *n = e->names;
    const char *const projections[] = {n->query, n->key, n->value};
    for (int p = 0; p < 3; p++)
        out[p] = builder_linear(b, name_of(b, e, i, projections[p]), x, b->hidden, b->hidden);
}

static uint32_t mix(struct builder *b, const struct encoder *e, uint32_t x, uint32_t i)
{
    uint32_t in[4] = {0, 0, 0, e->bias};
    encoder_project(b, e, x, i, in);
    return builder_node(b, &op_attention, in, e->bias == NO_VALUE ? 3 : 4,
                        &(struct attr){.heads = e->heads});
}

static uint32_t attend(struct builder *b, const struct encoder *e, uint32_t x, uint32_t i)
{
    uint32_t mixed = e->mix ? e->mix(b, e, x, i) : mix(b, e, x, i);
    return builder_linear(b, name_of(b, e, i, e->names->mixed), mixed, b->hidden, b->hidden);
}

static uint32_t layer(struct builder *b, const struct encoder *e, uint32_t x, uint32_t i)
{
    const struct encoder_names *n = e->names;
    uint32_t y = attend(b, e, x, i), h = b->hidden;
    x = add_norm(b, e, y, x, name_of(b, e, i, n->attention_norm));
    y = builder_linear(b, name_of(b, e, i, n->inner), x, e->inner, h);
    y = builder_node(b, &op_activation, &y, 1, &(struct attr){.act = e->act});
    y = builder_linear(b, name_of(b, e, i, n->outer), y, h, e->inner);
    return add_norm(b, e, y, x, name_of(b, e, i, n->outer_norm));
}

uint32_t encoder_layers(struct builder *b, const struct encoder *e, uint32_t x)
{
    for (uint32_t i = 0; i < e->n_layers; i++)
        x = layer(b, e, x, i);
    return x;
}
