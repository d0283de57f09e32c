/* Statements, branches and loops.
 *
 * A branch is lowered with every change of a variable written down, so that the other branch can
 * begin with what was before. Behind both, a variable that differs becomes a result of prim::If. A
 * loop carries every variable that its body assigns and that had a value before; tuples are carried
 * item by item. */
#include "lower.h"

#define BLOCKS_MOST 64 /* nested blocks of nodes: who runs them recurses */

/* A variable at the end of a branch. */
struct end {
    uint32_t slot;
    struct sym then, other;
};

struct ends {
    struct end *list;
    uint32_t n;
};

/* A block that is being written, and what was written before it. */
struct opened {
    struct builder *builder, *outer;
    uint32_t from; /* the first change within it */
};

static struct err *open_block(struct lower *l, struct opened *o)
{
    if (l->n_blocks == BLOCKS_MOST)
        return lower_bad(l, "is nested too deeply");
    l->n_blocks++;
    *o = (struct opened){.outer = l->block, .from = l->n_changes};
    o->builder = arena_alloc(l->tmp, sizeof(*o->builder));
    l->block = o->builder;
    return NULL;
}

/* Variables are as before the block again. */
static void take_back(struct lower *l, uint32_t from)
{
    while (l->n_changes > from) {
        const struct change *c = &l->changes[--l->n_changes];
        l->frame->vars[c->slot] = c->before;
    }
}

static void close_block(struct lower *l, const struct opened *o)
{
    take_back(l, o->from);
    l->block = o->outer;
    l->n_blocks--;
}

static struct script_block *finish(struct lower *l, const struct builder *b, const uint32_t *params,
                                   uint32_t n_params, const uint32_t *results, uint32_t n_results)
{
    struct script_block *block = arena_alloc(l->keep, sizeof(*block));
    block->nodes = arena_array(l->keep, b->n, sizeof(*b->nodes));
    if (b->n)
        memcpy(block->nodes, b->nodes, b->n * sizeof(*b->nodes));
    block->n_nodes = b->n;
    block->params = params;
    block->n_params = n_params;
    block->results = results;
    block->n_results = n_results;
    return block;
}

/* Values that grow. */
struct row {
    uint32_t *p, n, room;
};

static void row_add(struct lower *l, struct row *r, uint32_t value)
{
    if (r->n == r->room) {
        uint32_t room = r->room ? 2 * r->room : 8,
                 *bigger = arena_array(l->tmp, room, sizeof(*r->p));
        if (r->n)
            memcpy(bigger, r->p, r->n * sizeof(*r->p));
        r->p = bigger;
        r->room = room;
    }
    r->p[r->n++] = value;
}

static uint32_t *row_keep(struct lower *l, const struct row *r)
{
    uint32_t *kept = arena_array(l->keep, r->n, sizeof(*kept));
    if (r->n)
        memcpy(kept, r->p, r->n * sizeof(*kept));
    return kept;
}

/* Of a branch or a loop, and how often a loop runs. */
static struct err *lower_condition(struct lower *l, const struct expr *e, uint32_t *out)
{
    struct sym s;
    TRY(lower_expr(l, e, &s));
    return lower_to_value(l, s, out);
}

/* Each variable changed since `from`, once, with its value now; frame->marks tells where. */
static void collect(struct lower *l, uint32_t from, struct ends *out)
{
    struct frame *f = l->frame;
    out->list = arena_array(l->tmp, l->n_changes - from, sizeof(*out->list));
    out->n = 0;
    for (uint32_t i = from; i < l->n_changes; i++) {
        uint32_t slot = l->changes[i].slot;
        if (f->marks[slot])
            continue;
        out->list[out->n] = (struct end){.slot = slot, .then = f->vars[slot]};
        f->marks[slot] = ++out->n;
    }
}

/* Both branches' changes in one list, variables as before them again. */
static void pair(struct lower *l, struct ends *then, uint32_t from, struct ends *out)
{
    struct frame *f = l->frame;
    uint32_t n_changes = l->n_changes - from;
    out->list = arena_array(l->tmp, (size_t)then->n + n_changes, sizeof(*out->list));
    out->n = then->n;
    for (uint32_t i = 0; i < then->n; i++) {
        out->list[i] = then->list[i];
        out->list[i].other = f->vars[then->list[i].slot];
        f->marks[then->list[i].slot] = i + 1;
    }
    for (uint32_t i = from; i < l->n_changes; i++) {
        uint32_t slot = l->changes[i].slot;
        if (f->marks[slot])
            continue;
        out->list[out->n] = (struct end){.slot = slot, .other = f->vars[slot]};
        f->marks[slot] = ++out->n;
    }
}

static bool same(struct sym a, struct sym b)
{
    if (a.kind != b.kind)
        return false;
    switch (a.kind) {
    case SYM_VALUE:
        return a.value == b.value;
    case SYM_OBJECT:
        return a.object == b.object;
    case SYM_FUNCTION:
        return a.function == b.function;
    case SYM_TUPLE:
        return a.n == b.n && a.items == b.items;
    default:
        return true;
    }
}

/* Two branches with their results, the values behind them. */
struct join {
    struct opened then, other;
    struct row then_results, other_results, outs;
};

static struct err *merge(struct lower *l, struct join *j, struct sym a, struct sym b,
                         struct sym *out);

static struct err *merge_tuples(struct lower *l, struct join *j, struct sym a, struct sym b,
                                struct sym *out)
{
    uint32_t n = a.kind == SYM_TUPLE ? a.n : b.n;
    struct sym unset = {.kind = SYM_UNSET}, *items = arena_array(l->tmp, n, sizeof(*items));
    TRY(lower_work(l, 1 + (uint64_t)n));
    TRY(lower_enter(l));
    for (uint32_t i = 0; i < n; i++)
        TRY(merge(l, j, a.kind == SYM_TUPLE ? a.items[i] : unset,
                  b.kind == SYM_TUPLE ? b.items[i] : unset, &items[i]));
    l->depth--;
    *out = (struct sym){.kind = SYM_TUPLE, .n = n, .items = items};
    return NULL;
}

/* In the block of that branch, since a tuple may have to be put together there. */
static struct err *value_within(struct lower *l, struct builder *block, struct sym s, uint32_t *out)
{
    struct builder *outer = l->block;
    l->block = block;
    TRY(lower_to_value(l, s, out));
    l->block = outer;
    return NULL;
}

/* What does not go together is a variable without a value: only its use is an error. */
static struct err *merge(struct lower *l, struct join *j, struct sym a, struct sym b,
                         struct sym *out)
{
    uint32_t then, other, result;
    *out = (struct sym){.kind = SYM_POISON};
    if (same(a, b)) {
        *out = a;
        return NULL;
    }
    if (a.kind == SYM_POISON || b.kind == SYM_POISON)
        return NULL;
    bool tuple_a = a.kind == SYM_TUPLE, tuple_b = b.kind == SYM_TUPLE;
    if ((tuple_a && tuple_b && a.n == b.n) || (tuple_a && b.kind == SYM_UNSET) ||
        (tuple_b && a.kind == SYM_UNSET))
        return merge_tuples(l, j, a, b, out);
    if (a.kind == SYM_OBJECT || b.kind == SYM_OBJECT || a.kind == SYM_FUNCTION ||
        b.kind == SYM_FUNCTION)
        return NULL;
    TRY(value_within(l, j->then.builder, a, &then));
    TRY(value_within(l, j->other.builder, b, &other));
    TRY(lower_new_value(l, NULL, &result));
    l->is_tuple[result] = l->is_tuple[then] || l->is_tuple[other];
    row_add(l, &j->then_results, then);
    row_add(l, &j->other_results, other);
    row_add(l, &j->outs, result);
    *out = sym_value(result);
    return NULL;
}

static struct err *lower_branches(struct lower *l, const struct stmt *s, struct join *j,
                                  struct ends *ends)
{
    struct ends then = {0};
    TRY(open_block(l, &j->then));
    TRY(lower_suite(l, &s->body));
    collect(l, j->then.from, &then);
    for (uint32_t i = 0; i < then.n; i++)
        l->frame->marks[then.list[i].slot] = 0;
    close_block(l, &j->then);
    TRY(open_block(l, &j->other));
    TRY(lower_suite(l, &s->other));
    pair(l, &then, j->other.from, ends);
    close_block(l, &j->other);
    for (uint32_t i = 0; i < ends->n; i++) {
        struct end *e = &ends->list[i];
        l->frame->marks[e->slot] = 0;
        if (i >= then.n)
            e->then = l->frame->vars[e->slot]; /* changed in the other one only */
    }
    return NULL;
}

static struct err *lower_if(struct lower *l, const struct stmt *s)
{
    uint32_t condition;
    struct join j = {0};
    struct ends ends;
    struct script_node *node;
    TRY(lower_condition(l, s->values[0], &condition));
    const struct script_value *known = lower_constant(l, condition);
    if (known && known->kind == SCRIPT_BOOL)
        return lower_suite(l, known->b ? &s->body : &s->other);
    TRY(lower_branches(l, s, &j, &ends));
    TRY(lower_work(l, ends.n));
    for (uint32_t i = 0; i < ends.n; i++) {
        struct sym merged;
        TRY(merge(l, &j, ends.list[i].then, ends.list[i].other, &merged));
        lower_set(l, ends.list[i].slot, merged);
    }
    TRY(lower_node(l, SCRIPT_OP_prim_If, &condition, NULL, 1, 0, &node));
    node->body[0] =
        finish(l, j.then.builder, NULL, 0, row_keep(l, &j.then_results), j.then_results.n);
    node->body[1] =
        finish(l, j.other.builder, NULL, 0, row_keep(l, &j.other_results), j.other_results.n);
    node->out = row_keep(l, &j.outs);
    node->n_out = j.outs.n;
    return NULL;
}

/* A loop and the variables it carries. */
struct loop {
    struct opened body;
    uint32_t *slots, n; /* variables */
    struct sym *before; /* their values before the loop, then within, then behind */
    struct row in, params, results, outs;
};

/* Variables that the suite assigns and that have a value now. */
static struct err *find_carried(struct lower *l, const struct suite *suite, struct row *out)
{
    struct frame *f = l->frame;
    TRY(lower_work(l, suite->n));
    for (uint32_t i = 0; i < suite->n; i++) {
        const struct stmt *s = suite->stmts[i];
        TRY(lower_work(l, s->n_targets));
        for (uint32_t j = 0; j < s->n_targets; j++) {
            uint32_t slot = s->slots[j];
            if (f->vars[slot].kind == SYM_POISON || f->marks[slot])
                continue;
            row_add(l, out, slot);
            f->marks[slot] = 1;
        }
        TRY(find_carried(l, &s->body, out));
        TRY(find_carried(l, &s->other, out));
    }
    return NULL;
}

/* The same shape with a fresh value for each leaf; old leaves and new ones are listed. */
static struct err *freshen(struct lower *l, struct sym s, struct row *old, struct row *fresh,
                           struct sym *out)
{
    uint32_t value;
    *out = s;
    if (s.kind == SYM_OBJECT || s.kind == SYM_FUNCTION)
        return NULL;
    if (s.kind == SYM_TUPLE) {
        TRY(lower_work(l, 1 + (uint64_t)s.n));
        TRY(lower_enter(l));
        out->items = arena_array(l->tmp, s.n, sizeof(*out->items));
        for (uint32_t i = 0; i < s.n; i++)
            TRY(freshen(l, s.items[i], old, fresh, &out->items[i]));
        l->depth--;
        return NULL;
    }
    TRY(lower_to_value(l, s, &value));
    *out = (struct sym){.kind = SYM_VALUE};
    TRY(lower_new_value(l, NULL, &out->value));
    l->is_tuple[out->value] = l->is_tuple[value];
    if (old)
        row_add(l, old, value);
    row_add(l, fresh, out->value);
    return NULL;
}

/* The leaves of a variable at the end of the body, which must have the shape it had before. */
static struct err *flatten(struct lower *l, struct sym shape, struct sym s, struct row *out)
{
    uint32_t value;
    if (shape.kind == SYM_OBJECT || shape.kind == SYM_FUNCTION)
        return same(shape, s) ? NULL : lower_bad(l, "changes a module within a loop");
    if (shape.kind == SYM_TUPLE) {
        struct sym *items = arena_array(l->tmp, shape.n, sizeof(*items));
        TRY(lower_work(l, 1 + (uint64_t)shape.n));
        TRY(lower_enter(l));
        TRY(lower_unpack(l, s, shape.n, true, items));
        for (uint32_t i = 0; i < shape.n; i++)
            TRY(flatten(l, shape.items[i], items[i], out));
        l->depth--;
        return NULL;
    }
    TRY(lower_to_value(l, s, &value));
    row_add(l, out, value);
    return NULL;
}

static struct err *begin_loop(struct lower *l, const struct stmt *s, struct loop *loop)
{
    struct row carried = {0};
    TRY(find_carried(l, &s->body, &carried));
    for (uint32_t i = 0; i < carried.n; i++)
        l->frame->marks[carried.p[i]] = 0;
    loop->slots = carried.p;
    loop->n = carried.n;
    loop->before = arena_array(l->tmp, loop->n, sizeof(*loop->before));
    for (uint32_t i = 0; i < loop->n; i++)
        loop->before[i] = l->frame->vars[loop->slots[i]];
    return NULL;
}

/* Parameters of the body: the counter, then what is carried. */
static struct err *enter_body(struct lower *l, struct loop *loop, uint32_t *counter)
{
    TRY(lower_new_value(l, NULL, counter));
    row_add(l, &loop->params, *counter);
    struct sym *within = arena_array(l->tmp, loop->n, sizeof(*within));
    for (uint32_t i = 0; i < loop->n; i++)
        TRY(freshen(l, loop->before[i], &loop->in, &loop->params, &within[i]));
    TRY(open_block(l, &loop->body));
    for (uint32_t i = 0; i < loop->n; i++)
        lower_set(l, loop->slots[i], within[i]);
    return NULL;
}

/* Results of the body, then the node, then its values as the variables'. */
static struct err *end_loop(struct lower *l, struct loop *loop)
{
    struct script_node *node;
    for (uint32_t i = 0; i < loop->n; i++)
        TRY(flatten(l, loop->before[i], l->frame->vars[loop->slots[i]], &loop->results));
    close_block(l, &loop->body);
    for (uint32_t i = 0; i < loop->n; i++) {
        struct sym behind;
        TRY(freshen(l, loop->before[i], NULL, &loop->outs, &behind));
        lower_set(l, loop->slots[i], behind);
    }
    TRY(lower_node(l, SCRIPT_OP_prim_Loop, loop->in.p, NULL, loop->in.n, 0, &node));
    node->body[0] = finish(l, loop->body.builder, row_keep(l, &loop->params), loop->params.n,
                           row_keep(l, &loop->results), loop->results.n);
    node->out = row_keep(l, &loop->outs);
    node->n_out = loop->outs.n;
    return NULL;
}

static struct err *lower_for(struct lower *l, const struct stmt *s)
{
    struct loop loop = {0};
    uint32_t trips, go, counter;
    TRY(lower_condition(l, s->values[0], &trips));
    TRY(lower_bool(l, true, &go));
    TRY(begin_loop(l, s, &loop));
    row_add(l, &loop.in, trips);
    row_add(l, &loop.in, go);
    TRY(enter_body(l, &loop, &counter));
    lower_set(l, s->slots[0], sym_value(counter));
    TRY(lower_suite(l, &s->body));
    row_add(l, &loop.results, go);
    return end_loop(l, &loop);
}

static struct err *lower_while(struct lower *l, const struct stmt *s)
{
    struct loop loop = {0};
    uint32_t trips, go, counter;
    TRY(lower_int(l, INT64_MAX, &trips));
    TRY(lower_condition(l, s->values[0], &go));
    TRY(begin_loop(l, s, &loop));
    row_add(l, &loop.in, trips);
    row_add(l, &loop.in, go);
    TRY(enter_body(l, &loop, &counter));
    TRY(lower_suite(l, &s->body));
    TRY(lower_condition(l, s->values[0], &go));
    row_add(l, &loop.results, go);
    return end_loop(l, &loop);
}

static struct err *lower_assign(struct lower *l, const struct stmt *s)
{
    struct sym *values = arena_array(l->tmp, s->n_targets, sizeof(*values));
    TRY(lower_work(l, s->n_targets));
    if (s->n_values > 1 || (s->n_targets == 1 && !s->unpack)) {
        for (uint32_t i = 0; i < s->n_values; i++)
            TRY(lower_expr(l, s->values[i], &values[i]));
    } else {
        struct sym whole;
        TRY(lower_expr(l, s->values[0], &whole));
        TRY(lower_unpack(l, whole, s->n_targets, !s->unpack, values));
    }
    for (uint32_t i = 0; i < s->n_targets; i++)
        lower_set(l, s->slots[i], values[i]);
    return NULL;
}

static struct err *lower_stmt(struct lower *l, const struct stmt *s)
{
    struct sym ignored;
    switch (s->kind) {
    case STMT_ASSIGN:
        return lower_assign(l, s);
    case STMT_EXPR:
        return lower_expr(l, s->values[0], &ignored);
    case STMT_SET:
        return library_refuse("prim::SetAttr");
    case STMT_IF:
        return lower_if(l, s);
    case STMT_FOR:
        return lower_for(l, s);
    case STMT_WHILE:
        return lower_while(l, s);
    case STMT_WITH:
        return library_refuse("prim::Enter");
    case STMT_FUNCTION:
        return library_refuse("prim::Closure");
    case STMT_RETURN:
        return lower_bad(l, "returns before the end of its function");
    default:
        return NULL;
    }
}

struct err *lower_suite(struct lower *l, const struct suite *suite)
{
    TRY(lower_enter(l));
    for (uint32_t i = 0; i < suite->n; i++) {
        TRY(lower_work(l, 1));
        l->frame->stmt = suite->stmts[i];
        TRY(lower_stmt(l, suite->stmts[i]));
    }
    l->depth--;
    return NULL;
}
