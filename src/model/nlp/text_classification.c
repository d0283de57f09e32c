/* A class for a text: the mean of what its windows say. */
#include "engine.h"
#include "nlp_private.h"

static struct err *text_classification_check(struct arena *arena, struct nlp_config *c)
{
    if (c->n_classification_labels >= 2)
        return NULL;
    struct err_list errors = {0};
    struct str only = c->n_classification_labels ? c->classification_labels[0] : STR("");
    err_list_add(&errors,
                 "[text_classification] requires at least 2 [classification_labels]; provided "
                 "[%.*s]",
                 STR_ARG(str_sub(only, 0, 200)));
    return err_list_end(&errors, ERR_VALIDATION);
}

static struct err *text_classification_decode(const struct nlp_config *c,
                                              const struct tokenizer *tokenizer,
                                              const struct nlp_request *request,
                                              const struct output *outputs, struct arena *arena,
                                              struct nlp_result *out)
{
    size_t n = c->n_classification_labels, n_rows = 0;
    double *mean = arena_array(arena, n, sizeof(*mean));
    for (size_t i = 0; i < request->n_rows; i++) {
        TRY(nlp_check_row(&outputs[i], n, "text classification"));
        for (int64_t j = 0; j < outputs[i].dim[1]; j++, n_rows++) {
            double *p = nlp_row(&outputs[i], 0, j, arena);
            nlp_softmax(p, n);
            for (size_t k = 0; k < n; k++)
                mean[k] += p[k];
        }
    }
    for (size_t k = 0; k < n; k++)
        mean[k] /= (double)n_rows;
    nlp_classes(arena, c->classification_labels, mean, n, c->num_top_classes, out);
    return NULL;
}

static void text_classification_render(struct json_out *w, const struct nlp_config *c,
                                       struct str field, const struct nlp_result *r)
{
    json_key_s(w, field);
    json_put_str(w, r->predicted);
    nlp_render_classes(w, r);
}

const struct nlp_head nlp_text_classification = {
    .task = NLP_TEXT_CLASSIFICATION,
    .name = "text_classification",
    .members = NLP_COMMON | NLP_CLASSIFICATION_LABELS | NLP_NUM_TOP_CLASSES,
    .updates = NLP_ALWAYS | NLP_CLASSIFICATION_LABELS | NLP_NUM_TOP_CLASSES,
    .num_top_classes = -1,
    .check = text_classification_check,
    .decode = text_classification_decode,
    .render = text_classification_render,
};
