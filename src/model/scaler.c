#include "scaler.h"

#include <math.h>

/* Elasticsearch's constants. */
#define SMOOTHING        100.0
#define CHANGE_DEVIATION 100.0 /* ten standard deviations, squared */
#define BUSY_UP          0.9   /* load of an allocation above which there must be more */
#define BUSY_DOWN        0.85  /* below which there may be one fewer */
#define MOST_ALLOCATIONS 32    /* where no max is set */
#define UNKNOWN_TIME     1.0   /* seconds, until one was measured */
#define LEAST_TIME       1e-5  /* of answers from the cache, which count as requests too */

/* A round comes early when what waits is more than this many seconds of work for the allocations
 * there are, and no sooner than this many milliseconds after the last. */
#define EARLY_SECONDS 1.0
#define EARLY_MS      1000

/* A load on the edge between two sizes would go back and forth at the pace of the cooldown: each
 * time that it has to grow soon after it shrank, it waits twice as long before it shrinks again, up
 * to this many cooldowns. */
#define MOST_PATIENCE 16
#define SOON          6 /* within so many waits */

void kalman_add(struct kalman *k, double measured, double variance, bool changed, bool detect)
{
    if (!k->known) {
        *k = (struct kalman){measured, variance, true, true};
        return;
    }
    double off = measured - k->value, noise = variance / SMOOTHING;
    bool now = changed || (detect && off * off / (variance + k->variance) > CHANGE_DEVIATION);
    if (now || k->changed)
        noise = measured * measured;
    double before = k->variance + noise, gain = before / (before + variance);
    k->value += gain * off;
    k->variance = (1 - gain) * before;
    k->changed = now;
}

double kalman_lower(const struct kalman *k)
{
    double lower = k->value - sqrt(k->variance);
    return lower > 0 ? lower : 0;
}

double kalman_upper(const struct kalman *k)
{
    return k->value + sqrt(k->variance);
}

void scaler_init(struct scaler *s, int allocations)
{
    *s = (struct scaler){.allocations = allocations, .needed = allocations};
}

static double most(double a, double b)
{
    return a > b ? a : b;
}

/* Requests come as a Poisson process: their number has its own mean as variance. */
static void see_rate(struct scaler *s, const struct scaler_round *r)
{
    double rate = r->requests / r->seconds;
    double expected = (s->rate.known ? s->rate.value : rate) * r->seconds;
    kalman_add(&s->rate, rate, most(1, expected) / (r->seconds * r->seconds), false, true);
}

/* Times are exponential: the deviation of one is its mean. */
static void see_time(struct scaler *s, const struct scaler_round *r)
{
    double mean = s->time.known ? s->time.value : r->time;
    kalman_add(&s->time, r->time, mean * mean / r->requests, s->changed, false);
}

void scaler_see(struct scaler *s, const struct scaler_round *r, int allocations)
{
    s->idle = r->requests > 0 ? 0 : s->idle + r->seconds;
    see_rate(s, r);
    if (r->requests > 0 && r->time > 0)
        see_time(s, r);
    s->allocations = allocations;
    s->changed = false;
}

static int by_load(const struct scaler *s)
{
    double least = kalman_lower(&s->rate) * (s->time.known ? kalman_lower(&s->time) : UNKNOWN_TIME);
    double busiest =
        kalman_upper(&s->rate) * (s->time.known ? kalman_upper(&s->time) : UNKNOWN_TIME);
    double n = s->allocations;
    /* least / n > 0.9 says the same; with no allocations any load is too much. */
    if (least > BUSY_UP * n)
        n = least / BUSY_UP < INT32_MAX / 2 ? ceil(least / BUSY_UP) : INT32_MAX / 2;
    while (n > s->allocations && least / (n - 1) <= BUSY_UP) /* what rounding may have added */
        n--;
    while (n > 1 && busiest / (n - 1) < BUSY_DOWN)
        n--;
    return (int)n;
}

static int within(int n, const struct scaler_limits *l)
{
    if (l->max == 0 && n > MOST_ALLOCATIONS)
        n = MOST_ALLOCATIONS;
    if (n < l->min)
        n = l->min;
    if (l->max > 0 && n > l->max)
        n = l->max;
    return n;
}

int scaler_decide(struct scaler *s, const struct scaler_limits *l)
{
    if (!s->rate.known)
        return -1;
    s->needed = by_load(s);
    int n = within(s->needed, l);
    if (l->min == 0 && s->idle > l->zero_after)
        n = 0;
    if (n == s->allocations)
        return -1;
    s->allocations = n;
    s->changed = true;
    return n;
}

/* --- rounds --- */

void scaling_init(struct scaling *s, int allocations, int64_t now_ms)
{
    *s = (struct scaling){.round_ms = now_ms, .patience = 1};
    scaler_init(&s->scaler, allocations);
}

bool scaling_due(const struct scaling *s, const struct scaling_view *v,
                 const struct scaling_limits *l, int64_t now_ms)
{
    int64_t since = now_ms - s->round_ms;
    if (since >= l->interval_ms)
        return true;
    if (since < EARLY_MS || !s->primed || !v->started || v->waiting <= s->waiting)
        return false;
    double time = s->scaler.time.known ? s->scaler.time.value : UNKNOWN_TIME;
    if (v->counts.completed > s->counts.completed)
        time = (v->counts.busy_seconds - s->counts.busy_seconds) /
               (double)(v->counts.completed - s->counts.completed);
    return v->allocations > 0 && (double)v->waiting * time > EARLY_SECONDS * v->allocations;
}

static double grown(uint64_t now, uint64_t before)
{
    return now > before ? (double)(now - before) : 0;
}

static void read_round(const struct scaling *s, const struct scaling_view *v, int64_t now_ms,
                       struct scaler_round *out)
{
    double completed = grown(v->counts.completed, s->counts.completed);
    out->seconds = (double)(now_ms - s->round_ms) / 1000;
    out->requests =
        completed + grown(v->counts.failed, s->counts.failed) + grown(v->waiting, s->waiting);
    out->time = -1;
    if (completed > 0) {
        double mean = (v->counts.busy_seconds - s->counts.busy_seconds) / completed;
        out->time = mean > LEAST_TIME ? mean : LEAST_TIME;
    }
}

/* Fewer, although there have just been more: it would only have to grow again. */
static bool too_soon(const struct scaling *s, const struct scaling_view *v,
                     const struct scaling_limits *l, int64_t now_ms)
{
    return (s->grew && now_ms - s->grew_ms < s->patience * l->cooldown_ms) ||
           (v->grown_ms && now_ms - v->grown_ms < l->cooldown_ms);
}

/* Callers that ask again only once they are answered send no more than is answered, so the rate
 * says nothing of those who wait. What waits does: more than a second's work, and no less than
 * before. */
static bool is_behind(const struct scaling *s, const struct scaling_view *v)
{
    double time = s->scaler.time.known ? s->scaler.time.value : UNKNOWN_TIME;
    return v->allocations > 0 && s->waiting > 0 && v->waiting * 10 >= s->waiting * 9 &&
           (double)v->waiting * time > EARLY_SECONDS * v->allocations;
}

/* -1: as many as there are. */
static int wanted(struct scaling *s, const struct scaling_view *v, const struct scaling_limits *l,
                  bool behind)
{
    int n = scaler_decide(&s->scaler, &l->scaler);
    int most = l->scaler.max ? l->scaler.max : MOST_ALLOCATIONS;
    if (!behind || n > v->allocations || v->allocations > most)
        return n;
    return v->allocations < most ? v->allocations + 1 : -1;
}

static const char *why(const struct scaler *s, int n, int from)
{
    if (n == 0)
        return "no request for the time after which it goes to zero";
    if (n > from)
        return s->needed >= n ? "the load is more than its allocations can take"
                              : "fewer than [min_number_of_allocations]";
    return s->needed <= n ? "the load fits fewer allocations"
                          : "more than [max_number_of_allocations]";
}

static void note_growth(struct scaling *s, const struct scaling_limits *l, int64_t now_ms)
{
    bool again = s->shrank && now_ms - s->shrank_ms < SOON * s->patience * l->cooldown_ms;
    if (again && s->patience < MOST_PATIENCE)
        s->patience *= 2;
    else if (!again)
        s->patience = 1;
    s->grew = true;
    s->grew_ms = now_ms;
}

static void decide(struct scaling *s, const struct scaling_view *v, const struct scaling_limits *l,
                   int64_t now_ms, struct scaling_decision *out)
{
    bool behind = is_behind(s, v);
    int n = wanted(s, v, l, behind);
    if (n < 0 || !v->started)
        return;
    out->reason = behind ? "what waits is more than its allocations can take soon"
                         : why(&s->scaler, n, v->allocations);
    out->held = n < v->allocations && too_soon(s, v, l, now_ms);
    if (out->held)
        return;
    out->allocations = n;
    if (n > v->allocations)
        note_growth(s, l, now_ms);
    s->shrank = n < v->allocations || s->shrank;
    if (n < v->allocations)
        s->shrank_ms = now_ms;
}

void scaling_round(struct scaling *s, const struct scaling_view *v, const struct scaling_limits *l,
                   int64_t now_ms, struct scaling_decision *out)
{
    *out = (struct scaling_decision){.allocations = -1, .from = v->allocations};
    if (s->primed && now_ms > s->round_ms) {
        struct scaler_round round;
        read_round(s, v, now_ms, &round);
        scaler_see(&s->scaler, &round, v->allocations);
        decide(s, v, l, now_ms, out);
    }
    s->primed = true;
    s->counts = v->counts;
    s->waiting = v->waiting;
    s->round_ms = now_ms;
}

void scaling_woken(struct scaling *s, int64_t now_ms)
{
    s->scaler.idle = 0;
    s->scaler.allocations = 1;
    s->scaler.changed = true;
    s->grew = true;
    s->grew_ms = now_ms;
}
