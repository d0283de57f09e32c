#include "program.h"

#include "bug.h"
#include "snapshot.h"

#define DEFAULT_WEIGHT_BYTES ((size_t)64 << 30)
#define DEFAULT_TOKEN_BUDGET 16384
#define MOST_TOKEN_BUDGET    (1u << 20)

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

struct err *program_load_snapshot(const char *folder, const struct engine_limits *limits,
                                  struct program **out)
{
    return program_load_with(folder, limits, kernels_best(), out);
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
