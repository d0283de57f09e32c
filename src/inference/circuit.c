#include "circuit.h"

static int64_t until(const struct circuit *c)
{
    return atomic_load_explicit((_Atomic int64_t *)(uintptr_t)&c->until_ms, memory_order_relaxed);
}

bool circuit_is_closed(const struct circuit *c)
{
    return until(c) == 0;
}

int64_t circuit_wait_ms(const struct circuit *c, int64_t now_ms)
{
    int64_t at = until(c);
    return at > now_ms ? at - now_ms : 0;
}

bool circuit_enter(struct circuit *c, int64_t now_ms, struct circuit_pass *out)
{
    *out = (struct circuit_pass){0};
    int64_t at = until(c);
    if (at == 0)
        return true;
    if (at <= now_ms) { /* one of those who see this wins, and is the probe */
        int64_t next = now_ms + atomic_load_explicit(&c->interval_ms, memory_order_relaxed);
        if (atomic_compare_exchange_strong_explicit(&c->until_ms, &at, next, memory_order_relaxed,
                                                    memory_order_relaxed)) {
            out->probe = true;
            return true;
        }
        if (at == 0)
            return true;
    }
    out->retry_after_ms = at > now_ms ? at - now_ms : 1;
    return false;
}

static enum circuit_change answered(struct circuit *c)
{
    atomic_store_explicit(&c->failures, 0, memory_order_relaxed);
    if (until(c) == 0)
        return CIRCUIT_SAME;
    int64_t was = atomic_exchange_explicit(&c->until_ms, 0, memory_order_relaxed);
    return was ? CIRCUIT_CLOSED : CIRCUIT_SAME;
}

static enum circuit_change open_again(struct circuit *c, int64_t now_ms)
{
    int64_t ms = atomic_load_explicit(&c->interval_ms, memory_order_relaxed) * 2;
    if (ms > CIRCUIT_MOST_MS)
        ms = CIRCUIT_MOST_MS;
    atomic_store_explicit(&c->interval_ms, ms, memory_order_relaxed);
    atomic_store_explicit(&c->until_ms, now_ms + ms, memory_order_relaxed);
    return CIRCUIT_OPENED;
}

static enum circuit_change failed(struct circuit *c, int64_t now_ms)
{
    if (until(c) != 0)
        return CIRCUIT_SAME; /* was under way when it opened: nothing new */
    if (atomic_fetch_add_explicit(&c->failures, 1, memory_order_relaxed) + 1 < CIRCUIT_FAILURES)
        return CIRCUIT_SAME;
    int64_t closed = 0;
    atomic_store_explicit(&c->interval_ms, CIRCUIT_FIRST_MS, memory_order_relaxed);
    bool first =
        atomic_compare_exchange_strong_explicit(&c->until_ms, &closed, now_ms + CIRCUIT_FIRST_MS,
                                                memory_order_relaxed, memory_order_relaxed);
    return first ? CIRCUIT_OPENED : CIRCUIT_SAME;
}

enum circuit_change circuit_report(struct circuit *c, struct circuit_pass pass,
                                   enum circuit_outcome outcome, int64_t now_ms)
{
    switch (outcome) {
    case CIRCUIT_ANSWERED:
        return answered(c);
    case CIRCUIT_FAILED:
        return pass.probe && until(c) ? open_again(c, now_ms) : failed(c, now_ms);
    case CIRCUIT_UNKNOWN:
        break;
    }
    if (pass.probe && until(c)) /* the next may try */
        atomic_store_explicit(&c->until_ms, now_ms, memory_order_relaxed);
    return CIRCUIT_SAME;
}
