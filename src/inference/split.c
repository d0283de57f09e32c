/* split: many inputs, several requests, one answer.
 *
 * The inputs are packed in order into parts that respect the provider's most inputs and most tokens
 * per request. Each part is a call of its own on upstream: its own place in the rate limit, its own
 * attempts, a hedge of its own. Results are copied out as they come, for they are borrowed, into
 * the rows they belong to. The first failure ends the others and is the answer.
 *
 * Elasticsearch sends such a call as one request and lets the provider refuse it. */
#include <stdlib.h>

#include "bug.h"
#include "private.h"

/* An estimate that errs on the side of more tokens; providers count differently anyway. */
#define BYTES_PER_TOKEN 3

struct split;

struct part {
    struct sink sink;
    struct split *split;
    struct call call;
    size_t first; /* row of its first input */
    bool under_way;
};

struct split {
    struct inference *inf;
    struct call *call;
    struct result result; /* rows in the call's arena */
    struct err *failed;
    size_t n_parts, n_left;
    bool starting; /* parts are still being submitted: do not end yet */
    struct part parts[];
};

/* --- packing --- */

/* What this endpoint's requests may hold. */
static struct provider_task limits_of(const struct endpoint *ep, enum task task)
{
    struct provider_task limits = *provider_task(ep->provider, task);
    if (limits.batch_of)
        limits.batch = limits.batch_of(ep);
    return limits;
}

/* Number of inputs from `first` on that go into one request. */
static size_t pack(const struct input *in, size_t first, const struct provider_task *task)
{
    size_t n = 0, tokens = 0;
    while (first + n < in->n_texts) {
        size_t more = in->texts[first + n].n / BYTES_PER_TOKEN + 1;
        if (n && task->batch && n == task->batch)
            break;
        if (n && task->batch_tokens && tokens + more > task->batch_tokens)
            break;
        tokens += more;
        n++;
    }
    return n;
}

static size_t count_parts(const struct input *in, const struct provider_task *task)
{
    size_t n = 0;
    for (size_t first = 0; first < in->n_texts; n++)
        first += pack(in, first, task);
    return n;
}

static bool may_split(const struct input *in, const struct provider_task *limits)
{
    bool embeds = in->task == TASK_TEXT_EMBEDDING || in->task == TASK_SPARSE_EMBEDDING;
    return embeds && !in->stream && (limits->batch || limits->batch_tokens);
}

size_t split_pack(const struct endpoint *ep, const struct input *in, size_t first)
{
    const struct provider_task limits = limits_of(ep, in->task);
    return may_split(in, &limits) ? pack(in, first, &limits) : in->n_texts - first;
}

/* --- putting together --- */

static void split_take(struct split *s, const struct part *p, const struct result *r)
{
    struct arena *arena = s->call->arena;
    if (!s->result.embeddings)
        result_rows(arena, r->kind, s->call->input.n_texts, &s->result);
    if (r->kind != s->result.kind || r->n != p->call.input.n_texts) {
        s->failed = err_status(500, "the service answered the parts of one request differently");
        return;
    }
    result_copy_rows(arena, r, &s->result, p->first);
    usage_add(&s->result.usage, &r->usage);
}

/* --- ending --- */

static void split_end(struct split *s)
{
    if (s->n_left || s->starting)
        return;
    struct call *call = s->call;
    struct err *e = s->failed;
    struct result result = s->result;
    call->usage = result.usage;
    for (size_t i = 0; i < s->n_parts; i++)
        arena_free(s->parts[i].call.arena);
    free(s);
    call->on_cancel = NULL;
    call->stage = NULL;
    if (e)
        call->sink->fail(call->sink, e);
    else
        call->sink->done(call->sink, &result);
}

static void split_stop(struct split *s)
{
    for (size_t i = 0; i < s->n_parts; i++) {
        if (s->parts[i].under_way)
            inference_cancel(&s->parts[i].call);
    }
}

static struct part *part_of(struct sink *sink)
{
    return (struct part *)sink;
}

static void part_over(struct part *p)
{
    p->under_way = false;
    p->split->n_left--;
}

static void part_done(struct sink *sink, const struct result *result)
{
    struct part *p = part_of(sink);
    struct split *s = p->split;
    part_over(p);
    if (!s->failed) {
        split_take(s, p, result);
        if (s->failed)
            split_stop(s);
    }
    split_end(s);
}

/* Stopping the others brings them here too: only the outermost call may end the whole. */
static void part_fail(struct sink *sink, struct err *e)
{
    struct part *p = part_of(sink);
    struct split *s = p->split;
    part_over(p);
    if (s->failed) {
        err_free(e);
        return;
    }
    s->failed = e;
    split_stop(s);
    split_end(s);
}

static void split_cancelled(struct call *call)
{
    struct split *s = call->stage;
    if (!s->failed)
        s->failed = err_new(ERR_CANCELLED, "task cancelled");
    split_stop(s);
    split_end(s);
}

/* --- beginning --- */

static void part_init(struct split *s, struct part *p, size_t first, size_t n)
{
    *p = (struct part){.sink = {.done = part_done, .fail = part_fail}, .split = s, .first = first};
    p->call = call_beside(s->call, &p->sink);
    p->call.part = true;
    p->call.input.texts += first;
    p->call.input.n_texts = n;
    p->under_way = true;
}

static void part_submit(struct split *s, struct part *p)
{
    if (!hedge_submit(s->inf, &p->call))
        upstream_submit(s->inf, &p->call);
}

bool split_submit(struct inference *inf, struct call *call)
{
    const struct input *in = &call->input;
    const struct provider_task limits = limits_of(call->endpoint, in->task);
    if (!may_split(in, &limits))
        return false;
    size_t n_parts = count_parts(in, &limits);
    if (n_parts < 2)
        return false;
    struct split *s = mem_new(sizeof *s + n_parts * sizeof s->parts[0]);
    s->inf = inf;
    s->call = call;
    s->n_parts = s->n_left = n_parts;
    s->starting = true;
    call->stage = s;
    call->on_cancel = split_cancelled;
    size_t first = 0;
    for (size_t i = 0; i < n_parts; i++) {
        size_t n = pack(in, first, &limits);
        part_init(s, &s->parts[i], first, n);
        first += n;
    }
    for (size_t i = 0; i < n_parts; i++) {
        if (s->parts[i].under_way && !s->failed)
            part_submit(s, &s->parts[i]);
        else if (s->parts[i].under_way)
            part_over(&s->parts[i]);
    }
    s->starting = false;
    split_end(s);
    return true;
}
