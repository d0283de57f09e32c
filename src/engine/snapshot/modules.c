#include "modules.h"

#include "file.h"
#include "json.h"

#define CONFIG_LIMIT ((size_t)1 << 20)

/* The flag in N_Pooling/config.json and the mode it asks for. */
static const struct {
    const char *flag, *name;
} poolings[N_POOLINGS] = {
    [POOL_CLS] = {"pooling_mode_cls_token", "cls"},
    [POOL_MEAN] = {"pooling_mode_mean_tokens", "mean"},
    [POOL_MAX] = {"pooling_mode_max_tokens", "max"},
    [POOL_MEAN_SQRT_LEN] = {"pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len"},
    [POOL_LASTTOKEN] = {"pooling_mode_lasttoken", "lasttoken"},
    [POOL_WEIGHTEDMEAN] = {"pooling_mode_weightedmean_tokens", "weightedmean"},
};

const char *pooling_name(enum pooling p)
{
    return poolings[p].name;
}

static struct err *read_json(const char *folder, const char *name, struct arena *a,
                             const struct json **out)
{
    struct str text;
    TRY(file_read(folder, name, CONFIG_LIMIT, a, &text));
    struct err *err = json_parse(a, text, out);
    return err ? err_wrap(err, ERR_ARGUMENT, "[%s] is not JSON", name) : NULL;
}

/* Newer files say "pooling_mode": "mean"; older ones have one flag per mode. */
static struct err *read_mode(const char *file, const struct json *config, enum pooling *out)
{
    struct str name = {0};
    int n = 0;
    bool by_name = json_str(json_get(config, "pooling_mode"), &name);
    for (int i = 0; i < N_POOLINGS; i++) {
        bool on = false;
        json_bool(json_get(config, poolings[i].flag), &on);
        if (by_name ? str_eq_c(name, poolings[i].name) : on) {
            *out = (enum pooling)i;
            n++;
        }
    }
    if (n == 1)
        return NULL;
    if (by_name)
        return err_new(ERR_ARGUMENT, "[%s]: [pooling_mode] [%.*s] is not known", file,
                       (int)(name.n < 40 ? name.n : 40), name.p);
    return err_new(ERR_ARGUMENT, "[%s] asks for [%d] pooling modes; exactly one is possible", file,
                   n);
}

/* A flag this engine has never heard of must not be taken for "off". */
static struct err *check_flags(const char *file, const struct json *config)
{
    struct json_iter it = json_iter(config);
    for (const struct json *v; (v = json_next(&it));) {
        bool known = !str_starts(v->key, STR("pooling_mode_"));
        for (int i = 0; i < N_POOLINGS && !known; i++)
            known = str_eq_c(v->key, poolings[i].flag);
        if (!known && json_is(v, JSON_TRUE))
            return err_new(ERR_ARGUMENT, "[%s]: [%.*s] is not known", file,
                           (int)(v->key.n < 60 ? v->key.n : 60), v->key.p);
    }
    return NULL;
}

static struct err *read_pooling(const char *folder, struct str path, uint32_t hidden,
                                struct arena *a, struct modules *out)
{
    const struct json *config;
    int64_t width;
    if (!file_name_ok(path))
        return err_new(ERR_ARGUMENT, "[modules.json]: the [path] of Pooling is not a plain name");
    const char *file = arena_cstr(a, arena_printf(a, "%.*s/config.json", STR_ARG(path)));
    TRY(read_json(folder, file, a, &config));
    const struct json *dimension = json_get(config, "word_embedding_dimension");
    if (dimension && (!json_i64(dimension, &width) || width != hidden))
        return err_new(ERR_ARGUMENT, "[%s]: [word_embedding_dimension] must be the model's [%u]",
                       file, hidden);
    TRY(check_flags(file, config));
    return read_mode(file, config, &out->pooling);
}

/* "sentence_transformers.models.Pooling" or a later home of the same class: "Pooling". */
static struct str class_of(struct str type)
{
    if (!str_starts(type, STR("sentence_transformers.")))
        return (struct str){0};
    size_t dot = type.n;
    while (type.p[dot - 1] != '.')
        dot--;
    return str_sub(type, dot, SIZE_MAX);
}

/* SPLADE's way from logits to weights, which may also be absent: it is the usual one. */
static struct err *read_splade(const char *folder, struct str path, struct arena *a)
{
    static const struct {
        const char *key, *value;
    } expected[] = {{"pooling_strategy", "max"}, {"activation_function", "relu"}};
    const struct json *config;
    if (!file_name_ok(path))
        return err_new(ERR_ARGUMENT,
                       "[modules.json]: the [path] of SpladePooling is not a plain name");
    const char *file = arena_cstr(a, arena_printf(a, "%.*s/config.json", STR_ARG(path)));
    TRY(read_json(folder, file, a, &config));
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        struct str have = {0};
        const struct json *v = json_get(config, expected[i].key);
        json_str(v, &have);
        if (!json_is_null(v) && !str_eq_c(have, expected[i].value))
            return err_new(ERR_ARGUMENT, "[%s]: [%s] is [%.*s]; only [%s] is known", file,
                           expected[i].key, (int)(have.n < 40 ? have.n : 40), have.p ? have.p : "",
                           expected[i].value);
    }
    return NULL;
}

/* Which modules may stand where. */
static const struct {
    const char *order[3], *known;
} chains[] = {
    [OUTPUT_EMBEDDING] = {{"Transformer", "Pooling", "Normalize"},
                          "Transformer, Pooling and then perhaps Normalize"},
    [OUTPUT_VOCABULARY] = {{"MLMTransformer", "SpladePooling"}, "MLMTransformer and SpladePooling"},
};

struct reading {
    const char *folder;
    enum program_output output;
    uint32_t hidden;
    struct arena *arena;
};

static struct err *read_module(const struct reading *r, const struct json *v, int place,
                               struct modules *out)
{
    struct str type = {0}, path = {0};
    json_str(json_get(v, "type"), &type);
    json_str(json_get(v, "path"), &path);
    const char *wanted = place < 3 ? chains[r->output].order[place] : NULL;
    if (!wanted || !str_eq_c(class_of(type), wanted))
        return err_new(ERR_ARGUMENT, "[modules.json]: module [%d] is [%.*s]; %s is known", place,
                       (int)(type.n < 80 ? type.n : 80), type.p ? type.p : "",
                       chains[r->output].known);
    if (place == 0 && path.n > 0)
        return err_new(ERR_ARGUMENT, "[modules.json]: the [path] of %s must be empty", wanted);
    out->normalize = place == 2;
    if (place != 1)
        return NULL;
    return r->output == OUTPUT_VOCABULARY ? read_splade(r->folder, path, r->arena)
                                          : read_pooling(r->folder, path, r->hidden, r->arena, out);
}

static struct err *read_length(const char *folder, struct arena *a, struct modules *out)
{
    static const char file[] = "sentence_bert_config.json";
    const struct json *config;
    int64_t n;
    if (!file_exists(folder, file))
        return NULL;
    TRY(read_json(folder, file, a, &config));
    const struct json *length = json_get(config, "max_seq_length");
    if (json_is_null(length))
        return NULL;
    if (!json_i64(length, &n) || n < 1 || n > INT32_MAX)
        return err_new(ERR_ARGUMENT, "[%s]: [max_seq_length] must be a positive number", file);
    out->max_seq_length = (uint32_t)n;
    return NULL;
}

struct err *modules_list(const char *folder, struct arena *a, const struct json **out)
{
    *out = NULL;
    return file_exists(folder, "modules.json") ? read_json(folder, "modules.json", a, out) : NULL;
}

/* Without modules.json the folder is a bare transformer; sentence-transformers then takes the mean
 * and does not normalise, and so do we. */
struct err *modules_read(const char *folder, const struct json *list, enum program_output output,
                         uint32_t hidden, struct arena *a, struct modules *out)
{
    struct reading r = {folder, output, hidden, a};
    int place = 0;
    *out = (struct modules){.pooling = output == OUTPUT_LABELS ? POOL_CLS : POOL_MEAN};
    if (output == OUTPUT_VOCABULARY)
        out->pooling = POOL_MAX;
    TRY(read_length(folder, a, out));
    if (!list || output == OUTPUT_LABELS || output == OUTPUT_TENSOR)
        return NULL;
    struct json_iter it = json_iter(list);
    for (const struct json *v; json_is(list, JSON_ARRAY) && (v = json_next(&it)); place++)
        TRY(read_module(&r, v, place, out));
    if (place < 2)
        return err_new(ERR_ARGUMENT, "[modules.json] has no Transformer followed by Pooling");
    return NULL;
}
