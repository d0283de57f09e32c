/* scaler: how many allocations a deployment with adaptive allocations should have.
 *
 *     struct scaling s;
 *     scaling_init(&s, now_ms);
 *     if (scaling_due(&s, &view, &limits, now_ms))
 *         n = scaling_round(&s, &view, &limits, now_ms, &decision);    // decision.allocations
 *
 * Pure: time is an argument, nothing is called. Elasticsearch's algorithm (adaptive_allocations.md
 * 3 to 7): Kalman filters estimate the rate of requests and the time one takes; their bounds of one
 * standard deviation give the least and the most busy allocations; it grows when even the least is
 * too much for what there is and shrinks when even the most fits into less. Beyond it, a round
 * comes early when what waits would take longer than a moment (scaling_due). Private to model/. */
#ifndef INFERD_SCALER_H
#define INFERD_SCALER_H

#include <stdbool.h>
#include <stdint.h>

/* An estimate of a value that is measured with noise; adaptive_allocations.md 4. */
struct kalman {
    double value, variance;
    bool known;   /* something was measured */
    bool changed; /* the last measurement was of something new */
};
void kalman_add(struct kalman *, double measured, double variance, bool changed, bool detect);
double kalman_lower(const struct kalman *); /* one standard deviation below, at least 0 */
double kalman_upper(const struct kalman *);

/* What happened in one round. */
struct scaler_round {
    double seconds;  /* its length, > 0 */
    double requests; /* completed, failed, and by how much more wait */
    double time;     /* seconds that one took; < 0: none completed */
};

struct scaler_limits {
    int min;           /* 0: may go to zero */
    int max;           /* 0: 32 */
    double zero_after; /* seconds without a request before it does */
};

struct scaler {
    struct kalman rate, time; /* per second; seconds */
    int allocations;
    int needed;   /* by load alone, before min and max */
    double idle;  /* seconds without a request */
    bool changed; /* the count, since the last round: times may change with it */
};

void scaler_init(struct scaler *, int allocations);
/* `allocations`: what the deployment has been asked to have. */
void scaler_see(struct scaler *, const struct scaler_round *, int allocations);
/* The new count, or -1: leave it. */
int scaler_decide(struct scaler *, const struct scaler_limits *);

/* --- the rounds of a deployment: adaptive_allocations.md 6 --- */

/* Since the deployment started; they only grow. */
struct scaling_counts {
    uint64_t completed, failed; /* failed: errors, timeouts, rejected */
    double busy_seconds;        /* of those completed */
};

struct scaling_view {
    struct scaling_counts counts;
    uint64_t waiting; /* for an allocation, now */
    int allocations;  /* asked for */
    bool started;     /* the deployment is: else nothing is decided */
    int64_t grown_ms; /* when the youngest allocation started */
};

struct scaling_limits {
    struct scaler_limits scaler;
    int64_t interval_ms, cooldown_ms;
};

struct scaling {
    struct scaler scaler;
    struct scaling_counts counts; /* as of the last round */
    uint64_t waiting;
    int64_t round_ms;           /* of the last round */
    int64_t grew_ms, shrank_ms; /* of the last changes decided here */
    int patience; /* cooldowns between growing and shrinking: more after each shrinking that did not
                     last */
    bool primed;  /* the first round only looks */
    bool grew, shrank;
};

struct scaling_decision {
    int allocations; /* -1: no change */
    int from;
    const char *reason; /* static: why it changes, or why it does not although it should */
    bool held;          /* it should shrink but a growth is too recent */
};

void scaling_init(struct scaling *, int allocations, int64_t now_ms);
/* Time for a round: the interval is over, or what waits has grown to more than a second's work. */
bool scaling_due(const struct scaling *, const struct scaling_view *, const struct scaling_limits *,
                 int64_t now_ms);
void scaling_round(struct scaling *, const struct scaling_view *, const struct scaling_limits *,
                   int64_t now_ms, struct scaling_decision *out);
/* A request came while there was no allocation, and one is being started for it. */
void scaling_woken(struct scaling *, int64_t now_ms);

#endif
