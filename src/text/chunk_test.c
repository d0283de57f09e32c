/* Elasticsearch's cut points, and what holds for every text. The vectors are those of shared facts,
 * inference.md 8.2. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "buf.h"
#include "chunk.h"
#include "chunk_private.h"
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

static const char A[] =
    "The cat sat on the mat. It was a warm day! Did the dog see it? No, the dog slept. Birds sang "
    "all morning long near the old stone wall, and nobody in the village noticed them at all until "
    "noon.";

/* "w1 w2 ... w50." */
static const char *numbered(int n)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int i = 1; i <= n; i++)
        buf_printf(&b, "%sw%d", i > 1 ? " " : "", i);
    buf_char(&b, '.');
    const char *out = arena_cstr(arena, buf_str(&b));
    buf_deinit(&b);
    return out;
}

static struct chunks cut(const struct chunk_plan *plan, const char *text)
{
    struct chunks c;
    assert_null(chunk_text(plan, arena, str_c(text), 100000, &c));
    assert_false(c.more);
    return c;
}

static void expect(struct chunk_plan plan, const char *text, const char *wanted)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    struct chunks c = cut(&plan, text);
    for (size_t i = 0; i < c.n; i++)
        buf_printf(&b, "%s%zu-%zu", i ? " " : "", c.list[i].start, c.list[i].end);
    assert_string_equal(arena_cstr(arena, buf_str(&b)), wanted);
    buf_deinit(&b);
}

static struct chunk_plan sentence(size_t max, size_t overlap)
{
    return (struct chunk_plan){.by = CHUNK_BY_SENTENCE, .max_words = max, .overlap = overlap};
}

static struct chunk_plan word(size_t max, size_t overlap)
{
    return (struct chunk_plan){.by = CHUNK_BY_WORD, .max_words = max, .overlap = overlap};
}

static struct chunk_plan separator(size_t max, const struct str *separators, size_t n)
{
    return (struct chunk_plan){
        .by = CHUNK_BY_SEPARATOR, .max_words = max, .separators = separators, .n_separators = n};
}

static void the_vectors(void **state)
{
    expect(sentence(20, 1), A, "0-82 62-168 118-192");
    expect(sentence(20, 0), A, "0-82 82-186 138-192");
    expect(sentence(250, 1), A, "0-192");
    expect(word(10, 5), A, "0-37 18-58 37-80 58-109 80-133 109-160 133-186 160-192");
    expect(word(10, 1), A, "0-37 32-74 70-122 118-173 168-192");
    expect(word(20, 0), A, "0-80 80-186 186-192");
    const char *l = numbered(50);
    assert_int_equal(strlen(l), 191);
    expect(sentence(20, 0), l, "0-70 34-114 78-158 122-191");
    expect(sentence(20, 1), l, "0-70 34-114 78-158 122-191");
}

static void the_quirk(void **state)
{
    struct utf16 units;
    assert_true(utf16_of(arena, STR("Alpha\nBeta gamma\nDelta."), &units));
    struct segments *words = segments_open(SEGMENT_WORDS, units);
    assert_int_equal(count_words(words, 0, 6), 1);
    assert_int_equal(count_words(words, 6, 17), 3);
    assert_int_equal(count_words(words, 17, 23), 2);
    segments_close(words);
}

/* Twenty words in four sentences of lines: with the quirk they are 23, and do not fit. */
static void the_quirk_moves_cut_points(void **state)
{
    const char *lines = "a b c d e\na b c d e\na b c d e\na b c d e";
    const char *dots = "A b c d e. A b c d e. A b c d e. A b c d e.";
    expect(sentence(20, 0), dots, "0-43");
    expect(sentence(20, 0), lines, "0-30 30-39");
    expect(sentence(20, 1), lines, "0-30 20-39");
}

static void short_and_odd_texts(void **state)
{
    static const struct str any[] = {STR_INIT("\n")};
    const struct chunk_plan plans[] = {
        sentence(20, 0), sentence(20, 1),       word(10, 0),
        word(10, 5),     separator(10, any, 1), {.by = CHUNK_BY_NOTHING},
    };
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        expect(plans[i], "", "0-0");
        expect(plans[i], "word", "0-4");
        expect(plans[i], " \n ...  ", "0-8");
        expect(plans[i], "\xF0\x9F\x98\x80\xF0\x9F\x98\x80", "0-4");
    }
    expect((struct chunk_plan){.by = CHUNK_BY_NOTHING}, A, "0-192");
    expect((struct chunk_plan){.by = CHUNK_BY_NOTHING}, numbered(1000), "0-4893");
    /* Ten words, then none: with overlap the tail has nothing of its own. */
    expect(word(10, 0), "a b c d e f g h i j", "0-19");
    expect(word(10, 0), "a b c d e f g h i j ...", "0-19");
    expect(word(10, 5), "a b c d e f g h i j ...", "0-19");
    expect(word(10, 5), "a b c d e f g h i j k", "0-19 9-21");
}

static const struct str paragraphs[] = {STR_INIT("(?<!\n)\n\n(?!\n)"), STR_INIT("(?<!\n)\n(?!\n)")};

static void by_separators(void **state)
{
    /* Fits: one chunk. */
    expect(separator(20, paragraphs, 2), "a b\n\nc d", "0-8");
    /* Pieces begin at the separator. A piece right behind a word counts that word too: 5, 6, 5. */
    expect(separator(10, paragraphs, 2), "a b c d e\n\na b c d e\n\na b c d", "0-9 9-20 20-29");
    expect(separator(10, paragraphs, 2), "a b c d.\n\na b c d.\n\na b c d.", "0-18 18-28");
    /* A paragraph too long goes by lines, and a line too long by sentences. */
    expect(separator(10, paragraphs, 2),
           "One.\n\na b c d e f.\ng h i j k l.\n\nA b c d e f. G h i j k l. M.",
           "0-4 4-18 18-31 31-46 46-61");
    /* Each separator sees its piece alone, so `^` matches where it begins. */
    static const struct str at_start[] = {STR_INIT("\n\n"), STR_INIT("^\n")};
    expect(separator(10, at_start, 2), "a b c.\n\na b c d e f. a b c d e f.", "0-6 6-7 8-28 19-33");
}

static void separators_that_match_everywhere_or_nowhere(void **state)
{
    static const struct str odd[] = {STR_INIT(""), STR_INIT("zzz"), STR_INIT("$|^")};
    for (size_t i = 0; i < 3; i++) {
        struct chunk_plan plan = separator(10, &odd[i], 1);
        struct chunks c = cut(&plan, A);
        assert_true(c.n > 4);
        for (size_t k = 1; k < c.n && i == 0; k++)
            assert_int_equal(c.list[k].start, c.list[k - 1].end);
        assert_int_equal(c.list[0].start, 0);
        assert_int_equal(c.list[c.n - 1].end, 192);
    }
}

static struct err *refusal(const struct chunk_plan *plan, struct str text)
{
    struct chunks c;
    struct err *e = chunk_text(plan, arena, text, 100, &c);
    assert_non_null(e);
    return e;
}

static void what_is_refused(void **state)
{
    struct str bad[51] = {STR_INIT("(")};
    struct chunk_plan plan = separator(10, bad, 1);
    struct err *e = refusal(&plan, str_c(A));
    assert_int_equal(e->status, 400);
    assert_non_null(strstr(e->reason, "[(] cannot be used as a regular expression"));
    err_free(e);
    plan.n_separators = 51;
    e = refusal(&plan, str_c(A));
    assert_string_equal(e->reason, "[51] separators are too many, at most [50]");
    err_free(e);
    char *p = arena_alloc(arena, CHUNK_MAX_SEPARATED_UNITS + 1);
    memset(p, 'a', CHUNK_MAX_SEPARATED_UNITS + 1);
    plan.n_separators = 1;
    e = refusal(&plan, str_n(p, CHUNK_MAX_SEPARATED_UNITS + 1));
    assert_int_equal(e->status, 400);
    err_free(e);
    /* A separator of a deeper level that is never needed is never looked at. */
    expect(plan, "short", "0-5");
}

static void a_separator_that_runs_away(void **state)
{
    static const struct str slow[] = {STR_INIT("(?:(a*)*)*b")};
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 30; i++)
        buf_cstr(&b, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ");
    struct chunk_plan plan = separator(10, slow, 1);
    struct err *e = refusal(&plan, buf_str(&b));
    assert_int_equal(e->status, 400);
    assert_non_null(strstr(e->reason, "takes too "));
    err_free(e);
    buf_deinit(&b);
}

static void no_more_than_asked_for(void **state)
{
    static const struct str spaces[] = {STR_INIT(" ")};
    const struct chunk_plan plans[] = {sentence(20, 1), sentence(20, 0), word(10, 5),
                                       separator(10, spaces, 1)};
    struct str text = str_c(numbered(2000));
    for (size_t i = 0; i < 4; i++) {
        struct chunks all, some;
        assert_null(chunk_text(&plans[i], arena, text, 1000, &all));
        assert_true(all.n > 40 && !all.more);
        assert_null(chunk_text(&plans[i], arena, text, all.n, &some));
        assert_true(some.n == all.n && !some.more);
        assert_null(chunk_text(&plans[i], arena, text, 7, &some));
        assert_true(some.n == 7 && some.more);
        assert_memory_equal(some.list, all.list, 7 * sizeof *some.list);
        assert_null(chunk_text(&plans[i], arena, text, all.n - 1, &some));
        assert_true(some.more);
    }
}

/* --- what holds for every text --- */

static const char *const texts[] = {
    A,
    "Der Zug f\xC3\xA4hrt um 7.30 Uhr ab. \xC3\x9C"
    "ber den W\xC3\xA4ldern h\xC3\xA4ngt Nebel, und "
    "niemand spricht! Ob er wohl p\xC3\xBCnktlich ist? Wahrscheinlich nicht. Die Reisenden warten, "
    "lesen Zeitung und trinken Kaffee, w\xC3\xA4hrend drau\xC3\x9F"
    "en der Regen f\xC3\xA4llt und der "
    "Schaffner seine Uhr stellt, die seit gestern nachgeht.\nEnde\n",
    "\xE5\x90\xBE\xE8\xBC\xA9\xE3\x81\xAF\xE7\x8C\xAB\xE3\x81\xA7\xE3\x81\x82\xE3\x82\x8B\xE3\x80"
    "\x82"
    "\xE5\x90\x8D\xE5\x89\x8D\xE3\x81\xAF\xE3\x81\xBE\xE3\x81\xA0\xE7\x84\xA1\xE3\x81\x84\xE3\x80"
    "\x82"
    "\xE3\x81\xA9\xE3\x81\x93\xE3\x81\xA7\xE7\x94\x9F\xE3\x82\x8C\xE3\x81\x9F\xE3\x81\x8B\xE3\x81"
    "\xA8"
    "\xE3\x82\x93\xE3\x81\xA8\xE8\xA6\x8B\xE5\xBD\x93\xE3\x81\x8C\xE3\x81\xA4\xE3\x81\x8B\xE3\x81"
    "\xAC"
    "\xE3\x80\x82",
    "\xE0\xB8\xAA\xE0\xB8\xA7\xE0\xB8\xB1\xE0\xB8\xAA\xE0\xB8\x94\xE0\xB8\xB5\xE0\xB8\x8A\xE0\xB8"
    "\xB2"
    "\xE0\xB8\xA7\xE0\xB9\x82\xE0\xB8\xA5\xE0\xB8\x81\xE0\xB8\xA7\xE0\xB8\xB1\xE0\xB8\x99\xE0\xB8"
    "\x99"
    "\xE0\xB8\xB5\xE0\xB9\x89\xE0\xB8\xAD\xE0\xB8\xB2\xE0\xB8\x81\xE0\xB8\xB2\xE0\xB8\xA8\xE0\xB8"
    "\x94"
    "\xE0\xB8\xB5 \xE0\xB8\xA1\xE0\xB8\xB2\xE0\xB8\x81",
    "\xD7\xA9\xD7\x9C\xD7\x95\xD7\x9D \xD7\xA2\xD7\x95\xD7\x9C\xD7\x9D. \xD7\x9E\xD7\x94 "
    "\xD7\xA9\xD7\x9C\xD7\x95\xD7\x9E\xD7\x9A? \xD7\x90.\xD7\x91",
    "\xF0\x9F\x98\x80 emoji "
    "\xF0\x9F\x91\xA8\xE2\x80\x8D\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7 "
    "and \xF0\x9F\x87\xA9\xF0\x9F\x87\xAA\xF0\x9F\x87\xAB\xF0\x9F\x87\xB7 flags. Then more words "
    "follow\r\nover\r\n\r\nseveral\xE2\x80\xA9paragraphs, e\xCC\x81 too.",
    "!!! ... ??? --- no words at first, then a few; 3.14 and 1,000,000 and can't and a_b and "
    "x@y.zz",
};

static size_t n_words(struct str text)
{
    struct utf16 units;
    assert_true(utf16_of(arena, text, &units));
    struct segments *s = segments_open(SEGMENT_WORDS, units);
    struct boundary b;
    size_t n = 0;
    while (segments_next(s, &b))
        n += b.is_word;
    segments_close(s);
    return n;
}

static struct str bytes_of(struct str text, const struct chunk *c)
{
    return str_sub(text, c->from, c->to - c->from);
}

static void check_offsets(struct str text, const struct chunks *c)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct chunk *k = &c->list[i];
        assert_true(k->from <= k->to && k->to <= text.n);
        assert_int_equal(utf16_length(str_sub(text, 0, k->from)), k->start);
        assert_int_equal(utf16_length(str_sub(text, 0, k->to)), k->end);
        assert_true(str_utf8_ok(bytes_of(text, k)));
    }
}

/* Between two chunks, before the first and behind the last there are no words. */
static void check_cover(struct str text, const struct chunks *c)
{
    size_t covered = 0;
    for (size_t i = 0; i < c->n; i++) {
        const struct chunk *k = &c->list[i];
        if (k->from > covered)
            assert_int_equal(n_words(str_sub(text, covered, k->from - covered)), 0);
        assert_true(k->to > covered || text.n == 0);
        covered = k->to;
    }
    assert_int_equal(n_words(str_sub(text, covered, SIZE_MAX - covered)), 0);
}

/* In the Hebrew text a sentence ends inside what is one word by the rules of words: cut there, each
 * side has one. */
static bool sentence_ends_in_word(struct str text)
{
    return text.p == texts[4];
}

static void check(const struct chunk_plan *plan, struct str text)
{
    size_t cuts_a_word = plan->by != CHUNK_BY_WORD && sentence_ends_in_word(text);
    struct chunks c;
    assert_null(chunk_text(plan, arena, text, 100000, &c));
    check_offsets(text, &c);
    check_cover(text, &c);
    for (size_t i = 0; i < c.n; i++)
        assert_true(n_words(bytes_of(text, &c.list[i])) <= plan->max_words + cuts_a_word);
    for (size_t i = 1; i < c.n; i++) {
        const struct chunk *was = &c.list[i - 1], *is = &c.list[i];
        if (plan->by != CHUNK_BY_WORD)
            continue;
        assert_true(is->start <= was->end);
        assert_int_equal(n_words(str_sub(text, is->from, was->to - is->from)), plan->overlap);
        if (i + 1 < c.n)
            assert_int_equal(n_words(bytes_of(text, is)), plan->max_words);
    }
}

/* Scripts whose words come from a dictionary are segmented differently when cut elsewhere, so the
 * exact counts are for the others. */
static bool by_dictionary(const char *text)
{
    return text == texts[2] || text == texts[3];
}

static void every_text(void **state)
{
    for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++) {
        struct str text = str_c(texts[t]);
        for (size_t max = 1; max < 45; max++) {
            struct chunk_plan plans[] = {sentence(max, 0), sentence(max, 1),
                                         separator(max, paragraphs, 2)};
            for (size_t i = 0; i < 3; i++) {
                if (!by_dictionary(texts[t])) {
                    check(&plans[i], text);
                    continue;
                }
                struct chunks c = cut(&plans[i], texts[t]);
                check_offsets(text, &c);
            }
            for (size_t overlap = 0; overlap <= max / 2 && !by_dictionary(texts[t]); overlap++) {
                struct chunk_plan plan = word(max, overlap);
                check(&plan, text);
            }
        }
    }
}

/* Without overlap, and with separators, chunks that are not cut inside a sentence lie end to end.
 */
static void end_to_end(void **state)
{
    for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++) {
        struct chunk_plan plan = sentence(30, 0);
        struct chunks c = cut(&plan, texts[t]);
        assert_int_equal(c.list[c.n - 1].end, utf16_length(str_c(texts[t])));
        for (size_t i = 1; i < c.n; i++)
            assert_true(c.list[i].start <= c.list[i - 1].end);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_vectors, setup, teardown),
        cmocka_unit_test_setup_teardown(the_quirk, setup, teardown),
        cmocka_unit_test_setup_teardown(the_quirk_moves_cut_points, setup, teardown),
        cmocka_unit_test_setup_teardown(short_and_odd_texts, setup, teardown),
        cmocka_unit_test_setup_teardown(by_separators, setup, teardown),
        cmocka_unit_test_setup_teardown(separators_that_match_everywhere_or_nowhere, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_separator_that_runs_away, setup, teardown),
        cmocka_unit_test_setup_teardown(no_more_than_asked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(every_text, setup, teardown),
        cmocka_unit_test_setup_teardown(end_to_end, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
