/* HTTP/2 from inside: what a peer may say at the wrong time, who moves elsewhere and how often, who
 * waits for what, and that no slot is lost over it. See client_h2_fixture.h. */
#include "client_h2_fixture.h"

/* --- answers --- */

static void test_answers_find_their_calls(void **state)
{
    struct probe p[3];
    warm(&a, 100);
    init_all(p, 3);
    probe_streams(&p[1]);
    send_all(p, 3, &a);
    peer_head(&a, 7, 0);
    peer_head(&a, 5, 0);
    peer_data(&a, 7, "se", 0);
    peer_data(&a, 5, "five", END_STREAM);
    peer_data(&a, 7, "ven", END_STREAM);
    peer_answer(&a, 3, "three");
    WAIT_FOR(p[0].n_done && p[1].n_done && p[2].n_done);
    expect_ok(&p[0], "three");
    expect_ok(&p[1], "five");
    expect_ok(&p[2], "seven");
    WAIT_FOR(client->n_idle == 1 && client->active == 0);
    deinit_all(p, 3);
    peer_close(&a);
}

/* ":status" with a value of its own, by its place in the static table. */
static void say_status(struct peer *p, int32_t id, const char *status, int flags)
{
    char bytes[5] = {8, 3, status[0], status[1], status[2]};
    peer_say(p, HEADERS, END_HEADERS | flags, id, bytes, 5);
}

static void test_a_status_that_is_none(void **state)
{
    static const char *const bad[] = {"000", "099", "101", "2x0"};
    struct probe p[4];
    warm(&a, 100);
    init_all(p, 4);
    send_all(p, 4, &a);
    for (int i = 0; i < 4; i++)
        say_status(&a, 3 + 2 * i, bad[i], END_STREAM);
    WAIT_FOR(p[0].n_done && p[1].n_done && p[2].n_done && p[3].n_done);
    for (int i = 0; i < 4; i++)
        assert_int_equal(p[i].failure, CLIENT_BROKEN);
    expect_failed(&p[1], CLIENT_BROKEN, "malformed status");
    deinit_all(p, 4);
    peer_close(&a);
}

static void test_endless_early_heads(void **state)
{
    struct probe p;
    warm(&a, 100);
    probe_init(&p);
    send_all(&p, 1, &a);
    for (int i = 0; i < 10000 && !p.n_done; i++) {
        say_status(&a, 3, "103", 0);
        if (i % 500 == 0)
            turn();
    }
    WAIT_FOR(p.n_done);
    expect_failed(&p, CLIENT_BROKEN, "headers");
    probe_deinit(&p);
    peer_close(&a);
}

/* A field without indexing, "x: vvv...". */
static size_t put_field(char *to, size_t n)
{
    to[0] = 0;
    to[1] = 1;
    to[2] = 'x';
    to[3] = 127;
    size_t rest = n - 127, at = 4;
    for (; rest >= 128; rest >>= 7)
        to[at++] = (char)(0x80 | (rest & 127));
    to[at++] = (char)rest;
    memset(to + at, 'v', n);
    return at + n;
}

static void test_trailers_that_are_too_large(void **state)
{
    static char field[16000];
    struct probe p[2];
    warm(&a, 100);
    init_all(p, 2);
    send_all(p, 2, &a);
    for (int32_t id = 3; id <= 5; id += 2) {
        peer_head(&a, id, 0);
        peer_data(&a, id, "ok", 0);
        size_t n = put_field(field, id == 3 ? 8000 : 9000);
        peer_say(&a, HEADERS, END_HEADERS | END_STREAM, id, field, n);
    }
    WAIT_FOR(p[0].n_done && p[1].n_done);
    expect_ok(&p[0], "ok");
    expect_failed(&p[1], CLIENT_BROKEN, "headers");
    deinit_all(p, 2);
    peer_close(&a);
}

/* --- who moves elsewhere --- */

static void test_a_goodbye_before_the_request_has_left(void **state)
{
    struct probe p;
    warm(&a, 100);
    probe_init(&p);
    peer_goodbye(&a, 1);
    probe_send(&p);
    peer_accept(&b);
    WAIT_FOR(peer_count(&b, HEADERS) == 1);
    assert_int_equal(peer_count(&a, HEADERS), 1);
    peer_answer(&b, 1, "there");
    WAIT_FOR(p.n_done);
    expect_ok(&p, "there");
    WAIT_FOR((peer_read(&a), a.eof));
    probe_deinit(&p);
    peer_close(&a);
    peer_close(&b);
}

static void test_a_service_that_takes_few_on_a_connection(void **state)
{
    struct probe p[5];
    warm(&a, 100);
    init_all(p, 5);
    send_all(p, 3, &a);
    peer_goodbye(&a, 3); /* after two; two more move */
    peer_accept(&b);
    WAIT_FOR(peer_count(&b, HEADERS) == 2);
    probe_send(&p[3]); /* the second has its two */
    peer_accept(&c);
    WAIT_FOR(peer_count(&c, HEADERS) == 1);
    assert_int_equal(peer_count(&b, HEADERS), 2);
    peer_answer(&a, 3, "0");
    peer_answer(&b, 1, "1");
    peer_answer(&b, 3, "2");
    WAIT_FOR(p[0].n_done && p[1].n_done && p[2].n_done);
    WAIT_FOR(client->n_idle == 1); /* it said no goodbye, and may take more */
    peer_answer(&c, 1, "3");
    WAIT_FOR(p[3].n_done && client->n_idle == 2);
    expect_ok(&p[0], "0");
    expect_ok(&p[3], "3");
    send_all(&p[4], 1, &c);
    peer_answer(&c, 3, "4");
    WAIT_FOR(p[4].n_done);
    expect_ok(&p[4], "4");
    deinit_all(p, 5);
    peer_close(&a);
    peer_close(&b);
    peer_close(&c);
}

static void test_moving_ends(void **state)
{
    struct probe p;
    warm(&a, 100);
    probe_init(&p);
    probe_send(&p);
    for (size_t i = 0; !p.n_done; i++) {
        assert_true(i <= 21);
        WAIT_FOR(p.n_done || peer_count(&a, HEADERS) == i + 2);
        if (!p.n_done)
            peer_word(&a, RST_STREAM, (int32_t)(3 + 2 * i), 7);
    }
    expect_failed(&p, CLIENT_BROKEN, "REFUSED_STREAM");
    assert_int_equal(peer_count(&a, HEADERS), 1 + 21);
    probe_deinit(&p);
    peer_close(&a);
}

static void test_what_has_begun_to_be_answered_does_not_move(void **state)
{
    struct probe p;
    warm(&a, 100);
    probe_init(&p);
    send_all(&p, 1, &a);
    peer_head(&a, 3, 0);
    peer_word(&a, RST_STREAM, 3, 7);
    WAIT_FOR(p.n_done);
    expect_failed(&p, CLIENT_BROKEN, "REFUSED_STREAM");
    assert_true(no_peer_comes());
    probe_deinit(&p);
    peer_close(&a);
}

static void test_a_kept_one_that_closes_twice(void **state)
{
    struct probe p;
    warm(&a, 100);
    probe_init(&p);
    send_all(&p, 1, &a);
    peer_close(&a);
    peer_accept(&b);
    WAIT_FOR(peer_count(&b, HEADERS) == 1);
    peer_close(&b);
    WAIT_FOR(p.n_done);
    expect_failed(&p, CLIENT_BROKEN, "twice");
    assert_true(no_peer_comes());
    probe_deinit(&p);
}

static void test_one_that_said_something_and_closes(void **state)
{
    struct probe p;
    warm(&a, 100);
    probe_init(&p);
    send_all(&p, 1, &a);
    peer_say(&a, PING, 0, 0, "12345678", 8);
    turn();
    peer_close(&a);
    WAIT_FOR(p.n_done);
    expect_failed(&p, CLIENT_BROKEN, "closed the connection without an answer");
    assert_true(no_peer_comes());
    probe_deinit(&p);
}

static void test_who_has_moved_goes_first(void **state)
{
    struct probe p[5];
    warm_two(p);
    init_all(p + 2, 3);
    probe_send(&p[2]);
    peer_accept(&c);
    peer_setting(&c, MAX_CONCURRENT_STREAMS, 1);
    WAIT_FOR(peer_count(&c, HEADERS) == 1);
    probe_send(&p[3]); /* there is no slot left, nor a stream */
    probe_send(&p[4]);
    assert_int_equal(p[3].call->state, CALL_QUEUED);
    peer_word(&a, RST_STREAM, 3, 7);
    WAIT_FOR(peer_count(&a, HEADERS) == 3);
    assert_int_equal(p[0].call->state, CALL_RUNNING);
    assert_int_equal(p[3].call->state, CALL_QUEUED);
    for (int i = 0; i < 5; i++)
        client_cancel(p[i].call);
    deinit_all(p, 5);
    peer_close(&a);
    peer_close(&b);
    peer_close(&c);
}

static void test_it_wants_the_other_protocol_everywhere(void **state)
{
    struct probe p[2];
    warm_two(p);
    peer_answer(&b, 1, "b");
    WAIT_FOR(p[1].n_done);
    WAIT_FOR(client->n_idle == 1); /* b, that would be the next to be used */
    peer_word(&a, RST_STREAM, 3, 0xd);
    peer_accept(&c);
    WAIT_FOR(peer_count(&c, HEADERS) == 1);
    assert_int_equal(peer_count(&b, HEADERS), 1);
    peer_answer(&c, 1, "c");
    WAIT_FOR(p[0].n_done);
    expect_ok(&p[0], "c");
    deinit_all(p, 2);
    peer_close(&a);
    peer_close(&b);
    peer_close(&c);
}

/* --- limits --- */

static void test_each_connection_has_its_own_limit(void **state)
{
    static const struct client_egress other = {.ca = {"other", 5}};
    struct probe p[3];
    init_all(p, 3);
    warm(&a, 1);
    send_all(&p[0], 1, &a);
    p[1].limits.egress = &other;
    probe_send(&p[1]);
    peer_accept(&b);
    peer_setting(&b, MAX_CONCURRENT_STREAMS, 100); /* of another connection to the same host */
    peer_answer(&b, 1, "b");
    WAIT_FOR(p[1].n_done);
    probe_send(&p[2]);
    peer_accept(&c);
    WAIT_FOR(peer_count(&c, HEADERS) == 1);
    peer_answer(&c, 1, "c");
    WAIT_FOR(p[2].n_done);
    expect_ok(&p[2], "c");
    peer_answer(&a, 3, "a");
    WAIT_FOR(p[0].n_done);
    expect_ok(&p[0], "a");
    deinit_all(p, 3);
    peer_close(&a);
    peer_close(&b);
    peer_close(&c);
}

static void test_a_limit_that_sinks(void **state)
{
    struct probe p[2];
    warm(&a, 100);
    init_all(p, 2);
    send_all(&p[0], 1, &a);
    peer_setting(&a, MAX_CONCURRENT_STREAMS, 1);
    probe_send(&p[1]); /* before it is known */
    peer_accept(&b);
    WAIT_FOR(peer_count(&b, HEADERS) == 1);
    assert_int_equal(peer_count(&a, HEADERS), 2);
    peer_answer(&b, 1, "b");
    peer_answer(&a, 3, "a");
    WAIT_FOR(p[0].n_done && p[1].n_done);
    expect_ok(&p[0], "a");
    expect_ok(&p[1], "b");
    deinit_all(p, 2);
    peer_close(&a);
    peer_close(&b);
}

static void test_one_that_takes_nothing_any_more(void **state)
{
    struct probe p;
    warm(&a, 100);
    peer_setting(&a, MAX_CONCURRENT_STREAMS, 0);
    WAIT_FOR(peer_count(&a, SETTINGS) == 4); /* its own, and three acknowledged */
    probe_init(&p);
    probe_send(&p);
    peer_accept(&b);
    WAIT_FOR(peer_count(&b, HEADERS) == 1);
    peer_answer(&b, 1, "b");
    WAIT_FOR(p.n_done);
    expect_ok(&p, "b");
    probe_deinit(&p);
    peer_close(&a);
    peer_close(&b);
}

/* --- lines --- */

static void test_one_that_idles_serves_while_another_opens(void **state)
{
    struct probe p;
    warm(&a, 100);
    probe_init(&p);
    struct way *w = LIST_OWNER(client->last_route->ways.next, struct way, link);
    w->opening++; /* as if one were under way that takes long */
    p.call = client_send(client, &p.out, &p.limits, &p.events, &p);
    assert_int_equal(p.call->state, CALL_RUNNING);
    w->opening--;
    WAIT_FOR(peer_count(&a, HEADERS) == 2);
    peer_answer(&a, 3, "ok");
    WAIT_FOR(p.n_done);
    expect_ok(&p, "ok");
    probe_deinit(&p);
    peer_close(&a);
}

static void test_who_waits_behind_one_that_leaves(void **state)
{
    static const struct client_egress other = {.ca = {"other", 5}};
    struct probe p[3];
    warm(&a, 100);
    init_all(p, 3);
    send_all(p, 1, &a);
    client->active += 3; /* as if no slot were left */
    p[1].limits.egress = &other;
    probe_send(&p[1]);
    probe_send(&p[2]);
    assert_int_equal(p[2].call->state, CALL_QUEUED); /* in turn */
    client_cancel(p[1].call);
    for (int i = 0; i < 3; i++) {
        struct loop_timer end = {0};
        loop_timer_set(loop, &end, 0, stop);
        loop_run(loop);
    }
    client->active -= 3;
    assert_int_equal(p[2].call->state, CALL_RUNNING);
    WAIT_FOR(peer_count(&a, HEADERS) == 3);
    peer_answer(&a, 3, "a");
    peer_answer(&a, 5, "b");
    WAIT_FOR(p[0].n_done && p[2].n_done);
    deinit_all(p, 3);
    peer_close(&a);
}

static void test_the_opener_leaves(void **state)
{
    struct probe p[4];
    warm(&a, 100);
    peer_close(&a);
    WAIT_FOR(client->n_idle == 0);
    init_all(p, 4);
    for (int i = 0; i < 4; i++)
        probe_send(&p[i]);
    assert_int_equal(client->active, 1); /* one opens, the others wait for it */
    check_books();
    client_cancel(p[0].call);
    check_books();
    for (int32_t n = 0; n < 3;) { /* it may have got there; the next one opens again */
        peer_accept(&a);
        WAIT_FOR((peer_read(&a), a.eof) || peer_count(&a, HEADERS) == 3);
        if (a.eof) {
            peer_close(&a);
            continue;
        }
        for (; n < 3; n++)
            peer_answer(&a, 1 + 2 * n, "ok");
    }
    WAIT_FOR(p[1].n_done && p[2].n_done && p[3].n_done);
    for (int i = 1; i < 4; i++)
        expect_ok(&p[i], "ok");
    deinit_all(p, 4);
    peer_close(&a);
}

static void test_nothing_opens_and_many_wait(void **state)
{
    struct probe p[10];
    warm(&a, 100);
    peer_close(&a);
    WAIT_FOR(client->n_idle == 0);
    close(listener);
    init_all(p, 10);
    for (int i = 0; i < 10; i++)
        probe_send(&p[i]);
    for (int i = 0; i < 10; i++) {
        WAIT_FOR(p[i].n_done);
        expect_failed(&p[i], CLIENT_CONNECT, "Could not connect");
    }
    assert_int_equal(client->active, 0);
    deinit_all(p, 10);
    listen_here();
}

/* --- a connection that breaks --- */

static int connect_pair(const struct probe *p)
{
    struct url_parts url;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    assert_true(url_take_apart(p->out.url, &url));
    struct connection *k = mem_new(sizeof *k);
    k->client = client;
    k->way = way_get(client, &url, &p->limits);
    k->way->route->speaks_h2 = true;
    k->opened_ms = loop_now_ms(loop);
    loop_fd_add(loop, &k->watch, fds[0], EPOLLIN, exchange_ready);
    h2_start(k);
    idle_put(k);
    return fds[1];
}

static void test_what_came_before_it_broke_is_read(void **state)
{
    struct probe p[2];
    init_all(p, 2);
    peer_start(&a, connect_pair(&p[0]));
    peer_setting(&a, MAX_CONCURRENT_STREAMS, 100);
    peer_say(&a, SETTINGS, ACK, 0, NULL, 0);
    send_all(p, 1, &a);
    peer_answer(&a, 1, "a");
    peer_goodbye(&a, 1);
    peer_close(&a);
    probe_send(&p[1]);
    h2_work(p[1].call->connection); /* it writes before it reads, and cannot */
    peer_accept(&b);
    WAIT_FOR(peer_count(&b, HEADERS) == 1);
    peer_answer(&b, 1, "b");
    WAIT_FOR(p[0].n_done && p[1].n_done);
    expect_ok(&p[0], "a");
    expect_ok(&p[1], "b");
    deinit_all(p, 2);
    peer_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_answers_find_their_calls),
        TEST(test_a_status_that_is_none),
        TEST(test_endless_early_heads),
        TEST(test_trailers_that_are_too_large),
        TEST(test_a_goodbye_before_the_request_has_left),
        TEST(test_a_service_that_takes_few_on_a_connection),
        TEST(test_who_has_moved_goes_first),
        TEST(test_moving_ends),
        TEST(test_what_has_begun_to_be_answered_does_not_move),
        TEST(test_a_kept_one_that_closes_twice),
        TEST(test_one_that_said_something_and_closes),
        TEST(test_it_wants_the_other_protocol_everywhere),
        TEST(test_each_connection_has_its_own_limit),
        TEST(test_a_limit_that_sinks),
        TEST(test_one_that_takes_nothing_any_more),
        TEST(test_one_that_idles_serves_while_another_opens),
        TEST(test_who_waits_behind_one_that_leaves),
        TEST(test_the_opener_leaves),
        TEST(test_nothing_opens_and_many_wait),
        TEST(test_what_came_before_it_broke_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
