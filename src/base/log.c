/* A line is put together in a buffer on the stack and written at once, so lines of several threads
 * never mix and logging takes no lock. What does not fit is cut, but the line stays valid JSON:
 * RESERVE bytes are kept back for the quotes and braces that are still open. */
#include "log.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "bug.h"
#include "clock.h"

#define LINE_MAX_BYTES 8192
#define MAX_CAUSES     8
#define RESERVE        (MAX_CAUSES * 2 + 8)

struct line {
    char text[LINE_MAX_BYTES];
    size_t n;
    bool cut; /* something was left out; nothing more goes in but what closes the line */
};

static atomic_int level = LOG_INFO;
static atomic_int format = LOG_JSON;

static const char *const level_names[] = {
    [LOG_ERROR] = "ERROR", [LOG_WARN] = "WARN", [LOG_INFO] = "INFO", [LOG_DEBUG] = "DEBUG"};

bool log_on(enum log_level l)
{
    return (int)l <= atomic_load_explicit(&level, memory_order_relaxed);
}

void log_set(enum log_level l, enum log_format f)
{
    atomic_store_explicit(&level, (int)l, memory_order_relaxed);
    atomic_store_explicit(&format, (int)f, memory_order_relaxed);
}

bool log_level_parse(struct str s, enum log_level *out)
{
    for (int i = LOG_ERROR; i <= LOG_DEBUG; i++) {
        if (str_eq_nocase(s, str_c(level_names[i]))) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

/* All of it or nothing. */
static bool put(struct line *l, struct str s)
{
    if (l->cut || s.n > LINE_MAX_BYTES - RESERVE - l->n) {
        l->cut = true;
        return false;
    }
    memcpy(l->text + l->n, s.p, s.n);
    l->n += s.n;
    return true;
}

static void put_c(struct line *l, const char *z)
{
    put(l, str_c(z));
}

/* Into the reserve: closes what is open, whether or not the line was cut. */
static void close_with(struct line *l, const char *z)
{
    size_t n = strlen(z);
    BUG_ON(n > LINE_MAX_BYTES - l->n);
    memcpy(l->text + l->n, z, n);
    l->n += n;
}

/* One character of a JSON string, from s.p[*i] on; bytes that are not UTF-8 become U+FFFD. */
static bool put_escaped(struct line *l, struct str s, size_t *i)
{
    unsigned char c = (unsigned char)s.p[*i];
    char hex[8];
    if (c == '"' || c == '\\') {
        char two[2] = {'\\', (char)c};
        ++*i;
        return put(l, str_n(two, 2));
    }
    if (c < 0x20 || c == 0x7f) {
        ++*i;
        return put(l, str_n(hex, (size_t)snprintf(hex, sizeof hex, "\\u%04x", c)));
    }
    size_t len = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    struct str one = str_sub(s, *i, len);
    if (one.n == len && str_utf8_ok(one)) {
        *i += len;
        return put(l, one);
    }
    ++*i;
    return put(l, STR("\xef\xbf\xbd"));
}

static void put_string(struct line *l, struct str s)
{
    if (!put(l, STR("\"")))
        return;
    for (size_t i = 0; i < s.n;)
        if (!put_escaped(l, s, &i))
            break;
    close_with(l, "\"");
}

static void put_err(struct line *l, const struct err *e)
{
    int depth = 0;
    for (; e && depth < MAX_CAUSES; e = e->cause) {
        /* The opening parts go in together: half of one could not be closed. */
        char open[128];
        int n =
            snprintf(open, sizeof open,
                     "%s{\"type\":\"%s\",\"reason\":", depth ? ",\"caused_by\":" : "", err_type(e));
        BUG_ON(n >= (int)sizeof open);
        if (l->cut || l->n + (size_t)n + 2 > LINE_MAX_BYTES - RESERVE) {
            l->cut = true;
            break;
        }
        put(l, str_n(open, (size_t)n));
        put_string(l, str_c(e->reason));
        depth++;
    }
    while (depth-- > 0)
        close_with(l, "}");
}

static void put_number(struct line *l, const struct log_field *f)
{
    char text[40];
    if (f->type == LOG_T_INT)
        snprintf(text, sizeof text, "%lld", (long long)f->i);
    else if (isfinite(f->d))
        snprintf(text, sizeof text, "%.15g", f->d);
    else
        snprintf(text, sizeof text, "null");
    put_c(l, text);
}

static void put_value(struct line *l, const struct log_field *f)
{
    switch (f->type) {
    case LOG_T_STR:
        put_string(l, f->s);
        break;
    case LOG_T_BOOL:
        put_c(l, f->i ? "true" : "false");
        break;
    case LOG_T_ERR:
        if (f->e)
            put_err(l, f->e);
        else
            put_c(l, "null");
        break;
    default:
        put_number(l, f);
        break;
    }
}

/* A field is worth beginning when its name and the shortest of values fit. */
static bool room_for(const struct line *l, const struct log_field *f)
{
    size_t shortest = f->type == LOG_T_ERR ? 160 : 48;
    return !l->cut && l->n + strlen(f->key) + shortest < LINE_MAX_BYTES - RESERVE;
}

static void write_json(struct line *l, const char *now, const char *name, const char *msg,
                       const struct log_field *fields, size_t n)
{
    put_c(l, "{\"@timestamp\":\"");
    put_c(l, now);
    put_c(l, "\",\"log.level\":\"");
    put_c(l, name);
    put_c(l, "\",\"message\":");
    put_string(l, str_c(msg));
    for (size_t i = 0; i < n; i++) {
        if (fields[i].type == LOG_T_NONE)
            continue;
        if (!room_for(l, &fields[i]))
            break;
        put_c(l, ",\"");
        put_c(l, fields[i].key);
        put_c(l, "\":");
        put_value(l, &fields[i]);
    }
    close_with(l, "}\n");
}

static void put_plain_err(struct line *l, const struct err *e)
{
    for (; e; e = e->cause) {
        put_c(l, err_type(e));
        put_c(l, ": ");
        put_string(l, str_c(e->reason));
        if (e->cause)
            put_c(l, " caused by ");
    }
}

static void write_plain(struct line *l, const char *now, const char *name, const char *msg,
                        const struct log_field *fields, size_t n)
{
    char head[48];
    snprintf(head, sizeof head, "%s %-5s ", now, name);
    put_c(l, head);
    struct str text = str_c(msg);
    for (size_t i = 0; i < text.n;)
        if (!put_escaped(l, text, &i))
            break;
    for (size_t i = 0; i < n; i++) {
        if (fields[i].type == LOG_T_NONE)
            continue;
        if (!room_for(l, &fields[i]))
            break;
        put_c(l, " ");
        put_c(l, fields[i].key);
        put_c(l, "=");
        if (fields[i].type == LOG_T_ERR && fields[i].e)
            put_plain_err(l, fields[i].e);
        else
            put_value(l, &fields[i]);
    }
    close_with(l, "\n");
}

void log_write(enum log_level l, const char *msg, const struct log_field *fields, size_t n)
{
    if (!log_on(l))
        return;
    struct line line;
    line.n = 0;
    line.cut = false;
    char now[25];
    clock_iso8601(clock_wall_ms(), now);
    if (atomic_load_explicit(&format, memory_order_relaxed) == LOG_PLAIN)
        write_plain(&line, now, level_names[l], msg, fields, n);
    else
        write_json(&line, now, level_names[l], msg, fields, n);
    /* A log nobody can take must not stop the server: every other failure loses the line. */
    int saved = errno;
    while (write(STDERR_FILENO, line.text, line.n) < 0 && errno == EINTR)
        ;
    errno = saved;
}
