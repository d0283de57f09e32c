/* Every op against PyTorch: the programs of fixtures/run_cases.json (made by make_run_fixtures.py
 * beside it) over shapes, layouts, dtypes and broadcasts. Dtype, shape and integers exactly; floats
 * within `tol` of the case or else the dtype's (times the value where that is larger than 1):
 * f64 1e-10, f32 4e-6, f16 2e-3, bf16 1.6e-2. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "int8.h"
#include "json.h"
#include "convert.h"
#include "step.h"
#include "strided.h"

struct fixture {
    struct arena *a;
    struct script script;
    struct script_block forward;
};

/* --- reading --- */

static int64_t int_of(const struct json *v)
{
    int64_t i = 0;
    assert_true(json_i64(v, &i));
    return i;
}

static double float_of(const struct json *v)
{
    double f = 0;
    struct str s;
    if (json_str(v, &s))
        return str_eq_c(s, "nan") ? NAN : str_eq_c(s, "inf") ? INFINITY : -INFINITY;
    assert_true(json_f64(v, &f));
    return f;
}

static enum dtype dtype_of(int64_t code)
{
    for (enum dtype d = DTYPE_F32; d <= DTYPE_I16; d++)
        if (dtype_code(d) == code)
            return d;
    fail_msg("no dtype %d", (int)code);
    return DTYPE_F32;
}

static void store(enum dtype d, const struct json *v, char *to)
{
    int64_t i;
    if (compute_of(d) == COMPUTE_I64) {
        i = int_of(v);
        elements_store(COMPUTE_I64, d, to, 0, 1, &i);
    } else {
        double f = float_of(v);
        elements_store(COMPUTE_F64, d, to, 0, 1, &f);
    }
}

static struct script_tensor read_tensor(struct arena *a, const struct json *v)
{
    struct script_tensor t = {.dtype = dtype_of(int_of(json_get(v, "t")))};
    const struct json *values = json_get(v, "v"), *strides = json_get(v, "st");
    struct json_iter it = json_iter(json_get(v, "d"));
    for (const struct json *d; (d = json_next(&it));)
        t.dim[t.rank++] = int_of(d);
    dense_strides(&t);
    it = json_iter(strides);
    for (int i = 0; strides && i < t.rank; i++)
        t.stride[i] = int_of(json_next(&it));
    size_t size = dtype_size(t.dtype), at = 0;
    t.data = arena_array(a, values->n + 1, size);
    it = json_iter(values);
    for (const struct json *e; (e = json_next(&it)); at += size)
        store(t.dtype, e, (char *)t.data + at);
    return t;
}

static struct script_packed *read_packed(struct arena *a, const struct json *v)
{
    struct script_packed *p = arena_alloc(a, sizeof(*p));
    const struct json *scales = json_get(v, "scales"), *bias = json_get(v, "bias");
    p->weight = read_tensor(a, json_get(v, "packed"));
    p->zero_point = (int32_t)int_of(json_get(v, "zero"));
    if (json_is_null(scales)) {
        p->scale = (float)float_of(json_get(v, "scale"));
    } else {
        float *list = arena_array(a, scales->n, sizeof(float));
        assert_true(json_numbers(scales, list, scales->n));
        p->scales = list;
    }
    p->has_bias = !json_is_null(bias);
    if (p->has_bias)
        p->bias = read_tensor(a, bias);
    return p;
}

static struct script_value *read_value(struct arena *a, const struct json *v)
{
    struct script_value *out = arena_alloc(a, sizeof(*out));
    const struct json *list = json_get(v, "l") ? json_get(v, "l") : json_get(v, "tu");
    if (json_is_null(v))
        return out;
    if (json_bool(v, &out->b)) {
        out->kind = SCRIPT_BOOL;
    } else if (json_get(v, "i")) {
        out->kind = SCRIPT_INT;
        out->i = int_of(json_get(v, "i"));
    } else if (json_get(v, "f")) {
        out->kind = SCRIPT_FLOAT;
        out->f = float_of(json_get(v, "f"));
    } else if (json_get(v, "s")) {
        out->kind = SCRIPT_STR;
        assert_true(json_str(json_get(v, "s"), &out->s));
    } else if (json_get(v, "dev")) {
        out->kind = SCRIPT_DEVICE;
    } else if (json_get(v, "packed")) {
        out->kind = SCRIPT_PACKED;
        out->packed = read_packed(a, v);
    } else if (list) {
        out->kind = json_get(v, "l") ? SCRIPT_LIST : SCRIPT_TUPLE;
        const struct script_value **items = arena_array(a, list->n, sizeof(*items));
        struct json_iter it = json_iter(list);
        for (const struct json *item; (item = json_next(&it));)
            items[out->list.n++] = read_value(a, item);
        out->list.items = items;
    } else {
        out->kind = SCRIPT_TENSOR;
        out->tensor = read_tensor(a, v);
    }
    return out;
}

static enum script_op op_of(const struct json *name)
{
    struct str s;
    assert_true(json_str(name, &s));
    for (enum script_op op = 0; op < N_SCRIPT_OPS; op++)
        if (str_eq_c(s, script_op_name(op)))
            return op;
    fail_msg("no op %.*s", STR_ARG(s));
    return 0;
}

static void read_node(struct arena *a, const struct json *v, struct script_node *n)
{
    const struct json *in = json_at(v, 1), *keywords = json_at(v, 2);
    uint32_t *ids = arena_array(a, in->n + 1, sizeof(*ids)), *out = arena_alloc(a, sizeof(*out));
    n->op = op_of(json_at(v, 0));
    struct json_iter it = json_iter(in);
    for (const struct json *id; (id = json_next(&it));)
        ids[n->n_in++] = (uint32_t)int_of(id);
    n->keywords = arena_array(a, in->n + 1, sizeof(*n->keywords));
    for (uint32_t i = 0; i < in->n; i++) {
        struct str s;
        if (json_str(json_at(keywords, i), &s))
            n->keywords[i] = arena_cstr(a, s);
    }
    *out = (uint32_t)int_of(json_at(v, 3));
    n->in = ids;
    n->out = out;
    n->n_out = 1;
}

static void read_script(struct fixture *f, const struct json *c)
{
    const struct json *consts = json_get(c, "consts"), *nodes = json_get(c, "nodes");
    uint32_t *result = arena_alloc(f->a, sizeof(*result));
    *result = (uint32_t)int_of(json_get(c, "result"));
    f->script = (struct script){.version = (int)int_of(json_get(c, "version")),
                                .n_values = consts->n + nodes->n,
                                .forward = &f->forward};
    f->script.constants = arena_array(f->a, f->script.n_values, sizeof(*f->script.constants));
    for (uint32_t i = 0; i < consts->n; i++)
        f->script.constants[i] = read_value(f->a, json_at(consts, i));
    f->forward =
        (struct script_block){.n_nodes = nodes->n,
                              .nodes = arena_array(f->a, nodes->n, sizeof(struct script_node)),
                              .results = result,
                              .n_results = 1};
    for (uint32_t i = 0; i < nodes->n; i++)
        read_node(f->a, json_at(nodes, i), &f->forward.nodes[i]);
}

/* --- comparing --- */

static bool same_float(double is, double should, double tolerance)
{
    if (isnan(should) || isinf(should))
        return isnan(should) ? isnan(is) : is == should;
    return fabs(is - should) <= tolerance * (fabs(should) > 1 ? fabs(should) : 1);
}

static double tolerance_of(enum dtype d, double of_case)
{
    if (of_case > 0)
        return of_case;
    return d == DTYPE_F64 ? 1e-10 : d == DTYPE_F32 ? 4e-6 : d == DTYPE_F16 ? 2e-3 : 1.6e-2;
}

static bool same_tensor(const struct script_tensor *is, const struct script_tensor *should,
                        double of_case)
{
    if (is->dtype != should->dtype || is->rank != should->rank ||
        memcmp(is->dim, should->dim, sizeof(int64_t) * (size_t)is->rank) != 0) {
        print_error("is %s%s, should be %s%s\n", dtype_torch_name(is->dtype), tensor_shape(is).z,
                    dtype_torch_name(should->dtype), tensor_shape(should).z);
        return false;
    }
    double tolerance = tolerance_of(is->dtype, of_case);
    const struct script_tensor *walked[] = {is, should};
    struct walk w;
    for (walk_init(&w, 2, walked); !w.done; walk_next(&w))
        for (int64_t i = 0; i < w.inner; i++) {
            const char *p = w.p[0] + i * w.inner_stride[0], *q = w.p[1] + i * w.inner_stride[1];
            double x, y;
            elements_load(COMPUTE_F64, is->dtype, p, 0, 1, &x);
            elements_load(COMPUTE_F64, should->dtype, q, 0, 1, &y);
            bool exact = compute_of(is->dtype) == COMPUTE_I64;
            if (exact ? memcmp(p, q, dtype_size(is->dtype)) != 0 : !same_float(x, y, tolerance)) {
                print_error("is %.9g, should be %.9g\n", x, y);
                return false;
            }
        }
    return true;
}

static bool same(const struct datum *is, const struct script_value *should, double tolerance)
{
    bool lists =
        datum_is_items(is) && (should->kind == SCRIPT_LIST || should->kind == SCRIPT_TUPLE);
    if (is->kind != should->kind && !lists) {
        print_error("is %s\n", datum_kind_name(is->kind));
        return false;
    }
    switch (is->kind) {
    case SCRIPT_BOOL:
        return is->b == should->b;
    case SCRIPT_INT:
        return is->i == should->i;
    case SCRIPT_FLOAT:
        return same_float(is->f, should->f, 1e-12);
    case SCRIPT_STR:
        return str_eq(is->text->s, should->s);
    case SCRIPT_TENSOR:
        return same_tensor(&is->view->t, &should->tensor, tolerance);
    case SCRIPT_LIST:
    case SCRIPT_TUPLE:
        if (is->items->n != should->list.n)
            return false;
        for (size_t i = 0; i < is->items->n; i++)
            if (!same(&is->items->v[i], should->list.items[i], tolerance))
                return false;
        return true;
    default:
        return true;
    }
}

/* --- the cases --- */

static struct err *run_nodes(struct script_runner *r, const struct script_block *b)
{
    for (uint32_t i = 0; i < b->n_nodes; i++)
        TRY(run_alone(r, &b->nodes[i], &r->values[b->nodes[i].out[0]]));
    return NULL;
}

static bool check_case(const struct json *c)
{
    struct fixture f = {.a = arena_new(ARENA_NO_LIMIT)};
    struct script_plan *plan;
    bool fails = false, ok = true;
    double tolerance = 0;
    read_script(&f, c);
    json_bool(json_get(c, "fails"), &fails);
    json_f64(json_get(c, "tol"), &tolerance);
    assert_null(script_plan_new(&f.script, kernels_best(), &plan));
    struct script_runner *r = script_runner_new(plan, 1 << 24);
    struct err *err = run_nodes(r, &f.forward);
    if (fails != (err != NULL)) {
        print_error("%s\n", err ? err->reason : "is no error");
        ok = false;
    } else if (!fails) {
        ok = same(runner_datum(r, f.forward.results[0]), read_value(f.a, json_get(c, "expect")),
                  tolerance);
    }
    err_free(err);
    script_runner_free(r);
    script_plan_free(plan);
    arena_free(f.a);
    return ok;
}

static void ops_give_what_pytorch_gives(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    FILE *file = fopen(RUN_CASES, "rb");
    const struct json *root = NULL;
    size_t n = 0, cap = 1 << 22;
    int cases = 0, wrong = 0;
    assert_non_null(file);
    char *text = arena_alloc(a, cap);
    n = fread(text, 1, cap, file);
    fclose(file);
    assert_true(n < cap);
    assert_null(json_parse(a, str_n(text, n), &root));
    struct json_iter it = json_iter(json_get(root, "cases"));
    for (const struct json *c; (c = json_next(&it)); cases++) {
        if (check_case(c))
            continue;
        struct str shown = json_raw(c);
        print_error("case %d: %.*s\n", cases, (int)(shown.n < 700 ? shown.n : 700), shown.p);
        wrong++;
    }
    arena_free(a);
    assert_true(cases > 1500);
    assert_int_equal(wrong, 0);
}

/* --- control flow and results, by hand --- */

enum { MOST_VALUES = 32, MOST_NODES = 16 };

/* A script that is written down value by value; blocks are linked by hand. */
struct hand {
    struct script script;
    struct script_block forward, body[2];
    struct script_node nodes[MOST_NODES], inner[2][MOST_NODES];
    struct script_value values[MOST_VALUES];
    const struct script_value *constants[MOST_VALUES];
    uint32_t ids[4 * MOST_VALUES], n_ids;
};

static void hand_init(struct hand *h)
{
    memset(h, 0, sizeof(*h));
    h->script = (struct script){.version = 10, .n_values = MOST_VALUES, .constants = h->constants};
    h->script.forward = &h->forward;
    h->forward.nodes = h->nodes;
    for (int i = 0; i < 2; i++)
        h->body[i].nodes = h->inner[i];
}

static void hand_int(struct hand *h, uint32_t id, int64_t i)
{
    h->values[id] = (struct script_value){.kind = SCRIPT_INT, .i = i};
    h->constants[id] = &h->values[id];
}

static void hand_bool(struct hand *h, uint32_t id, bool b)
{
    h->values[id] = (struct script_value){.kind = SCRIPT_BOOL, .b = b};
    h->constants[id] = &h->values[id];
}

static const uint32_t *hand_ids(struct hand *h, uint32_t n, const uint32_t *ids)
{
    uint32_t *list = &h->ids[h->n_ids];
    memcpy(list, ids, n * sizeof(*ids));
    h->n_ids += n;
    return list;
}

#define IDS(...)                                                                                   \
    sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), (const uint32_t[])                       \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static struct script_node *hand_node(struct hand *h, struct script_block *b, enum script_op op,
                                     uint32_t n_in, const uint32_t *in, uint32_t n_out,
                                     const uint32_t *out)
{
    struct script_node *n = &b->nodes[b->n_nodes++];
    *n = (struct script_node){.op = op, .n_in = n_in, .n_out = n_out};
    n->in = hand_ids(h, n_in, in);
    n->out = hand_ids(h, n_out, out);
    return n;
}

static void hand_results(struct hand *h, struct script_block *b, uint32_t n, const uint32_t *ids)
{
    b->n_results = n;
    b->results = hand_ids(h, n, ids);
}

static struct err *hand_run(struct hand *h, float *first, int64_t *dim)
{
    struct script_plan *plan;
    struct output out;
    TRY(script_plan_new(&h->script, kernels_best(), &plan));
    struct script_runner *r = script_runner_new(plan, 1 << 24);
    struct err *err = script_run(r, NULL, 0, &out);
    if (!err) {
        *first = out.data[0];
        memcpy(dim, out.dim, sizeof out.dim);
    }
    script_runner_free(r);
    script_plan_free(plan);
    return err;
}

static void fails_with(struct err *err, const char *part)
{
    assert_non_null(err);
    if (!strstr(err->reason, part))
        print_error("%s\n", err->reason);
    assert_non_null(strstr(err->reason, part));
    err_free(err);
}

/* sum = 0; for i in range(0 [trips]): sum = sum + i (goes on while 1 [condition]) */
static void hand_loop(struct hand *h, int64_t trips, bool condition)
{
    hand_init(h);
    hand_int(h, 0, trips);
    hand_bool(h, 1, condition);
    hand_int(h, 2, 0);
    struct script_node *loop =
        hand_node(h, &h->forward, SCRIPT_OP_prim_Loop, IDS(0, 1, 2), IDS(10));
    loop->body[0] = &h->body[0];
    h->body[0].n_params = 2;
    h->body[0].params = hand_ids(h, IDS(11, 12));
    hand_node(h, &h->body[0], SCRIPT_OP_aten_add, IDS(12, 11), IDS(13));
    hand_results(h, &h->body[0], IDS(1, 13));
    hand_node(h, &h->forward, SCRIPT_OP_prim_NumToTensor, IDS(10), IDS(14));
    hand_results(h, &h->forward, IDS(14));
}

static void loops_carry_values(void **state)
{
    struct hand h;
    float first;
    int64_t dim[3];
    hand_loop(&h, 5, true);
    assert_null(hand_run(&h, &first, dim));
    assert_true(first == 10 && dim[0] == 1 && dim[1] == 1 && dim[2] == 1);
    hand_loop(&h, 0, true);
    assert_null(hand_run(&h, &first, dim));
    assert_true(first == 0);
    hand_loop(&h, 5, false);
    assert_null(hand_run(&h, &first, dim));
    assert_true(first == 0);
}

static void endless_loops_end(void **state)
{
    struct hand h;
    float first;
    int64_t dim[3];
    hand_loop(&h, INT64_MAX, true);
    fails_with(hand_run(&h, &first, dim), "takes too many steps");
}

/* if 0: 10 = 1 + 1 else: 10 = 1 (an outer value); tuple (10 as a tensor, 1) */
static void conditions_choose(void **state)
{
    for (int b = 0; b < 2; b++) {
        struct hand h;
        float first;
        int64_t dim[3];
        hand_init(&h);
        hand_bool(&h, 0, b);
        hand_int(&h, 1, 21);
        struct script_node *node = hand_node(&h, &h.forward, SCRIPT_OP_prim_If, IDS(0), IDS(10));
        node->body[0] = &h.body[0];
        node->body[1] = &h.body[1];
        hand_node(&h, &h.body[0], SCRIPT_OP_aten_add, IDS(1, 1), IDS(11));
        hand_results(&h, &h.body[0], IDS(11));
        hand_results(&h, &h.body[1], IDS(1));
        hand_node(&h, &h.forward, SCRIPT_OP_prim_NumToTensor, IDS(10), IDS(12));
        hand_node(&h, &h.forward, SCRIPT_OP_prim_TupleConstruct, IDS(12, 1), IDS(13));
        hand_node(&h, &h.forward, SCRIPT_OP_prim_TupleUnpack, IDS(13), IDS(14, 15));
        hand_node(&h, &h.forward, SCRIPT_OP_prim_ListConstruct, IDS(14, 14), IDS(16));
        hand_node(&h, &h.forward, SCRIPT_OP_prim_ListUnpack, IDS(16), IDS(17, 18));
        hand_node(&h, &h.forward, SCRIPT_OP_prim_TupleConstruct, IDS(17, 15), IDS(19));
        hand_results(&h, &h.forward, IDS(19));
        assert_null(hand_run(&h, &first, dim));
        assert_true(first == (b ? 42 : 21));
    }
}

/* str, hash, seed and random numbers of the same value are the same, of another are not. */
static float random_of(int64_t seed)
{
    struct hand h;
    float first = 0;
    int64_t dim[3];
    hand_init(&h);
    hand_int(&h, 0, seed);
    hand_int(&h, 1, 4);
    hand_node(&h, &h.forward, SCRIPT_OP_prim_NumToTensor, IDS(0), IDS(10));
    hand_node(&h, &h.forward, SCRIPT_OP_prim_DictConstruct, IDS(1, 10), IDS(11));
    hand_node(&h, &h.forward, SCRIPT_OP_aten_str, IDS(11), IDS(12));
    hand_node(&h, &h.forward, SCRIPT_OP_aten_hash, IDS(12), IDS(13));
    hand_node(&h, &h.forward, SCRIPT_OP_aten_manual_seed, IDS(13), IDS(14));
    hand_node(&h, &h.forward, SCRIPT_OP_prim_ListConstruct, IDS(1, 1), IDS(15));
    hand_node(&h, &h.forward, SCRIPT_OP_aten_rand, IDS(15), IDS(16));
    hand_results(&h, &h.forward, IDS(16));
    assert_null(hand_run(&h, &first, dim));
    assert_true(dim[0] == 1 && dim[1] == 4 && dim[2] == 4 && first >= 0 && first < 1);
    return first;
}

static void chance_depends_on_input_alone(void **state)
{
    assert_true(random_of(7) == random_of(7));
    assert_true(random_of(7) != random_of(8));
}

static void four_dimensions_are_refused(void **state)
{
    struct hand h;
    float first;
    int64_t dim[3];
    hand_init(&h);
    hand_int(&h, 0, 1);
    hand_int(&h, 1, 2);
    hand_node(&h, &h.forward, SCRIPT_OP_prim_ListConstruct, IDS(0, 1, 1, 0), IDS(10));
    hand_node(&h, &h.forward, SCRIPT_OP_aten_ones, IDS(10), IDS(11));
    hand_results(&h, &h.forward, IDS(11));
    fails_with(hand_run(&h, &first, dim), "Cannot convert results tensor of size [1, 2, 2, 1]");
    hand_results(&h, &h.forward, IDS(0));
    fails_with(hand_run(&h, &first, dim), "gives int, not a Tensor");
}

/* x = []; repeat: x = [x]: depth is bounded, and so is what recursion over it needs. */
static void lists_are_not_nested_without_end(void **state)
{
    struct hand h;
    float first;
    int64_t dim[3];
    hand_loop(&h, 100, true);
    h.inner[0][0].op = SCRIPT_OP_prim_ListConstruct;
    fails_with(hand_run(&h, &first, dim), "prim::ListConstruct: more than 8 lists");
}

static void values_are_written_once(void **state)
{
    struct hand h;
    float first;
    int64_t dim[3];
    hand_loop(&h, 1, true);
    hand_node(&h, &h.forward, SCRIPT_OP_aten_add, IDS(2, 2), IDS(14));
    fails_with(hand_run(&h, &first, dim), "writes to a value twice");
    hand_loop(&h, 1, true);
    hand_node(&h, &h.forward, SCRIPT_OP_aten_add, IDS(2, 99), IDS(20));
    fails_with(hand_run(&h, &first, dim), "does not exist");
}

/* Every instruction set, tiles whole and cut, the extremes among the numbers. */
static void int8_products_are_exact(void **state)
{
    enum { ROWS = 9, N = 11, K = 3 * INT8_STEP };
    static int16_t x[ROWS * K], w[N * K];
    static int32_t acc[ROWS * N];
    for (int i = 0; i < ROWS * K; i++)
        x[i] = (int16_t)(i * 37 % 383 - 127);
    for (int i = 0; i < N * K; i++)
        w[i] = (int16_t)(i * 53 % 256 - 128);
    for (size_t at = 0; int8_product_at(at); at++)
        for (size_t rows = 1; rows <= ROWS; rows++)
            for (size_t n = 1; n <= N; n++) {
                int8_product_at(at)(x, w, rows, n, K, acc);
                for (size_t i = 0; i < rows * n; i++) {
                    int32_t sum = 0;
                    for (size_t k = 0; k < K; k++)
                        sum += x[i / n * K + k] * w[i % n * K + k];
                    assert_int_equal(acc[i], sum);
                }
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ops_give_what_pytorch_gives),
        cmocka_unit_test(int8_products_are_exact),
        cmocka_unit_test(loops_carry_values),
        cmocka_unit_test(endless_loops_end),
        cmocka_unit_test(conditions_choose),
        cmocka_unit_test(chance_depends_on_input_alone),
        cmocka_unit_test(four_dimensions_are_refused),
        cmocka_unit_test(lists_are_not_nested_without_end),
        cmocka_unit_test(values_are_written_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
