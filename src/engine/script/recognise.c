/* The walk: each node's op has a function below, or in another recognise_*.c, that describes what
 * the node gives by what it is given; an op without one, or one given something else than what it
 * is written for, gives WHAT_UNKNOWN. What is written in place is a new value to us: whoever reads
 * the old one afterwards reads something unknown. */
#include "recognise_private.h"

#include <math.h>

#include "bug.h"

/* --- reading a node --- */

const struct desc *recog_in(struct recog *r, const struct script_node *n, uint32_t position,
                            const char *keyword)
{
    uint32_t v = script_arg(n, position, keyword);
    return v == NO_VALUE ? NULL : &r->desc[v];
}

bool recog_is_none(const struct desc *d)
{
    return !d || (d->what == WHAT_CONSTANT && d->constant->kind == SCRIPT_NONE);
}

bool recog_int(struct recog *r, const struct script_node *n, uint32_t position, const char *keyword,
               int64_t fallback, int64_t *out)
{
    const struct desc *d = recog_in(r, n, position, keyword);
    *out = fallback;
    if (recog_is_none(d))
        return true;
    if (d->what != WHAT_INT || d->i.factor != 0)
        return false;
    *out = d->i.add;
    return true;
}

bool recog_number(struct recog *r, const struct desc *d, double *out)
{
    struct desc grid;
    if (!grid_of(r, d, &grid) || grid.grid->kind != GRID_SAME)
        return false;
    for (int i = 0; i < grid.shape.rank; i++)
        if (grid.shape.dim[i] != 1)
            return false;
    *out = grid.grid->v[0];
    return *out == *out; /* not NaN: that is no number that was told */
}

bool recog_text_is(const struct desc *d, const char *text)
{
    return d && d->what == WHAT_CONSTANT && d->constant->kind == SCRIPT_STR &&
           str_eq_c(d->constant->s, text);
}

bool recog_shape(const struct desc *list, struct shape *out)
{
    *out = (struct shape){0};
    if (list->what != WHAT_LIST || list->list.n > TENSOR_MAX_RANK)
        return false;
    for (size_t i = 0; i < list->list.n; i++) {
        const struct desc *d = &list->list.items[i];
        bool is_n = d->what == WHAT_INT && d->i.factor == 1 && d->i.add == 0;
        if (d->what != WHAT_INT || (!is_n && (d->i.factor != 0 || d->i.add <= DIM_N)))
            return false;
        out->dim[out->rank++] = is_n ? DIM_N : d->i.add;
    }
    return true;
}

bool shape_equal(const struct shape *a, const struct shape *b)
{
    return a->rank == b->rank && memcmp(a->dim, b->dim, (size_t)a->rank * sizeof(a->dim[0])) == 0;
}

bool shape_dim(const struct shape *s, int64_t dim, int *out)
{
    dim += dim < 0 ? s->rank : 0;
    *out = (int)dim;
    return dim >= 0 && dim < s->rank;
}

/* --- the walk --- */

static void refuse(struct recog *r, enum script_op op, const char *what)
{
    if (!r->why)
        r->why = arena_printf(r->script->arena, "%s %s", script_op_name(op), what).p;
}

void recog_too_much(struct recog *r, const char *what)
{
    r->failed = true;
    if (!r->why)
        r->why = arena_printf(r->script->arena, "it has too many %s", what).p;
}

static bool in_place(enum script_op op)
{
    const char *name = script_op_name(op);
    return name[strlen(name) - 1] == '_' && name[strlen(name) - 2] != '_';
}

/* Results that may share memory with what they are made of; more of them is only stricter. */
static bool may_alias(enum script_op op)
{
    switch (op) {
    case SCRIPT_OP_aten_add:
    case SCRIPT_OP_aten_sub:
    case SCRIPT_OP_aten_mul:
    case SCRIPT_OP_aten_div:
    case SCRIPT_OP_aten_linear:
    case SCRIPT_OP_aten_layer_norm:
    case SCRIPT_OP_aten_matmul:
    case SCRIPT_OP_aten_softmax:
    case SCRIPT_OP_aten_embedding:
    case SCRIPT_OP_aten_size:
    case SCRIPT_OP_aten_where:
    case SCRIPT_OP_aten_gelu:
    case SCRIPT_OP_aten_relu:
    case SCRIPT_OP_aten_tanh:
    case SCRIPT_OP_aten_scaled_dot_product_attention:
        return false;
    default:
        return true;
    }
}

static bool reads_dead(const struct recog *r, const struct script_node *n)
{
    for (uint32_t i = 0; i < n->n_in; i++)
        if (r->dead[r->alias[n->in[i]]])
            return true;
    return false;
}

static void name_aliases(struct recog *r, const struct script_node *n)
{
    bool shares = may_alias(n->op) && !in_place(n->op);
    bool holds = n->op == SCRIPT_OP_prim_ListConstruct || n->op == SCRIPT_OP_prim_TupleConstruct;
    uint32_t first = NO_VALUE;
    for (uint32_t i = 0; shares && i < n->n_in; i++) {
        if (r->desc[n->in[i]].what == WHAT_INT || r->script->constants[n->in[i]])
            continue;
        first = first == NO_VALUE ? r->alias[n->in[i]] : first;
        r->held[r->alias[n->in[i]]] |= holds;
    }
    for (uint32_t i = 0; i < n->n_out; i++)
        r->alias[n->out[i]] = first == NO_VALUE ? n->out[i] : first;
}

static void follow(struct recog *r, const struct script_node *n)
{
    struct desc out = {0};
    bool writes = in_place(n->op);
    for (uint32_t i = 0; i < n->n_out; i++)
        r->desc[n->out[i]] = (struct desc){0};
    if (writes && (!recog_ops[n->op] || n->n_in == 0 || n->in[0] < r->script->n_args ||
                   r->script->constants[n->in[0]] || r->held[r->alias[n->in[0]]])) {
        refuse(r, n->op, "writes in place");
        r->failed = true;
        return;
    }
    if (n->body[0] || n->body[1] || !recog_ops[n->op])
        refuse(r, n->op, "is not followed");
    else if (reads_dead(r, n))
        refuse(r, n->op, "reads what was written in place");
    else
        recog_ops[n->op](r, n, &out);
    if (n->n_out == 1)
        r->desc[n->out[0]] = out;
    if (n->n_out > 0 && r->desc[n->out[0]].what == WHAT_UNKNOWN)
        refuse(r, n->op, "stands where it is not known");
    if (writes && n->n_out == 1 && !shape_equal(&out.shape, &r->desc[n->in[0]].shape))
        r->desc[n->out[0]] = (struct desc){0}; /* there is no room for it */
    if (writes)
        r->dead[r->alias[n->in[0]]] = true;
    name_aliases(r, n);
}

static void describe_constant(struct recog *r, const struct script_value *v, struct desc *out)
{
    *out = (struct desc){.what = WHAT_CONSTANT, .constant = v};
    if (v->kind == SCRIPT_INT)
        recog_set_int(out, 0, v->i);
    else if (v->kind == SCRIPT_BOOL)
        recog_set_int(out, 0, v->b);
    else if (v->kind == SCRIPT_TENSOR) {
        out->shape.rank = v->tensor.rank;
        memcpy(out->shape.dim, v->tensor.dim, sizeof(out->shape.dim));
    } else if (v->kind == SCRIPT_LIST || v->kind == SCRIPT_TUPLE) {
        /* Lists of numbers; deeper ones are of no use here. */
        struct desc *items = arena_array(r->arena, v->list.n ? v->list.n : 1, sizeof(*items));
        for (size_t i = 0; i < v->list.n; i++) {
            enum script_kind kind = v->list.items[i]->kind;
            if (kind != SCRIPT_LIST && kind != SCRIPT_TUPLE)
                describe_constant(r, v->list.items[i], &items[i]);
        }
        *out = (struct desc){.what = WHAT_LIST, .list = {items, v->list.n}};
    }
}

static void describe_arguments(struct recog *r)
{
    const struct shape shape = {2, {1, DIM_N}};
    for (uint32_t i = 0; i < r->script->n_args; i++) {
        struct desc *d = &r->desc[i];
        *d = (struct desc){.what = i == 0   ? WHAT_IDS
                                   : i == 2 ? WHAT_TYPES
                                            : WHAT_UNKNOWN,
                           .shape = shape};
        if (i == 1)
            grid_same(r, 1, GRID_INT, &shape, d);
        if (i == 3)
            grid_places(r, &shape, 1, d);
    }
}

/* Nodes that the output needs. */
static void prune(struct graph *g)
{
    bool *needed = mem_array(g->n_values, sizeof(*needed));
    size_t kept = g->n_nodes;
    needed[g->output] = true;
    for (size_t i = g->n_nodes; i-- > 0;) {
        const struct node *n = &g->nodes[i];
        for (uint32_t j = 0; needed[n->out] && j < n->n_in; j++)
            needed[n->in[j]] = true;
        if (needed[n->out])
            g->nodes[--kept] = *n;
    }
    memmove(g->nodes, g->nodes + kept, (g->n_nodes - kept) * sizeof(*g->nodes));
    g->n_nodes -= kept;
    for (size_t i = 0; i < g->n_values; i++) {
        if (!needed[i]) {
            weights_free(g->values[i].data);
            g->values[i].data = NULL;
        }
    }
    free(needed);
}

/* The result itself or what stands first in it. */
static bool take_output(struct recog *r, struct recognised *out)
{
    const struct script_block *f = r->script->forward;
    if (f->n_results != 1 || r->dead[r->alias[f->results[0]]])
        return false;
    const struct desc *d = &r->desc[f->results[0]];
    if (d->what == WHAT_LIST && d->list.n > 0)
        d = &d->list.items[0];
    bool rows = (d->what == WHAT_TOKENS && d->rows.stage <= STAGE_RELU) ||
                d->what == WHAT_SEQUENCE || d->what == WHAT_PAIRS;
    if (!rows || r->vocab_size == 0 || r->max_tokens == 0)
        return false;
    r->graph->output = d->rows.value;
    out->graph = r->graph;
    out->max_tokens = r->max_tokens;
    out->vocab_size = r->vocab_size;
    out->type_vocab_size = r->type_vocab_size;
    out->pairs = d->what == WHAT_PAIRS;
    return true;
}

struct err *recognise(const struct script *s, uint32_t max_tokens, struct recognised *out,
                      const char **why)
{
    struct recog r = {.script = s, .max_tokens = max_tokens, .graph = graph_new()};
    r.arena = arena_new(ARENA_NO_LIMIT);
    r.desc = mem_array(s->n_values, sizeof(*r.desc));
    r.alias = mem_array(s->n_values, sizeof(*r.alias));
    r.dead = mem_array(s->n_values, sizeof(*r.dead));
    r.held = mem_array(s->n_values, sizeof(*r.held));
    *out = (struct recognised){0};
    for (uint32_t i = 0; i < s->n_values; i++) {
        r.alias[i] = i;
        if (s->constants[i])
            describe_constant(&r, s->constants[i], &r.desc[i]);
    }
    describe_arguments(&r);
    for (uint32_t i = 0; i < s->forward->n_nodes && !r.err && !r.failed; i++)
        follow(&r, &s->forward->nodes[i]);
    if (!r.err && !r.failed && take_output(&r, out))
        prune(r.graph);
    else
        graph_free(r.graph);
    *why = r.why ? r.why : "its result is not rows of the model";
    arena_free(r.arena);
    free(r.desc);
    free(r.alias);
    free(r.dead);
    free(r.held);
    return r.err;
}
