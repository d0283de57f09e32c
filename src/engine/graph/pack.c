/* pack: the weights of every product into panels for the chosen kernels, all in one block in run
 * order, so that a run reads it from end to end. What nothing reads any more is freed. */
#include "graph.h"

#include "bug.h"
#include "op.h"

static size_t align16(size_t n)
{
    return (n + 15) / 16 * 16;
}

static size_t packed_floats(const struct graph *g, const struct node *n, const struct kernels *k)
{
    const struct value *w = &g->values[n->in[1]];
    size_t columns = ((size_t)w->dim[0] + k->nr - 1) / k->nr * k->nr;
    return align16(columns * (size_t)w->dim[1]) + align16(columns);
}

static bool is_product(const struct node *n)
{
    return n->op == &op_linear || n->op == &op_splade;
}

static float *pack_linear(struct graph *g, struct node *n, const struct kernels *k, float *at)
{
    const struct value *w = &g->values[n->in[1]];
    struct packed *p = arena_alloc(g->arena, sizeof(*p));
    p->n = (size_t)w->dim[0];
    p->k = (size_t)w->dim[1];
    p->n_panels = (p->n + k->nr - 1) / k->nr;
    p->panels = at;
    kernels_pack(k, w->data, p->n, p->k, at);
    at += align16(p->n_panels * k->nr * p->k);
    if (n->n_in == 3) {
        memcpy(at, g->values[n->in[2]].data, p->n * sizeof(float));
        p->bias = at;
        at += align16(p->n_panels * k->nr);
    }
    n->packed = p;
    return at;
}

static void free_unread(struct graph *g)
{
    bool *read = mem_array(g->n_values, sizeof(*read));
    for (size_t i = 0; i < g->n_nodes; i++)
        for (uint32_t j = 0; j < g->nodes[i].n_in && !is_product(&g->nodes[i]); j++)
            read[g->nodes[i].in[j]] = true;
    for (size_t i = 0; i < g->n_values; i++) {
        if (!read[i]) {
            weights_free(g->values[i].data);
            g->values[i].data = NULL;
        }
    }
    free(read);
}

struct err *graph_pack(struct graph *g, const struct kernels *k)
{
    size_t floats = 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        if (is_product(&g->nodes[i]))
            floats += packed_floats(g, &g->nodes[i], k);
    float *at = weights_alloc(floats);
    if (!at)
        return err_new(ERR_TOO_LARGE, "There is not enough memory for the model's weights");
    g->weights = at;
    g->weights_bytes = floats * sizeof(float);
    for (size_t i = 0; i < g->n_nodes; i++)
        if (is_product(&g->nodes[i]))
            at = pack_linear(g, &g->nodes[i], k, at);
    free_unread(g);
    return NULL;
}
