/* Deployments that start, stop, grow, shrink, go to zero and wake while they are asked, at random:
 * every call and every request is answered once, and in the end the node is as it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model_testing.h"

#define N_IDS   6
#define N_CALLS 64

static const char *const ids[N_IDS] = {"a", "b", "c", "d", "e", "f"};
static uint64_t seed;

/* xorshift64 (Marsaglia 2003). */
static unsigned dice(unsigned n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed % n);
}

static const char *any(void)
{
    return ids[dice(N_IDS)];
}

/* Whoever hangs ends the test. */
static void watch(unsigned seconds)
{
    alarm(seconds);
}

static void open_world(int processors, bool placed, int64_t interval_ms)
{
    static const int cpus[] = {0, 1, 2, 3};
    struct models_options o = {.path = root,
                               .processors = processors,
                               .cpus = placed ? cpus : NULL,
                               .queue_capacity = 40,
                               .scale_interval_ms = interval_ms,
                               .scale_cooldown_ms = 10,
                               .scale_to_zero_ms = 10,
                               .node_id = "n1"};
    w = (struct world){.loop = loop_new(0), .pool = pool_new(3)};
    w.models = models_new(&o, w.pool);
    cache_bytes = 0;
}

/* --- what may happen --- */

static void start_any(void)
{
    struct deployment_spec spec = {.id = str_c(any()),
                                   .model_id = dice(8) ? STR("good") : STR("bad-weights"),
                                   .num_allocations = 1 + (int)dice(3),
                                   .num_threads = 1 << dice(2),
                                   .low_priority = dice(4) == 0,
                                   .by_api = dice(2) == 0,
                                   .wait_for = (enum wait_for)dice(3)};
    if (dice(2)) {
        spec.num_allocations = (int)dice(2);
        spec.has_adaptive = true;
        spec.adaptive = (struct adaptive){.enabled = true, .has_max = true, .max = 3};
    }
    w.waiting++;
    deployment_start(w.models, &spec, w.loop, keep_err, NULL);
}

static void stop_any(void)
{
    w.waiting++;
    deployment_stop(w.models, str_c(any()), dice(2), w.loop, keep_err, NULL);
}

static void update_any(void)
{
    struct deployment_change c = {.by_api = dice(2) == 0};
    if (dice(2)) {
        c.has_adaptive = c.has_enabled = true;
        c.enabled = dice(2);
    } else {
        c.has_number = true;
        c.number = (int64_t)dice(4);
        c.by_scaler = !c.by_api;
    }
    w.waiting++;
    deployment_update(w.models, str_c(any()), &c, w.loop, keep_err, NULL);
}

static struct asked *ask_any(void)
{
    asking = dice(5);
    struct asked *a = ask(any(), 1 + dice(4), dice(3) ? "a" : "a b c a");
    if (dice(8) == 0)
        cancel(a);
    return a;
}

/* The number of calls; none has been waited for. */
static size_t do_much(struct asked *calls[N_CALLS], size_t n)
{
    size_t n_calls = 0;
    while (n-- && n_calls < N_CALLS) {
        unsigned what = dice(20);
        if (what < 2)
            start_any();
        else if (what < 3)
            stop_any();
        else if (what < 6)
            update_any();
        else
            calls[n_calls++] = ask_any();
        if (dice(10) == 0)
            usleep(dice(2000));
    }
    return n_calls;
}

static void forget_all(struct asked *calls[N_CALLS], size_t n)
{
    for (size_t i = 0; i < n; i++)
        forget(calls[i]);
}

static int free_processors(void)
{
    struct buf text;
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    buf_init(&text, 1 << 20);
    models_metrics(w.models, a, &text);
    static const char name[] = "\ninferd_node_processors_free ";
    buf_printf(&text, "%c", 0);
    const char *at = strstr(buf_str(&text).p, name);
    assert_non_null(at);
    int n = (int)strtol(at + sizeof(name) - 1, NULL, 10);
    buf_deinit(&text);
    arena_free(a);
    return n;
}

/* Nothing is left of those that have stopped. */
static void stop_all_of_them(int processors)
{
    for (int i = 0; i < N_IDS; i++)
        stop(ids[i]);
    until_all_are_back();
    assert_int_equal(free_processors(), processors);
    while (fake_programs() > 0) /* those that stayed last are still leaving */
        usleep(200);
}

static void live(int processors, bool placed, int rounds)
{
    struct asked *calls[N_CALLS];
    seed = 88172645463325252u + (uint64_t)processors * 2 + placed;
    watch(60);
    open_world(processors, placed, 10);
    for (int i = 0; i < rounds; i++) {
        size_t n = do_much(calls, 60);
        until_all_are_back();
        forget_all(calls, n);
        if (i % 10 == 9)
            stop_all_of_them(processors);
    }
    size_t n = do_much(calls, 200); /* the server ends in the midst of it */
    end();
    forget_all(calls, n);
    err_free(last_err);
    last_err = NULL;
    watch(0);
}

static void on_one_processor(void **state)
{
    live(1, false, 40);
}

static void on_two_processors(void **state)
{
    live(2, false, 40);
}

static void on_four_processors(void **state)
{
    live(4, false, 40);
}

static void on_processors_of_their_own(void **state)
{
    live(2, true, 40);
    live(4, true, 40);
}

static void start_at_zero(const char *id, const char *model)
{
    struct deployment_spec spec = {.id = str_c(id),
                                   .model_id = str_c(model),
                                   .num_threads = 1,
                                   .has_adaptive = true,
                                   .adaptive = {.enabled = true}};
    w.waiting++;
    deployment_start(w.models, &spec, w.loop, keep_err, NULL);
}

static void to_zero(const char *id)
{
    struct deployment_change none = {.has_number = true, .by_scaler = true};
    w.waiting++;
    deployment_update(w.models, str_c(id), &none, w.loop, keep_err, NULL);
}

/* As after a restart: whoever asks before it has loaded must not wait for the next round. */
static void asked_while_it_starts_at_zero(void **state)
{
    watch(60);
    open_world(2, false, 3600000);
    struct asked *calls[20];
    start_at_zero("a", "good");
    for (int i = 0; i < 20; i++)
        calls[i] = ask("a", 1, "a");
    cancel(calls[7]);
    until_all_are_back();
    assert_null(last_err);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(calls[i]->done, i != 7);
        forget(calls[i]);
    }
    end();
    watch(0);
}

/* Nobody will make an allocation: whoever waits for one is told so. */
static void asked_while_it_starts_with_none(void **state)
{
    watch(60);
    open_world(2, false, 3600000);
    start("a", "good", 0, 1);
    struct asked *a = ask("a", 1, "a");
    until_all_are_back();
    assert_null(last_err);
    expect_failure(a, 409, "Trained model deployment [a] is not allocated to any nodes");
    end();
    watch(0);
}

/* Two deployments share what is gone; whoever asks meanwhile is told, whoever asks later is not. */
static void weights_that_cannot_be_loaded_again(void **state)
{
    watch(60);
    open_world(2, false, 3600000);
    start_at_zero("a", "other");
    start_at_zero("b", "other");
    until_all_are_back();
    assert_null(last_err);
    assert_int_equal(fake_programs(), 0);
    for (int round = 0; round < 5; round++) {
        struct asked *calls[6];
        write_file("other", "model.safetensors", round % 2 ? "weights" : "broken");
        for (int i = 0; i < 6; i++)
            calls[i] = ask(i % 2 ? "a" : "b", 1, "a");
        until_all_are_back();
        for (int i = 0; i < 6; i++) {
            if (round % 2 == 0) {
                assert_true(calls[i]->err->elsewhere);
                expect_failure(calls[i], 409,
                               "is not allocated to any nodes: file "
                               "[model.safetensors]: broken");
                continue;
            }
            assert_int_equal(calls[i]->done, 1);
            forget(calls[i]);
        }
        to_zero("a");
        to_zero("b");
        until_all_are_back();
        while (fake_programs() > 0)
            usleep(200);
    }
    write_file("other", "model.safetensors", "weights");
    end();
    watch(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asked_while_it_starts_at_zero),
        cmocka_unit_test(asked_while_it_starts_with_none),
        cmocka_unit_test(weights_that_cannot_be_loaded_again),
        cmocka_unit_test(on_one_processor),
        cmocka_unit_test(on_two_processors),
        cmocka_unit_test(on_four_processors),
        cmocka_unit_test(on_processors_of_their_own),
    };
    return cmocka_run_group_tests(tests, make_models, remove_models);
}
