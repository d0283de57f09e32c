/* Names of tasks and input types, and reading them. */
#include "task.h"

static const char *const task_names[N_TASKS] = {
    [TASK_TEXT_EMBEDDING] = "text_embedding",
    [TASK_SPARSE_EMBEDDING] = "sparse_embedding",
    [TASK_RERANK] = "rerank",
    [TASK_COMPLETION] = "completion",
    [TASK_ANY] = "any",
    [TASK_CHAT_COMPLETION] = "chat_completion",
};

static const char *const input_type_names[] = {
    [INPUT_UNSPECIFIED] = "unspecified", [INPUT_INGEST] = "ingest",
    [INPUT_SEARCH] = "search",           [INPUT_CLASSIFICATION] = "classification",
    [INPUT_CLUSTERING] = "clustering",
};

#define N_INPUT_TYPES (sizeof(input_type_names) / sizeof(input_type_names[0]))

const char *task_name(enum task task)
{
    return (unsigned)task < N_TASKS ? task_names[task] : "unknown";
}

bool task_parse(struct str s, enum task *out)
{
    s = str_trim(s);
    for (unsigned i = 0; i < N_TASKS; i++) {
        if (str_eq_nocase(s, str_c(task_names[i]))) {
            *out = (enum task)i;
            return true;
        }
    }
    return false;
}

const char *input_type_name(enum input_type type)
{
    return (unsigned)type < N_INPUT_TYPES ? input_type_names[type] : "unspecified";
}

bool input_type_parse(struct str s, enum input_type *out)
{
    s = str_trim(s);
    for (unsigned i = 0; i < N_INPUT_TYPES; i++) {
        if (str_eq_nocase(s, str_c(input_type_names[i]))) {
            *out = (enum input_type)i;
            return true;
        }
    }
    return false;
}
