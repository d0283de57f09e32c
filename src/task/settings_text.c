/* Values as Elasticsearch's error texts show them: it prints the maps, lists and numbers of a
 * parsed body with Java's toString, so strings stand bare and members read k=v. */
#include "settings_private.h"

#include <stdio.h>

void java_text_init(struct buf *out)
{
    buf_init(out, JAVA_TEXT_LIMIT);
}

/* Puts what fits, never half a UTF-8 sequence. */
static void put(struct buf *out, struct str s)
{
    size_t room = out->limit - out->n;
    if (out->full)
        return;
    if (s.n <= room) {
        buf_put(out, s);
        return;
    }
    while (room > 0 && ((unsigned char)s.p[room] & 0xC0) == 0x80)
        room--;
    buf_put(out, str_n(s.p, room));
    out->full = true;
}

struct java_number java_number(double d)
{
    struct java_number text = {{0}};
    struct buf b;
    struct json_out w;
    buf_init(&b, sizeof text.s - 1);
    json_out_init(&w, &b);
    json_put_f64(&w, d);
    memcpy(text.s, b.p ? b.p : "", b.n);
    buf_deinit(&b);
    return text;
}

static void put_number(struct buf *out, const struct json *v)
{
    double d = 0;
    bool whole = str_find_char(v->text, '.') == SIZE_MAX &&
                 str_find_char(v->text, 'e') == SIZE_MAX && str_find_char(v->text, 'E') == SIZE_MAX;
    if (whole || !json_f64(v, &d)) {
        put(out, v->text);
        return;
    }
    struct java_number text = java_number(d);
    put(out, str_c(text.s));
}

static bool keep_all(const struct json *member, const void *ctx)
{
    return true;
}

size_t java_members(struct buf *out, const struct json *object,
                    bool (*keep)(const struct json *member, const void *ctx), const void *ctx)
{
    size_t n = 0;
    struct json_iter it = json_iter(object);
    put(out, STR("{"));
    for (const struct json *v; (v = json_next(&it));) {
        if (!keep(v, ctx))
            continue;
        if (n++ > 0)
            put(out, STR(", "));
        put(out, v->key);
        put(out, STR("="));
        java_text(out, v);
    }
    put(out, STR("}"));
    return n;
}

static void put_list(struct buf *out, const struct json *array)
{
    bool first = true;
    struct json_iter it = json_iter(array);
    put(out, STR("["));
    for (const struct json *v; !out->full && (v = json_next(&it)); first = false) {
        if (!first)
            put(out, STR(", "));
        java_text(out, v);
    }
    put(out, STR("]"));
}

/* Recursion ends with the parser's depth limit. */
void java_text(struct buf *out, const struct json *v)
{
    if (!v || out->full)
        return;
    switch (v->type) {
    case JSON_NULL:
        put(out, STR("null"));
        break;
    case JSON_FALSE:
        put(out, STR("false"));
        break;
    case JSON_TRUE:
        put(out, STR("true"));
        break;
    case JSON_NUMBER:
        put_number(out, v);
        break;
    case JSON_STRING:
        put(out, v->text);
        break;
    case JSON_ARRAY:
        put_list(out, v);
        break;
    case JSON_OBJECT:
        java_members(out, v, keep_all, NULL);
        break;
    }
}

struct str java_text_end(struct buf *out)
{
    if (out->full) {
        out->limit += 3;
        out->full = false;
        buf_put(out, STR("..."));
    }
    return buf_str(out);
}
