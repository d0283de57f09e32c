/* upstream: the fast provider of ./bench gateway.
 *
 *     upstream embedding.json chat.json events.txt
 *
 * Listens on a free port of 127.0.0.1, prints it, and answers until its standard input ends. One
 * thread, one epoll, every answer ready made:
 *   POST .../embeddings                    the bytes of embedding.json
 *   POST .../completions                   the bytes of chat.json
 *   ... with "stream":true in the body     events.txt, one HTTP chunk per event, all at once
 *   ... and a model "paced-N"              the same, one write per event, N ms apart
 * Bodies must have a Content-Length. Anything unexpected closes the connection, which the load
 * generator counts as an error. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MAX_REQUEST     (256u << 10)
#define MAX_CONNECTIONS 8192
#define MAX_EVENTS      256
#define BATCH           256

struct bytes {
    char *p;
    size_t n;
};

struct conn {
    int fd;
    char *in; /* NULL: nothing half read */
    size_t n_in;
    struct bytes out; /* what the socket did not take, borrowed */
    size_t sent;
    size_t next_event; /* of a paced stream */
    int64_t due_ms, pace_ms;
    size_t slot; /* in paced[]; SIZE_MAX: not there */
};

static struct bytes embedding, chat, stream_whole; /* head and body */
static struct bytes stream_head, stream_events[MAX_EVENTS];
static size_t n_events;
static struct conn *paced[MAX_CONNECTIONS];
static size_t n_paced;
static int epoll_fd;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void *need(void *p)
{
    if (!p)
        die("malloc");
    return p;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- the answers --- */

static struct bytes read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        die(path);
    struct bytes b = {need(malloc(1u << 20)), 0};
    b.n = fread(b.p, 1, 1u << 20, f);
    fclose(f);
    return b;
}

static struct bytes concat(struct bytes a, struct bytes b)
{
    struct bytes out = {need(malloc(a.n + b.n)), a.n + b.n};
    memcpy(out.p, a.p, a.n);
    memcpy(out.p + a.n, b.p, b.n);
    return out;
}

static struct bytes text(const char *s)
{
    return (struct bytes){strdup(s), strlen(s)};
}

static struct bytes whole_answer(struct bytes body)
{
    char head[256];
    snprintf(head, sizeof head,
             "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
             "x-request-id: req_0123456789abcdef\r\nContent-Length: %zu\r\n\r\n",
             body.n);
    return concat(text(head), body);
}

static struct bytes as_chunk(struct bytes event)
{
    char size[32];
    snprintf(size, sizeof size, "%zx\r\n", event.n);
    return concat(concat(text(size), event), text("\r\n"));
}

/* Cuts the file at blank lines; the last event carries the end of the body with it. */
static void cut_events(struct bytes file)
{
    char *p = file.p, *end = file.p + file.n;
    while (p < end && n_events < MAX_EVENTS) {
        char *blank = memmem(p, (size_t)(end - p), "\n\n", 2);
        if (!blank)
            break;
        size_t n = (size_t)(blank + 2 - p);
        stream_events[n_events++] = as_chunk((struct bytes){p, n});
        p += n;
    }
    if (n_events == 0)
        die("no events");
    stream_events[n_events - 1] = concat(stream_events[n_events - 1], text("0\r\n\r\n"));
    stream_head = text("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                       "Transfer-Encoding: chunked\r\n\r\n");
    stream_whole = stream_head;
    for (size_t i = 0; i < n_events; i++)
        stream_whole = concat(stream_whole, stream_events[i]);
}

/* --- connections --- */

static void paced_remove(struct conn *c)
{
    if (c->slot == SIZE_MAX)
        return;
    paced[c->slot] = paced[--n_paced];
    paced[c->slot]->slot = c->slot;
    c->slot = SIZE_MAX;
}

static void conn_close(struct conn *c)
{
    paced_remove(c);
    close(c->fd);
    free(c->in);
    free(c);
}

static void conn_watch(struct conn *c, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &ev) != 0)
        die("epoll_ctl");
}

/* False: the connection is gone. */
static bool conn_flush(struct conn *c)
{
    while (c->sent < c->out.n) {
        ssize_t n = send(c->fd, c->out.p + c->sent, c->out.n - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            conn_watch(c, EPOLLIN | EPOLLOUT);
            return true;
        }
        if (n < 0) {
            conn_close(c);
            return false;
        }
        c->sent += (size_t)n;
    }
    return true;
}

static bool conn_send(struct conn *c, struct bytes b)
{
    c->out = b;
    c->sent = 0;
    return conn_flush(c);
}

static bool stream_begin(struct conn *c, int64_t pace_ms)
{
    if (n_paced == MAX_CONNECTIONS) {
        conn_close(c);
        return false;
    }
    c->pace_ms = pace_ms;
    c->next_event = 0;
    c->due_ms = now_ms() + pace_ms;
    c->slot = n_paced;
    paced[n_paced++] = c;
    return conn_send(c, stream_head);
}

static void stream_tick(void)
{
    int64_t now = now_ms();
    for (size_t i = 0; i < n_paced;) {
        struct conn *c = paced[i];
        if (c->due_ms > now) {
            i++;
            continue;
        }
        struct bytes b = stream_events[c->next_event++];
        c->due_ms += c->pace_ms;
        if (c->next_event == n_events)
            paced_remove(c); /* another takes its place at i */
        else
            i++;
        conn_send(c, b);
    }
}

/* --- requests --- */

/* The value of a header in the n bytes of head, or NULL. */
static const char *header(const char *head, size_t n, const char *name)
{
    size_t len = strlen(name);
    const char *p = head;
    while ((p = memchr(p, '\n', (size_t)(head + n - p)))) {
        p++;
        if ((size_t)(head + n - p) > len && strncasecmp(p, name, len) == 0 && p[len] == ':')
            return p + len + 1;
    }
    return NULL;
}

static bool has(const char *p, size_t n, const char *what)
{
    return memmem(p, n, what, strlen(what)) != NULL;
}

static bool answer(struct conn *c, const char *line, size_t n_line, const char *body, size_t n)
{
    if (has(line, n_line, "/embeddings"))
        return conn_send(c, embedding);
    if (!has(body, n, "\"stream\":true") && !has(body, n, "\"stream\": true"))
        return conn_send(c, chat);
    const char *pace = memmem(body, n, "paced-", 6);
    return pace ? stream_begin(c, atol(pace + 6)) : conn_send(c, stream_whole);
}

/* Answers what is complete in the buffer; false: the connection is gone. */
static bool take_request(struct conn *c)
{
    char *end = memmem(c->in, c->n_in, "\r\n\r\n", 4);
    if (!end)
        return true;
    size_t n_head = (size_t)(end + 4 - c->in);
    const char *length = header(c->in, n_head, "content-length");
    size_t n_body = length ? strtoul(length, NULL, 10) : 0;
    if (c->n_in < n_head + n_body)
        return true;
    if (c->n_in > n_head + n_body) { /* nobody here pipelines */
        conn_close(c);
        return false;
    }
    char *line_end = memchr(c->in, '\n', n_head);
    bool alive = answer(c, c->in, (size_t)(line_end - c->in), c->in + n_head, n_body);
    if (alive)
        c->n_in = 0;
    return alive;
}

static void conn_read(struct conn *c)
{
    if (!c->in)
        c->in = need(malloc(MAX_REQUEST + 1));
    ssize_t n = recv(c->fd, c->in + c->n_in, MAX_REQUEST - c->n_in, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        conn_close(c);
        return;
    }
    c->n_in += (size_t)n;
    c->in[c->n_in] = '\0';
    if (take_request(c) && c->n_in == MAX_REQUEST)
        conn_close(c);
}

static void conn_event(struct conn *c, uint32_t events)
{
    if (events & EPOLLOUT) {
        conn_watch(c, EPOLLIN);
        if (!conn_flush(c))
            return;
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        conn_read(c);
}

static void conn_accept(int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *c = need(calloc(1, sizeof *c));
        int one = 1;
        c->fd = fd;
        c->slot = SIZE_MAX;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0)
            die("epoll_ctl");
    }
}

/* --- the whole --- */

static int listen_loopback(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        die("listen");
    printf("%d\n", ntohs(a.sin_port));
    fflush(stdout);
    return fd;
}

static int tick_every_ms(void)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct itimerspec t = {{0, 1000000}, {0, 1000000}};
    if (fd < 0 || timerfd_settime(fd, 0, &t, NULL) != 0)
        die("timerfd");
    return fd;
}

static void watch_plain(int fd, void *tag)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = tag};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0)
        die("epoll_ctl");
}

int main(int argc, char **argv)
{
    static char tag_listener, tag_tick, tag_stdin;
    if (argc != 4) {
        fprintf(stderr, "usage: upstream embedding.json chat.json events.txt\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    embedding = whole_answer(read_file(argv[1]));
    chat = whole_answer(read_file(argv[2]));
    cut_events(read_file(argv[3]));
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_loopback(), tick = tick_every_ms();
    watch_plain(listener, &tag_listener);
    watch_plain(tick, &tag_tick);
    watch_plain(STDIN_FILENO, &tag_stdin);
    for (;;) {
        struct epoll_event ev[BATCH];
        int n = epoll_wait(epoll_fd, ev, BATCH, -1);
        bool ticked = false;
        for (int i = 0; i < n; i++) {
            void *tag = ev[i].data.ptr;
            if (tag == &tag_stdin)
                return 0;
            if (tag == &tag_listener)
                conn_accept(listener);
            else if (tag == &tag_tick)
                ticked = true;
            else
                conn_event(tag, ev[i].events);
        }
        if (ticked) { /* after the others: it may close connections that had events */
            uint64_t count;
            if (read(tick, &count, sizeof count) == sizeof count)
                stream_tick();
        }
    }
}
