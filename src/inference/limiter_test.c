#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "clock.h"
#include "limiter.h"

/* 60 a minute: one per second. */
#define SECOND INT64_C(1000000000)
#define NOW    (INT64_C(5000) * SECOND)

static struct limiter *limiter;
static struct limit_group *group;
static struct loop *loop; /* of those that wait without being told: it does not run */

static int setup(void **state)
{
    limiter = limiter_new();
    group = limiter_group(limiter, STR("key"), 60);
    loop = loop_new(0);
    return 0;
}

static int teardown(void **state)
{
    limit_group_unref(group);
    limiter_free(limiter); /* a BUG when a group is left */
    loop_free(loop);
    return 0;
}

static void never_told(void *ctx, enum limit_answer answer)
{
    fail();
}

static enum limit_answer ask(struct limit_group *g, int64_t now_ns, int64_t deadline_ns,
                             size_t capacity, struct limit_wait **out)
{
    struct limit_ask a = {
        .deadline_ns = deadline_ns, .capacity = capacity, .loop = loop, .told = never_told};
    if (limiter_try(g, now_ns)) {
        *out = NULL;
        return LIMIT_NOW;
    }
    return limiter_wait(g, &a, now_ns, out);
}

static void the_next_slot_is_a_second_later(void **state)
{
    assert_true(limiter_try(group, NOW));
    assert_false(limiter_try(group, NOW));
    assert_false(limiter_try(group, NOW + SECOND - 1));
    assert_true(limiter_try(group, NOW + SECOND));
}

static void idle_time_saves_one_call_not_many(void **state)
{
    assert_true(limiter_try(group, NOW));
    assert_true(limiter_try(group, NOW + 100 * SECOND));
    assert_false(limiter_try(group, NOW + 101 * SECOND - 1));
    assert_true(limiter_try(group, NOW + 101 * SECOND));
}

static void a_slot_past_the_deadline_is_not_taken(void **state)
{
    struct limit_wait *w;
    assert_int_equal(ask(group, NOW, NOW, 0, &w), LIMIT_NOW);
    assert_int_equal(ask(group, NOW, NOW + SECOND - 1, 0, &w), LIMIT_TOO_LATE);
    assert_null(w);
    assert_int_equal(ask(group, NOW, NOW + SECOND - 1, 0, &w), LIMIT_TOO_LATE);
    assert_true(limiter_try(group, NOW + SECOND)); /* nobody waits */
    assert_int_equal(ask(group, NOW + SECOND, NOW + 2 * SECOND, 0, &w), LIMIT_WAIT);
    limiter_leave(w);
}

static void only_so_many_may_wait(void **state)
{
    struct limit_wait *a, *b, *c;
    assert_int_equal(ask(group, NOW, 0, 2, &a), LIMIT_NOW); /* does not wait */
    assert_int_equal(ask(group, NOW, 0, 2, &a), LIMIT_WAIT);
    assert_int_equal(ask(group, NOW, 0, 2, &b), LIMIT_WAIT);
    assert_int_equal(ask(group, NOW, 0, 2, &c), LIMIT_FULL);
    assert_int_equal(ask(group, NOW, 0, 2, &c), LIMIT_FULL);
    assert_null(c);
    limiter_leave(a);
    assert_int_equal(ask(group, NOW, 0, 2, &a), LIMIT_WAIT);
    limiter_leave(a);
    limiter_leave(b);
    assert_int_equal(ask(group, NOW + SECOND, 0, 2, &a), LIMIT_NOW); /* no slot was taken */
}

static void a_deadline_comes_before_a_full_queue(void **state)
{
    struct limit_wait *a, *b;
    ask(group, NOW, 0, 1, &a);
    assert_int_equal(ask(group, NOW, 0, 1, &a), LIMIT_WAIT);
    assert_int_equal(ask(group, NOW, NOW + 1, 1, &b), LIMIT_TOO_LATE);
    assert_int_equal(ask(group, NOW, NOW + 9 * SECOND, 1, &b), LIMIT_FULL);
    limiter_leave(a);
}

static void goes(void *ctx, enum limit_answer answer)
{
    assert_int_equal(answer, LIMIT_NOW);
    ++*(int *)ctx;
    loop_stop(loop);
}

/* Whoever comes when a slot has passed sees to it that those who waited for it go first. */
static void nobody_overtakes_those_who_wait(void **state)
{
    int gone = 0;
    struct limit_ask a = {.loop = loop, .told = goes, .ctx = &gone};
    struct limit_wait *first, *second, *third;
    assert_true(limiter_try(group, NOW));
    assert_int_equal(limiter_wait(group, &a, NOW, &first), LIMIT_WAIT);
    assert_int_equal(limiter_wait(group, &a, NOW, &second), LIMIT_WAIT);
    assert_false(limiter_try(group, NOW + SECOND));
    assert_int_equal(ask(group, NOW + SECOND, 0, 0, &third), LIMIT_WAIT);
    limiter_leave(second);
    limiter_leave(third);
    loop_run(loop);
    assert_int_equal(gone, 1);
    assert_int_equal(ask(group, NOW + 2 * SECOND, 0, 0, &third), LIMIT_NOW);
}

static void equal_keys_share_a_group(void **state)
{
    struct limit_group *same = limiter_group(limiter, STR("key"), 60);
    struct limit_group *other = limiter_group(limiter, STR("kez"), 60);
    assert_ptr_equal(same, group);
    assert_int_equal(limit_group_name(same), limit_group_name(group));
    assert_int_not_equal(limit_group_name(other), limit_group_name(group));
    assert_true(limiter_try(group, NOW));
    assert_true(limiter_try(other, NOW));
    assert_false(limiter_try(same, NOW));
    limit_group_unref(same);
    limit_group_unref(other);
}

/* The keys are digests: any byte may be in them. */
static void keys_are_bytes(void **state)
{
    struct limit_group *a = limiter_group(limiter, STR("a\0b"), 60);
    struct limit_group *b = limiter_group(limiter, STR("a\0c"), 60);
    assert_ptr_not_equal(a, b);
    limit_group_unref(a);
    limit_group_unref(b);
}

static void a_group_ends_with_its_last_reference(void **state)
{
    struct limit_group *g = limiter_group(limiter, STR("short"), 60);
    limit_group_unref(limiter_group(limiter, STR("short"), 60));
    assert_true(limiter_try(g, NOW));
    limit_group_unref(g);
    g = limiter_group(limiter, STR("short"), 60); /* starts full */
    assert_true(limiter_try(g, NOW));
    limit_group_unref(g);
    limit_group_unref(NULL);
}

static void extreme_rates(void **state)
{
    struct limit_group *fast = limiter_group(limiter, STR("fast"), INT64_MAX);
    for (int i = 0; i < 3; i++)
        assert_true(limiter_try(fast, NOW));
    struct limit_group *slow = limiter_group(limiter, STR("slow"), 1);
    assert_true(limiter_try(slow, NOW));
    assert_false(limiter_try(slow, NOW + 60 * SECOND - 1));
    assert_true(limiter_try(slow, NOW + 60 * SECOND));
    limit_group_unref(fast);
    limit_group_unref(slow);
}

/* --- many threads, nobody waits --- */

#define THREADS 4
#define EACH    500

static atomic_int n_taken;

static void *try_many(void *arg)
{
    for (int i = 0; i < THREADS * EACH; i++) {
        struct limit_group *g = limiter_group(limiter, STR("key"), 60);
        if (limiter_try(g, NOW + i * SECOND))
            atomic_fetch_add(&n_taken, 1);
        limit_group_unref(g);
    }
    return NULL;
}

static void every_slot_is_given_once(void **state)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, try_many, NULL);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&n_taken), THREADS * EACH);
}

/* --- many loops, on which calls wait, go and leave --- */

#define LOOPS 3
#define CALLS 300

struct caller {
    struct limit_wait *wait;
    struct worker *worker;
    int64_t went_ns; /* 0: it did not */
    enum limit_answer answer;
    bool left;
};

struct worker {
    struct loop *loop;
    pthread_t thread;
    struct loop_msg start;
    struct loop_timer timer;
    struct caller callers[CALLS];
    int n_asked, n_ended;
    uint32_t owner;
};

static struct limit_group *busy;
static atomic_int n_working;
static struct worker workers[LOOPS];

static void ended(struct worker *w)
{
    if (++w->n_ended < CALLS || atomic_fetch_sub(&n_working, 1) > 1)
        return;
    for (int i = 0; i < LOOPS; i++)
        loop_stop(workers[i].loop);
}

static void told(void *ctx, enum limit_answer answer)
{
    struct caller *c = ctx;
    assert_false(c->left);
    assert_ptr_equal(loop_current(), c->worker->loop);
    c->wait = NULL;
    c->answer = answer;
    if (answer == LIMIT_NOW)
        c->went_ns = clock_mono_ns();
    ended(c->worker);
}

static void ask_one(struct worker *w)
{
    struct caller *c = &w->callers[w->n_asked++];
    int64_t now_ns = clock_mono_ns();
    c->worker = w;
    struct limit_ask a = {.owner = w->owner + (uint32_t)(w->n_asked % 2),
                          .part = w->n_asked % 3 == 0,
                          .capacity = 200,
                          .loop = w->loop,
                          .told = told,
                          .ctx = c};
    enum limit_answer answer =
        limiter_try(busy, now_ns) ? LIMIT_NOW : limiter_wait(busy, &a, now_ns, &c->wait);
    if (answer != LIMIT_WAIT)
        told(c, answer);
}

static void leave_some(struct worker *w)
{
    for (int i = w->n_asked % 7; i < w->n_asked; i += 7) {
        struct caller *c = &w->callers[i];
        if (!c->wait)
            continue;
        limiter_leave(c->wait);
        c->wait = NULL;
        c->left = true;
        ended(w);
    }
}

static void work(struct loop_timer *timer)
{
    struct worker *w = (struct worker *)((char *)timer - offsetof(struct worker, timer));
    for (int i = 0; i < 20 && w->n_asked < CALLS; i++)
        ask_one(w);
    leave_some(w);
    if (w->n_asked < CALLS)
        loop_timer_set(w->loop, &w->timer, loop_now_ms(w->loop) + 2, work);
}

static void work_begins(struct loop_msg *msg)
{
    struct worker *w = (struct worker *)((char *)msg - offsetof(struct worker, start));
    work(&w->timer);
}

static void *loop_thread(void *arg)
{
    loop_run(arg);
    return NULL;
}

static int by_time(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void calls_wait_on_many_loops(void **state)
{
    static int64_t went[LOOPS * CALLS];
    int n = 0;
    busy = limiter_group(limiter, STR("busy"), 300000); /* 0.2 ms */
    int64_t began_ns = clock_mono_ns();
    atomic_store(&n_working, LOOPS);
    for (int i = 0; i < LOOPS; i++) {
        workers[i].loop = loop_new(i);
        workers[i].owner = (uint32_t)i; /* each shares one with the next */
        workers[i].start.run = work_begins;
        loop_post(workers[i].loop, &workers[i].start);
    }
    for (int i = 0; i < LOOPS; i++)
        pthread_create(&workers[i].thread, NULL, loop_thread, workers[i].loop);
    for (int i = 0; i < LOOPS; i++)
        pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < LOOPS * CALLS; i++) {
        const struct caller *c = &workers[i / CALLS].callers[i % CALLS];
        assert_null(c->wait);
        if (c->went_ns)
            went[n++] = c->went_ns;
        else
            assert_true(c->left || c->answer == LIMIT_FULL);
    }
    assert_true(n > 0);
    /* None goes before its slot. */
    qsort(went, (size_t)n, sizeof went[0], by_time);
    for (int i = 0; i < n; i++)
        assert_true(went[i] - began_ns >= i * INT64_C(200000));
    limit_group_unref(busy);
    limit_group_unref(group);
    limiter_free(limiter); /* before the loops, whose alarms it may still have */
    for (int i = 0; i < LOOPS; i++)
        loop_free(workers[i].loop);
    limiter = limiter_new();
    group = limiter_group(limiter, STR("key"), 60);
}

/* One that left while the word that it may go was on its way. */

struct pair {
    struct limit_wait *first, *second;
    struct loop_msg msg;
    int told;
};

static void second_told(void *ctx, enum limit_answer answer)
{
    struct pair *p = ctx;
    assert_int_equal(answer, LIMIT_NOW);
    p->told++;
    loop_stop(loop);
}

static void first_told(void *ctx, enum limit_answer answer)
{
    fail(); /* it left */
}

static void first_gives_way(void *ctx, enum limit_answer answer)
{
    struct pair *p = ctx;
    assert_int_equal(answer, LIMIT_FULL);
    p->told++;
}

static void who_has_left_is_not_told(void **state)
{
    struct pair p = {0};
    struct limit_group *g = limiter_group(limiter, STR("pair"), 60000); /* 1 ms */
    int64_t now_ns = clock_mono_ns();
    struct limit_ask a = {.owner = 1, .loop = loop, .told = first_told, .ctx = &p, .capacity = 2};
    struct limit_ask b = {.owner = 2, .loop = loop, .told = second_told, .ctx = &p, .capacity = 2};
    struct limit_wait *gone;
    assert_true(limiter_try(g, now_ns));
    assert_int_equal(limiter_wait(g, &a, now_ns, &p.first), LIMIT_WAIT);
    assert_int_equal(limiter_wait(g, &a, now_ns, &gone), LIMIT_WAIT);
    /* The latter gives way, and leaves before it hears of it. */
    assert_int_equal(limiter_wait(g, &b, now_ns, &p.second), LIMIT_WAIT);
    limiter_leave(gone);
    limiter_leave(p.first);
    loop_run(loop);
    assert_int_equal(p.told, 1);
    limit_group_unref(g);
}

static void who_gives_way_is_told(void **state)
{
    struct pair p = {0};
    struct limit_group *g = limiter_group(limiter, STR("pair"), 6000); /* 10 ms */
    int64_t now_ns = clock_mono_ns();
    struct limit_ask a = {
        .owner = 1, .loop = loop, .told = first_gives_way, .ctx = &p, .capacity = 2};
    struct limit_ask b = {.owner = 2, .loop = loop, .told = second_told, .ctx = &p, .capacity = 2};
    struct limit_wait *gone;
    assert_true(limiter_try(g, now_ns));
    assert_int_equal(limiter_wait(g, &a, now_ns, &p.first), LIMIT_WAIT);
    assert_int_equal(limiter_wait(g, &a, now_ns, &gone), LIMIT_WAIT);
    assert_int_equal(limiter_wait(g, &b, now_ns, &p.second), LIMIT_WAIT);
    limiter_leave(p.first);
    loop_run(loop);
    assert_int_equal(p.told, 2);
    limit_group_unref(g);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_next_slot_is_a_second_later),
        TEST(idle_time_saves_one_call_not_many),
        TEST(a_slot_past_the_deadline_is_not_taken),
        TEST(only_so_many_may_wait),
        TEST(a_deadline_comes_before_a_full_queue),
        TEST(nobody_overtakes_those_who_wait),
        TEST(equal_keys_share_a_group),
        TEST(keys_are_bytes),
        TEST(a_group_ends_with_its_last_reference),
        TEST(extreme_rates),
        TEST(every_slot_is_given_once),
        TEST(calls_wait_on_many_loops),
        TEST(who_has_left_is_not_told),
        TEST(who_gives_way_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
