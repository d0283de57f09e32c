/* nlp: the tasks of Elasticsearch's trained models: their inference_config, from a document to the
 * rows a model reads, from what it gives to a result. Source: trained_models.md 6, 10 and 11.
 *
 *     TRY(nlp_config_parse(arena, json_of_inference_config, &config));     // PUT
 *     TRY(nlp_config_update(arena, &config, json_of_request, &asked));     // _infer
 *     TRY(nlp_encode(&asked, tokenizer, arena, text, &request));
 *     ... each of request.rows runs; outputs[i] is what row i gave ...
 *     TRY(nlp_decode(&asked, tokenizer, &request, outputs, arena, &result));
 *     nlp_render(&w, &asked, &result);                                     // of _infer
 *
 * Pure: one file per task, one line in nlp.def. Everything lives in the arena or borrows from what
 * was given; a config lives in the arena alone. Thread: any. Private to model/, but for struct
 * nlp_config in trained_model.h. */
#ifndef INFERD_NLP_H
#define INFERD_NLP_H

#include "tokenization.h"

struct output;

enum nlp_task {
    NLP_FILL_MASK,
    NLP_NER,
    NLP_PASS_THROUGH,
    NLP_QUESTION_ANSWERING,
    NLP_TEXT_CLASSIFICATION,
    NLP_TEXT_EMBEDDING,
    NLP_TEXT_EXPANSION,
    NLP_TEXT_SIMILARITY,
    NLP_ZERO_SHOT_CLASSIFICATION,
    N_NLP_TASKS
};

struct nlp_config {
    enum nlp_task task;
    struct tokenization tokenization;
    struct str results_field;                /* {NULL, 0}: predicted_value, and not shown */
    const struct str *classification_labels; /* defaults filled in */
    size_t n_classification_labels;
    bool has_classification_labels; /* given, so shown */
    int64_t num_top_classes;
    const struct str *labels; /* zero-shot */
    size_t n_labels;
    bool multi_label;
    struct str hypothesis_template;
    int64_t embedding_size; /* 0: not given */
    int64_t max_answer_length;
    struct str question, text;   /* {NULL, 0}: not given */
    bool mean_of_spans;          /* span_score_combination_function: mean, not max */
    bool splade;                 /* expansion_type, an extension: text_expansion of raw logits */
    struct str vocabulary_index; /* echoed; {NULL, 0}: ES's own is shown */
};

const char *nlp_task_name(enum nlp_task); /* "text_embedding" */

/* The object with exactly one task key; ES's texts for what is wrong. */
struct err *nlp_config_parse(struct arena *, const struct json *, struct nlp_config *out);
/* The same out of a request read by body.h: with its text errors say the line and the column. */
struct err *nlp_config_read(struct body *, const struct json *, struct nlp_config *out);
/* `base` with an inference_config of a request laid over it; json NULL or null: base as it is.
 * What the task still lacks (labels, question, text) is refused by nlp_encode. */
struct err *nlp_config_update(struct arena *, const struct nlp_config *base, struct str model_id,
                              const struct json *, struct nlp_config *out);
/* {"ner":{"vocabulary":{...},"tokenization":{...},...}} as GET shows it. */
void nlp_config_render(struct json_out *, const struct nlp_config *);

/* A document as the rows its model reads: windows, or a pair for each label. */
struct nlp_request {
    struct str text;
    size_t n_rows;
    struct tokens *rows;
    bool is_truncated;
};
struct err *nlp_encode(const struct nlp_config *, const struct tokenizer *, struct arena *,
                       struct str text, struct nlp_request *out);

struct nlp_class {
    struct str name; /* class, token, answer, word of a sparse embedding */
    double probability;
    size_t start, end; /* question answering: UTF-16 units of the text */
};
struct nlp_entity {
    struct str text, class_name;
    double probability;
    size_t start, end; /* UTF-16 units of the text */
};
struct nlp_result {
    bool is_truncated;
    const float *values; /* embedding: [n_values]; pass_through: [dim[0], dim[1], dim[2]] */
    size_t n_values;
    int64_t dim[3];
    double score;         /* text_similarity */
    struct str predicted; /* class, answer, filled token, annotated text */
    struct str sequence;  /* fill_mask: the text with its mask replaced */
    double probability;
    size_t start, end;               /* question answering */
    const struct nlp_class *classes; /* best first; text_expansion: heaviest first */
    size_t n_classes;
    bool shows_classes;
    const struct nlp_entity *entities;
    size_t n_entities;
};
/* outputs[request->n_rows], none with an err. */
struct err *nlp_decode(const struct nlp_config *, const struct tokenizer *,
                       const struct nlp_request *, const struct output *outputs, struct arena *,
                       struct nlp_result *out);
/* One element of "inference_results". */
void nlp_render(struct json_out *, const struct nlp_config *, const struct nlp_result *);

#endif
