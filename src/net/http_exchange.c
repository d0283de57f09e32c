/* The life of an exchange, and who is told when it ends. */
#include <stdlib.h>

#include "bug.h"
#include "http_edge.h"
#include "metrics.h"

#define IN_BYTES  ((size_t)16384) /* a small request and a pipeline behind it */
#define OUT_BYTES ((size_t)16384) /* an output buffer that grew beyond is not kept */
#define MAX_IDLE  256             /* exchanges kept by one server: at most some 10 MiB */

static struct http_exchange *exchange_new(struct http_server *s)
{
    struct http_exchange *ex = mem_new(sizeof *ex);
    ex->server = s;
    ex->in = mem_new(IN_BYTES);
    ex->in_cap = IN_BYTES;
    ex->r.arena = arena_new(ARENA_NO_LIMIT);
    ex->r.loop = s->loop;
    ex->r.headers = &ex->headers;
    buf_init(&ex->body, 0);
    buf_init(&ex->owned, 0);
    buf_init(&ex->out, SIZE_MAX / 2);
    return ex;
}

struct http_exchange *exchange_take(struct http_server *s)
{
    struct http_exchange *ex = s->idle;
    if (!ex)
        return exchange_new(s);
    s->idle = ex->next;
    s->n_idle--;
    ex->next = NULL;
    return ex;
}

void exchange_free(struct http_exchange *ex)
{
    free(ex->in);
    buf_deinit(&ex->out);
    buf_deinit(&ex->body);
    buf_deinit(&ex->owned);
    arena_free(ex->r.arena);
    free(ex);
}

static void request_clear(struct http_request *r)
{
    arena_reset(r->arena);
    r->body = r->peer = str_n(NULL, 0);
    r->body_limit = 0;
    r->body_held = false;
    r->user = NULL;
    r->on_cancel = NULL;
    r->on_drain = NULL;
    r->reply_headers.n = 0;
}

/* Makes it as new, but for the memory worth keeping. */
static void exchange_clear(struct http_exchange *ex)
{
    request_clear(&ex->r);
    buf_deinit(&ex->body);
    buf_deinit(&ex->owned);
    if (ex->out.cap > OUT_BYTES)
        buf_deinit(&ex->out);
    buf_clear(&ex->out);
    ex->tail = str_n(NULL, 0);
    ex->in_n = ex->used = ex->body_left = ex->out_at = ex->bytes_out = 0;
    ex->head_deadline_ms = 0;
    ex->status = 0;
    ex->scan.pos = ex->scan.start = ex->scan.n_lines = ex->scan.head_n = 0;
    ex->chunked = (struct http_chunked){0};
    ex->seen = ex->ready = ex->whole = ex->taken = ex->answered = ex->complete = false;
    ex->chunked_out = ex->no_body = ex->close = ex->full = ex->overflow = false;
    ex->cancelled = ex->done = false;
}

static void exchange_recycle(struct http_exchange *ex)
{
    struct http_server *s = ex->server;
    if (s->n_idle >= MAX_IDLE || ex->in_cap > IN_BYTES) {
        exchange_free(ex);
        return;
    }
    exchange_clear(ex);
    ex->next = s->idle;
    s->idle = ex;
    s->n_idle++;
}

static void count(int status)
{
    metric_add(METRIC_HTTP_REQUESTS, 1);
    if (status >= 500)
        metric_add(METRIC_HTTP_ERRORS_5XX, 1);
    else if (status >= 400)
        metric_add(METRIC_HTTP_ERRORS_4XX, 1);
}

void exchange_end(struct http_exchange *ex)
{
    struct http_server *s = ex->server;
    if (ex->status)
        count(ex->status);
    if (ex->seen) {
        if (s->hooks.finished)
            s->hooks.finished(&ex->r, ex->status, ex->bytes_out, s->ctx);
        list_remove(&ex->in_flight);
        s->n_in_flight--;
        if (s->draining)
            server_flush_soon(s);
    }
    exchange_recycle(ex);
}

/* Whether the handler may still touch it: it was told to stop and has not said that it has, or was
 * not told (no on_cancel) and has not answered. */
static bool is_needed(const struct http_exchange *ex)
{
    if (ex->cancelled)
        return !ex->done;
    return ex->ready && !ex->complete;
}

void exchange_settle(struct http_exchange *ex)
{
    if (!ex->conn && !ex->settling && !is_needed(ex))
        exchange_end(ex);
}

void exchange_cancel(struct http_exchange *ex)
{
    if (!ex->seen || ex->complete || ex->cancelled || !ex->r.on_cancel)
        return;
    ex->cancelled = true;
    ex->r.on_cancel(&ex->r);
}

void exchange_detach(struct http_exchange *ex)
{
    if (ex->seen && !ex->complete)
        metric_add(METRIC_HTTP_CANCELLED, 1);
    ex->conn->ex = NULL;
    ex->conn = NULL;
    exchange_cancel(ex);
    exchange_settle(ex);
}
