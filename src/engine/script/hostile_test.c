/* Archives made to do harm: attacks that the engine of Elasticsearch tests against
 * (trained_models.md 16), and damage of every kind to whole archives. Code as libtorch prints it.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "archive_testing.h"
#include "bug.h"
#include "file.h"

#define SELF  "  def forward(self: __torch__.M, x: Tensor, y: Tensor) -> Tensor:\n"
#define CLASS "class M(Module):\n  __parameters__ = []\n  __buffers__ = []\n"
#define M     CLASS SELF
#define UNRECOGNISED                                                                               \
    "Model graph does not match any supported architecture. Unrecognised operations: "

static void expect_file_refused(const char *file, const char *reason)
{
    struct script *s = NULL;
    struct err *err = script_load(file, NULL, &s);
    assert_non_null(err);
    assert_int_equal(err->kind, ERR_ARGUMENT);
    if (!strstr(err->reason, reason))
        fail_msg("[%s] is not in [%s]", reason, err->reason);
    err_free(err);
    err = program_check_script(file, NULL);
    assert_non_null(err);
    err_free(err);
}

static void expect_refused(const char *code, const char *reason)
{
    struct maker m;
    maker_init(&m);
    maker_code(&m, "10\n", code);
    expect_file_refused(maker_file(&m), reason);
    maker_deinit(&m);
}

static void refuses_to_read_files(void **state)
{
    const char *reason = "Model contains forbidden operations: aten::from_file";
    expect_refused(M "    return torch.from_file(\"/etc/passwd\", False, 10)\n", reason);
    expect_refused(M "    z = torch.add(x, y)\n"
                     "    a = torch.from_file(\"/etc/passwd\", False, 10)\n"
                     "    b = torch.unknown_to_all(a)\n"
                     "    return torch.add(a, z)\n",
                   reason); /* unknown ones are not listed then */
    expect_refused(M "    return x\n"
                     "  def helper(self: __torch__.M, x: Tensor) -> Tensor:\n"
                     "    return torch.from_file(\"/etc/passwd\", False, 10)\n",
                   reason); /* never called */
    expect_refused(M "    if torch.gt(torch.size(x, 0), 100):\n"
                     "      z = x\n"
                     "    else:\n"
                     "      z = torch.from_file(\"/etc/passwd\", False, 10)\n"
                     "    return x\n",
                   reason);
    expect_refused("class A(Module):\n  def forward(self: __torch__.A, x: Tensor) -> Tensor:\n"
                   "    return torch.save(x, \"/tmp/x\")\n"
                   "class B(Module):\n  def forward(self: __torch__.B, x: Tensor) -> Tensor:\n"
                   "    return torch.from_file(\"/etc/passwd\", False, 10)\n" M "    return x\n",
                   "Model contains forbidden operations: aten::from_file, aten::save");
}

static void refuses_to_look_at_memory(void **state)
{
    expect_refused(M "    z = x\n"
                     "    for i in range(100):\n"
                     "      a = torch.as_strided(x, [1], [1], torch.add(i, -4096))\n"
                     "      v = torch.hex(int(a))\n"
                     "      if torch.eq(v, \"0x7f\"):\n"
                     "        ops.prim.RaiseException(v, \"builtins.RuntimeError\")\n"
                     "      else:\n"
                     "        pass\n"
                     "    return z\n",
                   "Model contains forbidden operations: aten::as_strided");
    expect_refused(M "    z = x\n"
                     "    for i in range(100):\n"
                     "      z = ops.inductor._reinterpret_tensor(z, [100], [1], 4096)\n"
                     "    return z\n",
                   "Model contains forbidden operations: inductor::_reinterpret_tensor");
    expect_refused(M "    f = x\n    return f(y, )\n",
                   "Model contains forbidden operations: prim::CallFunction");
    expect_refused(M "    return (x).backward(y, )\n",
                   "Model contains forbidden operations: prim::CallMethod");
    expect_refused(M "    return __torch__.nothing(y, )\n",
                   "Model contains forbidden operations: prim::CallFunction");
}

static void refuses_what_it_does_not_know(void **state)
{
    expect_refused(M "    a = torch.sin_(torch.logit(x))\n"
                     "    b = ops.mkldnn._linear(a)\n"
                     "    if bool(torch.sum(x)):\n"
                     "      c = float(torch.item(a))\n"
                     "    else:\n"
                     "      c = 1.\n"
                     "    return torch.add(b, c)\n",
                   UNRECOGNISED "aten::Bool, aten::Float, aten::item, aten::logit, aten::sin_, "
                                "mkldnn::_linear");
    expect_refused(CLASS "  n : int\n" SELF "    self.n = 5\n    print(x)\n    return x\n",
                   UNRECOGNISED "prim::Print, prim::SetAttr");
    expect_refused(M "    d = {\"a\": x}\n    return d[\"a\"]\n", UNRECOGNISED "aten::__getitem__");
    expect_refused(M "    a, b, = torch.split(x, 1)\n    c = [a, b]\n    return c[0]\n",
                   UNRECOGNISED "aten::__getitem__");
    expect_refused(M "    with x:\n"
                     "      z = torch.wait(fork(y))\n"
                     "    def __forked_function():\n"
                     "      return torch.logit(x)\n"
                     "    return x\n",
                   UNRECOGNISED "aten::logit, aten::wait, prim::Closure, prim::Enter, prim::fork");
    expect_refused(M "    return annotate(float, x)\n", UNRECOGNISED "aten::FloatImplicit");
    expect_refused(M "    return __torch__.M.__new__(__torch__.M)\n",
                   UNRECOGNISED "prim::CreateObject");
    expect_refused(M "    return torch.is_grad_enabled()\n", UNRECOGNISED "aten::is_grad_enabled");
}

static void refuses_state_hooks(void **state)
{
    struct maker m;
    const char *reason = "Model archive contains custom state hooks: ";
    expect_refused(M "    return x\n"
                     "  def __setstate__(self: __torch__.M, state: Tensor) -> NoneType:\n"
                     "    return None\n",
                   "custom state hooks: [code/__torch__.py]");
    expect_refused(M "    return torch.len(\"__getstate__\")\n", reason);
    maker_init(&m); /* anywhere, across the pieces it is read in */
    size_t n = (size_t)600 << 10;
    char *bytes = mem_new(n);
    memcpy(bytes + (256 << 10) - 5, "__setstate__", 12);
    maker_code(&m, "10\n", M "    return x\n");
    maker_add(&m, "x/extra/notes", str_n(bytes, n));
    expect_file_refused(maker_file(&m), "custom state hooks: [extra/notes]");
    maker_deinit(&m);
    maker_init(&m);
    maker_code(&m, "10\n", M "    return x\n");
    maker_deflate(&m, "x/data/3", str_n(bytes, n));
    expect_file_refused(maker_file(&m), "custom state hooks: [data/3]");
    maker_deinit(&m);
    free(bytes);
}

static void refuses_long_names(void **state)
{
    struct maker m;
    char name[600];
    int n = snprintf(name, sizeof(name), "x/code/__torch__/%0512d.py", 1);
    maker_init(&m);
    maker_code(&m, "10\n", M "    return x\n");
    maker_raw(&m, str_n(name, (size_t)n), 0, STR(""), 0, 0);
    expect_file_refused(maker_file(&m),
                        "Model archive failed pre-load state-hook scan (unreadable or truncated "
                        "zip record; possible evasion)");
    maker_deinit(&m);
}

static void refuses_unreadable_entries(void **state)
{
    struct maker m;
    maker_init(&m);
    maker_code(&m, "10\n", M "    return x\n");
    maker_raw(&m, STR("x/extra/a"), 0, STR("hello"), 5, 1);
    expect_file_refused(maker_file(&m), "possible evasion");
    maker_deinit(&m);
}

static void refuses_what_is_missing(void **state)
{
    static const char *const reasons[] = {"has no [data.pkl]", "has no [version]"};
    char pickle[256];
    for (int i = 0; i < 2; i++) {
        struct maker m;
        maker_init(&m);
        maker_add(&m, "x/code/__torch__.py", STR(M "    return x\n"));
        if (i == 1)
            maker_add(&m, "x/data.pkl", maker_module_pickle("__torch__", "M", pickle));
        else
            maker_add(&m, "x/version", STR("3"));
        expect_file_refused(maker_file(&m), reasons[i]);
        maker_deinit(&m);
    }
}

static void refuses_other_formats(void **state)
{
    struct maker m;
    static const char *const versions[] = {"0\n", "11\n", "x", "", "-1"};
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        maker_init(&m);
        maker_code(&m, versions[i], M "    return x\n");
        expect_file_refused(maker_file(&m), "; 1 to 10 can be read");
        maker_deinit(&m);
    }
    maker_init(&m);
    maker_code(&m, "10\n", M "    return x\n");
    maker_add(&m, "x/.data/version", STR("3\n"));
    expect_file_refused(maker_file(&m), "[.data/version] is a second version");
    maker_deinit(&m);
    maker_init(&m);
    maker_code(&m, "10\n", M "    return x\n");
    maker_add(&m, "x/byteorder", STR("big"));
    expect_file_refused(maker_file(&m), "has the byte order [big]; [little] is needed");
    maker_deinit(&m);
    maker_init(&m);
    maker_add(&m, "x/version", STR("3"));
    maker_add(&m, "x/data.pkl", STR("\x80\x02K\x01."));
    expect_file_refused(maker_file(&m), "holds no module");
    maker_deinit(&m);
}

static void respects_the_weight_limit(void **state)
{
    struct engine_limits limits = {.max_weight_bytes = 1000};
    struct maker m;
    struct script *s = NULL;
    char bytes[600] = {0};
    maker_init(&m);
    maker_code(&m, "10\n", M "    return x\n");
    maker_add(&m, "x/data/0", str_n(bytes, sizeof(bytes)));
    maker_add(&m, "x/data/1", str_n(bytes, sizeof(bytes)));
    struct err *err = script_load(maker_file(&m), &limits, &s);
    assert_non_null(err);
    assert_non_null(strstr(err->reason, "has tensors of more than [1000] bytes"));
    err_free(err);
    maker_deinit(&m);
}

/* constants.pkl with this inside a tuple, and forward that returns its first. */
static void expect_constant_refused(struct str pickle, const char *reason)
{
    struct maker m;
    char root[256];
    maker_init(&m);
    maker_add(&m, "x/version", STR("3\n"));
    maker_add(&m, "x/data.pkl", maker_module_pickle("__torch__", "M", root));
    maker_add(&m, "x/constants.pkl", pickle);
    maker_add(&m, "x/code/__torch__.py", STR(M "    return CONSTANTS.c0\n"));
    expect_file_refused(maker_file(&m), reason);
    maker_deinit(&m);
}

static void refuses_strange_constants(void **state)
{
    const char *nested = "uses a value that holds itself or is nested too deeply";
    char deep[5000];
    expect_constant_refused(STR("\x80\x02]q\0h\0a\x85."), nested);
    memset(deep, ']', sizeof(deep)); /* [[[[...]]]] */
    memcpy(deep, "\x80\x02", 2);
    memset(deep + 2000, 'a', 1997);
    memcpy(deep + 3997, "\x85.", 2);
    expect_constant_refused(str_n(deep, 3999), nested);
    expect_constant_refused(STR("\x80\x02"
                                "ctorch\nFloatStorage\n\x85."),
                            "uses what is no value");
    expect_constant_refused(STR("\x80\x02"
                                "c__torch__\nM\n)\x81\x85."),
                            "uses an object of [__torch__.M] as a value");
    expect_constant_refused(STR("\x80\x02"
                                "cos\nsystem\n\x85."),
                            "names the global [os.system]");
}

static void put_u32(struct buf *b, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        buf_char(b, (char)(v >> 8 * i & 0xff));
}

/* data.pkl of a module with n submodules "0", "1" ... */
static void put_modules(struct buf *b, int n)
{
    buf_put(b, STR("\x80\x02"
                   "c__torch__\nM\n)\x81}("));
    for (int i = 0; i < n; i++) {
        char name[20];
        int length = snprintf(name, sizeof(name), "%d", i);
        buf_char(b, 'X');
        put_u32(b, (uint32_t)length);
        buf_put(b, str_n(name, (size_t)length));
        buf_put(b, STR("c__torch__\nN\n)\x81}b"));
    }
    buf_put(b, STR("ub."));
}

static void copes_with_many_submodules(void **state)
{
    const int n = 10000;
    struct maker m;
    struct buf pickle, code;
    struct script *s = NULL;
    buf_init(&pickle, SIZE_MAX);
    buf_init(&code, SIZE_MAX);
    put_modules(&pickle, n);
    buf_cstr(&code, "class N(Module):\n  def forward(self: __torch__.N, x: Tensor) -> Tensor:\n"
                    "    return torch.neg(x)\n" M);
    buf_cstr(&code, "    x0 = x\n");
    for (int i = 0; i < n; i++)
        buf_printf(&code, "    x%d = (getattr(self, \"%d\")).forward(x%d, )\n", i + 1, i, i);
    buf_printf(&code, "    return x%d\n", n);
    maker_init(&m);
    maker_add(&m, "x/version", STR("3\n"));
    maker_add(&m, "x/data.pkl", buf_str(&pickle));
    maker_add(&m, "x/code/__torch__.py", buf_str(&code));
    struct err *err = script_load(maker_file(&m), NULL, &s);
    if (err)
        fail_msg("%s", err->reason);
    assert_int_equal(s->forward->n_nodes, n);
    script_free(s);
    maker_deinit(&m);
    buf_deinit(&pickle);
    buf_deinit(&code);
}

static void refuses_long_chains(void **state)
{
    struct buf code;
    buf_init(&code, SIZE_MAX);
    buf_cstr(&code, "def f0(x: Tensor) -> Tensor:\n  return x\n");
    for (int i = 1; i < 10000; i++)
        buf_printf(&code, "def f%d(x: Tensor) -> Tensor:\n  return __torch__.f%d(x, )\n", i, i - 1);
    buf_cstr(&code, M "    return __torch__.f9999(x, )\n");
    buf_char(&code, 0);
    expect_refused(code.p, "is nested too deeply");
    buf_deinit(&code);
}

static struct str fixture(struct arena *a, const char *folder, const char *name)
{
    struct str bytes = {0};
    assert_null(file_read(folder, name, 1 << 20, a, &bytes));
    return bytes;
}

/* Never a crash; whatever still loads is a script that can be shown. */
static void try(struct maker *m, struct str bytes)
{
    struct script *s = NULL;
    struct buf text;
    struct err *err = script_load(maker_bytes(m, bytes), NULL, &s);
    if (err) {
        assert_int_equal(err->kind, ERR_ARGUMENT);
        err_free(err);
        return;
    }
    buf_init(&text, 1 << 16);
    script_dump(s, &text);
    buf_deinit(&text);
    script_free(s);
}

static void survives_truncation(void **state)
{
    static const char *const files[][2] = {
        {MODEL_FIXTURES "/eland_tiny/bert_text_embedding_quantized", "model.pt"},
        {MODEL_FIXTURES, "supersimple_pytorch_model.pt"},
        {ENGINE_FIXTURES "/script", "nested.pt"}};
    struct maker m;
    maker_init(&m);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct arena *a = arena_new(ARENA_NO_LIMIT);
        struct str bytes = fixture(a, files[i][0], files[i][1]);
        for (size_t n = 0; n < bytes.n; n += 97)
            expect_file_refused(maker_bytes(&m, str_n(bytes.p, n)), "");
        arena_free(a);
    }
    maker_deinit(&m);
}

static void survives_flipped_bits(void **state)
{
    struct maker m;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct str whole = fixture(a, MODEL_FIXTURES, "supersimple_pytorch_model.pt");
    char *bytes = arena_alloc(a, whole.n);
    memcpy(bytes, whole.p, whole.n);
    maker_init(&m);
    for (size_t i = 0; i < 8 * whole.n; i += 3) {
        bytes[i / 8] = (char)(bytes[i / 8] ^ 1 << i % 8);
        try(&m, str_n(bytes, whole.n));
        bytes[i / 8] = (char)(bytes[i / 8] ^ 1 << i % 8);
    }
    maker_deinit(&m);
    arena_free(a);
}

/* The same below the checks of the archive: entries of a model changed, with the right CRCs. */
static void survives_changed_entries(void **state)
{
    char pickle[256];
    struct str code = STR(M "    a, b, = torch.chunk(x, 2)\n"
                            "    for i in range(torch.size(x, 0)):\n"
                            "      if torch.gt(i, 2):\n"
                            "        a = torch.add(a, (b, 1.5)[0], alpha=-inf)\n"
                            "    return (a, [CONSTANTS.c0, \"q\\x41\"], {\"k\": self.t})\n");
    struct str constants = STR("\x80\x02](K\x01K\x02"
                               "eq\0h\0\x86.");
    struct str root = maker_module_pickle("__torch__", "M", pickle);
    for (size_t i = 0; i < code.n + constants.n + root.n; i++) {
        for (int bit = 0; bit < 8; bit++) {
            struct maker m;
            char text[3][1000];
            struct str parts[3] = {code, constants, root};
            size_t at = i;
            for (int j = 0; j < 3; j++) {
                memcpy(text[j], parts[j].p, parts[j].n);
                parts[j].p = text[j];
                if (at < parts[j].n)
                    text[j][at] = (char)(text[j][at] ^ 1 << bit);
                at -= parts[j].n;
            }
            maker_init(&m);
            maker_add(&m, "x/version", STR("3"));
            maker_add(&m, "x/code/__torch__.py", parts[0]);
            maker_add(&m, "x/constants.pkl", parts[1]);
            maker_add(&m, "x/data.pkl", parts[2]);
            maker_end(&m);
            try(&m, buf_str(&m.file));
            maker_deinit(&m);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_to_read_files),
        cmocka_unit_test(refuses_to_look_at_memory),
        cmocka_unit_test(refuses_what_it_does_not_know),
        cmocka_unit_test(refuses_state_hooks),
        cmocka_unit_test(refuses_long_names),
        cmocka_unit_test(refuses_unreadable_entries),
        cmocka_unit_test(refuses_what_is_missing),
        cmocka_unit_test(refuses_other_formats),
        cmocka_unit_test(respects_the_weight_limit),
        cmocka_unit_test(refuses_strange_constants),
        cmocka_unit_test(copes_with_many_submodules),
        cmocka_unit_test(refuses_long_chains),
        cmocka_unit_test(survives_truncation),
        cmocka_unit_test(survives_flipped_bits),
        cmocka_unit_test(survives_changed_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
