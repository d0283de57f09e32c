/* Takes out what nobody needs: a node stays if one of its results is used, or if it does something
 * besides: writes into a tensor, moves the generator of random numbers. Backwards, so that what
 * only a dead node used is dead too. Of an `if` the unused results go as well; a loop keeps all
 * that it carries. */
#include "lower.h"

struct pruning {
    bool *used; /* [n_values] */
};

/* aten::add_ and its like write into their first input; aten::__and__ does not. */
static bool has_effect(enum script_op op)
{
    struct str name = str_c(script_op_name(op));
    if (op == SCRIPT_OP_aten_manual_seed || op == SCRIPT_OP_aten_rand)
        return true;
    return str_ends(name, STR("_")) && !str_ends(name, STR("__"));
}

static bool block_has_effect(const struct script_block *b)
{
    for (uint32_t i = 0; b && i < b->n_nodes; i++) {
        const struct script_node *n = &b->nodes[i];
        if (has_effect(n->op) || block_has_effect(n->body[0]) || block_has_effect(n->body[1]))
            return true;
    }
    return false;
}

static bool is_needed(const struct pruning *p, const struct script_node *n)
{
    for (uint32_t i = 0; i < n->n_out; i++)
        if (p->used[n->out[i]])
            return true;
    return has_effect(n->op) || block_has_effect(n->body[0]) || block_has_effect(n->body[1]);
}

static void use(struct pruning *p, const uint32_t *values, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        p->used[values[i]] = true;
}

/* Drops results of both branches that are used by nobody. */
static void prune_results(const struct pruning *p, struct script_node *n, struct arena *keep)
{
    uint32_t *out = arena_array(keep, n->n_out, sizeof(*out)), kept = 0;
    uint32_t *results[2];
    for (int b = 0; b < 2; b++)
        results[b] = arena_array(keep, n->n_out, sizeof(*out));
    for (uint32_t i = 0; i < n->n_out; i++) {
        if (!p->used[n->out[i]])
            continue;
        out[kept] = n->out[i];
        for (int b = 0; b < 2; b++)
            results[b][kept] = n->body[b]->results[i];
        kept++;
    }
    n->out = out;
    n->n_out = kept;
    for (int b = 0; b < 2; b++) {
        n->body[b]->results = results[b];
        n->body[b]->n_results = kept;
    }
}

static void prune_block(struct pruning *p, struct script_block *b, struct arena *keep)
{
    uint32_t kept = b->n_nodes;
    use(p, b->results, b->n_results);
    for (uint32_t i = b->n_nodes; i-- > 0;) {
        struct script_node *n = &b->nodes[i];
        if (!is_needed(p, n))
            continue;
        if (n->op == SCRIPT_OP_prim_If)
            prune_results(p, n, keep);
        for (int j = 0; j < 2; j++)
            if (n->body[j])
                prune_block(p, n->body[j], keep);
        use(p, n->in, n->n_in);
        b->nodes[--kept] = *n;
    }
    b->nodes += kept;
    b->n_nodes -= kept;
}

void prune(struct script *s, struct arena *tmp)
{
    struct pruning p = {.used = arena_array(tmp, s->n_values, sizeof(bool))};
    prune_block(&p, s->forward, s->arena);
}
