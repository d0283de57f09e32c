/* inference_config: what is filled in, what is refused and in which words. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "body.h"
#include "nlp.h"

static const struct json *parsed(struct arena *a, const char *text)
{
    const struct json *root;
    assert_null(json_parse(a, str_c(text), &root));
    return root;
}

static void assert_renders(const struct nlp_config *c, const char *expected)
{
    struct buf b;
    struct json_out w;
    buf_init(&b, 1 << 16);
    json_out_init(&w, &b);
    nlp_config_render(&w, c);
    assert_int_equal(b.n, strlen(expected));
    assert_memory_equal(b.p, expected, b.n);
    buf_deinit(&b);
}

/* Reasons from the outside in, with " | " between them. */
static void assert_reasons(struct err *err, const char *expected)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    assert_non_null(err);
    for (const struct err *e = err; e; e = e->cause)
        buf_printf(&b, "%s%s", b.n ? " | " : "", e->reason);
    buf_char(&b, '\0');
    assert_string_equal(b.p, expected);
    buf_deinit(&b);
    err_free(err);
}

#define VOCABULARY "\"vocabulary\":{\"index\":\".ml-inference-native-000002\"}"
#define BERT                                                                                       \
    "\"tokenization\":{\"bert\":{\"do_lower_case\":false,\"with_special_tokens\":true,"            \
    "\"max_sequence_length\":512,\"truncate\":\"first\",\"span\":-1}}"

static void defaults_are_filled_in(void **state)
{
    static const struct {
        const char *given, *shown;
    } cases[] = {
        {"{\"fill_mask\":{}}", "{\"fill_mask\":{" VOCABULARY "," BERT
                               ",\"num_top_classes\":5,\"mask_token\":\"[MASK]\"}}"},
        {"{\"ner\":{}}", "{\"ner\":{" VOCABULARY "," BERT "}}"},
        {"{\"ner\":{\"classification_labels\":[\"O\",\"B-X\",\"I_X\"],\"results_field\":\"r\"}}",
         "{\"ner\":{" VOCABULARY "," BERT
         ",\"classification_labels\":[\"O\",\"B-X\",\"I_X\"],\"results_field\":\"r\"}}"},
        {"{\"pass_through\":{\"tokenization\":null,\"vocabulary\":{\"index\":\"mine\"}}}",
         "{\"pass_through\":{\"vocabulary\":{\"index\":\"mine\"}," BERT "}}"},
        {"{\"text_classification\":{\"classification_labels\":[\"a\",\"b\"]}}",
         "{\"text_classification\":{" VOCABULARY "," BERT
         ",\"classification_labels\":[\"a\",\"b\"],\"num_top_classes\":-1}}"},
        {"{\"zero_shot_classification\":{\"classification_labels\":[\"Contradiction\",\"neutral\","
         "\"ENTAILMENT\"],\"labels\":[\"x\"]}}",
         "{\"zero_shot_classification\":{" VOCABULARY "," BERT
         ",\"classification_labels\":[\"Contradiction\",\"neutral\",\"ENTAILMENT\"],"
         "\"multi_label\":false,\"hypothesis_template\":\"This example is {}.\","
         "\"labels\":[\"x\"]}}"},
        {"{\"question_answering\":{\"tokenization\":{\"bert\":{\"max_sequence_length\":386,"
         "\"truncate\":\"none\",\"span\":128,\"do_lower_case\":true}}}}",
         "{\"question_answering\":{" VOCABULARY
         ",\"tokenization\":{\"bert\":{\"do_lower_case\":true,\"with_special_tokens\":true,"
         "\"max_sequence_length\":386,\"truncate\":\"none\",\"span\":128}},"
         "\"num_top_classes\":0,\"max_answer_length\":15}}"},
        {"{\"text_embedding\":{\"tokenization\":{\"roberta\":{\"add_prefix_space\":true}},"
         "\"embedding_size\":384}}",
         "{\"text_embedding\":{" VOCABULARY
         ",\"tokenization\":{\"roberta\":{\"do_lower_case\":false,\"with_special_tokens\":true,"
         "\"max_sequence_length\":512,\"truncate\":\"first\",\"span\":-1,"
         "\"add_prefix_space\":true}},\"embedding_size\":384}}"},
        {"{\"text_expansion\":{}}", "{\"text_expansion\":{" VOCABULARY "," BERT "}}"},
        {"{\"text_expansion\":{\"expansion_type\":\"SPLADE\"}}",
         "{\"text_expansion\":{" VOCABULARY "," BERT ",\"expansion_type\":\"splade\"}}"},
        {"{\"text_similarity\":{\"tokenization\":{\"deberta_v2\":{\"truncate\":\"balanced\"}}}}",
         "{\"text_similarity\":{" VOCABULARY
         ",\"tokenization\":{\"deberta_v2\":{\"do_lower_case\":false,\"with_special_tokens\":true,"
         "\"max_sequence_length\":512,\"truncate\":\"balanced\",\"span\":-1}},"
         "\"span_score_combination_function\":\"max\"}}"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena *a = arena_new(ARENA_NO_LIMIT);
        struct nlp_config c;
        assert_null(nlp_config_parse(a, parsed(a, cases[i].given), &c));
        assert_renders(&c, cases[i].shown);
        arena_free(a);
    }
}

#define IN(task)  "[inference_config] failed to parse field [" task "] | "
#define BUILD(of) "Failed to build [" of "] after last required field arrived | "

static void wrong_configs_are_refused(void **state)
{
    static const struct {
        const char *given, *reasons;
    } cases[] = {
        {"null", "[inference_config] must not be null."},
        {"[]", "[1:1] [inference_config] Expected START_OBJECT but was: START_ARRAY"},
        {"{}", "[1:1] [inference_config] must have exactly one member but has [0]"},
        {"{\"ner\":{},\"ner2\":{}}",
         "[1:1] [inference_config] must have exactly one member but has [2]"},
        {"{\"nerd\":{}}", "[1:2] unknown field [nerd]"},
        {"{\"ner\":{\"foo\":1}}", "[1:9] " IN("ner") "[1:9] [ner] unknown field [foo]"},
        {"{\"ner\":{\"question\":\"x\"}}",
         "[1:9] " IN("ner") "[1:9] [ner] unknown field [question]"},
        {"{\"ner\":{\"tokenization\":{\"birch\":{}}}}",
         "[1:25] " IN("ner") "[1:25] [ner] failed to parse field [tokenization] | "
                             "[1:25] unknown field [birch]"},
        {"{\"ner\":{\"tokenization\":{\"bert\":{\"foo\":1}}}}",
         "[1:33] " IN("ner") "[1:33] [ner] failed to parse field [tokenization] | "
                             "[1:33] [tokenization] failed to parse field [bert] | "
                             "[1:33] [bert_tokenization] unknown field [foo]"},
        {"{\"ner\":{\"classification_labels\":[\"O\",\"X\",\"O\"]}}",
         "[1:33] " IN("ner")
             BUILD("ner") "Validation Failed: 1: classification label [X] is not an "
                          "entity I-O-B tag.;2: the classification label [O] is "
                          "duplicated in the list;"},
        {"{\"text_classification\":{\"classification_labels\":[\"one\"]}}",
         "[1:49] " IN("text_classification")
             BUILD("text_classification") "Validation Failed: 1: [text_classification] requires at "
                                          "least 2 "
                                          "[classification_labels]; provided [one];"},
        {"{\"text_embedding\":{\"embedding_size\":0}}",
         "[1:37] " IN("text_embedding")
             BUILD("text_embedding") "[embedding_size] must be a number greater than 0; configured "
                                     "size [0]"},
        {"{\"text_embedding\":{\"embedding_size\":\"x\"}}",
         "[1:37] " IN(
             "text_embedding") "[1:37] [text_embedding] failed to parse field [embedding_size] | "
                               "For input string: \"x\""},
        {"{\"fill_mask\":{\"mask_token\":\"<mask>\"}}",
         "[1:28] " IN("fill_mask") BUILD(
             "fill_mask") "Mask token requested was [<mask>] but must be [[MASK]] for this model"},
        {"{\"zero_shot_classification\":{}}",
         "[1:1] " IN("zero_shot_classification")
             BUILD("zero_shot_classification") "[classification_labels] must not be null."},
        {"{\"zero_shot_classification\":{\"classification_labels\":[\"a\",\"b\",\"c\"]}}",
         "[1:54] " IN("zero_shot_classification")
             BUILD("zero_shot_classification") "[classification_labels] must contain exactly the "
                                               "three values [entailment, neutral, "
                                               "contradiction]. Labels [entailment] and "
                                               "[contradiction] are required"},
        {"{\"zero_shot_classification\":{\"classification_labels\":[\"entailment\",\"neutral\","
         "\"contradiction\"],\"hypothesis_template\":\"x\"}}",
         "[1:117] " IN("zero_shot_classification")
             BUILD("zero_shot_classification") "[hypothesis_template] must contain {} for label "
                                               "replacement; provided [x]"},
        {"{\"text_similarity\":{\"span_score_combination_function\":\"sum\"}}",
         "[1:55] " IN("text_similarity") "[1:55] [text_similarity] failed to parse field "
                                         "[span_score_combination_function] | "
                                         "[span_score_combination_function] must be one of [max, "
                                         "mean] but was [sum]"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena *a = arena_new(ARENA_NO_LIMIT);
        struct body b = {.arena = a, .text = str_c(cases[i].given)};
        struct nlp_config c;
        assert_reasons(nlp_config_read(&b, parsed(a, cases[i].given), &c), cases[i].reasons);
        arena_free(a);
    }
}

static void places_are_left_out_without_the_text(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct nlp_config c;
    assert_reasons(nlp_config_parse(a, parsed(a, "{\"ner\":{\"foo\":1}}"), &c),
                   IN("ner") "[ner] unknown field [foo]");
    arena_free(a);
}

#define QA                                                                                         \
    "{\"question_answering\":{\"tokenization\":{\"bert\":{\"truncate\":\"none\",\"span\":4}}}}"

static void requests_are_laid_over(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct nlp_config base, c;
    assert_null(nlp_config_parse(a, parsed(a, QA), &base));
    assert_null(nlp_config_update(a, &base, STR("m"), NULL, &c));
    assert_int_equal(c.tokenization.span, 4);
    assert_null(nlp_config_update(a, &base, STR("m"),
                                  parsed(a, "{\"question_answering\":{\"question\":\"who?\","
                                            "\"num_top_classes\":2,\"results_field\":\"r\","
                                            "\"max_answer_length\":3,\"tokenization\":"
                                            "{\"bert\":{\"truncate\":\"second\"}}}}"),
                                  &c));
    assert_true(str_eq_c(c.question, "who?"));
    assert_true(str_eq_c(c.results_field, "r"));
    assert_int_equal(c.num_top_classes, 2);
    assert_int_equal(c.max_answer_length, 3);
    assert_int_equal(c.tokenization.truncate, TRUNCATE_SECOND);
    assert_int_equal(c.tokenization.span, -1); /* does not go with truncation */
    assert_int_equal(base.tokenization.span, 4);
    arena_free(a);
}

static void wrong_requests_are_refused(void **state)
{
    static const struct {
        const char *base, *asked, *reasons;
    } cases[] = {
        {QA, "{\"ner\":{}}",
         "Trained model [m] is configured for task [question_answering] but called with task "
         "[ner]"},
        {QA, "{\"question_answering\":{\"classification_labels\":[]}}",
         "[question_answering] unknown field [classification_labels]"},
        {QA, "{\"question_answering\":{\"tokenization\":{\"roberta\":{\"truncate\":\"none\"}}}}",
         "Tokenization config of type [bert] can not be updated with a request of type [roberta]"},
        {QA, "{\"question_answering\":{\"tokenization\":{\"bert\":{\"max_sequence_length\":5}}}}",
         "[question_answering] failed to parse field [tokenization] | "
         "[tokenization] failed to parse field [bert] | "
         "[bert_tokenization_update] unknown field [max_sequence_length]"},
        {QA,
         "{\"question_answering\":{\"tokenization\":{\"bert\":{\"truncate\":\"first\",\"span\":1}}}"
         "}",
         "[span] must not be provided when [truncate] is [first]"},
        {QA, "{\"question_answering\":{\"tokenization\":{\"bert\":{\"span\":513}}}}",
         "[span] provided [513] must not be greater than [max_sequence_length] provided [512]"},
        {"{\"text_classification\":{\"classification_labels\":[\"a\",\"b\"]}}",
         "{\"text_classification\":{\"classification_labels\":[\"a\"]}}",
         "The number of [classification_labels] the model is defined with [2] does not match the "
         "number in the update [1]"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena *a = arena_new(ARENA_NO_LIMIT);
        struct nlp_config base, c;
        assert_null(nlp_config_parse(a, parsed(a, cases[i].base), &base));
        assert_reasons(nlp_config_update(a, &base, STR("m"), parsed(a, cases[i].asked), &c),
                       cases[i].reasons);
        arena_free(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_filled_in),
        cmocka_unit_test(wrong_configs_are_refused),
        cmocka_unit_test(places_are_left_out_without_the_text),
        cmocka_unit_test(requests_are_laid_over),
        cmocka_unit_test(wrong_requests_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
