/* How a model's files change on disk: every file appears whole or not at all. */
#include "definition.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bug.h"

#define PIECE_BYTES ((size_t)1 << 20)

/* --- errors and names --- */

/* A full disk is the operator's to mend, and the one case that clients must be able to tell. */
static struct err *io_err(const char *doing, const char *path, int code)
{
    if (code == ENOSPC || code == EDQUOT || code == EFBIG)
        return err_status(507, "cannot %s [%s]: no space left for trained models", doing, path);
    return err_new(ERR_IO, "cannot %s [%s]: %s", doing, path, strerror(code));
}

static struct err *join(char out[PATH_MAX], const char *folder, const char *name)
{
    if ((size_t)snprintf(out, PATH_MAX, "%s/%s", folder, name) >= PATH_MAX - 8)
        return err_new(ERR_ARGUMENT, "the data folder's path is too long [%s]", folder);
    return NULL;
}

static void part_name(char out[64], uint32_t i, const struct part *p)
{
    snprintf(out, 64, "%u.%u.%lld", i, p->total_parts, (long long)p->total_bytes);
}

struct err *definition_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return io_err("open", path, errno);
    int code = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    return code ? io_err("sync", path, code) : NULL;
}

struct err *definition_make_folder(const char *path)
{
    if (mkdir(path, 0700) != 0) {
        if (errno == EEXIST)
            return NULL;
        return io_err("make", path, errno);
    }
    char parent[PATH_MAX];
    TRY(join(parent, path, ".."));
    return definition_sync(parent);
}

/* --- writing a file --- */

static int write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return errno;
        p += k;
        n -= (size_t)k;
    }
    return 0;
}

static struct err *begin_file(const char *path, char aside[PATH_MAX + 8], int *fd_out)
{
    snprintf(aside, PATH_MAX + 8, "%s.new", path);
    int fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return io_err("make", aside, errno);
    *fd_out = fd;
    return NULL;
}

/* Takes fd. `code`: what went wrong so far, as errno; 0: nothing. */
static struct err *end_file(int fd, int code, const char *aside, const char *path,
                            const char *folder)
{
    if (!code && fsync(fd) != 0)
        code = errno;
    if (close(fd) != 0 && !code)
        code = errno;
    if (!code && rename(aside, path) != 0)
        code = errno;
    if (!code)
        return definition_sync(folder);
    unlink(aside);
    return io_err("write", path, code);
}

struct err *definition_write_file(const char *folder, const char *name, struct str bytes)
{
    char path[PATH_MAX], aside[PATH_MAX + 8];
    int fd = -1;
    TRY(join(path, folder, name));
    TRY(begin_file(path, aside, &fd));
    return end_file(fd, write_all(fd, bytes.p, bytes.n), aside, path, folder);
}

struct err *definition_write_part(const char *folder, uint32_t i, const struct part *p,
                                  struct str bytes)
{
    char parts[PATH_MAX], name[64];
    TRY(join(parts, folder, "parts"));
    TRY(definition_make_folder(folder));
    TRY(definition_make_folder(parts));
    part_name(name, i, p);
    return definition_write_file(parts, name, bytes);
}

struct err *definition_write_vocabulary(const char *folder, struct str text)
{
    TRY(definition_make_folder(folder));
    return definition_write_file(folder, "vocabulary.json", text);
}

/* --- comparing --- */

static bool same_file(const char *path, struct str bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    char *piece = mem_new(PIECE_BYTES);
    size_t at = 0;
    ssize_t k = 0;
    while ((k = read(fd, piece, PIECE_BYTES)) > 0) {
        if ((size_t)k > bytes.n - at || memcmp(piece, bytes.p + at, (size_t)k) != 0) {
            k = -1;
            break;
        }
        at += (size_t)k;
    }
    free(piece);
    close(fd);
    return k == 0 && at == bytes.n;
}

bool definition_same_part(const char *folder, uint32_t i, const struct part *p, struct str bytes)
{
    char path[PATH_MAX], name[64];
    part_name(name, i, p);
    if ((size_t)snprintf(path, sizeof path, "%s/parts/%s", folder, name) >= sizeof path)
        return false;
    return same_file(path, bytes);
}

bool definition_same_vocabulary(const char *folder, struct str text)
{
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s/vocabulary.json", folder) >= sizeof path)
        return false;
    return same_file(path, text);
}

/* --- putting together --- */

struct assembly {
    char *piece; /* [PIECE_BYTES] */
    int out;
    bool (*stop)(void *);
    void *ctx;
};

/* ECANCELED: it was stopped. EIO: the part has not the size it should have. */
static int append(struct assembly *a, int fd, int64_t bytes)
{
    int64_t left = bytes;
    while (left > 0) {
        if (a->stop(a->ctx))
            return ECANCELED;
        ssize_t k = read(fd, a->piece, PIECE_BYTES);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return errno;
        if (k == 0 || k > left)
            return EIO;
        int code = write_all(a->out, a->piece, (size_t)k);
        if (code)
            return code;
        left -= k;
    }
    return 0;
}

static int append_part(struct assembly *a, const char *parts, uint32_t i, const struct part *p)
{
    char path[PATH_MAX], name[64];
    part_name(name, i, p);
    if ((size_t)snprintf(path, sizeof path, "%s/%s", parts, name) >= sizeof path)
        return ENAMETOOLONG;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno;
    int code = append(a, fd, p->bytes);
    close(fd);
    return code;
}

static struct err *join_parts(const char *folder, const char *name, const struct part *parts,
                              uint32_t n, bool (*stop)(void *), void *ctx)
{
    char path[PATH_MAX], aside[PATH_MAX + 8], parts_folder[PATH_MAX];
    struct assembly a = {.stop = stop, .ctx = ctx};
    TRY(join(path, folder, name));
    TRY(join(parts_folder, folder, "parts"));
    TRY(begin_file(path, aside, &a.out));
    a.piece = mem_new(PIECE_BYTES);
    int code = 0;
    for (uint32_t i = 0; i < n && !code; i++)
        code = append_part(&a, parts_folder, i, &parts[i]);
    free(a.piece);
    return end_file(a.out, code, aside, path, folder);
}

void definition_remove_parts(const char *folder)
{
    char parts_folder[PATH_MAX];
    struct err *e = join(parts_folder, folder, "parts");
    if (!e)
        e = definition_remove(parts_folder);
    err_free(e); /* else the next start does it */
}

struct err *definition_assemble(const char *folder, const struct part *parts, uint32_t n,
                                bool (*stop)(void *), void *ctx)
{
    TRY(join_parts(folder, "model.pt", parts, n, stop, ctx));
    definition_remove_parts(folder);
    return NULL;
}

struct err *definition_copy(const char *folder, const struct part *parts, uint32_t n,
                            bool (*stop)(void *), void *ctx)
{
    return join_parts(folder, DEFINITION_COPY, parts, n, stop, ctx);
}

/* --- removing --- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void definition_remove_copy(const char *folder)
{
    char path[PATH_MAX];
    struct err *e = join(path, folder, DEFINITION_COPY);
    if (!e)
        unlink(path);
    err_free(e);
}

struct err *definition_remove(const char *folder)
{
    if (nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT)
        return NULL;
    return io_err("remove", folder, errno);
}
