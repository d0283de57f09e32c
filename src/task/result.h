/* result: what comes back, in our own terms; and its JSON. Lives in the call's arena.
 * Source: inference.md 3. */
#ifndef INFERD_RESULT_H
#define INFERD_RESULT_H

#include "input.h"

struct embedding {
    size_t n;                /* numbers */
    const struct json *node; /* a flat array as upstream wrote it (numbers pass through as text) */
    const float *f32;        /* or floats (local models) */
    const int8_t *i8;        /* or bytes: RESULT_BYTES, RESULT_BITS (packed) */
};

struct sparse_item {
    struct str token;
    struct str weight_text;
    float weight;
};
struct sparse {
    bool is_truncated;
    const struct sparse_item *items; /* printed in this order; weight_text wins when set */
    size_t n;
};

struct ranked {
    int64_t index;
    struct str score_text; /* number as upstream wrote it; {NULL, 0}: use score */
    float score;
    struct str text; /* {NULL, 0}: not shown */
};

enum result_kind {
    RESULT_FLOATS, /* text_embedding */
    RESULT_BYTES,  /* text_embedding_bytes */
    RESULT_BITS,   /* text_embedding_bits */
    RESULT_SPARSE,
    RESULT_RERANK,
    RESULT_COMPLETION
};

struct usage {
    int64_t in_tokens, out_tokens;
    bool known;
}; /* by the provider's own count; of a local model, what it has run */

/* Counts that nobody can mean (below 0, above 2^40) are none. */
void usage_check(struct usage *);
/* Both have been checked. */
void usage_add(struct usage *sum, const struct usage *more);

struct result {
    enum result_kind kind;
    size_t n;
    union {
        struct embedding *embeddings;
        struct sparse *sparse;
        struct ranked *ranked;
        struct str *texts; /* completion */
    };
    struct usage usage;
    /* One per row: what that input alone has failed with; its row is empty then. NULL: none has.
     * Only of a call with `partial`, at least one row is good. Borrowed as the rest is; copies of
     * results are of whole ones. */
    struct err *const *errors;
};

/* Dense length of the first row: bits count 8 per byte. 0: not dense or empty. */
int64_t result_dimensions(const struct result *);
/* An input that has failed is {"error": {"type", "reason", "status"}} in its place. */
void result_render(struct json_out *, const struct result *);
/* The array of one row's numbers: as they came, where they came as text. */
void embedding_render(struct json_out *, const struct embedding *);

/* Rows that are embeddings of chunks of fewer inputs, told apart again:
 *     {"text_embedding":[{"chunks":[{"start":0,"end":82,"embedding":[...]}, ...]}, ...]} */
struct chunk_span {
    size_t start, end;
}; /* UTF-16 units of the input, end exclusive */
struct chunk_map {
    const struct chunk_span *spans; /* one per row */
    const size_t *counts;           /* rows of each input; their sum is the number of rows */
    size_t n_inputs;
};
void result_render_chunks(struct json_out *, const struct result *, const struct chunk_map *);
/* The error of an input some of whose chunks have failed; NULL: none has. `row` is its first. */
const struct err *result_chunks_error(const struct result *, const struct chunk_map *, size_t input,
                                      size_t row);
/* If every input has failed by that: the first one's error; else NULL. */
const struct err *result_chunks_failed(const struct result *, const struct chunk_map *);

/* A copy that borrows nothing, in the arena. */
void result_copy(struct arena *, const struct result *from, struct result *out);
/* Rows of `from` as rows `first`.. of `to`, which has room (result_rows) and the same kind. */
void result_copy_rows(struct arena *, const struct result *from, struct result *to, size_t first);
/* n empty rows of a kind. */
void result_rows(struct arena *, enum result_kind, size_t n, struct result *out);

/* --- streams --- */

struct chat_delta_tool_call {
    int64_t index;
    struct str id, type, name, arguments; /* {NULL, 0}: absent */
};

struct chat_choice {
    int64_t index;
    struct str content, refusal, role, finish_reason; /* {NULL, 0}: absent */
    const struct chat_delta_tool_call *tool_calls;
    size_t n_tool_calls;
};

struct chat_chunk { /* one event of a chat_completion stream; printed without a wrapper */
    struct str id, model, object;
    int64_t created;   /* seconds since 1970; printed when set: OpenAI has it, Elasticsearch not */
    bool no_null_type; /* a call's `type` is left out when absent: Elasticsearch prints null, which
                          OpenAI's clients take for a type */
    bool has_choices;
    const struct chat_choice *choices;
    size_t n_choices;
    bool has_usage;
    int64_t completion_tokens, prompt_tokens, total_tokens;
    bool has_cached_tokens, has_reasoning_tokens;
    int64_t cached_tokens, reasoning_tokens;
};

/* One step of a stream: texts (completion) or a chunk (chat). Borrowed during the call. */
struct delta {
    const struct str *texts;
    size_t n_texts;
    const struct chat_chunk *chunk; /* NULL: texts */
};

/* {"completion":[{"delta":"..."}]} or the bare chunk */
void delta_render(struct json_out *, const struct delta *);

#endif
