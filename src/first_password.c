#include "first_password.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bug.h"
#include "secret.h"

#define BY_VALUE  "ELASTIC_PASSWORD"
#define BY_FILE   "ELASTIC_PASSWORD_FILE"
#define MAX_BYTES 4096 /* as long as a password may be */

static struct err *check_file(int fd, const char *path)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_new(ERR_IO, "cannot read [%s] of [" BY_FILE "]: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_new(ERR_ARGUMENT, "[%s] of [" BY_FILE "] is no file", path);
    if (st.st_mode & 077)
        return err_new(ERR_ARGUMENT,
                       "[%s] of [" BY_FILE "] must have the permissions 400 or 600, but has [%03o]",
                       path, st.st_mode & 0777);
    return NULL;
}

/* Without the line feeds behind it. */
static struct err *read_text(int fd, const char *path, char *out)
{
    size_t n = 0;
    ssize_t k = 1;
    while (n <= MAX_BYTES && (k = read(fd, out + n, MAX_BYTES + 1 - n)) != 0) {
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return err_new(ERR_IO, "cannot read [%s] of [" BY_FILE "]: %s", path, strerror(errno));
        n += (size_t)k;
    }
    while (n && (out[n - 1] == '\n' || out[n - 1] == '\r'))
        n--;
    if (n == 0 || n > MAX_BYTES || memchr(out, '\0', n))
        return err_new(ERR_ARGUMENT,
                       "[%s] of [" BY_FILE "] must hold a password of 1 to [%d] bytes", path,
                       MAX_BYTES);
    out[n] = '\0';
    return NULL;
}

static struct err *read_file(const char *path, char **out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_new(ERR_IO, "cannot open [%s] of [" BY_FILE "]: %s", path, strerror(errno));
    char *text = mem_new(MAX_BYTES + 2);
    struct err *e = check_file(fd, path);
    if (!e)
        e = read_text(fd, path, text);
    close(fd);
    if (e) {
        secret_wipe(text, MAX_BYTES + 2);
        free(text);
    } else {
        *out = text;
    }
    return e;
}

static char *take_value(void)
{
    char *value = getenv(BY_VALUE);
    if (!value)
        return NULL;
    char *copy = *value ? mem_strdup(value) : NULL;
    secret_wipe(value, strlen(value)); /* the kernel shows what lies there as the environment */
    unsetenv(BY_VALUE);
    return copy;
}

struct err *first_password_take(char **out)
{
    const char *path = getenv(BY_FILE);
    *out = take_value();
    if (!path || !*path)
        return NULL;
    if (!*out)
        return read_file(path, out);
    secret_wipe(*out, strlen(*out));
    free(*out);
    *out = NULL;
    return err_new(ERR_ARGUMENT,
                   "[" BY_VALUE "] and [" BY_FILE "] are both set: let one of them say it");
}
