/* tally: what one endpoint has done since it was made: calls, tokens by the provider's own count
 * (of a local model: those that were run), failures by kind. It is handed from version to version
 * of the endpoint as that is updated, and ends with the last; nothing of it is stored.
 *
 * A call counts for whoever was asked: a call that falls back counts for both endpoints, one that
 * is retried, hedged or split counts once. Probes count, for they are paid for.
 *
 * Thread: any; readers see each number by itself. */
#ifndef INFERD_TALLY_H
#define INFERD_TALLY_H

#include <stdatomic.h>
#include <stdint.h>

#include "err.h"
#include "histogram.h"
#include "result.h"

/* symbol, name: of an end that is not an answer */
#define TALLY_FAILURES(X)                                                                          \
    X(TALLY_RATE_LIMITED, "rate_limited") /* by the service, or our own queue was full */          \
    X(TALLY_DENIED, "denied")             /* 401, 403 */                                           \
    X(TALLY_REFUSED, "refused")           /* any other 4xx */                                      \
    X(TALLY_SERVICE, "service_error")     /* 5xx, or an answer that cannot be read */              \
    X(TALLY_TRANSPORT, "transport")       /* no connection, or it broke */                         \
    X(TALLY_TIMEOUT, "timeout")                                                                    \
    X(TALLY_UNAVAILABLE, "unavailable") /* not tried: the circuit is open */                       \
    X(TALLY_CANCELLED, "cancelled")     /* by the caller */

enum tally_failure {
#define X(symbol, name) symbol,
    TALLY_FAILURES(X)
#undef X
        N_TALLY_FAILURES
};

struct tally {
    atomic_uint refs;
    _Atomic int64_t calls;
    _Atomic int64_t cached; /* of these, answered from the cache */
    _Atomic int64_t in_tokens, out_tokens;
    _Atomic int64_t failures[N_TALLY_FAILURES];
    struct histogram took;        /* from the call to its answer or failure, cached ones too */
    struct histogram first_token; /* of streams: until their first event */
};

struct tally *tally_new(void);
struct tally *tally_ref(struct tally *);
void tally_unref(struct tally *); /* NULL is fine */

/* All of these take NULL for an endpoint that has none. */
void tally_call(struct tally *, bool cached);
/* Counts below zero or absurdly high are the provider's mistake, and are left out. */
void tally_usage(struct tally *, const struct usage *);
void tally_fail(struct tally *, enum tally_failure);
void tally_took(struct tally *, int64_t us);
void tally_first_token(struct tally *, int64_t us);

/* What kind of failure an error is, once it has the shape that the caller sees. */
enum tally_failure tally_failure_of(const struct err *, bool timed_out);
const char *tally_failure_name(enum tally_failure);

#endif
