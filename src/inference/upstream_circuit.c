/* upstream_circuit: what a call tells its service's circuit, and hears from it. */
#include "clock.h"
#include "log.h"
#include "metrics.h"
#include "upstream_private.h"

/* A caller with less patience than this says more about itself than about the service. */
#define CIRCUIT_PATIENCE_MS 5000

struct err *upstream_circuit_err(const struct upstream *up, int64_t retry_after_ms)
{
    struct str id = up->call->endpoint->id;
    metric_add(METRIC_CIRCUIT_REFUSED, 1);
    struct err *e =
        err_new(ERR_UNAVAILABLE,
                "The service of the inference endpoint [%.*s] has failed repeatedly: its circuit "
                "is open, retry after [%llds]",
                STR_ARG(id), (long long)((retry_after_ms + 999) / 1000));
    e->elsewhere = true;
    e->retry_after_ms = retry_after_ms;
    return e;
}

struct err *upstream_circuit_enter(struct upstream *up)
{
    struct circuit *c = upstream_circuit(up);
    if (!c)
        return NULL;
    if (!up->call->probe && !circuit_enter(c, clock_mono_ms(), &up->pass))
        return upstream_circuit_err(up, up->pass.retry_after_ms);
    up->entered = true;
    up->outcome = CIRCUIT_UNKNOWN;
    return NULL;
}

void upstream_circuit_tell(struct upstream *up)
{
    struct circuit *c = upstream_circuit(up);
    int64_t now = clock_mono_ms();
    switch (circuit_report(c, up->pass, up->outcome, now)) {
    case CIRCUIT_OPENED:
        metric_add(METRIC_CIRCUIT_OPENED, 1);
        log_warn("circuit opened", LOG_S("inference_id", up->call->endpoint->id),
                 LOG_I("for_ms", circuit_wait_ms(c, now)));
        break;
    case CIRCUIT_CLOSED:
        log_info("circuit closed", LOG_S("inference_id", up->call->endpoint->id));
        break;
    case CIRCUIT_SAME:
        break;
    }
}

bool upstream_waited_in_vain(const struct upstream *up)
{
    const struct call *call = up->call;
    const struct extras *x = extras_of(call->endpoint);
    int64_t now = clock_mono_ms();
    if (!up->sent || up->streaming || !call->deadline_ms || now < call->deadline_ms)
        return false;
    return now - up->sent_ms >= CIRCUIT_PATIENCE_MS ||
           (x->total_ms && call->timeout_ms == x->total_ms) ||
           (x->first_token_ms && call->timeout_ms == x->first_token_ms);
}
