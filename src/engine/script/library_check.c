/* The check of ops: every method of every class and every function, called or not, branches taken
 * or not, as the engine of Elasticsearch does after inlining. What the lowering resolves away
 * (annotate, unchecked_cast, elements of tuples ...) needs no permission. */
#include "bug.h"
#include "buf.h"
#include "library.h"
#include "map.h"

#define NAMES_MOST 4096 /* bytes of the names in the message */

struct check {
    const struct library *library;
    struct map *forbidden, *unknown;
};

static bool is_forbidden(const char *op)
{
    static const char *const forbidden[] = {"aten::as_strided",   "aten::from_file",
                                            "aten::save",         "inductor::_reinterpret_tensor",
                                            "prim::CallFunction", "prim::CallMethod"};
    for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++)
        if (str_eq_c(str_c(op), forbidden[i]))
            return true;
    return false;
}

static void see_op(struct check *c, const char *op)
{
    enum script_op known;
    if (is_forbidden(op))
        map_put(c->forbidden, str_c(op), c);
    else if (!library_op(c->library, op, &known))
        map_put(c->unknown, str_c(op), c);
}

static void see_expr(struct check *c, const struct expr *e);

/* A call of what is neither an op nor a method: a function of the archive, or a variable that
 * holds one (which the lowering looks into). */
static void see_named_call(struct check *c, const struct expr *callee)
{
    char text[QUALIFIED_MOST];
    struct str name;
    if (!library_qualified(callee, text, &name))
        return;
    if (str_ends(name, STR(".__new__")))
        see_op(c, "prim::CreateObject");
    else if (!library_function(c->library, name) && !library_class(c->library, name))
        see_op(c, "prim::CallFunction");
}

static bool is_form(const struct expr *e, const char *name)
{
    return e->kind == EXPR_NAME && e->slot == NO_SLOT && str_eq_c(e->s, name);
}

static void see_call(struct check *c, const struct expr *e)
{
    struct op_name op;
    uint32_t first = 0;
    if (is_form(e->of, "annotate") || is_form(e->of, "unchecked_cast") ||
        is_form(e->of, "uninitialized")) {
        first = 1; /* the type */
        const char *implicit = is_form(e->of, "annotate") ? library_implicit(e) : NULL;
        if (implicit)
            see_op(c, implicit);
    } else if (library_is_device(e)) {
        return;
    } else if (library_op_name(e->of, &op)) {
        see_op(c, op.text);
    } else {
        see_named_call(c, e->of);
        if (e->of->kind == EXPR_FIELD)
            see_expr(c, e->of->of);
    }
    for (uint32_t i = first; i < e->n; i++)
        see_expr(c, e->items[i]);
}

static void see_expr(struct check *c, const struct expr *e)
{
    if (e->kind == EXPR_CALL) {
        see_call(c, e);
        return;
    }
    if (e->kind == EXPR_INDEX && (e->n != 1 || e->items[0]->kind != EXPR_INT))
        see_op(c, "aten::__getitem__");
    if (e->of)
        see_expr(c, e->of);
    for (uint32_t i = 0; i < e->n; i++)
        see_expr(c, e->items[i]);
}

static void see_suite(struct check *c, const struct suite *suite)
{
    for (uint32_t i = 0; i < suite->n; i++) {
        const struct stmt *s = suite->stmts[i];
        if (s->kind == STMT_SET)
            see_op(c, "prim::SetAttr");
        if (s->kind == STMT_WITH)
            see_op(c, "prim::Enter");
        if (s->kind == STMT_FUNCTION)
            see_op(c, "prim::Closure");
        for (uint32_t j = 0; j < s->n_values; j++)
            see_expr(c, s->values[j]);
        see_suite(c, &s->body);
        see_suite(c, &s->other);
    }
}

static void see_functions(struct check *c, const struct map *functions)
{
    size_t i = 0;
    void *value;
    struct str key;
    while (map_next(functions, &i, &key, &value)) {
        const struct function *f = value;
        see_suite(c, &f->body);
    }
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* The keys, sorted, with commas between them. */
static void put_names(struct buf *out, const struct map *names)
{
    size_t n = map_count(names), i = 0, at = 0;
    struct str *sorted = mem_array(n, sizeof(*sorted)), key;
    void *value;
    while (map_next(names, &i, &key, &value))
        sorted[at++] = key;
    qsort(sorted, n, sizeof(*sorted), by_name);
    for (i = 0; i < n && !out->full; i++)
        buf_printf(out, "%s%.*s", i ? ", " : "", STR_ARG(sorted[i]));
    free(sorted);
}

static struct err *verdict(const struct check *c)
{
    bool forbidden = map_count(c->forbidden) > 0;
    const struct map *names = forbidden ? c->forbidden : c->unknown;
    struct buf text;
    if (map_count(names) == 0)
        return NULL;
    buf_init(&text, NAMES_MOST);
    put_names(&text, names);
    struct err *err =
        err_new(ERR_ARGUMENT, "%s: %.*s%s",
                forbidden ? "Model contains forbidden operations"
                          : "Model graph does not match any supported architecture. Unrecognised "
                            "operations",
                STR_ARG(buf_str(&text)), text.full ? ", ..." : "");
    buf_deinit(&text);
    return err;
}

struct err *library_check(const struct library *l)
{
    struct check c = {.library = l, .forbidden = map_new(), .unknown = map_new()};
    see_functions(&c, l->methods);
    see_functions(&c, l->functions);
    struct err *err = verdict(&c);
    map_free(c.forbidden);
    map_free(c.unknown);
    return err;
}

struct err *library_refuse(const char *op)
{
    return is_forbidden(op)
               ? err_new(ERR_ARGUMENT, "Model contains forbidden operations: %s", op)
               : err_new(ERR_ARGUMENT,
                         "Model graph does not match any supported architecture. Unrecognised "
                         "operations: %s",
                         op);
}
