/* Models made by Eland and torch, interpreted: every case of expected.json, whose numbers come from
 * libtorch. 1e-5 absolute for float models, 1e-4 for quantized ones. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <math.h>
#include <sys/stat.h>

#include "json.h"
#include "run.h"

static struct str read_file(struct arena *a, const char *path)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    struct stat st;
    assert_int_equal(fstat(fileno(f), &st), 0);
    char *p = arena_alloc(a, (size_t)st.st_size);
    assert_int_equal(fread(p, 1, (size_t)st.st_size, f), st.st_size);
    fclose(f);
    return str_n(p, (size_t)st.st_size);
}

static void fail_with(const char *what, struct err *err)
{
    if (err)
        print_error("%s: %s\n", what, err->reason);
    assert_null(err);
}

static uint32_t read_args(struct arena *a, const struct json *rows, struct script_tensor *out)
{
    uint32_t n = 0;
    struct json_iter it = json_iter(rows);
    for (const struct json *row; (row = json_next(&it)); n++) {
        int64_t *ids = arena_array(a, row->n, sizeof(*ids)), i = 0;
        struct json_iter numbers = json_iter(row);
        for (const struct json *v; (v = json_next(&numbers));)
            assert_true(json_i64(v, &ids[i++]));
        out[n] = (struct script_tensor){
            .dtype = DTYPE_I64, .rank = 2, .dim = {1, i}, .stride = {i, 1}, .data = ids};
    }
    return n;
}

/* Nested lists in order. */
static double largest_difference(const struct json *v, const float **p)
{
    double most = 0;
    if (json_is(v, JSON_NUMBER)) {
        double should = 0;
        assert_true(json_f64(v, &should));
        return fabs(should - (double)*(*p)++);
    }
    struct json_iter it = json_iter(v);
    for (const struct json *item; (item = json_next(&it));) {
        double d = largest_difference(item, p);
        most = d > most || isnan(d) ? d : most;
    }
    return most;
}

static void check_shape(const struct json *shape, const struct output *out)
{
    int64_t dim[3] = {1, 1, 1}, n = 3 - (int64_t)shape->n;
    struct json_iter it = json_iter(shape);
    for (const struct json *v; (v = json_next(&it)); n++)
        assert_true(json_i64(v, &dim[n]));
    assert_memory_equal(dim, out->dim, sizeof dim);
}

static void check_case(struct script_runner *r, struct arena *a, const char *model,
                       const struct json *c, double tolerance)
{
    struct script_tensor args[8];
    struct output out, again;
    uint32_t n = read_args(a, json_get(c, "args"), args);
    fail_with(model, script_run(r, args, n, &out));
    check_shape(json_get(c, "shape"), &out);
    const float *p = out.data;
    double most = largest_difference(json_get(c, "output"), &p);
    size_t numbers = (size_t)(out.dim[0] * out.dim[1] * out.dim[2]);
    assert_int_equal(p - out.data, numbers);
    if (!(most <= tolerance))
        print_error("%s: off by %g\n", model, most);
    assert_true(most <= tolerance);

    float *first = arena_array(a, numbers, sizeof(float)); /* same input, same bits */
    memcpy(first, out.data, numbers * sizeof(float));
    fail_with(model, script_run(r, args, n, &again));
    assert_memory_equal(first, again.data, numbers * sizeof(float));
}

static void check_model(const char *name, const struct kernels *kernels)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct str folder = arena_printf(a, "%s/eland_tiny/%s", MODEL_FIXTURES, name);
    struct str text = read_file(a, arena_printf(a, "%.*s/expected.json", STR_ARG(folder)).p);
    const struct engine_limits limits = {0};
    const struct json *expected;
    struct script *script = NULL;
    struct script_plan *plan = NULL;
    bool quantized = false;
    fail_with(name, json_parse(a, text, &expected));
    fail_with(name,
              script_load(arena_printf(a, "%.*s/model.pt", STR_ARG(folder)).p, &limits, &script));
    fail_with(name, script_plan_new(script, kernels, &plan));
    json_bool(json_get(expected, "quantized"), &quantized);
    struct script_runner *r = script_runner_new(plan, (size_t)1 << 26);
    struct json_iter it = json_iter(json_get(expected, "cases"));
    int n = 0;
    for (const struct json *c; (c = json_next(&it)); n++)
        check_case(r, a, name, c, quantized ? 1e-4 : 1e-5);
    assert_true(n > 0);
    script_runner_free(r);
    script_plan_free(plan);
    script_free(script);
    arena_free(a);
}

static void every_model_gives_what_libtorch_gives(void **state)
{
    DIR *d = opendir(MODEL_FIXTURES "/eland_tiny");
    int n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        for (size_t k = 0; kernels_at(k); k++)
            check_model(e->d_name, kernels_at(k));
        n++;
    }
    closedir(d);
    assert_int_equal(n, 21);
}

static void supersimple_gives_ones(void **state)
{
    const struct engine_limits limits = {0};
    struct script *script;
    struct script_plan *plan;
    struct output out;
    fail_with("load",
              script_load(MODEL_FIXTURES "/supersimple_pytorch_model.pt", &limits, &script));
    fail_with("plan", script_plan_new(script, kernels_best(), &plan));
    struct script_runner *r = script_runner_new(plan, 1 << 20);
    int64_t ids[4] = {1, 2, 3, 4};
    struct script_tensor args[4];
    for (int i = 0; i < 4; i++)
        args[i] = (struct script_tensor){
            .dtype = DTYPE_I64, .rank = 2, .dim = {1, 4}, .stride = {4, 1}, .data = ids};
    fail_with("run", script_run(r, args, script->n_args, &out));
    assert_int_equal(out.dim[0], 1);
    assert_int_equal(out.dim[1], 1);
    assert_int_equal(out.dim[2], 2);
    assert_true(out.data[0] == 1 && out.data[1] == 1);
    script_runner_free(r);
    script_plan_free(plan);
    script_free(script);
}

static void too_little_memory_is_an_error(void **state)
{
    const struct engine_limits limits = {0};
    struct script *script;
    struct script_plan *plan;
    struct output out;
    fail_with("load", script_load(MODEL_FIXTURES "/eland_tiny/bert_text_embedding/model.pt",
                                  &limits, &script));
    fail_with("plan", script_plan_new(script, kernels_best(), &plan));
    int64_t ids[4] = {2, 5, 6, 3}, mask[4] = {1, 1, 1, 1}, zeros[4] = {0}, at[4] = {0, 1, 2, 3};
    int64_t *rows[] = {ids, mask, zeros, at};
    struct script_tensor args[4];
    for (int i = 0; i < 4; i++)
        args[i] = (struct script_tensor){
            .dtype = DTYPE_I64, .rank = 2, .dim = {1, 4}, .stride = {4, 1}, .data = rows[i]};
    int failed = 0;
    for (size_t bytes = 1; bytes < 1 << 18; bytes += bytes / 3 + 1) { /* at every place in turn */
        struct script_runner *r = script_runner_new(plan, bytes);
        struct err *err = script_run(r, args, 4, &out);
        failed += err != NULL;
        if (err)
            assert_int_equal(err->kind, ERR_ARGUMENT);
        err_free(err);
        script_runner_free(r);
    }
    assert_true(failed > 5);
    script_plan_free(plan);
    script_free(script);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_model_gives_what_libtorch_gives),
        cmocka_unit_test(supersimple_gives_ones),
        cmocka_unit_test(too_little_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
