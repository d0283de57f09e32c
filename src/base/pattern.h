/* pattern: regular expressions over UTF-16, in the dialect of ICU (near to Java's), where neither
 * the expression nor the text is trusted.
 *
 *     struct pattern_watch watch;
 *     pattern_watch_start(&watch, 2000);
 *     TRY(pattern_new(source, &watch, &p));
 *     pattern_begin(p, units);
 *     while (!(e = pattern_next(p, &found, &start)) && found) ...
 *     pattern_free(p);
 *
 * `^` and `$` match at lines, as in Java with MULTILINE. What may run away is bounded: the time of
 * all patterns that share a watch, counted as the thread's own, so that a busy machine makes no
 * difference; the memory for backtracking; the length of the expression. Thread: one at a time. */
#ifndef INFERD_PATTERN_H
#define INFERD_PATTERN_H

#include "err.h"
#include "segment.h"

#define PATTERN_MAX_BYTES   1000
#define PATTERN_STACK_BYTES (1 << 20) /* about as deep as Java gets before its stack is full */

struct pattern_watch {
    int64_t until_ns; /* of the thread's CPU time */
    unsigned calls;
};

/* Thread: the one that matches. */
void pattern_watch_start(struct pattern_watch *, int64_t ms);

struct pattern;

/* ERR_ARGUMENT: too long, or no regular expression. `watch` outlives the pattern. */
struct err *pattern_new(struct str source, struct pattern_watch *, struct pattern **out);
void pattern_free(struct pattern *); /* NULL is fine */

/* `units` is borrowed until the next begin or the end. */
void pattern_begin(struct pattern *, struct utf16 units);
/* Where the next match begins; `found_out` false: there is none. ERR_ARGUMENT: the watch ran out,
 * or matching takes too much memory. */
struct err *pattern_next(struct pattern *, bool *found_out, size_t *start_out);

#endif
