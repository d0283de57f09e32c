#include "process.h"

#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "log.h"

#define WORTH_GIVING_BACK ((size_t)32 << 20)

/* --- figures --- */

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

/* --- manners --- */

/* A dump that root asks for (gcore) holds registers and no memory. Source: core(5). */
static void dump_nothing(void)
{
    int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* a kernel without it writes no such dumps */
    if (write(fd, "0", 1) != 1)
        log_warn("memory may be part of dumps that root makes");
    close(fd);
}

void process_harden(void)
{
    struct rlimit files;
    dump_nothing(); /* first: once it is not dumpable these files are root's */
    prctl(PR_SET_DUMPABLE, 0);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

void process_give_memory_back(void)
{
    static atomic_size_t before;
    size_t now = mallinfo2().fordblks;
    if (atomic_exchange(&before, now) > WORTH_GIVING_BACK && now > WORTH_GIVING_BACK)
        malloc_trim(0);
}
