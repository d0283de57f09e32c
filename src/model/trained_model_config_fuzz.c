/* Any body is read or refused; what is read can be shown, stored and read again. */
#include "bug.h"
#include "registry_private.h"
#include "trained_model_config.h"

#define LIMIT ((size_t)64 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void show(const struct trained_model *m)
{
    struct buf b;
    struct json_out w;
    buf_init(&b, LIMIT);
    json_out_init(&w, &b);
    trained_model_render(&w, m, &(struct trained_model_show){.human = true});
    buf_deinit(&b);
}

/* The first byte says whether it is a config or the metadata of a package. */
static struct err *read_it(struct trained_model *m, struct str text, bool package)
{
    const struct json *body;
    TRY(json_parse(m->arena, text, &body));
    if (!json_is(body, JSON_OBJECT))
        return NULL;
    TRY(package ? trained_model_of_package(m, body) : trained_model_config(m, text, body, NULL));
    show(m);
    if (package)
        return NULL;
    m->created_by = STR("fuzz");
    struct str stored = registry_document(m->arena, m, body, NULL);
    struct trained_model *again = trained_model_new(MODEL_UPLOADED, m->model_id);
    const struct json *root;
    BUG_ON(json_parse(again->arena, stored, &root));
    json_str(json_get(root, "compressed_definition"), &again->definition);
    BUG_ON(trained_model_config(again, (struct str){0}, json_get(root, "body"), NULL));
    trained_model_unref(again);
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct trained_model *m = trained_model_new(MODEL_UPLOADED, STR("m"));
    err_free(read_it(m, str_n((const char *)data + 1, size - 1), data[0] & 1));
    trained_model_unref(m);
    return 0;
}
