#include "tree.h"

/* Whatever is taken as a definition answers documents; the second line is one of them. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct str fields[] = {STR_INIT("a"), STR_INIT("b.c")};
    struct tree_input input = {.fields = fields, .n_fields = 2};
    struct arena *a = arena_new((size_t)64 << 20), *scratch = arena_new(ARENA_NO_LIMIT);
    struct str text = str_n((const char *)data, n), first = {0};
    const struct json *definition = NULL, *doc = NULL;
    const struct tree_model *m = NULL;
    struct body b = {.arena = a};
    str_split(&text, '\n', &first);
    struct err *e = json_parse(a, first, &definition);
    if (!e)
        e = tree_read(&b, definition, &input, a, &m);
    if (!e)
        e = json_parse(a, text.n ? text : STR("{\"a\":1,\"b\":{\"c\":\"x\"}}"), &doc);
    if (!e && json_is(doc, JSON_OBJECT)) {
        struct buf out;
        struct json_out w;
        struct tree_config config = {.classification = tree_classifies(m),
                                     .results_field = STR("r"),
                                     .top_classes_results_field = STR("t"),
                                     .num_top_classes = -1};
        buf_init(&out, 1 << 20);
        json_out_init(&w, &out);
        tree_infer(m, &config, STR("m"), doc, scratch, &w);
        const struct json *again;
        if (!out.full && json_parse(a, buf_str(&out), &again))
            __builtin_trap();
        buf_deinit(&out);
    }
    err_free(e);
    arena_free(scratch);
    arena_free(a);
    return 0;
}
