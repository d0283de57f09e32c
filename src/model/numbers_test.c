/* What is counted, what is reckoned, what is remembered: numbers.c, memory.c, recall.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "memory.h"
#include "numbers.h"
#include "recall.h"

static void averages_are_of_all_time(void **state)
{
    struct numbers n;
    struct deployment_numbers out;
    numbers_init(&n, 1000);
    numbers_show(&n, 1000, &out);
    assert_int_equal(out.inferences, 0);
    assert_true(out.average_ms == 0 && out.last_access_ms == 0);
    numbers_inferred(&n, 2000, 3, 1, 8);
    numbers_show(&n, 2000, &out);
    assert_int_equal(out.inferences, 3);
    assert_int_equal(out.cache_hits, 1);
    assert_true(out.ms == 8);
    assert_true(out.average_ms == 8.0 / 3 && out.average_ms_without_hits == 4);
    assert_int_equal(out.last_access_ms, 2000);
    assert_int_equal(out.peak_per_minute, 3); /* of the window that runs, too */
    assert_int_equal(out.last_minute, 0);     /* none is complete */
}

static void a_minute_is_shown_until_the_next_is_over(void **state)
{
    struct numbers n;
    struct deployment_numbers out;
    const int64_t start = 500;
    numbers_init(&n, start);
    numbers_inferred(&n, start + 59999, 5, 2, 10);
    numbers_show(&n, start + 60000, &out); /* the first window is complete */
    assert_int_equal(out.last_minute, 5);
    assert_int_equal(out.hits_last_minute, 2);
    assert_true(out.average_ms_last_minute == 2);
    numbers_inferred(&n, start + 60001, 9, 0, 9);
    numbers_show(&n, start + 119999, &out);
    assert_int_equal(out.last_minute, 5);
    assert_int_equal(out.peak_per_minute, 9);
    numbers_show(&n, start + 120000, &out);
    assert_int_equal(out.last_minute, 9);
    numbers_show(&n, start + 240000, &out); /* that was two windows ago */
    assert_int_equal(out.last_minute, 0);
    assert_int_equal(out.hits_last_minute, 0);
    assert_true(out.average_ms_last_minute == 0);
    assert_int_equal(out.peak_per_minute, 9);
    numbers_inferred(&n, start - 100000, 1, 0, 1); /* a clock that went back */
    numbers_show(&n, start + 240000, &out);
    assert_int_equal(out.inferences, 15);
}

#define MB (UINT64_C(1) << 20)

/* adaptive_allocations.md 9. */
static void memory_is_as_elasticsearch_reckons(void **state)
{
    static const struct {
        struct memory_need need;
        uint64_t bytes;
    } cases[] = {
        {{.definition_bytes = 100 * MB, .cache_bytes = 100 * MB, .allocations = 0}, 0},
        {{.definition_bytes = 100 * MB, .cache_bytes = 100 * MB, .allocations = 5}, 440 * MB},
        {{.definition_bytes = 100 * MB, .cache_bytes = 150 * MB, .allocations = 1}, 490 * MB},
        {{.definition_bytes = 100 * MB, .cache_bytes = 0, .allocations = 1}, 440 * MB},
        {{.definition_bytes = 100 * MB,
          .per_deployment_bytes = 300 * MB,
          .per_allocation_bytes = 50 * MB,
          .allocations = 4},
         600 * MB},
        {{.definition_bytes = 100 * MB, .per_allocation_bytes = 1, .allocations = 1}, 440 * MB},
        {{.model_id = STR_INIT(".elser_model_2_linux-x86_64"),
          .definition_bytes = 1,
          .allocations = 9},
         2004 * MB},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(memory_needed(&cases[i].need), cases[i].bytes);
    struct memory_need absurd = {.definition_bytes = INT64_MAX,
                                 .per_deployment_bytes = INT64_MAX,
                                 .per_allocation_bytes = INT64_MAX,
                                 .cache_bytes = INT64_MAX,
                                 .allocations = 1024};
    assert_true(memory_needed(&absurd) > (UINT64_C(1) << 50));
}

static void sizes_are_written_as_elasticsearch_does(void **state)
{
    static const struct {
        uint64_t n;
        const char *text, *exact;
    } cases[] = {{0, "0b", "0b"},
                 {1023, "1023b", "1023b"},
                 {94027, "91.8kb", "94027b"},
                 {10240, "10kb", "10kb"},
                 {419430400, "400mb", "400mb"},
                 {UINT64_C(1) << 31, "2gb", "2gb"},
                 {UINT64_MAX, "16383.9pb", "18446744073709551615b"}};
    char out[MEMORY_TEXT_SIZE];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_string_equal(memory_text(cases[i].n, out), cases[i].text);
        assert_string_equal(memory_text_exact(cases[i].n, out), cases[i].exact);
    }
}

static struct kept *keep(float first, int64_t n)
{
    float values[1000] = {first};
    struct kept *k = kept_new(1);
    kept_set(k, 0, &(struct output){.dim = {1, 1, n}, .data = values});
    return k;
}

static void remember(struct recall *r, const char *key, float first, int64_t n)
{
    struct kept *k = keep(first, n);
    recall_put(r, str_c(key), k);
    kept_unref(k);
}

static float recalled(struct recall *r, const char *key)
{
    struct kept *k = recall_find(r, str_c(key));
    float first = k ? k->outputs[0].data[0] : -1;
    kept_unref(k);
    return first;
}

static void the_oldest_is_forgotten(void **state)
{
    struct recall *r = recall_new(10000);
    remember(r, "a", 1, 700);
    remember(r, "b", 2, 700);
    remember(r, "c", 3, 700);
    assert_true(recall_bytes(r) <= 10000);
    assert_true(recalled(r, "a") == 1);
    remember(r, "d", 4, 700); /* b has not been asked for the longest */
    assert_true(recalled(r, "b") == -1 && recalled(r, "a") == 1 && recalled(r, "d") == 4);
    remember(r, "a", 9, 10); /* there already */
    assert_true(recalled(r, "a") == 1);
    struct recall *tiny = recall_new(100);
    remember(tiny, "e", 5, 999); /* larger than all the room */
    assert_true(recalled(tiny, "e") == -1 && recall_bytes(tiny) == 0);
    recall_free(tiny);
    struct kept *held = recall_find(r, STR("a"));
    recall_clear(r);
    assert_int_equal(recall_bytes(r), 0);
    assert_true(recalled(r, "a") == -1 && held->outputs[0].data[0] == 1);
    kept_unref(held);
    recall_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(averages_are_of_all_time),
        cmocka_unit_test(a_minute_is_shown_until_the_next_is_over),
        cmocka_unit_test(memory_is_as_elasticsearch_reckons),
        cmocka_unit_test(sizes_are_written_as_elasticsearch_does),
        cmocka_unit_test(the_oldest_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
