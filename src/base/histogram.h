/* histogram: how long something took, counted in buckets of fixed bounds from 1 ms to 60 s; or how
 * large it was, in buckets of powers of two.
 *
 *     histogram_add(&h, took_us);
 *     histogram_render(out, "inferd_x_seconds", "id=\"a\"", &h);
 *
 * Zeroed memory is an empty one. Thread: any; readers see each number by itself. */
#ifndef INFERD_HISTOGRAM_H
#define INFERD_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

#include "buf.h"

#define HISTOGRAM_BUCKETS 15 /* and one more for what is beyond */

struct histogram {
    _Atomic int64_t count[HISTOGRAM_BUCKETS + 1];
    _Atomic int64_t sum_us;
};

void histogram_add(struct histogram *, int64_t us); /* below zero counts as zero */
int64_t histogram_count(const struct histogram *);
/* Lines NAME_bucket, NAME_sum and NAME_count of Prometheus' text format, in seconds. `labels`:
 * those of all lines, "" for none. */
void histogram_render(struct buf *, const char *name, struct str labels, const struct histogram *);

#define SIZE_BUCKETS 15 /* 1, 2, 4 ... 16384, and one more */

struct size_histogram {
    _Atomic int64_t count[SIZE_BUCKETS + 1];
    _Atomic int64_t sum;
};

void size_histogram_add(struct size_histogram *, int64_t size);
/* As histogram_render, without labels; `most` is the largest bound to be shown. */
void size_histogram_render(struct buf *, const char *name, int64_t most,
                           const struct size_histogram *);

#endif
