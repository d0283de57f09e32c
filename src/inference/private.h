/* private: what the files of inference/ share. */
#ifndef INFERD_INFERENCE_PRIVATE_H
#define INFERD_INFERENCE_PRIVATE_H

#include <pthread.h>

#include "inference.h"
#include "exchange.h"
#include "extras.h"
#include "limiter.h"
#include "map.h"
#include "provider.h"
#include "table.h"

struct inference {
    struct inference_options options;
    struct inference_parts parts;
    struct client **clients; /* one per loop */
    struct table *table;
    struct limiter *limiter;
    struct exchanges *exchanges;
    pthread_mutex_t busy_lock;
    struct map *busy;                     /* ids under change -> their op */
    _Atomic int n_first, n_first_waiting; /* local.c: calls that began a first start */
};

/* upstream.c: a call on an outside service. Takes it; ends it via call->sink. */
void upstream_submit(struct inference *, struct call *);

/* dispatch.c: that the time the caller gave is over. */
struct err *inference_timeout_err(const struct call *);

/* hedge.c: a call whose endpoint asks for it, as two if the first is slow; else false. */
bool hedge_submit(struct inference *, struct call *);

/* A call of its own beside `whole`, for one of several requests made in its name: the same question
 * on the same loop until the same time. Its arena is new and the caller's to free; its texts are
 * still those of `whole`. */
static inline struct call call_beside(const struct call *whole, struct sink *sink)
{
    return (struct call){.loop = whole->loop,
                         .arena = arena_new(ARENA_NO_LIMIT),
                         .endpoint = whole->endpoint,
                         .input = whole->input,
                         .sink = sink,
                         .deadline_ms = whole->deadline_ms,
                         .timeout_ms = whole->timeout_ms,
                         .probe = whole->probe,
                         .partial = whole->partial,
                         .part = whole->part,
                         .opaque_id = whole->opaque_id,
                         .owner = whole->owner,
                         .traceparent = whole->traceparent,
                         .tracestate = whole->tracestate};
}

/* split.c: a call of embeddings with more inputs than the provider takes at once, as several calls
 * on upstream side by side. True: taken, and it ends via call->sink. False: it fits as it is. */
bool split_submit(struct inference *, struct call *);
/* Number of the inputs from `first` on that go into one request. */
size_t split_pack(const struct endpoint *, const struct input *, size_t first);

/* partial.c: a call that asks for each input by itself (call->partial), in pieces; else false. */
bool partial_submit(struct inference *, struct call *);
/* dispatch.c: to whoever answers for the call's endpoint. */
void dispatch_submit(struct inference *, struct call *);

/* Shortens embedding inputs to the endpoint's max_input_tokens, if its service wants that. */
void upstream_cut(const struct endpoint *, struct arena *, struct input *);
/* The service's base_url, what may be reached, and by which way, for every request made in its
 * name, between building and signing it. ERR_ARGUMENT: too many headers. */
struct err *upstream_address(const struct inference *, const struct endpoint *, struct http_out *,
                             struct client_limits *);

/* --- local.c --- */

/* What a local endpoint's deployment should be; texts are borrowed from the endpoint. */
struct deployment_spec inference_deployment_spec(const struct endpoint *);
/* The id of the deployment that answers it. */
struct str local_deployment(const struct endpoint *);
/* It is somebody else's (deployment_id). */
bool local_is_attached(const struct endpoint *);
/* What must be asked of the deployment when the endpoint changes. */
struct deployment_change local_change(const struct endpoint *from, const struct endpoint *to);
/* Puts those that are not stored into the table; one, as it was. */
void local_presets(struct inference *);
void local_preset_again(struct inference *, struct str id);
/* Takes the call; ends it via call->sink. */
void local_submit(struct inference *, struct call *);

static inline bool endpoint_is_local(const struct endpoint *ep)
{
    return ep->provider->local;
}

#endif
