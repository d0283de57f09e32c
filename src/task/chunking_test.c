/* chunking_settings: what is filled in, printed and refused (shared facts, inference.md 8.1). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "chunking.h"

struct row {
    const char *given, *printed, *reason; /* one of printed, reason */
    const char *type;
};

#define VALID   "validation_exception"
#define ARG     "illegal_argument_exception"
#define VF      "Validation Failed: "
#define DEFAULT "{\"strategy\":\"sentence\",\"max_chunk_size\":250,\"sentence_overlap\":1}"

static const struct row rows[] = {
    {NULL, DEFAULT, NULL, NULL},
    {"null", DEFAULT, NULL, NULL},
    {"{}", DEFAULT, NULL, NULL},
    {"{\"strategy\":\"sentence\",\"max_chunk_size\":20}",
     "{\"strategy\":\"sentence\",\"max_chunk_size\":20,\"sentence_overlap\":1}", NULL, NULL},
    {"{\"strategy\":\"sentence\",\"max_chunk_size\":300,\"sentence_overlap\":0}",
     "{\"strategy\":\"sentence\",\"max_chunk_size\":300,\"sentence_overlap\":0}", NULL, NULL},
    {"{\"strategy\":\"word\",\"max_chunk_size\":10,\"overlap\":5}",
     "{\"strategy\":\"word\",\"max_chunk_size\":10,\"overlap\":5}", NULL, NULL},
    {"{\"strategy\":\"none\",\"overlap\":7}", "{\"strategy\":\"none\"}", NULL, NULL},
    {"{\"strategy\":\"recursive\",\"max_chunk_size\":10,\"separators\":[\"a\",\"\\n\"]}",
     "{\"strategy\":\"recursive\",\"max_chunk_size\":10,\"separators\":[\"a\",\"\\n\"]}", NULL,
     NULL},
    {"{\"strategy\":\"recursive\",\"max_chunk_size\":10,\"separator_group\":\"plaintext\"}",
     "{\"strategy\":\"recursive\",\"max_chunk_size\":10,\"separators\":[\"(?<!\\n)\\n\\n(?!\\n)\","
     "\"(?<!\\n)\\n(?!\\n)\"]}",
     NULL, NULL},
    {"{\"strategy\":\"word\",\"max_chunk_size\":10}", NULL,
     VF "1: [chunking_settings] does not contain the required setting [overlap];", VALID},
    {"{\"strategy\":\"word\",\"max_chunk_size\":10,\"overlap\":9}", NULL,
     VF "1: [chunking_settings] Invalid value [9.0]. [overlap] must be a less than or equal to "
        "[5.0];",
     VALID},
    {"{\"strategy\":\"word\",\"max_chunk_size\":10,\"overlap\":0}", NULL,
     VF "1: [chunking_settings] Invalid value [0]. [overlap] must be a positive integer;", VALID},
    {"{\"strategy\":\"sentence\",\"overlap\":1}", NULL,
     VF "1: Sentence based chunking settings can not have the following settings: [overlap];2: "
        "[chunking_settings] does not contain the required setting [max_chunk_size];",
     VALID},
    {"{\"strategy\":\"word\",\"max_chunk_size\":10,\"overlap\":1,\"sentence_overlap\":1}", NULL,
     VF "1: Word based chunking settings can not have the following settings: [sentence_overlap];",
     VALID},
    {"{\"strategy\":\"sentence\",\"max_chunk_size\":5}", NULL,
     VF "1: [chunking_settings] Invalid value [5.0]. [max_chunk_size] must be a greater than or "
        "equal to [20.0];",
     VALID},
    {"{\"strategy\":\"sentence\",\"max_chunk_size\":\"x\"}", NULL,
     VF "1: field [max_chunk_size] is not of the expected type. The value [x] cannot be converted "
        "to a [Integer];",
     VALID},
    {"{\"strategy\":\"sentence\",\"max_chunk_size\":20,\"sentence_overlap\":2}", NULL,
     VF "1: sentence_overlap[2] must be either 0 or 1;", VALID},
    {"{\"strategy\":\"recursive\",\"max_chunk_size\":10,\"separators\":[\"a\"],"
     "\"separator_group\":\"markdown\"}",
     NULL, VF "1: Recursive chunking settings can not have both separators and separator_set;",
     VALID},
    {"{\"strategy\":\"recursive\",\"max_chunk_size\":10,\"separators\":[]}", NULL,
     VF "1: Recursive chunking settings can not have an empty list of separators;", VALID},
    {"{\"strategy\":\"recursive\",\"max_chunk_size\":10,\"separators\":[1]}", NULL,
     VF "1: field [separators] is not of the expected type. The value [[1]] cannot be converted to "
        "a [List];",
     VALID},
    {"{\"strategy\":\"recursive\",\"max_chunk_size\":10,\"separator_group\":\"x\"}", NULL,
     VF "1: [chunking_settings] Invalid value [x] received. [separator_group] must be one of "
        "[markdown, plaintext];",
     VALID},
    {"{\"strategy\":\"foo\"}", NULL, "Invalid chunkingStrategy foo", ARG},
    {"{\"strategy\":\"Sentence\",\"max_chunk_size\":20}", NULL, "Invalid chunkingStrategy Sentence",
     ARG},
    {"{\"max_chunk_size\":20}", NULL, "Can't generate Chunker without ChunkingStrategy provided",
     ARG},
    {"[]", NULL,
     VF "1: field [chunking_settings] is not of the expected type. The value [[]] cannot be "
        "converted to a [Map];",
     VALID},
};

static void test_rows(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena *a = arena_new(ARENA_NO_LIMIT);
        const struct json *given = NULL;
        struct chunking c;
        if (rows[i].given)
            assert_null(json_parse(a, str_c(rows[i].given), &given));
        struct err *e = chunking_parse(a, given, &c);
        if (rows[i].reason) {
            assert_non_null(e);
            assert_string_equal(e->reason, rows[i].reason);
            assert_string_equal(err_type(e), rows[i].type);
            err_free(e);
        } else {
            struct buf b;
            struct json_out w;
            assert_null(e);
            buf_init(&b, 1 << 16);
            json_out_init(&w, &b);
            chunking_render(&w, &c);
            assert_string_equal(arena_cstr(a, buf_str(&b)), rows[i].printed);
            buf_deinit(&b);
        }
        arena_free(a);
    }
}

static void test_markdown(void **state)
{
    struct arena *a = arena_new(ARENA_NO_LIMIT);
    const struct json *given;
    struct chunking c;
    assert_null(json_parse(
        a,
        STR("{\"strategy\":\"recursive\",\"max_chunk_size\":25,\"separator_group\":\"markdown\"}"),
        &given));
    assert_null(chunking_parse(a, given, &c));
    assert_int_equal(c.n_separators, 8);
    assert_true(str_eq(c.separators[0], STR("\n# ")));
    assert_true(str_eq(c.separators[5], STR("\n###### ")));
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_markdown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
