/* tree: models that are decision trees, as Elasticsearch's data frame analytics and Eland make
 * them: a definition becomes a compact immutable model, a document becomes a result.
 *
 *     TRY(tree_read(&body, json_of_definition, &input, arena, &model));     // PUT, or opening
 *     TRY(tree_config_read(&body, json_of_inference_config, &config));
 *     TRY(tree_infer(model, &config, model_id, doc, scratch, &w));          // per document
 *
 * A definition is preprocessors (one_hot_encoding, target_mean_encoding, frequency_encoding, and
 * multi, which is several of them) and a trained_model: a tree, or an ensemble of trees whose
 * outputs are put together by weighted_sum, weighted_mode, logistic_regression or exponent.
 * A hostile definition is refused when it is read: whatever tree_read takes, tree_infer walks in
 * bounded time and memory, without recursion over a tree.
 *
 * Names of features may have dots: "a.b" is member b of object a, or a member of that name.
 * Pure. A model and what it points to live in the arena given. Thread: any. Private to model/.
 * Sources: Elasticsearch 9.1's reference, "Create trained models" (definition of a model) and
 * "Infer trained model"; Eland's serialized models, which the tests compare with. */
#ifndef INFERD_TREE_H
#define INFERD_TREE_H

#include "body.h"
#include "json.h"

#define TREE_MAX_DEPTH   1024        /* of one tree; boosting uses tens, forests a hundred */
#define TREE_MAX_NODES   2000000     /* of all trees */
#define TREE_MAX_NAMES   100000      /* of fields and features */
#define TREE_MAX_CLASSES 10000       /* values of a leaf; classes */
#define TREE_MAX_NESTING 4           /* ensembles in ensembles, preprocessors in multi */
#define TREE_MAX_TEXT    (32u << 20) /* bytes of a definition as JSON */

struct tree_model;

/* What the model's config says about documents. Borrowed while reading. */
struct tree_input {
    const struct str *fields; /* input.field_names: without any of them there is no inference */
    size_t n_fields;
    const struct json
        *field_map; /* default_field_map: {"name in documents": "name here"}, or NULL */
};

/* `body` says where things stand in what was sent, for the texts of errors. */
struct err *tree_read(struct body *body, const struct json *definition, const struct tree_input *,
                      struct arena *, const struct tree_model **out);
bool tree_classifies(const struct tree_model *);
int64_t tree_bytes(const struct tree_model *);      /* of memory, about */
int64_t tree_operations(const struct tree_model *); /* comparisons at most, for one document */

/* --- inference_config: regression and classification --- */

enum tree_answer { TREE_STRING, TREE_NUMBER, TREE_BOOLEAN }; /* prediction_field_type */

struct tree_config {
    bool given; /* it is one of these two, not an NLP task's */
    bool classification;
    struct str results_field, top_classes_results_field;
    int64_t num_top_classes;        /* -1: all */
    int64_t num_feature_importance; /* kept and shown; importance is not worked out */
    enum tree_answer answer;
};

/* Is it {"regression":...} or {"classification":...}, whatever is in it? */
bool tree_config_is(const struct json *inference_config);
struct err *tree_config_read(struct body *, const struct json *inference_config,
                             struct tree_config *out); /* copies into the body's arena */
/* `base` with a request's inference_config over it; NULL or null: base as it is. */
struct err *tree_config_update(struct arena *, const struct tree_config *base, struct str model_id,
                               const struct json *inference_config, struct tree_config *out);
const char *tree_config_name(const struct tree_config *); /* "regression" */
void tree_config_render(struct json_out *, const struct tree_config *);

/* One element of "inference_results", written whole: what the model says of the document, or a
 * warning when it has none of the input fields. `doc` is an object. */
void tree_infer(const struct tree_model *, const struct tree_config *, struct str model_id,
                const struct json *doc, struct arena *scratch, struct json_out *);

#endif
