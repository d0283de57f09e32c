/* GET /_health/ready: whether this server should be sent requests, for load balancers. Without
 * credentials, so it tells names of deployments and nothing of what has failed; the log does. */
#include "handlers.h"
#include "model.h"
#include "readiness.h"
#include "reply.h"

struct asking {
    struct readiness_question question;
    struct request *request;
};

static void reason(struct json_out *w, struct str text, bool blocking)
{
    json_obj(w);
    json_key_str(w, "reason", text);
    json_key_bool(w, "blocking", blocking);
    json_end(w);
}

/* They come and go while everything else is served: said, but no reason to send nothing. */
static void deployments(struct request *r, struct json_out *w)
{
    struct deployment_view *v;
    size_t n;
    models_views(r->api->parts.models, r->arena, &v, &n);
    for (size_t i = 0; i < n; i++) {
        const char *what = v[i].phase == STARTING ? "is starting" : "has failed to start";
        if (v[i].phase == STARTING || v[i].phase == FAILED)
            reason(w, arena_printf(r->arena, "deployment [%.*s] %s", STR_ARG(v[i].id), what),
                   false);
    }
}

static void told(struct readiness_question *q)
{
    static const struct str store[] = {
        [READINESS_STORE_FAILED] = STR_INIT("the store cannot be written or read"),
        [READINESS_STORE_SLOW] = STR_INIT("the store does not answer within a second")};
    struct request *r = ((struct asking *)q)->request;
    bool good = q->store == READINESS_STORE_GOOD && !q->draining;
    struct buf b;
    struct json_out w;
    if (!request_back(r))
        return;
    reply_buf_init(&b);
    json_out_init(&w, &b);
    json_obj(&w);
    json_key_cstr(&w, "status", good ? "ready" : "not_ready");
    json_key(&w, "reasons");
    json_arr(&w);
    if (q->draining)
        reason(&w, STR("the server is shutting down"), true);
    if (q->store != READINESS_STORE_GOOD)
        reason(&w, store[q->store], true);
    deployments(r, &w);
    json_end(&w);
    json_end(&w);
    reply_json(r, good ? 200 : 503, &b);
}

void get_ready(struct request *r)
{
    struct asking *a = arena_alloc(r->arena, sizeof *a);
    a->request = r;
    request_hold(r);
    readiness_ask(r->api->readiness, &a->question, r->http->loop, told);
}
