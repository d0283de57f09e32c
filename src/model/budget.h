/* budget: which deployments get the node's processors. Pure.
 *
 *     struct budget_claim claims[] = {{.threads = 2, .wanted = 1}, {.threads = 1, .wanted = 4}};
 *     int left = budget_divide(claims, 2, 4);     // given: 1 and 2; 0 are left
 *
 * An allocation takes a processor for each of its threads, and together they take no more than
 * there are. Nothing is taken from a deployment that still wants it. What is free goes to those who
 * have nothing, then to those who came first. Deployments of low priority take no processors: they
 * run on what is idle. Source: adaptive_allocations.md 8; of a single node its planning comes to
 * this, but for `shares`, which is ours. Private to model/. */
#ifndef INFERD_BUDGET_H
#define INFERD_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

struct budget_claim {
    int threads; /* of an allocation, > 0 */
    int wanted;  /* allocations */
    int held;    /* of them, those that have processors already */
    bool low;    /* of low priority */
    bool shares; /* its first allocation runs in any case, if need be by turns with others */
    /* out */
    int given;    /* allocations, from 0 to wanted */
    bool sharing; /* the one given has no processors of its own */
};

/* Those who came first stand first. Returns the processors that are left. */
int budget_divide(struct budget_claim *, size_t n, int processors);

#endif
