/* Archives of make_script_fixtures.py, interpreted: what libtorch printed must mean the same here.
 * Every case of cases.json, 1e-5 of the largest number, 1e-4 where a linear is quantized. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "file.h"
#include "json.h"
#include "run.h"

#define FOLDER ENGINE_FIXTURES "/script"

static void fail_with(const char *what, struct err *err)
{
    if (err)
        fail_msg("%s: %s", what, err->reason);
}

static size_t read_numbers(struct arena *a, const struct json *list, double **out)
{
    *out = arena_array(a, list->n, sizeof(**out));
    size_t n = 0;
    struct json_iter it = json_iter(list);
    for (const struct json *v; (v = json_next(&it)); n++)
        assert_true(json_f64(v, &(*out)[n]));
    return n;
}

static struct script_tensor read_row(struct arena *a, const struct json *list)
{
    double *numbers;
    int64_t n = (int64_t)read_numbers(a, list, &numbers);
    int64_t *ids = arena_array(a, (size_t)n, sizeof(*ids));
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int64_t)numbers[i];
    return (struct script_tensor){
        .dtype = DTYPE_I64, .rank = 2, .dim = {1, n}, .stride = {n, 1}, .data = ids};
}

static void check_case(struct script_runner *r, struct arena *a, const char *name,
                       const struct json *c, double tolerance)
{
    struct script_tensor args[2];
    struct output out;
    double *should, *shape, most = 1;
    struct json_iter it = json_iter(json_get(c, "args"));
    for (int i = 0; i < 2; i++)
        args[i] = read_row(a, json_next(&it));
    fail_with(name, script_run(r, args, 2, &out));
    size_t n = read_numbers(a, json_get(c, "output"), &should);
    size_t rank = read_numbers(a, json_get(c, "shape"), &shape);
    for (size_t i = 0; i < rank; i++)
        assert_int_equal(out.dim[3 - rank + i], (int64_t)shape[i]);
    assert_int_equal(out.dim[0] * out.dim[1] * out.dim[2], n);
    for (size_t i = 0; i < n; i++)
        most = fabs(should[i]) > most && isfinite(should[i]) ? fabs(should[i]) : most;
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)out.data[i] - should[i]) <= tolerance * most) &&
            (double)out.data[i] != should[i])
            fail_msg("%s: number %zu is %g and should be %g", name, i, (double)out.data[i],
                     should[i]);
}

static void check_model(struct arena *a, const char *name, const struct json *cases)
{
    struct script *s;
    struct script_plan *plan;
    char path[1000];
    snprintf(path, sizeof(path), "%s/%s.pt", FOLDER, name);
    fail_with(name, script_load(path, NULL, &s));
    fail_with(name, program_check_script(path, NULL));
    fail_with(name, script_plan_new(s, kernels_best(), &plan));
    struct script_runner *r = script_runner_new(plan, (size_t)1 << 26);
    struct json_iter it = json_iter(cases);
    for (const struct json *c; (c = json_next(&it));)
        check_case(r, a, name, c, strstr(name, "channels") ? 1e-4 : 1e-5);
    script_runner_free(r);
    script_plan_free(plan);
    script_free(s);
}

static void means_what_it_means_to_libtorch(void **state)
{
    static const char *const names[] = {"nested",         "nested_frozen", "control",
                                        "control_frozen", "views",         "views_frozen",
                                        "channels_frozen"};
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct str text;
    const struct json *cases;
    fail_with("cases.json", file_read(FOLDER, "cases.json", 1 << 20, a, &text));
    fail_with("cases.json", json_parse(a, text, &cases));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        check_model(a, names[i], json_get(cases, names[i]));
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(means_what_it_means_to_libtorch)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
