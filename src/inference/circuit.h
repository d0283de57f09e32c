/* circuit: stops calling a service that is down, so that its callers (and their fallbacks) need not
 * wait for it, and it can recover.
 *
 *     closed --CIRCUIT_FAILURES failed calls in a row--> open for 5 s
 *     open   --time is up--> one call is let through as a probe, the others still fail at once
 *     probe  --answered--> closed;  --failed--> open again for twice as long, up to 60 s
 *
 *     struct circuit_pass pass;
 *     if (!circuit_enter(c, now_ms, &pass)) return ... pass.retry_after_ms ...
 *     ...
 *     switch (circuit_report(c, pass, CIRCUIT_FAILED, now_ms)) case CIRCUIT_OPENED: log
 *
 * Whatever the service answers, 4xx and 429 too, shows that it is there; only 5xx, timeouts and
 * broken connections count against it. A probe that never reports (its process of events was lost)
 * is forgotten when the time it was given is up. Source: Nygard, Release It! (2007), chapter 5.
 *
 * A pure function of the time it is given, and a few atomics. Thread: any. */
#ifndef INFERD_CIRCUIT_H
#define INFERD_CIRCUIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define CIRCUIT_FAILURES 10
#define CIRCUIT_FIRST_MS 5000
#define CIRCUIT_MOST_MS  60000

struct circuit {                 /* all zero: closed */
    atomic_int failures;         /* in a row, while closed */
    _Atomic int64_t until_ms;    /* open, or being probed, until then; 0: closed */
    _Atomic int64_t interval_ms; /* how long it was opened for last */
};

struct circuit_pass {
    bool probe;
    int64_t retry_after_ms; /* when refused */
};

enum circuit_outcome {
    CIRCUIT_ANSWERED,
    CIRCUIT_FAILED,
    CIRCUIT_UNKNOWN /* cancelled by the caller: says nothing */
};

enum circuit_change { CIRCUIT_SAME, CIRCUIT_OPENED, CIRCUIT_CLOSED };

/* May a call go? now_ms > 0, on any one clock that does not go back. */
bool circuit_enter(struct circuit *, int64_t now_ms, struct circuit_pass *out);
/* The end of a call that has entered. */
enum circuit_change circuit_report(struct circuit *, struct circuit_pass, enum circuit_outcome,
                                   int64_t now_ms);
/* Without entering: how long until a call may go; 0: now. */
int64_t circuit_wait_ms(const struct circuit *, int64_t now_ms);
bool circuit_is_closed(const struct circuit *);

#endif
