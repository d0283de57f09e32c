/* Streams through the real client: what ends them, and what a slow receiver does to them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "bug.h"
#include "upstream_rig.h"

#define N(steps) steps, sizeof steps / sizeof steps[0]

#define HEAD        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
#define EVENT(text) "data: {\"choices\":[{\"delta\":{\"content\":\"" text "\"}}]}\n\n"
#define DONE        "data: [DONE]\n\n"
#define DELTA(text) "{\"completion\":[{\"delta\":\"" text "\"}]}\n"
#define REFUSE(status, headers, body)                                                              \
    {                                                                                              \
        .answer = "HTTP/1.1 " status "\r\nConnection: close\r\n" headers "\r\n" body               \
    }
#define CUT                                                                                        \
    "Failed to send OpenAI chat completions request. Cause: the stream ended before it was "       \
    "complete"

static struct endpoint *completer(void)
{
    return testing_endpoint("my-ep", "openai", TASK_COMPLETION,
                            "{\"service_settings\":{\"api_key\":\"sk-1\",\"model_id\":\"m\","
                            "\"max_input_tokens\":1}}");
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

static void expect_deltas(const char *want)
{
    if (!str_eq_c(buf_str(&rig->deltas), want))
        fail_msg("got %.*s, not %s", STR_ARG(buf_str(&rig->deltas)), want);
}

/* --- how it ends well --- */

static void to_its_end(void **state)
{
    static const struct step steps[] = {
        {.answer = HEAD EVENT("a") EVENT(""), .end = EVENT("b") DONE}};
    rig_run(rig, completer(), N(steps));
    expect_ended(rig, 1, 0);
    assert_int_equal(rig->result.n, 0); /* nothing more to say */
    expect_deltas(DELTA("a") DELTA("b"));
    assert_true(str_eq_c(scripted_server_body(rig->server, 0),
                         "{\"messages\":[{\"content\":\"abcdefgh\",\"role\":\"user\"}],"
                         "\"model\":\"m\",\"n\":1,\"stream\":true,"
                         "\"stream_options\":{\"include_usage\":true}}")); /* a prompt is not cut */
}

static void without_a_word(void **state)
{
    static const struct step steps[] = {{.answer = HEAD DONE}};
    rig_run(rig, completer(), N(steps));
    expect_ended(rig, 1, 0);
    expect_deltas("");
}

static void reset_after_the_last_word(void **state)
{
    static const struct step steps[] = {
        {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" EVENT("a") DONE}};
    rig_run(rig, completer(), N(steps));
    expect_ended(rig, 1, 0);
    expect_deltas(DELTA("a"));
}

static void nothing_counts_after_the_last_word(void **state)
{
    static const struct step steps[] = {
        {.answer = HEAD EVENT("a") DONE EVENT("b") "data: {broken\n\n"}};
    rig_run(rig, completer(), N(steps));
    expect_ended(rig, 1, 0);
    expect_deltas(DELTA("a"));
}

/* --- how it ends badly --- */

static void cut_after_a_delta(void **state)
{
    static const struct step steps[] = {{.answer = HEAD EVENT("a")},
                                        {.answer = HEAD EVENT("b") DONE}};
    rig_run(rig, completer(), N(steps));
    expect_failure(rig, 500, CUT);
    expect_deltas(DELTA("a"));
    assert_int_equal(rig->requests, 1);
}

static void cut_before_a_delta(void **state)
{
    static const struct step steps[] = {{.answer = HEAD}, {.answer = HEAD EVENT("b") DONE}};
    rig_run(rig, completer(), N(steps));
    expect_failure(rig, 500, CUT);
    assert_int_equal(rig->requests, 1);
}

static void broken_after_a_delta(void **state)
{
    static const struct step steps[] = {
        {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" EVENT("a")},
        {.answer = HEAD EVENT("b") DONE}};
    rig_run(rig, completer(), N(steps));
    expect_ended(rig, 0, 1);
    assert_int_equal(rig->failed->status, 500);
    expect_deltas(DELTA("a"));
    assert_int_equal(rig->requests, 1);
}

/* A stream that has begun is not tried again, even if it said nothing yet: what had been read of it
 * would be mixed with the next. */
static void broken_before_a_delta(void **state)
{
    static const struct step steps[] = {
        {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\ndata: {\"cho"},
        {.answer = HEAD EVENT("b") DONE}};
    rig_run(rig, completer(), N(steps));
    expect_ended(rig, 0, 1);
    assert_int_equal(rig->failed->status, 500);
    expect_deltas("");
    assert_int_equal(rig->requests, 1);
}

static void error_event(void **state)
{
    static const struct step steps[] = {
        {.answer = HEAD EVENT(
             "a") "data: {\"error\":{\"message\":\"boom\",\"code\":\"c\"}}\n\n" EVENT("b"),
         .hang = true}};
    rig_run(rig, completer(), N(steps));
    expect_failure(rig, 500,
                   "Received an error response for request from inference entity id [my-ep]. Error "
                   "message: [boom]");
    assert_string_equal(rig->failed->chat_code, "c");
    expect_deltas(DELTA("a"));
}

static void no_event_at_all(void **state)
{
    static const struct step steps[] = {{.answer = HEAD "<html>hello</html>"}};
    rig_run(rig, completer(), N(steps));
    expect_failure(rig, 500, CUT);
}

static void silence(void **state)
{
    static const struct step steps[] = {{.answer = HEAD EVENT("a"), .hang = true}};
    rig->options.stream_stall_ms = 30;
    rig_run(rig, completer(), N(steps));
    expect_ended(rig, 0, 1);
    assert_int_equal(rig->failed->status, 500);
    expect_deltas(DELTA("a"));
    assert_int_equal(rig->requests, 1);
}

static void larger_than_allowed(void **state)
{
    static const struct step steps[] = {
        {.answer = HEAD, .again = EVENT("a"), .times = 50, .end = DONE}};
    rig->options.max_response_bytes = 500;
    rig_run(rig, completer(), N(steps));
    expect_ended(rig, 0, 1);
    assert_int_equal(rig->failed->status, 500);
}

/* --- refused before it began: as any call, with its own status --- */

static void refused_with_its_status(void **state)
{
    static const struct step steps[] = {
        REFUSE("429 Too Many Requests", "Retry-After: 2\r\n",
               "{\"error\":{\"message\":\"slow\",\"type\":\"tokens\"}}"),
        {.answer = HEAD EVENT("b") DONE}};
    rig_run(rig, completer(), N(steps));
    expect_failure(rig, 429,
                   "Received a rate limit status code for request from inference entity id [my-ep] "
                   "status [429]. Error message: [slow]");
    assert_string_equal(rig->failed->chat_type, "tokens");
    assert_int_equal(rig->failed->retry_after_ms, 2000);
    expect_deltas("");
    assert_int_equal(rig->requests, 1);
}

static void retried_before_it_begins(void **state)
{
    static const struct step steps[] = {REFUSE("500 Oops", "", "data: [DONE]\n\n"),
                                        REFUSE("503 Busy", "", ""),
                                        {.answer = HEAD EVENT("a") DONE}};
    rig_run(rig, completer(), N(steps));
    expect_ended(rig, 1, 0);
    expect_deltas(DELTA("a"));
    assert_int_equal(rig->requests, 3);
}

static void reset_before_it_begins(void **state)
{
    static const struct step steps[] = {{.reset = true}, {.answer = HEAD EVENT("a") DONE}};
    rig_run(rig, completer(), N(steps));
    expect_ended(rig, 1, 0);
    expect_deltas(DELTA("a"));
    assert_int_equal(rig->requests, 2);
}

static void no_head_before_the_deadline(void **state)
{
    static const struct step steps[] = {{.hang = true}};
    rig->deadline_ms = 20;
    rig_run(rig, completer(), N(steps));
    expect_failure(rig, 408, "Request timed out after [1s]");
}

/* --- a slow receiver --- */

#define MANY     4000 /* events; some 200 KiB, far more than what sockets and the client buffer */
#define PAUSE_AT 10
#define PAUSE_MS 30
/* What one read of the client may still bring after the receiver said that it is full. */
#define MOST_LATE 800

static int at_pause, late; /* deltas that came while it was full; -1: it never drained */

static void drain(struct loop_timer *timer)
{
    late = rig->n_deltas - at_pause;
    rig->full = false;
    rig->call.on_drain(&rig->call);
}

static void fill_once(struct rig *r)
{
    if (r->n_deltas != PAUSE_AT)
        return;
    at_pause = r->n_deltas;
    r->full = true;
    loop_timer_set(r->loop, &r->later, clock_mono_ms() + PAUSE_MS, drain);
}

/* The stream stops while its receiver is full, and loses nothing; and the deadline, which passes
 * meanwhile, is no concern of a stream that has begun. */
static void slow_receiver(void **state)
{
    static const struct step steps[] = {
        {.answer = HEAD, .again = EVENT("a"), .times = MANY, .end = DONE}};
    late = -1;
    rig->on_delta = fill_once;
    rig->deadline_ms = PAUSE_MS / 2;
    rig_run(rig, completer(), N(steps));
    expect_ended(rig, 1, 0);
    assert_int_equal(rig->n_deltas, MANY);
    assert_true(late >= 0 && late <= MOST_LATE);
}

static void full_again_and_again(struct rig *r)
{
    if (r->full || r->n_deltas % 500 != 0)
        return;
    at_pause = r->n_deltas;
    r->full = true;
    loop_timer_set(r->loop, &r->later, clock_mono_ms() + 1, drain);
}

static void very_slow_receiver(void **state)
{
    static const struct step steps[] = {
        {.answer = HEAD, .again = EVENT("a"), .times = MANY, .end = DONE}};
    rig->on_delta = full_again_and_again;
    rig_run(rig, completer(), N(steps));
    expect_ended(rig, 1, 0);
    assert_int_equal(rig->n_deltas, MANY);
}

/* --- cancels --- */

static void cancel_due(struct loop_timer *timer)
{
    inference_cancel(&rig->call);
}

static void cancel_soon(struct rig *r)
{
    if (r->n_deltas == 1)
        loop_timer_set(r->loop, &r->later, 0, cancel_due);
}

static void cancelled_amid(void **state)
{
    static const struct step steps[] = {{.answer = HEAD EVENT("a"), .hang = true}};
    rig->on_delta = cancel_soon;
    rig_run(rig, completer(), N(steps));
    expect_ended(rig, 0, 1);
    assert_int_equal(rig->failed->kind, ERR_CANCELLED);
    expect_deltas(DELTA("a"));
}

static void fill_and_cancel(struct rig *r)
{
    if (r->full)
        return;
    r->full = true;
    loop_timer_set(r->loop, &r->later, clock_mono_ms() + 5, cancel_due);
}

static void cancelled_while_paused(void **state)
{
    static const struct step steps[] = {
        {.answer = HEAD, .again = EVENT("a"), .times = MANY, .end = DONE}};
    rig->on_delta = fill_and_cancel;
    rig_run(rig, completer(), N(steps));
    expect_ended(rig, 0, 1);
    assert_int_equal(rig->failed->kind, ERR_CANCELLED);
    assert_in_range(rig->n_deltas, 1, MOST_LATE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(to_its_end),
        TEST(without_a_word),
        TEST(reset_after_the_last_word),
        TEST(nothing_counts_after_the_last_word),
        TEST(cut_after_a_delta),
        TEST(cut_before_a_delta),
        TEST(broken_after_a_delta),
        TEST(broken_before_a_delta),
        TEST(error_event),
        TEST(no_event_at_all),
        TEST(silence),
        TEST(larger_than_allowed),
        TEST(refused_with_its_status),
        TEST(retried_before_it_begins),
        TEST(reset_before_it_begins),
        TEST(no_head_before_the_deadline),
        TEST(slow_receiver),
        TEST(very_slow_receiver),
        TEST(cancelled_amid),
        TEST(cancelled_while_paused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
