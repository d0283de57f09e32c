/* The runner walks the plan's blocks; control flow is here, every other op in its family's file.
 * Memory of a run is malloc'ed per object and charged against max_bytes; whatever a run leaves
 * behind, by an error too, is dropped before the next one. */
#include <stdlib.h>

#include "bug.h"
#include "pointwise.h"
#include "step.h"
#include "strided.h"

/* Seconds at most of doing nothing in loops, and minutes of doing something: 12 layers of BERT over
 * 512 tokens are a thousandth of it. */
#define MOST_STEPS ((uint64_t)1 << 24)
#define MOST_WORK  ((uint64_t)1 << 38)

static step_fn *const table[N_SCRIPT_OPS] = {
#define X(id, name) [SCRIPT_OP_##id] = run_##id,
#include "ops.def"
#undef X
};

struct script_runner *script_runner_new(const struct script_plan *plan, size_t max_bytes)
{
    struct script_runner *r = mem_new(sizeof(*r));
    r->plan = plan;
    r->max_bytes = max_bytes;
    r->max_steps = MOST_STEPS;
    r->max_work = MOST_WORK;
    r->values = mem_array(plan->script->n_values, sizeof(*r->values));
    return r;
}

static void drop_all(struct script_runner *r)
{
    for (uint32_t i = 0; i < r->plan->script->n_values; i++)
        datum_drop(r, &r->values[i]);
}

void script_runner_free(struct script_runner *r)
{
    if (!r)
        return;
    drop_all(r);
    runner_release(r, r->output, r->output_bytes);
    BUG_ON(r->bytes != 0);
    free(r->values);
    free(r);
}

void *runner_alloc(struct script_runner *r, size_t bytes)
{
    size_t rounded = (bytes + 63) & ~(size_t)63;
    if (rounded < bytes || bytes > r->max_bytes || r->bytes > r->max_bytes - bytes)
        return NULL;
    void *p = aligned_alloc(64, rounded ? rounded : 64);
    if (p)
        r->bytes += bytes;
    return p;
}

void runner_release(struct script_runner *r, void *p, size_t bytes)
{
    if (!p)
        return;
    r->bytes -= bytes;
    free(p);
}

const struct datum *runner_datum(const struct script_runner *r, uint32_t id)
{
    return r->plan->is_constant[id] ? &r->plan->constants[id] : &r->values[id];
}

void runner_set(struct script_runner *r, uint32_t id, struct datum v)
{
    datum_drop(r, &r->values[id]);
    r->values[id] = v;
}

static void drop_values(struct script_runner *r, const struct drops *drops)
{
    for (uint32_t i = 0; i < drops->n; i++)
        datum_drop(r, &r->values[drops->ids[i]]);
}

/* --- control flow --- */

static struct err *run_block(struct script_runner *, const struct plan_block *);

static struct err *count_step(struct step *s)
{
    if (++s->r->steps > s->r->max_steps)
        return step_bad(s, "one inference takes too many steps");
    return NULL;
}

/* A block's results from the first one on, into the node's values. */
static void hand_out(struct step *s, const struct plan_block *b, uint32_t first)
{
    for (uint32_t i = 0; i < s->node->n_out; i++)
        runner_set(s->r, s->node->out[i],
                   datum_copy(runner_datum(s->r, b->block->results[first + i])));
    drop_values(s->r, &b->drops);
}

static struct err *run_if(struct step *s, const struct plan_node *n)
{
    const struct datum *condition = runner_datum(s->r, s->node->in[0]);
    if (condition->kind != SCRIPT_BOOL)
        return step_bad(s, "the condition must be a bool, not %s",
                        datum_kind_name(condition->kind));
    const struct plan_block *body = n->body[condition->b ? 0 : 1];
    TRY(run_block(s->r, body));
    hand_out(s, body, 0);
    return NULL;
}

static struct err *run_loop(struct step *s, const struct plan_node *n)
{
    const struct datum *trips = runner_datum(s->r, s->node->in[0]);
    const struct datum *condition = runner_datum(s->r, s->node->in[1]);
    const struct plan_block *body = n->body[0];
    const struct script_block *b = body->block;
    if (trips->kind != SCRIPT_INT || condition->kind != SCRIPT_BOOL)
        return step_bad(s, "a loop needs an int and a bool, not %s and %s",
                        datum_kind_name(trips->kind), datum_kind_name(condition->kind));
    int64_t n_trips = trips->i;
    bool goes_on = condition->b;
    for (uint32_t i = 0; i < s->node->n_out; i++)
        runner_set(s->r, s->node->out[i], datum_copy(runner_datum(s->r, s->node->in[i + 2])));
    for (int64_t trip = 0; goes_on && trip < n_trips; trip++) {
        TRY(count_step(s));
        runner_set(s->r, b->params[0], (struct datum){.kind = SCRIPT_INT, .i = trip});
        for (uint32_t i = 0; i < s->node->n_out; i++)
            runner_set(s->r, b->params[i + 1], datum_copy(&s->r->values[s->node->out[i]]));
        TRY(run_block(s->r, body));
        condition = runner_datum(s->r, b->results[0]);
        if (condition->kind != SCRIPT_BOOL)
            return step_bad(s, "the condition must be a bool, not %s",
                            datum_kind_name(condition->kind));
        goes_on = condition->b;
        hand_out(s, body, 1);
    }
    return NULL;
}

static struct err *run_node(struct script_runner *r, const struct plan_node *n)
{
    const struct script_node *node = n->node;
    struct datum nowhere = {.kind = SCRIPT_NONE};
    struct step s = {.r = r, .node = node, .out = &nowhere};
    struct err *err = count_step(&s);
    if (!err && node->op == SCRIPT_OP_prim_If)
        err = run_if(&s, n);
    else if (!err && node->op == SCRIPT_OP_prim_Loop)
        err = run_loop(&s, n);
    else if (!err) {
        if (node->n_out == 1) {
            s.out = &r->values[node->out[0]];
            datum_drop(r, s.out);
        }
        err = table[node->op](&s);
    }
    datum_drop(r, &nowhere);
    drop_values(r, &n->drops);
    return err;
}

static struct err *run_block(struct script_runner *r, const struct plan_block *b)
{
    for (uint32_t i = 0; i < b->block->n_nodes; i++)
        if (!b->nodes[i].folded)
            TRY(run_node(r, &b->nodes[i]));
    return NULL;
}

struct err *run_alone(struct script_runner *r, const struct script_node *node, struct datum *out)
{
    struct step s = {.r = r, .node = node, .out = out};
    return table[node->op](&s);
}

/* The runner takes these before the table: they need the plan's blocks. */
struct err *run_prim_If(struct step *s)
{
    return step_bad(s, "has no blocks");
}

struct err *run_prim_Loop(struct step *s)
{
    return step_bad(s, "has no blocks");
}

/* --- a run --- */

static struct err *take_args(struct script_runner *r, const struct script_tensor *args)
{
    static const struct script_node input = {.op = SCRIPT_OP_aten_clone};
    for (uint32_t i = 0; i < r->plan->script->n_args; i++) {
        struct step s = {.r = r, .node = &input, .out = &r->values[i]};
        struct script_tensor t;
        TRY(out_new(&s, args[i].dtype, args[i].rank, args[i].dim, &t));
        TRY(copy_elements(&s, &args[i], &t));
    }
    return NULL;
}

static struct err *give_tensor(struct script_runner *r, const struct script_tensor *t,
                               struct output *out)
{
    static const struct script_node result = {.op = SCRIPT_OP_aten_to};
    struct step s = {.r = r, .node = &result};
    if (t->rank > 3)
        return err_new(ERR_ARGUMENT, "Cannot convert results tensor of size %s", tensor_shape(t).z);
    int64_t dim[3] = {1, 1, 1};
    for (int i = 0; i < t->rank; i++)
        dim[3 - t->rank + i] = t->dim[i];
    size_t bytes = (size_t)tensor_numel(t) * sizeof(float);
    if (tensor_numel(t) > (int64_t)(SIZE_MAX / 16))
        return step_no_memory(&s);
    runner_release(r, r->output, r->output_bytes);
    r->output_bytes = 0;
    r->output = runner_alloc(r, bytes);
    if (!r->output)
        return step_no_memory(&s);
    r->output_bytes = bytes;
    struct script_tensor dense = *t;
    dense.dtype = DTYPE_F32;
    dense.data = r->output;
    dense_strides(&dense);
    TRY(copy_elements(&s, t, &dense));
    *out = (struct output){.dim = {dim[0], dim[1], dim[2]}, .data = r->output};
    return NULL;
}

static struct err *give_result(struct script_runner *r, struct output *out)
{
    const struct datum *v = runner_datum(r, r->plan->script->forward->results[0]);
    if (v->kind == SCRIPT_TUPLE && v->items->n)
        v = &v->items->v[0];
    if (v->kind != SCRIPT_TENSOR)
        return err_new(ERR_ARGUMENT, "The model's forward gives %s, not a Tensor",
                       datum_kind_name(v->kind));
    return give_tensor(r, &v->view->t, out);
}

struct err *script_run(struct script_runner *r, const struct script_tensor *args, uint32_t n_args,
                       struct output *out)
{
    *out = (struct output){.data = NULL};
    if (n_args != r->plan->script->n_args)
        return err_new(ERR_ARGUMENT, "The model's forward takes [%u] arguments, not [%u]",
                       r->plan->script->n_args, n_args);
    r->steps = r->work = 0;
    r->random = 0;
    struct err *err = take_args(r, args);
    if (!err)
        err = run_block(r, r->plan->forward);
    if (!err)
        err = give_result(r, out);
    drop_all(r);
    return err;
}
