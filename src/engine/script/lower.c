/* Lowering from the outside: the root's forward, functions one within the other, limits. A call is
 * its function's statements with an own set of variables; recursion has no end then and is refused.
 */
#include "lower.h"

#include "bug.h"
#include "map.h"

/* Of expressions, suites and calls within each other: what one level costs of the stack is a few
 * hundred bytes. */
#define DEPTH_MOST 1000
#define STEPS_MOST ((uint64_t)16 << 20)

struct err *lower_bad(const struct lower *l, const char *fmt, ...)
{
    char what[900];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    if (!l->frame)
        return err_new(ERR_ARGUMENT, "[%s] %s", l->archive->file, what);
    const struct function *f = l->frame->function;
    return err_new(ERR_ARGUMENT, "[%.*s] line [%u] %s", STR_ARG(f->file),
                   l->frame->stmt ? l->frame->stmt->line : f->line, what);
}

struct err *lower_enter(struct lower *l)
{
    if (l->depth == DEPTH_MOST)
        return lower_bad(l, "is nested too deeply");
    l->depth++;
    return NULL;
}

struct err *lower_work(struct lower *l, uint64_t steps)
{
    l->steps += steps;
    if (l->steps > STEPS_MOST)
        return lower_bad(l, "does more than a model may do");
    return NULL;
}

void lower_set(struct lower *l, uint32_t slot, struct sym s)
{
    if (l->n_changes == l->room_changes) {
        uint32_t room = l->room_changes ? 2 * l->room_changes : 64;
        struct change *bigger = arena_array(l->tmp, room, sizeof(*bigger));
        if (l->n_changes)
            memcpy(bigger, l->changes, l->n_changes * sizeof(*bigger));
        l->changes = bigger;
        l->room_changes = room;
    }
    l->changes[l->n_changes++] = (struct change){slot, l->frame->vars[slot]};
    l->frame->vars[slot] = s;
}

static struct err *check_recursion(const struct lower *l, const struct function *f,
                                   const struct pickle_value *self)
{
    for (const struct frame *outer = l->frame; outer; outer = outer->outer)
        if (outer->function == f && outer->self == self)
            return lower_bad(l, "calls [%.*s] within itself", STR_ARG(f->name));
    return NULL;
}

/* All but a return at the end, whose value is the function's; without one it is None. */
static struct err *lower_body(struct lower *l, const struct function *f, struct sym *out)
{
    struct suite suite = f->body;
    struct sym none = {.kind = SYM_VALUE};
    const struct stmt *last = suite.n ? suite.stmts[suite.n - 1] : NULL;
    bool returns = last && last->kind == STMT_RETURN;
    suite.n -= returns;
    TRY(lower_suite(l, &suite));
    if (returns && last->n_values) {
        l->frame->stmt = last;
        return lower_expr(l, last->values[0], out);
    }
    TRY(lower_none(l, &none.value));
    *out = none;
    return NULL;
}

/* The changes written down before are another frame's: they are kept out of reach meanwhile. */
struct err *lower_function(struct lower *l, const struct function *f, struct pickle_value *self,
                           const struct sym *args, struct sym *out)
{
    TRY(check_recursion(l, f, self));
    TRY(lower_work(l, f->n_slots));
    TRY(lower_enter(l));
    struct frame frame = {.outer = l->frame,
                          .function = f,
                          .self = self,
                          .vars = arena_array(l->tmp, f->n_slots, sizeof(*frame.vars)),
                          .marks = arena_array(l->tmp, f->n_slots, sizeof(*frame.marks))};
    uint32_t n_changes = l->n_changes;
    for (uint32_t i = 0; i < f->n_params; i++)
        frame.vars[i] = args[i];
    l->frame = &frame;
    TRY(lower_body(l, f, out));
    l->frame = frame.outer;
    l->n_changes = n_changes;
    l->depth--;
    return NULL;
}

static struct err *lower_root(struct lower *l, struct pickle_value *root)
{
    struct sym result, *args;
    struct builder block = {0};
    uint32_t *results = arena_array(l->keep, 1, sizeof(*results));
    if (root->kind != PICKLE_OBJECT)
        return lower_bad(l, "holds no module");
    const struct function *f = library_method(l->library, root->object.name, STR("forward"));
    if (!f || f->n_params == 0)
        return lower_bad(l, "has no [forward] in [%.*s]",
                         (int)(root->object.name.n < 300 ? root->object.name.n : 300),
                         root->object.name.p);
    args = arena_array(l->tmp, f->n_params, sizeof(*args));
    args[0] = (struct sym){.kind = SYM_OBJECT, .object = root};
    for (uint32_t i = 1; i < f->n_params; i++) {
        args[i].kind = SYM_VALUE;
        TRY(lower_new_value(l, NULL, &args[i].value));
    }
    l->script->n_args = f->n_params - 1;
    l->block = &block;
    TRY(lower_function(l, f, root, args, &result));
    TRY(lower_to_value(l, result, &results[0]));
    struct script_block *forward = arena_alloc(l->keep, sizeof(*forward));
    *forward = (struct script_block){.n_nodes = block.n, .results = results, .n_results = 1};
    forward->nodes = arena_array(l->keep, block.n, sizeof(*block.nodes));
    if (block.n)
        memcpy(forward->nodes, block.nodes, block.n * sizeof(*block.nodes));
    l->script->forward = forward;
    return NULL;
}

struct err *lower_forward(const struct library *library, const struct archive *archive,
                          struct pickle_value *root, struct pickle_value *table, struct arena *tmp,
                          struct script *out)
{
    struct lower l = {.library = library,
                      .archive = archive,
                      .keep = out->arena,
                      .tmp = tmp,
                      .script = out,
                      .table = table,
                      .literals = map_new(),
                      .attributes = map_new()};
    struct err *err = lower_root(&l, root);
    map_free(l.literals);
    map_free(l.attributes);
    if (err)
        return err;
    out->n_values = l.n_values;
    out->constants = arena_array(out->arena, l.n_values, sizeof(const struct script_value *));
    if (l.n_values)
        memcpy(out->constants, l.constants, l.n_values * sizeof(const struct script_value *));
    return NULL;
}
