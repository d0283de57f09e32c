#include "usage.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bug.h"
#include "log.h"
#include "map.h"

#define KEY_ROOM      32
#define ENDPOINT_ROOM 168
#define MONTHS_KEPT   13
#define SEGMENT_ROWS  1024
#define SEGMENT_BYTES (SEGMENT_ROWS * sizeof(struct row))
#define MINUTE_MS     60000

/* As it lies in the file, in this machine's byte order. `check` covers what names the row, and is
 * written last: a row that was being made when the machine stopped is none. */
struct row {
    uint64_t check; /* 0: free */
    uint32_t month; /* 202611 */
    uint32_t unused;
    char key[KEY_ROOM], endpoint[ENDPOINT_ROOM]; /* ended by NUL */
    _Atomic int64_t calls, in_tokens, out_tokens;
    int64_t unused_too[2];
};
_Static_assert(sizeof(struct row) == 256, "the file's format");

/* What a pass holds. */
struct usage_row {
    struct row *at;
    struct usage_key *key;
    struct usage_row *next; /* of the same key */
};

struct usage_key {
    struct usage_row *rows;
    uint32_t month; /* that `tokens` are of */
    int64_t tokens;
    int64_t minute_ms; /* when the minute began */
    int64_t in_minute, at_once;
};

struct segment {
    struct row *rows;
    struct segment *next;
};

struct usage {
    pthread_mutex_t lock;
    int fd; /* -1: in memory */
    off_t size;
    struct segment *segments;
    struct map *keys; /* id -> usage_key */
    struct map *rows; /* month, key, endpoint -> usage_row */
    struct row **idle;
    size_t n_idle, cap_idle;
};

/* --- limits --- */

static int64_t narrower(int64_t a, int64_t b)
{
    return !a || (b && b < a) ? b : a;
}

void usage_limits_narrow(struct usage_limits *l, const struct usage_limits *by)
{
    l->requests_per_minute = narrower(l->requests_per_minute, by->requests_per_minute);
    l->concurrency = narrower(l->concurrency, by->concurrency);
    l->tokens_per_month = narrower(l->tokens_per_month, by->tokens_per_month);
}

void usage_limits_render(const struct usage_limits *l, struct json_out *w)
{
    json_obj(w);
    if (l->requests_per_minute)
        json_key_i64(w, "requests_per_minute", l->requests_per_minute);
    if (l->concurrency)
        json_key_i64(w, "concurrency", l->concurrency);
    if (l->tokens_per_month)
        json_key_i64(w, "tokens_per_month", l->tokens_per_month);
    json_end(w);
}

/* --- months --- */

static uint32_t month_of(int64_t wall_ms)
{
    time_t s = wall_ms / 1000;
    struct tm tm;
    gmtime_r(&s, &tm);
    return (uint32_t)((tm.tm_year + 1900) * 100 + tm.tm_mon + 1);
}

static uint32_t months_between(uint32_t from, uint32_t to)
{
    return (to / 100) * 12 + to % 100 - (from / 100) * 12 - from % 100;
}

static int64_t month_ends_ms(int64_t wall_ms)
{
    time_t s = wall_ms / 1000;
    struct tm tm;
    gmtime_r(&s, &tm);
    struct tm next = {.tm_year = tm.tm_year, .tm_mon = tm.tm_mon + 1, .tm_mday = 1};
    return (int64_t)timegm(&next) * 1000;
}

/* --- rows --- */

static uint64_t check_of(const struct row *r)
{
    char text[KEY_ROOM + ENDPOINT_ROOM + 16];
    uint64_t sum = UINT64_C(0xcbf29ce484222325); /* FNV-1a: against halves, not against enemies */
    int n = snprintf(text, sizeof text, "%u/%s/%s", (unsigned)r->month, r->key, r->endpoint);
    for (int i = 0; i < n; i++)
        sum = (sum ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
    return sum ? sum : 1;
}

static void row_name(const struct row *r, struct buf *out)
{
    buf_init(out, 1024);
    buf_printf(out, "%u/%s/%s", (unsigned)r->month, r->key, r->endpoint);
}

static struct usage_key *key_get(struct usage *u, struct str id)
{
    struct usage_key *k = map_get(u->keys, id);
    if (!k) {
        k = mem_new(sizeof *k);
        map_put(u->keys, id, k);
    }
    return k;
}

static struct usage_row *row_know(struct usage *u, struct row *r)
{
    struct buf name;
    row_name(r, &name);
    struct usage_row *known = map_get(u->rows, buf_str(&name));
    if (!known) {
        known = mem_new(sizeof *known);
        known->at = r;
        known->key = key_get(u, str_c(r->key));
        known->next = known->key->rows;
        known->key->rows = known;
        map_put(u->rows, buf_str(&name), known);
    }
    buf_deinit(&name);
    return known;
}

static void row_idle(struct usage *u, struct row *r)
{
    if (u->n_idle == u->cap_idle) {
        u->cap_idle = u->cap_idle ? u->cap_idle * 2 : SEGMENT_ROWS;
        u->idle = mem_grow(u->idle, u->cap_idle * sizeof *u->idle);
    }
    u->idle[u->n_idle++] = r;
}

/* A month to come is kept: it is the clock that is wrong, and what was counted must not be lost. */
static bool row_is_good(const struct row *r, uint32_t now)
{
    return r->check && memchr(r->key, 0, KEY_ROOM) && memchr(r->endpoint, 0, ENDPOINT_ROOM) &&
           r->check == check_of(r) &&
           (r->month > now || months_between(r->month, now) < MONTHS_KEPT);
}

/* Takes in what a segment holds; what is no row, or too old, is free. */
static void segment_read(struct usage *u, struct row *rows, uint32_t now)
{
    for (size_t i = SEGMENT_ROWS; i-- > 0;) {
        struct row *r = &rows[i];
        if (!row_is_good(r, now)) {
            row_idle(u, r);
            continue;
        }
        row_know(u, r);
    }
}

static void segment_add(struct usage *u, struct row *rows, uint32_t now)
{
    struct segment *s = mem_new(sizeof *s);
    s->rows = rows;
    s->next = u->segments;
    u->segments = s;
    segment_read(u, rows, now);
}

static struct err *segment_map(struct usage *u, off_t at, struct row **out)
{
    void *p = mmap(NULL, SEGMENT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, u->fd, at);
    if (p == MAP_FAILED)
        return err_new(ERR_IO, "the file of usage cannot be mapped: %s", strerror(errno));
    *out = p;
    return NULL;
}

static struct err *segment_extend(struct usage *u, struct row **out)
{
    int rc = posix_fallocate(u->fd, u->size, SEGMENT_BYTES);
    if (rc)
        return err_new(ERR_IO, "the file of usage cannot grow: %s", strerror(rc));
    TRY(segment_map(u, u->size, out));
    u->size += SEGMENT_BYTES;
    return NULL;
}

/* Room for more rows, on the disk if it can be. */
static void segment_new(struct usage *u, uint32_t now)
{
    struct row *rows = NULL;
    struct err *e = u->fd >= 0 ? segment_extend(u, &rows) : NULL;
    if (e) {
        log_error("usage is counted in memory only from here on", LOG_E(e));
        err_free(e);
    }
    if (!rows)
        rows =
            mmap(NULL, SEGMENT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    BUG_ON(rows == MAP_FAILED); /* no memory */
    segment_add(u, rows, now);
}

/* A name that is too long keeps its beginning, and a sum of the whole. */
static void fit(char *out, size_t room, struct str s)
{
    if (s.n < room)
        snprintf(out, room, "%.*s", STR_ARG(s));
    else
        snprintf(out, room, "%.*s~%016llx", (int)(room - 18), s.p,
                 (unsigned long long)(str_hash(s)));
}

/* The lock is held. */
static struct usage_row *row_get(struct usage *u, struct str key, struct str endpoint,
                                 uint32_t month)
{
    struct row wanted = {.month = month};
    struct buf name;
    fit(wanted.key, sizeof wanted.key, key);
    fit(wanted.endpoint, sizeof wanted.endpoint, endpoint);
    row_name(&wanted, &name);
    struct usage_row *known = map_get(u->rows, buf_str(&name));
    buf_deinit(&name);
    if (known)
        return known;
    if (!u->n_idle)
        segment_new(u, month);
    struct row *r = u->idle[--u->n_idle];
    r->check = 0;
    atomic_signal_fence(memory_order_seq_cst); /* the kernel sees the page in this order */
    r->month = month;
    memcpy(r->key, wanted.key, sizeof r->key);
    memcpy(r->endpoint, wanted.endpoint, sizeof r->endpoint);
    r->calls = r->in_tokens = r->out_tokens = 0;
    atomic_signal_fence(memory_order_seq_cst);
    r->check = check_of(r);
    return row_know(u, r);
}

/* --- opening --- */

static struct err *open_file(struct usage *u, const char *path, uint32_t now)
{
    u->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat st;
    if (u->fd < 0 || fstat(u->fd, &st) != 0)
        return err_new(ERR_IO, "cannot open [%s]: %s", path, strerror(errno));
    /* What is left of an extension that was cut short is extended again. */
    u->size = st.st_size - st.st_size % (off_t)SEGMENT_BYTES;
    for (off_t at = 0; at < u->size; at += SEGMENT_BYTES) {
        struct row *rows;
        TRY(segment_map(u, at, &rows));
        segment_add(u, rows, now);
    }
    return NULL;
}

struct err *usage_open(const char *path, int64_t wall_ms, struct usage **out)
{
    struct usage *u = mem_new(sizeof *u);
    BUG_ON(pthread_mutex_init(&u->lock, NULL) != 0);
    u->fd = -1;
    u->keys = map_new();
    u->rows = map_new();
    struct err *e = path ? open_file(u, path, month_of(wall_ms)) : NULL;
    if (e)
        usage_close(u);
    else
        *out = u;
    return e;
}

static void map_end(struct map *m)
{
    size_t i = 0;
    struct str key;
    void *value;
    while (map_next(m, &i, &key, &value))
        free(value);
    map_free(m);
}

void usage_close(struct usage *u)
{
    if (!u)
        return;
    for (struct segment *s = u->segments, *next; s; s = next) {
        next = s->next;
        if (u->fd >= 0)
            msync(s->rows, SEGMENT_BYTES, MS_SYNC);
        munmap(s->rows, SEGMENT_BYTES);
        free(s);
    }
    if (u->fd >= 0)
        close(u->fd);
    map_end(u->rows);
    map_end(u->keys);
    free(u->idle);
    pthread_mutex_destroy(&u->lock);
    free(u);
}

/* --- admitting --- */

static struct err *refuse(struct str key, int64_t wait_ms, const char *what, int64_t limit)
{
    struct err *e = err_new(ERR_TOO_MANY, "API key [%.*s] is limited to [%lld] %s", STR_ARG(key),
                            (long long)limit, what);
    e->retry_after_ms = wait_ms > 0 ? wait_ms : 1;
    return e;
}

static int64_t tokens_of(const struct usage_key *k, uint32_t month)
{
    int64_t tokens = 0;
    for (const struct usage_row *r = k->rows; r; r = r->next)
        if (r->at->month == month)
            tokens += r->at->in_tokens + r->at->out_tokens;
    return tokens;
}

/* Months need not follow each other: clocks are set, and threads read them at different times. */
static void turn(struct usage_key *k, uint32_t month, int64_t wall_ms)
{
    if (k->month != month) {
        k->month = month;
        k->tokens = tokens_of(k, month);
    }
    if (wall_ms - k->minute_ms >= MINUTE_MS || wall_ms < k->minute_ms) {
        k->minute_ms = wall_ms;
        k->in_minute = 0;
    }
}

static struct err *check(const struct usage_key *k, struct str id, const struct usage_limits *l,
                         int64_t wall_ms)
{
    if (l->tokens_per_month && k->tokens >= l->tokens_per_month)
        return refuse(id, month_ends_ms(wall_ms) - wall_ms, "tokens per month",
                      l->tokens_per_month);
    if (l->requests_per_minute && k->in_minute >= l->requests_per_minute)
        return refuse(id, k->minute_ms + MINUTE_MS - wall_ms, "requests per minute",
                      l->requests_per_minute);
    if (l->concurrency && k->at_once >= l->concurrency)
        return refuse(id, 1000, "requests at once", l->concurrency);
    return NULL;
}

struct err *usage_admit(struct usage *u, struct str key_id, const struct usage_limits *limits,
                        struct str endpoint, int64_t wall_ms, struct usage_pass *out)
{
    uint32_t month = month_of(wall_ms);
    pthread_mutex_lock(&u->lock);
    struct usage_key *k = key_get(u, key_id);
    turn(k, month, wall_ms);
    struct err *e = check(k, key_id, limits, wall_ms);
    if (!e) {
        k->in_minute++;
        k->at_once++;
        out->row = row_get(u, key_id, endpoint, month);
    }
    pthread_mutex_unlock(&u->lock);
    return e;
}

static int64_t sane(int64_t tokens)
{
    return tokens < 0 || tokens > INT64_C(1) << 40 ? 0 : tokens; /* the provider's mistake */
}

void usage_settle(struct usage *u, struct usage_pass *pass, int64_t in_tokens, int64_t out_tokens,
                  int64_t wall_ms)
{
    struct usage_row *row = pass->row;
    in_tokens = sane(in_tokens);
    out_tokens = sane(out_tokens);
    pthread_mutex_lock(&u->lock);
    struct usage_key *k = row->key;
    turn(k, month_of(wall_ms), wall_ms);
    k->at_once--;
    row->at->calls++;
    row->at->in_tokens += in_tokens;
    row->at->out_tokens += out_tokens;
    if (row->at->month == k->month)
        k->tokens += in_tokens + out_tokens;
    pthread_mutex_unlock(&u->lock);
    pass->row = NULL;
}

/* --- showing --- */

static void render_row(const struct row *r, struct json_out *w)
{
    json_key(w, r->endpoint);
    json_obj(w);
    json_key_i64(w, "calls", r->calls);
    json_key(w, "tokens");
    json_obj(w);
    json_key_i64(w, "in", r->in_tokens);
    json_key_i64(w, "out", r->out_tokens);
    json_end(w);
    json_end(w);
}

static void render_month(const struct usage_key *k, uint32_t month, struct json_out *w)
{
    char name[16];
    snprintf(name, sizeof name, "%04u-%02u", (unsigned)month / 100, (unsigned)month % 100);
    json_key(w, name);
    json_obj(w);
    json_key_i64(w, "tokens", tokens_of(k, month));
    json_key(w, "endpoints");
    json_obj(w);
    for (const struct usage_row *r = k->rows; r; r = r->next)
        if (r->at->month == month)
            render_row(r->at, w);
    json_end(w);
    json_end(w);
}

/* The latest month before `than`; 0: none. */
static uint32_t month_before(const struct usage_key *k, uint32_t than)
{
    uint32_t best = 0;
    for (const struct usage_row *r = k->rows; r; r = r->next)
        if (r->at->month < than && r->at->month > best)
            best = r->at->month;
    return best;
}

void usage_render(struct usage *u, struct str key_id, struct json_out *w)
{
    json_obj(w);
    pthread_mutex_lock(&u->lock);
    const struct usage_key *k = map_get(u->keys, key_id);
    for (uint32_t m = k ? month_before(k, UINT32_MAX) : 0; m; m = month_before(k, m))
        render_month(k, m, w);
    pthread_mutex_unlock(&u->lock);
    json_end(w);
}
