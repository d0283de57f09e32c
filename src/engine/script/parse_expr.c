/* Expressions: an atom followed by any number of fields, calls and subscripts. Types are written in
 * the same way, so they are read as expressions too. */
#include "parser.h"

#include <math.h>

#define DEPTH_MOST 100

struct err *parser_bad(const struct parser *p, const char *what)
{
    return err_new(ERR_ARGUMENT, "[%.*s] line [%u] %s", STR_ARG(p->file), p->l.line, what);
}

struct err *parser_enter(struct parser *p)
{
    if (p->depth == DEPTH_MOST)
        return parser_bad(p, "is nested too deeply");
    p->depth++;
    return NULL;
}

struct err *parser_spend(struct parser *p)
{
    if (*p->budget == 0)
        return parser_bad(p, "is more than a model may have");
    --*p->budget;
    return NULL;
}

bool parser_is(const struct parser *p, char c)
{
    return p->l.kind == TOKEN_CHAR && p->l.c == c;
}

bool parser_is_word(const struct parser *p, const char *word)
{
    return p->l.kind == TOKEN_NAME && str_eq_c(p->l.s, word);
}

struct err *parser_expect(struct parser *p, char c)
{
    if (!parser_is(p, c))
        return p->l.kind == TOKEN_BAD ? parser_bad(p, p->l.why)
                                      : parser_bad(p, "is not what libtorch prints");
    lexer_next(&p->l);
    return NULL;
}

struct err *parser_name(struct parser *p, struct str *out)
{
    if (p->l.kind != TOKEN_NAME)
        return p->l.kind == TOKEN_BAD ? parser_bad(p, p->l.why) : parser_bad(p, "lacks a name");
    *out = p->l.s;
    lexer_next(&p->l);
    return NULL;
}

void pointers_add(struct pointers *list, struct arena *a, void *item)
{
    if (list->n == list->room) {
        uint32_t room = list->room ? 2 * list->room : 4;
        void **bigger = arena_array(a, room, sizeof(void *));
        if (list->n)
            memcpy(bigger, list->p, list->n * sizeof(void *));
        list->p = bigger;
        list->room = room;
    }
    list->p[list->n++] = item;
}

static struct err *expr_new(struct parser *p, enum expr_kind kind, struct expr **out)
{
    TRY(parser_spend(p));
    *out = arena_alloc(p->arena, sizeof(**out));
    (*out)->kind = kind;
    (*out)->line = p->l.line;
    (*out)->slot = NO_SLOT;
    return NULL;
}

struct err *parser_list(struct parser *p, char close, struct expr ***out, uint32_t *n_out,
                        bool *comma_out)
{
    struct pointers items = {0};
    *comma_out = false;
    while (!parser_is(p, close)) {
        struct expr *e;
        TRY(parser_expr(p, &e));
        pointers_add(&items, p->arena, e);
        *comma_out = parser_is(p, ',');
        if (!*comma_out)
            break;
        lexer_next(&p->l);
    }
    *out = (struct expr **)items.p;
    *n_out = items.n;
    return parser_expect(p, close);
}

/* Behind the opening one: (x) is x itself, (x,) and () are tuples. */
static struct err *parse_parens(struct parser *p, struct expr **out)
{
    struct expr *e;
    bool comma;
    TRY(expr_new(p, EXPR_TUPLE, &e));
    TRY(parser_list(p, ')', &e->items, &e->n, &comma));
    *out = e->n == 1 && !comma ? e->items[0] : e;
    return NULL;
}

static struct err *parse_dict(struct parser *p, struct expr **out)
{
    struct pointers items = {0};
    TRY(expr_new(p, EXPR_DICT, out));
    while (!parser_is(p, '}')) {
        struct expr *key, *value;
        TRY(parser_expr(p, &key));
        TRY(parser_expect(p, ':'));
        TRY(parser_expr(p, &value));
        pointers_add(&items, p->arena, key);
        pointers_add(&items, p->arena, value);
        if (!parser_is(p, ','))
            break;
        lexer_next(&p->l);
    }
    (*out)->items = (struct expr **)items.p;
    (*out)->n = items.n;
    return parser_expect(p, '}');
}

static struct err *parse_word(struct parser *p, struct expr **out)
{
    struct str word = p->l.s;
    TRY(expr_new(p, EXPR_NAME, out));
    lexer_next(&p->l);
    struct expr *e = *out;
    if (str_eq(word, STR("None"))) {
        e->kind = EXPR_NONE;
    } else if (str_eq(word, STR("True")) || str_eq(word, STR("False"))) {
        e->kind = EXPR_BOOL;
        e->b = word.n == 4;
    } else if (str_eq(word, STR("inf")) || str_eq(word, STR("nan"))) {
        e->kind = EXPR_FLOAT;
        e->f = word.p[0] == 'i' ? (double)INFINITY : (double)NAN;
    } else {
        e->s = word;
    }
    return NULL;
}

static struct err *parse_minus(struct parser *p, struct expr **out)
{
    lexer_next(&p->l);
    if (!parser_is_word(p, "inf") && !parser_is_word(p, "nan"))
        return parser_bad(p, "has a minus that is not a number's");
    TRY(parse_word(p, out));
    (*out)->f = -(*out)->f;
    return NULL;
}

static struct err *parse_literal(struct parser *p, enum expr_kind kind, struct expr **out)
{
    TRY(expr_new(p, kind, out));
    if (kind == EXPR_INT)
        (*out)->i = p->l.i;
    else if (kind == EXPR_FLOAT)
        (*out)->f = p->l.f;
    else
        (*out)->s = p->l.s;
    lexer_next(&p->l);
    return NULL;
}

static struct err *parse_list(struct parser *p, struct expr **out)
{
    bool comma;
    TRY(expr_new(p, EXPR_LIST, out));
    return parser_list(p, ']', &(*out)->items, &(*out)->n, &comma);
}

static struct err *parse_atom(struct parser *p, struct expr **out)
{
    switch (p->l.kind) {
    case TOKEN_NAME:
        return parse_word(p, out);
    case TOKEN_INT:
        return parse_literal(p, EXPR_INT, out);
    case TOKEN_FLOAT:
        return parse_literal(p, EXPR_FLOAT, out);
    case TOKEN_STR:
        return parse_literal(p, EXPR_STR, out);
    case TOKEN_BAD:
        return parser_bad(p, p->l.why);
    case TOKEN_CHAR:
        break;
    default:
        return parser_bad(p, "lacks an expression");
    }
    char c = p->l.c;
    if (c == '-')
        return parse_minus(p, out);
    if (c != '(' && c != '[' && c != '{')
        return parser_bad(p, "lacks an expression");
    lexer_next(&p->l);
    return c == '(' ? parse_parens(p, out) : c == '[' ? parse_list(p, out) : parse_dict(p, out);
}

/* An argument, with its keyword if it has one: `x` or `dim=x`. Whether a name is a keyword shows
 * only behind it. */
static struct err *parse_argument(struct parser *p, struct expr **out, struct str *keyword)
{
    TRY(parser_expr(p, out));
    *keyword = (struct str){0};
    if (!parser_is(p, '='))
        return NULL;
    if ((*out)->kind != EXPR_NAME)
        return parser_bad(p, "has a keyword that is no name");
    *keyword = (*out)->s;
    lexer_next(&p->l);
    return parser_expr(p, out);
}

static struct err *parse_call(struct parser *p, struct expr *e)
{
    struct pointers items = {0}, words = {0};
    bool named = false;
    while (!parser_is(p, ')')) {
        struct expr *item;
        struct str *word = arena_alloc(p->arena, sizeof(*word));
        TRY(parse_argument(p, &item, word));
        if (named && !word->p)
            return parser_bad(p, "has an argument without a keyword after one with");
        named |= word->p != NULL;
        pointers_add(&items, p->arena, item);
        pointers_add(&words, p->arena, word);
        if (!parser_is(p, ','))
            break;
        lexer_next(&p->l);
    }
    e->items = (struct expr **)items.p;
    e->n = items.n;
    if (named) {
        e->keywords = arena_array(p->arena, e->n, sizeof(*e->keywords));
        for (uint32_t i = 0; i < e->n; i++)
            e->keywords[i] = *(struct str *)words.p[i];
    }
    return parser_expect(p, ')');
}

/* One end of a slice; nothing is None. */
static struct err *parse_bound(struct parser *p, char stop, struct expr **out)
{
    if (parser_is(p, stop) || parser_is(p, ']'))
        return expr_new(p, EXPR_NONE, out);
    return parser_expr(p, out);
}

static struct err *parse_index(struct parser *p, struct expr *e)
{
    bool comma;
    struct expr *from;
    if (parser_is(p, ']'))
        return parser_list(p, ']', &e->items, &e->n, &comma);
    TRY(parse_bound(p, ':', &from));
    if (parser_is(p, ':')) {
        lexer_next(&p->l);
        e->kind = EXPR_SLICE;
        e->n = 2;
        e->items = arena_array(p->arena, 2, sizeof(struct expr *));
        e->items[0] = from;
        TRY(parse_bound(p, ']', &e->items[1]));
        return parser_expect(p, ']');
    }
    struct pointers items = {0};
    pointers_add(&items, p->arena, from);
    while (parser_is(p, ',')) {
        struct expr *item;
        lexer_next(&p->l);
        if (parser_is(p, ']'))
            break;
        TRY(parser_expr(p, &item));
        pointers_add(&items, p->arena, item);
    }
    e->items = (struct expr **)items.p;
    e->n = items.n;
    return parser_expect(p, ']');
}

/* Fields, calls and subscripts behind an expression. Each wraps what was before, so a long row of
 * them would be a deep tree: it counts as depth. */
static struct err *parse_behind(struct parser *p, struct expr **e)
{
    uint32_t depth = p->depth;
    while (parser_is(p, '.') || parser_is(p, '(') || parser_is(p, '[')) {
        struct expr *outer;
        char c = p->l.c;
        TRY(parser_enter(p));
        TRY(expr_new(p, c == '.' ? EXPR_FIELD : c == '(' ? EXPR_CALL : EXPR_INDEX, &outer));
        outer->of = *e;
        lexer_next(&p->l);
        if (c == '.')
            TRY(parser_name(p, &outer->s));
        else
            TRY(c == '(' ? parse_call(p, outer) : parse_index(p, outer));
        *e = outer;
    }
    p->depth = depth;
    return NULL;
}

struct err *parser_expr(struct parser *p, struct expr **out)
{
    TRY(parser_enter(p));
    TRY(parse_atom(p, out));
    TRY(parse_behind(p, out));
    p->depth--;
    return NULL;
}
