/* Bodies of calls: what is read, and the words for what is refused (inference.md 7.1, 7.5). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "input.h"

static struct err *read(struct arena *a, enum task task, bool any, const char *text,
                        struct input *out)
{
    const struct json *root;
    struct err *e = json_parse(a, str_c(text), &root);
    if (e)
        fail_msg("%s: %s", text, e->reason);
    return input_parse(a, task, any, str_c(text), root, out);
}

struct refused {
    enum task task;
    bool any;
    const char *body, *reason, *type, *cause;
};

#define PARSER    "[cluster:internal/xpack/inference] "
#define VF        "Validation Failed: "
#define X_CONTENT "x_content_parse_exception"
#define REQUEST   "action_request_validation_exception"
#define ARG       "illegal_argument_exception"

static const struct refused refused[] = {
    {TASK_TEXT_EMBEDDING, false, "{}", VF "1: Field [input] cannot be null;", REQUEST, NULL},
    {TASK_TEXT_EMBEDDING, false, "{\"input\":null}", VF "1: Field [input] cannot be null;", REQUEST,
     NULL},
    {TASK_TEXT_EMBEDDING, false, "{\"input\":[]}", VF "1: Field [input] cannot be an empty array;",
     REQUEST, NULL},
    {TASK_RERANK, false, "{\"input\":\"a\"}",
     VF "1: Field [query] cannot be null for task type [rerank];", REQUEST, NULL},
    {TASK_RERANK, true, "{\"input\":[],\"query\":\"\"}",
     VF "1: Field [input] cannot be an empty array;2: Field [query] cannot be empty for task type "
        "[rerank];",
     REQUEST, NULL},
    {TASK_TEXT_EMBEDDING, false, "{\"input\":\"a\",\"query\":\"q\"}",
     VF "1: Field [query] cannot be specified for task type [text_embedding];", REQUEST, NULL},
    {TASK_COMPLETION, false,
     "{\"input\":\"a\",\"return_documents\":true,\"top_n\":2,\"input_type\":\"search\"}",
     VF "1: Field [return_documents] cannot be specified for task type [completion];2: Field "
        "[top_n] cannot be specified for task type [completion];3: Field [input_type] cannot be "
        "specified for task type [completion];",
     REQUEST, NULL},
    {TASK_RERANK, false, "{\"input\":\"a\",\"query\":\"q\",\"top_n\":0}",
     VF "1: Field [top_n] must be greater than or equal to 1;", REQUEST, NULL},
    {TASK_COMPLETION, false, "{\"input\":\"a\",\"foo\":1}", "[1:14] " PARSER "unknown field [foo]",
     X_CONTENT, NULL},
    {TASK_COMPLETION, false, "{\n  \"input\": \"a\",\n  \"f\\\"o\" : {} }",
     "[3:3] " PARSER "unknown field [f\"o]", X_CONTENT, NULL},
    {TASK_COMPLETION, false, "{\"input\":1}",
     "[1:10] " PARSER "input doesn't support values of type: VALUE_NUMBER", X_CONTENT, NULL},
    {TASK_COMPLETION, false, "{\"input\":[\"a\",{}]}",
     "[1:15] " PARSER "failed to parse field [input]", X_CONTENT,
     "Can't get text on a START_OBJECT"},
    {TASK_COMPLETION, false, "{\"input\":[null]}", "[1:11] " PARSER "failed to parse field [input]",
     X_CONTENT, "Can't get text on a VALUE_NULL"},
    {TASK_COMPLETION, false, "[]", "[1:1] " PARSER "Expected START_OBJECT but was: START_ARRAY",
     X_CONTENT, NULL},
    {TASK_COMPLETION, false, "{\"task_settings\":[]}",
     "[1:18] " PARSER "task_settings doesn't support values of type: START_ARRAY", X_CONTENT, NULL},
    {TASK_TEXT_EMBEDDING, false, "{\"input\":\"a\",\"input_type\":\"internal_search\"}",
     "Unrecognized input_type [internal_search]", ARG, NULL},
    {TASK_RERANK, false, "{\"top_n\":1.5}", "[1:10] " PARSER "failed to parse field [top_n]",
     X_CONTENT, "1.5 cannot be converted to Integer without data loss"},
    {TASK_RERANK, false, "{\"top_n\":3000000000}", "[1:10] " PARSER "failed to parse field [top_n]",
     X_CONTENT, "Value [3000000000] is out of range"},
    {TASK_RERANK, false, "{\"top_n\":1e999}", "[1:10] " PARSER "failed to parse field [top_n]",
     X_CONTENT, "Value [1e999] is out of range"},
    {TASK_RERANK, false, "{\"top_n\":\"x\"}", "[1:10] " PARSER "failed to parse field [top_n]",
     X_CONTENT, "For input string: \"x\""},
    {TASK_RERANK, false, "{\"return_documents\":\"x\"}",
     "[1:21] " PARSER "failed to parse field [return_documents]", X_CONTENT,
     "Failed to parse value [x] as only [true] or [false] are allowed."},
    {TASK_RERANK, false, "{\"timeout\":\"10\"}", "[1:12] " PARSER "failed to parse field [timeout]",
     X_CONTENT,
     "failed to parse setting [timeout] with value [10] as a time value: unit is missing or "
     "unrecognized"},
};

static void test_refused(void **state)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct arena *a = arena_new(ARENA_NO_LIMIT);
        struct input in;
        struct err *e = read(a, refused[i].task, refused[i].any, refused[i].body, &in);
        if (!e)
            fail_msg("accepted: %s", refused[i].body);
        assert_string_equal(e->reason, refused[i].reason);
        assert_string_equal(err_type(e), refused[i].type);
        assert_int_equal(e->status, 400);
        if (refused[i].cause) {
            assert_non_null(e->cause);
            assert_string_equal(e->cause->reason, refused[i].cause);
        } else {
            assert_null(e->cause);
        }
        err_free(e);
        arena_free(a);
    }
}

static void test_texts(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct input in;
    static const char one[] = "{\"input\":\"hello\"}";
    assert_null(read(a, TASK_COMPLETION, false, one, &in));
    assert_int_equal(in.n_texts, 1);
    assert_ptr_equal(in.texts[0].p, one + 10); /* borrowed */
    assert_null(read(a, TASK_COMPLETION, false, "{\"input\":[\"a\",5,true,\"\\n\"]}", &in));
    assert_int_equal(in.n_texts, 4);
    assert_true(str_eq(in.texts[1], STR("5")));
    assert_true(str_eq(in.texts[2], STR("true")));
    assert_true(str_eq(in.texts[3], STR("\n")));
    assert_null(read(a, TASK_COMPLETION, false, "{\"input\":[1, 2.50]}", &in));
    assert_int_equal(in.n_texts, 2);
    assert_true(str_eq(in.texts[1], STR("2.50")));
    arena_free(a);
}

static void test_all_members(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct input in;
    assert_null(read(a, TASK_RERANK, false,
                     "{\"input\":[\"a\"],\"query\":\"q\",\"top_n\":\"2\",\"return_documents\":"
                     "\"true\",\"task_settings\":{\"x\":1},\"timeout\":\"10s\"}",
                     &in));
    assert_true(in.has_query && in.has_top_n && in.has_return_documents && in.return_documents);
    assert_int_equal(in.top_n, 2);
    assert_non_null(json_get(in.task_settings, "x"));
    assert_null(read(a, TASK_TEXT_EMBEDDING, false,
                     "{\"input\":\"a\",\"input_type\":\"CLUSTERING\",\"query\":null}", &in));
    assert_int_equal(in.input_type, INPUT_CLUSTERING);
    assert_false(in.has_query);
    /* An URL without a task skips the checks for misplaced members. */
    assert_null(read(a, TASK_COMPLETION, true,
                     "{\"input\":\"a\",\"input_type\":\"search\",\"top_n\":2}", &in));
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_all_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
