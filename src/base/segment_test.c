#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "buf.h"
#include "segment.h"
#include "unicode.h"

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

static struct utf16 units_of(const char *text)
{
    struct utf16 units;
    assert_true(utf16_of(arena, str_c(text), &units));
    assert_int_equal(units.n, utf16_length(str_c(text)));
    return units;
}

/* "5w 6 11w": boundaries, w where a word ends. */
static struct str boundaries(enum segment_kind kind, const char *text)
{
    struct buf b;
    buf_init(&b, 4096);
    struct segments *s = segments_open(kind, units_of(text));
    struct boundary at;
    while (segments_next(s, &at))
        buf_printf(&b, "%s%zu%s", b.n ? " " : "", at.at, at.is_word ? "w" : "");
    assert_false(segments_next(s, &at));
    segments_close(s);
    struct str out = arena_dup(arena, buf_str(&b));
    buf_deinit(&b);
    return out;
}

static void expect(enum segment_kind kind, const char *text, const char *wanted)
{
    assert_string_equal(boundaries(kind, text).p, wanted);
}

static void words(void **state)
{
    expect(SEGMENT_WORDS, "", "");
    expect(SEGMENT_WORDS, "Hello world.", "5w 6 11w 12");
    expect(SEGMENT_WORDS, "can't 3.14 a-b", "5w 6 10w 11 12w 13 14w");
    expect(SEGMENT_WORDS, "\xF0\x9F\x98\x80 x", "2 3 4w"); /* a surrogate pair */
    expect(SEGMENT_WORDS, "e\xCC\x81t", "3w");             /* a combining accent */
    expect(SEGMENT_WORDS, "\xE4\xBD\xA0\xE5\xA5\xBD\xE4\xB8\x96\xE7\x95\x8C",
           "2w 4w"); /* 你好世界 */
    expect(SEGMENT_WORDS, "\r\n\r\n", "2 4");
}

static void sentences(void **state)
{
    expect(SEGMENT_SENTENCES, "", "");
    expect(SEGMENT_SENTENCES, "One. Two?  Three", "5 11 16");
    expect(SEGMENT_SENTENCES, "Mr. smith paid $3.50. Right\nNo", "22 28 30");
    expect(SEGMENT_SENTENCES, "\xE5\xA5\xBD\xE3\x80\x82\xE5\xA5\xBD", "2 3");
}

static void before(void **state)
{
    struct segments *s = segments_open(SEGMENT_WORDS, units_of("Alpha\nBeta gamma"));
    struct boundary b;
    segments_before(s, 0, &b);
    assert_true(b.at == 0 && !b.is_word);
    segments_before(s, 6, &b);
    assert_true(b.at == 5 && b.is_word);
    assert_true(segments_next(s, &b) && b.at == 6 && !b.is_word);
    segments_before(s, 16, &b);
    assert_true(b.at == 11 && !b.is_word);
    segments_before(s, 3, &b);
    assert_true(b.at == 0 && !b.is_word);
    assert_true(segments_next(s, &b) && b.at == 5 && b.is_word);
    segments_close(s);
}

/* More at once than are kept, of a kind; texts do not mix. */
static void several_at_once(void **state)
{
    struct segments *s[5];
    struct boundary b;
    for (size_t i = 0; i < 5; i++)
        s[i] = segments_open(i % 2 ? SEGMENT_WORDS : SEGMENT_SENTENCES, units_of("Aa. Bb."));
    for (size_t i = 0; i < 5; i++) {
        assert_true(segments_next(s[i], &b));
        assert_int_equal(b.at, i % 2 ? 2 : 4);
    }
    for (size_t i = 0; i < 5; i++)
        segments_close(s[i]);
    words(state);
}

static void *of_another_thread(void *arg)
{
    struct segments *s = segments_open(SEGMENT_WORDS, *(struct utf16 *)arg);
    struct boundary b;
    size_t n = 0;
    while (segments_next(s, &b))
        n += b.is_word;
    segments_close(s);
    return (void *)n;
}

static void threads(void **state)
{
    struct utf16 units = units_of("one two three");
    pthread_t t[3];
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&t[i], NULL, of_another_thread, &units), 0);
    for (size_t i = 0; i < 3; i++) {
        void *n;
        pthread_join(t[i], &n);
        assert_int_equal((size_t)n, 3);
    }
}

static void cursor(void **state)
{
    const char *text = "a\xC3\xA9\xE4\xBD\xA0\xF0\x9F\x98\x80z";
    static const size_t bytes[] = {0, 1, 3, 6, SIZE_MAX, 10, 11};
    struct utf16_cursor c = {.text = str_c(text)};
    for (size_t from = 0; from < 7; from++) {
        for (size_t to = 0; to < 7; to++) {
            if (bytes[from] == SIZE_MAX || bytes[to] == SIZE_MAX)
                continue;
            assert_int_equal(utf16_cursor_to(&c, from), bytes[from]);
            assert_int_equal(utf16_cursor_to(&c, to), bytes[to]);
        }
    }
}

static void too_long(void **state)
{
    struct utf16 units;
    assert_false(utf16_of(arena, str_n("", SEGMENT_MAX_BYTES + 1), &units));
    struct arena *small = arena_new(4096);
    assert_false(utf16_of(small, str_n("", 100000), &units));
    arena_free(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(words, setup, teardown),
        cmocka_unit_test_setup_teardown(sentences, setup, teardown),
        cmocka_unit_test_setup_teardown(before, setup, teardown),
        cmocka_unit_test_setup_teardown(several_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(threads, setup, teardown),
        cmocka_unit_test_setup_teardown(cursor, setup, teardown),
        cmocka_unit_test_setup_teardown(too_long, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
