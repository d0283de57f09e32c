/* What the tests of deployments share: a folder of models, a loop that runs in the test's thread,
 * and the shortest ways to start, ask and look. The engine is the fake one. One test file includes
 * it. */
#ifndef INFERD_MODEL_TESTING_H
#define INFERD_MODEL_TESTING_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bug.h"
#include "fake_engine.h"
#include "model.h"

static char root[] = "/tmp/model_test.XXXXXX";

struct world {
    struct loop *loop;
    struct pool *pool;
    struct models *models;
    int waiting; /* things that have not come back */
};

static struct world w;
static int64_t cache_bytes; /* of what starts */

static inline void write_file(const char *model, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", root, model);
    mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s/%s/%s", root, model, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static inline void write_model(const char *model, const char *weights)
{
    write_file(model, "config.json",
               "{\"model_type\":\"bert\",\"hidden_size\":4,\"max_position_embeddings\":64}");
    write_file(model, "sentence_bert_config.json", "{\"max_seq_length\":8}");
    write_file(model, "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\nc\n##a\n");
    write_file(model, "model.safetensors", weights);
}

static inline int make_models(void **state)
{
    if (!mkdtemp(root))
        return -1;
    write_model("good", "weights");
    write_model("other", "weights");
    write_model("bad-weights", "broken");
    write_model("bad-config", "weights");
    write_file("bad-config", "config.json", "{\"hidden_size\":\"4\"}");
    write_model("bad-vocab", "weights");
    write_file("bad-vocab", "vocab.txt", "a\nb\n");
    write_model("big-vocab", "weights");
    char text[2048] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n";
    for (int i = 0; i < 100; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "t%d\n", i);
    write_file("big-vocab", "vocab.txt", text);
    write_file("empty", "README", "");
    return 0;
}

static inline int remove_models(void **state)
{
    static const char *const models[] = {"good",      "other",     "bad-weights", "bad-config",
                                         "bad-vocab", "big-vocab", "empty"};
    static const char *const files[] = {"config.json", "sentence_bert_config.json", "vocab.txt",
                                        "model.safetensors", "README"};
    char path[512];
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        for (size_t k = 0; k < sizeof(files) / sizeof(files[0]); k++) {
            snprintf(path, sizeof(path), "%s/%s/%s", root, models[i], files[k]);
            unlink(path);
        }
        snprintf(path, sizeof(path), "%s/%s", root, models[i]);
        rmdir(path);
    }
    return rmdir(root);
}

static inline void begin_with(int processors, size_t capacity)
{
    struct models_options o = {
        .path = root, .processors = processors, .queue_capacity = capacity, .node_id = "n1"};
    w = (struct world){.loop = loop_new(0), .pool = pool_new(2)};
    w.models = models_new(&o, w.pool);
    cache_bytes = 0;
}

static inline void begin(size_t capacity)
{
    begin_with(4, capacity);
}

static inline void end(void)
{
    fake_hold(false);
    fake_fail_runs(false);
    models_quiesce(w.models);
    pool_free(w.pool);
    models_free(w.models);
    assert_int_equal(fake_sessions(), 0);
    if (w.waiting) { /* what was failed at the end has been posted home */
        loop_stop(w.loop);
        loop_run(w.loop);
    }
    assert_int_equal(w.waiting, 0);
    assert_int_equal(fake_programs(), 0);
    loop_free(w.loop);
}

static inline void came_back(void)
{
    if (--w.waiting == 0)
        loop_stop(w.loop);
}

static inline void until_all_are_back(void)
{
    if (w.waiting)
        loop_run(w.loop);
    assert_int_equal(w.waiting, 0);
}

/* --- one call --- */

struct asked {
    struct call call;
    struct sink sink;
    int done, failed;
    struct err *err;
    const struct result *result;
    struct result copy;
    struct str texts[64];
};

static inline struct asked *of(struct sink *s)
{
    return (struct asked *)((char *)s - offsetof(struct asked, sink));
}

static inline void on_done(struct sink *s, const struct result *r)
{
    result_copy(of(s)->call.arena, r, &of(s)->copy); /* borrowed from here on */
    of(s)->result = &of(s)->copy;
    of(s)->done++;
    came_back();
}

static inline void on_fail(struct sink *s, struct err *err)
{
    of(s)->err = err;
    of(s)->failed++;
    came_back();
}

static uint32_t asking; /* the owner of calls */

static inline struct asked *ask_two(const char *id, size_t n, const char *text, const char *second)
{
    struct asked *a = mem_new(sizeof(*a));
    a->sink = (struct sink){.done = on_done, .fail = on_fail};
    a->call.loop = w.loop;
    a->call.arena = arena_new(ARENA_NO_LIMIT);
    a->call.sink = &a->sink;
    a->call.owner = asking;
    a->call.input.task = TASK_TEXT_EMBEDDING;
    a->call.input.texts = a->texts;
    a->call.input.n_texts = n;
    a->call.input.input_type = n % 2 ? INPUT_SEARCH : INPUT_INGEST;
    for (size_t i = 0; i < n; i++)
        a->texts[i] = str_c(i == 1 ? second : text);
    w.waiting++;
    deployment_submit(w.models, str_c(id), &a->call);
    return a;
}

static inline struct asked *ask(const char *id, size_t n, const char *text)
{
    return ask_two(id, n, text, text);
}

static inline void forget(struct asked *a)
{
    assert_int_equal(a->done + a->failed, 1);
    err_free(a->err);
    arena_free(a->call.arena);
    free(a);
}

static inline void cancel(struct asked *a)
{
    atomic_store(&a->call.cancelled, true);
    if (a->call.on_cancel)
        a->call.on_cancel(&a->call);
}

static inline void expect_failure(struct asked *a, int status, const char *text)
{
    assert_int_equal(a->failed, 1);
    if (a->err->status != status || !strstr(a->err->reason, text))
        fail_msg("%d [%s], not %d [%s]", a->err->status, a->err->reason, status, text);
    forget(a);
}

/* --- starting and the like --- */

static struct err *last_err;

static inline void keep_err(void *ctx, struct err *err)
{
    err_free(last_err);
    last_err = err;
    if (ctx)
        ++*(int *)ctx;
    came_back();
}

static inline void start(const char *id, const char *model, int n, int threads)
{
    struct deployment_spec spec = {.id = str_c(id),
                                   .model_id = str_c(model),
                                   .num_allocations = n,
                                   .num_threads = threads,
                                   .cache_bytes = cache_bytes};
    w.waiting++;
    deployment_start(w.models, &spec, w.loop, keep_err, NULL);
}

static inline void start_ok(const char *id, int n)
{
    start(id, "good", n, 1);
    until_all_are_back();
    if (last_err)
        fail_msg("%s", last_err->reason);
}

static inline void expect_err(int status, const char *text)
{
    assert_non_null(last_err);
    if (last_err->status != status || !strstr(last_err->reason, text))
        fail_msg("%d [%s], not %d [%s]", last_err->status, last_err->reason, status, text);
    err_free(last_err);
    last_err = NULL;
}

static inline void stop(const char *id)
{
    w.waiting++;
    deployment_stop(w.models, str_c(id), false, w.loop, keep_err, NULL);
}

static inline void scale(const char *id, int n)
{
    w.waiting++;
    struct deployment_change c = {.has_number = true, .number = n};
    deployment_update(w.models, str_c(id), &c, w.loop, keep_err, NULL);
}

static inline struct deployment_state state_of(const char *id)
{
    struct deployment_state s;
    deployment_state(w.models, str_c(id), &s);
    return s;
}

#endif
