/* pool: threads for blocking or heavy work (store, hashing, tokenizing, loading models).
 *
 *     pool_run(pool, loop, work, done, job);   // work(job) on the pool, then done(job) on loop
 *
 * Takes `job` until done runs. `home` NULL: done runs on the pool thread itself. Thread: any. */
#ifndef INFERD_POOL_H
#define INFERD_POOL_H

#include "loop.h"

struct pool;

struct pool *pool_new(int n_threads);
void pool_free(struct pool *); /* finishes what is queued, joins */
void pool_run(struct pool *, struct loop *home, void (*work)(void *), void (*done)(void *),
              void *job);

#endif
