#include "custom_path.h"

#include <string.h>

const char *found_type(const struct found *f)
{
    if (!f->node)
        return "ArrayList";
    switch (f->node->type) {
    case JSON_STRING:
        return "String";
    case JSON_TRUE:
    case JSON_FALSE:
        return "Boolean";
    case JSON_ARRAY:
        return "ArrayList";
    case JSON_OBJECT:
        return "HashMap";
    case JSON_NUMBER: {
        int64_t i;
        if (!json_i64(f->node, &i))
            return "Double";
        return i >= INT32_MIN && i <= INT32_MAX ? "Integer" : "Long";
    }
    case JSON_NULL:
        break;
    }
    return "null";
}

static struct err *wrong_type(struct str path, const char *pattern, const char *wanted,
                              const struct json *node)
{
    struct found f = {.node = node};
    return err_new(ERR_PARSE,
                   "Current path [%.*s] matched the %s pattern but the current object is not a %s, "
                   "found invalid type [%s] instead.",
                   STR_ARG(str_sub(path, 0, 200)), pattern, wanted, found_type(&f));
}

/* ".name": the name ends at the next '.' or '['. */
static bool field_at(struct str path, struct str *name_out)
{
    if (!str_starts(path, STR(".")))
        return false;
    size_t n = 1;
    while (n < path.n && path.p[n] != '.' && path.p[n] != '[')
        n++;
    *name_out = str_sub(path, 1, n - 1);
    return name_out->n > 0;
}

static struct err *navigate(const struct json *node, struct str path, struct arena *arena,
                            struct found *out);

/* Room for n of something, zeroed. What is asked for grows with an answer: its arena's ceiling
 * holds.
 */
static struct err *room(struct arena *arena, size_t n, size_t size, void *out)
{
    void *p = n <= SIZE_MAX / size ? arena_try(arena, n * size) : NULL;
    if (!p)
        return err_new(ERR_PARSE, "the answer holds more values than can be read");
    memset(p, 0, n * size);
    memcpy(out, &p, sizeof p);
    return NULL;
}

/* The elements of an array. Those handed out of a flat one live until the next only: copies then.
 */
static struct err *elements(const struct json *list, struct arena *arena, struct found *out)
{
    struct found *items = NULL;
    struct json *copies = NULL;
    TRY(room(arena, list->n, sizeof *items, &items));
    if (list->flat)
        TRY(room(arena, list->n, sizeof *copies, &copies));
    size_t n = 0;
    struct json_iter it = json_iter(list);
    for (const struct json *item; (item = json_next(&it)); n++) {
        if (copies)
            copies[n] = *item;
        items[n].node = copies ? &copies[n] : item;
    }
    *out = (struct found){.items = items, .n = n};
    return NULL;
}

/* Recursion: as deep as the answer nests, which is bounded by JSON_MAX_DEPTH. */
static struct err *each(const struct json *list, struct str path, struct arena *arena,
                        struct found *out)
{
    if (list->flat && (path.n == 0 || list->n == 0)) { /* an embedding: as it stands */
        *out = (struct found){.node = list};
        return NULL;
    }
    struct found *items = NULL;
    size_t n = 0;
    TRY(room(arena, list->n, sizeof *items, &items));
    struct json_iter it = json_iter(list);
    for (const struct json *item; (item = json_next(&it));) {
        if (!json_is_null(item)) /* of a flat array the first number is already an error */
            TRY(navigate(item, path, arena, &items[n++]));
    }
    *out = (struct found){.items = items, .n = n};
    return NULL;
}

static struct err *navigate(const struct json *node, struct str path, struct arena *arena,
                            struct found *out)
{
    struct str name;
    for (; path.n > 0; path = str_sub(path, 1 + name.n, path.n)) {
        if (str_starts(path, STR("[*]"))) {
            if (!json_is(node, JSON_ARRAY))
                return wrong_type(path, "array field", "list", node);
            return each(node, str_sub(path, 3, path.n), arena, out);
        }
        if (!field_at(path, &name))
            return err_new(ERR_PARSE,
                           "Invalid path received [%.*s], unable to extract a field name.",
                           STR_ARG(str_sub(path, 0, 200)));
        if (!json_is(node, JSON_OBJECT))
            return wrong_type(path, "dot field", "map", node);
        node = json_get_str(node, name);
        if (json_is_null(node))
            return err_new(ERR_PARSE, "Unable to find field [%.*s] in map",
                           STR_ARG(str_sub(name, 0, 200)));
    }
    *out = (struct found){.node = node};
    return NULL;
}

struct err *path_find(const struct json *root, struct str path, struct arena *arena,
                      struct found *out)
{
    path = str_trim(path);
    if (!str_starts(path, STR("$")))
        return err_new(ERR_PARSE, "Path [%.*s] must start with a dollar sign ($)",
                       STR_ARG(str_sub(path, 0, 200)));
    if (!json_is(root, JSON_OBJECT))
        return wrong_type(path, "dot field", "map", root);
    return navigate(root, str_sub(path, 1, path.n), arena, out);
}

struct err *found_list(const struct found *f, const char *member, struct arena *arena,
                       struct found *out)
{
    if (!f->node) {
        *out = *f;
        return NULL;
    }
    if (json_is(f->node, JSON_ARRAY))
        return elements(f->node, arena, out);
    return err_new(ERR_PARSE,
                   "Extracted field [%s] is an invalid type, expected a list but received [%s]",
                   member, found_type(f));
}
