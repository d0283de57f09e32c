#include "program.h"

#include "bug.h"
#include "runners.h"
#include "script/recognise.h"
#include "script/run.h"
#include "snapshot.h"

#define DEFAULT_WEIGHT_BYTES ((size_t)64 << 30)
#define DEFAULT_TOKEN_BUDGET 16384
#define MOST_TOKEN_BUDGET    (1u << 20)
#define DEFAULT_MAX_TOKENS   512
#define MOST_TOKENS          65536

static struct program *program_new(const struct kernels *kernels)
{
    struct program *p = mem_new(sizeof(*p));
    atomic_init(&p->refs, 1);
    p->kernels = kernels;
    p->arena = arena_new(ARENA_NO_LIMIT);
    return p;
}

static size_t weight_limit(const struct engine_limits *l)
{
    return l && l->max_weight_bytes ? l->max_weight_bytes : DEFAULT_WEIGHT_BYTES;
}

static uint32_t token_budget(const struct engine_limits *l)
{
    uint32_t budget = l && l->token_budget ? l->token_budget : DEFAULT_TOKEN_BUDGET;
    return budget < MOST_TOKEN_BUDGET ? budget : MOST_TOKEN_BUDGET;
}

/* From what a front end built to what runs. */
static struct err *prepare(struct program *p)
{
    TRY(graph_fuse(p->graph));
    TRY(graph_pack(p->graph, p->kernels));
    p->plan = plan_new(p->graph, p->kernels, p->info.max_tokens);
    return NULL;
}

static struct err *load_snapshot(struct program *p, const char *folder,
                                 const struct engine_limits *l)
{
    struct snapshot s;
    TRY(snapshot_load(folder, weight_limit(l), p->arena, &s));
    p->graph = s.graph;
    p->info = s.info;
    p->type_vocab_size = s.type_vocab_size;
    p->pairs = s.pairs;
    p->info.token_budget = token_budget(l);
    return prepare(p);
}

/* Returns the reason when it is not known; NULL: p has the graph now. */
static struct err *look_for_graph(struct program *p, uint32_t max_tokens, const char **why)
{
    struct recognised r = {0};
    TRY(recognise(p->script, max_tokens, &r, why));
    if (!r.graph)
        return NULL;
    *why = NULL;
    p->graph = r.graph;
    p->pairs = r.pairs;
    p->type_vocab_size = r.type_vocab_size;
    p->info.vocab_size = r.vocab_size;
    p->info.max_tokens = p->info.max_seq_length = r.max_tokens;
    p->info.dimensions = (uint32_t)value_width(&r.graph->values[r.graph->output]);
    return NULL;
}

static struct err *load_script(struct program *p, const char *file, const struct script_options *o)
{
    struct engine_limits limits = o->limits;
    const char *why = "it was asked for";
    uint32_t max_tokens = o->max_tokens ? o->max_tokens : DEFAULT_MAX_TOKENS;
    max_tokens = max_tokens < MOST_TOKENS ? max_tokens : MOST_TOKENS;
    limits.max_weight_bytes = weight_limit(&limits);
    TRY(script_load(file, &limits, &p->script));
    if (p->script->n_args > RUNNERS_MAX_ARGS)
        return err_new(ERR_ARGUMENT, "forward takes [%u] arguments; at most [%d] are given",
                       p->script->n_args, RUNNERS_MAX_ARGS);
    p->info = (struct program_info){.architecture = "TorchScript",
                                    .max_tokens = max_tokens,
                                    .max_seq_length = max_tokens,
                                    .vocab_size = INT32_MAX,
                                    .output = OUTPUT_TENSOR,
                                    .weight_bytes = p->script->weight_bytes,
                                    .token_budget = token_budget(&limits)};
    if (!o->interpret)
        TRY(look_for_graph(p, max_tokens, &why));
    if (p->graph) {
        script_free(p->script);
        p->script = NULL;
        return prepare(p);
    }
    p->info.interpreted = true;
    p->info.why = arena_cstr(p->arena, str_c(why));
    return script_plan_new(p->script, p->kernels, &p->script_plan);
}

static struct err *loaded(struct program *p, struct err *err, struct program **out)
{
    if (err)
        program_unref(p);
    else
        *out = p;
    return err;
}

struct err *program_load_with(const char *folder, const struct engine_limits *limits,
                              const struct kernels *kernels, struct program **out)
{
    struct program *p = program_new(kernels);
    return loaded(p, load_snapshot(p, folder, limits), out);
}

struct err *program_load_script_with(const char *file, const struct script_options *options,
                                     const struct kernels *kernels, struct program **out)
{
    struct program *p = program_new(kernels);
    return loaded(p, load_script(p, file, options), out);
}

struct err *program_load_snapshot(const char *folder, const struct engine_limits *limits,
                                  struct program **out)
{
    return program_load_with(folder, limits, kernels_best(), out);
}

struct err *program_load_script(const char *file, const struct script_options *options,
                                struct program **out)
{
    return program_load_script_with(file, options, kernels_best(), out);
}

struct program *program_ref(struct program *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void program_unref(struct program *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    script_plan_free(p->script_plan);
    script_free(p->script);
    plan_free(p->plan);
    graph_free(p->graph);
    arena_free(p->arena);
    free(p);
}

const struct program_info *program_info(const struct program *p)
{
    return &p->info;
}

const char *engine_kernels(void)
{
    return kernels_best()->name;
}
