#include "histogram.h"

/* As powers of ten go, finer where inference happens. */
static const struct {
    int64_t us;
    const char *seconds;
} bounds[HISTOGRAM_BUCKETS] = {
    {1000, "0.001"},  {2500, "0.0025"}, {5000, "0.005"},  {10000, "0.01"},  {25000, "0.025"},
    {50000, "0.05"},  {100000, "0.1"},  {250000, "0.25"}, {500000, "0.5"},  {1000000, "1"},
    {2500000, "2.5"}, {5000000, "5"},   {10000000, "10"}, {30000000, "30"}, {60000000, "60"},
};

void histogram_add(struct histogram *h, int64_t us)
{
    size_t i = 0;
    if (us < 0)
        us = 0;
    while (i < HISTOGRAM_BUCKETS && us > bounds[i].us)
        i++;
    atomic_fetch_add_explicit(&h->count[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_us, us, memory_order_relaxed);
}

static int64_t read(const _Atomic int64_t *count)
{
    return atomic_load_explicit((_Atomic int64_t *)(uintptr_t)count, memory_order_relaxed);
}

int64_t histogram_count(const struct histogram *h)
{
    int64_t n = 0;
    for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++)
        n += read(&h->count[i]);
    return n;
}

void histogram_render(struct buf *out, const char *name, struct str labels,
                      const struct histogram *h)
{
    const char *comma = labels.n ? "," : "";
    int64_t below = 0, us = read(&h->sum_us);
    for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++) {
        below += read(&h->count[i]);
        buf_printf(out, "%s_bucket{%.*s%sle=\"%s\"} %lld\n", name, STR_ARG(labels), comma,
                   i < HISTOGRAM_BUCKETS ? bounds[i].seconds : "+Inf", (long long)below);
    }
    const char *open = labels.n ? "{" : "", *close = labels.n ? "}" : "";
    buf_printf(out, "%s_sum%s%.*s%s %lld.%06lld\n", name, open, STR_ARG(labels), close,
               (long long)(us / 1000000), (long long)(us % 1000000));
    buf_printf(out, "%s_count%s%.*s%s %lld\n", name, open, STR_ARG(labels), close,
               (long long)below);
}

/* --- sizes --- */

void size_histogram_add(struct size_histogram *h, int64_t size)
{
    size_t i = 0;
    while (i < SIZE_BUCKETS && size > INT64_C(1) << i)
        i++;
    atomic_fetch_add_explicit(&h->count[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum, size, memory_order_relaxed);
}

void size_histogram_render(struct buf *out, const char *name, int64_t most,
                           const struct size_histogram *h)
{
    int64_t below = 0;
    for (size_t i = 0; i < SIZE_BUCKETS; i++) {
        int64_t bound = INT64_C(1) << i;
        below += read(&h->count[i]);
        if (bound <= most)
            buf_printf(out, "%s_bucket{le=\"%lld\"} %lld\n", name, (long long)bound,
                       (long long)below);
    }
    below += read(&h->count[SIZE_BUCKETS]);
    buf_printf(out, "%s_bucket{le=\"+Inf\"} %lld\n%s_sum %lld\n%s_count %lld\n", name,
               (long long)below, name, (long long)read(&h->sum), name, (long long)below);
}
