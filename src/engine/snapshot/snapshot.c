#include "snapshot.h"

#include "file.h"
#include "modules.h"
#include "op.h"

#define CONFIG_LIMIT ((size_t)1 << 20)

#define X(name) extern const struct family family_##name;
#include "families.def"
#undef X

static const struct family *const families[] = {
#define X(name) &family_##name,
#include "families.def"
#undef X
};

static struct err *read_config(const char *folder, struct arena *a, const struct json **out)
{
    struct str text;
    TRY(file_read(folder, "config.json", CONFIG_LIMIT, a, &text));
    struct err *err = json_parse(a, text, out);
    if (err)
        return err_wrap(err, ERR_ARGUMENT, "[config.json] is not JSON");
    if (!json_is(*out, JSON_OBJECT))
        return err_new(ERR_ARGUMENT, "[config.json] is not an object");
    return NULL;
}

static struct err *find_family(const struct json *config, const struct family **out)
{
    struct str type = {0};
    json_str(json_get(config, "model_type"), &type);
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        if (str_eq_c(type, families[i]->model_type)) {
            *out = families[i];
            return NULL;
        }
    }
    return err_new(ERR_ARGUMENT, "[config.json]: [model_type] [%.*s] is not known",
                   (int)(type.n < 60 ? type.n : 60), type.p ? type.p : "");
}

/* A model saved with a head has its tensors under the family's name. */
static struct str find_prefix(const struct safetensors *st, const struct family *f, struct arena *a)
{
    struct str name = arena_printf(a, "%s%s", f->prefix,
                                   f->words ? f->words : "embeddings.word_embeddings.weight");
    return safetensors_find(st, name) ? str_c(f->prefix) : STR("");
}

/* By the family's code of it, if it has one; every family calls a classifier of tokens the same. */
static uint32_t add_head(struct builder *b, const struct family *f, uint32_t x,
                         enum program_output output)
{
    if (f->head)
        return f->head(b, x, output);
    if (output == OUTPUT_TENSOR)
        return snapshot_answers_questions(b->config)
                   ? head_tokens(b, "qa_outputs", x, 2)
                   : head_tokens(b, "classifier", x, program_labels_of(b->config));
    bool known = output == OUTPUT_LABELS ? f->classifier != NULL : f->masked_lm != NULL;
    if (!b->err && !known)
        b->err = err_new(ERR_ARGUMENT, "[config.json]: [model_type] [%s] is known without a head",
                         f->model_type);
    if (b->err)
        return 0;
    return output == OUTPUT_LABELS
               ? head_classifier(b, f->classifier, x, program_labels_of(b->config))
               : head_splade(b, f->masked_lm, x);
}

static void add_modules(struct builder *b, uint32_t x, const struct modules *m)
{
    x = builder_node(b, &op_pool, &x, 1, &(struct attr){.pooling = m->pooling});
    if (m->normalize)
        x = builder_node(b, &op_l2_normalize, &x, 1, &(struct attr){0});
    b->graph->output = x;
}

static void fill_info(const struct builder *b, const struct family *f, const struct modules *m,
                      enum program_output output, struct snapshot *out)
{
    struct str name = {0};
    struct json_iter it = json_iter(json_get(b->config, "architectures"));
    const struct json *first = json_next(&it);
    json_str(first, &name);
    out->type_vocab_size = b->type_vocab_size;
    out->pairs = output == OUTPUT_TENSOR && snapshot_answers_questions(b->config);
    out->info = (struct program_info){
        .architecture = name.n && name.n < 100 ? arena_cstr(b->arena, name) : f->architecture,
        .max_tokens = b->max_tokens,
        .max_seq_length = m->max_seq_length && m->max_seq_length < b->max_tokens ? m->max_seq_length
                                                                                 : b->max_tokens,
        .vocab_size = b->vocab_size,
        .output = output,
        .dimensions = (uint32_t)b->graph->values[b->graph->output].dim[1],
        .pooling = pooling_name(m->pooling),
        .normalized = m->normalize,
        .weight_bytes = safetensors_bytes(b->weights),
    };
}

static struct err *build(const char *folder, const struct family *f, struct builder *b,
                         struct snapshot *out)
{
    struct modules m = {0};
    const struct json *list;
    TRY(modules_list(folder, b->arena, &list));
    enum program_output output = program_output_of(b->config, list);
    b->prefix = find_prefix(b->weights, f, b->arena);
    uint32_t x = f->build(b);
    if (!b->err)
        b->err = modules_read(folder, list, output, b->hidden, b->arena, &m);
    if (output == OUTPUT_EMBEDDING)
        add_modules(b, x, &m);
    else
        b->graph->output = add_head(b, f, x, output);
    if (!b->err)
        fill_info(b, f, &m, output, out);
    return b->err;
}

struct err *snapshot_load(const char *folder, size_t limit_bytes, struct arena *a,
                          struct snapshot *out)
{
    const struct family *f = NULL;
    struct safetensors *weights;
    struct builder b = {.arena = a};
    TRY(read_config(folder, a, &b.config));
    TRY(find_family(b.config, &f));
    TRY(safetensors_open(folder, "model.safetensors", limit_bytes, &weights));
    b.weights = weights;
    b.graph = graph_new();
    struct err *err = build(folder, f, &b, out);
    safetensors_close(weights);
    if (err) {
        graph_free(b.graph);
        return err;
    }
    out->graph = b.graph;
    return NULL;
}
