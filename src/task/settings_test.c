/* What a settings object may say, what comes of it, and the words for what it may not say. Texts
 * are those of the shared facts, inference.md 7.2. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "endpoint.h"
#include "settings_private.h"
#include "test_tables.h"

struct refused {
    const struct settings_table *table;
    enum task task;
    const char *body, *reason;
};

#define VF             "Validation Failed: "
#define KEY            "\"api_key\":\"k\""
#define SETTINGS(text) "{\"service_settings\":{" KEY ",\"model_id\":\"m\"" text "}}"
#define TASK_SETTINGS(text)                                                                        \
    "{\"service_settings\":{" KEY ",\"model_id\":\"m\"},\"task_settings\":{" text "}}"
#define LOCAL(text) "{\"service_settings\":{\"model_id\":\"m\"" text "}}"
#define REMOTE      &remote_table, TASK_TEXT_EMBEDDING
#define LOCAL_TE    &local_table, TASK_TEXT_EMBEDDING

static const struct refused refused[] = {
    {REMOTE, "{}", "Missing required field [service_settings]"},
    {REMOTE, "{\"service_settings\":null}", "Missing required field [service_settings]"},
    {REMOTE, "{\"service_settings\":{" KEY "}}",
     VF "1: [service_settings] does not contain the required setting [model_id];"},
    {REMOTE, "{\"service_settings\":{" KEY ",\"model_id\":null}}",
     VF "1: [service_settings] does not contain the required setting [model_id];"},
    {REMOTE, "{\"service_settings\":{\"model_id\":\"m\"}}",
     VF "1: [secret_settings] does not contain the required setting [api_key];"},
    {REMOTE, "{\"service_settings\":{\"model_id\":\"\",\"api_key\":\"\"}}",
     VF "1: [service_settings] Invalid value empty string. [model_id] must be a non-empty string;"},
    {REMOTE, "{\"service_settings\":{\"model_id\":\"m\",\"api_key\":\"\"}}",
     VF "1: [secret_settings] Invalid value empty string. [api_key] must be a non-empty string;"},
    {REMOTE, "{\"service_settings\":{\"model_id\":\"m\",\"api_key\":12345}}",
     VF "1: field [api_key] is not of the expected type. The value cannot be converted to a "
        "[String];"},
    {REMOTE, "{\"service_settings\":{" KEY ",\"model_id\":5,\"dimensions\":\"x\"}}",
     VF "1: field [model_id] is not of the expected type. The value [5] cannot be converted to a "
        "[String];2: field [dimensions] is not of the expected type. The value [x] cannot be "
        "converted to a [Integer];"},
    {REMOTE, SETTINGS(",\"dimensions\":1.5"),
     VF "1: field [dimensions] is not of the expected type. The value [1.5] cannot be converted to "
        "a [Integer];"},
    {REMOTE, SETTINGS(",\"dimensions\":3000000000"),
     VF "1: field [dimensions] is not of the expected type. The value [3000000000] cannot be "
        "converted to a [Integer];"},
    {REMOTE, SETTINGS(",\"dimensions\":0"),
     VF "1: [service_settings] Invalid value [0]. [dimensions] must be a positive integer;"},
    {REMOTE, SETTINGS(",\"similarity\":\"foo\""),
     VF "1: [service_settings] Invalid value [foo] received. [similarity] must be one of [cosine, "
        "dot_product, l2_norm];"},
    {REMOTE, SETTINGS(",\"embedding_type\":\"foo\""),
     VF "1: [service_settings] Invalid value [foo] received. [embedding_type] must be one of "
        "[binary, bit, byte, float, int8];"},
    {REMOTE, SETTINGS(",\"url\":\"^^\""),
     VF "1: [service_settings] Invalid url [^^] received for field [url]. Error: unable to parse "
        "url [^^]. Reason: Illegal character in path;"},
    {REMOTE, SETTINGS(",\"dimensions_set_by_user\":true"),
     VF "1: [service_settings] does not allow the setting [dimensions_set_by_user];"},
    {REMOTE, SETTINGS(",\"rate_limit\":{\"requests_per_minute\":0}"),
     VF "1: [rate_limit] Invalid value [0]. [requests_per_minute] must be a positive long;"},
    {REMOTE, SETTINGS(",\"rate_limit\":{\"requests_per_minute\":\"x\"}"),
     VF "1: field [requests_per_minute] is not of one of the expected types. The value [x] cannot "
        "be converted to one of [Integer, Long];"},
    {REMOTE, SETTINGS(",\"rate_limit\":{\"burst\":1},\"dimensions\":0"),
     "Configuration contains settings [{burst=1}] unknown to the [openai] service"},
    {REMOTE, SETTINGS(",\"rate_limit\":7"),
     VF "1: field [rate_limit] is not of the expected type. The value [7] cannot be converted to a "
        "[Map];"},
    {REMOTE, SETTINGS(",\"foo\":\"bar\""),
     "Configuration contains settings [{foo=bar}] unknown to the [openai] service"},
    {REMOTE, SETTINGS(",\"a\":{\"b\":[1,2.0,1e-4,\"s\",null,true]},\"c\":{}"),
     "Configuration contains settings [{a={b=[1, 2.0, 1.0E-4, s, null, true]}, c={}}] unknown to "
     "the [openai] service"},
    {REMOTE, TASK_SETTINGS("\"foo\":1"),
     "Configuration contains settings [{foo=1}] unknown to the [openai] service"},
    {REMOTE, "{\"service_settings\":{" KEY ",\"model_id\":\"m\"},\"foo\":\"bar\"}",
     "Configuration contains settings [{foo=bar}] unknown to the [openai] service"},
    {&remote_table, TASK_COMPLETION,
     "{\"service_settings\":{" KEY ",\"model_id\":\"m\"},\"chunking_settings\":{}}",
     "Configuration contains settings [{chunking_settings={}}] unknown to the [openai] service"},
    {&remote_table, TASK_COMPLETION, SETTINGS(",\"dimensions\":3"),
     "Configuration contains settings [{dimensions=3}] unknown to the [openai] service"},
    {&remote_table, TASK_CHAT_COMPLETION, SETTINGS(""),
     VF "1: [service_settings] does not contain the required setting [organization_id];"},
    {REMOTE, "{\"service_settings\":[]}",
     VF "1: field [service_settings] is not of the expected type. The value [[]] cannot be "
        "converted to a [Map];"},
    {REMOTE, "{\"service_settings\":{" KEY ",\"model_id\":\"m\"},\"task_settings\":\"x\"}",
     VF "1: field [task_settings] is not of the expected type. The value [x] cannot be converted "
        "to a [Map];"},
    {REMOTE, TASK_SETTINGS("\"temperature\":3"),
     VF "1: [task_settings] Invalid value [3.0]. [temperature] must be a less than or equal to "
        "[2.0];"},
    {REMOTE, TASK_SETTINGS("\"temperature\":-0.5"),
     VF "1: [task_settings] Invalid value [-0.5]. [temperature] must be a greater than or equal to "
        "[0.0];"},
    {REMOTE, TASK_SETTINGS("\"temperature\":\"x\",\"truncation\":\"true\",\"top_k\":\"y\""),
     VF "1: field [temperature] is not of the expected type. The value [x] cannot be converted to "
        "a [Double];2: field [top_k] is not of one of the expected types. The value [y] cannot be "
        "converted to one of [Integer, Long];3: field [truncation] is not of the expected type. "
        "The value [true] cannot be converted to a [Boolean];"},
    {REMOTE, TASK_SETTINGS("\"top_k\":-5"),
     VF "1: [task_settings] Invalid value [-5]. [top_k] must be a positive long;"},
    {REMOTE, TASK_SETTINGS("\"headers\":{\"key\":1}"),
     VF "1: Map field [headers] has an entry that is not valid, [key => 1]. Value type of [1] is "
        "not one of [String].;"},
    {REMOTE, TASK_SETTINGS("\"headers\":[1]"),
     VF "1: field [headers] is not of the expected type. The value [[1]] cannot be converted to a "
        "[Map];"},
    {REMOTE, TASK_SETTINGS("\"scopes\":[1,2]"),
     VF "1: field [scopes] is not of the expected type. The value [[1, 2]] cannot be converted to "
        "a [List];"},
    {REMOTE, TASK_SETTINGS("\"parameters\":\"x\""),
     VF "1: field [parameters] is not of the expected type. The value [x] cannot be converted to a "
        "[Map];"},
    {LOCAL_TE, LOCAL(",\"num_threads\":1"),
     VF "1: [service_settings] does not contain one of the required settings [num_allocations, "
        "adaptive_allocations];"},
    {LOCAL_TE, LOCAL(""),
     VF "1: [service_settings] does not contain the required setting [num_threads];2: "
        "[service_settings] does not contain one of the required settings [num_allocations, "
        "adaptive_allocations];"},
    {LOCAL_TE, LOCAL(",\"num_threads\":\"x\",\"num_allocations\":1"),
     VF "1: field [num_threads] is not of the expected type. The value [x] cannot be converted to "
        "a [Integer];"},
    {LOCAL_TE, LOCAL(",\"num_threads\":1,\"num_allocations\":1,\"max_batch_size\":300"),
     VF "1: [service_settings] Invalid value [300.0]. [max_batch_size] must be a less than or "
        "equal to [250.0];"},
    {LOCAL_TE, LOCAL(",\"num_threads\":1,\"num_allocations\":1,\"max_batch_size\":0"),
     VF "1: [service_settings] Invalid value [0]. [max_batch_size] must be a positive integer;"},
    {LOCAL_TE,
     LOCAL(",\"num_threads\":1,\"adaptive_allocations\":{\"min_number_of_allocations\":-1,"
           "\"max_number_of_allocations\":0}"),
     VF "1: [min_number_of_allocations] must be a non-negative integer or null;2: "
        "[max_number_of_allocations] must be a positive integer or null;"},
    {LOCAL_TE,
     LOCAL(",\"num_threads\":1,\"adaptive_allocations\":{\"min_number_of_allocations\":3,"
           "\"max_number_of_allocations\":2}"),
     VF "1: [min_number_of_allocations] must not be larger than [max_number_of_allocations];"},
    {LOCAL_TE, LOCAL(",\"num_threads\":1,\"adaptive_allocations\":{\"foo\":1}"),
     VF "1: [adaptive_allocations] does not allow the setting [foo];"},
    {LOCAL_TE, LOCAL(",\"num_threads\":1,\"num_allocations\":1,\"rate_limit\":{}"),
     "Configuration contains settings [{rate_limit={}}] unknown to the [elasticsearch] service"},
    {&keys_table, TASK_RERANK, "{\"service_settings\":{\"access_key\":\"a\"}}",
     VF "1: [secret_settings] does not contain the required setting [secret_key];"},
    {&keys_table, TASK_RERANK,
     "{\"service_settings\":{\"access_key\":\"a\",\"secret_key\":\"s\",\"secret_parameters\":"
     "{\"k\":123}}}",
     VF "1: Map field [secret_parameters] has an entry that is not valid. Value type is not one of "
        "[String].;"},
};

static struct err *put(struct arena *a, const struct settings_table *table, enum task task,
                       const char *body, struct endpoint **out)
{
    const struct json *root;
    assert_null(json_parse(a, str_c(body), &root));
    return endpoint_parse(table, table == &remote_table ? 3000 : 0, STR("my-id"), task, root, out);
}

static void test_refused(void **state)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct arena *a = arena_new(ARENA_NO_LIMIT);
        struct endpoint *ep = NULL;
        struct err *e = put(a, refused[i].table, refused[i].task, refused[i].body, &ep);
        if (!e)
            fail_msg("accepted: %s", refused[i].body);
        assert_string_equal(e->reason, refused[i].reason);
        assert_int_equal(e->status, 400);
        assert_string_equal(err_type(e), strncmp(e->reason, VF, strlen(VF)) == 0
                                             ? "validation_exception"
                                             : "status_exception");
        err_free(e);
        arena_free(a);
    }
}

struct accepted {
    const struct settings_table *table;
    enum task task;
    const char *body, *service, *task_settings; /* printed; NULL: no task_settings */
};

static const struct accepted accepted[] = {
    {REMOTE, SETTINGS(""), "{\"model_id\":\"m\",\"rate_limit\":{\"requests_per_minute\":3000}}",
     NULL},
    {REMOTE, SETTINGS(",\"rate_limit\":{}"),
     "{\"model_id\":\"m\",\"rate_limit\":{\"requests_per_minute\":3000}}", NULL},
    {REMOTE,
     SETTINGS(",\"rate_limit\":{\"requests_per_minute\":9999999999},\"url\":\"http://h:1/p?q#f\","
              "\"similarity\":\" COSINE \",\"dimensions\":3,\"embedding_type\":\"INT8\","
              "\"organization\":\"o\",\"max_input_tokens\":8"),
     "{\"model_id\":\"m\",\"url\":\"http://h:1/p?q#f\",\"organization_id\":\"o\","
     "\"embedding_type\":\"byte\",\"similarity\":\"cosine\",\"dimensions\":3,"
     "\"max_input_tokens\":8,\"rate_limit\":{\"requests_per_minute\":9999999999}}",
     NULL},
    {&remote_table, TASK_COMPLETION, TASK_SETTINGS("\"model\":\"x\""),
     "{\"model_id\":\"m\",\"rate_limit\":{\"requests_per_minute\":3000}}", NULL},
    {&remote_table, TASK_COMPLETION,
     "{\"service_settings\":{" KEY "},\"task_settings\":{\"model\":\"old\",\"user\":\"u\"}}",
     "{\"model_id\":\"old\",\"rate_limit\":{\"requests_per_minute\":3000}}", "{\"user\":\"u\"}"},
    {&remote_table, TASK_COMPLETION,
     TASK_SETTINGS("\"temperature\":1,\"top_k\":5000000000,\"truncation\":false,"
                   "\"headers\":{\"a\":\"b\",\"n\":null},\"scopes\":[ \"s\" ],"
                   "\"parameters\":{ \"x\": [1, {}] },\"user\":null"),
     "{\"model_id\":\"m\",\"rate_limit\":{\"requests_per_minute\":3000}}",
     "{\"headers\":{\"a\":\"b\"},\"temperature\":1.0,\"top_k\":5000000000,\"truncation\":false,"
     "\"scopes\":[\"s\"],\"parameters\":{\"x\":[1,{}]}}"},
    {LOCAL_TE, LOCAL(",\"num_threads\":2,\"num_allocations\":1"),
     "{\"num_allocations\":1,\"num_threads\":2,\"model_id\":\"m\"}", NULL},
    {LOCAL_TE, LOCAL(",\"deployment_id\":\"d\""), "{\"model_id\":\"m\",\"deployment_id\":\"d\"}",
     NULL},
    {&local_table, TASK_RERANK,
     LOCAL(",\"num_threads\":2,\"adaptive_allocations\":{\"enabled\":true,"
           "\"min_number_of_allocations\":0,\"max_number_of_allocations\":null}"),
     "{\"num_threads\":2,\"model_id\":\"m\",\"adaptive_allocations\":{\"enabled\":true,"
     "\"min_number_of_allocations\":0}}",
     "{\"return_documents\":true}"},
};

static void test_accepted(void **state)
{
    for (size_t i = 0; i < sizeof accepted / sizeof accepted[0]; i++) {
        struct arena *a = arena_new(ARENA_NO_LIMIT);
        struct endpoint *ep = NULL;
        struct err *e = put(a, accepted[i].table, accepted[i].task, accepted[i].body, &ep);
        if (e)
            fail_msg("%s: %s", accepted[i].body, e->reason);
        struct buf text;
        struct json_out w;
        const struct json *root;
        buf_init(&text, 1 << 20);
        json_out_init(&w, &text);
        endpoint_render(&w, ep);
        assert_null(json_parse(a, buf_str(&text), &root));
        struct str got = json_raw(json_get(root, "service_settings"));
        assert_string_equal(arena_cstr(a, got), accepted[i].service);
        const struct json *task = json_get(root, "task_settings");
        if (accepted[i].task_settings)
            assert_string_equal(arena_cstr(a, json_raw(task)), accepted[i].task_settings);
        else
            assert_null(task);
        buf_deinit(&text);
        endpoint_unref(ep);
        arena_free(a);
    }
}

static void test_urls(void **state)
{
    static const struct {
        const char *url, *problem;
    } urls[] = {
        {"https://api.openai.com/v1/embeddings", NULL},
        {"http://u:p@[::1]:80/a;b=c,d?x=y&z#frag", NULL},
        {"foo", NULL},
        {"mailto:a@b", NULL},
        {"http:///path", NULL},
        {"http://h/\xC3\xA9", NULL},
        {"http://h/%7e", NULL},
        {"^^", "Illegal character in path"},
        {"http://h/a b", "Illegal character in path"},
        {"http://h/{x}", "Illegal character in path"},
        {"http://h/?a|b", "Illegal character in query"},
        {"http://h/#a#b", "Illegal character in fragment"},
        {"http://a b/", "Illegal character in authority"},
        {"http://", "Expected authority"},
        {"http:", "Expected scheme-specific part"},
        {"://h", "Expected scheme name"},
        {"1a:b", "Illegal character in scheme name"},
        {"a^b:c", "Illegal character in scheme name"},
        {"http://h/%7", "Malformed escape pair"},
        {"http://h/%zz", "Malformed escape pair"},
        {"http://h/\xC2\x80", "Illegal character in path"},
        {"x:a^", "Illegal character in opaque part"},
    };
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        const char *problem = url_problem(str_c(urls[i].url));
        if (!urls[i].problem)
            assert_null(problem);
        else if (!problem)
            fail_msg("accepted: %s", urls[i].url);
        else
            assert_string_equal(problem, urls[i].problem);
    }
}

static void test_addresses_with_user_information(void **state)
{
    (void)state;
    assert_true(url_has_user(STR("https://u:p@h/")));
    assert_true(url_has_user(STR("//u@h")));
    assert_true(url_has_user(STR("http://h:1@[::1]:2?q")));
    assert_false(url_has_user(STR("http://h/a@b?c@d#e@f")));
    assert_false(url_has_user(STR("http://h?c@d")));
    assert_false(url_has_user(STR("u:p@h")));
    assert_false(url_has_user(STR("")));
}

/* A body of megabytes is not echoed whole, and the cut never splits a character. */
static void test_long_values_are_cut(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct buf body;
    buf_init(&body, 1 << 20);
    buf_cstr(&body, "{\"service_settings\":{\"api_key\":\"k\",\"model_id\":\"m\",\"foo\":\"x");
    for (int i = 0; i < 20000; i++)
        buf_cstr(&body, "\xC3\xA9");
    buf_cstr(&body, "\"}}");
    buf_char(&body, 0);
    struct endpoint *ep;
    struct err *e = put(a, REMOTE, body.p, &ep);
    assert_non_null(e);
    assert_true(strlen(e->reason) < JAVA_TEXT_LIMIT + 200);
    assert_non_null(strstr(e->reason, "...]"));
    assert_true(str_utf8_ok(str_c(e->reason)));
    err_free(e);
    buf_deinit(&body);
    arena_free(a);
}

static void test_services_columns(void **state)
{
    assert_string_equal(setting_ui_name(&remote_rows[R_RATE]), "rate_limit.requests_per_minute");
    assert_string_equal(setting_ui_name(&remote_rows[R_MODEL]), "model_id");
    assert_string_equal(setting_ui_type(&remote_rows[R_RATE]), "int");
    assert_string_equal(setting_ui_type(&remote_rows[R_URL]), "str");
    assert_string_equal(setting_ui_type(&remote_rows[R_HEADERS]), "map");
    assert_true(setting_ui_updatable(&remote_rows[R_KEY]));
    assert_false(setting_ui_updatable(&remote_rows[R_RATE]));
    assert_true(setting_ui_required(&remote_rows[R_KEY]));
    assert_false(setting_ui_required(&remote_rows[R_URL]));
    assert_int_equal(settings_find(&remote_table, "dimensions"), R_DIM);
    assert_int_equal(settings_find(&remote_table, "nope"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_addresses_with_user_information),
        cmocka_unit_test(test_long_values_are_cut),
        cmocka_unit_test(test_services_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
