/* Inputs cut into chunks: what is sent, which row is which, and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "bug.h"
#include "upstream_rig.h"

static struct chunk_map map;
static struct pool *pool;
static struct buf text; /* a long input */
static bool cancel;

static int setup(void **state)
{
    rig_new();
    pool = pool_new(1);
    buf_init(&text, 16 << 20);
    map = (struct chunk_map){0};
    cancel = false;
    return 0;
}

static int teardown(void **state)
{
    pool_free(pool);
    rig_free(rig);
    buf_deinit(&text);
    return 0;
}

static void submit(struct loop_msg *msg)
{
    rig->inf->parts.pool = pool;
    if (rig->deadline_ms)
        rig->call.deadline_ms = clock_mono_ms() + rig->deadline_ms;
    inference_submit_chunked(rig->inf, &rig->call, &map);
    if (cancel)
        inference_cancel(&rig->call);
}

static struct endpoint *embedder(const char *chunking)
{
    char body[512];
    snprintf(body, sizeof body,
             "{\"service_settings\":{\"api_key\":\"sk-1\",\"model_id\":\"m\"},"
             "\"chunking_settings\":%s}",
             chunking);
    return testing_endpoint("my-ep", "openai", TASK_TEXT_EMBEDDING, body);
}

/* An answer of n embeddings; row i is [i]. */
static const char *answer(struct buf *b, size_t n)
{
    struct buf body;
    buf_init(&body, 1 << 20);
    buf_cstr(&body, "{\"data\":[");
    for (size_t i = 0; i < n; i++)
        buf_printf(&body, "%s{\"embedding\":[%zu]}", i ? "," : "", i);
    buf_cstr(&body, "]}");
    buf_init(b, 2 << 20);
    buf_printf(b, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%.*s", body.n,
               STR_ARG(buf_str(&body)));
    buf_char(b, '\0');
    buf_deinit(&body);
    return b->p;
}

static void run(const char *chunking, size_t n_rows)
{
    struct buf b;
    struct step steps[] = {{.answer = answer(&b, n_rows)}};
    if (!rig->submit)
        rig->submit = submit;
    rig_run(rig, embedder(chunking), steps, n_rows ? 1 : 0);
    buf_deinit(&b);
}

#define TEN    "a b c d e f g h i j"
#define WORDS  "{\"strategy\":\"word\",\"max_chunk_size\":10,\"overlap\":1}"
#define REGEXP "{\"strategy\":\"recursive\",\"max_chunk_size\":10,\"separators\":[\"%s\"]}"

static void expect_sent(const char *body)
{
    struct str got = scripted_server_body(rig->server, 0);
    if (!str_eq_c(got, body))
        fail_msg("sent %.*s, not %s", STR_ARG(got), body);
}

static void expect_span(size_t row, size_t start, size_t end)
{
    assert_int_equal(map.spans[row].start, start);
    assert_int_equal(map.spans[row].end, end);
}

/* The map lies in the call's arena, which the rig frees: it is looked at before. */
static void look(struct sink *sink, const struct result *result)
{
    assert_int_equal(result->n, 3);
    assert_int_equal(map.n_inputs, 2);
    assert_int_equal(map.counts[0], 2);
    assert_int_equal(map.counts[1], 1);
    expect_span(0, 0, 22);
    expect_span(1, 20, 24);
    expect_span(2, 0, 5);
    struct json_out w;
    json_out_init(&w, &text);
    result_render_chunks(&w, result, &map);
    rig_done(sink, result);
}

static void submit_and_look(struct loop_msg *msg)
{
    rig->sink.done = look;
    submit(msg);
}

static void two_inputs(void **state)
{
    rig->texts[0] = STR("\xF0\x9F\x98\x80 " TEN " k");
    rig->texts[1] = STR("short");
    rig->submit = submit_and_look;
    run(WORDS, 3);
    expect_ended(rig, 1, 0);
    expect_sent("{\"input\":[\"\xF0\x9F\x98\x80 " TEN "\",\" j k\",\"short\"],\"model\":\"m\"}");
    assert_true(
        str_eq_c(buf_str(&text),
                 "{\"text_embedding\":[{\"chunks\":[{\"start\":0,\"end\":22,\"embedding\":[0]},"
                 "{\"start\":20,\"end\":24,\"embedding\":[1]}]},"
                 "{\"chunks\":[{\"start\":0,\"end\":5,\"embedding\":[2]}]}]}"));
}

static void an_empty_input(void **state)
{
    rig->texts[0] = STR("");
    run(WORDS, 1);
    expect_ended(rig, 1, 0);
    expect_sent("{\"input\":[\"\"],\"model\":\"m\"}");
}

/* More than the loop cuts itself. */
static void long_input(void)
{
    for (int i = 0; i < 10000; i++)
        buf_cstr(&text, "word ");
    rig->texts[0] = buf_str(&text);
}

static void on_the_pool(void **state)
{
    long_input();
    run("{\"strategy\":\"word\",\"max_chunk_size\":5000,\"overlap\":100}", 3);
    expect_ended(rig, 1, 0);
    assert_int_equal(rig->requests, 1);
}

static void by_separators(void **state)
{
    rig->texts[0] = STR(TEN "; k l m");
    char settings[128];
    snprintf(settings, sizeof settings, REGEXP, "; ");
    run(settings, 2);
    expect_ended(rig, 1, 0);
    expect_sent("{\"input\":[\"" TEN "\",\"; k l m\"],\"model\":\"m\"}");
}

static void a_wrong_separator(void **state)
{
    rig->texts[0] = STR(TEN " " TEN);
    char settings[128];
    snprintf(settings, sizeof settings, REGEXP, "a(b");
    run(settings, 0);
    expect_failure(rig, 400,
                   "input [0] cannot be cut into chunks: [a(b] cannot be used as a regular "
                   "expression: U_REGEX_MISMATCHED_PAREN");
}

static void too_many_chunks(void **state)
{
    for (int i = 0; i < INFERENCE_MAX_CHUNKS; i++)
        buf_cstr(&text, TEN " ");
    rig->texts[0] = buf_str(&text);
    run(WORDS, 0);
    expect_failure(rig, 400,
                   "The inputs make more than [10000] chunks, the most for one call; send fewer or "
                   "shorter inputs, or use larger chunks");
}

static void no_task_for_chunks(void **state)
{
    rig->submit = submit;
    rig_run(rig,
            testing_endpoint("my-ep", "openai", TASK_COMPLETION,
                             "{\"service_settings\":{\"api_key\":\"k\",\"model_id\":\"m\"}}"),
            NULL, 0);
    expect_failure(rig, 400,
                   "Field [chunk] cannot be specified for task type [completion], only for "
                   "[text_embedding, sparse_embedding]");
}

static void cancelled_on_the_pool(void **state)
{
    long_input();
    cancel = true;
    run(WORDS, 0);
    expect_ended(rig, 0, 1);
    assert_int_equal(rig->failed->kind, ERR_CANCELLED);
}

static void late_on_the_pool(void **state)
{
    long_input();
    rig->deadline_ms = -5;
    run(WORDS, 0);
    expect_failure(rig, 408, "Request timed out after [1s]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_inputs, setup, teardown),
        cmocka_unit_test_setup_teardown(an_empty_input, setup, teardown),
        cmocka_unit_test_setup_teardown(on_the_pool, setup, teardown),
        cmocka_unit_test_setup_teardown(by_separators, setup, teardown),
        cmocka_unit_test_setup_teardown(a_wrong_separator, setup, teardown),
        cmocka_unit_test_setup_teardown(too_many_chunks, setup, teardown),
        cmocka_unit_test_setup_teardown(no_task_for_chunks, setup, teardown),
        cmocka_unit_test_setup_teardown(cancelled_on_the_pool, setup, teardown),
        cmocka_unit_test_setup_teardown(late_on_the_pool, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
