/* NomicBERT (Nussbaum et al. 2024, Nomic Embed; nomic-ai's modeling_hf_nomic_bert.py): BERT's order
 * of norms with a gated network and places told by turning. The config speaks GPT-2's words. */
#include "rope.h"

#include "encoder.h"
#include "op.h"

struct nomic {
    uint32_t heads, inner;
    float eps;
    bool qkv_bias, first_bias, second_bias;
    uint32_t table;
};

/* fc2(act(fc12(x)) * fc11(x)): both under each other give op_gate its halves. */
static uint32_t gated(struct builder *b, const struct nomic *n, const char *name, uint32_t x)
{
    static const char *const halves[] = {"fc12", "fc11"};
    uint32_t h = b->hidden, in[3] = {x}, n_in = n->first_bias ? 3 : 2;
    for (uint32_t i = 1; i < n_in; i++) {
        uint32_t columns = i == 1 ? h : 0;
        size_t each = (size_t)n->inner * (i == 1 ? h : 1);
        float *both = b->err ? NULL : builder_floats(b, 2 * each);
        for (int j = 0; both && j < 2; j++) {
            uint32_t own = builder_tensor(
                b, builder_name(b, "%s.%s.%s", name, halves[j], i == 1 ? "weight" : "bias"),
                n->inner, columns);
            if (!b->err)
                memcpy(both + (size_t)j * each, b->graph->values[own].data, each * sizeof(*both));
        }
        if (!both)
            return 0;
        in[i] = graph_constant(b->graph, i == 1 ? 2 : 1, (int64_t[]){2 * n->inner, h}, both);
    }
    x = builder_node(b, &op_linear, in, n_in, &(struct attr){0});
    x = builder_node(b, &op_gate, &x, 1, &(struct attr){.act = ACT_SILU});
    return rope_linear(b, builder_name(b, "%s.fc2", name), x, h, n->inner, n->second_bias);
}

static uint32_t layer(struct builder *b, const struct nomic *n, uint32_t x, uint32_t i)
{
    const char *name = builder_name(b, "encoder.layers.%u", i);
    uint32_t h = b->hidden;
    uint32_t y = rope_linear(b, builder_name(b, "%s.attn.Wqkv", name), x, 3 * h, h, n->qkv_bias);
    y = rope_attention(b, y, n->heads, n->table, NO_VALUE);
    y = rope_linear(b, builder_name(b, "%s.attn.out_proj", name), y, h, h, n->qkv_bias);
    x = builder_layer_norm(b, builder_name(b, "%s.norm1", name), rope_add(b, y, x), h, n->eps);
    y = gated(b, n, builder_name(b, "%s.mlp", name), x);
    return builder_layer_norm(b, builder_name(b, "%s.norm2", name), rope_add(b, y, x), h, n->eps);
}

/* All of a head turns; scaled places would be those beyond what the model was trained on. */
static void check_turning(struct builder *b)
{
    double fraction = 1;
    if (!b->err && json_f64(json_get(b->config, "rotary_emb_fraction"), &fraction) && fraction != 1)
        b->err =
            err_new(ERR_ARGUMENT, "[config.json]: [rotary_emb_fraction] is [%g]; only [1] is known",
                    fraction);
    if (json_is_null(json_get(b->config, "rotary_scaling_factor")))
        return;
    uint32_t trained = builder_int_or(b, "max_trained_positions", 1, 65536, 2048);
    b->max_tokens = trained < b->max_tokens ? trained : b->max_tokens;
}

static uint32_t nomic_build(struct builder *b)
{
    struct nomic n = {0};
    b->hidden = b->embedding = builder_int(b, "n_embd", 1, 16384);
    n.heads = builder_int(b, "n_head", 1, 1024);
    n.inner = builder_int_or(b, "n_inner", 1, 65536, 4 * b->hidden);
    n.eps = (float)builder_number(b, "layer_norm_epsilon", 1e-5);
    n.qkv_bias = builder_flag(b, "qkv_proj_bias", true);
    n.first_bias = builder_flag(b, "mlp_fc1_bias", true);
    n.second_bias = builder_flag(b, "mlp_fc2_bias", true);
    b->vocab_size = builder_int(b, "vocab_size", 1, 16 << 20);
    b->max_tokens = builder_int(b, "n_positions", 1, 65536);
    b->type_vocab_size = builder_int_or(b, "type_vocab_size", 0, 1024, 2);
    uint32_t n_layers = builder_int(b, "n_layer", 1, 256);
    builder_expect(b, "activation_function", "swiglu");
    builder_expect(b, "prenorm", "false");
    builder_expect(b, "parallel_block", "false");
    builder_expect(b, "causal", "false");
    builder_expect(b, "use_rms_norm", "false");
    builder_expect(b, "rotary_emb_interleaved", "false");
    builder_expect(b, "rotary_emb_scale_base", "null");
    encoder_check_heads(b, "n_head", n.heads, "n_embd");
    check_turning(b);
    uint32_t in[2], n_in = 1;
    in[0] = builder_tensor(b, "embeddings.word_embeddings.weight", b->vocab_size, b->hidden);
    if (b->type_vocab_size)
        in[n_in++] = builder_tensor(b, "embeddings.token_type_embeddings.weight",
                                    b->type_vocab_size, b->hidden);
    uint32_t x = builder_node(b, &op_embed, in, n_in, &(struct attr){.placeless = true});
    x = builder_layer_norm(b, "emb_ln", x, b->hidden, n.eps);
    n.table = rope_table(b, builder_positive(b, "rotary_emb_base", 10000), b->hidden / n.heads);
    for (uint32_t i = 0; i < n_layers; i++)
        x = layer(b, &n, x, i);
    return x;
}

static const struct masked_lm masked_lm = {
    .dense = "cls.predictions.transform.dense",
    .norm = "cls.predictions.transform.layer_norm",
    .decoder = "cls.predictions.decoder",
    .bias = "cls.predictions.bias",
};

const struct family family_nomic_bert = {
    .model_type = "nomic_bert",
    .architecture = "NomicBertModel",
    .prefix = "bert.",
    .build = nomic_build,
    .masked_lm = &masked_lm,
};
