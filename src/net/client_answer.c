/* client's answers: what the bytes of one mean for its call, and the words for when there is none.
 *
 * Bytes come in a buffer that all calls of the loop share. An answer that comes whole in one read
 * is told right from there, without a copy. Of one that does not, the head moves to the call, and
 * with it the body when the caller wants it collected. All that one read brought of a body is told
 * in one event: the pieces of chunks are pushed together where they lie. */
#include "bug.h"
#include "client_private.h"

#define MAX_TRUSTED_BYTES (1u << 20) /* a length that is only claimed reserves no more */

void answer_reset(struct client_call *call)
{
    call->answer = (struct http_answer){.to_head = call->out->method == HTTP_HEAD};
    call->in.status = 0;
    call->in.headers.n = 0;
    call->in.body = (struct str){0};
    buf_clear(&call->head);
    buf_clear(&call->body);
    call->body_bytes = 0;
    call->begun = call->head_done = false;
}

static struct str route_name(const struct client_call *call)
{
    return call->way->route->key;
}

/* --- head --- */

enum fed answer_too_large(struct client_call *call)
{
    call_end(call, CLIENT_TOO_LARGE,
             err_new(ERR_TOO_LARGE, "The answer of [%.*s] is larger than [%zu] bytes",
                     STR_ARG(route_name(call)), call->limits.max_response_bytes));
    return FED_OVER;
}

enum fed answer_head(struct client_call *call)
{
    struct client *c = call->client;
    const struct http_answer *a = &call->answer;
    call->head_done = true;
    call->in.status = a->status;
    if (a->framing == ANSWER_LENGTH && a->left > call->limits.max_response_bytes)
        return answer_too_large(call);
    call_arm(call); /* from here on it can stall */
    if (!call->events->head)
        return FED_MORE;
    c->telling = call->in_event = true;
    call->events->head(call->ctx, call->in.status, &call->in.headers);
    c->telling = call->in_event = false;
    if (!call->cancelled)
        return FED_MORE;
    call_drop(call);
    return FED_OVER;
}

static bool is_in(const struct buf *b, const char *p)
{
    return b->p && p >= b->p && p <= b->p + b->n;
}

/* What was read into the shared buffer is overwritten by the next read. */
static void keep_head(struct client_call *call)
{
    struct http_answer *a = &call->answer;
    if (is_in(&call->head, a->head))
        return;
    buf_clear(&call->head);
    buf_put(&call->head, str_n(a->head, a->head_n));
    const char *from = a->head, *to = call->head.p;
    for (size_t i = 0; i < call->in.headers.n; i++) {
        struct http_header *h = &call->in.headers.h[i];
        h->name.p = to + (h->name.p - from);
        h->value.p = to + (h->value.p - from);
    }
    a->head = call->head.p;
}

static void keep_rest_of_head(struct client_call *call, struct http_span in)
{
    if (is_in(&call->head, in.p))
        buf_consume(&call->head, (size_t)(in.p - call->head.p));
    else
        buf_put(&call->head, str_n(in.p, in.n));
}

/* --- body --- */

enum fed answer_body(struct client_call *call, struct str bytes)
{
    struct client *c = call->client;
    c->telling = call->in_event = true;
    bool more = call->events->body(call->ctx, bytes);
    c->telling = call->in_event = false;
    if (call->cancelled) {
        call_drop(call);
        return FED_OVER;
    }
    call->paused = !more;
    return FED_MORE;
}

static bool collect(struct client_call *call, struct str bytes)
{
    struct buf *body = &call->body;
    if (body->n && bytes.p == body->p + body->n) { /* read right into its place */
        body->n += bytes.n;
        return true;
    }
    if (body->n == 0 && call->answer.framing == ANSWER_LENGTH) {
        uint64_t all = bytes.n + call->answer.left;
        buf_reserve(body, all < MAX_TRUSTED_BYTES ? (size_t)all : MAX_TRUSTED_BYTES);
    }
    return buf_put(body, bytes);
}

static enum fed take_body(struct client_call *call, struct str bytes, bool ended)
{
    if (bytes.n > call->limits.max_response_bytes - call->body_bytes)
        return answer_too_large(call);
    call->body_bytes += bytes.n;
    if (call->events->body)
        return answer_body(call, bytes);
    if (ended && call->body.n == 0)
        call->in.body = bytes;
    else if (!collect(call, bytes))
        return answer_too_large(call); /* for this machine's memory */
    return FED_MORE;
}

/* --- all of it --- */

static enum fed bad(struct client_call *call)
{
    struct str key = route_name(call);
    const struct http_answer *a = &call->answer;
    struct err *e =
        a->head_too_large
            ? err_new(ERR_IO, "The headers from [%.*s] are larger than [%u] bytes", STR_ARG(key),
                      HTTP_ANSWER_MAX_HEAD)
            : err_new(ERR_IO, "The answer of [%.*s] cannot be read: %s", STR_ARG(key), a->reason);
    call_end(call, CLIENT_BROKEN, e);
    return FED_OVER;
}

/* Behind what was gathered before, which lies somewhere before it in the same bytes. */
static void gather(struct str *all, struct str piece)
{
    if (all->n == 0) {
        *all = piece;
        return;
    }
    memmove((char *)(uintptr_t)all->p + all->n, piece.p, piece.n);
    all->n += piece.n;
}

enum fed answer_feed(struct client_call *call, struct http_span in, size_t *rest_out)
{
    struct str gathered = {0}, piece;
    enum http_answer_event event;
    call->begun = true;
    while ((event = http_answer_next(&call->answer, &in, &call->in.headers, &piece)) ==
               HTTP_ANSWER_HEAD ||
           event == HTTP_ANSWER_BODY) {
        if (event == HTTP_ANSWER_BODY)
            gather(&gathered, piece);
        else if (answer_head(call) == FED_OVER)
            return FED_OVER;
    }
    bool ended = event == HTTP_ANSWER_END;
    if (gathered.n && take_body(call, gathered, ended) == FED_OVER)
        return FED_OVER;
    if (event == HTTP_ANSWER_BAD)
        return bad(call);
    if (!call->head_done)
        keep_rest_of_head(call, in);
    else if (!ended || call->paused)
        keep_head(call);
    if (!ended)
        return FED_MORE;
    if (call->body.n)
        call->in.body = buf_str(&call->body);
    *rest_out = in.n;
    return FED_END;
}

/* --- no more bytes --- */

static struct err *cut_err(const struct client_call *call, const char *why)
{
    struct str key = route_name(call);
    if (!call->begun && call->retried)
        return err_new(ERR_IO, "[%.*s] closed the connection twice", STR_ARG(key));
    if (why)
        return err_new(ERR_IO, "The exchange with [%.*s] broke off: %s", STR_ARG(key), why);
    if (!call->begun)
        return err_new(ERR_IO, "[%.*s] closed the connection without an answer", STR_ARG(key));
    return err_new(ERR_IO, "[%.*s] closed the connection before the end of its answer",
                   STR_ARG(key));
}

void answer_cut(struct client_call *call, const char *why)
{
    struct connection *k = call->connection;
    if (!call->begun && k->answered && !call->retried) {
        call->connection = NULL;
        connection_close(k);
        call->retried = true;
        connection_open(call);
        return;
    }
    if (why || !http_answer_ends(&call->answer)) {
        call_end(call, CLIENT_BROKEN, cut_err(call, why));
        return;
    }
    call->in.body = buf_str(&call->body);
    call_answered(call);
}
