/* dispatch: a request read for its endpoint, and a call sent to whoever answers it. */
#include <stdio.h>

#include "clock.h"
#include "log.h"
#include "metrics.h"
#include "private.h"

/* --- reading a request --- */

/* "Streaming is not allowed for service [x] and task [y]. Supported tasks: [completion]" */
static struct err *no_stream(const struct endpoint *ep)
{
    char tasks[128];
    size_t n = 0;
    tasks[0] = '\0';
    for (size_t i = 0; i < ep->provider->n_tasks; i++) {
        const struct provider_task *t = &ep->provider->tasks[i];
        if (t->framing != FRAMING_NONE)
            n += (size_t)snprintf(tasks + n, sizeof tasks - n, "%s%s", n ? "," : "",
                                  task_name(t->task));
    }
    if (n == 0)
        return err_status(405, "Streaming is not allowed for service [%.*s].",
                          STR_ARG(ep->service));
    return err_status(405,
                      "Streaming is not allowed for service [%.*s] and task [%s]. Supported "
                      "tasks: [%s]",
                      STR_ARG(ep->service), task_name(ep->task), tasks);
}

static struct err *check_task(const struct endpoint *ep, enum task url_task, bool stream)
{
    if (url_task != TASK_ANY && url_task != ep->task)
        return err_status(400,
                          "Incompatible task_type, the requested type [%s] does not match the "
                          "model type [%s]",
                          task_name(url_task), task_name(ep->task));
    if (ep->task == TASK_CHAT_COMPLETION && !stream)
        return err_status(400, "The [chat_completion] task type only supports streaming, please "
                               "try again with the _stream API");
    if (stream && provider_task(ep->provider, ep->task)->framing == FRAMING_NONE)
        return no_stream(ep);
    return NULL;
}

struct err *inference_input(const struct endpoint *ep, enum task url_task, bool stream,
                            struct arena *arena, struct str text, const struct json *body,
                            struct input *out)
{
    TRY(check_task(ep, url_task, stream));
    const struct provider_task *task = provider_task(ep->provider, ep->task);
    *out = (struct input){0};
    if (ep->task == TASK_CHAT_COMPLETION) {
        struct chat *chat = arena_alloc(arena, sizeof *chat);
        TRY(chat_parse(arena, text, body, chat));
        out->chat = chat;
    } else {
        TRY(input_parse(arena, ep->task, url_task == TASK_ANY, text, body, out));
    }
    out->task = ep->task;
    out->stream = stream;
    if (task->one_input && out->n_texts > 1)
        return err_status(400, "%s only accepts 1 input", task->one_input);
    return endpoint_call_values(ep, arena, out->task_settings, &out->values);
}

/* --- a call under way --- */

/* When a call's time is over, and by which span its caller is told. */
struct time_limit {
    int64_t at_ms; /* 0: never */
    int64_t span_ms;
    bool own; /* the endpoint's to keep, as against the caller's */
};

static struct time_limit sooner(struct time_limit a, int64_t now_ms, int64_t own_ms)
{
    if (!own_ms || (a.at_ms && a.at_ms <= now_ms + own_ms))
        return a;
    return (struct time_limit){now_ms + own_ms, own_ms, true};
}

/* Stands between the call and its sink: keeps the deadline, the cache and the way to a fallback.
 * Lives in the call's arena. */
struct flight {
    struct sink sink;
    struct sink *outer;
    struct inference *inf;
    struct call *call;
    struct loop_timer timer;
    bool timed_out, began;
    int64_t start_ns;
    struct endpoint *own, *other; /* the one asked for; the one that answers for it, a reference */
    size_t next_fallback;
    struct input asked;      /* the input before anybody shortened it */
    struct time_limit limit; /* now */
    struct time_limit rest;  /* once a first token has come */
    struct time_limit asked_limit;
    bool asked_whole;
    struct cache *cache; /* NULL: the answer is not kept */
    char key[CACHE_KEY_BYTES];
};

static void flight_go(struct flight *f);
static void flight_deadline(struct flight *f);
static void flight_late(struct loop_timer *timer);

static int64_t took_us(const struct flight *f)
{
    return (clock_mono_ns() - f->start_ns) / 1000;
}

/* Who asked what of whom for how long; never what it was about. */
static void log_slow(const struct flight *f, int64_t us, int status)
{
    const struct endpoint *ep = f->call->endpoint;
    log_warn("slow inference call", LOG_S("inference_id", f->own->id), LOG_S("answered_by", ep->id),
             LOG_S("service", ep->service), LOG_C("task_type", task_name(ep->task)),
             LOG_I("took_ms", us / 1000), LOG_I("status", status),
             LOG_S("x_opaque_id", f->call->opaque_id), LOG_S("traceparent", f->call->traceparent));
}

/* The call as its owner knows it; what is returned is dropped after the last word to the owner. */
static struct endpoint *flight_end(struct flight *f, int status)
{
    int64_t us = took_us(f), slow_ms = f->inf->options.slow_ms;
    loop_timer_cancel(&f->timer);
    tally_took(extras_of(f->call->endpoint)->tally, us);
    if (slow_ms && us >= slow_ms * 1000)
        log_slow(f, us, status);
    f->call->sink = f->outer;
    f->call->endpoint = f->own;
    return f->other;
}

static void flight_limit(struct flight *f, struct time_limit limit)
{
    struct call *call = f->call;
    f->limit = limit;
    call->deadline_ms = limit.at_ms;
    call->timeout_ms = limit.span_ms;
    if (limit.at_ms)
        loop_timer_set(call->loop, &f->timer, limit.at_ms, flight_late);
    else
        loop_timer_cancel(&f->timer);
}

static bool flight_delta(struct sink *sink, const struct delta *delta)
{
    struct flight *f = (struct flight *)sink;
    if (!f->began) {
        f->began = true;
        tally_first_token(extras_of(f->call->endpoint)->tally, took_us(f));
        /* A stream that has begun has no deadline, unless it is waited for to its end. */
        flight_limit(f, f->call->whole ? f->rest : (struct time_limit){0});
    }
    return f->outer->delta(f->outer, delta);
}

static const struct err *first_error(const struct result *r)
{
    size_t i = 0;
    while (!r->errors[i])
        i++;
    return r->errors[i];
}

static void flight_done(struct sink *sink, const struct result *result)
{
    struct flight *f = (struct flight *)sink;
    struct sink *outer = f->outer;
    const struct endpoint *served = f->call->endpoint;
    struct endpoint *other = flight_end(f, 200);
    tally_usage(extras_of(served)->tally, result ? &result->usage : &f->call->usage);
    if (result && result->errors)
        tally_fail(extras_of(served)->tally, tally_failure_of(first_error(result), false));
    if (f->cache && result && !result->errors && !other)
        cache_put(f->cache, f->key, result, clock_mono_ms());
    outer->done(outer, result);
    endpoint_unref(other);
}

/* --- fallback --- */

/* Is it worth asking somebody else? A probe is about this endpoint alone. When the endpoint has
 * used up its own time it is, when the caller's is over nobody waits. */
static bool elsewhere(const struct flight *f, const struct err *e)
{
    if (f->began || f->call->probe)
        return false;
    if (f->timed_out)
        return f->limit.own;
    if (atomic_load_explicit(&f->call->cancelled, memory_order_acquire))
        return false;
    if (e->elsewhere || e->kind == ERR_TOO_MANY || e->kind == ERR_UNAVAILABLE)
        return true;
    return endpoint_is_local(f->call->endpoint) && (e->kind == ERR_NOT_FOUND || e->status == 409);
}

/* A model that the caller names is one of the endpoint asked for: another has its own. */
static const struct chat *without_model(const struct chat *chat, struct arena *arena)
{
    if (!chat || !chat->model.p)
        return chat;
    struct chat *copy = arena_alloc(arena, sizeof *copy);
    *copy = *chat;
    copy->model = (struct str){0};
    return copy;
}

/* Makes the call one on `other`, if that can answer it. */
static bool take_over(struct flight *f, struct endpoint *other)
{
    struct call *call = f->call;
    const struct provider_task *task = provider_task(other->provider, other->task);
    struct err *e = extras_agree(f->own, other);
    if (!e && call->input.stream && task->framing == FRAMING_NONE)
        e = err_status(405, "it does not stream");
    struct input in = f->asked;
    if (!e && endpoint_call_values(other, call->arena, in.task_settings, &in.values))
        e = endpoint_call_values(other, call->arena, NULL, &in.values);
    if (e) {
        err_free(e);
        return false;
    }
    if (in.n_texts) {
        in.texts = arena_array(call->arena, in.n_texts, sizeof *in.texts);
        memcpy(in.texts, f->asked.texts, in.n_texts * sizeof *in.texts);
    }
    in.chat = without_model(in.chat, call->arena);
    endpoint_unref(f->other);
    f->other = other;
    call->endpoint = other;
    call->input = in;
    return true;
}

/* True: another endpoint has the call now. */
static bool fall_back(struct flight *f, const struct err *e)
{
    const struct extras *x = extras_of(f->own);
    if (!x->n_fallback || !elsewhere(f, e))
        return false;
    while (f->next_fallback < x->n_fallback) {
        struct endpoint *other = inference_find(f->inf, x->fallback[f->next_fallback++]);
        if (other && take_over(f, other)) {
            metric_add(METRIC_FALLBACKS, 1);
            log_warn("falling back", LOG_S("inference_id", f->own->id),
                     LOG_S("fallback", other->id), LOG_I("status", e->status));
            return true;
        }
        endpoint_unref(other);
    }
    return false;
}

struct err *inference_timeout_err(const struct call *call)
{
    char span[CLOCK_SPAN_SIZE];
    clock_span(call->timeout_ms, span);
    return err_status(408, "Request timed out after [%s]", span);
}

static void flight_fail(struct sink *sink, struct err *e)
{
    struct flight *f = (struct flight *)sink;
    struct tally *tally = extras_of(f->call->endpoint)->tally;
    /* A local model does not begin what it would not end in time. */
    f->timed_out |= e->status == 408 && endpoint_is_local(f->call->endpoint);
    tally_fail(tally, tally_failure_of(e, f->timed_out));
    tally_usage(tally, &f->call->usage);
    f->call->usage = (struct usage){0};
    if (fall_back(f, e)) {
        err_free(e);
        f->timed_out = false; /* which has cancelled the call */
        atomic_store_explicit(&f->call->cancelled, false, memory_order_release);
        flight_deadline(f);
        flight_go(f);
        return;
    }
    if (f->timed_out && e->kind != ERR_DEPLOYMENT_TIMEOUT) {
        err_free(e);
        e = inference_timeout_err(f->call);
    }
    struct sink *outer = f->outer;
    struct endpoint *other = flight_end(f, e->status);
    outer->fail(outer, e);
    endpoint_unref(other);
}

/* --- the beginning --- */

static void flight_late(struct loop_timer *timer)
{
    struct flight *f = (struct flight *)((char *)timer - offsetof(struct flight, timer));
    f->timed_out = true;
    inference_cancel(f->call);
}

void inference_cancel(struct call *call)
{
    atomic_store_explicit(&call->cancelled, true, memory_order_release);
    if (call->on_cancel)
        call->on_cancel(call);
}

void dispatch_submit(struct inference *inf, struct call *call)
{
    if (endpoint_is_local(call->endpoint))
        local_submit(inf, call);
    else if (!split_submit(inf, call) && !hedge_submit(inf, call))
        upstream_submit(inf, call);
}

static void flight_go(struct flight *f)
{
    struct inference *inf = f->inf;
    struct call *call = f->call;
    call->sink = &f->sink;
    tally_call(extras_of(call->endpoint)->tally, false);
    if (!partial_submit(inf, call))
        dispatch_submit(inf, call);
}

/* The caller's time, or the endpoint's own where that is shorter; `total` holds for streams too. A
 * fallback has its own anew, within what the caller has left. */
static void flight_deadline(struct flight *f)
{
    struct call *call = f->call;
    const struct extras *x = extras_of(call->endpoint);
    int64_t now = clock_mono_ms();
    call->whole = f->asked_whole || x->total_ms;
    f->rest = sooner(f->asked_limit, now, x->total_ms);
    flight_limit(f, sooner(f->rest, now, call->input.stream ? x->first_token_ms : 0));
}

/* True: the answer was there, and is given. */
static bool flight_cached(struct flight *f)
{
    struct cache *cache = extras_of(f->own)->cache;
    if (!cache || f->call->input.stream)
        return false;
    cache_key(&f->call->input, f->key);
    struct cached *hit = cache_find(cache, f->key, clock_mono_ms());
    metric_add(hit ? METRIC_CACHE_HITS : METRIC_CACHE_MISSES, 1);
    if (!hit) {
        f->cache = cache;
        return false;
    }
    tally_call(extras_of(f->own)->tally, true);
    f->call->cached = true;
    tally_took(extras_of(f->own)->tally, took_us(f));
    f->outer->done(f->outer, cached_result(hit));
    cached_unref(hit);
    return true;
}

void inference_submit(struct inference *inf, struct call *call)
{
    struct flight *f = arena_alloc(call->arena, sizeof *f);
    f->sink = (struct sink){.delta = flight_delta, .done = flight_done, .fail = flight_fail};
    f->outer = call->sink;
    f->inf = inf;
    f->call = call;
    f->own = call->endpoint;
    f->start_ns = clock_mono_ns();
    if (flight_cached(f))
        return;
    f->asked = call->input;
    f->asked_limit = (struct time_limit){call->deadline_ms, call->timeout_ms, false};
    f->asked_whole = call->whole;
    if (extras_of(f->own)->n_fallback && call->input.n_texts) {
        size_t n = call->input.n_texts;
        f->asked.texts = arena_array(call->arena, n, sizeof *f->asked.texts);
        memcpy(f->asked.texts, call->input.texts, n * sizeof *f->asked.texts);
    }
    flight_deadline(f);
    flight_go(f);
}
