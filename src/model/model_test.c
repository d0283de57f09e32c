/* Deployments over a fake engine: the loop runs in the test's thread, pool and allocations beside
 * it. Each test ends with everything freed: no program, no session left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "metrics.h"
#include "model_testing.h"

/* --- tests --- */

static void folders_are_looked_at(void **state)
{
    static const struct {
        const char *id;
        int status;
        const char *text;
    } bad[] = {
        {"nothing", 404, "No known trained model with model_id [nothing]"},
        {"", 404, "[]"},
        {"..", 404, "[..]"},
        {".hidden", 404, "[.hidden]"},
        {"a/b", 404, "[a/b]"},
        {"../good", 404, "[../good]"},
        {"good ", 404, "[good ]"},
        {"empty", 400, "[config.json] is missing"},
        {"bad-config", 400, "[config.json] must have a positive integer [hidden_size]"},
    };
    begin(10);
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct model_info info;
    struct err *err = models_find(w.models, STR("good"), a, &info);
    assert_null(err);
    assert_int_equal(info.dimensions, 4);
    assert_int_equal(info.max_tokens, 8);
    assert_int_equal(info.tasks, TASK_BIT(TASK_TEXT_EMBEDDING));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        last_err = models_find(w.models, str_c(bad[i].id), a, &info);
        expect_err(bad[i].status, bad[i].text);
    }
    last_err = models_find(w.models, str_n("good\0x", 6), a, &info);
    expect_err(404, "No known trained model");
    arena_free(a);
    end();
}

static void a_call_gets_its_rows(void **state)
{
    begin(100);
    start_ok("d", 1);
    struct asked *a = ask_two("d", 3, "a b", "c");
    until_all_are_back();
    assert_int_equal(a->done, 1);
    assert_int_equal(a->result->kind, RESULT_FLOATS);
    assert_int_equal(a->result->n, 3);
    assert_int_equal(a->result->embeddings[0].n, FAKE_DIMENSIONS);
    assert_true(a->result->embeddings[0].f32[0] == 4);  /* [CLS] a b [SEP] */
    assert_true(a->result->embeddings[1].f32[3] == 11); /* 2 + 6 + 3 */
    assert_true(a->result->embeddings[2].f32[3] == 14);
    assert_true(a->result->usage.known);
    assert_int_equal(a->result->usage.in_tokens, 4 + 3 + 4);
    forget(a);
    a = ask("d", 1, "a b c a b c a b c a b c"); /* cut to max_seq_length */
    until_all_are_back();
    assert_true(a->result->embeddings[0].f32[0] == FAKE_MAX_SEQ_LENGTH);
    assert_true(a->result->embeddings[0].f32[2] == 3);
    assert_int_equal(a->result->usage.in_tokens, FAKE_MAX_SEQ_LENGTH);
    forget(a);
    char *longer = mem_new(5000);
    memset(longer, 'a', 4999); /* tokenized on the pool */
    a = ask("d", 2, longer);
    until_all_are_back();
    assert_true(a->result->embeddings[1].f32[3] == 2 + 1 + 3); /* one [UNK] */
    forget(a);
    free(longer);
    assert_int_equal(state_of("d").queued, 0);
    end();
}

static void starts_are_answered(void **state)
{
    begin(100);
    int loads = fake_loads();
    start("one", "good", 1, 1);
    start("one", "good", 1, 1); /* joins the first */
    start("two", "good", 2, 1); /* shares the program */
    start("three", "other", 1, 1);
    until_all_are_back();
    assert_null(last_err);
    assert_int_equal(fake_loads() - loads, 2);
    assert_int_equal(fake_sessions(), 4);
    start("one", "good", 1, 1); /* already there */
    until_all_are_back();
    assert_null(last_err);
    assert_true(state_of("two").started);
    assert_int_equal(state_of("two").num_allocations, 2);
    assert_false(state_of("four").exists);
    end();
}

static void broken_models_fail_to_start(void **state)
{
    static const struct {
        const char *model;
        int n, threads, status;
        const char *text;
    } bad[] = {
        {"nothing", 1, 1, 404, "[nothing]"},
        {"../good", 1, 1, 404, "[../good]"},
        {"bad-weights", 1, 1, 400, "[model.safetensors]"},
        {"bad-vocab", 1, 1, 400, "[vocab.txt]"},
        {"big-vocab", 1, 1, 400, "vocab_size [100]"},
        {"bad-config", 1, 1, 400, "[config.json]"},
        {"good", -1, 1, 400, "[num_allocations]"},
        {"good", 1, 3, 400, "power of 2"},
        {"good", 1, 64, 400, "power of 2"},
    };
    begin(100);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        start("d", bad[i].model, bad[i].n, bad[i].threads);
        until_all_are_back();
        expect_err(bad[i].status, bad[i].text);
    }
    start("d", "bad-weights", 1, 1);
    struct asked *early = ask("d", 1, "a"); /* waits for the start, or comes late */
    until_all_are_back();
    expect_err(400, "[model.safetensors]");
    expect_failure(early, 409, "is [failed]: file [model.safetensors]");
    struct deployment_state s = state_of("d");
    assert_true(s.exists);
    assert_false(s.started);
    assert_non_null(strstr(s.failure, "[model.safetensors]"));
    struct asked *late = ask("d", 1, "a");
    until_all_are_back();
    expect_failure(late, 409, "[failed]");
    start_ok("d", 1); /* a new start replaces it */
    struct asked *a = ask("d", 1, "a");
    until_all_are_back();
    assert_int_equal(a->done, 1);
    forget(a);
    end();
}

static void calls_wait_for_the_start(void **state)
{
    begin(100);
    start("d", "good", 1, 1);
    struct asked *a = ask("d", 1, "a"), *b = ask("d", 2, "b"), *c = ask("d", 1, "c");
    cancel(b);
    until_all_are_back();
    assert_int_equal(a->done, 1);
    assert_int_equal(c->done, 1);
    forget(a);
    expect_failure(b, 400, "cancelled");
    forget(c);
    struct asked *d = ask("unknown", 1, "a");
    until_all_are_back();
    expect_failure(d, 404, "[unknown]");
    d = ask("d", 0, "a");
    until_all_are_back();
    expect_failure(d, 400, "[0] inputs");
    end();
}

static void a_full_queue_refuses(void **state)
{
    begin(4);
    start_ok("d", 1);
    fake_hold(true);
    struct asked *running = ask("d", 1, "a");
    fake_wait_running(1);
    struct asked *a = ask("d", 3, "a"), *b = ask("d", 2, "b"), *c = ask("d", 1, "c");
    assert_int_equal(state_of("d").queued, 4);
    fake_hold(false);
    until_all_are_back();
    expect_failure(b, 429, "inference process queue is full. Unable to execute command");
    assert_int_equal(running->done + a->done + c->done, 3);
    forget(running);
    forget(a);
    forget(c);
    a = ask("d", 40, "a"); /* larger than the queue, but alone */
    until_all_are_back();
    assert_int_equal(a->done, 1);
    forget(a);
    end();
}

static struct deployment_numbers numbers_of(const char *id)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct deployment_view v;
    assert_true(deployment_view(w.models, str_c(id), a, &v));
    arena_free(a);
    return v.numbers;
}

static struct asked *ask_as(uint32_t owner, size_t n)
{
    asking = owner;
    struct asked *a = ask("d", n, "a");
    asking = 0;
    return a;
}

/* Somebody else's small calls are let in beside what fills the queue, up to as much again. */
static void a_queue_that_one_has_filled_lets_others_in(void **state)
{
    static struct asked *in[20], *out[5];
    size_t n_in = 0, n_out = 0;
    begin(32);
    start_ok("d", 1);
    fake_hold(true);
    in[n_in++] = ask_as(1, 1);
    fake_wait_running(1);
    in[n_in++] = ask_as(1, 16);
    in[n_in++] = ask_as(1, 16);
    out[n_out++] = ask_as(1, 1);
    in[n_in++] = ask_as(2, 1);
    in[n_in++] = ask_as(2, 1);
    out[n_out++] = ask_as(2, 1); /* a sixteenth of the queue is two */
    out[n_out++] = ask_as(3, 3);
    for (uint32_t owner = 3; owner < 18; owner++)
        in[n_in++] = ask_as(owner, 2);
    out[n_out++] = ask_as(18, 1); /* there is no end to owners, but to the room for them */
    assert_int_equal(state_of("d").queued, 64);
    fake_hold(false);
    until_all_are_back();
    for (size_t i = 0; i < n_out; i++)
        expect_failure(out[i], 429, "inference process queue is full. Unable to execute command");
    for (size_t i = 0; i < n_in; i++) {
        assert_int_equal(in[i]->done, 1);
        forget(in[i]);
    }
    assert_int_equal(numbers_of("d").rejected, 1 + 1 + 3 + 1);
    assert_int_equal(state_of("d").queued, 0);
    in[0] = ask_as(1, 32); /* and all of it is free again */
    until_all_are_back();
    assert_int_equal(in[0]->done, 1);
    forget(in[0]);
    end();
}

static void cancelled_calls_end_without_running(void **state)
{
    begin(100);
    start_ok("d", 1);
    fake_hold(true);
    struct asked *running = ask("d", 1, "a");
    fake_wait_running(1);
    struct asked *a = ask("d", 3, "a"), *b = ask("d", 1, "b");
    int runs = fake_runs();
    cancel(a);
    w.waiting -= 2; /* only a comes back: an allocation is not needed for it */
    until_all_are_back();
    w.waiting += 2;
    expect_failure(a, 400, "cancelled");
    cancel(running); /* runs to its end, but fails */
    fake_hold(false);
    until_all_are_back();
    expect_failure(running, 400, "cancelled");
    assert_int_equal(b->done, 1);
    assert_int_equal(fake_runs() - runs, 2);
    forget(b);
    assert_int_equal(state_of("d").queued, 0);
    end();
}

static void engine_errors_reach_the_call(void **state)
{
    begin(100);
    start_ok("d", 1);
    fake_fail_runs(true);
    struct asked *a = ask("d", 5, "a");
    until_all_are_back();
    expect_failure(a, 500, "Error in inference process: [out of order]");
    fake_fail_runs(false);
    a = ask("d", 1, "a");
    until_all_are_back();
    assert_int_equal(a->done, 1);
    forget(a);
    end();
}

static void stopping_ends_what_waits(void **state)
{
    begin(100);
    start_ok("d", 1);
    fake_hold(true);
    struct asked *running = ask("d", 1, "a");
    fake_wait_running(1);
    struct asked *waiting = ask("d", 2, "b");
    stop("d");
    stop("d"); /* unknown by now: fine */
    assert_false(state_of("d").exists);
    struct asked *late = ask("d", 1, "c");
    start("d", "good", 2, 1); /* the id is free at once */
    fake_hold(false);
    until_all_are_back();
    assert_null(last_err);
    assert_int_equal(running->done, 1);
    forget(running);
    expect_failure(waiting, 409, "Trained model [d] is [stopping]");
    expect_failure(late, 404, "[d]");
    assert_true(state_of("d").started);
    stop("d");
    stop("never-was");
    until_all_are_back();
    assert_null(last_err);
    start("d", "good", 1, 1);
    stop("d"); /* while it starts */
    until_all_are_back();
    assert_false(state_of("d").exists);
    err_free(last_err);
    last_err = NULL;
    end();
}

static void all_of_a_model_are_stopped(void **state)
{
    begin(100);
    start("one", "good", 1, 1);
    start("two", "good", 2, 1);
    start("three", "other", 1, 1);
    until_all_are_back();
    assert_true(models_deployed(w.models, STR("good")));
    assert_true(models_has_deployment(w.models, STR("two")));
    assert_false(models_has_deployment(w.models, STR("good")));
    w.waiting++;
    models_stop_all(w.models, STR("good"), w.loop, keep_err, NULL);
    until_all_are_back();
    assert_null(last_err);
    assert_false(models_deployed(w.models, STR("good")));
    assert_true(models_deployed(w.models, STR("other")));
    assert_int_equal(fake_sessions(), 1);
    w.waiting++;
    models_stop_all(w.models, STR("good"), w.loop, keep_err, NULL); /* none left */
    until_all_are_back();
    end();
}

static void draining_runs_what_waits(void **state)
{
    begin(100);
    start_ok("d", 2);
    fake_hold(true);
    struct asked *running = ask("d", 1, "a"), *waiting = ask("d", 40, "b");
    fake_wait_running(1);
    w.waiting++;
    deployment_stop(w.models, STR("d"), true, w.loop, keep_err, NULL);
    struct asked *late = ask("d", 1, "c");
    fake_hold(false);
    until_all_are_back();
    assert_null(last_err);
    assert_int_equal(running->done + waiting->done, 2);
    forget(running);
    forget(waiting);
    expect_failure(late, 404, "[d]");
    start_ok("d", 1);
    scale("d", 0);
    until_all_are_back();
    while (fake_sessions())
        usleep(1000);
    waiting = ask("d", 1, "a"); /* nobody is there to run it */
    w.waiting++;
    deployment_stop(w.models, STR("d"), true, w.loop, keep_err, NULL);
    until_all_are_back();
    expect_failure(waiting, 409, "is not allocated to any nodes");
    end();
}

static void what_was_seen_before_is_not_run_again(void **state)
{
    begin(100);
    cache_bytes = 1 << 20;
    start_ok("d", 2);
    int runs = fake_runs();
    for (int i = 0; i < 3; i++) {
        struct asked *a = ask_two("d", 3, "a b", "c"); /* the third is the first again */
        until_all_are_back();
        assert_int_equal(a->done, 1);
        assert_true(a->result->embeddings[0].f32[0] == 4);
        assert_true(a->result->embeddings[1].f32[3] == 11);
        assert_true(a->result->embeddings[2].f32[0] == 4);
        assert_true(a->result->usage.known); /* those that were run */
        assert_int_equal(a->result->usage.in_tokens, i == 0 ? 4 + 3 : 0);
        forget(a);
    }
    assert_true(fake_runs() - runs <= 2);
    assert_int_equal(numbers_of("d").inferences, 9);
    assert_int_equal(numbers_of("d").cache_hits, 7);
    assert_int_equal(numbers_of("d").pending, 0);
    assert_null(deployment_cache_clear(w.models, STR("d")));
    struct asked *a = ask("d", 1, "a b");
    until_all_are_back();
    forget(a);
    assert_int_equal(numbers_of("d").cache_hits, 7);
    last_err = deployment_cache_clear(w.models, STR("e"));
    expect_err(404, "[e]");
    end();
}

static void a_bad_sequence_fails_its_call_alone(void **state)
{
    begin(100);
    start_ok("d", 1);
    fake_hold(true);
    struct asked *first = ask("d", 1, "a");
    fake_wait_running(1);
    struct asked *bad = ask_two("d", 3, "a", "aa"), *good = ask("d", 2, "b");
    fake_hold(false);
    until_all_are_back();
    assert_int_equal(first->done + good->done, 2);
    forget(first);
    forget(good);
    expect_failure(bad, 500, "Error in inference process: [a bad token]");
    assert_int_equal(numbers_of("d").errors, 1);
    end();
}

static void numbers_tell_what_went_wrong(void **state)
{
    begin(2);
    start_ok("d", 1);
    fake_hold(true);
    struct asked *running = ask("d", 1, "a");
    fake_wait_running(1);
    struct asked *waiting = ask("d", 2, "a"), *refused = ask("d", 2, "b");
    waiting->call.deadline_ms = 1; /* long ago */
    cancel(waiting);
    fake_fail_runs(true);
    fake_hold(false);
    until_all_are_back();
    expect_failure(running, 500, "Error in inference process");
    expect_failure(waiting, 400, "cancelled");
    expect_failure(refused, 429, "full");
    struct deployment_numbers n = numbers_of("d");
    assert_int_equal(n.errors, 1);
    assert_int_equal(n.timeouts, 2);
    assert_int_equal(n.rejected, 2);
    assert_int_equal(n.inferences, 0);
    end();
}

/* `line` is a whole one. */
static void expect_line(struct str text, const char *line)
{
    char whole[512];
    snprintf(whole, sizeof(whole), "\n%s\n", line);
    if (str_find(text, str_c(whole)) == SIZE_MAX)
        fail_msg("no [%s] in\n%.*s", line, STR_ARG(text));
}

static void prometheus_is_told(void **state)
{
    begin(2);
    start_ok("d\"1", 1);
    fake_hold(true);
    struct asked *running = ask("d\"1", 1, "a b");
    fake_wait_running(1);
    struct asked *waiting = ask("d\"1", 2, "a"), *refused = ask("d\"1", 1, "b");
    int64_t before = metric_read(METRIC_LOCAL_WAIT_NS);
    struct arena *arena = arena_new(ARENA_NO_LIMIT);
    struct buf b;
    buf_init(&b, 1 << 20);
    models_metrics(w.models, arena, &b);
    expect_line(buf_str(&b),
                "inferd_deployment_queue{deployment_id=\"d\\\"1\",model_id=\"good\"} 2");
    fake_hold(false);
    until_all_are_back();
    forget(running);
    forget(waiting);
    expect_failure(refused, 429, "full");
    buf_clear(&b);
    models_metrics(w.models, arena, &b);
    static const struct {
        const char *name;
        int value;
    } counts[] = {{"allocations", 1},      {"target_allocations", 1}, {"queue", 0},
                  {"inferences_total", 3}, {"cache_hits_total", 0},   {"errors_total", 0},
                  {"timeouts_total", 0},   {"rejected_total", 1}};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        char line[256];
        snprintf(line, sizeof(line),
                 "inferd_deployment_%s{deployment_id=\"d\\\"1\",model_id=\"good\"} %d",
                 counts[i].name, counts[i].value);
        expect_line(buf_str(&b), line);
    }
    /* [CLS] a b [SEP], then twice [CLS] a [SEP] together */
    expect_line(buf_str(&b), "inferd_local_batch_sequences_bucket{le=\"1\"} 1");
    expect_line(buf_str(&b), "inferd_local_batch_sequences_bucket{le=\"2\"} 2");
    expect_line(buf_str(&b), "inferd_local_batch_sequences_sum 3");
    expect_line(buf_str(&b), "inferd_local_batch_tokens_bucket{le=\"4\"} 1");
    expect_line(buf_str(&b), "inferd_local_batch_tokens_sum 10");
    assert_true(metric_read(METRIC_LOCAL_WAIT_NS) > before);
    assert_true(metric_read(METRIC_LOCAL_TOKENIZE_NS) > 0);
    assert_true(metric_read(METRIC_LOCAL_RUN_NS) > 0);
    assert_true(metric_read(METRIC_LOCAL_DECODE_NS) > 0);
    buf_deinit(&b);
    arena_free(arena);
    end();
}

static void memory_is_bounded(void **state)
{
    struct models_options o = {.path = root,
                               .processors = 4,
                               .queue_capacity = 10,
                               .memory_bytes = UINT64_C(500) << 20,
                               .node_id = "n1"};
    w = (struct world){.loop = loop_new(0), .pool = pool_new(2)};
    w.models = models_new(&o, w.pool);
    start_ok("one", 1); /* 240 MB and the code */
    start("two", "good", 1, 1);
    until_all_are_back();
    expect_err(429, "no ML nodes with sufficient capacity were found");
    stop("one");
    until_all_are_back();
    stop("two"); /* it stays to be seen, failed */
    until_all_are_back();
    start_ok("two", 1);
    end();
}

static void scaling_loses_no_call(void **state)
{
    static struct asked *calls[300];
    begin(1000);
    start_ok("d", 1);
    for (int i = 0; i < 300; i++) {
        calls[i] = ask("d", 1 + (size_t)i % 3, i % 2 ? "a" : "a b c a b c");
        if (i % 50 == 0)
            scale("d", 1 + i / 50 % 4);
    }
    until_all_are_back();
    assert_null(last_err);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(calls[i]->done, 1);
        forget(calls[i]);
    }
    scale("d", 100); /* as many as there are processors */
    until_all_are_back();
    assert_int_equal(state_of("d").num_allocations, 100);
    assert_int_equal(fake_sessions(), 4);
    scale("d", 0);
    until_all_are_back();
    struct asked *a = ask("d", 1, "a"); /* nobody will make it an allocation */
    until_all_are_back();
    assert_int_equal(a->err->status, 409);
    assert_non_null(strstr(a->err->reason, "is not allocated to any nodes"));
    forget(a);
    scale("d", 1);
    until_all_are_back();
    a = ask("d", 1, "a");
    until_all_are_back();
    assert_int_equal(a->done, 1);
    forget(a);
    scale("unknown", 1);
    until_all_are_back();
    expect_err(404, "[unknown]");
    end();
}

/* A call that finds no allocation waits for the one that the scaler makes. */
static void adaptive_deployments_wake_up(void **state)
{
    begin(1000);
    start_ok("d", 1);
    struct deployment_change c = {.has_adaptive = true, .has_enabled = true, .enabled = true};
    w.waiting++;
    deployment_update(w.models, STR("d"), &c, w.loop, keep_err, NULL);
    until_all_are_back();
    for (int i = 0; i < 20; i++) {
        struct asked *a[3];
        c = (struct deployment_change){.has_number = true, .number = 0, .by_scaler = true};
        w.waiting++;
        deployment_update(w.models, STR("d"), &c, w.loop, keep_err, NULL);
        until_all_are_back();
        assert_null(last_err);
        assert_int_equal(state_of("d").num_allocations, 0);
        for (int k = 0; k < 3; k++)
            a[k] = ask("d", 1 + (size_t)k, "a b");
        until_all_are_back();
        for (int k = 0; k < 3; k++) {
            assert_int_equal(a[k]->done, 1);
            forget(a[k]);
        }
        assert_int_equal(state_of("d").num_allocations, 1);
    }
    end();
}

static void the_end_fails_what_waits(void **state)
{
    begin(100);
    start("e", "other", 1, 1); /* perhaps not yet loaded when it ends */
    struct asked *a = ask("e", 3, "a");
    end();
    assert_int_equal(a->done + a->failed, 1);
    if (a->failed)
        expect_failure(a, 409, "[stopping]");
    else
        forget(a);
    err_free(last_err);
    last_err = NULL;
}

/* Many calls on several allocations, some cancelled while they run. */
static void a_storm_passes(void **state)
{
    static struct asked *calls[400];
    begin(10000);
    start_ok("d", 4);
    for (int i = 0; i < 400; i++) {
        calls[i] = ask("d", 1 + (size_t)i % 60, i % 3 ? "a" : "b c b c b");
        if (i % 7 == 0)
            cancel(calls[i / 2]);
    }
    until_all_are_back();
    for (int i = 0; i < 400; i++) {
        if (calls[i]->done)
            for (size_t k = 0; k < calls[i]->result->n; k++)
                assert_true(calls[i]->result->embeddings[k].f32[3] == (i % 3 ? 9 : 32));
        forget(calls[i]);
    }
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_are_looked_at),
        cmocka_unit_test(a_call_gets_its_rows),
        cmocka_unit_test(starts_are_answered),
        cmocka_unit_test(broken_models_fail_to_start),
        cmocka_unit_test(calls_wait_for_the_start),
        cmocka_unit_test(a_full_queue_refuses),
        cmocka_unit_test(a_queue_that_one_has_filled_lets_others_in),
        cmocka_unit_test(cancelled_calls_end_without_running),
        cmocka_unit_test(engine_errors_reach_the_call),
        cmocka_unit_test(stopping_ends_what_waits),
        cmocka_unit_test(all_of_a_model_are_stopped),
        cmocka_unit_test(draining_runs_what_waits),
        cmocka_unit_test(what_was_seen_before_is_not_run_again),
        cmocka_unit_test(a_bad_sequence_fails_its_call_alone),
        cmocka_unit_test(numbers_tell_what_went_wrong),
        cmocka_unit_test(prometheus_is_told),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(scaling_loses_no_call),
        cmocka_unit_test(adaptive_deployments_wake_up),
        cmocka_unit_test(the_end_fails_what_waits),
        cmocka_unit_test(a_storm_passes),
    };
    return cmocka_run_group_tests(tests, make_models, remove_models);
}
