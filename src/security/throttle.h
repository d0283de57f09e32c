/* throttle: guesses at one user's password are spaced out; private to security/.
 *
 * Three failures are free, since people mistype. From then on attempts for that name start one
 * after another, 250 ms apart at first and twice that after each further failure, up to 5 s. An
 * attempt that would have to wait more than 10 s is refused. A success or ten quiet minutes forget
 * it all. Names that do not exist are counted alike, so the delay tells nothing.
 * Time is an argument. Thread: one owner (the verifier's lock). */
#ifndef INFERD_SECURITY_THROTTLE_H
#define INFERD_SECURITY_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#define THROTTLE_NAMES       256 /* known at once; the one with the fewest failures makes room */
#define THROTTLE_FREE        3
#define THROTTLE_STEP_MS     250
#define THROTTLE_MAX_STEP_MS 5000
#define THROTTLE_MAX_WAIT_MS 10000
#define THROTTLE_FORGET_MS   (10 * 60 * 1000)

struct throttle {
    struct throttle_entry {
        uint64_t name; /* its str_hash; 0 with failures 0: empty */
        int failures;
        int64_t failed_ms; /* the last time */
        int64_t next_ms;   /* the next attempt starts no sooner */
    } v[THROTTLE_NAMES];
};

/* How long an attempt must wait before it starts, which it then owes to do. False: too long;
 * *wait_ms_out is when trying again makes sense. */
bool throttle_enter(struct throttle *, uint64_t name, int64_t now_ms, int64_t *wait_ms_out);
void throttle_failed(struct throttle *, uint64_t name, int64_t now_ms);
void throttle_passed(struct throttle *, uint64_t name);

#endif
