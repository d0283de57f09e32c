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
    size_t k;
    float *c;
    size_t ldc;
};

/* Weights are fetched this many bytes ahead into the L2: with few rows a core waits for memory, and
 * its own prefetcher stops at each page. 6 to 64 KiB measure the same, none up to 14 % slower. */
#define AHEAD 8192

/* rows and vectors are constants where this is inlined, so the accumulators are registers. Rows of
 * `a` are addressed in threes from one pointer: fourteen pointers would not stay in registers. */
INLINE void tile_run(const struct tile *t, const int rows, const int vectors, const float *bias)
{
    vf sum[TILE_ROWS][TILE_VECTORS];
    const char *a[(TILE_ROWS + 2) / 3];
    const float *b = t->b;
    size_t lda = t->lda * sizeof(float);
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
        a[r / 3] = (const char *)t->a + (size_t)(r / 3 * 3) * lda;
        for (int v = 0; v < vectors; v++)
            sum[r][v] = (vf){0};
    }
    for (size_t i = 0; i < t->k; i++) {
        vf bv[TILE_VECTORS];
        for (int v = 0; v < vectors; v++)
            bv[v] = vf_load(b + v * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) {
            float x;
            memcpy(&x, a[r / 3] + (size_t)(r % 3) * lda, sizeof(x));
            for (int v = 0; v < vectors; v++)
                sum[r][v] = vf_fma(vf_set(x), bv[v], sum[r][v]);
        }
#pragma GCC unroll 16
        for (int r = 0; r < rows; r += 3)
            a[r / 3] += sizeof(float);
        for (int v = 0; v < vectors; v++)
            __builtin_prefetch((const void *)((uintptr_t)(b + v * LANES) + AHEAD), 0, 2);
        b += PANEL;
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) {
            vf x = bias ? sum[r][v] + vf_load(bias + v * LANES) : sum[r][v];
            vf_store(t->c + (size_t)r * t->ldc + v * LANES, x);
        }
}

#define TILE(rows)                                                                                 \
    static void tile_##rows##x1(const struct tile *t, const float *bias)                           \
    {                                                                                              \
        tile_run(t, rows, 1, bias);                                                                \
    }                                                                                              \
    static void tile_##rows##x2(const struct tile *t, const float *bias)                           \
    {                                                                                              \
        tile_run(t, rows, 2, bias);                                                                \
    }
EACH_TILE(TILE)

#define TILE_X1(rows) tile_##rows##x1,
#define TILE_X2(rows) tile_##rows##x2,
static void (*const tiles[TILE_VECTORS][TILE_ROWS])(const struct tile *, const float *bias) = {
    {EACH_TILE(TILE_X1)},
    {EACH_TILE(TILE_X2)},
};

/* Rows of the next tile when `left` are left: dealt out evenly, 16 as 8 + 8 and not as 14 + 2,
 * since a low tile cannot keep the multipliers busy. */
INLINE size_t tile_rows(size_t left)
{
    size_t n = (left + TILE_ROWS - 1) / TILE_ROWS;
    return (left + n - 1) / n;
}

/* All rows against one panel, `columns` of which are wanted. */
static void panel_run(const struct gemm *g, size_t panel, size_t columns)
{
    const struct packed *b = g->b;
    const float *bias = b->bias ? b->bias + panel * PANEL : NULL;
    float edge[TILE_ROWS * PANEL];
    size_t vectors = (columns + LANES - 1) / LANES;
    bool whole = columns % LANES == 0;
    struct tile t = {.lda = g->lda, .b = b->panels + panel * b->k * PANEL, .k = b->k};
    for (size_t row = 0, rows; row < g->rows; row += rows) {
        float *c = g->c + row * g->ldc + panel * PANEL;
        rows = tile_rows(g->rows - row);
        t.a = g->a + row * g->lda;
        t.c = whole ? c : edge;
        t.ldc = whole ? g->ldc : PANEL;
        tiles[vectors - 1][rows - 1](&t, bias);
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

static size_t attend_scratch(size_t n, size_t d)
{
    size_t keys = round_up(n, PANEL) * d, values = n * round_up(d, PANEL);
    size_t scores = TILE_ROWS * round_up(n, PANEL), out = TILE_ROWS * round_up(d, PANEL);
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

/* v [n, d] into panels [n, PANEL], zeros beyond d. */
static void attend_pack_values(const struct attend *t, float *values)
{
    for (size_t from = 0; from < t->d; from += PANEL) {
        size_t width = t->d - from < PANEL ? t->d - from : PANEL;
        for (size_t j = 0; j < t->n; j++, values += PANEL) {
            memcpy(values, t->v + j * t->ldv + from, width * sizeof(float));
            memset(values + width, 0, (PANEL - width) * sizeof(float));
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

/* scores * scale + bias for query `i`. */
INLINE void attend_bias(const struct attend *t, size_t i, float *score)
{
    const float *bias = t->bias - i;
    for (size_t j = 0; j < t->n; j++)
        score[j] = score[j] * t->scale + bias[j];
}

/* The same with a number of its own for each pair. */
INLINE void attend_scores(const struct attend *t, size_t i, float *score)
{
    const float *more = t->scores + i * t->n;
    for (size_t j = 0; j < t->n; j++)
        score[j] = score[j] * t->scale + more[j];
}

/* Where the pieces of one attend call lie in its scratch. */
struct attending {
    float *keys, *values; /* panels */
    float *scores;        /* [TILE_ROWS, padded] */
    float *mixed;         /* [TILE_ROWS, d_padded] */
    size_t padded, d_padded;
};

/* `rows` queries from `row` on. */
static void attend_rows(const struct attend *t, const struct attending *s, size_t row, size_t rows)
{
    struct tile to_scores = {.a = t->q + row * t->ldq, .lda = t->ldq, .k = t->d, .ldc = s->padded};
    for (size_t j = 0; j < t->n; j += PANEL) {
        to_scores.b = s->keys + j * t->d;
        to_scores.c = s->scores + j;
        tiles[t->n - j > LANES][rows - 1](&to_scores, NULL);
    }
    float sum[TILE_ROWS];
    for (size_t r = 0; r < rows; r++) {
        float *score = s->scores + r * s->padded;
        if (t->bias)
            attend_bias(t, row + r, score);
        if (t->scores)
            attend_scores(t, row + r, score);
        sum[r] = attend_softmax(score, t->n, t->bias || t->scores ? 1.0f : t->scale);
    }
    struct tile to_mixed = {.a = s->scores, .lda = s->padded, .k = t->n, .ldc = s->d_padded};
    for (size_t i = 0; i < t->d; i += PANEL) {
        to_mixed.b = s->values + i * t->n;
        to_mixed.c = s->mixed + i;
        tiles[t->d - i > LANES][rows - 1](&to_mixed, NULL);
    }
    for (size_t r = 0; r < rows; r++) {
        float *out = t->out + (row + r) * t->ld_out, factor = 1.0f / sum[r];
        for (size_t i = 0; i < t->d; i++)
            out[i] = s->mixed[r * s->d_padded + i] * factor;
    }
}

static void attend(const struct attend *t)
{
    struct attending s = {.padded = round_up(t->n, PANEL), .d_padded = round_up(t->d, PANEL)};
    s.keys = t->scratch;
    s.values = s.keys + s.padded * t->d;
    s.scores = s.values + t->n * s.d_padded;
    s.mixed = s.scores + TILE_ROWS * s.padded;
    attend_pack_keys(t, s.keys);
    attend_pack_values(t, s.values);
    for (size_t row = 0, rows; row < t->n; row += rows) {
        rows = tile_rows(t->n - row);
        attend_rows(t, &s, row, rows);
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
