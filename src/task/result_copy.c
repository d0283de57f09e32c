/* Copies of results: for those who keep an answer longer than it is lent to them. */
#include "result.h"

static void copy_embedding(struct arena *arena, const struct embedding *from, struct embedding *to)
{
    *to = (struct embedding){.n = from->n};
    if (from->node) {
        struct json *node = arena_alloc(arena, sizeof *node);
        *node = *from->node;
        node->raw = arena_dup(arena, json_raw(from->node)).p;
        node->key = (struct str){0};
        to->node = node;
    } else if (from->f32) {
        float *f32 = arena_array(arena, from->n, sizeof *f32);
        memcpy(f32, from->f32, from->n * sizeof *f32);
        to->f32 = f32;
    } else if (from->i8) {
        int8_t *i8 = arena_array(arena, from->n, 1);
        memcpy(i8, from->i8, from->n);
        to->i8 = i8;
    }
}

static void copy_sparse(struct arena *arena, const struct sparse *from, struct sparse *to)
{
    struct sparse_item *items = arena_array(arena, from->n, sizeof *items);
    for (size_t i = 0; i < from->n; i++) {
        items[i] = from->items[i];
        items[i].token = arena_dup(arena, from->items[i].token);
        if (from->items[i].weight_text.p)
            items[i].weight_text = arena_dup(arena, from->items[i].weight_text);
    }
    *to = (struct sparse){.is_truncated = from->is_truncated, .items = items, .n = from->n};
}

static struct str copy_text(struct arena *arena, struct str s)
{
    return s.p ? arena_dup(arena, s) : s;
}

static void copy_row(struct arena *arena, const struct result *from, size_t i, struct result *to,
                     size_t at)
{
    switch (from->kind) {
    case RESULT_FLOATS:
    case RESULT_BYTES:
    case RESULT_BITS:
        copy_embedding(arena, &from->embeddings[i], &to->embeddings[at]);
        break;
    case RESULT_SPARSE:
        copy_sparse(arena, &from->sparse[i], &to->sparse[at]);
        break;
    case RESULT_RERANK:
        to->ranked[at] = from->ranked[i];
        to->ranked[at].score_text = copy_text(arena, from->ranked[i].score_text);
        to->ranked[at].text = copy_text(arena, from->ranked[i].text);
        break;
    case RESULT_COMPLETION:
        to->texts[at] = copy_text(arena, from->texts[i]);
        break;
    }
}

void result_rows(struct arena *arena, enum result_kind kind, size_t n, struct result *out)
{
    static const size_t sizes[] = {
        [RESULT_FLOATS] = sizeof(struct embedding), [RESULT_BYTES] = sizeof(struct embedding),
        [RESULT_BITS] = sizeof(struct embedding),   [RESULT_SPARSE] = sizeof(struct sparse),
        [RESULT_RERANK] = sizeof(struct ranked),    [RESULT_COMPLETION] = sizeof(struct str)};
    *out = (struct result){.kind = kind, .n = n};
    out->embeddings = arena_array(arena, n, sizes[kind]);
}

void result_copy_rows(struct arena *arena, const struct result *from, struct result *to,
                      size_t first)
{
    for (size_t i = 0; i < from->n; i++)
        copy_row(arena, from, i, to, first + i);
}

void result_copy(struct arena *arena, const struct result *from, struct result *out)
{
    result_rows(arena, from->kind, from->n, out);
    result_copy_rows(arena, from, out, 0);
    out->usage = from->usage;
}
