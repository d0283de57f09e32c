/* runners: runs a script that is interpreted, one sequence at a time on each thread of a team.
 * Thread: one caller at a time. */
#ifndef INFERD_ENGINE_RUNNERS_H
#define INFERD_ENGINE_RUNNERS_H

#include "program.h"

struct runners;
struct team;

/* The most arguments a forward may have: ids, mask, types, positions. */
#define RUNNERS_MAX_ARGS 4

struct runners *runners_new(const struct program *, struct team *);
void runners_free(struct runners *); /* NULL is fine */
/* The batch was checked. What `out` borrows lasts until the next run. */
void runners_run(struct runners *, const struct token_batch *, struct output *out);

#endif
