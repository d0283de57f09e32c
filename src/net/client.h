/* client: HTTP requests to outside services, on the caller's own loop. Connections are opened by
 * libcurl (names, sockets, proxies, TLS; behind this seam and nowhere else) and kept alive per
 * loop; what goes over them is read and written here: HTTP/1.1, a connection for each call, or
 * behind TLS HTTP/2 where the service takes it (ALPN), one connection for many calls. TLS is always
 * verified, redirects are never followed, no proxy is taken from the environment.
 *
 *     struct client *c = client_new(loop, &options);
 *     struct client_call *call = client_send(c, &out, &limits, &events, ctx);
 *
 * `out` and what it points to are borrowed until done or client_cancel. `events` is borrowed as
 * long, too; limits are copied. Exactly one done per call, except after client_cancel: then none.
 * All events come from the loop, never from within client_send, client_resume or client_cancel;
 * a call may be sent, cancelled or resumed from within any event. Once done has begun, the call is
 * the client's again: drop the pointer (within done itself, cancelling it does no harm).
 * client_free may not be called from within an event; it needs the loop, so free the loop after.
 *
 * Requests: a body is sent as it is, whole. Header names and values with characters that would
 * break out of their line fail the call. Content-Length, Transfer-Encoding and Expect are the
 * client's business: given ones are dropped. User-Agent is inferd/<version> unless given; there is
 * no default Content-Type. Credentials in a URL become Basic authentication.
 *
 * Answers: any status is a success here, 3xx too. Bodies are handed on as they come, after the
 * chunks are joined; nothing asks for compression and nothing inflates. Of more than
 * HTTP_MAX_HEADERS headers the rest is dropped; heads (with those of 1xx answers) above 64 KiB and
 * trailers above 8 KiB are CLIENT_BROKEN, and so is whatever leaves a doubt about where the answer
 * ends: http_answer.h says what.
 *
 * A request whose kept connection turns out to be closed before a byte of the answer came is sent
 * once more on a new one: the one retry done here, and the one case in which a service may see a
 * request twice. Over HTTP/2 one that the service says it has not looked at is sent again, too, up
 * to five times. All other retries are the caller's.
 *
 * Limits on connections hold per client, so per loop; what does not fit waits in line, per route,
 * where owners take turns; and waiting counts towards total_timeout_ms but not towards
 * connect_timeout_ms. Over HTTP/2 a connection carries as many calls as the service allows, at most
 * 100.
 *
 * Error reasons name scheme, host and port, never path, query, credentials or headers.
 * Thread: the loop's. */
#ifndef INFERD_CLIENT_H
#define INFERD_CLIENT_H

#include "err.h"
#include "http.h"
#include "loop.h"

struct client;
struct client_call;

enum client_http2 {
    CLIENT_HTTP2_OFFERED, /* behind TLS, by ALPN */
    CLIENT_HTTP2_NEVER,
    CLIENT_HTTP2_KNOWN, /* on plain connections too, unasked (RFC 9113 section 3.3); for tests */
};

struct client_options {
    int64_t connect_timeout_ms; /* xpack.inference.http.connect_timeout, 5 s */
    long max_total_connections; /* 50 */
    long max_route_connections; /* 20 */
    int64_t max_idle_ms;        /* idle connections older than this are closed; 60 s */
    const char *ca_file;        /* NULL: the system's */
    enum client_http2 http2;
};

/* How a call leaves, where it differs from all others. Such calls share connections only among
 * those with the same proxy, ca and certificate: the caller has made sure that whoever names a
 * certificate has its key. The proxy's address is what allow_private is about then; what lies
 * behind it is the proxy's to judge. */
struct client_egress {
    const char *proxy;           /* "http://host:port"; NULL: none */
    struct str ca;               /* PEM: trusted instead of the system's; {NULL, 0}: the system's */
    struct str certificate, key; /* PEM: our own; {NULL, 0}: none */
};

struct client_limits {
    size_t max_response_bytes; /* more: ERR_TOO_LARGE, no retry */
    int64_t total_timeout_ms;  /* 0: none */
    int64_t stall_timeout_ms;  /* longest silence while a body is coming; 0: none */
    bool allow_private;        /* may the resolved address be loopback, link-local, private? */
    const struct client_egress *egress; /* borrowed as `out` is; NULL: plainly */
    uint32_t owner; /* whose call it is: those of one wait in line behind their own */
};

/* Why a call failed below HTTP. The err's kind is ERR_IO unless said otherwise. */
enum client_failure {
    CLIENT_OK,
    CLIENT_UNKNOWN_HOST,    /* not resolvable, or the URL is no URL */
    CLIENT_REFUSED_ADDRESS, /* resolved to an address that limits forbid */
    CLIENT_CONNECT,
    CLIENT_TLS,
    CLIENT_TIMEOUT,
    CLIENT_TOO_LARGE,
    CLIENT_BROKEN, /* reset, cut short, protocol garbage */
};

struct client_events {
    /* Status and headers are there (once, never for 1xx), valid during the call. May be NULL. */
    void (*head)(void *ctx, int status, const struct http_headers *);
    /* Bytes of the body, valid during the call. False: pause; client_resume goes on, and the
     * bytes just given count as taken; until then nothing comes but a failure by time. NULL: the
     * body is collected and handed to done. */
    bool (*body)(void *ctx, struct str bytes);
    /* The end. failure CLIENT_OK: err NULL, `in` has status and headers (and the body, when `body`
     * was NULL), valid during the call; in->arena is out->arena. Otherwise err says what happened;
     * the callee takes it. */
    void (*done)(void *ctx, enum client_failure failure, struct err *err, const struct http_in *in);
};

struct client *client_new(struct loop *, const struct client_options *);
void client_free(struct client *); /* cancels what is left */

struct client_call *client_send(struct client *, const struct http_out *,
                                const struct client_limits *, const struct client_events *,
                                void *ctx);
void client_resume(struct client_call *); /* not paused: does nothing */
/* No event follows. The connection (over HTTP/2 the stream) closes unless the answer was already
 * complete. */
void client_cancel(struct client_call *);

struct client_stats {
    long leased, pending, available, max;
};
void client_stats(const struct client *, struct client_stats *out);

/* True for loopback, link-local, private, unique-local, multicast, unspecified, shared (100.64/10),
 * benchmark, documentation and other non-global addresses, IPv4-mapped and NAT64 forms included. */
struct sockaddr;
bool address_is_private(const struct sockaddr *);

#endif
