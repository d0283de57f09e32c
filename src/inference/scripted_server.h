/* scripted_server: an HTTP server on loopback that plays a script, one step per connection. For
 * tests.
 *
 *     struct scripted_server *s = scripted_server_new(steps, n, loop, on_request);
 *     ... requests to 127.0.0.1:scripted_server_port(s) ...
 *     scripted_server_free(s);
 *
 * After the last step nobody listens any more: one request too many finds its connection refused.
 * Thread: its own; what it saw may be read after it was joined or from on_request. */
#ifndef INFERD_SCRIPTED_SERVER_H
#define INFERD_SCRIPTED_SERVER_H

#include "loop.h"
#include "str.h"

struct step {
    const char *answer; /* the bytes to send; NULL: none */
    const char *again;  /* ... then these, `times` times */
    int times;
    const char *end; /* ... then these */
    bool hang;       /* keep the connection open afterwards */
    bool reset;      /* end it with RST */
};

struct scripted_server;

/* `steps` are borrowed. on_request (or NULL) is posted to `loop` when a request is complete, before
 * it is answered; it runs at most once. */
struct scripted_server *scripted_server_new(const struct step *steps, size_t n, struct loop *loop,
                                            void (*on_request)(struct loop_msg *));
void scripted_server_free(struct scripted_server *); /* when no client waits for it any more */
int scripted_server_port(const struct scripted_server *);
/* Ends the thread; then these may be read until free. Stopping twice is fine. */
void scripted_server_stop(struct scripted_server *);
size_t scripted_server_requests(const struct scripted_server *);
struct str scripted_server_head(const struct scripted_server *, size_t i);
struct str scripted_server_body(const struct scripted_server *, size_t i);

#endif
