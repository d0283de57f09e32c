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
    batch_take(&q, 1000, b);
    expect_rows(b, "0 2 4 7");
    batch_take(&q, 1000, b);
    expect_rows(b, "1 5");
    batch_take(&q, 1000, b);
    expect_rows(b, "3");
    batch_take(&q, 1000, b);
    expect_rows(b, "6");
    assert_int_equal(q.n, 0);
    assert_null(q.rest.first);
    assert_null(q.rest.last);
    batch_take(&q, 1000, b);
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
    batch_take(&q, 250, b);
    expect_rows(b, "0 1 3");
    batch_take(&q, 120, b); /* longer than the budget: alone, but not never */
    expect_rows(b, "2");
    batch_take(&q, 100, b);
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
    batch_take(&q, 100, b);
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
        batch_take(&q, 100, b);
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
    batch_take(&q, 100, b);
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
        batch_take(&q, 100, b);
        order[i] = b->items[0]->search ? 's' : '.';
    }
    assert_string_equal(order, "ssss.ssss.ss");
    assert_int_equal(b->items[0]->row, 29); /* in order of arrival */
    batch_take(&q, 1000, b);                /* company comes from both */
    assert_int_equal(b->n, 10);
    assert_int_equal(q.n, 18);
    size_t n = 0;
    for (struct sequence *i = queue_take_all(&q); i; i = i->next, n++)
        assert_false(i->queued);
    assert_int_equal(n, 18);
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
