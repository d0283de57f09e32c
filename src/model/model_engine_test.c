/* Deployments over the real engine: a tiny BERT made here, one layer of pseudo-random weights. What
 * is checked is the way through, not the mathematics (engine/ has that): rows reach their inputs,
 * have unit norm, and are the same bits whatever ran beside them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bug.h"
#include "engine.h"
#include "model.h"

#define HIDDEN    32
#define INTER     64
#define VOCAB     8
#define POSITIONS 64

static char root[] = "/tmp/model_engine_test.XXXXXX";

static void write_bytes(const char *name, const void *p, size_t n)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/tiny/%s", root, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
}

static void write_text(const char *name, const char *text)
{
    write_bytes(name, text, strlen(text));
}

struct weights {
    struct buf header, data;
    uint32_t random;
};

static void add(struct weights *w, const char *name, size_t rows, size_t columns)
{
    size_t n = rows * (columns ? columns : 1), from = w->data.n;
    bool is_scale = strstr(name, "LayerNorm.weight") != NULL;
    for (size_t i = 0; i < n; i++) {
        w->random = w->random * 1664525u + 1013904223u;
        float v = ((float)(w->random >> 8) / (1 << 24) - 0.5f) * 0.4f + (is_scale ? 1.0f : 0.0f);
        buf_put(&w->data, str_n((const char *)&v, sizeof(v)));
    }
    buf_printf(&w->header, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%zu", w->header.n > 1 ? "," : "",
               name, rows);
    if (columns)
        buf_printf(&w->header, ",%zu", columns);
    buf_printf(&w->header, "],\"data_offsets\":[%zu,%zu]}", from, w->data.n);
}

static void add_linear(struct weights *w, const char *name, size_t out, size_t in)
{
    char path[128];
    snprintf(path, sizeof(path), "%s.weight", name);
    add(w, path, out, in);
    snprintf(path, sizeof(path), "%s.bias", name);
    add(w, path, out, 0);
}

static void write_weights(void)
{
#define LAYER "encoder.layer.0."
    struct weights w = {.random = 7};
    buf_init(&w.header, 1 << 20);
    buf_init(&w.data, 1 << 20);
    buf_char(&w.header, '{');
    add(&w, "embeddings.word_embeddings.weight", VOCAB, HIDDEN);
    add(&w, "embeddings.position_embeddings.weight", POSITIONS, HIDDEN);
    add(&w, "embeddings.token_type_embeddings.weight", 2, HIDDEN);
    add_linear(&w, "embeddings.LayerNorm", HIDDEN, 0);
    add_linear(&w, LAYER "attention.self.query", HIDDEN, HIDDEN);
    add_linear(&w, LAYER "attention.self.key", HIDDEN, HIDDEN);
    add_linear(&w, LAYER "attention.self.value", HIDDEN, HIDDEN);
    add_linear(&w, LAYER "attention.output.dense", HIDDEN, HIDDEN);
    add_linear(&w, LAYER "attention.output.LayerNorm", HIDDEN, 0);
    add_linear(&w, LAYER "intermediate.dense", INTER, HIDDEN);
    add_linear(&w, LAYER "output.dense", HIDDEN, INTER);
    add_linear(&w, LAYER "output.LayerNorm", HIDDEN, 0);
    buf_char(&w.header, '}');
    while (w.header.n % 8)
        buf_char(&w.header, ' ');
    struct buf file;
    buf_init(&file, 1 << 21);
    uint64_t n = w.header.n;
    buf_put(&file, str_n((const char *)&n, sizeof(n)));
    buf_put(&file, buf_str(&w.header));
    buf_put(&file, buf_str(&w.data));
    write_bytes("model.safetensors", file.p, file.n);
    buf_deinit(&file);
    buf_deinit(&w.header);
    buf_deinit(&w.data);
}

static int make_model(void **state)
{
    char path[512];
    if (!mkdtemp(root))
        return -1;
    snprintf(path, sizeof(path), "%s/tiny", root);
    mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s/tiny/1_Pooling", root);
    mkdir(path, 0700);
    write_text("config.json",
               "{\"architectures\":[\"BertModel\"],\"model_type\":\"bert\",\"hidden_size\":32,"
               "\"num_hidden_layers\":1,\"num_attention_heads\":2,\"intermediate_size\":64,"
               "\"hidden_act\":\"gelu\",\"layer_norm_eps\":1e-12,\"max_position_embeddings\":64,"
               "\"type_vocab_size\":2,\"vocab_size\":8,\"position_embedding_type\":\"absolute\"}");
    write_text("modules.json", "[{\"idx\":0,\"name\":\"0\",\"path\":\"\","
                               "\"type\":\"sentence_transformers.models.Transformer\"},"
                               "{\"idx\":1,\"name\":\"1\",\"path\":\"1_Pooling\","
                               "\"type\":\"sentence_transformers.models.Pooling\"},"
                               "{\"idx\":2,\"name\":\"2\",\"path\":\"2_Normalize\","
                               "\"type\":\"sentence_transformers.models.Normalize\"}]");
    write_text("1_Pooling/config.json",
               "{\"word_embedding_dimension\":32,\"pooling_mode_cls_token\":false,"
               "\"pooling_mode_mean_tokens\":true,\"pooling_mode_max_tokens\":false,"
               "\"pooling_mode_mean_sqrt_len_tokens\":false}");
    write_text("sentence_bert_config.json", "{\"max_seq_length\":32}");
    write_text("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\nc\n##a\n");
    write_weights();
    return 0;
}

static int remove_model(void **state)
{
    static const char *const names[] = {"tiny/config.json",
                                        "tiny/modules.json",
                                        "tiny/1_Pooling/config.json",
                                        "tiny/1_Pooling",
                                        "tiny/vocab.txt",
                                        "tiny/sentence_bert_config.json",
                                        "tiny/model.safetensors",
                                        "tiny",
                                        ""};
    char path[512];
    int rc = 0;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", root, names[i]);
        rc |= remove(path);
    }
    return rc;
}

struct asked {
    struct call call;
    struct sink sink;
    struct str texts[40];
    struct result copy;
    const struct result *result;
};

static int waiting;

static void came_back(struct loop *l)
{
    if (--waiting == 0)
        loop_stop(l);
}

static struct asked *of(struct sink *s)
{
    return (struct asked *)((char *)s - offsetof(struct asked, sink));
}

static void on_done(struct sink *s, const struct result *r)
{
    result_copy(of(s)->call.arena, r, &of(s)->copy); /* borrowed from here on */
    of(s)->result = &of(s)->copy;
    came_back(of(s)->call.loop);
}

static void on_fail(struct sink *s, struct err *err)
{
    fail_msg("%s", err->reason);
}

static struct str text_of(size_t i)
{
    static const char *const texts[] = {"a", "b c", "a b c a b c a b c", "", "c c c", "aa b", "é"};
    return str_c(texts[i % (sizeof(texts) / sizeof(texts[0]))]);
}

static struct asked *ask(struct models *m, struct loop *l, size_t first, size_t n)
{
    struct asked *a = mem_new(sizeof(*a));
    a->sink = (struct sink){.done = on_done, .fail = on_fail};
    a->call.loop = l;
    a->call.arena = arena_new(ARENA_NO_LIMIT);
    a->call.sink = &a->sink;
    a->call.input.texts = a->texts;
    a->call.input.n_texts = n;
    for (size_t i = 0; i < n; i++)
        a->texts[i] = text_of(first + i);
    waiting++;
    deployment_submit(m, STR("d"), &a->call);
    return a;
}

static void started(void *ctx, struct err *err)
{
    if (err)
        fail_msg("%s", err->reason);
    came_back(ctx);
}

static void rows_are_the_same_bits_in_any_company(void **state)
{
    struct loop *l = loop_new(0);
    struct pool *pool = pool_new(2);
    struct models_options o = {.path = root, .processors = 2, .queue_capacity = 10000};
    struct models *m = models_new(&o, pool);
    struct deployment_spec spec = {
        .id = STR("d"), .model_id = STR("tiny"), .num_allocations = 2, .num_threads = 1};
    waiting = 1;
    deployment_start(m, &spec, l, started, l);
    loop_run(l);
    struct asked *alone[7], *together[30];
    for (size_t i = 0; i < 7; i++) {
        alone[i] = ask(m, l, i, 1);
        loop_run(l);
    }
    for (size_t i = 0; i < 30; i++)
        together[i] = ask(m, l, i, 1 + i);
    loop_run(l);
    for (size_t i = 0; i < 30; i++) {
        const struct result *r = together[i]->result;
        assert_int_equal(r->n, 1 + i);
        for (size_t k = 0; k < r->n; k++) {
            const float *row = r->embeddings[k].f32;
            double norm = 0;
            for (size_t j = 0; j < HIDDEN; j++)
                norm += (double)row[j] * (double)row[j];
            assert_true(fabs(norm - 1) < 1e-5);
            assert_int_equal(r->embeddings[k].n, HIDDEN);
            assert_memory_equal(row, alone[(i + k) % 7]->result->embeddings[0].f32,
                                HIDDEN * sizeof(float));
        }
        arena_free(together[i]->call.arena);
        free(together[i]);
    }
    assert_memory_not_equal(alone[0]->result->embeddings[0].f32,
                            alone[1]->result->embeddings[0].f32, HIDDEN * sizeof(float));
    for (size_t i = 0; i < 7; i++) {
        arena_free(alone[i]->call.arena);
        free(alone[i]);
    }
    models_quiesce(m);
    pool_free(pool);
    models_free(m);
    loop_free(l);
}

/* --- any batch --- */

#define N_KNOWN 48
/* Under the thread sanitizer, which is here for races and not for bits, a few will do. */
#ifdef __SANITIZE_THREAD__
#define N_BATCHES 5000
#else
#define N_BATCHES 120000
#endif
#define MOST_ROWS 12

struct known {
    int32_t ids[POSITIONS];
    uint32_t n;
    float row[HIDDEN];
};

static uint32_t random_below(uint32_t n)
{
    static uint64_t seed = 1;
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(seed >> 33) % n;
}

static void run(struct session *s, const struct known *const *rows, size_t n, struct output *out)
{
    int32_t ids[MOST_ROWS * POSITIONS];
    uint32_t offsets[MOST_ROWS + 1] = {0};
    for (size_t i = 0; i < n; i++) {
        memcpy(ids + offsets[i], rows[i]->ids, rows[i]->n * sizeof(ids[0]));
        offsets[i + 1] = offsets[i] + rows[i]->n;
    }
    struct token_batch b = {n, offsets[n], ids, NULL, offsets};
    assert_null(session_run_each(s, &b, out));
}

/* What a text gives does not depend on its batch, its neighbours, its place among them, on the
 * session or the number of its threads: not one bit of it. */
static void a_hundred_thousand_batches_agree(void **state)
{
    static struct known all[N_KNOWN];
    static const int threads[] = {1, 2, 4};
    char path[512];
    struct program *p;
    struct session *sessions[3];
    struct output out[MOST_ROWS];
    struct engine_limits limits = {.token_budget = 1024};
    snprintf(path, sizeof(path), "%s/tiny", root);
    assert_null(program_load_snapshot(path, &limits, &p));
    for (int i = 0; i < 3; i++)
        assert_null(session_new(p, threads[i], &sessions[i]));
    for (size_t i = 0; i < N_KNOWN; i++) {
        const struct known *one = &all[i];
        all[i].n = 1 + (i % 3 ? random_below(8) : random_below(POSITIONS));
        for (uint32_t k = 0; k < all[i].n; k++)
            all[i].ids[k] = (int32_t)random_below(8);
        run(sessions[0], &one, 1, out);
        memcpy(all[i].row, out[0].data, sizeof(all[i].row));
    }
    for (size_t b = 0; b < N_BATCHES; b++) {
        const struct known *rows[MOST_ROWS];
        size_t n = 1 + random_below(b % 16 ? 4 : MOST_ROWS);
        for (size_t i = 0; i < n; i++)
            rows[i] = &all[random_below(N_KNOWN)];
        run(sessions[b % 64 ? 0 : 1 + b / 64 % 2], rows, n, out);
        for (size_t i = 0; i < n; i++)
            if (memcmp(out[i].data, rows[i]->row, sizeof(rows[i]->row)) != 0)
                fail_msg("batch %zu, row %zu of %zu", b, i, n);
    }
    for (int i = 0; i < 3; i++)
        session_free(sessions[i]);
    program_unref(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_the_same_bits_in_any_company),
        cmocka_unit_test(a_hundred_thousand_batches_agree),
    };
    return cmocka_run_group_tests(tests, make_model, remove_model);
}
