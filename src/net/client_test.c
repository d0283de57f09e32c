/* What the client makes of requests and answers, good and bad. See client_fixture.h. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "client_fixture.h"

/* --- what goes well --- */

static void test_answers(void **state)
{
    expect_body("/ok", "ok");
    expect_body("/chunked", "abcdefg");
    expect_body("/to-the-end", "all of it");
    expect_body("/continue", "ok");
}

static void test_connection_is_reused(void **state)
{
    int first = expect_body("/ok", "ok");
    assert_int_equal(expect_body("/ok", "ok"), first);
    struct client_stats s;
    client_stats(client, &s);
    assert_int_equal(s.leased, 0);
    assert_int_equal(s.pending, 0);
    assert_int_equal(s.available, 1);
    assert_int_equal(s.max, 4);
}

static void test_request_as_given(void **state)
{
    struct probe p;
    probe_init(&p, "/echo");
    http_header_add(&p.out.headers, STR("Content-Type"), STR("application/json"));
    http_header_add(&p.out.headers, STR("X-Empty"), STR(""));
    http_header_add(&p.out.headers, STR("Content-Length"), STR("7"));
    http_header_add(&p.out.headers, STR("transfer-encoding"), STR("chunked"));
    probe_run(&p);
    buf_char(&p.body, '\0');
    assert_non_null(strstr(p.body.p, "POST /echo HTTP/1.1\r\n"));
    assert_non_null(strstr(p.body.p, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(p.body.p, "X-Empty:\r\n"));
    assert_non_null(strstr(p.body.p, "Content-Length: 2\r\n"));
    assert_null(strstr(p.body.p, "Content-Length: 7"));
    assert_null(strcasestr(p.body.p, "transfer-encoding"));
    assert_null(strstr(p.body.p, "Expect"));
    probe_deinit(&p);
}

static void test_methods_on_one_handle(void **state)
{
    static const enum method methods[] = {HTTP_GET,    HTTP_POST,    HTTP_PUT,
                                          HTTP_DELETE, HTTP_OPTIONS, HTTP_GET};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        struct probe p;
        probe_init(&p, "/echo");
        p.out.method = methods[i];
        p.out.body = (struct str){0};
        probe_run(&p);
        assert_int_equal(p.failure, CLIENT_OK);
        assert_true(str_starts(buf_str(&p.body), str_c(http_method_name(methods[i]))));
        probe_deinit(&p);
        probe_init(&p, "/head");
        p.out.method = HTTP_HEAD;
        probe_run(&p);
        assert_int_equal(p.failure, CLIENT_OK);
        assert_int_equal(p.body.n, 0);
        probe_deinit(&p);
    }
}

static void test_large_request_does_not_wait(void **state)
{
    struct probe p;
    probe_init(&p, "/echo");
    char *body = arena_alloc(p.arena, 3 << 20);
    memset(body, 'x', 3 << 20);
    p.out.body = str_n(body, 3 << 20);
    probe_run(&p);
    assert_int_equal(p.failure, CLIENT_OK);
    assert_true(str_find(buf_str(&p.body), STR("Content-Length: 3145728\r\n")) != SIZE_MAX);
    assert_true(str_find(buf_str(&p.body), STR("Expect")) == SIZE_MAX);
    probe_deinit(&p);
}

/* What is left of the request is not sent, and its connection not used again. */
static void test_answer_before_the_request_is_sent(void **state)
{
    struct probe p;
    probe_init(&p, "/early");
    char *body = arena_alloc(p.arena, 16 << 20);
    p.out.body = str_n(body, 16 << 20);
    probe_run(&p);
    assert_int_equal(p.failure, CLIENT_OK);
    assert_int_equal(p.status, 413);
    probe_deinit(&p);
    struct client_stats s;
    client_stats(client, &s);
    assert_int_equal(s.available, 0);
    assert_int_equal(s.leased, 0);
}

static void test_redirect_is_an_answer(void **state)
{
    struct probe p;
    struct str to;
    probe_init(&p, "/redirect");
    probe_run(&p);
    assert_int_equal(p.status, 302);
    assert_true(http_header_get(&p.headers, STR("Location"), &to));
    assert_int_equal(atomic_load(&server.requests), 1);
    probe_deinit(&p);
}

static void test_odd_heads(void **state)
{
    struct probe p;
    struct str value;
    probe_init(&p, "/many");
    probe_run(&p);
    assert_int_equal(p.failure, CLIENT_OK);
    assert_int_equal(p.headers.n, HTTP_MAX_HEADERS);
    probe_deinit(&p);
    probe_init(&p, "/folded");
    probe_run(&p);
    assert_true(http_header_get(&p.headers, STR("x-a"), &value));
    assert_true(str_starts(value, STR("one")) && str_ends(value, STR("two")));
    probe_deinit(&p);
    probe_init(&p, "/empty");
    probe_run(&p);
    assert_int_equal(p.status, 204);
    probe_deinit(&p);
}

static void test_head_comes_once(void **state)
{
    struct probe p;
    probe_init(&p, "/continue");
    probe_streams(&p);
    probe_run(&p);
    assert_int_equal(p.n_head, 1);
    assert_int_equal(p.status, 200);
    assert_false(http_header_get(&p.headers, STR("x-early"), &(struct str){0}));
    assert_true(str_eq_c(buf_str(&p.body), "ok"));
    probe_deinit(&p);
}

/* --- what goes wrong --- */

static void test_broken_answers(void **state)
{
    expect_failure("/cut", CLIENT_BROKEN, "before the end of its answer");
    expect_failure("/cut-chunk", CLIENT_BROKEN, NULL);
    expect_failure("/bad-chunk", CLIENT_BROKEN, NULL);
    expect_failure("/reset", CLIENT_BROKEN, NULL);
    expect_failure("/nothing", CLIENT_BROKEN, "without an answer");
    expect_failure("/garbage", CLIENT_BROKEN, NULL);
    expect_failure("/flood", CLIENT_BROKEN, "headers");
    expect_failure("/upgrade", CLIENT_BROKEN, "another protocol");
    expect_failure("/both", CLIENT_BROKEN, "both Content-Length and Transfer-Encoding");
}

static void test_stall_and_total_timeout(void **state)
{
    struct probe p;
    probe_init(&p, "/stall");
    p.limits.stall_timeout_ms = 20;
    probe_run(&p);
    assert_int_equal(p.failure, CLIENT_TIMEOUT);
    assert_non_null(strstr(p.err->reason, "Silence"));
    probe_deinit(&p);
    probe_init(&p, "/silent");
    p.limits.total_timeout_ms = 20;
    probe_run(&p);
    assert_int_equal(p.failure, CLIENT_TIMEOUT);
    assert_non_null(strstr(p.err->reason, "Request to"));
    probe_deinit(&p);
}

static void test_answer_too_large(void **state)
{
    static const char *const paths[] = {"/big", "/huge-chunks"};
    for (int i = 0; i < 4; i++) {
        struct probe p;
        probe_init(&p, paths[i / 2]);
        if (i % 2)
            probe_streams(&p);
        p.limits.max_response_bytes = 50000;
        probe_run(&p);
        assert_int_equal(p.failure, CLIENT_TOO_LARGE);
        assert_int_equal(p.err->kind, ERR_TOO_LARGE);
        assert_true(p.body.n <= 50000);
        probe_deinit(&p);
    }
}

static void test_no_connection(void **state)
{
    int closed = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    assert_int_equal(bind(closed, (struct sockaddr *)&a, n), 0);
    getsockname(closed, (struct sockaddr *)&a, &n);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/?key=secret", ntohs(a.sin_port));
    expect_failure(url, CLIENT_CONNECT, "Connection refused");
    snprintf(url, sizeof url, "https://127.0.0.1:%d/garbage", server.port);
    expect_failure(url, CLIENT_TLS, NULL);
    close(closed);
}

static void test_unknown_host(void **state)
{
    /* A label of more than 63 bytes: no resolver asks the network for it. */
    expect_failure(
        "http://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b/x",
        CLIENT_UNKNOWN_HOST, "[http://aaaaaaaa");
    expect_failure("http://[::zz]/", CLIENT_UNKNOWN_HOST, NULL);
    expect_failure("ftp://127.0.0.1/", CLIENT_UNKNOWN_HOST, "not valid");
    expect_failure("nonsense", CLIENT_UNKNOWN_HOST, "not valid");
    expect_failure("http://127.0.0.1/a b", CLIENT_UNKNOWN_HOST, "not valid");
    expect_failure("http://", CLIENT_UNKNOWN_HOST, "not valid");
}

/* The resolver's pipe has left epoll before its number is used again. */
static void test_socket_after_a_lookup(void **state)
{
    for (int i = 0; i < 5; i++) {
        char url[64];
        snprintf(url, sizeof url, "http://localhost:%d/reset", server.port);
        expect_failure(url, CLIENT_BROKEN, NULL);
        test_unknown_host(state);
        expect_body("/ok", "ok");
    }
}

static void test_private_address_is_refused(void **state)
{
    struct probe p;
    expect_body("/ok", "ok"); /* leaves a connection that must not be used below */
    probe_init(&p, "/ok");
    p.limits.allow_private = false;
    probe_run(&p);
    assert_int_equal(p.failure, CLIENT_REFUSED_ADDRESS);
    assert_int_equal(atomic_load(&server.requests), 1);
    probe_deinit(&p);
}

static void test_header_injection_is_refused(void **state)
{
    static const struct http_header bad[] = {
        {STR_INIT("X-A"), STR_INIT("1\r\nX-B: 2")}, {STR_INIT("X-A: 1\r\nX-B"), STR_INIT("2")},
        {STR_INIT("X-A"), STR_INIT("1\0002")},      {STR_INIT(""), STR_INIT("1")},
        {STR_INIT("X-A:"), STR_INIT("1")},          {STR_INIT("X-A"), STR_INIT("1\n")},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct probe p;
        probe_init(&p, "/echo");
        http_header_add(&p.out.headers, bad[i].name, bad[i].value);
        probe_run(&p);
        assert_int_equal(p.failure, CLIENT_BROKEN);
        probe_deinit(&p);
    }
    assert_int_equal(atomic_load(&server.requests), 0);
}

static void test_reasons_hold_no_secret(void **state)
{
    char url[128];
    snprintf(url, sizeof url, "http://user:hidden@127.0.0.1:%d/cut?key=hidden", server.port);
    struct probe p;
    probe_init(&p, url);
    http_header_add(&p.out.headers, STR("Authorization"), STR("hidden"));
    probe_run(&p);
    assert_int_equal(p.failure, CLIENT_BROKEN);
    assert_null(strstr(p.err->reason, "hidden"));
    probe_deinit(&p);
}

/* --- idle connections that died --- */

static void test_one_retry_on_a_dead_connection(void **state)
{
    int first = expect_body("/once", "ok");
    int second = expect_body("/ok", "ok"); /* closed when it was read */
    assert_true(second != first);
    assert_int_equal(atomic_load(&server.requests), 3);
}

/* The second connection is a new one, whatever else idles, and the last one. */
static void test_no_second_retry(void **state)
{
    struct probe p[2];
    for (int i = 0; i < 2; i++) {
        probe_init(&p[i], "/once");
        probe_send(&p[i]);
    }
    run_all();
    assert_true(p[0].conn != p[1].conn);
    probe_deinit(&p[0]);
    probe_deinit(&p[1]);
    expect_failure("/nothing", CLIENT_BROKEN, "twice");
    assert_int_equal(atomic_load(&server.requests), 4);
    expect_body("/ok", "ok"); /* what idled beside them has been closed, or is found to be */
}

static void test_connection_closed_while_idle(void **state)
{
    for (int i = 0; i < 3; i++) {
        int conn = expect_body("/bye", "ok");
        run(2);
        assert_true(expect_body("/ok", "ok") != conn);
    }
}

/* --- the pool --- */

static void test_answers_that_end_a_connection(void **state)
{
    static const char *const paths[] = {"/more", "/more-later", "/last"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        expect_body(paths[i], "ok");
        struct client_stats s = {.available = 1};
        for (int j = 0; j < 1000 && s.available; j++) {
            run(2);
            client_stats(client, &s);
        }
        assert_int_equal(s.available, 0);
        expect_body("/ok", "ok");
    }
}

static void expect_sent(const char *url, const char *line)
{
    struct probe p;
    char text[256];
    snprintf(text, sizeof text, "http://%s", url);
    char *at = strstr(text, "PORT");
    if (at) {
        char rest[256];
        snprintf(rest, sizeof rest, "%s", at + 4);
        snprintf(at, sizeof text - (size_t)(at - text), "%d%s", server.port, rest);
    }
    probe_init(&p, text);
    struct client_egress as_a_proxy = {.proxy = NULL}; /* the fixture echoes whole URLs */
    char proxy[64];
    snprintf(proxy, sizeof proxy, "http://127.0.0.1:%d", server.port);
    as_a_proxy.proxy = proxy;
    p.limits.egress = &as_a_proxy;
    probe_run(&p);
    assert_int_equal(p.failure, CLIENT_OK);
    buf_char(&p.body, '\0');
    if (!strstr(p.body.p, line))
        fail_msg("[%s] is not in [%s]", line, p.body.p);
    probe_deinit(&p);
}

static void test_urls(void **state)
{
    expect_sent("name.invalid", "POST http://name.invalid/ HTTP/1.1\r\n");
    expect_sent("name.invalid?a=b/c", "POST http://name.invalid/?a=b/c HTTP/1.1\r\n");
    expect_sent("name.invalid/a%20b#part", "POST http://name.invalid/a%20b HTTP/1.1\r\n");
    expect_sent("Name.Invalid:80/", "\r\nHost: Name.Invalid\r\n");
    expect_sent("Name.Invalid:81/", "\r\nHost: Name.Invalid:81\r\n");
    expect_sent("[2001:db8::1]:81/", "\r\nHost: [2001:db8::1]:81\r\n");
    expect_sent("Aladdin:open%20sesame@name.invalid/",
                "\r\nAuthorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n");
    expect_sent("Aladdin:open%20sesame@name.invalid/", "POST http://name.invalid/ HTTP/1.1\r\n");
    expect_sent("u@name.invalid/", "\r\nAuthorization: Basic dTo=\r\n");
    expect_failure("http://a b@127.0.0.1/", CLIENT_UNKNOWN_HOST, "not valid");
    expect_failure("http://127.0.0.1\\@name.invalid/", CLIENT_UNKNOWN_HOST, "not valid");
    expect_failure("http://127.0.0.1:99999/", CLIENT_UNKNOWN_HOST, "not valid");
    expect_failure("http://u%0d%0a:p%zz@127.0.0.1/", CLIENT_BROKEN, "credentials");
}

static void other_options(long total, int64_t max_idle_ms)
{
    struct client_options o = {.connect_timeout_ms = 5000,
                               .max_total_connections = total,
                               .max_route_connections = total,
                               .max_idle_ms = max_idle_ms};
    client_free(client);
    client = client_new(loop, &o);
}

static void test_idle_connections_grow_old(void **state)
{
    struct client_stats s;
    other_options(4, 20);
    expect_body("/ok", "ok");
    client_stats(client, &s);
    assert_int_equal(s.available, 1);
    for (int i = 0; i < 100 && s.available; i++) {
        run(20);
        client_stats(client, &s);
    }
    assert_int_equal(s.available, 0);
}

/* An idle connection of one route gives way to a new one of another. */
static void test_idle_connections_make_room(void **state)
{
    struct client_stats s;
    char url[64];
    snprintf(url, sizeof url, "http://localhost:%d/ok", server.port);
    other_options(1, 60000);
    int last = 0;
    for (int i = 0; i < 4; i++) {
        int conn = expect_body(i % 2 ? url : "/ok", "ok");
        assert_int_not_equal(conn, last);
        last = conn;
        client_stats(client, &s);
        assert_int_equal(s.available, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_answers),
        TEST(test_connection_is_reused),
        TEST(test_request_as_given),
        TEST(test_methods_on_one_handle),
        TEST(test_large_request_does_not_wait),
        TEST(test_answer_before_the_request_is_sent),
        TEST(test_redirect_is_an_answer),
        TEST(test_odd_heads),
        TEST(test_head_comes_once),
        TEST(test_broken_answers),
        TEST(test_stall_and_total_timeout),
        TEST(test_answer_too_large),
        TEST(test_no_connection),
        TEST(test_unknown_host),
        TEST(test_socket_after_a_lookup),
        TEST(test_private_address_is_refused),
        TEST(test_header_injection_is_refused),
        TEST(test_reasons_hold_no_secret),
        TEST(test_one_retry_on_a_dead_connection),
        TEST(test_no_second_retry),
        TEST(test_connection_closed_while_idle),
        TEST(test_answers_that_end_a_connection),
        TEST(test_urls),
        TEST(test_idle_connections_grow_old),
        TEST(test_idle_connections_make_room),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
