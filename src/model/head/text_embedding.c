/* The embedding as it is: pooling and normalisation are part of the program. */
#include "head.h"

static void text_embedding_end(const struct input *in, const struct nlp_result *const *results,
                               size_t n, struct arena *a, struct result *out)
{
    *out = (struct result){.kind = RESULT_FLOATS, .n = n};
    out->embeddings = arena_array(a, n, sizeof(*out->embeddings));
    for (size_t i = 0; i < n; i++)
        out->embeddings[i] =
            (struct embedding){.n = results[i]->n_values, .f32 = results[i]->values};
}

const struct head head_text_embedding = {
    .task = TASK_TEXT_EMBEDDING,
    .nlp = NLP_TEXT_EMBEDDING,
    .end = text_embedding_end,
};
