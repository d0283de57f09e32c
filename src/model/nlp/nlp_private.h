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

#endif
