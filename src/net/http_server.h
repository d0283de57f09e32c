/* http_server: the HTTP/1.1 edge. One per loop, each with its own listening socket (SO_REUSEPORT).
 *
 *     struct http_server *s = http_server_new(loop, &options, &hooks, ctx);
 *     TRY(http_server_listen(s, "127.0.0.1", 9200, &port));
 *
 * A strict reader (RFC 9112): one Content-Length or one Transfer-Encoding: chunked, never both; no
 * obs-fold, no bare LF, no control characters, exactly one Host on 1.1. Whatever is wrong is
 * answered with 400 (431, 414, 413, 505 where they say more) in the shape of hooks->protocol_error,
 * and the connection closes.
 *
 * A request lives from its head to the moment its answer has been sent or its client has left.
 * Its bytes (path, headers, body) and everything allocated in request->arena live that long.
 * Pipelined requests are handled one after the other.
 *
 * Life of a request, all on the loop's thread:
 *   1. hooks->head(r): method, target and headers are known. May set r->body_limit, may answer at
 *      once (401, 404, 413): the body is then skipped or the connection closed. Only when it
 *      returns without an answer is "100 Continue" sent.
 *   2. hooks->ready(r): the body is whole (and inflated, if it came with Content-Encoding: gzip).
 *      From here on the handler owes exactly one answer: http_reply, or http_stream_begin ...
 *      http_stream_end. It may come later, from this thread.
 *   3. r->on_cancel(r): the client left, or the server drops it. Called at most once, never after
 *      the answer is complete. Afterwards r is still valid until the handler calls http_done(r),
 *      which it must do exactly once in this case (so work under way elsewhere can finish first).
 *      With on_cancel NULL the server needs no http_done: it waits for the answer, drops it.
 *      A client that closes its sending side counts as gone, as it does with Elasticsearch.
 *
 * None of the functions that a handler calls runs a hook: they queue, and the loop sends at the end
 * of the round. After the end of an answer (http_reply, http_stream_end, http_stream_abort) and
 * after http_done the request must not be touched again, but for the rest of the hook or callback
 * in which that was called. The protocol errors of requests whose head could not be read are
 * answered without head() or finished(). */
#ifndef INFERD_HTTP_SERVER_H
#define INFERD_HTTP_SERVER_H

#include "arena.h"
#include "buf.h"
#include "err.h"
#include "http.h"
#include "loop.h"

struct http_server;
struct tls;

/* A number left 0 is the one named here. */
struct http_server_options {
    size_t max_head_bytes;          /* request line and headers together; 64 KiB; more: 431 / 414 */
    size_t max_body_bytes;          /* http.max_content_length, after inflation too; more: 413 */
    int64_t head_timeout_ms;        /* first byte of a request to the end of its head; 10 s */
    int64_t body_timeout_ms;        /* longest pause between two pieces of a body; 30 s */
    int64_t write_timeout_ms;       /* longest time without the client taking a byte; 60 s */
    int64_t idle_timeout_ms;        /* keep-alive without a request; 75 s */
    size_t max_connections;         /* per loop; more are closed at once; 0: no limit */
    size_t stream_high_water_bytes; /* http_stream answers false above; 256 KiB */
    struct tls *tls;                /* tls.h; borrowed. NULL: plain HTTP */
    const char *fixed_headers;      /* lines, each ended by CRLF, on every answer; NULL: none */
    bool compress;                  /* gzip answers for those who accept it, from compress_min on */
    size_t compress_min_bytes;      /* 1024 */
};

struct http_request {
    struct loop *loop;
    struct arena *arena;
    enum method method;
    struct str target; /* as received */
    struct str path;   /* target up to '?', still percent-encoded */
    struct str query;  /* after '?', still percent-encoded; empty when none */
    const struct http_headers *headers;
    struct str body;    /* from ready() on; lives as long as the request */
    struct str peer;    /* "127.0.0.1:51234" */
    size_t body_limit;  /* head() may lower it */
    bool body_held;     /* head() may set it: no more than HTTP_HELD_BYTES of the body are read, and
                           "100 Continue" waits too, until http_body_go. A body that fits is read to
                           its end, and ready() is called. */
    int64_t started_ms; /* loop_now_ms when the head was complete */

    /* The handler's own: */
    void *user;
    void (*on_cancel)(struct http_request *);
    void (*on_drain)(struct http_request *); /* a stream that was full has room again */
    /* Headers added to the answer, whatever it is; set before answering. */
    struct http_headers reply_headers;
};

#define HTTP_HELD_BYTES ((size_t)64 << 10)

struct http_server_hooks {
    void (*head)(struct http_request *, void *ctx);
    void (*ready)(struct http_request *, void *ctx);
    /* Body of the answer to a request that could not be read: JSON text into the arena. */
    struct str (*protocol_error)(struct arena *, int status, const char *reason, void *ctx);
    /* The answer has been handed to the kernel whole, or the client is gone: for the access log.
     * Once for each request that head() was called for, as the last thing that happens to it.
     * `bytes_out` counts heads and framing too. `status` 0: the client left before an answer. */
    void (*finished)(struct http_request *, int status, size_t bytes_out, void *ctx);
};

struct http_server *http_server_new(struct loop *, const struct http_server_options *,
                                    const struct http_server_hooks *, void *ctx);
/* Binds and listens; port 0 picks one. */
struct err *http_server_listen(struct http_server *, const char *host, int port, int *port_out);
/* Stops accepting, closes idle connections, answers what is in flight with Connection: close.
 * `drained` runs once on the loop when nothing is left. To be called once. Thread: the loop's. */
void http_server_drain(struct http_server *, void (*drained)(void *), void *ctx);
/* Closes what is left (on_cancel for each), then frees. After the loop has stopped. */
void http_server_free(struct http_server *);
size_t http_server_in_flight(const struct http_server *);

/* The body that head() held may be read on. Thread: the loop's. */
void http_body_go(struct http_request *);

/* One whole answer. `body` must live in the request's arena or be static. HEAD requests and 204
 * and 304 send no body. Thread: the loop's. */
void http_reply(struct http_request *, int status, struct str content_type, struct str body);
/* The same with a body the server takes over: a heap buffer, freed when sent; no copy. */
void http_reply_buf(struct http_request *, int status, struct str content_type, struct buf *body);

void http_stream_begin(struct http_request *, int status, struct str content_type);
/* Copies the bytes into the send queue and sends what the socket takes. False: the queue is above
 * its mark; the bytes were taken all the same, and on_drain will be called. */
bool http_stream(struct http_request *, struct str bytes);
void http_stream_end(struct http_request *);
/* Ends a stream that cannot be completed: closes without the last chunk. */
void http_stream_abort(struct http_request *);

void http_done(struct http_request *); /* see on_cancel */

#endif
