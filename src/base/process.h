/* process: what the system says of this process, under the names that Prometheus' client libraries
 * agreed on. Thread: any. */
#ifndef INFERD_PROCESS_H
#define INFERD_PROCESS_H

#include "buf.h"

void process_metrics_render(struct buf *out);

#endif
