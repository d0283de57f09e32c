/* modules: what sentence-transformers adds to a transformer: modules.json, N_Pooling/config.json,
 * sentence_bert_config.json. Anything it names that is not known here is refused by its name. */
#ifndef INFERD_ENGINE_MODULES_H
#define INFERD_ENGINE_MODULES_H

#include "graph.h"

struct modules {
    enum pooling pooling;
    bool normalize;
    uint32_t max_seq_length; /* 0: not said */
};

struct err *modules_read(const char *folder, uint32_t hidden, struct arena *, struct modules *out);
const char *pooling_name(enum pooling);

#endif
