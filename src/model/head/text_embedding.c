/* A row is the embedding: pooling and normalisation are part of the program. */
#include "model_private.h"

static void text_embedding_end(const struct flight *f, struct arena *a, struct result *out)
{
    *out = (struct result){.kind = RESULT_FLOATS, .n = f->n};
    out->embeddings = arena_array(a, f->n, sizeof(*out->embeddings));
    for (size_t i = 0; i < f->n; i++)
        out->embeddings[i] = (struct embedding){.n = f->width, .f32 = f->rows + i * f->width};
}

const struct head head_text_embedding = {
    .task = TASK_TEXT_EMBEDDING,
    .output = OUTPUT_EMBEDDING,
    .end = text_embedding_end,
};
