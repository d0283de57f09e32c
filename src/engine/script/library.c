/* Parses every source text, numbers the local variables of each function, so that lowering needs no
 * names, and knows which op a call stands for. */
#include "library.h"

#include "bug.h"
#include "map.h"

#define NODES_MOST ((uint32_t)4 << 20) /* of all syntax trees together */

static struct err *twice(const struct str file, uint32_t line, struct str name)
{
    return err_new(ERR_ARGUMENT, "[%.*s] line [%u] has [%.*s] a second time", STR_ARG(file), line,
                   STR_ARG(name));
}

static bool method_key(struct str class, struct str name, char out[QUALIFIED_MOST], struct str *key)
{
    int n = snprintf(out, QUALIFIED_MOST, "%.*s.%.*s", STR_ARG(class), STR_ARG(name));
    *key = str_n(out, (size_t)n);
    return n < QUALIFIED_MOST;
}

/* The slot of each name: the local variables of one function. */
struct names {
    struct map *slots; /* slot + 1 */
    uint32_t n;
};

static uint32_t slot_add(struct names *names, struct str name)
{
    void *known = map_get(names->slots, name);
    if (known)
        return (uint32_t)(uintptr_t)known - 1;
    map_put(names->slots, name, (void *)(uintptr_t)(names->n + 1));
    return names->n++;
}

static void targets_resolve(struct names *names, struct suite *suite, struct arena *a)
{
    for (uint32_t i = 0; i < suite->n; i++) {
        struct stmt *s = suite->stmts[i];
        s->slots = arena_array(a, s->n_targets, sizeof(*s->slots));
        for (uint32_t j = 0; j < s->n_targets; j++)
            s->slots[j] = slot_add(names, s->targets[j]);
        targets_resolve(names, &s->body, a);
        targets_resolve(names, &s->other, a);
    }
}

static void expr_resolve(const struct names *names, struct expr *e)
{
    if (e->kind == EXPR_NAME)
        e->slot = (uint32_t)(uintptr_t)map_get(names->slots, e->s) - 1; /* 0 becomes NO_SLOT */
    if (e->of)
        expr_resolve(names, e->of);
    for (uint32_t i = 0; i < e->n; i++)
        expr_resolve(names, e->items[i]);
}

static void suite_resolve(const struct names *names, struct suite *suite)
{
    for (uint32_t i = 0; i < suite->n; i++) {
        struct stmt *s = suite->stmts[i];
        for (uint32_t j = 0; j < s->n_values; j++)
            expr_resolve(names, s->values[j]);
        suite_resolve(names, &s->body);
        suite_resolve(names, &s->other);
    }
}

static struct err *function_resolve(struct function *f, struct arena *a)
{
    struct names names = {.slots = map_new()};
    for (uint32_t i = 0; i < f->n_params; i++)
        slot_add(&names, f->params[i].name);
    bool same = names.n == f->n_params;
    targets_resolve(&names, &f->body, a);
    suite_resolve(&names, &f->body);
    map_free(names.slots);
    f->n_slots = names.n;
    return same ? NULL : twice(f->file, f->line, STR("a parameter"));
}

static struct err *add_class(struct library *l, struct class *c)
{
    if (map_put(l->classes, c->name, c))
        return twice(c->file, c->line, c->name);
    for (struct function *f = c->methods; f; f = f->next) {
        char text[QUALIFIED_MOST];
        struct str key;
        if (!method_key(c->name, f->name, text, &key))
            return err_new(ERR_ARGUMENT, "[%.*s] line [%u] has too long a name", STR_ARG(f->file),
                           f->line);
        if (map_put(l->methods, key, f))
            return twice(f->file, f->line, f->name);
        TRY(function_resolve(f, l->arena));
    }
    return NULL;
}

/* "code/__torch__/a/b.py" holds "__torch__.a.b. ...". */
static struct str prefix_of(struct str name, struct arena *a)
{
    struct str path = str_sub(name, 5, name.n - 5 - 3);
    char *text = arena_cstr(a, path);
    for (size_t i = 0; i < path.n; i++)
        if (text[i] == '/')
            text[i] = '.';
    return str_n(text, path.n);
}

static struct err *add_file(struct library *l, const struct code_file *file, uint32_t *budget)
{
    struct module m;
    struct str prefix = prefix_of(file->name, l->arena);
    TRY(parse_module(file->text, file->name, prefix, budget, l->arena, &m));
    for (struct class *c = m.classes; c; c = c->next)
        TRY(add_class(l, c));
    for (struct function *f = m.functions; f; f = f->next) {
        if (map_put(l->functions, f->name, f))
            return twice(f->file, f->line, f->name);
        TRY(function_resolve(f, l->arena));
    }
    return NULL;
}

struct err *library_read(const struct archive *archive, struct arena *a, struct library *out)
{
    static const char *const names[] = {
#define X(id, name) name,
#include "ops.def"
#undef X
    };
    uint32_t budget = NODES_MOST;
    *out = (struct library){.arena = a,
                            .classes = map_new(),
                            .functions = map_new(),
                            .methods = map_new(),
                            .ops = map_new()};
    for (uintptr_t i = 0; i < N_SCRIPT_OPS; i++)
        map_put(out->ops, str_c(names[i]), (void *)(i + 1));
    for (size_t i = 0; i < archive->n_code; i++)
        TRY(add_file(out, &archive->code[i], &budget));
    return NULL;
}

void library_deinit(struct library *l)
{
    map_free(l->classes);
    map_free(l->functions);
    map_free(l->methods);
    map_free(l->ops);
    *l = (struct library){0};
}

const struct class *library_class(const struct library *l, struct str name)
{
    return map_get(l->classes, name);
}

const struct function *library_function(const struct library *l, struct str name)
{
    return map_get(l->functions, name);
}

const struct function *library_method(const struct library *l, struct str class, struct str name)
{
    char text[QUALIFIED_MOST];
    struct str key;
    return method_key(class, name, text, &key) ? map_get(l->methods, key) : NULL;
}

bool library_op(const struct library *l, const char *name, enum script_op *out)
{
    uintptr_t number = (uintptr_t)map_get(l->ops, str_c(name));
    if (number)
        *out = (enum script_op)(number - 1);
    return number != 0;
}

/* Written from the end, since the tree begins with the last name. */
bool library_qualified(const struct expr *e, char out[QUALIFIED_MOST], struct str *name_out)
{
    size_t at = QUALIFIED_MOST;
    for (; e->kind == EXPR_FIELD || e->kind == EXPR_NAME; e = e->of) {
        if (e->s.n + 1 > at)
            return false;
        at -= e->s.n;
        memcpy(out + at, e->s.p, e->s.n);
        if (e->kind == EXPR_NAME) {
            *name_out = str_n(out + at, QUALIFIED_MOST - at);
            return str_eq(e->s, STR("__torch__"));
        }
        out[--at] = '.';
    }
    return false;
}

static bool is_name(const struct expr *e, const char *name)
{
    return e->kind == EXPR_NAME && e->slot == NO_SLOT && str_eq_c(e->s, name);
}

static bool named(struct op_name *out, struct str space, struct str name)
{
    int n = snprintf(out->text, sizeof(out->text), "%.*s::%.*s", STR_ARG(space), STR_ARG(name));
    if ((size_t)n >= sizeof(out->text)) /* not an op of ours in any case */
        memcpy(out->text + sizeof(out->text) - 4, "...", 4);
    return true;
}

/* Python's own names for ops. */
static bool builtin_name(struct str word, struct op_name *out)
{
    static const struct {
        const char *word, *op;
    } builtins[] = {
        {"int", "aten::Int"},         {"float", "aten::Float"},
        {"bool", "aten::Bool"},       {"complex", "aten::Complex"},
        {"str", "aten::str"},         {"len", "aten::len"},
        {"hash", "aten::hash"},       {"print", "prim::Print"},
        {"fork", "prim::fork"},       {"awaitable", "prim::awaitable"},
        {"sorted", "aten::sorted"},   {"isinstance", "prim::isinstance"},
        {"hasattr", "prim::HasAttr"},
    };
    for (size_t i = 0; i < sizeof(builtins) / sizeof(builtins[0]); i++) {
        if (!str_eq_c(word, builtins[i].word))
            continue;
        snprintf(out->text, sizeof(out->text), "%s", builtins[i].op);
        return true;
    }
    return false;
}

bool library_op_name(const struct expr *e, struct op_name *out)
{
    if (e->kind == EXPR_NAME)
        return e->slot == NO_SLOT && builtin_name(e->s, out);
    if (e->kind != EXPR_FIELD)
        return false;
    if (is_name(e->of, "torch"))
        return named(out, STR("aten"), e->s);
    const struct expr *inner = e->of;
    if (inner->kind != EXPR_FIELD)
        return false;
    if (is_name(inner->of, "ops"))
        return named(out, inner->s, e->s);
    return is_name(inner->of, "torch") && named(out, STR("aten"), e->s); /* torch.autograd.grad */
}

static bool is_literal(const struct expr *e)
{
    return e->kind <= EXPR_STR || e->kind == EXPR_LIST || e->kind == EXPR_DICT ||
           e->kind == EXPR_TUPLE;
}

const char *library_implicit(const struct expr *call)
{
    if (call->n != 2 || is_literal(call->items[1]))
        return NULL;
    if (is_name(call->items[0], "int"))
        return "aten::IntImplicit";
    if (is_name(call->items[0], "float"))
        return "aten::FloatImplicit";
    if (is_name(call->items[0], "complex"))
        return "aten::ComplexImplicit";
    if (is_name(call->items[0], "number") || is_name(call->items[0], "Scalar"))
        return "aten::ScalarImplicit";
    return NULL;
}

bool library_is_device(const struct expr *call)
{
    const struct expr *e = call->of;
    return e->kind == EXPR_FIELD && is_name(e->of, "torch") && str_eq(e->s, STR("device")) &&
           call->n == 1 && call->items[0]->kind == EXPR_STR && !call->keywords;
}
