#include "sse_reader.h"

#define MAX_EVENT_BYTES ((size_t)4 << 20)
#define FIRST_BYTES     ((size_t)4 << 10)

/* Bytes in an arena: doubling leaves at most as much behind as it holds. */
struct bytes {
    char *p;
    size_t n, cap;
};

struct sse_reader {
    struct arena *arena;
    struct bytes in; /* not yet cut, from `at` on */
    size_t at;
    size_t scanned; /* bytes after `at` known to hold no line end */
    struct bytes name, data;
    bool has_data, after_cr, past_start, handed_out;
};

struct sse_reader *sse_reader_new(struct arena *arena)
{
    struct sse_reader *r = arena_alloc(arena, sizeof *r);
    r->arena = arena;
    return r;
}

static void append(struct arena *arena, struct bytes *b, struct str s)
{
    if (s.n > b->cap - b->n) {
        size_t cap = b->cap ? b->cap : FIRST_BYTES;
        while (cap < b->n + s.n)
            cap *= 2;
        char *grown = arena_alloc(arena, cap);
        if (b->n)
            memcpy(grown, b->p, b->n);
        b->p = grown;
        b->cap = cap;
    }
    if (s.n)
        memcpy(b->p + b->n, s.p, s.n);
    b->n += s.n;
}

struct err *sse_reader_feed(struct sse_reader *r, struct str bytes)
{
    if (r->at) {
        r->in.n -= r->at;
        memmove(r->in.p, r->in.p + r->at, r->in.n);
        r->at = 0;
    }
    if (bytes.n > MAX_EVENT_BYTES || r->in.n + r->data.n + r->name.n > MAX_EVENT_BYTES - bytes.n)
        return err_new(ERR_TOO_LARGE, "An event of the stream is larger than [%zu] bytes",
                       MAX_EVENT_BYTES);
    append(r->arena, &r->in, bytes);
    return NULL;
}

static bool take_line(struct sse_reader *r, struct str *line)
{
    if (r->after_cr && r->at < r->in.n) { /* the second half of CRLF */
        r->after_cr = false;
        r->at += r->in.p[r->at] == '\n';
    }
    size_t end = r->at + r->scanned;
    while (end < r->in.n && r->in.p[end] != '\n' && r->in.p[end] != '\r')
        end++;
    r->scanned = end - r->at;
    if (end == r->in.n)
        return false;
    *line = str_n(r->in.p + r->at, r->scanned);
    r->after_cr = r->in.p[end] == '\r';
    r->at = end + 1;
    r->scanned = 0;
    return true;
}

static void begin(struct sse_reader *r)
{
    r->name.n = r->data.n = 0;
    r->has_data = r->handed_out = false;
}

static void read_field(struct sse_reader *r, struct str line)
{
    size_t colon = str_find_char(line, ':');
    struct str name = str_sub(line, 0, colon == SIZE_MAX ? line.n : colon);
    struct str value = colon == SIZE_MAX ? STR("") : str_sub(line, colon + 1, line.n);
    if (value.n && value.p[0] == ' ')
        value = str_sub(value, 1, value.n);
    if (str_eq(name, STR("event"))) {
        r->name.n = 0;
        append(r->arena, &r->name, value);
    } else if (str_eq(name, STR("data"))) {
        if (r->has_data)
            append(r->arena, &r->data, STR("\n"));
        append(r->arena, &r->data, value);
        r->has_data = true;
    }
}

bool sse_reader_next(struct sse_reader *r, struct event *out)
{
    struct str line;
    if (r->handed_out)
        begin(r);
    while (take_line(r, &line)) {
        if (!r->past_start && str_starts(line, STR("\xEF\xBB\xBF")))
            line = str_sub(line, 3, line.n);
        r->past_start = true;
        if (line.n) {
            read_field(r, line);
        } else if (r->has_data) {
            *out = (struct event){.name = r->name.n ? str_n(r->name.p, r->name.n) : STR("message"),
                                  .data = r->data.n ? str_n(r->data.p, r->data.n) : STR("")};
            r->handed_out = true;
            return true;
        } else {
            begin(r);
        }
    }
    return false;
}
