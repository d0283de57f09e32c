/* A text as weights of words: those of the first row that are above zero.
 *
 * Models like ELSER give the weights themselves. Others are uploaded as masked language models,
 * which give a row of logits for each token; Elasticsearch reads the first of these as well. With
 * expansion_type splade, which is ours, weights are what such models are trained for: for each
 * word the maximum of log(1 + relu(logit)) over all tokens, of all windows. */
#include <math.h>

#include "engine.h"
#include "nlp_private.h"
#include "tokenizer.h"

static void raise_to(float *best, const struct output *o)
{
    size_t n = (size_t)o->dim[2], n_rows = (size_t)(o->dim[0] * o->dim[1]);
    for (size_t j = 0; j < n_rows; j++) {
        for (size_t k = 0; k < n; k++)
            best[k] = o->data[j * n + k] > best[k] ? o->data[j * n + k] : best[k];
    }
}

/* The logarithm grows with the logit: taken once, of the largest. */
static struct err *splade(const struct nlp_request *request, const struct output *outputs,
                          struct arena *arena, const float **out)
{
    size_t n = (size_t)outputs->dim[2];
    float *best = arena_array(arena, n, sizeof(*best));
    for (size_t i = 0; i < request->n_rows; i++) {
        TRY(nlp_check_row(&outputs[i], n, "text_expansion"));
        raise_to(best, &outputs[i]);
    }
    for (size_t k = 0; k < n; k++)
        best[k] = log1pf(best[k]);
    *out = best;
    return NULL;
}

/* Elasticsearch's fields are paths: a dot would be one more level. */
static struct str field_name(struct str token, struct arena *arena)
{
    size_t dots = 0, n = 0;
    for (size_t i = 0; i < token.n; i++)
        dots += token.p[i] == '.';
    if (dots == 0)
        return token;
    char *p = arena_array(arena, token.n + dots, 1);
    for (size_t i = 0; i < token.n; i++) {
        p[n++] = token.p[i] == '.' ? '_' : token.p[i];
        if (token.p[i] == '.')
            p[n++] = '_';
    }
    return str_n(p, n);
}

static int by_weight(const void *a, const void *b)
{
    const struct nlp_ranked *x = a, *y = b;
    if (x->score > y->score || x->score < y->score)
        return x->score > y->score ? -1 : 1;
    return x->first < y->first ? -1 : 1;
}

static struct err *text_expansion_decode(const struct nlp_config *c,
                                         const struct tokenizer *tokenizer,
                                         const struct nlp_request *request,
                                         const struct output *outputs, struct arena *arena,
                                         struct nlp_result *out)
{
    const float *weights = outputs->data;
    if (c->splade)
        TRY(splade(request, outputs, arena, &weights));
    size_t n = 0;
    struct nlp_ranked *heavy = arena_array(arena, (size_t)outputs->dim[2], sizeof(*heavy));
    for (size_t k = 0; k < (size_t)outputs->dim[2] && k < tokenizer_vocab_size(tokenizer); k++) {
        if (weights[k] > 0)
            heavy[n++] = (struct nlp_ranked){.score = (double)weights[k], .first = k};
    }
    if (n)
        qsort(heavy, n, sizeof(*heavy), by_weight);
    struct nlp_class *classes = arena_array(arena, n, sizeof(*classes));
    for (size_t i = 0; i < n; i++) {
        classes[i].name = field_name(tokenizer_token(tokenizer, (int32_t)heavy[i].first), arena);
        classes[i].probability = heavy[i].score;
    }
    out->classes = classes;
    out->n_classes = n;
    return NULL;
}

static void text_expansion_render(struct json_out *w, const struct nlp_config *c, struct str field,
                                  const struct nlp_result *r)
{
    json_key_s(w, field);
    json_obj(w);
    for (size_t i = 0; i < r->n_classes; i++) {
        json_key_s(w, r->classes[i].name);
        json_put_f32(w, (float)r->classes[i].probability);
    }
    json_end(w);
}

const struct nlp_head nlp_text_expansion = {
    .task = NLP_TEXT_EXPANSION,
    .name = "text_expansion",
    .members = NLP_COMMON | NLP_EXPANSION_TYPE,
    .updates = NLP_ALWAYS,
    .decode = text_expansion_decode,
    .render = text_expansion_render,
};
