/* client: libcurl's multi interface on our own loop.
 *
 * Two multi handles per client, one for calls that may reach private addresses and one for those
 * that may not: a connection that was opened under the first policy can never be reused under the
 * second, for they share no pool.
 *
 * Sockets stay in epoll while their connection idles in curl's pool: curl says POLL_REMOVE after
 * every answer and POLL_IN before the next, which would cost two epoll_ctl per request. Interest is
 * dropped only when an idle socket has something to say (the peer closed) or is closed.
 *
 * Pitfalls of libcurl 7.88 that shape this file: HTTP/2 is off (defects in that version); curl's
 * timer may not be run from within its callback; nothing of curl_multi_* may be called from within
 * its callbacks, so cancelling in there is put off; `Expect:` must be emptied or large bodies wait.
 */
#include "client.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "buf.h"
#include "bug.h"

#define MAX_HEAD_BYTES   (64u << 10)
#define MAX_FREE_HANDLES 64
#define READ_BYTES       (32L << 10)

struct half;

/* A socket of curl's, found by its number. */
struct sock {
    struct loop_fd watch;
    struct half *half;
    bool wanted; /* curl asks for events on it */
};

/* One of the two policies. */
struct half {
    struct client *client;
    CURLM *multi;
    struct loop_timer timer;
    bool allow_private;
};

struct client {
    struct loop *loop;
    struct client_options options;
    char *ca_file;
    struct half halves[2];
    struct sock **socks; /* by descriptor */
    size_t n_socks;
    long open_sockets;
    struct client_call *calls; /* under way */
    long n_calls;
    CURL *free_handles[MAX_FREE_HANDLES];
    size_t n_free;
    int depth; /* > 0: inside a callback of curl's */
    bool reap; /* a call was cancelled in there */
};

struct client_call {
    struct client_call *next, **link;
    struct client *client;
    struct half *half;
    CURL *easy;
    const struct client_events *events;
    void *ctx;
    struct client_limits limits;
    struct arena *arena; /* header list, answer's headers */
    struct http_in in;
    struct buf body; /* when events->body is NULL */
    size_t head_bytes, body_bytes;
    bool head_done, head_told, paused, resuming, cancelled, added;
    bool refused, too_large, head_broken;
    const char *timed_out; /* why, for the text */
    int64_t started_ms, last_ms;
    struct loop_timer timer;
};

static void multi_act(struct half *half, curl_socket_t fd, int mask);

/* --- sockets and curl's timer --- */

static void sock_ready(struct loop_fd *watch, uint32_t events)
{
    struct sock *s = (struct sock *)((char *)watch - offsetof(struct sock, watch));
    if (!s->wanted) { /* idle in curl's pool; curl will notice when it wants to use it again */
        loop_fd_del(&s->watch);
        return;
    }
    int mask =
        (events & EPOLLIN ? CURL_CSELECT_IN : 0) | (events & EPOLLOUT ? CURL_CSELECT_OUT : 0);
    if (events & (EPOLLERR | EPOLLHUP))
        mask |= CURL_CSELECT_ERR;
    multi_act(s->half, watch->fd, mask);
}

static struct sock *sock_get(struct client *c, curl_socket_t fd)
{
    size_t i = (size_t)fd;
    if (i >= c->n_socks) {
        size_t n = i + 64;
        c->socks = mem_grow(c->socks, n * sizeof *c->socks);
        memset(c->socks + c->n_socks, 0, (n - c->n_socks) * sizeof *c->socks);
        c->n_socks = n;
    }
    if (!c->socks[i])
        c->socks[i] = mem_new(sizeof **c->socks);
    return c->socks[i];
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
    struct half *half = arg;
    struct sock *s = sock_get(half->client, fd);
    s->half = half;
    s->wanted = what != CURL_POLL_REMOVE;
    if (!s->wanted)
        return 0;
    uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (s->watch.loop)
        loop_fd_set(&s->watch, events);
    else
        loop_fd_add(half->client->loop, &s->watch, fd, events, sock_ready);
    return 0;
}

static int on_close_socket(void *arg, curl_socket_t fd)
{
    struct client *c = arg;
    struct sock *s = sock_get(c, fd);
    if (s->watch.loop)
        loop_fd_del(&s->watch);
    s->wanted = false;
    c->open_sockets--;
    return close(fd);
}

static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct client_call *call = arg;
    if (!call->limits.allow_private && address_is_private(&a->addr)) {
        call->refused = true;
        return CURL_SOCKET_BAD;
    }
    int fd = socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
    if (fd >= 0)
        call->client->open_sockets++;
    return fd;
}

static void multi_timer_due(struct loop_timer *timer)
{
    struct half *half = (struct half *)((char *)timer - offsetof(struct half, timer));
    multi_act(half, CURL_SOCKET_TIMEOUT, 0);
}

static int on_timer(CURLM *multi, long ms, void *arg)
{
    struct half *half = arg;
    if (ms < 0)
        loop_timer_cancel(&half->timer);
    else
        loop_timer_set(half->client->loop, &half->timer, loop_now_ms(half->client->loop) + ms,
                       multi_timer_due);
    return 0;
}

/* --- the end of a call --- */

static void call_unlink(struct client_call *call)
{
    *call->link = call->next;
    if (call->next)
        call->next->link = call->link;
    call->client->n_calls--;
}

static void call_free(struct client_call *call)
{
    struct client *c = call->client;
    loop_timer_cancel(&call->timer);
    call_unlink(call);
    if (call->added)
        curl_multi_remove_handle(call->half->multi, call->easy);
    if (c->n_free < MAX_FREE_HANDLES)
        c->free_handles[c->n_free++] = call->easy;
    else
        curl_easy_cleanup(call->easy);
    buf_deinit(&call->body);
    arena_free(call->arena);
    free(call);
}

static enum client_failure failure_of(const struct client_call *call, CURLcode code)
{
    if (call->timed_out)
        return CLIENT_TIMEOUT;
    if (call->too_large)
        return CLIENT_TOO_LARGE;
    switch (code) {
    case CURLE_OK:
        return CLIENT_OK;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_COULDNT_RESOLVE_HOST:
        return CLIENT_UNKNOWN_HOST;
    case CURLE_COULDNT_CONNECT:
        return call->refused ? CLIENT_REFUSED_ADDRESS : CLIENT_CONNECT;
    case CURLE_OPERATION_TIMEDOUT:
        return CLIENT_TIMEOUT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
        return CLIENT_TLS;
    default:
        return CLIENT_BROKEN;
    }
}

/* curl's own words hold no URL and no header. */
static struct err *failure_err(const struct client_call *call, enum client_failure f, CURLcode code)
{
    switch (f) {
    case CLIENT_OK:
        return NULL;
    case CLIENT_TOO_LARGE:
        return err_new(ERR_TOO_LARGE, "the answer is larger than [%zu] bytes",
                       call->limits.max_response_bytes);
    case CLIENT_REFUSED_ADDRESS:
        return err_new(ERR_IO, "the host resolves to an address that is not allowed");
    case CLIENT_TIMEOUT:
        return err_new(ERR_IO, "%s", call->timed_out ? call->timed_out : "connect timed out");
    default:
        if (call->head_broken)
            return err_new(ERR_IO, "the answer's headers are too large");
        return err_new(ERR_IO, "%s", curl_easy_strerror(code));
    }
}

static void call_finish(struct client_call *call, CURLcode code)
{
    enum client_failure f = failure_of(call, code);
    if (f == CLIENT_OK && !call->head_done)
        f = CLIENT_BROKEN;
    struct err *e = failure_err(call, f, code);
    const struct client_events *events = call->events;
    void *ctx = call->ctx;
    if (call->added)
        curl_multi_remove_handle(call->half->multi, call->easy);
    call->added = false;
    if (!call->cancelled) {
        call->cancelled = true; /* from here on client_cancel finds nothing to do */
        call->in.body = buf_str(&call->body);
        events->done(ctx, f, e, f == CLIENT_OK ? &call->in : NULL);
    } else {
        err_free(e);
    }
    call_free(call);
}

/* Calls cancelled from within a callback of curl's go now. */
static void reap(struct client *c)
{
    if (!c->reap || c->depth)
        return;
    c->reap = false;
    for (struct client_call *call = c->calls, *next; call; call = next) {
        next = call->next;
        if (call->cancelled)
            call_free(call);
    }
}

static void finish_completed(struct half *half)
{
    CURLMsg *msg;
    int left;
    while ((msg = curl_multi_info_read(half->multi, &left))) {
        struct client_call *call;
        CURLcode code = msg->data.result;
        if (msg->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&call);
        call_finish(call, code);
    }
}

static void multi_act(struct half *half, curl_socket_t fd, int mask)
{
    struct client *c = half->client;
    int running;
    c->depth++;
    curl_multi_socket_action(half->multi, fd, mask, &running);
    c->depth--;
    reap(c);
    finish_completed(half);
}

/* --- what curl hands us --- */

static void status_line(struct client_call *call, struct str line)
{
    int64_t status = 0;
    size_t space = str_find_char(line, ' ');
    if (space != SIZE_MAX)
        str_to_i64(str_sub(line, space + 1, 3), &status);
    call->in.status = (int)status;
    call->in.headers.n = 0;
}

static void header_line(struct client_call *call, struct str line)
{
    size_t colon = str_find_char(line, ':');
    if (colon == SIZE_MAX || call->in.headers.n == HTTP_MAX_HEADERS)
        return;
    http_header_add(&call->in.headers, arena_dup(call->arena, str_sub(line, 0, colon)),
                    arena_dup(call->arena, str_trim(str_sub(line, colon + 1, line.n))));
}

/* Room for the whole body at once, when its length is known and allowed. */
static void expect_body(struct client_call *call)
{
    struct str length;
    uint64_t n;
    if (call->events->body || !http_header_get(&call->in.headers, STR("content-length"), &length) ||
        !str_to_u64(length, &n) || n > call->limits.max_response_bytes)
        return;
    buf_reserve(&call->body, (size_t)n);
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct client_call *call = arg;
    if (call->cancelled)
        return 0;
    call->last_ms = loop_now_ms(call->client->loop);
    call->head_bytes += n;
    if (call->head_bytes > MAX_HEAD_BYTES) {
        call->head_broken = true;
        return 0;
    }
    if (call->head_done) /* trailers */
        return n;
    struct str line = str_trim(str_n(p, n));
    if (str_starts(line, STR("HTTP/")) && str_find_char(line, ':') == SIZE_MAX)
        status_line(call, line);
    else if (line.n)
        header_line(call, line);
    else if (call->in.status >= 200)
        call->head_done = true;
    if (call->head_done && !call->head_told) {
        call->head_told = true;
        expect_body(call);
        if (call->events->head)
            call->events->head(call->ctx, call->in.status, &call->in.headers);
    }
    return n;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct client_call *call = arg;
    if (call->cancelled)
        return n + 1; /* any other number ends the transfer */
    call->last_ms = loop_now_ms(call->client->loop);
    call->body_bytes += n;
    if (call->body_bytes > call->limits.max_response_bytes) {
        call->too_large = true;
        return n + 1;
    }
    if (!call->events->body) {
        buf_put(&call->body, str_n(p, n));
        return n;
    }
    if (!call->events->body(call->ctx, str_n(p, n)) && !call->cancelled) {
        call->paused = true;
        curl_easy_pause(call->easy, CURLPAUSE_RECV);
    }
    return n;
}

/* --- time --- */

/* The next moment at which a limit could be passed; 0: no limit. */
static int64_t next_check(const struct client_call *call)
{
    int64_t at = 0;
    if (call->limits.total_timeout_ms)
        at = call->started_ms + call->limits.total_timeout_ms;
    if (call->limits.stall_timeout_ms && !call->paused) {
        int64_t stall = call->last_ms + call->limits.stall_timeout_ms;
        at = at && at < stall ? at : stall;
    }
    return at;
}

static void call_due(struct loop_timer *timer)
{
    struct client_call *call =
        (struct client_call *)((char *)timer - offsetof(struct client_call, timer));
    int64_t now = loop_now_ms(call->client->loop);
    if (call->resuming) {
        struct half *half = call->half;
        call->resuming = false;
        call->paused = false;
        call->last_ms = now;
        int64_t at = next_check(call);
        if (at)
            loop_timer_set(call->client->loop, &call->timer, at, call_due);
        call->client->depth++;
        curl_easy_pause(call->easy, CURLPAUSE_CONT);
        call->client->depth--;
        reap(half->client);
        finish_completed(half);
        return;
    }
    int64_t at = next_check(call);
    if (at > now) {
        loop_timer_set(call->client->loop, &call->timer, at, call_due);
        return;
    }
    if (at == 0) /* paused: its receiver is the one who is slow */
        return;
    bool total =
        call->limits.total_timeout_ms && now >= call->started_ms + call->limits.total_timeout_ms;
    call->timed_out = total ? "the request timed out" : "the answer stalled";
    call_finish(call, CURLE_OPERATION_TIMEDOUT);
}

void client_resume(struct client_call *call)
{
    if (!call->paused || call->cancelled)
        return;
    call->resuming = true; /* its bytes may come at once: not into the caller's hands */
    loop_timer_set(call->client->loop, &call->timer, 0, call_due);
}

void client_cancel(struct client_call *call)
{
    struct client *c = call->client;
    if (call->cancelled)
        return;
    call->cancelled = true;
    loop_timer_cancel(&call->timer);
    if (c->depth)
        c->reap = true;
    else
        call_free(call);
}

/* --- sending --- */

static CURL *handle_new(struct client *c)
{
    CURL *h = curl_easy_init();
    BUG_ON(!h);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h, CURLOPT_PROXY, "");
    curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L);
    if (c->ca_file)
        curl_easy_setopt(h, CURLOPT_CAINFO, c->ca_file);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)c->options.connect_timeout_ms);
    curl_easy_setopt(h, CURLOPT_MAXAGE_CONN, (long)(c->options.max_idle_ms / 1000));
    curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(h, CURLOPT_BUFFERSIZE, READ_BYTES);
    curl_easy_setopt(h, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(h, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    curl_easy_setopt(h, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
    curl_easy_setopt(h, CURLOPT_CLOSESOCKETDATA, c);
    return h;
}

static bool header_is_clean(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\r' || s.p[i] == '\n' || s.p[i] == '\0')
            return false;
    }
    return true;
}

/* curl only reads the list, so its nodes can live in the arena: no malloc per header. NULL: a
 * header would break the framing. */
static struct curl_slist *header_list(struct client_call *call, const struct http_headers *headers)
{
    static char no_expect[] = "Expect:";
    struct curl_slist *nodes = arena_array(call->arena, headers->n + 1, sizeof *nodes);
    for (size_t i = 0; i < headers->n; i++) {
        struct str name = headers->h[i].name, value = headers->h[i].value;
        if (!header_is_clean(name) || !header_is_clean(value))
            return NULL;
        struct str line =
            value.n ? arena_printf(call->arena, "%.*s: %.*s", STR_ARG(name), STR_ARG(value))
                    : arena_printf(call->arena, "%.*s;", STR_ARG(name));
        nodes[i].data = arena_cstr(call->arena, line);
        nodes[i].next = &nodes[i + 1];
    }
    nodes[headers->n].data = no_expect;
    return nodes;
}

static bool call_set_up(struct client_call *call, const struct http_out *out)
{
    CURL *h = call->easy;
    struct curl_slist *headers = header_list(call, &out->headers);
    if (!headers || !header_is_clean(out->url))
        return false;
    curl_easy_setopt(h, CURLOPT_URL, arena_cstr(call->arena, out->url));
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(h, CURLOPT_PRIVATE, call);
    curl_easy_setopt(h, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(h, CURLOPT_OPENSOCKETDATA, call);
    if (out->method == HTTP_GET) {
        curl_easy_setopt(h, CURLOPT_HTTPGET, 1L);
        curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, NULL);
    } else {
        curl_easy_setopt(h, CURLOPT_POST, 1L);
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, out->body.n ? out->body.p : "");
        curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)out->body.n);
        curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST,
                         out->method == HTTP_POST ? NULL : http_method_name(out->method));
    }
    return true;
}

static void call_never_sent(struct loop_timer *timer)
{
    struct client_call *call =
        (struct client_call *)((char *)timer - offsetof(struct client_call, timer));
    call_finish(call, CURLE_URL_MALFORMAT);
}

struct client_call *client_send(struct client *c, const struct http_out *out,
                                const struct client_limits *limits,
                                const struct client_events *events, void *ctx)
{
    struct client_call *call = mem_new(sizeof *call);
    call->client = c;
    call->half = &c->halves[limits->allow_private ? 1 : 0];
    call->events = events;
    call->ctx = ctx;
    call->limits = *limits;
    call->arena = arena_new(ARENA_NO_LIMIT);
    call->in.arena = call->arena;
    call->started_ms = call->last_ms = loop_now_ms(c->loop);
    buf_init(&call->body, limits->max_response_bytes);
    call->link = &c->calls;
    call->next = c->calls;
    if (call->next)
        call->next->link = &call->next;
    c->calls = call;
    c->n_calls++;
    call->easy = c->n_free ? c->free_handles[--c->n_free] : handle_new(c);
    if (!call_set_up(call, out) ||
        curl_multi_add_handle(call->half->multi, call->easy) != CURLM_OK) {
        loop_timer_set(c->loop, &call->timer, 0, call_never_sent);
        return call;
    }
    call->added = true;
    int64_t at = next_check(call);
    if (at)
        loop_timer_set(c->loop, &call->timer, at, call_due);
    return call;
}

/* --- the whole --- */

static void global_init(void)
{
    BUG_ON(curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK);
}

static void half_init(struct client *c, struct half *half, bool allow_private)
{
    half->client = c;
    half->allow_private = allow_private;
    half->multi = curl_multi_init();
    BUG_ON(!half->multi);
    curl_multi_setopt(half->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(half->multi, CURLMOPT_SOCKETDATA, half);
    curl_multi_setopt(half->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(half->multi, CURLMOPT_TIMERDATA, half);
    curl_multi_setopt(half->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    curl_multi_setopt(half->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS,
                      c->options.max_total_connections);
    curl_multi_setopt(half->multi, CURLMOPT_MAX_HOST_CONNECTIONS, c->options.max_route_connections);
    curl_multi_setopt(half->multi, CURLMOPT_MAXCONNECTS, c->options.max_total_connections);
}

struct client *client_new(struct loop *loop, const struct client_options *options)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, global_init);
    struct client *c = mem_new(sizeof *c);
    c->loop = loop;
    c->options = *options;
    c->ca_file = options->ca_file ? mem_strdup(options->ca_file) : NULL;
    half_init(c, &c->halves[0], false);
    half_init(c, &c->halves[1], true);
    return c;
}

void client_free(struct client *c)
{
    if (!c)
        return;
    while (c->calls)
        call_free(c->calls);
    for (int i = 0; i < 2; i++)
        curl_multi_cleanup(c->halves[i].multi);
    for (size_t i = 0; i < c->n_free; i++)
        curl_easy_cleanup(c->free_handles[i]);
    for (int i = 0; i < 2; i++)
        loop_timer_cancel(&c->halves[i].timer);
    for (size_t i = 0; i < c->n_socks; i++) {
        if (c->socks[i] && c->socks[i]->watch.loop)
            loop_fd_del(&c->socks[i]->watch);
        free(c->socks[i]);
    }
    free(c->socks);
    free(c->ca_file);
    free(c);
}

void client_stats(const struct client *c, struct client_stats *out)
{
    long busy = c->n_calls < c->open_sockets ? c->n_calls : c->open_sockets;
    *out = (struct client_stats){.leased = busy,
                                 .pending = c->n_calls - busy,
                                 .available = c->open_sockets - busy,
                                 .max = c->options.max_total_connections};
}
