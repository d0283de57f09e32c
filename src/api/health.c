/* health: for those who watch the process: GET /_health and GET /_prometheus/metrics. */
#include "handlers.h"
#include "metrics.h"
#include "model.h"
#include "process.h"
#include "reply.h"

void get_health(struct request *r)
{
    struct buf b;
    reply_buf_init(&b);
    buf_put(&b, STR("{\"status\":\"green\"}"));
    reply_json(r, 200, &b);
}

void get_metrics(struct request *r)
{
    struct buf b;
    reply_buf_init(&b);
    metrics_render(&b);
    process_metrics_render(&b);
    models_metrics(r->api->parts.models, r->arena, &b);
    inference_usage_metrics(r->api->parts.inference, r->arena, &b);
    struct str text = arena_dup(r->arena, buf_str(&b));
    buf_deinit(&b);
    reply_text(r, 200, STR("text/plain; version=0.0.4; charset=utf-8"), text);
}
