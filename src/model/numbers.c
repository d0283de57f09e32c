#include "numbers.h"

void numbers_init(struct numbers *n, int64_t start_ms)
{
    *n = (struct numbers){.start_ms = start_ms};
    n->last.index = -1;
}

static void move_on(struct numbers *n, int64_t now_ms)
{
    int64_t index = now_ms > n->start_ms ? (now_ms - n->start_ms) / NUMBERS_WINDOW_MS : 0;
    if (index <= n->now.index) /* a clock that went back stays in the window */
        return;
    if (n->now.inferences > n->peak)
        n->peak = n->now.inferences;
    n->last = n->now;
    n->now = (struct numbers_window){.index = index};
}

void numbers_inferred(struct numbers *n, int64_t now_ms, int64_t count, int64_t hits, double ms)
{
    move_on(n, now_ms);
    n->inferences += count;
    n->hits += hits;
    n->ms += ms;
    n->now.inferences += count;
    n->now.hits += hits;
    n->now.ms += ms;
    n->last_access_ms = now_ms;
}

void numbers_show(struct numbers *n, int64_t now_ms, struct deployment_numbers *out)
{
    move_on(n, now_ms);
    int64_t run = n->inferences - n->hits;
    *out = (struct deployment_numbers){
        .inferences = n->inferences,
        .cache_hits = n->hits,
        .errors = n->errors,
        .rejected = n->rejected,
        .timeouts = n->timeouts,
        .ms = n->ms,
        .average_ms = n->inferences ? n->ms / (double)n->inferences : 0,
        .average_ms_without_hits = run > 0 ? n->ms / (double)run : 0,
        .last_access_ms = n->last_access_ms,
        .peak_per_minute = n->now.inferences > n->peak ? n->now.inferences : n->peak,
    };
    if (n->last.index != n->now.index - 1)
        return;
    out->last_minute = n->last.inferences;
    out->hits_last_minute = n->last.hits;
    if (n->last.inferences)
        out->average_ms_last_minute = n->last.ms / (double)n->last.inferences;
}
