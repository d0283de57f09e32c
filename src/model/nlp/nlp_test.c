/* Results against those worked out with NumPy and Hugging Face's tokenizers (make_nlp_fixtures.py),
 * and every refusal. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine.h"
#include "nlp.h"
#include "tokenizer.h"

#define TOLERANCE                                                                                  \
    1e-6 /* relative above 1: sums of doubles in another order, floats as decimals                 \
          */

static const struct json *file(struct arena *a, const char *path)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    static char text[1 << 21];
    size_t n = fread(text, 1, sizeof(text), f);
    fclose(f);
    const struct json *root;
    assert_null(json_parse_copy(a, str_n(text, n), &root));
    return root;
}

static struct tokenizer *open_tokenizer(const struct tokenization *t, struct str model)
{
    char path[512];
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct tokenizer *tokenizer;
    snprintf(path, sizeof(path), MODEL_FIXTURES "/eland_tiny/%.*s/vocabulary.json", STR_ARG(model));
    assert_null(tokenization_open(t, file(a, path), &tokenizer));
    arena_free(a);
    return tokenizer;
}

static void assert_same(const struct json *got, const struct json *expected);

static void assert_same_children(const struct json *got, const struct json *expected)
{
    assert_int_equal(got->n, expected->n);
    struct json_iter a = json_iter(got), b = json_iter(expected);
    const struct json *y;
    for (const struct json *x; (x = json_next(&a)) && (y = json_next(&b));)
        assert_same(x, json_is(expected, JSON_OBJECT) ? json_get_str(expected, x->key) : y);
}

static void assert_same(const struct json *got, const struct json *expected)
{
    double x, y;
    assert_non_null(expected);
    assert_int_equal(got->type, expected->type);
    if (json_is(got, JSON_ARRAY) || json_is(got, JSON_OBJECT)) {
        assert_same_children(got, expected);
    } else if (json_f64(got, &x) && json_f64(expected, &y)) {
        if (fabs(x - y) > TOLERANCE * fmax(1, fabs(y)))
            assert_string_equal(got->raw, expected->raw);
    } else {
        assert_int_equal(got->text.n, expected->text.n);
        if (got->text.n)
            assert_memory_equal(got->text.p, expected->text.p, got->text.n);
    }
}

/* Weights come heaviest first. */
static void assert_falls(const struct json *weights)
{
    double last = INFINITY, w;
    struct json_iter it = json_iter(weights);
    for (const struct json *j; json_is(weights, JSON_OBJECT) && (j = json_next(&it)); last = w) {
        assert_true(json_f64(j, &w));
        assert_true(w <= last);
    }
}

static struct output output_of(const struct json *row, struct arena *a)
{
    struct output o = {{0}, NULL, NULL};
    struct json_iter it = json_iter(json_get(row, "dim"));
    const struct json *j, *data = json_get(row, "data");
    for (int i = 0; i < 3 && (j = json_next(&it)); i++)
        assert_true(json_i64(j, &o.dim[i]));
    float *values = arena_array(a, data->n, sizeof(*values));
    assert_true(json_numbers(data, values, data->n));
    o.data = values;
    return o;
}

static void check_case(const struct json *c)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct nlp_config base, config;
    struct nlp_request request;
    struct nlp_result result;
    assert_null(nlp_config_parse(a, json_get(c, "config"), &base));
    assert_null(nlp_config_update(a, &base, STR("m"), json_get(c, "update"), &config));
    struct tokenizer *t = open_tokenizer(&config.tokenization, json_get(c, "model")->text);
    assert_null(nlp_encode(&config, t, a, json_get(c, "text")->text, &request));
    const struct json *rows = json_get(c, "rows");
    assert_int_equal(request.n_rows, rows->n);
    struct output *outputs = arena_array(a, rows->n, sizeof(*outputs));
    for (size_t i = 0; i < rows->n; i++) {
        int64_t n;
        assert_true(json_i64(json_get(json_at(rows, i), "n"), &n));
        assert_int_equal(request.rows[i].n, n);
        outputs[i] = output_of(json_at(rows, i), a);
    }
    assert_null(nlp_decode(&config, t, &request, outputs, a, &result));
    struct buf b;
    struct json_out w;
    const struct json *got;
    buf_init(&b, 1 << 20);
    json_out_init(&w, &b);
    nlp_render(&w, &config, &result);
    assert_null(json_parse(a, buf_str(&b), &got));
    assert_same(got, json_get(c, "result"));
    assert_falls(json_get(got, "predicted_value"));
    buf_deinit(&b);
    tokenizer_unref(t);
    arena_free(a);
}

static void results_are_those_of_the_reference(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    const struct json *cases = json_get(file(a, NLP_FIXTURES "/nlp_cases.json"), "cases");
    assert_true(cases->n > 40);
    struct json_iter it = json_iter(cases);
    for (const struct json *c; (c = json_next(&it));)
        check_case(c);
    arena_free(a);
}

/* --- refusals --- */

#define ZERO "\"classification_labels\":[\"entailment\",\"neutral\",\"contradiction\"]"

static const struct {
    const char *config, *update, *text;
    int64_t dim[3]; /* of each row; 0: refused before it runs */
    int status;
    const char *reason;
} refusals[] = {
    {"{\"fill_mask\":{}}", NULL, "red", {0}, 400, "no [MASK] token could be found"},
    {"{\"fill_mask\":{}}",
     NULL,
     "[MASK] red [MASK]",
     {0},
     400,
     "only one [MASK] token should exist in the input"},
    {"{\"fill_mask\":{\"tokenization\":{\"bert\":{\"max_sequence_length\":3}}}}",
     NULL,
     "red [MASK]",
     {0},
     400,
     "no [MASK] token could be found"},
    {"{\"zero_shot_classification\":{" ZERO "}}",
     NULL,
     "red",
     {0},
     400,
     "zero_shot_classification requires non-empty [labels]"},
    {"{\"question_answering\":{}}",
     NULL,
     "red",
     {0},
     400,
     "please provide configuration update for question_answering task including the desired "
     "[question]"},
    {"{\"question_answering\":{}}",
     "{\"question_answering\":{\"question\":\" \"}}",
     "red",
     {0},
     400,
     "Question is required for question answering"},
    {"{\"text_similarity\":{}}",
     NULL,
     "red",
     {0},
     400,
     "please provide configuration update for text_similarity task including the desired [text]"},
    {"{\"ner\":{\"tokenization\":{\"bert\":{\"truncate\":\"none\",\"max_sequence_length\":3}}}}",
     NULL,
     "red blue",
     {0},
     400,
     "Input too large. The tokenized input length [4] exceeds the maximum sequence length [3]"},
    {"{\"text_similarity\":{}}",
     "{\"text_similarity\":{\"text\":\"x\"}}",
     "red",
     {1, 1, 2},
     409,
     "Expected exactly [1] value in text_similarity result; got [2]"},
    {"{\"text_classification\":{\"classification_labels\":[\"a\",\"b\"]}}",
     NULL,
     "red",
     {1, 1, 3},
     409,
     "Expected exactly [2] values in text classification result; got [3]"},
    {"{\"zero_shot_classification\":{" ZERO ",\"labels\":[\"x\"]}}",
     NULL,
     "red",
     {1, 1, 2},
     409,
     "Expected exactly [3] values in inner zero shot classification result; got [2]"},
    {"{\"ner\":{}}",
     NULL,
     "red",
     {1, 3, 2},
     409,
     "Expected exactly [9] values in ner result; got [2]"},
    {"{\"ner\":{}}",
     NULL,
     "red",
     {1, 2, 9},
     409,
     "Expected exactly [3] rows in ner result; got [2]"},
    {"{\"fill_mask\":{}}",
     NULL,
     "[MASK]",
     {1, 1, 9},
     409,
     "Expected exactly [3] rows in fill_mask result; got [1]"},
    {"{\"question_answering\":{}}",
     "{\"question_answering\":{\"question\":\"red\"}}",
     "red",
     {1, 1, 5},
     409,
     "question_answering result must be two rows of [5] values; got [1, 1, 5]"},
    {"{\"text_embedding\":{}}", NULL, "red", {1, 0, 1}, 409, "[text_embedding] result has no data"},
};

static void what_is_wrong_is_refused(void **state)
{
    static const float values[256];
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct arena *a = arena_new(ARENA_NO_LIMIT);
        struct nlp_config base, config;
        struct nlp_request request;
        struct nlp_result result;
        const struct json *j, *update = NULL;
        assert_null(json_parse(a, str_c(refusals[i].config), &j));
        assert_null(nlp_config_parse(a, j, &base));
        if (refusals[i].update)
            assert_null(json_parse(a, str_c(refusals[i].update), &update));
        assert_null(nlp_config_update(a, &base, STR("m"), update, &config));
        struct tokenizer *t = open_tokenizer(&config.tokenization, STR("bert_ner"));
        struct err *err = nlp_encode(&config, t, a, str_c(refusals[i].text), &request);
        if (refusals[i].dim[0]) {
            assert_null(err);
            struct output o = {.data = values};
            memcpy(o.dim, refusals[i].dim, sizeof(o.dim));
            err = nlp_decode(&config, t, &request, &o, a, &result);
        }
        assert_non_null(err);
        assert_string_equal(err->reason, refusals[i].reason);
        assert_int_equal(err->status, refusals[i].status);
        err_free(err);
        tokenizer_unref(t);
        arena_free(a);
    }
}

/* NaN in, and nothing to answer from: a result, whatever it says. */
static void odd_outputs_do_no_harm(void **state)
{
    static float values[2 * 512 * 9];
    static const char *const configs[] = {
        "{\"ner\":{}}", "{\"question_answering\":{\"num_top_classes\":3}}",
        "{\"text_classification\":{\"classification_labels\":[1,2,3,4,5,6,7,8,9]}}",
        "{\"text_expansion\":{}}", "{\"text_expansion\":{\"expansion_type\":\"splade\"}}"};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        values[i] = i % 3 ? NAN : i % 2 ? INFINITY : -INFINITY;
    for (size_t i = 0; i < 2 * sizeof(configs) / sizeof(configs[0]); i++) {
        struct arena *a = arena_new(ARENA_NO_LIMIT);
        struct nlp_config config;
        struct nlp_request request;
        struct nlp_result result;
        const struct json *j;
        assert_null(json_parse(a, str_c(configs[i / 2]), &j));
        assert_null(nlp_config_parse(a, j, &config));
        config.question = STR("red");
        struct tokenizer *t = open_tokenizer(&config.tokenization, STR("bert_ner"));
        assert_null(nlp_encode(&config, t, a, i % 2 ? STR("") : STR("red blue, zed"), &request));
        int64_t n = request.rows->n;
        struct output o = {{1, n, 9}, values, NULL};
        if (config.task == NLP_QUESTION_ANSWERING)
            o = (struct output){{2, 1, n}, values, NULL};
        assert_null(nlp_decode(&config, t, &request, &o, a, &result));
        struct buf b;
        struct json_out w;
        buf_init(&b, 1 << 16);
        json_out_init(&w, &b);
        nlp_render(&w, &config, &result);
        assert_null(json_parse(a, buf_str(&b), &j));
        buf_deinit(&b);
        tokenizer_unref(t);
        arena_free(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_those_of_the_reference),
        cmocka_unit_test(what_is_wrong_is_refused),
        cmocka_unit_test(odd_outputs_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
