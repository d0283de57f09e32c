/* head: from the rows a session gives to a result. One file per task under head/, one line in
 * heads.def. Private to model/.
 *
 * A row is [width] floats of the program; most heads leave it in the flight's rows. One whose rows
 * are as long as a vocabulary keeps what it needs of each instead. */
#ifndef INFERD_HEAD_H
#define INFERD_HEAD_H

#include "engine.h"
#include "result.h"

struct flight;

struct head {
    enum task task;
    enum program_output output; /* of the programs it is for */
    uint32_t width;             /* that their rows must have; 0: any */
    /* What is kept of a row, for free(). NULL: the row itself. Thread: allocations. */
    void *(*keep)(const float *row, size_t width);
    /* All rows are there, in the order of the call's inputs. In the call's arena; on its loop. */
    void (*end)(const struct flight *, struct arena *, struct result *out);
};

#define X(record) extern const struct head record;
#include "heads.def"
#undef X

const struct head *head_find(enum task); /* NULL: no local model does that */

#endif
