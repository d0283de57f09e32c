/* infer: POST on an endpoint, answered whole or as a stream of server-sent events.
 *
 * The request is its own sink: results are rendered the moment they arrive, straight from what the
 * provider sent. A stream's 200 goes out with its first event, so that whatever fails before it
 * still has its own status. Source: shared facts, inference.md 2.5 to 2.7, 3. */
#include "clock.h"
#include "framing.h"
#include "handlers.h"
#include "reply.h"

#define DEFAULT_TIMEOUT_MS 30000

struct infer {
    struct sink sink;
    struct request *request;
    struct call call;
    struct buf event; /* one event being written; kept for the next */
    bool streaming;   /* the head of the stream has gone out */
    struct loop_timer cancel_soon;
};

static struct infer *infer_of(struct sink *sink)
{
    return (struct infer *)sink;
}

/* Everything the call held. Before the last word to the HTTP server, which may free the arena. */
static void infer_end(struct infer *inf)
{
    loop_timer_cancel(&inf->cancel_soon);
    endpoint_unref(inf->call.endpoint);
    inf->call.endpoint = NULL;
    buf_deinit(&inf->event);
}

/* --- the sink, whole answers --- */

static void whole_done(struct infer *inf, const struct result *result)
{
    struct request *r = inf->request;
    struct buf b;
    reply_buf_init(&b);
    struct json_out w;
    json_out_init(&w, &b);
    result_render(&w, result);
    infer_end(inf);
    reply_json(r, 200, &b);
}

/* --- the sink, streams --- */

static bool send_event(struct infer *inf)
{
    struct request *r = inf->request;
    if (!inf->streaming) {
        inf->streaming = true;
        r->answered = true;
        reply_headers(r);
        http_stream_begin(r->http, 200, STR("text/event-stream"));
    }
    bool room = http_stream(r->http, buf_str(&inf->event));
    buf_clear(&inf->event);
    return room;
}

/* The event's JSON is written in place, between "data: " and the blank line. */
static const struct str event_head = STR_INIT("event: message\ndata: ");

static bool infer_delta(struct sink *sink, const struct delta *delta)
{
    struct infer *inf = infer_of(sink);
    if (inf->request->cancelled)
        return true;
    buf_put(&inf->event, event_head);
    struct json_out w;
    json_out_init(&w, &inf->event);
    delta_render(&w, delta);
    buf_put(&inf->event, STR("\n\n"));
    return send_event(inf);
}

static void stream_done(struct infer *inf, const struct result *result)
{
    struct http_request *http = inf->request->http;
    if (result) { /* answered whole although a stream was asked for */
        buf_put(&inf->event, event_head);
        struct json_out w;
        json_out_init(&w, &inf->event);
        result_render(&w, result);
        buf_put(&inf->event, STR("\n\n"));
    }
    buf_put(&inf->event, event_head);
    buf_put(&inf->event, STR("[DONE]\n\n"));
    send_event(inf);
    infer_end(inf);
    http_stream_end(http);
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
    if (!infer_back(inf))
        return;
    if (inf->call.input.stream)
        stream_done(inf, result);
    else
        whole_done(inf, result);
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
        infer_end(inf);
        reply_err(r, e);
        return;
    }
    /* The status has gone out: an event says it, and nothing follows. */
    err_event(&inf->event, e, r->chat);
    err_free(e);
    send_event(inf);
    infer_end(inf);
    http_stream_end(r->http);
}

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

static struct err *infer_read(struct request *r, bool stream, struct infer *inf)
{
    enum task task;
    TRY(url_task(r, &task));
    int64_t timeout_ms;
    TRY(request_query_ms(r, "timeout", DEFAULT_TIMEOUT_MS, &timeout_ms));
    struct endpoint *ep = inference_find(r->api->parts.inference, request_param(r, "inference_id"));
    if (!ep)
        return err_new(ERR_NOT_FOUND, "Inference endpoint not found [%.*s]",
                       STR_ARG(request_param(r, "inference_id")));
    inf->call.endpoint = ep;
    r->chat = ep->task == TASK_CHAT_COMPLETION;
    inf->call.timeout_ms = timeout_ms;
    inf->call.deadline_ms = timeout_ms < 0 ? 0 : clock_mono_ms() + timeout_ms;
    return inference_input(ep, task, stream, r->arena, r->http->body, r->body, &inf->call.input);
}

static void infer_start(struct request *r, bool stream)
{
    struct infer *inf = arena_alloc(r->arena, sizeof *inf);
    inf->sink = (struct sink){.delta = infer_delta, .done = infer_done, .fail = infer_fail};
    inf->request = r;
    inf->call.loop = r->http->loop;
    inf->call.arena = r->arena;
    inf->call.sink = &inf->sink;
    http_header_get(r->http->headers, STR("x-opaque-id"), &inf->call.opaque_id);
    reply_buf_init(&inf->event);
    struct err *e = infer_read(r, stream, inf);
    if (e) {
        infer_end(inf);
        reply_err(r, e);
        return;
    }
    r->work = inf;
    r->on_cancel = gone;
    r->http->on_drain = drained;
    request_hold(r);
    inference_submit(r->api->parts.inference, &inf->call);
}

void post_infer(struct request *r)
{
    infer_start(r, false);
}

void post_stream(struct request *r)
{
    infer_start(r, true);
}
