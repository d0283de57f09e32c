/* engine: tensors in, tensors out. Knows nothing of text, calls or endpoints.
 *
 *     struct program *p;
 *     TRY(program_load_snapshot("models/all-minilm-l6-v2", &limits, &p));   // reads files: pool
 * only struct session *s; TRY(session_new(p, n_threads, &s)); TRY(session_run(s, &batch, &out)); //
 * out is borrowed until the next run session_free(s); program_unref(p);
 *
 * program: a loaded model, immutable, counted: graph in run order, weights read and packed once and
 * shared by all sessions. session: what one allocation needs to run it (activation memory planned
 * for the token budget, a team of threads); one thread uses it at a time.
 *
 * Sequences of a batch are laid end to end: no padding. The result of a sequence does not depend on
 * its neighbours: same text, same bits, whatever the batch or the number of threads.
 *
 * Every file is hostile: headers, offsets, shapes, dtypes and sizes are checked before use; what is
 * wrong is an ERR_ARGUMENT (400) naming the file and the member. */
#ifndef INFERD_ENGINE_H
#define INFERD_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

struct json;
struct program;
struct session;

struct engine_limits {
    size_t max_weight_bytes; /* of a model file; 0: 64 GiB */
    uint32_t token_budget;   /* most tokens in one session_run; 0: 16,384 */
};

enum dtype {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_I8,
    DTYPE_U8,
    DTYPE_I32,
    DTYPE_I64,
    DTYPE_BOOL,
    DTYPE_F64,
    DTYPE_I16
};

#define TENSOR_MAX_RANK 8

struct tensor {
    enum dtype dtype;
    int rank;
    int64_t dim[TENSOR_MAX_RANK];
    const void *data; /* row-major */
};

/* n_sequences rows laid end to end. offsets has n_sequences + 1 entries, offsets[0] == 0,
 * offsets[n_sequences] == n_tokens. type_ids NULL: all 0; a
 * model with fewer than two types does not look at them. Every sequence has 1..max_tokens tokens.
 */
struct token_batch {
    size_t n_sequences, n_tokens;
    const int32_t *ids;
    const int32_t *type_ids;
    const uint32_t *offsets;
};

enum program_output {
    OUTPUT_EMBEDDING,  /* what pooling makes of the tokens */
    OUTPUT_LABELS,     /* of a sequence classifier, a reranker above all: a logit for each label */
    OUTPUT_VOCABULARY, /* SPLADE: for each token of the vocabulary a weight >= 0 */
    OUTPUT_TENSOR /* whatever a TorchScript module's forward gives, or a row for each token (token
                     classification, question answering): by session_run_each */
};

struct program_info {
    const char *architecture; /* "BertModel" */
    uint32_t max_tokens;      /* positions the model has: 512 */
    uint32_t max_seq_length;  /* what sentence_bert_config.json asks for: 256; else max_tokens */
    uint32_t vocab_size;
    enum program_output output;
    uint32_t dimensions; /* length of one output row */
    const char *pooling; /* "mean", "cls", "max", "mean_sqrt_len", "lasttoken", "weightedmean" */
    bool normalized;     /* rows have unit L2 norm */
    size_t weight_bytes;
    uint32_t token_budget;
    bool interpreted; /* a script that no plan was found for */
    const char *why;  /* it was not; NULL: it was, or a snapshot */
};

struct err *program_load_snapshot(const char *folder, const struct engine_limits *,
                                  struct program **out);
/* A TorchScript archive (trained_models.md 15 to 17). Nothing in it is executed as code: what is
 * not an op of our own table is refused by name. A module whose architecture is recognised runs the
 * same plan as a snapshot of it would; any other is interpreted op by op. */
struct script_options {
    struct engine_limits limits;
    uint32_t max_tokens; /* longest sequence it will be given (max_sequence_length) */
    bool interpret;      /* never look for a known architecture: for tests */
};
struct err *program_load_script(const char *file, const struct script_options *,
                                struct program **out);
/* The checks of program_load_script alone: reads the archive, keeps nothing. */
struct err *program_check_script(const char *file, const struct engine_limits *);

/* What the model of a folder gives, by its config.json and its modules.json (NULL: it has none).
 * Touches no files; any JSON will do. */
enum program_output program_output_of(const struct json *config, const struct json *modules);
uint32_t program_labels_of(const struct json *config); /* of a sequence classifier */
struct program *program_ref(struct program *);
void program_unref(struct program *);
const struct program_info *program_info(const struct program *);

struct err *session_new(struct program *, int n_threads, struct session **out);
void session_free(struct session *);
/* A session of one thread calls this many times during a run, between pieces of work of some
 * milliseconds (of a script that is interpreted: between sequences). Before the first run.
 */
void session_set_pause(struct session *, void (*pause)(void *ctx), void *ctx);
/* From now on each of its threads stays on its CPU: cpus[n_threads], the first for the thread that
 * runs it, which is the caller. */
void session_place(struct session *, const int *cpus);
/* out: f32 [n_sequences, dimensions]; [n_tokens, dimensions] when each token has a row of its own.
 * ERR_ARGUMENT for ids out of range and the like, and for a script that is interpreted. */
struct err *session_run(struct session *, const struct token_batch *, struct tensor *out);

/* What one sequence gave, any program: f32, seen as [dim[0], dim[1], dim[2]] as ml-cpp shows a
 * result (trained_models.md 13): 3-D as it is, 2-D [r, c] as [1, r, c], 1-D [c] as [1, 1, c], a
 * number as [1, 1, 1]. A snapshot's embedding, logits or weights: [1, 1, dimensions]; of a model
 * with a row for each token [1, n, dimensions]; of question answering [2, 1, n]. */
struct output {
    int64_t dim[3];
    const float *data; /* borrowed until the next run */
    struct err *err;   /* of this sequence alone: the caller's; then data is NULL */
};
/* out[n_sequences]. An error of its own: nothing was run. */
struct err *session_run_each(struct session *, const struct token_batch *, struct output *out);

/* "avx512", "avx2", "generic": what this machine runs, chosen at run time; all in fp32. */
const char *engine_kernels(void);

#endif
