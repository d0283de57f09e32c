/* Requests that go well: framing, bodies, answers, streams, draining, listening. */
#include "http_server_fixture.h"

static void answers_and_keeps_the_connection(void **state)
{
    (void)state;
    int fd = dial();
    for (int i = 0; i < 3; i++) {
        say(fd, "POST /a/b?c=d HTTP/1.1\r\n" HOST "X-Echo: e\r\nContent-Length: 5\r\n\r\nhello");
        assert_int_equal(answer(fd), 200);
        assert_body("POST /a/b ?c=d [5] hello");
        assert_true(has_header("\r\nX-Echo: e\r\n"));
        assert_true(has_header("\r\ncontent-type: text/plain\r\n"));
        assert_true(has_header(" GMT\r\n"));
        assert_false(has_header("\r\nconnection:"));
        assert_false(has_header("injected"));
    }
    hang_up(fd);
}

static void the_same_byte_by_byte(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "\r\nPOST /x HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello",
        "POST /x HTTP/1.1\r\n" HOST
        "Transfer-Encoding: chunked\r\n\r\n2;e\r\nhe\r\n3\r\nllo\r\n0\r\nT: v\r\n\r\n",
    };
    int fd = dial();
    for (size_t i = 0; i < 2; i++) {
        for (const char *p = requests[i]; *p; p++) {
            say_n(fd, p, 1);
            if (i == 0)
                usleep(50); /* most arrive apart */
        }
        assert_int_equal(answer(fd), 200);
        assert_body("POST /x ? [5] hello");
    }
    hang_up(fd);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    int fd = dial();
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 200; i++) /* the first answer is late, the rest waits behind it */
        buf_printf(&b, "POST /%s HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\n%03d",
                   i == 0 ? "late" : "n", i);
    say_n(fd, b.p, b.n);
    buf_deinit(&b);
    assert_int_equal(answer(fd), 200);
    assert_body("late");
    for (int i = 1; i < 200; i++) {
        char want[32];
        snprintf(want, sizeof want, "POST /n ? [3] %03d", i);
        assert_int_equal(answer(fd), 200);
        assert_body(want);
    }
    hang_up(fd);
}

static void say_chunks(int fd, size_t total)
{
    static char piece[50000];
    memset(piece, 'c', sizeof piece);
    for (size_t sent = 0; sent < total; sent += sizeof piece) {
        say(fd, "c350\r\n"); /* 50000 */
        say_n(fd, piece, sizeof piece);
        say(fd, "\r\n");
    }
    say(fd, "0\r\n\r\n");
}

static void large_bodies(void **state)
{
    (void)state;
    int fd = dial();
    char *p = mem_new(5000000);
    memset(p, 'b', 5000000);
    say(fd, "POST /length HTTP/1.1\r\n" HOST "Content-Length: 5000000\r\n\r\n");
    say_n(fd, p, 5000000);
    free(p);
    assert_int_equal(answer(fd), 200);
    assert_body("5000000");
    say(fd, "POST /length HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    say_chunks(fd, 2000000);
    say(fd, "GET /after HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(answer(fd), 200);
    assert_body("2000000");
    assert_int_equal(answer(fd), 200);
    assert_body("GET /after ? [0] ");
    hang_up(fd);
}

static void large_answers(void **state)
{
    (void)state;
    int fd = ask("GET /big HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(got.body.n, BIG_BYTES);
    for (size_t i = 0; i < BIG_BYTES; i++)
        if (got.body.p[i] != (char)('a' + i % 23))
            fail_msg("byte %zu is wrong", i);
    hang_up(fd);
}

static void head_and_204_have_no_body(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "HEAD /x HTTP/1.1\r\n" HOST "\r\nGET /none HTTP/1.1\r\n" HOST "\r\n"
            "HEAD /stream HTTP/1.1\r\n" HOST "\r\nGET /x HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(answer_of(fd, true), 200);
    assert_true(has_header("\r\ncontent-length: 14\r\n"));
    assert_int_equal(answer(fd), 204);
    assert_false(has_header("\r\ncontent-length:"));
    assert_int_equal(answer_of(fd, true), 200);
    assert_int_equal(answer(fd), 200);
    assert_body("GET /x ? [0] ");
    hang_up(fd);
}

static void http10(void **state)
{
    (void)state;
    int fd = ask("GET /x HTTP/1.0\r\n\r\n");
    assert_body("GET /x ? [0] ");
    assert_true(has_header("\r\nconnection: close\r\n"));
    assert_closed(fd);
    hang_up(fd);
    fd = ask("GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_true(has_header("\r\nconnection: keep-alive\r\n"));
    say(fd, "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_int_equal(answer(fd), 200);
    assert_false(has_header("chunked"));
    assert_body("onetwothree");
    hang_up(fd);
}

static void connection_close(void **state)
{
    (void)state;
    int fd = ask("GET /x HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    assert_int_equal(got.status, 200);
    assert_true(has_header("\r\nconnection: close\r\n"));
    assert_closed(fd);
    hang_up(fd);
}

static void streams_are_chunked(void **state)
{
    (void)state;
    int fd = ask("GET /stream HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(got.status, 200);
    assert_true(has_header("\r\ntransfer-encoding: chunked\r\n"));
    assert_false(got.cut);
    assert_body("onetwothree");
    say(fd, "GET /x HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(answer(fd), 200);
    hang_up(fd);
}

static void an_aborted_stream_is_seen_to_be_cut(void **state)
{
    (void)state;
    int fd = ask("GET /abort HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(got.status, 200);
    assert_true(got.cut);
    assert_body("half");
    hang_up(fd);
    fd = dial();
    say(fd, "GET /abort HTTP/1.0\r\n\r\n");
    char c[4096];
    ssize_t n;
    while ((n = recv(fd, c, sizeof c, 0)) > 0)
        ;
    assert_int_equal(n, -1);
    assert_int_equal(errno, ECONNRESET);
    hang_up(fd);
}

static void a_full_stream_waits_for_the_client(void **state)
{
    (void)state;
    int fd = ask("GET /flood HTTP/1.1\r\n" HOST "\r\n");
    assert_false(got.cut);
    assert_int_equal(got.body.n, FLOOD_BYTES);
    assert_true(t.drains > 0);
    hang_up(fd);
}

static void answers_are_compressed_for_those_who_ask(void **state)
{
    (void)state;
    int fd = ask("GET /z HTTP/1.1\r\n" HOST "Accept-Encoding: gzip\r\n\r\n");
    assert_true(has_header("\r\ncontent-encoding: gzip\r\n"));
    assert_true(got.body.n < 1000);
    struct buf plain;
    buf_init(&plain, 20000);
    assert_null(gzip_inflate(buf_str(&got.body), &plain));
    assert_int_equal(plain.n, 10000);
    buf_deinit(&plain);
    say(fd, "GET /z HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(answer(fd), 200);
    assert_false(has_header("content-encoding"));
    assert_int_equal(got.body.n, 10000);
    say(fd, "GET /x HTTP/1.1\r\n" HOST "Accept-Encoding: gzip\r\n\r\n");
    assert_int_equal(answer(fd), 200);
    assert_false(has_header("content-encoding"));
    hang_up(fd);
}

static void gzip_bodies_are_inflated(void **state)
{
    (void)state;
    struct buf packed;
    buf_init(&packed, 1 << 20);
    gzip_deflate(STR("hello hello hello"), 1, &packed);
    int fd = dial();
    say_coded(fd, "/x", "gzip", buf_str(&packed));
    assert_int_equal(answer(fd), 200);
    assert_body("POST /x ? [17] hello hello hello");
    say_coded(fd, "/x", "br", STR("abc"));
    assert_int_equal(answer(fd), 415);
    say_coded(fd, "/x", "gzip", STR("no gzip"));
    assert_int_equal(answer(fd), 400);
    say_coded(fd, "/x", "gzip", STR(""));
    assert_int_equal(answer(fd), 200);
    char *zeros = mem_new(100000);
    buf_clear(&packed);
    gzip_deflate(str_n(zeros, 100000), 9, &packed);
    free(zeros);
    buf_put(&packed, STR("")); /* some 130 bytes that stand for 100,000 */
    say_coded(fd, "/length", "gzip", buf_str(&packed));
    assert_int_equal(answer(fd), 200);
    assert_body("100000");
    hang_up(fd);
    buf_deinit(&packed);
}

static void on_drained(void *ctx)
{
    (void)ctx;
    t.drained++;
}

static void drain_now(struct loop_msg *m)
{
    (void)m;
    http_server_drain(t.server, on_drained, NULL);
}

static void reply_now(struct loop_msg *m)
{
    (void)m;
    reply_text(t.held, 200, STR("last"));
}

static void drain_lets_requests_end(void **state)
{
    (void)state;
    int idle = ask("GET /x HTTP/1.1\r\n" HOST "\r\n"), busy = dial();
    say(busy, "GET /hang HTTP/1.1\r\n" HOST "\r\n");
    wait_for(&t.heads, 2);
    struct loop_msg drain = {.run = drain_now}, reply = {.run = reply_now};
    loop_post(t.loop, &drain);
    assert_closed(idle);
    assert_int_equal(t.drained, 0);
    loop_post(t.loop, &reply);
    assert_int_equal(answer(busy), 200);
    assert_body("last");
    assert_true(has_header("\r\nconnection: close\r\n"));
    wait_for(&t.drained, 1);
    hang_up(idle);
    hang_up(busy);
}

static void free_cancels_what_is_left(void **state)
{
    (void)state;
    start((struct http_server_options){0});
    int a = dial(), b = dial(), c = dial();
    say(a, "GET /hang HTTP/1.1\r\n" HOST "\r\n");
    wait_for(&t.heads, 1);
    say(b, "GET /hang-on HTTP/1.1\r\n" HOST "\r\n");
    wait_for(&t.heads, 2);
    say(c, "GET /hal");
    stop(); /* checks that all have finished */
    assert_int_equal(t.cancels, 2);
    close(a);
    close(b);
    close(c);
}

static void listening(void **state)
{
    (void)state;
    struct loop *l = loop_new(0);
    static const struct http_server_hooks hooks = {.ready = ready};
    struct http_server_options o = {0};
    struct http_server *s = http_server_new(l, &o, &hooks, NULL),
                       *s2 = http_server_new(l, &o, &hooks, NULL);
    static const char *const hosts[] = {"localhost", "_local_", "::1", "[::1]", "0.0.0.0", "::"};
    int port;
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        struct err *e = http_server_listen(s, hosts[i], 0, &port);
        if (e)
            fail_msg("%s", e->reason);
        assert_true(port > 0);
    }
    struct err *e = http_server_listen(s2, "127.0.0.1", t.port, &port);
    assert_null(e); /* our own: another loop's share */
    assert_int_equal(port, t.port);
    e = http_server_listen(s2, "example.org", 0, &port);
    assert_non_null(e);
    assert_non_null(strstr(e->reason, "[example.org]"));
    err_free(e);
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on); /* as a second server would */
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    e = http_server_listen(s2, "127.0.0.1", ntohs(a.sin_port), &port);
    assert_non_null(e);
    assert_non_null(strstr(e->reason, "the port is taken"));
    err_free(e);
    close(fd);
    http_server_free(s);
    http_server_free(s2);
    loop_free(l);
}

int main(void)
{
    client_init();
    const struct CMUnitTest tests[] = {
        WITH_SERVER(answers_and_keeps_the_connection),
        WITH_SERVER(the_same_byte_by_byte),
        WITH_SERVER(pipelined_requests_are_answered_in_order),
        WITH_SERVER(large_bodies),
        WITH_SERVER(large_answers),
        WITH_SERVER(head_and_204_have_no_body),
        WITH_SERVER(http10),
        WITH_SERVER(connection_close),
        WITH_SERVER(streams_are_chunked),
        WITH_SERVER(an_aborted_stream_is_seen_to_be_cut),
        WITH_SERVER(a_full_stream_waits_for_the_client),
        WITH_SERVER(answers_are_compressed_for_those_who_ask),
        WITH_SERVER(gzip_bodies_are_inflated),
        WITH_SERVER(drain_lets_requests_end),
        cmocka_unit_test(free_cancels_what_is_left),
        WITH_SERVER(listening),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    client_deinit();
    return failed;
}
