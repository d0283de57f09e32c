#include "graph.h"

#include <sys/mman.h>

#include "bug.h"
#include "op.h"

#define HUGE_PAGE ((size_t)2 << 20)

struct graph *graph_new(void)
{
    struct graph *g = mem_new(sizeof(*g));
    g->arena = arena_new(ARENA_NO_LIMIT);
    g->output = NO_VALUE;
    return g;
}

void graph_free(struct graph *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n_values; i++)
        weights_free(g->values[i].data);
    weights_free(g->weights);
    free(g->values);
    free(g->nodes);
    arena_free(g->arena);
    free(g);
}

/* Large blocks sit on huge pages where the system grants them: weights are read from end to end on
 * every run, and with small pages the TLB is what that waits for. */
float *weights_alloc(size_t n_floats)
{
    if (n_floats > SIZE_MAX / sizeof(float) - HUGE_PAGE)
        return NULL;
    size_t bytes = (n_floats ? n_floats : 1) * sizeof(float);
    size_t align = bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : 64;
    void *p = NULL;
    bytes = (bytes + align - 1) / align * align;
    if (posix_memalign(&p, align, bytes))
        return NULL;
    if (align == HUGE_PAGE)
        madvise(p, bytes, MADV_HUGEPAGE);
    memset(p, 0, bytes);
    return p;
}

void weights_free(float *p)
{
    free(p);
}

static uint32_t value_add(struct graph *g, const struct value *v)
{
    if (g->n_values == g->cap_values) {
        g->cap_values = g->cap_values ? 2 * g->cap_values : 64;
        g->values = mem_grow(g->values, g->cap_values * sizeof(*g->values));
    }
    g->values[g->n_values] = *v;
    return (uint32_t)g->n_values++;
}

uint32_t graph_constant(struct graph *g, int rank, const int64_t *dim, float *data)
{
    struct value v = {.dtype = DTYPE_F32, .rank = rank, .data = data};
    BUG_ON(rank < 1 || rank > TENSOR_MAX_RANK || !data);
    v.data_bytes = sizeof(float);
    for (int i = 0; i < rank; i++) {
        v.dim[i] = dim[i];
        v.data_bytes *= (size_t)dim[i];
    }
    return value_add(g, &v);
}

struct err *graph_add(struct graph *g, const struct op *op, const uint32_t *in, uint32_t n_in,
                      const struct attr *attr, uint32_t *out)
{
    struct node n = {.op = op, .n_in = n_in, .attr = *attr};
    BUG_ON(n_in > NODE_MAX_IN);
    for (uint32_t i = 0; i < n_in; i++) {
        BUG_ON(in[i] >= g->n_values);
        n.in[i] = in[i];
    }
    n.out = value_add(g, &(struct value){.dtype = DTYPE_F32});
    TRY(op->shape(g, &n));
    if (g->n_nodes == g->cap_nodes) {
        g->cap_nodes = g->cap_nodes ? 2 * g->cap_nodes : 64;
        g->nodes = mem_grow(g->nodes, g->cap_nodes * sizeof(*g->nodes));
    }
    g->nodes[g->n_nodes++] = n;
    *out = n.out;
    return NULL;
}

bool graph_is_rows(const struct value *v)
{
    return v->rank > 0 && v->dim[0] < 0;
}

size_t value_width(const struct value *v)
{
    size_t width = 1;
    for (int i = 1; i < v->rank; i++)
        width *= (size_t)v->dim[i];
    return width;
}
