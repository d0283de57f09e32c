/* One tree out of a definition. Everything that walking relies on is checked here: a node's
 * children exist, no node is reached twice (so there is no cycle), no path is longer than
 * TREE_MAX_DEPTH, leaves have equally many values, features have names. */
#include <math.h>

#include "tree_private.h"

#define COUNT(v) (sizeof(v) / sizeof(v)[0])

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

struct raw_tree {
    const struct json *names, *nodes, *labels;
    struct str target;
};
#define AT(member_) offsetof(struct raw_tree, member_)

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

struct err *tree_read_tree(struct tree_reader *r, const struct json *v, const uint32_t *outer,
                           uint32_t n_outer, struct tree_part *out)
{
    static const struct body_field fields[] = {
        {"feature_names", BODY_ARRAY, false, tree_keep, AT(names)},
        {"tree_structure", BODY_ARRAY, true, tree_keep, AT(nodes)},
        {"target_type", BODY_STR, false, body_str, AT(target)},
        {"classification_labels", BODY_ARRAY, false, tree_keep, AT(labels)},
    };
    struct raw_tree raw = {0};
    struct tree_builder t = {.features = outer, .n_features = n_outer};
    uint32_t *own, n_own;
    TRY(body_parse(r->body, &(struct body_parser){"tree", fields, COUNT(fields)}, v, &raw));
    TRY(tree_names(r, raw.names, &own, &n_own));
    if (n_own) {
        t.features = own;
        t.n_features = n_own;
    }
    TRY(read_nodes(r, raw.nodes, &t));
    TRY(check_shape(r, &t, &out->depth));
    TRY(tree_target(r, raw.target, raw.labels, out));
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

struct err *tree_classes(const struct tree_part *tree, const struct tree_node *nodes,
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
