#include "nlp_private.h"

const struct nlp_head nlp_text_similarity = {
    .task = NLP_TEXT_SIMILARITY,
    .name = "text_similarity",
    .members = NLP_COMMON | NLP_SPAN_SCORE,
    .updates = NLP_ALWAYS | NLP_SPAN_SCORE | NLP_TEXT,
};
