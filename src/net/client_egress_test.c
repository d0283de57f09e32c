/* Calls that leave by another way: proxies, and who shares connections with whom. What TLS makes of
 * ca and certificate is told by tests/test_19_egress.py. */
#include "client_fixture.h"

static char proxy[64];
static struct client_egress by_proxy = {.proxy = proxy};

static void set_proxy(struct probe *p)
{
    snprintf(proxy, sizeof proxy, "http://127.0.0.1:%d", server.port);
    p->limits.egress = &by_proxy;
}

static void test_a_proxy_gets_the_whole_url(void **state)
{
    struct probe p;
    probe_init(&p, "http://name.invalid:81/a/../b?c=d");
    set_proxy(&p);
    probe_run(&p);
    assert_int_equal(p.failure, CLIENT_OK);
    buf_char(&p.body, '\0');
    assert_non_null(strstr(p.body.p, "POST http://name.invalid:81/a/../b?c=d HTTP/1.1\r\n"));
    assert_non_null(strstr(p.body.p, "\r\nHost: name.invalid:81\r\n"));
    probe_deinit(&p);
}

static void test_a_proxy_at_a_private_address(void **state)
{
    struct probe p;
    probe_init(&p, "http://name.invalid/");
    set_proxy(&p);
    p.limits.allow_private = false;
    probe_run(&p);
    assert_int_equal(p.failure, CLIENT_REFUSED_ADDRESS);
    probe_deinit(&p);
}

static void test_a_proxy_that_refuses(void **state)
{
    struct probe p;
    probe_init(&p, "https://name.invalid/");
    set_proxy(&p);
    probe_run(&p);
    assert_int_equal(p.failure, CLIENT_BROKEN);
    assert_non_null(strstr(p.err->reason, "403"));
    assert_int_equal(p.n_head, 0);
    probe_deinit(&p);
}

static void test_a_proxy_that_is_not_there(void **state)
{
    struct probe p;
    struct client_egress nowhere = {.proxy = "http://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                             "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b:1"};
    probe_init(&p, "/ok");
    p.limits.egress = &nowhere;
    probe_run(&p);
    assert_int_equal(p.failure, CLIENT_CONNECT);
    assert_non_null(strstr(p.err->reason, "the proxy"));
    probe_deinit(&p);
}

static int run_once(const char *path, bool with_proxy)
{
    struct probe p;
    probe_init(&p, path);
    if (with_proxy)
        set_proxy(&p);
    probe_run(&p);
    assert_int_equal(p.failure, CLIENT_OK);
    int conn = p.conn;
    probe_deinit(&p);
    return conn;
}

static void test_connections_are_shared_among_equals_only(void **state)
{
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/ok", server.port);
    int plain = run_once(url, false);
    int proxied = run_once(url, true);
    assert_int_not_equal(plain, proxied);
    assert_int_equal(run_once(url, false), plain);
    assert_int_equal(run_once(url, true), proxied);
    assert_int_equal(run_once(url, false), plain);
}

static void test_cancelling(void **state)
{
    struct probe p;
    probe_init(&p, "/silent");
    struct client_egress trusting = {.ca = STR("not looked at by http")};
    p.limits.egress = &trusting;
    probe_send(&p);
    run(20);
    client_cancel(p.call);
    pending--;
    assert_int_equal(p.n_done, 0);
    probe_deinit(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_proxy_gets_the_whole_url),
        TEST(test_a_proxy_at_a_private_address),
        TEST(test_a_proxy_that_refuses),
        TEST(test_a_proxy_that_is_not_there),
        TEST(test_connections_are_shared_among_equals_only),
        TEST(test_cancelling),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
