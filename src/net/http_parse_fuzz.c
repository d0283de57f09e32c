/* The head and the chunks behind it, read at once and byte by byte: both must agree. */
#include <stdlib.h>

#include "bug.h"
#include "buf.h"
#include "http_parse.h"

#define MAX_HEAD 512

struct result {
    int status;
    struct http_head head;
    struct http_headers headers;
    enum http_chunk end;
    struct buf body;
    size_t rest;
};

static void chunks(struct result *r, struct str in, size_t step)
{
    struct http_chunked k = {0};
    r->end = HTTP_CHUNK_MORE;
    for (size_t at = 0; at < in.n && r->end == HTTP_CHUNK_MORE; at += step) {
        struct str piece = str_sub(in, at, step), data;
        size_t n = piece.n;
        while ((r->end = http_chunked_feed(&k, &piece, &data)) == HTTP_CHUNK_DATA)
            buf_put(&r->body, data);
        r->rest = in.n - at - (n - piece.n);
    }
}

static void parse(struct result *r, const char *p, size_t n, size_t step)
{
    *r = (struct result){.status = HTTP_SCAN_MORE};
    buf_init(&r->body, SIZE_MAX / 2);
    struct http_scan scan = {0};
    for (size_t i = step < n ? step : n; r->status == HTTP_SCAN_MORE; i += step) {
        r->status = http_scan(&scan, str_n(p, i), MAX_HEAD);
        if (i >= n)
            break;
    }
    if (r->status != HTTP_SCAN_DONE)
        return;
    r->status = http_head_parse(&scan, p, &r->head, &r->headers);
    if (r->status == 0)
        chunks(r, str_n(p + scan.head_n, n - scan.head_n), step);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct result whole, split;
    if (size == 0)
        return 0;
    parse(&whole, (const char *)data, size, size);
    parse(&split, (const char *)data, size, 1);
    BUG_ON(whole.status != split.status);
    if (whole.status == 0) {
        BUG_ON(!str_eq(whole.head.path, split.head.path) || whole.headers.n != split.headers.n);
        BUG_ON(whole.end != split.end || !str_eq(buf_str(&whole.body), buf_str(&split.body)));
        BUG_ON(whole.end == HTTP_CHUNK_END && whole.rest != split.rest);
        BUG_ON(whole.head.chunked && whole.head.has_length);
        for (size_t i = 0; i < whole.headers.n; i++)
            BUG_ON(memchr(whole.headers.h[i].value.p, '\n', whole.headers.h[i].value.n) != NULL);
    }
    buf_deinit(&whole.body);
    buf_deinit(&split.body);
    return 0;
}
