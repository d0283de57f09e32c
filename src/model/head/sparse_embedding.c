/* Tokens and their weights, heaviest first, as the task has named them. */
#include "head.h"

static void sparse_row(const struct nlp_result *from, struct arena *a, struct sparse *out)
{
    struct sparse_item *items = arena_array(a, from->n_classes, sizeof(*items));
    for (size_t i = 0; i < from->n_classes; i++)
        items[i] = (struct sparse_item){.token = from->classes[i].name,
                                        .weight = (float)from->classes[i].probability};
    *out =
        (struct sparse){.is_truncated = from->is_truncated, .items = items, .n = from->n_classes};
}

static void sparse_end(const struct input *in, const struct nlp_result *const *results, size_t n,
                       struct arena *a, struct result *out)
{
    *out = (struct result){.kind = RESULT_SPARSE, .n = n};
    out->sparse = arena_array(a, n, sizeof(*out->sparse));
    for (size_t i = 0; i < n; i++)
        sparse_row(results[i], a, &out->sparse[i]);
}

const struct head head_sparse_embedding = {
    .task = TASK_SPARSE_EMBEDDING,
    .nlp = NLP_TEXT_EXPANSION,
    .end = sparse_end,
};
