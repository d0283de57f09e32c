/* client_private: what client's files share.
 *
 *   client.c          the door: sending, cancelling, ending calls; slots and queues; time
 *   client_request.c  one request as bytes
 *   client_exchange.c one request out and one answer in, on a connection that is open
 *   client_answer.c   what an answer's bytes mean for its call
 *   client_pool.c     routes, ways, and the connections that idle
 *   client_open.c     opening and closing connections: libcurl, and nowhere else
 *   client_h2*.c      connections that many calls share: HTTP/2 by nghttp2, and nowhere else
 *
 * libcurl resolves names, connects, asks proxies and speaks TLS; HTTP/1.1 is ours (http_answer.h).
 * Of a plain connection curl gives up the socket once it is connected, behind TLS it stays and
 * moves the bytes (curl_easy_send and _recv).
 *
 * A call is in one state at a time. QUEUED: waits for a connection. RUNNING: has one that opens or
 * is open. ENDED: over, `done` still to be told from the loop. TELLING: inside done. FREE: pooled.
 * A connection has a call (over HTTP/2: calls), or idles in its way's list. A slot is the right to
 * have one that does not idle; the call holds it, or the connection that calls share. */
#ifndef INFERD_CLIENT_PRIVATE_H
#define INFERD_CLIENT_PRIVATE_H

#include <curl/curl.h>

#include "buf.h"
#include "client.h"
#include "http_answer.h"
#include "list.h"
#include "map.h"

#define ROUTE_MAX_BYTES 512 /* of a route's key */
#define OWNERS          64  /* that are told apart in a line; others share turns */

/* One scheme, host and port: what max_route_connections counts. */
struct route {
    struct str key; /* "https://host:port" in lower case, without credentials; NUL after it */
    struct str ace; /* of a host that is not ASCII: its name on the wire; else {NULL, 0} */
    bool tls;
    long active;                /* slots taken */
    long idle;                  /* connections without a call */
    struct list_link waiting;   /* calls without a connection, by turn */
    uint64_t turn;              /* of the call that was the last to leave the line */
    uint64_t last_turn[OWNERS]; /* of those that wait, by their owners */
    struct list_link link;      /* in client->full while calls wait */
    struct list_link ways;
    bool speaks_h2;           /* its last connection did: one is enough for many calls */
    int64_t only_h1_until_ms; /* its peer has asked for HTTP/1.1; 0: it has not */
    uint32_t max_streams;     /* at once on a connection, as was said last; 0: not yet */
    uint32_t life_calls;      /* after how many one said goodbye to the rest; 0: none did */
};

/* Who may share connections: calls to one route with one policy and one egress. So a connection
 * that was opened to a private address can never serve a call that may not reach one. */
struct way {
    struct list_link link; /* in route->ways */
    struct route *route;
    long users; /* its calls and connections; none: it goes */
    bool allow_private;
    struct str proxy, ca, certificate; /* copies, with a NUL behind them; {NULL, 0}: none */
    struct list_link idle;             /* used last is last */
    struct list_link shared;           /* connections with calls that speak HTTP/2 */
    long opening;                      /* connections that open */
};

struct h2; /* client_h2.c */

struct connection {
    struct list_link link; /* in way->idle, or way->shared */
    struct list_link aged; /* in client->idle, of all ways, idle longest first */
    struct list_link todo; /* in client->todo: has to be read without an event */
    struct loop_fd watch;
    struct client *client;
    struct way *way;
    struct client_call *call; /* NULL: idle, or of HTTP/2 */
    struct h2 *h2;            /* speaks HTTP/2; NULL: HTTP/1.1, or not known yet */
    CURL *easy;               /* while it opens, and behind TLS; else NULL */
    char *detail;             /* curl's own words, with easy */
    int64_t opened_ms, idle_ms;
    bool opening;
    bool refused;  /* an address that its way forbids was among those tried */
    bool answered; /* has served a call before: may turn out to be closed */
    bool broken;   /* takes no more bytes; an answer may still be there */
    bool takes_h2; /* ALPN's word */
};

/* Of a call on a connection that speaks HTTP/2. */
struct stream {
    struct list_link mate;    /* in the connection's calls */
    struct list_link touched; /* something came that its call has not been told */
    int32_t id;               /* 0: none yet, or closed */
    struct str body;          /* of the request: what has not been sent */
    uint64_t seen;            /* bytes the connection had read when this began */
    int64_t began_ms;
    size_t head_bytes, trailer_bytes;
    size_t told;     /* of call->body, when it is told in pieces */
    bool sent;       /* the head of the request has left */
    bool head_ready; /* the head of the answer is whole */
    bool ended;      /* the answer is */
    enum stream_fault {
        STREAM_WELL,
        STREAM_RESET,
        STREAM_TOO_LARGE,
        STREAM_LARGE_HEAD,
        STREAM_BAD_STATUS,
        STREAM_LOST
    } fault;
    uint32_t code; /* of STREAM_RESET */
};

enum call_state { CALL_FREE, CALL_QUEUED, CALL_RUNNING, CALL_ENDED, CALL_TELLING };

/* Pooled with its buffers: a warm call allocates nothing. */
struct client_call {
    struct list_link link; /* by state: a route's queue, running, ended */
    enum call_state state;
    struct client *client;
    struct way *way; /* NULL: the URL is none */
    struct connection *connection;
    const struct http_out *out;
    const struct client_events *events;
    void *ctx;
    struct client_limits limits;
    struct stream stream;
    struct loop_timer timer;
    int64_t started_ms, last_ms; /* last_ms: when something last came */

    struct buf request; /* the head; behind TLS a small body too */
    struct str body_out;
    size_t sent; /* of both */

    struct http_answer answer;
    struct http_in in;
    struct buf head; /* of an answer that did not come at once */
    struct buf body; /* the same, when events->body is NULL */
    size_t body_bytes;
    uint64_t turn; /* in line */
    bool slot;     /* it holds one */
    bool begun;    /* a byte of the answer came */
    bool head_done;
    bool retried;   /* after its connection was closed */
    unsigned moves; /* how often it went elsewhere, as nobody had looked at it */
    bool paused;    /* the receiver wants no more for now */
    bool in_event;  /* its head or body event is running */
    bool cancelled; /* in there; ends without a word */

    enum client_failure failure; /* once ENDED */
    struct err *err;
};

struct client {
    struct loop *loop;
    struct client_options options;
    char *ca_file;

    struct map *routes;
    struct route *last_route; /* most calls go where the one before went */
    long active;              /* slots taken */
    long n_calls;             /* all under way */
    long n_idle;              /* connections without a call */
    struct list_link full;    /* routes with waiting calls */
    struct list_link running, ended;
    struct list_link todo, idle; /* connections */
    struct client_call **pool;
    size_t n_pool;
    struct loop_timer work; /* runs client_work soon */
    struct loop_timer old;  /* closes what idled for too long */
    bool telling;           /* an event is running: client_free may not be called */

    CURLM *multi;
    CURLSH *shared;           /* TLS sessions of calls without an egress */
    struct list_link watches; /* of curl's sockets */
    struct loop_timer curl_timer;
    int64_t curl_due_ms; /* when curl wants to run; 0: not at a time */
    bool curl_due;       /* now */
    int kept;            /* a socket that curl closes and we keep; -1: none */

    char *scratch; /* SCRATCH_BYTES: what one read brings */
};

#define SCRATCH_BYTES (64u << 10) /* a typical answer in one recv */
#define STREAM_BYTES  (32u << 10) /* what a receiver is told at once: it pauses only in between */

/* --- client.c --- */
/* Off its connection (which it closes) and off all lists; done is told soon. Takes err. */
void call_end(struct client_call *, enum client_failure, struct err *);
/* Its answer is complete and its connection given back: tells done, now or once it is resumed. */
void call_answered(struct client_call *);
void call_drop(struct client_call *); /* was cancelled: no word, its connection closes */
/* Begins anew: its peer has not looked at it, or has closed before it answered. */
void call_again(struct client_call *);
void call_arm(struct client_call *); /* (re)arms the timer when a limit could be passed earlier */
void client_work_soon(struct client *);
void give_slot_back(struct client *, struct route *);
void serve_waiting(struct client *); /* begins what can begin */

/* --- client_request.c --- */
/* The parts of a URL that matter here, views into it. */
struct url_parts {
    struct str user;      /* "name:password" as written; {NULL, 0}: none */
    struct str authority; /* "host:port" as written */
    struct str target;    /* path and query as written, perhaps without the '/' */
    bool tls;
};
bool url_take_apart(struct str url, struct url_parts *out);
/* The call's http_out into call->request. NULL: fine; else why it cannot be sent (static). */
const char *request_build(struct client_call *, const struct url_parts *);
/* What was built as fields of HTTP/2, and its body: views into it. Names become lower case. */
#define REQUEST_MAX_FIELDS (HTTP_MAX_HEADERS + 12) /* the caller's and ours */
size_t request_fields(struct client_call *, struct http_header out[REQUEST_MAX_FIELDS],
                      struct str *body_out);

/* --- client_exchange.c --- */
void exchange_begin(struct connection *); /* its call's request; the connection is open */
void exchange_read(struct connection *);  /* what has come, or that nothing will */
void exchange_ready(struct loop_fd *, uint32_t events);
/* As much as there is and fits, bytes with any answer. DONE: there may be more. */
enum io { IO_DONE, IO_AGAIN, IO_CLOSED, IO_BROKEN };
enum io exchange_recv(struct connection *, char *p, size_t room, size_t *n_out,
                      const char **why_out);
enum io exchange_send(struct connection *, const struct str part[2], size_t *n_out,
                      const char **why_out);
void connection_work_soon(struct connection *); /* puts it on client->todo */

/* --- client_h2.c --- */
void h2_start(struct connection *); /* on a connection that has just opened */
void h2_free(struct connection *);
/* The call's, from here on; its slot, if it has one, becomes the connection's. */
void h2_begin(struct connection *, struct client_call *);
void h2_leave(struct client_call *); /* whatever has come of its answer */
void h2_resume(struct client_call *);
void h2_ready(struct connection *, uint32_t events); /* it may be gone after */
void h2_work(struct connection *);                   /* the same */
struct connection *h2_with_room(struct way *);       /* that takes one more call; NULL: none */
bool h2_is_first(const struct client_call *);        /* of the calls on its connection */
bool h2_is_fit(const struct connection *);           /* for another call, when it idles */
bool h2_is_coming(const struct way *);               /* one opens that will carry many */

/* --- client_answer.c --- */
/* The next bytes of the call's answer. MORE: all taken. OVER: the call has ended or was cancelled,
 * and neither it nor its connection may be looked at again. END: complete, with *rest_out bytes
 * that are not part of it. */
enum fed { FED_MORE, FED_END, FED_OVER };
enum fed answer_feed(struct client_call *, struct http_span in, size_t *rest_out);
void answer_reset(struct client_call *);
/* What it does with the parts, for HTTP/2: the head, from call->answer; the next bytes of a body
 * that is not collected; the words for one that is too large. MORE or OVER. */
enum fed answer_head(struct client_call *);
enum fed answer_body(struct client_call *, struct str bytes);
enum fed answer_too_large(struct client_call *);
/* The peer has closed, or the connection broke with these words (NULL: it was closed). */
void answer_cut(struct client_call *, const char *why);

/* --- client_pool.c --- */
struct way *way_get(struct client *, const struct url_parts *, const struct client_limits *);
void way_leave(struct client *, struct way *); /* one user less; it may go */
void ways_free(struct client *);               /* all routes; no call is left */
struct connection *idle_take(struct way *);    /* NULL: none idles */
void idle_put(struct connection *);            /* idle, or closed if it must not be used again */
void idle_leave(struct connection *);          /* off the lists of the idle ones */
void idle_make_room(struct client *, struct way *); /* for one that will be opened */

/* --- client_open.c --- */
void curl_begin(struct client *);
void curl_end(struct client *);
void curl_run(struct client *); /* what is due, and the connections that are open by now */
/* Once per route: false when curl would not go there. Of a host that is not ASCII, its name on the
 * wire. */
bool route_read_host(struct route *);
void connection_open(struct client_call *);
void connection_close(struct connection *); /* frees it */
/* Behind TLS. DONE: *n_out bytes were moved. BROKEN: *why_out says how; valid until the next call.
 */
enum io tls_send(struct connection *, struct str, size_t *n_out, const char **why_out);
enum io tls_recv(struct connection *, char *p, size_t n, size_t *n_out, const char **why_out);

#endif
