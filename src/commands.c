#include "commands.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "log.h"
#include "secret.h"
#include "security.h"

#define MAX_LINE 8192

/* --- the store --- */

/* A folder that was named wrongly would be made, and files of another owner would keep the server
 * from starting. */
static struct err *check_folder(const struct config *c)
{
    char path[4096];
    struct stat st;
    if (strcmp(c->store, "memory") == 0)
        return err_new(ERR_ARGUMENT, "[store] is [memory]: nothing is kept that this could "
                                     "change");
    snprintf(path, sizeof path, "%s/store.db", c->path_data);
    if (stat(path, &st) != 0)
        return err_new(ERR_NOT_FOUND, "there is no store at [%s]: %s; is [path.data] right?", path,
                       strerror(errno));
    if (st.st_uid == geteuid())
        return NULL;
    const struct passwd *owner = getpwuid(st.st_uid);
    return err_new(ERR_FORBIDDEN, "[%s] belongs to user [%s]: run this as that user", path,
                   owner ? owner->pw_name : "unknown");
}

static struct err *open_store(const struct config *c, struct store **out)
{
    TRY(check_folder(c));
    return store_open(c->store, c->path_data, out);
}

static int status_of(struct err *e, const char *what)
{
    if (e)
        log_error(what, LOG_E(e));
    int status = e ? 1 : 0;
    err_free(e);
    return status;
}

/* --- another key for the secrets --- */

static struct err *rotate_key(const struct config *c)
{
    struct store *store;
    size_t n;
    TRY(open_store(c, &store));
    struct err *e = store_rotate_key(store, &n);
    store_close(store);
    if (!e)
        log_info("the stored secrets are sealed under a new key", LOG_I("secrets", n));
    return e;
}

int command_rotate_key(const struct config *c)
{
    return status_of(rotate_key(c), "the secrets were not sealed anew");
}

/* --- another password --- */

/* One line without its end, byte by byte: nothing of it stays in a buffer of stdio's. */
static struct err *read_line(char *out, size_t room, size_t *n_out)
{
    size_t n = 0;
    ssize_t k;
    char c;
    while ((k = read(STDIN_FILENO, &c, 1)) != 0 && c != '\n') {
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return err_new(ERR_IO, "cannot read the password: %s", strerror(errno));
        if (n == room)
            return err_new(ERR_TOO_LARGE, "the password is longer than [%zu] bytes", room);
        out[n++] = c;
    }
    *n_out = n && out[n - 1] == '\r' ? n - 1 : n;
    return NULL;
}

static struct err *ask(const char *prompt, char *out, size_t *n_out)
{
    struct termios old, unseen;
    bool tty = tcgetattr(STDIN_FILENO, &old) == 0;
    if (!tty)
        return read_line(out, MAX_LINE, n_out);
    unseen = old;
    unseen.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &unseen);
    fputs(prompt, stderr); /* who answers it at once is not seen and not flushed */
    struct err *e = read_line(out, MAX_LINE, n_out);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &old);
    fputc('\n', stderr);
    return e;
}

static struct err *ask_twice(char *out, size_t *n_out)
{
    char again[MAX_LINE];
    size_t n;
    TRY(ask("New password: ", out, n_out));
    if (!isatty(STDIN_FILENO))
        return NULL;
    struct err *e = ask("The same again: ", again, &n);
    if (!e && (n != *n_out || memcmp(again, out, n) != 0))
        e = err_new(ERR_ARGUMENT, "the two passwords are not the same");
    secret_wipe(again, sizeof again);
    return e;
}

static struct err *set_password(struct store *store, const char *user, bool from_stdin)
{
    char typed[MAX_LINE];
    size_t n = 0;
    if (!from_stdin) {
        char *password = security_random_password();
        struct err *e = security_reset_password(store, str_c(user), str_c(password));
        if (!e)
            printf("New password of the user %s: %s\n", user, password);
        secret_wipe(password, strlen(password));
        free(password);
        return e;
    }
    struct err *e = ask_twice(typed, &n);
    if (!e)
        e = security_reset_password(store, str_c(user), str_n(typed, n));
    secret_wipe(typed, sizeof typed);
    return e;
}

int command_reset_password(const struct config *c, const char *user, bool from_stdin)
{
    struct store *store = NULL;
    struct err *e = open_store(c, &store);
    if (!e)
        e = set_password(store, user, from_stdin);
    store_close(store);
    return status_of(e, "the password was not reset");
}
