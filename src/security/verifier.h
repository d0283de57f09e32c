/* verifier: argon2id on the pool, without letting anybody turn it into a weapon; private to
 * security/.
 *
 *     enum verdict v = verifier_ask(ver, &attempt, &ask->wait, &retry_ms);
 *     if (v != VERDICT_PENDING) ...            // known at once; `wait` was not taken
 *
 * One verification takes 64 MiB and some 110 ms of a core. So: at most two run at once; only so
 * many wait; what was found right lately is known without (verified.h); the same attempt made many
 * times at once is computed once (a client opening its 64 connections costs one hash); guesses at
 * one name are spaced out (throttle.h), by a timer on the asker's loop, and never those of a
 * password known already. */
#ifndef INFERD_SECURITY_VERIFIER_H
#define INFERD_SECURITY_VERIFIER_H

#include "loop.h"
#include "pool.h"
#include "str.h"

#define VERIFIER_RUNNING 2
#define VERIFIER_WAITING 64

struct verifier;

enum verdict { VERDICT_PENDING, VERDICT_YES, VERDICT_NO, VERDICT_BUSY };

struct attempt {
    struct str name;
    struct str password; /* copied, and wiped */
    const char *hash;    /* as stored; NULL: a user that is not or may not, which costs the same */
};

/* Embedded in whatever waits for the verdict; done() runs once, on `loop`. */
struct verify_wait {
    struct loop *loop;
    void (*done)(struct verify_wait *, enum verdict); /* YES or NO */
    enum verdict verdict;
    struct loop_msg msg;
    struct verify_wait *next;
};

struct verifier *verifier_new(struct pool *, int n_waiting);
/* Nothing runs any more: pool freed, loops stopped. What still waits is dropped unanswered. */
void verifier_free(struct verifier *);

/* Takes `w` (with loop and done filled in) when it answers PENDING. BUSY: *retry_ms_out is a hint.
 * Thread: w->loop's. */
enum verdict verifier_ask(struct verifier *, const struct attempt *, struct verify_wait *w,
                          int64_t *retry_ms_out);

uint64_t verifier_n_hashes(struct verifier *);       /* run so far */
const char *verifier_decoy(const struct verifier *); /* what a NULL hash is checked against */

#endif
