/* A row has a weight for each token of the vocabulary, nearly all 0: what is kept are the others,
 * heaviest first. Named as Elasticsearch does (shared facts, trained_models.md 11): every token
 * that has a weight, special ones too, with two underscores for each dot. */
#include <stdlib.h>

#include "bug.h"
#include "model_private.h"

struct weight {
    uint32_t id;
    float weight;
};

struct weights {
    size_t n;
    struct weight items[];
};

static int by_weight(const void *a, const void *b)
{
    const struct weight *x = a, *y = b;
    if (x->weight != y->weight)
        return x->weight > y->weight ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static void *sparse_keep(const float *row, size_t width)
{
    size_t n = 0;
    for (size_t i = 0; i < width; i++)
        n += row[i] > 0;
    struct weights *w = mem_new(sizeof(*w) + n * sizeof(w->items[0]));
    for (size_t i = 0; i < width; i++)
        if (row[i] > 0)
            w->items[w->n++] = (struct weight){(uint32_t)i, row[i]};
    qsort(w->items, w->n, sizeof(w->items[0]), by_weight);
    return w;
}

static struct str name_of(struct arena *a, struct str token)
{
    size_t dots = 0, n = 0;
    for (size_t i = 0; i < token.n; i++)
        dots += token.p[i] == '.';
    char *p = arena_alloc(a, token.n + dots + 1);
    for (size_t i = 0; i < token.n; i++) {
        bool dot = token.p[i] == '.';
        p[n++] = dot ? '_' : token.p[i];
        if (dot)
            p[n++] = '_';
    }
    return str_n(p, n);
}

/* A model may have more columns than the tokenizer has tokens; those have no name. */
static void sparse_row(const struct flight *f, size_t i, struct arena *a, struct sparse *out)
{
    const struct tokenizer *t = f->deployment->parts->tokenizer;
    const struct weights *w = f->kept[i];
    struct sparse_item *items = arena_array(a, w->n, sizeof(*items));
    *out = (struct sparse){.is_truncated = f->sequences[i].truncated, .items = items};
    for (size_t k = 0; k < w->n; k++) {
        struct str token = tokenizer_token(t, (int32_t)w->items[k].id);
        if (token.p)
            items[out->n++] =
                (struct sparse_item){.token = name_of(a, token), .weight = w->items[k].weight};
    }
}

static void sparse_end(const struct flight *f, struct arena *a, struct result *out)
{
    *out = (struct result){.kind = RESULT_SPARSE, .n = f->n};
    out->sparse = arena_array(a, f->n, sizeof(*out->sparse));
    for (size_t i = 0; i < f->n; i++)
        sparse_row(f, i, a, &out->sparse[i]);
}

const struct head head_sparse_embedding = {
    .task = TASK_SPARSE_EMBEDDING,
    .output = OUTPUT_VOCABULARY,
    .keep = sparse_keep,
    .end = sparse_end,
};
