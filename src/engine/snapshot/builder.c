#include "snapshot.h"

#include "bug.h"
#include "op.h"

uint32_t builder_int(struct builder *b, const char *key, uint32_t min, uint32_t max)
{
    int64_t n;
    const struct json *v = json_get(b->config, key);
    if (b->err)
        return min;
    if (json_i64(v, &n) && n >= min && n <= max)
        return (uint32_t)n;
    struct str raw = json_raw(v);
    b->err = err_new(ERR_ARGUMENT,
                     "[config.json]: [%s] must be a whole number from %u to %u, "
                     "not [%.*s]",
                     key, min, max, (int)(raw.n < 40 ? raw.n : 40), raw.p ? raw.p : "");
    return min;
}

uint32_t builder_int_or(struct builder *b, const char *key, uint32_t min, uint32_t max,
                        uint32_t fallback)
{
    return json_is_null(json_get(b->config, key)) ? fallback : builder_int(b, key, min, max);
}

double builder_number(struct builder *b, const char *key, double fallback)
{
    double x;
    const struct json *v = json_get(b->config, key);
    if (b->err || !v)
        return fallback;
    if (json_f64(v, &x) && x >= 0 && x < 1)
        return x;
    b->err = err_new(ERR_ARGUMENT, "[config.json]: [%s] must be a number from 0 to 1", key);
    return fallback;
}

double builder_positive(struct builder *b, const char *key, double fallback)
{
    double x;
    const struct json *v = json_get(b->config, key);
    if (b->err || json_is_null(v))
        return fallback;
    if (json_f64(v, &x) && x >= 1 && x <= 1e12)
        return x;
    b->err = err_new(ERR_ARGUMENT, "[config.json]: [%s] must be a number from 1 on", key);
    return fallback;
}

bool builder_flag(struct builder *b, const char *key, bool fallback)
{
    bool on = fallback;
    const struct json *v = json_get(b->config, key);
    if (!b->err && !json_is_null(v) && !json_bool(v, &on))
        b->err = err_new(ERR_ARGUMENT, "[config.json]: [%s] must be true or false", key);
    return on;
}

enum activation builder_activation(struct builder *b, const char *key)
{
    static const struct {
        const char *name;
        enum activation act;
    } names[] = {{"gelu", ACT_GELU},
                 {"gelu_new", ACT_GELU_TANH},
                 {"gelu_pytorch_tanh", ACT_GELU_TANH},
                 {"gelu_fast", ACT_GELU_TANH},
                 {"relu", ACT_RELU},
                 {"silu", ACT_SILU},
                 {"swish", ACT_SILU}};
    struct str name = {0};
    json_str(json_get(b->config, key), &name);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (str_eq_c(name, names[i].name))
            return names[i].act;
    if (!b->err)
        b->err = err_new(ERR_ARGUMENT,
                         "[config.json]: [%s] is [%.*s]; gelu, gelu_new, relu and "
                         "silu are known",
                         key, (int)(name.n < 40 ? name.n : 40), name.p ? name.p : "");
    return ACT_NONE;
}

void builder_expect(struct builder *b, const char *key, const char *value)
{
    struct str have;
    const struct json *v = json_get(b->config, key);
    if (b->err || json_is_null(v))
        return;
    if (!json_str(v, &have))
        have = json_raw(v);
    if (!str_eq_c(have, value))
        b->err = err_new(ERR_ARGUMENT, "[config.json]: [%s] is [%.*s]; only [%s] is known", key,
                         (int)(have.n < 40 ? have.n : 40), have.p, value);
}

static const struct st_tensor *find_tensor(struct builder *b, const char *name, uint32_t rows,
                                           uint32_t columns)
{
    struct str full = arena_printf(b->arena, "%.*s%s", STR_ARG(b->prefix), name);
    const struct st_tensor *t = safetensors_find(b->weights, full);
    const char *file = safetensors_file(b->weights);
    if (!t) {
        b->err = err_new(ERR_ARGUMENT, "[%s]: tensor [%.*s] is missing", file, STR_ARG(full));
        return NULL;
    }
    if (t->rank != (columns ? 2 : 1) || t->dim[0] != rows || (columns && t->dim[1] != columns)) {
        b->err = err_new(ERR_ARGUMENT,
                         columns ? "[%s]: the shape of tensor [%.*s] must be [%u, %u]"
                                 : "[%s]: the shape of tensor [%.*s] must be [%u]",
                         file, STR_ARG(full), rows, columns);
        return NULL;
    }
    return t;
}

bool builder_has(const struct builder *b, const char *name)
{
    struct str full = arena_printf(b->arena, "%.*s%s", STR_ARG(b->prefix), name);
    return safetensors_find(b->weights, full) != NULL;
}

float *builder_floats(struct builder *b, size_t n)
{
    float *data = weights_alloc(n);
    if (!data)
        b->err = err_new(ERR_TOO_LARGE, "There is not enough memory for the model's weights");
    return data;
}

uint32_t builder_tensor(struct builder *b, const char *name, uint32_t rows, uint32_t columns)
{
    const struct st_tensor *t = b->err ? NULL : find_tensor(b, name, rows, columns);
    if (!t)
        return 0;
    float *data = builder_floats(b, (size_t)rows * (columns ? columns : 1));
    if (!data)
        return 0;
    b->err = safetensors_read(b->weights, t, data);
    return graph_constant(b->graph, t->rank, t->dim, data);
}

uint32_t builder_node(struct builder *b, const struct op *op, const uint32_t *in, uint32_t n_in,
                      const struct attr *attr)
{
    uint32_t out = 0;
    if (!b->err)
        b->err = graph_add(b->graph, op, in, n_in, attr, &out);
    return out;
}

uint32_t builder_linear(struct builder *b, const char *name, uint32_t x, uint32_t n, uint32_t k)
{
    uint32_t w = builder_tensor(b, builder_name(b, "%s.weight", name), n, k);
    uint32_t bias = builder_tensor(b, builder_name(b, "%s.bias", name), n, 0);
    return builder_node(b, &op_linear, (uint32_t[]){x, w, bias}, 3, &(struct attr){0});
}

uint32_t builder_layer_norm(struct builder *b, const char *name, uint32_t x, uint32_t n, float eps)
{
    uint32_t gamma = builder_tensor(b, builder_name(b, "%s.weight", name), n, 0);
    uint32_t beta = builder_tensor(b, builder_name(b, "%s.bias", name), n, 0);
    return builder_node(b, &op_layer_norm, (uint32_t[]){x, gamma, beta}, 3,
                        &(struct attr){.eps = eps});
}

const char *builder_name(struct builder *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct str s = arena_vprintf(b->arena, fmt, ap);
    va_end(ap);
    return arena_cstr(b->arena, s);
}
