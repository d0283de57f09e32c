#include "budget.h"

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* At most `most` allocations more, as far as there are processors for them. */
static void give(struct budget_claim *c, int most, int *left)
{
    int missing = least(most, c->wanted - c->given);
    int n = c->low ? missing : least(missing, *left / c->threads);
    if (n <= 0)
        return;
    c->given += n;
    if (!c->low)
        *left -= n * c->threads;
}

int budget_divide(struct budget_claim *claims, size_t n, int processors)
{
    int left = processors;
    for (size_t i = 0; i < n; i++) {
        claims[i].given = 0;
        claims[i].sharing = false;
        give(&claims[i], claims[i].held, &left);
    }
    for (size_t i = 0; i < n; i++)
        if (!claims[i].given)
            give(&claims[i], 1, &left);
    for (size_t i = 0; i < n; i++)
        give(&claims[i], claims[i].wanted, &left);
    for (size_t i = 0; i < n; i++) {
        struct budget_claim *c = &claims[i];
        c->sharing = c->shares && c->wanted > 0 && !c->given;
        if (c->sharing)
            c->given = 1;
    }
    return left;
}
