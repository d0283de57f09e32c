/* Whole programs from scripts. Those that Eland makes of known architectures run as graphs, and
 * give what libtorch gave (tests/fixtures/models, 1e-5; 1e-4 when quantized) and what interpreting
 * them gives (1e-5); a sequence has the same bits in any batch and with any number of threads. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "bug.h"
#include "file.h"
#include "json.h"
#include "op.h"
#include "program.h"

static const struct {
    const char *name;
    bool interpreted;
} models[] = {
    {"bert_fill_mask", false},
    {"bert_ner", false},
    {"bert_question_answering", false},
    {"bert_text_classification", false},
    {"bert_text_embedding", false},
    {"bert_text_embedding_quantized", true},
    {"bert_text_expansion", false},
    {"bert_text_similarity", false},
    {"bert_zero_shot", false},
    {"deberta_v2_text_similarity", true},
    {"distilbert_text_embedding", false},
    {"distilbert_text_expansion", false},
    {"distilbert_text_expansion_quantized", true},
    {"dpr_text_embedding", false},
    {"e5_like_text_embedding", false},
    {"electra_text_embedding", false},
    {"elser_like_text_expansion", false},
    {"elser_like_text_expansion_quantized", true},
    {"mpnet_text_embedding", false},
    {"roberta_text_embedding", false},
    {"xlm_roberta_text_embedding", false},
};
#define N_MODELS (sizeof(models) / sizeof(models[0]))

static void no_error(struct err *err)
{
    if (err)
        print_error("%s\n", err->reason);
    assert_null(err);
}

static struct program *load(const char *model, bool interpret, const struct kernels *k)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct program *p;
    struct script_options o = {.max_tokens = 40, .interpret = interpret};
    no_error(program_load_script_with(
        arena_printf(a, "%s/eland_tiny/%s/model.pt", MODEL_FIXTURES, model).p, &o, k, &p));
    arena_free(a);
    return p;
}

enum { MOST = 64, MOST_TOKENS = MOST * 40 };

struct many {
    struct token_batch b;
    int32_t ids[MOST_TOKENS], types[MOST_TOKENS];
    uint32_t offsets[MOST + 1];
    const struct json *expected[MOST], *shape[MOST];
};

static size_t read_row(const struct json *row, int32_t *out)
{
    struct json_iter it = json_iter(row);
    size_t n = 0;
    for (const struct json *v; (v = json_next(&it)); n++) {
        int64_t x;
        assert_true(json_i64(v, &x));
        out[n] = (int32_t)x;
    }
    return n;
}

/* All cases as one batch. */
static void read_cases(const char *model, struct arena *a, struct many *m, bool *quantized)
{
    struct str text;
    const struct json *root;
    const char *folder = arena_printf(a, "%s/eland_tiny/%s", MODEL_FIXTURES, model).p;
    no_error(file_read(folder, "expected.json", 16 << 20, a, &text));
    no_error(json_parse(a, text, &root));
    memset(m, 0, sizeof(*m));
    json_bool(json_get(root, "quantized"), quantized);
    struct json_iter it = json_iter(json_get(root, "cases"));
    size_t n = 0;
    uint32_t at = 0;
    for (const struct json *c; (c = json_next(&it)); n++) {
        struct json_iter args = json_iter(json_get(c, "args"));
        const struct json *ids = json_next(&args), *types = (json_next(&args), json_next(&args));
        assert_true(n < MOST && at + ids->n <= MOST_TOKENS);
        if (types)
            read_row(types, m->types + at);
        at += (uint32_t)read_row(ids, m->ids + at);
        m->offsets[n + 1] = at;
        m->expected[n] = json_get(c, "output");
        m->shape[n] = json_get(c, "shape");
    }
    assert_true(n > 0);
    m->b = (struct token_batch){n, at, m->ids, m->types, m->offsets};
}

static double largest_difference(const struct json *v, const float **p)
{
    double most = 0, should;
    if (json_f64(v, &should))
        return fabs(should - (double)*(*p)++);
    struct json_iter it = json_iter(v);
    for (const struct json *item; (item = json_next(&it));) {
        double d = largest_difference(item, p);
        most = d > most || isnan(d) ? d : most;
    }
    return most;
}

static size_t numbers(const struct output *o)
{
    return (size_t)(o->dim[0] * o->dim[1] * o->dim[2]);
}

static void check_output(const char *model, const struct many *m, size_t i, const struct output *o,
                         double tolerance)
{
    int64_t dim[3] = {1, 1, 1}, at = 3 - (int64_t)m->shape[i]->n;
    struct json_iter it = json_iter(m->shape[i]);
    assert_null(o->err);
    for (const struct json *v; (v = json_next(&it)); at++)
        assert_true(json_i64(v, &dim[at]));
    assert_memory_equal(dim, o->dim, sizeof(dim));
    const float *p = o->data;
    double most = largest_difference(m->expected[i], &p);
    assert_int_equal(p - o->data, numbers(o));
    if (!(most <= tolerance))
        fail_msg("%s: off by %g", model, most);
}

static void check_equal(const char *model, const struct output *a, const struct output *b,
                        double tolerance)
{
    assert_memory_equal(a->dim, b->dim, sizeof(a->dim));
    for (size_t i = 0; i < numbers(a); i++)
        if (!(fabs((double)a->data[i] - (double)b->data[i]) <= tolerance))
            fail_msg("%s: [%g] as a graph, [%g] interpreted", model, (double)a->data[i],
                     (double)b->data[i]);
}

static void check_model(size_t i, const struct kernels *k, int n_threads)
{
    static struct many m;
    static struct output as_graph[MOST], interpreted[MOST];
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct program *p = load(models[i].name, false, k), *slow = load(models[i].name, true, k);
    struct session *s, *other;
    bool quantized = false;
    if (program_info(p)->interpreted != models[i].interpreted)
        fail_msg("%s: %s", models[i].name, program_info(p)->why ? program_info(p)->why : "known");
    assert_true(program_info(slow)->interpreted);
    read_cases(models[i].name, a, &m, &quantized);
    no_error(session_new(p, n_threads, &s));
    no_error(session_new(slow, n_threads, &other));
    no_error(session_run_each(s, &m.b, as_graph));
    no_error(session_run_each(other, &m.b, interpreted));
    for (size_t j = 0; j < m.b.n_sequences; j++) {
        check_output(models[i].name, &m, j, &as_graph[j], quantized ? 1e-4 : 1e-5);
        check_equal(models[i].name, &as_graph[j], &interpreted[j], 1e-5);
    }
    session_free(s);
    session_free(other);
    program_unref(p);
    program_unref(slow);
    arena_free(a);
}

static void test_equals_libtorch(void **state)
{
    const struct kernels *k;
    (void)state;
    for (size_t i = 0; i < N_MODELS; i++)
        for (size_t j = 0; (k = kernels_at(j)); j++)
            check_model(i, k, 1 + (int)j % 3);
}

static void check_same_bits(const char *model, bool interpret)
{
    static struct many m;
    static struct output batch[MOST];
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct program *p = load(model, interpret, kernels_best());
    struct session *s[2];
    bool quantized;
    read_cases(model, a, &m, &quantized);
    for (int i = 0; i < 2; i++)
        no_error(session_new(p, i + 1, &s[i]));
    no_error(session_run_each(s[1], &m.b, batch));
    for (size_t i = 0; i < m.b.n_sequences; i++) {
        uint32_t begin = m.offsets[i], offsets[2] = {0, m.offsets[i + 1] - begin};
        struct token_batch one = {1, offsets[1], m.ids + begin, m.types + begin, offsets};
        struct output alone;
        no_error(session_run_each(s[0], &one, &alone));
        assert_memory_equal(alone.dim, batch[i].dim, sizeof(alone.dim));
        assert_memory_equal(alone.data, batch[i].data, numbers(&alone) * sizeof(float));
    }
    for (int i = 0; i < 2; i++)
        session_free(s[i]);
    program_unref(p);
    arena_free(a);
}

static void test_bits_are_its_own(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) {
        check_same_bits(models[i].name, false);
        check_same_bits(models[i].name, true);
    }
}

/* A sequence that a script cannot take fails alone; the others have their results. */
static void test_a_failure_is_its_own(void **state)
{
    (void)state;
    struct program *p = load("bert_text_embedding", true, kernels_best());
    struct session *s;
    struct output out[3];
    int32_t ids[] = {2, 5, 3, 2, 1 << 30, 3, 2, 7, 3};
    uint32_t offsets[] = {0, 3, 6, 9};
    no_error(session_new(p, 2, &s));
    no_error(session_run_each(s, &(struct token_batch){3, 9, ids, NULL, offsets}, out));
    assert_null(out[0].err);
    assert_non_null(out[0].data);
    assert_non_null(out[1].err);
    assert_null(out[1].data);
    assert_null(out[2].err);
    assert_int_equal(out[2].dim[2], out[0].dim[2]);
    err_free(out[1].err);
    ids[4] = -1;
    struct err *err = session_run_each(s, &(struct token_batch){3, 9, ids, NULL, offsets}, out);
    assert_non_null(err);
    err_free(err);
    session_free(s);
    program_unref(p);
}

static void test_says_what_it_is(void **state)
{
    (void)state;
    struct program *p = load("mpnet_text_embedding", false, kernels_best());
    const struct program_info *info = program_info(p);
    assert_int_equal(info->output, OUTPUT_TENSOR);
    assert_int_equal(info->dimensions, 32);
    assert_true(info->vocab_size < INT32_MAX);
    assert_int_equal(info->max_tokens, 40);
    assert_true(info->weight_bytes > 0);
    program_unref(p);
    p = load("bert_text_embedding_quantized", false, kernels_best());
    assert_true(program_info(p)->interpreted);
    assert_non_null(strstr(program_info(p)->why, "quantized::linear_dynamic"));
    assert_int_equal(program_info(p)->vocab_size, INT32_MAX);
    program_unref(p);
    struct err *err = program_check_script(MODEL_FIXTURES "/README.md", NULL);
    assert_non_null(err);
    err_free(err);
}

/* Traced with later versions of transformers, which spell masks otherwise: fixtures/traced. */
static void check_traced(const char *name)
{
    static struct many m;
    static struct output out[MOST];
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct script_options o = {.max_tokens = 512};
    struct program *p;
    struct session *s;
    struct str text;
    const struct json *cases;
    no_error(
        program_load_script(arena_printf(a, "%s/traced/%s.pt", ENGINE_FIXTURES, name).p, &o, &p));
    if (program_info(p)->interpreted)
        fail_msg("%s: %s", name, program_info(p)->why);
    no_error(file_read(ENGINE_FIXTURES "/traced", arena_printf(a, "%s.json", name).p, 1 << 20, a,
                       &text));
    no_error(json_parse(a, text, &cases));
    memset(&m, 0, sizeof(m));
    m.b = (struct token_batch){cases->n, 0, m.ids, NULL, m.offsets};
    struct json_iter it = json_iter(cases);
    for (size_t i = 0; i < cases->n; i++) {
        const struct json *c = json_next(&it);
        m.b.n_tokens += read_row(json_get(c, "ids"), m.ids + m.b.n_tokens);
        m.offsets[i + 1] = (uint32_t)m.b.n_tokens;
        m.expected[i] = json_get(c, "expected");
    }
    no_error(session_new(p, 2, &s));
    no_error(session_run_each(s, &m.b, out));
    for (size_t i = 0; i < cases->n; i++) {
        const float *row = out[i].data;
        double most = largest_difference(m.expected[i], &row);
        assert_int_equal(row - out[i].data, 32);
        if (!(most <= 1e-5))
            fail_msg("%s: off by %g", name, most);
    }
    session_free(s);
    program_unref(p);
    arena_free(a);
}

static void test_later_spellings(void **state)
{
    (void)state;
    check_traced("distilbert");
    check_traced("roberta");
}

/* --- the same plan as a snapshot --- */

/* fixtures/traced_bert: one model's weights, saved and traced. */
static void test_plan_is_the_snapshots(void **state)
{
    (void)state;
    struct program *traced, *saved;
    struct script_options o = {.max_tokens = 512};
    no_error(program_load_script(ENGINE_FIXTURES "/traced_bert/traced.pt", &o, &traced));
    no_error(program_load_snapshot(ENGINE_FIXTURES "/traced_bert", NULL, &saved));
    if (!traced->graph)
        fail_msg("%s", traced->info.why);
    assert_int_equal(traced->graph->n_nodes, saved->graph->n_nodes);
    for (size_t i = 0; i < saved->graph->n_nodes; i++) {
        const struct node *a = &traced->graph->nodes[i], *b = &saved->graph->nodes[i];
        assert_string_equal(a->op->name, b->op->name);
        assert_memory_equal(&a->attr, &b->attr, sizeof(a->attr));
        assert_int_equal(a->n_in, b->n_in);
    }
    assert_int_equal(traced->graph->weights_bytes, saved->graph->weights_bytes);
    assert_memory_equal(traced->graph->weights, saved->graph->weights, saved->graph->weights_bytes);
    assert_int_equal(traced->plan->n_steps, saved->plan->n_steps);
    assert_int_equal(traced->plan->global_row_bytes, saved->plan->global_row_bytes);
    assert_int_equal(traced->info.max_tokens, saved->info.max_tokens);
    assert_int_equal(traced->info.vocab_size, saved->info.vocab_size);
    assert_int_equal(traced->info.dimensions, saved->info.dimensions);
    program_unref(traced);
    program_unref(saved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_libtorch),      cmocka_unit_test(test_bits_are_its_own),
        cmocka_unit_test(test_a_failure_is_its_own), cmocka_unit_test(test_says_what_it_is),
        cmocka_unit_test(test_later_spellings),      cmocka_unit_test(test_plan_is_the_snapshots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
