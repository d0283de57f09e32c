/* ModernBERT (Warner et al. 2024; transformers' modeling_modernbert.py): norms before attention and
 * network, a gated network, places told by turning. Every few layers attention sees the whole
 * sequence; in the others a token sees those near it, which the bias says: 0 near, -inf far. */
#include "rope.h"

#include <math.h>

#include "encoder.h"
#include "op.h"

struct modernbert {
    uint32_t heads, inner, every; /* global attention in layers 0, every, 2 every ... */
    float eps;
    enum activation act;
    bool norm_bias, attention_bias, mlp_bias;
    uint32_t global_table, local_table, near; /* constants */
};

/* [heads, 2 max_tokens - 1] for attention. */
static uint32_t near_bias(struct builder *b, uint32_t heads, uint32_t most)
{
    size_t width = 2 * (size_t)b->max_tokens - 1, middle = b->max_tokens - 1;
    float *bias = b->err ? NULL : builder_floats(b, width * heads);
    if (!bias)
        return NO_VALUE;
    for (size_t h = 0; h < heads; h++)
        for (size_t i = 0; i < width; i++)
            bias[h * width + i] = (i < middle ? middle - i : i - middle) > most ? -INFINITY : 0;
    return graph_constant(b->graph, 2, (int64_t[]){heads, (int64_t)width}, bias);
}

static uint32_t layer(struct builder *b, const struct modernbert *m, uint32_t x, uint32_t i)
{
    const char *name = builder_name(b, "layers.%u", i);
    uint32_t h = b->hidden, y = x;
    bool global = i % m->every == 0;
    if (i > 0)
        y = rope_norm(b, builder_name(b, "%s.attn_norm", name), x, m->eps, m->norm_bias);
    y = rope_linear(b, builder_name(b, "%s.attn.Wqkv", name), y, 3 * h, h, m->attention_bias);
    y = rope_attention(b, y, m->heads, global ? m->global_table : m->local_table,
                       global ? NO_VALUE : m->near);
    y = rope_linear(b, builder_name(b, "%s.attn.Wo", name), y, h, h, m->attention_bias);
    x = rope_add(b, x, y);
    y = rope_norm(b, builder_name(b, "%s.mlp_norm", name), x, m->eps, m->norm_bias);
    y = rope_linear(b, builder_name(b, "%s.mlp.Wi", name), y, 2 * m->inner, h, m->mlp_bias);
    y = builder_node(b, &op_gate, &y, 1, &(struct attr){.act = m->act});
    y = rope_linear(b, builder_name(b, "%s.mlp.Wo", name), y, h, m->inner, m->mlp_bias);
    return rope_add(b, x, y);
}

/* Later configs keep it in [rope_parameters]. */
static double theta(struct builder *b, const char *key, const char *layers, double fallback)
{
    const struct json *of = json_get(json_get(b->config, "rope_parameters"), layers);
    double x;
    struct str type;
    if (json_is_null(of))
        return builder_positive(b, key, fallback);
    if (!b->err && ((json_str(json_get(of, "rope_type"), &type) && !str_eq_c(type, "default")) ||
                    !json_f64(json_get(of, "rope_theta"), &x) || !(x >= 1 && x <= 1e12)))
        b->err = err_new(ERR_ARGUMENT,
                         "[config.json]: [rope_parameters] of [%s] must have rope_type [default] "
                         "and a rope_theta",
                         layers);
    return b->err ? fallback : x;
}

static void read_config(struct builder *b, struct modernbert *m, uint32_t *n_layers,
                        uint32_t *local)
{
    b->hidden = b->embedding = builder_int(b, "hidden_size", 1, 16384);
    m->heads = builder_int(b, "num_attention_heads", 1, 1024);
    m->inner = builder_int(b, "intermediate_size", 1, 65536);
    m->every = builder_int_or(b, "global_attn_every_n_layers", 1, 256, 3);
    m->eps = (float)builder_number(b, "norm_eps", 1e-5);
    m->act = builder_activation(b, "hidden_activation");
    m->norm_bias = builder_flag(b, "norm_bias", false);
    m->attention_bias = builder_flag(b, "attention_bias", false);
    m->mlp_bias = builder_flag(b, "mlp_bias", false);
    b->vocab_size = builder_int(b, "vocab_size", 1, 16 << 20);
    b->max_tokens = builder_int(b, "max_position_embeddings", 1, 65536);
    *n_layers = builder_int(b, "num_hidden_layers", 1, 256);
    *local = builder_int_or(b, "local_attention", 1, 65536, 128);
    builder_expect(b, "rope_scaling", "null");
    encoder_check_heads(b, "num_attention_heads", m->heads, "hidden_size");
}

static uint32_t modernbert_build(struct builder *b)
{
    struct modernbert m = {0};
    uint32_t n_layers, local;
    read_config(b, &m, &n_layers, &local);
    uint32_t turned = b->hidden / m.heads;
    double far = theta(b, "global_rope_theta", "full_attention", 160000);
    double near = theta(b, "local_rope_theta", "sliding_attention", 10000);
    uint32_t words =
        builder_tensor(b, "embeddings.tok_embeddings.weight", b->vocab_size, b->hidden);
    uint32_t x = builder_node(b, &op_embed, &words, 1, &(struct attr){.placeless = true});
    x = rope_norm(b, "embeddings.norm", x, m.eps, m.norm_bias);
    m.global_table = rope_table(b, far, turned);
    m.local_table = rope_table(b, near, turned);
    m.near = near_bias(b, m.heads, local / 2);
    for (uint32_t i = 0; i < n_layers; i++)
        x = layer(b, &m, x, i);
    return rope_norm(b, "final_norm", x, m.eps, m.norm_bias);
}

/* norm(act(dense(x))), which every head begins with. */
static uint32_t transform(struct builder *b, uint32_t x)
{
    bool bias = builder_flag(b, "classifier_bias", false);
    enum activation act = json_is_null(json_get(b->config, "classifier_activation"))
                              ? ACT_GELU
                              : builder_activation(b, "classifier_activation");
    x = rope_linear(b, "head.dense", x, b->hidden, b->hidden, bias);
    x = builder_node(b, &op_activation, &x, 1, &(struct attr){.act = act});
    return rope_norm(b, "head.norm", x, (float)builder_number(b, "norm_eps", 1e-5),
                     builder_flag(b, "norm_bias", false));
}

static uint32_t decode(struct builder *b, uint32_t x, const char *words)
{
    const char *decoder = builder_has(b, "decoder.weight") ? "decoder.weight" : words;
    uint32_t in[] = {transform(b, x), builder_tensor(b, decoder, b->vocab_size, b->hidden), 0};
    if (builder_flag(b, "decoder_bias", true)) {
        in[2] = builder_tensor(b, "decoder.bias", b->vocab_size, 0);
    } else {
        float *none = b->err ? NULL : builder_floats(b, b->vocab_size);
        in[2] = none ? graph_constant(b->graph, 1, (int64_t[]){b->vocab_size}, none) : 0;
    }
    return builder_node(b, &op_splade, in, 3, &(struct attr){0});
}

static uint32_t head(struct builder *b, uint32_t x, enum program_output output)
{
    struct str pooling = STR("cls");
    const char *words = builder_name(b, "%.*sembeddings.tok_embeddings.weight", STR_ARG(b->prefix));
    b->prefix = STR("");
    if (output == OUTPUT_VOCABULARY)
        return decode(b, x, words);
    if (output == OUTPUT_LABELS) {
        json_str(json_get(b->config, "classifier_pooling"), &pooling);
        bool mean = str_eq_c(pooling, "mean");
        if (!b->err && !mean && !str_eq_c(pooling, "cls"))
            b->err = err_new(ERR_ARGUMENT,
                             "[config.json]: [classifier_pooling] is [%.*s]; cls and "
                             "mean are known",
                             (int)(pooling.n < 40 ? pooling.n : 40), pooling.p);
        x = builder_node(b, &op_pool, &x, 1,
                         &(struct attr){.pooling = mean ? POOL_MEAN : POOL_CLS});
    }
    uint32_t labels = output == OUTPUT_TENSOR && snapshot_answers_questions(b->config)
                          ? 2
                          : program_labels_of(b->config);
    return builder_linear(b, "classifier", transform(b, x), labels, b->hidden);
}

const struct family family_modernbert = {
    .model_type = "modernbert",
    .architecture = "ModernBertModel",
    .prefix = "model.",
    .words = "embeddings.tok_embeddings.weight",
    .build = modernbert_build,
    .head = head,
};
