#include "product.h"

void product_pack(size_t nr, const float *b, int64_t stride_k, int64_t stride_n, size_t k, size_t n,
                  float *panels)
{
    for (size_t first = 0; first < n; first += nr, panels += nr * k) {
        size_t columns = n - first < nr ? n - first : nr;
        const float *from = b + (int64_t)first * stride_n;
        if (columns < nr)
            memset(panels, 0, nr * k * sizeof(float));
        if (stride_n == 1)
            for (size_t i = 0; i < k; i++)
                memcpy(panels + i * nr, from + (int64_t)i * stride_k, columns * sizeof(float));
        else
            for (size_t j = 0; j < columns; j++)
                for (size_t i = 0; i < k; i++)
                    panels[i * nr + j] = from[(int64_t)i * stride_k + (int64_t)j * stride_n];
    }
}

/* The bias alone: a product over nothing. */
static void fill_rows(const struct product *p)
{
    for (int64_t i = 0; i < p->rows; i++)
        for (int64_t j = 0; j < p->n; j++)
            p->c[i * p->ldc + j] = p->bias ? p->bias[j] : 0;
}

static size_t panels_bytes(size_t nr, const struct product *p)
{
    return ((size_t)p->n + nr - 1) / nr * nr * (size_t)p->k * sizeof(float);
}

struct err *product_run(struct step *s, const struct product *p)
{
    if (p->rows == 0 || p->n == 0)
        return NULL;
    TRY(step_work(s, (p->rows * p->n + 7) / 8, p->k));
    if (p->k == 0) {
        fill_rows(p);
        return NULL;
    }
    const struct kernels *kernels = s->r->plan->kernels;
    size_t nr = kernels->nr, bytes = 0;
    size_t n_panels = ((size_t)p->n + nr - 1) / nr, bias_bytes = n_panels * nr * sizeof(float);
    const struct packed_weight *w =
        plan_weight(s->r->plan, p->b, p->k, p->n, p->stride_k, p->stride_n);
    struct packed packed = {.k = (size_t)p->k, .n = (size_t)p->n, .n_panels = n_panels};
    float *panels = NULL, *bias = NULL;
    if (!w) {
        bytes = panels_bytes(nr, p);
        panels = runner_alloc(s->r, bytes);
        if (!panels)
            return step_no_memory(s);
        product_pack(nr, p->b, p->stride_k, p->stride_n, packed.k, packed.n, panels);
    }
    packed.panels = w ? w->packed.panels : panels;
    if (p->bias) {
        packed.bias = bias = runner_alloc(s->r, bias_bytes);
        if (!bias) {
            runner_release(s->r, panels, bytes);
            return step_no_memory(s);
        }
        memset(bias, 0, bias_bytes);
        memcpy(bias, p->bias, packed.n * sizeof(float));
    }
    kernels->gemm(&(struct gemm){.rows = (size_t)p->rows,
                                 .a = p->a,
                                 .lda = (size_t)p->lda,
                                 .b = &packed,
                                 .panel_end = n_panels,
                                 .c = p->c,
                                 .ldc = (size_t)p->ldc,
                                 .act = ACT_NONE});
    runner_release(s->r, bias, bias_bytes);
    runner_release(s->r, panels, bytes);
    return NULL;
}
