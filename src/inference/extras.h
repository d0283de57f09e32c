/* extras: what an endpoint's common settings mean, read once: its rate limit group, fallback,
 * cache, hedge, timeouts. Hangs on endpoint->group; ends with the endpoint.
 *
 *     {"fallback": ["other"], "cache": {"max_size": "16mb", "ttl": "10m"},
 *      "hedge": {"after": "500ms"}, "timeouts": {"first_token": "10s", "stall": "30s"}} */
#ifndef INFERD_EXTRAS_H
#define INFERD_EXTRAS_H

#include "cache.h"
#include "egress.h"
#include "endpoint.h"
#include "limiter.h"
#include "tally.h"

struct inference;

struct extras {
    struct limit_group *group; /* NULL: no rate limit */
    struct circuit *circuit;   /* the group's or our own; NULL: of extras_none */
    struct circuit own_circuit;
    struct tally *tally;  /* NULL: of extras_none */
    struct str *fallback; /* ids, in the endpoint's arena */
    size_t n_fallback;
    const struct egress *egress;                /* NULL: plainly */
    struct cache *cache;                        /* NULL: none */
    int64_t hedge_ms;                           /* 0: off */
    int64_t first_token_ms, stall_ms, total_ms; /* 0: not said */
};

/* Reads the settings and hangs the result on the endpoint, which has its provider and is not shared
 * yet. `before`: the version it replaces, whose tally it goes on with; NULL: it is new. Wrong
 * settings: ERR_VALIDATION. */
struct err *extras_attach(struct inference *, struct endpoint *, const struct endpoint *before);
/* Against what there is: fallbacks exist, do the same task and, for embeddings, the same model with
 * as many dimensions. After the probe. */
struct err *extras_check_fallback(struct inference *, const struct endpoint *);
/* May `other` answer for `ep`? NULL: yes; else why not. */
struct err *extras_agree(const struct endpoint *ep, const struct endpoint *other);

/* Of an endpoint that none were attached to: nothing of all that. */
extern const struct extras extras_none;

static inline const struct extras *extras_of(const struct endpoint *ep)
{
    return ep->group ? ep->group : &extras_none;
}

#endif
