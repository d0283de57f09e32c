/* Calls: ops become nodes; methods and functions of the archive become their bodies. */
#include "lower.h"

static bool is_free(const struct expr *e, const char *name)
{
    return e->kind == EXPR_NAME && e->slot == NO_SLOT && str_eq_c(e->s, name);
}

/* Arguments by position and keyword into the parameters behind `first`; what is not given has its
 * initial value, a literal. */
static struct err *bind(struct lower *l, const struct function *f, uint32_t first,
                        const struct expr *call, struct sym *args)
{
    if (call->n > f->n_params - first)
        return lower_bad(l, "calls [%.*s] with too many arguments", STR_ARG(f->name));
    for (uint32_t i = 0; i < call->n; i++) {
        uint32_t at = first + i;
        if (call->keywords && call->keywords[i].p) {
            TRY(lower_work(l, f->n_params));
            for (at = first; at < f->n_params; at++)
                if (str_eq(f->params[at].name, call->keywords[i]))
                    break;
        }
        if (at == f->n_params || args[at].kind != SYM_POISON)
            return lower_bad(l, "calls [%.*s] with an argument it does not have or has twice",
                             STR_ARG(f->name));
        TRY(lower_expr(l, call->items[i], &args[at]));
    }
    for (uint32_t at = first; at < f->n_params; at++) {
        if (args[at].kind != SYM_POISON)
            continue;
        if (!f->params[at].initial)
            return lower_bad(l, "calls [%.*s] without [%.*s]", STR_ARG(f->name),
                             STR_ARG(f->params[at].name));
        TRY(lower_expr(l, f->params[at].initial, &args[at]));
    }
    return NULL;
}

static struct err *call_function(struct lower *l, const struct function *f,
                                 struct pickle_value *self, const struct expr *call,
                                 struct sym *out)
{
    uint32_t first = self != NULL;
    TRY(lower_work(l, 1 + (uint64_t)f->n_params));
    if (f->n_params < first)
        return lower_bad(l, "calls [%.*s], which has no self", STR_ARG(f->name));
    struct sym *args = arena_array(l->tmp, f->n_params, sizeof(*args));
    if (self)
        args[0] = (struct sym){.kind = SYM_OBJECT, .object = self};
    TRY(bind(l, f, first, call, args));
    return lower_function(l, f, self, args, out);
}

static struct err *call_method(struct lower *l, const struct expr *e, struct sym *out)
{
    struct sym of;
    TRY(lower_expr(l, e->of->of, &of));
    if (of.kind != SYM_OBJECT)
        return library_refuse("prim::CallMethod");
    struct str class = of.object->object.name;
    const struct function *f = library_method(l->library, class, e->of->s);
    if (!f)
        return lower_bad(l, "calls [%.*s] of [%.*s], which has no such method",
                         (int)(e->of->s.n < 200 ? e->of->s.n : 200), e->of->s.p,
                         (int)(class.n < 200 ? class.n : 200), class.p);
    return call_function(l, f, of.object, e, out);
}

static struct err *call_value(struct lower *l, const struct expr *e, struct sym *out)
{
    struct sym callee;
    TRY(lower_expr(l, e->of, &callee));
    if (callee.kind != SYM_FUNCTION)
        return library_refuse("prim::CallFunction");
    return call_function(l, callee.function, NULL, e, out);
}

/* __torch__.a.Pair(x, y): a NamedTuple, a tuple to us. */
static struct err *make_tuple(struct lower *l, const struct expr *e, struct sym *out)
{
    struct sym *items = arena_array(l->tmp, e->n, sizeof(*items));
    if (e->keywords)
        return lower_bad(l, "makes a named tuple with keywords");
    for (uint32_t i = 0; i < e->n; i++)
        TRY(lower_expr(l, e->items[i], &items[i]));
    *out = (struct sym){.kind = SYM_TUPLE, .n = e->n, .items = items};
    return NULL;
}

static struct err *call_named(struct lower *l, const struct expr *e, struct str name,
                              struct sym *out)
{
    const struct class *class = library_class(l->library, name);
    const struct function *f = library_function(l->library, name);
    if (class && class->is_tuple)
        return make_tuple(l, e, out);
    if (f)
        return call_function(l, f, NULL, e, out);
    return library_refuse(class || str_ends(name, STR(".__new__")) ? "prim::CreateObject"
                                                                   : "prim::CallFunction");
}

/* Ops that are written as a call. The other names of the table stand for what has a form of its
 * own in the language. */
static bool is_callable(enum script_op op)
{
    switch (op) {
    case SCRIPT_OP_prim_Constant:
    case SCRIPT_OP_prim_DictConstruct:
    case SCRIPT_OP_prim_GetAttr:
    case SCRIPT_OP_prim_If:
    case SCRIPT_OP_prim_ListConstruct:
    case SCRIPT_OP_prim_ListUnpack:
    case SCRIPT_OP_prim_Loop:
    case SCRIPT_OP_prim_TupleConstruct:
    case SCRIPT_OP_prim_TupleUnpack:
        return false;
    default:
        return true;
    }
}

static struct err *call_op(struct lower *l, const struct expr *e, const char *name, struct sym *out)
{
    enum script_op op;
    struct script_node *node;
    if (!library_op(l->library, name, &op))
        return library_refuse(name);
    if (!is_callable(op))
        return lower_bad(l, "calls [%s], which is no function", name);
    uint32_t *in = arena_array(l->tmp, e->n, sizeof(*in));
    const char **keywords = e->keywords ? arena_array(l->keep, e->n, sizeof(const char *)) : NULL;
    for (uint32_t i = 0; i < e->n; i++) {
        struct sym s;
        TRY(lower_expr(l, e->items[i], &s));
        TRY(lower_to_value(l, s, &in[i]));
        if (keywords && e->keywords[i].p)
            keywords[i] = lower_keyword(l, e->keywords[i]);
    }
    TRY(lower_node(l, op, in, keywords, e->n, 1, &node));
    *out = sym_value(node->out[0]);
    return NULL;
}

static struct err *call_device(struct lower *l, const struct expr *e, struct sym *out)
{
    struct str device = e->items[0]->s;
    if (!str_eq(device, STR("cpu")))
        return lower_bad(l, "names the device [%.*s]; a model has to run on the [cpu]",
                         (int)(device.n < 40 ? device.n : 40), device.p);
    out->kind = SYM_VALUE;
    return lower_str(l, SCRIPT_DEVICE, device, &out->value);
}

/* annotate(T, x) is x, but for a tensor where a number is wanted, which becomes one. */
static struct err *call_annotate(struct lower *l, const struct expr *e, struct sym *out)
{
    const char *implicit = library_implicit(e);
    enum script_op op;
    uint32_t in;
    if (e->n != 2)
        return lower_bad(l, "annotates nothing");
    TRY(lower_expr(l, e->items[1], out));
    if (!implicit || (out->kind == SYM_VALUE && lower_constant(l, out->value) &&
                      lower_constant(l, out->value)->kind != SCRIPT_TENSOR))
        return NULL;
    if (!library_op(l->library, implicit, &op))
        return library_refuse(implicit);
    TRY(lower_to_value(l, *out, &in));
    out->kind = SYM_VALUE;
    return lower_node1(l, op, &in, 1, &out->value);
}

static struct err *call_getattr(struct lower *l, const struct expr *e, struct sym *out)
{
    if (e->n != 2 || e->items[1]->kind != EXPR_STR || e->keywords)
        return lower_bad(l, "gets an attribute without a name");
    struct expr field = {
        .kind = EXPR_FIELD, .line = e->line, .of = e->items[0], .s = e->items[1]->s};
    return lower_expr(l, &field, out);
}

/* What looks like a call and is none. False: something else. */
static bool special_form(struct lower *l, const struct expr *e, struct sym *out, struct err **err)
{
    if (is_free(e->of, "annotate")) {
        *err = call_annotate(l, e, out);
    } else if (is_free(e->of, "unchecked_cast") || is_free(e->of, "unchecked_unwrap_optional")) {
        *err = e->n ? lower_expr(l, e->items[e->n - 1], out) : lower_bad(l, "casts nothing");
    } else if (is_free(e->of, "uninitialized")) {
        out->kind = SYM_UNSET;
    } else if (is_free(e->of, "getattr")) {
        *err = call_getattr(l, e, out);
    } else if (library_is_device(e)) {
        *err = call_device(l, e, out);
    } else {
        return false;
    }
    return true;
}

struct err *lower_call(struct lower *l, const struct expr *e, struct sym *out)
{
    char text[QUALIFIED_MOST];
    struct str name;
    struct op_name op;
    struct err *err = NULL;
    if (special_form(l, e, out, &err))
        return err;
    if (library_op_name(e->of, &op))
        return call_op(l, e, op.text, out);
    if (library_qualified(e->of, text, &name))
        return call_named(l, e, name, out);
    return e->of->kind == EXPR_FIELD ? call_method(l, e, out) : call_value(l, e, out);
}
