/* What the files of trees share.
 *
 * tree.c              a document through a model, and what is said of it
 * tree_read.c         a definition, and ensembles out of it
 * tree_nodes.c        one tree
 * tree_preprocess.c   preprocessors: read, and run over a document's values
 * tree_config.c       inference_config
 *
 * Every name (of a field, of a feature) has a slot, a number; values of a document lie in an array
 * of slots, and nodes name slots, so that walking looks nothing up. */
#ifndef INFERD_TREE_PRIVATE_H
#define INFERD_TREE_PRIVATE_H

#include "map.h"
#include "tree.h"

enum tree_operator { TREE_LTE, TREE_LT, TREE_GT, TREE_GTE, TREE_EQ };

struct tree_node {
    double threshold;
    uint32_t left, right; /* nodes of the same tree; of a leaf: left is the first of its values */
    uint32_t slot;
    uint8_t op;
    bool leaf, default_left;
};

enum tree_aggregate { WEIGHTED_SUM, WEIGHTED_MODE, LOGISTIC_REGRESSION, EXPONENT };

/* A tree, or an ensemble when it has parts. What it gives for a document are `width` numbers. */
struct tree_part {
    /* a tree */
    const struct tree_node *nodes;
    const double *values; /* of leaves, [leaves, width] */
    uint32_t depth;
    /* an ensemble */
    const struct tree_part *parts;
    uint32_t n_parts;
    enum tree_aggregate aggregate;
    const double *weights; /* [n_parts], or NULL: 1 each */

    uint32_t width;
    bool classifies;
    const struct str *labels; /* [n_labels], or NULL */
    uint32_t n_labels;
    const double *class_weights; /* [width], or NULL */
};

enum tree_encoding { ONE_HOT, TARGET_MEAN, FREQUENCY };

struct tree_entry {
    struct str value; /* of the field, as text */
    double number;
    uint32_t slot; /* one-hot: the column's */
};

struct tree_preprocessor {
    enum tree_encoding kind;
    uint32_t field, feature;          /* slots */
    const struct tree_entry *entries; /* sorted by value */
    uint32_t n_entries;
    double otherwise; /* for values that have no entry */
};

struct tree_name {
    struct str name;
    uint32_t slot;
};

struct tree_model {
    const struct tree_preprocessor *preprocessors;
    uint32_t n_preprocessors;
    struct tree_part root;
    uint32_t n_classes;            /* of a classifier */
    const struct tree_name *names; /* sorted by name */
    uint32_t n_slots;
    size_t longest_name; /* bytes */
    const uint32_t *inputs;
    uint32_t n_inputs;
    const uint32_t (*moves)[2]; /* default_field_map: from, to */
    uint32_t n_moves;
    int64_t n_nodes, n_values, operations;
};

/* While a definition is read. */
struct tree_reader {
    struct body *body;   /* its arena: scratch */
    struct arena *arena; /* the model's */
    struct map *slots;   /* name: slot + 1 */
    uint32_t n_slots;
    int64_t n_nodes, n_values;
};

struct err *tree_slot(struct tree_reader *, struct str name, uint32_t *out);
struct err *tree_numbers(struct tree_reader *, const struct json *, const char *what,
                         const double **out, uint32_t *n_out);
/* Names of features as slots, in the scratch arena; NULL or null: none. */
struct err *tree_names(struct tree_reader *, const struct json *list, uint32_t **out,
                       uint32_t *n_out);
/* target_type and classification_labels. */
struct err *tree_target(struct tree_reader *, struct str target, const struct json *labels,
                        struct tree_part *);
/* `outer`: the features of the ensemble it is in, which are its own when it names none. */
struct err *tree_read_tree(struct tree_reader *, const struct json *, const uint32_t *outer,
                           uint32_t n_outer, struct tree_part *out);
/* The highest class that a tree's leaves name; an err: they are no numbers of classes. */
struct err *tree_classes(const struct tree_part *tree, const struct tree_node *, uint32_t n_nodes,
                         uint32_t *out);
/* For body_field.read: the node itself, looked at once all members are known. */
struct err *tree_keep(struct body *, const struct json *, void *out);

struct err *tree_read_preprocessors(struct tree_reader *, const struct json *list,
                                    struct tree_model *);

/* A value of a document. */
struct tree_value {
    bool has;
    double number; /* NAN: it is none */
    struct str text;
};
/* Runs one over values[n_slots]. */
void tree_preprocess(const struct tree_preprocessor *, struct tree_value *values);

#endif
