/* Requests that do not go well: refused, too large, malformed, too slow, or left alone. */
#include "http_server_fixture.h"

static void bodies_have_a_limit(void **state)
{
    (void)state;
    int fd = ask("POST /small HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\n01234567890");
    assert_int_equal(got.status, 413);
    assert_body("{\"error\":\"the body is too large\",\"status\":413}");
    /* It was small: read, dropped, and the connection goes on. */
    say(fd, "POST /small HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n0123456789");
    assert_int_equal(answer(fd), 200);
    say(fd, "POST /small HTTP/1.1\r\n" HOST
            "Transfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n6\r\n012345\r\n0\r\n\r\n");
    assert_int_equal(answer(fd), 413);
    assert_closed(fd);
    hang_up(fd);
    struct buf packed;
    buf_init(&packed, 1000);
    gzip_deflate(STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), 9, &packed);
    fd = dial();
    say_coded(fd, "/small", "gzip", buf_str(&packed));
    buf_deinit(&packed);
    assert_int_equal(answer(fd), 413);
    hang_up(fd);
}

static void a_handler_is_told_when_its_body_is_refused(void **state)
{
    (void)state;
    int fd = ask("POST /small-cancel HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\n01234567890");
    assert_int_equal(got.status, 413);
    assert_int_equal(t.cancels, 1);
    hang_up(fd);
}

static void an_early_answer_drops_a_small_body(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "POST /early HTTP/1.1\r\n" HOST "Content-Length: 40000\r\n\r\n");
    assert_int_equal(answer(fd), 401);
    assert_false(has_header("connection: close"));
    char rest[40000];
    memset(rest, 'r', sizeof rest);
    say_n(fd, rest, sizeof rest);
    say(fd, "POST /early HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabcGET /x HTTP/1.1\r\n" HOST
            "\r\n");
    assert_int_equal(answer(fd), 401);
    assert_int_equal(answer(fd), 200);
    assert_body("GET /x ? [0] ");
    hang_up(fd);
}

/* The client writes far more than the socket buffers hold and reads only then: it must neither
 * fail nor miss the answer. */
static void an_early_answer_to_a_large_body_is_seen(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "POST /early HTTP/1.1\r\n" HOST "Content-Length: 5000000\r\n\r\n");
    char *p = mem_new(5000000);
    say_n(fd, p, 5000000);
    free(p);
    assert_int_equal(answer(fd), 401);
    assert_true(has_header("connection: close"));
    assert_closed(fd);
    hang_up(fd);
}

static void a_held_body_is_not_read_on(void **state)
{
    (void)state;
    size_t n = (size_t)3 << 20;
    char *p = mem_new(n);
    int fd = dial();
    say(fd, "POST /held HTTP/1.1\r\n" HOST "Content-Length: 3145728\r\n\r\n");
    say_n(fd, p, n);
    assert_int_equal(answer(fd), 200);
    assert_body("3145728");
    assert_int_equal(t.most_held, HTTP_HELD_BYTES);
    say(fd, "POST /held HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n300000\r\n");
    say_n(fd, p, n);
    say(fd, "\r\n0\r\n\r\n");
    assert_int_equal(answer(fd), 200);
    assert_body("3145728");
    assert_in_range(t.most_held, HTTP_HELD_BYTES, HTTP_HELD_BYTES + 16384);
    say(fd, "POST /held-refused HTTP/1.1\r\n" HOST "Content-Length: 3145728\r\n\r\n");
    say_n(fd, p, n);
    assert_int_equal(answer(fd), 401);
    assert_int_equal(t.most_held, HTTP_HELD_BYTES);
    hang_up(fd);
    free(p);
}

static void who_waits_to_send_a_held_body_waits_longer(void **state)
{
    (void)state;
    int fd = ask("POST /held-small HTTP/1.1\r\n" HOST
                 "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_int_equal(got.status, 100);
    assert_false(t.held->body_held);
    say(fd, "hello");
    assert_int_equal(answer(fd), 200);
    assert_body("POST /held-small ? [5] hello");
    hang_up(fd);
}

static void expect_100(void **state)
{
    (void)state;
    int fd = ask("POST /x HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_int_equal(got.status, 100);
    say(fd, "hello");
    assert_int_equal(answer(fd), 200);
    assert_body("POST /x ? [5] hello");
    say(fd, "POST /x HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi");
    assert_int_equal(answer(fd), 200); /* it did not wait, so it gets none */
    say(fd, "POST /early HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_int_equal(answer(fd), 401);
    assert_true(has_header("connection: close"));
    hang_up(fd);
    fd = ask("POST /small HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 99\r\n\r\n");
    assert_int_equal(got.status, 413);
    hang_up(fd);
}

static void bad_requests_are_answered_and_closed(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int status;
    } rows[] = {
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\nHost: a\n\n", 400},
        {"\x16\x03\x01\x02", 400},
        {"POST / HTTP/1.1\r\n" HOST
         "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         400},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
        {"BREW / HTTP/1.1\r\n" HOST "\r\n", 501},
        {"TRACE / HTTP/1.1\r\n" HOST "\r\n", 405},
        {"GET / HTTP/3.0\r\n" HOST "\r\n", 505},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int fd = ask(rows[i].text);
        assert_int_equal(got.status, rows[i].status);
        assert_true(has_header("\r\nconnection: close\r\n"));
        assert_true(has_header("\r\ncontent-type: application/json\r\n"));
        assert_int_equal(has_header("\r\nallow: GET"), rows[i].status == 405);
        assert_true(got.body.n > 10);
        assert_closed(fd);
        hang_up(fd);
    }
}

static void heads_have_a_limit(void **state)
{
    (void)state;
    char *p = mem_new(100000);
    memset(p, 'a', 100000);
    memcpy(p, "GET /", 5);
    int fd = dial();
    say_n(fd, p, 100000);
    assert_int_equal(answer(fd), 414);
    assert_closed(fd);
    hang_up(fd);
    memcpy(p, "GET / HTTP/1.1\r\nHost: ", 22);
    fd = dial();
    say_n(fd, p, 100000);
    assert_int_equal(answer(fd), 431);
    hang_up(fd);
    /* The largest that is allowed, with a body behind it. */
    memcpy(p, "GET /y HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nX-Long: ", 62);
    memcpy(p + 65536 - 4, "\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 17);
    fd = dial();
    say_n(fd, p, 65536 + 13);
    assert_int_equal(answer(fd), 200);
    assert_body("GET /y ? [3] abc");
    hang_up(fd);
    free(p);
}

static void a_client_that_leaves_is_noticed(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "GET /hang HTTP/1.1\r\n" HOST "\r\n");
    wait_for(&t.heads, 1);
    close(fd);
    wait_for(&t.finished, 1);
    assert_int_equal(t.cancels, 1);
    assert_int_equal(t.last_status, 0);
    fd = dial();
    say(fd, "GET /hang-late HTTP/1.1\r\n" HOST "\r\n");
    shutdown(fd, SHUT_WR);
    wait_for(&t.finished, 2);
    assert_int_equal(t.cancels, 2);
    assert_closed(fd);
    hang_up(fd);
}

static void a_client_that_leaves_amid_a_stream(void **state)
{
    (void)state;
    int fd = dial();
    say(fd, "GET /flood HTTP/1.1\r\n" HOST "\r\n");
    assert_true(hear(fd));
    hang_up(fd);
    wait_for(&t.finished, 1);
    assert_int_equal(t.cancels, 1);
}

static void late_answers_to_nobody_are_dropped(void **state)
{
    (void)state;
    static const char *const paths[] = {"/late", "/stream"};
    for (int i = 0; i < 2; i++) {
        int fd = dial();
        char text[64];
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST "\r\n", paths[i]);
        say(fd, text);
        close(fd);
        wait_for(&t.finished, i + 1);
    }
    assert_int_equal(t.cancels, 0);
}

static void slow_clients_are_ended(void **state)
{
    (void)state;
    start((struct http_server_options){
        .head_timeout_ms = 20, .body_timeout_ms = 20, .idle_timeout_ms = 20});
    int fd = ask("GET / HTTP/1.1\r\nHos");
    assert_int_equal(got.status, 408);
    assert_closed(fd);
    hang_up(fd);
    fd = ask("POST /x HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhel");
    assert_int_equal(got.status, 408);
    assert_closed(fd);
    hang_up(fd);
    fd = ask("GET /x HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(got.status, 200);
    assert_closed(fd); /* idle */
    hang_up(fd);
    /* A drip of bytes does not move the head's deadline. */
    fd = dial();
    const char *drip = "GET /a HTTP/1.1\r\n";
    for (int i = 0; i < 200 && send(fd, drip + i % 17, 1, MSG_NOSIGNAL) == 1; i++)
        usleep(1000);
    assert_int_equal(answer(fd), 408);
    hang_up(fd);
    stop();
}

static void a_client_that_does_not_read_is_ended(void **state)
{
    (void)state;
    start((struct http_server_options){.write_timeout_ms = 20});
    int fd = dial();
    say(fd, "GET /big HTTP/1.1\r\n" HOST "\r\n");
    wait_for(&t.finished, 1);
    fd = (hang_up(fd), dial());
    say(fd, "GET /flood HTTP/1.1\r\n" HOST "\r\n");
    wait_for(&t.finished, 2);
    assert_int_equal(t.cancels, 1);
    hang_up(fd);
    stop();
}

static void connections_beyond_the_limit_are_closed(void **state)
{
    (void)state;
    start((struct http_server_options){.max_connections = 1});
    int first = ask("GET /x HTTP/1.1\r\n" HOST "\r\n");
    int second = dial();
    assert_closed(second);
    hang_up(second);
    say(first, "GET /x HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(answer(first), 200);
    hang_up(first);
    stop();
}

int main(void)
{
    client_init();
    const struct CMUnitTest tests[] = {
        WITH_SERVER(bodies_have_a_limit),
        WITH_SERVER(a_handler_is_told_when_its_body_is_refused),
        WITH_SERVER(an_early_answer_drops_a_small_body),
        WITH_SERVER(an_early_answer_to_a_large_body_is_seen),
        WITH_SERVER(a_held_body_is_not_read_on),
        WITH_SERVER(who_waits_to_send_a_held_body_waits_longer),
        WITH_SERVER(expect_100),
        WITH_SERVER(bad_requests_are_answered_and_closed),
        WITH_SERVER(heads_have_a_limit),
        WITH_SERVER(a_client_that_leaves_is_noticed),
        WITH_SERVER(a_client_that_leaves_amid_a_stream),
        WITH_SERVER(late_answers_to_nobody_are_dropped),
        cmocka_unit_test(slow_clients_are_ended),
        cmocka_unit_test(a_client_that_does_not_read_is_ended),
        cmocka_unit_test(connections_beyond_the_limit_are_closed),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    client_deinit();
    return failed;
}
