#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "buf.h"
#include "http_parse.h"

#define MAX_HEAD 8192

static struct http_head head;
static struct http_headers headers;

/* Scans byte by byte, each time from a fresh copy of exactly the bytes so far, so that a sanitizer
 * sees any look ahead. HTTP_SCAN_MORE when the head never ends. */
static int read_head(const char *p, size_t n)
{
    struct http_scan scan = {0};
    for (size_t i = 1; i <= n; i++) {
        char *copy = malloc(i);
        memcpy(copy, p, i);
        int status = http_scan(&scan, str_n(copy, i), MAX_HEAD);
        free(copy);
        if (status == HTTP_SCAN_DONE)
            return http_head_parse(&scan, p, &head, &headers);
        if (status != HTTP_SCAN_MORE)
            return status;
    }
    return HTTP_SCAN_MORE;
}

static int read_whole(const char *p, size_t n)
{
    struct http_scan scan = {0};
    int status = http_scan(&scan, str_n(p, n), MAX_HEAD);
    return status ? status : http_head_parse(&scan, p, &head, &headers);
}

struct row {
    const char *head;
    size_t n;
    int status;
};

#define ROW(status_, text)                                                                         \
    {                                                                                              \
        text, sizeof(text) - 1, status_                                                            \
    }

/* A GET with these header lines. */
#define GET(lines) "GET / HTTP/1.1\r\nHost: a\r\n" lines "\r\n"

static const struct row rows[] = {
    ROW(0, GET("")),
    ROW(0, "\r\n" GET("")),
    ROW(400, "\r\n\r\n" GET("")),
    ROW(400, "\r" GET("")),
    ROW(400, "\n" GET("")),
    ROW(400, "\r\n\r\n"),
    /* request line */
    ROW(0, "GET / HTTP/1.0\r\n\r\n"),
    ROW(0, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(0, "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(0, "GET HTTPS://a:1/b?c HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(0, "GET /a?q={\"x\":[1|2]} HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(400, "GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(400, "GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(400, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    ROW(400, "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(400, "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(400, "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(400, "GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(400, "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(400, "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(400, "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(400, "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(400, "GET /\r\nHost: a\r\n\r\n"),
    ROW(400, "GET / http/1.1\r\nHost: a\r\n\r\n"),
    ROW(400, "GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
    ROW(400, "G@T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(400, "\x16\x03\x01"),
    ROW(505, "PRI * HTTP/2.0\r\n\r\n"),
    ROW(505, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    ROW(505, "GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
    ROW(405, "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(405, "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(501, "BREW / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ROW(501, "get / HTTP/1.1\r\nHost: a\r\n\r\n"),
    /* lines */
    ROW(400, "GET / HTTP/1.1\nHost: a\n\n"),
    ROW(400, "GET / HTTP/1.1\r\nHost: a\n"),
    ROW(400, GET("A: b\r\n c\r\n")),
    ROW(400, GET("A: b\r\n\tc\r\n")),
    ROW(400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    ROW(400, GET("A: b\0c\r\n")),
    ROW(400, GET("A: b\rc\r\n")),
    ROW(400, GET("A: b\x0b\r\n")),
    ROW(400, GET("A: b\x7f\r\n")),
    ROW(400, GET("A : b\r\n")),
    ROW(400, GET("A\t: b\r\n")),
    ROW(400, GET(": b\r\n")),
    ROW(400, GET("A\r\n")),
    ROW(400, GET("A(: b\r\n")),
    ROW(400, GET("\xc3\xa4: b\r\n")),
    ROW(0, GET("A:\r\nB: \t \r\nC:\tx\xc3\xa4 y\t\r\n")),
    /* Host */
    ROW(400, "GET / HTTP/1.1\r\n\r\n"),
    ROW(400, GET("host: a\r\n")),
    ROW(400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    ROW(400, "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n"),
    ROW(400, "GET / HTTP/1.1\r\nHost: http://a\r\n\r\n"),
    ROW(0, "GET / HTTP/1.1\r\nHost: [::1]:9200\r\n\r\n"),
    ROW(0, "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    /* framing */
    ROW(0, GET("Content-Length: 0\r\n")),
    ROW(0, GET("Content-Length: 18446744073709551615\r\n")),
    ROW(0, GET("Content-Length: 99999999999999999999999999999999999\r\n")),
    ROW(400, GET("Content-Length: 5\r\nContent-Length: 5\r\n")),
    ROW(400, GET("Content-Length: 5\r\ncontent-length: 6\r\n")),
    ROW(400, GET("Content-Length: 5, 5\r\n")),
    ROW(400, GET("Content-Length: +5\r\n")),
    ROW(400, GET("Content-Length: -5\r\n")),
    ROW(400, GET("Content-Length: 05\r\n")),
    ROW(400, GET("Content-Length: 5 5\r\n")),
    ROW(400, GET("Content-Length: 0x5\r\n")),
    ROW(400, GET("Content-Length: 5.0\r\n")),
    ROW(400, GET("Content-Length:\r\n")),
    ROW(400, GET("Content-Length : 5\r\n")),
    ROW(0, GET("Transfer-Encoding: chunked\r\n")),
    ROW(0, GET("Transfer-Encoding: Chunked\r\n")),
    ROW(400, GET("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")),
    ROW(400, GET("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")),
    ROW(400, GET("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
    ROW(400, GET("Transfer-Encoding: gzip, chunked\r\n")),
    ROW(400, GET("Transfer-Encoding: chunked, identity\r\n")),
    ROW(400, GET("Transfer-Encoding: identity\r\n")),
    ROW(400, GET("Transfer-Encoding: \x0b"
                 "chunked\r\n")),
    ROW(400, GET("Transfer-Encoding: xchunked\r\n")),
    ROW(400, GET("Transfer-Encoding:\r\n")),
    ROW(400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ROW(0, GET("Expect: 100-Continue\r\n")),
    ROW(417, GET("Expect: tea\r\n")),
    ROW(HTTP_SCAN_MORE, "GET / HTTP/1.1\r\nHost: a\r\n"),
    ROW(HTTP_SCAN_MORE, "\r\n"),
};

static void strict_table(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int whole = read_whole(rows[i].head, rows[i].n);
        int split = read_head(rows[i].head, rows[i].n);
        if (whole != rows[i].status || split != rows[i].status)
            fail_msg("row %zu gave %d whole, %d split, not %d:\n%s", i, whole, split,
                     rows[i].status, rows[i].head);
    }
}

static void assert_str(struct str s, const char *z)
{
    assert_int_equal(s.n, strlen(z));
    assert_memory_equal(s.p, z, s.n);
}

static void parts_of_a_request(void **state)
{
    static const char text[] = "POST http://h:1/a%20b?x=1?y HTTP/1.1\r\nhOST: h\r\n"
                               "X-Thing:  some value \t\r\nContent-Length: 12\r\n\r\nbody";
    assert_int_equal(read_head(text, sizeof text - 1), 0);
    assert_int_equal(head.method, HTTP_POST);
    assert_str(head.target, "http://h:1/a%20b?x=1?y");
    assert_str(head.path, "/a%20b");
    assert_str(head.query, "x=1?y");
    assert_true(head.keep_alive);
    assert_true(head.has_length);
    assert_int_equal(head.length, 12);
    assert_int_equal(headers.n, 3);
    assert_str(headers.h[1].name, "X-Thing");
    assert_str(headers.h[1].value, "some value");
}

static void absolute_form_without_a_path(void **state)
{
    static const char text[] = "GET http://h?q HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_int_equal(read_head(text, sizeof text - 1), 0);
    assert_str(head.path, "/");
    assert_str(head.query, "q");
}

static bool keeps_alive(const char *text)
{
    assert_int_equal(read_head(text, strlen(text)), 0);
    return head.keep_alive;
}

static void connection_header(void **state)
{
    assert_true(keeps_alive(GET("")));
    assert_false(keeps_alive(GET("Connection: Close\r\n")));
    assert_false(keeps_alive(GET("Connection: x, ,close\r\n")));
    assert_false(keeps_alive(GET("Connection: keep-alive\r\nConnection: close\r\n")));
    assert_true(keeps_alive(GET("Connection: closed\r\n")));
    assert_false(keeps_alive("GET / HTTP/1.0\r\n\r\n"));
    assert_true(keeps_alive("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
}

static bool accepts_gzip(const char *text)
{
    assert_int_equal(read_head(text, strlen(text)), 0);
    return head.accept_gzip;
}

static void codings(void **state)
{
    assert_false(accepts_gzip(GET("")));
    assert_true(accepts_gzip(GET("Accept-Encoding: deflate, gzip;q=0.5\r\n")));
    assert_true(accepts_gzip(GET("Accept-Encoding: GZIP\r\n")));
    assert_false(accepts_gzip(GET("Accept-Encoding: gzip;q=0\r\n")));
    assert_false(accepts_gzip(GET("Accept-Encoding: gzip ; q=0.000\r\n")));
    assert_false(accepts_gzip(GET("Accept-Encoding: identity\r\n")));
    assert_false(accepts_gzip(GET("Accept-Encoding: gzipped\r\n")));
    keeps_alive(GET("Content-Encoding: gzip\r\n"));
    assert_int_equal(head.coding, HTTP_CODING_GZIP);
    keeps_alive(GET("Content-Encoding: identity\r\n"));
    assert_int_equal(head.coding, HTTP_CODING_NONE);
    keeps_alive(GET("Content-Encoding: gzip, gzip\r\n"));
    assert_int_equal(head.coding, HTTP_CODING_OTHER);
    keeps_alive(GET("Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n"));
    assert_int_equal(head.coding, HTTP_CODING_OTHER);
    keeps_alive(GET("Content-Encoding: br\r\n"));
    assert_int_equal(head.coding, HTTP_CODING_OTHER);
}

static void limits(void **state)
{
    char *text = malloc(2 * MAX_HEAD);
    memset(text, 'a', 2 * MAX_HEAD);
    memcpy(text, "GET /", 5);
    assert_int_equal(read_whole(text, 2 * MAX_HEAD), 414);
    assert_int_equal(read_whole(text, MAX_HEAD), HTTP_SCAN_MORE);
    memcpy(text, "GET / HTTP/1.1\r\nHost: ", 22);
    assert_int_equal(read_whole(text, 2 * MAX_HEAD), 431);
    memcpy(text + MAX_HEAD - 4, "\r\n\r\n", 4); /* the largest head there may be */
    assert_int_equal(read_whole(text, 2 * MAX_HEAD), 0);
    memcpy(text + MAX_HEAD - 4, "a\r\n\r\n", 5);
    assert_int_equal(read_whole(text, 2 * MAX_HEAD), 431);
    free(text);
}

static void at_most_64_headers(void **state)
{
    struct buf text;
    buf_init(&text, 4096);
    buf_cstr(&text, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 1; i < HTTP_MAX_HEADERS; i++)
        buf_cstr(&text, "A: b\r\n");
    size_t n = text.n;
    buf_cstr(&text, "\r\n");
    assert_int_equal(read_head(text.p, text.n), 0);
    assert_int_equal(headers.n, HTTP_MAX_HEADERS);
    text.n = n;
    buf_cstr(&text, "A: b\r\n\r\n");
    assert_int_equal(read_head(text.p, text.n), 431);
    buf_deinit(&text);
}

/* ---- chunks ---- */

/* Feeds in pieces of `step` bytes. True: ended; *rest_out is what was not taken. */
static enum http_chunk read_chunks(struct str in, size_t step, char *out, size_t *n_out,
                                   size_t *rest_out)
{
    struct http_chunked k = {0};
    *n_out = 0;
    for (size_t at = 0; at < in.n; at += step) {
        struct str piece = str_sub(in, at, step), data;
        for (;;) {
            enum http_chunk r = http_chunked_feed(&k, &piece, &data);
            if (r == HTTP_CHUNK_MORE)
                break;
            *rest_out = in.n - at - (str_sub(in, at, step).n - piece.n);
            if (r != HTTP_CHUNK_DATA)
                return r;
            memcpy(out + *n_out, data.p, data.n);
            *n_out += data.n;
        }
    }
    return HTTP_CHUNK_MORE;
}

static const struct {
    struct str in;
    enum http_chunk end;
    const char *data;
    size_t rest;
} chunk_rows[] = {
    {STR_INIT("5\r\nhello\r\n0\r\n\r\n"), HTTP_CHUNK_END, "hello", 0},
    {STR_INIT("5\r\nhello\r\n0\r\n\r\nGET"), HTTP_CHUNK_END, "hello", 3},
    {STR_INIT("0\r\n\r\n"), HTTP_CHUNK_END, "", 0},
    {STR_INIT("000\r\n\r\n"), HTTP_CHUNK_END, "", 0},
    {STR_INIT("A;a=b;c=\"d\"\r\n0123456789\r\n1 \r\n"), HTTP_CHUNK_BAD, "0123456789", 0},
    {STR_INIT("a;x\r\n0123456789\r\n00;y\r\nT: v\r\nU:\r\n\r\nx"), HTTP_CHUNK_END, "0123456789", 1},
    {STR_INIT("5\r\nhello\r\n0\r\n"), HTTP_CHUNK_MORE, "hello", 0},
    {STR_INIT("5\r\nhelloX\r\n"), HTTP_CHUNK_BAD, "hello", 0},
    {STR_INIT("5\nhello"), HTTP_CHUNK_BAD, "", 0},
    {STR_INIT("5\r\nhello\n"), HTTP_CHUNK_BAD, "hello", 0},
    {STR_INIT("\r\n"), HTTP_CHUNK_BAD, "", 0},
    {STR_INIT(";\r\n"), HTTP_CHUNK_BAD, "", 0},
    {STR_INIT("-1\r\n"), HTTP_CHUNK_BAD, "", 0},
    {STR_INIT("0x5\r\n"), HTTP_CHUNK_BAD, "", 0},
    {STR_INIT(" 5\r\n"), HTTP_CHUNK_BAD, "", 0},
    {STR_INIT("5;\n\r\n"), HTTP_CHUNK_BAD, "", 0},
    {STR_INIT("5;\0\r\n"), HTTP_CHUNK_BAD, "", 0},
    {STR_INIT("0000000000000005\r\n"), HTTP_CHUNK_BAD, "", 0},
    {STR_INIT("ffffffffffffffff\r\n"), HTTP_CHUNK_BAD, "", 0},
    {STR_INIT("0\r\nno colon\r\n\r\n"), HTTP_CHUNK_BAD, "", 0},
    {STR_INIT("0\r\n: v\r\n\r\n"), HTTP_CHUNK_BAD, "", 0},
    {STR_INIT("0\r\n folded\r\n\r\n"), HTTP_CHUNK_BAD, "", 0},
    {STR_INIT("0\r\nT: v\n\r\n"), HTTP_CHUNK_BAD, "", 0},
    {STR_INIT("0\r\n\rX"), HTTP_CHUNK_BAD, "", 0},
};

static void chunk_table(void **state)
{
    for (size_t i = 0; i < sizeof chunk_rows / sizeof chunk_rows[0]; i++) {
        for (size_t step = 1; step <= chunk_rows[i].in.n; step++) {
            char out[128];
            size_t n, rest = 0;
            enum http_chunk end = read_chunks(chunk_rows[i].in, step, out, &n, &rest);
            if (end != chunk_rows[i].end || n != strlen(chunk_rows[i].data) ||
                memcmp(out, chunk_rows[i].data, n) != 0)
                fail_msg("row %zu in steps of %zu gave %d and \"%.*s\"", i, step, (int)end, (int)n,
                         out);
            if (end == HTTP_CHUNK_END)
                assert_int_equal(rest, chunk_rows[i].rest);
        }
    }
}

static void endless_extensions_end(void **state)
{
    struct http_chunked k = {0};
    struct str start = STR("1;"), data;
    assert_int_equal(http_chunked_feed(&k, &start, &data), HTTP_CHUNK_MORE);
    char noise[1000];
    memset(noise, 'x', sizeof noise);
    enum http_chunk r = HTTP_CHUNK_MORE;
    for (int i = 0; i < 20 && r == HTTP_CHUNK_MORE; i++) {
        struct str in = str_n(noise, sizeof noise);
        r = http_chunked_feed(&k, &in, &data);
    }
    assert_int_equal(r, HTTP_CHUNK_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strict_table),
        cmocka_unit_test(parts_of_a_request),
        cmocka_unit_test(absolute_form_without_a_path),
        cmocka_unit_test(connection_header),
        cmocka_unit_test(codings),
        cmocka_unit_test(limits),
        cmocka_unit_test(at_most_64_headers),
        cmocka_unit_test(chunk_table),
        cmocka_unit_test(endless_extensions_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
