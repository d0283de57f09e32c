/* process: what this process is to the system. Its figures have the names that Prometheus' client
 * libraries agreed on. Thread: any. */
#ifndef INFERD_PROCESS_H
#define INFERD_PROCESS_H

#include <stdbool.h>

#include "buf.h"

void process_metrics_render(struct buf *out);

/* Keys must not end in a core file, and every connection is a descriptor. Before other threads. */
void process_harden(void);
/* What malloc has kept of what a burst needed goes back to the system, once it has been free since
 * the last call; true: some has. Takes milliseconds: pool. */
bool process_give_memory_back(void);
/* At once, after much was freed. Takes milliseconds: no loop. */
void process_trim(void);

#endif
