/* What the model gives, as it is. Elasticsearch shows the first of three dimensions only. */
#include "engine.h"
#include "nlp_private.h"

/* Rows of windows stand below each other when each gave one; else only the first window is seen. */
static struct err *pass_through_decode(const struct nlp_config *c,
                                       const struct tokenizer *tokenizer,
                                       const struct nlp_request *request,
                                       const struct output *outputs, struct arena *arena,
                                       struct nlp_result *out)
{
    size_t n = 1, width = (size_t)outputs->dim[2], n_rows = (size_t)outputs->dim[1];
    while (n < request->n_rows && n_rows == 1 && outputs[n].dim[1] == 1 &&
           outputs[n].dim[2] == outputs->dim[2])
        n++;
    float *values = arena_array(arena, n * n_rows * width, sizeof(*values));
    for (size_t i = 0; i < n; i++)
        memcpy(values + i * n_rows * width, outputs[i].data, n_rows * width * sizeof(*values));
    out->values = values;
    out->n_values = n * n_rows * width;
    out->dim[0] = 1;
    out->dim[1] = (int64_t)(n * n_rows);
    out->dim[2] = (int64_t)width;
    return NULL;
}

static void pass_through_render(struct json_out *w, const struct nlp_config *c, struct str field,
                                const struct nlp_result *r)
{
    json_key_s(w, field);
    json_arr(w);
    for (size_t i = 0, k = 0; i < (size_t)r->dim[1]; i++) {
        json_arr(w);
        for (int64_t j = 0; j < r->dim[2]; j++, k++)
            json_put_f64(w, (double)r->values[k]);
        json_end(w);
    }
    json_end(w);
}

const struct nlp_head nlp_pass_through = {
    .task = NLP_PASS_THROUGH,
    .name = "pass_through",
    .members = NLP_COMMON,
    .updates = NLP_ALWAYS,
    .decode = pass_through_decode,
    .render = pass_through_render,
};
