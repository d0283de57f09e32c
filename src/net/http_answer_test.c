/* Answers, each read whole, byte by byte, and cut in two at every byte: the result must be the
 * same.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "buf.h"
#include "http_answer.h"

enum end { GOES_ON, ENDS, BROKEN };

/* All that is heard of one answer. */
struct heard {
    struct http_answer a;
    struct buf got; /* "status|name=value;...|body" */
    enum end end;
    size_t rest;
    bool closed_is_end;
};

static void put_head(struct heard *h, const struct http_headers *hs)
{
    buf_printf(&h->got, "%d|", h->a.status);
    for (size_t i = 0; i < hs->n; i++)
        buf_printf(&h->got, "%.*s=%.*s;", STR_ARG(hs->h[i].name), STR_ARG(hs->h[i].value));
    buf_char(&h->got, '|');
}

static void feed(struct heard *h, struct http_span *in, struct http_headers *hs)
{
    struct str piece;
    for (;;) {
        switch (http_answer_next(&h->a, in, hs, &piece)) {
        case HTTP_ANSWER_HEAD:
            put_head(h, hs);
            break;
        case HTTP_ANSWER_BODY:
            assert_true(piece.n > 0);
            buf_put(&h->got, piece);
            break;
        case HTTP_ANSWER_MORE:
            return;
        case HTTP_ANSWER_END:
            h->end = ENDS;
            return;
        case HTTP_ANSWER_BAD:
            h->end = BROKEN;
            assert_non_null(h->a.reason);
            return;
        }
    }
}

/* Hands over the first cut bytes, then pieces of `step`. Each time into memory of that very size,
 * so that a sanitizer sees every look beyond it; what was not taken comes again with the rest. */
static void hear(struct heard *h, struct str text, bool to_head, size_t cut, size_t step)
{
    struct http_headers hs = {.n = 0};
    *h = (struct heard){.a = {.to_head = to_head}};
    buf_init(&h->got, 1 << 20);
    size_t from = 0;
    for (size_t to = cut;; to = step < text.n - to ? to + step : text.n) {
        char *p = malloc(to - from + 1);
        memcpy(p, text.p + from, to - from);
        struct http_span in = {p, to - from};
        feed(h, &in, &hs);
        from = to - in.n;
        free(p);
        if (to == text.n || h->end != GOES_ON)
            break;
    }
    h->rest = text.n - from;
    h->closed_is_end = http_answer_ends(&h->a);
}

static void same(const struct heard *a, const struct heard *b)
{
    assert_int_equal(a->end, b->end);
    if (a->end == BROKEN)
        return;
    assert_true(str_eq(buf_str(&a->got), buf_str(&b->got)));
    assert_int_equal(a->rest, b->rest);
    assert_int_equal(a->a.keep_alive, b->a.keep_alive);
    assert_int_equal(a->closed_is_end, b->closed_is_end);
}

static void hear_all_ways(struct heard *h, struct str text, bool to_head)
{
    hear(h, text, to_head, text.n, 1);
    for (size_t cut = 0; cut <= text.n; cut++) {
        struct heard other;
        hear(&other, text, to_head, cut, cut ? text.n : 1);
        same(h, &other);
        buf_deinit(&other.got);
    }
}

static void expect(const char *text, enum end end, const char *got, bool keep_alive, size_t rest)
{
    struct heard h;
    hear_all_ways(&h, str_c(text), false);
    if (h.end != end || !str_eq_c(buf_str(&h.got), got))
        fail_msg("[%s] gives %d [%.*s]: %s", text, h.end, STR_ARG(buf_str(&h.got)),
                 h.a.reason ? h.a.reason : "");
    assert_int_equal(h.a.keep_alive, keep_alive);
    assert_int_equal(h.rest, rest);
    buf_deinit(&h.got);
}

static void refused(const char *text)
{
    struct heard h;
    hear_all_ways(&h, str_c(text), false);
    if (h.end != BROKEN)
        fail_msg("[%s] is taken as [%.*s]", text, STR_ARG(buf_str(&h.got)));
    buf_deinit(&h.got);
}

/* --- what is read --- */

static void by_length(void **state)
{
    expect("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", ENDS, "200|Content-Length=3;|abc",
           true, 0);
    expect("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP", ENDS, "200|Content-Length=3;|abc",
           true, 4);
    expect("HTTP/1.1 200\r\ncontent-length:0\r\n\r\n", ENDS, "200|content-length=0;|", true, 0);
    expect("HTTP/1.1 200 \r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", ENDS,
           "200|Content-Length=1;Content-Length=1;|x", true, 0);
    expect("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", GOES_ON, "200|Content-Length=4;|abc",
           true, 0);
}

static void by_chunks(void **state)
{
    expect("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;a=b\r\nde\r\n0\r\n"
           "X-T: 1\r\n\r\nrest",
           ENDS, "200|Transfer-Encoding=chunked;|abcde", true, 4);
    expect("HTTP/1.1 200 OK\r\nTRANSFER-ENCODING:  Chunked \r\n\r\n0\r\n\r\n", ENDS,
           "200|TRANSFER-ENCODING=Chunked;|", true, 0);
    expect("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"
           "1\r\na\r\n0\r\n\r\n",
           ENDS, "200|Transfer-Encoding=chunked;Connection=keep-alive;|a", false, 0);
}

static void to_the_end(void **state)
{
    struct heard h;
    hear_all_ways(&h, STR("HTTP/1.1 200 OK\r\n\r\nabc"), false);
    assert_int_equal(h.end, GOES_ON);
    assert_true(h.closed_is_end);
    assert_false(h.a.keep_alive);
    assert_true(str_eq_c(buf_str(&h.got), "200||abc"));
    buf_deinit(&h.got);
    hear_all_ways(&h, STR("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"), false);
    assert_false(h.closed_is_end);
    buf_deinit(&h.got);
    hear_all_ways(&h, STR("HTTP/1.1 200 OK\r\nContent-L"), false);
    assert_false(h.closed_is_end);
    buf_deinit(&h.got);
}

static void without_a_body(void **state)
{
    expect("HTTP/1.1 204 No Content\r\n\r\n", ENDS, "204||", true, 0);
    expect("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", ENDS, "304|Content-Length=9;|",
           true, 0);
    expect("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\nx", ENDS,
           "204|Transfer-Encoding=chunked;|", true, 1);
    struct heard h;
    hear_all_ways(&h, STR("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), true);
    assert_int_equal(h.end, ENDS);
    assert_true(h.a.keep_alive);
    buf_deinit(&h.got);
}

static void early_heads(void **state)
{
    expect("HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\n"
           "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
           ENDS, "200|Content-Length=1;|x", true, 0);
    expect("HTTP/1.1 100 Continue\r\n\r\n", GOES_ON, "", false, 0);
    refused("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n");
}

static void keeping_alive(void **state)
{
#define EMPTY(version, lines) "HTTP/1." version " 200 OK\r\nContent-Length: 0\r\n" lines "\r\n"
    expect(EMPTY("1", "Connection: close\r\n"), ENDS, "200|Content-Length=0;Connection=close;|",
           false, 0);
    expect(EMPTY("1", "Connection: a, CLOSE ,b\r\n"), ENDS,
           "200|Content-Length=0;Connection=a, CLOSE ,b;|", false, 0);
    expect(EMPTY("0", ""), ENDS, "200|Content-Length=0;|", false, 0);
    expect(EMPTY("0", "Connection: Keep-Alive\r\n"), ENDS,
           "200|Content-Length=0;Connection=Keep-Alive;|", true, 0);
}

static void lenient(void **state)
{
    expect("HTTP/1.1 200 OK\nA: b\nContent-Length: 1\n\nx", ENDS, "200|A=b;Content-Length=1;|x",
           true, 0);
    expect("HTTP/1.1 200 OK\r\nA: one\r\n  two \r\n\t\r\nContent-Length: 0\r\n\r\n", ENDS,
           "200|A=one    two;Content-Length=0;|", true, 0);
    expect("HTTP/1.1 200 \xc3\xbc\r\nA: \xff\tb\r\nContent-Length: 0\r\nB:\r\n\r\n", ENDS,
           "200|A=\xff\tb;Content-Length=0;B=;|", true, 0);
}

/* --- what is refused --- */

static void no_answers(void **state)
{
    static const char *const texts[] = {
        "SSH-2.0-x\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/0.9 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.x 200 OK\r\n\r\n",
        "HTTP/1.1 0200 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 200 O\x01\r\n\r\n",
        "HTTP/1.1 200 O\rK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "<html>\n\n",
        "HTTP/1.1 200 OK\r\nA\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: a\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        refused(texts[i]);
}

/* Where two readers could come to differ on where the answer ends. */
static void smuggling(void **state)
{
#define LINES(z) "HTTP/1.1 200 OK\r\n" z "\r\n\r\nabc"
    static const char *const texts[] = {
        LINES("Content-Length: 3\r\nTransfer-Encoding: chunked"),
        LINES("Transfer-Encoding: chunked\r\nContent-Length: 3"),
        LINES("Content-Length: 3\r\nContent-Length: 4"),
        LINES("Content-Length: 3, 3"),
        LINES("Content-Length: +3"),
        LINES("Content-Length: 0x3"),
        LINES("Content-Length: -1"),
        LINES("Content-Length: 3 3"),
        LINES("Content-Length:"),
        LINES("Content-Length: 18446744073709551616"),
        LINES("Content-Length : 3"),
        LINES(" Content-Length: 3"),
        LINES("Content-Length:\r\n 3"),
        LINES("Content-Length: 3\r\n 3"),
        LINES("Transfer-Encoding: gzip, chunked"),
        LINES("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        LINES("Transfer-Encoding: chunked\r\n ,identity"),
        LINES("Transfer-Encoding: identity"),
        LINES("Transfer-Encoding: xchunked"),
        LINES("Transfer-Encoding: \x0b"
              "chunked"),
        LINES("Connection: keep-\r\n alive"),
        LINES("A: b\rContent-Length: 3"),
        LINES("A\r\n: b"),
        LINES("A b: c"),
        LINES("A\x7f: c"),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n 1\r\na\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        refused(texts[i]);
    char nul[] = "HTTP/1.1 200 OK\r\nA: b?\r\nContent-Length: 0\r\n\r\n";
    *strchr(nul, '?') = '\0';
    struct heard h;
    hear_all_ways(&h, str_n(nul, sizeof nul - 1), false);
    assert_int_equal(h.end, BROKEN);
    buf_deinit(&h.got);
}

/* --- limits --- */

static void put_lines(struct buf *b, int n, size_t value_n)
{
    for (int i = 0; i < n; i++) {
        buf_printf(b, "X-%03d: ", i);
        for (size_t j = 0; j < value_n; j++)
            buf_char(b, 'v');
        buf_cstr(b, "\r\n");
    }
}

static enum end hear_buf(struct buf *b, bool *too_large_out)
{
    struct heard whole, split;
    hear(&whole, buf_str(b), false, b->n, 1);
    hear(&split, buf_str(b), false, 0, 1000);
    same(&whole, &split);
    *too_large_out = whole.a.head_too_large;
    assert_int_equal(whole.a.head_too_large, split.a.head_too_large);
    enum end end = whole.end;
    buf_deinit(&whole.got);
    buf_deinit(&split.got);
    buf_clear(b);
    return end;
}

static void head_size(void **state)
{
    struct buf b;
    bool too_large;
    buf_init(&b, 1 << 20);
    for (size_t extra = 0; extra < 2; extra++) { /* exactly the limit, and a byte more */
        buf_cstr(&b, "HTTP/1.1 204 No\r\n");
        put_lines(&b, 1, HTTP_ANSWER_MAX_HEAD - 17 - 9 - 2 + extra);
        buf_cstr(&b, "\r\n");
        assert_int_equal(b.n, HTTP_ANSWER_MAX_HEAD + extra);
        assert_int_equal(hear_buf(&b, &too_large), extra ? BROKEN : ENDS);
        assert_int_equal(too_large, extra);
    }
    for (int i = 0; i < 70; i++) { /* the heads of 1xx answers count */
        buf_cstr(&b, "HTTP/1.1 100 Continue\r\n");
        put_lines(&b, 1, 1000);
        buf_cstr(&b, "\r\n");
    }
    assert_int_equal(hear_buf(&b, &too_large), BROKEN);
    assert_true(too_large);
    buf_cstr(&b, "HTTP/1.1 200 OK\r\nA: "); /* a line that never ends */
    put_lines(&b, 1, 70000);
    assert_int_equal(hear_buf(&b, &too_large), BROKEN);
    assert_true(too_large);
    buf_deinit(&b);
}

/* What does not fit is dropped, but what frames the message is looked at. */
static void header_count(void **state)
{
    struct buf b;
    struct heard h;
    buf_init(&b, 1 << 20);
    buf_cstr(&b, "HTTP/1.1 200 OK\r\n");
    put_lines(&b, HTTP_MAX_HEADERS, 1);
    buf_cstr(&b, "Y: z\r\n folded\r\nContent-Length: 2\r\n\r\nok");
    hear(&h, buf_str(&b), false, b.n, 1);
    assert_int_equal(h.end, ENDS);
    assert_true(str_ends(buf_str(&h.got), STR("X-063=v;|ok")));
    buf_deinit(&h.got);
    buf_deinit(&b);
}

/* A long stream may carry an extension in each chunk; extensions without data end it. */
static void chunk_extensions(void **state)
{
    struct buf b;
    struct heard h;
    buf_init(&b, 1 << 20);
    buf_cstr(&b, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 1000; i++)
        buf_cstr(&b, "1;signature=0123456789abcdef\r\nx\r\n");
    buf_cstr(&b, "0\r\n\r\n");
    hear(&h, buf_str(&b), false, b.n, 1);
    assert_int_equal(h.end, ENDS);
    buf_deinit(&h.got);
    buf_clear(&b);
    buf_cstr(&b, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");
    put_lines(&b, 100, 100);
    hear(&h, buf_str(&b), false, b.n, 1);
    assert_int_equal(h.end, BROKEN);
    buf_deinit(&h.got);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_length),    cmocka_unit_test(by_chunks),
        cmocka_unit_test(to_the_end),   cmocka_unit_test(without_a_body),
        cmocka_unit_test(early_heads),  cmocka_unit_test(keeping_alive),
        cmocka_unit_test(lenient),      cmocka_unit_test(no_answers),
        cmocka_unit_test(smuggling),    cmocka_unit_test(head_size),
        cmocka_unit_test(header_count), cmocka_unit_test(chunk_extensions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
