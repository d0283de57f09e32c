/* The language of the source texts: what each form of libtorch's printer becomes. The forms are as
 * PyTorch 2.3 and 2.7 print them; make_script_fixtures.py has whole modules. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "archive_testing.h"

#define SELF "  def forward(self: __torch__.M, x: Tensor, y: Tensor) -> Tensor:\n"
#define M    "class M(Module):\n  __parameters__ = []\n  __buffers__ = []\n" SELF

static void expect(const char *code, const char *dump)
{
    struct maker m;
    struct script *s = NULL;
    struct buf text;
    maker_init(&m);
    maker_code(&m, "3\n", code);
    struct err *err = script_load(maker_file(&m), NULL, &s);
    if (err)
        fail_msg("%s", err->reason);
    buf_init(&text, 1 << 20);
    script_dump(s, &text);
    buf_char(&text, 0);
    assert_string_equal(text.p, dump);
    buf_deinit(&text);
    script_free(s);
    maker_deinit(&m);
}

static void expect_error(const char *code, const char *reason)
{
    struct maker m;
    struct script *s = NULL;
    maker_init(&m);
    maker_code(&m, "3\n", code);
    struct err *err = script_load(maker_file(&m), NULL, &s);
    assert_non_null(err);
    assert_int_equal(err->kind, ERR_ARGUMENT);
    if (!strstr(err->reason, reason))
        fail_msg("[%s] is not in [%s]", reason, err->reason);
    err_free(err);
    maker_deinit(&m);
}

static void reads_literals(void **state)
{
    expect(M "    a = torch.full([1, -2], -inf, dtype=6, device=torch.device(\"cpu\"))\n"
             "    b = torch.add(a, 1.0000000000000001e-09, alpha=9223372036854775807)\n"
             "    c = torch.add(b, 2.)\n"
             "    d = torch.add(c, -9223372036854775808)\n"
             "    return torch.embedding(d, x, None, True, False)\n",
           "forward(%0, %1):\n"
           "  %8 = aten::full([1, -2], -inf, dtype=6, device=\"cpu\")\n"
           "  %11 = aten::add(%8, 1.0000000000000001e-09, alpha=9223372036854775807)\n"
           "  %13 = aten::add(%11, 2.)\n"
           "  %15 = aten::add(%13, -9223372036854775808)\n"
           "  %19 = aten::embedding(%15, %0, None, True, False)\n"
           "  return %19\n");
}

static void reads_strings(void **state)
{
    expect(M "    n = torch.len(\"a\\\"\\n\\001\\x41\\\\\")\n"
             "    m = torch.len('it\\'s')\n"
             "    return torch.add(n, m)\n",
           "forward(%0, %1):\n"
           "  %3 = aten::len(\"a\"\n\001A\\\")\n"
           "  %5 = aten::len(\"it's\")\n"
           "  %6 = aten::add(%3, %5)\n"
           "  return %6\n");
}

static void takes_tuples_apart(void **state)
{
    expect(M "    t = (x, (y, 3))\n"
             "    a, b, = t\n"
             "    c = (b)[0]\n"
             "    d, e, = (t)[1]\n"
             "    f = ((x, y, 7))[-1]\n"
             "    g, = ((x, y, 7))[1:2]\n"
             "    return torch.stack([a, c, d, g, e, f])\n",
           "forward(%0, %1):\n"
           "  %4 = prim::ListConstruct(%0, %1, %1, %1, 3, 7)\n"
           "  %5 = aten::stack(%4)\n"
           "  return %5\n");
}

static void takes_results_apart(void **state)
{
    expect(M "    a, b = torch.max(x, 1)\n"
             "    c, d, = torch.chunk(y, 2)\n"
             "    return torch.stack([a, b, c, d])\n",
           "forward(%0, %1):\n"
           "  %3 = aten::max(%0, 1)\n"
           "  %4, %5 = prim::TupleUnpack(%3)\n"
           "  %7 = aten::chunk(%1, 2)\n"
           "  %8, %9 = prim::ListUnpack(%7)\n"
           "  %10 = prim::ListConstruct(%4, %5, %8, %9)\n"
           "  %11 = aten::stack(%10)\n"
           "  return %11\n");
}

static void merges_branches(void **state)
{
    expect(M "    a = x\n"
             "    if torch.gt(torch.size(x, 0), 1):\n"
             "      a = torch.neg(x)\n"
             "      b = (x, a)\n"
             "    else:\n"
             "      b = (y, x)\n"
             "    c, d, = b\n"
             "    return torch.stack([a, c, d])\n",
           "forward(%0, %1):\n"
           "  %3 = aten::size(%0, 0)\n"
           "  %5 = aten::gt(%3, 1)\n"
           "  %7, %8, %9 = prim::If(%5)\n"
           "    block():\n"
           "      %6 = aten::neg(%0)\n"
           "      return %6, %0, %6\n"
           "    block():\n"
           "      return %0, %1, %0\n"
           "  %10 = prim::ListConstruct(%7, %8, %9)\n"
           "  %11 = aten::stack(%10)\n"
           "  return %11\n");
}

static void forgets_known_branches(void **state)
{
    expect(M "    if True:\n"
             "      a = x\n"
             "    else:\n"
             "      a = torch.neg(x)\n"
             "    return a\n",
           "forward(%0, %1):\n"
           "  return %0\n");
}

static void leaves_out_what_is_unused(void **state)
{
    expect(M "    a = torch.neg(x)\n"
             "    b = torch.clone(x)\n"
             "    _0 = torch.add_(b, 1)\n"
             "    if torch.gt(torch.size(x, 0), 1):\n"
             "      c = torch.neg(a)\n"
             "    else:\n"
             "      c = a\n"
             "    return b\n",
           "forward(%0, %1):\n"
           "  %3 = aten::clone(%0)\n"
           "  %5 = aten::add_(%3, 1)\n"
           "  return %3\n");
}

static void runs_loops(void **state)
{
    expect(M "    a = x\n"
             "    t = (x, y)\n"
             "    for i in range(torch.size(x, 0)):\n"
             "      b = torch.add(a, i)\n"
             "      t = (b, (t)[0])\n"
             "      a = b\n"
             "    return torch.add(a, (t)[1])\n",
           "forward(%0, %1):\n"
           "  %3 = aten::size(%0, 0)\n"
           "  %10, %11, %12 = prim::Loop(%3, True, %0, %1, %0)\n"
           "    block(%5, %6, %7, %8):\n"
           "      %9 = aten::add(%8, %5)\n"
           "      return True, %9, %6, %9\n"
           "  %13 = aten::add(%12, %11)\n"
           "  return %13\n");
    expect(M "    a = x\n"
             "    go = True\n"
             "    while go:\n"
             "      b = torch.neg(a)\n"
             "      go, a = torch.lt(torch.size(b, 0), 2), b\n"
             "    return a\n",
           "forward(%0, %1):\n"
           "  %12, %13 = prim::Loop(9223372036854775807, True, True, %0)\n"
           "    block(%4, %5, %6):\n"
           "      %7 = aten::neg(%6)\n"
           "      %9 = aten::size(%7, 0)\n"
           "      %11 = aten::lt(%9, 2)\n"
           "      return %11, %11, %7\n"
           "  return %13\n");
}

static void calls_functions(void **state)
{
    expect("def twice(x: Tensor,\n    by: int=2,\n    flip: bool=False) -> Tuple[Tensor, int]:\n"
           "  if flip:\n    z = torch.neg(x)\n  else:\n    z = x\n"
           "  return (torch.mul(z, by), by)\n" M "    a, _0, = __torch__.twice(x, )\n"
           "    f = __torch__.twice\n"
           "    b, _1, = f(y, flip=True, )\n"
           "    return torch.add(a, b)\n",
           "forward(%0, %1):\n"
           "  %4 = aten::mul(%0, 2)\n"
           "  %6 = aten::neg(%1)\n"
           "  %7 = aten::mul(%6, 2)\n"
           "  %8 = aten::add(%4, %7)\n"
           "  return %8\n");
}

static void knows_special_forms(void **state)
{
    expect("class P(NamedTuple):\n  a : Tensor\n  b : int\n" M "    _0 = uninitialized(Tensor)\n"
           "    p = __torch__.P(x, 1)\n"
           "    n = annotate(int, ops.prim.NumToTensor(torch.size(x, 0)))\n"
           "    l = annotate(List[Tensor], [])\n"
           "    o : Optional[Tensor] = annotate(Optional[Tensor], None)\n"
           "    z = unchecked_cast(Tensor, (p)[0])\n"
           "    if torch.gt(n, (p)[1]):\n"
           "      r = z\n"
           "    else:\n"
           "      r = _0\n"
           "    s = torch.to(r, ops.prim.dtype(y))\n"
           "    return torch.arange(annotate(number, s), int(s), ops.prim.min(n, 3))\n",
           "forward(%0, %1):\n"
           "  %4 = aten::size(%0, 0)\n"
           "  %5 = prim::NumToTensor(%4)\n"
           "  %6 = aten::IntImplicit(%5)\n"
           "  %9 = aten::gt(%6, 1)\n"
           "  %10 = prim::If(%9)\n"
           "    block():\n"
           "      return %0\n"
           "    block():\n"
           "      return None\n"
           "  %11 = prim::dtype(%1)\n"
           "  %12 = aten::to(%10, %11)\n"
           "  %13 = aten::ScalarImplicit(%12)\n"
           "  %14 = aten::Int(%12)\n"
           "  %16 = prim::min(%6, 3)\n"
           "  %17 = aten::arange(%13, %14, %16)\n"
           "  return %17\n");
}

static void refuses_other_languages(void **state)
{
#define AT "[code/__torch__.py] line [5] "
    expect_error(M "    return x + y\n", AT "has a character that libtorch does not print");
    expect_error(M "    import os\n", AT "has a statement that no model has");
    expect_error(M "    return lambda\n", AT "uses the unknown name [lambda]");
    expect_error(M "    return z\n", AT "uses the unknown name [z]");
    expect_error(M "    return torch.neg(self)\n", AT "uses an object of [__torch__.M] as a value");
    expect_error(M "    return self.weight\n",
                 AT "reads [weight], which [__torch__.M] does not have");
    expect_error(M "    return CONSTANTS.c7\n",
                 AT "reads the constant [7], which the model does not have");
    expect_error(M "    return \"abc\n", AT "has a string without an end");
    expect_error(M "    return 99999999999999999999\n", AT "has an integer of more than 64 bits");
    expect_error(M "    return 1.2.3\n", AT "has a damaged number");
    expect_error(M "    return torch.to(x, torch.device(\"cuda:0\"))\n",
                 AT "names the device [cuda:0]; a model has to run on the [cpu]");
    expect_error(M "    a, b, = (x, y, x)\n", AT "takes [2] from a tuple of [3]");
    expect_error("x = 1\n", "[code/__torch__.py] line [1] is neither a class nor a function");
    expect_error("class N(Module):\n" SELF "    pass\n", "has no [forward] in [__torch__.M]");
}

static void refuses_values_that_may_be_missing(void **state)
{
    expect_error(M "    if torch.gt(torch.size(x, 0), 1):\n"
                   "      a = x\n"
                   "    return a\n",
                 "[code/__torch__.py] line [7] uses [a], which has no value here");
    expect_error(M "    if torch.gt(torch.size(x, 0), 1):\n"
                   "      return x\n"
                   "    return y\n",
                 "[code/__torch__.py] line [6] returns before the end of its function");
}

static void refuses_recursion(void **state)
{
    expect_error(M "    return (self).forward(x, y, )\n", AT "calls [forward] within itself");
    expect_error("def f(x: Tensor) -> Tensor:\n  return __torch__.g(x, )\n"
                 "def g(x: Tensor) -> Tensor:\n  return __torch__.f(x, )\n" M
                 "    return __torch__.f(x, )\n",
                 "[code/__torch__.py] line [4] calls [__torch__.f] within itself");
}

/* Doubles with each function: 2^40 calls that emit nothing. */
static void refuses_work_without_end(void **state)
{
    struct buf code;
    buf_init(&code, 1 << 20);
    buf_cstr(&code, "def f0(x: Tensor) -> Tensor:\n  return x\n");
    for (int i = 1; i <= 40; i++)
        buf_printf(&code,
                   "def f%d(x: Tensor) -> Tensor:\n  y = __torch__.f%d(x, )\n"
                   "  return __torch__.f%d(y, )\n",
                   i, i - 1, i - 1);
    buf_cstr(&code, M "    return __torch__.f40(x, )\n");
    buf_char(&code, 0);
    expect_error(code.p, "[code/__torch__.py] line [8] does more than a model may do");
    buf_deinit(&code);
}

static void refuses_too_many_nodes(void **state)
{
    struct buf code;
    buf_init(&code, 1 << 20);
    buf_cstr(&code, "def f0(x: Tensor) -> Tensor:\n  return torch.neg(x)\n");
    for (int i = 1; i <= 20; i++)
        buf_printf(&code,
                   "def f%d(x: Tensor) -> Tensor:\n  y = __torch__.f%d(x, )\n"
                   "  return __torch__.f%d(y, )\n",
                   i, i - 1, i - 1);
    buf_cstr(&code, M "    return __torch__.f20(x, )\n");
    buf_char(&code, 0);
    expect_error(code.p, "Model graph is too large: 1000001 nodes exceeds limit of 1000000");
    buf_deinit(&code);
}

static void repeat(struct buf *out, const char *text, int n)
{
    for (int i = 0; i < n; i++)
        buf_cstr(out, text);
}

static void refuses_deep_nesting(void **state)
{
    static const char *const pairs[][2] = {{"(", ")"},  {"[", "]"}, {"torch.neg(", ")"},
                                           {"", "[0]"}, {"", ".a"}, {"{1: ", "}"}};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct buf code;
        buf_init(&code, 1 << 24);
        buf_cstr(&code, M "    return ");
        repeat(&code, pairs[i][0], 100000);
        buf_cstr(&code, "x");
        repeat(&code, pairs[i][1], 100000);
        buf_cstr(&code, "\n");
        buf_char(&code, 0);
        expect_error(code.p, AT "is nested too deeply");
        buf_deinit(&code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_literals),
        cmocka_unit_test(reads_strings),
        cmocka_unit_test(takes_tuples_apart),
        cmocka_unit_test(takes_results_apart),
        cmocka_unit_test(merges_branches),
        cmocka_unit_test(forgets_known_branches),
        cmocka_unit_test(leaves_out_what_is_unused),
        cmocka_unit_test(runs_loops),
        cmocka_unit_test(calls_functions),
        cmocka_unit_test(knows_special_forms),
        cmocka_unit_test(refuses_other_languages),
        cmocka_unit_test(refuses_values_that_may_be_missing),
        cmocka_unit_test(refuses_recursion),
        cmocka_unit_test(refuses_work_without_end),
        cmocka_unit_test(refuses_too_many_nodes),
        cmocka_unit_test(refuses_deep_nesting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
