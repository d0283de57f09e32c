/* A folder whose model.safetensors begins with "broken" cannot be loaded. */
#include "fake_engine.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bug.h"
#include "engine.h"

struct program {
    atomic_int refs;
    struct program_info info;
};

struct session {
    struct program *program;
    void (*pause)(void *ctx);
    void *pause_ctx;
    float *rows;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool held, failing;
static int inside, most_inside;
static atomic_int loads, programs, sessions, runs;

void fake_hold(bool on)
{
    pthread_mutex_lock(&lock);
    held = on;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

void fake_wait_running(int n)
{
    pthread_mutex_lock(&lock);
    while (inside < n)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

void fake_fail_runs(bool fail)
{
    pthread_mutex_lock(&lock);
    failing = fail;
    pthread_mutex_unlock(&lock);
}

int fake_loads(void)
{
    return loads;
}

int fake_programs(void)
{
    return programs;
}

int fake_sessions(void)
{
    return sessions;
}

int fake_runs(void)
{
    return runs;
}

int fake_most_running(void)
{
    pthread_mutex_lock(&lock);
    int most = most_inside;
    most_inside = inside;
    pthread_mutex_unlock(&lock);
    return most;
}

static struct err *load(const char *path, const struct engine_limits *limits, struct program **out)
{
    char head[6] = "";
    FILE *f = fopen(path, "r");
    BUG_ON(!f);
    size_t n = fread(head, 1, sizeof(head), f);
    fclose(f);
    loads++;
    if (n == 6 && memcmp(head, "broken", 6) == 0)
        return err_new(ERR_ARGUMENT, "file [model.safetensors]: broken");
    struct program *p = mem_new(sizeof(*p));
    p->refs = 1;
    p->info = (struct program_info){.max_tokens = 64,
                                    .max_seq_length = FAKE_MAX_SEQ_LENGTH,
                                    .vocab_size = 100,
                                    .dimensions = FAKE_DIMENSIONS,
                                    .token_budget = limits->token_budget};
    programs++;
    *out = p;
    return NULL;
}

struct err *program_load_snapshot(const char *folder, const struct engine_limits *limits,
                                  struct program **out)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/model.safetensors", folder);
    return load(path, limits, out);
}

struct err *program_load_script(const char *file, const struct script_options *options,
                                struct program **out)
{
    return load(file, &options->limits, out);
}

struct program *program_ref(struct program *p)
{
    p->refs++;
    return p;
}

void program_unref(struct program *p)
{
    if (p && --p->refs == 0) {
        programs--;
        free(p);
    }
}

const struct program_info *program_info(const struct program *p)
{
    return &p->info;
}

struct err *session_new(struct program *p, int n_threads, struct session **out)
{
    struct session *s = mem_new(sizeof(*s));
    s->program = p; /* on purpose without a reference: whoever frees a program too early is seen */
    s->rows = mem_array((size_t)p->info.token_budget * FAKE_DIMENSIONS, sizeof(float));
    sessions++;
    *out = s;
    return NULL;
}

void session_free(struct session *s)
{
    BUG_ON(s->program->refs < 1);
    sessions--;
    free(s->rows);
    free(s);
}

void session_set_pause(struct session *s, void (*pause)(void *ctx), void *ctx)
{
    s->pause = pause;
    s->pause_ctx = ctx;
}

void session_place(struct session *s, const int *cpus)
{
    BUG_ON(!s || !cpus);
}

static bool pass_gate(void)
{
    pthread_mutex_lock(&lock);
    inside++;
    most_inside = inside > most_inside ? inside : most_inside;
    pthread_cond_broadcast(&changed);
    while (held)
        pthread_cond_wait(&changed, &lock);
    inside--;
    bool ok = !failing;
    pthread_mutex_unlock(&lock);
    return ok;
}

struct err *session_run_each(struct session *s, const struct token_batch *b, struct output *out)
{
    if (!pass_gate())
        return err_new(ERR_INTERNAL, "out of order");
    BUG_ON(b->n_tokens > s->program->info.token_budget ||
           b->offsets[b->n_sequences] != b->n_tokens);
    for (size_t i = 0; i < b->n_sequences; i++) {
        if (s->pause)
            s->pause(s->pause_ctx);
        float *row = s->rows + i * FAKE_DIMENSIONS;
        uint32_t from = b->offsets[i], to = b->offsets[i + 1];
        row[0] = (float)(to - from);
        row[1] = (float)b->ids[from];
        row[2] = (float)b->ids[to - 1];
        row[3] = 0;
        for (uint32_t k = from; k < to; k++)
            row[3] += (float)b->ids[k];
        out[i] = (struct output){.dim = {1, 1, FAKE_DIMENSIONS}, .data = row};
        for (uint32_t k = from; k < to; k++)
            if (b->ids[k] == FAKE_BAD_TOKEN && !out[i].err)
                out[i] = (struct output){.err = err_new(ERR_ARGUMENT, "a bad token")};
    }
    runs++;
    return NULL;
}

const char *engine_kernels(void)
{
    return "fake";
}
