/* upstream: one call on an outside service, from its place in the rate limit to its end.
 *
 *     wait for a slot -> build -> send -> judge -> parse -> done
 *           ^                       |        |
 *           |     retry after a pause / with halved inputs
 *
 * At most three attempts. A slot is taken once per call, not per attempt. After the first bytes of
 * a good stream there are no more attempts: what goes wrong then ends the stream with an error.
 * All of it runs on the call's own loop. Source: shared facts, providers.md 1.1 to 1.6. */
#include <stdlib.h>

#include "bug.h"
#include "clock.h"
#include "framing.h"
#include "log.h"
#include "mask.h"
#include "metrics.h"
#include "private.h"
#include "unicode.h"
#include "verdict.h"

#define MAX_ATTEMPTS 3
/* One event of a provider's stream; the largest seen are tool calls of some tens of KiB. */
#define MAX_EVENT_BYTES (4u << 20)
/* An error answer to a stream request is read this far. */
#define MAX_ERROR_BYTES (1u << 20)
/* What reading an answer may take, in multiples of the largest answer: a flood of empty brackets
 * would otherwise grow thirtyfold in memory. Sparse embeddings, the densest of honest answers, take
 * ten times their size. */
#define TREE_FACTOR 12
#define TREE_BYTES  (64u << 10)
/* How long a finished stream may take to end its body, so that its connection can be kept. */
#define STREAM_END_MS 1000
/* The most that a scheme of authentication adds (auth/). */
#define SIGN_HEADERS 4
/* A caller with less patience than this says more about itself than about the service. */
#define CIRCUIT_PATIENCE_MS 5000
/* ES's truncator: characters per token. */
#define CHARS_PER_TOKEN 3

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
    bool waiting; /* counted in the limit group */
    bool entered; /* the circuit, which hears of the end */
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

static void upstream_send(struct upstream *);

/* --- the circuit --- */

static struct circuit *circuit_of(const struct upstream *up)
{
    return extras_of(up->call->endpoint)->circuit;
}

static struct err *circuit_err(const struct upstream *up, int64_t retry_after_ms)
{
    struct str id = up->call->endpoint->id;
    metric_add(METRIC_CIRCUIT_REFUSED, 1);
    struct err *e =
        err_new(ERR_UNAVAILABLE,
                "The service of the inference endpoint [%.*s] has failed repeatedly: its circuit "
                "is open, retry after [%llds]",
                STR_ARG(id), (long long)((retry_after_ms + 999) / 1000));
    e->elsewhere = true;
    e->retry_after_ms = retry_after_ms;
    return e;
}

/* Probes of an endpoint go in any case, and what they find counts. */
static struct err *circuit_pass_through(struct upstream *up)
{
    struct circuit *c = circuit_of(up);
    if (!c)
        return NULL;
    if (!up->call->probe && !circuit_enter(c, clock_mono_ms(), &up->pass))
        return circuit_err(up, up->pass.retry_after_ms);
    up->entered = true;
    up->outcome = CIRCUIT_UNKNOWN;
    return NULL;
}

static void circuit_tell(struct upstream *up)
{
    struct circuit *c = circuit_of(up);
    int64_t now = clock_mono_ms();
    switch (circuit_report(c, up->pass, up->outcome, now)) {
    case CIRCUIT_OPENED:
        metric_add(METRIC_CIRCUIT_OPENED, 1);
        log_warn("circuit opened", LOG_S("inference_id", up->call->endpoint->id),
                 LOG_I("for_ms", circuit_wait_ms(c, now)));
        break;
    case CIRCUIT_CLOSED:
        log_info("circuit closed", LOG_S("inference_id", up->call->endpoint->id));
        break;
    case CIRCUIT_SAME:
        break;
    }
}

static enum circuit_outcome outcome_of(enum client_failure failure)
{
    switch (failure) {
    case CLIENT_REFUSED_ADDRESS: /* we did not ask */
        return CIRCUIT_UNKNOWN;
    case CLIENT_OK:
    case CLIENT_TOO_LARGE:
        return CIRCUIT_ANSWERED;
    default:
        return CIRCUIT_FAILED;
    }
}

/* The call is cancelled while the service is being waited for. */
static bool waited_in_vain(const struct upstream *up)
{
    const struct call *call = up->call;
    const struct extras *x = extras_of(call->endpoint);
    int64_t now = clock_mono_ms();
    if (!up->sent || up->streaming || !call->deadline_ms || now < call->deadline_ms)
        return false;
    return now - up->sent_ms >= CIRCUIT_PATIENCE_MS ||
           (x->total_ms && call->timeout_ms == x->total_ms) ||
           (x->first_token_ms && call->timeout_ms == x->first_token_ms);
}

/* --- the end --- */

static void upstream_free(struct upstream *up)
{
    loop_timer_cancel(&up->timer);
    if (up->waiting)
        limiter_waited(extras_of(up->call->endpoint)->group);
    if (up->entered)
        circuit_tell(up);
    if (up->sent) {
        client_cancel(up->sent);
        metric_add(METRIC_UPSTREAM_IN_FLIGHT, -1);
    }
    if (up->asking)
        exchange_leave(up->asking);
    if (up->streaming) {
        up->call->usage = up->stream.usage;
        framing_deinit(&up->framing);
        arena_free(up->scratch);
    }
    if (up->task->framing != FRAMING_NONE)
        buf_deinit(&up->error_body);
    err_free(up->broken);
    secret_unref(up->token);
    arena_free(up->answer);
    arena_free(up->arena);
    up->call->on_cancel = NULL;
    up->call->on_drain = NULL;
    up->call->stage = NULL;
}

static void upstream_fail(struct upstream *up, struct err *e)
{
    struct sink *sink = up->call->sink;
    if (e->kind != ERR_CANCELLED)
        metric_add(METRIC_UPSTREAM_FAILURES, 1);
    mask_err(up->call->arena, up->call->endpoint, up->token, e);
    upstream_free(up);
    sink->fail(sink, e);
}

static void upstream_cancelled(struct call *call)
{
    struct upstream *up = call->stage;
    if (waited_in_vain(up))
        up->outcome = CIRCUIT_FAILED;
    upstream_fail(up, err_new(ERR_CANCELLED, "task cancelled"));
}

static struct str endpoint_id(const struct upstream *up)
{
    return up->call->endpoint->id;
}

/* "Failed to send OpenAI embeddings request. Cause: ...": what is not the provider's own refusal.
 */
static struct err *upstream_wrap(struct upstream *up, struct err *cause)
{
    struct err *e = err_wrap(cause, ERR_STATUS, "Failed to send %s request. Cause: %s",
                             up->task->request_name, cause->reason);
    e->status = 500;
    e->elsewhere = true;
    return e;
}

/* --- trying again --- */

static void retry_due(struct loop_timer *timer)
{
    struct upstream *up = (struct upstream *)((char *)timer - offsetof(struct upstream, timer));
    upstream_send(up);
}

/* Uniform in the upper half of the bound, then the bound doubles. */
static int64_t next_delay_ms(struct upstream *up)
{
    int64_t bound = up->delay_bound_ms;
    int64_t max = up->inf->options.retry_max_delay_ms;
    up->delay_bound_ms = bound * 2 < max ? bound * 2 : max;
    int64_t half = bound / 2;
    uint64_t roll = (uint64_t)clock_mono_ns() * UINT64_C(0x9E3779B97F4A7C15) ^ (uintptr_t)up;
    return half + 1 + (int64_t)((roll >> 33) % (uint64_t)(bound - half > 0 ? bound - half : 1));
}

/* Arranges another attempt, or ends the call with `e` (taken in every case). pause_ms is what the
 * provider asked for (0: nothing). */
static void upstream_retry(struct upstream *up, struct err *e, int64_t pause_ms)
{
    int64_t now = clock_mono_ms();
    int64_t delay = next_delay_ms(up);
    if (pause_ms > delay)
        delay = pause_ms;
    if (up->attempt >= MAX_ATTEMPTS || now + delay >= up->give_up_ms) {
        upstream_fail(up, e);
        return;
    }
    log_debug("retrying upstream", LOG_S("inference_id", endpoint_id(up)),
              LOG_I("attempt", up->attempt), LOG_I("delay_ms", delay), LOG_E(e));
    err_free(e);
    metric_add(METRIC_UPSTREAM_RETRIES, 1);
    loop_timer_set(up->call->loop, &up->timer, now + delay, retry_due);
}

/* Cuts every text to its first n UTF-16 units; n < 0: to `reduction` of its length. */
static void shorten(struct arena *arena, struct input *in, int64_t n, double reduction)
{
    for (size_t i = 0; i < in->n_texts; i++) {
        size_t keep = n >= 0 ? (size_t)n : (size_t)((double)utf16_length(in->texts[i]) * reduction);
        struct str cut = utf16_prefix(in->texts[i], keep);
        if (cut.n == in->texts[i].n)
            continue;
        if (!in->cut)
            in->cut = arena_array(arena, in->n_texts, sizeof *in->cut);
        in->cut[i] = true;
        in->texts[i] = cut;
    }
}

void upstream_cut(const struct endpoint *ep, struct arena *arena, struct input *in)
{
    bool embeds = in->task == TASK_TEXT_EMBEDDING || in->task == TASK_SPARSE_EMBEDDING;
    if (!embeds || !ep->provider->cuts_input)
        return;
    const struct value *max_tokens = settings_get(&ep->values, "max_input_tokens");
    if (max_tokens && max_tokens->set)
        shorten(arena, in, max_tokens->i * CHARS_PER_TOKEN, 0);
}

/* --- judging an answer --- */

/* A token may end before its time: it is exchanged anew, and the call made once more. */
static bool token_renewed(struct upstream *up, int status)
{
    if (status != 401 || !up->token || up->renewed)
        return false;
    up->renewed = true;
    struct endpoint *ep = up->call->endpoint;
    if (!exchange_forget(up->inf, ep, up->provider->auth(ep), up->token))
        return false;
    log_debug("token refused", LOG_S("inference_id", endpoint_id(up)));
    metric_add(METRIC_UPSTREAM_RETRIES, 1);
    upstream_send(up);
    return true;
}

static struct err *refusal(struct upstream *up, const struct http_in *in, const struct verdict *v)
{
    struct err *e = verdict_err(endpoint_id(up), in->status, v);
    e->retry_after_ms = retry_after_ms(&in->headers, clock_wall_ms());
    return e;
}

/* One long input must not shorten its neighbours where it can be found out. */
static bool is_one_of_many(const struct upstream *up)
{
    return up->call->partial && up->call->input.n_texts > 1;
}

static void judge(struct upstream *up, const struct http_in *in)
{
    struct verdict v = {.action = VERDICT_FAIL};
    up->provider->judge(up->call->endpoint, in, &v);
    struct err *e = refusal(up, in, &v);
    if (v.action == VERDICT_RETRY) {
        upstream_retry(up, e, e->retry_after_ms);
    } else if (v.action == VERDICT_SHORTEN && up->attempt < MAX_ATTEMPTS && !is_one_of_many(up)) {
        err_free(e);
        metric_add(METRIC_UPSTREAM_RETRIES, 1);
        shorten(up->call->arena, &up->call->input, -1, up->inf->options.reduction);
        upstream_send(up);
    } else {
        upstream_fail(up, e);
    }
}

/* --- whole answers --- */

static void answer_done(struct upstream *up, const struct http_in *in)
{
    if (in->status < 200 || in->status > 299) {
        if (!token_renewed(up, in->status))
            judge(up, in);
        return;
    }
    if (in->body.n == 0) {
        upstream_fail(
            up,
            err_status(400, "Response body was empty for request from inference entity id [%.*s]",
                       STR_ARG(endpoint_id(up))));
        return;
    }
    struct result result = {0};
    struct err *e = up->task->parse(up->call->endpoint, &up->call->input, in, &result);
    if (e) {
        upstream_retry(up, upstream_wrap(up, e), 0);
        return;
    }
    struct sink *sink = up->call->sink;
    /* The result borrows from the answer's arena and the client's body: it is used up before the
     * arena goes. */
    struct arena *keep = up->answer;
    up->answer = NULL;
    upstream_free(up);
    sink->done(sink, &result);
    arena_free(keep);
}

static void transport_failed(struct upstream *up, enum client_failure failure, struct err *e)
{
    if (failure == CLIENT_UNKNOWN_HOST) {
        struct err *outer =
            err_wrap(e, ERR_STATUS, "Invalid host [%.*s], please check that the URL is correct.",
                     STR_ARG(url_without_query(up->out.url)));
        outer->status = 400;
        outer->elsewhere = true;
        upstream_fail(up, outer);
        return;
    }
    if (failure == CLIENT_REFUSED_ADDRESS) {
        const struct egress *egress = extras_of(up->call->endpoint)->egress;
        const char *proxy = egress ? egress->client.proxy : NULL;
        struct err *outer =
            err_wrap(e, ERR_STATUS, "The address of [%.*s] is private, which is not allowed.",
                     STR_ARG(proxy ? str_c(proxy) : url_without_query(up->out.url)));
        outer->status = 400;
        outer->elsewhere = true;
        upstream_fail(up, outer);
        return;
    }
    if (failure == CLIENT_TOO_LARGE || up->streaming) {
        upstream_fail(up, upstream_wrap(up, e));
        return;
    }
    upstream_retry(up, upstream_wrap(up, e), 0);
}

/* --- streams --- */

static bool tap_delta(struct sink *tap, const struct delta *delta)
{
    struct upstream *up = (struct upstream *)((char *)tap - offsetof(struct upstream, tap));
    if (!up->call->sink->delta(up->call->sink, delta))
        up->full = true;
    return !up->full;
}

static enum framing_kind framing_of(const struct upstream *up)
{
    return up->task->framing_of ? up->task->framing_of(up->call->endpoint) : up->task->framing;
}

static void keep_refusal(struct upstream *up, int status, const struct http_headers *headers)
{
    up->refused = arena_alloc(up->arena, sizeof *up->refused);
    up->refused->status = status;
    up->refused->arena = up->arena;
    for (size_t i = 0; i < headers->n; i++)
        http_header_add(&up->refused->headers, arena_dup(up->arena, headers->h[i].name),
                        arena_dup(up->arena, headers->h[i].value));
}

static void stream_head(void *ctx, int status, const struct http_headers *headers)
{
    struct upstream *up = ctx;
    if (up->streaming)
        return;
    if (status < 200 || status > 299) {
        keep_refusal(up, status, headers);
        return;
    }
    up->streaming = true;
    up->outcome = CIRCUIT_ANSWERED;
    up->scratch = arena_new(MAX_EVENT_BYTES * 4);
    framing_init(&up->framing, framing_of(up), MAX_EVENT_BYTES);
    up->stream = (struct stream){.endpoint = up->call->endpoint,
                                 .input = &up->call->input,
                                 .arena = up->call->arena,
                                 .scratch = up->scratch};
}

static struct err *stream_events(struct upstream *up)
{
    struct event ev;
    struct err *e = NULL;
    while (!up->stream.finished && framing_next(&up->framing, &ev, &e)) {
        struct err *failed = up->task->on_event(&up->stream, &ev, &up->tap);
        arena_reset(up->scratch);
        if (failed)
            return failed;
    }
    return e ? upstream_wrap(up, e) : NULL;
}

static void stream_late(struct loop_timer *timer)
{
    struct upstream *up = (struct upstream *)((char *)timer - offsetof(struct upstream, timer));
    struct sink *sink = up->call->sink;
    upstream_free(up);
    sink->done(sink, NULL);
}

static void stream_broken(struct loop_timer *timer)
{
    struct upstream *up = (struct upstream *)((char *)timer - offsetof(struct upstream, timer));
    struct err *e = up->broken;
    up->broken = NULL;
    upstream_fail(up, e);
}

static bool stream_body(void *ctx, struct str bytes)
{
    struct upstream *up = ctx;
    if (!up->streaming) {
        buf_put(&up->error_body, bytes);
        return true;
    }
    if (up->broken || up->stream.finished)
        return true;
    up->full = false;
    framing_feed(&up->framing, bytes);
    up->broken = stream_events(up);
    if (up->broken) /* not from inside the client's callback */
        loop_timer_set(up->call->loop, &up->timer, 0, stream_broken);
    else if (up->stream.finished)
        loop_timer_set(up->call->loop, &up->timer, clock_mono_ms() + STREAM_END_MS, stream_late);
    return !up->full;
}

static void stream_drained(struct call *call)
{
    struct upstream *up = call->stage;
    if (up->sent)
        client_resume(up->sent);
}

static void stream_done(struct upstream *up)
{
    if (!up->streaming) {
        up->refused->body = buf_str(&up->error_body);
        if (!token_renewed(up, up->refused->status))
            judge(up, up->refused);
        return;
    }
    if (!up->broken && !up->stream.finished) {
        framing_end(&up->framing);
        up->broken = stream_events(up);
    }
    if (up->broken) {
        struct err *e = up->broken;
        up->broken = NULL;
        upstream_fail(up, e);
        return;
    }
    if (!up->stream.finished && !up->stream.may_end) {
        struct err *cut = err_new(ERR_IO, "the stream ended before it was complete");
        upstream_fail(up, upstream_wrap(up, cut));
        return;
    }
    struct sink *sink = up->call->sink;
    upstream_free(up);
    sink->done(sink, NULL);
}

/* --- sending --- */

static void client_done(void *ctx, enum client_failure failure, struct err *e,
                        const struct http_in *in)
{
    struct upstream *up = ctx;
    up->sent = NULL;
    metric_add(METRIC_UPSTREAM_IN_FLIGHT, -1);
    if (failure != CLIENT_OK) {
        if (up->streaming && up->stream.finished) { /* all was said before it broke */
            err_free(e);
            stream_done(up);
            return;
        }
        up->outcome = outcome_of(failure);
        transport_failed(up, failure, e);
        return;
    }
    up->outcome = in->status >= 500 ? CIRCUIT_FAILED : CIRCUIT_ANSWERED;
    if (up->call->input.stream) {
        stream_done(up);
        return;
    }
    up->answer = arena_new(up->inf->options.max_response_bytes * TREE_FACTOR + TREE_BYTES);
    struct http_in answer; /* of the headers, only those that are there */
    answer.arena = up->answer;
    answer.status = in->status;
    answer.body = in->body;
    answer.headers.n = in->headers.n;
    memcpy(answer.headers.h, in->headers.h, in->headers.n * sizeof in->headers.h[0]);
    answer_done(up, &answer);
}

static const struct client_events whole_events = {.done = client_done};
static const struct client_events stream_events_table = {
    .head = stream_head, .body = stream_body, .done = client_done};

/* The service's base_url, or {NULL, 0}. */
static struct str base_url(const struct inference *inf, struct str service)
{
    for (size_t i = 0; i < inf->options.n_bases; i++) {
        if (str_eq(inf->options.bases[i].service, service))
            return inf->options.bases[i].base_url;
    }
    return (struct str){0};
}

/* Theirs win over ours. Whoever signs the request needs room for his own. */
static struct err *add_headers(const struct http_headers *more, struct http_out *out)
{
    struct http_headers *hs = &out->headers;
    for (size_t i = 0; more && i < more->n; i++) {
        size_t at = 0;
        while (at < hs->n && !str_eq_nocase(hs->h[at].name, more->h[i].name))
            at++;
        if (at == HTTP_MAX_HEADERS)
            break;
        hs->h[at] = more->h[i];
        hs->n += at == hs->n;
    }
    if (hs->n + SIGN_HEADERS > HTTP_MAX_HEADERS)
        return err_new(ERR_ARGUMENT, "The request would have more than [%d] headers",
                       HTTP_MAX_HEADERS - SIGN_HEADERS);
    return NULL;
}

struct err *upstream_address(const struct inference *inf, const struct endpoint *ep,
                             struct http_out *out, struct client_limits *limits)
{
    const struct egress *egress = extras_of(ep)->egress;
    struct str base = base_url(inf, str_c(ep->provider->name));
    if (base.n)
        out->url = url_rebase(out->arena, out->url, base);
    limits->allow_private = base.n || inf->options.allow_private;
    if (egress) {
        limits->egress = &egress->client;
        /* The operator vouches for the base_url, not for an endpoint's proxy. */
        if (egress->client.proxy)
            limits->allow_private = inf->options.allow_private;
    }
    return add_headers(egress ? &egress->headers : NULL, out);
}

/* The request is built; `token` NULL: its scheme needs none. */
/* After signing: a trace is not part of what is asked. Left out where there is no room for it. */
static void trace(const struct call *call, struct http_headers *headers)
{
    if (!call->traceparent.p || headers->n + 2 > HTTP_MAX_HEADERS)
        return;
    http_header_add(headers, STR("traceparent"), call->traceparent);
    if (call->tracestate.p)
        http_header_add(headers, STR("tracestate"), call->tracestate);
}

static void upstream_sign_and_send(struct upstream *up, const struct auth *auth,
                                   const struct token *token)
{
    struct call *call = up->call;
    const struct inference_options *o = &up->inf->options;
    struct client_limits limits = {.max_response_bytes = o->max_response_bytes};
    struct err *e = upstream_address(up->inf, call->endpoint, &up->out, &limits);
    if (!e && auth)
        e = auth->sign(call->endpoint, token, clock_wall_ms() / 1000, &up->out);
    trace(call, &up->out.headers);
    secret_unref(up->token);
    up->token = token ? secret_ref(token->value) : NULL;
    if (e) {
        upstream_fail(up, e);
        return;
    }
    if (call->input.stream) {
        const struct extras *x = extras_of(call->endpoint);
        limits.stall_timeout_ms = x->stall_ms ? x->stall_ms : o->stream_stall_ms;
        buf_clear(&up->error_body);
    }
    metric_add(METRIC_UPSTREAM_REQUESTS, 1);
    metric_add(METRIC_UPSTREAM_IN_FLIGHT, 1);
    up->sent_ms = clock_mono_ms();
    up->sent = client_send(up->client, &up->out, &limits,
                           call->input.stream ? &stream_events_table : &whole_events, up);
}

static void upstream_authorized(void *ctx, struct err *e, const struct token *token)
{
    struct upstream *up = ctx;
    up->asking = NULL;
    if (!e)
        upstream_sign_and_send(up, up->provider->auth(up->call->endpoint), token);
    else if (e->kind == ERR_IO && e->status == 500) /* the network's own */
        upstream_retry(up, upstream_wrap(up, e), 0);
    else if (e->kind == ERR_IO)
        upstream_retry(up, e, 0);
    else
        upstream_fail(up, e);
}

static void upstream_send(struct upstream *up)
{
    struct call *call = up->call;
    arena_free(up->answer);
    up->answer = NULL;
    if (up->arena)
        arena_reset(up->arena);
    else
        up->arena = arena_new(ARENA_NO_LIMIT);
    if (up->attempt++ == 0)
        up->give_up_ms = clock_mono_ms() + up->inf->options.retry_timeout_ms;
    up->out.arena = up->arena;
    up->out.method = HTTP_POST;
    up->out.url = up->out.body = (struct str){0};
    up->out.headers.n = 0;
    struct err *e = up->task->build(call->endpoint, &call->input, &up->out);
    if (e) {
        upstream_fail(up, e);
        return;
    }
    const struct auth *auth = up->provider->auth ? up->provider->auth(call->endpoint) : NULL;
    if (!auth || !auth->ask) {
        upstream_sign_and_send(up, auth, NULL);
        return;
    }
    struct token token;
    up->asking =
        exchange_get(up->inf, call->endpoint, auth, call->loop, upstream_authorized, up, &token);
    if (up->asking)
        return;
    upstream_sign_and_send(up, auth, &token);
    secret_unref(token.value);
}

/* --- the beginning --- */

static void upstream_begin(struct upstream *up)
{
    struct err *e = circuit_pass_through(up);
    if (e)
        upstream_fail(up, e);
    else
        upstream_send(up);
}

static void slot_due(struct loop_timer *timer)
{
    struct upstream *up = (struct upstream *)((char *)timer - offsetof(struct upstream, timer));
    up->waiting = false;
    limiter_waited(extras_of(up->call->endpoint)->group);
    upstream_begin(up);
}

static void wait_turn(struct upstream *up)
{
    struct limit_group *group = extras_of(up->call->endpoint)->group;
    struct call *call = up->call;
    const struct circuit *circuit = circuit_of(up);
    int64_t rest_ms = circuit && !call->probe ? circuit_wait_ms(circuit, clock_mono_ms()) : 0;
    if (rest_ms) { /* before it takes a place in the rate limit */
        upstream_fail(up, circuit_err(up, rest_ms));
        return;
    }
    if (!group) { /* a service without a rate limit */
        upstream_begin(up);
        return;
    }
    int64_t at_ns;
    enum limit_answer answer =
        limiter_reserve(group, clock_mono_ns(), call->deadline_ms * INT64_C(1000000),
                        (int64_t)up->inf->options.queue_capacity, &at_ns);
    if (answer == LIMIT_NOW) {
        upstream_begin(up);
    } else if (answer == LIMIT_WAIT) {
        up->waiting = true;
        loop_timer_set(call->loop, &up->timer, at_ns / 1000000 + 1, slot_due);
    } else if (answer == LIMIT_FULL) {
        metric_add(METRIC_RATE_LIMITED, 1);
        upstream_fail(up, err_new(ERR_TOO_MANY,
                                  "Failed to execute task for inference id [%.*s] because the "
                                  "request service [%08x] queue is full",
                                  STR_ARG(endpoint_id(up)), (unsigned)limit_group_name(group)));
    }
    /* LIMIT_TOO_LATE: as Elasticsearch's queued tasks do, it waits for its deadline. */
}

void upstream_submit(struct inference *inf, struct call *call)
{
    const struct provider *provider = call->endpoint->provider;
    struct upstream *up = arena_alloc(call->arena, sizeof *up);
    up->inf = inf;
    up->call = call;
    up->provider = provider;
    up->task = provider_task(provider, call->endpoint->task);
    BUG_ON(!up->task);
    up->client = inf->clients[loop_index(call->loop)];
    up->delay_bound_ms = inf->options.retry_initial_delay_ms;
    up->tap.delta = tap_delta;
    if (up->task->framing != FRAMING_NONE)
        buf_init(&up->error_body, MAX_ERROR_BYTES);
    call->stage = up;
    call->on_cancel = upstream_cancelled;
    call->on_drain = stream_drained;

    upstream_cut(call->endpoint, call->arena, &call->input);
    wait_turn(up);
}
