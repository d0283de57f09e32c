/* What a script's sessions share: its constants as data of the interpreter, where each value is
 * needed last, and its constant matrices in the kernels' panels. Views of constants are folded, so
 * that a transposed weight is packed as it is used. The ids of a script are checked here once, so
 * that running need not. */
#include <stdlib.h>

#include "bug.h"
#include "product.h"
#include "step.h"
#include "strided.h"

#define MOST_BLOCKS   64 /* one in another */
#define MOST_CONSTANT 64 /* lists in lists */

struct path {
    struct plan_block *block;
    uint32_t node;
};

struct planner {
    struct script_plan *plan;
    struct script_runner *runner; /* for folding */
    struct path path[MOST_BLOCKS];
    uint32_t depth;
    /* Of each value: the block it is of, how deep that is, and the last node there to need it. */
    struct plan_block **owner;
    uint32_t *owner_depth, *last;
};

#define AT_END UINT32_MAX

static struct err *malformed(const char *what)
{
    return err_new(ERR_ARGUMENT, "The model's graph is malformed: %s", what);
}

/* --- constants --- */

static struct object constant_object(uint8_t depth)
{
    return (struct object){.refs = 1, .constant = true, .depth = depth};
}

static struct err *constant_tensor(struct arena *a, const struct script_tensor *t,
                                   struct datum *out)
{
    int64_t n;
    if (t->rank < 0 || t->rank > TENSOR_MAX_RANK || !dims_numel(t->rank, t->dim, &n))
        return malformed("a constant has an impossible shape");
    for (int i = 0; i < t->rank; i++)
        if (t->stride[i] < 0)
            return malformed("a constant has a negative stride");
    struct memory *s = arena_alloc(a, sizeof(*s));
    struct view *v = arena_alloc(a, sizeof(*v));
    *s = (struct memory){.o = constant_object(0), .data = t->data};
    *v = (struct view){.o = constant_object(0), .memory = s, .t = *t};
    for (int i = 0; i < t->rank; i++) /* what nobody steps by may be anything in a file */
        v->t.stride[i] = t->dim[i] > 1 ? t->stride[i] : 1;
    *out = (struct datum){.kind = SCRIPT_TENSOR, .view = v};
    return NULL;
}

static struct err *constant_of(struct arena *a, const struct script_value *v, int depth,
                               struct datum *out);

static struct err *constant_items(struct arena *a, const struct script_value *v, int depth,
                                  struct datum *out)
{
    struct items *l = arena_alloc(a, sizeof(*l));
    *l = (struct items){.o = constant_object(1), .n = v->list.n};
    l->v = arena_array(a, v->list.n, sizeof(*l->v));
    for (size_t i = 0; i < l->n; i++) {
        TRY(constant_of(a, v->list.items[i], depth + 1, &l->v[i]));
        if (datum_is_items(&l->v[i]) && l->v[i].items->o.depth >= l->o.depth)
            l->o.depth = (uint8_t)(l->v[i].items->o.depth + 1);
    }
    *out = (struct datum){.kind = v->kind, .items = l};
    return NULL;
}

static struct err *constant_of(struct arena *a, const struct script_value *v, int depth,
                               struct datum *out)
{
    if (depth > MOST_CONSTANT)
        return malformed("its constants are nested too deeply");
    *out = (struct datum){.kind = v->kind};
    switch (v->kind) {
    case SCRIPT_BOOL:
        out->b = v->b;
        return NULL;
    case SCRIPT_INT:
        out->i = v->i;
        return NULL;
    case SCRIPT_FLOAT:
        out->f = v->f;
        return NULL;
    case SCRIPT_STR:
        out->text = arena_alloc(a, sizeof(*out->text));
        *out->text = (struct text){.o = constant_object(0), .s = v->s};
        return NULL;
    case SCRIPT_TENSOR:
        return constant_tensor(a, &v->tensor, out);
    case SCRIPT_LIST:
    case SCRIPT_TUPLE:
    case SCRIPT_DICT:
        return constant_items(a, v, depth, out);
    case SCRIPT_PACKED:
        out->packed = v->packed;
        return NULL;
    default:
        return NULL;
    }
}

static struct err *take_constants(struct script_plan *p)
{
    const struct script *s = p->script;
    p->constants = arena_array(p->arena, s->n_values, sizeof(*p->constants));
    p->is_constant = arena_array(p->arena, s->n_values, sizeof(*p->is_constant));
    for (uint32_t i = 0; i < s->n_values; i++) {
        if (!s->constants[i])
            continue;
        TRY(constant_of(p->arena, s->constants[i], 0, &p->constants[i]));
        p->is_constant[i] = true;
    }
    return NULL;
}

/* --- folding and packing --- */

static bool all_constant(const struct script_plan *p, const struct script_node *n)
{
    for (uint32_t i = 0; i < n->n_in; i++)
        if (!p->is_constant[n->in[i]])
            return false;
    return n->n_in > 0 && n->n_out == 1 && p->constants[n->in[0]].kind == SCRIPT_TENSOR;
}

static bool is_plain_view(enum script_op op)
{
    switch (op) {
    case SCRIPT_OP_aten_detach:
    case SCRIPT_OP_aten_permute:
    case SCRIPT_OP_aten_squeeze:
    case SCRIPT_OP_aten_transpose:
    case SCRIPT_OP_aten_unsqueeze:
        return true;
    default:
        return false;
    }
}

/* What fails here fails again in the run, which says so then. */
static void fold(struct planner *pl, struct plan_node *n)
{
    struct script_plan *p = pl->plan;
    struct datum out = {.kind = SCRIPT_NONE};
    if (!is_plain_view(n->node->op) || !all_constant(p, n->node))
        return;
    struct err *err = run_alone(pl->runner, n->node, &out);
    if (!err && out.kind == SCRIPT_TENSOR) {
        uint32_t id = n->node->out[0];
        err = constant_tensor(p->arena, &out.view->t, &p->constants[id]);
        p->is_constant[id] = n->folded = !err;
    }
    err_free(err);
    datum_drop(pl->runner, &out);
}

const struct packed_weight *plan_weight(const struct script_plan *p, const void *data, int64_t k,
                                        int64_t n, int64_t stride_k, int64_t stride_n)
{
    for (size_t i = 0; i < p->n_weights; i++) {
        const struct packed_weight *w = &p->weights[i];
        if (w->data == data && w->k == k && w->n == n && w->stride_k == stride_k &&
            w->stride_n == stride_n)
            return w;
    }
    return NULL;
}

static struct err *pack_matrix(struct script_plan *p, const void *data, int64_t k, int64_t n,
                               int64_t stride_k, int64_t stride_n)
{
    if (k == 0 || n == 0 || plan_weight(p, data, k, n, stride_k, stride_n))
        return NULL;
    size_t nr = p->kernels->nr, n_panels = ((size_t)n + nr - 1) / nr;
    float *panels =
        aligned_alloc(64, (n_panels * nr * (size_t)k * sizeof(float) + 63) & ~(size_t)63);
    if (!panels)
        return err_new(ERR_TOO_LARGE, "There is not enough memory to pack the model's weights");
    product_pack(nr, data, stride_k, stride_n, (size_t)k, (size_t)n, panels);
    if (p->n_weights == p->weights_cap) {
        p->weights_cap = p->weights_cap ? 2 * p->weights_cap : 64;
        p->weights = mem_grow(p->weights, p->weights_cap * sizeof(*p->weights));
    }
    p->weights[p->n_weights++] = (struct packed_weight){
        .data = data,
        .k = k,
        .n = n,
        .stride_k = stride_k,
        .stride_n = stride_n,
        .packed = {.k = (size_t)k, .n = (size_t)n, .n_panels = n_panels, .panels = panels}};
    return NULL;
}

static struct err *pack_node(struct script_plan *p, const struct script_node *n)
{
    if (n->n_in < 2 || !p->is_constant[n->in[1]])
        return NULL;
    const struct datum *v = &p->constants[n->in[1]];
    if (n->op == SCRIPT_OP_quantized_linear_dynamic)
        return v->kind == SCRIPT_PACKED ? pack_int8(p, v->packed) : NULL;
    if (v->kind != SCRIPT_TENSOR || v->view->t.rank != 2 || v->view->t.dtype != DTYPE_F32)
        return NULL;
    const struct script_tensor *t = &v->view->t;
    if (n->op == SCRIPT_OP_aten_linear)
        return pack_matrix(p, t->data, t->dim[1], t->dim[0], t->stride[1], t->stride[0]);
    if (n->op == SCRIPT_OP_aten_matmul)
        return pack_matrix(p, t->data, t->dim[0], t->dim[1], t->stride[0], t->stride[1]);
    return NULL;
}

/* --- last uses --- */

static struct err *define(struct planner *pl, uint32_t id, uint32_t last)
{
    if (id >= pl->plan->script->n_values)
        return malformed("it names a value that does not exist");
    if (pl->plan->is_constant[id])
        return malformed("it writes to a constant");
    if (pl->owner[id] && !(pl->depth == 0 && id < pl->plan->script->n_args))
        return malformed("it writes to a value twice");
    pl->owner[id] = pl->path[pl->depth].block;
    pl->owner_depth[id] = pl->depth;
    pl->last[id] = last;
    return NULL;
}

static struct err *use(struct planner *pl, uint32_t id, bool as_result)
{
    if (id >= pl->plan->script->n_values)
        return malformed("it names a value that does not exist");
    uint32_t depth = pl->owner_depth[id];
    if (pl->owner[id] && depth <= pl->depth && pl->path[depth].block == pl->owner[id])
        pl->last[id] = as_result && depth == pl->depth ? AT_END : pl->path[depth].node;
    return NULL;
}

static uint32_t *last_list(struct planner *pl, struct plan_block *b, uint32_t node)
{
    return node < b->block->n_nodes ? &b->nodes[node].drops.n : &b->drops.n;
}

static void collect(struct planner *pl, struct plan_block *b, const uint32_t *ids, size_t n)
{
    struct arena *a = pl->plan->arena;
    for (size_t i = 0; i < n; i++) /* how many, then which */
        ++*last_list(pl, b, pl->last[ids[i]]);
    for (uint32_t i = 0; i <= b->block->n_nodes; i++) {
        struct drops *d = i < b->block->n_nodes ? &b->nodes[i].drops : &b->drops;
        d->ids = arena_array(a, d->n, sizeof(*d->ids));
        d->n = 0;
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t at = pl->last[ids[i]];
        struct drops *d = at < b->block->n_nodes ? &b->nodes[at].drops : &b->drops;
        uint32_t *list = (uint32_t *)(uintptr_t)d->ids;
        list[d->n++] = ids[i];
    }
}

static struct err *plan_block(struct planner *, const struct script_block *, struct plan_block **);

static struct err *plan_bodies(struct planner *pl, struct plan_node *n)
{
    const struct script_node *node = n->node;
    int n_bodies = node->op == SCRIPT_OP_prim_If ? 2 : node->op == SCRIPT_OP_prim_Loop ? 1 : 0;
    bool loop = n_bodies == 1;
    if (n_bodies && node->n_in < (loop ? 2 : 1))
        return malformed("a block has no condition");
    for (int i = 0; i < n_bodies; i++) {
        const struct script_block *body = node->body[i];
        if (!body || body->n_results != node->n_out + loop ||
            body->n_params != (loop ? node->n_out + 1 : 0) ||
            (loop && node->n_in != node->n_out + 2))
            return malformed("a block does not fit its node");
        if (pl->depth + 1 == MOST_BLOCKS)
            return malformed("its blocks are nested too deeply");
        pl->depth++;
        TRY(plan_block(pl, body, &n->body[i]));
        pl->depth--;
    }
    return NULL;
}

static struct err *plan_node(struct planner *pl, struct plan_node *n, uint32_t at)
{
    const struct script_node *node = n->node;
    if ((unsigned)node->op >= N_SCRIPT_OPS)
        return malformed("it has an op that does not exist");
    for (uint32_t i = 0; i < node->n_in; i++)
        TRY(use(pl, node->in[i], false));
    TRY(plan_bodies(pl, n));
    for (uint32_t i = 0; i < node->n_out; i++)
        TRY(define(pl, node->out[i], at));
    fold(pl, n);
    return pack_node(pl->plan, node);
}

/* Everything the block defines: arguments of forward for the first one, params, results of nodes.
 */
static size_t defined(const struct planner *pl, const struct plan_block *b, uint32_t *ids)
{
    size_t n = 0;
    for (uint32_t i = 0; pl->depth == 0 && i < pl->plan->script->n_args; i++, n++)
        if (ids)
            ids[n] = i;
    for (uint32_t i = 0; i < b->block->n_params; i++, n++)
        if (ids)
            ids[n] = b->block->params[i];
    for (uint32_t i = 0; i < b->block->n_nodes; i++)
        for (uint32_t k = 0; k < b->block->nodes[i].n_out; k++, n++)
            if (ids)
                ids[n] = b->block->nodes[i].out[k];
    return n;
}

static struct err *plan_block(struct planner *pl, const struct script_block *block,
                              struct plan_block **out)
{
    struct arena *a = pl->plan->arena;
    struct plan_block *b = *out = arena_alloc(a, sizeof(*b));
    b->block = block;
    b->nodes = arena_array(a, block->n_nodes, sizeof(*b->nodes));
    pl->path[pl->depth] = (struct path){.block = b};
    for (uint32_t i = 0; pl->depth == 0 && i < pl->plan->script->n_args; i++)
        TRY(define(pl, i, AT_END));
    for (uint32_t i = 0; i < block->n_params; i++)
        TRY(define(pl, block->params[i], AT_END));
    for (uint32_t i = 0; i < block->n_nodes; i++) {
        pl->path[pl->depth].node = i;
        b->nodes[i].node = &block->nodes[i];
        TRY(plan_node(pl, &b->nodes[i], i));
    }
    for (uint32_t i = 0; i < block->n_results; i++)
        TRY(use(pl, block->results[i], true));
    size_t n = defined(pl, b, NULL);
    uint32_t *ids = arena_array(a, n, sizeof(*ids));
    defined(pl, b, ids);
    collect(pl, b, ids, n);
    return NULL;
}

static struct err *plan_script(struct script_plan *p)
{
    const struct script *s = p->script;
    if (s->forward->n_results != 1 || s->n_args > s->n_values)
        return malformed("forward must give one value");
    TRY(take_constants(p));
    struct planner *pl = mem_new(sizeof(*pl));
    struct arena *tmp = arena_new(ARENA_NO_LIMIT);
    pl->plan = p;
    pl->owner = arena_array(tmp, s->n_values, sizeof(*pl->owner));
    pl->owner_depth = arena_array(tmp, s->n_values, sizeof(*pl->owner_depth));
    pl->last = arena_array(tmp, s->n_values, sizeof(*pl->last));
    pl->runner = script_runner_new(p, 1 << 20);
    struct err *err = plan_block(pl, s->forward, &p->forward);
    script_runner_free(pl->runner);
    arena_free(tmp);
    free(pl);
    return err;
}

struct err *script_plan_new(const struct script *script, const struct kernels *kernels,
                            struct script_plan **out)
{
    struct script_plan *p = mem_new(sizeof(*p));
    p->arena = arena_new(ARENA_NO_LIMIT);
    p->script = script;
    p->kernels = kernels;
    struct err *err = plan_script(p);
    if (err) {
        script_plan_free(p);
        return err;
    }
    *out = p;
    return NULL;
}

void script_plan_free(struct script_plan *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n_weights; i++)
        free((void *)(uintptr_t)p->weights[i].packed.panels);
    free(p->weights);
    for (size_t i = 0; i < p->n_int8; i++)
        free(p->int8[i].columns);
    free(p->int8);
    arena_free(p->arena);
    free(p);
}
