/* The reader: one pass over the text, without recursion, into one array of nodes in reading order.
 *
 * A container's children follow it directly and `skip` leads over a child with all it holds, so the
 * array must be in one piece. It starts on the stack and is copied out exactly; a larger one grows
 * in the arena, by a guess from the share of the text read so far.
 *
 * Duplicate names are looked for when an object closes: pair by pair in a small object, with a
 * keyed hash in a large one, so that a hostile object costs no more than its length. */
#include "json.h"

#include <stdio.h>
#include <stdlib.h>

#include "json_private.h"

static const char expected_value[] = "expected a valid value (JSON String, Number, Array, Object "
                                     "or token 'null', 'true' or 'false')";

static struct err *nodes_grow(struct json_reader *r)
{
    double share = (double)(r->p - r->begin + 1) / (double)(r->end - r->begin + 1);
    double guess = (double)r->n / share * 1.1;
    size_t cap = 2 * (size_t)r->cap;
    if (guess > (double)cap)
        cap = guess > 8.0 * r->cap ? 8 * (size_t)r->cap : (size_t)guess;
    /* Every further node takes at least one byte of what is left. */
    size_t most = r->n + (size_t)(r->end - r->p) + 1;
    cap = cap < most ? cap : most;
    if (cap > UINT32_MAX || cap > SIZE_MAX / sizeof(struct json))
        return json_too_large();
    struct json *grown = arena_try(r->arena, cap * sizeof *grown);
    if (!grown)
        return json_too_large();
    memcpy(grown, r->nodes, r->n * sizeof *grown);
    r->nodes = grown;
    r->cap = (uint32_t)cap;
    return NULL;
}

/* Appends a node whose text begins at r->p and, for a leaf, ends at `end`. */
static struct err *node_add(struct json_reader *r, enum json_type type, const char *end,
                            struct str text)
{
    if (r->n == r->cap)
        TRY(nodes_grow(r));
    r->nodes[r->n++] = (struct json){
        .type = type,
        .skip = 1,
        .raw_n = (uint32_t)(end - r->p),
        .raw = r->p,
        .text = text,
        .key = r->key,
    };
    r->key = (struct str){0};
    r->p = end;
    return NULL;
}

static struct json *innermost(struct json_reader *r)
{
    return &r->nodes[r->open[r->depth - 1]];
}

static struct err *too_deep(const struct json_reader *r)
{
    return json_fail(r, r->p, "Document nesting depth (%d) exceeds the maximum allowed (%d)",
                     JSON_MAX_DEPTH + 1, JSON_MAX_DEPTH);
}

static struct err *open_container(struct json_reader *r, enum json_type type)
{
    if (r->depth == JSON_MAX_DEPTH)
        return too_deep(r);
    TRY(node_add(r, type, r->p + 1, (struct str){0}));
    r->open[r->depth++] = r->n - 1;
    r->opened = true;
    return NULL;
}

static struct err *read_array(struct json_reader *r)
{
    const char *first = json_skip_space(r->p + 1, r->end);
    if (first == r->end || !(*first == '-' || (*first >= '0' && *first <= '9')))
        return open_container(r, JSON_ARRAY);
    if (r->depth == JSON_MAX_DEPTH)
        return too_deep(r);
    uint32_t n;
    bool wide;
    const char *end = json_scan_flat(first, r->end, &n, &wide);
    if (!end)
        return open_container(r, JSON_ARRAY);
    TRY(node_add(r, JSON_ARRAY, end, (struct str){0}));
    r->nodes[r->n - 1].flat = true;
    r->nodes[r->n - 1].wide = wide;
    r->nodes[r->n - 1].n = n;
    return NULL;
}

static struct err *read_string(struct json_reader *r)
{
    const char *begin = r->p;
    struct str text;
    TRY(json_read_string(r, &text));
    const char *end = r->p;
    r->p = begin;
    return node_add(r, JSON_STRING, end, text);
}

static struct err *read_number(struct json_reader *r)
{
    const char *end = json_scan_number(r->p, r->end);
    if (!end)
        return json_fail_number(r, r->p);
    return node_add(r, JSON_NUMBER, end, str_n(r->p, (size_t)(end - r->p)));
}

static bool word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* Anything word-like that is not true, false or null. */
static struct err *bad_word(const struct json_reader *r)
{
    size_t n = 0, left = (size_t)(r->end - r->p);
    while (n < left && n < 32 && word_char(r->p[n]))
        n++;
    if (n == 0)
        return json_fail_char(r, r->p, expected_value);
    struct str word = str_n(r->p, n);
    return json_fail(r, r->p,
                     "Unrecognized token '%.*s': was expecting (JSON String, Number, Array, Object "
                     "or token 'null', 'true' or 'false')",
                     STR_ARG(word));
}

static struct err *read_word(struct json_reader *r, enum json_type type, struct str word)
{
    size_t left = (size_t)(r->end - r->p);
    if (left < word.n || memcmp(r->p, word.p, word.n) != 0)
        return bad_word(r);
    if (left > word.n && word_char(r->p[word.n]))
        return bad_word(r);
    return node_add(r, type, r->p + word.n, (struct str){0});
}

/* One value, or the opening of a container. */
static struct err *read_value(struct json_reader *r)
{
    r->p = json_skip_space(r->p, r->end);
    r->opened = false;
    if (r->p == r->end)
        return json_fail_char(r, r->p, expected_value);
    switch (*r->p) {
    case '"':
        return read_string(r);
    case '{':
        return open_container(r, JSON_OBJECT);
    case '[':
        return read_array(r);
    case 't':
        return read_word(r, JSON_TRUE, STR("true"));
    case 'f':
        return read_word(r, JSON_FALSE, STR("false"));
    case 'n':
        return read_word(r, JSON_NULL, STR("null"));
    case '-':
    case '0' ... '9':
        return read_number(r);
    default:
        return bad_word(r);
    }
}

static struct err *read_key(struct json_reader *r)
{
    if (r->p == r->end || *r->p != '"')
        return json_fail_char(r, r->p, "was expecting double-quote to start field name");
    TRY(json_read_string(r, &r->key));
    r->p = json_skip_space(r->p, r->end);
    if (r->p == r->end || *r->p != ':')
        return json_fail_char(r, r->p, "was expecting a colon to separate field name and value");
    r->p++;
    return NULL;
}

/* `value` has the repeated name, which ends before the colon before the value. */
static struct err *duplicate(const struct json_reader *r, const struct json *value)
{
    const char *at = value->raw - 1;
    while (*at != '"')
        at--;
    struct str key = value->key;
    for (key.n = key.n < 100 ? key.n : 100; key.n < value->key.n && key.n > 0; key.n--)
        if ((key.p[key.n] & 0xC0) != 0x80) /* cut between characters */
            break;
    return json_fail(r, at + 1, "Duplicate field '%.*s'", STR_ARG(key));
}

#define PAIRWISE_MAX 16

static struct err *check_few_keys(const struct json_reader *r, const struct json *object)
{
    const struct json *seen[PAIRWISE_MAX];
    const struct json *m = object + 1;
    for (uint32_t i = 0; i < object->n; i++, m += m->skip) {
        for (uint32_t k = 0; k < i; k++)
            if (str_eq(seen[k]->key, m->key))
                return duplicate(r, m);
        seen[i] = m;
    }
    return NULL;
}

/* Open addressing over 1-based distances from the object; at most half full. */
static struct err *check_many_keys(const struct json_reader *r, const struct json *object)
{
    size_t n_slots = 64;
    while (n_slots < 2 * (size_t)object->n)
        n_slots *= 2;
    uint32_t *slots = calloc(n_slots, sizeof *slots);
    if (!slots)
        return json_too_large();
    struct err *e = NULL;
    const struct json *m = object + 1;
    for (uint32_t i = 0; i < object->n && !e; i++, m += m->skip) {
        size_t at = str_hash(m->key) & (n_slots - 1);
        for (; slots[at]; at = (at + 1) & (n_slots - 1))
            if (str_eq(object[slots[at]].key, m->key))
                break;
        if (slots[at])
            e = duplicate(r, m);
        slots[at] = (uint32_t)(m - object);
    }
    free(slots);
    return e;
}

static struct err *close_container(struct json_reader *r)
{
    struct json *c = innermost(r);
    r->p++;
    c->raw_n = (uint32_t)(r->p - c->raw);
    c->skip = r->n - r->open[r->depth - 1];
    r->depth--;
    if (c->type == JSON_ARRAY || c->n < 2)
        return NULL;
    return c->n <= PAIRWISE_MAX ? check_few_keys(r, c) : check_many_keys(r, c);
}

static struct err *bad_separator(const struct json_reader *r, const struct json *parent)
{
    bool array = parent->type == JSON_ARRAY;
    if (r->p < r->end && (*r->p == ']' || *r->p == '}'))
        return json_fail(r, r->p, "Unexpected close marker '%c': expected '%c'", *r->p,
                         array ? ']' : '}');
    if (r->p < r->end)
        return json_fail_char(r, r->p,
                              array ? "was expecting comma to separate Array entries"
                                    : "was expecting comma to separate Object entries");
    return json_fail(r, r->p, "Unexpected end-of-input: expected close marker for %s",
                     array ? "Array" : "Object");
}

/* What stands between two values: closings, a comma, the name of the next member. */
static struct err *read_between(struct json_reader *r)
{
    while (r->depth > 0) {
        r->p = json_skip_space(r->p, r->end);
        struct json *parent = innermost(r);
        bool array = parent->type == JSON_ARRAY;
        if (!r->opened)
            parent->n++;
        if (r->p < r->end && *r->p == (array ? ']' : '}')) {
            TRY(close_container(r));
            r->opened = false;
            continue;
        }
        if (!r->opened) {
            if (r->p == r->end || *r->p != ',')
                return bad_separator(r, parent);
            r->p = json_skip_space(r->p + 1, r->end);
        } else if (r->p == r->end) {
            return bad_separator(r, parent);
        }
        return array ? NULL : read_key(r);
    }
    return NULL;
}

static struct err *read_document(struct json_reader *r)
{
    do {
        TRY(read_value(r));
        TRY(read_between(r));
    } while (r->depth > 0);
    r->p = json_skip_space(r->p, r->end);
    if (r->p < r->end)
        return json_fail_char(r, r->p, "was expecting the end of the input");
    return NULL;
}

struct err *json_parse(struct arena *arena, struct str text, const struct json **out)
{
    if (text.n >= UINT32_MAX)
        return json_too_large();
    if (text.n == 0)
        text.p = "";
    struct json_reader r;
    r.arena = arena;
    r.begin = r.p = text.p;
    r.end = text.p + text.n;
    r.nodes = r.first;
    r.n = r.depth = 0;
    r.cap = JSON_FIRST_NODES;
    r.key = (struct str){0};
    TRY(read_document(&r));
    if (r.nodes == r.first) {
        r.nodes = arena_try(arena, r.n * sizeof *r.nodes);
        if (!r.nodes)
            return json_too_large();
        memcpy(r.nodes, r.first, r.n * sizeof *r.nodes);
    }
    *out = r.nodes;
    return NULL;
}

struct err *json_parse_copy(struct arena *arena, struct str text, const struct json **out)
{
    char *copy = arena_try(arena, text.n);
    if (!copy)
        return json_too_large();
    if (text.n)
        memcpy(copy, text.p, text.n);
    return json_parse(arena, str_n(copy, text.n), out);
}

/* Jackson counts bytes, and takes \r, \n and \r\n each for one line end. */
static void locate(const char *begin, const char *end, const char *at, int *line_out,
                   int *column_out)
{
    int line = 1;
    const char *start = begin;
    for (const char *p = begin; p < at; p++) {
        if (*p == '\n' || (*p == '\r' && !(p + 1 < end && p[1] == '\n'))) {
            line++;
            start = p + 1;
        }
    }
    *line_out = line;
    *column_out = (int)(at - start) + 1;
}

void json_where(struct str text, const struct json *j, int *line_out, int *column_out)
{
    *line_out = *column_out = 1;
    if (j && text.n && j->raw >= text.p && j->raw <= text.p + text.n)
        locate(text.p, text.p + text.n, j->raw, line_out, column_out);
}

struct err *json_fail(const struct json_reader *r, const char *at, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    int line, column;
    locate(r->begin, r->end, at, &line, &column);
    return err_new(ERR_X_CONTENT, "[%d:%d] %s", line, column, text);
}

struct err *json_fail_char(const struct json_reader *r, const char *at, const char *expected)
{
    if (at >= r->end)
        return json_fail(r, r->end, "Unexpected end-of-input: %s", expected);
    unsigned char c = (unsigned char)*at;
    if (c < 0x20 || c == 0x7F)
        return json_fail(r, at, "Illegal character ((CTRL-CHAR, code %u)): %s", c, expected);
    if (c < 0x80)
        return json_fail(r, at, "Unexpected character ('%c' (code %u)): %s", c, c, expected);
    return json_fail(r, at, "Unexpected character (byte 0x%02x): %s", c, expected);
}

struct err *json_too_large(void)
{
    return err_new(ERR_TOO_LARGE, "JSON content needs more memory than one request may use");
}
