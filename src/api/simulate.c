/* simulate: POST {id}/_simulate: the body of an inference call, answered with what would be sent to
 * the service (inference/simulate.c). Beyond Elasticsearch; docs/differences.md. */
#include "handlers.h"
#include "reply.h"

struct simulate {
    struct request *request;
    struct endpoint *endpoint;
    struct input input;
    struct buf out;
};

static void simulated(void *ctx, struct err *e)
{
    struct simulate *s = ctx;
    struct request *r = s->request;
    struct buf out = s->out;
    endpoint_unref(s->endpoint);
    if (!request_back(r)) {
        err_free(e);
        buf_deinit(&out);
    } else if (e) {
        buf_deinit(&out);
        reply_err(r, e);
    } else {
        reply_json(r, 200, &out);
    }
}

static struct err *simulate_read(struct simulate *s)
{
    struct request *r = s->request;
    struct str id = request_param(r, "inference_id");
    enum task task;
    bool stream;
    TRY(url_task(r, &task));
    TRY(request_query_bool(r, "stream", false, &stream));
    s->endpoint = inference_find(r->api->parts.inference, id);
    if (!s->endpoint)
        return err_new(ERR_NOT_FOUND, "Inference endpoint not found [%.*s]", STR_ARG(id));
    stream = stream || s->endpoint->task == TASK_CHAT_COMPLETION; /* which does nothing else */
    return inference_input(s->endpoint, task, stream, r->arena, r->http->body, r->body, &s->input);
}

void post_simulate(struct request *r)
{
    struct simulate *s = arena_alloc(r->arena, sizeof *s);
    s->request = r;
    reply_buf_init(&s->out);
    struct err *e = simulate_read(s);
    if (e) {
        endpoint_unref(s->endpoint);
        buf_deinit(&s->out);
        reply_err(r, e);
        return;
    }
    struct simulation sim = {.loop = r->http->loop,
                             .endpoint = s->endpoint,
                             .input = &s->input,
                             .arena = r->arena,
                             .out = &s->out,
                             .done = simulated,
                             .ctx = s};
    request_hold(r);
    inference_simulate(r->api->parts.inference, &sim);
}
