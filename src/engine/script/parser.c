/* Modules, classes, functions and statements. */
#include "parser.h"

static struct err *end_line(struct parser *p)
{
    if (p->l.kind == TOKEN_END)
        return NULL;
    if (p->l.kind != TOKEN_NEWLINE)
        return p->l.kind == TOKEN_BAD ? parser_bad(p, p->l.why)
                                      : parser_bad(p, "is not what libtorch prints");
    lexer_next(&p->l);
    return NULL;
}

/* ":" and the beginning of an indented suite. */
static struct err *open_suite(struct parser *p)
{
    TRY(parser_expect(p, ':'));
    if (p->l.kind != TOKEN_NEWLINE)
        return parser_bad(p, "has a statement behind a colon");
    lexer_next(&p->l);
    if (p->l.kind != TOKEN_INDENT)
        return p->l.kind == TOKEN_BAD ? parser_bad(p, p->l.why) : parser_bad(p, "lacks a suite");
    lexer_next(&p->l);
    return NULL;
}

static bool at_close(struct parser *p)
{
    if (p->l.kind == TOKEN_DEDENT) {
        lexer_next(&p->l);
        return true;
    }
    return p->l.kind == TOKEN_END;
}

static struct err *parse_stmt(struct parser *p, struct stmt **out);

static struct err *parse_suite(struct parser *p, struct suite *out)
{
    struct pointers stmts = {0};
    TRY(parser_enter(p));
    TRY(open_suite(p));
    while (!at_close(p)) {
        struct stmt *s;
        TRY(parse_stmt(p, &s));
        pointers_add(&stmts, p->arena, s);
    }
    p->depth--;
    *out = (struct suite){(struct stmt **)stmts.p, stmts.n};
    return NULL;
}

/* Comma-separated expressions up to '=', ':' or the end of the line. */
static struct err *parse_row(struct parser *p, struct expr ***out, uint32_t *n_out, bool *comma_out)
{
    struct pointers items = {0};
    for (;;) {
        struct expr *e;
        TRY(parser_expr(p, &e));
        pointers_add(&items, p->arena, e);
        *comma_out = parser_is(p, ',');
        if (!*comma_out)
            break;
        lexer_next(&p->l);
        if (p->l.kind == TOKEN_NEWLINE || parser_is(p, '='))
            break;
    }
    *out = (struct expr **)items.p;
    *n_out = items.n;
    return NULL;
}

static struct err *set_targets(struct parser *p, struct stmt *s, struct expr **targets, uint32_t n)
{
    s->kind = STMT_ASSIGN;
    s->n_targets = n;
    s->targets = arena_array(p->arena, n, sizeof(*s->targets));
    for (uint32_t i = 0; i < n; i++) {
        if (targets[i]->kind == EXPR_NAME) {
            s->targets[i] = targets[i]->s;
            continue;
        }
        bool place = targets[i]->kind == EXPR_FIELD || targets[i]->kind == EXPR_INDEX;
        if (!place || n > 1)
            return parser_bad(p, "gives a value to what has no name");
        s->kind = STMT_SET;
        s->n_targets = 0;
    }
    return NULL;
}

/* `x`, `x = y`, `x : T = y`, `a, b = y, z`, `a, b, = y`. */
static struct err *parse_simple(struct parser *p, struct stmt *s)
{
    struct expr **targets, *type;
    uint32_t n;
    bool comma;
    TRY(parse_row(p, &targets, &n, &comma));
    if (n == 1 && !comma && parser_is(p, ':')) {
        lexer_next(&p->l);
        TRY(parser_expr(p, &type));
    }
    if (!parser_is(p, '=')) {
        s->kind = STMT_EXPR;
        s->values = targets;
        s->n_values = n;
        return n == 1 && !comma ? end_line(p) : parser_bad(p, "is a row of expressions");
    }
    lexer_next(&p->l);
    s->unpack = comma;
    TRY(set_targets(p, s, targets, n));
    TRY(parse_row(p, &s->values, &s->n_values, &comma));
    if (comma)
        return parser_bad(p, "has a comma at its end");
    bool row = s->n_values > 1;
    if (row && (s->n_values != n || s->unpack))
        return parser_bad(p, "gives another number of values than it has names");
    return end_line(p);
}

static struct err *one_value(struct parser *p, struct stmt *s)
{
    s->values = arena_array(p->arena, 1, sizeof(struct expr *));
    s->n_values = 1;
    return parser_expr(p, &s->values[0]);
}

static struct err *parse_return(struct parser *p, struct stmt *s)
{
    s->kind = STMT_RETURN;
    if (p->l.kind != TOKEN_NEWLINE && p->l.kind != TOKEN_END)
        TRY(one_value(p, s));
    return end_line(p);
}

static struct err *parse_if(struct parser *p, struct stmt *s)
{
    s->kind = STMT_IF;
    TRY(one_value(p, s));
    TRY(parse_suite(p, &s->body));
    if (!parser_is_word(p, "else"))
        return NULL;
    lexer_next(&p->l);
    return parse_suite(p, &s->other);
}

/* Only `for i in range(n)`. */
static struct err *parse_for(struct parser *p, struct stmt *s)
{
    s->kind = STMT_FOR;
    s->n_targets = 1;
    s->targets = arena_array(p->arena, 1, sizeof(*s->targets));
    TRY(parser_name(p, &s->targets[0]));
    if (!parser_is_word(p, "in"))
        return parser_bad(p, "lacks an [in]");
    lexer_next(&p->l);
    if (!parser_is_word(p, "range"))
        return parser_bad(p, "goes over something else than a [range]");
    lexer_next(&p->l);
    TRY(parser_expect(p, '('));
    TRY(one_value(p, s));
    TRY(parser_expect(p, ')'));
    return parse_suite(p, &s->body);
}

static struct err *parse_while(struct parser *p, struct stmt *s)
{
    s->kind = STMT_WHILE;
    TRY(one_value(p, s));
    return parse_suite(p, &s->body);
}

static struct err *parse_pass(struct parser *p, struct stmt *s)
{
    s->kind = STMT_PASS;
    return end_line(p);
}

static bool is_other_statement(const struct parser *p)
{
    static const char *const words[] = {"assert", "raise", "class",  "del",    "import",
                                        "from",   "try",   "global", "lambda", "elif",
                                        "else",   "break", "yield",  "async",  "continue"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (parser_is_word(p, words[i]))
            return true;
    return false;
}

static struct err *parse_function(struct parser *p, struct function **out);

/* `with x:` or `with x as y:` */
static struct err *parse_with(struct parser *p, struct stmt *s)
{
    struct str ignored;
    s->kind = STMT_WITH;
    TRY(one_value(p, s));
    if (parser_is_word(p, "as")) {
        lexer_next(&p->l);
        TRY(parser_name(p, &ignored));
    }
    return parse_suite(p, &s->body);
}

static struct err *parse_inner_function(struct parser *p, struct stmt *s)
{
    struct function *f;
    s->kind = STMT_FUNCTION;
    TRY(parse_function(p, &f));
    s->body = f->body;
    return NULL;
}

/* Those that begin with a word of their own. NULL: none does. */
static struct err *(*stmt_reader(const struct parser *p))(struct parser *, struct stmt *)
{
    static const struct {
        const char *word;
        struct err *(*read)(struct parser *, struct stmt *);
    } readers[] = {
        {"if", parse_if},
        {"for", parse_for},
        {"while", parse_while},
        {"return", parse_return},
        {"pass", parse_pass},
        {"with", parse_with},
        {"def", parse_inner_function},
    };
    for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++)
        if (parser_is_word(p, readers[i].word))
            return readers[i].read;
    return NULL;
}

static struct err *parse_stmt(struct parser *p, struct stmt **out)
{
    TRY(parser_spend(p));
    struct stmt *s = arena_alloc(p->arena, sizeof(*s));
    *out = s;
    s->line = p->l.line;
    if (is_other_statement(p))
        return parser_bad(p, "has a statement that no model has");
    struct err *(*read)(struct parser *, struct stmt *) = stmt_reader(p);
    if (!read)
        return parse_simple(p, s);
    lexer_next(&p->l);
    return read(p, s);
}

static struct err *parse_param(struct parser *p, struct param *out)
{
    TRY(parser_spend(p));
    TRY(parser_name(p, &out->name));
    if (parser_is(p, ':')) {
        lexer_next(&p->l);
        TRY(parser_expr(p, &out->type));
    }
    if (!parser_is(p, '='))
        return NULL;
    lexer_next(&p->l);
    return parser_expr(p, &out->initial);
}

static struct err *parse_params(struct parser *p, struct function *f)
{
    struct pointers params = {0};
    TRY(parser_expect(p, '('));
    while (!parser_is(p, ')')) {
        struct param *param = arena_alloc(p->arena, sizeof(*param));
        TRY(parse_param(p, param));
        pointers_add(&params, p->arena, param);
        if (!parser_is(p, ','))
            break;
        lexer_next(&p->l);
    }
    TRY(parser_expect(p, ')'));
    f->n_params = params.n;
    f->params = arena_array(p->arena, params.n, sizeof(*f->params));
    for (uint32_t i = 0; i < params.n; i++)
        f->params[i] = *(struct param *)params.p[i];
    return NULL;
}

/* Behind "def". */
static struct err *parse_function(struct parser *p, struct function **out)
{
    struct expr *type;
    TRY(parser_spend(p));
    struct function *f = arena_alloc(p->arena, sizeof(*f));
    *out = f;
    f->file = p->file;
    f->line = p->l.line;
    TRY(parser_name(p, &f->name));
    TRY(parse_params(p, f));
    if (p->l.kind == TOKEN_ARROW) {
        lexer_next(&p->l);
        TRY(parser_expr(p, &type));
    }
    return parse_suite(p, &f->body);
}

/* `name : T`, `name : Final[T] = value`, `__parameters__ = [...]`, `__annotations__["0"] = T`. Of
 * these only constants mean anything here. */
static struct err *parse_member(struct parser *p, struct class *c)
{
    struct expr *place, *type, *value = NULL;
    TRY(parser_expr(p, &place));
    if (parser_is(p, ':')) {
        lexer_next(&p->l);
        TRY(parser_expr(p, &type));
    }
    if (parser_is(p, '=')) {
        lexer_next(&p->l);
        TRY(parser_expr(p, &value));
    }
    if (value && place->kind == EXPR_NAME && !str_starts(place->s, STR("__"))) {
        struct class_constant *k = arena_alloc(p->arena, sizeof(*k));
        *k = (struct class_constant){.next = c->constants, .name = place->s, .value = value};
        c->constants = k;
    }
    return end_line(p);
}

static struct err *parse_class_body(struct parser *p, struct class *c)
{
    struct function **last = &c->methods;
    TRY(open_suite(p));
    while (!at_close(p)) {
        if (parser_is_word(p, "def")) {
            lexer_next(&p->l);
            TRY(parse_function(p, last));
            last = &(*last)->next;
        } else if (parser_is_word(p, "pass")) {
            lexer_next(&p->l);
            TRY(end_line(p));
        } else {
            TRY(parse_member(p, c));
        }
    }
    return NULL;
}

static struct str qualified(struct parser *p, struct str name)
{
    return arena_printf(p->arena, "%.*s.%.*s", STR_ARG(p->prefix), STR_ARG(name));
}

/* Behind "class". */
static struct err *parse_class(struct parser *p, struct class **out)
{
    struct expr *base;
    struct str name;
    TRY(parser_spend(p));
    struct class *c = arena_alloc(p->arena, sizeof(*c));
    *out = c;
    c->file = p->file;
    c->line = p->l.line;
    TRY(parser_name(p, &name));
    c->name = qualified(p, name);
    if (parser_is(p, '(')) {
        lexer_next(&p->l);
        TRY(parser_expr(p, &base));
        TRY(parser_expect(p, ')'));
        c->is_tuple = base->kind == EXPR_NAME && str_eq(base->s, STR("NamedTuple"));
    }
    return parse_class_body(p, c);
}

/* Very old archives begin with `op_version_set = 1`. */
static struct err *parse_version(struct parser *p)
{
    struct expr *value;
    lexer_next(&p->l);
    TRY(parser_expect(p, '='));
    TRY(parser_expr(p, &value));
    return end_line(p);
}

struct err *parse_module(struct str text, struct str name, struct str prefix, uint32_t *budget,
                         struct arena *a, struct module *out)
{
    struct parser p = {.arena = a, .file = name, .prefix = prefix, .budget = budget};
    struct class **last_class = &out->classes;
    struct function **last_function = &out->functions;
    lexer_init(&p.l, text, a);
    lexer_next(&p.l);
    *out = (struct module){0};
    while (p.l.kind != TOKEN_END) {
        if (parser_is_word(&p, "class")) {
            lexer_next(&p.l);
            TRY(parse_class(&p, last_class));
            last_class = &(*last_class)->next;
        } else if (parser_is_word(&p, "def")) {
            lexer_next(&p.l);
            TRY(parse_function(&p, last_function));
            (*last_function)->name = qualified(&p, (*last_function)->name);
            last_function = &(*last_function)->next;
        } else if (parser_is_word(&p, "op_version_set")) {
            TRY(parse_version(&p));
        } else {
            return p.l.kind == TOKEN_BAD ? parser_bad(&p, p.l.why)
                                         : parser_bad(&p, "is neither a class nor a function");
        }
    }
    return NULL;
}
