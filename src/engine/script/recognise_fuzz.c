/* Bytes change the nodes of a real script: an argument becomes another value that is there by then,
 * an op becomes another. What is still recognised must give as a graph what the interpreter gives,
 * unless that refuses to run it. */
#include <math.h>
#include <stdlib.h>

#include "bug.h"
#include "program.h"
#include "recognise.h"
#include "script/run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { MAX_TOKENS = 12, TOKENS = 5 };

static const char *const files[] = {
    ENGINE_FIXTURES "/traced_bert/traced.pt",
    MODEL_FIXTURES "/eland_tiny/mpnet_text_embedding/model.pt",
    MODEL_FIXTURES "/eland_tiny/roberta_text_embedding/model.pt",
    MODEL_FIXTURES "/eland_tiny/bert_question_answering/model.pt",
    MODEL_FIXTURES "/eland_tiny/elser_like_text_expansion/model.pt",
};
#define N_FILES (sizeof(files) / sizeof(files[0]))

/* One value written before node `at`, or a constant. */
static uint32_t other_value(const struct script *s, uint32_t at, uint32_t choice)
{
    const struct script_block *f = s->forward;
    if (choice % 2 == 0 && at > 0) {
        const struct script_node *from = &f->nodes[at - 1 - choice / 2 % (at < 16 ? at : 16)];
        if (from->n_out == 1)
            return from->out[0];
    }
    for (uint32_t i = 0; i < s->n_values; i++) {
        uint32_t v = (choice + i) % s->n_values;
        if (v < s->n_args || s->constants[v])
            return v;
    }
    return 0;
}

/* Four bytes for each change: which node (two), what about it, and to what. */
static void change(struct script *s, const uint8_t *data)
{
    struct script_block *f = s->forward;
    uint32_t at = (uint32_t)(data[0] | data[1] << 8) % f->n_nodes;
    struct script_node *n = &f->nodes[at];
    if (data[2] >= 192) {
        n->op = (enum script_op)(data[3] % N_SCRIPT_OPS);
    } else if (n->n_in > 0) {
        uint32_t *in = arena_array(s->arena, n->n_in, sizeof(*in));
        memcpy(in, n->in, n->n_in * sizeof(*in));
        in[data[2] % n->n_in] = other_value(s, at, data[3] * 7u + data[2]);
        n->in = in;
    }
}

static struct program *program_of(const struct recognised *r)
{
    struct program *p = mem_new(sizeof(*p));
    atomic_init(&p->refs, 1);
    p->kernels = kernels_best();
    p->graph = r->graph;
    p->pairs = r->pairs;
    p->type_vocab_size = r->type_vocab_size;
    p->info = (struct program_info){.max_tokens = r->max_tokens,
                                    .vocab_size = r->vocab_size,
                                    .token_budget = 64,
                                    .dimensions =
                                        (uint32_t)value_width(&r->graph->values[r->graph->output])};
    BUG_ON(graph_fuse(p->graph));
    BUG_ON(graph_pack(p->graph, p->kernels));
    p->plan = plan_new(p->graph, p->kernels, r->max_tokens);
    return p;
}

static void compare(const struct output *graph, const struct output *script)
{
    size_t n = (size_t)(script->dim[0] * script->dim[1] * script->dim[2]);
    float most = 1;
    BUG_ON(memcmp(graph->dim, script->dim, sizeof(graph->dim)) != 0);
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(script->data[i]))
            return;
        most = fmaxf(most, fabsf(script->data[i]));
    }
    for (size_t i = 0; i < n; i++)
        BUG_ON(!(fabsf(graph->data[i] - script->data[i]) <= 1e-3f * most));
}

static void run_both(const struct script *s, struct program *p)
{
    static const int32_t ids[TOKENS] = {2, 9, 30, 7, 3};
    int64_t wide[4][TOKENS];
    struct script_tensor args[4];
    struct token_batch batch = {1, TOKENS, ids, NULL, (uint32_t[]){0, TOKENS}};
    struct session *session;
    struct script_plan *plan = NULL;
    struct output graph, script = {0};
    for (int64_t i = 0; i < TOKENS; i++) {
        wide[0][i] = ids[i];
        wide[1][i] = 1;
        wide[2][i] = 0;
        wide[3][i] = i;
    }
    for (int i = 0; i < 4; i++)
        args[i] = (struct script_tensor){DTYPE_I64, 2, {1, TOKENS}, {TOKENS, 1}, wide[i]};
    struct err *err = script_plan_new(s, kernels_best(), &plan);
    struct script_runner *runner = err ? NULL : script_runner_new(plan, 64 << 20);
    if (!err)
        err = script_run(runner, args, s->n_args, &script);
    if (!err && p->info.max_tokens >= TOKENS) {
        BUG_ON(session_new(p, 1, &session));
        BUG_ON(session_run_each(session, &batch, &graph));
        compare(&graph, &script);
        session_free(session);
    }
    err_free(err);
    script_runner_free(runner);
    script_plan_free(plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct engine_limits limits = {.max_weight_bytes = 16 << 20};
    struct recognised r;
    struct script *s;
    const char *why;
    if (n < 5)
        return 0;
    BUG_ON(script_load(files[data[0] % N_FILES], &limits, &s));
    for (size_t i = 1; i + 4 <= n && i < 17; i += 4)
        change(s, data + i);
    struct err *err = recognise(s, MAX_TOKENS, &r, &why);
    if (!err && r.graph) {
        struct program *p = program_of(&r);
        run_both(s, p);
        p->arena = arena_new(ARENA_NO_LIMIT);
        program_unref(p);
    }
    err_free(err);
    script_free(s);
    return 0;
}
