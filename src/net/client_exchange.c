/* client's exchanges: a request out and an answer in, on a connection that is open.
 *
 * A connection stays in epoll for its whole life, idle or not, and is asked for bytes only: so a
 * request costs no epoll_ctl. Room to write is waited for only by a request that did not fit at
 * once. A peer that idles has nothing to say; if it does, or closes, its connection goes.
 *
 * Behind TLS epoll does not see what was decrypted already, so a connection is read until there is
 * no more, and one that was left off has to be read again without an event. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "bug.h"
#include "client_private.h"

#define MAX_READS 4 /* of one connection at a time */

/* --- bytes --- */

/* What of head and body has not been sent. */
static size_t unsent(const struct client_call *call, struct str part[2])
{
    size_t head_n = call->request.n, sent = call->sent;
    size_t of_head = sent < head_n ? sent : head_n, of_body = sent - of_head;
    part[0] = str_n(call->request.p + of_head, head_n - of_head);
    part[1] =
        str_n(call->body_out.p ? call->body_out.p + of_body : NULL, call->body_out.n - of_body);
    return part[0].n + part[1].n;
}

static enum io plain_send(struct connection *k, const struct str part[2], size_t *n_out)
{
    struct iovec v[2];
    size_t n = 0;
    for (size_t i = 0; i < 2; i++) {
        if (part[i].n)
            v[n++] = (struct iovec){(void *)(uintptr_t)part[i].p, part[i].n};
    }
    struct msghdr message = {.msg_iov = v, .msg_iovlen = n};
    ssize_t put;
    do
        put = sendmsg(k->watch.fd, &message, MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    if (put < 0)
        return errno == EAGAIN ? IO_AGAIN : IO_BROKEN;
    *n_out = (size_t)put;
    return IO_DONE;
}

static enum io plain_recv(struct connection *k, char *p, size_t n, size_t *n_out,
                          const char **why_out)
{
    ssize_t got;
    do
        got = recv(k->watch.fd, p, n, 0);
    while (got < 0 && errno == EINTR);
    if (got > 0) {
        *n_out = (size_t)got;
        return (size_t)got < n ? IO_AGAIN : IO_DONE; /* less: epoll tells of what comes after */
    }
    if (got == 0)
        return IO_CLOSED;
    if (errno == EAGAIN)
        return IO_AGAIN;
    *why_out = errno == ECONNRESET ? "Connection reset by peer" : "The connection was lost";
    return IO_BROKEN;
}

enum io exchange_send(struct connection *k, const struct str part[2], size_t *n_out,
                      const char **why_out)
{
    *why_out = "The connection was lost";
    return k->easy ? tls_send(k, part[0].n ? part[0] : part[1], n_out, why_out)
                   : plain_send(k, part, n_out);
}

enum io exchange_recv(struct connection *k, char *p, size_t room, size_t *n_out,
                      const char **why_out)
{
    *n_out = 0;
    if (!k->easy)
        return plain_recv(k, p, room, n_out, why_out);
    enum io io = IO_DONE;
    while (io == IO_DONE && *n_out < room) {
        size_t n = 0;
        io = tls_recv(k, p + *n_out, room - *n_out, &n, why_out);
        *n_out += n;
    }
    return io;
}

/* --- out --- */

void connection_work_soon(struct connection *k)
{
    if (!list_linked(&k->todo))
        list_push(&k->client->todo, &k->todo);
    client_work_soon(k->client);
}

static void send_on(struct connection *k)
{
    struct client_call *call = k->call;
    struct str part[2];
    while (unsent(call, part)) {
        size_t n = 0;
        const char *why;
        enum io io = exchange_send(k, part, &n, &why);
        call->sent += n;
        if (io == IO_AGAIN) {
            loop_fd_set(&k->watch, EPOLLIN | EPOLLOUT);
            return;
        }
        if (io != IO_DONE) { /* it may have answered before it closed */
            k->broken = true;
            connection_work_soon(k);
            break;
        }
    }
    loop_fd_set(&k->watch, EPOLLIN);
}

void exchange_begin(struct connection *k)
{
    k->call->sent = 0;
    send_on(k);
}

/* --- in --- */

/* The rest of a body whose length is known is read into its place. */
static struct http_span where_to_read(struct client_call *call)
{
    struct buf *body = &call->body;
    if (body->n && call->answer.framing == ANSWER_LENGTH && body->cap > body->n) {
        size_t room = body->cap - body->n;
        if (room > call->answer.left)
            room = (size_t)call->answer.left;
        if (room)
            return (struct http_span){body->p + body->n, room};
    }
    return (struct http_span){call->client->scratch,
                              call->events->body ? STREAM_BYTES : SCRATCH_BYTES};
}

/* The beginning of a head was kept: the new bytes go behind it. */
static struct http_span behind_the_head(struct client_call *call, struct http_span in)
{
    if (call->head_done || call->head.n == 0)
        return in;
    buf_put(&call->head, str_n(in.p, in.n));
    return (struct http_span){call->head.p, call->head.n};
}

/* Behind TLS something may have been decrypted that belongs to nothing. */
static bool is_quiet(struct connection *k)
{
    char c;
    size_t n = 0;
    const char *why;
    return !k->easy || tls_recv(k, &c, 1, &n, &why) == IO_AGAIN;
}

static void answer_complete(struct connection *k, size_t rest, enum io io)
{
    struct client_call *call = k->call;
    struct str part[2];
    bool again = call->answer.keep_alive && rest == 0 && !k->broken && unsent(call, part) == 0 &&
                 (io == IO_AGAIN || (io == IO_DONE && is_quiet(k)));
    call->connection = NULL;
    if (again)
        idle_put(k);
    else
        connection_close(k);
    call_answered(call);
}

/* One read. True: there may be more, and its call is still there and wants it. */
static bool read_once(struct connection *k)
{
    struct client_call *call = k->call;
    struct http_span in = where_to_read(call);
    const char *why = NULL;
    enum io io = exchange_recv(k, in.p, in.n, &in.n, &why);
    if (in.n) {
        size_t rest;
        call->last_ms = loop_now_ms(k->client->loop);
        switch (answer_feed(call, behind_the_head(call, in), &rest)) {
        case FED_OVER:
            return false;
        case FED_END:
            answer_complete(k, rest, io);
            return false;
        case FED_MORE:
            break;
        }
        if (call->paused) /* that it was closed shows again when it is resumed */
            return false;
    }
    if (io == IO_CLOSED || io == IO_BROKEN || (io == IO_AGAIN && k->broken)) {
        answer_cut(call, io == IO_CLOSED ? NULL : why ? why : "The connection was lost");
        return false;
    }
    return io == IO_DONE;
}

void exchange_read(struct connection *k)
{
    if (k->h2) {
        h2_work(k);
        return;
    }
    if (!k->call || k->call->paused)
        return;
    if (!k->watch.loop) { /* was left off while its call paused */
        struct str part[2];
        loop_fd_add(k->client->loop, &k->watch, k->watch.fd,
                    EPOLLIN | (unsent(k->call, part) && !k->broken ? EPOLLOUT : 0u),
                    exchange_ready);
    }
    for (int i = 0; i < MAX_READS; i++) {
        if (!read_once(k))
            return;
    }
    if (k->easy)
        connection_work_soon(k);
}

/* --- events --- */

static void idle_ready(struct connection *k)
{
    if (!k->easy || !is_quiet(k)) {
        idle_leave(k);
        connection_close(k);
    }
}

void exchange_ready(struct loop_fd *fd, uint32_t events)
{
    struct connection *k = LIST_OWNER(fd, struct connection, watch);
    if (k->h2) {
        h2_ready(k, events);
        return;
    }
    if (!k->call) {
        idle_ready(k);
        return;
    }
    if (k->call->paused) { /* its peer waits, by TCP's own means */
        loop_fd_del(fd);
        return;
    }
    if (events & EPOLLOUT)
        send_on(k);
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
        exchange_read(k);
}
