/* Pretty JSON and YAML: layouts of Jackson's DefaultPrettyPrinter and of its YAML generator, as far
 * as Elasticsearch sets them. The recursion is bounded by the reader's depth limit. */
#include "json_view.h"

#include "json_private.h"

static void put_indent(struct buf *out, int levels)
{
    buf_char(out, '\n');
    for (int i = 0; i < levels; i++)
        buf_put(out, STR("  "));
}

static void pretty_value(const struct json *j, int level, struct buf *out);

static void pretty_container(const struct json *j, int level, struct buf *out)
{
    bool array = j->type == JSON_ARRAY;
    if (j->n == 0) {
        buf_put(out, array ? STR("[ ]") : STR("{ }"));
        return;
    }
    buf_char(out, array ? '[' : '{');
    struct json_iter it = json_iter(j);
    const char *comma = "";
    for (const struct json *v; (v = json_next(&it)); comma = ",") {
        buf_cstr(out, comma);
        put_indent(out, level + 1);
        if (!array) {
            json_quote(out, v->key);
            buf_put(out, STR(" : "));
        }
        pretty_value(v, level + 1, out);
    }
    put_indent(out, level);
    buf_char(out, array ? ']' : '}');
}

static void pretty_value(const struct json *j, int level, struct buf *out)
{
    if (out->full)
        return;
    if (j->type == JSON_ARRAY || j->type == JSON_OBJECT)
        pretty_container(j, level, out);
    else if (j->type == JSON_STRING)
        json_quote(out, j->text);
    else
        buf_put(out, json_raw(j));
}

void json_pretty(const struct json *j, struct buf *out)
{
    pretty_value(j, 0, out);
    buf_char(out, '\n');
}

/* Words that YAML 1.1 readers take for something other than a string. */
static bool yaml_reserved(struct str s)
{
    static const char *const words[] = {"y",   "n",    "yes",   "no",   "on",
                                        "off", "true", "false", "null", "nan"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (str_eq_nocase(s, str_c(words[i])))
            return true;
    return false;
}

/* A name goes without quotes only where no reader can take it for anything else. */
static bool yaml_plain(struct str s)
{
    if (s.n == 0 || yaml_reserved(s))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '/';
        bool inner = (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '$' || c == '@';
        if (!letter && !(inner && i > 0))
            return false;
    }
    return true;
}

static void yaml_key(struct str key, struct buf *out)
{
    if (yaml_plain(key))
        buf_put(out, key);
    else
        json_quote(out, key); /* a JSON string is a YAML double-quoted scalar */
}

static bool yaml_block(const struct json *j)
{
    return (j->type == JSON_ARRAY || j->type == JSON_OBJECT) && j->n > 0;
}

static void yaml_scalar(const struct json *j, struct buf *out)
{
    if (j->type == JSON_STRING)
        json_quote(out, j->text);
    else if (j->type == JSON_ARRAY || j->type == JSON_OBJECT)
        buf_put(out, j->type == JSON_ARRAY ? STR("[]") : STR("{}"));
    else
        buf_put(out, json_raw(j));
}

/* The entries of a non-empty container at `level`. The first of them goes on in the line already
 * begun, when there is one: "- a: 1". A sequence within a mapping is not indented. */
static void yaml_entries(const struct json *j, int level, bool in_line, struct buf *out)
{
    bool array = j->type == JSON_ARRAY;
    struct json_iter it = json_iter(j);
    for (const struct json *v; !out->full && (v = json_next(&it)); in_line = false) {
        if (!in_line)
            put_indent(out, level);
        if (array) {
            buf_char(out, '-');
        } else {
            yaml_key(v->key, out);
            buf_char(out, ':');
        }
        if (!yaml_block(v)) {
            buf_char(out, ' ');
            yaml_scalar(v, out);
        } else if (array) {
            buf_char(out, ' ');
            yaml_entries(v, level + 1, true, out);
        } else {
            yaml_entries(v, v->type == JSON_ARRAY ? level : level + 1, false, out);
        }
    }
}

void json_yaml(const struct json *j, struct buf *out)
{
    buf_put(out, STR("---"));
    if (yaml_block(j)) {
        yaml_entries(j, 0, false, out);
    } else {
        buf_char(out, ' ');
        yaml_scalar(j, out);
    }
    buf_char(out, '\n');
}
