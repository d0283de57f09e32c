#include "nlp_private.h"

const struct nlp_head nlp_text_embedding = {
    .task = NLP_TEXT_EMBEDDING,
    .name = "text_embedding",
    .members = NLP_COMMON | NLP_EMBEDDING_SIZE,
    .updates = NLP_ALWAYS,
};
