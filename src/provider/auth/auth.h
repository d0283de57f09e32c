/* auth: how a request proves who sends it, where a key in a header (written by the provider's own
 * build) is not enough: signatures, and tokens that are exchanged for credentials. Pure: time is an
 * argument, and whoever holds the sockets makes the exchange.
 *
 *     ask   -> a request for a token                 } only schemes with an exchange
 *     take  <- the answer to it                      }
 *     sign  -> the finished request, URL final: adds its headers
 *
 * A token is kept and shared by all calls whose `key` is equal, and asked for again a minute before
 * it expires. Thread: any. */
#ifndef INFERD_PROVIDER_AUTH_H
#define INFERD_PROVIDER_AUTH_H

#include "buf.h"
#include "endpoint.h"
#include "http.h"

struct token {
    struct secret *value; /* a reference */
    int64_t expires_s;    /* seconds since 1970 */
};

struct auth {
    /* What the token depends on: credentials, scopes. Appends to `out`, which is wiped after. */
    void (*key)(const struct endpoint *, struct buf *out);
    /* NULL: no exchange, sign gets no token. out->arena is set. */
    struct err *(*ask)(const struct endpoint *, int64_t now_s, struct http_out *out);
    /* Any status. An err's status is what the client gets; 5xx of the exchange is worth another
     * try, which err->kind ERR_IO says. out->value is a new reference. */
    struct err *(*take)(const struct endpoint *, const struct http_in *, int64_t now_s,
                        struct token *out);
    /* The request as it will be sent: method, url, headers and body are final. */
    struct err *(*sign)(const struct endpoint *, const struct token *, int64_t now_s,
                        struct http_out *);
};

#endif
