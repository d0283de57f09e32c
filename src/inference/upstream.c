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
#include "log.h"
#include "mask.h"
#include "metrics.h"
#include "unicode.h"
#include "upstream_private.h"
#include "verdict.h"

#define MAX_ATTEMPTS 3
/* An error answer to a stream request is read this far. */
#define MAX_ERROR_BYTES (1u << 20)
/* What reading an answer may take, in multiples of the largest answer: a flood of empty brackets
 * would otherwise grow thirtyfold in memory. Sparse embeddings, the densest of honest answers, take
 * ten times their size. */
#define TREE_FACTOR 12
#define TREE_BYTES  (64u << 10)
/* ES's truncator: characters per token. */
#define CHARS_PER_TOKEN 3

/* --- the end --- */

void upstream_free(struct upstream *up)
{
    loop_timer_cancel(&up->timer);
    if (up->waiting) {
        metric_add(METRIC_RATE_WAITING, -1);
        limiter_leave(up->waiting);
    }
    if (up->entered)
        upstream_circuit_tell(up);
    if (up->sent) {
        client_cancel(up->sent);
        metric_add(METRIC_UPSTREAM_IN_FLIGHT, -1);
    }
    if (up->asking)
        exchange_leave(up->asking);
    if (up->streaming) {
        usage_check(&up->stream.usage);
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

/* A service may throw back what it was sent. */
static void hide_secrets(const struct upstream *up, struct err *e)
{
    mask_err(up->call->arena, up->call->endpoint, up->token, e);
}

void upstream_fail(struct upstream *up, struct err *e)
{
    struct sink *sink = up->call->sink;
    if (e->kind != ERR_CANCELLED)
        metric_add(METRIC_UPSTREAM_FAILURES, 1);
    hide_secrets(up, e);
    upstream_free(up);
    sink->fail(sink, e);
}

static void upstream_cancelled(struct call *call)
{
    struct upstream *up = call->stage;
    if (upstream_waited_in_vain(up))
        up->outcome = CIRCUIT_FAILED;
    upstream_fail(up, err_new(ERR_CANCELLED, "task cancelled"));
}

struct err *upstream_wrap(struct upstream *up, struct err *cause)
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
    if (log_on(LOG_DEBUG))
        hide_secrets(up, e);
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
bool upstream_token_renewed(struct upstream *up, int status)
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

void upstream_judge(struct upstream *up, const struct http_in *in)
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
        if (!upstream_token_renewed(up, in->status))
            upstream_judge(up, in);
        return;
    }
    if (in->body.n == 0) {
        struct err *empty =
            err_status(400, "Response body was empty for request from inference entity id [%.*s]",
                       STR_ARG(endpoint_id(up)));
        empty->elsewhere = true;
        upstream_fail(up, empty);
        return;
    }
    struct result result = {0};
    struct err *e = up->task->parse(up->call->endpoint, &up->call->input, in, &result);
    if (e) {
        upstream_retry(up, upstream_wrap(up, e), 0);
        return;
    }
    usage_check(&result.usage);
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

/* --- sending --- */

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

static void client_done(void *ctx, enum client_failure failure, struct err *e,
                        const struct http_in *in)
{
    struct upstream *up = ctx;
    up->sent = NULL;
    metric_add(METRIC_UPSTREAM_IN_FLIGHT, -1);
    if (failure != CLIENT_OK) {
        if (up->streaming && up->stream.finished) { /* all was said before it broke */
            err_free(e);
            upstream_stream_done(up);
            return;
        }
        up->outcome = outcome_of(failure);
        transport_failed(up, failure, e);
        return;
    }
    up->outcome = in->status >= 500 ? CIRCUIT_FAILED : CIRCUIT_ANSWERED;
    if (up->call->input.stream) {
        upstream_stream_done(up);
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
    .head = upstream_stream_head, .body = upstream_stream_body, .done = client_done};

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
    struct client_limits limits = {.max_response_bytes = o->max_response_bytes,
                                   .owner = call->owner};
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

void upstream_send(struct upstream *up)
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
    struct err *e = upstream_circuit_enter(up);
    if (e)
        upstream_fail(up, e);
    else
        upstream_send(up);
}

static void upstream_no_room(struct upstream *up)
{
    const struct limit_group *group = extras_of(up->call->endpoint)->group;
    metric_add(METRIC_RATE_LIMITED, 1);
    upstream_fail(up, err_new(ERR_TOO_MANY,
                              "Failed to execute task for inference id [%.*s] because the "
                              "request service [%08x] queue is full",
                              STR_ARG(endpoint_id(up)), (unsigned)limit_group_name(group)));
}

/* Where another endpoint may answer, nobody waits for a turn that comes too late. */
static void upstream_too_late(struct upstream *up)
{
    metric_add(METRIC_RATE_LIMITED, 1);
    upstream_fail(up, err_new(ERR_TOO_MANY,
                              "Failed to execute task for inference id [%.*s] because its rate "
                              "limit leaves no turn before the request times out",
                              STR_ARG(endpoint_id(up))));
}

static void turn_told(void *ctx, enum limit_answer answer)
{
    struct upstream *up = ctx;
    up->waiting = NULL;
    metric_add(METRIC_RATE_WAITING, -1);
    if (answer == LIMIT_NOW)
        upstream_begin(up);
    else
        upstream_no_room(up);
}

static void wait_turn(struct upstream *up, struct limit_group *group, int64_t now_ns)
{
    const struct call *call = up->call;
    struct limit_ask ask = {.owner = call->owner,
                            .part = call->part,
                            .deadline_ns = call->deadline_ms * INT64_C(1000000),
                            .capacity = up->inf->options.queue_capacity,
                            .loop = call->loop,
                            .told = turn_told,
                            .ctx = up};
    enum limit_answer answer = limiter_wait(group, &ask, now_ns, &up->waiting);
    if (up->waiting)
        metric_add(METRIC_RATE_WAITING, 1);
    if (answer == LIMIT_NOW)
        upstream_begin(up);
    else if (answer == LIMIT_FULL)
        upstream_no_room(up);
    else if (answer == LIMIT_TOO_LATE && extras_of(call->endpoint)->n_fallback && !call->probe)
        upstream_too_late(up);
    /* Else LIMIT_TOO_LATE: as Elasticsearch's queued tasks do, it waits for its deadline. */
}

static void take_turn(struct upstream *up)
{
    struct limit_group *group = extras_of(up->call->endpoint)->group;
    const struct circuit *circuit = upstream_circuit(up);
    int64_t rest_ms = circuit && !up->call->probe ? circuit_wait_ms(circuit, clock_mono_ms()) : 0;
    if (rest_ms) { /* before it takes a place in the rate limit */
        upstream_fail(up, upstream_circuit_err(up, rest_ms));
        return;
    }
    int64_t now_ns = group ? clock_mono_ns() : 0;
    if (!group || limiter_try(group, now_ns)) /* no group: a service without a rate limit */
        upstream_begin(up);
    else
        wait_turn(up, group, now_ns);
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
    up->tap.delta = upstream_tap;
    if (up->task->framing != FRAMING_NONE)
        buf_init(&up->error_body, MAX_ERROR_BYTES);
    call->stage = up;
    call->on_cancel = upstream_cancelled;
    call->on_drain = upstream_stream_drained;

    upstream_cut(call->endpoint, call->arena, &call->input);
    take_turn(up);
}
