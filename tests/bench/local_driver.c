/* local_driver: the engine and the tokenizer without server, for ./bench local.
 *
 *     local_driver SNAPSHOT THREADS
 *
 * Reads from standard input: "SECONDS N_BATCHES\n", then N_BATCHES times "N_TEXTS\n" and N_TEXTS
 * lines of text. Runs the batches in turn, one thread feeding the session, for that long; prints
 * {"batches":,"us":,"p50":,"p99":} and reads on until the end. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "engine.h"
#include "tokenizer.h"

#define MAX_BATCHES 64
#define MAX_TEXTS   256
#define MAX_RUNS    1000000

struct texts {
    size_t n;
    struct str text[MAX_TEXTS];
};

static struct program *program;
static struct session *session;
static struct tokenizer *tokenizer;
static struct texts batches[MAX_BATCHES];
static int64_t runs[MAX_RUNS];

static void need(struct err *e)
{
    if (!e)
        return;
    fprintf(stderr, "local_driver: %s\n", e->reason);
    exit(1);
}

static void need_that(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "local_driver: %s\n", what);
    exit(2);
}

static bool read_line(struct arena *arena, struct str *out)
{
    static char line[1 << 16];
    if (!fgets(line, sizeof line, stdin))
        return false;
    *out = arena_dup(arena, str_trim(str_c(line)));
    return true;
}

/* Two numbers, or one. */
static bool read_numbers(struct arena *arena, int64_t *a, int64_t *b)
{
    struct str line, word;
    if (!read_line(arena, &line))
        return false;
    need_that(str_split(&line, ' ', &word) && str_to_i64(word, a), "a number is missing");
    if (b)
        need_that(str_split(&line, ' ', &word) && str_to_i64(word, b), "a number is missing");
    return true;
}

static bool read_work(struct arena *arena, int64_t *seconds, int64_t *n_batches)
{
    if (!read_numbers(arena, seconds, n_batches))
        return false;
    need_that(*n_batches > 0 && *n_batches <= MAX_BATCHES, "too many batches");
    for (int64_t i = 0; i < *n_batches; i++) {
        int64_t n;
        need_that(read_numbers(arena, &n, NULL) && n > 0 && n <= MAX_TEXTS, "too many texts");
        batches[i].n = (size_t)n;
        for (int64_t j = 0; j < n; j++)
            need_that(read_line(arena, &batches[i].text[j]), "a text is missing");
    }
    return true;
}

static void run_batch(const struct texts *texts)
{
    struct arena *arena = arena_new(ARENA_NO_LIMIT);
    struct window window = {.max_tokens = program_info(program)->max_seq_length};
    struct tokens tokens[MAX_TEXTS];
    uint32_t offsets[MAX_TEXTS + 1] = {0};
    for (size_t i = 0; i < texts->n; i++) {
        need(tokenizer_encode(tokenizer, arena, texts->text[i], (struct str){0}, &window,
                              &tokens[i]));
        offsets[i + 1] = offsets[i] + tokens[i].n;
    }
    int32_t *ids = arena_array(arena, offsets[texts->n], sizeof *ids);
    for (size_t i = 0; i < texts->n; i++)
        memcpy(ids + offsets[i], tokens[i].ids, tokens[i].n * sizeof *ids);
    struct token_batch batch = {
        .n_sequences = texts->n, .n_tokens = offsets[texts->n], .ids = ids, .offsets = offsets};
    struct tensor out;
    need(session_run(session, &batch, &out));
    arena_free(arena);
}

static int by_time(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void run_work(int64_t seconds, int64_t n_batches)
{
    size_t n = 0;
    int64_t begin = clock_mono_ns(), end = begin + seconds * 1000000000, now = begin;
    while (now < end && n < MAX_RUNS) {
        run_batch(&batches[n % (size_t)n_batches]);
        int64_t then = clock_mono_ns();
        runs[n++] = then - now;
        now = then;
    }
    qsort(runs, n, sizeof *runs, by_time);
    printf("{\"batches\":%zu,\"us\":%" PRId64 ",\"p50\":%.1f,\"p99\":%.1f}\n", n,
           (now - begin) / 1000, (double)runs[n / 2] / 1e3, (double)runs[n * 99 / 100] / 1e3);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    int64_t threads, seconds, n_batches;
    need_that(argc == 3 && str_to_i64(str_c(argv[2]), &threads), "SNAPSHOT THREADS");
    need(tokenizer_open_snapshot(argv[1], &tokenizer));
    need(program_load_snapshot(argv[1], &(struct engine_limits){0}, &program));
    need(session_new(program, (int)threads, &session));
    printf("{\"version\":\"inferd's engine, %s\"}\n", engine_kernels());
    fflush(stdout);
    for (;;) {
        struct arena *arena = arena_new(ARENA_NO_LIMIT);
        bool more = read_work(arena, &seconds, &n_batches);
        if (more)
            run_work(seconds, n_batches);
        arena_free(arena);
        if (!more)
            break;
    }
    session_free(session);
    program_unref(program);
    tokenizer_unref(tokenizer);
    return 0;
}
