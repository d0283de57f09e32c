/* http_edge: what the files of the HTTP edge share. Private to them; the door is http_server.h.
 *
 * A connection (http_conn) is a socket and its deadline, a few hundred bytes. While it reads a
 * request or owes an answer it holds an exchange: request, arena, input and output bytes. Idle
 * connections hold none; exchanges wait in a list of the server and are used again, last one
 * first, so that a busy loop works on few warm ones however many connections it has.
 *
 * An exchange outlives its connection when the client leaves while the handler is at work. It is
 * then in nobody's hands but the handler's, until http_done or the answer that nobody will read.
 *
 * Functions of the door called by handlers never call a hook themselves. They change the exchange
 * and put its connection on the server's list; the list is run in the same round of the loop. */
#ifndef INFERD_HTTP_EDGE_H
#define INFERD_HTTP_EDGE_H

#include "http_parse.h"
#include "http_server.h"
#include "list.h"
#include "tls.h"

#define HTTP_PEER_MAX 56 /* "[" IPv6 "]:" port, with its NUL */

struct http_exchange {
    struct http_request r; /* first: exchange_of() */
    struct http_server *server;
    struct http_conn *conn;     /* NULL: the client is gone */
    struct list_link in_flight; /* of the server, from head() to the end */
    struct http_exchange *next; /* of the free list or the list to be settled */

    /* Input. `in` holds the head, the body too when it is small, and what follows in a pipeline.
     * It does not move once the head is complete, for the request points into it. */
    char *in;
    size_t in_n, in_cap;
    size_t used;      /* bytes of `in` that are this request's and have been dealt with */
    struct buf body;  /* a body that did not fit, came in chunks, or was inflated */
    size_t body_left; /* of a length-delimited body that goes into `body`: bytes to come */
    int64_t head_deadline_ms;
    struct http_scan scan;
    struct http_head head;
    struct http_chunked chunked;

    /* Output: the bytes of `out` from out_at on, then `tail`. */
    struct buf out;
    size_t out_at;
    struct str tail;  /* in the arena, static, or in `owned` */
    struct buf owned; /* heap body given by http_reply_buf, or made by compression */
    int status;
    size_t bytes_out;

    bool seen;        /* hooks->head was called */
    bool ready;       /* hooks->ready was called: the handler owes an answer */
    bool whole;       /* the body has been read to its end */
    bool taken;       /* and `used` has gone past it */
    bool answered;    /* the head of the answer is made */
    bool complete;    /* so is its end */
    bool chunked_out; /* the answer's coding */
    bool no_body;     /* HEAD, 204, 304 */
    bool close;       /* the connection ends with this answer */
    bool full;        /* the handler was told to wait for on_drain */
    bool overflow;    /* it did not: the stream has a hole and ends here */
    bool cancelled;   /* on_cancel was called: http_done must come */
    bool done;        /* it has */
    bool settling;    /* on the list to be settled */

    char peer[HTTP_PEER_MAX];
    struct http_headers headers;
};

enum conn_state {
    CONN_IDLE,   /* between requests */
    CONN_HEAD,   /* reading a head */
    CONN_BODY,   /* reading a body */
    CONN_BUSY,   /* the handler is at work or its answer on the way */
    CONN_SKIP,   /* answered early: the rest of the body is read and dropped */
    CONN_LINGER, /* our side is shut; what the client still sends is dropped */
    CONN_DEAD,   /* freed by whoever called conn_run */
};

struct http_conn {
    struct loop_fd watch;
    struct loop_timer timer;
    struct http_server *server;
    struct http_exchange *ex;
    struct tls_conn *tls;   /* NULL: plain */
    struct list_link all;   /* of the server */
    struct list_link dirty; /* of the server: conn_run is due */
    int64_t deadline_ms;    /* INT64_MAX: none */
    int64_t linger_end_ms;
    size_t skip_left;
    enum conn_state state;
    bool running; /* inside conn_run */
    bool eof;     /* the client sends no more */
    bool blocked; /* the socket takes no more for now */
    char peer[HTTP_PEER_MAX];
};

struct http_listener {
    struct loop_fd watch;
    struct http_server *server;
    int port_key; /* of listen_close */
};

#define HTTP_MAX_LISTENERS 8
#define LISTEN_BACKLOG     4096
#define HTTP_SCRATCH_BYTES 16384

struct http_server {
    struct loop *loop;
    struct http_server_options options;
    size_t n_fixed_headers; /* bytes of options.fixed_headers */
    struct http_server_hooks hooks;
    void *ctx;

    struct http_listener listeners[HTTP_MAX_LISTENERS];
    size_t n_listeners;
    struct loop_timer accept_timer; /* accepting resumes */

    struct list_link conns, dirty, in_flight;
    size_t n_conns, n_in_flight;
    struct http_exchange *idle; /* exchanges to be used again */
    size_t n_idle;
    struct http_exchange *settling;
    struct loop_timer flush_timer; /* runs the lists in this round */

    bool draining, drain_begun;
    void (*drained)(void *);
    void *drained_ctx;

    int64_t date_s;
    char date[40];                    /* "Sun, 06 Nov 1994 08:49:37 GMT" */
    char scratch[HTTP_SCRATCH_BYTES]; /* for bytes that are dropped */
};

static inline struct http_exchange *exchange_of(struct http_request *r)
{
    return (struct http_exchange *)r;
}

/* ---- http_listen.c ---- */

/* A non-blocking listening socket; *key_out goes to listen_close. */
struct err *listen_open(const char *host, int port, int *fd_out, int *port_out, int *key_out);
void listen_close(int fd, int key);
struct sockaddr_storage;
void peer_print(const struct sockaddr_storage *, char out[HTTP_PEER_MAX]);

/* ---- http_server.c ---- */

void server_flush_soon(struct http_server *);
void server_conn_dirty(struct http_conn *);
void server_settle_soon(struct http_exchange *);

/* ---- http_conn.c ---- */

void conn_new(struct http_server *, int fd, const struct sockaddr_storage *peer);
void conn_read(struct http_conn *);
void conn_run(struct http_conn *);  /* as far as it goes; frees a dead connection */
void conn_kill(struct http_conn *); /* the client is gone, or is made to be: cancels and frees */

/* ---- http_exchange.c ---- */

struct http_exchange *exchange_take(struct http_server *);
/* Parts with the connection; calls on_cancel when the handler still works on it. */
void exchange_detach(struct http_exchange *);
void exchange_cancel(struct http_exchange *);
/* Ends a detached exchange if nobody needs it any more. */
void exchange_settle(struct http_exchange *);
void exchange_end(struct http_exchange *); /* in any case */
void exchange_free(struct http_exchange *);

/* ---- http_reply.c ---- */

/* An answer of the server's own, in the shape of hooks->protocol_error. */
void reply_error(struct http_exchange *, int status, const char *reason);
void reply_continue(struct http_exchange *); /* 100 */

enum flush { FLUSH_DONE, FLUSH_BLOCKED, FLUSH_BROKEN };
enum flush reply_flush(struct http_conn *); /* what the socket takes */
size_t reply_queued(const struct http_exchange *);

#endif
