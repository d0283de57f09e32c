/* Replays fixtures/pipeline_cases.json (see make_pipeline_fixtures.py): BPE and Unigram with the
 * normalizers, pre-tokenizers and post-processors around them. Then what no reference shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <unistd.h>

#include "tokenizer_cases.h"

static const struct json *variants(struct arena *a)
{
    const struct json *all;
    no_error(json_parse(a, fixture(a, "pipeline_cases.json"), &all));
    assert_int_equal(all->n, 11);
    return all;
}

static struct tokenizer *variant(struct arena *a, const char *name)
{
    struct json_iter it = json_iter(variants(a));
    struct tokenizer *t = NULL;
    for (const struct json *v; (v = json_next(&it));) {
        struct str is;
        assert_true(json_str(json_get(v, "variant"), &is));
        if (str_eq_c(is, name))
            no_error(tokenizer_read(json_get(v, "config"), (struct str){NULL, 0}, &t));
    }
    assert_non_null(t);
    return t;
}

static void fixtures_are_reproduced(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct json_iter it = json_iter(variants(a));
    for (const struct json *v; (v = json_next(&it));) {
        struct tokenizer *t;
        no_error(tokenizer_read(json_get(v, "config"), (struct str){NULL, 0}, &t));
        struct json_iter cases = json_iter(json_get(v, "cases"));
        size_t n = 0;
        for (const struct json *c; (c = json_next(&cases)); n++)
            check_case(t, a, c);
        assert_true(n >= 25);
        tokenizer_unref(t);
    }
    arena_free(a);
}

/* vocab.json with merges.txt is the first variant, but for where special tokens are looked for. */
static void vocabulary_and_merges_are_opened(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct tokenizer *t;
    no_error(tokenizer_open_snapshot(TEXT_FIXTURES "/roberta", &t));
    struct json_iter cases = json_iter(json_get(json_at(variants(a), 0), "cases"));
    for (const struct json *c; (c = json_next(&cases));)
        check_case(t, a, c);
    assert_true(str_eq(tokenizer_token(t, 0), STR("<s>")));
    tokenizer_unref(t);
    arena_free(a);
}

static void same_tokens(const struct tokens *x, const struct tokens *y)
{
    assert_int_equal(x->n, y->n);
    for (uint32_t i = 0; i < x->n; i++) {
        assert_int_equal(x->ids[i], y->ids[i]);
        assert_int_equal(x->begin[i], y->begin[i]);
        assert_int_equal(x->end[i], y->end[i]);
    }
}

/* Long texts are encoded part by part, and nobody can tell. */
static void parts_are_seamless(void **state)
{
    static const char text[] =
        "The quick brown fox caf\xC3\xA9 e\xCC\x81t\xC3\xA9 jumps  over the <mask> lazy dog, it's "
        "A\xE3\x80\x80 b c12 d \xEF\xAC\x81x <s> and the mixed \xE4\xB8\xAD\xE6\x96\x87 one";
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct json_iter it = json_iter(variants(a));
    int n_cut = 0;
    for (const struct json *v; (v = json_next(&it));) {
        struct tokenizer *t;
        struct tokens whole, parts;
        no_error(tokenizer_read(json_get(v, "config"), (struct str){NULL, 0}, &t));
        no_error(tokenizer_encode(t, a, str_c(text), str_n(NULL, 0), NULL, &whole));
        t->part_bytes = 1;
        no_error(tokenizer_encode(t, a, str_c(text), str_n(NULL, 0), NULL, &parts));
        same_tokens(&whole, &parts);
        n_cut += t->may_cut;
        tokenizer_unref(t);
    }
    assert_true(n_cut >= 6);
    arena_free(a);
}

/* A word of megabytes takes no more than n log n, and all of it comes out. */
static void long_words_are_bounded(void **state)
{
    static const char *const names[] = {"RoBERTa", "XLM-RoBERTa", "DeBERTa-v3", "mmBERT"};
    struct arena *a = arena_new(ARENA_NO_LIMIT);
#ifdef __SANITIZE_THREAD__ /* slow, and there is one thread */
    size_t n = (1u << 18) + 1;
#else
    size_t n = (3u << 20) + 1;
#endif
    char *p = arena_alloc(a, n + 1);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct tokenizer *t = variant(a, names[i]);
        struct window w = {.max_tokens = 16};
        struct tokens got;
        memset(p, 'a', n);
        no_error(tokenizer_encode(t, a, str_n(p, n), str_n(NULL, 0), &w, &got));
        assert_int_equal(got.n, 16);
        assert_true(got.n_untruncated > 1000);
        memset(p, '\xCC', n); /* all malformed: U+FFFD */
        no_error(tokenizer_encode(t, a, str_n(p, n), str_n(NULL, 0), &w, &got));
        assert_true(got.n <= 16);
        assert_true(got.end[got.n - 2] <= n);
        tokenizer_unref(t);
    }
    arena_free(a);
}

#define BPE_VOCAB "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"<unk>\":3}"
#define BPE(more) "\"model\":{\"type\":\"BPE\"," BPE_VOCAB more "}"
#define BPE_OK    BPE(",\"merges\":[\"a b\"]")
#define UNI_OK    "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"<unk>\",0],[\"a\",-1]]}"

static void hostile_members_are_refused(void **state)
{
    static const char *const cases[][2] = {
        {BPE(""), "[model.merges]"},
        {BPE(",\"merges\":{}"), "[model.merges]"},
        {BPE(",\"merges\":[1]"), "[model.merges]"},
        {BPE(",\"merges\":[\"ab\"]"), "[model.merges]"},
        {BPE(",\"merges\":[\"a b c\"]"), "[model.merges]"},
        {BPE(",\"merges\":[[\"a\"]]"), "[model.merges]"},
        {BPE(",\"merges\":[\"b a\"]"), "[model.merges] has at [0]"},
        {BPE(",\"merges\":[\"a x\"]"), "[model.merges] has at [0]"},
        {BPE(",\"merges\":[],\"dropout\":0.1"), "[model.dropout]"},
        {BPE(",\"merges\":[],\"unk_token\":1"), "[model.unk_token]"},
        {BPE(",\"merges\":[],\"unk_token\":\"x\""), "[model.unk_token]"},
        {BPE(",\"merges\":[],\"fuse_unk\":1"), "[model.fuse_unk]"},
        {BPE(",\"merges\":[],\"byte_fallback\":1"), "[model.byte_fallback]"},
        {BPE(",\"merges\":[],\"ignore_merges\":1"), "[model.ignore_merges]"},
        {BPE(",\"merges\":[],\"byte_fallback\":true,\"end_of_word_suffix\":\"x\""),
         "[model.end_of_word_suffix]"},
        {"\"model\":{\"type\":\"Unigram\",\"vocab\":[]}", "[model.vocab]"},
        {"\"model\":{\"type\":\"Unigram\",\"vocab\":[1,2]}", "[model.vocab]"},
        {"\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}", "[model.vocab]"},
        {"\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",\"b\"]]}", "[model.vocab]"},
        {"\"model\":{\"type\":\"Unigram\",\"vocab\":{\"a\":0}}", "[model.vocab]"},
        {"\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]]}", "[model.unk_id]"},
        {"\"model\":{\"type\":\"Unigram\",\"unk_id\":1,\"vocab\":[[\"a\",0]]}", "[model.unk_id]"},
        {UNI_OK ",\"pre_tokenizer\":{\"type\":\"ByteLevel\"}", "[pre_tokenizer.type]"},
        {BPE_OK ",\"normalizer\":[]", "[normalizer.type]"},
        {BPE_OK ",\"normalizer\":{\"type\":\"X\"}", "[normalizer.type] has the unknown value [X]"},
        {BPE_OK ",\"normalizer\":{\"type\":\"Sequence\"}", "[normalizer.normalizers]"},
        {BPE_OK ",\"normalizer\":{\"type\":\"Strip\",\"strip_left\":1}", "[normalizer.strip_left]"},
        {BPE_OK ",\"normalizer\":{\"type\":\"Replace\",\"content\":\"\",\"pattern\":1}",
         "[normalizer.pattern.String]"},
        {BPE_OK ",\"normalizer\":{\"type\":\"Replace\",\"content\":\"\",\"pattern\":{\"Regex\":"
                "\"(a*)*b\"}}",
         "[normalizer.pattern.Regex] has the unknown value [(a*)*b]"},
        {BPE_OK ",\"normalizer\":{\"type\":\"Prepend\"}", "[normalizer.prepend]"},
        {BPE_OK ",\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"!!!!\"}",
         "[normalizer.precompiled_charsmap]"},
        {BPE_OK ",\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////w==\"}",
         "[normalizer.precompiled_charsmap]"},
        {BPE_OK ",\"pre_tokenizer\":{}", "[pre_tokenizer.type]"},
        {BPE_OK ",\"pre_tokenizer\":{\"type\":\"X\"}", "[pre_tokenizer.type]"},
        {BPE_OK ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":1}",
         "[pre_tokenizer.pretokenizers]"},
        {BPE_OK ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":"
                "\"ByteLevel\"},{\"type\":\"Digits\"}]}",
         "[pre_tokenizer.pretokenizers]"},
        {BPE_OK ",\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"use_regex\":1}",
         "[pre_tokenizer.use_regex]"},
        {BPE_OK ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"ab\"}",
         "[pre_tokenizer.replacement]"},
        {BPE_OK ",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\","
                "\"prepend_scheme\":\"x\"}",
         "[pre_tokenizer.prepend_scheme]"},
        {BPE_OK ",\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"X\"}",
         "[pre_tokenizer.behavior]"},
        {BPE_OK ",\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\"}",
         "[pre_tokenizer.pattern]"},
        {BPE_OK ",\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":"
                "{\"Regex\":\"(a+)+\"}}",
         "[pre_tokenizer.pattern.Regex]"},
        {BPE_OK ",\"post_processor\":{\"type\":\"RobertaProcessing\",\"cls\":[\"a\",0]}",
         "[post_processor.sep]"},
        {BPE_OK ",\"post_processor\":{\"type\":\"RobertaProcessing\",\"cls\":[\"a\",0],\"sep\":"
                "[\"a\",0],\"trim_offsets\":1}",
         "[post_processor.trim_offsets]"},
        {BPE_OK ",\"post_processor\":{\"type\":\"Sequence\"}", "[post_processor.processors]"},
    };
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct json *root;
        struct tokenizer *t;
        no_error(json_parse(a, arena_printf(a, "{%s}", cases[i][0]), &root));
        struct err *err = tokenizer_read(root, (struct str){NULL, 0}, &t);
        if (!err)
            fail_msg("accepted: %s", cases[i][0]);
        assert_int_equal(err->kind, ERR_ARGUMENT);
        if (!strstr(err->reason, cases[i][1]))
            fail_msg("[%s] does not name [%s]", err->reason, cases[i][1]);
        err_free(err);
    }
    arena_free(a);
}

/* Deep nesting, and a trie whose units point everywhere. */
static void hostile_structures_do_no_harm(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct buf b;
    buf_init(&b, 1 << 16);
    buf_cstr(&b, "{" BPE_OK ",\"normalizer\":");
    for (int i = 0; i < 20; i++)
        buf_cstr(&b, "{\"type\":\"Sequence\",\"normalizers\":[");
    for (int i = 0; i < 20; i++)
        buf_cstr(&b, "]}");
    buf_cstr(&b, "}");
    const struct json *root;
    struct tokenizer *t;
    no_error(json_parse(a, buf_str(&b), &root));
    struct err *err = tokenizer_read(root, (struct str){NULL, 0}, &t);
    assert_non_null(err);
    err_free(err);
    buf_clear(&b);
    buf_cstr(&b, "{" UNI_OK
                 ",\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAgA");
    for (int i = 0; i < 800; i++)
        buf_cstr(&b, i % 3 ? "/wEA" : "YQH/");
    buf_cstr(&b, "\"}}");
    no_error(json_parse(a, buf_str(&b), &root));
    err = tokenizer_read(root, (struct str){NULL, 0}, &t);
    struct tokens got;
    if (!err) {
        no_error(tokenizer_encode(t, a, STR("a\xC3\xA9 e\xCC\x81 \x01\x7F\xE3\x80\x80"),
                                  str_n(NULL, 0), NULL, &got));
        tokenizer_unref(t);
    }
    err_free(err);
    buf_deinit(&b);
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

static void open_fails_saying(const char *folder, const char *what)
{
    struct tokenizer *t;
    struct err *err = tokenizer_open_snapshot(folder, &t);
    assert_non_null(err);
    assert_int_equal(err->status, 400);
    if (!strstr(err->reason, what))
        fail_msg("[%s] does not say [%s]", err->reason, what);
    err_free(err);
}

static void remove_files(const char *folder)
{
    static const char *const names[] = {"vocab.json", "merges.txt", "vocab.txt",
                                        "tokenizer_config.json"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[512];
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        unlink(path);
    }
}

static void errors_name_the_file(void **state)
{
    char folder[] = "/tmp/pipeline_test.XXXXXX";
    assert_non_null(mkdtemp(folder));
    open_fails_saying(folder, "[merges.txt]");
    write_file(folder, "vocab.json", "[]");
    open_fails_saying(folder, "[vocab.json]: must be an object");
    write_file(folder, "vocab.json", "{\"<s>\":0,\"a\":1}");
    open_fails_saying(folder, "[merges.txt]");
    write_file(folder, "merges.txt", "#version: 0.2\n");
    open_fails_saying(folder, "[vocab.json]: the token [</s>] is missing");
    write_file(folder, "vocab.json", "{\"<s>\":0,\"</s>\":1,\"a\":2}");
    write_file(folder, "merges.txt", "a a\n");
    open_fails_saying(folder, "[model.merges]");
    remove_files(folder);
    rmdir(folder);
}

/* MPNet's vocabulary is BERT's with RoBERTa's special tokens. */
static void mpnet_folder_is_opened(void **state)
{
    char folder[] = "/tmp/pipeline_test.XXXXXX";
    assert_non_null(mkdtemp(folder));
    write_file(folder, "vocab.txt", "<s>\n<pad>\n</s>\n[UNK]\na\n##b\n<mask>\n");
    write_file(folder, "tokenizer_config.json", "{\"tokenizer_class\":\"MPNetTokenizer\"}");
    struct tokenizer *t;
    no_error(tokenizer_open_snapshot(folder, &t));
    remove_files(folder);
    rmdir(folder);
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct tokens got;
    no_error(tokenizer_encode(t, a, STR("AB \xC3\xA1 <mask>"), STR("c"), NULL, &got));
    static const int32_t want[] = {0, 4, 5, 4, 6, 2, 2, 3, 2};
    assert_int_equal(got.n, 9);
    for (size_t i = 0; i < 9; i++) {
        assert_int_equal(got.ids[i], want[i]);
        assert_int_equal(got.type_ids[i], 0);
    }
    assert_int_equal(got.begin[4], 6); /* without the space before it */
    tokenizer_unref(t);
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixtures_are_reproduced),
        cmocka_unit_test(vocabulary_and_merges_are_opened),
        cmocka_unit_test(parts_are_seamless),
        cmocka_unit_test(long_words_are_bounded),
        cmocka_unit_test(hostile_members_are_refused),
        cmocka_unit_test(hostile_structures_do_no_harm),
        cmocka_unit_test(errors_name_the_file),
        cmocka_unit_test(mpnet_folder_is_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
