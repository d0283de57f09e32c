/* kernels: the inner loops, once per instruction set, chosen when the process starts.
 *
 * kernels_body.h is written with GCC vector extensions over the few macros of a kernels_*.c, which
 * is compiled for its instruction set by target attributes; nothing else in the engine is.
 *
 * Sums have one order everywhere: an element of a product adds k = 0, 1, 2 ... in one accumulator,
 * whatever tile it falls into; sums over a row use the vector's lanes in a fixed order. So the bits
 * of a row depend on the row and the instruction set only. */
#ifndef INFERD_ENGINE_KERNELS_H
#define INFERD_ENGINE_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum activation { ACT_NONE, ACT_GELU, ACT_GELU_TANH, ACT_RELU, ACT_SILU, ACT_TANH, N_ACTIVATIONS };

/* Columns of a matrix B [k, n] in panels of `nr`: panel p holds columns p * nr ... as [k, nr]
 * floats, the last one padded with zeros; the bias is padded to whole panels too. */
struct packed {
    size_t k, n, n_panels;
    const float *panels; /* [n_panels, k, nr] */
    const float *bias;   /* [n_panels * nr]; NULL: none */
};

/* c[r, j] = act(sum_k a[r, k] * b[k, j] + bias[j]) for the panels [panel, panel_end) of b. */
struct gemm {
    size_t rows;
    const float *a; /* [rows, k], rows lda floats apart */
    size_t lda;
    const struct packed *b;
    size_t panel, panel_end;
    float *c; /* row 0, column 0 of the whole result; rows ldc floats apart */
    size_t ldc;
    enum activation act;
};

/* One head of one sequence: out = softmax(q k^T * scale + bias or scores) v. */
struct attend {
    size_t n, d;            /* tokens of the sequence; head size */
    const float *q, *k, *v; /* [n, d], rows ldq, ldk and ldv floats apart */
    size_t ldq, ldk, ldv;
    float scale;
    const float *bias;   /* bias[j - i] goes to the score of query i and key j; NULL: none */
    const float *scores; /* [n, n], added to the scaled ones; NULL: none */
    float *out;          /* [n, d], rows ld_out floats apart */
    size_t ld_out;
    void *scratch; /* attend_scratch(n, d) bytes, 64-byte aligned */
};

struct kernels {
    const char *name;
    size_t nr;          /* columns of a panel */
    bool (*runs)(void); /* on this machine */
    void (*gemm)(const struct gemm *);
    void (*attend)(const struct attend *);
    size_t (*attend_scratch)(size_t n, size_t d);
    /* y = (x + add - mean) / sqrt(variance + eps) * gamma + beta over n floats; add may be NULL. */
    void (*layer_norm)(const float *x, const float *add, const float *gamma, const float *beta,
                       float eps, size_t n, float *y);
    void (*activate)(enum activation, const float *x, size_t n, float *y);
    void (*add)(const float *x, const float *y, size_t n, float *out);
    void (*add_scaled)(const float *x, float factor, size_t n, float *sum); /* sum += x * factor */
    void (*max)(const float *x, size_t n, float *most); /* most = max(most, x) */
    void (*scale)(float factor, size_t n, float *x);
    float (*sum_squares)(const float *x, size_t n);
};

/* The best this machine runs; the same answer for the life of the process. Thread: any. */
const struct kernels *kernels_best(void);
/* Best first; NULL after the last one this machine runs. */
const struct kernels *kernels_at(size_t i);

/* Weights [n, k] as PyTorch stores them into panels of kernels' width; `panels` has
 * n_panels * k * nr floats. */
void kernels_pack(const struct kernels *, const float *w, size_t n, size_t k, float *panels);

#endif
