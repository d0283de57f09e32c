/* One walk over an object's members by its table. Positions are worked out for errors only. */
#include "body.h"

#include <math.h>
#include <stdio.h>

static const char *token_name(const struct json *v)
{
    switch (v->type) {
    case JSON_NULL:
        return "VALUE_NULL";
    case JSON_FALSE:
    case JSON_TRUE:
        return "VALUE_BOOLEAN";
    case JSON_NUMBER:
        return "VALUE_NUMBER";
    case JSON_STRING:
        return "VALUE_STRING";
    case JSON_ARRAY:
        return "START_ARRAY";
    case JSON_OBJECT:
        break;
    }
    return "START_OBJECT";
}

static unsigned kind_of(const struct json *v)
{
    switch (v->type) {
    case JSON_NULL:
        return 0;
    case JSON_FALSE:
    case JSON_TRUE:
        return BODY_BOOL;
    case JSON_NUMBER:
        return BODY_NUM;
    case JSON_STRING:
        return BODY_STR;
    case JSON_ARRAY:
        return BODY_ARRAY;
    case JSON_OBJECT:
        break;
    }
    return BODY_OBJECT;
}

/* "[1:12] ", or nothing when the text is not at hand. */
struct place {
    char text[32];
};

static struct place where(const struct body *b)
{
    struct place p = {""};
    int line, column;
    if (!b->text.p)
        return p;
    json_where(b->text, &(struct json){.raw = b->at}, &line, &column);
    snprintf(p.text, sizeof(p.text), "[%d:%d] ", line, column);
    return p;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Where a member's name begins: its opening quote, found backwards from the value. Quotes inside
 * the name have a backslash before them, and what stands before the opening one never is a
 * backslash. */
static const char *key_begin(struct str text, const struct json *member)
{
    const char *p = member->raw;
    if (!text.p || p < text.p || p > text.p + text.n)
        return p;
    while (p > text.p && (is_space(p[-1]) || p[-1] == ':'))
        p--;
    if (p > text.p)
        p--; /* the closing quote */
    while (p > text.p) {
        p--;
        if (*p == '"' && (p == text.p || p[-1] != '\\'))
            break;
    }
    return p;
}

static struct err *unknown_field(struct body *b, const struct body_parser *parser,
                                 const struct json *member)
{
    b->at = key_begin(b->text, member);
    struct place p = where(b);
    return err_new(ERR_X_CONTENT, "%s[%s] unknown field [%.*s]", p.text, parser->name,
                   STR_ARG(str_sub(member->key, 0, 200)));
}

static struct err *wrong_kind(struct body *b, const struct body_parser *parser,
                              const struct body_field *field, const struct json *v)
{
    b->at = v->raw;
    struct place p = where(b);
    return err_new(ERR_X_CONTENT, "%s[%s] %s doesn't support values of type: %s", p.text,
                   parser->name, field->name, token_name(v));
}

static const struct body_field *find_field(const struct body_parser *parser, struct str key)
{
    for (size_t i = 0; i < parser->n; i++) {
        if (str_eq_c(key, parser->fields[i].name))
            return &parser->fields[i];
    }
    return NULL;
}

static struct err *check_required(struct body *b, const struct body_parser *parser, uint32_t seen,
                                  const struct json *object)
{
    struct buf missing;
    struct err *e = NULL;
    buf_init(&missing, 512);
    for (size_t i = 0; i < parser->n; i++) {
        if (parser->fields[i].required && !(seen & (1u << i)))
            buf_printf(&missing, "%s%s", missing.n > 0 ? ", " : "", parser->fields[i].name);
    }
    if (missing.n > 0) {
        b->at = object->raw + object->raw_n - 1;
        e = err_new(ERR_ARGUMENT, "Required [%.*s]", STR_ARG(buf_str(&missing)));
    }
    buf_deinit(&missing);
    return e;
}

static struct err *read_field(struct body *b, const struct body_parser *parser,
                              const struct body_field *field, const struct json *v, void *out)
{
    if (!(kind_of(v) & field->kinds))
        return wrong_kind(b, parser, field, v);
    b->at = v->raw;
    struct err *e = field->read(b, v, (char *)out + field->offset);
    if (!e || e->kind == ERR_TOO_LARGE)
        return e;
    return body_wrap(b, e, parser->name, field->name);
}

struct err *body_wrap(const struct body *b, struct err *e, const char *parser, const char *field)
{
    struct place p = where(b);
    return err_wrap(e, ERR_X_CONTENT, "%s[%s] failed to parse field [%s]", p.text, parser, field);
}

struct err *body_named(struct body *b, const char *field, const struct json *v,
                       const struct json **out)
{
    b->at = v->raw;
    struct place p = where(b);
    if (!json_is(v, JSON_OBJECT))
        return err_new(ERR_X_CONTENT, "%s[%s] Expected START_OBJECT but was: %s", p.text, field,
                       token_name(v));
    if (v->n != 1)
        return err_new(ERR_X_CONTENT, "%s[%s] must have exactly one member but has [%u]", p.text,
                       field, v->n);
    struct json_iter it = json_iter(v);
    *out = json_next(&it);
    return NULL;
}

struct err *body_unknown_name(struct body *b, const struct json *member)
{
    b->at = key_begin(b->text, member);
    struct place p = where(b);
    return err_new(ERR_X_CONTENT, "%sunknown field [%.*s]", p.text,
                   STR_ARG(str_sub(member->key, 0, 200)));
}

struct err *body_parse(struct body *b, const struct body_parser *parser, const struct json *object,
                       void *out)
{
    if (!json_is(object, JSON_OBJECT)) {
        b->at = object->raw;
        struct place p = where(b);
        return err_new(ERR_X_CONTENT, "%s[%s] Expected START_OBJECT but was: %s", p.text,
                       parser->name, token_name(object));
    }
    uint32_t seen = 0;
    struct json_iter it = json_iter(object);
    for (const struct json *v; (v = json_next(&it));) {
        const struct body_field *field = find_field(parser, v->key);
        if (!field && parser->lenient)
            continue;
        if (!field)
            return unknown_field(b, parser, v);
        if (json_is_null(v))
            continue;
        seen |= 1u << (field - parser->fields);
        TRY(read_field(b, parser, field, v, out));
    }
    return check_required(b, parser, seen, object);
}

static struct err *too_large(void)
{
    return err_new(ERR_TOO_LARGE, "The request body needs more memory than one call may use");
}

/* Grows by doubling as items prove valid: a long list of wrong ones costs nothing. */
struct err *body_list(struct body *b, const struct body_parser *parser, const struct json *v,
                      size_t size, void **items_out, size_t *n_out)
{
    char *items = NULL;
    size_t n = 0, cap = 0;
    struct json_iter it = json_iter(v);
    const struct json *item = json_is(v, JSON_ARRAY) ? json_next(&it) : v;
    while (item) {
        if (n == cap) {
            cap = cap ? 2 * cap : 4;
            char *grown = arena_try(b->arena, cap * size);
            if (!grown)
                return too_large();
            if (n > 0)
                memcpy(grown, items, n * size);
            items = grown;
        }
        memset(items + n * size, 0, size);
        TRY(body_parse(b, parser, item, items + n * size));
        n++;
        item = json_is(v, JSON_ARRAY) ? json_next(&it) : NULL;
    }
    *items_out = items;
    *n_out = n;
    return NULL;
}

struct err *body_str(struct body *b, const struct json *v, void *out)
{
    *(struct str *)out = v->text;
    return NULL;
}

struct err *body_bool(struct body *b, const struct json *v, void *out)
{
    bool *to = out;
    if (json_bool(v, to))
        return NULL;
    if (str_eq(v->text, STR("true")) || str_eq(v->text, STR("false"))) {
        *to = v->text.n == 4;
        return NULL;
    }
    return err_new(ERR_ARGUMENT,
                   "Failed to parse value [%.*s] as only [true] or [false] are allowed.",
                   STR_ARG(str_sub(v->text, 0, 200)));
}

/* The number that a node is, or holds as a string; NULL: none. */
static const struct json *number(struct body *b, const struct json *v)
{
    if (json_is(v, JSON_NUMBER))
        return v;
    const struct json *inner;
    struct err *e = json_parse(b->arena, v->text, &inner);
    err_free(e);
    return !e && json_is(inner, JSON_NUMBER) ? inner : NULL;
}

static struct err *not_a_number(const struct json *v)
{
    return err_new(ERR_ARGUMENT, "For input string: \"%.*s\"", STR_ARG(str_sub(v->text, 0, 200)));
}

static struct err *out_of_range(struct str text)
{
    return err_new(ERR_ARGUMENT, "Value [%.*s] is out of range", STR_ARG(str_sub(text, 0, 200)));
}

struct err *body_i64(struct body *b, const struct json *v, int64_t min, int64_t max, int64_t *out)
{
    double d;
    const struct json *n = number(b, v);
    if (!n)
        return not_a_number(v);
    if (!json_i64(n, out)) {
        if (!json_f64(n, &d) || d < -9e18 || d > 9e18)
            return out_of_range(n->text);
        if (d != trunc(d))
            return err_new(ERR_ARGUMENT, "%.*s cannot be converted to Integer without data loss",
                           STR_ARG(str_sub(n->text, 0, 200)));
        *out = (int64_t)d;
    }
    return *out < min || *out > max ? out_of_range(n->text) : NULL;
}

struct err *body_f64(struct body *b, const struct json *v, double *out, struct str *text_out)
{
    const struct json *n = number(b, v);
    if (!n)
        return not_a_number(v);
    if (!json_f64(n, out)) /* 1e999 */
        return out_of_range(n->text);
    *text_out = n->text;
    return NULL;
}

static bool scalar_text(const struct json *v, struct str *out)
{
    switch (v->type) {
    case JSON_STRING:
    case JSON_NUMBER:
        *out = v->text;
        return true;
    case JSON_FALSE:
        *out = STR("false");
        return true;
    case JSON_TRUE:
        *out = STR("true");
        return true;
    default:
        return false;
    }
}

struct err *body_texts(struct body *b, const struct json *v, struct str **out, size_t *n_out)
{
    size_t n = json_is(v, JSON_ARRAY) ? v->n : 1;
    struct str *texts = arena_try(b->arena, (n > 0 ? n : 1) * sizeof *texts);
    if (!texts)
        return too_large();
    texts[0] = v->text;
    size_t i = 0;
    struct json_iter it = json_iter(v);
    for (const struct json *m; (m = json_next(&it)); i++) {
        if (!scalar_text(m, &texts[i])) {
            b->at = m->raw;
            return err_new(ERR_ARGUMENT, "Can't get text on a %s", token_name(m));
        }
    }
    *out = texts;
    *n_out = n;
    return NULL;
}
