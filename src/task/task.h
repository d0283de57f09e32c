/* task: the kinds of inference, and the small enums that travel with them.
 * Source: shared facts, inference.md 1.1, 2.5. */
#ifndef INFERD_TASK_H
#define INFERD_TASK_H

#include "str.h"

enum task {
    TASK_TEXT_EMBEDDING,
    TASK_SPARSE_EMBEDDING,
    TASK_RERANK,
    TASK_COMPLETION,
    TASK_ANY, /* in URLs only, never of a stored endpoint */
    TASK_CHAT_COMPLETION,
    N_TASKS /* the order is that of task_types in GET _services */
};

#define TASK_BIT(t) (1u << (t))
#define TASK_ALL_BITS                                                                              \
    (TASK_BIT(TASK_TEXT_EMBEDDING) | TASK_BIT(TASK_SPARSE_EMBEDDING) | TASK_BIT(TASK_RERANK) |     \
     TASK_BIT(TASK_COMPLETION) | TASK_BIT(TASK_CHAT_COMPLETION))

const char *task_name(enum task);              /* "text_embedding" */
bool task_parse(struct str s, enum task *out); /* trims, ignores case; "any" too */

enum input_type {
    INPUT_UNSPECIFIED,
    INPUT_INGEST,
    INPUT_SEARCH,
    INPUT_CLASSIFICATION,
    INPUT_CLUSTERING
};

const char *input_type_name(enum input_type);
bool input_type_parse(struct str s, enum input_type *out); /* ignores case; "unspecified" too */

#endif
