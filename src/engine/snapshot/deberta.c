/* DeBERTa (He et al. 2021; transformers' modeling_deberta.py and modeling_deberta_v2.py): attention
 * looks at what tokens are and, by keys and queries of their own, at how far they are apart; see
 * ops/disentangled.c. Those keys and queries are products of constants, so they are computed here.
 * From version 2 on far distances share buckets: up to half of them have their own, beyond it they
 * widen with the logarithm. A layer's convolution (the largest of version 2) is refused. */
#include "encoder.h"

#include <math.h>

#include "bug.h"
#include "op.h"

static const struct encoder_names names = {
    .layers = "encoder.layer",
    .query = "attention.self.query_proj",
    .key = "attention.self.key_proj",
    .value = "attention.self.value_proj",
    .mixed = "attention.output.dense",
    .attention_norm = "attention.output.LayerNorm",
    .inner = "intermediate.dense",
    .outer = "output.dense",
    .outer_norm = "output.LayerNorm",
};

struct deberta {
    struct encoder e;               /* first: `mix` is given this */
    bool first;                     /* version 1 */
    bool to_places, from_places;    /* c2p, p2c: what is added to the scores */
    bool share_keys;                /* places go through the tokens' own projections */
    uint32_t span, n_buckets, most; /* half the table; 0: none; the farthest */
    uint32_t places;                /* constant [2 span, hidden] */
    uint32_t near;                  /* constant, see disentangled.c */
};

/* "c2p" among a list or in a text like "p2c|c2p". */
static bool has_term(const struct builder *b, const char *term)
{
    const struct json *v = json_get(b->config, "pos_att_type");
    struct str s;
    if (json_str(v, &s))
        return str_find(s, str_c(term)) != SIZE_MAX;
    struct json_iter it = json_iter(v);
    while ((v = json_next(&it)))
        if (json_str(v, &s) && str_eq_c(s, term))
            return true;
    return false;
}

/* Of query - key; in single precision as PyTorch has it: the borders depend on that. */
static int64_t bucket_of(const struct deberta *d, int64_t distance)
{
    int64_t middle = d->n_buckets / 2, far = distance < 0 ? -distance : distance;
    if (d->n_buckets == 0 || far <= middle)
        return distance;
    float share = logf((float)far / (float)middle) /
                  logf((float)((double)(d->most - 1) / (double)middle)) * (float)(middle - 1);
    int64_t bucket = (int64_t)ceilf(share) + middle;
    return distance < 0 ? -bucket : bucket;
}

static uint32_t near_table(struct builder *b, const struct deberta *d)
{
    size_t width = 2 * (size_t)b->max_tokens - 1;
    float *near = b->err ? NULL : builder_floats(b, width);
    if (!near)
        return 0;
    for (size_t i = 0; i < width; i++) {
        int64_t row = bucket_of(d, (int64_t)i - (b->max_tokens - 1)) + d->span;
        int64_t last = 2 * (int64_t)d->span - 1;
        near[i] = (float)(row < 0 ? 0 : row > last ? last : row);
    }
    return graph_constant(b->graph, 2, (int64_t[]){1, (int64_t)width}, near);
}

/* x [rows, hidden] w^T + bias, constants all. */
static uint32_t multiply(struct builder *b, uint32_t x, uint32_t rows, uint32_t w, uint32_t bias)
{
    const struct kernels *k = kernels_best();
    size_t h = b->hidden, n_panels = (h + k->nr - 1) / k->nr;
    float *panels = b->err ? NULL : builder_floats(b, n_panels * k->nr * h);
    float *out = panels ? builder_floats(b, rows * h) : NULL;
    if (!out) {
        weights_free(panels);
        return 0;
    }
    const struct value *v = b->graph->values;
    kernels_pack(k, v[w].data, h, h, panels);
    struct packed packed = {.k = h, .n = h, .n_panels = n_panels, .panels = panels};
    k->gemm(&(struct gemm){.rows = rows,
                           .a = v[x].data,
                           .lda = h,
                           .b = &packed,
                           .panel_end = n_panels,
                           .c = out,
                           .ldc = h});
    for (size_t i = 0; bias != NO_VALUE && i < rows; i++)
        k->add(out + i * h, v[bias].data, h, out + i * h);
    weights_free(panels);
    return graph_constant(b->graph, 2, (int64_t[]){rows, b->hidden}, out);
}

/* Keys or queries of all distances in layer i. */
static uint32_t project_places(struct builder *b, const struct deberta *d, uint32_t i, bool keys)
{
    uint32_t rows = 2 * d->span, h = b->hidden;
    if (!(keys ? d->to_places : d->from_places)) {
        float *none = b->err ? NULL : builder_floats(b, (size_t)rows * h);
        return none ? graph_constant(b->graph, 2, (int64_t[]){rows, h}, none) : 0;
    }
    const char *name = keys ? "pos_key_proj" : "pos_query_proj";
    if (d->first)
        name = keys ? "pos_proj" : "pos_q_proj";
    else if (d->share_keys)
        name = keys ? "key_proj" : "query_proj";
    const char *full = builder_name(b, "%s.%u.attention.self.%s", names.layers, i, name);
    uint32_t w = builder_tensor(b, builder_name(b, "%s.weight", full), h, h);
    uint32_t bias =
        d->first && keys ? NO_VALUE : builder_tensor(b, builder_name(b, "%s.bias", full), h, 0);
    return multiply(b, d->places, rows, w, bias);
}

/* Version 1 keeps q, k and v of each head beside each other: [heads, 3, d, hidden]. */
static void split_projection(struct builder *b, const struct deberta *d, uint32_t i, uint32_t x,
                             uint32_t *in)
{
    const char *full = builder_name(b, "%s.%u.attention.self", names.layers, i);
    uint32_t h = b->hidden;
    size_t head = (size_t)h / d->e.heads * h;
    uint32_t all = builder_tensor(b, builder_name(b, "%s.in_proj.weight", full), 3 * h, h);
    for (uint32_t p = 0; p < 3; p++) {
        float *own = b->err ? NULL : builder_floats(b, (size_t)h * h);
        if (!own)
            return;
        for (size_t j = 0; j < d->e.heads; j++)
            memcpy(own + j * head, b->graph->values[all].data + (3 * j + p) * head,
                   head * sizeof(*own));
        uint32_t w = graph_constant(b->graph, 2, (int64_t[]){h, h}, own);
        float *none = p == 1 ? builder_floats(b, h) : NULL;
        if (p == 1 && !none)
            return;
        uint32_t bias =
            none ? graph_constant(b->graph, 1, (int64_t[]){h}, none)
                 : builder_tensor(b, builder_name(b, "%s.%c_bias", full, "qkv"[p]), h, 0);
        in[p] = builder_node(b, &op_linear, (uint32_t[]){x, w, bias}, 3, &(struct attr){0});
    }
}

static uint32_t mix(struct builder *b, const struct encoder *e, uint32_t x, uint32_t i)
{
    const struct deberta *d = (const struct deberta *)e;
    uint32_t in[6] = {0};
    if (d->first)
        split_projection(b, d, i, x, in);
    else
        encoder_project(b, e, x, i, in);
    in[3] = project_places(b, d, i, true);
    in[4] = project_places(b, d, i, false);
    in[5] = d->near;
    return builder_node(
        b, &op_disentangled, in, 6,
        &(struct attr){.heads = e->heads, .terms = 1u + d->to_places + d->from_places});
}

/* The constant as it is, or normed as version 3 has it. */
static uint32_t read_places(struct builder *b, const struct deberta *d)
{
    struct str norm = {0};
    json_str(json_get(b->config, "norm_rel_ebd"), &norm);
    uint32_t h = b->hidden;
    uint32_t x = builder_tensor(b, "encoder.rel_embeddings.weight", 2 * d->span, h);
    if (d->first || str_find(norm, STR("layer_norm")) == SIZE_MAX)
        return x;
    uint32_t gamma = builder_tensor(b, "encoder.LayerNorm.weight", h, 0);
    uint32_t beta = builder_tensor(b, "encoder.LayerNorm.bias", h, 0);
    float *out = b->err ? NULL : builder_floats(b, 2 * (size_t)d->span * h);
    if (!out)
        return x;
    const struct value *v = b->graph->values;
    for (size_t i = 0; i < 2 * (size_t)d->span; i++)
        kernels_best()->layer_norm(v[x].data + i * h, NULL, v[gamma].data, v[beta].data, d->e.eps,
                                   h, out + i * h);
    return graph_constant(b->graph, 2, (int64_t[]){2 * d->span, h}, out);
}

static void read_attention(struct builder *b, struct deberta *d)
{
    int64_t n;
    if (!builder_flag(b, "relative_attention", false) && !b->err)
        b->err = err_new(ERR_ARGUMENT, "[config.json]: [relative_attention] must be true");
    builder_expect(b, "talking_head", "false");
    builder_expect(b, "conv_kernel_size", "0");
    d->to_places = has_term(b, "c2p");
    d->from_places = has_term(b, "p2c");
    if (!b->err && !d->to_places && !d->from_places)
        b->err = err_new(ERR_ARGUMENT, "[config.json]: [pos_att_type] must name c2p or p2c");
    d->share_keys = builder_flag(b, "share_att_key", false);
    d->most = b->max_tokens;
    if (json_i64(json_get(b->config, "max_relative_positions"), &n) && n >= 1)
        d->most = builder_int(b, "max_relative_positions", 1, 65536);
    if (!d->first && json_i64(json_get(b->config, "position_buckets"), &n) && n >= 1)
        d->n_buckets = builder_int(b, "position_buckets", 4, 65536);
    if (!b->err && d->n_buckets && d->most - 1 <= d->n_buckets / 2)
        b->err = err_new(ERR_ARGUMENT,
                         "[config.json]: [position_buckets] [%u] are too many for "
                         "[max_relative_positions] [%u]",
                         d->n_buckets, d->most);
    d->span = d->n_buckets ? d->n_buckets : d->most;
}

static uint32_t embed(struct builder *b, const struct deberta *d)
{
    uint32_t in[3], n = 1, width = b->embedding;
    bool placed = builder_flag(b, "position_biased_input", true);
    in[0] = builder_tensor(b, "embeddings.word_embeddings.weight", b->vocab_size, width);
    if (placed)
        in[n++] = builder_tensor(b, "embeddings.position_embeddings.weight", b->max_tokens, width);
    if (b->type_vocab_size)
        in[n++] =
            builder_tensor(b, "embeddings.token_type_embeddings.weight", b->type_vocab_size, width);
    uint32_t x = builder_node(b, &op_embed, in, n, &(struct attr){.placeless = !placed});
    if (width != b->hidden) {
        uint32_t w = builder_tensor(b, "embeddings.embed_proj.weight", b->hidden, width);
        x = builder_node(b, &op_linear, (uint32_t[]){x, w}, 2, &(struct attr){0});
    }
    return builder_layer_norm(b, "embeddings.LayerNorm", x, b->hidden, d->e.eps);
}

static uint32_t build(struct builder *b, bool first)
{
    struct deberta d = {.first = first};
    encoder_read(b, &d.e);
    d.e.names = &names;
    d.e.mix = mix;
    d.e.eps = (float)builder_number(b, "layer_norm_eps", 1e-7);
    b->type_vocab_size = builder_int_or(b, "type_vocab_size", 0, 1024, 0);
    b->embedding = builder_int_or(b, "embedding_size", 1, 16384, b->hidden);
    read_attention(b, &d);
    uint32_t x = embed(b, &d);
    d.places = read_places(b, &d);
    d.near = near_table(b, &d);
    return encoder_layers(b, &d.e, x);
}

static uint32_t deberta_build(struct builder *b)
{
    return build(b, true);
}

static uint32_t deberta_v2_build(struct builder *b)
{
    return build(b, false);
}

static const struct classifier classifier = {"pooler.dense", "classifier", ACT_GELU};

static const struct masked_lm masked_lm = {
    .dense = "cls.predictions.transform.dense",
    .norm = "cls.predictions.transform.LayerNorm",
    .decoder = "cls.predictions.decoder",
    .bias = "cls.predictions.bias",
    .act_key = "hidden_act",
};

const struct family family_deberta = {
    .model_type = "deberta",
    .architecture = "DebertaModel",
    .prefix = "deberta.",
    .build = deberta_build,
    .classifier = &classifier,
    .masked_lm = &masked_lm,
};

const struct family family_deberta_v2 = {
    .model_type = "deberta-v2",
    .architecture = "DebertaV2Model",
    .prefix = "deberta.",
    .build = deberta_v2_build,
    .classifier = &classifier,
    .masked_lm = &masked_lm,
};
