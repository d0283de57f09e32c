#include "nlp_private.h"

const struct nlp_head nlp_question_answering = {
    .task = NLP_QUESTION_ANSWERING,
    .name = "question_answering",
    .members = NLP_COMMON | NLP_NUM_TOP_CLASSES | NLP_MAX_ANSWER_LENGTH,
    .updates = NLP_ALWAYS | NLP_NUM_TOP_CLASSES | NLP_MAX_ANSWER_LENGTH | NLP_QUESTION,
};
