/* team: n threads that do one job together, the caller's thread being the first.
 *
 *     struct team *t;
 *     TRY(team_new(2, most_phases, &t));
 *     team_run(t, n_chunks, n_phases, work, ctx);   // returns when every chunk is done
 *     team_free(t);
 *
 * A job is phases one after another, a phase is n_chunks[p] chunks in any order: work(ctx, thread,
 * phase, chunk). Threads take chunks as they come; nobody begins a phase before all chunks of the
 * one before are done. What is waited for is work, not threads: one that the system has put aside
 * holds up nobody unless it has a chunk in hand, and one that wakes up late joins where the others
 * are. So a team does not get slower than one thread when the machine is busy.
 *
 * Waiting spins for a few microseconds (a phase is that short) and then sleeps on a futex.
 * Thread: one caller at a time. */
#ifndef INFERD_ENGINE_TEAM_H
#define INFERD_ENGINE_TEAM_H

#include "err.h"

struct team;

#define TEAM_MAX_THREADS 64

typedef void team_work(void *ctx, unsigned thread, size_t phase, uint32_t chunk);

struct err *team_new(int n_threads, size_t most_phases, struct team **out);
void team_free(struct team *); /* NULL is fine */
unsigned team_size(const struct team *);
void team_run(struct team *, const uint32_t *n_chunks, size_t n_phases, team_work *, void *ctx);
/* Between chunks a team of one thread calls this; NULL: nothing. Before the first run. */
void team_set_pause(struct team *, void (*pause)(void *ctx), void *ctx);
/* Each thread stays on its CPU from now on, the caller's, which is the first, too. cpus[size].
 * Where the system does not let it, it stays as it is. */
void team_place(struct team *, const int *cpus);

#endif
