#include "plan.h"

#include "bug.h"
#include "op.h"

/* Rows begin on cache lines. A stride of whole 4 KiB would put the rows of a tile into the same
 * sets of the L1, so such a row gets one line more. */
static size_t padded_stride(size_t width)
{
    size_t bytes = (width * sizeof(float) + 63) / 64 * 64;
    return bytes % 4096 == 0 ? bytes + 64 : bytes;
}

static void plan_steps(struct plan *p, const struct graph *g, uint32_t *step_of)
{
    p->steps = mem_array(g->n_nodes, sizeof(*p->steps));
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct node *n = &g->nodes[i];
        int64_t rows = g->values[n->out].dim[0];
        struct step *last = p->n_steps ? &p->steps[p->n_steps - 1] : NULL;
        bool joins = last && n->op->kind == OP_ROWS && last->kind == OP_ROWS && last->rows == rows;
        if (joins)
            last->n++;
        else
            p->steps[p->n_steps++] = (struct step){n->op->kind, (uint32_t)i, 1, rows};
        step_of[i] = (uint32_t)p->n_steps - 1;
    }
}

/* When a value is written and last read, counted in nodes (local) or steps (global). */
struct life {
    uint32_t born, last;
};

static void plan_lives(const struct graph *g, const uint32_t *step_of, struct life *nodes,
                       struct life *steps)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct node *n = &g->nodes[i];
        nodes[n->out] = (struct life){(uint32_t)i, (uint32_t)i};
        steps[n->out] = (struct life){step_of[i], step_of[i]};
        for (uint32_t j = 0; j < n->n_in; j++) {
            nodes[n->in[j]].last = (uint32_t)i;
            steps[n->in[j]].last = step_of[i];
        }
    }
    if (g->output != NO_VALUE)
        steps[g->output].last = nodes[g->output].last = UINT32_MAX;
}

static bool lives_meet(struct life a, struct life b)
{
    return a.born <= b.last && b.born <= a.last;
}

/* First fit, in order of birth: the lowest place that no value alive at the same time covers. */
static size_t place_value(struct plan *p, const struct graph *g, const struct life *lives,
                          uint32_t value)
{
    struct place *mine = &p->places[value];
    mine->at = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (size_t i = 0; i < g->n_nodes && g->nodes[i].out != value; i++) {
            uint32_t other = g->nodes[i].out;
            const struct place *its = &p->places[other];
            if (its->local == mine->local && lives_meet(lives[other], lives[value]) &&
                mine->at < its->at + its->stride && its->at < mine->at + mine->stride) {
                mine->at = its->at + its->stride;
                moved = true;
            }
        }
    }
    return mine->at + mine->stride;
}

static void plan_places(struct plan *p, const struct graph *g, const uint32_t *step_of)
{
    struct life *nodes = mem_array(g->n_values, sizeof(*nodes));
    struct life *steps = mem_array(g->n_values, sizeof(*steps));
    plan_lives(g, step_of, nodes, steps);
    p->places = mem_array(g->n_values, sizeof(*p->places));
    for (size_t i = 0; i < g->n_nodes; i++) {
        uint32_t v = g->nodes[i].out;
        size_t width = value_width(&g->values[v]);
        struct place *place = &p->places[v];
        place->local = steps[v].born == steps[v].last && p->steps[step_of[i]].kind == OP_ROWS;
        place->stride = v == g->output ? width * sizeof(float) : padded_stride(width);
        size_t end = place_value(p, g, place->local ? nodes : steps, v);
        size_t *total = place->local ? &p->local_row_bytes : &p->global_row_bytes;
        *total = end > *total ? end : *total;
    }
    free(nodes);
    free(steps);
}

/* A block's widest local value (an FFN's inner one) takes a quarter of a 1 MiB L2, beside a panel
 * of weights and what else there is. More rows miss the cache (98 of MiniLM's: 2 % slower); fewer
 * read the weights so often that many cores would wait for memory. */
static size_t plan_block_rows(const struct plan *p, const struct graph *g)
{
    size_t widest = 1;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct place *place = &p->places[g->nodes[i].out];
        if (place->local && place->stride > widest)
            widest = place->stride;
    }
    size_t rows = ((size_t)256 << 10) / widest;
    rows = rows < 28 ? 28 : rows;
    return rows < PLAN_MOST_ROWS ? rows : PLAN_MOST_ROWS;
}

struct plan *plan_new(const struct graph *g, const struct kernels *k, uint32_t max_tokens)
{
    struct plan *p = mem_new(sizeof(*p));
    uint32_t *step_of = mem_array(g->n_nodes, sizeof(*step_of));
    plan_steps(p, g, step_of);
    plan_places(p, g, step_of);
    p->block_rows = plan_block_rows(p, g);
    free(step_of);
    for (size_t i = 0; i < g->n_nodes; i++) {
        const struct node *n = &g->nodes[i];
        size_t bytes = n->op->scratch ? n->op->scratch(g, n, k, max_tokens) : 0;
        p->scratch_bytes = bytes > p->scratch_bytes ? bytes : p->scratch_bytes;
    }
    return p;
}

void plan_free(struct plan *p)
{
    if (!p)
        return;
    free(p->steps);
    free(p->places);
    free(p);
}
