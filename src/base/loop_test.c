#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "clock.h"
#include "loop.h"

static struct loop *loop;

static int set_up(void **state)
{
    loop = loop_new(3);
    return 0;
}

static int tear_down(void **state)
{
    loop_free(loop);
    return 0;
}

/* --- timers --- */

static char order[64];
static size_t n_order;

struct named_timer {
    struct loop_timer timer;
    char name;
};

static void note(struct loop_timer *t)
{
    order[n_order++] = ((struct named_timer *)t)->name;
    order[n_order] = '\0';
    assert_false(loop_timer_is_set(t));
}

static void note_and_stop(struct loop_timer *t)
{
    note(t);
    loop_stop(loop);
}

static void timers_fire_by_time_then_by_setting(void **state)
{
    int64_t now = loop_now_ms(loop);
    struct named_timer t[] = {{.name = 'e'}, {.name = 'b'}, {.name = 'c'},
                              {.name = 'a'}, {.name = 'x'}, {.name = 'd'}};
    n_order = 0;
    loop_timer_set(loop, &t[0].timer, now + 4, note_and_stop);
    loop_timer_set(loop, &t[1].timer, now + 2, note);
    loop_timer_set(loop, &t[2].timer, now + 2, note);
    loop_timer_set(loop, &t[3].timer, now - 9, note);
    loop_timer_set(loop, &t[4].timer, now + 1, note);
    loop_timer_set(loop, &t[5].timer, now + 60000, note);
    loop_timer_set(loop, &t[5].timer, now + 3, note); /* moved */
    assert_true(loop_timer_is_set(&t[4].timer));
    loop_timer_cancel(&t[4].timer);
    assert_false(loop_timer_is_set(&t[4].timer));
    loop_timer_cancel(&t[4].timer);
    loop_run(loop);
    assert_string_equal(order, "abcde");
    assert_true(clock_mono_ms() >= now + 4);
}

/* Random settings, moves and cancels; then all that are left must come in order. */
static int64_t last_at;
static int n_fired, n_expected;

static void check_order(struct loop_timer *t)
{
    assert_true(t->at_ms >= last_at);
    last_at = t->at_ms;
    if (++n_fired == n_expected)
        loop_stop(loop);
}

static void heap_survives_a_random_walk(void **state)
{
    enum { N = 200 };
    static struct loop_timer t[N];
    uint32_t rnd = 7;
    int64_t now = loop_now_ms(loop);
    for (int i = 0; i < 20000; i++) {
        rnd = rnd * 1664525 + 1013904223;
        struct loop_timer *one = &t[(rnd >> 8) % N];
        if (rnd >> 30 == 0)
            loop_timer_cancel(one);
        else
            loop_timer_set(loop, one, now + (rnd >> 20) % 4, check_order);
    }
    last_at = n_fired = n_expected = 0;
    for (int i = 0; i < N; i++)
        n_expected += loop_timer_is_set(&t[i]);
    assert_true(n_expected > 0);
    loop_run(loop);
    assert_int_equal(n_fired, n_expected);
}

/* A timer that always re-arms itself for the past must not keep others from their turn. */
static void rearm_in_the_past(struct loop_timer *t)
{
    loop_timer_set(loop, t, 0, rearm_in_the_past);
}

static void timers_do_not_starve_others(void **state)
{
    struct loop_timer greedy = {0};
    struct named_timer other = {.name = 'o'};
    n_order = 0;
    loop_timer_set(loop, &greedy, 0, rearm_in_the_past);
    loop_timer_set(loop, &other.timer, loop_now_ms(loop), note_and_stop);
    loop_run(loop);
    assert_string_equal(order, "o");
    loop_timer_cancel(&greedy);
}

/* --- descriptors --- */

struct pair {
    struct loop_fd watch;
    struct pair *other;
    int end[2];
};

static struct pair *pair_new(void (*ready)(struct loop_fd *, uint32_t))
{
    struct pair *p = calloc(1, sizeof *p);
    assert_int_equal(pipe(p->end), 0);
    loop_fd_add(loop, &p->watch, p->end[0], EPOLLIN, ready);
    assert_int_equal(write(p->end[1], "x", 1), 1);
    return p;
}

static void pair_free(struct pair *p)
{
    loop_fd_del(&p->watch);
    close(p->end[0]);
    close(p->end[1]);
    free(p);
}

static int n_ready;

/* Whichever is served first deletes and frees both; the second one's event is already in the
 * batch and must not arrive. */
static void free_both(struct loop_fd *w, uint32_t events)
{
    struct pair *p = (struct pair *)w;
    n_ready++;
    assert_int_equal(events, EPOLLIN);
    pair_free(p->other);
    pair_free(p);
    loop_stop(loop);
}

static void deleted_watches_get_no_stale_events(void **state)
{
    n_ready = 0;
    struct pair *a = pair_new(free_both), *b = pair_new(free_both);
    a->other = b;
    b->other = a;
    loop_run(loop);
    assert_int_equal(n_ready, 1);
}

static void mute_other(struct loop_fd *w, uint32_t events)
{
    n_ready++;
    loop_fd_set(&((struct pair *)w)->other->watch, 0);
    loop_fd_set(w, 0);
    loop_stop(loop);
}

static void unwanted_events_are_not_delivered(void **state)
{
    n_ready = 0;
    struct pair *a = pair_new(mute_other), *b = pair_new(mute_other);
    a->other = b;
    b->other = a;
    loop_run(loop);
    assert_int_equal(n_ready, 1);
    pair_free(a);
    pair_free(b);
}

static void more_descriptors_than_a_batch(void **state)
{
    enum { N = 300 };
    struct pair *p[N];
    n_ready = 0;
    for (int i = 0; i < N; i++) {
        p[i] = pair_new(mute_other);
        p[i]->other = p[i];
    }
    while (n_ready < N)
        loop_run(loop);
    for (int i = 0; i < N; i++)
        pair_free(p[i]);
}

/* --- messages --- */

enum { N_SENDERS = 4, N_EACH = 5000 };

struct numbered {
    struct loop_msg msg;
    int sender, number;
};

static int next_of[N_SENDERS], n_received;

static void receive(struct loop_msg *m)
{
    struct numbered *n = (struct numbered *)m;
    assert_ptr_equal(loop_current(), loop);
    assert_int_equal(n->number, next_of[n->sender]++);
    free(n);
    if (++n_received == N_SENDERS * N_EACH)
        loop_stop(loop);
}

static void *send_all(void *arg)
{
    int sender = (int)(intptr_t)arg;
    for (int i = 0; i < N_EACH; i++) {
        struct numbered *n = malloc(sizeof *n);
        *n = (struct numbered){.msg.run = receive, .sender = sender, .number = i};
        loop_post(loop, &n->msg);
    }
    return NULL;
}

static void messages_of_one_sender_keep_their_order(void **state)
{
    pthread_t t[N_SENDERS];
    n_received = 0;
    for (int i = 0; i < N_SENDERS; i++) {
        next_of[i] = 0;
        pthread_create(&t[i], NULL, send_all, (void *)(intptr_t)i);
    }
    loop_run(loop);
    for (int i = 0; i < N_SENDERS; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(n_received, N_SENDERS * N_EACH);
    assert_null(loop_current());
}

static int n_hops;

static void hop(struct loop_msg *m)
{
    if (++n_hops == 100)
        loop_stop(loop);
    else
        loop_post(loop, m);
}

static void a_loop_posts_to_itself(void **state)
{
    struct loop_msg m = {.run = hop};
    n_hops = 0;
    loop_post(loop, &m);
    loop_run(loop);
    assert_int_equal(n_hops, 100);
}

static void count_hop(struct loop_msg *m)
{
    n_hops++;
}

static void *post_and_stop(void *arg)
{
    loop_post(loop, arg);
    loop_stop(loop);
    return NULL;
}

/* Also: a loop that was stopped can run again. */
static void what_was_posted_before_stop_runs(void **state)
{
    for (int i = 0; i < 200; i++) {
        struct loop_msg m = {.run = count_hop};
        pthread_t t;
        n_hops = 0;
        pthread_create(&t, NULL, post_and_stop, &m);
        loop_run(loop);
        pthread_join(t, NULL);
        assert_int_equal(n_hops, 1);
    }
    assert_int_equal(loop_index(loop), 3);
    loop_free(NULL);
}

#define WITH_LOOP(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_LOOP(timers_fire_by_time_then_by_setting),
        WITH_LOOP(heap_survives_a_random_walk),
        WITH_LOOP(timers_do_not_starve_others),
        WITH_LOOP(deleted_watches_get_no_stale_events),
        WITH_LOOP(unwanted_events_are_not_delivered),
        WITH_LOOP(more_descriptors_than_a_batch),
        WITH_LOOP(messages_of_one_sender_keep_their_order),
        WITH_LOOP(a_loop_posts_to_itself),
        WITH_LOOP(what_was_posted_before_stop_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
