/* upstream_rig: one call through inference, the real client and a scripted server, recorded. For
 * tests only; included by the upstream tests. */
#ifndef INFERD_UPSTREAM_RIG_H
#define INFERD_UPSTREAM_RIG_H

#include "clock.h"
#include "inference_testing.h"
#include "metrics.h"
#include "scripted_server.h"

#define PATIENCE_MS 20000 /* then a test is taken for stuck */
#define AFTER_MS    3     /* how long one watches for a second end */

struct rig {
    /* For the test to set, after rig_init. */
    struct inference_options options;
    struct str texts[2];
    struct call call;
    int64_t deadline_ms;                   /* from the start; 0: none */
    bool no_base;                          /* the endpoint's own url is used */
    bool take_slot;                        /* somebody else goes first */
    void (*on_delta)(struct rig *);        /* after each */
    void (*on_request)(struct loop_msg *); /* see scripted_server.h */
    void (*submit)(struct loop_msg *);     /* in place of rig_submit; gets &start */

    /* What came of it. */
    struct buf result;  /* rendered */
    struct err *failed; /* owned */
    struct buf deltas;  /* rendered, each on a line of its own */
    int n_deltas, n_done, n_fail, n_after_end;
    bool full; /* what the sink answers to a delta */
    int64_t requests, retries;

    struct loop *loop;
    struct inference *inf;
    struct scripted_server *server;
    struct sink sink;
    struct loop_msg start;
    struct loop_timer patience, later;
    struct upstream_base base;
    char base_url[64];
};

static struct rig *rig; /* the one in use: for callbacks that are given no context */

static struct rig *rig_of_sink(struct sink *sink)
{
    return (struct rig *)((char *)sink - offsetof(struct rig, sink));
}

static bool rig_delta(struct sink *sink, const struct delta *delta)
{
    struct rig *r = rig_of_sink(sink);
    struct json_out w;
    json_out_init(&w, &r->deltas);
    delta_render(&w, delta);
    buf_char(&r->deltas, '\n');
    r->n_deltas++;
    if (r->n_done + r->n_fail)
        r->n_after_end++;
    if (r->on_delta)
        r->on_delta(r);
    return !r->full;
}

static void rig_stop(struct loop_timer *timer)
{
    struct rig *r = (struct rig *)((char *)timer - offsetof(struct rig, patience));
    loop_stop(r->loop);
}

static void rig_ended(struct rig *r)
{
    loop_timer_set(r->loop, &r->patience, clock_mono_ms() + AFTER_MS, rig_stop);
}

static void rig_done(struct sink *sink, const struct result *result)
{
    struct rig *r = rig_of_sink(sink);
    r->n_done++;
    if (result) {
        struct json_out w;
        json_out_init(&w, &r->result);
        result_render(&w, result);
    }
    rig_ended(r);
}

static void rig_fail(struct sink *sink, struct err *e)
{
    struct rig *r = rig_of_sink(sink);
    r->n_fail++;
    err_free(r->failed);
    r->failed = e;
    rig_ended(r);
}

static struct rig *rig_new(void)
{
    struct rig *r = rig = calloc(1, sizeof *r);
    r->options = (struct inference_options){
        .retry_initial_delay_ms = 2,
        .retry_max_delay_ms = 5,
        .retry_timeout_ms = 10000,
        .max_response_bytes = 1 << 20,
        .stream_stall_ms = 5000,
        .queue_capacity = 1,
        .reduction = 0.5,
        .client = {.connect_timeout_ms = 5000,
                   .max_total_connections = 8,
                   .max_route_connections = 8,
                   .max_idle_ms = 1000},
    };
    r->texts[0] = STR("abcdefgh");
    r->call.timeout_ms = 1000;
    buf_init(&r->result, 1 << 20);
    buf_init(&r->deltas, 1 << 22);
    return r;
}

static void rig_submit(struct loop_msg *msg)
{
    struct rig *r = (struct rig *)((char *)msg - offsetof(struct rig, start));
    if (r->deadline_ms)
        r->call.deadline_ms = clock_mono_ms() + r->deadline_ms;
    inference_submit(r->inf, &r->call);
}

/* The call: streams when the endpoint's task is a completion, whole otherwise. */
static void rig_call(struct rig *r, struct endpoint *ep)
{
    struct call *c = &r->call;
    c->loop = r->loop;
    c->arena = arena_new(ARENA_NO_LIMIT);
    c->endpoint = ep;
    c->sink = &r->sink;
    c->input = (struct input){
        .task = ep->task,
        .stream = ep->task == TASK_COMPLETION,
        .texts = r->texts,
        .n_texts = r->texts[1].p ? 2 : 1,
    };
    BUG_ON(endpoint_call_values(ep, c->arena, NULL, &c->input.values) != NULL);
}

/* Takes `ep`. */
static void rig_run(struct rig *r, struct endpoint *ep, const struct step *steps, size_t n)
{
    int64_t requests = metric_read(METRIC_UPSTREAM_REQUESTS);
    int64_t retries = metric_read(METRIC_UPSTREAM_RETRIES);
    r->loop = loop_new(0);
    r->server = scripted_server_new(steps, n, r->loop, r->on_request);
    snprintf(r->base_url, sizeof r->base_url, "http://127.0.0.1:%d",
             scripted_server_port(r->server));
    r->base = (struct upstream_base){ep->service, str_c(r->base_url)};
    r->options.bases = &r->base;
    r->options.n_bases = r->no_base ? 0 : 1;
    struct inference_parts parts = {.loops = &r->loop, .n_loops = 1};
    r->inf = inference_new(&r->options, &parts);
    BUG_ON(extras_attach(r->inf, ep, NULL) != NULL);
    r->sink = (struct sink){.delta = rig_delta, .done = rig_done, .fail = rig_fail};
    rig_call(r, ep);
    if (r->take_slot)
        assert_true(limiter_try(extras_of(ep)->group, clock_mono_ns()));
    r->start.run = r->submit ? r->submit : rig_submit;
    loop_post(r->loop, &r->start);
    loop_timer_set(r->loop, &r->patience, clock_mono_ms() + PATIENCE_MS, rig_stop);
    loop_run(r->loop);
    loop_timer_cancel(&r->later);
    r->requests = metric_read(METRIC_UPSTREAM_REQUESTS) - requests;
    r->retries = metric_read(METRIC_UPSTREAM_RETRIES) - retries;
    endpoint_unref(ep);
    arena_free(r->call.arena);
    inference_free(r->inf);
    scripted_server_stop(r->server);
}

static void rig_free(struct rig *r)
{
    scripted_server_free(r->server);
    loop_free(r->loop);
    err_free(r->failed);
    buf_deinit(&r->result);
    buf_deinit(&r->deltas);
    free(r);
}

/* --- what a test expects --- */

static void expect_ended(const struct rig *r, int n_done, int n_fail)
{
    if (r->n_done != n_done || r->n_fail != n_fail)
        fail_msg("done %d, failed %d: %s", r->n_done, r->n_fail,
                 r->failed ? r->failed->reason : "no error");
    assert_int_equal(r->n_after_end, 0);
    assert_int_equal(metric_read(METRIC_UPSTREAM_IN_FLIGHT), 0);
}

static void expect_failure(const struct rig *r, int status, const char *reason)
{
    expect_ended(r, 0, 1);
    assert_string_equal(r->failed->reason, reason);
    assert_int_equal(r->failed->status, status);
}

#endif
