/* Values, constants and nodes. */
#include "lower.h"

#include "bug.h"
#include "map.h"
#include "tensor.h"

#define VALUES_MOST    ((uint32_t)4 << 20)
#define NODES_MOST     1000000
#define CONSTANT_DEPTH 32

struct sym sym_value(uint32_t value)
{
    return (struct sym){.kind = SYM_VALUE, .value = value};
}

struct err *lower_new_value(struct lower *l, const struct script_value *constant, uint32_t *out)
{
    if (l->n_values == VALUES_MOST)
        return lower_bad(l, "makes more values than a model may have");
    if (l->n_values == l->room_values) {
        uint32_t room = l->room_values ? 2 * l->room_values : 256;
        const struct script_value **constants =
            arena_array(l->tmp, room, sizeof(const struct script_value *));
        bool *is_tuple = arena_array(l->tmp, room, sizeof(bool));
        if (l->n_values) {
            memcpy(constants, l->constants, l->n_values * sizeof(const struct script_value *));
            memcpy(is_tuple, l->is_tuple, l->n_values * sizeof(bool));
        }
        l->constants = constants;
        l->is_tuple = is_tuple;
        l->room_values = room;
    }
    l->constants[l->n_values] = constant;
    l->is_tuple[l->n_values] = constant && constant->kind == SCRIPT_TUPLE;
    *out = l->n_values++;
    return NULL;
}

const struct script_value *lower_constant(const struct lower *l, uint32_t value)
{
    return l->constants[value];
}

/* Literals are values once, whoever writes them. */
static struct err *literal(struct lower *l, const struct script_value *v, const void *bytes,
                           size_t n, uint32_t *out)
{
    char key[80];
    bool shared = n < sizeof(key);
    if (shared) {
        key[0] = (char)v->kind;
        memcpy(key + 1, bytes, n);
        uintptr_t known = (uintptr_t)map_get(l->literals, str_n(key, n + 1));
        if (known) {
            *out = (uint32_t)known - 1;
            return NULL;
        }
    }
    struct script_value *kept = arena_alloc(l->keep, sizeof(*kept));
    *kept = *v;
    TRY(lower_new_value(l, kept, out));
    if (shared)
        map_put(l->literals, str_n(key, n + 1), (void *)((uintptr_t)*out + 1));
    return NULL;
}

struct err *lower_none(struct lower *l, uint32_t *out)
{
    return literal(l, &(struct script_value){.kind = SCRIPT_NONE}, "", 0, out);
}

struct err *lower_bool(struct lower *l, bool b, uint32_t *out)
{
    return literal(l, &(struct script_value){.kind = SCRIPT_BOOL, .b = b}, &b, sizeof(b), out);
}

struct err *lower_int(struct lower *l, int64_t i, uint32_t *out)
{
    return literal(l, &(struct script_value){.kind = SCRIPT_INT, .i = i}, &i, sizeof(i), out);
}

struct err *lower_float(struct lower *l, double f, uint32_t *out)
{
    return literal(l, &(struct script_value){.kind = SCRIPT_FLOAT, .f = f}, &f, sizeof(f), out);
}

struct err *lower_str(struct lower *l, enum script_kind kind, struct str s, uint32_t *out)
{
    struct str kept = arena_dup(l->keep, s);
    return literal(l, &(struct script_value){.kind = kind, .s = kept}, s.p, s.n, out);
}

const char *lower_keyword(struct lower *l, struct str word)
{
    char key[80];
    int n = snprintf(key, sizeof(key), "k%.*s", STR_ARG(word));
    if ((size_t)n >= sizeof(key))
        return arena_cstr(l->keep, word);
    char *known = map_get(l->literals, str_n(key, (size_t)n));
    if (!known) {
        known = arena_cstr(l->keep, word);
        map_put(l->literals, str_n(key, (size_t)n), known);
    }
    return known;
}

static struct err *constant_of(struct lower *l, struct pickle_value *p, int depth,
                               const struct script_value **out);

static bool is_packed(struct str class)
{
    return str_eq(class, STR("__torch__.torch.classes.quantized.LinearPackedParamsBase"));
}

/* Scales of channels as floats; all zero points must be the same. */
static struct err *read_channels(struct lower *l, const struct quantization *q,
                                 struct script_packed *out)
{
    const struct script_tensor *s = q->scales->tensor.view, *z = q->zero_points->tensor.view;
    int64_t n = out->weight.dim[0];
    if (q->axis != 0 || s->dim[0] != n || z->dim[0] != n)
        return lower_bad(l, "has a quantized linear whose scales do not go with its rows");
    float *scales = arena_array(l->keep, (size_t)n, sizeof(float));
    out->scales = scales;
    for (int64_t i = 0; i < n && s->data && z->data; i++) {
        double scale;
        int64_t zero;
        memcpy(&scale, (char *)s->data + i * s->stride[0] * 8, sizeof(scale));
        memcpy(&zero, (char *)z->data + i * z->stride[0] * 8, sizeof(zero));
        if (zero != 0)
            return lower_bad(l, "has a quantized linear with zero points that are not 0");
        scales[i] = (float)scale;
    }
    return NULL;
}

/* State: (weight, bias or None). */
static struct err *packed_of(struct lower *l, struct pickle_value *p, struct script_value *out)
{
    const struct pickle_value *state = p->object.state;
    if (!state || state->kind != PICKLE_TUPLE || state->n != 2)
        return lower_bad(l, "has a quantized linear without weight and bias");
    const struct pickle_value *w = state->items[0], *b = state->items[1];
    if (w->kind != PICKLE_TENSOR || !w->tensor.quantized || w->tensor.view->rank != 2 ||
        w->tensor.view->dtype != DTYPE_I8)
        return lower_bad(l, "has a quantized linear whose weight is no int8 matrix");
    bool has_bias = b->kind == PICKLE_TENSOR;
    if (!has_bias && b->kind != PICKLE_NONE)
        return lower_bad(l, "has a quantized linear with a damaged bias");
    if (has_bias &&
        (b->tensor.quantized || b->tensor.view->rank != 1 || b->tensor.view->dtype != DTYPE_F32 ||
         b->tensor.view->dim[0] != w->tensor.view->dim[0]))
        return lower_bad(l, "has a quantized linear with a damaged bias");
    const struct quantization *q = w->tensor.quantized;
    if (q->zero_point < INT8_MIN || q->zero_point > INT8_MAX)
        return lower_bad(l, "has a quantized linear with a zero point out of range");
    struct script_packed *packed = arena_alloc(l->keep, sizeof(*packed));
    packed->weight = *w->tensor.view;
    packed->scale = (float)q->scale;
    packed->zero_point = (int32_t)q->zero_point;
    packed->has_bias = has_bias;
    if (has_bias)
        packed->bias = *b->tensor.view;
    out->kind = SCRIPT_PACKED;
    out->packed = packed;
    return q->scales ? read_channels(l, q, packed) : NULL;
}

static struct err *items_of(struct lower *l, struct pickle_value *p, int depth,
                            enum script_kind kind, struct script_value *out)
{
    out->kind = kind;
    out->list.n = p->n;
    out->list.items = arena_array(l->keep, p->n, sizeof(const struct script_value *));
    TRY(lower_work(l, p->n));
    for (uint32_t i = 0; i < p->n; i++)
        TRY(constant_of(l, p->items[i], depth + 1, &out->list.items[i]));
    return NULL;
}

static struct err *fill_constant(struct lower *l, struct pickle_value *p, int depth,
                                 struct script_value *v)
{
    switch (p->kind) {
    case PICKLE_NONE:
        v->kind = SCRIPT_NONE;
        return NULL;
    case PICKLE_BOOL:
        v->kind = SCRIPT_BOOL;
        v->b = p->b;
        return NULL;
    case PICKLE_INT:
        v->kind = SCRIPT_INT;
        v->i = p->i;
        return NULL;
    case PICKLE_FLOAT:
        v->kind = SCRIPT_FLOAT;
        v->f = p->f;
        return NULL;
    case PICKLE_STR:
        v->kind = SCRIPT_STR;
        v->s = arena_dup(l->keep, p->s);
        return NULL;
    case PICKLE_LIST:
        return items_of(l, p, depth, SCRIPT_LIST, v);
    case PICKLE_TUPLE:
        return items_of(l, p, depth, SCRIPT_TUPLE, v);
    case PICKLE_DICT:
        return items_of(l, p, depth, SCRIPT_DICT, v);
    case PICKLE_TENSOR:
        if (p->tensor.quantized)
            return lower_bad(l, "uses a quantized tensor outside a quantized linear");
        v->kind = SCRIPT_TENSOR;
        v->tensor = *p->tensor.view;
        return NULL;
    case PICKLE_OBJECT:
        if (is_packed(p->object.name))
            return packed_of(l, p, v);
        return lower_bad(l, "uses an object of [%.*s] as a value",
                         (int)(p->object.name.n < 200 ? p->object.name.n : 200), p->object.name.p);
    default:
        return lower_bad(l, "uses what is no value");
    }
}

/* Turned into a constant once; a value that holds itself is refused. */
static struct err *constant_of(struct lower *l, struct pickle_value *p, int depth,
                               const struct script_value **out)
{
    if (!p->constant) {
        if (p->busy || depth > CONSTANT_DEPTH)
            return lower_bad(l, "uses a value that holds itself or is nested too deeply");
        struct script_value *v = arena_alloc(l->keep, sizeof(*v));
        p->busy = true;
        TRY(fill_constant(l, p, depth, v));
        p->busy = false;
        p->constant = v;
    }
    *out = p->constant;
    return NULL;
}

static struct err *tuple_of(struct lower *l, struct pickle_value *p, struct sym *out)
{
    out->kind = SYM_TUPLE;
    out->n = p->n;
    out->items = arena_array(l->tmp, p->n, sizeof(*out->items));
    TRY(lower_work(l, p->n));
    TRY(lower_enter(l));
    for (uint32_t i = 0; i < p->n; i++)
        TRY(lower_pickled(l, p->items[i], &out->items[i]));
    l->depth--;
    return NULL;
}

struct err *lower_pickled(struct lower *l, struct pickle_value *p, struct sym *out)
{
    const struct script_value *constant = NULL;
    if (p->kind == PICKLE_TUPLE)
        return tuple_of(l, p, out);
    if (p->kind == PICKLE_OBJECT && !is_packed(p->object.name)) {
        *out = (struct sym){.kind = SYM_OBJECT, .object = p};
        return NULL;
    }
    *out = sym_value(p->value - 1);
    if (p->value)
        return NULL;
    TRY(constant_of(l, p, 0, &constant));
    TRY(lower_new_value(l, constant, &out->value));
    p->value = out->value + 1;
    return NULL;
}

/* Not what holds others: a list of lists would get deeper with every statement. */
static bool is_flat(const struct script_value *v)
{
    return v && v->kind != SCRIPT_LIST && v->kind != SCRIPT_TUPLE && v->kind != SCRIPT_DICT;
}

struct err *lower_list(struct lower *l, enum script_op construct, const uint32_t *in, uint32_t n,
                       uint32_t *out)
{
    bool constant = true;
    for (uint32_t i = 0; i < n && constant; i++)
        constant = is_flat(lower_constant(l, in[i]));
    if (!constant) {
        TRY(lower_node1(l, construct, in, n, out));
        l->is_tuple[*out] = construct == SCRIPT_OP_prim_TupleConstruct;
        return NULL;
    }
    struct script_value *v = arena_alloc(l->keep, sizeof(*v));
    v->kind = construct == SCRIPT_OP_prim_TupleConstruct ? SCRIPT_TUPLE : SCRIPT_LIST;
    v->list.n = n;
    v->list.items = arena_array(l->keep, n, sizeof(const struct script_value *));
    for (uint32_t i = 0; i < n; i++)
        v->list.items[i] = lower_constant(l, in[i]);
    return lower_new_value(l, v, out);
}

static struct err *tuple_to_value(struct lower *l, struct sym s, uint32_t *out)
{
    uint32_t *in = arena_array(l->tmp, s.n, sizeof(*in));
    TRY(lower_work(l, 1 + (uint64_t)s.n));
    TRY(lower_enter(l));
    for (uint32_t i = 0; i < s.n; i++)
        TRY(lower_to_value(l, s.items[i], &in[i]));
    l->depth--;
    return lower_list(l, SCRIPT_OP_prim_TupleConstruct, in, s.n, out);
}

struct err *lower_to_value(struct lower *l, struct sym s, uint32_t *out)
{
    switch (s.kind) {
    case SYM_VALUE:
        *out = s.value;
        return NULL;
    case SYM_UNSET:
        return lower_none(l, out);
    case SYM_TUPLE:
        return tuple_to_value(l, s, out);
    case SYM_OBJECT:
        return lower_bad(l, "uses an object of [%.*s] as a value", STR_ARG(s.object->object.name));
    case SYM_FUNCTION:
        return lower_bad(l, "uses a function as a value");
    default:
        return lower_bad(l, "uses a variable that has no value here");
    }
}

static struct err *block_add(struct lower *l, struct script_node **out)
{
    struct builder *b = l->block;
    if (l->n_nodes == NODES_MOST)
        return err_new(ERR_ARGUMENT, "Model graph is too large: %u nodes exceeds limit of %d",
                       l->n_nodes + 1, NODES_MOST);
    l->n_nodes++;
    if (b->n == b->room) {
        uint32_t room = b->room ? 2 * b->room : 16;
        struct script_node *bigger = arena_array(l->tmp, room, sizeof(*bigger));
        if (b->n)
            memcpy(bigger, b->nodes, b->n * sizeof(*bigger));
        b->nodes = bigger;
        b->room = room;
    }
    *out = &b->nodes[b->n++];
    **out = (struct script_node){0};
    return NULL;
}

struct err *lower_node(struct lower *l, enum script_op op, const uint32_t *in,
                       const char **keywords, uint32_t n_in, uint32_t n_out,
                       struct script_node **out)
{
    struct script_node *node;
    uint32_t *ins = arena_array(l->keep, n_in, sizeof(*ins));
    uint32_t *outs = arena_array(l->keep, n_out, sizeof(*outs));
    if (n_in)
        memcpy(ins, in, n_in * sizeof(*ins));
    for (uint32_t i = 0; i < n_out; i++)
        TRY(lower_new_value(l, NULL, &outs[i]));
    TRY(block_add(l, &node));
    *node = (struct script_node){
        .op = op, .n_in = n_in, .n_out = n_out, .in = ins, .keywords = keywords, .out = outs};
    *out = node;
    return NULL;
}

struct err *lower_node1(struct lower *l, enum script_op op, const uint32_t *in, uint32_t n_in,
                        uint32_t *out)
{
    struct script_node *node;
    TRY(lower_node(l, op, in, NULL, n_in, 1, &node));
    *out = node->out[0];
    return NULL;
}
