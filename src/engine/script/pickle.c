/* A stack machine with a memo, as the format wants it: every opcode that libtorch's pickler writes,
 * and no other. Containers are built in place, so each byte costs a bounded amount of work. What
 * GLOBAL, NEWOBJ, REDUCE and BUILD would call in Python is told apart by name and done here. */
#include "pickle.h"

#include "pickle_tensor.h"

#define VALUES_MOST ((uint32_t)4 << 20)
#define MEMO_MOST   ((uint32_t)4 << 20)
#define STACK_MOST  ((uint32_t)1 << 20)
#define GLOBAL_MOST 512 /* bytes of a name */

enum opcode {
    OP_MARK = '(',
    OP_STOP = '.',
    OP_BINFLOAT = 'G',
    OP_BININT = 'J',
    OP_BININT1 = 'K',
    OP_BININT2 = 'M',
    OP_NONE = 'N',
    OP_BINPERSID = 'Q',
    OP_REDUCE = 'R',
    OP_BINUNICODE = 'X',
    OP_EMPTY_LIST = ']',
    OP_APPEND = 'a',
    OP_BUILD = 'b',
    OP_GLOBAL = 'c',
    OP_APPENDS = 'e',
    OP_BINGET = 'h',
    OP_LONG_BINGET = 'j',
    OP_BINPUT = 'q',
    OP_LONG_BINPUT = 'r',
    OP_SETITEM = 's',
    OP_TUPLE = 't',
    OP_SETITEMS = 'u',
    OP_EMPTY_DICT = '}',
    OP_EMPTY_TUPLE = ')',
    OP_PROTO = 0x80,
    OP_NEWOBJ = 0x81,
    OP_TUPLE1 = 0x85,
    OP_TUPLE2 = 0x86,
    OP_TUPLE3 = 0x87,
    OP_NEWTRUE = 0x88,
    OP_NEWFALSE = 0x89,
    OP_LONG1 = 0x8a
};

struct machine {
    const unsigned char *start, *p, *end;
    const char *name, *folder;
    const struct archive *archive;
    struct arena *arena;
    struct pickle_value **stack; /* NULL: a mark */
    uint32_t n_stack, room_stack;
    struct pickle_value **memo; /* NULL: not put */
    uint32_t n_memo;
    uint32_t n_values;
    bool stopped;
};

static const struct element_type element_types[] = {
    {"FloatStorage", DTYPE_F32, false}, {"DoubleStorage", DTYPE_F64, false},
    {"HalfStorage", DTYPE_F16, false},  {"BFloat16Storage", DTYPE_BF16, false},
    {"LongStorage", DTYPE_I64, false},  {"IntStorage", DTYPE_I32, false},
    {"ShortStorage", DTYPE_I16, false}, {"CharStorage", DTYPE_I8, false},
    {"ByteStorage", DTYPE_U8, false},   {"BoolStorage", DTYPE_BOOL, false},
    {"QInt8Storage", DTYPE_I8, true},   {"QUInt8Storage", DTYPE_U8, true},
    {"QInt32Storage", DTYPE_I32, true},
};

static const struct {
    const char *module, *name;
    enum pickle_global which;
} globals[] = {
    {"torch._utils", "_rebuild_tensor_v2", GLOBAL_REBUILD_TENSOR},
    {"torch._utils", "_rebuild_qtensor", GLOBAL_REBUILD_QTENSOR},
    {"collections", "OrderedDict", GLOBAL_ORDERED_DICT},
    {"torch", "per_tensor_affine", GLOBAL_PER_TENSOR},
    {"torch", "per_channel_affine", GLOBAL_PER_CHANNEL},
    {"torch.jit._pickle", "build_intlist", GLOBAL_IDENTITY},
    {"torch.jit._pickle", "build_tensorlist", GLOBAL_IDENTITY},
    {"torch.jit._pickle", "build_doublelist", GLOBAL_IDENTITY},
    {"torch.jit._pickle", "build_boollist", GLOBAL_IDENTITY},
    {"torch.jit._pickle", "restore_type_tag", GLOBAL_IDENTITY},
};

static struct err *bad(const struct machine *m, const char *what)
{
    return err_new(ERR_ARGUMENT, "[%s]: [%s] %s at byte [%zu]", m->archive->file, m->name, what,
                   (size_t)(m->p - m->start));
}

static struct err *value_new(struct machine *m, enum pickle_kind kind, struct pickle_value **out)
{
    if (m->n_values == VALUES_MOST)
        return bad(m, "has too many values");
    m->n_values++;
    *out = arena_alloc(m->arena, sizeof(**out));
    (*out)->kind = kind;
    return NULL;
}

/* Twice the room for an array of pointers; the old one stays in the arena until its end. */
static void grow(struct machine *m, struct pickle_value ***array, uint32_t n, uint32_t *room)
{
    uint32_t more = *room ? 2 * *room : 8;
    struct pickle_value **bigger = arena_array(m->arena, more, sizeof(struct pickle_value *));
    if (n)
        memcpy(bigger, *array, n * sizeof(struct pickle_value *));
    *array = bigger;
    *room = more;
}

static struct err *push(struct machine *m, struct pickle_value *v)
{
    if (m->n_stack == STACK_MOST)
        return bad(m, "has too deep a stack");
    if (m->n_stack == m->room_stack)
        grow(m, &m->stack, m->n_stack, &m->room_stack);
    m->stack[m->n_stack++] = v;
    return NULL;
}

static struct err *push_new(struct machine *m, enum pickle_kind kind, struct pickle_value **out)
{
    TRY(value_new(m, kind, out));
    return push(m, *out);
}

static struct err *pop(struct machine *m, struct pickle_value **out)
{
    if (m->n_stack == 0 || !m->stack[m->n_stack - 1])
        return bad(m, "takes from an empty stack");
    *out = m->stack[--m->n_stack];
    return NULL;
}

/* The value on top, which stays. */
static struct err *peek(struct machine *m, struct pickle_value **out)
{
    if (m->n_stack == 0 || !m->stack[m->n_stack - 1])
        return bad(m, "takes from an empty stack");
    *out = m->stack[m->n_stack - 1];
    return NULL;
}

/* Values above the topmost mark, which goes; they stay valid until the next push. */
static struct err *pop_mark(struct machine *m, struct pickle_value ***items_out, uint32_t *n_out)
{
    uint32_t i = m->n_stack;
    while (i > 0 && m->stack[i - 1])
        i--;
    if (i == 0)
        return bad(m, "has no mark");
    *items_out = m->stack + i;
    *n_out = m->n_stack - i;
    m->n_stack = i - 1;
    return NULL;
}

static void append(struct machine *m, struct pickle_value *list, struct pickle_value *item)
{
    if (list->n == list->room)
        grow(m, &list->items, list->n, &list->room);
    list->items[list->n++] = item;
}

static struct err *take(struct machine *m, size_t n, const unsigned char **out)
{
    if ((size_t)(m->end - m->p) < n)
        return bad(m, "is cut short");
    *out = m->p;
    m->p += n;
    return NULL;
}

/* Little-endian, of n <= 8 bytes. */
static struct err *take_uint(struct machine *m, size_t n, uint64_t *out)
{
    const unsigned char *p;
    TRY(take(m, n, &p));
    *out = 0;
    for (size_t i = 0; i < n; i++)
        *out |= (uint64_t)p[i] << 8 * i;
    return NULL;
}

static struct err *push_int(struct machine *m, int64_t i)
{
    struct pickle_value *v;
    TRY(push_new(m, PICKLE_INT, &v));
    v->i = i;
    return NULL;
}

static struct err *op_uint(struct machine *m, size_t bytes)
{
    uint64_t u;
    TRY(take_uint(m, bytes, &u));
    return push_int(m, bytes == 4 ? (int64_t)(int32_t)(uint32_t)u : (int64_t)u);
}

static struct err *op_long1(struct machine *m)
{
    uint64_t n, u;
    TRY(take_uint(m, 1, &n));
    if (n > 8)
        return bad(m, "has an integer of more than 64 bits");
    TRY(take_uint(m, (size_t)n, &u));
    if (n > 0 && n < 8 && u >> (8 * n - 1))
        u |= UINT64_MAX << 8 * n; /* the sign */
    return push_int(m, (int64_t)u);
}

static struct err *op_float(struct machine *m)
{
    const unsigned char *p;
    struct pickle_value *v;
    uint64_t bits = 0;
    TRY(take(m, 8, &p));
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | p[i]; /* the one big-endian number of the format */
    TRY(push_new(m, PICKLE_FLOAT, &v));
    memcpy(&v->f, &bits, sizeof(v->f));
    return NULL;
}

static struct err *op_str(struct machine *m)
{
    const unsigned char *p;
    struct pickle_value *v;
    uint64_t n;
    TRY(take_uint(m, 4, &n));
    TRY(take(m, (size_t)n, &p));
    TRY(push_new(m, PICKLE_STR, &v));
    v->s = str_n((const char *)p, (size_t)n);
    return NULL;
}

static struct err *op_bool(struct machine *m, bool b)
{
    struct pickle_value *v;
    TRY(push_new(m, PICKLE_BOOL, &v));
    v->b = b;
    return NULL;
}

static struct err *op_put(struct machine *m, size_t bytes)
{
    uint64_t at;
    struct pickle_value *v;
    TRY(take_uint(m, bytes, &at));
    TRY(peek(m, &v));
    if (at >= MEMO_MOST)
        return bad(m, "has too large a memo");
    while (at >= m->n_memo)
        grow(m, &m->memo, m->n_memo, &m->n_memo);
    m->memo[at] = v;
    return NULL;
}

static struct err *op_get(struct machine *m, size_t bytes)
{
    uint64_t at;
    TRY(take_uint(m, bytes, &at));
    if (at >= m->n_memo || !m->memo[at])
        return bad(m, "gets what was never put");
    return push(m, m->memo[at]);
}

static struct err *push_tuple(struct machine *m, struct pickle_value **items, uint32_t n)
{
    struct pickle_value *v;
    TRY(value_new(m, PICKLE_TUPLE, &v));
    v->items = arena_array(m->arena, n, sizeof(struct pickle_value *));
    if (n)
        memcpy(v->items, items, n * sizeof(struct pickle_value *));
    v->n = v->room = n;
    return push(m, v);
}

static struct err *op_tuple(struct machine *m)
{
    struct pickle_value **items;
    uint32_t n;
    TRY(pop_mark(m, &items, &n));
    return push_tuple(m, items, n);
}

static struct err *op_tuple_n(struct machine *m, uint32_t n)
{
    struct pickle_value *items[3];
    for (uint32_t i = n; i-- > 0;)
        TRY(pop(m, &items[i]));
    return push_tuple(m, items, n);
}

static struct err *append_to(struct machine *m, struct pickle_value **items, uint32_t n)
{
    struct pickle_value *list;
    TRY(peek(m, &list));
    if (list->kind != PICKLE_LIST)
        return bad(m, "appends to what is no list");
    for (uint32_t i = 0; i < n; i++)
        append(m, list, items[i]);
    return NULL;
}

static struct err *op_append(struct machine *m)
{
    struct pickle_value *item;
    TRY(pop(m, &item));
    return append_to(m, &item, 1);
}

static struct err *op_appends(struct machine *m)
{
    struct pickle_value **items;
    uint32_t n;
    TRY(pop_mark(m, &items, &n));
    return append_to(m, items, n);
}

static struct err *set_items(struct machine *m, struct pickle_value **items, uint32_t n)
{
    struct pickle_value *dict;
    TRY(peek(m, &dict));
    if (dict->kind != PICKLE_DICT || n % 2)
        return bad(m, "sets items of what is no dict");
    for (uint32_t i = 0; i < n; i++)
        append(m, dict, items[i]);
    return NULL;
}

static struct err *op_setitem(struct machine *m)
{
    struct pickle_value *items[2];
    TRY(pop(m, &items[1]));
    TRY(pop(m, &items[0]));
    return set_items(m, items, 2);
}

static struct err *op_setitems(struct machine *m)
{
    struct pickle_value **items;
    uint32_t n;
    TRY(pop_mark(m, &items, &n));
    return set_items(m, items, n);
}

static struct err *take_line(struct machine *m, struct str *out)
{
    const unsigned char *nl = memchr(m->p, '\n', (size_t)(m->end - m->p));
    if (!nl || nl - m->p > GLOBAL_MOST)
        return bad(m, "has a damaged name");
    *out = str_n((const char *)m->p, (size_t)(nl - m->p));
    m->p = nl + 1;
    return NULL;
}

/* False: not one of ours. */
static bool find_global(struct machine *m, struct str module, struct str name,
                        struct pickle_value *v)
{
    for (size_t i = 0; i < sizeof(globals) / sizeof(globals[0]); i++) {
        if (str_eq_c(module, globals[i].module) && str_eq_c(name, globals[i].name)) {
            v->global.which = globals[i].which;
            return true;
        }
    }
    for (size_t i = 0; i < sizeof(element_types) / sizeof(element_types[0]); i++) {
        if (str_eq_c(module, "torch") && str_eq_c(name, element_types[i].name)) {
            v->global.which = GLOBAL_STORAGE;
            v->global.type = &element_types[i];
            return true;
        }
    }
    if (!str_eq_c(module, "__torch__") && !str_starts(module, STR("__torch__.")))
        return false;
    v->global.which = GLOBAL_CLASS;
    v->global.name = arena_printf(m->arena, "%.*s.%.*s", STR_ARG(module), STR_ARG(name));
    return true;
}

static struct err *op_global(struct machine *m)
{
    struct str module, name;
    struct pickle_value *v;
    TRY(take_line(m, &module));
    TRY(take_line(m, &name));
    TRY(push_new(m, PICKLE_GLOBAL, &v));
    if (!find_global(m, module, name, v))
        return err_new(ERR_ARGUMENT,
                       "[%s]: [%s] names the global [%.*s.%.*s], which is not one of a model's",
                       m->archive->file, m->name, STR_ARG(module), STR_ARG(name));
    return NULL;
}

static struct err *op_newobj(struct machine *m)
{
    struct pickle_value *args, *class, *v;
    TRY(pop(m, &args));
    TRY(pop(m, &class));
    if (class->kind != PICKLE_GLOBAL || class->global.which != GLOBAL_CLASS)
        return bad(m, "makes an object of what is no class");
    if (args->kind != PICKLE_TUPLE || args->n > 0)
        return bad(m, "makes an object with arguments");
    TRY(push_new(m, PICKLE_OBJECT, &v));
    v->object.name = class->global.name;
    return NULL;
}

static struct err *op_build(struct machine *m)
{
    struct pickle_value *state, *object;
    TRY(pop(m, &state));
    TRY(peek(m, &object));
    if (object->kind != PICKLE_OBJECT || object->object.state)
        return bad(m, "gives a state to what is no new object");
    object->object.state = state;
    return NULL;
}

static struct err *op_reduce(struct machine *m)
{
    struct pickle_value *args, *f, *v;
    const char *why = NULL;
    TRY(pop(m, &args));
    TRY(pop(m, &f));
    if (f->kind != PICKLE_GLOBAL || args->kind != PICKLE_TUPLE)
        return bad(m, "calls what is no function");
    switch (f->global.which) {
    case GLOBAL_ORDERED_DICT:
        return args->n ? bad(m, "makes a dict with arguments") : push_new(m, PICKLE_DICT, &v);
    case GLOBAL_IDENTITY:
        return args->n ? push(m, args->items[0]) : bad(m, "makes a list of nothing");
    case GLOBAL_REBUILD_TENSOR:
    case GLOBAL_REBUILD_QTENSOR:
        TRY(push_new(m, PICKLE_TENSOR, &v));
        why = pickle_tensor(args, f->global.which == GLOBAL_REBUILD_QTENSOR, m->arena, v);
        return why ? bad(m, why) : NULL;
    default:
        return err_new(ERR_ARGUMENT, "[%s]: [%s] calls [%.*s]; a model calls nothing when read",
                       m->archive->file, m->name, STR_ARG(f->global.name));
    }
}

static struct err *op_persid(struct machine *m)
{
    struct pickle_value *id, *v;
    TRY(pop(m, &id));
    TRY(push_new(m, PICKLE_STORAGE, &v));
    const char *why = pickle_storage(id, m->folder, m->archive, v);
    return why ? bad(m, why) : NULL;
}

static struct err *op_proto(struct machine *m)
{
    uint64_t version;
    TRY(take_uint(m, 1, &version));
    return version == 2 ? NULL : bad(m, "has another protocol than 2");
}

static struct err *step(struct machine *m)
{
    const unsigned char *op;
    struct pickle_value *v;
    TRY(take(m, 1, &op));
    switch (*op) {
    case OP_PROTO:
        return op_proto(m);
    case OP_STOP:
        m->stopped = true;
        return NULL;
    case OP_MARK:
        return push(m, NULL);
    case OP_NONE:
        return push_new(m, PICKLE_NONE, &v);
    case OP_NEWTRUE:
        return op_bool(m, true);
    case OP_NEWFALSE:
        return op_bool(m, false);
    case OP_BININT:
        return op_uint(m, 4);
    case OP_BININT1:
        return op_uint(m, 1);
    case OP_BININT2:
        return op_uint(m, 2);
    case OP_LONG1:
        return op_long1(m);
    case OP_BINFLOAT:
        return op_float(m);
    case OP_BINUNICODE:
        return op_str(m);
    case OP_EMPTY_LIST:
        return push_new(m, PICKLE_LIST, &v);
    case OP_EMPTY_DICT:
        return push_new(m, PICKLE_DICT, &v);
    case OP_EMPTY_TUPLE:
        return push_tuple(m, NULL, 0);
    case OP_TUPLE:
        return op_tuple(m);
    case OP_TUPLE1:
        return op_tuple_n(m, 1);
    case OP_TUPLE2:
        return op_tuple_n(m, 2);
    case OP_TUPLE3:
        return op_tuple_n(m, 3);
    case OP_APPEND:
        return op_append(m);
    case OP_APPENDS:
        return op_appends(m);
    case OP_SETITEM:
        return op_setitem(m);
    case OP_SETITEMS:
        return op_setitems(m);
    case OP_BINPUT:
        return op_put(m, 1);
    case OP_LONG_BINPUT:
        return op_put(m, 4);
    case OP_BINGET:
        return op_get(m, 1);
    case OP_LONG_BINGET:
        return op_get(m, 4);
    case OP_GLOBAL:
        return op_global(m);
    case OP_NEWOBJ:
        return op_newobj(m);
    case OP_REDUCE:
        return op_reduce(m);
    case OP_BUILD:
        return op_build(m);
    case OP_BINPERSID:
        return op_persid(m);
    default:
        return bad(m, "has an opcode that no model has");
    }
}

struct err *pickle_read(struct str bytes, const char *name, const char *folder,
                        const struct archive *archive, struct arena *a, struct pickle_value **out)
{
    struct machine m = {.start = (const unsigned char *)bytes.p,
                        .name = name,
                        .folder = folder,
                        .archive = archive,
                        .arena = a};
    m.p = m.start;
    m.end = m.start + bytes.n;
    while (!m.stopped)
        TRY(step(&m));
    if (m.p != m.end)
        return bad(&m, "goes on after its end");
    TRY(pop(&m, out));
    return m.n_stack == 0 ? NULL : bad(&m, "leaves values on the stack");
}
