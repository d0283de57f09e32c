#include "nlp_private.h"

static const struct str default_labels[] = {
    STR_INIT("O"),     STR_INIT("B_MISC"), STR_INIT("I_MISC"), STR_INIT("B_PER"), STR_INIT("I_PER"),
    STR_INIT("B_ORG"), STR_INIT("I_ORG"),  STR_INIT("B_LOC"),  STR_INIT("I_LOC"),
};

static bool is_inside(struct str label)
{
    return str_starts(label, STR("I-")) || str_starts(label, STR("I_"));
}

static bool is_begin(struct str label)
{
    return str_starts(label, STR("B-")) || str_starts(label, STR("B_"));
}

static struct err *ner_check(struct arena *arena, struct nlp_config *c)
{
    struct err_list errors = {0};
    if (!c->has_classification_labels) {
        c->classification_labels = default_labels;
        c->n_classification_labels = sizeof(default_labels) / sizeof(default_labels[0]);
    }
    const struct str *labels = c->classification_labels;
    for (size_t i = 0; i < c->n_classification_labels; i++) {
        bool again = false;
        for (size_t k = 0; k < i; k++)
            again |= str_eq(labels[i], labels[k]);
        if (again)
            err_list_add(&errors, "the classification label [%.*s] is duplicated in the list",
                         STR_ARG(str_sub(labels[i], 0, 200)));
        else if (!is_begin(labels[i]) && !is_inside(labels[i]) && !str_eq_c(labels[i], "O"))
            err_list_add(&errors, "classification label [%.*s] is not an entity I-O-B tag.",
                         STR_ARG(str_sub(labels[i], 0, 200)));
    }
    return err_list_end(&errors, ERR_VALIDATION);
}

const struct nlp_head nlp_ner = {
    .task = NLP_NER,
    .name = "ner",
    .members = NLP_COMMON | NLP_CLASSIFICATION_LABELS,
    .updates = NLP_ALWAYS,
    .check = ner_check,
};
