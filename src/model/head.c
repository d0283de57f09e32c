#include "head.h"

static const struct head *const heads[] = {
#define X(record) &record,
#include "heads.def"
#undef X
};

#define N_HEADS (sizeof(heads) / sizeof(heads[0]))

const struct head *head_find(enum task task)
{
    for (size_t i = 0; i < N_HEADS; i++)
        if (heads[i]->task == task)
            return heads[i];
    return NULL;
}

unsigned head_task_bit(enum nlp_task nlp)
{
    for (size_t i = 0; i < N_HEADS; i++)
        if (heads[i]->nlp == nlp)
            return TASK_BIT(heads[i]->task);
    return 0;
}
