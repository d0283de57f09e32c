/* hedge: against tails. When the first request has not answered within the endpoint's hedge.after,
 * the same is sent again, and whichever answers first is the answer; the other is cancelled. Both
 * take their places in the rate limit. A failure before the second was sent is the answer; after it
 * the other is waited for. Whole answers only. Source: Dean and Barroso, The Tail at Scale (2013).
 */
#include <stdlib.h>

#include "bug.h"
#include "clock.h"
#include "metrics.h"
#include "private.h"

struct hedge;

struct runner {
    struct sink sink;
    struct hedge *hedge;
    struct call call;
    bool under_way;
};

struct hedge {
    struct inference *inf;
    struct call *call;
    struct loop_timer timer;
    struct runner runners[2];
    struct err *failed; /* the first failure, kept while the other runs */
    bool over;          /* somebody won, or all is cancelled: who ends now says nothing */
};

static void hedge_let_go(struct hedge *h)
{
    loop_timer_cancel(&h->timer);
    h->call->on_cancel = NULL;
    h->call->stage = NULL;
}

static void hedge_free(struct hedge *h)
{
    for (int i = 0; i < 2; i++)
        arena_free(h->runners[i].call.arena);
    err_free(h->failed);
    free(h);
}

static void stop_others(struct hedge *h)
{
    h->over = true;
    for (int i = 0; i < 2; i++) {
        if (h->runners[i].under_way)
            inference_cancel(&h->runners[i].call);
    }
}

static void runner_done(struct sink *sink, const struct result *result)
{
    struct runner *r = (struct runner *)sink;
    struct hedge *h = r->hedge;
    struct sink *outer = h->call->sink;
    r->under_way = false;
    stop_others(h);
    hedge_let_go(h);
    outer->done(outer, result);
    hedge_free(h);
}

static void runner_fail(struct sink *sink, struct err *e)
{
    struct runner *r = (struct runner *)sink;
    struct hedge *h = r->hedge;
    r->under_way = false;
    if (h->over) {
        err_free(e);
        return;
    }
    if (h->runners[0].under_way || h->runners[1].under_way) {
        h->failed = e;
        return;
    }
    struct sink *outer = h->call->sink;
    hedge_let_go(h);
    hedge_free(h);
    outer->fail(outer, e);
}

static void hedge_cancelled(struct call *call)
{
    struct hedge *h = call->stage;
    struct sink *outer = call->sink;
    stop_others(h);
    hedge_let_go(h);
    hedge_free(h);
    outer->fail(outer, err_new(ERR_CANCELLED, "task cancelled"));
}

static void runner_start(struct hedge *h, struct runner *r)
{
    const struct call *whole = h->call;
    size_t n = whole->input.n_texts;
    r->sink = (struct sink){.done = runner_done, .fail = runner_fail};
    r->hedge = h;
    r->call = call_beside(whole, &r->sink);
    r->call.input.texts = arena_array(r->call.arena, n, sizeof *r->call.input.texts);
    if (n) /* each may shorten its own */
        memcpy(r->call.input.texts, whole->input.texts, n * sizeof *whole->input.texts);
    r->under_way = true;
    upstream_submit(h->inf, &r->call);
}

static void hedge_due(struct loop_timer *timer)
{
    struct hedge *h = (struct hedge *)((char *)timer - offsetof(struct hedge, timer));
    metric_add(METRIC_HEDGES, 1);
    runner_start(h, &h->runners[1]);
}

bool hedge_submit(struct inference *inf, struct call *call)
{
    int64_t after_ms = extras_of(call->endpoint)->hedge_ms;
    if (!after_ms || call->input.stream || call->input.chat)
        return false;
    struct hedge *h = mem_new(sizeof *h);
    h->inf = inf;
    h->call = call;
    call->stage = h;
    call->on_cancel = hedge_cancelled;
    loop_timer_set(call->loop, &h->timer, clock_mono_ms() + after_ms, hedge_due);
    runner_start(h, &h->runners[0]);
    return true;
}
