/* Nodes and what deployments ask of them; the numbers are reckoned by hand. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "budget.h"

#define MOST 5

struct node {
    const char *name;
    int processors;
    size_t n;
    struct budget_claim claims[MOST];
    int given[MOST];
    int left;
};

static const struct node nodes[] = {
    {"nobody", 4, 0, {{0}}, {0}, 4},
    {"one that fits", 4, 1, {{.threads = 2, .wanted = 2}}, {2}, 0},
    {"one that fits in part", 4, 1, {{.threads = 1, .wanted = 100}}, {4}, 0},
    {"what is left is too little for a team", 3, 1, {{.threads = 2, .wanted = 2}}, {1}, 1},
    {"a team that no node has room for", 4, 1, {{.threads = 8, .wanted = 1}}, {0}, 4},
    {"none wanted", 2, 1, {{.threads = 1, .wanted = 0, .shares = true}}, {0}, 2},
    {"the second finds what the first has left",
     4,
     2,
     {{.threads = 1, .wanted = 3, .held = 3}, {.threads = 1, .wanted = 4}},
     {3, 1},
     0},
    {"the second finds nothing",
     2,
     2,
     {{.threads = 1, .wanted = 2, .held = 2}, {.threads = 1, .wanted = 1}},
     {2, 0},
     0},
    {"what runs is not taken away for one that came first",
     4,
     2,
     {{.threads = 1, .wanted = 4, .held = 1}, {.threads = 1, .wanted = 3, .held = 3}},
     {1, 3},
     0},
    {"what another has given back goes to who is short",
     4,
     2,
     {{.threads = 1, .wanted = 4, .held = 1}, {.threads = 1, .wanted = 1, .held = 3}},
     {3, 1},
     0},
    {"first to who has nothing, then to who came first",
     4,
     3,
     {{.threads = 1, .wanted = 4, .held = 1},
      {.threads = 1, .wanted = 3},
      {.threads = 1, .wanted = 3}},
     {2, 1, 1},
     0},
    {"a small one passes a team that does not fit",
     3,
     3,
     {{.threads = 2, .wanted = 1, .held = 1},
      {.threads = 2, .wanted = 1},
      {.threads = 1, .wanted = 1}},
     {1, 0, 1},
     0},
    {"low priority takes nothing",
     1,
     3,
     {{.threads = 1, .wanted = 1, .low = true},
      {.threads = 1, .wanted = 1},
      {.threads = 1, .wanted = 1, .low = true}},
     {1, 1, 1},
     0},
    {"fewer processors than before",
     2,
     2,
     {{.threads = 2, .wanted = 2, .held = 2}, {.threads = 1, .wanted = 1, .held = 1}},
     {1, 0},
     0},
};

static void processors_are_divided(void **state)
{
    for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
        struct node node = nodes[i];
        int left = budget_divide(node.claims, node.n, node.processors);
        if (left != node.left)
            fail_msg("%s: [%d] left", node.name, left);
        for (size_t k = 0; k < node.n; k++) {
            if (node.claims[k].given != node.given[k])
                fail_msg("%s: claim %zu got [%d]", node.name, k, node.claims[k].given);
            assert_false(node.claims[k].sharing);
        }
    }
}

static void some_share(void **state)
{
    struct budget_claim c[] = {{.threads = 1, .wanted = 2, .held = 2},
                               {.threads = 1, .wanted = 3, .shares = true},
                               {.threads = 8, .wanted = 1, .shares = true},
                               {.threads = 1, .wanted = 0, .shares = true}};
    assert_int_equal(budget_divide(c, 4, 2), 0);
    assert_int_equal(c[1].given, 1);
    assert_true(c[1].sharing);
    assert_int_equal(c[2].given, 1);
    assert_true(c[2].sharing);
    assert_int_equal(c[3].given, 0);
    assert_false(c[3].sharing);
    c[0].wanted = 0; /* it has stopped */
    assert_int_equal(budget_divide(c, 4, 2), 0);
    assert_int_equal(c[1].given, 2);
    assert_false(c[1].sharing);
    assert_true(c[2].sharing);
}

/* Whatever comes and goes: never more than there is, nothing taken that is still wanted, nothing
 * left that somebody could use, and each has what it wants in the end, or there is no room. */
static void the_sum_never_exceeds_the_node(void **state)
{
    unsigned seed = 1;
    for (int round = 0; round < 20000; round++) {
        struct budget_claim c[MOST];
        int processors = 1 + (int)((seed = seed * 1103515245 + 12345) >> 16) % 16;
        for (size_t i = 0; i < MOST; i++)
            c[i] = (struct budget_claim){.threads = 1 << (seed >> (16 + i)) % 3, .wanted = 0};
        for (int step = 0; step < 8; step++) {
            seed = seed * 1103515245 + 12345;
            c[(seed >> 16) % MOST].wanted = (int)(seed >> 20) % 6;
            for (size_t i = 0; i < MOST; i++)
                c[i].held = c[i].given;
            int left = budget_divide(c, MOST, processors), used = 0;
            for (size_t i = 0; i < MOST; i++) {
                used += c[i].given * c[i].threads;
                assert_true(c[i].given <= c[i].wanted);
                assert_true(c[i].given >= (c[i].held < c[i].wanted ? c[i].held : c[i].wanted));
                assert_true(c[i].given == c[i].wanted || c[i].threads > left);
            }
            assert_int_equal(used + left, processors);
            assert_true(left >= 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(processors_are_divided),
        cmocka_unit_test(some_share),
        cmocka_unit_test(the_sum_never_exceeds_the_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
