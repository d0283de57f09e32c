/* The map made from Unicode's tables against SentencePiece's own: sums over every character, and
 * over letters with one mark and two. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "charsmap.h"
#include "json.h"
#include "unicode.h"

static void add(uint64_t *sum, const uint32_t *chars, size_t n)
{
    struct norm_text in = {0}, out = {0};
    for (size_t i = 0; i < n; i++)
        norm_text_put(&in, chars[i], 0, 1);
    charsmap_apply(charsmap_nmt_nfkc(), &in, 0, &out);
    norm_text_put(&out, 0, 0, 0);
    for (size_t i = 0; i < out.n; i++)
        *sum = (*sum ^ (uint8_t)out.p[i]) * 0x100000001B3;
    norm_text_free(&in);
    norm_text_free(&out);
}

static void assert_sum(uint64_t sum, const struct json *expected)
{
    char text[17];
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)sum);
    assert_memory_equal(text, expected->text.p, 16);
}

#define FNV 0xCBF29CE484222325

static void every_character_becomes_what_it_should(void **state)
{
    const struct json *root = *state;
    struct json_iter it = json_iter(json_get(root, "blocks"));
    uint32_t first = 0;
    for (const struct json *block; (block = json_next(&it)); first += 0x1000) {
        uint64_t sum = FNV;
        for (uint32_t c = first; c < first + 0x1000; c++) {
            if (c && (c < 0xD800 || c >= 0xE000))
                add(&sum, (uint32_t[]){'x', c}, 2);
        }
        assert_sum(sum, block);
    }
    assert_int_equal(first, 0x30000);
}

static size_t read_marks(const struct json *root, uint32_t out[128])
{
    size_t n = 0;
    struct json_iter it = json_iter(json_get(root, "marks"));
    for (const struct json *j; (j = json_next(&it)) && n < 128;) {
        int64_t c;
        assert_true(json_i64(j, &c));
        out[n++] = (uint32_t)c;
    }
    return n;
}

static void marks_join_their_letters(void **state)
{
    uint32_t marks[128];
    size_t n = read_marks(*state, marks);
    uint64_t pairs = FNV, triples = FNV;
    for (uint32_t c = 0x20; c < 0x3000; c++) {
        for (size_t i = 0; i < n; i++)
            add(&pairs, (uint32_t[]){'x', c, marks[i]}, 3);
    }
    assert_sum(pairs, json_get(*state, "pairs"));
    for (uint32_t c = 0x41; c < 0x250; c++) {
        for (size_t i = 0; i < 400; i++)
            add(&triples, (uint32_t[]){c, marks[i / 20], marks[i % 20]}, 3);
    }
    assert_sum(triples, json_get(*state, "triples"));
}

static struct arena *arena;

static int open_fixture(void **state)
{
    static char text[8192];
    const struct json *root;
    FILE *f = fopen(TEXT_FIXTURES "/nmt_nfkc.json", "rb");
    if (!f)
        return 1;
    size_t n = fread(text, 1, sizeof(text), f);
    fclose(f);
    arena = arena_new(ARENA_NO_LIMIT);
    if (json_parse(arena, str_n(text, n), &root))
        return 1;
    *state = (void *)(uintptr_t)root;
    return 0;
}

static int close_fixture(void **state)
{
    arena_free(arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_character_becomes_what_it_should),
        cmocka_unit_test(marks_join_their_letters),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
