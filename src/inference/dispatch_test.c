/* What inference_input refuses (inference.md 7.5), and who gets a call. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "bug.h"
#include "clock.h"
#include "fake_models.h"
#include "inference_testing.h"

#define REMOTE "{\"service_settings\":{\"api_key\":\"k\",\"model_id\":\"m\"}}"
#define LOCAL  "{\"service_settings\":{\"model_id\":\"e5\",\"num_threads\":1,\"num_allocations\":1}}"

static struct arena *arena;

static int setup(void **state)
{
    arena = arena_new(ARENA_NO_LIMIT);
    return 0;
}

static int teardown(void **state)
{
    arena_free(arena);
    return 0;
}

static struct err *read_input(struct endpoint *ep, enum task url_task, bool stream,
                              const char *text, struct input *out)
{
    const struct json *body;
    BUG_ON(json_parse(arena, str_c(text), &body) != NULL);
    return inference_input(ep, url_task, stream, arena, str_c(text), body, out);
}

struct refused {
    const char *service;
    enum task task, url_task;
    bool stream;
    const char *body;
    int status;
    const char *reason;
};

static const struct refused refused[] = {
    {"openai", TASK_COMPLETION, TASK_RERANK, false, "{\"input\":\"x\"}", 400,
     "Incompatible task_type, the requested type [rerank] does not match the model type "
     "[completion]"},
    {"openai", TASK_CHAT_COMPLETION, TASK_ANY, false, "{\"messages\":[]}", 400,
     "The [chat_completion] task type only supports streaming, please try again with the _stream "
     "API"},
    {"openai", TASK_TEXT_EMBEDDING, TASK_ANY, true, "{\"input\":\"x\"}", 405,
     "Streaming is not allowed for service [openai] and task [text_embedding]. Supported tasks: "
     "[completion,chat_completion]"},
    {"elasticsearch", TASK_TEXT_EMBEDDING, TASK_ANY, true, "{\"input\":\"x\"}", 405,
     "Streaming is not allowed for service [elasticsearch]."},
    {"openai", TASK_COMPLETION, TASK_ANY, false, "{\"input\":[\"x\",\"y\"]}", 400,
     "OpenAI chat completions only accepts 1 input"},
    {"cohere", TASK_COMPLETION, TASK_ANY, true, "{\"input\":[\"x\",\"y\"]}", 400,
     "Cohere completion only accepts 1 input"},
    {"openai", TASK_TEXT_EMBEDDING, TASK_ANY, false, "{}", 400,
     "Validation Failed: 1: Field [input] cannot be null;"},
    {"cohere", TASK_RERANK, TASK_ANY, false, "{\"input\":[\"x\"]}", 400,
     "Validation Failed: 1: Field [query] cannot be null for task type [rerank];"},
    {"openai", TASK_TEXT_EMBEDDING, TASK_TEXT_EMBEDDING, false, "{\"input\":\"x\",\"top_n\":1}",
     400,
     "Validation Failed: 1: Field [top_n] cannot be specified for task type [text_embedding];"},
    {"openai", TASK_COMPLETION, TASK_ANY, false, "{\"input\":\"x\",\"task_settings\":{\"user\":5}}",
     400,
     "Validation Failed: 1: field [user] is not of the expected type. The value [5] cannot be "
     "converted to a [String];"},
    {"openai", TASK_COMPLETION, TASK_ANY, false, "{\"input\":\"x\",\"task_settings\":{\"foo\":5}}",
     400, "Configuration contains settings [{foo=5}] unknown to the [openai] service"},
};

static void what_is_refused(void **state)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        const struct refused *c = &refused[i];
        bool local = strcmp(c->service, "elasticsearch") == 0;
        struct endpoint *ep =
            testing_endpoint("my-ep", c->service, c->task, local ? LOCAL : REMOTE);
        struct input in;
        struct err *e = read_input(ep, c->url_task, c->stream, c->body, &in);
        assert_non_null(e);
        assert_string_equal(e->reason, c->reason);
        assert_int_equal(e->status, c->status);
        err_free(e);
        endpoint_unref(ep);
    }
}

static void what_is_read(void **state)
{
    struct endpoint *ep =
        testing_endpoint("my-ep", "openai", TASK_COMPLETION,
                         "{\"service_settings\":{\"api_key\":\"k\",\"model_id\":\"m\"},"
                         "\"task_settings\":{\"user\":\"stored\"}}");
    struct input in;
    assert_null(read_input(ep, TASK_COMPLETION, true, "{\"input\":\"x\"}", &in));
    assert_true(in.stream);
    assert_int_equal(in.task, TASK_COMPLETION);
    assert_int_equal(in.n_texts, 1);
    assert_true(str_eq_c(settings_get(&in.values, "user")->s, "stored"));
    assert_null(read_input(ep, TASK_ANY, false,
                           "{\"input\":\"x\",\"task_settings\":{\"user\":\"of the call\"}}", &in));
    assert_false(in.stream);
    assert_true(str_eq_c(settings_get(&in.values, "user")->s, "of the call"));
    endpoint_unref(ep);
}

static void a_chat_is_read(void **state)
{
    struct endpoint *ep = testing_endpoint("my-ep", "openai", TASK_CHAT_COMPLETION, REMOTE);
    struct input in;
    assert_null(read_input(ep, TASK_ANY, true,
                           "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", &in));
    assert_non_null(in.chat);
    assert_int_equal(in.chat->n_messages, 1);
    assert_int_equal(in.task, TASK_CHAT_COMPLETION);
    endpoint_unref(ep);
}

/* --- local calls --- */

struct recorder {
    struct sink sink;
    struct loop *loop;
    int n_done, n_fail;
    size_t n_rows;
    enum err_kind kind;
};

static void record_done(struct sink *sink, const struct result *result)
{
    struct recorder *r = (struct recorder *)sink;
    r->n_done++;
    r->n_rows = result->n;
    loop_stop(r->loop);
}

static void record_fail(struct sink *sink, struct err *e)
{
    struct recorder *r = (struct recorder *)sink;
    r->n_fail++;
    r->kind = e->kind;
    err_free(e);
    loop_stop(r->loop);
}

static void submit_local(struct models *models, struct recorder *r)
{
    struct loop *loop = r->loop = loop_new(0);
    struct inference_options options = {.client = {.connect_timeout_ms = 1000,
                                                   .max_total_connections = 1,
                                                   .max_route_connections = 1}};
    struct inference_parts parts = {.models = models, .loops = &loop, .n_loops = 1};
    struct inference *inf = inference_new(&options, &parts);
    r->sink = (struct sink){.done = record_done, .fail = record_fail};
    struct call call = {.loop = loop,
                        .arena = arena,
                        .endpoint =
                            testing_endpoint("e5", "elasticsearch", TASK_TEXT_EMBEDDING, LOCAL),
                        .sink = &r->sink,
                        .deadline_ms = clock_mono_ms() + 10000};
    assert_null(read_input(call.endpoint, TASK_ANY, false, "{\"input\":\"x\"}", &call.input));
    inference_submit(inf, &call);
    loop_run(loop);
    assert_ptr_equal(call.sink, &r->sink); /* given back */
    endpoint_unref(call.endpoint);
    inference_free(inf);
    loop_free(loop);
}

static void local_calls_go_to_the_models(void **state)
{
    struct models models = {.deployed = true, .id = "e5"};
    struct recorder r = {0};
    submit_local(&models, &r);
    assert_int_equal(r.n_done, 1);
    assert_int_equal(r.n_fail, 0);
    assert_int_equal(r.n_rows, 1);
}

static void without_a_deployment(void **state)
{
    struct models models = {0};
    struct recorder r = {0};
    submit_local(&models, &r);
    assert_int_equal(r.n_done, 0);
    assert_int_equal(r.n_fail, 1);
    assert_int_equal(r.kind, ERR_NOT_FOUND);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_refused),      TEST(what_is_read),
        TEST(a_chat_is_read),       TEST(local_calls_go_to_the_models),
        TEST(without_a_deployment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
