/* A document through trees.
 *
 * The document's scalars go into slots, preprocessors fill more of them, each slot becomes a number
 * or NAN (missing), every tree is walked from its root, and the ensemble puts the leaves together:
 *
 *     weighted_sum          y = sum of w[i] * x[i]
 *     exponent              y = exp(sum of w[i] * x[i])
 *     logistic_regression   one value a tree: p = 1 / (1 + exp(-sum of w[i] * x[i])), [1 - p, p];
 *                           several: softmax of the weighted sums
 *     weighted_mode         one value a tree, a class: softmax of the weights of the trees that
 * vote for each, a class without a vote has probability 0; several: softmax of the weighted sums
 *
 * A tree alone gives the softmax of its leaf's values; of one value, a class, it is sure. */
#include "tree.h"

#include <math.h>
#include <stdlib.h>

#include "tree_private.h"

/* --- a document's values --- */

struct filling {
    const struct tree_model *model;
    struct tree_value *values;
    struct arena *scratch;
    char *path; /* [longest name + 1] */
};

static struct tree_value *find(const struct filling *f, size_t n)
{
    struct str path = str_n(f->path, n);
    size_t low = 0, high = f->model->n_slots;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = str_cmp(f->model->names[mid].name, path);
        if (order == 0)
            return &f->values[f->model->names[mid].slot];
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

/* Encodings compare texts: a number's is that of Java, 1e1 is 10.0. */
static struct str number_text(struct arena *a, struct str raw, double number)
{
    bool whole = true;
    for (size_t i = 0; i < raw.n; i++)
        whole = whole && raw.p[i] != '.' && raw.p[i] != 'e' && raw.p[i] != 'E';
    if (whole)
        return raw;
    struct buf b;
    struct json_out w;
    buf_init(&b, 64);
    json_out_init(&w, &b);
    json_put_f64(&w, number);
    struct str text = arena_dup(a, buf_str(&b));
    buf_deinit(&b);
    return text;
}

/* Numbers may be sent as strings. */
static double number_in(struct arena *a, struct str text)
{
    const struct json *v = NULL;
    double number = NAN;
    if (text.n == 0 || text.n > 64 || (text.p[0] != '-' && (text.p[0] < '0' || text.p[0] > '9')))
        return NAN;
    err_free(json_parse(a, text, &v));
    return json_is(v, JSON_NUMBER) && json_f64(v, &number) ? number : NAN;
}

static void fill_one(const struct filling *f, struct tree_value *to, const struct json *v)
{
    double number;
    switch (v->type) {
    case JSON_STRING:
        *to = (struct tree_value){true, number_in(f->scratch, v->text), v->text};
        break;
    case JSON_NUMBER:
        if (json_f64(v, &number))
            *to = (struct tree_value){true, number, number_text(f->scratch, v->text, number)};
        break;
    case JSON_TRUE:
        *to = (struct tree_value){true, 1, STR("true")};
        break;
    case JSON_FALSE:
        *to = (struct tree_value){true, 0, STR("false")};
        break;
    default: /* null and lists are missing */
        break;
    }
}

/* The parser bounds the depth of documents. */
static void fill(const struct filling *f, const struct json *object, size_t prefix)
{
    struct json_iter it = json_iter(object);
    for (const struct json *v; (v = json_next(&it));) {
        size_t n = prefix + v->key.n;
        if (n > f->model->longest_name)
            continue;
        if (v->key.n)
            memcpy(f->path + prefix, v->key.p, v->key.n);
        if (json_is(v, JSON_OBJECT) && n < f->model->longest_name) {
            f->path[n] = '.';
            fill(f, v, n + 1);
        } else if (!json_is(v, JSON_OBJECT)) {
            struct tree_value *to = find(f, n);
            if (to)
                fill_one(f, to, v);
        }
    }
}

static bool any_input(const struct tree_model *m, const struct tree_value *values)
{
    for (uint32_t i = 0; i < m->n_inputs; i++) {
        if (values[m->inputs[i]].has)
            return true;
    }
    return false;
}

/* NULL: none of the input fields is there. */
static const double *features_of(const struct tree_model *m, const struct json *doc,
                                 struct arena *scratch)
{
    struct tree_value *values = arena_array(scratch, m->n_slots, sizeof *values);
    struct filling f = {m, values, scratch, arena_alloc(scratch, m->longest_name + 1)};
    fill(&f, doc, 0);
    for (uint32_t i = 0; i < m->n_moves; i++) {
        if (values[m->moves[i][0]].has)
            values[m->moves[i][1]] = values[m->moves[i][0]];
    }
    if (!any_input(m, values))
        return NULL;
    for (uint32_t i = 0; i < m->n_preprocessors; i++)
        tree_preprocess(&m->preprocessors[i], values);
    double *features = arena_array(scratch, m->n_slots, sizeof *features);
    for (uint32_t i = 0; i < m->n_slots; i++)
        features[i] = values[i].has ? values[i].number : NAN;
    return features;
}

/* --- trees --- */

static bool goes_left(const struct tree_node *node, double x)
{
    if (isnan(x))
        return node->default_left;
    switch (node->op) {
    case TREE_LT:
        return x < node->threshold;
    case TREE_GT:
        return x > node->threshold;
    case TREE_GTE:
        return x >= node->threshold;
    case TREE_EQ:
        return x == node->threshold;
    default:
        return x <= node->threshold;
    }
}

static const double *walk(const struct tree_part *tree, const double *features)
{
    const struct tree_node *node = tree->nodes;
    while (!node->leaf)
        node = &tree->nodes[goes_left(node, features[node->slot]) ? node->left : node->right];
    return tree->values + node->left;
}

static void softmax(double *v, uint32_t n)
{
    double max = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n; i++)
        max = v[i] > max ? v[i] : max;
    for (uint32_t i = 0; i < n; i++)
        sum += v[i] = exp(v[i] - max);
    for (uint32_t i = 0; i < n; i++)
        v[i] /= sum;
}

static void give(const struct tree_part *, const double *features, struct arena *, double *out);

static double weight(const struct tree_part *p, uint32_t i)
{
    return p->weights ? p->weights[i] : 1;
}

/* sum[width of a part] += what each part gives, weighted */
static void add_up(const struct tree_part *p, const double *features, struct arena *scratch,
                   double *sum)
{
    uint32_t n = p->parts[0].width;
    double *inner = arena_array(scratch, n, sizeof *inner);
    for (uint32_t i = 0; i < p->n_parts; i++) {
        const struct tree_part *part = &p->parts[i];
        const double *x = inner;
        if (part->parts)
            give(part, features, scratch, inner);
        else
            x = walk(part, features);
        for (uint32_t k = 0; k < n; k++)
            sum[k] += weight(p, i) * x[k];
    }
}

static void vote(const struct tree_part *p, const double *features, double *out)
{
    for (uint32_t k = 0; k < p->width; k++)
        out[k] = -INFINITY;
    for (uint32_t i = 0; i < p->n_parts; i++) {
        uint32_t class = (uint32_t)*walk(&p->parts[i], features); /* whole: checked when read */
        out[class] = isinf(out[class]) ? weight(p, i) : out[class] + weight(p, i);
    }
    softmax(out, p->width);
}

/* Ensembles are nested TREE_MAX_NESTING deep at most. */
static void give(const struct tree_part *p, const double *features, struct arena *scratch,
                 double *out)
{
    if (!p->parts) {
        memcpy(out, walk(p, features), p->width * sizeof *out);
        return;
    }
    uint32_t inner = p->parts[0].width;
    if (p->aggregate == WEIGHTED_MODE && inner == 1) {
        vote(p, features, out);
        return;
    }
    for (uint32_t k = 0; k < p->width; k++)
        out[k] = 0;
    add_up(p, features, scratch, out);
    if (p->aggregate == EXPONENT) {
        out[0] = exp(out[0]);
    } else if (p->aggregate == LOGISTIC_REGRESSION && inner == 1) {
        out[1] = 1 / (1 + exp(-out[0]));
        out[0] = 1 - out[1];
    } else if (p->aggregate != WEIGHTED_SUM) {
        softmax(out, p->width);
    }
}

/* --- what is said of it --- */

/* As Java prints what JSON has no number for. */
static void put_number(struct json_out *w, double v)
{
    if (isfinite(v))
        json_put_f64(w, v);
    else
        json_put_cstr(w, isnan(v) ? "NaN" : v > 0 ? "Infinity" : "-Infinity");
}

static void put_whole_or_number(struct json_out *w, struct str label, uint32_t class)
{
    const struct json *v = NULL;
    int64_t whole;
    double number;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct err *e = label.p ? json_parse(a, label, &v) : NULL;
    if (!e && json_i64(v, &whole))
        json_put_i64(w, whole);
    else if (!e && json_f64(v, &number))
        json_put_f64(w, number);
    else
        json_put_f64(w, class);
    err_free(e);
    arena_free(a);
}

static void put_class(struct json_out *w, const struct tree_model *m, enum tree_answer answer,
                      uint32_t class)
{
    struct str label = m->root.labels ? m->root.labels[class] : (struct str){0};
    char number[16];
    switch (answer) {
    case TREE_NUMBER:
        put_whole_or_number(w, label, class);
        return;
    case TREE_BOOLEAN:
        json_put_bool(w, label.p ? str_eq_nocase(label, STR("true")) || str_eq(label, STR("1"))
                                 : class == 1);
        return;
    case TREE_STRING:
        break;
    }
    snprintf(number, sizeof number, "%u", class);
    json_put_str(w, label.p ? label : str_c(number));
}

struct ranked {
    uint32_t class;
    double probability, score;
};

/* Best first; of equals the first class. */
static int by_score(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->class < y->class ? -1 : x->class > y->class;
}

static struct ranked *rank(const struct tree_model *m, const double *given, struct arena *scratch)
{
    struct ranked *v = arena_array(scratch, m->n_classes, sizeof *v);
    bool numbered = !m->root.parts && m->root.width == 1; /* the leaf is the class */
    for (uint32_t i = 0; i < m->n_classes; i++) {
        double p = numbered ? (uint32_t)given[0] == i : given[i];
        v[i] = (struct ranked){i, p, m->root.class_weights ? p * m->root.class_weights[i] : p};
    }
    qsort(v, m->n_classes, sizeof *v, by_score);
    return v;
}

static void put_classes(const struct tree_model *m, const struct tree_config *c,
                        const double *given, struct arena *scratch, struct json_out *w)
{
    const struct ranked *v = rank(m, given, scratch);
    int64_t n = c->num_top_classes < 0 || c->num_top_classes > m->n_classes ? m->n_classes
                                                                            : c->num_top_classes;
    json_key_s(w, c->results_field);
    put_class(w, m, c->answer, v[0].class);
    if (n) {
        json_key_s(w, c->top_classes_results_field);
        json_arr(w);
        for (int64_t i = 0; i < n; i++) {
            json_obj(w);
            json_key(w, "class_name");
            put_class(w, m, c->answer, v[i].class);
            json_key(w, "class_probability");
            put_number(w, v[i].probability);
            json_key(w, "class_score");
            put_number(w, v[i].score);
            json_end(w);
        }
        json_end(w);
    }
    json_key(w, "prediction_probability");
    put_number(w, v[0].probability);
    json_key(w, "prediction_score");
    put_number(w, v[0].score);
}

void tree_infer(const struct tree_model *m, const struct tree_config *c, struct str model_id,
                const struct json *doc, struct arena *scratch, struct json_out *w)
{
    const double *features = features_of(m, doc, scratch);
    json_obj(w);
    if (!features) {
        json_key_str(w, "warning",
                     arena_printf(scratch,
                                  "Model [%.*s] could not be inferred as all fields were missing",
                                  STR_ARG(model_id)));
        json_end(w);
        return;
    }
    double *given = arena_array(scratch, m->root.width, sizeof *given);
    give(&m->root, features, scratch, given);
    if (m->root.classifies) {
        if (!m->root.parts && m->root.width > 1)
            softmax(given, m->root.width);
        put_classes(m, c, given, scratch, w);
    } else {
        json_key_s(w, c->results_field);
        put_number(w, given[0]);
    }
    json_end(w);
}
