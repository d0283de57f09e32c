/* processors: how many cores this process may really use. */
#ifndef INFERD_PROCESSORS_H
#define INFERD_PROCESSORS_H

/* At least 1: the affinity mask, bounded by the control group's CPU quota (cgroup v2 and v1). */
int processors_count(void);

#endif
