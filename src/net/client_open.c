/* client's connections, opened by libcurl: names, sockets, proxies, TLS.
 *
 * Each is one easy handle with CONNECT_ONLY in the loop's multi handle. When curl says that it is
 * connected, a plain one is taken from it: the handle goes, and of the socket that it closes then
 * we keep the descriptor. Behind TLS the handle stays, since curl moves the bytes.
 *
 * Nothing of curl_multi_* may be called from within curl's callbacks; those here only note what
 * curl wants. Its timer is kept lazily: a loop timer that fires too early just looks again.
 *
 * Pitfalls of libcurl 7.88 behind the options: without NOSIGNAL every action costs two sigaction
 * calls; without QUICK_EXIT a cancelled call waits for its name to be resolved, and the loop with
 * it; a connection that CONNECT_ONLY left alone counts as idle until it is first used, and curl
 * would close it for its age. */
#include <errno.h>
#include <limits.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bug.h"
#include "client_private.h"

#define RECORD_BYTES (16L << 10) /* of TLS: what one read brings at most */

/* --- curl's sockets while it connects --- */

struct watch {
    struct list_link link; /* in client->watches */
    struct loop_fd fd;
    struct client *client;
};

static void act(struct client *c, curl_socket_t fd, int mask)
{
    int running;
    curl_multi_socket_action(c->multi, fd, mask, &running);
}

static void watch_ready(struct loop_fd *fd, uint32_t events)
{
    struct client *c = LIST_OWNER(fd, struct watch, fd)->client;
    int mask = (events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
               /* An error is read from the socket: only then does curl know what it was. */
               (events & (EPOLLIN | EPOLLERR | EPOLLHUP) ? CURL_CSELECT_IN : 0);
    act(c, fd->fd, mask); /* the watch may be gone now */
    curl_run(c);
}

/* Sockets that never came to be connected curl closes without a word, before it says REMOVE. */
static void watch_free(struct watch *w)
{
    loop_fd_drop(&w->fd);
    list_remove(&w->link);
    free(w);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *mine)
{
    struct client *c = arg;
    struct watch *w = mine;
    if (what == CURL_POLL_REMOVE) {
        if (w)
            watch_free(w);
        curl_multi_assign(c->multi, fd, NULL);
        return 0;
    }
    uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (!w) {
        w = mem_new(sizeof *w);
        w->client = c;
        list_push(&c->watches, &w->link);
        curl_multi_assign(c->multi, fd, w);
    }
    loop_fd_drop(&w->fd);
    loop_fd_add(c->loop, &w->fd, fd, events, watch_ready);
    return 0;
}

/* The next address may get the number of the one before, and curl takes its watch for the same. */
static void watch_again(struct client *c, int fd)
{
    for (struct list_link *l = c->watches.next; l != &c->watches; l = l->next) {
        struct loop_fd *w = &LIST_OWNER(l, struct watch, link)->fd;
        if (w->fd == fd) {
            loop_fd_drop(w);
            loop_fd_add(c->loop, w, fd, w->events, watch_ready);
        }
    }
}

static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct connection *k = arg;
    if (!k->way->allow_private && address_is_private(&a->addr)) {
        k->refused = true;
        return CURL_SOCKET_BAD;
    }
    int fd = socket(a->family, a->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    watch_again(k->client, fd);
    return fd;
}

static int on_close_socket(void *arg, curl_socket_t fd)
{
    struct client *c = arg;
    if (fd != c->kept)
        return close(fd);
    c->kept = -1;
    return 0;
}

/* --- curl's timer --- */

static void curl_timer_due(struct loop_timer *timer)
{
    struct client *c = LIST_OWNER(timer, struct client, curl_timer);
    if (c->curl_due_ms == 0)
        return;
    if (c->curl_due_ms > loop_now_ms(c->loop)) {
        loop_timer_set(c->loop, timer, c->curl_due_ms, curl_timer_due);
        return;
    }
    c->curl_due_ms = 0;
    c->curl_due = true;
    client_work_soon(c);
}

static int on_timer(CURLM *multi, long ms, void *arg)
{
    struct client *c = arg;
    c->curl_due = ms == 0;
    c->curl_due_ms = ms > 0 ? loop_now_ms(c->loop) + ms : 0;
    if (c->curl_due)
        client_work_soon(c);
    else if (ms > 0 && (!loop_timer_is_set(&c->curl_timer) || c->curl_timer.at_ms > c->curl_due_ms))
        loop_timer_set(c->loop, &c->curl_timer, c->curl_due_ms, curl_timer_due);
    return 0;
}

/* --- hosts --- */

bool route_read_host(struct route *r)
{
    char *host = NULL, *port = NULL;
    CURLU *u = curl_url();
    BUG_ON(!u);
    bool ok = curl_url_set(u, CURLUPART_URL, r->key.p, 0) == CURLUE_OK &&
              curl_url_get(u, CURLUPART_HOST, &host, CURLU_PUNYCODE) == CURLUE_OK;
    bool ascii = true;
    for (size_t i = 0; i < r->key.n; i++)
        ascii &= (unsigned char)r->key.p[i] < 0x80;
    if (ok && !ascii) {
        curl_url_get(u, CURLUPART_PORT, &port, CURLU_NO_DEFAULT_PORT);
        struct buf name;
        buf_init(&name, 4 * ROUTE_MAX_BYTES);
        buf_cstr(&name, host);
        if (port)
            buf_printf(&name, ":%s", port);
        r->ace = buf_str(&name); /* keeps the memory */
    }
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return ok;
}

/* --- a handle --- */

static void set_blob(CURL *h, CURLoption option, struct str pem)
{
    struct curl_blob blob = {(void *)(uintptr_t)pem.p, pem.n, CURL_BLOB_COPY};
    if (pem.n)
        curl_easy_setopt(h, option, &blob);
}

static void set_egress(CURL *h, const struct client_egress *egress)
{
    if (egress->proxy) {
        curl_easy_setopt(h, CURLOPT_PROXY, egress->proxy);
        curl_easy_setopt(h, CURLOPT_NOPROXY, ""); /* not from the environment */
        curl_easy_setopt(h, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    }
    if (egress->ca.n) { /* and no others: the system's would be a way around it */
        curl_easy_setopt(h, CURLOPT_CAINFO, NULL);
        curl_easy_setopt(h, CURLOPT_CAPATH, NULL);
        set_blob(h, CURLOPT_CAINFO_BLOB, egress->ca);
    }
    set_blob(h, CURLOPT_SSLCERT_BLOB, egress->certificate);
    set_blob(h, CURLOPT_SSLKEY_BLOB, egress->key);
}

/* --- which HTTP --- */

static bool offers_h2(const struct connection *k)
{
    return k->client->options.http2 == CLIENT_HTTP2_OFFERED &&
           loop_now_ms(k->client->loop) >= k->way->route->only_h1_until_ms;
}

static void on_tls(const SSL *ssl, int where, int ret)
{
    if (!(where & SSL_CB_HANDSHAKE_DONE))
        return;
    struct connection *k = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    const unsigned char *name;
    unsigned n;
    SSL_get0_alpn_selected(ssl, &name, &n);
    k->takes_h2 = n == 2 && memcmp(name, "h2", 2) == 0;
}

/* Behind curl's back: if it knew of HTTP/2 it would speak it itself, even with CONNECT_ONLY. */
static CURLcode on_tls_context(CURL *h, void *context, void *arg)
{
    static const unsigned char names[] = "\2h2\10http/1.1";
    struct connection *k = arg;
    unsigned skipped = offers_h2(k) ? 0 : 3;
    SSL_CTX_set_app_data((SSL_CTX *)context, k);
    SSL_CTX_set_info_callback(context, on_tls);
    return SSL_CTX_set_alpn_protos(context, names + skipped, sizeof names - 1 - skipped) == 0
               ? CURLE_OK
               : CURLE_OUT_OF_MEMORY;
}

static void set_protocol(CURL *h, struct connection *k)
{
    curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(h, CURLOPT_SSL_ENABLE_ALPN, 0L);
    curl_easy_setopt(h, CURLOPT_SSL_CTX_FUNCTION, on_tls_context);
    curl_easy_setopt(h, CURLOPT_SSL_CTX_DATA, k);
}

static CURL *handle_new(struct connection *k, const struct client_egress *egress)
{
    struct client *c = k->client;
    CURL *h = curl_easy_init();
    BUG_ON(!h);
    k->detail = mem_new(CURL_ERROR_SIZE);
    curl_easy_setopt(h, CURLOPT_URL, k->way->route->key.p);
    curl_easy_setopt(h, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(h, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(h, CURLOPT_MAXAGE_CONN, LONG_MAX / 1000);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_QUICK_EXIT, 1L);
    set_protocol(h, k);
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h, CURLOPT_PROXY, ""); /* not from the environment either */
    curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L);
    if (c->ca_file)
        curl_easy_setopt(h, CURLOPT_CAINFO, c->ca_file);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)c->options.connect_timeout_ms);
    curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(h, CURLOPT_BUFFERSIZE, RECORD_BYTES);
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, k->detail);
    curl_easy_setopt(h, CURLOPT_PRIVATE, k);
    curl_easy_setopt(h, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    curl_easy_setopt(h, CURLOPT_OPENSOCKETDATA, k);
    curl_easy_setopt(h, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
    curl_easy_setopt(h, CURLOPT_CLOSESOCKETDATA, c);
    if (egress)
        set_egress(h, egress);
    else /* a session proves who we are: of calls with certificates each shows its own */
        curl_easy_setopt(h, CURLOPT_SHARE, c->shared);
    return h;
}

static void handle_free(struct connection *k)
{
    curl_multi_remove_handle(k->client->multi, k->easy);
    curl_easy_cleanup(k->easy);
    k->easy = NULL;
    free(k->detail);
    k->detail = NULL;
}

/* --- opening and closing --- */

void connection_open(struct client_call *call)
{
    struct client *c = call->client;
    idle_make_room(c, call->way);
    struct connection *k = mem_new(sizeof *k);
    k->client = c;
    k->way = call->way;
    k->way->users++;
    k->call = call;
    k->opening = true;
    k->way->opening++;
    k->easy = handle_new(k, call->limits.egress);
    call->connection = k;
    BUG_ON(curl_multi_add_handle(c->multi, k->easy) != CURLM_OK);
}

void connection_close(struct connection *k)
{
    int fd = k->easy ? -1 : k->watch.fd;
    if (k->opening)
        k->way->opening--;
    if (k->h2)
        h2_free(k);
    list_remove(&k->todo);
    loop_fd_del(&k->watch);
    if (k->easy)
        handle_free(k);
    else
        close(fd);
    way_leave(k->client, k->way);
    free(k);
}

/* --- no connection --- */

static enum client_failure failure_of(const struct connection *k, CURLcode code)
{
    switch (code) {
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_COULDNT_RESOLVE_HOST:
        return CLIENT_UNKNOWN_HOST;
    case CURLE_COULDNT_CONNECT:
        return k->refused ? CLIENT_REFUSED_ADDRESS : CLIENT_CONNECT;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_OPERATION_TIMEDOUT:
        return CLIENT_CONNECT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_INVALIDCERTSTATUS:
        return CLIENT_TLS;
    default:
        return CLIENT_BROKEN;
    }
}

static const char *words_of(const struct connection *k, CURLcode code)
{
    return k->detail[0] ? k->detail : curl_easy_strerror(code);
}

static struct err *connect_err(const struct connection *k, CURLcode code)
{
    struct str key = k->way->route->key;
    if (code == CURLE_COULDNT_RESOLVE_PROXY)
        return err_new(ERR_IO, "Could not resolve the host of the proxy to [%.*s]", STR_ARG(key));
    if (code == CURLE_OPERATION_TIMEDOUT)
        return err_new(ERR_IO, "Connecting to [%.*s] timed out after [%lldms]", STR_ARG(key),
                       (long long)k->client->options.connect_timeout_ms);
    long why = 0;
    char text[128];
    curl_easy_getinfo(k->easy, CURLINFO_OS_ERRNO, &why);
    return err_new(ERR_IO, "Could not connect to [%.*s]: %s", STR_ARG(key),
                   why ? strerror_r((int)why, text, sizeof text) : "no address left to try");
}

static struct err *open_err(const struct connection *k, enum client_failure failure, CURLcode code)
{
    struct str key = k->way->route->key;
    switch (failure) {
    case CLIENT_UNKNOWN_HOST:
        return err_new(ERR_IO, "Could not resolve the host of [%.*s]", STR_ARG(key));
    case CLIENT_REFUSED_ADDRESS:
        return err_new(ERR_IO, "The address of [%.*s] is not a public one", STR_ARG(key));
    case CLIENT_CONNECT:
        return connect_err(k, code);
    case CLIENT_TLS: /* curl's words say what is wrong with the certificate */
        return err_new(ERR_IO, "No secure connection to [%.*s]: %s", STR_ARG(key),
                       words_of(k, code));
    default: /* of a proxy that refuses, too, only they tell */
        return err_new(ERR_IO, "The exchange with [%.*s] broke off: %s", STR_ARG(key),
                       words_of(k, code));
    }
}

/* --- a connection --- */

/* Its socket from a plain connection that curl has opened. */
static void take_over(struct connection *k, int fd)
{
    struct client *c = k->client;
    c->kept = fd;
    handle_free(k);
    BUG_ON(c->kept != -1); /* it would be watched by nobody */
}

static void opened(struct connection *k, CURLcode code)
{
    struct client *c = k->client;
    curl_socket_t fd = CURL_SOCKET_BAD;
    if (code == CURLE_OK)
        code = curl_easy_getinfo(k->easy, CURLINFO_ACTIVESOCKET, &fd);
    if (code == CURLE_OK && fd == CURL_SOCKET_BAD)
        code = CURLE_COULDNT_CONNECT;
    if (code != CURLE_OK) {
        enum client_failure failure = failure_of(k, code);
        k->way->route->speaks_h2 =
            false; /* those who wait for this one shall not fail one by one */
        call_end(k->call, failure, open_err(k, failure, code));
        return;
    }
    if (!k->way->route->tls)
        take_over(k, fd);
    k->opening = false;
    k->opened_ms = loop_now_ms(c->loop);
    loop_fd_add(c->loop, &k->watch, fd, EPOLLIN, exchange_ready);
    struct way *w = k->way;
    w->opening--;
    w->route->speaks_h2 = k->takes_h2 || c->options.http2 == CLIENT_HTTP2_KNOWN;
    if (w->route->speaks_h2) {
        struct client_call *call = k->call;
        k->call = NULL;
        h2_start(k);
        h2_begin(k, call);
    } else {
        exchange_begin(k);
    }
    serve_waiting(c);
}

void curl_run(struct client *c)
{
    if (c->curl_due) {
        c->curl_due = false;
        act(c, CURL_SOCKET_TIMEOUT, 0);
    }
    CURLMsg *msg;
    int left;
    while ((msg = curl_multi_info_read(c->multi, &left))) {
        char *private = NULL;
        CURLcode code = msg->data.result;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &private);
        opened((struct connection *)(void *)private, code);
    }
}

/* --- behind TLS --- */

static enum io io_of(struct connection *k, CURLcode code, const char **why_out)
{
    if (code == CURLE_OK)
        return IO_DONE;
    if (code == CURLE_AGAIN)
        return IO_AGAIN;
    *why_out = words_of(k, code);
    return IO_BROKEN;
}

enum io tls_send(struct connection *k, struct str bytes, size_t *n_out, const char **why_out)
{
    return io_of(k, curl_easy_send(k->easy, bytes.p, bytes.n, n_out), why_out);
}

enum io tls_recv(struct connection *k, char *p, size_t n, size_t *n_out, const char **why_out)
{
    enum io io = io_of(k, curl_easy_recv(k->easy, p, n, n_out), why_out);
    return io == IO_DONE && *n_out == 0 ? IO_CLOSED : io;
}

/* --- the whole --- */

static void global_init(void)
{
    BUG_ON(curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK);
}

void curl_begin(struct client *c)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, global_init);
    c->kept = -1;
    list_init(&c->watches);
    c->multi = curl_multi_init();
    c->shared = curl_share_init();
    BUG_ON(!c->multi || !c->shared);
    curl_share_setopt(c->shared, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
}

void curl_end(struct client *c)
{
    curl_multi_cleanup(c->multi);
    curl_share_cleanup(c->shared);
    while (!list_empty(&c->watches))
        watch_free(LIST_OWNER(c->watches.next, struct watch, link));
    loop_timer_cancel(&c->curl_timer);
}
