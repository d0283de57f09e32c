/* Every kernel of every instruction set this machine has against plain double precision, over odd
 * and even shapes. Tolerances are absolute, for inputs within [-1, 1] (activations: [-12, 12],
 * where a float's last bit alone is 1e-6). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bug.h"
#include "kernels.h"

static uint32_t random_state = 7;

static float random_float(void)
{
    random_state = random_state * 1664525 + 1013904223;
    return (float)(int32_t)random_state / 2147483648.0f;
}

static float *random_floats(size_t n)
{
    float *p = mem_array(n, sizeof(*p));
    for (size_t i = 0; i < n; i++)
        p[i] = random_float();
    return p;
}

static void near(double is, double should, double tolerance)
{
    if (!(fabs(is - should) <= tolerance))
        print_error("%.9g should be %.9g\n", is, should);
    assert_true(fabs(is - should) <= tolerance);
}

static double reference_activation(enum activation act, double x)
{
    switch (act) {
    case ACT_GELU:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    case ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case ACT_RELU:
        return x > 0 ? x : 0;
    case ACT_SILU:
        return x / (1 + exp(-x));
    case ACT_TANH:
        return tanh(x);
    default:
        return x;
    }
}

static void check_activation(const struct kernels *k, enum activation act)
{
    enum { N = 24001 };
    static float x[N], y[N];
    for (size_t i = 0; i < N; i++)
        x[i] = (float)((double)i / 1000 - 12);
    k->activate(act, x, N, y);
    for (size_t i = 0; i < N; i++)
        near((double)y[i], reference_activation(act, (double)x[i]),
             fmax(1e-6, 3e-7 * fabs((double)x[i])));
    for (size_t n = 1; n <= 70; n++) { /* tails give the same bits and touch nothing beyond */
        float part[71];
        part[n] = 42;
        k->activate(act, x + 11000, n, part);
        assert_memory_equal(part, y + 11000, n * sizeof(float));
        assert_true(part[n] == 42.0f);
    }
    float wild[] = {-1e30f, 1e30f, -100, 100, -0.0f, 0};
    k->activate(act, wild, 6, wild);
    for (int i = 0; i < 6; i++)
        assert_true(isfinite(wild[i]));
}

static void test_activations(void **state)
{
    (void)state;
    const struct kernels *k;
    for (size_t i = 0; (k = kernels_at(i)); i++)
        for (int act = 0; act < N_ACTIVATIONS; act++)
            check_activation(k, (enum activation)act);
}

/* --- matrix product --- */

struct product {
    struct packed b;
    float *w, *panels, *bias, *a, *c;
    size_t rows, lda, ldc;
};

static void product_init(struct product *p, const struct kernels *k, size_t rows, size_t n,
                         size_t depth)
{
    size_t panels = (n + k->nr - 1) / k->nr;
    *p = (struct product){.rows = rows, .lda = depth + 3, .ldc = n + 5};
    p->w = random_floats(n * depth);
    p->a = random_floats(rows * p->lda);
    p->c = random_floats(rows * p->ldc);
    p->bias = mem_array(panels * k->nr, sizeof(float));
    p->panels = mem_array(panels * k->nr * depth, sizeof(float));
    for (size_t j = 0; j < n; j++)
        p->bias[j] = random_float();
    kernels_pack(k, p->w, n, depth, p->panels);
    p->b = (struct packed){depth, n, panels, p->panels, p->bias};
}

static void product_deinit(struct product *p)
{
    free(p->w);
    free(p->a);
    free(p->c);
    free(p->bias);
    free(p->panels);
}

static void product_run(const struct kernels *k, struct product *p, enum activation act, size_t row,
                        size_t rows, size_t panel, size_t panel_end)
{
    struct gemm g = {.rows = rows,
                     .a = p->a + row * p->lda,
                     .lda = p->lda,
                     .b = &p->b,
                     .panel = panel,
                     .panel_end = panel_end,
                     .c = p->c + row * p->ldc,
                     .ldc = p->ldc,
                     .act = act};
    k->gemm(&g);
}

static void check_product(const struct kernels *k, size_t rows, size_t n, size_t depth, bool bias,
                          enum activation act)
{
    struct product p;
    product_init(&p, k, rows, n, depth);
    p.b.bias = bias ? p.bias : NULL;
    float margin = p.c[n]; /* what lies between the rows is not ours */
    product_run(k, &p, act, 0, rows, 0, p.b.n_panels);
    assert_true(p.c[n] == margin);
    for (size_t r = 0; r < rows; r++) {
        for (size_t j = 0; j < n; j++) {
            double sum = bias ? (double)p.bias[j] : 0;
            for (size_t i = 0; i < depth; i++)
                sum += (double)p.a[r * p.lda + i] * (double)p.w[j * depth + i];
            near((double)p.c[r * p.ldc + j], reference_activation(act, sum),
                 2e-6 * (4 + sqrt((double)depth)));
        }
    }
    product_deinit(&p);
}

static void test_products(void **state)
{
    (void)state;
    const struct kernels *k;
    for (size_t i = 0; (k = kernels_at(i)); i++) {
        for (size_t m = 1; m <= 70; m++)
            check_product(k, m, m * 7 % 70 + 1, m * 13 % 70 + 1, m % 3 != 0,
                          (enum activation)(m % N_ACTIVATIONS));
        for (size_t n = 1; n <= 70; n++)
            check_product(k, n * 5 % 19 + 1, n, 33, n % 2, ACT_NONE);
        check_product(k, 17, 144, 384, true, ACT_GELU);
    }
}

/* Whatever rows and panels a product is cut into, its bits stay. */
static void check_cuts(const struct kernels *k, size_t rows, size_t n, size_t depth)
{
    struct product p;
    product_init(&p, k, rows, n, depth);
    size_t bytes = rows * p.ldc * sizeof(float);
    float *whole = mem_new(bytes);
    product_run(k, &p, ACT_GELU, 0, rows, 0, p.b.n_panels);
    memcpy(whole, p.c, bytes);
    for (size_t block = 1; block <= rows; block++) {
        for (size_t row = 0; row < rows; row += block)
            for (size_t panel = 0; panel < p.b.n_panels; panel++)
                product_run(k, &p, ACT_GELU, row, row + block < rows ? block : rows - row, panel,
                            panel + 1);
        assert_memory_equal(p.c, whole, bytes);
        memset(p.c, 0, bytes);
        product_run(k, &p, ACT_GELU, 0, rows, 0, p.b.n_panels);
        memcpy(whole, p.c, bytes); /* the margins between rows differ now */
    }
    free(whole);
    product_deinit(&p);
}

static void test_product_bits_do_not_depend_on_cuts(void **state)
{
    (void)state;
    const struct kernels *k;
    for (size_t i = 0; (k = kernels_at(i)); i++) {
        check_cuts(k, 23, 100, 37);
        check_cuts(k, 16, 49, 384);
    }
}

/* --- attention --- */

static void reference_attend(const struct attend *t, size_t row, double *out)
{
    double *weight = mem_array(t->n, sizeof(double)), most = -1e300, sum = 0;
    for (size_t j = 0; j < t->n; j++) {
        for (size_t i = 0; i < t->d; i++)
            weight[j] += (double)t->q[row * t->ldq + i] * (double)t->k[j * t->ldk + i];
        weight[j] = weight[j] * (double)t->scale +
                    (t->bias ? (double)t->bias[(ptrdiff_t)j - (ptrdiff_t)row] : 0);
        most = fmax(most, weight[j]);
    }
    for (size_t j = 0; j < t->n; j++)
        sum += weight[j] = exp(weight[j] - most);
    for (size_t i = 0; i < t->d; i++) {
        out[i] = 0;
        for (size_t j = 0; j < t->n; j++)
            out[i] += weight[j] / sum * (double)t->v[j * t->ldv + i];
    }
    free(weight);
}

static void check_attend(const struct kernels *k, size_t n, size_t d, float scale, bool biased,
                         double tolerance)
{
    size_t ld = 3 * d + 1, ld_out = d + 2;
    float *qkv = random_floats(n * ld), *out = random_floats(n * ld_out);
    float *bias = random_floats(2 * n);
    void *scratch = NULL;
    BUG_ON(posix_memalign(&scratch, 64, k->attend_scratch(n, d)));
    struct attend t = {.n = n,
                       .d = d,
                       .q = qkv,
                       .k = qkv + d,
                       .v = qkv + 2 * d,
                       .ldq = ld,
                       .ldk = ld,
                       .ldv = ld,
                       .scale = scale,
                       .bias = biased ? bias + n - 1 : NULL,
                       .out = out,
                       .ld_out = ld_out,
                       .scratch = scratch};
    double *should = mem_array(d, sizeof(double));
    float margin = out[d];
    k->attend(&t);
    assert_true(out[d] == margin);
    for (size_t row = 0; row < n; row++) {
        reference_attend(&t, row, should);
        for (size_t i = 0; i < d; i++)
            near((double)out[row * ld_out + i], should[i], tolerance);
    }
    free(should);
    free(scratch);
    free(bias);
    free(out);
    free(qkv);
}

static void test_attention(void **state)
{
    (void)state;
    const struct kernels *k;
    for (size_t i = 0; (k = kernels_at(i)); i++) {
        for (size_t n = 1; n <= 70; n++)
            check_attend(k, n, n * 11 % 70 + 1, 0.3f, n % 2, 2e-6);
        check_attend(k, 128, 32, 0.17677669f, false, 2e-6);
        check_attend(k, 200, 64, 0.125f, true, 2e-6);
        check_attend(k, 30, 16, 40.0f, false,
                     5e-5); /* far beyond what exp can hold without the maximum */
    }
}

/* --- rows --- */

static void check_layer_norm(const struct kernels *k, size_t n, bool adds)
{
    float *x = random_floats(n), *z = random_floats(n), *gamma = random_floats(n),
          *beta = random_floats(n), *y = random_floats(n + 1), margin = y[n];
    double mean = 0, variance = 0;
    for (size_t i = 0; i < n; i++)
        mean += ((double)x[i] + (adds ? (double)z[i] : 0)) / (double)n;
    for (size_t i = 0; i < n; i++)
        variance += pow((double)x[i] + (adds ? (double)z[i] : 0) - mean, 2) / (double)n;
    k->layer_norm(x, adds ? z : NULL, gamma, beta, 1e-3f, n, y);
    for (size_t i = 0; i < n; i++) {
        double normal = ((double)x[i] + (adds ? (double)z[i] : 0) - mean) / sqrt(variance + 1e-3);
        near((double)y[i], normal * (double)gamma[i] + (double)beta[i], 4e-6);
    }
    assert_true(y[n] == margin);
    free(x);
    free(z);
    free(gamma);
    free(beta);
    free(y);
}

static void test_layer_norm(void **state)
{
    (void)state;
    const struct kernels *k;
    for (size_t i = 0; (k = kernels_at(i)); i++)
        for (size_t n = 1; n <= 70; n++) {
            check_layer_norm(k, n, n % 2);
            check_layer_norm(k, n * 11, n % 2 == 0);
        }
}

static void check_rows(const struct kernels *k, size_t n)
{
    float *x = random_floats(n), *y = random_floats(n), *z = mem_array(n + 1, sizeof(float));
    double squares = 0;
    z[n] = 42;
    k->add(x, y, n, z);
    for (size_t i = 0; i < n; i++)
        assert_true(z[i] == x[i] + y[i]);
    k->scale(0.5f, n, z);
    for (size_t i = 0; i < n; i++)
        assert_true(z[i] == (x[i] + y[i]) * 0.5f);
    k->max(x, n, z);
    for (size_t i = 0; i < n; i++)
        assert_true(z[i] == fmaxf((x[i] + y[i]) * 0.5f, x[i]));
    memcpy(z, x, n * sizeof(float));
    k->add_scaled(y, 3, n, z);
    for (size_t i = 0; i < n; i++)
        near((double)z[i], (double)x[i] + 3 * (double)y[i], 1e-6);
    for (size_t i = 0; i < n; i++)
        squares += (double)x[i] * (double)x[i];
    near((double)k->sum_squares(x, n), squares, 1e-5);
    assert_true(z[n] == 42.0f);
    free(x);
    free(y);
    free(z);
}

static void test_rows(void **state)
{
    (void)state;
    const struct kernels *k;
    for (size_t i = 0; (k = kernels_at(i)); i++)
        for (size_t n = 1; n <= 70; n++)
            check_rows(k, n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_product_bits_do_not_depend_on_cuts),
        cmocka_unit_test(test_attention),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
