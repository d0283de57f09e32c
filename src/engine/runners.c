/* Each thread has a runner and the arguments it gives it: forward(ids, mask, types, positions), as
 * many of them as it takes, each int64 [1, n]. A runner's output lasts until its next sequence, so
 * it is copied. */
#include "runners.h"

#include "bug.h"
#include "script/run.h"
#include "team.h"

/* Of the tensors of one sequence, all together. */
#define MOST_BYTES ((size_t)2 << 30)

struct runner {
    struct script_runner *script;
    int64_t *args; /* [RUNNERS_MAX_ARGS, max_tokens] */
};

struct runners {
    const struct program *program;
    struct team *team;
    struct runner *of; /* per thread */
    float **data;      /* of the last outputs; [n_data] */
    size_t n_data;
    const struct token_batch *batch; /* while it runs */
    struct output *out;
};

struct runners *runners_new(const struct program *p, struct team *team)
{
    struct runners *r = mem_new(sizeof(*r));
    r->program = p;
    r->team = team;
    r->of = mem_array(team_size(team), sizeof(*r->of));
    for (unsigned i = 0; i < team_size(team); i++) {
        r->of[i].script = script_runner_new(p->script_plan, MOST_BYTES);
        r->of[i].args =
            mem_array((size_t)p->info.max_tokens * RUNNERS_MAX_ARGS, sizeof(*r->of[i].args));
    }
    return r;
}

static void drop_outputs(struct runners *r)
{
    for (size_t i = 0; i < r->n_data; i++)
        free(r->data[i]);
    free(r->data);
    r->data = NULL;
    r->n_data = 0;
}

void runners_free(struct runners *r)
{
    if (!r)
        return;
    drop_outputs(r);
    for (unsigned i = 0; i < team_size(r->team); i++) {
        script_runner_free(r->of[i].script);
        free(r->of[i].args);
    }
    free(r->of);
    free(r);
}

static void set_args(const struct runners *r, struct runner *own, size_t begin, size_t n,
                     struct script_tensor *args)
{
    const struct token_batch *b = r->batch;
    for (size_t a = 0; a < RUNNERS_MAX_ARGS; a++)
        args[a] = (struct script_tensor){.dtype = DTYPE_I64,
                                         .rank = 2,
                                         .dim = {1, (int64_t)n},
                                         .stride = {(int64_t)n, 1},
                                         .data = own->args + a * n};
    for (size_t i = 0; i < n; i++) {
        own->args[i] = b->ids[begin + i];
        own->args[n + i] = 1;
        own->args[2 * n + i] = b->type_ids ? b->type_ids[begin + i] : 0;
        own->args[3 * n + i] = (int64_t)i;
    }
}

static struct err *keep(struct runners *r, size_t sequence, struct output *out)
{
    size_t n = (size_t)(out->dim[0] * out->dim[1] * out->dim[2]);
    float *copy = malloc(n ? n * sizeof(*copy) : 1);
    if (!copy)
        return err_new(ERR_TOO_LARGE, "There is not enough memory for [%zu] results", n);
    memcpy(copy, out->data, n * sizeof(*copy));
    r->data[sequence] = copy;
    out->data = copy;
    return NULL;
}

static void run_sequence(void *ctx, unsigned thread, size_t phase, uint32_t sequence)
{
    (void)phase;
    struct runners *r = ctx;
    struct runner *own = &r->of[thread];
    struct script_tensor args[RUNNERS_MAX_ARGS];
    struct output *out = &r->out[sequence];
    size_t begin = r->batch->offsets[sequence];
    set_args(r, own, begin, r->batch->offsets[sequence + 1] - begin, args);
    out->err = script_run(own->script, args, r->program->script->n_args, out);
    if (!out->err)
        out->err = keep(r, sequence, out);
    if (out->err)
        *out = (struct output){.err = out->err};
}

void runners_run(struct runners *r, const struct token_batch *b, struct output *out)
{
    drop_outputs(r);
    r->data = mem_array(b->n_sequences, sizeof(*r->data));
    r->n_data = b->n_sequences;
    r->batch = b;
    r->out = out;
    memset(out, 0, b->n_sequences * sizeof(*out));
    team_run(r->team, (uint32_t[]){(uint32_t)b->n_sequences}, 1, run_sequence, r);
}
