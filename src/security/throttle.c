#include "throttle.h"

#include <stddef.h>

static struct throttle_entry *find(struct throttle *t, uint64_t name)
{
    for (int i = 0; i < THROTTLE_NAMES; i++)
        if (t->v[i].failures > 0 && t->v[i].name == name)
            return &t->v[i];
    return NULL;
}

static int64_t step_ms(int failures)
{
    if (failures <= THROTTLE_FREE)
        return 0;
    int doublings = failures - THROTTLE_FREE - 1;
    int64_t ms = doublings < 16 ? (int64_t)THROTTLE_STEP_MS << doublings : THROTTLE_MAX_STEP_MS;
    return ms < THROTTLE_MAX_STEP_MS ? ms : THROTTLE_MAX_STEP_MS;
}

bool throttle_enter(struct throttle *t, uint64_t name, int64_t now_ms, int64_t *wait_ms_out)
{
    *wait_ms_out = 0;
    struct throttle_entry *e = find(t, name);
    if (!e)
        return true;
    if (now_ms - e->failed_ms > THROTTLE_FORGET_MS) {
        *e = (struct throttle_entry){0};
        return true;
    }
    int64_t start = e->next_ms > now_ms ? e->next_ms : now_ms;
    *wait_ms_out = start - now_ms;
    if (*wait_ms_out > THROTTLE_MAX_WAIT_MS)
        return false;
    e->next_ms = start + step_ms(e->failures);
    return true;
}

/* Fewest failures first, then the longest quiet: a flood of made-up names does not wash out the one
 * that is being guessed at. */
static struct throttle_entry *make_room(struct throttle *t)
{
    struct throttle_entry *best = &t->v[0];
    for (int i = 1; i < THROTTLE_NAMES; i++) {
        struct throttle_entry *e = &t->v[i];
        if (e->failures < best->failures ||
            (e->failures == best->failures && e->failed_ms < best->failed_ms))
            best = e;
    }
    return best;
}

void throttle_failed(struct throttle *t, uint64_t name, int64_t now_ms)
{
    struct throttle_entry *e = find(t, name);
    if (!e) {
        e = make_room(t);
        *e = (struct throttle_entry){.name = name};
    }
    if (e->failures < 1000)
        e->failures++;
    e->failed_ms = now_ms;
    int64_t next = now_ms + step_ms(e->failures);
    if (next > e->next_ms)
        e->next_ms = next;
}

void throttle_passed(struct throttle *t, uint64_t name)
{
    struct throttle_entry *e = find(t, name);
    if (e)
        *e = (struct throttle_entry){0};
}
