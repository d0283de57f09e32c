/* client_h2: what the two files of HTTP/2 share. client_h2.c has the connections, and tells calls
 * what came for them; client_h2_session.c has the notes that nghttp2 leaves in calls, and requests
 * as it takes them. */
#ifndef INFERD_CLIENT_H2_H
#define INFERD_CLIENT_H2_H

#include <nghttp2/nghttp2.h>

#include "client_private.h"

struct h2 {
    nghttp2_session *session;
    struct list_link calls, touched; /* by stream.mate, stream.touched */
    long n_calls;
    uint32_t n_begun;      /* calls, ever */
    struct buf out;        /* frames that are made and not sent */
    uint64_t n_in;         /* bytes read */
    int64_t in_ms, out_ms; /* when some last came, and went or began to be stuck */
    uint32_t max_streams;  /* at once, once it has settled */
    bool settled;          /* its peer has told its settings */
    bool in_use;           /* holds a slot, and is in way->shared */
    bool busy;             /* calls are being told: the connection may not go */
    bool unread;           /* was left off before all was read */
    bool stuck;            /* what is in `out` must be tried again as it is: OpenSSL wants that */
    bool suspect;          /* silent for too long, and asked whether it is there */
    bool closing;          /* takes no more calls and goes after the last */
    bool deaf;             /* takes no more bytes; some may still come */
    bool lost;             /* nothing comes any more */
    bool closed;           /* by the peer, without an error */
    char why[128];         /* of lost and not closed, or deaf */
};

nghttp2_session *h2_session_new(struct connection *);
/* The call's request, as a new stream. False: there are no more numbers for streams. */
bool h2_submit(nghttp2_session *, struct client_call *);
/* Its call hears soon of what came, or of what went wrong: of the first such thing. The latter
 * returns what makes nghttp2 reset the stream when a callback returns it. */
void h2_touch(struct client_call *);
int h2_fail(struct client_call *, enum stream_fault, uint32_t code);

#endif
