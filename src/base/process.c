#include "process.h"

#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "log.h"

#define WORTH_GIVING_BACK (INT64_C(32) << 20)

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

/* In bytes. */
struct memory {
    int64_t size, resident, of_files; /* the last: resident, and can be read again */
};

static bool read_memory(struct memory *out)
{
    int64_t *figures[] = {&out->size, &out->resident, &out->of_files};
    struct str line, pages;
    char text[256];
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return false;
    line = (struct str){text, fread(text, 1, sizeof text, f)};
    fclose(f);
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
        if (!str_split(&line, ' ', &pages) || !str_to_i64(pages, figures[i]))
            return false;
        *figures[i] *= sysconf(_SC_PAGESIZE);
    }
    return true;
}

static void render_memory(struct buf *out)
{
    struct memory m;
    char value[32];
    if (!read_memory(&m))
        return;
    snprintf(value, sizeof value, "%lld", (long long)m.resident);
    gauge(out, "process_resident_memory_bytes", "gauge", "Memory in use", value);
    snprintf(value, sizeof value, "%lld", (long long)m.size);
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

/* What is resident beyond what malloc has given out: what it keeps, and what is not its own, such
 * as stacks and the memory of sessions. What malloc itself calls free would not do: that includes
 * what has been given back already. */
static int64_t resident_beside_malloc(void)
{
    struct memory m;
    struct mallinfo2 in = mallinfo2();
    if (!in.uordblks || !read_memory(&m)) /* somebody else's malloc */
        return 0;
    return m.resident - m.of_files - (int64_t)(in.uordblks + in.hblkhd);
}

/* One at a time, and only where malloc is glibc's own and in use: beneath a sanitizer's, or another
 * that was put in its place, it has not begun, and threads that begin it at once break it. */
static pthread_mutex_t heap_lock = PTHREAD_MUTEX_INITIALIZER;

/* With heap_lock held. */
static void trim(void)
{
    if (mallinfo2().uordblks)
        malloc_trim(0);
}

void process_trim(void)
{
    pthread_mutex_lock(&heap_lock);
    trim();
    pthread_mutex_unlock(&heap_lock);
}

bool process_give_memory_back(void)
{
    static int64_t before, cannot_go;
    pthread_mutex_lock(&heap_lock);
    int64_t now = resident_beside_malloc();
    cannot_go = now < cannot_go ? now : cannot_go;
    int64_t least = cannot_go + WORTH_GIVING_BACK;
    bool worth = before > least && now > least;
    if (worth) {
        trim();
        cannot_go = resident_beside_malloc();
    }
    before = now;
    pthread_mutex_unlock(&heap_lock);
    return worth;
}
