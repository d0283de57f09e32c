/* Whole answers through the real client: attempts, pauses, shortening, refusals, deadlines and
 * cancels. Streams are in upstream_stream_test.c. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "bug.h"
#include "upstream_rig.h"

#define N(steps) steps, sizeof steps / sizeof steps[0]

#define ANSWER(status, headers, length, body)                                                      \
    {                                                                                              \
        .answer = "HTTP/1.1 " status "\r\nConnection: close\r\n" headers                           \
                  "Content-Length: " #length "\r\n\r\n" body                                       \
    }

#define GOOD    ANSWER("200 OK", "", 30, "{\"data\":[{\"embedding\":[1,2]}]}")
#define GOOD_2  ANSWER("200 OK", "", 48, "{\"data\":[{\"embedding\":[1]},{\"embedding\":[2]}]}  ")
#define RESULT  "{\"text_embedding\":[{\"embedding\":[1,2]}]}"
#define BROKEN  ANSWER("500 Internal Server Error", "", 0, "")
#define BUSY    ANSWER("503 Service Unavailable", "", 32, "{\"error\":{\"message\":\"too busy\"}}")
#define BIG     ANSWER("413 Content Too Large", "", 0, "")
#define NO_DATA ANSWER("200 OK", "", 2, "{}")

static struct endpoint *embedder(const char *more)
{
    char body[512];
    snprintf(body, sizeof body,
             "{\"service_settings\":{\"api_key\":\"sk-1\",\"model_id\":\"m\"%s}}", more);
    return testing_endpoint("my-ep", "openai", TASK_TEXT_EMBEDDING, body);
}

static int setup(void **state)
{
    rig_new();
    return 0;
}

static int teardown(void **state)
{
    rig_free(rig);
    return 0;
}

static void expect_result(const char *want)
{
    expect_ended(rig, 1, 0);
    if (!str_eq_c(buf_str(&rig->result), want))
        fail_msg("got %.*s, not %s", STR_ARG(buf_str(&rig->result)), want);
}

/* --- attempts --- */

static void one_attempt(void **state)
{
    static const struct step steps[] = {GOOD};
    rig_run(rig, embedder(""), N(steps));
    expect_result(RESULT);
    assert_int_equal(scripted_server_requests(rig->server), 1);
    struct str head = scripted_server_head(rig->server, 0);
    assert_true(str_starts(head, STR("POST /v1/embeddings HTTP/1.1\r\n")));
    assert_true(str_find(head, STR("Authorization: Bearer sk-1\r\n")) != SIZE_MAX);
    assert_true(str_eq_c(scripted_server_body(rig->server, 0),
                         "{\"input\":[\"abcdefgh\"],\"model\":\"m\"}"));
}

static void retried_until_good(void **state)
{
    static const struct step steps[] = {BROKEN, BUSY, GOOD};
    rig_run(rig, embedder(""), N(steps));
    expect_result(RESULT);
    assert_int_equal(rig->requests, 3);
    assert_int_equal(rig->retries, 2);
}

static void three_attempts_at_most(void **state)
{
    static const struct step steps[] = {BROKEN, BROKEN, BUSY, GOOD};
    rig_run(rig, embedder(""), N(steps));
    expect_failure(rig, 400,
                   "Received a server busy error status code for request from inference entity id "
                   "[my-ep] status [503]. Error message: [too busy]");
    assert_int_equal(rig->requests, 3);
    assert_int_equal(rig->retries, 2);
}

static void not_worth_a_second_attempt(void **state)
{
    static const struct step steps[] = {
        ANSWER("401 Unauthorized", "", 51,
               "{\"error\":{\"message\":\"bad key\",\"code\":\"invalid\"}}   "),
        GOOD};
    rig_run(rig, embedder(""), N(steps));
    expect_failure(rig, 401,
                   "Received an authentication error status code for request from inference entity "
                   "id [my-ep] status [401]. Error message: [bad key]");
    assert_string_equal(rig->failed->chat_code, "invalid");
    assert_int_equal(rig->requests, 1);
}

static void retry_after_beyond_the_budget(void **state)
{
    static const struct step steps[] = {
        ANSWER("429 Too Many Requests", "Retry-After: 3600\r\n", 0, ""), GOOD};
    rig_run(rig, embedder(""), N(steps));
    expect_ended(rig, 0, 1);
    assert_int_equal(rig->failed->status, 429);
    assert_int_equal(rig->failed->retry_after_ms, 3600000);
    assert_int_equal(rig->requests, 1);
}

static void no_budget_no_retry(void **state)
{
    static const struct step steps[] = {BROKEN, GOOD};
    rig->options.retry_timeout_ms = 1;
    rig_run(rig, embedder(""), N(steps));
    expect_ended(rig, 0, 1);
    assert_int_equal(rig->requests, 1);
}

/* --- too large --- */

static void expect_body(size_t i, const char *want)
{
    struct str got = scripted_server_body(rig->server, i);
    if (!str_eq_c(got, want))
        fail_msg("request %zu was %.*s", i, STR_ARG(got));
}

static void inputs_are_halved(void **state)
{
    static const struct step steps[] = {BIG, BIG, GOOD_2};
    rig->texts[1] = STR("\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xF0\x9F\x98\x80"); /* 6 UTF-16 units */
    rig_run(rig, embedder(""), N(steps));
    expect_result("{\"text_embedding\":[{\"embedding\":[1]},{\"embedding\":[2]}]}");
    expect_body(0, "{\"input\":[\"abcdefgh\",\"\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xF0\x9F\x98\x80\"],"
                   "\"model\":\"m\"}");
    expect_body(1, "{\"input\":[\"abcd\",\"\xF0\x9F\x98\x80\"],\"model\":\"m\"}");
    expect_body(2, "{\"input\":[\"ab\",\"\"],\"model\":\"m\"}");
}

static void too_large_three_times(void **state)
{
    static const struct step steps[] = {BIG, BIG, BIG, GOOD};
    rig_run(rig, embedder(""), N(steps));
    expect_failure(rig, 413,
                   "Received a content too large status code for request from inference entity id "
                   "[my-ep] status [413]");
    assert_int_equal(rig->requests, 3);
}

static void cut_before_the_first_attempt(void **state)
{
    static const struct step steps[] = {GOOD};
    rig_run(rig, embedder(",\"max_input_tokens\":2"), N(steps));
    expect_result(RESULT);
    expect_body(0, "{\"input\":[\"abcdef\"],\"model\":\"m\"}");
}

static void sparse_results_tell_of_cuts(void **state)
{
    static const struct step steps[] = {BIG, ANSWER("200 OK", "", 17, "[{\"a\":1},{\"b\":2}]")};
    rig->texts[1] = (struct str){"", 0};
    struct endpoint *ep =
        testing_endpoint("my-ep", "hugging_face", TASK_SPARSE_EMBEDDING,
                         "{\"service_settings\":{\"api_key\":\"k\",\"url\":\"http://h/elser\"}}");
    rig_run(rig, ep, N(steps));
    expect_result("{\"sparse_embedding\":[{\"is_truncated\":true,\"embedding\":{\"a\":1}},"
                  "{\"is_truncated\":false,\"embedding\":{\"b\":2}}]}");
}

/* --- answers that are none --- */

static void malformed_is_retried(void **state)
{
    static const struct step steps[] = {NO_DATA, ANSWER("200 OK", "", 3, "[[]"), GOOD};
    rig_run(rig, embedder(""), N(steps));
    expect_result(RESULT);
    assert_int_equal(rig->requests, 3);
}

static void malformed_to_the_end(void **state)
{
    static const struct step steps[] = {NO_DATA, NO_DATA, NO_DATA, GOOD};
    rig_run(rig, embedder(""), N(steps));
    expect_failure(rig, 500,
                   "Failed to send OpenAI embeddings request. Cause: Failed to find required field "
                   "[data] in OpenAI embeddings response");
    assert_int_equal(rig->requests, 3);
}

static void empty_body(void **state)
{
    static const struct step steps[] = {ANSWER("200 OK", "", 0, ""), GOOD};
    rig_run(rig, embedder(""), N(steps));
    expect_failure(rig, 400,
                   "Response body was empty for request from inference entity id [my-ep]");
    assert_int_equal(rig->requests, 1);
}

static void too_long_an_answer(void **state)
{
    static const struct step steps[] = {GOOD, GOOD};
    rig->options.max_response_bytes = 20;
    rig_run(rig, embedder(""), N(steps));
    expect_ended(rig, 0, 1);
    assert_int_equal(rig->failed->status, 500);
    assert_non_null(
        strstr(rig->failed->reason, "Failed to send OpenAI embeddings request. Cause:"));
    assert_non_null(strstr(rig->failed->reason, "is larger than [20] bytes"));
    assert_int_equal(rig->requests, 1);
}

/* 20,000 empty brackets: a tree of thirty times their size. */
static void a_bomb_of_brackets(void **state)
{
    static const struct step bomb = {.answer =
                                         "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"a\":[",
                                     .again = "[],[],[],[],[],[],[],[],[],[],",
                                     .times = 2000,
                                     .end = "[]]}"};
    const struct step steps[] = {bomb, bomb, bomb};
    rig->options.max_response_bytes = 61000;
    rig_run(rig, embedder(""), N(steps));
    expect_ended(rig, 0, 1);
    assert_int_equal(rig->failed->status, 500);
    assert_non_null(rig->failed->cause);
    assert_null(strstr(rig->failed->reason, "[data]")); /* it was not even read */
}

static void redirects_are_refused(void **state)
{
    static const struct step steps[] = {
        ANSWER("302 Found", "Location: http://127.0.0.1:1/\r\n", 0, ""), GOOD};
    rig_run(rig, embedder(""), N(steps));
    expect_failure(rig, 302,
                   "Unhandled redirection for request from inference entity id [my-ep] status "
                   "[302]");
    assert_int_equal(rig->requests, 1);
}

/* --- the network --- */

static void reset_is_retried(void **state)
{
    static const struct step steps[] = {
        {.answer = NULL, .reset = true},
        {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"data\":", .reset = true},
        GOOD};
    rig_run(rig, embedder(""), N(steps));
    expect_result(RESULT);
    assert_int_equal(rig->requests, 3);
}

static void nobody_listens(void **state)
{
    rig_run(rig, embedder(""), NULL, 0);
    expect_ended(rig, 0, 1);
    assert_int_equal(rig->failed->status, 500);
    assert_int_equal(
        strncmp(rig->failed->reason, "Failed to send OpenAI embeddings request. Cause: ", 49), 0);
    assert_int_equal(rig->requests, 3);
}

static void unknown_host(void **state)
{
    rig->no_base = true;
    rig_run(rig, embedder(",\"url\":\"gopher://h.example/p?key=secret\""), NULL, 0);
    expect_failure(rig, 400,
                   "Invalid host [gopher://h.example/p], please check that the URL is correct.");
    assert_int_equal(rig->requests, 1);
}

static void private_address(void **state)
{
    rig->no_base = true;
    rig_run(rig, embedder(",\"url\":\"http://127.0.0.1:9/p?key=secret\""), NULL, 0);
    expect_failure(rig, 400,
                   "The address of [http://127.0.0.1:9/p] is private, which is not allowed.");
    assert_int_equal(rig->requests, 1);
}

/* --- the rate limit --- */

static void waits_its_turn(void **state)
{
    static const struct step steps[] = {GOOD};
    rig->take_slot = true;
    rig_run(rig, embedder(",\"rate_limit\":{\"requests_per_minute\":20000}"), N(steps));
    expect_result(RESULT);
}

static void never_told(void *ctx, enum limit_answer answer)
{
    fail();
}

static void fill_queue(struct loop_msg *msg)
{
    struct rig *r = (struct rig *)((char *)msg - offsetof(struct rig, start));
    struct limit_ask ask = {.loop = r->loop, .told = never_told};
    struct limit_wait *wait;
    limiter_wait(extras_of(r->call.endpoint)->group, &ask, clock_mono_ns(), &wait);
    assert_non_null(wait);
    rig_submit(msg);
    limiter_leave(wait);
}

static void queue_is_full(void **state)
{
    rig->take_slot = true;
    rig->submit = fill_queue;
    rig_run(rig, embedder(",\"rate_limit\":{\"requests_per_minute\":1}"), NULL, 0);
    expect_ended(rig, 0, 1);
    assert_int_equal(rig->failed->status, 429);
    assert_string_equal(err_type(rig->failed), "es_rejected_execution_exception");
    const char *reason = rig->failed->reason;
    assert_non_null(strstr(reason, "Failed to execute task for inference id [my-ep] because the "
                                   "request service ["));
    assert_non_null(strstr(reason, "] queue is full"));
    assert_null(strstr(reason, "sk-1"));
    assert_int_equal(rig->requests, 0);
}

/* --- time --- */

static void no_slot_before_the_deadline(void **state)
{
    rig->take_slot = true;
    rig->deadline_ms = 5;
    rig_run(rig, embedder(",\"rate_limit\":{\"requests_per_minute\":1}"), NULL, 0);
    expect_failure(rig, 408, "Request timed out after [1s]");
    assert_int_equal(rig->requests, 0);
}

static void no_answer_before_the_deadline(void **state)
{
    static const struct step steps[] = {{.hang = true}};
    rig->call.timeout_ms = 1500;
    rig->deadline_ms = 20;
    rig_run(rig, embedder(""), N(steps));
    expect_failure(rig, 408, "Request timed out after [1500ms]");
}

static void no_retry_before_the_deadline(void **state)
{
    static const struct step steps[] = {BROKEN, GOOD};
    rig->options.retry_initial_delay_ms = rig->options.retry_max_delay_ms = 5000;
    rig->deadline_ms = 40;
    rig_run(rig, embedder(""), N(steps));
    expect_failure(rig, 408, "Request timed out after [1s]");
    assert_int_equal(rig->requests, 1);
}

/* --- cancels --- */

static void cancel_due(struct loop_timer *timer)
{
    inference_cancel(&rig->call);
}

static void cancel_now(struct loop_msg *msg)
{
    inference_cancel(&rig->call);
}

static void expect_cancelled(void)
{
    expect_ended(rig, 0, 1);
    assert_int_equal(rig->failed->kind, ERR_CANCELLED);
    assert_true(atomic_load(&rig->call.cancelled));
}

static void submit_then_cancel(struct loop_msg *msg)
{
    rig_submit(msg);
    loop_timer_set(rig->loop, &rig->later, 0, cancel_due);
}

static void cancelled_while_waiting(void **state)
{
    rig->take_slot = true;
    rig->submit = submit_then_cancel;
    rig_run(rig, embedder(",\"rate_limit\":{\"requests_per_minute\":1}"), NULL, 0);
    expect_cancelled();
    assert_int_equal(rig->requests, 0);
}

static void cancelled_while_connecting(void **state)
{
    static const struct step steps[] = {GOOD};
    rig->submit = submit_then_cancel;
    rig_run(rig, embedder(""), N(steps));
    expect_cancelled();
}

static void cancelled_under_way(void **state)
{
    static const struct step steps[] = {{.hang = true}};
    rig->on_request = cancel_now;
    rig_run(rig, embedder(""), N(steps));
    expect_cancelled();
    assert_int_equal(rig->requests, 1);
}

/* Once the first attempt is over, which the gauge tells. */
static void cancel_in_pause(struct loop_timer *timer)
{
    if (metric_read(METRIC_UPSTREAM_IN_FLIGHT) == 0)
        inference_cancel(&rig->call);
    else
        loop_timer_set(rig->loop, &rig->later, clock_mono_ms() + 1, cancel_in_pause);
}

static void watch_for_pause(struct loop_msg *msg)
{
    loop_timer_set(rig->loop, &rig->later, 0, cancel_in_pause);
}

static void cancelled_between_attempts(void **state)
{
    static const struct step steps[] = {BROKEN, GOOD};
    rig->options.retry_initial_delay_ms = rig->options.retry_max_delay_ms = 5000;
    rig->on_request = watch_for_pause;
    rig_run(rig, embedder(""), N(steps));
    expect_cancelled();
    assert_int_equal(rig->requests, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_attempt),
        TEST(retried_until_good),
        TEST(three_attempts_at_most),
        TEST(not_worth_a_second_attempt),
        TEST(retry_after_beyond_the_budget),
        TEST(no_budget_no_retry),
        TEST(inputs_are_halved),
        TEST(too_large_three_times),
        TEST(cut_before_the_first_attempt),
        TEST(sparse_results_tell_of_cuts),
        TEST(malformed_is_retried),
        TEST(malformed_to_the_end),
        TEST(empty_body),
        TEST(too_long_an_answer),
        TEST(a_bomb_of_brackets),
        TEST(redirects_are_refused),
        TEST(reset_is_retried),
        TEST(nobody_listens),
        TEST(unknown_host),
        TEST(private_address),
        TEST(waits_its_turn),
        TEST(queue_is_full),
        TEST(no_slot_before_the_deadline),
        TEST(no_answer_before_the_deadline),
        TEST(no_retry_before_the_deadline),
        TEST(cancelled_while_waiting),
        TEST(cancelled_while_connecting),
        TEST(cancelled_under_way),
        TEST(cancelled_between_attempts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
