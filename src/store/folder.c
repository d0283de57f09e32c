#include "folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bug.h"

struct err *folder_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_new(ERR_IO, "cannot open folder [%s]: %s", path, strerror(errno));
    int rc = fsync(fd);
    int saved = errno;
    close(fd);
    if (rc != 0)
        return err_new(ERR_IO, "cannot sync folder [%s]: %s", path, strerror(saved));
    return NULL;
}

static struct err *sync_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return folder_sync(".");
    if (slash == path)
        return folder_sync("/");
    char *parent = mem_strdup(path);
    parent[slash - path] = '\0';
    struct err *e = folder_sync(parent);
    free(parent);
    return e;
}

static struct err *make_one(const char *path)
{
    if (mkdir(path, 0700) == 0)
        return sync_parent(path);
    if (errno == EEXIST)
        return NULL; /* a file in the way shows when the lock is opened */
    return err_new(ERR_IO, "cannot make data folder [%s]: %s", path, strerror(errno));
}

static struct err *make_all(const char *path)
{
    struct err *e = NULL;
    char *p = mem_strdup(path);
    size_t n = strlen(p);
    while (n > 1 && p[n - 1] == '/')
        p[--n] = '\0';
    for (size_t i = 1; i < n && !e; i++) {
        if (p[i] != '/')
            continue;
        p[i] = '\0';
        struct stat st;
        if (stat(p, &st) != 0) /* parents one may not write but pass through are fine */
            e = make_one(p);
        p[i] = '/';
    }
    if (!e)
        e = make_one(p);
    free(p);
    return e;
}

/* Who holds the lock, as the holder wrote it; 0 when that cannot be read. */
static long holder(int fd)
{
    char text[24];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    return strtol(text, NULL, 10);
}

static void write_holder(int fd)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    /* Only a help for people: the lock itself holds without it. */
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n)
        return;
}

struct err *folder_open(const char *path, struct folder *out)
{
    if (!*path)
        return err_new(ERR_ARGUMENT, "the data folder's path is empty []");
    TRY(make_all(path));
    char name[PATH_MAX];
    if ((size_t)snprintf(name, sizeof name, "%s/node.lock", path) >= sizeof name)
        return err_new(ERR_ARGUMENT, "the data folder's path is too long [%s]", path);
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_new(ERR_IO, "cannot open lock file [%s]: %s", name, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int saved = errno;
        long pid = holder(fd);
        close(fd);
        if (saved != EWOULDBLOCK)
            return err_new(ERR_IO, "cannot lock [%s]: %s", name, strerror(saved));
        return err_new(ERR_IO, "data folder [%s] is in use by another server, process [%ld]", path,
                       pid);
    }
    write_holder(fd);
    out->lock_fd = fd;
    return NULL;
}

void folder_close(struct folder *f)
{
    if (f->lock_fd >= 0)
        close(f->lock_fd);
    f->lock_fd = -1;
}
