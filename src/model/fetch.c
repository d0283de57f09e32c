/* A fetch is a small machine: ask, take what comes, on a cut pause and ask for the rest. */
#include "fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bug.h"
#include "clock.h"
#include "log.h"

#define STALL_MS      60000
#define FIRST_PAUSE   100 /* ms; doubled with each attempt that brings nothing */
#define PIECE_BYTES   ((size_t)1 << 20)
#define MAX_REDIRECTS 3
#define MAX_JUNK      ((size_t)1 << 20)

struct fetcher {
    struct loop *loop;
    struct client *client;
};

struct fetch {
    struct fetcher *fetcher;
    struct arena *arena; /* of one attempt */
    struct http_out out;
    struct client_call *call;
    struct loop_timer pause;
    struct loop_msg step; /* file:// goes a piece at a time */
    bool stepping, cancelled;
    char *url, *origin, *path;
    char *shown; /* url without redirects, whose queries may hold secrets: for texts */
    int64_t limit, size;
    bool follow;
    int redirects, idle_tries;
    int fd;     /* of the partial file; -1: into memory */
    int source; /* of a file:// url; -1: none */
    struct buf bytes;
    int64_t have, before;
    size_t junk; /* bytes of a refusal's body */
    _Atomic int64_t *shown_have;
    int status;
    bool taking, grew; /* this answer is the file; something came in this attempt */
    char *location;    /* of a redirect */
    struct err *err;   /* what the disk said */
    fetch_done *done;
    void *ctx;
};

static void attempt(struct fetch *f);

struct fetcher *fetcher_new(struct loop *loop, const struct client_options *o)
{
    struct fetcher *f = mem_new(sizeof *f);
    f->loop = loop;
    f->client = client_new(loop, o);
    return f;
}

void fetcher_free(struct fetcher *f)
{
    if (!f)
        return;
    client_free(f->client);
    free(f);
}

int64_t fetch_have(const struct fetch *f)
{
    return f->have;
}

/* --- addresses --- */

static bool is_plain(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 127 || strchr("?#@\"<>\\^`{|}", s.p[i]))
            return false;
    }
    return true;
}

struct err *fetch_check_base(const char *setting, struct str url)
{
    static const struct str schemes[] = {STR_INIT("https://"), STR_INIT("http://"),
                                         STR_INIT("file:///")};
    for (size_t i = 0; i < 3; i++) {
        if (str_starts(url, schemes[i]) && url.n > schemes[i].n && is_plain(url))
            return NULL;
    }
    return err_new(ERR_ARGUMENT,
                   "[%s] must be an http, https or file address without user information, query "
                   "or fragment",
                   setting);
}

/* "https://host:port" */
static struct str origin_of(struct str url)
{
    size_t scheme = str_find(url, STR("://"));
    if (scheme == SIZE_MAX)
        return (struct str){0};
    size_t slash = str_find_char(str_sub(url, scheme + 3, url.n), '/');
    return slash == SIZE_MAX ? url : str_sub(url, 0, scheme + 3 + slash);
}

/* --- the end --- */

static void fetch_free(struct fetch *f)
{
    loop_timer_cancel(&f->pause);
    if (f->fd >= 0)
        close(f->fd);
    if (f->source >= 0)
        close(f->source);
    buf_deinit(&f->bytes);
    err_free(f->err);
    arena_free(f->arena);
    free(f->location);
    free(f->url);
    free(f->shown);
    free(f->origin);
    free(f->path);
    free(f);
}

static void finish(struct fetch *f, struct err *e)
{
    if (!e && f->fd >= 0 && fsync(f->fd) != 0)
        e = err_new(ERR_IO, "cannot sync [%s]: %s", f->path, strerror(errno));
    f->done(f->ctx, e, e ? (struct str){0} : buf_str(&f->bytes));
    fetch_free(f);
}

void fetch_cancel(struct fetch *f)
{
    if (f->call)
        client_cancel(f->call);
    f->call = NULL;
    if (f->stepping)
        f->cancelled = true; /* the message on its way frees it */
    else
        fetch_free(f);
}

/* --- taking bytes --- */

static struct err *write_failed(const struct fetch *f, int code)
{
    if (code == ENOSPC || code == EDQUOT || code == EFBIG)
        return err_status(507, "cannot write [%s]: no space left for trained models", f->path);
    return err_new(ERR_IO, "cannot write [%s]: %s", f->path, strerror(code));
}

static struct err *take(struct fetch *f, struct str s)
{
    if ((int64_t)s.n > f->limit - f->have)
        return err_new(ERR_TOO_LARGE, "[%s] is larger than [%lld] bytes", f->shown,
                       (long long)f->limit);
    f->grew = f->grew || s.n > 0;
    if (f->shown_have)
        atomic_store(f->shown_have, f->before + f->have + (int64_t)s.n);
    if (f->fd < 0) {
        buf_put(&f->bytes, s);
        f->have += (int64_t)s.n;
        return NULL;
    }
    while (s.n > 0) {
        ssize_t n = pwrite(f->fd, s.p, s.n, f->have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return write_failed(f, errno);
        s = str_sub(s, (size_t)n, s.n);
        f->have += n;
    }
    return NULL;
}

static void start_over(struct fetch *f)
{
    f->have = 0;
    buf_clear(&f->bytes);
    if (f->fd >= 0 && ftruncate(f->fd, 0) != 0)
        f->err = f->err ? f->err : write_failed(f, errno);
}

/* --- over http --- */

static void fire(struct loop_timer *t)
{
    attempt((struct fetch *)((char *)t - offsetof(struct fetch, pause)));
}

/* Takes the err, which is the end when nothing came for too long. */
static void try_again(struct fetch *f, struct err *e)
{
    f->idle_tries = f->grew ? 1 : f->idle_tries + 1;
    if (f->idle_tries >= FETCH_TRIES) {
        finish(f, e);
        return;
    }
    log_warn("fetching a model goes on after a fault", LOG_C("url", f->shown),
             LOG_I("have", f->have), LOG_I("attempt", f->idle_tries), LOG_E(e));
    err_free(e);
    loop_timer_set(f->fetcher->loop, &f->pause,
                   clock_mono_ms() + ((int64_t)FIRST_PAUSE << f->idle_tries), fire);
}

/* "bytes 100-199/200" beginning where we are; the total is checked by the caller of fetch. */
static bool continues(const struct fetch *f, const struct http_headers *h)
{
    struct str v, first;
    int64_t from;
    if (!http_header_get(h, STR("content-range"), &v) || !str_starts(v, STR("bytes ")))
        return false;
    v = str_sub(v, 6, v.n);
    return str_split(&v, '-', &first) && str_to_i64(str_trim(first), &from) && from == f->have;
}

static struct err *check_length(const struct fetch *f, const struct http_headers *h)
{
    struct str v;
    int64_t n;
    if (f->size < 0 || !http_header_get(h, STR("content-length"), &v) || !str_to_i64(v, &n) ||
        n == f->size - f->have)
        return NULL;
    int64_t whole = n > INT64_MAX - f->have ? INT64_MAX : n + f->have; /* a liar's length */
    return err_new(ERR_INTERNAL, "Model size does not match, expected [%lld] but got [%lld]",
                   (long long)f->size, (long long)whole);
}

static void fail_now(struct loop_timer *t)
{
    struct fetch *f = (struct fetch *)((char *)t - offsetof(struct fetch, pause));
    struct err *e = f->err;
    f->err = NULL;
    finish(f, e);
}

/* What comes is of no use any more, however much there is of it. */
static void give_up(struct fetch *f)
{
    client_cancel(f->call);
    f->call = NULL;
    loop_timer_set(f->fetcher->loop, &f->pause, 0, fail_now);
}

static void on_head(void *ctx, int status, const struct http_headers *h)
{
    struct fetch *f = ctx;
    struct str v;
    f->status = status;
    f->taking = status == 200 || (status == 206 && continues(f, h));
    if (status == 200 && f->have)
        start_over(f);
    if (f->taking && !f->err)
        f->err = check_length(f, h);
    if (status >= 300 && status < 400 && http_header_get(h, STR("location"), &v)) {
        free(f->location);
        f->location = strndup(v.p, v.n);
    }
    if (f->err)
        give_up(f);
}

static bool on_body(void *ctx, struct str bytes)
{
    struct fetch *f = ctx;
    if (!f->call)
        return true;
    f->junk += f->taking ? 0 : bytes.n;
    if (f->taking)
        f->err = take(f, bytes);
    else if (f->junk > MAX_JUNK)
        f->err = err_new(ERR_IO, "[%s] answered with status [%d]", f->shown, f->status);
    if (f->err)
        give_up(f);
    return true;
}

/* To https, or within the place we were told to ask. */
static bool may_follow(const struct fetch *f)
{
    struct str to = str_c(f->location);
    return f->follow && f->location && f->redirects < MAX_REDIRECTS &&
           (str_starts(to, STR("https://")) || str_eq(origin_of(to), str_c(f->origin)));
}

/* "/path" is of the same place. */
static void resolve_location(struct fetch *f)
{
    if (!f->location || f->location[0] != '/' || f->location[1] == '/')
        return;
    struct str origin = origin_of(str_c(f->url));
    size_t n = origin.n + strlen(f->location) + 1;
    char *whole = mem_new(n);
    snprintf(whole, n, "%.*s%s", STR_ARG(origin), f->location);
    free(f->location);
    f->location = whole;
}

static void refused(struct fetch *f)
{
    int status = f->status;
    if (status == 404) {
        finish(f, err_new(ERR_NOT_FOUND, "%s not found", f->shown));
    } else if (status == 416 && f->have) { /* the file there is not the one we began with */
        start_over(f);
        try_again(f, err_new(ERR_IO, "[%s] has another size than before", f->shown));
    } else if (status == 429 || status >= 500) {
        try_again(f, err_new(ERR_IO, "[%s] answered with status [%d]", f->shown, status));
    } else if (status >= 300 && status < 400) {
        finish(f, err_new(ERR_IO,
                          "[%s] answered with a redirect, status [%d], which is not "
                          "followed",
                          f->shown, status));
    } else {
        finish(f, err_new(ERR_IO, "[%s] answered with status [%d]", f->shown, status));
    }
}

static void answered(struct fetch *f)
{
    if (!f->taking) {
        resolve_location(f);
        if (f->status >= 300 && f->status < 400 && may_follow(f)) {
            free(f->url);
            f->url = f->location;
            f->location = NULL;
            f->redirects++;
            attempt(f);
            return;
        }
        refused(f);
        return;
    }
    if (f->size >= 0 && f->have < f->size)
        try_again(f,
                  err_new(ERR_IO, "[%s] ended after [%lld] bytes", f->shown, (long long)f->have));
    else
        finish(f, NULL);
}

static void on_done(void *ctx, enum client_failure failure, struct err *e, const struct http_in *in)
{
    struct fetch *f = ctx;
    (void)in;
    f->call = NULL;
    switch (failure) {
    case CLIENT_OK:
        answered(f);
        return;
    case CLIENT_REFUSED_ADDRESS:
    case CLIENT_TLS:
    case CLIENT_TOO_LARGE:
        finish(f, e);
        return;
    case CLIENT_UNKNOWN_HOST:
    case CLIENT_CONNECT:
    case CLIENT_TIMEOUT:
    case CLIENT_BROKEN:
        break;
    }
    try_again(f, e);
}

static void attempt(struct fetch *f)
{
    static const struct client_events events = {on_head, on_body, on_done};
    struct client_limits limits = {
        .max_response_bytes = SIZE_MAX >> 1, /* what is taken is counted here */
        .stall_timeout_ms = STALL_MS,
        /* The operator chose the repository; where it sends us is another matter. */
        .allow_private = str_eq(origin_of(str_c(f->url)), str_c(f->origin))};
    arena_reset(f->arena);
    f->out = (struct http_out){.arena = f->arena, .method = HTTP_GET, .url = str_c(f->url)};
    f->taking = f->grew = false;
    f->junk = 0;
    f->status = 0;
    if (f->fd < 0)
        start_over(f);
    if (f->have)
        http_header_addf(&f->out.headers, f->arena, STR("Range"), "bytes=%lld-",
                         (long long)f->have);
    f->call = client_send(f->fetcher->client, &f->out, &limits, &events, f);
}

/* --- from a file --- */

static void step(struct loop_msg *msg);

static void step_later(struct fetch *f)
{
    f->stepping = true;
    f->step.run = step;
    loop_post(f->fetcher->loop, &f->step);
}

static struct err *open_source(struct fetch *f)
{
    struct str name;
    struct stat st;
    if (!http_unescape(f->arena, str_sub(str_c(f->url), 7, SIZE_MAX), &name))
        return err_new(ERR_ARGUMENT, "[%s] is not an address", f->shown);
    f->source = open(arena_cstr(f->arena, name), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f->source < 0 && errno == ENOENT)
        return err_new(ERR_NOT_FOUND, "%s not found", f->shown);
    if (f->source < 0 || fstat(f->source, &st) != 0 || !S_ISREG(st.st_mode))
        return err_new(ERR_IO, "cannot read [%s]", f->shown);
    if (f->size >= 0 && st.st_size != f->size)
        return err_new(ERR_INTERNAL, "Model size does not match, expected [%lld] but got [%lld]",
                       (long long)f->size, (long long)st.st_size);
    return NULL;
}

/* False: the end has come. */
static bool copy_piece(struct fetch *f, struct err **err_out)
{
    char *piece = mem_new(PIECE_BYTES);
    ssize_t n = pread(f->source, piece, PIECE_BYTES, f->have);
    *err_out = n < 0 ? err_new(ERR_IO, "cannot read [%s]: %s", f->shown, strerror(errno)) : NULL;
    if (n > 0)
        *err_out = take(f, str_n(piece, (size_t)n));
    free(piece);
    return n > 0 && !*err_out;
}

static void step(struct loop_msg *msg)
{
    struct fetch *f = (struct fetch *)((char *)msg - offsetof(struct fetch, step));
    f->stepping = false;
    if (f->cancelled) {
        fetch_free(f);
        return;
    }
    struct err *e = f->source < 0 ? open_source(f) : NULL;
    if (!e && copy_piece(f, &e)) {
        step_later(f);
        return;
    }
    finish(f, e);
}

/* --- beginning --- */

static void first_attempt(struct loop_timer *t)
{
    struct fetch *f = (struct fetch *)((char *)t - offsetof(struct fetch, pause));
    struct stat st = {0};
    f->fd = f->path ? open(f->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    if (f->path && (f->fd < 0 || fstat(f->fd, &st) != 0)) {
        finish(f, write_failed(f, errno));
        return;
    }
    f->have = f->path ? st.st_size : 0;
    if (f->have > f->limit)
        start_over(f);
    if (f->size >= 0 && f->have == f->size)
        finish(f, NULL); /* all of it came in an earlier run */
    else if (str_starts(str_c(f->url), STR("file://")))
        step_later(f);
    else
        attempt(f);
}

struct fetch *fetch_start(struct fetcher *fetcher, const struct fetch_order *o, fetch_done *done,
                          void *ctx)
{
    struct fetch *f = mem_new(sizeof *f);
    struct str origin = origin_of(o->url);
    *f = (struct fetch){.fetcher = fetcher,
                        .arena = arena_new(ARENA_NO_LIMIT),
                        .url = strndup(o->url.p, o->url.n),
                        .shown = strndup(o->url.p, o->url.n),
                        .origin = strndup(origin.p ? origin.p : "", origin.n),
                        .path = o->path ? mem_strdup(o->path) : NULL,
                        .limit = o->limit,
                        .size = o->size,
                        .follow = o->follow,
                        .shown_have = o->have,
                        .before = o->before,
                        .fd = -1,
                        .source = -1,
                        .done = done,
                        .ctx = ctx};
    buf_init(&f->bytes, (size_t)o->limit);
    loop_timer_set(fetcher->loop, &f->pause, 0, first_attempt);
    return f;
}
