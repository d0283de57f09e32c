/* head: from what a model's NLP task gave for each text to the result of an endpoint's task. One
 * file per task under head/, one line in heads.def. Private to model/. */
#ifndef INFERD_HEAD_H
#define INFERD_HEAD_H

#include "input.h"
#include "nlp.h"
#include "result.h"

struct head {
    enum task task;
    enum nlp_task nlp; /* of the models it is for */
    /* results[n], in the order of the call's inputs. In the call's arena; on its loop. The result
     * may borrow from them. */
    void (*end)(const struct input *, const struct nlp_result *const *results, size_t n,
                struct arena *, struct result *out);
};

#define X(record) extern const struct head record;
#include "heads.def"
#undef X

const struct head *head_find(enum task); /* NULL: no local model does that */
/* The TASK bit of a model's task; 0: no endpoint has it. */
unsigned head_task_bit(enum nlp_task);

#endif
