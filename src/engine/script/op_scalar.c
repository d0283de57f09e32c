/* Numbers, texts, lists, tuples: what is about tensors rather than in them, and ops of prim. */
#include <inttypes.h>

#include "buf.h"
#include "pointwise.h"
#include "strided.h"

/* --- sizes and kinds --- */

struct err *run_aten_size(struct step *s)
{
    const struct view *x;
    struct items *out;
    int dim;
    TRY(arg_tensor(s, 0, "self", &x));
    if (arg_given(s, 1, "dim")) {
        if (x->t.rank == 0)
            return step_bad(s, "a tensor without dimensions has no size");
        TRY(arg_dim(s, 1, "dim", x->t.rank, &dim));
        return out_int(s, x->t.dim[dim]);
    }
    TRY(out_items(s, SCRIPT_LIST, (size_t)x->t.rank, &out));
    for (int i = 0; i < x->t.rank; i++)
        out->v[i] = (struct datum){.kind = SCRIPT_INT, .i = x->t.dim[i]};
    return NULL;
}

struct err *run_aten_len(struct step *s)
{
    const struct datum *v = arg_any(s, 0, "a");
    if (v && v->kind == SCRIPT_STR)
        return out_int(s, (int64_t)v->text->s.n);
    if (v && v->kind == SCRIPT_DICT)
        return out_int(s, (int64_t)v->items->n / 2);
    if (v && datum_is_items(v))
        return out_int(s, (int64_t)v->items->n);
    if (v && v->kind == SCRIPT_TENSOR && v->view->t.rank)
        return out_int(s, v->view->t.dim[0]);
    return step_bad(s, "a %s has no length", datum_kind_name(v ? v->kind : SCRIPT_NONE));
}

struct err *run_prim_device(struct step *s)
{
    const struct view *x;
    TRY(arg_tensor(s, 0, "a", &x));
    s->out->kind = SCRIPT_DEVICE;
    return NULL;
}

struct err *run_prim_dtype(struct step *s)
{
    const struct view *x;
    TRY(arg_tensor(s, 0, "a", &x));
    return out_int(s, dtype_code(x->t.dtype));
}

/* --- between numbers and tensors --- */

static struct err *number_of_tensor(struct step *s, const struct view *x, struct number *out)
{
    if (tensor_numel(&x->t) != 1)
        return step_bad(s, "a tensor of %s is not one number", tensor_shape(&x->t).z);
    if (dtype_is_float(x->t.dtype)) {
        double f;
        elements_load(COMPUTE_F64, x->t.dtype, x->t.data, 0, 1, &f);
        *out = number_of_float(f);
        return NULL;
    }
    int64_t i;
    elements_load(COMPUTE_I64, x->t.dtype, x->t.data, 0, 1, &i);
    *out = number_of_int(i);
    if (x->t.dtype == DTYPE_BOOL)
        out->kind = NUMBER_BOOL;
    return NULL;
}

struct err *run_aten_Int(struct step *s)
{
    const struct datum *v = arg_any(s, 0, "a");
    struct number n;
    int64_t i;
    if (v && v->kind == SCRIPT_STR) {
        if (!str_to_i64(str_trim(v->text->s), &i))
            return step_bad(s, "the str is not an int");
        return out_int(s, i);
    }
    if (v && v->kind == SCRIPT_TENSOR)
        TRY(number_of_tensor(s, v->view, &n));
    else
        TRY(arg_number(s, 0, "a", &n));
    return out_int(s, number_int(n));
}

struct err *run_aten_IntImplicit(struct step *s)
{
    const struct view *x;
    struct number n;
    TRY(arg_tensor(s, 0, "a", &x));
    if (x->t.rank != 0 || dtype_is_float(x->t.dtype))
        return step_bad(s, "a tensor of %s and dtype %s is not an int by itself",
                        tensor_shape(&x->t).z, dtype_torch_name(x->t.dtype));
    TRY(number_of_tensor(s, x, &n));
    return out_int(s, n.i);
}

struct err *run_aten_ScalarImplicit(struct step *s)
{
    const struct view *x;
    struct number n;
    TRY(arg_tensor(s, 0, "a", &x));
    if (x->t.rank != 0)
        return step_bad(s, "a tensor of %s is not a number by itself", tensor_shape(&x->t).z);
    TRY(number_of_tensor(s, x, &n));
    return n.kind == NUMBER_FLOAT  ? out_float(s, n.f)
           : n.kind == NUMBER_BOOL ? out_bool(s, n.i != 0)
                                   : out_int(s, n.i);
}

/* Unlike torch.tensor a float becomes f64. */
struct err *run_prim_NumToTensor(struct step *s)
{
    static const enum dtype of_kind[] = {DTYPE_BOOL, DTYPE_I64, DTYPE_F64};
    struct number n;
    struct script_tensor t;
    TRY(arg_number(s, 0, "a", &n));
    TRY(out_new(s, of_kind[n.kind], 0, NULL, &t));
    return fill_elements(s, n, &t);
}

/* --- texts: bounded, since they grow with what they show --- */

#define MOST_TEXT ((size_t)1 << 22)

static void print_number(struct buf *b, struct number n)
{
    if (n.kind == NUMBER_BOOL)
        buf_cstr(b, n.i ? "True" : "False");
    else if (n.kind == NUMBER_INT)
        buf_printf(b, "%" PRId64, n.i);
    else
        buf_printf(b, "%.17g", n.f);
}

static struct err *print(struct step *s, struct buf *b, const struct datum *v);

/* Shape, then every element: not libtorch's layout, but as unambiguous. */
static struct err *print_tensor(struct step *s, struct buf *b, const struct view *x)
{
    struct view *dense;
    bool floats = dtype_is_float(x->t.dtype);
    TRY(step_work(s, tensor_numel(&x->t), 32));
    TRY(dense_as(s, x, floats ? DTYPE_F64 : DTYPE_I64, &dense));
    buf_printf(b, "tensor%s(", tensor_shape(&x->t).z);
    for (int64_t i = 0, n = tensor_numel(&x->t); i < n && !b->full; i++) {
        if (i)
            buf_cstr(b, ", ");
        if (floats)
            buf_printf(b, "%.9g", ((const double *)dense->t.data)[i]);
        else
            buf_printf(b, "%" PRId64, ((const int64_t *)dense->t.data)[i]);
    }
    buf_char(b, ')');
    tensor_drop(s, dense);
    return NULL;
}

static struct err *print_items(struct step *s, struct buf *b, const struct datum *v)
{
    const char *around = v->kind == SCRIPT_LIST ? "[]" : v->kind == SCRIPT_TUPLE ? "()" : "{}";
    buf_char(b, around[0]);
    for (size_t i = 0; i < v->items->n && !b->full; i++) {
        if (i)
            buf_cstr(b, v->kind == SCRIPT_DICT && i % 2 ? ": " : ", ");
        TRY(step_work(s, 1, 16));
        TRY(print(s, b, &v->items->v[i]));
    }
    buf_char(b, around[1]);
    return NULL;
}

static struct err *print(struct step *s, struct buf *b, const struct datum *v)
{
    struct number n;
    if (number_from(v, &n))
        print_number(b, n);
    else if (v->kind == SCRIPT_STR)
        buf_put(b, v->text->s);
    else if (v->kind == SCRIPT_TENSOR)
        return print_tensor(s, b, v->view);
    else if (datum_is_items(v))
        return print_items(s, b, v);
    else
        buf_cstr(b, v->kind == SCRIPT_DEVICE ? "cpu" : datum_kind_name(v->kind));
    return b->full ? step_bad(s, "a text of more than [%zu] bytes", MOST_TEXT) : NULL;
}

struct err *run_aten_str(struct step *s)
{
    const struct datum *v = arg_any(s, 0, "elem");
    struct buf b;
    if (!v)
        return step_bad(s, "an argument is needed");
    buf_init(&b, MOST_TEXT);
    struct err *err = print(s, &b, v);
    if (!err && b.full)
        err = step_bad(s, "a text of more than [%zu] bytes", MOST_TEXT);
    if (!err)
        err = out_text(s, buf_str(&b));
    buf_deinit(&b);
    return err;
}

/* FNV-1a over the printed value: the same in every process, unlike str_hash. */
struct err *run_aten_hash(struct step *s)
{
    uint64_t h = 0xcbf29ce484222325;
    TRY(run_aten_str(s));
    struct str text = s->out->text->s;
    for (size_t i = 0; i < text.n; i++)
        h = (h ^ (unsigned char)text.p[i]) * 0x100000001b3;
    return out_int(s, (int64_t)(h >> 1));
}

/* --- lists and tuples --- */

static struct err *construct(struct step *s, enum script_kind kind)
{
    struct items *out;
    TRY(out_items(s, kind, s->node->n_in, &out));
    for (uint32_t i = 0; i < s->node->n_in; i++) {
        const struct datum *v = runner_datum(s->r, s->node->in[i]);
        if (datum_is_items(v) && v->items->o.depth >= out->o.depth)
            out->o.depth = (uint8_t)(v->items->o.depth + 1);
        if (out->o.depth > MOST_DEPTH)
            return step_bad(s, "more than %d lists in one another", MOST_DEPTH);
        out->v[i] = datum_copy(v);
    }
    return NULL;
}

struct err *run_prim_ListConstruct(struct step *s)
{
    return construct(s, SCRIPT_LIST);
}

struct err *run_prim_TupleConstruct(struct step *s)
{
    return construct(s, SCRIPT_TUPLE);
}

struct err *run_prim_DictConstruct(struct step *s)
{
    if (s->node->n_in % 2)
        return step_bad(s, "a key has no value");
    return construct(s, SCRIPT_DICT);
}

static struct err *unpack(struct step *s)
{
    const struct datum *v = s->node->n_in ? runner_datum(s->r, s->node->in[0]) : NULL;
    if (!v || (v->kind != SCRIPT_LIST && v->kind != SCRIPT_TUPLE))
        return step_bad(s, "a %s cannot be unpacked", datum_kind_name(v ? v->kind : SCRIPT_NONE));
    if (v->items->n != s->node->n_out)
        return step_bad(s, "[%zu] items are unpacked into [%u] values", v->items->n,
                        s->node->n_out);
    for (uint32_t i = 0; i < s->node->n_out; i++)
        runner_set(s->r, s->node->out[i], datum_copy(&v->items->v[i]));
    return NULL;
}

struct err *run_prim_ListUnpack(struct step *s)
{
    return unpack(s);
}

struct err *run_prim_TupleUnpack(struct step *s)
{
    return unpack(s);
}

/* The loader has resolved attributes and constants; what is left has nothing to refer to. */
struct err *run_prim_GetAttr(struct step *s)
{
    return step_bad(s, "an attribute was not resolved");
}

struct err *run_prim_Constant(struct step *s)
{
    return step_bad(s, "a constant was not resolved");
}
