#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "turns.h"

/* 60 a minute: one per second. */
#define SECOND INT64_C(1000000000)
#define NOW    (INT64_C(5000) * SECOND)

enum { HEAVY = 7, LIGHT = 8, OTHER = 8 + TURNS_BUCKETS /* of the same bucket as LIGHT */ };

static struct turns turns;

static int setup(void **state)
{
    turns_init(&turns, SECOND);
    return 0;
}

static int teardown(void **state)
{
    while (turns_next(&turns, INT64_MAX / 2)) {
    }
    assert_int_equal(turns.n, 0);
    assert_true(list_empty(&turns.ring));
    for (int i = 0; i < TURNS_BUCKETS; i++)
        assert_null(turns.buckets[i]);
    return 0;
}

static enum limit_answer join(struct turn *turn, uint32_t owner, int64_t now_ns)
{
    struct turn *gives_way;
    *turn = (struct turn){.owner = owner};
    enum limit_answer answer = turns_join(&turns, turn, 0, now_ns, &gives_way);
    assert_null(gives_way);
    return answer;
}

static void slots_are_spaced(void **state)
{
    struct turn t[3];
    assert_int_equal(join(&t[0], 1, NOW), LIMIT_NOW);
    assert_int_equal(t[0].slot_ns, NOW);
    assert_int_equal(join(&t[1], 1, NOW), LIMIT_WAIT);
    assert_int_equal(join(&t[2], 1, NOW + SECOND / 2), LIMIT_WAIT);
    assert_null(turns_next(&turns, NOW + SECOND - 1));
    assert_ptr_equal(turns_next(&turns, NOW + SECOND), &t[1]);
    assert_int_equal(t[1].slot_ns, NOW + SECOND);
    assert_null(turns_next(&turns, NOW + 2 * SECOND - 1));
    /* A look that comes late does not move the slots. */
    assert_ptr_equal(turns_next(&turns, NOW + 2 * SECOND + 5), &t[2]);
    assert_int_equal(t[2].slot_ns, NOW + 2 * SECOND);
    assert_null(turns_next(&turns, NOW + 100 * SECOND));
}

static void idle_time_saves_one_slot_not_many(void **state)
{
    static struct turn t[3]; /* one still waits in the end */
    assert_int_equal(join(&t[0], 1, NOW), LIMIT_NOW);
    assert_int_equal(join(&t[1], 1, NOW + 100 * SECOND), LIMIT_NOW);
    assert_int_equal(join(&t[2], 1, NOW + 100 * SECOND), LIMIT_WAIT);
    assert_int_equal(turns.next_ns, NOW + 101 * SECOND);
}

/* What passed while nobody looked belongs to those who waited then. */
static void a_latecomer_has_no_slot_from_before(void **state)
{
    struct turn t[3];
    join(&t[0], 1, NOW);
    join(&t[1], 1, NOW);
    assert_int_equal(join(&t[2], 1, NOW + 9 * SECOND), LIMIT_WAIT);
    assert_ptr_equal(turns_next(&turns, NOW + 9 * SECOND), &t[1]);
    assert_int_equal(t[1].slot_ns, NOW + SECOND);
    assert_ptr_equal(turns_next(&turns, NOW + 9 * SECOND), &t[2]);
    assert_int_equal(t[2].slot_ns, NOW + 9 * SECOND);
    assert_int_equal(turns.next_ns, NOW + 10 * SECOND);
}

static void a_thousand_calls_do_not_hold_up_one(void **state)
{
    struct turn now, light;
    struct turn *heavy = calloc(1000, sizeof *heavy);
    join(&now, HEAVY, NOW);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(join(&heavy[i], HEAVY, NOW), LIMIT_WAIT);
    assert_int_equal(join(&light, LIGHT, NOW + 1), LIMIT_WAIT);
    assert_ptr_equal(turns_next(&turns, NOW + SECOND), &heavy[0]);
    assert_ptr_equal(turns_next(&turns, NOW + 2 * SECOND), &light);
    for (int i = 1; i < 1000; i++)
        assert_ptr_equal(turns_next(&turns, NOW + (i + 2) * SECOND), &heavy[i]);
    free(heavy);
}

static void owners_go_one_after_the_other(void **state)
{
    static const uint32_t owners[] = {HEAVY, HEAVY, HEAVY, LIGHT, LIGHT, OTHER, OTHER};
    static const uint32_t order[] = {0, 3, 5, 1, 4, 6, 2};
    struct turn now, t[7];
    join(&now, 1, NOW);
    for (int i = 0; i < 7; i++)
        join(&t[i], owners[i], NOW);
    for (int i = 0; i < 7; i++)
        assert_ptr_equal(turns_next(&turns, NOW + (i + 1) * SECOND), &t[order[i]]);
}

static void parts_and_calls_of_one_owner_alternate(void **state)
{
    struct turn now, parts[4], calls[3], *gives_way;
    struct turn *order[] = {&calls[0], &parts[0], &calls[1], &parts[1],
                            &calls[2], &parts[2], &parts[3]};
    join(&now, 1, NOW);
    for (int i = 0; i < 4; i++) {
        parts[i] = (struct turn){.owner = 1, .part = true};
        turns_join(&turns, &parts[i], 0, NOW, &gives_way);
    }
    for (int i = 0; i < 3; i++)
        join(&calls[i], 1, NOW);
    for (int i = 0; i < 7; i++)
        assert_ptr_equal(turns_next(&turns, NOW + (i + 1) * SECOND), order[i]);
}

static void who_leaves_costs_no_slot(void **state)
{
    struct turn t[4];
    for (int i = 0; i < 4; i++)
        join(&t[i], 1, NOW);
    turns_leave(&turns, &t[1]);
    turns_leave(&turns, &t[1]); /* nothing more to leave */
    assert_ptr_equal(turns_next(&turns, NOW + SECOND), &t[2]);
    turns_leave(&turns, &t[2]);
    turns_leave(&turns, &t[3]);
    assert_int_equal(turns.n, 0);
    assert_null(turns_next(&turns, NOW + 9 * SECOND));
}

static void a_slot_that_is_not_used_is_anothers(void **state)
{
    struct turn t[4];
    for (int i = 0; i < 4; i++)
        join(&t[i], 1, NOW);
    assert_ptr_equal(turns_next(&turns, NOW + SECOND), &t[1]);
    turns_give_back(&turns, &t[1]);
    assert_ptr_equal(turns_next(&turns, NOW + SECOND), &t[2]);
    assert_int_equal(t[2].slot_ns, NOW + SECOND);
    assert_ptr_equal(turns_next(&turns, NOW + 2 * SECOND), &t[3]);
    turns_give_back(&turns, &t[2]); /* too late: the next one has gone a second after it */
    assert_int_equal(turns.next_ns, NOW + 3 * SECOND);
}

static enum limit_answer join_until(struct turn *turn, uint32_t owner, int64_t deadline_ns,
                                    size_t capacity, struct turn **gives_way)
{
    *turn = (struct turn){.owner = owner, .deadline_ns = deadline_ns};
    return turns_join(&turns, turn, capacity, NOW, gives_way);
}

static void a_slot_past_the_deadline_is_not_waited_for(void **state)
{
    struct turn now, t[3], *gives_way;
    join(&now, 1, NOW);
    assert_int_equal(join_until(&t[0], 1, NOW + SECOND - 1, 0, &gives_way), LIMIT_TOO_LATE);
    assert_int_equal(turns.n, 0);
    assert_int_equal(join_until(&t[0], 1, NOW + SECOND, 0, &gives_way), LIMIT_WAIT);
    assert_int_equal(join_until(&t[1], 1, NOW + SECOND, 0, &gives_way), LIMIT_WAIT);
    assert_int_equal(join_until(&t[2], 1, NOW + 2 * SECOND, 0, &gives_way), LIMIT_WAIT);
    assert_ptr_equal(turns_next(&turns, NOW + SECOND), &t[0]);
    /* The second turned out to be late: it takes no slot, and leaves by itself. */
    assert_ptr_equal(turns_next(&turns, NOW + 2 * SECOND), &t[2]);
    assert_int_equal(turns.n, 0);
    turns_leave(&turns, &t[1]);
}

static void the_latest_of_the_many_gives_way_when_it_is_full(void **state)
{
    static struct turn now, heavy[5], light[3]; /* some still wait in the end */
    struct turn *gives_way;
    join(&now, 1, NOW);
    for (int i = 0; i < 4; i++)
        assert_int_equal(join_until(&heavy[i], HEAVY, 0, 4, &gives_way), LIMIT_WAIT);
    assert_int_equal(join_until(&heavy[4], HEAVY, 0, 4, &gives_way), LIMIT_FULL);
    assert_null(gives_way);
    assert_int_equal(join_until(&light[0], LIGHT, 0, 4, &gives_way), LIMIT_WAIT);
    assert_ptr_equal(gives_way, &heavy[3]);
    assert_int_equal(join_until(&light[1], LIGHT, 0, 4, &gives_way), LIMIT_WAIT);
    assert_ptr_equal(gives_way, &heavy[2]);
    assert_int_equal(turns.n, 4);
    /* Two and two: nobody has more than the newcomer would. */
    assert_int_equal(join_until(&light[2], LIGHT, 0, 4, &gives_way), LIMIT_FULL);
    assert_int_equal(join_until(&heavy[2], HEAVY, 0, 4, &gives_way), LIMIT_FULL);
    assert_null(gives_way);
    assert_int_equal(join_until(&heavy[2], OTHER, 0, 4, &gives_way), LIMIT_WAIT);
    assert_non_null(gives_way);
}

/* --- random arrivals, departures and looks --- */

#define OWNERS   6
#define ARRIVALS 4000
#define PLACES   40

struct visitor {
    struct turn turn;
    int number; /* of its owner and kind */
    enum { OUTSIDE, WAITING, WENT } state;
};

static uint64_t seed;

static unsigned roll(unsigned n)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(seed >> 33) % n;
}

static struct visitor visitors[ARRIVALS];
static int n_visitors, last_gone[OWNERS][2];
static int64_t last_slot_ns;
/* How often one that waits, since it began or had a turn, has seen each other go. */
static int passed[OWNERS][OWNERS];

static bool waits(uint32_t owner)
{
    for (int i = 0; i < n_visitors; i++)
        if (visitors[i].state == WAITING && visitors[i].turn.of && visitors[i].turn.owner == owner)
            return true;
    return false;
}

static void went(struct visitor *v, int64_t now_ns)
{
    uint32_t owner = v->turn.owner;
    assert_true(v->turn.slot_ns <= now_ns);
    assert_true(v->turn.slot_ns >= last_slot_ns + turns.interval_ns);
    assert_true(!v->turn.deadline_ns || v->turn.slot_ns <= v->turn.deadline_ns);
    assert_true(v->number > last_gone[owner][v->turn.part]); /* in order */
    last_gone[owner][v->turn.part] = v->number;
    last_slot_ns = v->turn.slot_ns;
    v->state = WENT;
    for (uint32_t o = 0; o < OWNERS; o++) {
        passed[owner][o] = 0;
        if (o == owner)
            continue;
        passed[o][owner] = waits(o) ? passed[o][owner] + 1 : 0;
        assert_true(passed[o][owner] <= 1);
    }
}

static void look(int64_t now_ns)
{
    struct turn *t;
    bool due = turns.n && turns.next_ns + 10 * turns.interval_ns <= now_ns, any = false;
    while ((t = turns_next(&turns, now_ns))) {
        went((struct visitor *)t, now_ns);
        any = true;
    }
    assert_true(any || !due || turns.n == 0); /* no slot is lost while somebody waits */
    assert_true(turns.n == 0 || turns.next_ns > now_ns - turns.interval_ns);
    for (int i = 0; i < n_visitors; i++) /* those that are too late go by themselves */
        if (visitors[i].state == WAITING && !visitors[i].turn.of)
            visitors[i].state = OUTSIDE;
}

static void arrive(int64_t now_ns)
{
    static int numbers[OWNERS][2];
    struct visitor *v = &visitors[n_visitors++];
    struct turn *gives_way;
    bool late = roll(4) == 0;
    *v = (struct visitor){.turn = {.owner = roll(3) ? 0 : roll(OWNERS), .part = roll(3) == 0}};
    v->turn.deadline_ns = late ? now_ns + (int64_t)roll(30) * turns.interval_ns : 0;
    v->number = ++numbers[v->turn.owner][v->turn.part];
    size_t before = turns.n;
    if (!waits(v->turn.owner))
        memset(passed[v->turn.owner], 0, sizeof passed[0]);
    enum limit_answer answer = turns_join(&turns, &v->turn, PLACES, now_ns, &gives_way);
    assert_true(turns.n <= PLACES);
    assert_true(answer != LIMIT_FULL || before == PLACES);
    if (gives_way)
        ((struct visitor *)gives_way)->state = OUTSIDE;
    if (answer == LIMIT_NOW) {
        assert_int_equal(before, 0);
        went(v, now_ns);
    }
    if (answer == LIMIT_WAIT)
        v->state = WAITING;
}

static void leave(void)
{
    struct visitor *v = &visitors[roll((unsigned)n_visitors)];
    if (v->state != WAITING)
        return;
    turns_leave(&turns, &v->turn);
    v->state = OUTSIDE;
}

static void random_arrivals(void **state)
{
    int64_t now_ns = NOW;
    seed = 20261124;
    turns_init(&turns, 1000);
    while (n_visitors < ARRIVALS) {
        /* Now above the rate, now below it. */
        now_ns += roll(n_visitors / 500 % 2 ? 700 : 2500);
        if (roll(5))
            arrive(now_ns);
        if (n_visitors && roll(8) == 0)
            leave();
        if (roll(3))
            look(now_ns);
    }
    while (turns.n)
        look(now_ns += 1000);
    for (int i = 0; i < n_visitors; i++)
        assert_int_not_equal(visitors[i].state, WAITING);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(slots_are_spaced),
        TEST(idle_time_saves_one_slot_not_many),
        TEST(a_latecomer_has_no_slot_from_before),
        TEST(a_thousand_calls_do_not_hold_up_one),
        TEST(owners_go_one_after_the_other),
        TEST(parts_and_calls_of_one_owner_alternate),
        TEST(who_leaves_costs_no_slot),
        TEST(a_slot_that_is_not_used_is_anothers),
        TEST(a_slot_past_the_deadline_is_not_waited_for),
        TEST(the_latest_of_the_many_gives_way_when_it_is_full),
        TEST(random_arrivals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
