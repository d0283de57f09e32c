/* Whole models against what PyTorch made of them (fixtures/make_engine_fixtures.py), on every
 * instruction set this machine has, and the promise that a row's bits are its own. Tolerance: 1e-5
 * absolute, as cases.json says. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "bug.h"
#include "file.h"
#include "json.h"
#include "program.h"

static const char *const models[] = {
    "deberta",
    "deberta_c2p",
    "deberta_rerank",
    "deberta_v2",
    "deberta_v3",
    "deberta_v3_ner",
    "deberta_v3_rerank",
    "deberta_v3_sparse",
    "modernbert",
    "modernbert_bias",
    "modernbert_qa",
    "modernbert_rerank",
    "modernbert_sparse",
    "nomic_bert",
    "bert_ner",
    "distilbert_qa",
    "roberta_ner",
    "xlm_roberta_qa",
    "bert_rerank",
    "bert_sparse",
    "bert_sparse_untied",
    "camembert",
    "cls_relu_f16",
    "distilbert",
    "distilbert_rerank",
    "distilbert_sparse",
    "electra",
    "electra_rerank",
    "electra_sparse",
    "electra_wide",
    "lasttoken_f16",
    "max_silu_bf16",
    "mean_gelu",
    "mean_sqrt_len_f16",
    "mpnet",
    "mpnet_rerank",
    "mpnet_sparse",
    "plain_f16",
    "roberta",
    "roberta_rerank",
    "roberta_sparse",
    "weightedmean_gelu_new_f16",
    "xlm_roberta",
    "xlm_roberta_rerank",
};
#define N_MODELS (sizeof(models) / sizeof(models[0]))

static void no_error(struct err *err)
{
    if (err)
        print_error("%s\n", err->reason);
    assert_null(err);
}

static struct program *load(const char *model, const struct kernels *k)
{
    struct program *p;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    const char *folder = arena_printf(a, "%s/%s", ENGINE_FIXTURES, model).p;
    no_error(program_load_with(folder, NULL, k, &p));
    arena_free(a);
    return p;
}

/* Rows of a flat-in-flat array, end to end. */
static size_t read_rows(const struct json *rows, uint32_t *offsets, int32_t *ids, size_t cap)
{
    struct json_iter it = json_iter(rows);
    size_t n = 0, row = 0;
    for (const struct json *v; (v = json_next(&it)); row++) {
        struct json_iter inner = json_iter(v);
        for (const struct json *id; (id = json_next(&inner)); n++) {
            int64_t x;
            assert_true(json_i64(id, &x) && n < cap);
            ids[n] = (int32_t)x;
        }
        if (offsets)
            offsets[row + 1] = (uint32_t)n;
    }
    return n;
}

static void check_case(const char *model, struct session *s, const struct json *c, double tolerance)
{
    enum { CAP = 4096 };
    static int32_t ids[CAP], types[CAP];
    static uint32_t offsets[CAP];
    static float expected[CAP];
    const struct json *rows = json_get(c, "ids"), *type_ids = json_get(c, "type_ids");
    struct token_batch b = {.n_sequences = rows->n, .ids = ids, .offsets = offsets};
    static struct output out[CAP];
    b.n_tokens = read_rows(rows, offsets, ids, CAP);
    if (!json_is_null(type_ids)) {
        assert_int_equal(read_rows(type_ids, NULL, types, CAP), b.n_tokens);
        b.type_ids = types;
    }
    no_error(session_run_each(s, &b, out));
    struct json_iter it = json_iter(json_get(c, "expected"));
    const struct output *o = out;
    for (const struct json *v; (v = json_next(&it)); o++) {
        assert_null(o->err);
        assert_int_equal(v->n, o->dim[0] * o->dim[1] * o->dim[2]);
        assert_true(json_numbers(v, expected, v->n));
        for (size_t i = 0; i < v->n; i++)
            if (!(fabs((double)o->data[i] - (double)expected[i]) <= tolerance))
                fail_msg("%s: [%zu] is %g, not %g", model, i, (double)o->data[i],
                         (double)expected[i]);
    }
    assert_int_equal(o - out, rows->n);
}

static void check_model(const char *model, const struct kernels *k, int n_threads)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct program *p = load(model, k);
    struct session *s;
    struct str text;
    const struct json *root;
    double tolerance;
    no_error(
        file_read(ENGINE_FIXTURES, arena_printf(a, "%s/cases.json", model).p, 1 << 20, a, &text));
    no_error(json_parse(a, text, &root));
    assert_true(json_f64(json_get(root, "tolerance"), &tolerance) && tolerance <= 1e-5);
    no_error(session_new(p, n_threads, &s));
    const struct json *cases = json_get(root, "cases");
    assert_true(cases->n > 0);
    struct json_iter it = json_iter(cases);
    for (const struct json *c; (c = json_next(&it));)
        check_case(model, s, c, tolerance);
    session_free(s);
    program_unref(p);
    arena_free(a);
}

static void test_equals_pytorch(void **state)
{
    (void)state;
    const struct kernels *k;
    for (size_t i = 0; (k = kernels_at(i)); i++)
        for (size_t m = 0; m < N_MODELS; m++)
            for (int threads = 1; threads <= 3; threads++)
                check_model(models[m], k, threads);
}

static void test_says_what_it_loaded(void **state)
{
    (void)state;
    struct program *p = load("mean_gelu", kernels_best());
    const struct program_info *info = program_info(p);
    assert_string_equal(info->architecture, "BertModel");
    assert_string_equal(info->pooling, "mean");
    assert_true(info->normalized);
    assert_true(info->max_seq_length <= info->max_tokens);
    assert_int_equal(info->token_budget, 16384);
    assert_true(info->weight_bytes > 0);
    program_unref(p);
    p = load("plain_f16", kernels_best());
    assert_string_equal(program_info(p)->pooling, "mean");
    assert_false(program_info(p)->normalized);
    assert_int_equal(program_info(p)->max_seq_length, program_info(p)->max_tokens);
    assert_int_equal(program_info(p)->output, OUTPUT_EMBEDDING);
    program_unref(p);
    p = load("roberta_rerank", kernels_best());
    assert_string_equal(program_info(p)->architecture, "RobertaForSequenceClassification");
    assert_int_equal(program_info(p)->output, OUTPUT_LABELS);
    assert_int_equal(program_info(p)->dimensions, 1);
    assert_int_equal(program_info(p)->max_tokens, 40);
    program_unref(p);
    p = load("bert_sparse", kernels_best());
    assert_int_equal(program_info(p)->output, OUTPUT_VOCABULARY);
    assert_int_equal(program_info(p)->dimensions, program_info(p)->vocab_size);
    program_unref(p);
    assert_non_null(engine_kernels());
}

static void check_shape(const char *model, int64_t a, int64_t b, int64_t c)
{
    struct program *p = load(model, kernels_best());
    struct session *s;
    struct output out[2];
    int32_t ids[5] = {1, 2, 3, 4, 5};
    uint32_t offsets[3] = {0, 2, 5};
    no_error(session_new(p, 1, &s));
    no_error(session_run_each(s, &(struct token_batch){2, 5, ids, NULL, offsets}, out));
    assert_int_equal(out[1].dim[0], a);
    assert_int_equal(out[1].dim[1], b);
    assert_int_equal(out[1].dim[2], c);
    session_free(s);
    program_unref(p);
}

/* Of the second sequence, of three tokens. */
static void test_shapes(void **state)
{
    (void)state;
    check_shape("mean_gelu", 1, 1, 32);
    check_shape("bert_rerank", 1, 1, 1);
    check_shape("bert_sparse", 1, 1, 64);
    check_shape("bert_ner", 1, 3, 5);
    check_shape("distilbert_qa", 2, 1, 3);
}

/* --- same text, same bits --- */

static uint32_t random_state = 1;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) % n;
}

enum { MOST_SEQUENCES = 40, MOST_TOKENS = MOST_SEQUENCES * 64 };

struct many {
    struct token_batch b;
    int32_t ids[MOST_TOKENS];
    int32_t types[MOST_TOKENS];
    uint32_t offsets[MOST_SEQUENCES + 1];
};

static void many_random(struct many *m, const struct program_info *info)
{
    uint32_t longest = info->max_tokens < 64 ? info->max_tokens : 64;
    memset(m, 0, sizeof(*m));
    m->b = (struct token_batch){
        .n_sequences = 1 + random_below(MOST_SEQUENCES),
        .ids = m->ids,
        .type_ids = m->types,
        .offsets = m->offsets,
    };
    for (size_t i = 0; i < m->b.n_sequences; i++)
        m->offsets[i + 1] = m->offsets[i] + 1 + random_below(longest);
    m->b.n_tokens = m->offsets[m->b.n_sequences];
    for (size_t i = 0; i < m->b.n_tokens; i++) {
        m->ids[i] = (int32_t)random_below(info->vocab_size);
        m->types[i] = (int32_t)random_below(2);
    }
}

static void run_alone(struct session *s, const struct many *m, size_t i, struct tensor *out)
{
    uint32_t offsets[2] = {0, m->offsets[i + 1] - m->offsets[i]};
    struct token_batch one = {
        .n_sequences = 1,
        .n_tokens = offsets[1],
        .ids = m->ids + m->offsets[i],
        .type_ids = m->types + m->offsets[i],
        .offsets = offsets,
    };
    no_error(session_run(s, &one, out));
}

static void check_same_bits(const char *model, const struct kernels *k)
{
    static struct many m;
    struct program *p = load(model, k);
    struct session *s[3];
    for (int i = 0; i < 3; i++)
        no_error(session_new(p, i + 1, &s[i]));
    size_t row = program_info(p)->dimensions * sizeof(float);
    for (int round = 0; round < 8; round++) {
        struct tensor batch, alone;
        many_random(&m, program_info(p));
        no_error(session_run(s[round % 3], &m.b, &batch));
        for (size_t i = 0; i < m.b.n_sequences; i++) {
            run_alone(s[(round + 1) % 3], &m, i, &alone);
            assert_memory_equal((const char *)batch.data + i * row, alone.data, row);
        }
    }
    for (int i = 0; i < 3; i++)
        session_free(s[i]);
    program_unref(p);
}

static void test_row_bits_are_its_own(void **state)
{
    (void)state;
    const struct kernels *k;
    for (size_t i = 0; (k = kernels_at(i)); i++) {
        check_same_bits("mean_gelu", k);
        check_same_bits("max_silu_bf16", k);
        check_same_bits("weightedmean_gelu_new_f16", k);
        check_same_bits("mpnet", k);
        check_same_bits("roberta", k);
        check_same_bits("bert_rerank", k);
        check_same_bits("bert_sparse", k);
        check_same_bits("electra_sparse", k);
        check_same_bits("deberta_v2", k);
        check_same_bits("deberta_v3", k);
        check_same_bits("modernbert", k);
        check_same_bits("nomic_bert", k);
        check_same_bits("deberta_v2", k);
        check_same_bits("deberta_v3", k);
        check_same_bits("modernbert", k);
    }
}

/* --- batches that are wrong --- */

static void refused(struct session *s, const struct token_batch *b, const char *names)
{
    struct tensor out;
    struct err *err = session_run(s, b, &out);
    assert_non_null(err);
    assert_int_equal(err->kind, ERR_ARGUMENT);
    if (!strstr(err->reason, names))
        print_error("[%s] does not name [%s]\n", err->reason, names);
    assert_non_null(strstr(err->reason, names));
    err_free(err);
}

static void test_refuses_bad_batches(void **state)
{
    (void)state;
    struct engine_limits limits = {.token_budget = 50};
    struct program *p;
    struct session *s;
    static int32_t ids[64], types[64];
    no_error(program_load_with(ENGINE_FIXTURES "/mean_gelu", &limits, kernels_best(), &p));
    no_error(session_new(p, 2, &s));
    uint32_t two[] = {0, 2, 4}, empty[] = {0, 0, 4}, back[] = {0, 3, 2}, late[] = {1, 2, 4};
    uint32_t beyond[] = {0, 51}, most[] = {0, program_info(p)->max_tokens + 1};
    struct token_batch b = {2, 4, ids, NULL, two};
    struct tensor out;
    no_error(session_run(s, &b, &out));
    refused(s, &(struct token_batch){2, 4, ids, NULL, empty}, "sequence [0]");
    refused(s, &(struct token_batch){2, 2, ids, NULL, back}, "sequence [1]");
    refused(s, &(struct token_batch){2, 4, ids, NULL, late}, "offsets");
    refused(s, &(struct token_batch){2, 5, ids, NULL, two}, "offsets");
    refused(s, &(struct token_batch){1, 51, ids, NULL, beyond}, "[51]");
    assert_true(most[1] <= 50);
    refused(s, &(struct token_batch){1, most[1], ids, NULL, most}, "sequence [0]");
    ids[3] = -1;
    refused(s, &b, "token id [-1]");
    ids[3] = (int32_t)program_info(p)->vocab_size;
    refused(s, &b, "token id");
    ids[3] = 0;
    types[2] = 7;
    b.type_ids = types;
    refused(s, &b, "type id [7]");
    b.type_ids = NULL;
    no_error(session_run(s, &b, &out));
    no_error(session_run(s, &(struct token_batch){0, 0, ids, NULL, two}, &out));
    assert_int_equal(out.dim[0], 0);
    session_free(s);
    program_unref(p);
}

static void test_refuses_bad_thread_counts(void **state)
{
    (void)state;
    struct program *p = load("mean_gelu", kernels_best());
    const int counts[] = {0, -1, 65};
    for (int i = 0; i < 3; i++) {
        struct session *s;
        struct err *err = session_new(p, counts[i], &s);
        assert_non_null(err);
        assert_int_equal(err->kind, ERR_ARGUMENT);
        err_free(err);
    }
    program_unref(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_pytorch),
        cmocka_unit_test(test_says_what_it_loaded),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_row_bits_are_its_own),
        cmocka_unit_test(test_refuses_bad_batches),
        cmocka_unit_test(test_refuses_bad_thread_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
