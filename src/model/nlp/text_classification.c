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

const struct nlp_head nlp_text_classification = {
    .task = NLP_TEXT_CLASSIFICATION,
    .name = "text_classification",
    .members = NLP_COMMON | NLP_CLASSIFICATION_LABELS | NLP_NUM_TOP_CLASSES,
    .updates = NLP_ALWAYS | NLP_CLASSIFICATION_LABELS | NLP_NUM_TOP_CLASSES,
    .num_top_classes = -1,
    .check = text_classification_check,
};
