#include "nlp_private.h"

const struct nlp_head nlp_fill_mask = {
    .task = NLP_FILL_MASK,
    .name = "fill_mask",
    .members = NLP_COMMON | NLP_NUM_TOP_CLASSES | NLP_MASK_TOKEN,
    .updates = NLP_ALWAYS | NLP_NUM_TOP_CLASSES,
    .num_top_classes = 5,
};
