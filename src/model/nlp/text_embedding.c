/* The vector of a text: the first row, unchanged. */
#include "engine.h"
#include "nlp_private.h"

static struct err *text_embedding_decode(const struct nlp_config *c,
                                         const struct tokenizer *tokenizer,
                                         const struct nlp_request *request,
                                         const struct output *outputs, struct arena *arena,
                                         struct nlp_result *out)
{
    size_t n = (size_t)outputs->dim[2];
    float *values = arena_array(arena, n, sizeof(*values));
    memcpy(values, outputs->data, n * sizeof(*values));
    out->values = values;
    out->n_values = n;
    out->dim[0] = out->dim[1] = 1;
    out->dim[2] = (int64_t)n;
    return NULL;
}

static void text_embedding_render(struct json_out *w, const struct nlp_config *c, struct str field,
                                  const struct nlp_result *r)
{
    json_key_s(w, field);
    json_arr(w);
    for (size_t i = 0; i < r->n_values; i++)
        json_put_f64(w, (double)r->values[i]);
    json_end(w);
}

const struct nlp_head nlp_text_embedding = {
    .task = NLP_TEXT_EMBEDDING,
    .name = "text_embedding",
    .members = NLP_COMMON | NLP_EMBEDDING_SIZE,
    .updates = NLP_ALWAYS,
    .decode = text_embedding_decode,
    .render = text_embedding_render,
};
