/* head: from the rows a session gives to a result. One file per task under head/, one line in
 * heads.def. Private to model/. */
#ifndef INFERD_HEAD_H
#define INFERD_HEAD_H

#include "result.h"

struct head {
    enum task task;
    /* rows: [n_rows, width], in the order of the call's inputs; lives in the call's arena. */
    void (*end)(struct arena *, const float *rows, size_t n_rows, size_t width, struct result *out);
};

#define X(record) extern const struct head record;
#include "heads.def"
#undef X

const struct head *head_find(enum task); /* NULL: no local model does that */

#endif
