/* Expressions but for calls. */
#include "lower.h"

#include "map.h"

#define INDEX_FROM 16 /* a state of so many attributes gets an index */

static bool attribute_key(const struct pickle_value *object, struct str name,
                          char out[QUALIFIED_MOST], struct str *key)
{
    if (name.n > QUALIFIED_MOST - sizeof(object))
        return false;
    memcpy(out, &object, sizeof(object));
    memcpy(out + sizeof(object), name.p, name.n);
    *key = str_n(out, sizeof(object) + name.n);
    return true;
}

static void index_attributes(struct lower *l, struct pickle_value *object)
{
    const struct pickle_value *state = object->object.state;
    char text[QUALIFIED_MOST];
    struct str key;
    object->object.indexed = true;
    for (uint32_t i = 0; i + 1 < state->n; i += 2)
        if (state->items[i]->kind == PICKLE_STR &&
            attribute_key(object, state->items[i]->s, text, &key))
            map_put(l->attributes, key, state->items[i + 1]);
}

/* NULL: not in its state. A key that is there twice counts as it was last set. */
static struct pickle_value *find_attribute(struct lower *l, struct pickle_value *object,
                                           struct str name)
{
    const struct pickle_value *state = object->object.state;
    char text[QUALIFIED_MOST];
    struct str key;
    if (!state || state->kind != PICKLE_DICT)
        return NULL;
    for (uint32_t i = state->n; i >= 2 && state->n < 2 * INDEX_FROM; i -= 2)
        if (state->items[i - 2]->kind == PICKLE_STR && str_eq(state->items[i - 2]->s, name))
            return state->items[i - 1];
    if (state->n < 2 * INDEX_FROM)
        return NULL;
    if (!object->object.indexed)
        index_attributes(l, object);
    return attribute_key(object, name, text, &key) ? map_get(l->attributes, key) : NULL;
}

static struct err *class_constant(struct lower *l, struct str class_name, struct str name,
                                  struct sym *out)
{
    const struct class *class = library_class(l->library, class_name);
    for (const struct class_constant *k = class ? class->constants : NULL; k; k = k->next) {
        TRY(lower_work(l, 1));
        if (str_eq(k->name, name))
            return lower_expr(l, k->value, out);
    }
    return lower_bad(l, "reads [%.*s], which [%.*s] does not have",
                     (int)(name.n < 200 ? name.n : 200), name.p,
                     (int)(class_name.n < 200 ? class_name.n : 200), class_name.p);
}

static struct err *attribute(struct lower *l, struct sym of, struct str name, struct sym *out)
{
    if (of.kind != SYM_OBJECT)
        return lower_bad(l, "reads [%.*s] of what is no module", (int)(name.n < 200 ? name.n : 200),
                         name.p);
    struct pickle_value *found = find_attribute(l, of.object, name);
    return found ? lower_pickled(l, found, out)
                 : class_constant(l, of.object->object.name, name, out);
}

/* CONSTANTS.c12 */
static struct err *table_entry(struct lower *l, struct str name, struct sym *out)
{
    uint64_t i;
    if (name.n < 2 || name.p[0] != 'c' || !str_to_u64(str_sub(name, 1, SIZE_MAX), &i))
        return lower_bad(l, "reads no constant");
    if (!l->table || l->table->kind != PICKLE_TUPLE || i >= l->table->n)
        return lower_bad(l, "reads the constant [%llu], which the model does not have",
                         (unsigned long long)i);
    return lower_pickled(l, l->table->items[i], out);
}

static bool is_free(const struct expr *e, const char *name)
{
    return e->kind == EXPR_NAME && e->slot == NO_SLOT && str_eq_c(e->s, name);
}

static struct err *lower_field(struct lower *l, const struct expr *e, struct sym *out)
{
    char text[QUALIFIED_MOST];
    struct str name;
    struct sym of;
    if (is_free(e->of, "CONSTANTS"))
        return table_entry(l, e->s, out);
    if (library_qualified(e, text, &name)) {
        const struct function *f = library_function(l->library, name);
        if (!f)
            return lower_bad(l, "names [%.*s], which the model does not have",
                             (int)(name.n < 300 ? name.n : 300), name.p);
        *out = (struct sym){.kind = SYM_FUNCTION, .function = f};
        return NULL;
    }
    TRY(lower_expr(l, e->of, &of));
    return attribute(l, of, e->s, out);
}

static struct err *lower_name(struct lower *l, const struct expr *e, struct sym *out)
{
    if (e->slot == NO_SLOT)
        return lower_bad(l, "uses the unknown name [%.*s]", (int)(e->s.n < 200 ? e->s.n : 200),
                         e->s.p);
    *out = l->frame->vars[e->slot];
    if (out->kind == SYM_POISON)
        return lower_bad(l, "uses [%.*s], which has no value here",
                         (int)(e->s.n < 200 ? e->s.n : 200), e->s.p);
    return NULL;
}

static struct err *lower_values(struct lower *l, const struct expr *e, uint32_t **out)
{
    *out = arena_array(l->tmp, e->n, sizeof(**out));
    for (uint32_t i = 0; i < e->n; i++) {
        struct sym s;
        TRY(lower_expr(l, e->items[i], &s));
        TRY(lower_to_value(l, s, &(*out)[i]));
    }
    return NULL;
}

static struct err *lower_sequence(struct lower *l, const struct expr *e, struct sym *out)
{
    uint32_t *in;
    out->kind = SYM_VALUE;
    TRY(lower_values(l, e, &in));
    if (e->kind == EXPR_LIST)
        return lower_list(l, SCRIPT_OP_prim_ListConstruct, in, e->n, &out->value);
    return lower_node1(l, SCRIPT_OP_prim_DictConstruct, in, e->n, &out->value);
}

static struct err *lower_tuple(struct lower *l, const struct expr *e, struct sym *out)
{
    struct sym *items = arena_array(l->tmp, e->n, sizeof(*items));
    for (uint32_t i = 0; i < e->n; i++)
        TRY(lower_expr(l, e->items[i], &items[i]));
    *out = (struct sym){.kind = SYM_TUPLE, .n = e->n, .items = items};
    return NULL;
}

/* The items of a constant list or tuple, as values. */
static struct err *constant_items(struct lower *l, const struct script_value *v, struct sym *out)
{
    TRY(lower_work(l, v->list.n));
    for (size_t i = 0; i < v->list.n; i++) {
        out[i].kind = SYM_VALUE;
        TRY(lower_new_value(l, v->list.items[i], &out[i].value));
    }
    return NULL;
}

struct err *lower_unpack(struct lower *l, struct sym s, uint32_t n, bool results, struct sym *out)
{
    uint32_t value;
    struct script_node *node;
    if (s.kind == SYM_TUPLE) {
        if (s.n != n)
            return lower_bad(l, "takes [%u] from a tuple of [%u]", n, s.n);
        for (uint32_t i = 0; i < n; i++)
            out[i] = s.items[i];
        return NULL;
    }
    TRY(lower_to_value(l, s, &value));
    const struct script_value *constant = lower_constant(l, value);
    if (constant) {
        bool list = constant->kind == SCRIPT_LIST || constant->kind == SCRIPT_TUPLE;
        if (!list || constant->list.n != n)
            return lower_bad(l, "takes [%u] from a constant that has not as many", n);
        return constant_items(l, constant, out);
    }
    bool tuple = results || l->is_tuple[value];
    enum script_op op = tuple ? SCRIPT_OP_prim_TupleUnpack : SCRIPT_OP_prim_ListUnpack;
    TRY(lower_node(l, op, &value, NULL, 1, n, &node));
    for (uint32_t i = 0; i < n; i++)
        out[i] = sym_value(node->out[i]);
    return NULL;
}

/* A tuple's item by a literal number; from the end when negative. */
static struct err *lower_index(struct lower *l, const struct expr *e, struct sym *out)
{
    struct sym of;
    if (e->n != 1 || e->items[0]->kind != EXPR_INT)
        return library_refuse("aten::__getitem__");
    TRY(lower_expr(l, e->of, &of));
    int64_t i = e->items[0]->i;
    if (of.kind == SYM_TUPLE) {
        i += i < 0 ? of.n : 0;
        if (i < 0 || i >= of.n)
            return lower_bad(l, "takes item [%lld] of a tuple of [%u]", (long long)i, of.n);
        *out = of.items[i];
        return NULL;
    }
    const struct script_value *v = of.kind == SYM_VALUE ? lower_constant(l, of.value) : NULL;
    if (!v || (v->kind != SCRIPT_LIST && v->kind != SCRIPT_TUPLE))
        return library_refuse("aten::__getitem__");
    int64_t n = (int64_t)v->list.n;
    i += i < 0 ? n : 0;
    if (i < 0 || i >= n)
        return lower_bad(l, "takes item [%lld] of a list of [%lld]", (long long)i, (long long)n);
    out->kind = SYM_VALUE;
    return lower_new_value(l, v->list.items[i], &out->value);
}

static bool bound(const struct expr *e, int64_t absent, uint32_t n, int64_t *out)
{
    if (e->kind != EXPR_NONE && e->kind != EXPR_INT)
        return false;
    int64_t i = e->kind == EXPR_INT ? e->i : absent;
    i = i < -(int64_t)n ? -(int64_t)n : i > (int64_t)n ? (int64_t)n : i;
    *out = i < 0 ? i + n : i;
    return true;
}

/* (a, b, c)[0:2] */
static struct err *lower_slice(struct lower *l, const struct expr *e, struct sym *out)
{
    struct sym of;
    int64_t from, to;
    TRY(lower_expr(l, e->of, &of));
    if (of.kind != SYM_TUPLE)
        return lower_bad(l, "slices what is no tuple");
    if (!bound(e->items[0], 0, of.n, &from) || !bound(e->items[1], of.n, of.n, &to))
        return lower_bad(l, "slices a tuple by what is no number");
    *out = (struct sym){
        .kind = SYM_TUPLE, .n = to > from ? (uint32_t)(to - from) : 0, .items = of.items + from};
    return NULL;
}

static struct err *lower_literal(struct lower *l, const struct expr *e, struct sym *out)
{
    out->kind = SYM_VALUE;
    switch (e->kind) {
    case EXPR_NONE:
        return lower_none(l, &out->value);
    case EXPR_BOOL:
        return lower_bool(l, e->b, &out->value);
    case EXPR_INT:
        return lower_int(l, e->i, &out->value);
    case EXPR_FLOAT:
        return lower_float(l, e->f, &out->value);
    default:
        return lower_str(l, SCRIPT_STR, e->s, &out->value);
    }
}

static struct err *lower_any(struct lower *l, const struct expr *e, struct sym *out)
{
    switch (e->kind) {
    case EXPR_NAME:
        return lower_name(l, e, out);
    case EXPR_FIELD:
        return lower_field(l, e, out);
    case EXPR_CALL:
        return lower_call(l, e, out);
    case EXPR_INDEX:
        return lower_index(l, e, out);
    case EXPR_SLICE:
        return lower_slice(l, e, out);
    case EXPR_TUPLE:
        return lower_tuple(l, e, out);
    case EXPR_LIST:
    case EXPR_DICT:
        return lower_sequence(l, e, out);
    default:
        return lower_literal(l, e, out);
    }
}

struct err *lower_expr(struct lower *l, const struct expr *e, struct sym *out)
{
    *out = (struct sym){0};
    TRY(lower_work(l, 1));
    TRY(lower_enter(l));
    TRY(lower_any(l, e, out));
    l->depth--;
    return NULL;
}
