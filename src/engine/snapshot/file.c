#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bug.h"

/* Linux moves at most 2 GiB less a page in one read. */
#define READ_MOST ((size_t)1 << 30)

bool file_name_ok(struct str name)
{
    if (name.n == 0 || name.n > 255 || name.p[0] == '.')
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && c != '_' && c != '-' && c != '.')
            return false;
    }
    return true;
}

static bool join(char out[PATH_MAX], const char *folder, const char *name)
{
    int n = snprintf(out, PATH_MAX, "%s/%s", folder, name);
    return n > 0 && n < PATH_MAX;
}

bool file_exists(const char *folder, const char *name)
{
    char path[PATH_MAX];
    return join(path, folder, name) && access(path, F_OK) == 0;
}

struct err *file_open(const char *folder, const char *name, int *fd_out)
{
    char path[PATH_MAX];
    struct stat info;
    if (!join(path, folder, name))
        return err_new(ERR_ARGUMENT, "[%s]: the path is too long", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return err_new(errno == ENOENT || errno == ENOTDIR ? ERR_ARGUMENT : ERR_IO,
                       "Could not open [%s]: [%s]", name, strerrordesc_np(errno));
    if (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode)) {
        close(fd);
        return err_new(ERR_ARGUMENT, "[%s] is not a regular file", name);
    }
    *fd_out = fd;
    return NULL;
}

struct err *file_read_at(int fd, const char *name, uint64_t at, void *out, size_t n)
{
    char *p = out;
    while (n > 0) {
        ssize_t got = pread(fd, p, n < READ_MOST ? n : READ_MOST, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_new(ERR_IO, "Could not read [%s]: [%s]", name, strerrordesc_np(errno));
        if (got == 0)
            return err_new(ERR_ARGUMENT, "[%s] ends too early", name);
        p += got;
        at += (uint64_t)got;
        n -= (size_t)got;
    }
    return NULL;
}

struct err *file_read(const char *folder, const char *name, size_t limit, struct arena *a,
                      struct str *out)
{
    struct stat info;
    int fd;
    TRY(file_open(folder, name, &fd));
    struct err *err = NULL;
    if (fstat(fd, &info) < 0 || (uint64_t)info.st_size > limit) {
        err = err_new(ERR_ARGUMENT, "[%s] is larger than [%zu] bytes", name, limit);
    } else {
        size_t n = (size_t)info.st_size;
        char *p = arena_alloc(a, n + 1);
        err = file_read_at(fd, name, 0, p, n);
        *out = str_n(p, n);
    }
    close(fd);
    return err;
}
