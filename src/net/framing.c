/* framing: bytes in, events out.
 *
 * Fed bytes gather in `in`; lines (or AWS messages) are taken off its front by moving `at`, and the
 * front is dropped at the next feed. A line is searched for its end from where the last search
 * stopped, so that an event which comes in a thousand pieces is still read once. */
#include "framing.h"

#include <zlib.h>

void framing_init(struct framing *f, enum framing_kind kind, size_t limit_bytes)
{
    *f = (struct framing){.kind = kind, .limit = limit_bytes, .at_start = true};
    buf_init(&f->in, SIZE_MAX);
    buf_init(&f->data, limit_bytes);
    buf_init(&f->name, 1024);
}

void framing_deinit(struct framing *f)
{
    buf_deinit(&f->in);
    buf_deinit(&f->data);
    buf_deinit(&f->name);
}

void framing_feed(struct framing *f, struct str bytes)
{
    if (f->broken || f->ended)
        return;
    if (f->at) {
        buf_consume(&f->in, f->at);
        f->at = 0;
    }
    buf_put(&f->in, bytes);
}

void framing_end(struct framing *f)
{
    f->ended = true;
}

static struct str rest(const struct framing *f)
{
    return f->in.n == f->at ? STR("") : str_n(f->in.p + f->at, f->in.n - f->at);
}

static struct err *too_large(const struct framing *f)
{
    return err_new(ERR_TOO_LARGE, "An event of the stream is larger than [%zu] bytes", f->limit);
}

/* --- lines --- */

/* Index of the first CR or LF at or after `from`; SIZE_MAX: none. In steps, so that a flood of
 * short lines that end in one of the two is not searched to its end for the other, line by line. */
static size_t find_line_end(struct str s, size_t from)
{
    for (size_t step; from < s.n; from += step) {
        step = s.n - from < 256 ? s.n - from : 256;
        const char *p = s.p + from;
        const char *lf = memchr(p, '\n', step);
        const char *cr = memchr(p, '\r', lf ? (size_t)(lf - p) : step);
        if (cr || lf)
            return (size_t)((cr ? cr : lf) - s.p);
    }
    return SIZE_MAX;
}

static void skip_second_half_of_crlf(struct framing *f)
{
    struct str s = rest(f);
    if (!f->after_cr || s.n == 0)
        return;
    f->after_cr = false;
    if (s.p[0] == '\n')
        f->at++;
}

/* One line off the front, without its end; an unterminated one only after the end of the stream. */
static bool take_line(struct framing *f, struct str *line, struct err **err_out)
{
    skip_second_half_of_crlf(f);
    struct str s = rest(f);
    size_t end = find_line_end(s, f->scanned);
    bool whole = end != SIZE_MAX;
    *line = whole ? str_sub(s, 0, end) : s;
    if (line->n > f->limit) {
        *err_out = too_large(f);
        return false;
    }
    if (!whole && (!f->ended || s.n == 0)) {
        f->scanned = s.n;
        return false;
    }
    f->after_cr = whole && s.p[end] == '\r';
    f->at += whole ? end + 1 : s.n;
    f->scanned = 0;
    return true;
}

/* --- server-sent events: WHATWG HTML 9.2.6 --- */

static void sse_begin(struct framing *f)
{
    buf_clear(&f->data);
    buf_clear(&f->name);
    f->has_data = false;
}

static void sse_field(struct framing *f, struct str line)
{
    size_t colon = str_find_char(line, ':');
    struct str name = str_sub(line, 0, colon == SIZE_MAX ? line.n : colon);
    struct str value = colon == SIZE_MAX ? STR("") : str_sub(line, colon + 1, line.n);
    if (value.n && value.p[0] == ' ')
        value = str_sub(value, 1, value.n);
    if (str_eq_nocase(name, STR("data"))) { /* in any case, as Elasticsearch reads them */
        if (f->has_data)
            buf_char(&f->data, '\n');
        buf_put(&f->data, value);
        f->has_data = true;
    } else if (str_eq_nocase(name, STR("event"))) {
        buf_clear(&f->name);
        buf_put(&f->name, value);
    } /* id, retry and comments (an empty name) are of no use here */
}

/* The first line may begin with a byte order mark. */
static struct str sse_start(struct framing *f, struct str line)
{
    bool marked = f->at_start && str_starts(line, STR("\xEF\xBB\xBF"));
    f->at_start = false;
    return marked ? str_sub(line, 3, line.n) : line;
}

static bool sse_next(struct framing *f, struct event *out, struct err **err_out)
{
    struct str line;
    if (f->handed_out)
        sse_begin(f);
    f->handed_out = false;
    while (take_line(f, &line, err_out)) {
        line = sse_start(f, line);
        if (line.n) {
            sse_field(f, line);
        } else if (f->data.n) { /* a blank line ends an event */
            *out = (struct event){.name = f->name.n ? buf_str(&f->name) : STR("message"),
                                  .data = buf_str(&f->data)};
            f->handed_out = true;
            return true;
        } else { /* one without data, or with empty data, says nothing: some keep alive with it */
            sse_begin(f);
        }
        if (f->data.full || f->name.full) {
            *err_out = too_large(f);
            return false;
        }
    }
    return false; /* an event that was not finished by a blank line is dropped */
}

/* --- one JSON text per line --- */

static bool ndjson_next(struct framing *f, struct event *out, struct err **err_out)
{
    struct str line;
    while (take_line(f, &line, err_out)) {
        line = str_trim(line);
        if (line.n == 0)
            continue;
        *out = (struct event){.name = STR("message"), .data = line};
        return true;
    }
    return false;
}

/* --- AWS event stream ---
 *
 * Total length, headers length, CRC of both, headers, payload, CRC of all; big-endian. */

#define AWS_PRELUDE  12
#define AWS_OVERHEAD 16

static uint32_t be32(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static uint32_t crc(const char *p, size_t n)
{
    return (uint32_t)crc32(0, (const Bytef *)p, (uInt)n);
}

/* Bytes of a header's value after its type byte; SIZE_MAX: no such type, or cut. */
static size_t aws_value_size(int type, struct str s, struct str *text)
{
    static const size_t fixed[] = {0, 0, 1, 2, 4, 8, 0, 0, 8, 16};
    *text = (struct str){0};
    if (type < 0 || type > 9)
        return SIZE_MAX;
    if (type != 6 && type != 7)
        return fixed[type];
    if (s.n < 2)
        return SIZE_MAX;
    size_t n = (size_t)(unsigned char)s.p[0] << 8 | (unsigned char)s.p[1];
    if (s.n < 2 + n)
        return SIZE_MAX;
    if (type == 7)
        *text = str_sub(s, 2, n);
    return 2 + n;
}

/* What an event is called and says comes from its headers; `error` messages have no payload. */
static void aws_header(struct str name, struct str text, struct event *out)
{
    if (str_eq(name, STR(":event-type")) || str_eq(name, STR(":exception-type")) ||
        str_eq(name, STR(":error-code")))
        out->name = text;
    else if (str_eq(name, STR(":message-type")))
        out->exception = !str_eq(text, STR("event"));
    else if (str_eq(name, STR(":error-message")) && out->data.n == 0)
        out->data = text;
}

static bool aws_headers(struct str s, struct event *out)
{
    while (s.n) {
        size_t name_n = (unsigned char)s.p[0];
        if (name_n == 0 || s.n < 2 + name_n)
            return false;
        struct str name = str_sub(s, 1, name_n), text;
        int type = (unsigned char)s.p[1 + name_n];
        s = str_sub(s, 2 + name_n, s.n);
        size_t n = aws_value_size(type, s, &text);
        if (n > s.n)
            return false;
        s = str_sub(s, n, s.n);
        aws_header(name, text, out);
    }
    return true;
}

static struct err *aws_garbage(const char *what)
{
    return err_new(ERR_IO, "The event stream is damaged: %s", what);
}

/* NULL: not yet, or *size_out is the size of a whole message at the front of `s`. */
static struct err *aws_message(const struct framing *f, struct str s, size_t *size_out)
{
    *size_out = 0;
    if (s.n < AWS_PRELUDE)
        return f->ended && s.n ? aws_garbage("it ends within a message") : NULL;
    uint32_t total = be32(s.p), headers = be32(s.p + 4);
    if (crc(s.p, 8) != be32(s.p + 8))
        return aws_garbage("wrong checksum of a prelude");
    if (total < AWS_OVERHEAD || headers > total - AWS_OVERHEAD)
        return aws_garbage("a length out of range");
    if (total > f->limit)
        return too_large(f);
    if (s.n < total)
        return f->ended ? aws_garbage("it ends within a message") : NULL;
    if (crc(s.p, total - 4) != be32(s.p + total - 4))
        return aws_garbage("wrong checksum of a message");
    *size_out = total;
    return NULL;
}

static bool aws_next(struct framing *f, struct event *out, struct err **err_out)
{
    struct str s = rest(f);
    size_t total;
    *err_out = aws_message(f, s, &total);
    if (total == 0)
        return false;
    uint32_t headers = be32(s.p + 4);
    *out =
        (struct event){.data = str_sub(s, AWS_PRELUDE + headers, total - AWS_OVERHEAD - headers)};
    if (!aws_headers(str_sub(s, AWS_PRELUDE, headers), out)) {
        *err_out = aws_garbage("a header that is cut");
        return false;
    }
    f->at += total;
    return true;
}

bool framing_next(struct framing *f, struct event *out, struct err **err_out)
{
    *err_out = NULL;
    if (f->broken)
        return false;
    bool got = false;
    if (f->kind == FRAMING_SSE)
        got = sse_next(f, out, err_out);
    else if (f->kind == FRAMING_NDJSON)
        got = ndjson_next(f, out, err_out);
    else if (f->kind == FRAMING_AWS)
        got = aws_next(f, out, err_out);
    f->broken = *err_out != NULL;
    return got;
}

void sse_write(struct buf *out, struct str name, struct str data)
{
    buf_put(out, STR("event: "));
    buf_put(out, name);
    buf_put(out, STR("\ndata: "));
    buf_put(out, data);
    buf_put(out, STR("\n\n"));
}
