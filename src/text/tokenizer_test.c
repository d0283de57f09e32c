/* Replays fixtures/tokenizer_cases.json (see make_tokenizer_fixtures.py), then what no reference
 * shows: malformed bytes, hostile files, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tokenizer_cases.h"

static const struct json *variants(struct arena *a)
{
    const struct json *all;
    no_error(json_parse(a, fixture(a, "tokenizer_cases.json"), &all));
    assert_true(all->n >= 7);
    return all;
}

static void fixtures_are_reproduced(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct str vocab = fixture(a, "tokenizer/vocab.txt");
    struct json_iter it = json_iter(variants(a));
    for (const struct json *v; (v = json_next(&it));) {
        struct tokenizer *t;
        no_error(tokenizer_read(json_get(v, "config"), vocab, &t));
        struct json_iter cases = json_iter(json_get(v, "cases"));
        size_t n = 0;
        for (const struct json *c; (c = json_next(&cases)); n++)
            check_case(t, a, c);
        assert_true(n >= 50);
        tokenizer_unref(t);
    }
    arena_free(a);
}

/* vocab.txt with tokenizer_config.json is the first variant. */
static void vocabulary_folder_is_opened(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct tokenizer *t;
    no_error(tokenizer_open_snapshot(TEXT_FIXTURES "/tokenizer", &t));
    struct json_iter cases = json_iter(json_get(json_at(variants(a), 0), "cases"));
    for (const struct json *c; (c = json_next(&cases));)
        check_case(t, a, c);
    assert_true(str_eq(tokenizer_token(t, 0), STR("[PAD]")));
    assert_true(tokenizer_vocab_size(t) > 1000);
    assert_null(tokenizer_token(t, -1).p);
    assert_null(tokenizer_token(t, (int32_t)tokenizer_vocab_size(t)).p);
    tokenizer_unref(t);
    arena_free(a);
}

#define SMALL_REST                                                                                 \
    "\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,"                             \
    "\"handle_chinese_chars\":true,\"strip_accents\":null,\"lowercase\":true},"                    \
    "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},"
#define SMALL_MODEL                                                                                \
    "\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"[UNK]\":0,\"[CLS]\":1,\"[SEP]\":2,\"a\":3,"    \
    "\"##a\":4,\"b\":5,\"##b\":6,\"##bb\":7,\",\":8}}"

static struct err *read_text(struct arena *a, const char *text, struct tokenizer **out)
{
    const struct json *root;
    struct err *err = json_parse_copy(a, str_c(text), &root);
    return err ? err : tokenizer_read(root, (struct str){NULL, 0}, out);
}

static struct tokenizer *small(struct arena *a)
{
    struct tokenizer *t;
    no_error(read_text(a,
                       "{" SMALL_REST
                       "\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"[CLS]\",1],"
                       "\"sep\":[\"[SEP]\",2]},\"truncation\":{\"max_length\":6}," SMALL_MODEL "}",
                       &t));
    return t;
}

static void malformed_bytes_are_replaced(void **state)
{
    static const struct {
        const char *text;
        uint32_t n, begin, end; /* tokens; where the word ab stands */
    } cases[] = {
        {"a\xff\xfe"
         "b",
         4, 0, 4}, /* U+FFFD is cleaned away: the word goes on */
        {"\xe4\xb8"
         "ab",
         4, 2, 4},               /* cut in the middle */
        {"ab\xf0\x9f", 4, 0, 2}, /* cut at the end */
        {"ab\xc0\xaf", 4, 0, 2}, /* overlong */
        {"\xed\xa0\x80"
         "ab",
         4, 3, 5}, /* surrogate */
        {"\xf4\x90\x80\x80"
         "ab",
         4, 4, 6}, /* above U+10FFFF */
    };
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct tokenizer *t = small(a);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tokens got;
        no_error(tokenizer_encode(t, a, str_c(cases[i].text), str_n(NULL, 0), NULL, &got));
        assert_int_equal(got.n, cases[i].n);
        assert_int_equal(got.ids[1], 3);
        assert_int_equal(got.ids[2], 6);
        assert_int_equal(got.begin[1], cases[i].begin);
        assert_int_equal(got.end[2], cases[i].end);
    }
    tokenizer_unref(t);
    arena_free(a);
}

static void windows_cut_or_refuse(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct tokenizer *t = small(a);
    struct tokens got;
    struct str text = STR("a b a b a b a b"), none = {NULL, 0};
    no_error(tokenizer_encode(t, a, text, none, NULL, &got)); /* the file's truncation: 6 */
    assert_int_equal(got.n, 6);
    assert_true(got.truncated);
    assert_int_equal(got.n_untruncated, 10);
    struct window w = {.max_tokens = 10, .refuse = true};
    no_error(tokenizer_encode(t, a, text, none, &w, &got));
    assert_false(got.truncated);
    assert_int_equal(got.n, 10);
    w.max_tokens = 9;
    struct err *err = tokenizer_encode(t, a, text, none, &w, &got);
    assert_non_null(err);
    assert_string_equal(err->reason, "Input too large. The tokenized input length [10] exceeds the "
                                     "maximum sequence length [9]");
    err_free(err);
    w = (struct window){.max_tokens = 1};
    err = tokenizer_encode(t, a, text, none, &w, &got);
    assert_int_equal(err->kind, ERR_ARGUMENT);
    err_free(err);
    tokenizer_unref(t);
    arena_free(a);
}

/* A megabyte of marks on one letter, and a word of a megabyte: linear, and one token each. */
static void long_runs_are_bounded(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct tokenizer *t = small(a);
    size_t n = 1 << 20;
    char *p = arena_alloc(a, n + 1);
    struct tokens got;
    p[0] = 'a';
    for (size_t i = 1; i + 4 <= n; i += 4) /* U+0301, and U+302E's neighbour that survives */
        memcpy(p + i, i % 64 == 1 ? "\xf0\x96\xbf\xb0" : "\xcc\x81\xcc\xa3", 4);
    no_error(tokenizer_encode(t, a, str_n(p, n), str_n(NULL, 0), NULL, &got));
    assert_int_equal(got.n, 3);
    assert_int_equal(got.ids[1], 0);
    memset(p, 'a', n);
    no_error(tokenizer_encode(t, a, str_n(p, n), str_n(NULL, 0), NULL, &got));
    assert_int_equal(got.n, 3);
    assert_int_equal(got.end[1], n);
    tokenizer_unref(t);
    arena_free(a);
}

static void hostile_members_are_refused(void **state)
{
#define PRE "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}"
    static const char *const cases[][2] = {
        {"{}", "[model.type]"},
        {"{\"model\":[]}", "[model.type]"},
        {"{\"model\":{\"type\":\"Magic\"}}", "[Magic]"},
        {"{\"model\":{\"type\":\"WordPiece\"}}", "[model.vocab]"},
        {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{}}}", "[model.vocab]"},
        {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"[UNK]\":\"0\"}}}", "[model.vocab]"},
        {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"[UNK]\":-1}}}", "[model.vocab]"},
        {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"[UNK]\":4000000000}}}", "[model.vocab]"},
        {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"[UNK]\":0,\"b\":0}}}", "twice"},
        {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"b\":0}}," PRE "}", "[model.unk_token]"},
        {"{\"model\":{\"type\":\"WordPiece\",\"unk_token\":1,\"vocab\":{\"b\":0}}," PRE "}",
         "[model.unk_token]"},
        {"{\"model\":{\"type\":\"WordPiece\",\"max_input_chars_per_word\":1e9,"
         "\"vocab\":{\"[UNK]\":0}}," PRE "}",
         "[model.max_input_chars_per_word]"},
        {"{" SMALL_MODEL "}", "[pre_tokenizer]"},
        {"{" SMALL_MODEL ",\"normalizer\":{\"type\":\"NFKC\"}}", "[normalizer]"},
        {"{" SMALL_MODEL ",\"normalizer\":{\"type\":\"BertNormalizer\"}}",
         "[normalizer.clean_text]"},
        {"{" SMALL_REST SMALL_MODEL ",\"added_tokens\":{}}", "[added_tokens]"},
        {"{" SMALL_REST SMALL_MODEL ",\"added_tokens\":[1,2]}", "[added_tokens]"},
        {"{" SMALL_REST SMALL_MODEL ",\"added_tokens\":[{\"id\":0}]}", "[content]"},
        {"{" SMALL_REST SMALL_MODEL ",\"added_tokens\":[{\"id\":\"0\",\"content\":\"x\"}]}",
         "[id]"},
        {"{" SMALL_REST SMALL_MODEL ",\"added_tokens\":[{\"id\":1,\"content\":\"x\"}]}",
         "no other token"},
        {"{" SMALL_REST SMALL_MODEL ",\"added_tokens\":[{\"id\":1,\"content\":\"a\"}]}",
         "has in the vocabulary"},
        {"{" SMALL_REST SMALL_MODEL ",\"added_tokens\":[{\"id\":4000000,\"content\":\"x\"}]}",
         "follows"},
        {"{" SMALL_REST SMALL_MODEL
         ",\"added_tokens\":[{\"id\":9,\"content\":\"x\",\"lstrip\":0}]}",
         "[added_tokens.lstrip]"},
        {"{" SMALL_REST SMALL_MODEL ",\"truncation\":{\"max_length\":-1}}",
         "[truncation.max_length]"},
        {"{" SMALL_REST SMALL_MODEL ",\"post_processor\":{\"type\":\"X\"}}",
         "[post_processor.type]"},
        {"{" SMALL_REST SMALL_MODEL
         ",\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"[CLS]\",9]}}",
         "[post_processor.cls]"},
        {"{" SMALL_REST SMALL_MODEL
         ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[1]}}",
         "[post_processor.single]"},
        {"{" SMALL_REST SMALL_MODEL
         ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":"
         "{\"id\":\"x\",\"type_id\":0}}],\"special_tokens\":{}}}",
         "[post_processor.special_tokens]"},
        {"{" SMALL_REST SMALL_MODEL
         ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}}",
         "[post_processor.single]"},
    };
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tokenizer *t;
        struct err *err = read_text(a, cases[i][0], &t);
        if (!err)
            fail_msg("accepted: %s", cases[i][0]);
        assert_int_equal(err->kind, ERR_ARGUMENT);
        if (!strstr(err->reason, cases[i][1]))
            fail_msg("[%s] does not name [%s]", err->reason, cases[i][1]);
        err_free(err);
    }
    arena_free(a);
}

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void open_fails_naming(const char *folder, const char *file)
{
    struct tokenizer *t;
    struct err *err = tokenizer_open_snapshot(folder, &t);
    assert_non_null(err);
    assert_int_equal(err->status, 400);
    if (!strstr(err->reason, file))
        fail_msg("[%s] does not name [%s]", err->reason, file);
    err_free(err);
}

static void errors_name_the_file(void **state)
{
    char folder[] = "/tmp/tokenizer_test.XXXXXX", path[512];
    assert_non_null(mkdtemp(folder));
    open_fails_naming(folder, "[vocab.txt]");
    write_file(folder, "vocab.txt", "[UNK]\r\n[CLS]\r\na\r\n##b\r\n");
    open_fails_naming(folder, "[[SEP]]");
    write_file(folder, "vocab.txt", "[UNK]\r\n[CLS]\r\n[SEP]\r\na\r\n##b\r\na\r\n");
    struct tokenizer *t;
    no_error(tokenizer_open_snapshot(folder, &t));
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct tokens got;
    no_error(tokenizer_encode(t, a, STR("AB"), str_n(NULL, 0), NULL, &got));
    assert_int_equal(got.n, 4);
    assert_int_equal(got.ids[1], 5); /* of two equal lines the last counts */
    assert_int_equal(got.ids[2], 4);
    arena_free(a);
    tokenizer_unref(t);
    write_file(folder, "tokenizer_config.json", "{\"do_lower_case\":1}");
    open_fails_naming(folder, "[tokenizer_config.json]: member [do_lower_case]");
    write_file(folder, "tokenizer.json", "{\"model\":");
    open_fails_naming(folder, "[tokenizer.json]");
    write_file(folder, "tokenizer.json", "{}");
    open_fails_naming(folder, "[tokenizer.json]: member [model.type]");
    snprintf(path, sizeof(path), "%s/tokenizer.json", folder);
    unlink(path);
    mkdir(path, 0700);
    open_fails_naming(folder, "[tokenizer.json]");
    rmdir(path);
    const char *const names[] = {"vocab.txt", "tokenizer_config.json"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixtures_are_reproduced),
        cmocka_unit_test(vocabulary_folder_is_opened),
        cmocka_unit_test(malformed_bytes_are_replaced),
        cmocka_unit_test(windows_cut_or_refuse),
        cmocka_unit_test(long_runs_are_bounded),
        cmocka_unit_test(hostile_members_are_refused),
        cmocka_unit_test(errors_name_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
