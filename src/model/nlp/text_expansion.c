#include "nlp_private.h"

const struct nlp_head nlp_text_expansion = {
    .task = NLP_TEXT_EXPANSION,
    .name = "text_expansion",
    .members = NLP_COMMON | NLP_EXPANSION_TYPE,
    .updates = NLP_ALWAYS,
};
