/* Loads every archive of tests/fixtures/models, made by Eland and PyTorch. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <glob.h>

#include "buf.h"
#include "script.h"

static void expect_loads(const char *file)
{
    struct script *s = NULL;
    struct err *err = script_load(file, NULL, &s);
    if (err)
        fail_msg("%s: %s", file, err->reason);
    assert_int_equal(s->forward->n_results, 1);
    script_free(s);
    err = program_check_script(file, NULL);
    assert_null(err);
}

static void loads_what_eland_makes(void **state)
{
    glob_t g;
    assert_int_equal(glob(MODEL_FIXTURES "/eland_tiny/*/model.pt", 0, NULL, &g), 0);
    assert_true(g.gl_pathc >= 21);
    for (size_t i = 0; i < g.gl_pathc; i++)
        expect_loads(g.gl_pathv[i]);
    globfree(&g);
}

static void reads_a_small_module(void **state)
{
    struct script *s = NULL;
    struct buf text;
    assert_null(script_load(MODEL_FIXTURES "/supersimple_pytorch_model.pt", NULL, &s));
    assert_int_equal(s->version, 3);
    assert_int_equal(s->n_args, 4);
    buf_init(&text, 1 << 20);
    script_dump(s, &text);
    buf_char(&text, 0);
    assert_string_equal(text.p, "forward(%0, %1, %2, %3):\n"
                                "  %5 = aten::size(%0, 0)\n"
                                "  %6 = prim::NumToTensor(%5)\n"
                                "  %7 = aten::Int(%6)\n"
                                "  %9 = prim::ListConstruct(%7, 2)\n"
                                "  %14 = aten::ones(%9, dtype=7, layout=None, device=\"cpu\", "
                                "pin_memory=False)\n"
                                "  return %14\n");
    buf_deinit(&text);
    script_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_what_eland_makes),
        cmocka_unit_test(reads_a_small_module),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
