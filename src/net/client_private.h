/* client_private: what client's files share.
 *
 *   client.c          the door: sending, cancelling, ending calls; slots and queues; time
 *   client_driver.c   curl's sockets and timers on our loop; the only caller of curl_multi_*
 *   client_request.c  one request into one easy handle
 *   client_answer.c   what comes back: head, body, and why there is none
 *
 * A call is in one state at a time. QUEUED: no slot. STARTING: a slot, not yet curl's. RUNNING:
 * curl's. ENDED: over, `done` still to be told from the loop. TELLING: inside done. FREE: pooled.
 */
#ifndef INFERD_CLIENT_PRIVATE_H
#define INFERD_CLIENT_PRIVATE_H

#include <curl/curl.h>

#include "buf.h"
#include "client.h"
#include "list.h"
#include "map.h"

struct half;

/* One scheme, host and port: what max_route_connections counts. */
struct route {
    struct str key; /* "https://host:port" in lower case, without credentials; NUL after it */
    long active;    /* calls with a slot */
    struct list_link waiting; /* calls without one, oldest first */
    struct list_link link;    /* in client->full while calls wait */
};

/* A descriptor that curl wants watched, found by its number. */
struct watch {
    struct loop_fd fd;
    struct half *half;
    int number;              /* the descriptor */
    struct list_link opened; /* in call->opened until it is known to be connected or gone */
    bool ours;               /* a connection's; else a pipe of curl's resolver */
    bool connected;          /* so on_close_socket will tell when it goes */
    bool wanted;             /* curl asks for events on it now */
};

/* One of the two policies. Each has a connection pool of its own, so that a connection opened to a
 * private address can never serve a call that may not reach one. */
struct half {
    struct client *client;
    CURLM *multi;
    struct loop_timer timer;
    int64_t due_ms; /* when curl wants to run; 0: not at a time */
    bool due;       /* now */
    CURL *sweeper;
    bool sweeping;
};

enum call_state { CALL_FREE, CALL_QUEUED, CALL_STARTING, CALL_RUNNING, CALL_ENDED, CALL_TELLING };

/* Pooled with its easy handle and buffers: a warm call allocates nothing. */
struct client_call {
    struct list_link link;   /* by state: a route's queue, starting, running, ended */
    struct list_link todo;   /* resuming or cancelled */
    struct list_link opened; /* sockets opened for it, until it has a connection */
    enum call_state state;
    struct client *client;
    struct half *half;
    struct route *route; /* NULL: the URL is none */
    CURL *easy;
    bool special; /* its handle has an egress, and is not used again */
    const struct http_out *out;
    const struct client_events *events;
    void *ctx;
    struct client_limits limits;
    struct loop_timer timer;
    int64_t started_ms, last_ms; /* last_ms: when something last came */

    /* The request, as curl borrows it. */
    struct buf url;   /* with its NUL; what the handle was last set to */
    CURLU *parsed;    /* the same */
    struct buf lines; /* NUL-terminated header lines */
    struct curl_slist nodes[HTTP_MAX_HEADERS + 4];
    char detail[CURL_ERROR_SIZE]; /* curl's own words */

    /* The answer. */
    struct http_in in;
    struct buf head; /* the current block of header lines */
    struct buf body; /* when events->body is NULL */
    size_t head_bytes, body_bytes;
    int tries; /* connections used */
    bool in_block, head_done;
    bool paused;    /* the receiver wants no more for now */
    bool held;      /* curl was told so and keeps bytes */
    bool cancelled; /* inside curl; ends without a word */
    bool refused, too_large, head_broken, upgraded;

    enum client_failure failure; /* once ENDED */
    struct err *err;
};

struct client {
    struct loop *loop;
    struct client_options options;
    char *ca_file;
    struct half halves[2];  /* 0: public addresses only, 1: any */
    struct watch **watches; /* by descriptor */
    size_t n_watches;
    long n_sockets;

    struct map *routes;
    struct route *last_route; /* most calls go where the one before went */
    long active;              /* calls with a slot */
    long n_calls;             /* all under way */
    struct list_link full;    /* routes with waiting calls */
    struct list_link starting, running, ended;
    struct list_link resuming, cancelled;
    struct client_call **pool;
    size_t n_pool;

    struct loop_timer kick;  /* runs client_work soon */
    struct loop_timer sweep; /* closes what idled for too long */
    bool working;            /* inside client_work or a socket's event */
    int in_curl;
    struct client_call *current; /* whose head or body event is running */
};

/* --- client.c --- */
void call_give_slot_back(struct client_call *);
/* Off curl and off all lists; tells done now or, while the receiver pauses, later. Takes err. */
void call_end(struct client_call *, enum client_failure, struct err *);
void call_tell(struct client_call *); /* ENDED: done, then back to the pool */
void call_recycle(struct client_call *);
void call_arm(struct client_call *); /* (re)arms the timer when a limit could be passed earlier */

/* --- client_driver.c --- */
void half_init(struct client *, struct half *);
void half_deinit(struct half *);
void client_kick(struct client *); /* runs what is to do from the loop, soon */
void client_sweep_at(struct client *, int64_t at_ms);
void watches_free(struct client *);
/* The call has its connection, on this local port; or it is off curl. What else it opened is gone.
 */
void driver_connected(struct client_call *, int local_port);
void driver_detached(struct client_call *);
/* What every handle needs to use our sockets. */
void driver_prepare(struct client *, CURL *);

/* --- client_request.c --- */
CURL *request_handle_new(struct client *, struct client_call *);
/* The call's http_out into its handle. NULL: fine; else why it cannot be sent (static). */
const char *request_set(struct client_call *, enum client_failure *failure_out);
/* What is set once, on a handle of its own. */
void request_egress(struct client_call *, const struct client_egress *);
/* "scheme://host:port" of a URL in lower case, without credentials; false: no such URL. */
bool request_route_key(struct str url, char *out, size_t cap, size_t *n_out);

/* --- client_answer.c --- */
size_t on_header(char *p, size_t size, size_t n, void *call);
size_t on_body(char *p, size_t size, size_t n, void *call);
enum client_failure answer_failure(const struct client_call *, CURLcode);
struct err *answer_err(const struct client_call *, enum client_failure, CURLcode);

#endif
