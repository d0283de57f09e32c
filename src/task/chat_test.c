/* chat_completion bodies (inference.md 2.7, 7.1, 7.6). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "input.h"

static struct err *read(struct arena *a, const char *text, struct chat *out)
{
    const struct json *root;
    struct err *e = json_parse(a, str_c(text), &root);
    if (e)
        fail_msg("%s: %s", text, e->reason);
    return chat_parse(a, str_c(text), root, out);
}

struct refused {
    const char *body, *reason, *type, *innermost;
};

#define ROOT      "[UnifiedCompletionRequest] "
#define X_CONTENT "x_content_parse_exception"
#define REQUEST   "action_request_validation_exception"
#define ARG       "illegal_argument_exception"

static const struct refused refused[] = {
    {"{}", "Required [messages]", ARG, NULL},
    {"{\"messages\":null}", "Validation Failed: 1: Field [messages] cannot be null;", REQUEST,
     NULL},
    {"{\"messages\":[]}", "Validation Failed: 1: Field [messages] cannot be an empty array;",
     REQUEST, NULL},
    {"{\"messages\":[],\"x\":1}", "[1:16] " ROOT "unknown field [x]", X_CONTENT, NULL},
    {"{\"messages\":[],\"stream\":true}", "[1:16] " ROOT "unknown field [stream]", X_CONTENT, NULL},
    {"{\"messages\":\"x\"}", "[1:13] " ROOT "messages doesn't support values of type: VALUE_STRING",
     X_CONTENT, NULL},
    {"{\"messages\":[1,2]}", "[1:14] " ROOT "failed to parse field [messages]", X_CONTENT,
     "[1:14] [Message] Expected START_OBJECT but was: VALUE_NUMBER"},
    {"{\"messages\":[{\"content\":\"a\"}]}", "[1:28] " ROOT "failed to parse field [messages]",
     X_CONTENT, "Required [role]"},
    {"{\"messages\":[{\"role\":\"a\",\"foo\":1}]}",
     "[1:26] " ROOT "failed to parse field [messages]", X_CONTENT,
     "[1:26] [Message] unknown field [foo]"},
    {"{\"messages\":[{\"role\":\"a\",\"content\":[{\"type\":\"text\"}]}]}",
     "[1:51] " ROOT "failed to parse field [messages]", X_CONTENT, "Required [text]"},
    {"{\"messages\":[{\"role\":\"a\",\"content\":[{}]}]}",
     "[1:38] " ROOT "failed to parse field [messages]", X_CONTENT, "Required [text, type]"},
    {"{\"messages\":[{\"role\":\"a\",\"content\":5}]}",
     "[1:36] " ROOT "failed to parse field [messages]", X_CONTENT,
     "[1:36] [Message] content doesn't support values of type: VALUE_NUMBER"},
    {"{\"messages\":[{\"role\":\"a\",\"tool_calls\":[{\"id\":\"i\",\"type\":\"t\",\"function\":{"
     "\"name\":\"n\"}}]}]}",
     "[1:83] " ROOT "failed to parse field [messages]", X_CONTENT, "Required [arguments]"},
    {"{\"messages\":{\"role\":\"a\"},\"tools\":[{\"type\":\"function\"}]}",
     "[1:53] " ROOT "failed to parse field [tools]", X_CONTENT, "Required [function]"},
    {"{\"messages\":{\"role\":\"a\"},\"tool_choice\":{\"type\":\"function\",\"x\":1}}",
     "[1:59] " ROOT "failed to parse field [tool_choice]", X_CONTENT,
     "[1:59] [ToolChoiceObject] unknown field [x]"},
    {"{\"messages\":{\"role\":\"a\"},\"temperature\":\"x\"}",
     "[1:40] " ROOT "failed to parse field [temperature]", X_CONTENT, "For input string: \"x\""},
    {"{\"messages\":{\"role\":\"a\"},\"temperature\":1e999}",
     "[1:40] " ROOT "failed to parse field [temperature]", X_CONTENT,
     "Value [1e999] is out of range"},
    {"{\"messages\":{\"role\":\"a\"},\"stop\":[{}]}", "[1:34] " ROOT "failed to parse field [stop]",
     X_CONTENT, "Can't get text on a START_OBJECT"},
    {"7", "[1:1] " ROOT "Expected START_OBJECT but was: VALUE_NUMBER", X_CONTENT, NULL},
};

static void test_refused(void **state)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct arena *a = arena_new(ARENA_NO_LIMIT);
        struct chat chat;
        struct err *e = read(a, refused[i].body, &chat);
        if (!e)
            fail_msg("accepted: %s", refused[i].body);
        assert_string_equal(e->reason, refused[i].reason);
        assert_string_equal(err_type(e), refused[i].type);
        assert_int_equal(e->status, 400);
        const struct err *inner = e;
        while (inner->cause)
            inner = inner->cause;
        if (refused[i].innermost)
            assert_string_equal(inner->reason, refused[i].innermost);
        else
            assert_ptr_equal(inner, e);
        err_free(e);
        arena_free(a);
    }
}

static void test_small(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct chat c;
    static const char text[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    assert_null(read(a, text, &c));
    assert_int_equal(c.n_messages, 1);
    assert_true(str_eq(c.messages[0].role, STR("user")));
    assert_true(c.messages[0].has_content && !c.messages[0].content_is_parts);
    assert_ptr_equal(c.messages[0].content.p, strstr(text, "hi")); /* borrowed */
    assert_null(c.messages[0].tool_call_id.p);
    assert_null(c.model.p);
    assert_false(c.has_temperature || c.has_top_p || c.has_max_completion_tokens ||
                 c.has_tool_choice);
    arena_free(a);
}

static void test_all_members(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct chat c;
    assert_null(
        read(a,
             "{\"messages\":["
             "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"text\":\"b\","
             "\"type\":\"text\"}]},"
             "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c1\",\"type\":"
             "\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},"
             "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"4\"},"
             "{\"role\":\"u\"},{\"role\":\"v\"}],"
             "\"model\":\"gpt\",\"max_completion_tokens\":100,\"stop\":\"x\",\"temperature\":0.10,"
             "\"top_p\":1,\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
             "\"description\":\"d\",\"parameters\":{\"type\":\"object\"},\"strict\":true}}],"
             "\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}}",
             &c));
    assert_int_equal(c.n_messages, 5);
    assert_int_equal(c.messages[0].n_parts, 2);
    assert_true(str_eq(c.messages[0].parts[1].text, STR("b")));
    assert_false(c.messages[1].has_content);
    assert_int_equal(c.messages[1].n_tool_calls, 1);
    assert_true(str_eq(c.messages[1].tool_calls[0].arguments, STR("{}")));
    assert_true(str_eq(c.messages[2].tool_call_id, STR("c1")));
    assert_true(str_eq(c.messages[4].role, STR("v")));
    assert_true(str_eq(c.model, STR("gpt")));
    assert_int_equal(c.max_completion_tokens, 100);
    assert_int_equal(c.n_stop, 1);
    assert_true(str_eq(c.temperature_text, STR("0.10")));
    assert_true(c.has_top_p && c.top_p > 0.99);
    assert_int_equal(c.n_tools, 1);
    assert_true(c.tools[0].has_strict && c.tools[0].strict);
    assert_non_null(json_get(c.tools[0].parameters, "type"));
    assert_true(str_eq(c.tool_choice, STR("function")));
    assert_true(str_eq(c.tool_choice_name, STR("f")));
    assert_null(
        read(a, "{\"messages\":[{\"role\":\"u\"}],\"tool_choice\":\"auto\",\"stop\":[]}", &c));
    assert_true(c.has_tool_choice && str_eq(c.tool_choice, STR("auto")));
    assert_null(c.tool_choice_name.p);
    assert_int_equal(c.n_stop, 0);
    arena_free(a);
}

/* A list that is mostly valid may not take more memory than the call's arena allows. */
static void test_memory_limit(void **state)
{
    struct arena *tree = arena_new(ARENA_NO_LIMIT), *small = arena_new(64 << 10);
    struct buf b;
    struct chat c;
    const struct json *root;
    buf_init(&b, 1 << 20);
    buf_cstr(&b, "{\"messages\":[{\"role\":\"u\"}");
    for (int i = 0; i < 5000; i++)
        buf_cstr(&b, ",{\"role\":\"u\"}");
    buf_cstr(&b, "]}");
    assert_null(json_parse(tree, buf_str(&b), &root));
    struct err *e = chat_parse(small, buf_str(&b), root, &c);
    assert_non_null(e);
    assert_int_equal(e->kind, ERR_TOO_LARGE);
    err_free(e);
    buf_deinit(&b);
    arena_free(small);
    arena_free(tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_all_members),
        cmocka_unit_test(test_memory_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
