#include "nlp_private.h"

const struct nlp_head nlp_pass_through = {
    .task = NLP_PASS_THROUGH,
    .name = "pass_through",
    .members = NLP_COMMON,
    .updates = NLP_ALWAYS,
};
