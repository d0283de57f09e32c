#include "tally.h"

#include <stdlib.h>

#include "bug.h"

/* No model reads or writes this many tokens in one call. */
#define MOST_TOKENS (INT64_C(1) << 32)

static const char *const names[N_TALLY_FAILURES] = {
#define X(symbol, name) [symbol] = name,
    TALLY_FAILURES(X)
#undef X
};

struct tally *tally_new(void)
{
    struct tally *t = mem_new(sizeof *t);
    atomic_init(&t->refs, 1);
    return t;
}

struct tally *tally_ref(struct tally *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void tally_unref(struct tally *t)
{
    if (t && atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1)
        free(t);
}

static void add(_Atomic int64_t *count, int64_t n)
{
    atomic_fetch_add_explicit(count, n, memory_order_relaxed);
}

void tally_call(struct tally *t, bool cached)
{
    if (!t)
        return;
    add(&t->calls, 1);
    if (cached)
        add(&t->cached, 1);
}

void tally_usage(struct tally *t, const struct usage *usage)
{
    if (!t || !usage->known)
        return;
    if (usage->in_tokens > 0 && usage->in_tokens <= MOST_TOKENS)
        add(&t->in_tokens, usage->in_tokens);
    if (usage->out_tokens > 0 && usage->out_tokens <= MOST_TOKENS)
        add(&t->out_tokens, usage->out_tokens);
}

void tally_fail(struct tally *t, enum tally_failure kind)
{
    if (t)
        add(&t->failures[kind], 1);
}

void tally_took(struct tally *t, int64_t us)
{
    if (t)
        histogram_add(&t->took, us);
}

void tally_first_token(struct tally *t, int64_t us)
{
    if (t)
        histogram_add(&t->first_token, us);
}

const char *tally_failure_name(enum tally_failure kind)
{
    return names[kind];
}

static bool is_transport(const struct err *e)
{
    for (; e; e = e->cause) {
        if (e->kind == ERR_IO)
            return true;
    }
    return false;
}

enum tally_failure tally_failure_of(const struct err *e, bool timed_out)
{
    if (timed_out)
        return TALLY_TIMEOUT;
    if (e->kind == ERR_CANCELLED)
        return TALLY_CANCELLED;
    if (e->kind == ERR_TOO_MANY || e->status == 429)
        return TALLY_RATE_LIMITED;
    if (e->kind == ERR_UNAVAILABLE)
        return TALLY_UNAVAILABLE;
    if (is_transport(e))
        return TALLY_TRANSPORT;
    if (e->status == 401 || e->status == 403)
        return TALLY_DENIED;
    /* A service's own 5xx is shown as 400 (verdict.h): only `elsewhere` still tells. */
    if (e->status >= 500 || (e->status == 400 && e->elsewhere))
        return TALLY_SERVICE;
    return TALLY_REFUSED;
}
