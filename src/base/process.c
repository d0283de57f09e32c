#include "process.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static void gauge(struct buf *out, const char *name, const char *kind, const char *help,
                  const char *value)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %s\n", name, help, name, kind, name, value);
}

static long long open_files(void)
{
    long long n = -3; /* ".", ".." and the folder itself */
    DIR *d = opendir("/proc/self/fd");
    if (!d)
        return 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void render_memory(struct buf *out)
{
    int64_t size, resident;
    struct str line, pages;
    char text[256], value[32];
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return;
    line = (struct str){text, fread(text, 1, sizeof text, f)};
    fclose(f);
    if (!str_split(&line, ' ', &pages) || !str_to_i64(pages, &size) ||
        !str_split(&line, ' ', &pages) || !str_to_i64(pages, &resident))
        return;
    long long page = sysconf(_SC_PAGESIZE);
    snprintf(value, sizeof value, "%lld", (long long)resident * page);
    gauge(out, "process_resident_memory_bytes", "gauge", "Memory in use", value);
    snprintf(value, sizeof value, "%lld", (long long)size * page);
    gauge(out, "process_virtual_memory_bytes", "gauge", "Addresses in use", value);
}

void process_metrics_render(struct buf *out)
{
    struct rusage u;
    char value[32];
    getrusage(RUSAGE_SELF, &u);
    long long us = (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000LL + u.ru_utime.tv_usec +
                   u.ru_stime.tv_usec;
    snprintf(value, sizeof value, "%lld.%06lld", us / 1000000, us % 1000000);
    gauge(out, "process_cpu_seconds_total", "counter", "CPU time of all threads", value);
    render_memory(out);
    snprintf(value, sizeof value, "%lld", open_files());
    gauge(out, "process_open_fds", "gauge", "Open files and sockets", value);
}
