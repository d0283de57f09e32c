/* usage: what each API key has used, endpoint by endpoint and month by month, and the limits it is
 * held to; private to security/.
 *
 *     struct usage_pass pass;
 *     TRY(usage_admit(u, key_id, &limits, endpoint, clock_wall_ms(), &pass));
 *     ... the call ...
 *     usage_settle(u, &pass, in_tokens, out_tokens, clock_wall_ms());  // before it is answered
 *
 * The counts lie in a file that is mapped into memory (<path.data>/usage): counting is an addition,
 * no write, and when the process is killed the pages are the kernel's and reach the disk all the
 * same. So a call that was answered is counted once, whatever ends the process; what the kernel had
 * not written yet (half a minute's counts as a rule) is lost only with the machine's power.
 *
 * A row is for one key, endpoint and month (UTC). Rows stay for 13 months, then they are used
 * again. The file grows by segments that are allocated before they are mapped, so a full disk is an
 * error and no fault; counting then goes on in memory.
 *
 * Limits, each per key: requests in one minute (counted from its first request), requests at once,
 * tokens in one month. Tokens are known after a call, so calls that are under way when the last
 * token is used up still end well.
 *
 * Thread: any; one lock, held for a look into a map. */
#ifndef INFERD_SECURITY_USAGE_H
#define INFERD_SECURITY_USAGE_H

#include "json.h"
#include "security.h"

struct usage;

/* 0: no limit. */
struct usage_limits {
    int64_t requests_per_minute, concurrency, tokens_per_month;
};
/* The stricter of both, one by one. */
void usage_limits_narrow(struct usage_limits *, const struct usage_limits *by);
void usage_limits_render(const struct usage_limits *, struct json_out *);

/* path NULL: counts end with the process. */
struct err *usage_open(const char *path, int64_t wall_ms, struct usage **out);
void usage_close(struct usage *); /* NULL is fine */

/* ERR_TOO_MANY with a time to wait. */
struct err *usage_admit(struct usage *, struct str key_id, const struct usage_limits *,
                        struct str endpoint, int64_t wall_ms, struct usage_pass *out);
void usage_settle(struct usage *, struct usage_pass *, int64_t in_tokens, int64_t out_tokens,
                  int64_t wall_ms);
/* {"2026-11": {"tokens": 12, "endpoints": {"e": {"calls": 1, "tokens": {"in": 8, "out": 4}}}}} */
void usage_render(struct usage *, struct str key_id, struct json_out *);

#endif
