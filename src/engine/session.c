/* A session's memory is reserved for the whole token budget when it is made and gets pages as
 * batches first reach them: a run allocates nothing, and a session that only ever sees short
 * queries stays small. */
#include <sys/mman.h>

#include "bug.h"
#include "program.h"
#include "run.h"
#include "runners.h"
#include "team.h"

/* More than any machine has; what it bounds is a program with absurd sizes. */
#define MOST_BYTES ((size_t)1 << 40)

struct session {
    struct program *program;
    struct run run; /* of a graph; its team is there in any case */
    void *memory;
    size_t bytes;
    float *pairs;            /* of question answering: columns of the last output as rows */
    struct runners *runners; /* of a script */
};

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static struct err *reserve(struct session *s, size_t n_threads)
{
    const struct plan *p = s->program->plan;
    size_t budget = s->program->info.token_budget;
    size_t global = round_up(p->global_row_bytes * budget, 4096);
    s->run.local_bytes = round_up(p->local_row_bytes * PLAN_MOST_ROWS, 4096);
    s->run.scratch_bytes = round_up(p->scratch_bytes, 4096);
    s->bytes = global + n_threads * (s->run.local_bytes + s->run.scratch_bytes) + 4096;
    if (p->global_row_bytes > MOST_BYTES / budget || s->bytes > MOST_BYTES)
        return err_new(ERR_TOO_LARGE, "The model needs [%zu] bytes for each of [%zu] tokens",
                       p->global_row_bytes, budget);
    s->memory = mmap(NULL, s->bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (s->memory == MAP_FAILED) {
        s->memory = NULL;
        return err_new(ERR_TOO_LARGE, "There is not enough memory for [%zu] bytes of activations",
                       s->bytes);
    }
    madvise(s->memory, s->bytes, MADV_HUGEPAGE);
    s->run.proto.global = s->memory;
    s->run.local = (char *)s->memory + global;
    s->run.scratch = s->run.local + n_threads * s->run.local_bytes;
    return NULL;
}

static struct err *prepare_graph(struct session *s, int n_threads)
{
    const struct program *p = s->program;
    s->run.phases = mem_array(p->graph->n_nodes, sizeof(*s->run.phases));
    s->run.n_chunks = mem_array(p->graph->n_nodes, sizeof(*s->run.n_chunks));
    s->run.proto = (struct frame){
        .graph = p->graph, .plan = p->plan, .kernels = p->kernels, .budget = p->info.token_budget};
    if (p->pairs)
        s->pairs = mem_array((size_t)p->info.token_budget * 2, sizeof(*s->pairs));
    return reserve(s, (size_t)n_threads);
}

struct err *session_new(struct program *p, int n_threads, struct session **out)
{
    struct session *s = mem_new(sizeof(*s));
    s->program = program_ref(p);
    struct err *err = team_new(n_threads, p->graph ? p->graph->n_nodes : 1, &s->run.team);
    if (!err && p->graph)
        err = prepare_graph(s, n_threads);
    else if (!err)
        s->runners = runners_new(p, s->run.team);
    if (err) {
        session_free(s);
        return err;
    }
    *out = s;
    return NULL;
}

void session_free(struct session *s)
{
    if (!s)
        return;
    runners_free(s->runners);
    team_free(s->run.team);
    if (s->memory)
        munmap(s->memory, s->bytes);
    free(s->run.phases);
    free(s->run.n_chunks);
    free(s->pairs);
    program_unref(s->program);
    free(s);
}

void session_set_pause(struct session *s, void (*pause)(void *ctx), void *ctx)
{
    team_set_pause(s->run.team, pause, ctx);
}

void session_place(struct session *s, const int *cpus)
{
    team_place(s->run.team, cpus);
}

static struct err *check_offsets(const struct program_info *info, const struct token_batch *b)
{
    if (b->n_tokens > info->token_budget)
        return err_new(ERR_ARGUMENT, "a batch of [%zu] tokens is larger than the budget of [%u]",
                       b->n_tokens, info->token_budget);
    if (b->n_sequences > b->n_tokens || b->offsets[0] != 0 ||
        b->offsets[b->n_sequences] != b->n_tokens)
        return err_new(ERR_ARGUMENT, "the offsets of a batch do not span its [%zu] tokens",
                       b->n_tokens);
    for (size_t i = 0; i < b->n_sequences; i++) {
        uint32_t begin = b->offsets[i], end = b->offsets[i + 1];
        if (end <= begin || end - begin > info->max_tokens)
            return err_new(ERR_ARGUMENT, "sequence [%zu] must have from 1 to %u tokens", i,
                           info->max_tokens);
    }
    return NULL;
}

static struct err *check_ids(const char *what, const int32_t *ids, size_t n, uint32_t limit)
{
    for (size_t i = 0; i < n; i++)
        if ((uint32_t)ids[i] >= limit)
            return err_new(ERR_ARGUMENT, "%s [%d] is not below [%u]", what, ids[i], limit);
    return NULL;
}

static struct err *check_batch(const struct program *p, const struct token_batch *b)
{
    const struct program_info *info = &p->info;
    TRY(check_offsets(info, b));
    TRY(check_ids("token id", b->ids, b->n_tokens, info->vocab_size));
    if (b->type_ids && p->type_vocab_size > 1)
        TRY(check_ids("token type id", b->type_ids, b->n_tokens, p->type_vocab_size));
    return NULL;
}

static bool has_token_rows(const struct program *p)
{
    return p->graph->values[p->graph->output].dim[0] == DIM_TOKENS;
}

struct err *session_run(struct session *s, const struct token_batch *b, struct tensor *out)
{
    const struct program *p = s->program;
    if (!p->graph)
        return err_new(ERR_ARGUMENT, "a script is run sequence by sequence");
    *out = (struct tensor){.dtype = DTYPE_F32, .rank = 2};
    out->dim[0] = (int64_t)(has_token_rows(p) ? b->n_tokens : b->n_sequences);
    out->dim[1] = p->info.dimensions;
    out->data = frame_row(&s->run.proto, p->graph->output, 0);
    TRY(check_batch(p, b));
    if (b->n_sequences > 0)
        run_graph(&s->run, b);
    return NULL;
}

/* [n, 2] as [2, n]. */
static const float *show_pairs(struct session *s, const float *rows, size_t begin, size_t n)
{
    float *out = s->pairs + 2 * begin;
    for (size_t i = 0; i < n; i++) {
        out[i] = rows[2 * i];
        out[n + i] = rows[2 * i + 1];
    }
    return out;
}

static void show_rows(struct session *s, const struct token_batch *b, const struct tensor *rows,
                      struct output *out)
{
    bool of_tokens = has_token_rows(s->program);
    size_t width = (size_t)rows->dim[1];
    for (size_t i = 0; i < b->n_sequences; i++) {
        size_t begin = b->offsets[i], n = b->offsets[i + 1] - begin;
        const float *row = (const float *)rows->data + (of_tokens ? begin : i) * width;
        out[i] =
            (struct output){.dim = {1, of_tokens ? (int64_t)n : 1, (int64_t)width}, .data = row};
        if (s->pairs)
            out[i] =
                (struct output){.dim = {2, 1, (int64_t)n}, .data = show_pairs(s, row, begin, n)};
    }
}

struct err *session_run_each(struct session *s, const struct token_batch *b, struct output *out)
{
    struct tensor rows;
    if (s->program->graph) {
        TRY(session_run(s, b, &rows));
        show_rows(s, b, &rows, out);
        return NULL;
    }
    TRY(check_batch(s->program, b));
    runners_run(s->runners, b, out);
    return NULL;
}
