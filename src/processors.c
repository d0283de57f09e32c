#include "processors.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int affinity_count(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? n : 1;
}

/* The numbers of a small file, as far as there are any. */
static int read_numbers(const char *path, long long *out, int n)
{
    char text[128];
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    size_t len = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[len] = '\0';
    int found = 0;
    for (char *p = text, *end; found < n; p = end) {
        out[found] = strtoll(p, &end, 10);
        if (end == p)
            break;
        found++;
    }
    return found;
}

/* "max 100000" or "150000 100000": microseconds per period. 0: no quota. */
static double quota_v2(void)
{
    long long v[2];
    bool limited = read_numbers("/sys/fs/cgroup/cpu.max", v, 2) == 2 && v[0] > 0 && v[1] > 0;
    return limited ? (double)v[0] / (double)v[1] : 0;
}

static double quota_v1(void)
{
    long long quota = 0, period = 0;
    read_numbers("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", &quota, 1);
    read_numbers("/sys/fs/cgroup/cpu/cpu.cfs_period_us", &period, 1);
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

/* Which of its core's threads a CPU is: 0 for the first. Siblings are written "0,64" or "0-1". */
static int thread_of_core(int cpu)
{
    char path[96];
    long long first;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    return read_numbers(path, &first, 1) == 1 && first >= 0 && first < cpu;
}

bool processors_cpus(int n, int *out)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) < n)
        return false;
    int found = 0;
    for (int second = 0; second < 2; second++)
        for (int cpu = 0; cpu < CPU_SETSIZE && found < n; cpu++)
            if (CPU_ISSET(cpu, &set) && thread_of_core(cpu) == second)
                out[found++] = cpu;
    return found == n;
}

uint64_t machine_memory(void)
{
    static const char *const limits[] = {"/sys/fs/cgroup/memory.max",
                                         "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    uint64_t n = pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : UINT64_MAX;
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        long long limit;
        if (read_numbers(limits[i], &limit, 1) == 1 && limit > 0 && (uint64_t)limit < n)
            n = (uint64_t)limit;
    }
    return n;
}
