/* processors: how many cores and how much memory this process may really use. */
#ifndef INFERD_PROCESSORS_H
#define INFERD_PROCESSORS_H

#include <stdbool.h>
#include <stdint.h>

/* At least 1: the affinity mask, bounded by the control group's CPU quota (cgroup v2 and v1). */
int processors_count(void);
/* n CPUs that it may run on, into out: of different cores first, then their second threads. False:
 * there are not so many. */
bool processors_cpus(int n, int *out);
/* Bytes of memory: the machine's, bounded by the control group's limit (v2 and v1). */
uint64_t machine_memory(void);

#endif
