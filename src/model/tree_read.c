/* A definition: its model, which is a tree or an ensemble, and the names of everything. */
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

struct err *tree_names(struct tree_reader *r, const struct json *list, uint32_t **out,
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

struct err *tree_target(struct tree_reader *r, struct str target, const struct json *labels,
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

/* --- an ensemble --- */

struct raw_ensemble {
    const struct json *names, *labels, *models, *aggregate, *class_weights;
    struct str target;
};
#define AT(member_) offsetof(struct raw_ensemble, member_)

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
    struct raw_ensemble raw = {0};
    uint32_t *names = NULL, n_names, classes;
    if (depth > TREE_MAX_NESTING)
        return err_status(400, "[ensemble] may be nested [%d] deep", TREE_MAX_NESTING);
    TRY(body_parse(r->body, &(struct body_parser){"ensemble", fields, COUNT(fields)}, v, &raw));
    TRY(tree_names(r, raw.names, &names, &n_names));
    TRY(tree_target(r, raw.target, raw.labels, out));
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
    TRY(tree_read_tree(r, member, outer, n_outer, out));
    if (out->width > 1)
        return NULL;
    struct err *e = tree_classes(out, out->nodes, (uint32_t)(r->n_nodes - before), &highest);
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
