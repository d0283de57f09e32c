/* Uploaded vocabularies against Hugging Face's tokens (saved with the fixtures), and what happens
 * to texts that are too long. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "tokenization.h"
#include "tokenizer.h"

static const struct json *parsed(struct arena *a, const char *text)
{
    const struct json *root;
    assert_null(json_parse_copy(a, str_c(text), &root));
    return root;
}

static const struct json *fixture(struct arena *a, const char *model, const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), MODEL_FIXTURES "/eland_tiny/%s/%s", model, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    static char text[1 << 22];
    size_t n = fread(text, 1, sizeof(text), f);
    fclose(f);
    const struct json *root;
    assert_null(json_parse_copy(a, str_n(text, n), &root));
    return root;
}

static void assert_row(const struct json *row, const int32_t *v, uint32_t n)
{
    float *expected = malloc(row->n * sizeof(*expected));
    assert_int_equal(row->n, n);
    assert_true(json_numbers(row, expected, row->n));
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(v[i], (int)expected[i]);
    free(expected);
}

static void check_case(const struct tokenization *t, const struct tokenizer *tokenizer,
                       const struct json *c)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct str text = {NULL, 0}, pair = {NULL, 0};
    struct windows w;
    json_str(json_get(c, "text"), &text);
    json_str(json_get(c, "text_pair"), &pair);
    const struct json *tokens = json_get(c, "tokens"), *args = json_get(c, "args");
    /* The fixture of fill_mask says the text that stands in for its own. */
    if (tokens->n > 4 && str_eq_c(json_at(tokens, 4)->text, "[MASK]"))
        text = STR("the capital of [MASK] is paris.");
    assert_null(tokenization_encode(t, tokenizer, a, text, pair, &w));
    assert_int_equal(w.n, 1);
    assert_false(w.is_truncated);
    assert_int_equal(w.items->n, tokens->n);
    for (uint32_t i = 0; i < tokens->n; i++)
        assert_true(str_eq(tokenizer_token(tokenizer, w.items->ids[i]), json_at(tokens, i)->text));
    assert_row(json_at(args, 0), w.items->ids, w.items->n);
    if (args->n > 2)
        assert_row(json_at(args, 2), w.items->type_ids, w.items->n);
    arena_free(a);
}

static void tokens_are_those_of_hugging_face(void **state)
{
    static const char *const models[] = {
        "bert_fill_mask",
        "bert_ner",
        "bert_question_answering",
        "bert_text_classification",
        "bert_text_embedding",
        "bert_text_embedding_quantized",
        "bert_text_expansion",
        "bert_text_similarity",
        "bert_zero_shot",
        "deberta_v2_text_similarity",
        "distilbert_text_embedding",
        "distilbert_text_expansion",
        "distilbert_text_expansion_quantized",
        "dpr_text_embedding",
        "e5_like_text_embedding",
        "electra_text_embedding",
        "elser_like_text_expansion",
        "elser_like_text_expansion_quantized",
        "mpnet_text_embedding",
        "roberta_text_embedding",
        "xlm_roberta_text_embedding",
    };
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        struct arena *a = arena_new(ARENA_NO_LIMIT);
        struct tokenization t;
        struct tokenizer *tokenizer;
        struct json_iter task =
            json_iter(json_get(fixture(a, models[i], "config.json"), "inference_config"));
        assert_null(tokenization_parse(json_get(json_next(&task), "tokenization"), &t));
        const struct json *vocabulary = fixture(a, models[i], "vocabulary.json");
        assert_null(vocabulary_check(&t, STR("m"), vocabulary));
        assert_null(tokenization_open(&t, vocabulary, &tokenizer));
        struct json_iter it = json_iter(json_get(fixture(a, models[i], "expected.json"), "cases"));
        size_t n = 0;
        for (const struct json *c; (c = json_next(&it)); n++)
            check_case(&t, tokenizer, c);
        assert_true(n > 0);
        tokenizer_unref(tokenizer);
        arena_free(a);
    }
}

/* --- lengths --- */

#define LETTERS                                                                                    \
    "{\"vocabulary\":[\"[PAD]\",\"[UNK]\",\"[CLS]\",\"[SEP]\",\"[MASK]\",\"a\",\"b\",\"c\","       \
    "\"d\",\"e\",\"f\",\"##x\"],\"merges\":[]}"

/* Ids as letters: C and S for the special ones, x for the second part of a word. */
static void show(const struct windows *w, struct buf *out)
{
    static const char names[] = "PUCSMabcdefx";
    for (size_t i = 0; i < w->n; i++) {
        buf_cstr(out, i ? " " : "");
        for (uint32_t k = 0; k < w->items[i].n; k++)
            buf_char(out, names[w->items[i].ids[k]]);
    }
    buf_cstr(out, w->is_truncated ? "!" : "");
}

static void long_texts_are_cut_as_asked(void **state)
{
    static const struct {
        const char *options, *a, *b, *expected; /* rows, or the reason of an error */
    } cases[] = {
        {"\"max_sequence_length\":5", "a b c", NULL, "CabcS"},
        {"\"max_sequence_length\":5", "a b c d", NULL, "CabcS!"},
        {"\"max_sequence_length\":5,\"truncate\":\"second\"", "a b c d", NULL, "CabcS!"},
        {"\"max_sequence_length\":5,\"truncate\":\"balanced\"", "a b c d", NULL, "CabcS!"},
        {"\"max_sequence_length\":5,\"with_special_tokens\":false", "a b c d e f", NULL, "abcde!"},
        {"\"max_sequence_length\":5,\"truncate\":\"none\"", "a b c d", NULL,
         "Input too large. The tokenized input length [6] exceeds the maximum sequence length [5]"},
        {"\"max_sequence_length\":1", "a", NULL,
         "Input too large. The tokenized input length [3] exceeds the maximum sequence length [1]"},
        {"\"max_sequence_length\":2", "a", NULL, "CS!"},
        {"", "", NULL, "CS"},
        {"", "", "", "CSS"},
        {"", "[MASK]a[SEP]", NULL, "CMaSS"},
        /* windows */
        {"\"max_sequence_length\":5,\"truncate\":\"none\",\"span\":0", "a b c d e", NULL,
         "CabcS CdeS"},
        {"\"max_sequence_length\":5,\"truncate\":\"none\",\"span\":1", "a b c d e f", NULL,
         "CabcS CcdeS CefS"},
        {"\"max_sequence_length\":5,\"truncate\":\"none\",\"span\":0", "a b cx d", NULL,
         "CabS CcxdS"},
        {"\"max_sequence_length\":5,\"truncate\":\"none\",\"span\":1", "a bx cx d", NULL,
         "CabxS CbxS CcxdS"},
        {"\"max_sequence_length\":5,\"truncate\":\"none\",\"span\":1", "axxxx b", NULL,
         "CaxxS CxxbS"},
        {"\"max_sequence_length\":5,\"truncate\":\"none\",\"span\":5", "a b c d", NULL,
         "CabcS CdS"},
        /* pairs */
        {"\"max_sequence_length\":7", "a b c", "d e", "CabSdeS!"},
        {"\"max_sequence_length\":7,\"truncate\":\"second\"", "a b c", "d e", "CabcSdS!"},
        {"\"max_sequence_length\":5", "a", "d e f",
         "Attempting truncation [first] but input is too large for the second sequence. The "
         "tokenized input length [3] exceeds the maximum sequence length [2], when taking special "
         "tokens into account"},
        {"\"max_sequence_length\":5,\"truncate\":\"second\"", "d e f", "a",
         "Attempting truncation [second] but input is too large for the first sequence. The "
         "tokenized input length [3] exceeds the maximum sequence length [2], when taking special "
         "tokens into account"},
        {"\"max_sequence_length\":7,\"truncate\":\"balanced\"", "a b c", "d e f", "CabSdeS!"},
        {"\"max_sequence_length\":8,\"truncate\":\"balanced\"", "a b c d", "e f", "CabcSefS!"},
        {"\"max_sequence_length\":8,\"truncate\":\"balanced\"", "a", "b c d e f", "CaSbcdeS!"},
        {"\"max_sequence_length\":8,\"truncate\":\"none\"", "a", "b c d e f",
         "Input too large. The tokenized input length [9] exceeds the maximum sequence length [8]"},
        {"\"max_sequence_length\":7,\"truncate\":\"none\",\"span\":1", "a", "b c d e f",
         "CaSbcdS CaSdefS"},
        {"\"max_sequence_length\":6,\"truncate\":\"none\",\"span\":1", "a b c d", "e",
         "Unable to do sequence pair tokenization: the first sequence [7 tokens] is longer than "
         "the max sequence length [6 tokens]"},
        {"\"max_sequence_length\":6,\"truncate\":\"none\",\"span\":3", "a b", "e f",
         "Unable to do sequence pair tokenization: the combined first sequence and span length [5 "
         "+ 3 = 8 tokens] is longer than the max sequence length [6 tokens]"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena *a = arena_new(ARENA_NO_LIMIT);
        struct tokenization t;
        struct tokenizer *tokenizer;
        struct windows w;
        struct buf got;
        buf_init(&got, 4096);
        struct str options = arena_printf(a, "{\"bert\":{%s}}", cases[i].options);
        assert_null(tokenization_parse(parsed(a, options.p), &t));
        assert_null(tokenization_open(&t, parsed(a, LETTERS), &tokenizer));
        struct err *err =
            tokenization_encode(&t, tokenizer, a, str_c(cases[i].a), str_c(cases[i].b), &w);
        if (err)
            buf_cstr(&got, err->reason);
        else
            show(&w, &got);
        assert_true(!err || err->status == 400);
        buf_char(&got, '\0');
        assert_string_equal(got.p, cases[i].expected);
        err_free(err);
        buf_deinit(&got);
        tokenizer_unref(tokenizer);
        arena_free(a);
    }
}

static void words_and_places_are_kept(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct tokenization t;
    struct tokenizer *tokenizer;
    struct windows w;
    assert_null(tokenization_parse(NULL, &t));
    assert_null(tokenization_open(&t, parsed(a, LETTERS), &tokenizer));
    assert_null(tokenization_encode(&t, tokenizer, a, STR("a"), STR(" ax b"), &w));
    static const uint32_t words[] = {0, 1, 0, 1, 1, 2, 0}, begins[] = {0, 0, 0, 1, 2, 4, 0},
                          ends[] = {0, 1, 0, 2, 3, 5, 0};
    assert_int_equal(w.items->n, 7);
    assert_int_equal(w.items->b_first, 3);
    assert_memory_equal(w.items->words, words, sizeof(words));
    assert_memory_equal(w.items->begin, begins, sizeof(begins));
    assert_memory_equal(w.items->end, ends, sizeof(ends));
    tokenizer_unref(tokenizer);
    arena_free(a);
}

/* --- what is wrong --- */

static void wrong_vocabularies_are_refused(void **state)
{
    static const struct {
        const char *options, *vocabulary, *reason;
        int status;
    } cases[] = {
        {"{\"bert\":{}}", "{\"vocabulary\":[\"[PAD]\",\"[CLS]\",\"[SEP]\"]}",
         "stored vocabulary is missing required [[UNK]] token", 409},
        {"{\"bert\":{}}", "{\"vocabulary\":[\"a\",\"[CLS]\",\"[SEP]\"]}",
         "stored vocabulary is missing required [[UNK], [PAD]] token(s)", 409},
        {"{\"bert\":{}}", "{\"vocabulary\":[\"[PAD]\",\"[UNK]\"]}",
         "stored vocabulary is missing required [[SEP], [CLS]] token(s)", 409},
        {"{\"bert\":{\"with_special_tokens\":false}}", "{\"vocabulary\":[\"[PAD]\",\"[UNK]\"]}",
         NULL, 0},
        {"{\"bert\":{}}", "{\"vocabulary\":[]}", "[vocabulary] must not be empty", 400},
        {"{\"bert\":{}}", "{\"vocabulary\":[1]}", "[vocabulary] must be an array of strings", 400},
        {"{\"xlm_roberta\":{}}",
         "{\"vocabulary\":[\"<s>\",\"<pad>\",\"</s>\",\"<unk>\"],\"scores\":[0]}",
         "provided vocabulary [4] and scores [1] must have the same size", 400},
        {"{\"xlm_roberta\":{}}",
         "{\"vocabulary\":[\"<s>\",\"<pad>\",\"</s>\",\"<unk>\"],\"scores\":[0,0,0,\"x\"]}",
         "[scores] must be an array of numbers", 400},
        {"{\"bert_ja\":{}}", LETTERS,
         "tokenization [bert_ja] needs a Japanese dictionary, which this server does not have",
         400},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena *a = arena_new(ARENA_NO_LIMIT);
        struct tokenization t;
        struct tokenizer *tokenizer = NULL;
        assert_null(tokenization_parse(parsed(a, cases[i].options), &t));
        struct err *err = tokenization_open(&t, parsed(a, cases[i].vocabulary), &tokenizer);
        assert_int_equal(err ? err->status : 0, cases[i].status);
        if (err)
            assert_string_equal(err->reason, cases[i].reason);
        err_free(err);
        tokenizer_unref(tokenizer);
        arena_free(a);
    }
}

static void uploads_are_checked(void **state)
{
    static const struct {
        const char *options, *vocabulary, *reason;
    } cases[] = {
        {"{\"bert\":{}}", "{\"vocabulary\":[\"a\"]}", NULL},
        {"{\"bert\":{}}", "{\"vocabulary\":[]}",
         "Validation Failed: 1: [vocabulary] must not be empty;"},
        {"{\"roberta\":{}}", "{\"vocabulary\":[\"a\"],\"merges\":[]}",
         "cannot put vocabulary for model [m] as tokenizer type [roberta] requires [merges] to be "
         "provided and non-empty"},
        {"{\"xlm_roberta\":{}}", "{\"vocabulary\":[\"a\"]}",
         "cannot put vocabulary for model [m] as tokenizer type [xlm_roberta] requires [scores] to "
         "be provided and non-empty"},
        {"{\"deberta_v2\":{}}", "{\"vocabulary\":[\"a\"]}",
         "cannot put vocabulary for model [m] as tokenizer type [deberta_v2] requires [scores] to "
         "be provided and non-empty"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena *a = arena_new(ARENA_NO_LIMIT);
        struct tokenization t;
        assert_null(tokenization_parse(parsed(a, cases[i].options), &t));
        struct err *err = vocabulary_check(&t, STR("m"), parsed(a, cases[i].vocabulary));
        assert_true(!err == !cases[i].reason);
        if (err)
            assert_string_equal(err->reason, cases[i].reason);
        err_free(err);
        arena_free(a);
    }
}

static void wrong_options_are_refused(void **state)
{
    static const struct {
        const char *options, *reason; /* of the innermost cause */
    } cases[] = {
        {"{\"bert\":{\"max_sequence_length\":0}}", "[max_sequence_length] must be positive"},
        {"{\"bert\":{\"span\":-2}}",
         "[span] must be non-negative to indicate span length or [-1] to indicate no windowing "
         "should occur"},
        {"{\"bert\":{\"span\":9,\"max_sequence_length\":8,\"truncate\":\"none\"}}",
         "[span] provided [9] must not be greater than [max_sequence_length] provided [8]"},
        {"{\"bert\":{\"span\":9,\"truncate\":\"second\"}}",
         "[span] must not be provided when [truncate] is [second]"},
        {"{\"roberta\":{\"do_lower_case\":true}}",
         "unable to set [do_lower_case] to [true] for roberta tokenizer"},
        {"{\"xlm_roberta\":{\"do_lower_case\":true}}",
         "unable to set [do_lower_case] to [true] for xlm_roberta tokenizer"},
        {"{\"bert\":{\"truncate\":\"third\"}}",
         "Unknown truncate value [third]; must be one of [none, first, second, balanced]"},
        {"{\"bert\":{\"add_prefix_space\":true}}",
         "[bert_tokenization] unknown field [add_prefix_space]"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena *a = arena_new(ARENA_NO_LIMIT);
        struct tokenization t;
        struct err *err = tokenization_parse(parsed(a, cases[i].options), &t), *inner = err;
        assert_non_null(err);
        while (inner->cause)
            inner = inner->cause;
        assert_string_equal(inner->reason, cases[i].reason);
        assert_int_equal(err->status, 400);
        err_free(err);
        arena_free(a);
    }
}

/* "<mask> asdf<mask>-x" of Elasticsearch's own documentation, and unknown characters. */
static void pieces_begin_anew_after_a_mask(void **state)
{
    static const struct {
        const char *options, *vocabulary, *text, *expected;
    } cases[] = {
        {"{\"xlm_roberta\":{\"with_special_tokens\":false}}",
         "{\"vocabulary\":[\"<s>\",\"<pad>\",\"</s>\",\"<unk>\",\"\xe2\x96\x81"
         "as\",\"d\",\"f\","
         "\"\xe2\x96\x81-\",\"x\",\"\xe2\x96\x81\",\"<mask>\"],"
         "\"scores\":[0,0,0,0,-1,-2,-3,-2,-1,-5,0]}",
         "<mask> asdf<mask>-x qq\xe3\x80\x80x", "<mask> _as d f <mask> _- x _ <unk> _ x"},
        {"{\"deberta_v2\":{\"with_special_tokens\":false}}",
         "{\"vocabulary\":[\"[PAD]\",\"[CLS]\",\"[SEP]\",\"[UNK]\",\"a\",\"\xe2\x96\x81\",\"<0x71>"
         "\"],"
         "\"scores\":[0,0,0,0,-1,-2,-9]}",
         "qqa zza[CLS]", "_ <0x71> <0x71> a _ [UNK] [UNK] a [CLS]"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena *a = arena_new(ARENA_NO_LIMIT);
        struct tokenization t;
        struct tokenizer *tokenizer;
        struct windows w;
        struct buf got;
        buf_init(&got, 4096);
        assert_null(tokenization_parse(parsed(a, cases[i].options), &t));
        assert_null(tokenization_open(&t, parsed(a, cases[i].vocabulary), &tokenizer));
        assert_null(tokenization_encode(&t, tokenizer, a, str_c(cases[i].text), str_c(NULL), &w));
        for (uint32_t k = 0; k < w.items->n; k++) {
            struct str token = tokenizer_token(tokenizer, w.items->ids[k]);
            bool marked = str_starts(token, STR("\xe2\x96\x81"));
            struct str rest = str_sub(token, marked ? 3 : 0, token.n);
            buf_printf(&got, "%s%s%.*s", k ? " " : "", marked ? "_" : "", STR_ARG(rest));
        }
        buf_char(&got, '\0');
        assert_string_equal(got.p, cases[i].expected);
        buf_deinit(&got);
        tokenizer_unref(tokenizer);
        arena_free(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_those_of_hugging_face),
        cmocka_unit_test(long_texts_are_cut_as_asked),
        cmocka_unit_test(words_and_places_are_kept),
        cmocka_unit_test(wrong_vocabularies_are_refused),
        cmocka_unit_test(uploads_are_checked),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(pieces_begin_anew_after_a_mask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
