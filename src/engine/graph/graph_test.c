/* Each op in a small graph against plain loops in doubles, over widths that do and do not fill
 * vectors and panels, on every instruction set of this machine; then what fuse makes of a graph.
 * Tolerance: 2e-6 of the largest number involved, some 16 roundings of a float. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "bug.h"
#include "op.h"
#include "program.h"

#define TOLERANCE  2e-6
#define MAX_TOKENS 150 /* more than one block of rows */
#define MAX_WIDTH  80

static const uint32_t widths[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 47, 48, 49, 64, 65, 70};
#define N_WIDTHS (sizeof(widths) / sizeof(widths[0]))

static uint32_t seed = 1;

static float random_float(void)
{
    seed = seed * 1664525 + 1013904223;
    return (float)(seed >> 8) * 0x1p-23f - 1;
}

static void no_error(struct err *err)
{
    if (err)
        print_error("%s\n", err->reason);
    assert_null(err);
}

/* A program around a graph made here. Its first value, `x`, is one row per token: word i is row i
 * of the table, and positions and types add nothing. */
struct lab {
    struct program *program;
    struct graph *graph;
    uint32_t x, width;
    const float *table; /* [MAX_TOKENS, width] */
};

static uint32_t constant(struct lab *lab, uint32_t rows, uint32_t columns, bool zero)
{
    size_t n = (size_t)rows * (columns ? columns : 1);
    float *data = weights_alloc(n);
    assert_non_null(data);
    for (size_t i = 0; i < n && !zero; i++)
        data[i] = random_float();
    return graph_constant(lab->graph, columns ? 2 : 1, (int64_t[]){rows, columns}, data);
}

static uint32_t node(struct lab *lab, const struct op *op, const uint32_t *in, uint32_t n_in,
                     struct attr attr)
{
    uint32_t out;
    no_error(graph_add(lab->graph, op, in, n_in, &attr, &out));
    return out;
}

static struct lab lab_new(const struct kernels *k, uint32_t width)
{
    struct lab lab = {.width = width, .program = mem_new(sizeof(struct program))};
    struct program *p = lab.program;
    atomic_init(&p->refs, 1);
    p->kernels = k;
    p->arena = arena_new(ARENA_NO_LIMIT);
    p->graph = lab.graph = graph_new();
    p->type_vocab_size = 1;
    p->info = (struct program_info){.max_tokens = MAX_TOKENS,
                                    .vocab_size = MAX_TOKENS,
                                    .dimensions = width,
                                    .token_budget = MAX_TOKENS};
    uint32_t in[] = {constant(&lab, MAX_TOKENS, width, false),
                     constant(&lab, MAX_TOKENS, width, true), constant(&lab, 1, width, true)};
    lab.table = lab.graph->values[in[0]].data;
    lab.x = node(&lab, &op_embed, in, 3, (struct attr){0});
    return lab;
}

static const float *constant_data(const struct lab *lab, uint32_t value)
{
    return lab->graph->values[value].data;
}

/* Copies what the runs are compared with before packing takes it away. */
static float *kept(const struct lab *lab, uint32_t value)
{
    float *copy = mem_new(lab->graph->values[value].data_bytes);
    memcpy(copy, constant_data(lab, value), lab->graph->values[value].data_bytes);
    return copy;
}

/* Runs sequences of `length` tokens, the last one shorter, over tokens 0, 1, 2 ...; `out` gets all
 * rows of the output. */
static void lab_run(struct lab *lab, uint32_t output, int n_threads, uint32_t n_tokens,
                    uint32_t length, float *out)
{
    int32_t ids[MAX_TOKENS];
    uint32_t offsets[MAX_TOKENS + 1] = {0};
    struct token_batch b = {.ids = ids, .offsets = offsets, .n_tokens = n_tokens};
    struct program *p = lab->program;
    struct session *s;
    struct tensor t;
    for (uint32_t i = 0; i < n_tokens; i++)
        ids[i] = (int32_t)i;
    while (offsets[b.n_sequences] < n_tokens) {
        uint32_t end = offsets[b.n_sequences] + length;
        offsets[++b.n_sequences] = end < n_tokens ? end : n_tokens;
    }
    p->graph->output = output;
    if (!p->plan) {
        no_error(graph_pack(p->graph, p->kernels));
        p->plan = plan_new(p->graph, p->kernels, MAX_TOKENS);
    }
    no_error(session_new(p, n_threads, &s));
    no_error(session_run(s, &b, &t));
    bool tokens = p->graph->values[output].dim[0] == DIM_TOKENS;
    size_t rows = tokens ? n_tokens : b.n_sequences;
    memcpy(out, t.data, rows * (size_t)p->graph->values[output].dim[1] * sizeof(float));
    session_free(s);
}

static void lab_free(struct lab *lab)
{
    program_unref(lab->program);
}

static void near(double got, double want, double scale)
{
    if (!(fabs(got - want) <= TOLERANCE * (scale > 1 ? scale : 1)))
        fail_msg("%.9g is not %.9g", got, want);
}

static double activated(enum activation act, double x)
{
    switch (act) {
    case ACT_GELU:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    case ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case ACT_RELU:
        return x > 0 ? x : 0;
    case ACT_SILU:
        return x / (1 + exp(-x));
    case ACT_TANH:
        return tanh(x);
    default:
        return x;
    }
}

/* --- ops --- */

typedef void op_check(const struct kernels *, uint32_t width);

static void for_all(op_check *check)
{
    const struct kernels *k;
    for (size_t i = 0; (k = kernels_at(i)); i++)
        for (size_t w = 0; w < N_WIDTHS; w++)
            check(k, widths[w]);
}

/* Token i in its sequence of 7; with pads, token 1 is padding and those behind it come earlier. */
static size_t position_of(size_t i, bool pads)
{
    if (pads && i == 1)
        return 1;
    return i % 7 + 2 - (pads && i > 1 && i < 7);
}

static void check_embed_pads(const struct kernels *k, uint32_t n, bool pads)
{
    static float out[MAX_TOKENS * MAX_WIDTH];
    struct lab lab = lab_new(k, n);
    uint32_t in[] = {constant(&lab, MAX_TOKENS, n, false), constant(&lab, 9, n, false),
                     constant(&lab, 1, n, false)};
    float *word = kept(&lab, in[0]), *place = kept(&lab, in[1]), *type = kept(&lab, in[2]);
    uint32_t y = node(&lab, &op_embed, in, 3, (struct attr){.position_base = 2, .pads = pads});
    lab_run(&lab, y, 1, 20, 7, out);
    for (size_t i = 0; i < 20; i++)
        for (size_t j = 0; j < n; j++)
            near(out[i * n + j],
                 (double)word[i * n + j] + (double)place[position_of(i, pads) * n + j] +
                     (double)type[j],
                 1);
    free(word);
    free(place);
    free(type);
    lab_free(&lab);
}

static void check_embed(const struct kernels *k, uint32_t n)
{
    check_embed_pads(k, n, false);
    check_embed_pads(k, n, true);
}

static void check_linear(const struct kernels *k, uint32_t n)
{
    static float out[MAX_TOKENS * MAX_WIDTH];
    uint32_t depth = 71 - n;
    for (int i = 0; i < 2 * N_ACTIVATIONS; i++) {
        struct lab lab = lab_new(k, depth);
        enum activation act = (enum activation)(i / 2);
        uint32_t in[] = {lab.x, constant(&lab, n, depth, false), constant(&lab, n, 0, false)};
        float *w = kept(&lab, in[1]), *bias = kept(&lab, in[2]);
        uint32_t y = node(&lab, &op_linear, in, i % 2 ? 3 : 2, (struct attr){.act = act});
        lab_run(&lab, y, 1, 21, 5, out);
        for (size_t r = 0; r < 21; r++)
            for (size_t j = 0; j < n; j++) {
                double sum = i % 2 ? (double)bias[j] : 0;
                for (size_t d = 0; d < depth; d++)
                    sum += (double)lab.table[r * depth + d] * (double)w[j * depth + d];
                near(out[r * n + j], activated(act, sum), 4);
            }
        free(w);
        free(bias);
        lab_free(&lab);
    }
}

static void check_layer_norm(const struct kernels *k, uint32_t n)
{
    static float out[MAX_TOKENS * MAX_WIDTH];
    for (int adds = 0; adds < 2; adds++) {
        struct lab lab = lab_new(k, n);
        uint32_t gamma = constant(&lab, n, 0, false), beta = constant(&lab, n, 0, false);
        uint32_t in[] = {lab.x, gamma, beta}, in_add[] = {lab.x, lab.x, gamma, beta};
        uint32_t y = adds ? node(&lab, &op_add_layer_norm, in_add, 4, (struct attr){.eps = 1e-3f})
                          : node(&lab, &op_layer_norm, in, 3, (struct attr){.eps = 1e-3f});
        lab_run(&lab, y, 1, 9, 2, out);
        for (size_t r = 0; r < 9; r++) {
            double mean = 0, variance = 0;
            const float *x = lab.table + r * n;
            for (size_t j = 0; j < n; j++)
                mean += (1 + adds) * (double)x[j] / n;
            for (size_t j = 0; j < n; j++)
                variance += pow((1 + adds) * (double)x[j] - mean, 2) / n;
            for (size_t j = 0; j < n; j++)
                near(out[r * n + j],
                     ((1 + adds) * (double)x[j] - mean) / sqrt(variance + (double)1e-3f) *
                             (double)constant_data(&lab, gamma)[j] +
                         (double)constant_data(&lab, beta)[j],
                     4);
        }
        lab_free(&lab);
    }
}

static void check_elementwise(const struct kernels *k, uint32_t n)
{
    static float out[MAX_TOKENS * MAX_WIDTH];
    for (int act = 0; act < N_ACTIVATIONS; act++) {
        struct lab lab = lab_new(k, n);
        uint32_t sum = node(&lab, &op_add, (uint32_t[]){lab.x, lab.x}, 2, (struct attr){0});
        uint32_t y =
            node(&lab, &op_activation, &sum, 1, (struct attr){.act = (enum activation)act});
        lab_run(&lab, y, 1, 5, 2, out);
        for (size_t i = 0; i < 5 * n; i++)
            near(out[i], activated((enum activation)act, 2 * (double)lab.table[i]), 1);
        lab_free(&lab);
    }
}

static void check_l2_normalize(const struct kernels *k, uint32_t n)
{
    static float out[MAX_TOKENS * MAX_WIDTH];
    struct lab lab = lab_new(k, n);
    uint32_t y = node(&lab, &op_l2_normalize, &lab.x, 1, (struct attr){0});
    lab_run(&lab, y, 1, 5, 5, out);
    for (size_t r = 0; r < 5; r++) {
        double squares = 0;
        for (size_t j = 0; j < n; j++)
            squares += pow((double)lab.table[r * n + j], 2);
        for (size_t j = 0; j < n; j++)
            near(out[r * n + j], (double)lab.table[r * n + j] / sqrt(squares), 1);
    }
    lab_free(&lab);
}

/* Rows [from, to) of a column pooled; `i` counts from 1. */
static double pooled(enum pooling p, const float *x, size_t n, size_t from, size_t to)
{
    double sum = 0, most = -INFINITY, weights = 0;
    for (size_t r = from; r < to; r++) {
        double v = (double)x[r * n], i = (double)(r - from + 1);
        most = v > most ? v : most;
        sum += p == POOL_WEIGHTEDMEAN ? i * v : v;
        weights += i;
    }
    switch (p) {
    case POOL_CLS:
        return (double)x[from * n];
    case POOL_LASTTOKEN:
        return (double)x[(to - 1) * n];
    case POOL_MAX:
        return most;
    case POOL_MEAN:
        return sum / (double)(to - from);
    case POOL_MEAN_SQRT_LEN:
        return sum / sqrt((double)(to - from));
    default:
        return sum / weights;
    }
}

static void check_pool(const struct kernels *k, uint32_t n)
{
    static float out[MAX_TOKENS * MAX_WIDTH];
    for (int p = 0; p < N_POOLINGS; p++) {
        struct lab lab = lab_new(k, n);
        uint32_t y = node(&lab, &op_pool, &lab.x, 1, (struct attr){.pooling = (enum pooling)p});
        lab_run(&lab, y, 1, 10, 4, out);
        for (size_t s = 0; s < 3; s++)
            for (size_t j = 0; j < n; j++)
                near(out[s * n + j],
                     pooled((enum pooling)p, lab.table + j, n, s * 4, s < 2 ? s * 4 + 4 : 10), 2);
        lab_free(&lab);
    }
}

/* As wide as several items of the op, over more tokens than one of its tiles. */
static void check_splade(const struct kernels *k, uint32_t depth)
{
    enum { COLUMNS = 301, TOKENS = 140, LENGTH = 33, SEQUENCES = 5 };
    static float out[SEQUENCES * COLUMNS];
    struct lab lab = lab_new(k, depth);
    uint32_t in[] = {lab.x, constant(&lab, COLUMNS, depth, false),
                     constant(&lab, COLUMNS, 0, false)};
    float *w = kept(&lab, in[1]), *bias = kept(&lab, in[2]);
    uint32_t y = node(&lab, &op_splade, in, 3, (struct attr){0});
    lab_run(&lab, y, 2, TOKENS, LENGTH, out);
    for (size_t s = 0; s < SEQUENCES; s++)
        for (size_t j = 0; j < COLUMNS; j++) {
            double most = 0;
            for (size_t r = s * LENGTH; r < (s + 1) * LENGTH && r < TOKENS; r++) {
                double sum = (double)bias[j];
                for (size_t i = 0; i < depth; i++)
                    sum += (double)lab.table[r * depth + i] * (double)w[j * depth + i];
                most = sum > most ? sum : most;
            }
            near(out[s * COLUMNS + j], log1p(most), 8);
        }
    free(w);
    free(bias);
    lab_free(&lab);
}

/* One head: q, k and v are all x itself, seen at three columns. */
static void check_attention_bias(const struct kernels *k, uint32_t d, bool biased)
{
    static float out[MAX_TOKENS * MAX_WIDTH];
    enum { LENGTH = 37 };
    double e[LENGTH];
    struct lab lab = lab_new(k, d + 2);
    uint32_t in[] = {lab.x, lab.x, lab.x, constant(&lab, 1, 2 * MAX_TOKENS - 1, false)};
    const float *bias = constant_data(&lab, in[3]) + MAX_TOKENS - 1;
    uint32_t y = node(&lab, &op_attention, in, biased ? 4 : 3,
                      (struct attr){.heads = 1, .width = d, .column = {0, 1, 2}});
    lab_run(&lab, y, 1, 2 * LENGTH, LENGTH, out);
    for (size_t r = 0; r < 2 * LENGTH; r++) {
        const float *x = lab.table + r / LENGTH * LENGTH * (d + 2), *q = lab.table + r * (d + 2);
        double sum = 0;
        for (size_t i = 0; i < LENGTH; i++) {
            double dot = 0;
            for (size_t j = 0; j < d; j++)
                dot += (double)q[j] * (double)x[i * (d + 2) + j + 1];
            double more = biased ? (double)bias[(ptrdiff_t)i - (ptrdiff_t)(r % LENGTH)] : 0;
            sum += e[i] = exp(dot / sqrt(d) + more);
        }
        for (size_t j = 0; j < d; j++) {
            double want = 0;
            for (size_t i = 0; i < LENGTH; i++)
                want += e[i] / sum * (double)x[i * (d + 2) + j + 2];
            near(out[r * d + j], want, 1);
        }
    }
    lab_free(&lab);
}

static void check_attention(const struct kernels *k, uint32_t d)
{
    check_attention_bias(k, d, false);
    check_attention_bias(k, d, true);
}

static void test_embed(void **state)
{
    for_all(check_embed);
}

static void test_linear(void **state)
{
    for_all(check_linear);
}

static void test_layer_norm(void **state)
{
    for_all(check_layer_norm);
}

static void test_elementwise(void **state)
{
    for_all(check_elementwise);
}

static void test_l2_normalize(void **state)
{
    for_all(check_l2_normalize);
}

static void test_pool(void **state)
{
    for_all(check_pool);
}

static void test_splade(void **state)
{
    for_all(check_splade);
}

static void test_attention(void **state)
{
    for_all(check_attention);
}

/* --- shapes --- */

static void refused(struct lab *lab, const struct op *op, const uint32_t *in, uint32_t n_in,
                    struct attr attr)
{
    uint32_t out;
    struct err *err = graph_add(lab->graph, op, in, n_in, &attr, &out);
    if (!err || err->kind != ERR_ARGUMENT || !strstr(err->reason, op->name))
        fail_msg("%s of %u inputs: %s", op->name, n_in, err ? err->reason : "accepted");
    err_free(err);
}

static void test_shapes_are_refused(void **state)
{
    struct lab lab = lab_new(kernels_best(), 6);
    uint32_t x = lab.x, w = constant(&lab, 4, 6, true), w5 = constant(&lab, 4, 5, true);
    uint32_t six = constant(&lab, 6, 0, true), four = constant(&lab, 4, 0, true);
    uint32_t pooled_x = node(&lab, &op_pool, &x, 1, (struct attr){0});
    struct attr none = {0};
    refused(&lab, &op_linear, (uint32_t[]){x, w5}, 2, none);
    refused(&lab, &op_linear, (uint32_t[]){x, w, six}, 3, none);
    refused(&lab, &op_linear, (uint32_t[]){x, x}, 2, none);
    refused(&lab, &op_linear, (uint32_t[]){w, w}, 2, none);
    refused(&lab, &op_linear, (uint32_t[]){x}, 1, none);
    refused(&lab, &op_layer_norm, (uint32_t[]){x, six, four}, 3, none);
    refused(&lab, &op_layer_norm, (uint32_t[]){x, six}, 2, none);
    refused(&lab, &op_add, (uint32_t[]){x, pooled_x}, 2, none);
    refused(&lab, &op_add, (uint32_t[]){x, w}, 2, none);
    refused(&lab, &op_activation, (uint32_t[]){w}, 1, none);
    refused(&lab, &op_pool, (uint32_t[]){pooled_x}, 1, none);
    refused(&lab, &op_pool, (uint32_t[]){x}, 1, (struct attr){.pooling = N_POOLINGS});
    refused(&lab, &op_attention, (uint32_t[]){x, x, x}, 3, none);
    refused(&lab, &op_attention, (uint32_t[]){x, x, x}, 3, (struct attr){.heads = 4});
    refused(&lab, &op_attention, (uint32_t[]){x, x, x}, 3,
            (struct attr){.heads = 2, .column = {0, 0, 1}});
    refused(&lab, &op_attention, (uint32_t[]){x, x, pooled_x}, 3, (struct attr){.heads = 2});
    refused(&lab, &op_attention, (uint32_t[]){x, x, x, x}, 4, (struct attr){.heads = 2});
    refused(&lab, &op_attention, (uint32_t[]){x, x, x, w5}, 4, (struct attr){.heads = 2});
    refused(&lab, &op_attention, (uint32_t[]){x, x, x, w}, 4, (struct attr){.heads = 3});
    refused(&lab, &op_splade, (uint32_t[]){x, w}, 2, none);
    refused(&lab, &op_splade, (uint32_t[]){x, w5, four}, 3, none);
    refused(&lab, &op_splade, (uint32_t[]){x, w, six}, 3, none);
    refused(&lab, &op_splade, (uint32_t[]){pooled_x, w, four}, 3, none);
    refused(&lab, &op_embed, (uint32_t[]){w, w5, w}, 3, none);
    refused(&lab, &op_embed, (uint32_t[]){w}, 1, none);
    refused(&lab, &op_embed, (uint32_t[]){w, x}, 2, none);
    lab_free(&lab);
}

static void test_table_is_the_allow_list(void **state)
{
    assert_ptr_equal(op_find(STR("linear")), &op_linear);
    assert_ptr_equal(op_find(STR("l2_normalize")), &op_l2_normalize);
    assert_null(op_find(STR("linea")));
    assert_null(op_find(STR("linear ")));
    assert_null(op_find(STR("")));
}

/* --- fuse --- */

static uint32_t dense(struct lab *lab, uint32_t x, uint32_t n, uint32_t depth)
{
    uint32_t w = constant(lab, n, depth, false), bias = constant(lab, n, 0, false);
    return node(lab, &op_linear, (uint32_t[]){x, w, bias}, 3, (struct attr){0});
}

static uint32_t add_norm(struct lab *lab, uint32_t x, uint32_t y)
{
    uint32_t sum = node(lab, &op_add, (uint32_t[]){x, y}, 2, (struct attr){0});
    uint32_t gamma = constant(lab, lab->width, 0, false),
             beta = constant(lab, lab->width, 0, false);
    return node(lab, &op_layer_norm, (uint32_t[]){sum, gamma, beta}, 3,
                (struct attr){.eps = 1e-5f});
}

static uint32_t encoder_layer(struct lab *lab, uint32_t x)
{
    uint32_t qkv[3], n = lab->width;
    for (int i = 0; i < 3; i++)
        qkv[i] = dense(lab, x, n, n);
    uint32_t y = node(lab, &op_attention, qkv, 3, (struct attr){.heads = 2});
    x = add_norm(lab, dense(lab, y, n, n), x);
    y = dense(lab, x, 50, n);
    y = node(lab, &op_activation, &y, 1, (struct attr){.act = ACT_GELU});
    return add_norm(lab, dense(lab, y, n, 50), x);
}

static size_t count(const struct graph *g, const struct op *op)
{
    size_t n = 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        n += g->nodes[i].op == op;
    return n;
}

static struct lab two_layers(const struct kernels *k, bool fuse)
{
    seed = 77;
    struct lab lab = lab_new(k, 34);
    lab.graph->output = encoder_layer(&lab, encoder_layer(&lab, lab.x));
    if (fuse)
        no_error(graph_fuse(lab.graph));
    return lab;
}

/* Fused or not, split over blocks and threads or not: the same bits, but for the layer norm that
 * adds in one go. */
static void check_fused(const struct kernels *k)
{
    static float plain[MAX_TOKENS * 34], fused[MAX_TOKENS * 34], again[MAX_TOKENS * 34];
    struct lab a = two_layers(k, false), b = two_layers(k, true);
    assert_int_equal(count(b.graph, &op_linear), 2 * 4);
    assert_int_equal(count(b.graph, &op_add_layer_norm), 2 * 2);
    assert_int_equal(count(b.graph, &op_attention), 2);
    assert_int_equal(b.graph->n_nodes, 1 + 2 * 7);
    lab_run(&a, a.graph->output, 1, MAX_TOKENS, 41, plain);
    lab_run(&b, b.graph->output, 1, MAX_TOKENS, 41, fused);
    for (size_t i = 0; i < MAX_TOKENS * 34; i++)
        near(fused[i], plain[i], 4);
    for (int n_threads = 2; n_threads <= 3; n_threads++) {
        lab_run(&b, b.graph->output, n_threads, MAX_TOKENS, 41, again);
        assert_memory_equal(again, fused, sizeof(fused));
    }
    lab_free(&a);
    lab_free(&b);
}

static void test_fuse_changes_nothing_else(void **state)
{
    const struct kernels *k;
    for (size_t i = 0; (k = kernels_at(i)); i++)
        check_fused(k);
}

/* What a second node reads must stay. */
static void test_fuse_leaves_shared_values(void **state)
{
    struct lab lab = lab_new(kernels_best(), 12);
    uint32_t y = dense(&lab, lab.x, 12, 12);
    uint32_t z = node(&lab, &op_activation, &y, 1, (struct attr){.act = ACT_RELU});
    uint32_t sum = node(&lab, &op_add, (uint32_t[]){y, z}, 2, (struct attr){0});
    uint32_t gamma = constant(&lab, 12, 0, false), beta = constant(&lab, 12, 0, false);
    uint32_t norm = node(&lab, &op_layer_norm, (uint32_t[]){sum, gamma, beta}, 3, (struct attr){0});
    lab.graph->output = node(&lab, &op_add, (uint32_t[]){sum, norm}, 2, (struct attr){0});
    size_t before = lab.graph->n_nodes;
    no_error(graph_fuse(lab.graph));
    assert_int_equal(lab.graph->n_nodes, before);
    lab_free(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_is_the_allow_list),
        cmocka_unit_test(test_shapes_are_refused),
        cmocka_unit_test(test_embed),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_elementwise),
        cmocka_unit_test(test_l2_normalize),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_splade),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_fuse_changes_nothing_else),
        cmocka_unit_test(test_fuse_leaves_shared_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
