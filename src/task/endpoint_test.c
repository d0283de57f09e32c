/* Endpoints: printed, stored and read back, updated, overridden by a call, copied. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "endpoint.h"
#include "test_tables.h"

#define LIMIT ((size_t)1 << 20)

static const struct json *parse(struct arena *a, const char *text)
{
    const struct json *root;
    struct err *e = json_parse(a, str_c(text), &root);
    if (e)
        fail_msg("%s: %s", text, e->reason);
    return root;
}

static struct endpoint *make(struct arena *a, const struct settings_table *table, enum task task,
                             const char *body)
{
    struct endpoint *ep;
    struct err *e = endpoint_parse(table, table == &remote_table ? 3000 : 0, STR("my-id"), task,
                                   parse(a, body), &ep);
    if (e)
        fail_msg("%s: %s", body, e->reason);
    return ep;
}

static const char *render(struct arena *a, const struct endpoint *ep, int64_t live)
{
    struct buf b;
    struct json_out w;
    buf_init(&b, LIMIT);
    json_out_init(&w, &b);
    if (live == -1)
        endpoint_render(&w, ep);
    else
        endpoint_render_live(&w, ep, live);
    const char *text = arena_cstr(a, buf_str(&b));
    buf_deinit(&b);
    return text;
}

static void store(struct arena *a, const struct endpoint *ep, struct str *public_out,
                  struct str *secret_out)
{
    struct buf public_json, secret_json;
    buf_init(&public_json, LIMIT);
    buf_init(&secret_json, LIMIT);
    endpoint_to_store(ep, &public_json, &secret_json);
    *public_out = arena_dup(a, buf_str(&public_json));
    *secret_out = arena_dup(a, buf_str(&secret_json));
    buf_deinit(&public_json);
    buf_deinit(&secret_json);
}

#define REMOTE_BODY                                                                                \
    "{\"service\":\"openai\",\"task_type\":\"text_embedding\",\"service_settings\":{"              \
    "\"api_key\":\"s\\u00e9\\\"cret\",\"model_id\":\"m\",\"dimensions\":3},"                       \
    "\"task_settings\":{\"user\":\"u\",\"headers\":{\"a\":\"b\"},\"temperature\":1},"              \
    "\"chunking_settings\":{\"strategy\":\"recursive\",\"max_chunk_size\":25,"                     \
    "\"separators\":[\"\\n\",\"x\"]}}"

#define REMOTE_SHOWN                                                                               \
    "{\"inference_id\":\"my-id\",\"task_type\":\"text_embedding\",\"service\":\"openai\","         \
    "\"service_settings\":{\"model_id\":\"m\",\"dimensions\":3,\"rate_limit\":"                    \
    "{\"requests_per_minute\":3000}},\"task_settings\":{\"user\":\"u\",\"headers\":{\"a\":\"b\"}," \
    "\"temperature\":1.0},\"chunking_settings\":{\"strategy\":\"recursive\","                      \
    "\"max_chunk_size\":25,\"separators\":[\"\\n\",\"x\"]}}"

static void test_render(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct endpoint *ep = make(a, &remote_table, TASK_TEXT_EMBEDDING, REMOTE_BODY);
    assert_string_equal(render(a, ep, -1), REMOTE_SHOWN);
    endpoint_unref(ep);
    ep = make(a, &remote_table, TASK_COMPLETION,
              "{\"service_settings\":{\"api_key\":\"k\",\"model_id\":\"m\"},\"task_settings\":{}}");
    assert_string_equal(render(a, ep, -1),
                        "{\"inference_id\":\"my-id\",\"task_type\":\"completion\",\"service\":"
                        "\"openai\",\"service_settings\":{\"model_id\":\"m\",\"rate_limit\":"
                        "{\"requests_per_minute\":3000}}}");
    endpoint_unref(ep);
    arena_free(a);
}

static void test_render_live(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct endpoint *ep = make(a, &local_table, TASK_TEXT_EMBEDDING,
                               "{\"service_settings\":{\"model_id\":\".e5\",\"num_threads\":1,"
                               "\"adaptive_allocations\":{\"enabled\":true}}}");
#define HEAD                                                                                       \
    "{\"inference_id\":\"my-id\",\"task_type\":\"text_embedding\",\"service\":\"elasticsearch\","  \
    "\"service_settings\":{"
#define TAIL                                                                                       \
    "\"num_threads\":1,\"model_id\":\".e5\",\"adaptive_allocations\":{\"enabled\":true}},"         \
    "\"chunking_settings\":{\"strategy\":\"sentence\",\"max_chunk_size\":250,"                     \
    "\"sentence_overlap\":1}}"
    assert_string_equal(render(a, ep, -1), HEAD TAIL);
    assert_string_equal(render(a, ep, 7), HEAD "\"num_allocations\":7," TAIL);
    endpoint_unref(ep);
    arena_free(a);
}

/* What was stored reads back the same: settings, who gave them, secrets, chunking. */
static void test_store(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct endpoint *ep = make(a, &remote_table, TASK_TEXT_EMBEDDING, REMOTE_BODY), *back;
    struct str public_json, secret_json, public_again, secret_again, service;
    enum task task;
    store(a, ep, &public_json, &secret_json);
    assert_int_equal(str_find(public_json, STR("cret")), SIZE_MAX);
    assert_true(str_eq(secret_json, STR("{\"api_key\":\"s\xC3\xA9\\\"cret\"}")));
    assert_null(endpoint_peek_store(a, public_json, &service, &task));
    assert_true(str_eq(service, STR("openai")));
    assert_int_equal(task, TASK_TEXT_EMBEDDING);
    assert_null(
        endpoint_from_store(&remote_table, 500, STR("my-id"), public_json, secret_json, &back));
    assert_string_equal(render(a, back, -1), REMOTE_SHOWN);
    assert_true(back->values.v[R_DIM].by_user);
    assert_false(back->values.v[R_RATE].by_user);
    assert_true(str_eq(back->values.v[R_HIDDEN].s, STR("v2")));
    assert_true(str_eq(secret_reveal(back->values.v[R_KEY].secret), STR("s\xC3\xA9\"cret")));
    store(a, back, &public_again, &secret_again);
    assert_true(str_eq(public_json, public_again));
    assert_true(str_eq(secret_json, secret_again));
    endpoint_unref(ep);
    endpoint_unref(back);
    arena_free(a);
}

static void test_store_secret_map(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct endpoint *ep = make(a, &keys_table, TASK_RERANK,
                               "{\"service_settings\":{\"access_key\":\"a\",\"secret_key\":\"b\","
                               "\"secret_parameters\":{ \"k\" : \"v\" }}}");
    struct endpoint *back;
    struct str public_json, secret_json;
    store(a, ep, &public_json, &secret_json);
    assert_true(str_eq(secret_json, STR("{\"access_key\":\"a\",\"secret_key\":\"b\","
                                        "\"secret_parameters\":{\"k\":\"v\"}}")));
    assert_null(endpoint_from_store(&keys_table, 0, STR("my-id"), public_json, secret_json, &back));
    assert_true(str_eq(secret_reveal(back->values.v[K_MAP].secret), STR("{\"k\":\"v\"}")));
    endpoint_unref(ep);
    endpoint_unref(back);
    arena_free(a);
}

/* Written by a version that knew other settings. */
static void test_store_of_other_version(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct endpoint *ep;
    assert_null(
        endpoint_from_store(&remote_table, 500, STR("x"),
                            STR("{\"service\":\"openai\",\"task_type\":\"completion\",\"new\":1,"
                                "\"service_settings\":{\"gone\":1,\"model_id\":\"m\"}}"),
                            STR("{\"api_key\":\"k\",\"gone\":\"s\"}"), &ep));
    assert_string_equal(render(a, ep, -1),
                        "{\"inference_id\":\"x\",\"task_type\":\"completion\",\"service\":"
                        "\"openai\",\"service_settings\":{\"model_id\":\"m\",\"rate_limit\":"
                        "{\"requests_per_minute\":500}}}");
    endpoint_unref(ep);
    arena_free(a);
}

static void test_store_broken(void **state)
{
    static const char *const broken[][2] = {
        {"{", "{}"},
        {"{}", "{}"},
        {"{\"service\":\"openai\",\"task_type\":\"any\"}", "{}"},
        {"{\"service\":\"openai\",\"task_type\":\"completion\"}", "{}"},
        {"{\"service\":\"openai\",\"task_type\":\"completion\"}", "x"},
        {"{\"service\":\"openai\",\"task_type\":\"completion\",\"service_settings\":{\"model_id\":"
         "1}}",
         "{\"api_key\":\"k\"}"},
    };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        struct endpoint *ep = NULL;
        struct err *e = endpoint_from_store(&remote_table, 500, STR("x"), str_c(broken[i][0]),
                                            str_c(broken[i][1]), &ep);
        assert_non_null(e);
        assert_null(ep);
        assert_int_equal(e->status, 500);
        assert_string_equal(e->reason,
                            "Failed to load inference endpoint [x]. Endpoint is in an invalid "
                            "state, try deleting and reinitializing the service");
        assert_non_null(e->cause);
        err_free(e);
    }
}

/* --- _update --- */

struct update {
    const struct settings_table *table;
    enum task task;
    const char *stored, *body;
    const char *shown;  /* a part of what is printed afterwards; NULL: refused */
    const char *reason; /* when refused */
    int status;
    bool changed;
};

#define R_STORED                                                                                   \
    "{\"service_settings\":{\"api_key\":\"k\",\"model_id\":\"m\"},\"task_settings\":{\"user\":"    \
    "\"u\"}}"
#define L_STORED                                                                                   \
    "{\"service_settings\":{\"model_id\":\"m\",\"num_threads\":1,\"num_allocations\":1}}"
#define L_ADAPTIVE_STORED                                                                          \
    "{\"service_settings\":{\"model_id\":\"m\",\"num_threads\":1,\"adaptive_allocations\":"        \
    "{\"enabled\":true,\"min_number_of_allocations\":1,\"max_number_of_allocations\":4}}}"
#define K_STORED "{\"service_settings\":{\"access_key\":\"a\",\"secret_key\":\"b\"}}"
#define REMOTE   &remote_table, TASK_TEXT_EMBEDDING, R_STORED
#define LOCAL_TE &local_table, TASK_TEXT_EMBEDDING, L_STORED
#define ADAPTIVE &local_table, TASK_TEXT_EMBEDDING, L_ADAPTIVE_STORED
#define KEYS     &keys_table, TASK_RERANK, K_STORED
#define CANNOT                                                                                     \
    "Request contained fields which cannot be updated, remove these fields and try again "

static const struct update updates[] = {
    {REMOTE, "{\"service_settings\":{\"api_key\":\"k\"}}", "\"model_id\":\"m\"", NULL, 0, false},
    {REMOTE, "{\"service_settings\":{\"api_key\":\"new\"}}", "\"model_id\":\"m\"", NULL, 0, true},
    {REMOTE, "{\"service_settings\":{\"rate_limit\":{\"requests_per_minute\":7}}}",
     "\"rate_limit\":{\"requests_per_minute\":7}", NULL, 0, true},
    {REMOTE, "{\"service_settings\":{\"rate_limit\":{\"requests_per_minute\":3000}}}",
     "\"requests_per_minute\":3000", NULL, 0, false},
    {REMOTE, "{\"service_settings\":{\"max_input_tokens\":9},\"task_type\":\"TEXT_embedding\"}",
     "\"max_input_tokens\":9", NULL, 0, true},
    {REMOTE, "{\"task_settings\":{\"temperature\":0.5,\"user\":null}}",
     "\"task_settings\":{\"user\":\"u\",\"temperature\":0.5}", NULL, 0, true},
    {REMOTE, "{\"service\":\"openai\",\"task_settings\":{\"temperature\":0.5}}",
     "\"temperature\":0.5", NULL, 0, true},
    {LOCAL_TE, "{\"service_settings\":{\"num_allocations\":3}}", "\"num_allocations\":3", NULL, 0,
     true},
    {LOCAL_TE, "{\"service_settings\":{\"num_allocations\":1}}", "\"num_allocations\":1", NULL, 0,
     false},
    {ADAPTIVE,
     "{\"service_settings\":{\"adaptive_allocations\":{\"max_number_of_allocations\":9}}}",
     "\"adaptive_allocations\":{\"enabled\":true,\"min_number_of_allocations\":1,"
     "\"max_number_of_allocations\":9}",
     NULL, 0, true},
    {ADAPTIVE,
     "{\"service_settings\":{\"adaptive_allocations\":{\"enabled\":false,"
     "\"min_number_of_allocations\":null}}}",
     "\"adaptive_allocations\":{\"enabled\":false,\"max_number_of_allocations\":4}", NULL, 0, true},
    {ADAPTIVE, "{\"service_settings\":{\"adaptive_allocations\":null,\"num_allocations\":2}}",
     "{\"num_allocations\":2,\"num_threads\":1,\"model_id\":\"m\"}", NULL, 0, true},
    {KEYS, "{\"service_settings\":{\"access_key\":\"x\",\"secret_key\":\"y\"}}",
     "\"service_settings\":{}", NULL, 0, true},

    {REMOTE, "{}", NULL, "Request body is empty", 400, false},
    {REMOTE, "{\"chunking_settings\":{\"strategy\":\"none\"},\"service\":\"x\"}", NULL,
     CANNOT "[{chunking_settings={strategy=none}, service=x}]", 400, false},
    {REMOTE, "{\"service_settings\":{\"model_id\":\"x\",\"api_key\":\"secret\"}}", NULL,
     CANNOT "[{model_id=x}]", 400, false},
    {REMOTE, "{\"service_settings\":{\"dimensions_set_by_user\":true}}", NULL,
     CANNOT "[{dimensions_set_by_user=true}]", 400, false},
    {REMOTE, "{\"service_settings\":[1]}", NULL,
     "Unable to parse service settings in the request [{service_settings=[1]}]", 400, false},
    {REMOTE, "{\"task_settings\":\"x\"}", NULL,
     "Unable to parse task settings in the request [{task_settings=x}]", 400, false},
    {REMOTE, "{\"task_type\":1}", NULL,
     "Failed to parse [task_type] in update request [{task_type=1}]", 500, false},
    {REMOTE, "{\"task_type\":\"rerank\"}", NULL,
     "Task type must match the task type of the existing endpoint", 400, false},
    {REMOTE, "{\"task_type\":\"foo\"}", NULL, "Unknown task_type [foo]", 400, false},
    {REMOTE, "{\"task_settings\":{\"foo\":\"bar\"}}", NULL,
     "Configuration contains settings [{foo=bar}] unknown to the [openai] service", 400, false},
    {REMOTE, "{\"task_settings\":{\"temperature\":5}}", NULL,
     "Validation Failed: 1: [task_settings] Invalid value [5.0]. [temperature] must be a less than "
     "or equal to [2.0];",
     400, false},
    {REMOTE, "{\"service_settings\":{\"api_key\":\"\"}}", NULL,
     "Validation Failed: 1: [secret_settings] Invalid value empty string. [api_key] must be a "
     "non-empty string;",
     400, false},
    {LOCAL_TE, "{\"service_settings\":{\"num_threads\":3}}", NULL, CANNOT "[{num_threads=3}]", 400,
     false},
    {LOCAL_TE, "{\"service_settings\":{\"num_allocations\":0}}", NULL,
     "Validation Failed: 1: [service_settings] Invalid value [0]. [num_allocations] must be a "
     "positive integer;",
     400, false},
    {KEYS, "{\"service_settings\":{\"access_key\":\"x\"}}", NULL,
     "Validation Failed: 1: [secret_settings] does not contain the required setting [secret_key];",
     400, false},
};

static void test_update(void **state)
{
    for (size_t i = 0; i < sizeof updates / sizeof updates[0]; i++) {
        const struct update *u = &updates[i];
        struct arena *a = arena_new(ARENA_NO_LIMIT);
        struct endpoint *ep = make(a, u->table, u->task, u->stored), *merged = NULL;
        const char *before = render(a, ep, -1);
        bool changed = false;
        ep->rev = 42;
        struct err *e = endpoint_update(ep, parse(a, u->body), &merged, &changed);
        assert_string_equal(render(a, ep, -1), before);
        if (u->reason) {
            if (!e)
                fail_msg("accepted: %s", u->body);
            assert_string_equal(e->reason, u->reason);
            assert_int_equal(e->status, u->status);
            assert_null(merged);
            err_free(e);
        } else {
            if (e)
                fail_msg("%s: %s", u->body, e->reason);
            if (!strstr(render(a, merged, -1), u->shown))
                fail_msg("%s gave %s", u->body, render(a, merged, -1));
            assert_int_equal(changed, u->changed);
            assert_int_equal(merged->rev, 42);
            endpoint_unref(merged);
        }
        endpoint_unref(ep);
        arena_free(a);
    }
}

static void test_update_replaces_secret(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct endpoint *ep = make(a, REMOTE), *merged;
    bool changed;
    assert_null(endpoint_update(ep, parse(a, "{\"service_settings\":{\"api_key\":\"new\"}}"),
                                &merged, &changed));
    assert_true(str_eq(secret_reveal(merged->values.v[R_KEY].secret), STR("new")));
    assert_true(str_eq(secret_reveal(ep->values.v[R_KEY].secret), STR("k")));
    endpoint_unref(ep);
    endpoint_unref(merged);
    arena_free(a);
}

/* --- calls, copies, ids --- */

static void test_call_values(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct endpoint *ep = make(a, REMOTE);
    struct values v;
    assert_null(endpoint_call_values(ep, a, NULL, &v));
    assert_true(str_eq(v.v[R_USER].s, STR("u")));
    assert_true(str_eq(settings_get(&v, "model_id")->s, STR("m")));
    assert_null(endpoint_call_values(ep, a, parse(a, "{\"user\":\"w\",\"top_k\":3}"), &v));
    assert_true(str_eq(v.v[R_USER].s, STR("w")));
    assert_int_equal(v.v[R_TOP].i, 3);
    assert_true(str_eq(ep->values.v[R_USER].s, STR("u")));

    static const char *const bad[][2] = {
        {"{\"foo\":1}",
         "Configuration contains settings [{foo=1}] unknown to the [openai] service"},
        {"{\"model\":\"legacy names are of PUT only\"}",
         "Configuration contains settings [{model=legacy names are of PUT only}] unknown to the "
         "[openai] service"},
        {"{\"user\":1}", "Validation Failed: 1: field [user] is not of the expected type. The "
                         "value [1] cannot be converted to a [String];"},
        {"[]", "Validation Failed: 1: field [task_settings] is not of the expected type. The value "
               "[[]] cannot be converted to a [Map];"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err *e = endpoint_call_values(ep, a, parse(a, bad[i][0]), &v);
        assert_non_null(e);
        assert_string_equal(e->reason, bad[i][1]);
        err_free(e);
    }
    endpoint_unref(ep);
    arena_free(a);
}

/* Dimensions that the caller gave stay the caller's: only those are sent upstream. */
static void test_with_dimensions(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct endpoint *ep = make(a, REMOTE);
    struct endpoint *measured = endpoint_with_dimensions(ep, 384, "cosine");
    assert_int_equal(measured->values.v[R_DIM].i, 384);
    assert_false(measured->values.v[R_DIM].by_user);
    assert_true(str_eq(measured->values.v[R_SIM].s, STR("cosine")));
    assert_false(ep->values.v[R_DIM].set);

    struct str public_json, secret_json;
    struct endpoint *back;
    store(a, measured, &public_json, &secret_json);
    assert_null(
        endpoint_from_store(&remote_table, 9, STR("my-id"), public_json, secret_json, &back));
    assert_int_equal(back->values.v[R_DIM].i, 384);
    assert_false(back->values.v[R_DIM].by_user);
    endpoint_unref(ep);
    endpoint_unref(measured);
    endpoint_unref(back);

    ep = make(a, &remote_table, TASK_TEXT_EMBEDDING, REMOTE_BODY);
    measured = endpoint_with_dimensions(ep, 3, NULL);
    assert_true(measured->values.v[R_DIM].by_user);
    assert_false(measured->values.v[R_SIM].set);
    endpoint_unref(ep);
    endpoint_unref(measured);
    arena_free(a);
}

static void count_free(struct endpoint *ep)
{
    assert_non_null(ep->values.v);
    ++*(int *)ep->group;
}

/* on_free runs once, with the last reference, and is no copy's. */
static void test_on_free(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    int freed = 0;
    struct endpoint *ep = make(a, REMOTE);
    ep->group = &freed;
    ep->on_free = count_free;
    endpoint_unref(endpoint_clone(ep));
    endpoint_unref(endpoint_ref(ep));
    assert_int_equal(freed, 0);
    endpoint_unref(ep);
    assert_int_equal(freed, 1);
    arena_free(a);
}

/* A clone stands on its own memory. */
static void test_clone(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct endpoint *ep = make(a, &remote_table, TASK_TEXT_EMBEDDING, REMOTE_BODY);
    assert_ptr_equal(endpoint_ref(ep), ep);
    endpoint_unref(ep);
    struct endpoint *copy = endpoint_clone(ep);
    endpoint_unref(ep);
    assert_string_equal(render(a, copy, -1), REMOTE_SHOWN);
    assert_true(str_eq(secret_reveal(copy->values.v[R_KEY].secret), STR("s\xC3\xA9\"cret")));
    endpoint_unref(copy);
    endpoint_unref(NULL);
    arena_free(a);
}

static void test_ids(void **state)
{
    static const char *const good[] = {"a", "0", "my-e5_v1.2", "a.b"};
    static const char *const bad[] = {"", "My Id", "-a", "a-", ".elser", "a/b", "\xC3\xA9"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_null(endpoint_id_check(str_c(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err *e = endpoint_id_check(str_c(bad[i]));
        assert_non_null(e);
        assert_string_equal(err_type(e), "action_request_validation_exception");
        if (i == 1)
            assert_string_equal(e->reason,
                                "Validation Failed: 1: Invalid inference_id; 'My Id' can contain "
                                "lowercase alphanumeric (a-z and 0-9), hyphens or underscores; "
                                "must start and end with alphanumeric;");
        err_free(e);
    }
}

static void test_tasks(void **state)
{
    enum task task;
    enum input_type type;
    assert_true(task_parse(STR(" TEXT_Embedding "), &task));
    assert_int_equal(task, TASK_TEXT_EMBEDDING);
    assert_true(task_parse(STR("any"), &task));
    assert_false(task_parse(STR("embedding"), &task));
    assert_string_equal(task_name(TASK_CHAT_COMPLETION), "chat_completion");
    assert_true(input_type_parse(STR("Search"), &type));
    assert_string_equal(input_type_name(type), "search");
    assert_false(input_type_parse(STR("internal_search"), &type));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tasks),
        cmocka_unit_test(test_render),
        cmocka_unit_test(test_render_live),
        cmocka_unit_test(test_store),
        cmocka_unit_test(test_store_secret_map),
        cmocka_unit_test(test_store_of_other_version),
        cmocka_unit_test(test_store_broken),
        cmocka_unit_test(test_update),
        cmocka_unit_test(test_update_replaces_secret),
        cmocka_unit_test(test_call_values),
        cmocka_unit_test(test_with_dimensions),
        cmocka_unit_test(test_clone),
        cmocka_unit_test(test_on_free),
        cmocka_unit_test(test_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
