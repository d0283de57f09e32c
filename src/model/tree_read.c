/* Trees and ensembles out of a definition. Everything that walking relies on is checked here: a
 * node's children exist, no node is reached twice (so there is no cycle), no path is longer than
 * TREE_MAX_DEPTH, leaves of a tree have equally many values, features have names. */
#include <math.h>
#include <stdlib.h>

#include "tree_private.h"

#define COUNT(v) (sizeof(v) / sizeof(v)[0])

/* --- small things --- */

struct err *tree_keep(struct body *b, const struct json *v, void *out)
{
    (void)b;
    *(const struct json **)out = v;
    return NULL;
}

struct err *tree_slot(struct tree_reader *r, struct str name, uint32_t *out)
{
    uintptr_t known = (uintptr_t)map_get(r->slots, name);
    if (!known && r->n_slots >= TREE_MAX_NAMES)
        return err_new(ERR_ARGUMENT, "a model may have [%d] names of fields and features",
                       TREE_MAX_NAMES);
    if (!known) {
        known = ++r->n_slots;
        map_put(r->slots, name, (void *)known);
    }
    *out = (uint32_t)(known - 1);
    return NULL;
}

struct err *tree_numbers(struct tree_reader *r, const struct json *list, const char *what,
                         const double **out, uint32_t *n_out)
{
    uint32_t n = 0;
    if (!json_is(list, JSON_ARRAY) || (list->n && !list->flat))
        return err_new(ERR_ARGUMENT, "[%s] must be an array of numbers", what);
    double *v = arena_array(r->arena, list->n, sizeof *v);
    struct json_iter it = json_iter(list);
    for (const struct json *e; (e = json_next(&it));) {
        if (!json_f64(e, &v[n++]))
            return err_new(ERR_ARGUMENT, "[%s] holds [%.*s], which is out of range", what,
                           STR_ARG(str_sub(json_raw(e), 0, 200)));
    }
    *out = v;
    *n_out = n;
    return NULL;
}

/* Names of features as slots, in the scratch arena. */
static struct err *read_names(struct tree_reader *r, const struct json *list, uint32_t **out,
                              uint32_t *n_out)
{
    struct str *names;
    size_t n = 0;
    *n_out = 0;
    if (json_is_null(list))
        return NULL;
    TRY(body_texts(r->body, list, &names, &n));
    uint32_t *slots = arena_array(r->body->arena, n, sizeof *slots);
    for (size_t i = 0; i < n; i++)
        TRY(tree_slot(r, names[i], &slots[i]));
    *out = slots;
    *n_out = (uint32_t)n;
    return NULL;
}

/* target_type, classification_labels */
static struct err *read_target(struct tree_reader *r, struct str target, const struct json *labels,
                               struct tree_part *p)
{
    struct str *texts;
    size_t n;
    p->classifies = str_eq_nocase(target, STR("classification"));
    if (!p->classifies && target.p && !str_eq_nocase(target, STR("regression")))
        return err_new(ERR_ARGUMENT, "unknown [target_type] [%.*s]",
                       STR_ARG(str_sub(target, 0, 200)));
    if (json_is_null(labels))
        return NULL;
    if (!p->classifies)
        return err_status(400, "[target_type] should be [classification] if "
                               "[classification_labels] is provided, and vice versa");
    TRY(body_texts(r->body, labels, &texts, &n));
    if (n > TREE_MAX_CLASSES)
        return err_new(ERR_ARGUMENT, "a model may have [%d] classes; it has [%zu]",
                       TREE_MAX_CLASSES, n);
    struct str *copies = arena_array(r->arena, n, sizeof *copies);
    for (size_t i = 0; i < n; i++)
        copies[i] = arena_dup(r->arena, texts[i]);
    p->labels = copies;
    p->n_labels = (uint32_t)n;
    return NULL;
}

/* --- a node --- */

struct raw_node {
    const struct json *index, *left, *right, *feature, *threshold, *leaf, *gain, *samples;
    struct str op;
    bool default_left;
};

#define AT(member_) offsetof(struct raw_node, member_)
static const struct body_field node_fields[] = {
    {"node_index", BODY_NUM, true, tree_keep, AT(index)},
    {"left_child", BODY_NUM, false, tree_keep, AT(left)},
    {"right_child", BODY_NUM, false, tree_keep, AT(right)},
    {"split_feature", BODY_NUM, false, tree_keep, AT(feature)},
    {"threshold", BODY_NUM, false, tree_keep, AT(threshold)},
    {"decision_type", BODY_STR, false, body_str, AT(op)},
    {"default_left", BODY_BOOL, false, body_bool, AT(default_left)},
    {"leaf_value", BODY_NUM | BODY_ARRAY, false, tree_keep, AT(leaf)},
    {"split_gain", BODY_NUM, false, tree_keep, AT(gain)},
    {"number_samples", BODY_NUM, false, tree_keep, AT(samples)},
};
#undef AT
static const struct body_parser node_parser = {"tree_node", node_fields, COUNT(node_fields)};

/* A tree while its nodes come: features of its own as slots, and where leaf values go. */
struct tree_builder {
    struct tree_node *nodes; /* [n], by node_index */
    bool *known;             /* [n] */
    uint32_t n;
    const uint32_t *features;
    uint32_t n_features;
    double *values;
    size_t n_values, cap_values;
    uint32_t width; /* of leaves; 0: none yet */
};

static struct err *index_of(const struct json *v, const char *what, uint32_t n, uint32_t *out)
{
    int64_t i;
    if (!json_i64(v, &i) || i < 0 || i >= n)
        return err_status(400, "[tree] contains missing nodes: [%s] [%.*s] is not from 0 to [%u]",
                          what, STR_ARG(str_sub(v->text, 0, 64)), n ? n - 1 : 0);
    *out = (uint32_t)i;
    return NULL;
}

static struct err *read_operator(struct str text, uint8_t *out)
{
    static const char *const names[] = {[TREE_LTE] = "lte",
                                        [TREE_LT] = "lt",
                                        [TREE_GT] = "gt",
                                        [TREE_GTE] = "gte",
                                        [TREE_EQ] = "eq"};
    *out = TREE_LTE;
    for (uint8_t i = 0; text.p && i < COUNT(names); i++) {
        if (str_eq_nocase(text, str_c(names[i]))) {
            *out = i;
            return NULL;
        }
    }
    if (!text.p)
        return NULL;
    return err_new(ERR_ARGUMENT, "unknown [decision_type] [%.*s]", STR_ARG(str_sub(text, 0, 200)));
}

static void keep_value(struct tree_reader *r, struct tree_builder *t, double v)
{
    if (t->n_values == t->cap_values) {
        t->cap_values = t->cap_values ? 2 * t->cap_values : 64;
        double *grown = arena_array(r->body->arena, t->cap_values, sizeof *grown);
        if (t->n_values)
            memcpy(grown, t->values, t->n_values * sizeof *grown);
        t->values = grown;
    }
    t->values[t->n_values++] = v;
}

static struct err *read_leaf(struct tree_reader *r, struct tree_builder *t, const struct json *v,
                             struct tree_node *node)
{
    double one;
    const double *values = &one;
    uint32_t n = 1;
    if (json_is(v, JSON_ARRAY)) {
        struct tree_reader scratch = *r;
        scratch.arena = r->body->arena;
        TRY(tree_numbers(&scratch, v, "leaf_value", &values, &n));
    } else if (!json_f64(v, &one)) {
        return err_new(ERR_ARGUMENT, "[leaf_value] [%.*s] is out of range",
                       STR_ARG(str_sub(v->text, 0, 64)));
    }
    if (n == 0 || n > TREE_MAX_CLASSES)
        return err_new(ERR_ARGUMENT, "[leaf_value] must have from 1 to [%d] values",
                       TREE_MAX_CLASSES);
    if (t->width && t->width != n)
        return err_status(400, "[tree.tree_structure] all leaf nodes must have the same number of "
                               "values");
    t->width = n;
    node->leaf = true;
    node->left = (uint32_t)t->n_values;
    for (uint32_t i = 0; i < n; i++)
        keep_value(r, t, values[i]);
    return NULL;
}

static struct err *read_split(const struct tree_builder *t, const struct raw_node *raw,
                              struct tree_node *node)
{
    uint32_t feature;
    if (!raw->left || !raw->right || !raw->feature || !raw->threshold)
        return err_new(ERR_ARGUMENT,
                       "node [%.*s] has neither a [leaf_value] nor all of "
                       "[left_child], [right_child], [split_feature], [threshold]",
                       STR_ARG(str_sub(raw->index->text, 0, 64)));
    TRY(index_of(raw->left, "left_child", t->n, &node->left));
    TRY(index_of(raw->right, "right_child", t->n, &node->right));
    int64_t i;
    if (!json_i64(raw->feature, &i) || i < 0 || i >= t->n_features)
        return err_status(400,
                          "[split_feature] [%.*s] is out of bounds; there are [%u] [feature_names]",
                          STR_ARG(str_sub(raw->feature->text, 0, 64)), t->n_features);
    feature = t->features[i];
    node->slot = feature;
    if (!json_f64(raw->threshold, &node->threshold))
        return err_new(ERR_ARGUMENT, "[threshold] [%.*s] is out of range",
                       STR_ARG(str_sub(raw->threshold->text, 0, 64)));
    node->default_left = raw->default_left;
    return read_operator(raw->op, &node->op);
}

static struct err *read_node(struct tree_reader *r, struct tree_builder *t, const struct json *v)
{
    struct raw_node raw = {0};
    uint32_t i;
    TRY(body_parse(r->body, &node_parser, v, &raw));
    TRY(index_of(raw.index, "node_index", t->n, &i));
    if (t->known[i])
        return err_status(400, "[tree] has more than one node of [node_index] [%u]", i);
    t->known[i] = true;
    if (raw.leaf && !raw.left && !raw.right)
        return read_leaf(r, t, raw.leaf, &t->nodes[i]);
    return read_split(t, &raw, &t->nodes[i]);
}

/* --- a tree --- */

/* From the root, without recursion: each node once, none too deep. Unreachable ones do no harm. */
static struct err *check_shape(struct tree_reader *r, const struct tree_builder *t,
                               uint32_t *depth_out)
{
    uint32_t *stack = arena_array(r->body->arena, t->n, sizeof *stack);
    uint16_t *depth = arena_array(r->body->arena, t->n, sizeof *depth); /* 0: not met */
    uint32_t n = 1, deepest = 1;
    stack[0] = 0;
    depth[0] = 1;
    while (n) {
        uint32_t at = stack[--n];
        const struct tree_node *node = &t->nodes[at];
        if (depth[at] > TREE_MAX_DEPTH)
            return err_status(400, "[tree] is deeper than [%d] nodes", TREE_MAX_DEPTH);
        deepest = depth[at] > deepest ? depth[at] : deepest;
        uint32_t children[2] = {node->left, node->right};
        for (int c = 0; c < 2 && !node->leaf; c++) {
            if (depth[children[c]])
                return err_status(400, "[tree] contains cycle: node [%u] is reached twice",
                                  children[c]);
            depth[children[c]] = (uint16_t)(depth[at] + 1);
            stack[n++] = children[c];
        }
    }
    *depth_out = deepest;
    return NULL;
}

struct raw_model {
    const struct json *names, *nodes, *labels; /* a tree, an ensemble */
    const struct json *models, *aggregate, *class_weights;
    struct str target;
};
#define AT(member_) offsetof(struct raw_model, member_)

static struct err *read_nodes(struct tree_reader *r, const struct json *list,
                              struct tree_builder *t)
{
    if (list->n == 0 || list->flat)
        return err_status(400, "[tree_structure] must not be empty");
    r->n_nodes += list->n;
    if (r->n_nodes > TREE_MAX_NODES)
        return err_status(400, "a model may have [%d] nodes", TREE_MAX_NODES);
    t->n = list->n;
    t->nodes = arena_array(r->arena, t->n, sizeof *t->nodes);
    t->known = arena_array(r->body->arena, t->n, sizeof *t->known);
    struct json_iter it = json_iter(list);
    for (const struct json *v; (v = json_next(&it));)
        TRY(read_node(r, t, v));
    return NULL; /* n nodes, each index below n and none twice: all are known */
}

/* `outer`: the features of the ensemble it is in, which are its own when it names none. */
static struct err *read_tree(struct tree_reader *r, const struct json *v, const uint32_t *outer,
                             uint32_t n_outer, struct tree_part *out)
{
    static const struct body_field fields[] = {
        {"feature_names", BODY_ARRAY, false, tree_keep, AT(names)},
        {"tree_structure", BODY_ARRAY, true, tree_keep, AT(nodes)},
        {"target_type", BODY_STR, false, body_str, AT(target)},
        {"classification_labels", BODY_ARRAY, false, tree_keep, AT(labels)},
    };
    struct raw_model raw = {0};
    struct tree_builder t = {.features = outer, .n_features = n_outer};
    uint32_t *own, n_own;
    TRY(body_parse(r->body, &(struct body_parser){"tree", fields, COUNT(fields)}, v, &raw));
    TRY(read_names(r, raw.names, &own, &n_own));
    if (n_own) {
        t.features = own;
        t.n_features = n_own;
    }
    TRY(read_nodes(r, raw.nodes, &t));
    TRY(check_shape(r, &t, &out->depth));
    TRY(read_target(r, raw.target, raw.labels, out));
    if (!t.width)
        return err_status(400, "[tree] has no leaf");
    if (t.width > 1 && !out->classifies)
        return err_status(400, "[target_type] should be [classification] if leaf nodes have "
                               "multiple values");
    double *values = arena_array(r->arena, t.n_values, sizeof *values);
    memcpy(values, t.values, t.n_values * sizeof *values);
    r->n_values += (int64_t)t.n_values;
    out->nodes = t.nodes;
    out->values = values;
    out->width = t.width;
    return NULL;
}

/* The highest class that a tree's leaves name. */
static struct err *class_of(const struct tree_part *tree, const struct tree_node *nodes,
                            uint32_t n_nodes, uint32_t *out)
{
    *out = 0;
    for (uint32_t i = 0; i < n_nodes; i++) {
        if (!nodes[i].leaf)
            continue;
        double v = tree->values[nodes[i].left];
        if (v < 0 || v >= TREE_MAX_CLASSES || v != floor(v))
            return err_status(400, "leaf_value [%g] is not the number of a class", v);
        *out = (uint32_t)v > *out ? (uint32_t)v : *out;
    }
    return NULL;
}

/* --- an ensemble --- */

static struct err *read_part(struct tree_reader *r, const struct json *v, const uint32_t *outer,
                             uint32_t n_outer, int depth, struct tree_part *out,
                             uint32_t *classes_out);

struct raw_aggregate {
    const struct json *weights, *num_classes;
};

static struct err *read_weights(struct tree_reader *r, const struct json *v, struct tree_part *p)
{
    uint32_t n;
    if (json_is_null(v))
        return NULL;
    TRY(tree_numbers(r, v, "weights", &p->weights, &n));
    if (n == p->n_parts)
        return NULL;
    return err_status(400,
                      "[aggregate_output] expects value array of size [%u] but number of models is "
                      "[%u]",
                      n, p->n_parts);
}

/* `highest`: of the classes that leaves name; NULL: they name none. */
static struct err *read_num_classes(const struct json *v, const uint32_t *highest,
                                    struct tree_part *p)
{
    int64_t n;
    if (!json_i64(v, &n) || n < 2 || n > TREE_MAX_CLASSES)
        return err_new(ERR_ARGUMENT, "[weighted_mode] requires [num_classes] from 2 to [%d]",
                       TREE_MAX_CLASSES);
    if (p->width > 1) /* a value for each class */
        return NULL;
    if (!highest)
        return err_status(400, "the leaves of [weighted_mode]'s models must be numbers of classes");
    if (*highest >= n)
        return err_status(400, "values contain entries larger than expected max of [%lld]",
                          (long long)n - 1);
    p->width = (uint32_t)n;
    return NULL;
}

/* The width that comes out of parts that are `inner` wide. */
static struct err *read_aggregate(struct tree_reader *r, const struct json *v, uint32_t inner,
                                  const uint32_t *highest, struct tree_part *p)
{
    static const char *const names[] = {[WEIGHTED_SUM] = "weighted_sum",
                                        [WEIGHTED_MODE] = "weighted_mode",
                                        [LOGISTIC_REGRESSION] = "logistic_regression",
                                        [EXPONENT] = "exponent"};
    static const struct body_field fields[] = {
        {"weights", BODY_ARRAY, false, tree_keep, offsetof(struct raw_aggregate, weights)},
        {"num_classes", BODY_NUM, false, tree_keep, offsetof(struct raw_aggregate, num_classes)},
    };
    struct raw_aggregate raw = {0};
    const struct json *member = NULL;
    p->width = inner;
    if (!json_is_null(v)) {
        TRY(body_named(r->body, "aggregate_output", v, &member));
        while (p->aggregate <= EXPONENT && !str_eq_c(member->key, names[p->aggregate]))
            p->aggregate++;
        if (p->aggregate > EXPONENT)
            return body_unknown_name(r->body, member);
        TRY(body_parse(r->body,
                       &(struct body_parser){names[p->aggregate], fields,
                                             p->aggregate == WEIGHTED_MODE ? 2 : 1},
                       member, &raw));
    }
    TRY(read_weights(r, raw.weights, p));
    bool numbers = p->aggregate == WEIGHTED_SUM || p->aggregate == EXPONENT;
    if (numbers == p->classifies)
        return err_status(400, "aggregate_output [%s] is not compatible with target_type [%s]",
                          names[p->aggregate], p->classifies ? "classification" : "regression");
    if (inner != 1 && numbers)
        return err_status(400, "aggregate_output [%s] takes one value of each model, not [%u]",
                          names[p->aggregate], inner);
    if (p->aggregate == LOGISTIC_REGRESSION && inner == 1)
        p->width = 2;
    return p->aggregate == WEIGHTED_MODE ? read_num_classes(raw.num_classes, highest, p) : NULL;
}

static struct err *check_classes(struct tree_reader *r, const struct json *class_weights,
                                 struct tree_part *p)
{
    uint32_t n;
    if (p->classifies && p->labels && p->n_labels != p->width)
        return err_status(400,
                          "model returned classification probabilities of size [%u] which is not "
                          "equal to classification labels size [%u]",
                          p->width, p->n_labels);
    if (json_is_null(class_weights))
        return NULL;
    TRY(tree_numbers(r, class_weights, "classification_weights", &p->class_weights, &n));
    if (p->classifies && n == p->width)
        return NULL;
    return err_status(400, "[classification_weights] and [classification_labels] should be the "
                           "same length if both are provided");
}

static struct err *read_parts(struct tree_reader *r, const struct json *list, const uint32_t *names,
                              uint32_t n_names, int depth, struct tree_part *out, uint32_t *highest)
{
    if (list->n == 0 || list->flat)
        return err_status(400, "[trained_models] must not be empty");
    struct tree_part *parts = arena_array(r->arena, list->n, sizeof *parts);
    struct json_iter it = json_iter(list);
    bool all = true;
    out->parts = parts;
    *highest = 0;
    for (const struct json *v; (v = json_next(&it));) {
        uint32_t classes = 0;
        TRY(read_part(r, v, names, n_names, depth + 1, &parts[out->n_parts], &classes));
        if (parts[out->n_parts].width != parts[0].width)
            return err_status(400, "[trained_models] must all give the same number of values");
        all = all && classes;
        *highest = classes > *highest ? classes : *highest;
        out->n_parts++;
    }
    if (!all)
        *highest = 0;
    return NULL;
}

static struct err *read_ensemble(struct tree_reader *r, const struct json *v, int depth,
                                 struct tree_part *out)
{
    static const struct body_field fields[] = {
        {"feature_names", BODY_ARRAY, false, tree_keep, AT(names)},
        {"trained_models", BODY_ARRAY, true, tree_keep, AT(models)},
        {"aggregate_output", BODY_OBJECT, false, tree_keep, AT(aggregate)},
        {"target_type", BODY_STR, false, body_str, AT(target)},
        {"classification_labels", BODY_ARRAY, false, tree_keep, AT(labels)},
        {"classification_weights", BODY_ARRAY, false, tree_keep, AT(class_weights)},
    };
    struct raw_model raw = {0};
    uint32_t *names = NULL, n_names, classes;
    if (depth > TREE_MAX_NESTING)
        return err_status(400, "[ensemble] may be nested [%d] deep", TREE_MAX_NESTING);
    TRY(body_parse(r->body, &(struct body_parser){"ensemble", fields, COUNT(fields)}, v, &raw));
    TRY(read_names(r, raw.names, &names, &n_names));
    TRY(read_target(r, raw.target, raw.labels, out));
    TRY(read_parts(r, raw.models, names, n_names, depth, out, &classes));
    uint32_t highest = classes ? classes - 1 : 0;
    TRY(read_aggregate(r, raw.aggregate, out->parts[0].width, classes ? &highest : NULL, out));
    return check_classes(r, raw.class_weights, out);
}

/* *classes_out: how many classes the leaves of a tree number; 0: they do not. */
static struct err *read_part(struct tree_reader *r, const struct json *v, const uint32_t *outer,
                             uint32_t n_outer, int depth, struct tree_part *out,
                             uint32_t *classes_out)
{
    const struct json *member;
    uint32_t highest = 0;
    TRY(body_named(r->body, "trained_model", v, &member));
    *classes_out = 0;
    if (str_eq(member->key, STR("ensemble")))
        return read_ensemble(r, member, depth, out);
    if (!str_eq(member->key, STR("tree")))
        return body_unknown_name(r->body, member);
    int64_t before = r->n_nodes;
    TRY(read_tree(r, member, outer, n_outer, out));
    if (out->width > 1)
        return NULL;
    struct err *e = class_of(out, out->nodes, (uint32_t)(r->n_nodes - before), &highest);
    *classes_out = e ? 0 : highest + 1;
    err_free(e);
    return NULL;
}

/* --- whole --- */

static int by_name(const void *a, const void *b)
{
    const struct tree_name *x = a, *y = b;
    return str_cmp(x->name, y->name);
}

static void name_slots(struct tree_reader *r, struct tree_model *m)
{
    struct tree_name *names = arena_array(r->arena, r->n_slots, sizeof *names);
    struct str name;
    void *slot;
    uint32_t n = 0;
    for (size_t i = 0; map_next(r->slots, &i, &name, &slot);) {
        names[n++] = (struct tree_name){arena_dup(r->arena, name), (uint32_t)(uintptr_t)slot - 1};
        m->longest_name = name.n > m->longest_name ? name.n : m->longest_name;
    }
    if (n)
        qsort(names, n, sizeof *names, by_name);
    m->names = names;
    m->n_slots = n;
}

static struct err *read_input(struct tree_reader *r, const struct tree_input *input,
                              struct tree_model *m)
{
    uint32_t *inputs = arena_array(r->arena, input->n_fields, sizeof *inputs);
    uint32_t n_moves = input->field_map ? input->field_map->n : 0;
    uint32_t(*moves)[2] = arena_array(r->arena, n_moves, sizeof *moves);
    for (size_t i = 0; i < input->n_fields; i++)
        TRY(tree_slot(r, input->fields[i], &inputs[i]));
    struct json_iter it = json_iter(input->field_map);
    for (const struct json *v; (v = json_next(&it)); m->n_moves++) {
        struct str to;
        if (!json_str(v, &to))
            return err_new(ERR_ARGUMENT, "[default_field_map] must hold names of fields");
        TRY(tree_slot(r, v->key, &moves[m->n_moves][0]));
        TRY(tree_slot(r, to, &moves[m->n_moves][1]));
    }
    m->inputs = inputs;
    m->n_inputs = (uint32_t)input->n_fields;
    m->moves = moves;
    return NULL;
}

static int64_t operations_of(const struct tree_part *p)
{
    int64_t n = p->parts ? 0 : p->depth;
    for (uint32_t i = 0; i < p->n_parts; i++)
        n += operations_of(&p->parts[i]);
    return n;
}

/* A tree alone whose leaves are numbers of classes gives one of them all the probability. */
static struct err *read_classes(struct tree_reader *r, uint32_t classes, struct tree_model *m)
{
    struct tree_part *p = &m->root;
    if (!p->classifies)
        return p->width == 1 ? NULL : err_status(400, "a regression model must give one value");
    m->n_classes = p->width;
    if (p->parts || p->width > 1)
        return p->parts ? NULL : check_classes(r, NULL, p);
    if (!classes)
        return err_status(400, "the leaves of a classification tree must be numbers of classes");
    m->n_classes = p->labels ? p->n_labels : classes;
    if (classes > m->n_classes)
        return err_status(400,
                          "model returned classification probabilities of size [%u] which is not "
                          "equal to classification labels size [%u]",
                          classes, p->n_labels);
    return NULL;
}

struct raw_definition {
    const struct json *preprocessors, *model;
};

static struct err *read_whole(struct tree_reader *r, const struct json *definition,
                              const struct tree_input *input, struct tree_model *m)
{
    struct raw_definition raw = {0};
    static const struct body_field fields[] = {
        {"preprocessors", BODY_ARRAY, false, tree_keep,
         offsetof(struct raw_definition, preprocessors)},
        {"trained_model", BODY_OBJECT, true, tree_keep, offsetof(struct raw_definition, model)},
    };
    uint32_t classes;
    TRY(body_parse(r->body,
                   &(struct body_parser){"trained_model_definition", fields, COUNT(fields)},
                   definition, &raw));
    TRY(tree_read_preprocessors(r, raw.preprocessors, m));
    TRY(read_part(r, raw.model, NULL, 0, 0, &m->root, &classes));
    TRY(read_classes(r, classes, m));
    TRY(read_input(r, input, m));
    if (m->n_classes == 0 && m->root.classifies)
        return err_status(400, "a classification model must have classes");
    m->n_nodes = r->n_nodes;
    m->n_values = r->n_values;
    m->operations = operations_of(&m->root);
    name_slots(r, m);
    return NULL;
}

struct err *tree_read(struct body *body, const struct json *definition,
                      const struct tree_input *input, struct arena *a,
                      const struct tree_model **out)
{
    struct arena *scratch = arena_new(ARENA_NO_LIMIT);
    struct body b = {.arena = scratch, .text = body->text};
    struct tree_reader r = {.body = &b, .arena = a, .slots = map_new()};
    struct tree_model *m = arena_alloc(a, sizeof *m);
    struct err *e = read_whole(&r, definition, input, m);
    body->at = b.at;
    map_free(r.slots);
    arena_free(scratch);
    *out = m;
    return e;
}

bool tree_classifies(const struct tree_model *m)
{
    return m->root.classifies;
}

int64_t tree_bytes(const struct tree_model *m)
{
    int64_t n = (int64_t)sizeof *m + m->n_nodes * (int64_t)sizeof(struct tree_node) +
                m->n_values * (int64_t)sizeof(double) +
                (int64_t)m->n_slots * (int64_t)sizeof(struct tree_name);
    for (uint32_t i = 0; i < m->n_preprocessors; i++)
        n += (int64_t)sizeof(struct tree_preprocessor) +
             (int64_t)m->preprocessors[i].n_entries * (int64_t)sizeof(struct tree_entry);
    return n;
}

int64_t tree_operations(const struct tree_model *m)
{
    return m->operations;
}
