/* team: n threads that do one thing together, the caller's thread being the first.
 *
 *     struct team *t;
 *     TRY(team_new(2, &t));
 *     team_run(t, work, ctx);    // work(ctx, 0) here, work(ctx, 1) on the other; returns after
 * both team_free(t);
 *
 * Inside `work` team_barrier makes all wait for the slowest. Waiting spins for a few microseconds
 * (a layer is that short) and then sleeps on a futex, so an idle or an overloaded machine loses
 * nothing. Thread: one caller at a time. */
#ifndef INFERD_ENGINE_TEAM_H
#define INFERD_ENGINE_TEAM_H

#include "err.h"

struct team;

#define TEAM_MAX_THREADS 64

struct err *team_new(int n_threads, struct team **out);
void team_free(struct team *); /* NULL is fine */
unsigned team_size(const struct team *);
void team_run(struct team *, void (*work)(void *ctx, unsigned thread), void *ctx);
void team_barrier(struct team *);

#endif
