/* metrics: counters and gauges, one row each in metrics.def: name, kind, unit, help.
 *
 *     metric_add(METRIC_HTTP_REQUESTS, 1);
 *
 * Thread: any; counts go to a per-thread cache line and are summed when read. */
#ifndef INFERD_METRICS_H
#define INFERD_METRICS_H

#include <stdint.h>

#include "buf.h"

enum metric {
#define X(symbol, name, kind, help) symbol,
#include "metrics.def"
#undef X
    N_METRICS
};

void metric_add(enum metric, int64_t n); /* gauges take negative numbers too */
int64_t metric_read(enum metric);
void metrics_render(struct buf *out); /* Prometheus text exposition format 0.0.4 */
/* NAME="VALUE" of that format, for those who write lines of their own. */
void metrics_label(struct buf *out, const char *name, struct str value);

#endif
