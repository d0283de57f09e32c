/* fuse: what belongs together becomes one node, so that each row of an activation is read and
 * written once.
 *   linear(x, wq), linear(x, wk), linear(x, wv) -> attention   =>  linear(x, [wq; wk; wv])
 *   linear -> activation                                       =>  linear with act
 *   add -> layer_norm                                          =>  add_layer_norm
 * A value that anything else reads too is left alone. */
#include "graph.h"

#include "bug.h"
#include "op.h"

struct links {
    struct node **producer; /* per value; NULL: a constant */
    uint32_t *n_uses;
};

static void links_init(struct links *l, struct graph *g)
{
    l->producer = mem_array(g->n_values, sizeof(*l->producer));
    l->n_uses = mem_array(g->n_values, sizeof(*l->n_uses));
    for (size_t i = 0; i < g->n_nodes; i++) {
        struct node *n = &g->nodes[i];
        l->producer[n->out] = n;
        for (uint32_t j = 0; j < n->n_in; j++)
            l->n_uses[n->in[j]]++;
    }
    if (g->output != NO_VALUE)
        l->n_uses[g->output]++;
}

static void links_deinit(struct links *l)
{
    free(l->producer);
    free(l->n_uses);
}

/* The node of this kind that writes the value for its one reader; NULL: none. */
static struct node *only_from(const struct links *l, uint32_t value, const struct op *op)
{
    struct node *n = l->producer[value];
    return n && n->op == op && l->n_uses[value] == 1 ? n : NULL;
}

static void fuse_activation(struct links *l, struct node *n)
{
    struct node *from = only_from(l, n->in[0], &op_linear);
    if (!from || from->attr.act != ACT_NONE)
        return;
    from->attr.act = n->attr.act;
    from->out = n->out;
    l->producer[n->out] = from;
    n->op = NULL;
}

static void fuse_add_norm(struct links *l, struct node *n)
{
    struct node *from = only_from(l, n->in[0], &op_add);
    if (!from)
        return;
    n->op = &op_add_layer_norm;
    n->n_in = 4;
    n->in[3] = n->in[2];
    n->in[2] = n->in[1];
    n->in[0] = from->in[0];
    n->in[1] = from->in[1];
    from->op = NULL;
}

/* Constants of the three below each other: [3 n, k] or [3 n]. */
static bool stack_constants(struct graph *g, struct node *const part[3], int in, uint32_t *out)
{
    const struct value *first = &g->values[part[0]->in[in]];
    size_t each = first->data_bytes / sizeof(float);
    float *data = weights_alloc(3 * each);
    if (!data)
        return false;
    for (size_t i = 0; i < 3; i++)
        memcpy(data + i * each, g->values[part[i]->in[in]].data, each * sizeof(float));
    int64_t dim[TENSOR_MAX_RANK];
    memcpy(dim, first->dim, sizeof(dim));
    dim[0] *= 3;
    *out = graph_constant(g, first->rank, dim, data);
    return true;
}

static bool same_projections(const struct graph *g, struct node *const part[3])
{
    for (int i = 0; i < 3; i++) {
        if (!part[i] || part[i]->n_in != 3 || part[i]->in[0] != part[0]->in[0] ||
            part[i]->attr.act != ACT_NONE)
            return false;
        const struct value *a = &g->values[part[i]->in[1]], *b = &g->values[part[0]->in[1]];
        if (a->dim[0] != b->dim[0])
            return false;
    }
    return part[0] != part[1] && part[1] != part[2] && part[0] != part[2];
}

static struct err *fuse_qkv(struct graph *g, struct links *l, struct node *n)
{
    struct node *part[3];
    for (int i = 0; i < 3; i++)
        part[i] = only_from(l, n->in[i], &op_linear);
    if (!same_projections(g, part))
        return NULL;
    uint32_t weight, bias;
    if (!stack_constants(g, part, 1, &weight) || !stack_constants(g, part, 2, &bias))
        return err_new(ERR_TOO_LARGE, "There is not enough memory for the model's weights");
    struct node *at = part[0]; /* the earliest: whatever reads it comes later */
    for (int i = 1; i < 3; i++)
        at = part[i] < at ? part[i] : at;
    for (int i = 0; i < 3; i++)
        if (part[i] != at)
            part[i]->op = NULL;
    at->in[1] = weight;
    at->in[2] = bias;
    TRY(op_linear.shape(g, at));
    uint32_t width = (uint32_t)g->values[n->in[0]].dim[1];
    n->attr.width = (uint32_t)g->values[n->out].dim[1];
    for (uint32_t i = 0; i < 3; i++) {
        n->attr.column[i] = i * (width / 3);
        n->in[i] = at->out;
    }
    return NULL;
}

static void drop_fused(struct graph *g)
{
    size_t kept = 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i].op)
            g->nodes[kept++] = g->nodes[i];
    g->n_nodes = kept;
}

struct err *graph_fuse(struct graph *g)
{
    struct links l;
    struct err *err = NULL;
    links_init(&l, g);
    for (size_t i = 0; i < g->n_nodes && !err; i++) {
        struct node *n = &g->nodes[i];
        if (n->op == &op_activation)
            fuse_activation(&l, n);
        else if (n->op == &op_layer_norm)
            fuse_add_norm(&l, n);
        else if (n->op == &op_attention || n->op == &op_disentangled)
            err = fuse_qkv(g, &l, n);
    }
    links_deinit(&l);
    drop_fused(g);
    return err;
}
