/* The JSON of results and of stream steps (inference.md 3.1 to 3.3). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "result.h"

static void check_result(const struct result *r, const char *expected)
{
    struct buf b;
    struct json_out w;
    buf_init(&b, 1 << 20);
    json_out_init(&w, &b);
    result_render(&w, r);
    buf_char(&b, 0);
    assert_string_equal(b.p, expected);
    buf_deinit(&b);
}

static void check_delta(const struct delta *d, const char *expected)
{
    struct buf b;
    struct json_out w;
    buf_init(&b, 1 << 20);
    json_out_init(&w, &b);
    delta_render(&w, d);
    buf_char(&b, 0);
    assert_string_equal(b.p, expected);
    buf_deinit(&b);
}

static const struct json *parse(struct arena *a, const char *text)
{
    const struct json *root;
    assert_null(json_parse(a, str_c(text), &root));
    return root;
}

/* Numbers of upstream keep their text; only white space goes. */
static void test_dense_from_upstream(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    struct embedding rows[] = {
        {.n = 3, .node = parse(a, "[0.0100,-2e-05,1]")},
        {.n = 3, .node = parse(a, "[ 0.5,\n\t-0.25 , 3 ]")},
    };
    struct result r = {.kind = RESULT_FLOATS, .n = 2, .embeddings = rows};
    check_result(&r, "{\"text_embedding\":[{\"embedding\":[0.0100,-2e-05,1]},"
                     "{\"embedding\":[0.5,-0.25,3]}]}");
    assert_int_equal(result_dimensions(&r), 3);
    arena_free(a);
}

static void test_dense_local(void **state)
{
    static const float f[] = {0.5f, -0.25f, 1.0f, -7.7057E-4f};
    static const int8_t i8[] = {12, -7, 127, -128};
    struct embedding row = {.n = 4, .f32 = f};
    struct result r = {.kind = RESULT_FLOATS, .n = 1, .embeddings = &row};
    check_result(&r, "{\"text_embedding\":[{\"embedding\":[0.5,-0.25,1.0,-7.7057E-4]}]}");
    row = (struct embedding){.n = 4, .i8 = i8};
    r.kind = RESULT_BYTES;
    check_result(&r, "{\"text_embedding_bytes\":[{\"embedding\":[12,-7,127,-128]}]}");
    assert_int_equal(result_dimensions(&r), 4);
    r.kind = RESULT_BITS;
    check_result(&r, "{\"text_embedding_bits\":[{\"embedding\":[12,-7,127,-128]}]}");
    assert_int_equal(result_dimensions(&r), 32);
    r.n = 0;
    check_result(&r, "{\"text_embedding_bits\":[]}");
    assert_int_equal(result_dimensions(&r), 0);
}

static void test_sparse(void **state)
{
    struct sparse_item items[] = {
        {.token = STR_INIT("tok"), .weight = 1.25f},
        {.token = STR_INIT("e\"n"), .weight_text = STR_INIT("0.310")},
    };
    struct sparse rows[] = {{.is_truncated = false, .items = items, .n = 2},
                            {.is_truncated = true}};
    struct result r = {.kind = RESULT_SPARSE, .n = 2, .sparse = rows};
    check_result(&r, "{\"sparse_embedding\":[{\"is_truncated\":false,\"embedding\":{\"tok\":1.25,"
                     "\"e\\\"n\":0.310}},{\"is_truncated\":true,\"embedding\":{}}]}");
    assert_int_equal(result_dimensions(&r), 0);
}

static void test_rerank(void **state)
{
    struct ranked rows[] = {
        {.index = 2, .score_text = STR_INIT("0.98"), .text = STR_INIT("Washington")},
        {.index = 0, .score = -0.5f},
        {.index = 1, .score = 0.25f, .text = STR_INIT("")},
    };
    struct result r = {.kind = RESULT_RERANK, .n = 3, .ranked = rows};
    check_result(&r, "{\"rerank\":[{\"index\":2,\"relevance_score\":0.98,\"text\":\"Washington\"},"
                     "{\"index\":0,\"relevance_score\":-0.5},"
                     "{\"index\":1,\"relevance_score\":0.25,\"text\":\"\"}]}");
}

static void test_completion(void **state)
{
    struct str texts[] = {STR_INIT("Paris.\n"), STR_INIT("")};
    struct result r = {.kind = RESULT_COMPLETION, .n = 2, .texts = texts};
    check_result(&r, "{\"completion\":[{\"result\":\"Paris.\\n\"},{\"result\":\"\"}]}");
    struct delta d = {.texts = texts, .n_texts = 2};
    check_delta(&d, "{\"completion\":[{\"delta\":\"Paris.\\n\"},{\"delta\":\"\"}]}");
}

static void test_chunks(void **state)
{
    struct chat_choice choice = {.content = STR_INIT("Hel"), .role = STR_INIT("assistant")};
    struct chat_chunk chunk = {.id = STR_INIT("chatcmpl-1"),
                               .model = STR_INIT("gpt"),
                               .object = STR_INIT("chat.completion.chunk"),
                               .has_choices = true,
                               .choices = &choice,
                               .n_choices = 1};
    struct delta d = {.chunk = &chunk};
    check_delta(&d, "{\"id\":\"chatcmpl-1\",\"choices\":[{\"delta\":{\"content\":\"Hel\",\"role\":"
                    "\"assistant\"},\"index\":0}],\"model\":\"gpt\",\"object\":"
                    "\"chat.completion.chunk\"}");

    struct chat_delta_tool_call calls[] = {
        {.id = STR_INIT("call_1"),
         .type = STR_INIT("function"),
         .name = STR_INIT("f"),
         .arguments = STR_INIT("")},
        {.index = 1, .arguments = STR_INIT("{")},
        {.index = 2},
    };
    choice = (struct chat_choice){.index = 3,
                                  .refusal = STR_INIT("no"),
                                  .tool_calls = calls,
                                  .n_tool_calls = 3,
                                  .finish_reason = STR_INIT("tool_calls")};
    check_delta(&d, "{\"id\":\"chatcmpl-1\",\"choices\":[{\"delta\":{\"refusal\":\"no\","
                    "\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"function\":{\"arguments\":"
                    "\"\",\"name\":\"f\"},\"type\":\"function\"},{\"index\":1,\"function\":"
                    "{\"arguments\":\"{\"},\"type\":null},{\"index\":2,\"type\":null}]},"
                    "\"finish_reason\":\"tool_calls\",\"index\":3}],\"model\":\"gpt\",\"object\":"
                    "\"chat.completion.chunk\"}");

    chunk.n_choices = 0;
    chunk.has_usage = true;
    chunk.completion_tokens = 28;
    chunk.prompt_tokens = 16;
    chunk.total_tokens = 44;
    check_delta(&d, "{\"id\":\"chatcmpl-1\",\"choices\":[],\"model\":\"gpt\",\"object\":"
                    "\"chat.completion.chunk\",\"usage\":{\"completion_tokens\":28,"
                    "\"prompt_tokens\":16,\"total_tokens\":44}}");
    chunk.has_choices = false;
    chunk.has_cached_tokens = chunk.has_reasoning_tokens = true;
    chunk.cached_tokens = 5;
    check_delta(&d, "{\"id\":\"chatcmpl-1\",\"model\":\"gpt\",\"object\":"
                    "\"chat.completion.chunk\",\"usage\":{\"completion_tokens\":28,"
                    "\"prompt_tokens\":16,\"total_tokens\":44,\"prompt_tokens_details\":"
                    "{\"cached_tokens\":5},\"completion_tokens_details\":{\"reasoning_tokens\":"
                    "0}}}");
}

static void test_errors_in_rows(void **state)
{
    static const float one[] = {1.5f};
    struct embedding rows[] = {{.n = 1, .f32 = one}, {0}, {.n = 1, .f32 = one}};
    struct err *bad = err_new(ERR_ARGUMENT, "no \"x\"");
    struct err *errors[] = {NULL, bad, NULL};
    struct result r = {.kind = RESULT_FLOATS, .n = 3, .embeddings = rows, .errors = errors};
    check_result(&r, "{\"text_embedding\":[{\"embedding\":[1.5]},{\"error\":{\"type\":"
                     "\"illegal_argument_exception\",\"reason\":\"no \\\"x\\\"\",\"status\":400}},"
                     "{\"embedding\":[1.5]}]}");
    struct chunk_span spans[] = {{0, 1}, {1, 2}, {0, 1}};
    size_t counts[] = {2, 1}, lone[] = {2};
    struct chunk_map map = {.spans = spans, .counts = counts, .n_inputs = 2};
    assert_ptr_equal(result_chunks_error(&r, &map, 0, 0), bad);
    assert_null(result_chunks_error(&r, &map, 1, 2));
    assert_null(result_chunks_failed(&r, &map));
    map = (struct chunk_map){.spans = spans, .counts = lone, .n_inputs = 1};
    assert_ptr_equal(result_chunks_failed(&r, &map), bad);
    err_free(bad);
}

static void test_counts_nobody_can_mean(void **state)
{
    struct usage huge = {.in_tokens = INT64_MAX, .out_tokens = 1, .known = true};
    struct usage negative = {.in_tokens = 1, .out_tokens = -1, .known = true};
    struct usage sum = {0}, most = {.in_tokens = INT64_C(1) << 40, .known = true};
    usage_check(&huge);
    usage_check(&negative);
    assert_false(huge.known || huge.in_tokens || huge.out_tokens);
    assert_false(negative.known || negative.in_tokens || negative.out_tokens);
    usage_add(&sum, &(struct usage){.in_tokens = 3, .out_tokens = 4, .known = true});
    usage_add(&sum, &(struct usage){.in_tokens = 1});
    assert_true(sum.known && sum.in_tokens == 4 && sum.out_tokens == 4);
    usage_add(&sum, &most);
    assert_false(sum.known || sum.in_tokens);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dense_from_upstream),
        cmocka_unit_test(test_dense_local),
        cmocka_unit_test(test_sparse),
        cmocka_unit_test(test_rerank),
        cmocka_unit_test(test_completion),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_errors_in_rows),
        cmocka_unit_test(test_counts_nobody_can_mean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
