/* The kernels themselves, included by kernels_*.c after vf, vi, LANES, TILE_ROWS, TILE_VECTORS and
 * the vf_ macros are defined for one instruction set. No include guard on purpose. */

#define INLINE static inline __attribute__((always_inline))
#define PANEL  (LANES * TILE_VECTORS)

INLINE vf vf_load(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof(v));
    return v;
}

INLINE void vf_store(float *p, vf v)
{
    memcpy(p, &v, sizeof(v));
}

INLINE vf vf_set(float x)
{
    return x - (vf){0};
}

INLINE size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

/* Lanes by halves: ((0+8)+(4+12)) ... the same tree for every sum. */
INLINE float vf_sum(vf v)
{
    float lane[LANES];
    vf_store(lane, v);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] += lane[i + half];
    return lane[0];
}

INLINE float vf_most(vf v)
{
    float lane[LANES];
    vf_store(lane, v);
    float most = lane[0];
    for (int i = 1; i < LANES; i++)
        most = lane[i] > most ? lane[i] : most;
    return most;
}

/* The last n < LANES floats of a row, zeros behind them. */
INLINE vf vf_load_n(const float *p, size_t n)
{
    float lane[LANES] = {0};
    memcpy(lane, p, n * sizeof(float));
    return vf_load(lane);
}

INLINE void vf_store_n(float *p, vf v, size_t n)
{
    float lane[LANES];
    vf_store(lane, v);
    memcpy(p, lane, n * sizeof(float));
}

/* e^x by 2^n * e^r with |r| <= ln2 / 2, e^r as in Cephes' expf; relative error below 2e-7.
 * Below -87.3 it stays at the smallest normal number, which no sum here can feel. */
INLINE vf vf_exp(vf x)
{
    x = vf_min(vf_max(x, vf_set(-87.33654f)), vf_set(88.0f));
    vf n = vf_round(x * vf_set(1.44269504088896341f));
    vf r = vf_fma(n, vf_set(-0.693359375f), x);
    r = vf_fma(n, vf_set(2.12194440e-4f), r);
    vf p = vf_set(1.9875691500e-4f);
    p = vf_fma(p, r, vf_set(1.3981999507e-3f));
    p = vf_fma(p, r, vf_set(8.3334519073e-3f));
    p = vf_fma(p, r, vf_set(4.1665795894e-2f));
    p = vf_fma(p, r, vf_set(1.6666665459e-1f));
    p = vf_fma(p, r, vf_set(5.0000001201e-1f));
    p = vf_fma(p, r * r, r + vf_set(1.0f));
    return p * (vf)((vf_to_vi(n) + 127) << 23);
}

/* erf by the rational approximation of Eigen and XLA on [-4, 4]; absolute error below 4e-7. */
INLINE vf vf_erf(vf x)
{
    x = vf_min(vf_max(x, vf_set(-4.0f)), vf_set(4.0f));
    vf x2 = x * x;
    vf p = vf_set(-2.72614225801306e-10f);
    p = vf_fma(p, x2, vf_set(2.77068142495902e-08f));
    p = vf_fma(p, x2, vf_set(-2.10102402082508e-06f));
    p = vf_fma(p, x2, vf_set(-5.69250639462346e-05f));
    p = vf_fma(p, x2, vf_set(-7.34990630326855e-04f));
    p = vf_fma(p, x2, vf_set(-2.95459980854025e-03f));
    p = vf_fma(p, x2, vf_set(-1.60960333262415e-02f));
    vf q = vf_set(-1.45660718464996e-05f);
    q = vf_fma(q, x2, vf_set(-2.13374055278905e-04f));
    q = vf_fma(q, x2, vf_set(-1.68282697438203e-03f));
    q = vf_fma(q, x2, vf_set(-7.37332916720468e-03f));
    q = vf_fma(q, x2, vf_set(-1.42647390514189e-02f));
    return x * p / q;
}

INLINE vf vf_tanh(vf x)
{
    return vf_set(1.0f) - vf_set(2.0f) / (vf_exp(x + x) + vf_set(1.0f));
}

INLINE vf vf_activate(enum activation act, vf x)
{
    switch (act) {
    case ACT_GELU:
        return vf_set(0.5f) * x * (vf_set(1.0f) + vf_erf(x * vf_set(0.70710678118654752f)));
    case ACT_GELU_TANH: {
        vf inner = vf_fma(x * x * vf_set(0.044715f), x, x) * vf_set(0.79788456080286536f);
        return vf_set(0.5f) * x * (vf_set(1.0f) + vf_tanh(inner));
    }
    case ACT_RELU:
        return vf_max(x, vf_set(0.0f));
    case ACT_SILU:
        return x / (vf_set(1.0f) + vf_exp(-x));
    case ACT_TANH:
        return vf_tanh(x);
    default:
        return x;
    }
}

INLINE void activate_row(const enum activation act, const float *x, size_t n, float *y)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        vf_store(y + i, vf_activate(act, vf_load(x + i)));
    if (i < n)
        vf_store_n(y + i, vf_activate(act, vf_load_n(x + i, n - i)), n - i);
}

static void activate(enum activation act, const float *x, size_t n, float *y)
{
    switch (act) {
    case ACT_GELU:
        activate_row(ACT_GELU, x, n, y);
        return;
    case ACT_GELU_TANH:
        activate_row(ACT_GELU_TANH, x, n, y);
        return;
    case ACT_RELU:
        activate_row(ACT_RELU, x, n, y);
        return;
    case ACT_SILU:
        activate_row(ACT_SILU, x, n, y);
        return;
    case ACT_TANH:
        activate_row(ACT_TANH, x, n, y);
        return;
    default:
        memmove(y, x, n * sizeof(float));
    }
}

/* --- matrix product --- */

struct tile {
    const float *a;
    size_t lda;
    const float *b; /* [k] rows of PANEL floats */
    size_t ldb;
    size_t k;
    float *c;
    size_t ldc;
    const float *ahead; /* weights wanted next; NULL: none */
};

/* rows and vectors are constants where this is inlined, so the accumulators are registers. */
INLINE void tile_run(const struct tile *t, const int rows, const int vectors, const float *bias)
{
    vf sum[TILE_ROWS][TILE_VECTORS];
    const float *a[TILE_ROWS], *b = t->b, *ahead = t->ahead;
    size_t ldb = t->ldb, k = t->k;
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        a[r] = t->a + (size_t)r * t->lda;
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sum[r][v] = (vf){0};
    }
    for (size_t i = 0; i < k; i++) {
        vf bv[TILE_VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            bv[v] = vf_load(b + v * LANES);
        __builtin_prefetch(ahead + i * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            vf av = vf_set(a[r][i]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                sum[r][v] = vf_fma(av, bv[v], sum[r][v]);
        }
        b += ldb;
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        float *c = t->c + (size_t)r * t->ldc;
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            vf x = sum[r][v];
            if (bias)
                x += vf_load(bias + v * LANES);
            vf_store(c + v * LANES, x);
        }
    }
}

#define TILE(rows, vectors)                                                                        \
    static void tile_##rows##x##vectors(const struct tile *t, const float *bias)                   \
    {                                                                                              \
        tile_run(t, rows, vectors, bias);                                                          \
    }
#define TILES(vectors)                                                                             \
    TILE(1, vectors) TILE(2, vectors) TILE(3, vectors) TILE(4, vectors) TILE_5(vectors)
#define TILE_NAMES(vectors)                                                                        \
    tile_1x##vectors, tile_2x##vectors, tile_3x##vectors, tile_4x##vectors, TILE_5_NAMES(vectors)

#if TILE_ROWS == 4
#define TILE_5(vectors)
#define TILE_5_NAMES(vectors)
#elif TILE_ROWS == 6
#define TILE_5(vectors)       TILE(5, vectors) TILE(6, vectors)
#define TILE_5_NAMES(vectors) tile_5x##vectors, tile_6x##vectors,
#else
#define TILE_5(vectors) TILE(5, vectors) TILE(6, vectors) TILE(7, vectors) TILE(8, vectors)
#define TILE_5_NAMES(vectors)                                                                      \
    tile_5x##vectors, tile_6x##vectors, tile_7x##vectors, tile_8x##vectors,
#endif

TILES(1)
TILES(2)
#if TILE_VECTORS == 3
TILES(3)
#endif

static void (*const tiles[TILE_VECTORS][TILE_ROWS])(const struct tile *, const float *bias) = {
    {TILE_NAMES(1)},
    {TILE_NAMES(2)},
#if TILE_VECTORS == 3
    {TILE_NAMES(3)},
#endif
};

/* All rows against one panel, `columns` of which are wanted. */
static void panel_run(const struct gemm *g, size_t panel, size_t columns)
{
    const struct packed *b = g->b;
    const float *bias = b->bias ? b->bias + panel * PANEL : NULL;
    size_t vectors = (columns + LANES - 1) / LANES;
    float edge[TILE_ROWS * PANEL];
    bool whole = columns % LANES == 0;
    struct tile t = {.lda = g->lda, .b = b->panels + panel * b->k * PANEL, .ldb = PANEL, .k = b->k};
    t.ahead = t.b + b->k * PANEL;
    for (size_t row = 0; row < g->rows; row += TILE_ROWS) {
        size_t rows = g->rows - row < TILE_ROWS ? g->rows - row : TILE_ROWS;
        float *c = g->c + row * g->ldc + panel * PANEL;
        t.a = g->a + row * g->lda;
        t.c = whole ? c : edge;
        t.ldc = whole ? g->ldc : PANEL;
        tiles[vectors - 1][rows - 1](&t, bias);
        t.ahead += b->k * LANES;
        for (size_t r = 0; r < rows && (g->act != ACT_NONE || !whole); r++)
            activate(g->act, t.c + r * t.ldc, columns, c + r * g->ldc);
    }
}

static void gemm(const struct gemm *g)
{
    for (size_t p = g->panel; p < g->panel_end; p++) {
        size_t left = g->b->n - p * PANEL;
        panel_run(g, p, left < PANEL ? left : PANEL);
    }
}

/* --- attention --- */

#define VALUE_VECTORS 2
#define VALUE_PANEL   (LANES * VALUE_VECTORS)

static size_t attend_scratch(size_t n, size_t d)
{
    size_t keys = round_up(n, PANEL) * d, values = n * round_up(d, VALUE_PANEL);
    size_t scores = TILE_ROWS * round_up(n, PANEL), out = TILE_ROWS * round_up(d, VALUE_PANEL);
    return (keys + values + scores + out) * sizeof(float) + 4 * 64;
}

/* k [n, d] into panels [d, PANEL] of its transpose. */
static void attend_pack_keys(const struct attend *t, float *keys)
{
    size_t padded = round_up(t->n, PANEL);
    for (size_t j = 0; j < padded; j++) {
        float *column = keys + j / PANEL * PANEL * t->d + j % PANEL;
        for (size_t i = 0; i < t->d; i++)
            column[i * PANEL] = j < t->n ? t->k[j * t->ldk + i] : 0;
    }
}

/* v [n, d] into panels [n, VALUE_PANEL], zeros beyond d. */
static void attend_pack_values(const struct attend *t, float *values)
{
    for (size_t from = 0; from < t->d; from += VALUE_PANEL) {
        size_t width = t->d - from < VALUE_PANEL ? t->d - from : VALUE_PANEL;
        for (size_t j = 0; j < t->n; j++, values += VALUE_PANEL) {
            memcpy(values, t->v + j * t->ldv + from, width * sizeof(float));
            memset(values + width, 0, (VALUE_PANEL - width) * sizeof(float));
        }
    }
}

/* Scores to weights that are still to be divided by the returned sum. */
INLINE float attend_softmax(float *score, size_t n, float scale)
{
    size_t padded = round_up(n, LANES);
    for (size_t i = n; i < padded; i++)
        score[i] = -INFINITY;
    vf most = vf_load(score), sum = {0};
    for (size_t i = LANES; i < padded; i += LANES)
        most = vf_max(most, vf_load(score + i));
    vf top = vf_set(vf_most(most));
    for (size_t i = 0; i < padded; i += LANES) {
        vf e = vf_exp((vf_load(score + i) - top) * vf_set(scale));
        vf_store(score + i, e);
        sum += e;
    }
    return vf_sum(sum);
}

static void attend(const struct attend *t)
{
    size_t padded = round_up(t->n, PANEL), d_padded = round_up(t->d, VALUE_PANEL);
    float *keys = t->scratch, *values = keys + padded * t->d, *scores = values + t->n * d_padded;
    float *mixed = scores + TILE_ROWS * padded;
    attend_pack_keys(t, keys);
    attend_pack_values(t, values);
    for (size_t row = 0; row < t->n; row += TILE_ROWS) {
        size_t rows = t->n - row < TILE_ROWS ? t->n - row : TILE_ROWS;
        for (size_t j = 0; j < padded; j += PANEL) {
            size_t left = t->n - j,
                   vectors = left < PANEL ? (left + LANES - 1) / LANES : TILE_VECTORS;
            struct tile s = {.a = t->q + row * t->ldq,
                             .lda = t->ldq,
                             .b = keys + j * t->d,
                             .ldb = PANEL,
                             .k = t->d,
                             .c = scores + j,
                             .ldc = padded,
                             .ahead = keys};
            tiles[vectors - 1][rows - 1](&s, NULL);
        }
        float sum[TILE_ROWS];
        for (size_t r = 0; r < rows; r++)
            sum[r] = attend_softmax(scores + r * padded, t->n, t->scale);
        for (size_t from = 0; from < t->d; from += VALUE_PANEL) {
            struct tile o = {.a = scores,
                             .lda = padded,
                             .b = values + from * t->n,
                             .ldb = VALUE_PANEL,
                             .k = t->n,
                             .c = mixed + from,
                             .ldc = d_padded,
                             .ahead = values};
            tiles[VALUE_VECTORS - 1][rows - 1](&o, NULL);
        }
        for (size_t r = 0; r < rows; r++) {
            float *out = t->out + (row + r) * t->ld_out, factor = 1.0f / sum[r];
            for (size_t i = 0; i < t->d; i++)
                out[i] = mixed[r * d_padded + i] * factor;
        }
    }
}

/* --- rows --- */

INLINE vf norm_load(const float *x, const float *add, size_t i, size_t n)
{
    if (n - i >= LANES)
        return add ? vf_load(x + i) + vf_load(add + i) : vf_load(x + i);
    vf v = vf_load_n(x + i, n - i);
    return add ? v + vf_load_n(add + i, n - i) : v;
}

/* The deviation's last lanes beyond n must not count. */
INLINE vf norm_mask(vf deviation, size_t i, size_t n)
{
    if (n - i >= LANES)
        return deviation;
    float lane[LANES];
    vf_store(lane, deviation);
    return vf_load_n(lane, n - i);
}

static void layer_norm(const float *x, const float *add, const float *gamma, const float *beta,
                       float eps, size_t n, float *y)
{
    vf sum = {0}, squares = {0};
    for (size_t i = 0; i < n; i += LANES)
        sum += norm_load(x, add, i, n);
    vf mean = vf_set(vf_sum(sum) / (float)n);
    for (size_t i = 0; i < n; i += LANES) {
        vf deviation = norm_mask(norm_load(x, add, i, n) - mean, i, n);
        squares = vf_fma(deviation, deviation, squares);
    }
    vf factor = vf_set(1.0f / sqrtf(vf_sum(squares) / (float)n + eps));
    for (size_t i = 0; i < n; i += LANES) {
        vf normal = (norm_load(x, add, i, n) - mean) * factor;
        if (n - i >= LANES)
            vf_store(y + i, vf_fma(normal, vf_load(gamma + i), vf_load(beta + i)));
        else
            vf_store_n(y + i,
                       vf_fma(normal, vf_load_n(gamma + i, n - i), vf_load_n(beta + i, n - i)),
                       n - i);
    }
}

static void add(const float *x, const float *y, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] + y[i];
}

static void add_scaled(const float *x, float factor, size_t n, float *sum)
{
    for (size_t i = 0; i < n; i++)
        sum[i] += x[i] * factor;
}

static void max(const float *x, size_t n, float *most)
{
    for (size_t i = 0; i < n; i++)
        most[i] = x[i] > most[i] ? x[i] : most[i];
}

static void scale(float factor, size_t n, float *x)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= factor;
}

static float sum_squares(const float *x, size_t n)
{
    vf sum = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        sum = vf_fma(vf_load(x + i), vf_load(x + i), sum);
    vf tail = vf_load_n(x + i, n - i);
    return vf_sum(vf_fma(tail, tail, sum));
}

extern const struct kernels KERNELS;
const struct kernels KERNELS = {
    .name = KERNELS_NAME,
    .mr = TILE_ROWS,
    .nr = PANEL,
    .runs = machine_has,
    .gemm = gemm,
    .attend = attend,
    .attend_scratch = attend_scratch,
    .layer_norm = layer_norm,
    .activate = activate,
    .add = add,
    .add_scaled = add_scaled,
    .max = max,
    .scale = scale,
    .sum_squares = sum_squares,
};
