/* Random lists of nodes: bytes choose ops, and arguments among the values there are, mostly of a
 * kind that the op takes. What runs one by one must run as a script too, and give the same bits. */
#include <stdlib.h>

#include "bug.h"
#include "graph.h"
#include "pointwise.h"
#include "step.h"
#include "strided.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { N_CONSTANTS = 48, MOST_NODES = 48, MOST_ARGS = 9, N_VALUES = N_CONSTANTS + 4 * MOST_NODES };

/* t tensor, n number or tensor, i int, f float, b bool, s str, l list of ints, k list of tensors,
 * d dtype, o anything, p packed weight, - None. */
static const char *const signatures[N_SCRIPT_OPS] = {
    [SCRIPT_OP_aten_Int] = "n",
    [SCRIPT_OP_aten_IntImplicit] = "t",
    [SCRIPT_OP_aten_ScalarImplicit] = "t",
    [SCRIPT_OP_aten___and__] = "nn",
    [SCRIPT_OP_aten__convolution] = "tttlllbli",
    [SCRIPT_OP_aten_add] = "nnn",
    [SCRIPT_OP_aten_add_] = "nn",
    [SCRIPT_OP_aten_arange] = "nnn",
    [SCRIPT_OP_aten_bmm] = "tt",
    [SCRIPT_OP_aten_cat] = "ki",
    [SCRIPT_OP_aten_chunk] = "tii",
    [SCRIPT_OP_aten_clamp] = "tnn",
    [SCRIPT_OP_aten_clamp_min] = "tn",
    [SCRIPT_OP_aten_copy_] = "tn",
    [SCRIPT_OP_aten_cumsum] = "tid",
    [SCRIPT_OP_aten_div] = "nns",
    [SCRIPT_OP_aten_div_] = "tn",
    [SCRIPT_OP_aten_dropout] = "tfb",
    [SCRIPT_OP_aten_embedding] = "tt",
    [SCRIPT_OP_aten_eq] = "nn",
    [SCRIPT_OP_aten_expand] = "tl",
    [SCRIPT_OP_aten_expand_as] = "tt",
    [SCRIPT_OP_aten_fill_] = "tn",
    [SCRIPT_OP_aten_floor_divide] = "nn",
    [SCRIPT_OP_aten_full] = "lnd",
    [SCRIPT_OP_aten_full_like] = "tnd",
    [SCRIPT_OP_aten_gather] = "tit",
    [SCRIPT_OP_aten_ge] = "nn",
    [SCRIPT_OP_aten_gelu] = "ts",
    [SCRIPT_OP_aten_gt] = "nn",
    [SCRIPT_OP_aten_hash] = "o",
    [SCRIPT_OP_aten_index] = "tk",
    [SCRIPT_OP_aten_index_put_] = "tktb",
    [SCRIPT_OP_aten_layer_norm] = "tlttf",
    [SCRIPT_OP_aten_le] = "nn",
    [SCRIPT_OP_aten_len] = "o",
    [SCRIPT_OP_aten_linalg_vector_norm] = "tnlb",
    [SCRIPT_OP_aten_linear] = "ttt",
    [SCRIPT_OP_aten_lt] = "nn",
    [SCRIPT_OP_aten_manual_seed] = "i",
    [SCRIPT_OP_aten_masked_fill] = "ttn",
    [SCRIPT_OP_aten_masked_fill_] = "ttn",
    [SCRIPT_OP_aten_matmul] = "tt",
    [SCRIPT_OP_aten_max] = "tib",
    [SCRIPT_OP_aten_mean] = "tlb",
    [SCRIPT_OP_aten_min] = "tib",
    [SCRIPT_OP_aten_mul] = "nn",
    [SCRIPT_OP_aten_mul_] = "nn",
    [SCRIPT_OP_aten_ne] = "nn",
    [SCRIPT_OP_aten_new_ones] = "tld",
    [SCRIPT_OP_aten_new_zeros] = "tld",
    [SCRIPT_OP_aten_norm] = "tnlb",
    [SCRIPT_OP_aten_ones] = "ld",
    [SCRIPT_OP_aten_pad] = "tlsf",
    [SCRIPT_OP_aten_permute] = "tl",
    [SCRIPT_OP_aten_pow] = "nn",
    [SCRIPT_OP_aten_rand] = "l",
    [SCRIPT_OP_aten_repeat] = "tl",
    [SCRIPT_OP_aten_reshape] = "tl",
    [SCRIPT_OP_aten_rsub] = "nn",
    [SCRIPT_OP_aten_scaled_dot_product_attention] = "tttt",
    [SCRIPT_OP_aten_select] = "tii",
    [SCRIPT_OP_aten_size] = "ti",
    [SCRIPT_OP_aten_slice] = "tiiii",
    [SCRIPT_OP_aten_softmax] = "tid",
    [SCRIPT_OP_aten_split] = "tii",
    [SCRIPT_OP_aten_squeeze] = "ti",
    [SCRIPT_OP_aten_stack] = "ki",
    [SCRIPT_OP_aten_str] = "o",
    [SCRIPT_OP_aten_sub] = "nn",
    [SCRIPT_OP_aten_sum] = "tlb",
    [SCRIPT_OP_aten_tensor] = "o",
    [SCRIPT_OP_aten_to] = "td",
    [SCRIPT_OP_aten_transpose] = "tii",
    [SCRIPT_OP_aten_triu] = "ti",
    [SCRIPT_OP_aten_type_as] = "tt",
    [SCRIPT_OP_aten_unsqueeze] = "ti",
    [SCRIPT_OP_aten_view] = "tl",
    [SCRIPT_OP_aten_where] = "tnn",
    [SCRIPT_OP_aten_zeros] = "ld",
    [SCRIPT_OP_prim_DictConstruct] = "oo",
    [SCRIPT_OP_prim_ListConstruct] = "iii",
    [SCRIPT_OP_prim_NumToTensor] = "n",
    [SCRIPT_OP_prim_TupleConstruct] = "ooo",
    [SCRIPT_OP_prim_max] = "nn",
    [SCRIPT_OP_prim_min] = "nn",
    [SCRIPT_OP_quantized_linear_dynamic] = "tpb",
};

struct bytes {
    const uint8_t *p;
    size_t n;
};

static uint8_t take(struct bytes *b)
{
    if (!b->n)
        return 0;
    b->n--;
    return *b->p++;
}

struct fuzz {
    struct arena *a;
    struct bytes bytes;
    struct script script;
    struct script_block forward, body;
    struct script_node nodes[MOST_NODES], inner[MOST_NODES];
    struct script_runner *runner;
    uint32_t next; /* value to be written */
};

/* --- constants --- */

static void constant(struct fuzz *f, uint32_t id, struct script_value v)
{
    struct script_value *kept = arena_alloc(f->a, sizeof(*kept));
    *kept = v;
    f->script.constants[id] = kept;
}

/* Shapes and strides of all kinds over 256 bytes, which hold every element. */
static struct script_tensor random_tensor(struct fuzz *f)
{
    static const enum dtype dtypes[] = {DTYPE_F32,  DTYPE_F32, DTYPE_F32, DTYPE_I64,
                                        DTYPE_F16,  DTYPE_I32, DTYPE_I8,  DTYPE_U8,
                                        DTYPE_BOOL, DTYPE_F64, DTYPE_I16, DTYPE_BF16};
    struct script_tensor t = {.dtype = dtypes[take(&f->bytes) % 12]};
    uint8_t *memory = arena_alloc(f->a, 256);
    int64_t room = 256 / (int64_t)dtype_size(t.dtype) - 1;
    t.rank = take(&f->bytes) % 5;
    for (int i = t.rank; i-- > 0;) {
        uint8_t b = take(&f->bytes);
        t.dim[i] = b % 5;
        t.stride[i] = b >> 4;
        if (t.dim[i] > 1 && (t.dim[i] - 1) * t.stride[i] > room)
            t.stride[i] = 0;
        room -= t.dim[i] > 1 ? (t.dim[i] - 1) * t.stride[i] : 0;
    }
    for (int i = 0; i < 256; i++)
        memory[i] = t.dtype == DTYPE_BOOL ? take(&f->bytes) & 1 : take(&f->bytes);
    if (t.dtype == DTYPE_I64 && take(&f->bytes) % 4) /* small enough for an index */
        for (size_t i = 0; i < 32; i++)
            ((int64_t *)(void *)memory)[i] %= 5;
    if (t.dtype == DTYPE_F32 && take(&f->bytes) % 4)
        for (size_t i = 0; i < 64; i++)
            ((float *)(void *)memory)[i] = (float)(int8_t)memory[4 * i] / 16;
    t.data = memory;
    return t;
}

static struct script_value random_list(struct fuzz *f, bool tensors)
{
    struct script_value v = {.kind = SCRIPT_LIST};
    v.list.n = take(&f->bytes) % 5;
    const struct script_value **items = arena_array(f->a, 5, sizeof(*items));
    for (size_t i = 0; i < v.list.n; i++) {
        struct script_value *item = arena_alloc(f->a, sizeof(*item));
        uint8_t b = take(&f->bytes);
        if (tensors && b % 4)
            *item = *f->script.constants[b % 16];
        else if (!tensors)
            *item = (struct script_value){.kind = SCRIPT_INT, .i = (int8_t)b % 6};
        items[i] = item;
    }
    v.list.items = items;
    return v;
}

/* What two ops must have before they begin: images for convolutions, rows for int8 products. */
static struct script_tensor dense_tensor(struct fuzz *f, enum dtype d, int rank)
{
    struct script_tensor t = random_tensor(f);
    t.dtype = d;
    t.rank = rank;
    t.dim[0] = 1 + take(&f->bytes) % 2;
    t.dim[1] = rank == 2 ? 1 + take(&f->bytes) % 4 : 2;
    t.dim[2] = 1 + take(&f->bytes) % 4;
    dense_strides(&t);
    for (size_t i = 0; d == DTYPE_F32 && i < 64; i++)
        ((float *)t.data)[i] = (float)(take(&f->bytes) % 64) / 16 - 2;
    return t;
}

static struct script_value random_packed(struct fuzz *f)
{
    struct script_packed *p = arena_alloc(f->a, sizeof(*p));
    p->weight = take(&f->bytes) % 4 ? dense_tensor(f, DTYPE_I8, 2) : random_tensor(f);
    p->scale = 0.01f;
    p->zero_point = (int8_t)take(&f->bytes);
    return (struct script_value){.kind = SCRIPT_PACKED, .packed = p};
}

static struct script_value list_of_one(struct fuzz *f, uint32_t item)
{
    const struct script_value **items = arena_array(f->a, 1, sizeof(*items));
    items[0] = f->script.constants[item];
    return (struct script_value){.kind = SCRIPT_LIST, .list = {.items = items, .n = 1}};
}

static void make_constants(struct fuzz *f)
{
    static const int64_t ints[] = {0, 1, 2, 3, -1, -2, 6, 4, INT64_MAX, INT64_MIN};
    static const double floats[] = {0.5, -1.5, 1e300, 0};
    f->script.constants = arena_array(f->a, N_VALUES, sizeof(*f->script.constants));
    for (uint32_t id = 0; id < N_CONSTANTS; id++) {
        struct script_value v = {.kind = SCRIPT_NONE};
        if (id < 4)
            v = (struct script_value){.kind = SCRIPT_TENSOR,
                                      .tensor = dense_tensor(f, DTYPE_F32, 2 + (int)id / 2)};
        else if (id < 16)
            v = (struct script_value){.kind = SCRIPT_TENSOR, .tensor = random_tensor(f)};
        else if (id < 26)
            v = (struct script_value){.kind = SCRIPT_INT, .i = ints[id - 16]};
        else if (id < 30)
            v = (struct script_value){.kind = SCRIPT_FLOAT, .f = floats[id - 26]};
        else if (id < 32)
            v = (struct script_value){.kind = SCRIPT_BOOL, .b = id % 2};
        else if (id == 32)
            v = (struct script_value){.kind = SCRIPT_STR, .s = STR("floor")};
        else if (id == 33)
            v = (struct script_value){.kind = SCRIPT_STR, .s = STR("reflect")};
        else if (id < 36) /* [0] and [1] */
            v = list_of_one(f, 16 + id % 2);
        else if (id < 44)
            v = random_list(f, id >= 38);
        else if (id < 47)
            v = random_packed(f);
        constant(f, id, v);
    }
}

/* --- nodes --- */

static bool suits(char wanted, const struct datum *v)
{
    switch (wanted) {
    case 't':
        return v->kind == SCRIPT_TENSOR;
    case 'n':
        return v->kind == SCRIPT_TENSOR || datum_is_number(v);
    case 'i':
    case 'd':
        return v->kind == SCRIPT_INT;
    case 'f':
        return v->kind == SCRIPT_FLOAT;
    case 'b':
        return v->kind == SCRIPT_BOOL;
    case 's':
        return v->kind == SCRIPT_STR;
    case 'l':
        return v->kind == SCRIPT_LIST && v->items->n && v->items->v[0].kind == SCRIPT_INT;
    case 'k':
        return v->kind == SCRIPT_LIST && v->items->n && v->items->v[0].kind == SCRIPT_TENSOR;
    case 'p':
        return v->kind == SCRIPT_PACKED;
    default:
        return true;
    }
}

/* Mostly one that suits, the newest first from a random place. */
static uint32_t choose(struct fuzz *f, char wanted)
{
    uint8_t b = take(&f->bytes);
    uint32_t at = f->next - 1 - b % f->next;
    for (uint32_t i = 0; i < f->next && b < 240; i++) {
        uint32_t id = (at + f->next - i) % f->next;
        if (suits(wanted, runner_datum(f->runner, id)))
            return id;
    }
    return at;
}

static uint32_t outputs(struct fuzz *f, const struct script_node *n)
{
    if (n->op != SCRIPT_OP_prim_ListUnpack && n->op != SCRIPT_OP_prim_TupleUnpack)
        return 1;
    const struct datum *v = runner_datum(f->runner, n->in[0]);
    return datum_is_items(v) && v->items->n <= 4 ? (uint32_t)v->items->n : 1;
}

static void make_node(struct fuzz *f, struct script_node *n)
{
    static const char *const keywords[] = {"dim", "alpha", "dtype", "keepdim", "approximate"};
    *n = (struct script_node){.op = take(&f->bytes) % N_SCRIPT_OPS};
    const char *signature = signatures[n->op] ? signatures[n->op] : "t";
    uint8_t shape = take(&f->bytes);
    uint32_t most = (uint32_t)strlen(signature), least = most < 2 ? most : 2;
    uint32_t *in = arena_array(f->a, MOST_ARGS, sizeof(*in));
    uint32_t *out = arena_array(f->a, 4, sizeof(*out));
    n->n_in = shape % 2 ? most : least + shape / 2 % (most - least + 1);
    n->keywords = arena_array(f->a, MOST_ARGS, sizeof(*n->keywords));
    for (uint32_t i = 0; i < n->n_in; i++)
        in[i] = choose(f, signature[i]);
    static const uint32_t image[] = {2, 3, 47, 35, 34, 35, 30, 34, 17};
    for (uint32_t i = 0; n->op == SCRIPT_OP_aten__convolution && i < n->n_in; i++)
        if (take(&f->bytes) % 8) /* chance alone never gets there */
            in[i] = image[i];
    if (n->n_in > 1 && shape > 220)
        n->keywords[n->n_in - 1] = keywords[shape % 5];
    n->in = in;
    n->out = out;
    n->n_out = outputs(f, n);
    for (uint32_t i = 0; i < n->n_out; i++)
        out[i] = f->next + i;
}

/* Nodes that ran; the others are forgotten. */
static uint32_t run_apart(struct fuzz *f)
{
    uint32_t n = 0;
    while (n < MOST_NODES && f->bytes.n && f->next + 4 < N_VALUES) {
        struct script_node *node = &f->nodes[n];
        make_node(f, node);
        struct datum *out = &f->runner->values[f->next];
        struct err *err = run_alone(f->runner, node, out);
        if (err) {
            for (uint32_t i = 0; i < node->n_out; i++)
                datum_drop(f->runner, &f->runner->values[f->next + i]);
            BUG_ON(!err->reason || err->kind != ERR_ARGUMENT);
            err_free(err);
            continue;
        }
        f->next += node->n_out;
        n++;
    }
    return n;
}

/* --- as a script --- */

static void limit(struct script_runner *r)
{
    r->max_work = 1 << 20;
    r->max_steps = 1 << 12;
}

static struct err *run_script(struct fuzz *f, struct output *out, struct script_runner **r,
                              struct script_plan **plan)
{
    *r = NULL;
    TRY(script_plan_new(&f->script, kernels_best(), plan));
    *r = script_runner_new(*plan, 1 << 20);
    limit(*r);
    return script_run(*r, NULL, 0, out);
}

static void check_same(const struct fuzz *f, uint32_t id, const struct output *out)
{
    const struct datum *v = runner_datum(f->runner, id);
    BUG_ON(v->kind != SCRIPT_TENSOR);
    const struct script_tensor *t = &v->view->t;
    BUG_ON(tensor_numel(t) != out->dim[0] * out->dim[1] * out->dim[2]);
    const struct script_tensor *walked[] = {t};
    const float *is = out->data;
    struct walk w;
    for (walk_init(&w, 1, walked); !w.done; walk_next(&w))
        for (int64_t i = 0; i < w.inner; i++, is++) {
            float should;
            elements_load(COMPUTE_F32, t->dtype, w.p[0] + i * w.inner_stride[0], 0, 1, &should);
            BUG_ON(memcmp(is, &should, sizeof should) != 0 && !(*is != *is && should != should));
        }
}

static uint32_t last_tensor(const struct fuzz *f)
{
    for (uint32_t id = f->next; id-- > N_CONSTANTS;)
        if (runner_datum(f->runner, id)->kind == SCRIPT_TENSOR)
            return id;
    return NO_VALUE;
}

static void run_whole(struct fuzz *f, uint32_t n_nodes)
{
    struct script_plan *plan = NULL;
    struct script_runner *r;
    struct output out;
    uint32_t result = last_tensor(f);
    if (result == NO_VALUE)
        return;
    f->forward.n_nodes = n_nodes;
    f->forward.results = &result;
    struct err *err = run_script(f, &out, &r, &plan);
    if (!err)
        check_same(f, result, &out);
    err_free(err);
    script_runner_free(r);
    script_plan_free(plan);
}

/* The later nodes in a loop or a branch that gives its last value. */
static void run_nested(struct fuzz *f, uint32_t n_nodes)
{
    static const uint32_t trips = 18, yes = 31;
    struct script_plan *plan = NULL;
    struct script_runner *r;
    struct output out;
    if (n_nodes < 2)
        return;
    uint32_t at = n_nodes / 2, value = f->next - 1;
    bool loop = value % 2;
    uint32_t in[] = {loop ? trips : yes, yes, trips}, params[] = {f->next, f->next + 1};
    uint32_t outs[] = {f->next + 2}, results[] = {yes, value};
    struct script_node *node = &f->nodes[at];
    memcpy(f->inner, node, (n_nodes - at) * sizeof(*node));
    f->body = (struct script_block){.params = params,
                                    .n_params = loop ? 2 : 0,
                                    .nodes = f->inner,
                                    .n_nodes = n_nodes - at,
                                    .results = loop ? results : results + 1,
                                    .n_results = loop ? 2 : 1};
    *node = (struct script_node){.op = loop ? SCRIPT_OP_prim_Loop : SCRIPT_OP_prim_If,
                                 .n_in = loop ? 3 : 1,
                                 .in = in,
                                 .n_out = 1,
                                 .out = outs,
                                 .body = {&f->body, &f->body}};
    struct script_block empty = {.results = results, .n_results = 1};
    if (!loop)
        node->body[1] = &empty;
    f->forward.n_nodes = at + 1;
    f->forward.results = outs;
    err_free(run_script(f, &out, &r, &plan));
    script_runner_free(r);
    script_plan_free(plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fuzz *f = mem_new(sizeof(*f));
    struct script_plan *plan = NULL;
    f->a = arena_new(ARENA_NO_LIMIT);
    f->bytes = (struct bytes){.p = data, .n = n};
    f->next = N_CONSTANTS;
    f->script = (struct script){.version = 1 + take(&f->bytes) % 10, .n_values = N_VALUES};
    make_constants(f);
    static const uint32_t first[] = {0};
    f->forward = (struct script_block){.nodes = f->nodes, .results = first, .n_results = 1};
    f->script.forward = &f->forward;
    struct err *err = script_plan_new(&f->script, kernels_best(), &plan);
    BUG_ON(err != NULL);
    for (uint32_t id = 44; id < 47; id++)
        BUG_ON(pack_int8(plan, f->script.constants[id]->packed) != NULL);
    f->runner = script_runner_new(plan, 1 << 20);
    limit(f->runner);
    uint32_t n_nodes = run_apart(f);
    run_whole(f, n_nodes);
    run_nested(f, n_nodes);
    script_runner_free(f->runner);
    script_plan_free(plan);
    arena_free(f->a);
    free(f);
    return 0;
}
