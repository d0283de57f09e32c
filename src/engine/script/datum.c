#include "datum.h"

#include "bug.h"

static struct object object_of(size_t bytes)
{
    return (struct object){.refs = 1, .bytes = bytes};
}

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

struct memory *memory_new(struct script_runner *r, size_t bytes)
{
    size_t head = round_up(sizeof(struct memory), 64);
    struct memory *s = bytes <= SIZE_MAX / 2 ? runner_alloc(r, head + bytes) : NULL;
    if (!s)
        return NULL;
    s->o = object_of(head + bytes);
    s->data = (char *)s + head;
    return s;
}

struct text *text_new(struct script_runner *r, struct str from)
{
    struct text *t = runner_alloc(r, sizeof(*t) + from.n);
    if (!t)
        return NULL;
    t->o = object_of(sizeof(*t) + from.n);
    if (from.n)
        memcpy(t + 1, from.p, from.n);
    t->s = str_n((const char *)(t + 1), from.n);
    return t;
}

/* A new array every time: lists grow in place rarely, in synthetic models only. */
bool items_grow(struct script_runner *r, struct items *l, size_t n)
{
    size_t all, bytes;
    if (__builtin_add_overflow(l->n, n, &all) ||
        __builtin_mul_overflow(all, sizeof(struct datum), &bytes))
        return false;
    struct datum *v = runner_alloc(r, bytes);
    if (!v)
        return false;
    for (size_t i = 0; i < all; i++)
        v[i] = i < l->n ? l->v[i] : (struct datum){.kind = SCRIPT_NONE};
    runner_release(r, l->v, l->v_bytes);
    l->v = v;
    l->v_bytes = bytes;
    l->n = all;
    return true;
}

struct items *items_new(struct script_runner *r, size_t n)
{
    struct items *l = runner_alloc(r, sizeof(*l));
    if (!l)
        return NULL;
    *l = (struct items){.o = object_of(sizeof(*l))};
    l->o.depth = 1;
    if (items_grow(r, l, n))
        return l;
    runner_release(r, l, sizeof(*l));
    return NULL;
}

struct view *view_new(struct script_runner *r, struct memory *s, const struct script_tensor *t)
{
    struct view *v = runner_alloc(r, sizeof(*v));
    if (!v) {
        memory_drop(r, s);
        return NULL;
    }
    *v = (struct view){.o = object_of(sizeof(*v)), .memory = s, .t = *t};
    return v;
}

static bool last_reference(struct object *o)
{
    if (o->constant)
        return false;
    BUG_ON(o->refs == 0);
    return --o->refs == 0;
}

struct memory *memory_ref(struct memory *s)
{
    if (!s->o.constant)
        s->o.refs++;
    return s;
}

void memory_drop(struct script_runner *r, struct memory *s)
{
    if (last_reference(&s->o))
        runner_release(r, s, s->o.bytes);
}

static struct object *object_in(const struct datum *v)
{
    switch (v->kind) {
    case SCRIPT_STR:
        return &v->text->o;
    case SCRIPT_TENSOR:
        return &v->view->o;
    case SCRIPT_LIST:
    case SCRIPT_TUPLE:
    case SCRIPT_DICT:
        return &v->items->o;
    default:
        return NULL;
    }
}

struct datum datum_copy(const struct datum *v)
{
    struct object *o = object_in(v);
    if (o && !o->constant)
        o->refs++;
    return *v;
}

void datum_drop(struct script_runner *r, struct datum *v)
{
    struct object *o = object_in(v);
    if (o && last_reference(o)) {
        if (v->kind == SCRIPT_TENSOR)
            memory_drop(r, v->view->memory);
        if (datum_is_items(v)) {
            for (size_t i = 0; i < v->items->n; i++)
                datum_drop(r, &v->items->v[i]);
            runner_release(r, v->items->v, v->items->v_bytes);
        }
        runner_release(r, o, o->bytes);
    }
    *v = (struct datum){.kind = SCRIPT_NONE};
}

const char *datum_kind_name(enum script_kind kind)
{
    static const char *const names[] = {
        [SCRIPT_NONE] = "None",
        [SCRIPT_BOOL] = "bool",
        [SCRIPT_INT] = "int",
        [SCRIPT_FLOAT] = "float",
        [SCRIPT_STR] = "str",
        [SCRIPT_DEVICE] = "Device",
        [SCRIPT_TENSOR] = "Tensor",
        [SCRIPT_LIST] = "List",
        [SCRIPT_TUPLE] = "Tuple",
        [SCRIPT_DICT] = "Dict",
        [SCRIPT_PACKED] = "packed weight",
    };
    return names[kind];
}
