/* A path and an answer, a template and the parameters for it: parts of the input, cut at line
 * breaks. What a body's template makes of JSON values is JSON again. */
#include <stdlib.h>

#include "custom_path.h"
#include "custom_template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define LIMIT ((size_t)16 << 20)

static void walk(const struct found *f, struct arena *a, int depth)
{
    struct found list;
    (void)found_type(f);
    struct err *e = found_list(f, "x", a, &list);
    for (size_t i = 0; !e && depth < 8 && i < list.n; i++)
        walk(&list.items[i], a, depth + 1);
    err_free(e);
}

static void path(struct arena *a, struct str text, const struct json *root)
{
    struct found f;
    struct err *e = path_find(root, text, a, &f);
    if (!e)
        walk(&f, a, 0);
    err_free(e);
}

/* The template of a list: commas in a name make no difference, quotes do. */
static void template(struct arena *a, struct str text, const struct json *map)
{
    const struct template_builtin builtin = {"input", STR_INIT("[\"a\"]")};
    struct template_names names = {.builtins = &builtin, .n_builtins = 1, .maps = {map, NULL, map}};
    struct buf b;
    const struct json *back;
    buf_init(&b, LIMIT);
    struct err *e = template_fill_json(&b, text, "f", &names);
    if (!e && str_eq(text, STR("[${input},${a}]")) && json_parse(a, buf_str(&b), &back))
        abort();
    err_free(e);
    buf_clear(&b);
    err_free(template_fill_text(&b, text, "f", &names));
    buf_clear(&b);
    err_free(template_fill_url(&b, text, &names));
    buf_deinit(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena *a = arena_new(LIMIT);
    struct str rest = str_n((const char *)data, n), one, two;
    const struct json *root;
    if (str_split(&rest, '\n', &one) && str_split(&rest, '\n', &two)) {
        struct err *e = json_parse(a, rest, &root);
        if (!e) {
            path(a, one, root);
            template(a, two, root);
            template(a, STR("[${input},${a}]"), root);
        }
        err_free(e);
    }
    arena_free(a);
    return 0;
}
