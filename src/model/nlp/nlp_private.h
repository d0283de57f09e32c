/* What the tasks of nlp/ share: the record of a task, and the arithmetic of several. */
#ifndef INFERD_NLP_PRIVATE_H
#define INFERD_NLP_PRIVATE_H

#include "nlp.h"

/* Members of an inference_config, each a row of nlp_config.c. */
enum nlp_member {
    NLP_TOKENIZATION = 1,
    NLP_RESULTS_FIELD = 2,
    NLP_VOCABULARY = 4,
    NLP_CLASSIFICATION_LABELS = 8,
    NLP_NUM_TOP_CLASSES = 16,
    NLP_MASK_TOKEN = 32,
    NLP_LABELS = 64,
    NLP_MULTI_LABEL = 128,
    NLP_HYPOTHESIS_TEMPLATE = 256,
    NLP_EMBEDDING_SIZE = 512,
    NLP_MAX_ANSWER_LENGTH = 1024,
    NLP_QUESTION = 2048,
    NLP_TEXT = 4096,
    NLP_SPAN_SCORE = 8192,
    NLP_EXPANSION_TYPE = 16384
};
#define NLP_COMMON (NLP_TOKENIZATION | NLP_RESULTS_FIELD | NLP_VOCABULARY)
#define NLP_ALWAYS (NLP_TOKENIZATION | NLP_RESULTS_FIELD) /* may be asked for by a request */

/* One task: one file, one line in nlp.def. */
struct nlp_head {
    enum nlp_task task;
    const char *name;
    unsigned members;        /* of a PUT */
    unsigned updates;        /* of a request */
    int64_t num_top_classes; /* preset */
    /* Rules between members, and what is filled in. NULL: none. */
    struct err *(*check)(struct arena *, struct nlp_config *);
    /* NULL: the text alone. */
    struct err *(*encode)(const struct nlp_config *, const struct tokenizer *, struct arena *,
                          struct str text, struct nlp_request *out);
    struct err *(*decode)(const struct nlp_config *, const struct tokenizer *,
                          const struct nlp_request *, const struct output *, struct arena *,
                          struct nlp_result *out);
    /* Members of the result; `field` is the name of its chief one. */
    void (*render)(struct json_out *, const struct nlp_config *, struct str field,
                   const struct nlp_result *);
};

#define X(record) extern const struct nlp_head record;
#include "nlp.def"
#undef X

const struct nlp_head *nlp_head(enum nlp_task);

/* --- rows --- */

/* a, or a and b, as the tokenization has it. */
struct err *nlp_rows(const struct nlp_config *, const struct tokenizer *, struct arena *,
                     struct str a, struct str b, struct nlp_request *out);
/* Row j of [i] of what a sequence gave, as doubles in the arena: [dim[2]]. */
double *nlp_row(const struct output *, int64_t i, int64_t j, struct arena *);
/* 409 when a row is not `expected` long, or there is none. */
struct err *nlp_check_row(const struct output *, size_t expected, const char *what);

/* --- arithmetic --- */

void nlp_softmax(double *v, size_t n);

/* The best of many, in a heap whose top is the worst of them. Of equal ones the earlier stays. */
struct nlp_ranked {
    double score;
    size_t order; /* in which they were offered */
    size_t row, first, last;
};
#define NLP_MAX_TOP 10000
struct nlp_top {
    struct nlp_ranked *items; /* after nlp_top_sort best first */
    size_t n, cap, n_offered;
};
/* At least one, at most NLP_MAX_TOP; n: how many there will be. */
void nlp_top_init(struct nlp_top *, struct arena *, int64_t wanted, size_t n);
void nlp_top_offer(struct nlp_top *, double score, size_t row, size_t first, size_t last);
void nlp_top_sort(struct nlp_top *);

/* UTF-16 units up to a byte of a text; bytes asked for must not go back. */
struct nlp_units {
    struct str text;
    size_t byte, units;
};
size_t nlp_units(struct nlp_units *, size_t byte);

/* --- results with classes --- */

/* Sorted by probability. names[n]. */
void nlp_classes(struct arena *, const struct str *names, const double *probabilities, size_t n,
                 int64_t wanted, struct nlp_result *out);
/* "top_classes" and "prediction_probability". */
void nlp_render_classes(struct json_out *, const struct nlp_result *);

#endif
