/* aten::scaled_dot_product_attention: softmax(q k^T * scale + mask) v for each head.
 *
 * q [..., queries, d], k [..., keys, d], v [..., keys, d_v]. A sequence without padding has a mask
 * that masks nothing: then the fused kernel runs. Else scores are computed for blocks of queries
 * with plain products. A row that is masked all over gives zeros, as libtorch has it since 2.5. */
#include <math.h>

#include "matrix.h"

#define BLOCK_ROWS 128

struct attention {
    int rank; /* of all below; the outer dimensions agree */
    struct script_tensor q, k, v, out;
    bool has_mask, bool_mask, causal;
    struct script_tensor mask; /* [..., queries, keys], f32, or bool: true is seen */
    float scale;
};

/* One head. */
struct head {
    const float *q, *k, *v;
    float *out;
    const char *mask;
};

static float mask_at(const struct attention *a, const char *mask, int64_t i, int64_t j)
{
    int m = a->rank - 2;
    const char *p = mask + (i * a->mask.stride[m] + j * a->mask.stride[m + 1]) *
                               (int64_t)dtype_size(a->mask.dtype);
    if (a->bool_mask)
        return *(const uint8_t *)p ? 0 : -INFINITY;
    float f;
    memcpy(&f, p, sizeof f);
    return f;
}

/* Elements shown several times are looked at once. */
static bool masks_nothing(const struct attention *a)
{
    struct script_tensor t = a->mask;
    const struct script_tensor *walked[] = {&t};
    struct walk w;
    float zero = a->bool_mask;
    for (int i = 0; i < t.rank; i++)
        if (t.stride[i] == 0 && t.dim[i] > 1)
            t.dim[i] = 1;
    for (walk_init(&w, 1, walked); !w.done; walk_next(&w))
        for (int64_t i = 0; i < w.inner; i++) {
            float f;
            elements_load(COMPUTE_F32, t.dtype, w.p[0] + i * w.inner_stride[0], 0, 1, &f);
            if (f != zero)
                return false;
        }
    return true;
}

/* Scores of queries [from, from + rows) to what they weigh. */
static void weigh(const struct attention *a, const struct head *h, int64_t from, int64_t rows,
                  int64_t keys, float *scores)
{
    for (int64_t i = 0; i < rows; i++, scores += keys) {
        for (int64_t j = 0; j < keys; j++)
            scores[j] *= a->scale;
        for (int64_t j = 0; a->has_mask && j < keys; j++)
            scores[j] += mask_at(a, h->mask, from + i, j);
        for (int64_t j = from + i + 1; a->causal && j < keys; j++)
            scores[j] = -INFINITY;
        softmax_row(scores, (size_t)keys, true, scores);
    }
}

static struct err *plain_head(struct step *s, const struct attention *a, const struct head *h,
                              float *scores)
{
    int m = a->rank - 2;
    int64_t queries = a->q.dim[m], keys = a->k.dim[m], d = a->q.dim[m + 1], dv = a->v.dim[m + 1];
    for (int64_t from = 0, rows; from < queries; from += rows) {
        rows = queries - from < BLOCK_ROWS ? queries - from : BLOCK_ROWS;
        struct product p = {.rows = rows,
                            .k = d,
                            .n = keys,
                            .a = h->q + from * a->q.stride[m],
                            .lda = a->q.stride[m],
                            .b = h->k,
                            .stride_k = 1,
                            .stride_n = a->k.stride[m],
                            .c = scores,
                            .ldc = keys};
        TRY(product_run(s, &p));
        weigh(a, h, from, rows, keys, scores);
        p = (struct product){.rows = rows,
                             .k = keys,
                             .n = dv,
                             .a = scores,
                             .lda = keys,
                             .b = h->v,
                             .stride_k = a->v.stride[m],
                             .stride_n = 1,
                             .c = h->out + from * a->out.stride[m],
                             .ldc = a->out.stride[m]};
        TRY(product_run(s, &p));
    }
    return NULL;
}

static struct err *fused_head(struct step *s, const struct attention *a, const struct head *h,
                              void *scratch)
{
    int m = a->rank - 2;
    TRY(step_work(s, a->q.dim[m] * a->q.dim[m] / 4 + 1, a->q.dim[m + 1]));
    s->r->plan->kernels->attend(&(struct attend){.n = (size_t)a->q.dim[m],
                                                 .d = (size_t)a->q.dim[m + 1],
                                                 .q = h->q,
                                                 .k = h->k,
                                                 .v = h->v,
                                                 .ldq = (size_t)a->q.stride[m],
                                                 .ldk = (size_t)a->k.stride[m],
                                                 .ldv = (size_t)a->v.stride[m],
                                                 .scale = a->scale,
                                                 .out = h->out,
                                                 .ld_out = (size_t)a->out.stride[m],
                                                 .scratch = scratch});
    return NULL;
}

static int64_t offset_at(const struct script_tensor *t, const int64_t *at)
{
    int64_t offset = 0;
    for (int i = 0; i < t->rank - 2; i++)
        offset += at[i] * t->stride[i];
    return offset;
}

static struct err *each_head(struct step *s, const struct attention *a, bool fused, void *memory)
{
    int64_t at[TENSOR_MAX_RANK] = {0};
    do {
        struct head h = {.q = (const float *)a->q.data + offset_at(&a->q, at),
                         .k = (const float *)a->k.data + offset_at(&a->k, at),
                         .v = (const float *)a->v.data + offset_at(&a->v, at),
                         .out = (float *)a->out.data + offset_at(&a->out, at)};
        if (a->has_mask)
            h.mask = (const char *)a->mask.data +
                     offset_at(&a->mask, at) * (int64_t)dtype_size(a->mask.dtype);
        TRY(fused ? fused_head(s, a, &h, memory) : plain_head(s, a, &h, memory));
    } while (next_position(a->rank - 2, a->out.dim, at));
    return NULL;
}

static struct err *attend_all(struct step *s, struct attention *a)
{
    int m = a->rank - 2;
    int64_t queries = a->q.dim[m], keys = a->k.dim[m], d = a->q.dim[m + 1];
    if (tensor_numel(&a->out) == 0)
        return NULL;
    if (a->has_mask && masks_nothing(a))
        a->has_mask = false;
    bool fused = !a->has_mask && !a->causal && queries == keys && d == a->v.dim[m + 1] && d > 0;
    size_t rows = (size_t)(queries < BLOCK_ROWS ? queries : BLOCK_ROWS);
    size_t bytes = fused ? s->r->plan->kernels->attend_scratch((size_t)queries, (size_t)d)
                         : rows * (size_t)keys * sizeof(float);
    void *memory = runner_alloc(s->r, bytes);
    if (!memory)
        return step_no_memory(s);
    struct err *err = each_head(s, a, fused, memory);
    runner_release(s->r, memory, bytes);
    return err;
}

/* --- shapes --- */

/* enable_gqa: dimension m of n heads as [n / group, group], or [n, 1 stretched to group]. */
static void split_heads(struct script_tensor *t, int64_t group, bool stretch)
{
    int m = t->rank - 3;
    for (int i = t->rank; i > m + 1; i--) {
        t->dim[i] = t->dim[i - 1];
        t->stride[i] = t->stride[i - 1];
    }
    t->rank++;
    bool one = stretch || t->dim[m] == 1;
    t->dim[m + 1] = one ? 1 : group;
    t->stride[m + 1] = one ? 0 : t->stride[m];
    if (!one) {
        t->dim[m] /= group;
        t->stride[m] *= group;
    }
}

static struct err *group_heads(struct step *s, struct attention *a)
{
    bool wanted = false;
    TRY(arg_bool_opt(s, 7, "enable_gqa", &wanted));
    if (!wanted || a->q.rank < 3 || a->k.rank != a->q.rank || a->v.rank != a->q.rank)
        return NULL;
    int m = a->q.rank - 3;
    int64_t heads = a->q.dim[m], groups = a->k.dim[m];
    if (groups == heads)
        return NULL;
    if (groups < 1 || heads % groups || a->v.dim[m] != groups || a->q.rank == TENSOR_MAX_RANK)
        return step_bad(s, "[%lld] heads of queries for [%lld] of keys", (long long)heads,
                        (long long)groups);
    if (a->has_mask && a->mask.rank >= 3) {
        struct script_tensor *t = &a->mask;
        if (t->rank == TENSOR_MAX_RANK ||
            (t->dim[t->rank - 3] != 1 && t->dim[t->rank - 3] != heads))
            return step_bad(s, "a mask of %s for [%lld] heads", tensor_shape(t).z,
                            (long long)heads);
        split_heads(t, heads / groups, false);
    }
    split_heads(&a->q, heads / groups, false);
    split_heads(&a->k, heads / groups, true);
    split_heads(&a->v, heads / groups, true);
    return NULL;
}

static struct err *stretch(struct step *s, struct script_tensor *t, const struct script_tensor *to,
                           int64_t rows, int64_t columns)
{
    int64_t dim[TENSOR_MAX_RANK];
    memcpy(dim, to->dim, sizeof dim);
    dim[to->rank] = rows;
    dim[to->rank + 1] = columns;
    struct script_tensor seen;
    if (!broadcast_to(t, to->rank + 2, dim, &seen))
        return step_bad(s, "tensors of %s and %s cannot attend to each other", tensor_shape(t).z,
                        shape_text(to->rank + 2, dim).z);
    *t = seen;
    return NULL;
}

static struct err *agree(struct step *s, struct attention *a)
{
    struct script_tensor outer = a->q, k = a->k, v = a->v;
    int64_t queries = a->q.dim[a->q.rank - 2], d = a->q.dim[a->q.rank - 1];
    int64_t keys = k.dim[k.rank - 2], dv = v.dim[v.rank - 1];
    if (k.dim[k.rank - 1] != d || v.dim[v.rank - 2] != keys)
        return step_bad(s, "queries of %s, keys of %s and values of %s do not agree",
                        tensor_shape(&a->q).z, tensor_shape(&a->k).z, tensor_shape(&a->v).z);
    outer.rank -= 2;
    k.rank -= 2;
    v.rank -= 2;
    TRY(broadcast_dims(s, &outer, &k));
    TRY(broadcast_dims(s, &outer, &v));
    if (outer.rank + 2 > TENSOR_MAX_RANK)
        return step_bad(s, "more than %d dimensions", TENSOR_MAX_RANK);
    a->rank = outer.rank + 2;
    TRY(stretch(s, &a->q, &outer, queries, d));
    TRY(stretch(s, &a->k, &outer, keys, d));
    TRY(stretch(s, &a->v, &outer, keys, dv));
    if (a->has_mask)
        TRY(stretch(s, &a->mask, &outer, queries, keys));
    a->out = a->q;
    a->out.dim[a->rank - 1] = dv;
    return NULL;
}

/* Heads lie behind their token's other heads, [..., queries, heads, d_v], since what follows is
 * nearly always a transpose to that. */
static struct err *attention_new(struct step *s, const struct attention *a, int rank,
                                 const int64_t *dim, struct view **out, struct script_tensor *shown)
{
    int64_t swapped[TENSOR_MAX_RANK];
    memcpy(swapped, dim, sizeof(swapped[0]) * (size_t)rank);
    if (rank >= 3) {
        swapped[rank - 3] = dim[rank - 2];
        swapped[rank - 2] = dim[rank - 3];
    }
    TRY(tensor_new(s, DTYPE_F32, rank, swapped, out));
    *shown = (*out)->t;
    if (rank >= 3) {
        memcpy(shown->dim, dim, sizeof(swapped[0]) * (size_t)rank);
        shown->stride[rank - 3] = (*out)->t.stride[rank - 2];
        shown->stride[rank - 2] = (*out)->t.stride[rank - 3];
    }
    return NULL;
}

static struct err *attention_run(struct step *s, struct attention *a, int rank, enum dtype d)
{
    struct view *y;
    struct script_tensor shown, out;
    int64_t dim[TENSOR_MAX_RANK], merged = a->rank > rank;
    memcpy(dim, a->out.dim, sizeof dim);
    if (merged) { /* grouped heads are heads again */
        dim[a->rank - 4] *= dim[a->rank - 3];
        for (int i = a->rank - 3; i < a->rank - 1; i++)
            dim[i] = dim[i + 1];
    }
    TRY(attention_new(s, a, a->rank - (int)merged, dim, &y, &shown));
    a->out = shown;
    if (merged)
        split_heads(&a->out, a->q.dim[a->rank - 3], false);
    struct err *err = attend_all(s, a);
    if (!err && d == DTYPE_F32)
        err = out_view(s, y, &shown);
    else if (!err) {
        err = out_new(s, d, shown.rank, shown.dim, &out);
        if (!err)
            err = copy_elements(s, &shown, &out);
    }
    tensor_drop(s, y);
    return err;
}

/* Rows are dense: f32 that is so already stays where it is. */
static struct err *rows_as(struct step *s, const struct view *v, struct view **out)
{
    int last = v->t.rank - 1;
    if (v->t.dtype == DTYPE_F32 && (v->t.stride[last] == 1 || v->t.dim[last] <= 1))
        return view_of(s, v, &v->t, out);
    return dense_as(s, v, DTYPE_F32, out);
}

static struct err *options_from(struct step *s, const struct view *q, struct attention *a)
{
    double dropout = 0, scale = 1 / sqrt((double)q->t.dim[q->t.rank - 1]);
    TRY(arg_float_opt(s, 4, "dropout_p", &dropout));
    TRY(arg_bool_opt(s, 5, "is_causal", &a->causal));
    TRY(arg_float_opt(s, 6, "scale", &scale));
    a->scale = (float)scale;
    if (dropout != 0)
        return step_bad(s, "dropout_p is [%g]: the model was saved for training", dropout);
    if (a->causal && a->has_mask)
        return step_bad(s, "attn_mask must be None when is_causal is set");
    return NULL;
}

struct err *run_aten_scaled_dot_product_attention(struct step *s)
{
    static const char *const names[] = {"query", "key", "value"};
    const struct view *in[3], *mask;
    struct view *as[4] = {NULL};
    struct attention a = {.rank = 0};
    for (uint32_t i = 0; i < 3; i++) {
        TRY(arg_tensor(s, i, names[i], &in[i]));
        if (in[i]->t.rank < 2 || !dtype_is_float(in[i]->t.dtype) ||
            in[i]->t.dtype != in[0]->t.dtype)
            return step_bad(s, "a %s of %s and dtype %s", names[i], tensor_shape(&in[i]->t).z,
                            dtype_torch_name(in[i]->t.dtype));
    }
    TRY(arg_tensor_opt(s, 3, "attn_mask", &mask));
    a.has_mask = mask;
    a.bool_mask = mask && mask->t.dtype == DTYPE_BOOL;
    if (mask && !a.bool_mask && !dtype_is_float(mask->t.dtype))
        return step_bad(s, "a mask of dtype %s", dtype_torch_name(mask->t.dtype));
    TRY(options_from(s, in[0], &a));
    struct err *err = NULL;
    for (int i = 0; !err && i < 3; i++)
        err = rows_as(s, in[i], &as[i]);
    if (!err && mask && (a.bool_mask || mask->t.dtype == DTYPE_F32))
        err = view_of(s, mask, &mask->t, &as[3]);
    else if (!err && mask)
        err = dense_as(s, mask, DTYPE_F32, &as[3]);
    if (!err) {
        a.q = as[0]->t;
        a.k = as[1]->t;
        a.v = as[2]->t;
        if (mask)
            a.mask = as[3]->t;
        int grouped_rank = a.q.rank;
        err = group_heads(s, &a);
        bool grouped = a.q.rank > grouped_rank;
        if (!err)
            err = agree(s, &a);
        if (!err)
            err = attention_run(s, &a, grouped ? a.rank - 1 : a.rank, in[0]->t.dtype);
    }
    for (int i = 0; i < 4; i++)
        tensor_drop(s, as[i]);
    return err;
}
