/* HTTP/2 from inside: bodies and their windows, pausing, time, and calls that are cancelled and
 * sent within events. See client_h2_fixture.h. */
#include "client_h2_fixture.h"

/* --- bodies and windows --- */

static void test_a_large_request_is_cancelled_and_another_arrives(void **state)
{
    enum { N = 1000000 };
    struct probe p[2];
    char *text = malloc(N);
    for (size_t i = 0; i < N; i++)
        text[i] = (char)('a' + i % 23);
    warm(&a, 100);
    a.data.n = 0;
    init_all(p, 2);
    p[0].out.body = p[1].out.body = str_n(text, N);
    send_all(p, 1, &a);
    WAIT_FOR((peer_read(&a), a.data.n == 65535 - 2)); /* "{}" came before */
    client_cancel(p[0].call);
    WAIT_FOR(peer_find(&a, RST_STREAM, 3));
    assert_int_equal(peer_find(&a, RST_STREAM, 3)->code, 8);
    a.data.n = 0;
    send_all(&p[1], 1, &a);
    peer_word(&a, WINDOW_UPDATE, 0, 2 * N);
    WAIT_FOR((peer_read(&a), a.data.n == 65535));
    for (int i = 0; i < 100; i++)
        peer_word(&a, WINDOW_UPDATE, 5, N / 100);
    WAIT_FOR((peer_read(&a), a.data.n == N));
    assert_memory_equal(a.data.p, text, N);
    assert_true(peer_find(&a, DATA, 5)->flags & END_STREAM);
    peer_answer(&a, 5, "ok");
    WAIT_FOR(p[1].n_done);
    expect_ok(&p[1], "ok");
    assert_int_equal(p[0].n_done, 0);
    deinit_all(p, 2);
    peer_close(&a);
    free(text);
}

static void test_a_large_head_leaves_as_it_does_over_http_1(void **state)
{
    enum { N = 150000 };
    struct probe p;
    char *text = malloc(N);
    memset(text, '~', N); /* is not made shorter */
    warm(&a, 100);
    probe_init(&p);
    p.out.headers.n = 1;
    p.out.headers.h[0] = (struct http_header){STR("x-large"), str_n(text, N)};
    send_all(&p, 1, &a);
    WAIT_FOR(peer_find(&a, DATA, 3));
    peer_answer(&a, 3, "ok");
    WAIT_FOR(p.n_done);
    expect_ok(&p, "ok");
    probe_deinit(&p);
    peer_close(&a);
    free(text);
}

static size_t given_back(struct peer *p, int32_t id)
{
    size_t n = 0;
    peer_read(p);
    for (size_t i = 0; i < p->n_frames; i++) {
        if (p->frames[i].type == WINDOW_UPDATE && p->frames[i].id == id)
            n += p->frames[i].code;
    }
    return n;
}

static void say_much(struct peer *p, int32_t id, size_t n)
{
    static char block[16384];
    assert_int_equal(n % sizeof block, 0);
    for (int i = 0; n; n -= sizeof block, i++) {
        memset(block, i, sizeof block);
        peer_say(p, DATA, 0, id, block, sizeof block);
    }
}

static void test_windows_come_back(void **state)
{
    struct probe p[3];
    warm(&a, 100);
    init_all(p, 3);
    probe_streams(&p[0]);
    probe_streams(&p[1]);
    p[0].pause = true;
    send_all(p, 3, &a);
    for (int32_t id = 3; id <= 7; id += 2)
        peer_head(&a, id, 0);
    size_t before = given_back(&a, 0);
    say_much(&a, 3, 1 << 20); /* all that a paused one has room for */
    client_cancel(p[1].call);
    for (int i = 0; i < 7; i++)
        say_much(&a, 5, 1 << 20); /* of one that was cancelled */
    say_much(&a, 7, 1 << 20);
    peer_data(&a, 7, "!", END_STREAM);
    WAIT_FOR(p[2].n_done);
    assert_int_equal(p[2].failure, CLIENT_OK);
    assert_int_equal(p[2].body.n, (1 << 20) + 1);
    WAIT_FOR(given_back(&a, 0) - before >= 8u << 20);
    assert_int_equal(given_back(&a, 3), 0);
    assert_int_equal(p[0].n_done, 0);
    for (int i = 0; i < 20; i++) {
        p[0].pause = i < 19;
        client_resume(p[0].call);
        turn();
    }
    WAIT_FOR(given_back(&a, 3) >= 1 << 19);
    peer_data(&a, 3, "!", END_STREAM);
    WAIT_FOR(p[0].n_done);
    assert_int_equal(p[0].body.n, (1 << 20) + 1);
    for (size_t i = 0; i < 1 << 20; i++)
        assert_int_equal(p[0].body.p[i], (char)(i / 16384));
    deinit_all(p, 3);
    peer_close(&a);
}

static void test_a_paused_one_whose_connection_goes(void **state)
{
    struct probe p[2];
    warm(&a, 100);
    init_all(p, 2);
    probe_streams(&p[0]);
    probe_streams(&p[1]);
    p[0].pause = p[1].pause = true;
    send_all(p, 2, &a);
    for (int32_t id = 3; id <= 5; id += 2) {
        peer_head(&a, id, 0);
        peer_data(&a, id, "some", 0);
    }
    peer_data(&a, 5, "more", END_STREAM);
    WAIT_FOR(p[0].body.n == 4 && p[1].body.n >= 4);
    peer_close(&a);
    turn();
    assert_false(p[0].n_done || p[1].n_done);
    p[0].pause = p[1].pause = false;
    client_resume(p[0].call);
    client_resume(p[1].call);
    WAIT_FOR(p[0].n_done && p[1].n_done);
    expect_failed(&p[0], CLIENT_BROKEN, "before the end of its answer");
    expect_ok(&p[1], "somemore");
    WAIT_FOR(client->active == 0);
    deinit_all(p, 2);
}

/* --- time --- */

static void test_limits_of_time_are_each_calls_own(void **state)
{
    struct probe p[3];
    warm(&a, 100);
    init_all(p, 3);
    p[0].limits.stall_timeout_ms = 100;
    p[1].limits.total_timeout_ms = 150;
    send_all(p, 3, &a);
    peer_head(&a, 3, 0);
    peer_data(&a, 3, "some", 0);
    WAIT_FOR(p[0].n_done && p[1].n_done);
    expect_failed(&p[0], CLIENT_TIMEOUT, "Silence");
    expect_failed(&p[1], CLIENT_TIMEOUT, "Request to");
    WAIT_FOR(peer_find(&a, RST_STREAM, 3) && peer_find(&a, RST_STREAM, 5));
    peer_answer(&a, 7, "ok");
    WAIT_FOR(p[2].n_done);
    expect_ok(&p[2], "ok");
    deinit_all(p, 3);
    peer_close(&a);
}

static void wait_ms(int64_t ms)
{
    for (int64_t until = clock_mono_ms() + ms; clock_mono_ms() < until;)
        turn();
}

static void test_a_silent_one_is_asked_whether_it_is_there(void **state)
{
    struct probe p[4];
    warm(&a, 100);
    init_all(p, 4);
    send_all(p, 2, &a);
    wait_ms(2100);
    client_cancel(p[0].call);
    WAIT_FOR(peer_find(&a, PING, 0));
    probe_send(&p[2]); /* not there before it has answered */
    peer_accept(&b);
    WAIT_FOR(peer_count(&b, HEADERS) == 1);
    peer_say(&a, PING, ACK, 0, "\0\0\0\0\0\0\0\0", 8);
    turn();
    send_all(&p[3], 1, &a);
    peer_answer(&b, 1, "b");
    peer_answer(&a, 7, "later");
    peer_answer(&a, 5, "slow");
    WAIT_FOR(p[1].n_done && p[2].n_done && p[3].n_done);
    expect_ok(&p[1], "slow");
    expect_ok(&p[2], "b");
    expect_ok(&p[3], "later");
    deinit_all(p, 4);
    peer_close(&a);
    peer_close(&b);
}

/* --- calls within events --- */

static void cancel_self(struct probe *p)
{
    client_cancel(p->call);
}

static void cancel_other(struct probe *p)
{
    if (p->other && !p->other->n_done)
        client_cancel(p->other->call);
    p->other = NULL;
}

static void send_other(struct probe *p)
{
    if (p->other)
        probe_send(p->other);
    p->other = NULL;
}

static void test_cancelled_and_sent_within_events(void **state)
{
    struct probe p[8];
    warm(&a, 100);
    init_all(p, 8);
    for (int i = 0; i < 6; i++)
        probe_streams(&p[i]);
    p[0].on_head = cancel_self;
    p[1].on_body = cancel_self;
    p[2].on_head = cancel_other;
    p[2].other = &p[3];
    p[4].on_body = cancel_other;
    p[4].other = &p[5];
    p[4].on_done = send_other;
    p[2].on_done = send_other;
    send_all(p, 6, &a);
    for (int32_t id = 3; id <= 13; id += 2)
        peer_answer(&a, id, "x");
    WAIT_FOR(p[2].n_done && p[4].n_done);
    expect_ok(&p[2], "x");
    expect_ok(&p[4], "x");
    assert_false(p[0].n_done || p[1].n_done || p[3].n_done || p[5].n_done);
    p[2].other = &p[6];
    p[4].other = &p[7];
    probe_send(&p[2]);
    probe_send(&p[4]);
    WAIT_FOR(peer_count(&a, HEADERS) == 9);
    p[2].n_head = p[4].n_head = 0;
    p[2].on_head = NULL;
    p[4].on_body = NULL;
    peer_answer(&a, 15, "y");
    peer_answer(&a, 17, "y");
    WAIT_FOR(peer_count(&a, HEADERS) == 11);
    peer_answer(&a, 19, "z");
    peer_answer(&a, 21, "z");
    WAIT_FOR(p[6].n_done && p[7].n_done);
    expect_ok(&p[6], "z");
    expect_ok(&p[7], "z");
    WAIT_FOR(client->active == 0 && client->n_idle == 1);
    deinit_all(p, 8);
    peer_close(&a);
}

static void test_freed_with_calls_in_every_state(void **state)
{
    static const struct client_egress other = {.ca = {"other", 5}};
    struct probe p[12];
    warm_two(p);
    init_all(p + 2, 10);
    probe_streams(&p[4]);
    p[4].limits.egress = &other;
    p[4].pause = true;
    probe_send(&p[4]);
    peer_accept(&c);
    peer_setting(&c, MAX_CONCURRENT_STREAMS, 3);
    WAIT_FOR(peer_count(&c, HEADERS) == 1);
    peer_answer(&c, 1, "paused, and over");
    WAIT_FOR(p[4].body.n);
    p[5].limits.egress = &other; /* runs, and is not sent */
    probe_send(&p[5]);
    for (int i = 6; i < 10; i++) /* wait */
        probe_send(&p[i]);
    p[10].out.url = STR("ftp://nowhere"); /* has ended */
    probe_send(&p[10]);
    client_free(client);
    for (int i = 0; i < 11; i++)
        assert_int_equal(p[i].n_done, 0);
    deinit_all(p, 12);
    peer_close(&a);
    peer_close(&b);
    peer_close(&c);
    static const struct client_options options = {.max_total_connections = 1,
                                                  .max_route_connections = 1};
    client = client_new(loop, &options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_large_request_is_cancelled_and_another_arrives),
        TEST(test_a_large_head_leaves_as_it_does_over_http_1),
        TEST(test_windows_come_back),
        TEST(test_a_paused_one_whose_connection_goes),
        TEST(test_limits_of_time_are_each_calls_own),
        TEST(test_a_silent_one_is_asked_whether_it_is_there),
        TEST(test_cancelled_and_sent_within_events),
        TEST(test_freed_with_calls_in_every_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
