/* Chunks as the services send them, and what OpenAI's clients are to read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "openai_chunk.h"

static struct arena *arena;
static struct openai_chunks chunks;

static int begin(void **state)
{
    arena = arena_new(ARENA_NO_LIMIT);
    openai_chunks_init(&chunks, arena, STR("m"), 7);
    return 0;
}

static int end(void **state)
{
    openai_chunks_deinit(&chunks);
    arena_free(arena);
    return 0;
}

static void is(struct str s, const char *wanted)
{
    assert_int_equal(s.n, strlen(wanted));
    assert_memory_equal(s.p, wanted, s.n);
}

static bool tell(const struct chat_choice *choice, struct chat_chunk *out)
{
    struct chat_chunk from = {.has_choices = true, .choices = choice, .n_choices = choice != NULL};
    return openai_chunk(&chunks, &from, out);
}

static int64_t index_of_call(int64_t block, int64_t call)
{
    struct chat_delta_tool_call fragment = {.index = call, .id = STR("x")};
    struct chat_choice choice = {.index = block, .tool_calls = &fragment, .n_tool_calls = 1};
    struct chat_chunk out;
    assert_true(tell(&choice, &out));
    assert_int_equal(out.choices[0].index, 0);
    if (!out.choices[0].n_tool_calls)
        return -1;
    is(out.choices[0].tool_calls[0].type, "function");
    return out.choices[0].tool_calls[0].index;
}

static void test_calls_are_counted_over_blocks(void **state)
{
    assert_int_equal(index_of_call(1, 0), 0); /* Anthropic: a block each, always number 0 */
    assert_int_equal(index_of_call(1, 0), 0);
    assert_int_equal(index_of_call(2, 0), 1);
    assert_int_equal(index_of_call(1, 0), 0);
    assert_int_equal(index_of_call(0, 0), 2); /* OpenAI: one choice, calls numbered */
    assert_int_equal(index_of_call(0, 1), 3);
    for (int64_t i = 4; i < OPENAI_MAX_CALLS; i++)
        assert_int_equal(index_of_call(0, i), i);
    assert_int_equal(index_of_call(0, 9999), -1);
    assert_int_equal(index_of_call(INT64_MIN, INT64_MAX), -1);
    assert_int_equal(index_of_call(0, 1), 3);
}

/* Servers that number all calls 0: a name under another id is another call, the rest goes on. */
static void test_calls_that_share_a_number(void **state)
{
    static const struct {
        const char *id, *name;
        int64_t want;
        bool first; /* clients join ids and names that come again */
    } parts[] = {{"a", "f", 0, true},  {NULL, "", 0, false}, {"b", "f", 1, true},
                 {NULL, "", 1, false}, {"b", "f", 1, false}, {"null", "", 1, false},
                 {"a", "f", 0, false}, {"c", "g", 2, true},  {NULL, "", 2, false}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        struct chat_delta_tool_call part = {.arguments = STR("x")};
        struct chat_choice choice = {.tool_calls = &part, .n_tool_calls = 1};
        struct chat_chunk out;
        if (parts[i].id) {
            part.id = str_c(parts[i].id);
            part.name = str_c(parts[i].name);
        }
        assert_true(tell(&choice, &out));
        const struct chat_delta_tool_call *told = &out.choices[0].tool_calls[0];
        assert_int_equal(told->index, parts[i].want);
        assert_int_equal(told->id.n, parts[i].first);
        assert_int_equal(told->name.n, parts[i].first);
    }
}

static void test_the_role_comes_once(void **state)
{
    struct chat_chunk out;
    assert_true(tell(&(struct chat_choice){.role = STR("model"), .content = STR("a")}, &out));
    is(out.choices[0].role, "assistant");
    is(out.choices[0].content, "a");
    assert_true(tell(&(struct chat_choice){.role = STR("model")}, &out));
    assert_null(out.choices[0].role.p);
}

static void test_a_role_nobody_named(void **state)
{
    struct chat_chunk out;
    assert_true(tell(&(struct chat_choice){.content = STR("a")}, &out));
    is(out.choices[0].role, "assistant");
}

static void test_reasons(void **state)
{
    static const char *const words[][2] = {{"end_turn", "stop"},       {"STOP", "stop"},
                                           {"max_tokens", "length"},   {"MAX_TOKENS", "length"},
                                           {"tool_use", "tool_calls"}, {"SAFETY", "content_filter"},
                                           {"length", "length"},       {"OTHER", "OTHER"}};
    struct chat_chunk out;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        assert_true(tell(&(struct chat_choice){.finish_reason = str_c(words[i][0])}, &out));
        is(out.choices[0].finish_reason, words[i][1]);
    }
    index_of_call(0, 0);
    assert_true(tell(&(struct chat_choice){.finish_reason = STR("STOP")}, &out));
    is(out.choices[0].finish_reason, "tool_calls");
}

static void test_one_id_for_all(void **state)
{
    struct chat_choice choice = {.content = STR("a")};
    struct chat_chunk from = {.id = STR("msg_1"), .choices = &choice, .n_choices = 1}, out;
    assert_true(openai_chunk(&chunks, &from, &out));
    is(out.id, "msg_1");
    from.id = (struct str){0};
    assert_true(openai_chunk(&chunks, &from, &out));
    is(out.id, "msg_1");
    is(out.object, "chat.completion.chunk");
    is(out.model, "m");
    assert_int_equal(out.created, 7);
}

static void test_tokens_are_told_at_the_end(void **state)
{
    struct chat_choice choice = {.content = STR("a")};
    struct chat_chunk out;
    assert_false(openai_chunk_usage(&chunks, &out));
    struct chat_chunk first = {.choices = &choice,
                               .n_choices = 1,
                               .has_usage = true,
                               .prompt_tokens = 16,
                               .completion_tokens = 1,
                               .total_tokens = 17};
    assert_true(openai_chunk(&chunks, &first, &out));
    assert_false(out.has_usage);
    struct chat_chunk last = {.has_usage = true, .completion_tokens = 5, .total_tokens = 5};
    assert_false(openai_chunk(&chunks, &last, &out));
    assert_true(openai_chunk_usage(&chunks, &out));
    assert_int_equal(out.prompt_tokens, 16);
    assert_int_equal(out.completion_tokens, 5);
    assert_int_equal(out.total_tokens, 21);
    struct chat_chunk absurd = {
        .has_usage = true, .prompt_tokens = INT64_MAX, .completion_tokens = INT64_MAX};
    assert_false(openai_chunk(&chunks, &absurd, &out));
    assert_true(openai_chunk_usage(&chunks, &out));
}

static void test_tokens_and_nothing_else(void **state)
{
    struct chat_chunk only = {.has_usage = true, .prompt_tokens = 3}, out;
    assert_false(openai_chunk(&chunks, &only, &out));
    assert_true(openai_chunk_usage(&chunks, &out));
    assert_true(str_starts(out.id, STR("chatcmpl-")));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_calls_are_counted_over_blocks),
        TEST(test_calls_that_share_a_number),
        TEST(test_the_role_comes_once),
        TEST(test_a_role_nobody_named),
        TEST(test_reasons),
        TEST(test_one_id_for_all),
        TEST(test_tokens_are_told_at_the_end),
        TEST(test_tokens_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
