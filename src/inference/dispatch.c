/* dispatch: a request read for its endpoint, and a call sent to whoever answers it. */
#include <stdio.h>

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

/* Stands between the call and its sink: keeps the deadline. Lives in the call's arena. */
struct flight {
    struct sink sink;
    struct sink *outer;
    struct call *call;
    struct loop_timer timer;
    bool timed_out;
};

static bool flight_delta(struct sink *sink, const struct delta *delta)
{
    struct flight *f = (struct flight *)sink;
    if (!f->call->whole)
        loop_timer_cancel(&f->timer); /* a stream that has begun has no deadline */
    return f->outer->delta(f->outer, delta);
}

static void flight_done(struct sink *sink, const struct result *result)
{
    struct flight *f = (struct flight *)sink;
    loop_timer_cancel(&f->timer);
    f->call->sink = f->outer;
    f->outer->done(f->outer, result);
}

static void flight_fail(struct sink *sink, struct err *e)
{
    struct flight *f = (struct flight *)sink;
    loop_timer_cancel(&f->timer);
    f->call->sink = f->outer;
    if (f->timed_out) {
        err_free(e);
        e = err_status(408, "Request timed out after [%lldms]", (long long)f->call->timeout_ms);
        if (f->call->timeout_ms % 1000 == 0) {
            err_free(e);
            e = err_status(408, "Request timed out after [%llds]",
                           (long long)(f->call->timeout_ms / 1000));
        }
    }
    f->outer->fail(f->outer, e);
}

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

void inference_submit(struct inference *inf, struct call *call)
{
    struct flight *f = arena_alloc(call->arena, sizeof *f);
    f->sink = (struct sink){.delta = flight_delta, .done = flight_done, .fail = flight_fail};
    f->outer = call->sink;
    f->call = call;
    call->sink = &f->sink;
    if (call->deadline_ms)
        loop_timer_set(call->loop, &f->timer, call->deadline_ms, flight_late);
    if (endpoint_is_local(call->endpoint))
        deployment_submit(inf->parts.models, call->endpoint->id, call);
    else if (!split_submit(inf, call))
        upstream_submit(inf, call);
}
