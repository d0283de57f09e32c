/* tls: TLS 1.2 and 1.3 on the server's side (OpenSSL). Certificate and key can be read again while
 * connections are open: those keep what they began with.
 *
 *     struct tls *t;
 *     TRY(tls_open(&options, &t));              // reads the files
 *     struct tls_conn *c = tls_accept(t, fd);   // per connection; the fd stays the caller's
 *     n = tls_read(c, p, n);
 *     TRY(tls_reload(t));                       // on SIGHUP; on failure the old ones stay in use
 *
 * Thread: tls_accept and tls_reload any; a connection is its loop's alone. */
#ifndef INFERD_TLS_H
#define INFERD_TLS_H

#include <sys/types.h>

#include "err.h"
#include "str.h"

struct tls;
struct tls_conn;

enum tls_client_auth { TLS_CLIENT_NONE, TLS_CLIENT_OPTIONAL, TLS_CLIENT_REQUIRED };

struct tls_options {         /* texts are copied */
    const char *certificate; /* PEM file: the server's, then those between it and a root */
    const char *key;         /* PEM file */
    const char *passphrase;  /* of the key; "": none */
    const char *certificate_authorities; /* PEM file: whose client certificates count; "": none */
    const char *protocols;               /* "TLSv1.3,TLSv1.2" */
    const char *ciphers; /* OpenSSL's names for TLS 1.2, colon-separated; "": its own */
    enum tls_client_auth client_auth;
};

/* ERR_ARGUMENT that names the file or the option. */
struct err *tls_open(const struct tls_options *, struct tls **out);
struct err *tls_reload(struct tls *);
void tls_close(struct tls *); /* after the last tls_accept; connections may live on. NULL is fine */

/* NULL: no memory. */
struct tls_conn *tls_accept(struct tls *, int fd);
void tls_conn_free(struct tls_conn *); /* NULL is fine */

/* As recv and send on a non-blocking socket: > 0, 0 at the peer's end, -1 with errno EAGAIN or
 * another. The handshake happens on the way. */
ssize_t tls_read(struct tls_conn *, void *, size_t);
ssize_t tls_write(struct tls_conn *, const void *, size_t);
size_t tls_pending(const struct tls_conn *);   /* bytes decrypted and not yet read */
bool tls_wants_write(const struct tls_conn *); /* the last EAGAIN waits for room, not for bytes */
bool tls_established(const struct tls_conn *);
void tls_end(struct tls_conn *); /* tells the peer that nothing follows, if the socket takes it */

#endif
