/* snapshot: front end for Hugging Face snapshot folders: config.json, model.safetensors and, from
 * sentence-transformers, modules.json with what follows the transformer.
 *
 * A model family is one file with a `struct family` and one line in families.def. Its build adds
 * the nodes from ids to the hidden states; pooling and normalising are added for every family. */
#ifndef INFERD_ENGINE_SNAPSHOT_H
#define INFERD_ENGINE_SNAPSHOT_H

#include "graph.h"
#include "json.h"
#include "safetensors.h"

/* A model being built: its config and weights, the graph so far, and the first thing that was
 * wrong. After an error every function below does nothing, so a builder reads like the model. */
struct builder {
    const struct json *config; /* config.json */
    const struct safetensors *weights;
    struct str prefix; /* of all tensor names: the family's or empty */
    struct graph *graph;
    struct arena *arena;
    struct err *err;
    /* Set by the family. */
    uint32_t max_tokens, vocab_size, hidden;
    uint32_t type_vocab_size; /* 0: the model knows no types */
    uint32_t embedding;       /* width of the word embeddings */
};

/* A sequence classifier: logits = out(act(dense(first token))), in full tensor names. */
struct classifier {
    const char *dense, *out;
    enum activation act;
};

/* A masked language model: logits = norm(act(dense(x))) decoder^T + bias. A decoder without a
 * weight of its own is the table of word embeddings. */
struct masked_lm {
    const char *dense, *norm, *decoder;
    const char *bias;    /* DECODER.bias when absent */
    const char *act_key; /* of config.json; NULL: gelu */
};

struct family {
    const char *model_type; /* of config.json */
    const char *architecture;
    const char *prefix; /* of its tensors in a model saved with a head: "bert." */
    const char *words;  /* the table of words; NULL: embeddings.word_embeddings.weight */
    /* The value of the last hidden states [tokens, hidden]. */
    uint32_t (*build)(struct builder *);
    const struct classifier *classifier;
    const struct masked_lm *masked_lm;
    /* NULL: the two above. Else a head for any output but an embedding, on the hidden states x. */
    uint32_t (*head)(struct builder *, uint32_t x, enum program_output);
};

struct snapshot {
    struct graph *graph;
    struct program_info info; /* texts in the arena */
    uint32_t type_vocab_size;
    bool pairs; /* question answering */
};

/* On failure nothing is left behind. */
struct err *snapshot_load(const char *folder, size_t limit_bytes, struct arena *,
                          struct snapshot *out);

/* head.c: what stands on the hidden states x of such a model; [sequences, labels],
 * [sequences, vocabulary] and [tokens, labels]. */
uint32_t head_classifier(struct builder *, const struct classifier *, uint32_t x, uint32_t labels);
uint32_t head_splade(struct builder *, const struct masked_lm *, uint32_t x);
uint32_t head_tokens(struct builder *, const char *name, uint32_t x, uint32_t labels);

/* Token logits are a question's start and end. config: an object. */
bool snapshot_answers_questions(const struct json *config);

/* --- for families --- */

/* Integers of config.json from min to max. */
uint32_t builder_int(struct builder *, const char *key, uint32_t min, uint32_t max);
/* The same; `fallback` when it is absent or null. */
uint32_t builder_int_or(struct builder *, const char *key, uint32_t min, uint32_t max,
                        uint32_t fallback);
/* A number from 0 to 1, from 1 on, true or false; `fallback` when it is absent. */
double builder_number(struct builder *, const char *key, double fallback);
double builder_positive(struct builder *, const char *key, double fallback);
bool builder_flag(struct builder *, const char *key, bool fallback);
enum activation builder_activation(struct builder *, const char *key);
/* The key must be absent, null or have this value. */
void builder_expect(struct builder *, const char *key, const char *value);

bool builder_has(const struct builder *, const char *name);
/* A float tensor of exactly this shape (columns 0: a vector) as a constant. */
uint32_t builder_tensor(struct builder *, const char *name, uint32_t rows, uint32_t columns);
/* Zeroed floats for a constant; NULL: there is an error now. */
float *builder_floats(struct builder *, size_t n);
uint32_t builder_node(struct builder *, const struct op *, const uint32_t *in, uint32_t n_in,
                      const struct attr *);
/* NAME.weight [n, k], NAME.bias [n]. */
uint32_t builder_linear(struct builder *, const char *name, uint32_t x, uint32_t n, uint32_t k);
/* NAME.weight [n], NAME.bias [n]. */
uint32_t builder_layer_norm(struct builder *, const char *name, uint32_t x, uint32_t n, float eps);
/* "encoder.layer.3.output" in the arena. */
const char *builder_name(struct builder *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
