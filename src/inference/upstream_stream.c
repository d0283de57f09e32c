/* upstream_stream: an answer that comes in events. Bytes are cut into events, each of which the
 * provider turns into deltas. A receiver that is full stops the client; what ends a stream badly is
 * told from a timer, never from inside the client's callback. */
#include "clock.h"
#include "upstream_private.h"
#include "verdict.h"

/* One event of a provider's stream; the largest seen are tool calls of some tens of KiB. */
#define MAX_EVENT_BYTES (4u << 20)
/* How long a finished stream may take to end its body, so that its connection can be kept. */
#define STREAM_END_MS 1000

bool upstream_tap(struct sink *tap, const struct delta *delta)
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

void upstream_stream_head(void *ctx, int status, const struct http_headers *headers)
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
        if (failed) { /* if nothing was told yet, another may do better */
            failed->elsewhere = failed->elsewhere || status_goes_elsewhere(failed->status);
            return failed;
        }
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

bool upstream_stream_body(void *ctx, struct str bytes)
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

void upstream_stream_drained(struct call *call)
{
    struct upstream *up = call->stage;
    if (up->sent)
        client_resume(up->sent);
}

void upstream_stream_done(struct upstream *up)
{
    if (!up->streaming) {
        up->refused->body = buf_str(&up->error_body);
        if (!upstream_token_renewed(up, up->refused->status))
            upstream_judge(up, up->refused);
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
