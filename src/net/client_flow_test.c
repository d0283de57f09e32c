/* Pausing, cancelling, waiting in line, sending from within events. See client_fixture.h. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "client_fixture.h"

/* --- pausing --- */

static void resume_later(struct loop_timer *timer)
{
    struct probe *p = (struct probe *)((char *)timer - offsetof(struct probe, timer));
    client_resume(p->call);
}

static void pause_here(struct probe *p)
{
    p->pause = p->n_body % 3 == 1;
    assert_false(loop_timer_is_set(&p->timer)); /* nothing comes while it pauses */
    if (p->pause)
        loop_timer_set(loop, &p->timer, clock_mono_ms() + 1, resume_later);
}

static void pause_always(struct probe *p)
{
    p->pause = true;
    assert_false(loop_timer_is_set(&p->timer));
    loop_timer_set(loop, &p->timer, 0, resume_later);
}

static void check_big(const struct probe *p)
{
    assert_int_equal(p->failure, CLIENT_OK);
    assert_int_equal(p->body.n, 300000);
    for (size_t i = 0; i < 300000; i++)
        assert_true(p->body.p[i] == (char)('a' + i % 26));
}

static void test_pause_and_resume(void **state)
{
    void (*const how[])(struct probe *) = {pause_here, pause_always};
    for (int i = 0; i < 2; i++) {
        struct probe p;
        probe_init(&p, "/big");
        probe_streams(&p);
        p.on_body = how[i];
        p.limits.stall_timeout_ms = 2000;
        probe_run(&p);
        check_big(&p);
        probe_deinit(&p);
        expect_body("/ok", "ok");
    }
}

static void stay_paused(struct probe *p)
{
    p->pause = true;
}

/* The end waits for the receiver; a pause is no stall, but the total time runs on. */
static void test_end_while_paused(void **state)
{
    struct probe p;
    probe_init(&p, "/ok");
    probe_streams(&p);
    p.on_body = stay_paused;
    p.limits.stall_timeout_ms = 2;
    probe_send(&p);
    while (p.n_body == 0)
        run(1);
    run(10);
    assert_int_equal(p.n_done, 0);
    client_resume(p.call);
    run_all();
    assert_int_equal(p.failure, CLIENT_OK);
    probe_deinit(&p);
    static const char *const paths[] = {"/ok", "/big"};
    for (int i = 0; i < 2; i++) {
        probe_init(&p, paths[i]);
        probe_streams(&p);
        p.on_body = stay_paused;
        p.limits.total_timeout_ms = 20;
        probe_run(&p);
        assert_int_equal(p.failure, CLIENT_TIMEOUT);
        assert_int_equal(p.n_body, 1);
        probe_deinit(&p);
    }
}

/* --- cancelling --- */

static struct probe *victim;

static void cancel_victim(struct probe *p)
{
    p->on_body = NULL;
    if (victim->n_done)
        return;
    client_cancel(victim->call);
    arena_free(victim->arena); /* its request's bytes may go at once */
    victim->arena = NULL;
    pending--;
}

static void cancel_self(struct probe *p)
{
    client_cancel(p->call);
    client_cancel(p->call);
    client_resume(p->call);
    if (--pending == 0)
        loop_stop(loop);
}

static void test_cancel_in_own_body(void **state)
{
    struct probe p;
    probe_init(&p, "/big");
    probe_streams(&p);
    p.on_body = cancel_self;
    probe_send(&p);
    run_all();
    assert_int_equal(p.n_body, 1);
    int conn = expect_body("/ok", "ok");
    assert_int_equal(p.n_done, 0);
    assert_true(conn > 0);
    probe_deinit(&p);
}

static void test_cancel_another_from_a_body(void **state)
{
    static const char *const paths[] = {"/wait", "/stall", "/big", "/silent", "/ok"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        for (int first = 0; first < 2; first++) {
            struct probe p, other;
            probe_init(&other, paths[i]);
            probe_init(&p, "/big");
            probe_streams(&p);
            probe_streams(&other);
            char *body = arena_alloc(other.arena, 1 << 20);
            other.out.body = str_n(body, 1 << 20);
            victim = &other;
            if (first)
                probe_send(&other);
            probe_send(&p);
            if (!first)
                probe_send(&other);
            p.on_body = cancel_victim;
            run_all();
            check_big(&p);
            assert_int_equal(other.n_done, other.arena != NULL);
            probe_deinit(&p);
            err_free(other.err);
            buf_deinit(&other.body);
            arena_free(other.arena);
        }
    }
}

static void test_cancel_at_any_time(void **state)
{
    static const char *const paths[] = {
        "/wait", "/stall", "/silent", "http://[::zz]/",
        "http://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b/x"};
    for (int i = 0; i < 20; i++) {
        struct probe p;
        probe_init(&p, paths[i % 5]);
        probe_send(&p);
        if (i >= 5)
            run(i % 3);
        if (p.n_done == 0) {
            client_cancel(p.call);
            pending--;
        }
        run(0);
        probe_deinit(&p);
    }
    atomic_store(&server.release, true);
    expect_body("/ok", "ok");
}

static void test_free_cancels(void **state)
{
    static const char *const paths[] = {"/wait", "/stall", "/silent", "/ok",
                                        "/ok",   "/ok",    "nothing"};
    struct probe p[7];
    for (int i = 0; i < 7; i++) {
        probe_init(&p[i], paths[i]);
        p[i].events.done = NULL;
        p[i].call = client_send(client, &p[i].out, &p[i].limits, &p[i].events, &p[i]);
        if (i == 2)
            run(3);
    }
    client_free(client);
    loop_free(loop);
    for (int i = 0; i < 7; i++)
        probe_deinit(&p[i]);
    start_client(state);
}

/* --- many at once --- */

static void release(struct loop_timer *timer)
{
    struct client_stats s;
    client_stats(client, &s);
    if (s.leased < 3) { /* still connecting */
        loop_timer_set(loop, timer, clock_mono_ms() + 1, release);
        return;
    }
    assert_int_equal(s.leased, 3);
    assert_int_equal(s.pending, 4);
    atomic_store(&server.release, true);
}

static void test_route_has_its_limit(void **state)
{
    struct probe p[7];
    struct loop_timer timer = {0};
    for (int i = 0; i < 7; i++) {
        probe_init(&p[i], "/wait");
        probe_send(&p[i]);
    }
    loop_timer_set(loop, &timer, clock_mono_ms() + 5, release);
    run_all();
    assert_int_equal(atomic_load(&server.busy_max), 3);
    for (int i = 0; i < 7; i++) {
        assert_int_equal(p[i].failure, CLIENT_OK);
        probe_deinit(&p[i]);
    }
}

/* A host with free slots is served however many wait for another one. */
static void test_busy_route_does_not_hold_up_others(void **state)
{
    struct probe busy[6], other;
    for (int i = 0; i < 6; i++) {
        probe_init(&busy[i], "/wait");
        probe_send(&busy[i]);
    }
    pending = 0;
    probe_init(&other, "/ok");
    other.out.url = arena_printf(other.arena, "http://localhost:%d/ok", server.port);
    probe_run(&other);
    assert_int_equal(other.failure, CLIENT_OK);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(busy[i].n_done, 0);
        client_cancel(busy[i].call);
        probe_deinit(&busy[i]);
    }
    probe_deinit(&other);
}

static int n_ended;

static void ended(void *ctx, enum client_failure failure, struct err *err, const struct http_in *in)
{
    struct probe *p = ctx;
    on_done(ctx, failure, err, in);
    p->conn = ++n_ended;
}

/* One owner's twenty calls are in line; another's two come in with the second and third of them. */
static void test_owners_take_turns(void **state)
{
    struct probe heavy[23], light[2];
    n_ended = 0;
    for (int i = 0; i < 23; i++) {
        probe_init(&heavy[i], i < 3 ? "/wait" : "/ok");
        heavy[i].events.done = ended;
        heavy[i].limits.owner = 7;
        probe_send(&heavy[i]);
    }
    for (int i = 0; i < 2; i++) {
        probe_init(&light[i], "/ok");
        light[i].events.done = ended;
        light[i].limits.owner = 8;
        probe_send(&light[i]);
    }
    client_cancel(heavy[2].call); /* one slot comes free */
    pending = 24;
    struct loop_timer timer = {0};
    loop_timer_set(loop, &timer, clock_mono_ms() + 50, release);
    run_all();
    assert_true(light[0].conn <= 3);
    assert_true(light[1].conn <= 5);
    for (int i = 0; i < 23; i++)
        probe_deinit(&heavy[i]);
    for (int i = 0; i < 2; i++)
        probe_deinit(&light[i]);
}

static void test_waiting_can_time_out_and_be_cancelled(void **state)
{
    struct probe p[6];
    for (int i = 0; i < 6; i++) {
        probe_init(&p[i], "/wait");
        p[i].limits.total_timeout_ms = i == 3 ? 10 : 0;
        probe_send(&p[i]);
    }
    client_cancel(p[4].call);
    pending = 1;
    run_all();
    assert_int_equal(p[3].failure, CLIENT_TIMEOUT);
    pending = 4;
    atomic_store(&server.release, true);
    run_all();
    assert_int_equal(p[5].failure, CLIENT_OK);
    assert_int_equal(p[4].n_done, 0);
    for (int i = 0; i < 6; i++)
        probe_deinit(&p[i]);
}

static struct probe chain;

static void send_chain(struct probe *p)
{
    p->on_body = NULL;
    probe_send(&chain);
}

static void chain_done(void *ctx, enum client_failure failure, struct err *err,
                       const struct http_in *in)
{
    probe_send(&chain);
    on_done(ctx, failure, err, in);
}

static void test_send_from_within_events(void **state)
{
    struct probe p;
    probe_init(&p, "/ok");
    probe_init(&chain, "/ok");
    probe_streams(&p);
    p.on_body = send_chain;
    probe_send(&p);
    run_all();
    assert_int_equal(chain.n_done, 1);
    probe_deinit(&chain);
    probe_deinit(&p);
    probe_init(&p, "/ok");
    probe_init(&chain, "/ok");
    p.events.done = chain_done;
    probe_send(&p);
    run_all();
    assert_int_equal(chain.n_done, 1);
    assert_int_equal(chain.conn, p.conn);
    probe_deinit(&chain);
    probe_deinit(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_pause_and_resume),        TEST(test_end_while_paused),
        TEST(test_cancel_in_own_body),      TEST(test_cancel_another_from_a_body),
        TEST(test_cancel_at_any_time),      TEST(test_free_cancels),
        TEST(test_route_has_its_limit),     TEST(test_busy_route_does_not_hold_up_others),
        TEST(test_owners_take_turns),       TEST(test_waiting_can_time_out_and_be_cancelled),
        TEST(test_send_from_within_events),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
