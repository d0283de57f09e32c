/* Creating, updating, deleting and loading endpoints, over the memory store, with fake models and
 * a scripted server as the service. */
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
#include "log.h"
#include "scripted_server.h"

#define N(steps) steps, sizeof steps / sizeof steps[0]

#define ANSWER(body)                                                                               \
    {                                                                                              \
        .answer = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" body                              \
    }
#define VECTOR ANSWER("{\"data\":[{\"embedding\":[1,2,3]}]}")
#define REFUSED                                                                                    \
    {                                                                                              \
        .answer =                                                                                  \
            "HTTP/1.1 401 No\r\nConnection: close\r\n\r\n{\"error\":{\"message\":\"bad key\"}}"    \
    }

#define OPENAI                                                                                     \
    "{\"service\":\"openai\",\"service_settings\":{\"api_key\":\"sk-1\",\"model_id\":\"m\"}}"
#define LOCAL                                                                                      \
    "{\"service\":\"elasticsearch\",\"service_settings\":{\"model_id\":\"e5\",\"num_threads\":2,"  \
    "\"num_allocations\":1}}"

#define MAX_ANSWERS 4

struct answer {
    struct err *err; /* owned */
    struct endpoint *ep;
};

static struct fixture {
    struct store *store;
    struct pool *pool;
    struct models models;
    struct loop *loop;
    struct inference *inf;
    struct scripted_server *server;
    struct upstream_base base;
    char base_url[64];
    struct inference_options options;
    struct arena *arena;

    /* One or several changes under way. */
    struct answer answers[MAX_ANSWERS];
    int n_answers, n_awaited;
    struct loop_msg start;
    void (*begin)(void); /* on the loop */
    struct loop_timer stop, tick;
} f;

/* --- the server under test, made and made again --- */

static void start_inference(void)
{
    f.pool = pool_new(1);
    f.loop = loop_new(0);
    struct inference_parts parts = {
        .store = f.store, .pool = f.pool, .models = &f.models, .loops = &f.loop, .n_loops = 1};
    f.inf = inference_new(&f.options, &parts);
}

static void stop_inference(void)
{
    pool_free(f.pool); /* before the loop it posts to */
    inference_free(f.inf);
    loop_free(f.loop);
}

static int setup(void **state)
{
    f = (struct fixture){0};
    log_set(LOG_ERROR, LOG_JSON);
    assert_null(store_open("memory", "", &f.store));
    f.arena = arena_new(ARENA_NO_LIMIT);
    f.models = (struct models){.tasks = TASK_BIT(TASK_TEXT_EMBEDDING), .dimensions = 384};
    f.options = (struct inference_options){
        .retry_initial_delay_ms = 1,
        .retry_max_delay_ms = 2,
        .retry_timeout_ms = 5000,
        .max_response_bytes = 1 << 20,
        .reduction = 0.5,
        .client = {.connect_timeout_ms = 5000,
                   .max_total_connections = 4,
                   .max_route_connections = 4,
                   .max_idle_ms = 1000},
    };
    start_inference();
    return 0;
}

static void forget_answers(void)
{
    for (int i = 0; i < f.n_answers; i++) {
        err_free(f.answers[i].err);
        endpoint_unref(f.answers[i].ep);
    }
    f.n_answers = f.n_awaited = 0;
}

static int teardown(void **state)
{
    forget_answers();
    stop_inference();
    store_close(f.store);
    scripted_server_free(f.server);
    arena_free(f.arena);
    return 0;
}

/* The service, from now on. */
static void serve(const struct step *steps, size_t n)
{
    scripted_server_free(f.server);
    f.server = scripted_server_new(steps, n, NULL, NULL);
    snprintf(f.base_url, sizeof f.base_url, "http://127.0.0.1:%d", scripted_server_port(f.server));
    f.base = (struct upstream_base){STR("openai"), str_c(f.base_url)};
    f.inf->options.bases = &f.base;
    f.inf->options.n_bases = 1;
}

/* --- changes --- */

static void stop_now(struct loop_timer *timer)
{
    loop_stop(f.loop);
}

static void changed(void *ctx, struct err *e, struct endpoint *ep)
{
    BUG_ON(loop_current() != f.loop || (e && ep));
    f.answers[f.n_answers++] = (struct answer){e, ep};
    if (f.n_answers == f.n_awaited) /* later, to see what comes unasked */
        loop_timer_set(f.loop, &f.stop, clock_mono_ms() + 2, stop_now);
}

static struct endpoint_change change(const char *id, enum task task, const char *body)
{
    struct endpoint_change c = {.loop = f.loop,
                                .id = str_c(id),
                                .task = task,
                                .text = str_c(body),
                                .timeout_ms = 10000,
                                .done = changed};
    if (body)
        BUG_ON(json_parse(f.arena, c.text, &c.body) != NULL);
    return c;
}

static void begin(struct loop_msg *msg)
{
    f.begin();
}

static void run(void (*what)(void), int n_awaited)
{
    forget_answers();
    f.n_awaited = n_awaited;
    f.begin = what;
    f.start.run = begin;
    loop_post(f.loop, &f.start);
    loop_timer_set(f.loop, &f.stop, clock_mono_ms() + 20000, stop_now);
    loop_run(f.loop);
    assert_int_equal(f.n_answers, n_awaited);
}

static struct endpoint_change next;

static void begin_create(void)
{
    inference_create(f.inf, &next);
}

static void begin_update(void)
{
    inference_update(f.inf, &next);
}

static void begin_delete(void)
{
    inference_delete(f.inf, &next);
}

static void create(const char *id, enum task task, const char *body)
{
    next = change(id, task, body);
    run(begin_create, 1);
}

static void update(const char *id, const char *body)
{
    next = change(id, TASK_ANY, body);
    run(begin_update, 1);
}

static void delete (const char *id)
{
    next = change(id, TASK_ANY, NULL);
    run(begin_delete, 1);
}

/* --- expectations --- */

static void expect_printed(const char *want)
{
    if (f.answers[0].err)
        fail_msg("%s", f.answers[0].err->reason);
    struct buf b;
    struct json_out w;
    buf_init(&b, 1 << 16);
    json_out_init(&w, &b);
    inference_render(f.inf, &w, f.answers[0].ep);
    if (!str_eq_c(buf_str(&b), want))
        fail_msg("got %.*s", STR_ARG(buf_str(&b)));
    buf_deinit(&b);
}

static void expect_ok(void)
{
    if (f.answers[0].err)
        fail_msg("%s", f.answers[0].err->reason);
}

static const struct err *expect_err(int status, const char *reason)
{
    const struct err *e = f.answers[0].err;
    assert_non_null(e);
    assert_string_equal(e->reason, reason);
    assert_int_equal(e->status, status);
    return e;
}

static bool found(const char *id)
{
    struct endpoint *ep = inference_find(f.inf, str_c(id));
    endpoint_unref(ep);
    return ep != NULL;
}

static bool stored(const char *id)
{
    struct doc doc;
    struct err *e = store_get(f.store, STORE_ENDPOINT, str_c(id), f.arena, &doc);
    err_free(e);
    return e == NULL;
}

static void expect_nowhere(const char *id)
{
    assert_false(found(id));
    assert_false(stored(id));
}

static void expect_requests(size_t n)
{
    scripted_server_stop(f.server);
    assert_int_equal(scripted_server_requests(f.server), n);
}

#define CHUNKING                                                                                   \
    "\"chunking_settings\":{\"strategy\":\"sentence\",\"max_chunk_size\":250,"                     \
    "\"sentence_overlap\":1}"

static void create_one(void)
{
    static const struct step steps[] = {VECTOR};
    serve(N(steps));
    create("my-ep", TASK_TEXT_EMBEDDING, OPENAI);
    expect_ok();
}

/* --- create --- */

static void created_after_a_probe(void **state)
{
    create_one();
    expect_printed("{\"inference_id\":\"my-ep\",\"task_type\":\"text_embedding\",\"service\":"
                   "\"openai\",\"service_settings\":{\"model_id\":\"m\",\"similarity\":"
                   "\"dot_product\",\"dimensions\":3,\"rate_limit\":{\"requests_per_minute\":"
                   "3000}}," CHUNKING "}");
    expect_requests(1);
    assert_true(
        str_eq_c(scripted_server_body(f.server, 0), "{\"input\":[\"how big\"],\"model\":\"m\"}"));
    assert_true(found("my-ep"));
    struct doc doc;
    assert_null(store_get(f.store, STORE_ENDPOINT, STR("my-ep"), f.arena, &doc));
    assert_int_equal(str_find(doc.body, STR("sk-1")), SIZE_MAX); /* secrets are kept apart */
}

static void the_probe_of_each_task(void **state)
{
    static const struct step chat[] = {ANSWER("{\"choices\":[{\"message\":{\"content\":\"x\"}}]}")};
    serve(N(chat));
    create("chat", TASK_CHAT_COMPLETION, OPENAI);
    expect_ok();
    expect_requests(1);
    assert_true(str_eq_c(scripted_server_body(f.server, 0),
                         "{\"messages\":[{\"content\":\"how big\",\"role\":\"user\"}],\"model\":"
                         "\"m\",\"n\":1,\"stream\":false}"));

    static const struct step rerank[] = {
        ANSWER("{\"results\":[{\"index\":0,\"relevance_score\":1}]}")};
    serve(N(rerank));
    f.base.service = STR("cohere");
    create("rerank", TASK_RERANK,
           "{\"service\":\"cohere\",\"service_settings\":{\"api_key\":\"k\",\"model_id\":\"m\"}}");
    expect_ok();
    expect_requests(1);
    assert_true(str_eq_c(scripted_server_body(f.server, 0),
                         "{\"model\":\"m\",\"query\":\"test query\",\"documents\":[\"how big\"]}"));
}

static void the_probe_can_be_skipped(void **state)
{
    f.inf->options.skip_probe = true;
    create("my-ep", TASK_TEXT_EMBEDDING, OPENAI);
    expect_ok();
    assert_true(found("my-ep"));
}

static void the_probe_fails(void **state)
{
    static const struct step steps[] = {REFUSED};
    serve(N(steps));
    create("my-ep", TASK_TEXT_EMBEDDING, OPENAI);
    const struct err *e = expect_err(400, "Could not complete inference endpoint creation as "
                                          "validation call to service threw an exception.");
    assert_non_null(e->cause);
    assert_int_equal(e->cause->status, 401);
    assert_non_null(strstr(e->cause->reason, "[bad key]"));
    expect_nowhere("my-ep");
}

static void other_dimensions_than_asked_for(void **state)
{
    static const struct step steps[] = {VECTOR};
    serve(N(steps));
    create("my-ep", TASK_TEXT_EMBEDDING,
           "{\"service\":\"openai\",\"service_settings\":{\"api_key\":\"k\",\"model_id\":\"m\","
           "\"dimensions\":4}}");
    expect_err(400, "The retrieved embeddings size [3] does not match the size specified in the "
                    "settings [4]. Please recreate the [my-ep] configuration with the correct "
                    "dimensions");
    expect_nowhere("my-ep");
}

static void created_twice(void **state)
{
    static const struct step steps[] = {VECTOR};
    create_one();
    serve(N(steps));
    create("my-ep", TASK_TEXT_EMBEDDING, OPENAI);
    const struct err *e = expect_err(400, "Inference endpoint [my-ep] already exists");
    assert_string_equal(err_type(e), "resource_already_exists_exception");
    expect_requests(1); /* the probe comes first, as in Elasticsearch */
    assert_true(found("my-ep"));
}

static void refused_before_anything_is_sent(void **state)
{
    static const struct {
        const char *id, *body, *reason;
        enum task task;
    } cases[] = {
        {"My Id", OPENAI,
         "Validation Failed: 1: Invalid inference_id; 'My Id' can contain lowercase alphanumeric "
         "(a-z and 0-9), hyphens or underscores; must start and end with alphanumeric;",
         TASK_TEXT_EMBEDDING},
        {"x", OPENAI, "model is missing required setting [task_type]", TASK_ANY},
        {"x", "{\"task_type\":\"any\"}", "task_type [any] is not valid type for inference",
         TASK_ANY},
        {"x", "{\"task_type\":\"foo\"}", "Unknown task_type [foo]", TASK_ANY},
        {"x", "{\"task_type\":7}",
         "field [task_type] is not of the expected type. The value [7] cannot be converted to a "
         "[String]",
         TASK_RERANK},
        {"x", "{\"task_type\":\"completion\"}",
         "Cannot resolve conflicting task_type parameter in the request URL [rerank] and the "
         "request body [completion]",
         TASK_RERANK},
        {"x", "{\"task_type\":\"RERANK\"}",
         "Inference endpoint configuration is missing the [service] setting", TASK_RERANK},
        {"x", "{\"service\":null}",
         "Inference endpoint configuration is missing the [service] setting", TASK_RERANK},
        {"x", "{\"service\":\"foo\"}", "Unknown service [foo]", TASK_RERANK},
        {"x", "{\"service\":\"openai\"}",
         "The [openai] service does not support task type [rerank]", TASK_RERANK},
        {"x", "{\"service\":\"openai\"}", "Missing required field [service_settings]",
         TASK_COMPLETION},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        create(cases[i].id, cases[i].task, cases[i].body);
        expect_err(400, cases[i].reason);
        expect_nowhere(cases[i].id);
    }
}

/* --- update --- */

static void updated_after_another_probe(void **state)
{
    static const struct step steps[] = {VECTOR};
    create_one();
    serve(N(steps));
    update("my-ep",
           "{\"service_settings\":{\"api_key\":\"sk-2\"},\"task_settings\":{\"user\":\"u\"}}");
    expect_printed("{\"inference_id\":\"my-ep\",\"task_type\":\"text_embedding\",\"service\":"
                   "\"openai\",\"service_settings\":{\"model_id\":\"m\",\"similarity\":"
                   "\"dot_product\",\"dimensions\":3,\"rate_limit\":{\"requests_per_minute\":"
                   "3000}},\"task_settings\":{\"user\":\"u\"}," CHUNKING "}");
    expect_requests(1);
    struct str head = scripted_server_head(f.server, 0);
    assert_true(str_find(head, STR("Authorization: Bearer sk-2\r\n")) != SIZE_MAX);
}

static void an_update_that_fails_changes_nothing(void **state)
{
    static const struct step steps[] = {REFUSED};
    create_one();
    struct endpoint *before = inference_find(f.inf, STR("my-ep"));
    serve(N(steps));
    update("my-ep", "{\"service_settings\":{\"api_key\":\"sk-2\"}}");
    assert_non_null(f.answers[0].err);
    struct endpoint *after = inference_find(f.inf, STR("my-ep"));
    assert_ptr_equal(before, after);
    endpoint_unref(before);
    endpoint_unref(after);
}

static void an_update_that_says_nothing_new(void **state)
{
    create_one();
    serve(NULL, 0);
    update("my-ep", "{\"service_settings\":{\"api_key\":\"sk-1\"}}");
    expect_ok();
    assert_non_null(f.answers[0].ep);
}

static void updates_refused(void **state)
{
    create_one();
    update("nope", "{}");
    expect_err(404, "The inference endpoint [nope] does not exist and cannot be updated");
    update("my-ep", NULL);
    expect_err(400, "Request body is empty");
    update("my-ep", "{\"task_type\":\"completion\",\"service_settings\":{\"api_key\":\"x\"}}");
    expect_err(400, "Task type must match the task type of the existing endpoint");
    update("my-ep", "{\"service\":\"cohere\"}");
    expect_err(400, "Request contained fields which cannot be updated, remove these fields and try "
                    "again [{service=cohere}]");
    next = change("my-ep", TASK_COMPLETION, "{\"service_settings\":{\"api_key\":\"x\"}}");
    run(begin_update, 1);
    expect_err(400, "Task type must match the task type of the existing endpoint");
}

/* Somebody else wrote to the store: what was updated here is not what is there. */
static void changed_behind_our_back(void **state)
{
    static const struct step steps[] = {VECTOR};
    struct doc doc;
    create_one();
    assert_null(store_get(f.store, STORE_ENDPOINT, STR("my-ep"), f.arena, &doc));
    assert_null(store_put(f.store, STORE_ENDPOINT, STR("my-ep"), doc.body, STORE_ANY_REV, NULL));
    serve(N(steps));
    update("my-ep", "{\"service_settings\":{\"api_key\":\"sk-2\"}}");
    assert_non_null(f.answers[0].err);
    assert_int_equal(f.answers[0].err->kind, ERR_CONFLICT);
    assert_int_equal(f.answers[0].err->status, 409);
}

/* --- delete --- */

static void deleted_and_made_again(void **state)
{
    create_one();
    delete ("my-ep");
    expect_ok();
    assert_null(f.answers[0].ep);
    expect_nowhere("my-ep");
    struct doc doc;
    struct err *e = store_get(f.store, STORE_SECRET, STR("my-ep"), f.arena, &doc);
    assert_non_null(e);
    err_free(e);
    create_one();
    assert_true(stored("my-ep"));
}

static void deletes_refused(void **state)
{
    create_one();
    delete ("nope");
    assert_string_equal(err_type(expect_err(404, "Inference endpoint not found [nope]")),
                        "resource_not_found_exception");
    next = change("my-ep", TASK_RERANK, NULL);
    run(begin_delete, 1);
    expect_err(400, "Requested task type [rerank] does not match the inference endpoint's task "
                    "type [text_embedding]");
    next = change("my-ep", TASK_ANY, NULL);
    next.dry_run = true;
    run(begin_delete, 1);
    expect_ok();
    assert_true(found("my-ep"));
    assert_true(stored("my-ep"));
}

/* --- two at once --- */

static void begin_two_creates(void)
{
    inference_create(f.inf, &next);
    inference_create(f.inf, &next);
}

static void one_create_at_a_time(void **state)
{
    static const struct step steps[] = {VECTOR};
    serve(N(steps));
    next = change("my-ep", TASK_TEXT_EMBEDDING, OPENAI);
    run(begin_two_creates, 2);
    expect_err(409, "Endpoint [my-ep] is currently being updated. Try again once the update "
                    "completes");
    assert_null(f.answers[1].err);
    assert_true(found("my-ep"));
}

static void begin_update_and_delete(void)
{
    inference_update(f.inf, &next);
    inference_delete(f.inf, &next);
}

static void no_delete_during_an_update(void **state)
{
    static const struct step steps[] = {VECTOR};
    create_one();
    serve(N(steps));
    next = change("my-ep", TASK_ANY, "{\"service_settings\":{\"api_key\":\"sk-2\"}}");
    run(begin_update_and_delete, 2);
    expect_err(409, "Model is currently being updated, you may delete the model once the update "
                    "completes");
    assert_null(f.answers[1].err);
    assert_true(stored("my-ep"));
}

/* --- local models --- */

#define LOCAL_PRINTED(allocations)                                                                 \
    "{\"inference_id\":\"my-e5\",\"task_type\":\"text_embedding\",\"service\":\"elasticsearch\","  \
    "\"service_settings\":{\"num_allocations\":" allocations                                       \
    ",\"num_threads\":2,\"model_id\":\"e5\",\"dimensions\":384,\"similarity\":\"cosine\","         \
    "\"element_type\":\"float\"}," CHUNKING "}"

static void local_is_deployed(void **state)
{
    create("my-e5", TASK_TEXT_EMBEDDING, LOCAL);
    expect_printed(LOCAL_PRINTED("1"));
    assert_string_equal(f.models.id, "my-e5");
    assert_string_equal(f.models.model_id, "e5");
    assert_int_equal(f.models.num_threads, 2);
    assert_int_equal(f.models.starts, 1);
    assert_true(stored("my-e5"));
    create("my-e5", TASK_TEXT_EMBEDDING, LOCAL);
    expect_err(400, "Inference endpoint IDs must be unique. Requested inference endpoint ID "
                    "[my-e5] matches existing trained model ID(s) but must not.");
    assert_true(f.models.deployed);
}

static void local_cannot_be_deployed(void **state)
{
    f.models.start_fails = true;
    create("my-e5", TASK_TEXT_EMBEDDING, LOCAL);
    expect_err(500, "no such weights");
    assert_int_equal(f.models.stops, 1);
    expect_nowhere("my-e5");

    f.models.find_fails = true;
    create("my-e5", TASK_TEXT_EMBEDDING, LOCAL);
    expect_err(404, "No known trained model with model_id [e5]");

    f.models.find_fails = false;
    f.models.tasks = TASK_BIT(TASK_RERANK);
    create("my-e5", TASK_TEXT_EMBEDDING, LOCAL);
    expect_err(400, "Deployed model [e5] with type [rerank] does not match the requested task type "
                    "[text_embedding]");
    assert_int_equal(f.models.starts, 1);
}

static void release(struct loop_timer *timer)
{
    if (f.models.held)
        fake_models_started(&f.models, NULL);
    else /* not asked to start yet */
        loop_timer_set(f.loop, &f.tick, clock_mono_ms() + 1, release);
}

/* The endpoint stays, and its deployment goes on starting. */
static void local_is_not_ready_in_time(void **state)
{
    f.models.start_held = true;
    next = change("my-e5", TASK_TEXT_EMBEDDING, LOCAL);
    next.timeout_ms = 4;
    run(begin_create, 1);
    const struct err *e = expect_err(
        408, "Timed out after [0s] waiting for trained model deployment [my-e5] to start. Use the "
             "trained model stats API to track the state of the deployment and try again once it "
             "has started.");
    assert_string_equal(err_type(e), "model_deployment_timeout_exception");
    assert_true(found("my-e5"));
    assert_true(stored("my-e5"));
    fake_models_started(&f.models, NULL);
    assert_int_equal(f.models.stops, 0);
}

static void begin_held_create_soon(void)
{
    inference_create(f.inf, &next);
    loop_timer_set(f.loop, &f.tick, 0, release);
}

static void local_is_ready_in_time(void **state)
{
    f.models.start_held = true;
    next = change("my-e5", TASK_TEXT_EMBEDDING, LOCAL);
    run(begin_held_create_soon, 1);
    expect_printed(LOCAL_PRINTED("1"));
}

static void local_is_scaled(void **state)
{
    create("my-e5", TASK_TEXT_EMBEDDING, LOCAL);
    expect_ok();
    update("my-e5", "{\"service_settings\":{\"num_allocations\":3}}");
    expect_printed(LOCAL_PRINTED("3"));
    assert_int_equal(f.models.num_allocations, 3);
    f.models.deployed = false;
    update("my-e5", "{\"service_settings\":{\"num_allocations\":4}}");
    expect_err(404, "Requested model ID [my-e5] does not have a matching trained model and thus "
                    "cannot be updated.");
}

static void local_is_stopped_when_deleted(void **state)
{
    create("my-e5", TASK_TEXT_EMBEDDING, LOCAL);
    expect_ok();
    delete ("my-e5");
    expect_ok();
    assert_int_equal(f.models.stops, 1);
    assert_false(f.models.deployed);
    expect_nowhere("my-e5");
}

/* --- a restart --- */

static void nothing(void)
{
    loop_timer_set(f.loop, &f.stop, clock_mono_ms() + 2, stop_now);
}

static void everything_is_back_after_a_restart(void **state)
{
    create("my-e5", TASK_TEXT_EMBEDDING, LOCAL);
    expect_ok();
    create_one();
    forget_answers();
    stop_inference();
    f.models = (struct models){.tasks = TASK_BIT(TASK_TEXT_EMBEDDING), .dimensions = 384};
    assert_null(
        store_put(f.store, STORE_ENDPOINT, STR("broken"), STR("{\"service\":\"gone\"}"), 0, NULL));
    start_inference();
    assert_null(inference_load(f.inf));
    run(nothing, 0);
    assert_true(found("my-ep"));
    assert_true(found("my-e5"));
    assert_false(found("broken"));
    assert_true(stored("broken")); /* left out, not dropped */
    assert_int_equal(f.models.starts, 1);
    assert_string_equal(f.models.id, "my-e5");

    static const struct step steps[] = {VECTOR};
    serve(N(steps));
    update("my-ep", "{\"task_settings\":{\"user\":\"u\"}}");
    expect_ok();
    expect_requests(1);
    assert_true(str_find(scripted_server_head(f.server, 0), STR("Bearer sk-1\r\n")) != SIZE_MAX);
    assert_true(str_find(scripted_server_body(f.server, 0), STR("dimensions")) == SIZE_MAX);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(created_after_a_probe),
        TEST(the_probe_of_each_task),
        TEST(the_probe_can_be_skipped),
        TEST(the_probe_fails),
        TEST(other_dimensions_than_asked_for),
        TEST(created_twice),
        TEST(refused_before_anything_is_sent),
        TEST(updated_after_another_probe),
        TEST(an_update_that_fails_changes_nothing),
        TEST(an_update_that_says_nothing_new),
        TEST(updates_refused),
        TEST(changed_behind_our_back),
        TEST(deleted_and_made_again),
        TEST(deletes_refused),
        TEST(one_create_at_a_time),
        TEST(no_delete_during_an_update),
        TEST(local_is_deployed),
        TEST(local_cannot_be_deployed),
        TEST(local_is_not_ready_in_time),
        TEST(local_is_ready_in_time),
        TEST(local_is_scaled),
        TEST(local_is_stopped_when_deleted),
        TEST(everything_is_back_after_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
