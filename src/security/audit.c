#include "audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "account.h"
#include "bug.h"
#include "clock.h"
#include "credentials.h"
#include "key.h"
#include "log.h"
#include "service.h"

#define MAX_TEXT_BYTES 1024 /* of anything that the caller chose */
#define MAX_TEXTS      12   /* in a line */
#define MAX_LINE_BYTES ((size_t)128 << 10)
#define QUIET_MS       60000 /* between two complaints about the file */

/* A line that was cut would be no JSON, and tell nobody who was there. */
_Static_assert(MAX_LINE_BYTES > (size_t)MAX_TEXTS * MAX_TEXT_BYTES * sizeof "u0001" + 1024,
               "whatever callers choose, and be it control characters, fits");

struct audit {
    char *path;
    int fd; /* the same number for ever: what it stands for is exchanged */
    bool excluded[N_AUDIT_KINDS];
    _Atomic int64_t complained_ms;
};

static const char *const names[] = {
#define X(symbol, name) name,
    AUDIT_EVENTS(X)
#undef X
};

static struct err *read_excluded(struct audit *a, const char *list)
{
    struct str rest = str_c(list), name;
    while (rest.n && str_split(&rest, ',', &name)) {
        int kind = 0;
        name = str_trim(name);
        while (kind < N_AUDIT_KINDS && !str_eq_c(name, names[kind]))
            kind++;
        if (kind == N_AUDIT_KINDS)
            return err_new(ERR_ARGUMENT, "there is no audit event [%.*s]", STR_ARG(name));
        a->excluded[kind] = true;
    }
    return NULL;
}

static struct err *open_file(const char *path, int *out)
{
    *out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return *out >= 0 ? NULL : err_new(ERR_IO, "cannot open [%s]: %s", path, strerror(errno));
}

struct err *audit_open(const char *path, const char *excluded, struct audit **out)
{
    struct audit *a = mem_new(sizeof *a);
    a->fd = -1;
    a->path = mem_strdup(path);
    struct err *e = read_excluded(a, excluded);
    if (!e)
        e = open_file(path, &a->fd);
    if (e)
        audit_close(a);
    else
        *out = a;
    return e;
}

void audit_close(struct audit *a)
{
    if (!a)
        return;
    if (a->fd >= 0)
        close(a->fd);
    free(a->path);
    free(a);
}

struct err *audit_reopen(struct audit *a)
{
    int fd;
    TRY(open_file(a->path, &fd));
    int rc = dup3(fd, a->fd, O_CLOEXEC); /* at once: a line goes to the one or to the other */
    close(fd);
    return rc >= 0 ? NULL : err_new(ERR_IO, "cannot open [%s]: %s", a->path, strerror(errno));
}

/* --- a line --- */

static void put(struct json_out *w, const char *key, struct str s)
{
    if (s.p && s.n)
        json_key_str(w, key, str_sub(s, 0, MAX_TEXT_BYTES));
}

/* Of a user that was let in. */
static void put_user(struct json_out *w, const struct user *u)
{
    const struct user *by = u->by ? u->by : u;
    put(w, "user.name", str_c(u->name));
    if (u->account)
        json_key_cstr(w, "user.realm", u->account->realm);
    if (u->by)
        put(w, "user.run_by.name", str_c(by->name));
    json_key_cstr(w, "authentication.type",
                  by->key          ? "API_KEY"
                  : by->with_token ? "TOKEN"
                                   : "REALM");
    if (by->token_name)
        put(w, "authentication.token.name", str_c(by->token_name));
    if (by->key) {
        put(w, "apikey.id", by->key->id);
        put(w, "apikey.name", by->key->name);
    }
}

/* Whom somebody claims to be. */
static void put_claim(struct json_out *w, struct str authorization)
{
    struct credentials c;
    struct service_bearer b;
    credentials_parse(authorization, &c);
    if (c.kind == CREDENTIALS_BASIC)
        put(w, "user.name", c.name);
    else if (c.kind == CREDENTIALS_API_KEY)
        put(w, "apikey.id", c.name);
    else if (c.kind == CREDENTIALS_BEARER && service_bearer_read(c.secret, &b)) {
        put(w, "user.name", b.service);
        put(w, "authentication.token.name", b.name);
        service_bearer_wipe(&b);
    }
    credentials_wipe(&c);
}

static const char *outcome(const struct audit_event *e)
{
    if (e->kind != AUDIT_GRANTED)
        return "failure";
    if (e->status == 0 || e->left)
        return "unknown";
    return e->status < 400 && !e->broken ? "success" : "failure";
}

static void render(const struct audit_event *e, struct buf *line)
{
    char now[25];
    struct json_out w;
    clock_iso8601(clock_wall_ms(), now);
    json_out_init(&w, line);
    json_obj(&w);
    json_key_cstr(&w, "@timestamp", now);
    json_key_cstr(&w, "type", "audit");
    json_key_cstr(&w, "event.action", names[e->kind]);
    json_key_cstr(&w, "event.outcome", outcome(e));
    if (e->user)
        put_user(&w, e->user);
    else
        put_claim(&w, e->authorization);
    put(&w, "user.run_as.name", e->run_as);
    put(&w, "origin.address", e->peer);
    put(&w, "request.method", e->method);
    put(&w, "url.path", e->path);
    put(&w, "action", e->action);
    put(&w, "inference_id", e->inference_id);
    put(&w, "opaque_id", e->opaque_id);
    if (e->status)
        json_key_i64(&w, "http.status", e->status);
    json_key_i64(&w, "duration_ms", e->duration_ms);
    json_end(&w);
    buf_char(line, '\n');
}

/* An operator must hear of it, and not once for every request. */
static void complain(struct audit *a, int error)
{
    int64_t now = clock_mono_ms(), last = atomic_load(&a->complained_ms);
    if ((last && now - last < QUIET_MS) ||
        !atomic_compare_exchange_strong(&a->complained_ms, &last, now))
        return;
    log_error("the audit log cannot be written", LOG_C("path", a->path),
              LOG_C("reason", strerror(error)));
}

void audit_write(struct audit *a, const struct audit_event *e)
{
    struct buf line;
    if (a->excluded[e->kind])
        return;
    buf_init(&line, MAX_LINE_BYTES);
    render(e, &line);
    ssize_t n;
    do
        n = write(a->fd, line.p, line.n);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)line.n)
        complain(a, n < 0 ? errno : ENOSPC);
    buf_deinit(&line);
}
