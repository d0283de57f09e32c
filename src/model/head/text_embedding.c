/* A row is the embedding: pooling and normalisation are part of the program. */
#include "head.h"

static void text_embedding_end(struct arena *a, const float *rows, size_t n_rows, size_t width,
                               struct result *out)
{
    *out = (struct result){.kind = RESULT_FLOATS, .n = n_rows};
    out->embeddings = arena_array(a, n_rows, sizeof(*out->embeddings));
    for (size_t i = 0; i < n_rows; i++)
        out->embeddings[i] = (struct embedding){.n = width, .f32 = rows + i * width};
}

const struct head head_text_embedding = {.task = TASK_TEXT_EMBEDDING, .end = text_embedding_end};
