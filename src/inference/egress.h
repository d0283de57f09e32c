/* egress: how an endpoint's requests leave: the common setting `egress` and its secret
 * `egress_client_key`.
 *
 *     {"proxy": "http://proxy:3128", "headers": {"X-Org": "a"}, "ca": "-----BEGIN CERTIFICATE...",
 *      "client_certificate": "-----BEGIN CERTIFICATE..."}
 *
 * Everything is checked when the endpoint is made, with libcrypto: texts are PEM, and the key is
 * the certificate's own. The latter is more than courtesy: a connection is kept and shared by the
 * certificate it was opened with, so whoever names one must have shown that it is theirs.
 *
 * Lives in the endpoint's arena; the key is borrowed from its secrets. */
#ifndef INFERD_EGRESS_H
#define INFERD_EGRESS_H

#include "client.h"
#include "endpoint.h"
#include "http.h"

struct egress {
    struct client_egress client;
    struct http_headers headers;
};

/* NULL: the endpoint has none, or it is wrong and the list says how. */
const struct egress *egress_read(struct err_list *, const struct endpoint *);

#endif
