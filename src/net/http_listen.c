/* Listening sockets. Every loop has one of its own on the same port (SO_REUSEPORT), which the
 * kernel would also grant to a second server of the same user: half of the requests would then go
 * astray in silence. So the first of this process to bind an address binds it without sharing
 * once, which fails when anyone listens there, and a table remembers what is ours. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bug.h"
#include "http_edge.h"

#define MAX_OWNED 64 /* different addresses of one process */

static struct {
    pthread_mutex_t lock;
    struct {
        struct sockaddr_storage address;
        int n;
    } owned[MAX_OWNED];
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- addresses ---- */

static bool address_read(const char *host, int port, struct sockaddr_storage *out, socklen_t *n_out)
{
    static const struct {
        const char *name, *address;
    } known[] = {{"localhost", "127.0.0.1"}, {"_local_", "127.0.0.1"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(host, known[i].name) == 0)
            host = known[i].address;
    *out = (struct sockaddr_storage){0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        *n_out = sizeof *v4;
        return true;
    }
    char bare[INET6_ADDRSTRLEN];
    size_t n = strlen(host);
    if (n > 2 && n - 2 < sizeof bare && host[0] == '[' && host[n - 1] == ']') {
        memcpy(bare, host + 1, n - 2);
        bare[n - 2] = '\0';
        host = bare;
    }
    if (inet_pton(AF_INET6, host, &v6->sin6_addr) != 1)
        return false;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
    *n_out = sizeof *v6;
    return true;
}

static int port_of(const struct sockaddr_storage *a)
{
    return ntohs(a->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)a)->sin6_port
                                          : ((const struct sockaddr_in *)a)->sin_port);
}

void peer_print(const struct sockaddr_storage *a, char out[HTTP_PEER_MAX])
{
    char text[INET6_ADDRSTRLEN] = "?";
    if (a->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;
        if (!IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
            inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
            snprintf(out, HTTP_PEER_MAX, "[%s]:%d", text, port_of(a));
            return;
        }
        inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], text, sizeof text);
    } else {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)a)->sin_addr, text, sizeof text);
    }
    snprintf(out, HTTP_PEER_MAX, "%s:%d", text, port_of(a));
}

/* ---- what is ours; under the lock ---- */

static int owned_find(const struct sockaddr_storage *a)
{
    for (int i = 0; i < MAX_OWNED; i++)
        if (table.owned[i].n && memcmp(&table.owned[i].address, a, sizeof *a) == 0)
            return i;
    return -1;
}

static int owned_add(const struct sockaddr_storage *a)
{
    int i = owned_find(a);
    for (int k = 0; i < 0 && k < MAX_OWNED; k++)
        if (table.owned[k].n == 0)
            i = k;
    BUG_ON(i < 0);
    table.owned[i].address = *a;
    table.owned[i].n++;
    return i;
}

/* ---- sockets ---- */

static bool option_on(int fd, int level, int name)
{
    int on = 1;
    return setsockopt(fd, level, name, &on, sizeof on) == 0;
}

/* 0 or an errno. Connections inherit TCP_NODELAY and SO_KEEPALIVE from the listening socket, which
 * saves two calls for each. */
static int socket_bind(const struct sockaddr_storage *a, socklen_t n, bool shared, int *fd_out)
{
    int fd = socket(a->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int off = 0;
    bool ok = option_on(fd, SOL_SOCKET, SO_REUSEADDR) && option_on(fd, IPPROTO_TCP, TCP_NODELAY) &&
              option_on(fd, SOL_SOCKET, SO_KEEPALIVE) &&
              (!shared || option_on(fd, SOL_SOCKET, SO_REUSEPORT)) &&
              (a->ss_family != AF_INET6 ||
               setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0) &&
              bind(fd, (const struct sockaddr *)a, n) == 0;
    int error = ok ? 0 : errno;
    if (ok)
        *fd_out = fd;
    else
        close(fd);
    return error;
}

static int open_locked(struct sockaddr_storage *a, socklen_t n, int *fd_out)
{
    int error;
    if (port_of(a) && owned_find(a) < 0) {
        int probe;
        error = socket_bind(a, n, false, &probe);
        if (error)
            return error;
        close(probe);
    }
    error = socket_bind(a, n, true, fd_out);
    if (error)
        return error;
    if (listen(*fd_out, LISTEN_BACKLOG) == 0 && getsockname(*fd_out, (struct sockaddr *)a, &n) == 0)
        return 0;
    error = errno;
    close(*fd_out);
    return error;
}

struct err *listen_open(const char *host, int port, int *fd_out, int *port_out, int *key_out)
{
    struct sockaddr_storage a;
    socklen_t n;
    if (port < 0 || port > 65535)
        return err_new(ERR_ARGUMENT, "Invalid port [%d]", port);
    if (!address_read(host, port, &a, &n))
        return err_new(ERR_ARGUMENT, "Cannot listen on [%s]: not an IP address or [localhost]",
                       host);
    pthread_mutex_lock(&table.lock);
    int error = open_locked(&a, n, fd_out);
    if (!error)
        *key_out = owned_add(&a);
    pthread_mutex_unlock(&table.lock);
    if (error == EADDRINUSE)
        return err_new(ERR_IO, "Cannot listen on [%s:%d]: the port is taken", host, port);
    if (error)
        return err_new(ERR_IO, "Cannot listen on [%s:%d]: %s", host, port, strerror(error));
    *port_out = port_of(&a);
    return NULL;
}

void listen_close(int fd, int key)
{
    close(fd);
    pthread_mutex_lock(&table.lock);
    BUG_ON(table.owned[key].n <= 0);
    table.owned[key].n--;
    pthread_mutex_unlock(&table.lock);
}
