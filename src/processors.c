#include "processors.h"

#include <sched.h>
#include <stdio.h>

static int affinity_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? n : 1;
}

/* "max 100000" or "150000 100000": microseconds per period. 0: no quota. */
static double quota_v2(void)
{
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (!f)
        return 0;
    long long quota = 0, period = 0;
    int n = fscanf(f, "%lld %lld", &quota, &period);
    fclose(f);
    return n == 2 && quota > 0 && period > 0 ? (double)quota / (double)period : 0;
}

static long long read_number(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    long long v = 0;
    if (fscanf(f, "%lld", &v) != 1)
        v = 0;
    fclose(f);
    return v;
}

static double quota_v1(void)
{
    long long quota = read_number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
    long long period = read_number("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    return quota > 0 && period > 0 ? (double)quota / (double)period : 0;
}

int processors_count(void)
{
    int n = affinity_count();
    double quota = quota_v2();
    if (quota <= 0)
        quota = quota_v1();
    if (quota > 0 && quota < n)
        n = quota < 1 ? 1 : (int)quota;
    return n;
}
