/* Several deployments on one node: who gets which of its processors, and that no more of them run
 * than there are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model_testing.h"

#define FULL                                                                                       \
    "Could not assign (more) allocations on node [n1]. Reason: This node has insufficient "        \
    "allocated processors. "

static void start_spec(const struct deployment_spec *spec)
{
    w.waiting++;
    deployment_start(w.models, spec, w.loop, keep_err, NULL);
    until_all_are_back();
}

/* As the API's _start has it. */
static void start_api(const char *id, int n, int threads)
{
    struct deployment_spec spec = {.id = str_c(id),
                                   .model_id = STR("good"),
                                   .num_allocations = n,
                                   .num_threads = threads,
                                   .by_api = true};
    start_spec(&spec);
}

static void start_adaptive(const char *id, int min)
{
    struct deployment_spec spec = {.id = str_c(id),
                                   .model_id = STR("good"),
                                   .num_allocations = min ? min : 1,
                                   .num_threads = 1,
                                   .has_adaptive = true,
                                   .adaptive = {.enabled = true, .has_min = true, .min = min}};
    start_spec(&spec);
}

static void change(const char *id, struct deployment_change c)
{
    w.waiting++;
    deployment_update(w.models, str_c(id), &c, w.loop, keep_err, NULL);
    until_all_are_back();
}

static void stop_now(const char *id)
{
    stop(id);
    until_all_are_back();
}

static void ok(void)
{
    if (last_err)
        fail_msg("%s", last_err->reason);
}

struct seen {
    int wanted, granted, running;
    bool has_reason;
};

static struct seen see(const char *id)
{
    struct deployment_view v;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    assert_true(deployment_view(w.models, str_c(id), a, &v));
    struct seen s = {v.wanted, v.granted, v.running, v.reason.n > 0};
    arena_free(a);
    return s;
}

static void expect(const char *id, int wanted, int granted)
{
    struct seen s = see(id);
    if (s.wanted != wanted || s.granted != granted || s.has_reason != (granted < wanted))
        fail_msg("%s: %d of %d", id, s.granted, s.wanted);
}

/* Others make and end allocations on threads of their own. */
static void await(const char *id, int running)
{
    while (see(id).running != running)
        usleep(200);
}

static void the_rest_comes_later(void **state)
{
    begin_with(3, 10);
    start_api("a", 2, 1);
    start_api("b", 4, 1);
    ok();
    expect("a", 2, 2);
    expect("b", 4, 1);
    start_api("c", 1, 1);
    expect_err(429, "no ML nodes with sufficient capacity were found");
    start_api("c", 1, 2);
    assert_non_null(strstr(last_err->cause->reason,
                           FULL "Available processors [3], free processors [0], processors "
                                "required for each allocation of this model [2]"));
    expect_err(429, "no ML nodes with sufficient capacity were found");
    assert_false(state_of("c").exists);
    stop_now("a");
    await("b", 3);
    expect("b", 4, 3);
    change("b", (struct deployment_change){.has_number = true, .number = 2, .by_api = true});
    ok();
    expect("b", 2, 2);
    start_api("c", 1, 1);
    ok();
    change("c", (struct deployment_change){.has_number = true, .number = 2, .by_api = true});
    expect_err(429, "Could not update deployment because there are not enough resources to "
                    "provide all requested allocations");
    expect("c", 1, 1);
    end();
}

static void a_start_that_fails_leaves_its_part(void **state)
{
    begin_with(2, 10);
    start_api("a", 1, 1);
    start_api("b", 4, 1);
    ok();
    expect("b", 4, 1);
    stop_now("a");
    await("b", 2);
    stop_now("b");
    for (int i = 0; i < 3; i++) {
        start("bad", "bad-weights", 2, 1);
        until_all_are_back();
        expect_err(400, "broken");
        start_api("c", 2, 1); /* what has failed holds nothing */
        ok();
        expect("c", 2, 2);
        stop_now("c");
    }
    end();
}

static void what_comes_by_itself_shares(void **state)
{
    begin_with(1, 10);
    start_api("a", 1, 1);
    start_adaptive("b", 0);
    ok();
    expect("b", 1, 1);
    start_adaptive("c", 1);
    expect_err(429, "no ML nodes with sufficient capacity were found");
    struct deployment_spec before = {.id = STR("d"),
                                     .model_id = STR("good"),
                                     .num_allocations = 3,
                                     .num_threads = 8,
                                     .by_api = true,
                                     .restored = true};
    start_spec(&before);
    ok();
    expect("d", 3, 1);
    change("b", (struct deployment_change){.has_number = true, .number = 0, .by_scaler = true});
    ok();
    await("b", 0);
    struct asked *a = ask("b", 1, "a"); /* it wakes up */
    until_all_are_back();
    assert_int_equal(a->done, 1);
    forget(a);
    change("b", (struct deployment_change){.has_number = true, .number = 5, .by_scaler = true});
    ok();
    expect("b", 1, 1); /* no more than there is room for */
    stop_now("a");
    stop_now("d");
    change("b", (struct deployment_change){.has_number = true, .number = 5, .by_scaler = true});
    ok();
    expect("b", 1, 1);
    start_api("e", 1, 1);
    expect_err(429, "no ML nodes with sufficient capacity were found"); /* it is b's own now */
    end();
}

/* Whoever waits for an allocation that there is no memory for is told so. */
static void no_memory_to_wake_up(void **state)
{
    struct models_options o = {
        .path = root, .processors = 4, .queue_capacity = 10, .memory_bytes = UINT64_C(400) << 20};
    w = (struct world){.loop = loop_new(0), .pool = pool_new(2)};
    w.models = models_new(&o, w.pool);
    start_adaptive("a", 0);
    change("a", (struct deployment_change){.has_number = true, .number = 0, .by_scaler = true});
    start_api("b", 1, 1); /* 270 MB */
    ok();
    for (int i = 0; i < 3; i++) {
        struct asked *a = ask("a", 1, "a");
        until_all_are_back();
        expect_failure(a, 429, "there are not enough resources to provide all requested");
    }
    stop_now("b");
    struct asked *a = ask("a", 1, "a");
    until_all_are_back();
    assert_int_equal(a->done, 1);
    forget(a);
    end();
}

/* Deployments come, grow and go while calls run on all of them. */
static void no_more_run_than_there_are(void **state)
{
    static struct asked *calls[600];
    static const char *const ids[] = {"a", "b", "c", "d"};
    begin_with(2, 10000);
    start_ok("a", 1);
    start_adaptive("b", 0);
    start_adaptive("c", 0);
    start_adaptive("d", 0);
    ok();
    fake_most_running();
    for (int i = 0; i < 600; i++) {
        calls[i] = ask(ids[i % 4], 1 + (size_t)i % 5, i % 3 ? "a" : "b c b");
        if (i % 20 == 0) {
            struct deployment_change c = {
                .has_number = true, .number = 1 + i / 20 % 3, .by_scaler = true};
            w.waiting++;
            deployment_update(w.models, str_c(ids[i / 20 % 4]), &c, w.loop, keep_err, NULL);
        }
    }
    until_all_are_back();
    ok();
    for (int i = 0; i < 600; i++) {
        assert_int_equal(calls[i]->done, 1);
        forget(calls[i]);
    }
    assert_in_range(fake_most_running(), 1, 2);
    end();
}

/* It lets others go first, and is not forgotten. */
static void low_priority_is_answered(void **state)
{
    static struct asked *calls[200];
    begin_with(1, 10000);
    struct deployment_spec low = {.id = STR("low"),
                                  .model_id = STR("good"),
                                  .num_allocations = 1,
                                  .num_threads = 1,
                                  .low_priority = true,
                                  .by_api = true};
    start_api("a", 1, 1);
    start_spec(&low);
    ok();
    expect("low", 1, 1);
    for (int i = 0; i < 200; i++)
        calls[i] = ask(i % 2 ? "low" : "a", 4, "a b");
    until_all_are_back();
    for (int i = 0; i < 200; i++) {
        assert_int_equal(calls[i]->done, 1);
        forget(calls[i]);
    }
    end();
}

/* What starts, stops and is updated at once adds up in the end. */
static void all_at_once(void **state)
{
    char id[16];
    begin_with(4, 10);
    for (int round = 0; round < 30; round++) {
        for (int i = 0; i < 6; i++) {
            snprintf(id, sizeof(id), "d%d", i);
            start(id, i % 2 ? "good" : "other", 1 + i % 3, 1 + i % 2);
        }
        for (int i = 0; i < 6; i += 2) {
            snprintf(id, sizeof(id), "d%d", i);
            scale(id, 1 + round % 4);
        }
        for (int i = 0; i < 6; i += 1 + round % 2) {
            snprintf(id, sizeof(id), "d%d", i);
            stop(id);
        }
        until_all_are_back();
    }
    for (int i = 0; i < 6; i++) {
        snprintf(id, sizeof(id), "d%d", i);
        stop_now(id);
    }
    start_api("all", 4, 1);
    ok();
    expect("all", 4, 4);
    await("all", 4);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rest_comes_later),
        cmocka_unit_test(a_start_that_fails_leaves_its_part),
        cmocka_unit_test(what_comes_by_itself_shares),
        cmocka_unit_test(no_memory_to_wake_up),
        cmocka_unit_test(no_more_run_than_there_are),
        cmocka_unit_test(low_priority_is_answered),
        cmocka_unit_test(all_at_once),
    };
    return cmocka_run_group_tests(tests, make_models, remove_models);
}
