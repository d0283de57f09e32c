/* modules: what sentence-transformers adds to a transformer: modules.json, N_Pooling/config.json,
 * sentence_bert_config.json. Anything it names that is not known here is refused by its name. */
#ifndef INFERD_ENGINE_MODULES_H
#define INFERD_ENGINE_MODULES_H

#include "graph.h"
#include "json.h"

struct modules {
    enum pooling pooling;
    bool normalize;
    uint32_t max_seq_length; /* 0: not said */
};

/* modules.json itself; NULL: there is none. */
struct err *modules_list(const char *folder, struct arena *, const struct json **out);
/* `list` as modules_list gave it. What follows a classifier is not looked at; a SPLADE model's
 * pooling must be what head_splade does. */
struct err *modules_read(const char *folder, const struct json *list, enum program_output,
                         uint32_t hidden, struct arena *, struct modules *out);
const char *pooling_name(enum pooling);

#endif
