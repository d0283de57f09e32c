#include "step.h"

#include <math.h>

#include "graph.h"
#include "strided.h"

struct err *step_bad(const struct step *s, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_new(ERR_ARGUMENT, "%s: %s", script_op_name(s->node->op), text);
}

struct err *step_no_memory(const struct step *s)
{
    return step_bad(s, "one inference needs more than [%zu] bytes of memory", s->r->max_bytes);
}

struct err *step_work(struct step *s, int64_t outer, int64_t inner)
{
    uint64_t work;
    if (__builtin_mul_overflow((uint64_t)outer, (uint64_t)inner, &work) || work > s->r->max_work ||
        (s->r->work += work) > s->r->max_work)
        return step_bad(s, "one inference takes too long");
    return NULL;
}

struct number number_of_int(int64_t i)
{
    return (struct number){.kind = NUMBER_INT, .i = i, .f = (double)i};
}

struct number number_of_float(double f)
{
    return (struct number){.kind = NUMBER_FLOAT, .f = f};
}

bool number_from(const struct datum *v, struct number *out)
{
    switch (v->kind) {
    case SCRIPT_BOOL:
        *out = number_of_int(v->b);
        out->kind = NUMBER_BOOL;
        return true;
    case SCRIPT_INT:
        *out = number_of_int(v->i);
        return true;
    case SCRIPT_FLOAT:
        *out = number_of_float(v->f);
        return true;
    default:
        return false;
    }
}

int64_t number_int(struct number n)
{
    if (n.kind != NUMBER_FLOAT)
        return n.i;
    return n.f >= -0x1p63 && n.f < 0x1p63 ? (int64_t)n.f : INT64_MIN;
}

const struct datum *arg_any(const struct step *s, uint32_t position, const char *keyword)
{
    uint32_t id = script_arg(s->node, position, keyword);
    return id == NO_VALUE ? NULL : runner_datum(s->r, id);
}

const struct datum *arg_given(const struct step *s, uint32_t position, const char *keyword)
{
    const struct datum *v = arg_any(s, position, keyword);
    return v && v->kind != SCRIPT_NONE ? v : NULL;
}

bool arg_is(const struct step *s, uint32_t position, const char *keyword, enum script_kind kind)
{
    const struct datum *v = arg_any(s, position, keyword);
    return v && v->kind == kind;
}

static struct err *wrong_kind(const struct step *s, const char *keyword, const char *should,
                              const struct datum *v)
{
    return step_bad(s, "argument [%s] must be %s, not %s", keyword, should,
                    v ? datum_kind_name(v->kind) : "absent");
}

struct err *arg_tensor(const struct step *s, uint32_t position, const char *keyword,
                       const struct view **out)
{
    const struct datum *v = arg_any(s, position, keyword);
    if (!v || v->kind != SCRIPT_TENSOR)
        return wrong_kind(s, keyword, "a Tensor", v);
    *out = v->view;
    return NULL;
}

struct err *arg_tensor_opt(const struct step *s, uint32_t position, const char *keyword,
                           const struct view **out)
{
    *out = NULL;
    return arg_given(s, position, keyword) ? arg_tensor(s, position, keyword, out) : NULL;
}

struct err *arg_number(const struct step *s, uint32_t position, const char *keyword,
                       struct number *out)
{
    const struct datum *v = arg_any(s, position, keyword);
    if (!v || !number_from(v, out))
        return wrong_kind(s, keyword, "a number", v);
    return NULL;
}

struct err *arg_int(const struct step *s, uint32_t position, const char *keyword, int64_t *out)
{
    const struct datum *v = arg_any(s, position, keyword);
    if (!v || v->kind != SCRIPT_INT)
        return wrong_kind(s, keyword, "an int", v);
    *out = v->i;
    return NULL;
}

struct err *arg_int_opt(const struct step *s, uint32_t position, const char *keyword, int64_t *out)
{
    return arg_given(s, position, keyword) ? arg_int(s, position, keyword, out) : NULL;
}

struct err *arg_bool_opt(const struct step *s, uint32_t position, const char *keyword, bool *out)
{
    const struct datum *v = arg_given(s, position, keyword);
    if (!v)
        return NULL;
    if (v->kind != SCRIPT_BOOL)
        return wrong_kind(s, keyword, "a bool", v);
    *out = v->b;
    return NULL;
}

struct err *arg_float_opt(const struct step *s, uint32_t position, const char *keyword, double *out)
{
    struct number n;
    if (!arg_given(s, position, keyword))
        return NULL;
    TRY(arg_number(s, position, keyword, &n));
    *out = n.f;
    return NULL;
}

struct err *arg_ints(const struct step *s, uint32_t position, const char *keyword, struct ints *out)
{
    const struct datum *v = arg_any(s, position, keyword);
    if (v && v->kind == SCRIPT_INT) {
        *out = (struct ints){.n = 1, .v = {v->i}};
        return NULL;
    }
    if (!v || (v->kind != SCRIPT_LIST && v->kind != SCRIPT_TUPLE))
        return wrong_kind(s, keyword, "a list of ints", v);
    if (v->items->n > MOST_INTS)
        return step_bad(s, "argument [%s] has [%zu] ints, more than %d", keyword, v->items->n,
                        MOST_INTS);
    out->n = (int)v->items->n;
    for (int i = 0; i < out->n; i++) {
        if (v->items->v[i].kind != SCRIPT_INT)
            return wrong_kind(s, keyword, "a list of ints", &v->items->v[i]);
        out->v[i] = v->items->v[i].i;
    }
    return NULL;
}

struct err *arg_ints_opt(const struct step *s, uint32_t position, const char *keyword,
                         struct ints *out)
{
    out->n = -1;
    return arg_given(s, position, keyword) ? arg_ints(s, position, keyword, out) : NULL;
}

/* c10/core/ScalarType.h */
static const struct {
    int64_t code;
    const char *name;
} torch_types[] = {
    [DTYPE_U8] = {0, "Byte"},        [DTYPE_I8] = {1, "Char"},    [DTYPE_I16] = {2, "Short"},
    [DTYPE_I32] = {3, "Int"},        [DTYPE_I64] = {4, "Long"},   [DTYPE_F16] = {5, "Half"},
    [DTYPE_F32] = {6, "Float"},      [DTYPE_F64] = {7, "Double"}, [DTYPE_BOOL] = {11, "Bool"},
    [DTYPE_BF16] = {15, "BFloat16"},
};

struct err *dtype_of_code(const struct step *s, int64_t code, enum dtype *out)
{
    for (size_t i = 0; i < sizeof(torch_types) / sizeof(torch_types[0]); i++)
        if (torch_types[i].code == code) {
            *out = (enum dtype)i;
            return NULL;
        }
    return step_bad(s, "there is no dtype [%lld]", (long long)code);
}

int64_t dtype_code(enum dtype d)
{
    return torch_types[d].code;
}

const char *dtype_torch_name(enum dtype d)
{
    return torch_types[d].name;
}

struct err *arg_dtype_opt(const struct step *s, uint32_t position, const char *keyword,
                          enum dtype *out, bool *given_out)
{
    int64_t code = 0;
    bool given = arg_given(s, position, keyword);
    if (given_out)
        *given_out = given;
    if (!given)
        return NULL;
    TRY(arg_int(s, position, keyword, &code));
    return dtype_of_code(s, code, out);
}

struct err *arg_items(const struct step *s, uint32_t position, const char *keyword,
                      const struct items **out)
{
    const struct datum *v = arg_any(s, position, keyword);
    if (!v || (v->kind != SCRIPT_LIST && v->kind != SCRIPT_TUPLE))
        return wrong_kind(s, keyword, "a list", v);
    *out = v->items;
    return NULL;
}

struct err *dim_wrap(const struct step *s, int64_t dim, int rank, int *out)
{
    int64_t n = rank ? rank : 1; /* a number has one dimension here */
    if (dim < -n || dim >= n)
        return step_bad(s, "dimension [%lld] is not within [%lld, %lld]", (long long)dim,
                        (long long)-n, (long long)n - 1);
    *out = (int)(dim < 0 ? dim + n : dim);
    return NULL;
}

struct err *arg_dim(const struct step *s, uint32_t position, const char *keyword, int rank,
                    int *out)
{
    int64_t dim = 0;
    TRY(arg_int(s, position, keyword, &dim));
    return dim_wrap(s, dim, rank, out);
}

struct err *dims_mark(const struct step *s, const struct ints *dims, int rank, bool *marks)
{
    for (int i = 0; i < TENSOR_MAX_RANK; i++)
        marks[i] = dims->n <= 0;
    for (int i = 0; i < dims->n; i++) {
        int dim;
        TRY(dim_wrap(s, dims->v[i], rank, &dim));
        if (marks[dim])
            return step_bad(s, "dimension [%d] appears twice", dim);
        marks[dim] = true;
    }
    return NULL;
}

struct err *tensor_new(struct step *s, enum dtype dtype, int rank, const int64_t *dim,
                       struct view **out)
{
    struct script_tensor t = {.dtype = dtype, .rank = rank};
    int64_t n;
    *out = NULL;
    if (rank > TENSOR_MAX_RANK)
        return step_bad(s, "a tensor of [%d] dimensions, more than %d", rank, TENSOR_MAX_RANK);
    if (!dims_numel(rank, dim, &n))
        return step_bad(s, "a tensor cannot have the shape %s", shape_text(rank, dim).z);
    for (int i = 0; i < rank; i++)
        t.dim[i] = dim[i];
    dense_strides(&t);
    struct memory *memory = memory_new(s->r, (size_t)n * dtype_size(dtype));
    if (!memory)
        return step_no_memory(s);
    t.data = memory->data;
    *out = view_new(s->r, memory, &t);
    return *out ? NULL : step_no_memory(s);
}

void tensor_drop(struct step *s, struct view *v)
{
    struct datum value = {.kind = SCRIPT_TENSOR, .view = v};
    if (v)
        datum_drop(s->r, &value);
}

static void set_out(struct step *s, struct datum v)
{
    datum_drop(s->r, s->out);
    *s->out = v;
}

struct err *out_new(struct step *s, enum dtype dtype, int rank, const int64_t *dim,
                    struct script_tensor *out)
{
    struct view *v;
    TRY(tensor_new(s, dtype, rank, dim, &v));
    set_out(s, (struct datum){.kind = SCRIPT_TENSOR, .view = v});
    *out = v->t;
    return NULL;
}

struct err *view_of(struct step *s, const struct view *of, const struct script_tensor *t,
                    struct view **out)
{
    int64_t n;
    if (!dims_numel(t->rank, t->dim, &n))
        return step_bad(s, "a tensor cannot have the shape %s", tensor_shape(t).z);
    *out = view_new(s->r, memory_ref(of->memory), t);
    return *out ? NULL : step_no_memory(s);
}

struct err *out_view(struct step *s, const struct view *of, const struct script_tensor *t)
{
    struct view *v;
    TRY(view_of(s, of, t, &v));
    set_out(s, (struct datum){.kind = SCRIPT_TENSOR, .view = v});
    return NULL;
}

struct err *out_same(struct step *s, const struct view *v)
{
    return out_view(s, v, &v->t);
}

struct err *out_int(struct step *s, int64_t i)
{
    set_out(s, (struct datum){.kind = SCRIPT_INT, .i = i});
    return NULL;
}

struct err *out_float(struct step *s, double f)
{
    set_out(s, (struct datum){.kind = SCRIPT_FLOAT, .f = f});
    return NULL;
}

struct err *out_bool(struct step *s, bool b)
{
    set_out(s, (struct datum){.kind = SCRIPT_BOOL, .b = b});
    return NULL;
}

struct err *out_text(struct step *s, struct str text)
{
    struct text *t = text_new(s->r, text);
    if (!t)
        return step_no_memory(s);
    set_out(s, (struct datum){.kind = SCRIPT_STR, .text = t});
    return NULL;
}

struct err *out_items(struct step *s, enum script_kind kind, size_t n, struct items **out)
{
    *out = items_new(s->r, n);
    if (!*out)
        return step_no_memory(s);
    set_out(s, (struct datum){.kind = kind, .items = *out});
    return NULL;
}

void items_put(struct items *l, size_t i, struct view *v)
{
    l->v[i] = (struct datum){.kind = SCRIPT_TENSOR, .view = v};
}

struct err *may_change(const struct step *s, const struct view *v)
{
    if (v->memory->o.constant)
        return step_bad(s, "a constant of the model cannot be changed");
    for (int i = 0; i < v->t.rank; i++)
        if (v->t.dim[i] > 1 && v->t.stride[i] == 0)
            return step_bad(s, "a tensor that shows an element more than once cannot be changed");
    return NULL;
}
