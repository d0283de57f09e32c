/* infer: POST on an endpoint, answered whole or as a stream of server-sent events.
 *
 * The request is its own sink: results are rendered the moment they arrive, straight from what the
 * provider sent. A stream's 200 goes out with its first event, so that whatever fails before it
 * still has its own status. Source: shared facts, inference.md 2.5 to 2.7, 3. */
#include "infer.h"

#include "clock.h"
#include "framing.h"
#include "handlers.h"
#include "reply.h"

#define DEFAULT_TIMEOUT_MS 30000
/* OpenAI's clients cannot say how long they wait, and wait for minutes. */
#define OPENAI_TIMEOUT_MS 120000

static struct infer *infer_of(struct sink *sink)
{
    return (struct infer *)sink;
}

/* Where the provider says nothing: four bytes of English make a token, about. */
#define BYTES_PER_TOKEN 4

static int64_t estimate(const struct input *in)
{
    size_t bytes = in->query.n;
    for (size_t i = 0; i < in->n_texts; i++)
        bytes += in->texts[i].n;
    for (size_t m = 0; in->chat && m < in->chat->n_messages; m++) {
        const struct chat_message *message = &in->chat->messages[m];
        bytes += message->content.n;
        for (size_t p = 0; p < message->n_parts; p++)
            bytes += message->parts[p].text.n;
    }
    return (int64_t)(bytes / BYTES_PER_TOKEN + 1);
}

/* Counts the call for its API key, once, before anything of its end is told. */
static void settle(struct infer *inf, const struct usage *usage, bool answered)
{
    struct security *s = inf->request->api->parts.security;
    if (!inf->pass.row)
        return;
    if (usage->known || !answered || inf->call.cached)
        security_settle(s, &inf->pass, inf->call.cached ? 0 : usage->in_tokens,
                        inf->call.cached ? 0 : usage->out_tokens);
    else
        security_settle(s, &inf->pass, estimate(&inf->call.input), 0);
}

/* Everything the call held. Before the last word to the HTTP server, which may free the arena. */
static void infer_end(struct infer *inf)
{
    loop_timer_cancel(&inf->cancel_soon);
    settle(inf, &inf->call.usage, false);
    if (inf->shape->let_go)
        inf->shape->let_go(inf);
    endpoint_unref(inf->call.endpoint);
    inf->call.endpoint = NULL;
    buf_deinit(&inf->event);
}

/* --- the sink --- */

static bool send_events(struct infer *inf)
{
    struct request *r = inf->request;
    if (!inf->streaming) {
        inf->streaming = true;
        r->answered = true;
        reply_headers(r);
        http_stream_begin(r->http, 200, STR("text/event-stream"));
    }
    bool room = inf->event.n == 0 || http_stream(r->http, buf_str(&inf->event));
    buf_clear(&inf->event);
    return room;
}

static bool infer_delta(struct sink *sink, const struct delta *delta)
{
    struct infer *inf = infer_of(sink);
    if (inf->request->cancelled)
        return true;
    if (!inf->events) {
        inf->shape->gather(inf, delta);
        return true;
    }
    inf->shape->delta(inf, delta, &inf->event);
    return send_events(inf);
}

/* True: the client is still there. False: all is let go. */
static bool infer_back(struct infer *inf)
{
    if (inf->request->cancelled)
        infer_end(inf);
    return request_back(inf->request);
}

static void infer_done(struct sink *sink, const struct result *result)
{
    struct infer *inf = infer_of(sink);
    struct request *r = inf->request;
    settle(inf, result ? &result->usage : &inf->call.usage, true);
    if (!infer_back(inf))
        return;
    if (inf->events) {
        inf->shape->end(inf, result, &inf->event);
        send_events(inf);
        infer_end(inf);
        http_stream_end(r->http);
        return;
    }
    /* Each input may have lost some chunk though no call failed as a whole. */
    const struct err *none =
        inf->chunks && result ? result_chunks_failed(result, inf->chunks) : NULL;
    if (none) {
        infer_refuse(inf, err_copy(none));
        return;
    }
    struct buf b;
    reply_buf_init(&b);
    struct json_out w;
    json_out_init(&w, &b);
    inf->shape->whole(inf, result, &w);
    infer_end(inf);
    reply_json(r, 200, &b);
}

static void infer_fail(struct sink *sink, struct err *e)
{
    struct infer *inf = infer_of(sink);
    struct request *r = inf->request;
    if (!infer_back(inf)) {
        err_free(e);
        return;
    }
    if (!inf->streaming) {
        infer_refuse(inf, e);
        return;
    }
    settle(inf, &inf->call.usage, false);
    /* The status has gone out: an event says it, and nothing follows. */
    r->broken = true;
    inf->shape->error(inf, e, &inf->event);
    err_free(e);
    send_events(inf);
    infer_end(inf);
    http_stream_end(r->http);
}

/* --- the client's side --- */

static void drained(struct http_request *http)
{
    struct request *r = http->user;
    struct infer *inf = r->work;
    if (inf->call.on_drain)
        inf->call.on_drain(&inf->call);
}

static void cancel_now(struct loop_timer *timer)
{
    struct infer *inf = (struct infer *)((char *)timer - offsetof(struct infer, cancel_soon));
    inference_cancel(&inf->call);
}

/* The server may find out while an event is being written for this very call: not from in there. */
static void gone(struct request *r)
{
    struct infer *inf = r->work;
    loop_timer_set(r->http->loop, &inf->cancel_soon, 0, cancel_now);
}

/* --- the beginning --- */

static bool is_hex(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
            return false;
    return true;
}

static bool all_zero(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '0')
            return false;
    return true;
}

/* 00-TRACE_ID-PARENT_ID-FLAGS, lower case; W3C Trace Context, section 3.2. */
static bool is_traceparent(struct str s)
{
    return s.n == 55 && s.p[2] == '-' && s.p[35] == '-' && s.p[52] == '-' &&
           str_eq(str_sub(s, 0, 2), STR("00")) && is_hex(str_sub(s, 3, 32)) &&
           is_hex(str_sub(s, 36, 16)) && is_hex(str_sub(s, 53, 2)) &&
           !all_zero(str_sub(s, 3, 32)) && !all_zero(str_sub(s, 36, 16));
}

/* A trace that is not well formed ends here, its state with it. */
static void trace_read(const struct http_headers *headers, struct call *call)
{
    struct str parent = {0}, state = {0};
    http_header_get(headers, STR("traceparent"), &parent);
    if (!parent.p || !is_traceparent(parent))
        return;
    call->traceparent = parent;
    http_header_get(headers, STR("tracestate"), &state);
    if (state.n > 0 && state.n <= 512)
        call->tracestate = state;
}

struct infer *infer_new(struct request *r, const struct infer_shape *shape)
{
    struct infer *inf = arena_alloc(r->arena, sizeof *inf);
    inf->sink = (struct sink){.delta = infer_delta, .done = infer_done, .fail = infer_fail};
    inf->shape = shape;
    inf->request = r;
    inf->call.loop = r->http->loop;
    inf->call.arena = r->arena;
    inf->call.sink = &inf->sink;
    inf->call.owner = security_owner(r->user);
    http_header_get(r->http->headers, STR("x-opaque-id"), &inf->call.opaque_id);
    trace_read(r->http->headers, &inf->call);
    reply_buf_init(&inf->event);
    return inf;
}

struct err *infer_endpoint(struct infer *inf, struct str id)
{
    struct request *r = inf->request;
    int64_t timeout_ms;
    bool openai = r->route->flags & ROUTE_OPENAI;
    TRY(request_query_ms(r, "timeout", openai ? OPENAI_TIMEOUT_MS : DEFAULT_TIMEOUT_MS,
                         &timeout_ms));
    if (openai)
        TRY(security_authorize_endpoint(r->user, r->route->needs, r->route->action, id));
    r->inference_id = id;
    inf->call.endpoint = inference_find(r->api->parts.inference, id);
    if (!inf->call.endpoint)
        return err_new(ERR_NOT_FOUND, "Inference endpoint not found [%.*s]", STR_ARG(id));
    inf->call.timeout_ms = timeout_ms;
    inf->call.deadline_ms = timeout_ms < 0 ? 0 : clock_mono_ms() + timeout_ms;
    return NULL;
}

void infer_refuse(struct infer *inf, struct err *e)
{
    struct request *r = inf->request;
    infer_end(inf);
    reply_err(r, e);
}

void infer_submit(struct infer *inf)
{
    struct request *r = inf->request;
    struct err *e =
        security_admit(r->api->parts.security, r->user, inf->call.endpoint->id, &inf->pass);
    if (e) {
        infer_refuse(inf, e);
        return;
    }
    r->work = inf;
    r->on_cancel = gone;
    r->http->on_drain = drained;
    request_hold(r);
    if (inf->chunks)
        inference_submit_chunked(r->api->parts.inference, &inf->call, inf->chunks);
    else
        inference_submit(r->api->parts.inference, &inf->call);
}

/* --- Elasticsearch's shape --- */

/* The event's JSON is written in place, between "data: " and the blank line. */
static const struct str event_head = STR_INIT("event: message\ndata: ");

static void es_whole(struct infer *inf, const struct result *result, struct json_out *w)
{
    if (inf->chunks)
        result_render_chunks(w, result, inf->chunks);
    else
        result_render(w, result);
}

static void es_delta(struct infer *inf, const struct delta *delta, struct buf *events)
{
    struct json_out w;
    buf_put(events, event_head);
    json_out_init(&w, events);
    delta_render(&w, delta);
    buf_put(events, STR("\n\n"));
}

static void es_end(struct infer *inf, const struct result *result, struct buf *events)
{
    if (result) {
        struct json_out w;
        buf_put(events, event_head);
        json_out_init(&w, events);
        result_render(&w, result);
        buf_put(events, STR("\n\n"));
    }
    sse_write(events, STR("message"), STR("[DONE]"));
}

static void es_error(struct infer *inf, const struct err *e, struct buf *events)
{
    err_event(events, e, inf->request->chat);
}

static const struct infer_shape es_shape = {
    .whole = es_whole, .delta = es_delta, .end = es_end, .error = es_error};

static bool is_embedding(enum task task)
{
    return task == TASK_TEXT_EMBEDDING || task == TASK_SPARSE_EMBEDDING;
}

static struct err *infer_read(struct infer *inf, bool stream)
{
    struct request *r = inf->request;
    enum task task;
    TRY(url_task(r, &task));
    TRY(infer_endpoint(inf, request_param(r, "inference_id")));
    const struct endpoint *ep = inf->call.endpoint;
    r->chat = ep->task == TASK_CHAT_COMPLETION;
    inf->events = stream;
    bool chunk;
    TRY(request_query_bool(r, "chunk", false, &chunk));
    if (chunk)
        inf->chunks = arena_alloc(r->arena, sizeof *inf->chunks);
    TRY(request_query_bool(r, "partial", chunk, &inf->call.partial));
    if (inf->call.partial && !chunk && !is_embedding(ep->task))
        return err_status(400,
                          "Field [partial] cannot be specified for task type [%s], only for "
                          "[text_embedding, sparse_embedding]",
                          task_name(ep->task));
    return inference_input(ep, task, stream, r->arena, r->http->body, r->body, &inf->call.input);
}

static void infer_start(struct request *r, bool stream)
{
    struct infer *inf = infer_new(r, &es_shape);
    struct err *e = infer_read(inf, stream);
    if (e)
        infer_refuse(inf, e);
    else
        infer_submit(inf);
}

void post_infer(struct request *r)
{
    infer_start(r, false);
}

void post_stream(struct request *r)
{
    infer_start(r, true);
}
