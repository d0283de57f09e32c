#include "nlp_private.h"

#define N_LABELS 3
#define REQUIRED "[entailment, neutral, contradiction]"

/* Where a label is, whatever its case; N_LABELS: nowhere. */
static size_t place_of(const struct nlp_config *c, struct str name)
{
    size_t i = 0;
    while (i < c->n_classification_labels && !str_eq_nocase(c->classification_labels[i], name))
        i++;
    return i;
}

static struct err *zero_shot_check(struct arena *arena, struct nlp_config *c)
{
    if (!c->has_classification_labels)
        return err_new(ERR_ARGUMENT, "[classification_labels] must not be null.");
    if (c->n_classification_labels != N_LABELS)
        return err_new(ERR_ARGUMENT,
                       "[classification_labels] must contain exactly the three values " REQUIRED);
    if (place_of(c, STR("entailment")) == N_LABELS || place_of(c, STR("contradiction")) == N_LABELS)
        return err_new(ERR_ARGUMENT, "[classification_labels] must contain exactly the three "
                                     "values " REQUIRED ". Labels [entailment] and "
                                     "[contradiction] are required");
    if (str_find(c->hypothesis_template, STR("{}")) == SIZE_MAX)
        return err_new(ERR_ARGUMENT,
                       "[hypothesis_template] must contain {} for label replacement; provided "
                       "[%.*s]",
                       STR_ARG(str_sub(c->hypothesis_template, 0, 200)));
    if (c->tokenization.span != -1)
        return err_status(400,
                          "[zero_shot_classification] does not support windowing long text "
                          "sequences; configured span [%lld]",
                          (long long)c->tokenization.span);
    return NULL;
}

const struct nlp_head nlp_zero_shot = {
    .task = NLP_ZERO_SHOT_CLASSIFICATION,
    .name = "zero_shot_classification",
    .members = NLP_COMMON | NLP_CLASSIFICATION_LABELS | NLP_LABELS | NLP_MULTI_LABEL |
               NLP_HYPOTHESIS_TEMPLATE,
    .updates = NLP_ALWAYS | NLP_LABELS | NLP_MULTI_LABEL,
    .check = zero_shot_check,
};
