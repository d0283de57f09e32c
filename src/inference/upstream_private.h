/* upstream_private: what the files of one call on an outside service share. upstream.c has its way
 * from slot to answer, upstream_stream.c the streams, upstream_circuit.c what the circuit hears,
 * upstream_address.c where it is sent. All of it runs on the call's own loop. */
#ifndef INFERD_UPSTREAM_PRIVATE_H
#define INFERD_UPSTREAM_PRIVATE_H

#include "framing.h"
#include "private.h"

struct upstream {
    struct inference *inf;
    struct call *call;
    const struct provider *provider;
    const struct provider_task *task;
    struct client *client;
    struct client_call *sent;  /* NULL: nothing under way */
    struct token_wait *asking; /* NULL: no token is being waited for */
    struct secret *token;      /* a reference: the exchanged one of this attempt; NULL: none */
    bool renewed;              /* it was refused once already */
    struct arena *arena;       /* of this attempt: the request */
    struct arena *answer;      /* of this attempt: what is read from a whole answer */
    struct http_out out;
    int attempt;
    int64_t delay_bound_ms;
    int64_t give_up_ms; /* end of the retry budget */
    struct loop_timer timer;
    struct limit_wait *waiting; /* for its turn in the limit group; NULL: not, or not any more */
    bool entered;               /* the circuit, which hears of the end */
    struct circuit_pass pass;
    enum circuit_outcome outcome; /* of the last attempt */
    int64_t sent_ms;

    /* Streams only. */
    struct sink tap; /* hands deltas on and notes when the receiver is full */
    struct framing framing;
    struct stream stream;
    struct arena *scratch;
    struct http_in *refused; /* an answer that is not a stream; NULL: none came */
    struct buf error_body;
    struct err *broken; /* ends the stream */
    bool streaming;     /* a 2xx answer: framing and stream are set up; no more attempts */
    bool full;
};

static inline struct str endpoint_id(const struct upstream *up)
{
    return up->call->endpoint->id;
}

static inline struct circuit *upstream_circuit(const struct upstream *up)
{
    return extras_of(up->call->endpoint)->circuit;
}

/* --- upstream.c --- */

/* One more attempt. */
void upstream_send(struct upstream *);
/* Lets go of everything; the call's sink is to be told next. */
void upstream_free(struct upstream *);
void upstream_fail(struct upstream *, struct err *); /* ends the call; takes the err */
/* "Failed to send OpenAI embeddings request. Cause: ...": what is not the provider's own refusal.
 */
struct err *upstream_wrap(struct upstream *, struct err *cause);
/* An answer that is no success: tries again, or ends the call. */
void upstream_judge(struct upstream *, const struct http_in *);
/* True: it was the token, and the call has been made once more. */
bool upstream_token_renewed(struct upstream *, int status);

/* --- upstream_stream.c: the client's events, and the sink in between --- */

bool upstream_tap(struct sink *, const struct delta *);
void upstream_stream_head(void *ctx, int status, const struct http_headers *);
bool upstream_stream_body(void *ctx, struct str bytes);
void upstream_stream_drained(struct call *);
void upstream_stream_done(struct upstream *);

/* --- upstream_circuit.c --- */

struct err *upstream_circuit_err(const struct upstream *, int64_t retry_after_ms);
/* Probes of an endpoint go in any case, and what they find counts. */
struct err *upstream_circuit_enter(struct upstream *);
void upstream_circuit_tell(struct upstream *);
/* The call is cancelled while the service is being waited for. */
bool upstream_waited_in_vain(const struct upstream *);

#endif
