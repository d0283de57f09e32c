/* Every case is fed whole, byte by byte, and cut in two at every position: the events must be the
 * same. Events are compared as text: "name|data\n", with '!' before an exception, then what ended
 * the stream. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <zlib.h>

#include "framing.h"

static void take(struct framing *f, struct buf *out)
{
    struct event ev;
    struct err *err;
    while (framing_next(f, &ev, &err))
        buf_printf(out, "%s%.*s|%.*s\n", ev.exception ? "!" : "", STR_ARG(ev.name),
                   STR_ARG(ev.data));
    if (err)
        buf_printf(out, "%s: %s\n", err->kind == ERR_TOO_LARGE ? "TOO LARGE" : "DAMAGED",
                   err->reason);
    err_free(err);
}

/* In pieces of `first`, then `step` bytes each. */
static void feed(struct buf *out, enum framing_kind kind, size_t limit, struct str in, size_t first,
                 size_t step)
{
    struct framing f;
    framing_init(&f, kind, limit);
    buf_clear(out);
    for (size_t at = 0, n = first; at < in.n; at += n, n = step) {
        /* A heap copy of just these bytes: reading past them is seen. */
        struct buf piece;
        buf_init(&piece, SIZE_MAX);
        buf_put(&piece, str_sub(in, at, n));
        framing_feed(&f, buf_str(&piece));
        buf_deinit(&piece);
        take(&f, out);
    }
    framing_end(&f);
    take(&f, out);
    take(&f, out);
    framing_deinit(&f);
}

static void check_limit(enum framing_kind kind, size_t limit, struct str in, const char *expected)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    for (size_t first = 0; first <= in.n + 1; first++) {
        for (int bytewise = 0; bytewise < 2; bytewise++) {
            feed(&out, kind, limit, in, first, bytewise ? 1 : in.n + 1);
            if (!str_eq_c(buf_str(&out), expected))
                fail_msg("cut at %zu: got\n%.*sinstead of\n%s", first, STR_ARG(buf_str(&out)),
                         expected);
        }
    }
    buf_deinit(&out);
}

static void check(enum framing_kind kind, const char *in, const char *expected)
{
    check_limit(kind, 4096, str_c(in), expected);
}

/* --- SSE --- */

static void test_sse(void **state)
{
    check(FRAMING_SSE, "data: a\n\n", "message|a\n");
    check(FRAMING_SSE, "data: a\r\n\r\ndata: b\r\n\r\n", "message|a\nmessage|b\n");
    check(FRAMING_SSE, "data: a\r\rdata: b\r\r", "message|a\nmessage|b\n");
    check(FRAMING_SSE, "event: x\ndata: a\n\ndata: b\n\n", "x|a\nmessage|b\n");
    check(FRAMING_SSE, "data: a\ndata\ndata:  b\n\n", "message|a\n\n b\n");
    check(FRAMING_SSE, ": ping\n\nid: 1\nretry: 3\ndata:a\n\n: ping\n\n", "message|a\n");
    check(FRAMING_SSE, "data: {\"a\":1}\nevent: late\n\n", "late|{\"a\":1}\n");
    check(FRAMING_SSE, "event: a\nevent: b\ndata: 1\n\n", "b|1\n");
    check(FRAMING_SSE, "\n\r\n\r\rdata: a\r\n\n", "message|a\n");
}

static void test_sse_empty_data(void **state)
{
    check(FRAMING_SSE, "data\n\ndata:\n\ndata: a\n\n", "message|a\n");
    check(FRAMING_SSE, "data\ndata\n\n", "message|\n\n");
    check(FRAMING_SSE, "event: x\n\ndata: a\n\n", "message|a\n");
}

static void test_sse_names(void **state)
{
    check(FRAMING_SSE, "DATA: a\n data: b\ndata : c\ndatax: d\nEvent: x\n\n", "x|a\n");
}

static void test_sse_byte_order_mark(void **state)
{
    check(FRAMING_SSE,
          "\xEF\xBB\xBF"
          "data: a\n\n\xEF\xBB\xBF"
          "data: b\n\ndata: c\n\n",
          "message|a\nmessage|c\n");
    check(FRAMING_SSE,
          ": first\n\xEF\xBB\xBF"
          "data: b\n\n",
          "");
    check(FRAMING_SSE, "\xEF\xBB\xBF\ndata: a\n\n", "message|a\n");
}

static void test_sse_unfinished_event_is_dropped(void **state)
{
    check(FRAMING_SSE, "data: a\n\ndata: b\n", "message|a\n");
    check(FRAMING_SSE, "data: a\n\ndata: b", "message|a\n");
    check(FRAMING_SSE, "data: a\n\nda", "message|a\n");
    check(FRAMING_SSE, "", "");
}

static void test_sse_limit(void **state)
{
    static const char error[] = "TOO LARGE: An event of the stream is larger than [16] bytes\n";
    check_limit(FRAMING_SSE, 16, STR("data: 0123456789\n\n"), "message|0123456789\n");
    check_limit(FRAMING_SSE, 16, STR("data: 01234567890\n\ndata: x\n\n"), error);
    check_limit(FRAMING_SSE, 16, STR("data: 012345678\ndata: 0123456\n\ndata: x\n\n"), error);
    check_limit(FRAMING_SSE, 16, STR(": comments also count"), error);
}

/* --- NDJSON --- */

static void test_ndjson(void **state)
{
    check(FRAMING_NDJSON, "{\"a\":1}\n{\"b\":2}\n", "message|{\"a\":1}\nmessage|{\"b\":2}\n");
    check(FRAMING_NDJSON, "{}\r\n\n  \n\t{} \r\n", "message|{}\nmessage|{}\n");
    check(FRAMING_NDJSON, "{}\n[1", "message|{}\nmessage|[1\n");
    check(FRAMING_NDJSON, "\n\n", "");
    check_limit(FRAMING_NDJSON, 4, STR("1234\n12345\n1\n"),
                "message|1234\nTOO LARGE: An event of the stream is larger than [4] bytes\n");
}

/* --- AWS --- */

static void put32(struct buf *b, size_t v)
{
    buf_char(b, (char)(v >> 24));
    buf_char(b, (char)(v >> 16));
    buf_char(b, (char)(v >> 8));
    buf_char(b, (char)v);
}

static size_t crc(const struct buf *b, size_t from)
{
    return crc32(0, (const Bytef *)b->p + from, (uInt)(b->n - from));
}

static void put_name(struct buf *b, const char *name, int type)
{
    buf_char(b, (char)strlen(name));
    buf_cstr(b, name);
    buf_char(b, (char)type);
}

static void put_text(struct buf *b, const char *name, int type, const char *value)
{
    put_name(b, name, type);
    buf_char(b, (char)(strlen(value) >> 8));
    buf_char(b, (char)strlen(value));
    buf_cstr(b, value);
}

static void put_message(struct buf *b, struct str headers, const char *payload)
{
    size_t from = b->n;
    put32(b, 16 + headers.n + strlen(payload));
    put32(b, headers.n);
    put32(b, crc(b, from));
    buf_put(b, headers);
    buf_cstr(b, payload);
    put32(b, crc(b, from));
}

/* A message of this type and name, among headers of every other type. */
static void put_event(struct buf *b, const char *type, const char *name_key, const char *name,
                      const char *payload)
{
    struct buf h;
    buf_init(&h, 4096);
    put_name(&h, "yes", 0);
    put_name(&h, "no", 1);
    put_name(&h, "i8", 2);
    buf_put(&h, str_n("\1", 1));
    put_name(&h, "i16", 3);
    buf_put(&h, str_n("\1\2", 2));
    put_name(&h, "i32", 4);
    buf_put(&h, str_n("\1\2\3\4", 4));
    put_text(&h, name_key, 7, name);
    put_name(&h, "i64", 5);
    buf_put(&h, str_n("12345678", 8));
    put_text(&h, "bytes", 6, "\1\2\3");
    put_text(&h, ":content-type", 7, "application/json");
    put_name(&h, "time", 8);
    buf_put(&h, str_n("12345678", 8));
    put_text(&h, ":message-type", 7, type);
    put_name(&h, "uuid", 9);
    buf_put(&h, str_n("1234567812345678", 16));
    put_message(b, buf_str(&h), payload);
    buf_deinit(&h);
}

static void test_aws(void **state)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    put_event(&b, "event", ":event-type", "messageStart", "{\"role\":\"assistant\"}");
    put_event(&b, "event", ":event-type", "messageStop", "");
    put_event(&b, "exception", ":exception-type", "throttlingException", "{\"message\":\"m\"}");
    check_limit(FRAMING_AWS, 4096, buf_str(&b),
                "messageStart|{\"role\":\"assistant\"}\nmessageStop|\n"
                "!throttlingException|{\"message\":\"m\"}\n");
    buf_clear(&b);
    struct buf h;
    buf_init(&h, 4096);
    put_text(&h, ":message-type", 7, "error");
    put_text(&h, ":error-code", 7, "InternalError");
    put_text(&h, ":error-message", 7, "went wrong");
    put_message(&b, buf_str(&h), "");
    put_message(&b, STR(""), "no headers");
    check_limit(FRAMING_AWS, 4096, buf_str(&b), "!InternalError|went wrong\n|no headers\n");
    buf_deinit(&h);
    buf_deinit(&b);
}

static bool gives_damage(struct str in)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    feed(&out, FRAMING_AWS, 4096, in, in.n, 1);
    bool damaged =
        str_starts(buf_str(&out), STR("DAMAGED")) || str_starts(buf_str(&out), STR("TOO LARGE"));
    buf_deinit(&out);
    return damaged;
}

/* Whatever bit is turned, whatever is cut off: no event, an error. */
static void test_aws_damage(void **state)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    put_event(&b, "event", ":event-type", "x", "{}");
    for (size_t bit = 0; bit < b.n * 8; bit++) {
        b.p[bit / 8] ^= (char)(1 << bit % 8);
        assert_true(gives_damage(buf_str(&b)));
        b.p[bit / 8] ^= (char)(1 << bit % 8);
    }
    assert_false(gives_damage(buf_str(&b)));
    for (size_t n = 1; n < b.n; n++)
        assert_true(gives_damage(str_sub(buf_str(&b), 0, n)));
    buf_deinit(&b);
}

/* With right checksums, but headers or lengths that lie. */
static void test_aws_lies(void **state)
{
    static const struct str headers[] = {
        STR_INIT("\5abc"),            /* a name that is cut */
        STR_INIT("\1a"),              /* no type */
        STR_INIT("\1a\7\0"),          /* a length that is cut */
        STR_INIT("\1a\7\xff\xffxyz"), /* a text that is cut */
        STR_INIT("\1a\5"              /* a number that is cut */
                 "1234567"),
        STR_INIT("\1a\12"), /* no such type */
        STR_INIT("\0\0"),   /* no name */
        STR_INIT("\1a\x80"),
    };
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        struct buf b;
        buf_init(&b, 4096);
        put_message(&b, headers[i], "{}");
        assert_true(gives_damage(buf_str(&b)));
        buf_deinit(&b);
    }
    static const size_t lengths[][2] = {{15, 0},          {0, 0},         {16, 1},
                                        {20, 5},          {4097, 0},      {1u << 31, 0},
                                        {16, 0xffffffff}, {0xffffffff, 0}};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct buf b;
        buf_init(&b, 4096);
        put32(&b, lengths[i][0]);
        put32(&b, lengths[i][1]);
        put32(&b, crc(&b, 0));
        put32(&b, 0);
        put32(&b, 0);
        assert_true(gives_damage(buf_str(&b)));
        buf_deinit(&b);
    }
}

/* --- the rest --- */

static void test_nothing_comes_after_damage(void **state)
{
    struct framing f;
    struct event ev;
    struct err *err;
    framing_init(&f, FRAMING_NDJSON, 4);
    framing_feed(&f, STR("12345\n1\n"));
    assert_false(framing_next(&f, &ev, &err));
    assert_non_null(err);
    err_free(err);
    framing_feed(&f, STR("1\n"));
    framing_end(&f);
    assert_false(framing_next(&f, &ev, &err));
    assert_null(err);
    framing_deinit(&f);
}

static void test_written_is_read(void **state)
{
    struct buf b, out;
    buf_init(&b, 4096);
    buf_init(&out, 4096);
    sse_write(&b, STR("error"), STR("{\"a\": [1]}"));
    sse_write(&b, STR("message"), STR("x"));
    assert_true(str_starts(buf_str(&b), STR("event: error\ndata: {\"a\": [1]}\n\n")));
    feed(&out, FRAMING_SSE, 100, buf_str(&b), 7, 3);
    assert_true(str_eq_c(buf_str(&out), "error|{\"a\": [1]}\nmessage|x\n"));
    buf_deinit(&b);
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sse),
        cmocka_unit_test(test_sse_empty_data),
        cmocka_unit_test(test_sse_names),
        cmocka_unit_test(test_sse_byte_order_mark),
        cmocka_unit_test(test_sse_unfinished_event_is_dropped),
        cmocka_unit_test(test_sse_limit),
        cmocka_unit_test(test_ndjson),
        cmocka_unit_test(test_aws),
        cmocka_unit_test(test_aws_damage),
        cmocka_unit_test(test_aws_lies),
        cmocka_unit_test(test_nothing_comes_after_damage),
        cmocka_unit_test(test_written_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
