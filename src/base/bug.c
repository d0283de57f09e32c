/* The last words of the process. They go through one raw write, since log.c, the heap or a lock
 * may be what is broken; the stack follows in plain text, for addr2line. */
#include "bug.h"

#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"

/* `what` is the text of a C expression: its quotes and backslashes must be escaped. */
static void quote(char *out, size_t cap, const char *z)
{
    size_t n = 0;
    for (; *z && n + 3 < cap; z++) {
        if (*z == '"' || *z == '\\')
            out[n++] = '\\';
        out[n++] = *z >= ' ' ? *z : ' ';
    }
    out[n] = '\0';
}

_Noreturn void bug_abort(const char *file, int line, const char *what)
{
    char now[25], text[512], out[1024];
    clock_iso8601(clock_wall_ms(), now);
    quote(text, sizeof text, what);
    int n = snprintf(out, sizeof out,
                     "{\"@timestamp\":\"%s\",\"log.level\":\"ERROR\",\"message\":\"bug: %s\","
                     "\"log.origin.file.name\":\"%s\",\"log.origin.file.line\":%d}\n",
                     now, text, file, line);
    if (n > (int)sizeof out - 1)
        n = (int)sizeof out - 1;
    ssize_t ignored = write(STDERR_FILENO, out, (size_t)n);
    (void)ignored;

    void *stack[32];
    backtrace_symbols_fd(stack, backtrace(stack, 32), STDERR_FILENO);
    abort();
}
