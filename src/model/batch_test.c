#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"

static atomic_bool live, gone = true;

static void fill(struct queue *q, struct sequence *s, const uint32_t *lengths, size_t n)
{
    *q = (struct queue){0};
    for (size_t i = 0; i < n; i++) {
        s[i] = (struct sequence){.n_tokens = lengths[i], .row = (uint32_t)i, .cancelled = &live};
        queue_put(q, &s[i]);
    }
}

/* "0 2 5" */
static void expect_rows(const struct batch *b, const char *rows)
{
    char got[256] = "";
    size_t at = 0, tokens = 0;
    for (size_t i = 0; i < b->n; i++) {
        at += (size_t)snprintf(got + at, sizeof(got) - at, i ? " %u" : "%u", b->items[i]->row);
        tokens += b->items[i]->n_tokens;
    }
    assert_string_equal(got, rows);
    assert_int_equal(tokens, b->n_tokens);
}

static void similar_lengths_go_together(void **state)
{
    static const uint32_t lengths[] = {100, 10, 120, 400, 60, 9, 40, 200};
    struct sequence s[8];
    struct queue q;
    struct batch *b = calloc(1, sizeof(*b));
    fill(&q, s, lengths, 8);
    batch_take(&q, &(struct batch_rules){.token_budget = 1000}, b);
    expect_rows(b, "0 2 4 7");
    batch_take(&q, &(struct batch_rules){.token_budget = 1000}, b);
    expect_rows(b, "1 5");
    batch_take(&q, &(struct batch_rules){.token_budget = 1000}, b);
    expect_rows(b, "3");
    batch_take(&q, &(struct batch_rules){.token_budget = 1000}, b);
    expect_rows(b, "6");
    assert_int_equal(q.n, 0);
    assert_null(q.rest.first);
    assert_null(q.rest.last);
    batch_take(&q, &(struct batch_rules){.token_budget = 1000}, b);
    assert_int_equal(b->n, 0);
    free(b);
}

static void the_budget_holds_and_the_first_always_runs(void **state)
{
    static const uint32_t lengths[] = {100, 100, 150, 50, 100};
    struct sequence s[5];
    struct queue q;
    struct batch *b = calloc(1, sizeof(*b));
    fill(&q, s, lengths, 5);
    batch_take(&q, &(struct batch_rules){.token_budget = 250}, b);
    expect_rows(b, "0 1 3");
    batch_take(&q, &(struct batch_rules){.token_budget = 120},
               b); /* longer than the budget: alone, but not never */
    expect_rows(b, "2");
    batch_take(&q, &(struct batch_rules){.token_budget = 100}, b);
    expect_rows(b, "4");
    free(b);
}

static void cancelled_ones_are_dropped(void **state)
{
    static const uint32_t lengths[] = {5, 6, 7, 8};
    struct sequence s[4];
    struct queue q;
    struct batch *b = calloc(1, sizeof(*b));
    fill(&q, s, lengths, 4);
    s[0].cancelled = s[2].cancelled = &gone;
    batch_take(&q, &(struct batch_rules){.token_budget = 100}, b);
    expect_rows(b, "1 3");
    assert_int_equal(b->n_dropped, 2);
    assert_ptr_equal(b->dropped, &s[2]);
    assert_ptr_equal(b->dropped->next, &s[0]);
    assert_int_equal(q.n, 0);
    free(b);
}

static void whoever_is_first_is_in_the_next_batch(void **state)
{
    /* One long text among short ones that keep coming. */
    struct sequence s[200];
    struct queue q;
    struct batch *b = calloc(1, sizeof(*b));
    uint32_t lengths[100];
    for (size_t i = 0; i < 100; i++)
        lengths[i] = i == 50 ? 500 : 10;
    fill(&q, s, lengths, 100);
    bool ran = false;
    int batches = 0;
    for (size_t next = 100; !ran; batches++) {
        batch_take(&q, &(struct batch_rules){.token_budget = 100}, b);
        for (size_t i = 0; i < b->n; i++)
            ran |= b->items[i] == &s[50];
        for (size_t i = 0; i < 10 && next < 200; i++, next++) {
            s[next] = (struct sequence){.n_tokens = 10, .cancelled = &live};
            queue_put(&q, &s[next]);
        }
    }
    assert_int_equal(batches, 6);
    free(b);
}

static void removing_keeps_the_order(void **state)
{
    static const uint32_t lengths[] = {1, 2, 3, 4};
    struct sequence s[4];
    struct queue q;
    struct batch *b = calloc(1, sizeof(*b));
    fill(&q, s, lengths, 4);
    queue_remove(&q, &s[3]);
    queue_remove(&q, &s[0]);
    queue_put(&q, &s[0]);
    queue_remove(&q, &s[2]);
    batch_take(&q, &(struct batch_rules){.token_budget = 100}, b);
    expect_rows(b, "1 0");
    free(b);
}

static void searches_go_first_but_not_always(void **state)
{
    struct sequence s[40];
    struct queue q = {0};
    struct batch *b = calloc(1, sizeof(*b));
    char order[32] = "";
    for (size_t i = 0; i < 40; i++) {
        s[i] = (struct sequence){
            .n_tokens = 100, .row = (uint32_t)i, .search = i >= 20, .cancelled = &live};
        queue_put(&q, &s[i]);
    }
    for (size_t i = 0; i < 12; i++) {
        batch_take(&q, &(struct batch_rules){.token_budget = 100}, b);
        order[i] = b->items[0]->search ? 's' : '.';
    }
    assert_string_equal(order, "ssss.ssss.ss");
    assert_int_equal(b->items[0]->row, 29);                         /* in order of arrival */
    batch_take(&q, &(struct batch_rules){.token_budget = 1000}, b); /* company comes from both */
    assert_int_equal(b->n, 10);
    assert_int_equal(q.n, 18);
    size_t n = 0;
    for (struct sequence *i = queue_take_all(&q); i; i = i->next, n++)
        assert_false(i->queued);
    assert_int_equal(n, 18);
    free(b);
}

/* --- whose turn it is --- */

/* Puts sequences of owners in this order, each of so many tokens. */
static void fill_owned(struct queue *q, struct sequence *s, const char *owners, uint32_t tokens)
{
    for (size_t i = 0; owners[i]; i++) {
        s[i] = (struct sequence){.n_tokens = tokens,
                                 .row = (uint32_t)i,
                                 .owner = (uint32_t)owners[i],
                                 .cancelled = &live};
        queue_put(q, &s[i]);
    }
}

static void one_text_does_not_wait_for_a_thousand(void **state)
{
    struct sequence s[8];
    struct queue q = {0};
    struct batch *b = calloc(1, sizeof(*b));
    fill_owned(&q, s, "aaaaaab", 50);
    batch_take(&q, &(struct batch_rules){.token_budget = 100}, b);
    expect_rows(b, "0 6");
    batch_take(&q, &(struct batch_rules){.token_budget = 100}, b);
    expect_rows(b, "1 2");
    free(b);
}

static void owners_have_places_of_their_own(void **state)
{
    static struct queue q;
    uint32_t same[QUEUE_OWNER_PLACES + 1]; /* who would all like to be in one place */
    for (uint32_t i = 0; i <= QUEUE_OWNER_PLACES; i++) {
        same[i] = queue_owner(&q, 7 + (i + 1) * QUEUE_OWNERS);
        for (uint32_t k = 0; k < i && i < QUEUE_OWNER_PLACES; k++)
            assert_int_not_equal(same[k], same[i]);
        q.owners[same[i]].n_held++;
        assert_int_equal(queue_owner(&q, 7 + QUEUE_OWNERS), same[0]);
    }
    assert_int_equal(same[QUEUE_OWNER_PLACES], 7); /* one too many: he shares */
    q.owners[same[3]].n_held = 0;
    q.owners[same[5]].n_held = 0;
    q.owners[same[3]].next_turn = 10;
    q.owners[same[5]].next_turn = 9;
    assert_int_equal(queue_owner(&q, 7), same[5]);
    assert_int_equal(q.owners[same[5]].next_turn, 0);
    assert_int_equal(queue_owner(&q, 7 + 4 * QUEUE_OWNERS), same[3]); /* he is still there */
    assert_int_equal(q.owners[same[3]].next_turn, 10);
}

static void owners_take_turns_by_tokens(void **state)
{
    struct sequence s[12], long_one = {.n_tokens = 60, .row = 99, .owner = 'c', .cancelled = &live};
    struct queue q = {0};
    struct batch *b = calloc(1, sizeof(*b));
    fill_owned(&q, s, "aaaabbbb", 40);
    batch_take(&q, &(struct batch_rules){.token_budget = 160}, b);
    expect_rows(b, "0 4 1 5");
    queue_put(&q, &long_one); /* new: its turn is now */
    batch_take(&q, &(struct batch_rules){.token_budget = 160}, b);
    expect_rows(b, "99 2 6");
    free(b);
}

/* Whoever was alone for long owes nothing to those who come later. */
static void the_past_does_not_count(void **state)
{
    struct sequence s[8], more[2];
    struct queue q = {0};
    struct batch *b = calloc(1, sizeof(*b));
    fill_owned(&q, s, "aaaaaaaa", 50);
    while (q.n)
        batch_take(&q, &(struct batch_rules){.token_budget = 100}, b);
    more[0] = (struct sequence){.n_tokens = 50, .row = 1, .owner = 'a', .cancelled = &live};
    more[1] = (struct sequence){.n_tokens = 50, .row = 2, .owner = 'b', .cancelled = &live};
    queue_put(&q, &more[0]);
    queue_put(&q, &more[1]);
    batch_take(&q, &(struct batch_rules){.token_budget = 100}, b);
    assert_int_equal(b->n, 2);
    free(b);
}

static void what_cannot_be_in_time_is_not_begun(void **state)
{
    struct sequence s[4];
    struct queue q = {0};
    struct batch *b = calloc(1, sizeof(*b));
    struct batch_rules rules = {.token_budget = 100, .now_ms = 1000, .ms_per_token = 1};
    fill_owned(&q, s, "abcd", 50);
    s[0].deadline_ms = 1050; /* a run of 100 tokens ends at 1100 */
    s[1].deadline_ms = 1100;
    s[2].deadline_ms = 999;
    batch_take(&q, &rules, b);
    expect_rows(b, "1 3");
    assert_int_equal(b->n_late, 2);
    assert_int_equal(q.n, 0);
    assert_int_equal(q.n_tokens, 0);
    assert_false(s[0].queued);
    free(b);
}

/* Turns stay in order whatever comes and goes. */
static void lines_stay_in_order(void **state)
{
    static struct sequence s[600];
    struct queue q = {0};
    struct batch *b = calloc(1, sizeof(*b));
    unsigned random = 1;
    for (size_t i = 0; i < 600; i++) {
        random = random * 1103515245 + 12345;
        s[i] = (struct sequence){.n_tokens = 1 + (random >> 16) % 90,
                                 .owner = (random >> 8) % 7,
                                 .search = (random >> 20) % 3 == 0,
                                 .cancelled = &live};
        queue_put(&q, &s[i]);
        if (i % 5 == 4)
            queue_remove(&q, &s[i - 2]);
        if (i % 50 == 49)
            batch_take(&q, &(struct batch_rules){.token_budget = 300}, b);
        for (struct sequence *l = q.rest.first; l && l->next; l = l->next)
            assert_true(l->turn <= l->next->turn && l->next->prev == l);
        for (struct sequence *l = q.search.first; l && l->next; l = l->next)
            assert_true(l->turn <= l->next->turn && l->next->prev == l);
    }
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(similar_lengths_go_together),
        cmocka_unit_test(the_budget_holds_and_the_first_always_runs),
        cmocka_unit_test(cancelled_ones_are_dropped),
        cmocka_unit_test(whoever_is_first_is_in_the_next_batch),
        cmocka_unit_test(removing_keeps_the_order),
        cmocka_unit_test(searches_go_first_but_not_always),
        cmocka_unit_test(one_text_does_not_wait_for_a_thousand),
        cmocka_unit_test(owners_have_places_of_their_own),
        cmocka_unit_test(owners_take_turns_by_tokens),
        cmocka_unit_test(the_past_does_not_count),
        cmocka_unit_test(what_cannot_be_in_time_is_not_begun),
        cmocka_unit_test(lines_stay_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
