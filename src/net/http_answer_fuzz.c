/* An answer read at once and in pieces: both must agree, and what is taken must be sound. The first
 * byte says how large the pieces are, and whether the answer is one to a HEAD. */
#include <stdlib.h>

#include "bug.h"
#include "buf.h"
#include "http_answer.h"

struct result {
    struct http_answer a;
    enum http_answer_event end;
    struct buf got; /* head and body, in their order */
    size_t rest;
};

static void put_head(struct result *r, const struct http_headers *hs)
{
    buf_printf(&r->got, "%d %d\n", r->a.status, (int)r->a.framing);
    BUG_ON(r->a.status < 200 || r->a.status > 999 || hs->n > HTTP_MAX_HEADERS);
    for (size_t i = 0; i < hs->n; i++) {
        struct str name = hs->h[i].name, value = hs->h[i].value;
        BUG_ON(!http_is_token(name));
        BUG_ON(value.n && (memchr(value.p, '\n', value.n) || memchr(value.p, '\r', value.n)));
        buf_put(&r->got, name);
        buf_put(&r->got, value);
    }
}

static void feed(struct result *r, struct http_span *in, struct http_headers *hs)
{
    struct str piece;
    while ((r->end = http_answer_next(&r->a, in, hs, &piece)) == HTTP_ANSWER_HEAD ||
           r->end == HTTP_ANSWER_BODY) {
        if (r->end == HTTP_ANSWER_HEAD)
            put_head(r, hs);
        else
            buf_put(&r->got, piece);
    }
}

static void read_answer(struct result *r, const char *p, size_t n, bool to_head, size_t step)
{
    static struct http_headers hs;
    *r = (struct result){.a = {.to_head = to_head}, .end = HTTP_ANSWER_MORE};
    buf_init(&r->got, SIZE_MAX / 2);
    size_t from = 0;
    for (size_t to = 0; to < n && r->end == HTTP_ANSWER_MORE;) {
        to = step < n - to ? to + step : n;
        char *copy = malloc(to - from + 1); /* of this very size, and written to */
        memcpy(copy, p + from, to - from);
        struct http_span in = {copy, to - from};
        feed(r, &in, &hs);
        from = to - in.n;
        free(copy);
    }
    r->rest = n - from;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct result whole, split;
    if (size < 2)
        return 0;
    bool to_head = data[0] & 1;
    size_t step = 1 + (data[0] >> 1) % 32;
    read_answer(&whole, (const char *)data + 1, size - 1, to_head, size);
    read_answer(&split, (const char *)data + 1, size - 1, to_head, step);
    BUG_ON(whole.end != split.end);
    if (whole.end != HTTP_ANSWER_BAD) {
        BUG_ON(!str_eq(buf_str(&whole.got), buf_str(&split.got)));
        BUG_ON(whole.rest != split.rest || whole.a.keep_alive != split.a.keep_alive);
        BUG_ON(http_answer_ends(&whole.a) != http_answer_ends(&split.a));
    } else {
        BUG_ON(!whole.a.reason || !split.a.reason);
    }
    buf_deinit(&whole.got);
    buf_deinit(&split.got);
    return 0;
}
