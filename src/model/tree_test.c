/* Trees against those who trained them: scikit-learn, LightGBM, XGBoost, serialized by Eland
 * (trees/make.py, tolerances there); and definitions that must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "tree.h"

static struct arena *arena;

static void assert_ok(struct err *e)
{
    if (e)
        fail_msg("unexpected error: %s%s%s", e->reason, e->cause ? ": " : "",
                 e->cause ? e->cause->reason : "");
}

static const struct json *parse(struct str text)
{
    const struct json *root = NULL;
    assert_ok(json_parse_copy(arena, text, &root));
    return root;
}

static struct str read_file(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, TREES "/%s.json", name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *text = arena_alloc(arena, 1 << 20);
    size_t n = fread(text, 1, 1 << 20, f);
    fclose(f);
    return str_n(text, n);
}

static const struct json *ask(const struct tree_model *m, const struct tree_config *c,
                              const struct json *doc)
{
    struct buf b;
    struct json_out w;
    struct arena *scratch = arena_new(ARENA_NO_LIMIT);
    buf_init(&b, 1 << 20);
    json_out_init(&w, &b);
    tree_infer(m, c, STR("m"), doc, scratch, &w);
    const struct json *answer = parse(buf_str(&b));
    buf_deinit(&b);
    arena_free(scratch);
    return answer;
}

/* --- against their makers --- */

static void assert_near(double have, double want, double tolerance, const char *name)
{
    if (!(fabs(have - want) <= tolerance * fmax(1, fabs(want))))
        fail_msg("%s: have %.17g, want %.17g", name, have, want);
}

/* Probabilities of every class, best first, as they were told apart. */
static void check_classes(const char *name, const struct json *answer, const struct json *want,
                          double tolerance)
{
    const struct json *top = json_get(answer, "top_classes");
    double last = INFINITY, p, score;
    assert_int_equal(top->n, want->n);
    struct json_iter it = json_iter(top);
    for (const struct json *c; (c = json_next(&it));) {
        struct str label;
        assert_true(json_f64(json_get(c, "class_probability"), &p));
        assert_true(json_f64(json_get(c, "class_score"), &score));
        assert_true(json_str(json_get(c, "class_name"), &label));
        int64_t class = label.p[label.n - 1] - '0'; /* "class 2" */
        struct json_iter wanted = json_iter(want);
        const struct json *number = json_next(&wanted);
        while (class -- > 0)
            number = json_next(&wanted);
        double q;
        assert_true(json_f64(number, &q));
        assert_near(p, q, tolerance, name);
        assert_true(p == score && p <= last);
        last = p;
    }
    assert_true(str_eq(json_get(answer, "predicted_value")->text,
                       json_get(json_at(top, 0), "class_name")->text));
    assert_true(json_f64(json_get(answer, "prediction_probability"), &p));
    assert_true(json_f64(json_get(json_at(top, 0), "class_probability"), &score));
    assert_true(p == score);
}

static void check_file(const char *name)
{
    const struct json *root = parse(read_file(name)), *body = json_get(root, "body");
    struct body b = {.arena = arena};
    struct tree_config config;
    const struct tree_model *m;
    struct str fields[8];
    double tolerance, want, have;
    struct tree_input input = {.fields = fields};
    struct json_iter it = json_iter(json_path(body, "input", "field_names", NULL));
    for (const struct json *v; (v = json_next(&it));)
        fields[input.n_fields++] = v->text;
    assert_ok(tree_config_read(&b, json_get(body, "inference_config"), &config));
    assert_ok(tree_read(&b, json_get(body, "definition"), &input, arena, &m));
    assert_true(json_f64(json_get(root, "tolerance"), &tolerance));
    assert_true(tree_classifies(m) == config.classification);
    struct json_iter docs = json_iter(json_get(root, "docs"));
    struct json_iter expected = json_iter(json_get(root, "expected"));
    size_t n = 0;
    for (const struct json *doc; (doc = json_next(&docs)); n++) {
        const struct json *answer = ask(m, &config, doc), *wanted = json_next(&expected);
        if (config.classification) {
            check_classes(name, answer, wanted, tolerance);
            continue;
        }
        assert_true(json_f64(wanted, &want));
        assert_true(json_f64(json_get(answer, "predicted_value"), &have));
        assert_near(have, want, tolerance, name);
    }
    assert_true(n >= 5);
}

static void test_as_their_makers(void **state)
{
    static const char *const names[] = {"tree_regression",     "tree_classification",
                                        "forest_regression",   "forest_classification",
                                        "lightgbm_regression", "lightgbm_binary",
                                        "lightgbm_classes",    "xgboost_regression",
                                        "xgboost_binary",      "encodings"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        check_file(names[i]);
}

/* --- by hand --- */

#define LEAF(i, v) "{\"node_index\":" #i ",\"leaf_value\":" #v "}"
#define PAIR(i)    "{\"node_index\":" #i ",\"leaf_value\":[1,2]}"
#define SPLIT(i, feature, limit, l, r)                                                             \
    "{\"node_index\":" #i ",\"split_feature\":" #feature ",\"threshold\":" #limit                  \
    ",\"left_child\":" #l ",\"right_child\":" #r "}"
#define TREE(nodes, more)                                                                          \
    "{\"tree\":{\"feature_names\":[\"a\",\"b\"],\"tree_structure\":[" nodes "]" more "}}"
#define STUMP(v) TREE(LEAF(0, v), "")
#define CLASSES  ",\"target_type\":\"classification\""

static struct err *define(const char *model, const struct tree_input *input,
                          const struct tree_model **out)
{
    struct body b = {.arena = arena};
    struct str text = arena_printf(arena, "{\"trained_model\":%s}", model);
    return tree_read(&b, parse(text), input, arena, out);
}

static const struct json *answer_of(const char *model, const char *config, const char *doc)
{
    static const struct str fields[] = {STR_INIT("a"), STR_INIT("b")};
    struct tree_input input = {
        .fields = fields, .n_fields = 2, .field_map = parse(STR("{\"other\":\"a\"}"))};
    const struct tree_model *m;
    struct tree_config c;
    struct body b = {.arena = arena};
    assert_ok(define(model, &input, &m));
    assert_ok(tree_config_read(&b, parse(str_c(config)), &c));
    return ask(m, &c, parse(str_c(doc)));
}

static void assert_answer(const char *model, const char *config, const char *doc, const char *want)
{
    assert_string_equal(arena_cstr(arena, json_raw(answer_of(model, config, doc))), want);
}

#define REGRESSION     "{\"regression\":{}}"
#define CLASSIFICATION "{\"classification\":{}}"

static void test_fields(void **state)
{
    const char *model = TREE(SPLIT(0, 0, 1, 1, 2) "," LEAF(1, 10) "," LEAF(2, 20), "");
    (void)state;
    assert_answer(model, REGRESSION, "{\"a\":1}", "{\"predicted_value\":10.0}");
    assert_answer(model, REGRESSION, "{\"a\":1.5}", "{\"predicted_value\":20.0}");
    assert_answer(model, REGRESSION, "{\"a\":\"0.5\"}", "{\"predicted_value\":10.0}");
    assert_answer(model, REGRESSION, "{\"a\":true}", "{\"predicted_value\":10.0}");
    assert_answer(model, REGRESSION, "{\"a\":\"x\"}", "{\"predicted_value\":20.0}"); /* missing */
    assert_answer(model, REGRESSION, "{\"b\":1}", "{\"predicted_value\":20.0}");
    assert_answer(model, REGRESSION, "{\"other\":0,\"a\":9}", "{\"predicted_value\":10.0}");
    assert_answer(model, REGRESSION, "{\"c\":1,\"a\":null,\"b\":[1]}",
                  "{\"warning\":\"Model [m] could not be inferred as all fields were missing\"}");
    assert_answer(model, "{\"regression\":{\"results_field\":\"r\"}}", "{\"a\":1}", "{\"r\":10.0}");
}

#define ENSEMBLE(trees, more)                                                                      \
    "{\"ensemble\":{\"feature_names\":[\"a\"],\"trained_models\":[" trees "]," more "}}"
#define AGGREGATE(text) "\"aggregate_output\":{" text "}"

static void test_aggregates(void **state)
{
    double p;
    (void)state;
    assert_answer(
        ENSEMBLE(STUMP(1) "," STUMP(3), AGGREGATE("\"weighted_sum\":{\"weights\":[2,0.5]}")),
        REGRESSION, "{\"a\":1}", "{\"predicted_value\":3.5}");
    assert_answer(ENSEMBLE(STUMP(0) "," STUMP(0), AGGREGATE("\"exponent\":{}")), REGRESSION,
                  "{\"a\":1}", "{\"predicted_value\":1.0}");
    assert_answer(ENSEMBLE(STUMP(800), AGGREGATE("\"exponent\":{}")), REGRESSION, "{\"a\":1}",
                  "{\"predicted_value\":\"Infinity\"}");
    /* two votes of weight 1 against one of 1: softmax of [2, 1] */
    const struct json *mode =
        answer_of(ENSEMBLE(STUMP(0) "," STUMP(1) "," STUMP(0),
                           AGGREGATE("\"weighted_mode\":{\"num_classes\":3}") CLASSES),
                  "{\"classification\":{\"num_top_classes\":3}}", "{\"a\":1}");
    assert_true(json_f64(json_get(mode, "prediction_probability"), &p));
    assert_near(p, exp(2) / (exp(2) + exp(1)), 1e-15, "mode");
    assert_true(json_f64(
        json_path(json_at(json_get(mode, "top_classes"), 2), "class_probability", NULL), &p));
    assert_true(p == 0);
    /* weights turn the order: [0.5, 0.5] * [1, 3] */
    const struct json *weighted = answer_of(
        ENSEMBLE(STUMP(0), AGGREGATE("\"logistic_regression\":{}") CLASSES
                 ",\"classification_labels\":[\"no\",\"12\"],\"classification_weights\":[1,3]"),
        "{\"classification\":{\"prediction_field_type\":\"number\"}}", "{\"a\":1}");
    assert_string_equal(arena_cstr(arena, json_raw(weighted)),
                        "{\"predicted_value\":12,\"prediction_probability\":0.5,"
                        "\"prediction_score\":1.5}");
    assert_answer(
        TREE(LEAF(0, 1), CLASSES), CLASSIFICATION, "{\"a\":1}",
        "{\"predicted_value\":\"1\",\"prediction_probability\":1.0,\"prediction_score\":1.0}");
    assert_answer(
        TREE(LEAF(0, 1), CLASSES), "{\"classification\":{\"prediction_field_type\":\"boolean\"}}",
        "{\"a\":1}",
        "{\"predicted_value\":true,\"prediction_probability\":1.0,\"prediction_score\":1.0}");
}

/* --- refused --- */

static void assert_refused(const char *model, const char *text)
{
    struct tree_input input = {0};
    const struct tree_model *m;
    struct err *e = define(model, &input, &m);
    if (!e)
        fail_msg("taken: %.200s", model);
    const struct err *deepest = e;
    bool found = false;
    for (; deepest; deepest = deepest->cause)
        found = found || strstr(deepest->reason, text);
    if (!found)
        fail_msg("expected [%s], got %s", text, e->reason);
    err_free(e);
}

static void test_refuses_trees(void **state)
{
    (void)state;
    assert_refused("{}", "must have exactly one member");
    assert_refused("{\"forest\":{}}", "unknown field [forest]");
    assert_refused(TREE("", ""), "[tree_structure] must not be empty");
    assert_refused(TREE("1", ""), "[tree_structure] must not be empty");
    assert_refused(TREE(SPLIT(0, 0, 1, 0, 1) "," LEAF(1, 1), ""), "contains cycle");
    assert_refused(TREE(SPLIT(0, 0, 1, 1, 1) "," LEAF(1, 1), ""), "contains cycle");
    assert_refused(TREE(SPLIT(0, 0, 1, 1, 2) "," SPLIT(1, 0, 1, 2, 0) "," LEAF(2, 1), ""),
                   "contains cycle");
    assert_refused(TREE(SPLIT(0, 0, 1, 1, 2) "," LEAF(1, 1), ""), "contains missing nodes");
    assert_refused(TREE(SPLIT(0, 0, 1, -1, 1) "," LEAF(1, 1), ""), "contains missing nodes");
    assert_refused(TREE(SPLIT(0, 0, 1, 4294967297, 1) "," LEAF(1, 1), ""),
                   "contains missing nodes");
    assert_refused(TREE(LEAF(0, 1) "," LEAF(0, 1), ""), "more than one node");
    assert_refused(TREE(LEAF(1, 1), ""), "[node_index] [1] is not from 0 to [0]");
    assert_refused(TREE(SPLIT(0, 2, 1, 1, 2) "," LEAF(1, 1) "," LEAF(2, 1), ""),
                   "[split_feature] [2] is out of bounds");
    assert_refused(TREE(SPLIT(0, -1, 1, 1, 2) "," LEAF(1, 1) "," LEAF(2, 1), ""),
                   "[split_feature] [-1] is out of bounds");
    assert_refused(TREE("{\"node_index\":0}", ""), "has neither a [leaf_value]");
    assert_refused(TREE(LEAF(0, 1e999), ""), "[leaf_value] [1e999] is out of range");
    assert_refused(TREE(LEAF(0, []), ""), "[leaf_value] must have");
    assert_refused(TREE(PAIR(0), ""), "if leaf nodes have multiple values");
    assert_refused(TREE(LEAF(0, 1), ",\"classification_labels\":[\"a\"]"), "and vice versa");
    assert_refused(TREE(LEAF(0, 1), CLASSES ",\"classification_labels\":[\"a\"]"),
                   "probabilities of size [2]");
    assert_refused(TREE(LEAF(0, 0.5), CLASSES), "must be numbers of classes");
    assert_refused(TREE(LEAF(0, 1e9), CLASSES), "must be numbers of classes");
    assert_refused(TREE(LEAF(0, 1), ",\"target_type\":\"ranking\""),
                   "unknown [target_type] [ranking]");
    assert_refused(TREE(SPLIT(0, 0, 1, 1, 2) "," PAIR(1) "," LEAF(2, 1), CLASSES),
                   "same number of values");
}

static void test_refuses_ensembles(void **state)
{
    (void)state;
    assert_refused(ENSEMBLE("", AGGREGATE("\"weighted_sum\":{}")),
                   "[trained_models] must not be empty");
    assert_refused(ENSEMBLE(STUMP(1), AGGREGATE("\"median\":{}")), "unknown field [median]");
    assert_refused(ENSEMBLE(STUMP(1), AGGREGATE("\"weighted_sum\":{\"weights\":[1,2]}")),
                   "expects value array of size [2]");
    assert_refused(ENSEMBLE(STUMP(1), AGGREGATE("\"weighted_sum\":{}") CLASSES), "not compatible");
    assert_refused(ENSEMBLE(STUMP(1), AGGREGATE("\"logistic_regression\":{}")), "not compatible");
    assert_refused(ENSEMBLE(STUMP(2), AGGREGATE("\"weighted_mode\":{\"num_classes\":2}") CLASSES),
                   "larger than expected max of [1]");
    assert_refused(ENSEMBLE(STUMP(0.5), AGGREGATE("\"weighted_mode\":{\"num_classes\":2}") CLASSES),
                   "numbers of classes");
    assert_refused(ENSEMBLE(STUMP(0), AGGREGATE("\"weighted_mode\":{}") CLASSES),
                   "requires [num_classes]");
    assert_refused(ENSEMBLE(STUMP(1) "," TREE(PAIR(0), CLASSES),
                            AGGREGATE("\"logistic_regression\":{}") CLASSES),
                   "the same number of values");
    assert_refused(ENSEMBLE(STUMP(1), AGGREGATE("\"logistic_regression\":{}") CLASSES
                            ",\"classification_labels\":[\"a\"]"),
                   "not equal to classification labels size [1]");
}

/* A chain of splits, `n` deep. */
static const char *chain(int n)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_cstr(&b, "{\"tree\":{\"feature_names\":[\"a\"],\"tree_structure\":[");
    for (int i = 0; i < n - 1; i++)
        buf_printf(&b,
                   "{\"node_index\":%d,\"split_feature\":0,\"threshold\":%d,\"left_child\":%d,"
                   "\"right_child\":%d},{\"node_index\":%d,\"leaf_value\":1},",
                   2 * i, i, 2 * i + 1, 2 * i + 2, 2 * i + 1);
    buf_printf(&b, "{\"node_index\":%d,\"leaf_value\":2}]}}", 2 * (n - 1));
    const char *text = arena_cstr(arena, buf_str(&b));
    buf_deinit(&b);
    return text;
}

static void test_bounds(void **state)
{
    struct tree_input input = {0};
    const struct tree_model *m;
    struct buf b;
    (void)state;
    assert_ok(define(chain(TREE_MAX_DEPTH), &input, &m));
    assert_int_equal(tree_operations(m), TREE_MAX_DEPTH);
    assert_refused(chain(TREE_MAX_DEPTH + 1), "is deeper than");
    buf_init(&b, 1 << 16);
    for (int i = 0; i < TREE_MAX_NESTING + 2; i++)
        buf_cstr(&b, "{\"ensemble\":{\"trained_models\":[");
    buf_cstr(&b, STUMP(1));
    for (int i = 0; i < TREE_MAX_NESTING + 2; i++)
        buf_cstr(&b, "]}}");
    buf_char(&b, '\0');
    assert_refused(b.p, "[ensemble] may be nested");
    buf_deinit(&b);
}

/* --- inference_config --- */

static void test_configs(void **state)
{
    struct body b = {.arena = arena};
    struct tree_config c, update;
    struct err *e;
    (void)state;
    assert_ok(tree_config_read(&b, parse(STR("{\"classification\":{\"num_top_classes\":2}}")), &c));
    assert_ok(tree_config_update(arena, &c, STR("m"),
                                 parse(STR("{\"classification\":{\"results_field\":\"r\"}}")),
                                 &update));
    assert_int_equal(update.num_top_classes, 2);
    assert_true(str_eq(update.results_field, STR("r")));
    e = tree_config_update(arena, &c, STR("m"), parse(STR(REGRESSION)), &update);
    assert_string_equal(e->reason, "Trained model [m] is configured for task [classification] but "
                                   "called with task [regression]");
    err_free(e);
    assert_false(tree_config_is(parse(STR("{\"ner\":{}}"))));
    assert_false(tree_config_is(parse(STR("{}"))));
    assert_true(tree_config_is(parse(STR(REGRESSION))));
    static const char *const bad[] = {
        "{\"regression\":{\"num_top_classes\":1}}",
        "{\"regression\":{\"results_field\":\"\"}}",
        "{\"classification\":{\"prediction_field_type\":\"x\"}}",
        "{\"classification\":{\"num_top_classes\":-2}}",
        "{\"classification\":{\"results_field\":\"top_classes\"}}",
        "{\"regression\":{\"num_top_feature_importance_values\":-1}}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        e = tree_config_read(&b, parse(str_c(bad[i])), &c);
        if (!e)
            fail_msg("taken: %s", bad[i]);
        err_free(e);
    }
}

static int setup(void **state)
{
    (void)state;
    arena = arena_new(ARENA_NO_LIMIT);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_free(arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_as_their_makers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_aggregates, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refuses_trees, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refuses_ensembles, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_configs, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
