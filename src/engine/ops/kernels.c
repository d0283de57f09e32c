#include "kernels.h"

#include <string.h>

#if defined(__x86_64__)
extern const struct kernels kernels_avx512, kernels_avx2;
#endif
extern const struct kernels kernels_generic;

static const struct kernels *const table[] = {
#if defined(__x86_64__)
    &kernels_avx512,
    &kernels_avx2,
#endif
    &kernels_generic,
};

const struct kernels *kernels_at(size_t n)
{
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i]->runs() && n-- == 0)
            return table[i];
    return NULL;
}

const struct kernels *kernels_best(void)
{
    return kernels_at(0);
}

void kernels_pack(const struct kernels *kernels, const float *w, size_t n, size_t k, float *panels)
{
    size_t nr = kernels->nr, n_panels = (n + nr - 1) / nr;
    memset(panels, 0, n_panels * nr * k * sizeof(float));
    for (size_t j = 0; j < n; j++) {
        float *column = panels + j / nr * nr * k + j % nr;
        for (size_t i = 0; i < k; i++)
            column[i * nr] = w[j * k + i];
    }
}
