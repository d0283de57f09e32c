/* The definition of a tree, packed and unpacked. */
#include "tree_definition.h"

#include <sodium.h>
#include <stdlib.h>

#include "base64.h"
#include "gzip.h"

/* Nodes of the parsed text, beside its bytes. */
#define PARSE_BYTES ((size_t)512 << 20)

static struct err *broken(struct err *cause)
{
    return err_wrap(cause, ERR_ARGUMENT, "[compressed_definition] cannot be read");
}

static struct err *unpack(struct str text, struct buf *out)
{
    unsigned char *bytes = malloc(base64_bytes(text.n));
    size_t n;
    struct err *e;
    if (!bytes)
        return err_new(ERR_TOO_LARGE, "there is no memory for [%zu] bytes", text.n);
    if (base64_decode(text, bytes, &n))
        e = gzip_inflate(str_n((const char *)bytes, n), out);
    else
        e = err_new(ERR_ARGUMENT, "[compressed_definition] is not valid base64");
    free(bytes);
    return e;
}

static struct err *pack(struct arena *a, struct str text, struct str *out)
{
    struct buf b;
    buf_init(&b, text.n + (text.n >> 8) + 1024); /* more than deflate ever needs */
    gzip_deflate(text, 6, &b);
    size_t n = sodium_base64_encoded_len(b.n, sodium_base64_VARIANT_ORIGINAL);
    char *to = arena_alloc(a, n);
    sodium_bin2base64(to, n, (const unsigned char *)b.p, b.n, sodium_base64_VARIANT_ORIGINAL);
    *out = str_n(to, n - 1);
    buf_deinit(&b);
    return NULL;
}

static struct err *read_model(struct trained_model *m, struct body *b,
                              const struct json *definition)
{
    struct tree_input input = {.fields = m->input_fields,
                               .n_fields = m->n_input_fields,
                               .field_map = m->default_field_map};
    if (!json_is(definition, JSON_OBJECT))
        return err_new(ERR_ARGUMENT, "[definition] must be an object");
    if (definition->raw_n > TREE_MAX_TEXT)
        return err_new(ERR_TOO_LARGE, "[definition] is larger than [%u] bytes", TREE_MAX_TEXT);
    TRY(tree_read(b, definition, &input, m->arena, &m->tree));
    if (tree_classifies(m->tree) == m->tree_config.classification)
        return NULL;
    return err_status(400,
                      "Model [%.*s] inference config type [%s] does not support definition target "
                      "type [%s]",
                      STR_ARG(m->model_id), tree_config_name(&m->tree_config),
                      tree_classifies(m->tree) ? "classification" : "regression");
}

static struct err *read_compressed(struct trained_model *m)
{
    struct arena *tmp = arena_new(PARSE_BYTES);
    struct buf text;
    const struct json *definition = NULL;
    buf_init(&text, TREE_MAX_TEXT);
    struct err *e = unpack(m->definition, &text);
    if (!e)
        e = json_parse(tmp, buf_str(&text), &definition);
    if (e) {
        e = broken(e);
    } else {
        struct body b = {.arena = tmp};
        e = read_model(m, &b, definition);
    }
    buf_deinit(&text);
    arena_free(tmp);
    return e;
}

static struct err *read_text(struct trained_model *m, struct body *b, const struct json *definition)
{
    struct err *e = read_model(m, b, definition);
    if (e) /* the parsers of the definition say where */
        return e->kind == ERR_X_CONTENT ? body_wrap(b, e, "trained_model_config", "definition") : e;
    return pack(m->arena, json_raw(definition), &m->definition);
}

struct err *tree_definition_read(struct trained_model *m, struct body *b, const struct json *body)
{
    const struct json *definition = json_get(body, "definition");
    const struct json *compressed = json_get(body, "compressed_definition");
    m->input_field = m->input_fields[0];
    if (!json_is_null(compressed))
        m->definition = arena_dup(m->arena, compressed->text);
    if (json_is_null(definition))
        TRY(read_compressed(m));
    else
        TRY(read_text(m, b, definition));
    if (!m->model_size_bytes)
        m->model_size_bytes = tree_bytes(m->tree);
    return NULL;
}

void tree_definition_render(struct str compressed, struct json_out *w)
{
    struct buf text;
    buf_init(&text, TREE_MAX_TEXT);
    struct err *e = unpack(compressed, &text);
    if (!e)
        json_key_raw(w, "definition", buf_str(&text));
    err_free(e);
    buf_deinit(&text);
}
