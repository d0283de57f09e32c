#include "scripted_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "buf.h"
#include "bug.h"

#define MAX_STEPS     8
#define MAX_REQUEST   ((size_t)1 << 20)
#define SOCKET_BUFFER 16384

struct request {
    struct buf bytes;
    size_t head; /* length of the head, with its blank line */
};

struct scripted_server {
    const struct step *steps;
    size_t n_steps;
    int listener, port;
    pthread_t thread;
    bool joined;
    struct loop *loop;
    struct loop_msg msg;
    struct request requests[MAX_STEPS];
    size_t n_requests;
    int open[MAX_STEPS]; /* connections that hang */
    size_t n_open;
};

/* What the head promises of the body. */
static size_t content_length(struct str head)
{
    size_t at = str_find(head, STR("Content-Length: "));
    if (at == SIZE_MAX)
        return 0;
    return strtoul(head.p + at + 16, NULL, 10);
}

static bool read_request(int fd, struct request *r)
{
    buf_init(&r->bytes, MAX_REQUEST);
    for (;;) {
        char *to = buf_reserve(&r->bytes, 4096);
        ssize_t n = to ? recv(fd, to, 4096, 0) : 0;
        if (n <= 0)
            return false;
        r->bytes.n += (size_t)n;
        size_t end = str_find(buf_str(&r->bytes), STR("\r\n\r\n"));
        if (end == SIZE_MAX)
            continue;
        r->head = end + 4;
        if (r->bytes.n >= r->head + content_length(str_sub(buf_str(&r->bytes), 0, r->head)))
            return true;
    }
}

static void send_all(int fd, const char *text)
{
    struct str rest = str_c(text);
    while (rest.n) {
        ssize_t n = send(fd, rest.p, rest.n, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        rest = str_sub(rest, (size_t)n, rest.n);
    }
}

static void play(struct scripted_server *s, const struct step *step, int fd)
{
    if (s->n_requests == 1 && s->msg.run)
        loop_post(s->loop, &s->msg);
    send_all(fd, step->answer);
    for (int i = 0; i < step->times; i++)
        send_all(fd, step->again);
    send_all(fd, step->end);
    if (step->hang) {
        s->open[s->n_open++] = fd;
        return;
    }
    if (step->reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(fd);
}

static void *run(void *arg)
{
    struct scripted_server *s = arg;
    for (size_t i = 0; i < s->n_steps; i++) {
        int fd = accept(s->listener, NULL, NULL);
        if (fd < 0)
            break;
        bool whole = read_request(fd, &s->requests[s->n_requests]);
        s->n_requests++;
        if (whole)
            play(s, &s->steps[i], fd);
        else
            close(fd);
    }
    shutdown(s->listener, SHUT_RDWR);
    return NULL;
}

struct scripted_server *scripted_server_new(const struct step *steps, size_t n, struct loop *loop,
                                            void (*on_request)(struct loop_msg *))
{
    struct scripted_server *s = mem_new(sizeof *s);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    BUG_ON(n > MAX_STEPS);
    *s = (struct scripted_server){
        .steps = steps, .n_steps = n, .loop = loop, .msg = {.run = on_request}};
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* Small buffers, so that a client that does not read is soon felt. */
    setsockopt(s->listener, SOL_SOCKET, SO_SNDBUF, &(int){SOCKET_BUFFER}, sizeof(int));
    BUG_ON(bind(s->listener, (struct sockaddr *)&at, size) != 0 || listen(s->listener, 16) != 0 ||
           getsockname(s->listener, (struct sockaddr *)&at, &size) != 0);
    s->port = ntohs(at.sin_port);
    BUG_ON(pthread_create(&s->thread, NULL, run, s) != 0);
    return s;
}

int scripted_server_port(const struct scripted_server *s)
{
    return s->port;
}

void scripted_server_stop(struct scripted_server *s)
{
    if (s->joined)
        return;
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    s->joined = true;
}

void scripted_server_free(struct scripted_server *s)
{
    if (!s)
        return;
    scripted_server_stop(s);
    close(s->listener);
    for (size_t i = 0; i < s->n_open; i++)
        close(s->open[i]);
    for (size_t i = 0; i < s->n_requests; i++)
        buf_deinit(&s->requests[i].bytes);
    free(s);
}

size_t scripted_server_requests(const struct scripted_server *s)
{
    return s->n_requests;
}

struct str scripted_server_head(const struct scripted_server *s, size_t i)
{
    return str_sub(buf_str(&s->requests[i].bytes), 0, s->requests[i].head);
}

struct str scripted_server_body(const struct scripted_server *s, size_t i)
{
    return str_sub(buf_str(&s->requests[i].bytes), s->requests[i].head, SIZE_MAX / 2);
}
